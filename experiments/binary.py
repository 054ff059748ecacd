"""Labels of two classes on real sets: sets that are binary, one class of larger sets against the rest, few labelers.

Linked sets count once. A pool of ``auto`` and iBCC takes part; its weight is chosen without the group it is scored on.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax import datasets, plots
from crowdjax.datasets import BINARY
from crowdjax.metrics import paired
from experiments import classes, leaderboard, peers
from experiments.cells import Cell, Size, Tables, present, say
from experiments.config import Set
from experiments.peers import Crowd
from experiments.selection import by_group, leave_one_out
from experiments.stress import BASELINE, SUBJECT, TOLERATED, Method, score
from experiments.tables import Report, markdown, names, rows, select

REAL, DERIVED, FEW = "binary sets", "one class against the rest", "few labelers"
DERIVED_SETS = ("cf", "cf_amt", "adult", "dog", "web", "music_genre", "labelme")
FEW_SETS = ("bluebirds", "ducks", "duchenne")
GROUPS = {**leaderboard.GROUPS, "cf_amt": "cf"}  # linked sets
LEADER = "ducks"  # the set that the lead rests on
POOLED = "iBCC"
SHOWN = ("dawid-skene", "iBCC", "EBCC", SUBJECT)  # in the figure


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets, what is made of them, and the methods.

    Attributes:
        sets: binary sets; those that are here are used.
        derived: sets of more classes, each class against the rest.
        least: of the gold that a class must have to be a task, and to leave to the others.
        few: sets of which few labelers are drawn.
        n_labelers: how few.
        n_draws: draws of each number of labelers.
        methods: crowdjax's models and their peers, crowd-kit's where it is installed; all are compared with the vote.
        weights: of iBCC in its pool with auto.
        restarts: of EBCC and of crowd-kit's MACE.
        seed: draws labelers and starts.
    """

    sets: tuple[Set, ...] = BINARY
    derived: tuple[Literal[DERIVED_SETS], ...] = DERIVED_SETS
    least: float = 0.1
    few: tuple[Literal[FEW_SETS], ...] = FEW_SETS
    n_labelers: tuple[int, ...] = (6, 8, 12)
    n_draws: int = 10
    methods: tuple[Method, ...] = ("vote", "one-coin", "dawid-skene", "integrated", "auto", "iBCC", "EBCC")
    weights: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5)
    restarts: int = 5
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return config.sets


def cells(config: Config) -> list[Cell]:
    here = present(config.sets)
    found = [(REAL, name) for name in here]
    found += [(DERIVED, name) for name in config.derived if (datasets.folder() / name).is_dir()]
    return found + [(FEW, name) for name in config.few if name in datasets.available()]


def size(config: Config, kind: str, name: str) -> Size:
    tasks = drawn(config, kind, name)
    n = [(len(c.label), len(np.unique(c.labeler)), len(c.truth)) for _, c in tasks]
    return Size(*max(n), len(tasks) * len(config.methods), None, "fits")


def run_cell(config: Config, kind: str, name: str) -> Tables:
    found = []
    for r, (task, crowd) in enumerate(drawn(config, kind, name)):
        began, said = time.perf_counter(), {}
        for method in peers.here(config.methods):
            said[method] = peers.answer(crowd, method, config.restarts, config.seed).posterior
        if {SUBJECT, POOLED} <= set(said):
            said |= {pool(w): (1 - w) * said[SUBJECT] + w * said[POOLED] for w in config.weights}
        seconds = time.perf_counter() - began
        say(f"binary, {task}: {seconds:.1f} s", event="fitted", model=task, seconds=round(seconds, 3))
        for method, p in said.items():
            start = r % config.n_draws if kind == FEW else 0
            found += rows(method, score(p, crowd.truth), start=start, set=task, source=name, condition=kind)
    return {"metrics": pa.Table.from_pylist(found)}


def pool(weight: float) -> str:
    return f"{SUBJECT} + {weight:g} {POOLED}"


def drawn(config: Config, kind: str, name: str) -> list[tuple[str, Crowd]]:
    """The tasks of a set by name; of few labelers one for every draw."""
    if kind == REAL:
        return [(name, binary(name))]
    if kind == DERIVED:
        return against_the_rest(name, config.least)
    crowd = binary(name)
    return [(f"{name}, {n} labelers", some) for n in config.n_labelers for some in few(crowd, n, config)]


def few(crowd: Crowd, n_labelers: int, config: Config) -> list[Crowd]:
    """Draws of so many labelers, whose tables have as many rows."""
    seeds = ([config.seed, n_labelers, r] for r in range(config.n_draws))
    found = [some(crowd, n_labelers, np.random.default_rng(seed)) for seed in seeds]
    return [draw._replace(n_rows=max(len(other.label) for other in found)) for draw in found]


def binary(name: str) -> Crowd:
    """A binary set; repeated judgements count."""
    labels, _, truth = datasets.load(name)
    n = np.rint(np.asarray(labels.counts)).astype(int)
    columns = (np.repeat(np.asarray(v), n) for v in (labels.labeler, labels.instance, labels.label))
    return Crowd(*columns, np.where(np.isnan(truth), -1, truth > 0).astype(int), 2)


def against_the_rest(name: str, least: float) -> list[tuple[str, Crowd]]:
    """A task for each class of a set of several that has a share of the gold of at least so much."""
    table, truth = classes.read(name)
    labeler, instance = (np.unique(table[side], return_inverse=True) for side in ("labeler", "instance"))
    known = truth.reindex(instance[0])
    share = truth.value_counts(normalize=True).sort_index()
    chosen = share.index[(share >= least) & (share <= 1 - least)]
    label, gold = table["label"].to_numpy(), [np.where(known.isna(), -1, known == k).astype(int) for k in chosen]
    return [
        (f"{name}: {k}", Crowd(labeler[1], instance[1], (label == k).astype(int), truth, 2))
        for k, truth in zip(chosen, gold, strict=True)
    ]


def some(crowd: Crowd, n_labelers: int, rng: np.random.Generator) -> Crowd:
    """The labels of some labelers, and the instances that they labelled."""
    chosen = rng.choice(np.unique(crowd.labeler), n_labelers, replace=False)
    kept = np.isin(crowd.labeler, chosen)
    there, instance = np.unique(crowd.instance[kept], return_inverse=True)
    labeler = np.unique(crowd.labeler[kept], return_inverse=True)[1]
    return Crowd(labeler, instance, crowd.label[kept], crowd.truth[there], crowd.n_classes)


def report(config: Config, tables) -> Report:
    found = tables["metrics"]
    parts, figures = [], {}
    for condition in names(found, "condition"):
        here = found.filter(pc.equal(found["condition"], condition))
        parts.append(f"## {condition}\n\n{_board(here, condition)}")
        figures[condition.replace(" ", "_")] = _picture(here)
    real = found.filter(pc.is_in(found["condition"], pa.array([REAL, DERIVED])))
    parts += [f"## {REAL} and derived tasks\n\n{_summary(real)}", _pools(config, real)]
    text = (
        "Linked sets count once (hcb and trec2011, sp and sp_amt, medrel_cause and medrel_treat, cf and cf_amt), "
        f"and so do the tasks of one set. A class is a task if it has {config.least:g} of the gold or more. Repeated "
        "judgements count in the binary sets; of the others the first is kept. The vote has two pseudo-counts in all, "
        "and NLL is cut off at 1e-6. Differences are paired over groups, ± standard error.\n\n"
        + "\n\n".join(filter(None, parts))
        + "\n"
    )
    return Report(text, figures)


def _means(found: pa.Table):
    sets, methods = names(found, "set"), names(found, "model")
    cell = lambda s, m, k: select(found, model=m, set=s, metric=k).mean()  # noqa: E731
    return sets, methods, {k: np.array([[cell(s, m, k) for m in methods] for s in sets]) for k in ("accuracy", "nll")}


def _picture(found: pa.Table):
    """Accuracy and NLL of each set or task against the vote's."""
    sets, methods, mean = _means(found)
    shown = [m for m, method in enumerate(methods) if method in SHOWN]
    against = lambda k: (mean[k] - mean[k][:, [methods.index(BASELINE)]])[:, shown]  # noqa: E731
    panels = {"Accuracy, vote = 0": against("accuracy"), "NLL, vote = 0": against("nll")}
    return plots.differences(panels, sets, [methods[m] for m in shown], highlight=SUBJECT)


def _groups(found: pa.Table, sets) -> list[str]:
    """The group of linked sets that each set or task belongs to."""
    source = dict(zip(found["set"].to_pylist(), found["source"].to_pylist(), strict=True))
    return [GROUPS.get(source[s], source[s]) for s in sets]


def _board(here: pa.Table, condition: str) -> str:
    sets, methods, mean = _means(here)
    pools = [m for m, method in enumerate(methods) if not method.startswith(f"{SUBJECT} + ")]
    lines = [[s, *(f"{mean['accuracy'][t, m]:.3f}/{mean['nll'][t, m]:.2f}" for m in pools)] for t, s in enumerate(sets)]
    table = markdown(["accuracy/NLL", *(methods[m] for m in pools)], lines)
    return table if condition == FEW else f"{_summary(here)}\n\n{table}"


def _summary(found: pa.Table) -> str:
    """A line per method: means over groups, the lead of ``auto`` with and without its best set, and losses."""
    sets, methods, mean = _means(found)
    groups = _groups(found, sets)
    of = {k: by_group(v.T, groups) for k, v in mean.items()}
    order = list(dict.fromkeys(groups))
    subject, vote = methods.index(SUBJECT), methods.index(BASELINE)
    gain = mean["accuracy"] - mean["accuracy"][:, [vote]]
    parts = {"": slice(None)}
    if LEADER in order:
        parts[f", without {LEADER}"] = [g for g, name in enumerate(order) if name != LEADER]

    def line(m: int):
        for part in parts.values():
            yield from (float(of[k][m, part].mean()) for k in of)
            yield from (_difference(of[k][m, part], of[k][subject, part]) for k in of)
        yield f"{gain[:, m].min():+.3f} ({sets[gain[:, m].argmin()]})"
        yield int((gain[:, m] < -TOLERATED).sum())

    measured = ("accuracy", "NLL", f"accuracy against {SUBJECT}", f"NLL against {SUBJECT}")
    head = ["method", *(f"{k}{part}" for part in parts for k in measured)]
    head += ["worst accuracy against the vote", f"more than {TOLERATED} below it"]
    body = [[method, *line(m)] for m, method in enumerate(methods)]
    return f"{len(order)} groups, {len(sets)} sets or tasks.\n\n" + markdown(head, body)


def _difference(values, against) -> str:
    found = paired(values, against)
    return f"{found.difference:+.3f} ± {found.standard_error:.3f}"


def _pools(config: Config, found: pa.Table) -> str:
    """What the pool is worth with a weight that is chosen without the group it is scored on."""
    sets, methods, mean = _means(found)
    settings = [m for m in (SUBJECT, *map(pool, config.weights)) if m in methods]
    groups = _groups(found, sets)
    if len(settings) < 2 or len(set(groups)) < 2:
        return ""
    at = [methods.index(m) for m in settings]
    accuracy, nll = (mean[k].T[at] for k in ("accuracy", "nll"))
    lines = []
    for name, kept in {"all groups": np.ones(len(sets), bool), f"without {LEADER}": np.array(groups) != LEADER}.items():
        of = [g for g, k in zip(groups, kept, strict=True) if k]
        for by, judged in {"accuracy": accuracy, "NLL": -nll}.items():
            found_a = leave_one_out(accuracy[:, kept] - accuracy[:1, kept], of, judged[:, kept])
            found_n = leave_one_out(nll[:1, kept] - nll[:, kept], of, judged[:, kept])
            said = ", ".join(dict.fromkeys(settings[s] for s in found_a.chosen))
            gains = (f"{v.mean:+.4f} ± {v.standard_error:.4f}" for v in (found_a, found_n))
            lines.append([name, by, *gains, f"{found_a.selected:+.4f}", said])
    head = ["groups", "chosen by", "gain in accuracy", "gain in NLL", "the same, chosen on all", "chosen"]
    return (
        f"## A pool of {SUBJECT} and {POOLED}\n\nOne of {len(settings)} settings ({SUBJECT} alone is one), chosen "
        f"without the group that it is scored on; gains over {SUBJECT}.\n\n{markdown(head, lines)}"
    )
