"""Which answers hold up: one default per method on every real binary set with truth, linked sets counted once, and on
simulated crowds with one trouble each.

Five parts: all labels; parts of the labels, the same for every method; a few gold labels, scored on the other
instances; a score of the instances, where a set has one; crowds of ``simulate.mixed``, several of each. A set's NLL and
accuracy are compared with the majority vote's (one pseudo-count per class): the worst difference counts, not only the
mean. Methods of crowd-kit take part where it is installed, its GLAD only up to ``most_labels_of_glad`` labels: it needs
minutes for more.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import time
import warnings
from functools import partial

import jax
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax import datasets, integrated, plots, simulate
from crowdjax.datasets import BINARY
from crowdjax.factor import Solver
from crowdjax.integrated import IntegratedConfig
from crowdjax.labels import Labels, Repeats
from crowdjax.metrics import paired
from experiments import real
from experiments.cells import Cell, Size, Tables, present, say
from experiments.config import Model, Set
from experiments.fitting import Draws, drop, fit_all, size_of
from experiments.tables import Report, markdown, names, scored, select

MEASURES = {"accuracy": "accuracy", "auc_roc": "AUC", "nll": "NLL", "ece": "ECE"}
GROUPS = {"trec2011": "hcb", "sp_amt": "sp", "medrel_treat": "medrel", "medrel_cause": "medrel"}  # linked sets
BASELINE, SUBJECT = "majority vote", "auto"
OWN = ("integrated", SUBJECT)
PEERS = {"Dawid-Skene": "DawidSkene", "one coin": "OneCoinDawidSkene", "GLAD": "GLAD", "MACE": "MACE"}  # of crowd-kit
SIMULATED = "simulated"
SHOWN = ("Dawid-Skene", "one coin", "GLAD", "1 factor", "2 factors", "3 factors", "MACE (crowd-kit)", SUBJECT)


@dataclasses.dataclass(frozen=True)
class Crowd:
    """Settings of ``simulate.mixed``.

    Attributes:
        per_instance: labels of every instance.
        active: labelers that label anything.
        ability: mean and standard deviation over labelers.
        bias: the same of what a labeler says whatever the truth is.
        clarity: standard deviation of the log of how clear an instance is.
        positives: the chance that a truth is positive.
        spammers: the chance that a labeler answers at random.
        adversaries: the chance that a labeler says the opposite.
    """

    per_instance: int = 5
    active: int = 30
    ability: tuple[float, float] = (1.3, 0.5)
    bias: tuple[float, float] = (0.0, 0.5)
    clarity: float = 0.5
    positives: float = 0.5
    spammers: float = 0.0
    adversaries: float = 0.0


def crowds() -> dict[str, Crowd]:
    """One trouble each."""
    return {
        "benign": Crowd(),
        "spammers": Crowd(spammers=0.5),
        "adversaries": Crowd(adversaries=0.2),
        "shared bias": Crowd(bias=(-1.0, 0.5)),
        "rare class": Crowd(positives=0.1),
        "three labelers": Crowd(per_instance=3, active=3),
        "five labelers": Crowd(active=5),
        "one label": Crowd(per_instance=1),
        "two labels": Crowd(per_instance=2),
    }


@dataclasses.dataclass(frozen=True)
class Config:
    """The real sets and what is done with them, the models, and the simulated crowds.

    Attributes:
        sets: real sets; those that are here are used.
        models: the factor models by name.
        peers: whether methods of crowd-kit take part, where it is installed.
        most_labels_of_glad: crowd-kit's GLAD, which needs minutes for more, takes part up to so many labels.
        shares: shares of the labels to keep, besides all.
        gold: numbers of gold labels.
        score: whether scores are used where a set has them.
        n_draws: subsets of the labels of every share.
        n_gold_draws: draws of every number of gold labels.
        crowds: simulated crowds by name.
        n_crowds: crowds of each kind.
        n_labelers: of a simulated crowd, at most.
        n_instances: of a simulated crowd.
        repeats: what to do with repeated judgements.
        seed: draws labels, gold, crowds and starts.
        solver: how to fit.
    """

    sets: tuple[Set, ...] = BINARY
    models: dict[str, Model] = dataclasses.field(default_factory=real.models)
    peers: bool = True
    most_labels_of_glad: int = 10_000
    shares: tuple[float, ...] = (0.8, 0.4)
    gold: tuple[int, ...] = (10, 50)
    score: bool = True
    n_draws: int = 5
    n_gold_draws: int = 40
    crowds: dict[str, Crowd] = dataclasses.field(default_factory=crowds)
    n_crowds: int = 5
    n_labelers: int = 30
    n_instances: int = 200
    repeats: Repeats = "count"
    seed: int = 0
    solver: Solver = Solver(restarts=4)


def data(config: Config) -> tuple[str, ...]:
    return config.sets


def cells(config: Config) -> list[Cell]:
    return [("real", name) for name in present(config.sets)] + [(SIMULATED, name) for name in config.crowds]


def size(config: Config, kind: str, name: str) -> Size:
    if kind == SIMULATED:
        n = config.n_labelers * config.n_instances
        blank = Draws(np.ones((config.n_crowds, n)), np.ones((config.n_crowds, n)))
        return size_of(simulate.grid(config.n_labelers, config.n_instances), blank, config.models, config.solver)
    labels = datasets.load(name, config.repeats).labels
    n_draws = config.n_draws if config.shares else 1
    return size_of(labels, Draws(np.ones((n_draws, len(labels.label)))), config.models, config.solver)


def run_cell(config: Config, kind: str, name: str) -> Tables:
    found = on_crowds(config, name) if kind == SIMULATED else on_set(config, name)
    return {"metrics": pa.Table.from_pylist(found)}


def on_set(config: Config, name: str) -> list[dict]:
    """Rows of all methods on a real set: on all labels, on parts of them, with gold and with a score."""
    found = []
    labels, index, truth = datasets.load(name, config.repeats)
    counts = np.asarray(labels.counts, np.float32)
    conditions = {"all labels": counts[None]}
    for share in config.shares:
        conditions[f"{share:.0%}"] = drop(config.seed, counts, 1 - share, config.n_draws)
    for condition, weight in conditions.items():
        for method, posterior in posteriors(labels, Draws(weight), config, f"{name}, {condition}").items():
            found += scored(method, posterior, truth, set=name, condition=condition)
    for n in config.gold:
        found += with_gold(labels, truth, n, config, name)
    score = datasets.scores(name, index.instances) if config.score else None
    if score is not None:
        found += with_score(labels, truth, score, name)
    return found


def on_crowds(config: Config, name: str) -> list[dict]:
    """Rows of all methods on simulated crowds of one kind."""
    found, drawn = [], draw(config, name)
    pairs = simulate.grid(config.n_labelers, config.n_instances)
    for method, posterior in posteriors(pairs, Draws(drawn.weight, drawn.label), config, name).items():
        found += scored(method, posterior, drawn.truth, set=name, condition=SIMULATED)
    return found


def draw(config: Config, name: str) -> simulate.Simulation:
    """``n_crowds`` crowds of one kind."""
    number, settings = list(config.crowds).index(name), dataclasses.asdict(config.crowds[name])
    keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), number), config.n_crowds)
    one = lambda key: simulate.mixed(key, config.n_labelers, config.n_instances, **settings)  # noqa: E731
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))


def posteriors(labels: Labels, draws: Draws, config: Config, name: str) -> dict[str, np.ndarray]:
    """P(z = +1) by every method on every draw of the labels, [R, I]."""
    fitted = fit_all(labels, draws, config.models, config.solver, config.seed, f"leaderboard, {name}")
    out = {method: np.asarray(f.posterior) for method, f in fitted.items()}
    labels = jax.tree.map(np.asarray, labels)
    each = [
        dataclasses.replace(labels, weight=w, label=labels.label if draws.label is None else draws.label[r])
        for r, w in enumerate(draws.weight)
    ]
    peers = PEERS if config.peers and importlib.util.find_spec("crowdkit") else {}
    if max(w.sum() for w in draws.weight) > config.most_labels_of_glad:
        peers = {method: kind for method, kind in peers.items() if kind != "GLAD"}
    ways = {f"{method} (crowd-kit)": partial(peer, kind=kind, seed=config.seed) for method, kind in peers.items()}
    ways |= {method: partial(probabilities, method=method) for method in OWN}
    for method, way in ways.items():
        began = time.perf_counter()
        out[method] = np.stack([way(v) for v in each])
        seconds = time.perf_counter() - began
        say(f"leaderboard, {name}: {method}: {seconds:.1f} s", event="fitted", model=method, seconds=round(seconds, 3))
    return out


def probabilities(labels: Labels, method: str) -> np.ndarray:
    """P(z = +1) by the integrated model, or by what ``auto`` makes of the labels."""
    return np.asarray(own(labels, method).instances.probability)


def own(labels: Labels, method: str, **given) -> integrated.Answer:
    """What the integrated model says, or what ``auto`` makes of the labels."""
    labels = jax.tree.map(np.asarray, labels)
    plan = integrated.plan(labels) if method == SUBJECT else integrated.Plan(IntegratedConfig(), "able", ())
    return integrated.answer(labels, plan, posterior="laplace", **given)  # of instances alone


def with_gold(labels: Labels, truth, n: int, config: Config, name: str) -> list[dict]:
    """Rows of ``auto`` with n gold labels, of the same without their calibration, and of the same without gold, all on
    the instances that are not gold."""
    without = own(labels, SUBJECT)
    known = np.flatnonzero(~np.isnan(truth))
    rng = np.random.default_rng([config.seed, n])
    draws = []
    for _ in range(config.n_gold_draws):
        chosen = rng.choice(known, min(n, len(known) // 2), replace=False)
        gold = np.full(len(truth), -1, np.int8)
        gold[chosen] = truth[chosen] > 0
        found = own(dataclasses.replace(labels, gold=gold), SUBJECT)
        raw = integrated.of_average(labels, found.average)
        rest = truth.copy()
        rest[chosen] = np.nan
        draws.append((np.asarray(found.instances.probability), np.asarray(raw.probability), rest))
    calibrated, raw, rest = (np.stack(v) for v in zip(*draws, strict=True))
    methods = {
        f"{SUBJECT} with gold": calibrated,
        f"{SUBJECT} with gold, not calibrated": raw,
        SUBJECT: np.asarray(without.instances.probability),
    }
    rows = [
        scored(method, np.broadcast_to(p, rest.shape), rest, set=name, condition=f"{n} gold")
        for method, p in methods.items()
    ]
    return sum(rows, [])


def with_score(labels: Labels, truth, score, name: str) -> list[dict]:
    """Rows of ``auto`` with the boundary by a score (NaN where an instance has none), and of the same without."""
    without = own(labels, SUBJECT)
    found = own(labels, SUBJECT, scores=score)
    methods = {f"{SUBJECT} with a score": found, SUBJECT: without}
    rows = [
        scored(method, np.asarray(said.instances.probability)[None], truth, set=name, condition="score")
        for method, said in methods.items()
    ]
    return sum(rows, [])


def peer(labels: Labels, kind: str, seed: int) -> np.ndarray:
    """P(z = +1) by a method of crowd-kit at its defaults; an instance without labels is undecided."""
    import pandas as pd
    from crowdkit import aggregation

    n = np.rint(np.asarray(labels.counts)).astype(int)
    rows = np.repeat(np.arange(len(n)), n)
    columns = ("task", labels.instance), ("worker", labels.labeler), ("label", labels.label)
    table = pd.DataFrame({k: np.asarray(v)[rows] for k, v in columns})
    settings = {"random_state": seed} if kind == "MACE" else {}
    with warnings.catch_warnings(action="ignore"):
        found = getattr(aggregation, kind)(**settings).fit_predict_proba(table)
    p = np.full(labels.n_instances, 0.5)
    p[found.index.to_numpy()] = found.reindex(columns=[1]).fillna(0.0)[1].to_numpy()
    return p


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    parts, figures = [], {}
    for condition in names(metrics, "condition"):
        here = metrics.filter(pc.equal(metrics["condition"], condition))
        sets, methods = names(here, "set"), names(here, "model")
        draws = {k: values(here, sets, methods, k) for k in MEASURES}
        table = {k: np.array([[mean(v) for v in row] for row in rows]) for k, rows in draws.items()}
        against = methods.index(BASELINE if BASELINE in methods else SUBJECT)
        parts += [f"## {condition}\n", summary(table, sets, methods, against)]
        if condition in ("all labels", SIMULATED):
            parts += [f"**{MEASURES[k]}**\n\n" + by_set(table[k], sets, methods) for k in ("accuracy", "nll")]
            figures[condition.replace(" ", "_")] = picture(table, sets, methods)
        if condition == SIMULATED:
            parts += [
                f"**{SUBJECT}'s gain in {MEASURES[k]}**, paired over {config.n_crowds} crowds of a kind\n\n"
                + in_pairs({"accuracy": 1, "nll": -1}[k], draws[k], sets, methods)
                for k in ("accuracy", "nll")
            ]
    missing = [s for s in config.sets if s not in names(metrics, "set")]
    text = (
        "Means over groups of linked sets (hcb and trec2011, sp and sp_amt, medrel_cause and medrel_treat count once); "
        "a method that did not take part in all sets has none. "
        f"Worst: the set with the largest loss against {BASELINE} (with gold or a score: against {SUBJECT} without). "
        f"The last columns: how much better {SUBJECT} is than the method, paired over groups, ± standard error. "
        f"GLAD of crowd-kit: sets of up to {config.most_labels_of_glad} labels. "
        + (f"Not here, so skipped: {', '.join(missing)}. " if missing else "")
        + "\n\n"
        + "\n\n".join(parts)
        + "\n"
    )
    return Report(text, figures)


def values(metrics: pa.Table, sets, methods, metric: str) -> list[list[np.ndarray]]:
    """A measure of every draw, by set and method; none where a method did not take part."""
    return [[select(metrics, model=m, set=s, metric=metric) for m in methods] for s in sets]


def mean(draws: np.ndarray) -> float:
    return float(draws.mean()) if len(draws) else np.nan


def by_set(table, sets, methods) -> str:
    return markdown(["set", *methods], [[s, *map(float, v)] for s, v in zip(sets, table, strict=True)])


def in_pairs(sign: int, draws, sets, methods) -> str:
    """Per kind of crowd, how much better ``auto`` is than every method, paired over the crowds of the kind."""
    subject = methods.index(SUBJECT)
    others = [m for m in range(len(methods)) if m != subject]

    def cell(row, m):
        if not len(row[m]):
            return "–"
        found = paired(sign * row[subject], sign * row[m])
        return f"{found.difference:+.3f} ± {found.standard_error:.3f}"

    lines = [[s, *(cell(row, m) for m in others)] for s, row in zip(sets, draws, strict=True)]
    return markdown(["set", *(methods[m] for m in others)], lines)


def picture(table, sets, methods):
    """Accuracy and NLL of each set against the majority vote, of the methods that took part in all."""
    baseline = methods.index(BASELINE)
    shown = [m for m, method in enumerate(methods) if method in SHOWN and m != baseline]
    against = lambda k: table[k][:, shown] - table[k][:, [baseline]]  # noqa: E731
    panels = {f"Accuracy, {BASELINE} = 0": against("accuracy"), f"NLL, {BASELINE} = 0": against("nll")}
    return plots.differences(panels, sets, [methods[m] for m in shown], highlight=SUBJECT)


def summary(table, sets, methods, against: int) -> str:
    """A line per method: means over groups, worst sets, and ``auto``'s gain on it."""
    means = {k: by_group(v, sets) for k, v in table.items()}
    subject = methods.index(SUBJECT)
    lines = []
    for m, method in enumerate(methods):
        gains = [gain(means["accuracy"], subject, m), gain(-means["nll"], subject, m)]
        worst = float(np.nanmin(table["accuracy"][:, m] - table["accuracy"][:, against]))
        lost = float(np.nanmax(table["nll"][:, m] - table["nll"][:, against]))
        lines.append([method, *(float(means[k][:, m].mean()) for k in MEASURES), worst, lost, *gains])
    head = ["method", *MEASURES.values(), "worst accuracy", "worst NLL"]
    return markdown([*head, f"{SUBJECT}'s gain in accuracy", f"{SUBJECT}'s gain in NLL"], lines)


def gain(values, subject: int, method: int) -> str:
    """How much larger the subject's values are than the method's, paired over the groups where it took part."""
    both = ~np.isnan(values[:, method])
    if method == subject or both.sum() < 2:
        return "–"
    found = paired(values[both, subject], values[both, method])
    return f"{found.difference:+.3f} ± {found.standard_error:.3f}"


def by_group(values, sets):
    """Means within groups of linked sets: [K sets, M] -> [groups, M]."""
    group = np.array([GROUPS.get(s, s) for s in sets])
    return np.stack([values[group == g].mean(0) for g in dict.fromkeys(group)])
