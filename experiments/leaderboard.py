"""Which answers hold up: one default per method on every real binary set with truth, linked sets counted once.

Four parts: all labels; parts of the labels, the same for every method; a few gold labels, scored on the other
instances; a score of the instances, where a set has one. A set's NLL and accuracy are compared with the majority vote's
(one pseudo-count per class): the worst difference counts, not only the mean. Methods of crowd-kit take part where it is
installed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax import datasets, integrated, plots
from crowdjax.datasets import BINARY
from crowdjax.factor import Solver
from crowdjax.integrated import IntegratedConfig
from crowdjax.labels import Labels, Repeats
from crowdjax.metrics import paired
from experiments import real
from experiments.config import Model
from experiments.fitting import Draws, drop, fit_all
from experiments.tables import Report, markdown, names, scored, select

MEASURES = {"accuracy": "accuracy", "auc_roc": "AUC", "nll": "NLL", "ece": "ECE"}
GROUPS = {"trec2011": "hcb", "sp_amt": "sp", "medrel_treat": "medrel", "medrel_cause": "medrel"}  # linked sets
BASELINE, SUBJECT = "majority vote", "auto"
OWN = ("integrated", SUBJECT)
PEERS = ("MACE (crowd-kit)",)


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets (those that are here are used), the models, shares of the labels, numbers of gold labels,
    whether scores are used where a set has them, and draws of the labels and of gold."""

    sets: tuple[str, ...] = BINARY
    models: dict[str, Model] = dataclasses.field(default_factory=real.models)
    peers: bool = True
    shares: tuple[float, ...] = (0.8, 0.4)
    gold: tuple[int, ...] = (10, 50)
    score: bool = True
    n_draws: int = 5
    n_gold_draws: int = 40
    repeats: Repeats = "count"
    seed: int = 0
    solver: Solver = Solver(restarts=4)


def data(config: Config) -> tuple[str, ...]:
    return config.sets


def run(config: Config) -> dict[str, pa.Table]:
    found = []
    for name in real.present(config):
        labels, index, truth = datasets.load(name, config.repeats)
        counts = np.asarray(labels.counts, np.float32)
        conditions = {"all labels": counts[None]}
        for share in config.shares:
            conditions[f"{share:.0%}"] = drop(config.seed, counts, 1 - share, config.n_draws)
        for condition, weight in conditions.items():
            for method, posterior in posteriors(labels, weight, config, f"{name}, {condition}").items():
                found += scored(method, posterior, truth, set=name, condition=condition)
        for n in config.gold:
            found += with_gold(labels, truth, n, config, name)
        score = datasets.scores(name, index.instances) if config.score else None
        if score is not None:
            found += with_score(labels, truth, score, name)
    return {"metrics": pa.Table.from_pylist(found)}


def posteriors(labels: Labels, weight, config: Config, name: str) -> dict[str, np.ndarray]:
    """P(z = +1) by every method on every draw of the labels, [R, I]."""
    fitted = fit_all(labels, Draws(weight), config.models, config.solver, config.seed, f"leaderboard, {name}")
    out = {method: np.asarray(f.posterior) for method, f in fitted.items()}
    if config.peers and importlib.util.find_spec("crowdkit"):
        out[PEERS[0]] = np.stack([mace(labels, w, config.seed) for w in weight])
    for method in OWN:
        began = time.perf_counter()
        out[method] = np.stack([own(labels.with_weight(jnp.asarray(w)), method)[1] for w in weight])
        print(f"leaderboard, {name}: {method}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    return out


def own(labels: Labels, method: str):
    """(plan, probabilities, fit) of the integrated model, or of what ``auto`` makes of the labels."""
    labels = jax.tree.map(np.asarray, labels)
    plan = integrated.plan(labels) if method == SUBJECT else integrated.Plan(IntegratedConfig(), "able", ())
    fit = integrated.fit_jit(labels, plan.config)
    boundary = integrated.place(plan.boundary, fit.parameters.labelers, fit.counts)
    found = integrated.of_instances(labels, fit.parameters, plan.config, boundary)
    return plan, np.asarray(found.probability), fit


def with_gold(labels: Labels, truth, n: int, config: Config, name: str) -> list[dict]:
    """Rows of ``auto`` with n gold labels, of the same without their calibration, and of the same without gold, all on
    the instances that are not gold."""
    plan, without, fit = own(labels, SUBJECT)
    known = np.flatnonzero(~np.isnan(truth))
    rng = np.random.default_rng([config.seed, n])
    usual = integrated.place(plan.boundary, fit.parameters.labelers, fit.counts)
    positive = integrated.positives(labels, fit.parameters, plan.config, integrated.candidates(usual))
    draws = []
    for _ in range(config.n_gold_draws):
        chosen = rng.choice(known, min(n, len(known) // 2), replace=False)
        p = integrated.of_gold(positive[chosen], truth[chosen])
        boundary = integrated.informed(usual, jnp.log(p).sum(0))
        calibration = integrated.calibrate(integrated.without_own(boundary, p))
        raw = positive @ boundary.mass
        rest = truth.copy()
        rest[chosen] = np.nan
        draws.append((np.asarray(integrated.calibrated(raw, calibration)), np.asarray(raw), rest))
    calibrated, raw, rest = (np.stack(v) for v in zip(*draws, strict=True))
    methods = {f"{SUBJECT} with gold": calibrated, f"{SUBJECT} with gold, not calibrated": raw, SUBJECT: without}
    rows = [
        scored(method, np.broadcast_to(p, rest.shape), rest, set=name, condition=f"{n} gold")
        for method, p in methods.items()
    ]
    return sum(rows, [])


def with_score(labels: Labels, truth, score, name: str) -> list[dict]:
    """Rows of ``auto`` with the boundary by a score (NaN where an instance has none), and of the same without."""
    plan, without, fit = own(labels, SUBJECT)
    usual = integrated.place(plan.boundary, fit.parameters.labelers, fit.counts)
    positive = integrated.positives(labels, fit.parameters, plan.config, integrated.candidates(usual))
    has = ~np.isnan(score)
    boundary = integrated.informed(
        usual, integrated.score_log_likelihood(positive[has], integrated.normal_scores(score[has]))
    )
    methods = {f"{SUBJECT} with a score": np.asarray(positive @ boundary.mass), SUBJECT: without}
    return sum((scored(m, p[None], truth, set=name, condition="score") for m, p in methods.items()), [])


def mace(labels: Labels, weight, seed: int) -> np.ndarray:
    """MACE as crowd-kit has it; an instance without labels is undecided."""
    import pandas as pd
    from crowdkit.aggregation import MACE

    n = np.rint(weight).astype(int)
    rows = np.repeat(np.arange(len(n)), n)
    columns = ("task", labels.instance), ("worker", labels.labeler), ("label", labels.label)
    table = pd.DataFrame({k: np.asarray(v)[rows] for k, v in columns})
    with warnings.catch_warnings(action="ignore"):
        found = MACE(random_state=seed).fit_predict_proba(table)
    p = np.full(labels.n_instances, 0.5)
    p[found.index.to_numpy()] = found.reindex(columns=[1]).fillna(0.0)[1].to_numpy()
    return p


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    parts, figures = [], {}
    for condition in names(metrics, "condition"):
        here = metrics.filter(pc.equal(metrics["condition"], condition))
        sets, methods = names(here, "set"), names(here, "model")
        table = {
            k: np.array([[select(here, model=m, set=s, metric=k).mean() for m in methods] for s in sets])
            for k in MEASURES
        }
        against = methods.index(BASELINE if BASELINE in methods else SUBJECT)
        parts += [f"## {condition}\n", summary(table, sets, methods, against)]
        if condition == "all labels":
            parts += [
                f"**{MEASURES[k]}**\n\n"
                + markdown(["set", *methods], [[s, *map(float, v)] for s, v in zip(sets, table[k], strict=True)])
                for k in ("accuracy", "nll")
            ]
            figures["leaderboard"] = plots.dots(table["accuracy"], sets, methods, title="Accuracy on real sets")
    missing = [s for s in config.sets if s not in names(metrics, "set")]
    text = (
        "Means over groups of linked sets (hcb and trec2011, sp and sp_amt, medrel_cause and medrel_treat count once). "
        f"Worst: the set with the largest loss against {BASELINE} (with gold or a score: against {SUBJECT} without). "
        f"The last columns: how much better {SUBJECT} is than the method, paired over groups, ± standard error. "
        + (f"Not here, so skipped: {', '.join(missing)}. " if missing else "")
        + "\n\n"
        + "\n\n".join(parts)
        + "\n"
    )
    return Report(text, figures)


def summary(table, sets, methods, against: int) -> str:
    """A line per method: means over groups, worst sets, and ``auto``'s gain on it."""
    means = {k: by_group(v, sets) for k, v in table.items()}
    subject = methods.index(SUBJECT)
    lines = []
    for m, method in enumerate(methods):
        gains = [gain(means["accuracy"], subject, m), gain(-means["nll"], subject, m)]
        worst = float((table["accuracy"][:, m] - table["accuracy"][:, against]).min())
        lost = float((table["nll"][:, m] - table["nll"][:, against]).max())
        lines.append([method, *(float(means[k][:, m].mean()) for k in MEASURES), worst, lost, *gains])
    head = ["method", *MEASURES.values(), "worst accuracy", "worst NLL"]
    return markdown([*head, f"{SUBJECT}'s gain in accuracy", f"{SUBJECT}'s gain in NLL"], lines)


def gain(values, subject: int, method: int) -> str:
    """How much larger the subject's values are than the method's, paired over groups."""
    if method == subject:
        return "–"
    found = paired(values[:, subject], values[:, method])
    return f"{found.difference:+.3f} ± {found.standard_error:.3f}"


def by_group(values, sets):
    """Means within groups of linked sets: [K sets, M] -> [groups, M]."""
    group = np.array([GROUPS.get(s, s) for s in sets])
    return np.stack([values[group == g].mean(0) for g in dict.fromkeys(group)])
