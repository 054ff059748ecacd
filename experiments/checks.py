"""What the integrated model misses on real sets, and who is who there; without gold."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pyarrow as pa

from crowdjax import datasets, integrated, plots
from crowdjax.datasets import BINARY
from crowdjax.labels import Repeats
from experiments.cells import Cell, Size, Tables, present, say
from experiments.config import Set
from experiments.tables import Report, markdown, names, rows, select

KINDS = ("expert", "ordinary", "spammer", "adversary", "unknown")


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets and how they are looked at.

    Attributes:
        sets: real sets; those that are here are used.
        replicates: sets of labels that the fitted model gives, to compare with.
        repeats: what to do with repeated judgements.
        seed: draws the replicates.
    """

    sets: tuple[Set, ...] = BINARY
    replicates: int = 99
    repeats: Repeats = "count"
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return config.sets


def cells(config: Config) -> list[Cell]:
    return [(name,) for name in present(config.sets)]


def size(config: Config, name: str) -> Size:
    labels = datasets.load(name, config.repeats).labels
    lower = lambda: integrated.fit_jit.lower(labels, integrated.plan(labels).config)  # noqa: E731
    n_labels = int((np.asarray(labels.counts) > 0).sum())
    return Size(n_labels, labels.n_labelers, labels.n_instances, 1, lower, "the fit")


def run_cell(config: Config, name: str) -> Tables:
    found = []
    labels, _, _ = datasets.load(name, config.repeats)
    said = integrated.answer(labels)
    seen = integrated.check(
        jax.random.key(config.seed), labels, said.fit.parameters, said.plan.config, replicates=config.replicates
    )
    for check in seen.checks:
        values = {"observed": [check.observed], "expected": [check.expected], "p": [check.p]}
        found += rows(check.name, values, set=name)
    kind = said.labelers.kind
    counts = {k: [np.count_nonzero(kind == k)] for k in KINDS}
    sides = [(s.side > 0).sum() for s in seen.schools[:1]] + [(s.side < 0).sum() for s in seen.schools[:1]]
    found += rows("labelers", counts | {"schools": [len(seen.schools)]}, set=name)
    found += rows("sides", {"labelers": sides}, set=name)
    found += rows("instances", {"surprising": [seen.surprising.mean()]}, set=name)
    say(f"checks, {name}: " + ", ".join(f"{c.name} {c.p:.2f}" for c in seen.checks))
    return {"metrics": pa.Table.from_pylist(found)}


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    sets = names(metrics, "set")
    checks = [m for m in names(metrics, "model") if m not in ("labelers", "sides", "instances")]
    get = lambda s, model, metric: float(select(metrics, set=s, model=model, metric=metric)[0])  # noqa: E731
    p = np.array([[get(s, check, "p") for check in checks] for s in sets])

    def line(s):
        many = int(get(s, "labelers", "schools"))
        sides = [int(v) for v in select(metrics, set=s, model="sides", metric="labelers")] if many else []
        school = f"{many}: {sides[0]} against {sides[1]}" if many else "none"
        return [s, *(int(get(s, "labelers", k)) for k in KINDS), school, get(s, "instances", "surprising")]

    missing = [s for s in config.sets if s not in sets]
    text = (
        f"p-values by {config.replicates} replicates of the fitted model: small where it misses something.\n\n"
        + markdown(["set", *checks], [[s, *map(float, row)] for s, row in zip(sets, p, strict=True)])
        + "\n\nLabelers by kind; schools of thought, the sides of the strongest; share of surprising instances.\n\n"
        + markdown(["set", *KINDS, "schools", "surprising"], [line(s) for s in sets])
        + (f"\n\nNot here, so skipped: {', '.join(missing)}." if missing else "")
        + "\n"
    )
    return Report(text, {"checks": plots.dots(p, sets, checks, title="What the model may miss", xlabel="p-value")})
