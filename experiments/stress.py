"""Simulated crowds with one trouble each: how accurate and how honest every model and every peer is, and who warns.

The worst crowd counts as well as the mean: its accuracy against the majority vote's on the same labels.
"""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Literal

import numpy as np
import pyarrow as pa

from crowdjax import metrics, plots
from experiments import peers
from experiments.cells import Cell, Size, Tables, say
from experiments.peers import OWN, PEERS, Crowd
from experiments.tables import Report, markdown, names, rows, select
from experiments.troubles import Trouble, draw

Method = Literal[OWN + PEERS]
BASELINE, SUBJECT = "vote", "auto"
TOLERATED = 0.02  # accuracy below the majority vote's that is not counted as a failure
SHOWN = ("dawid-skene", "glad", "iBCC", "EBCC", "MACE (crowd-kit)", SUBJECT)  # in the figure
IDS = r"(#(, | and | to )?)+"


def troubles() -> dict[str, Trouble]:
    """One of each kind; the configuration has them all."""
    return {"benign": Trouble()}


@dataclasses.dataclass(frozen=True)
class Config:
    """The kinds of crowds and the methods.

    Attributes:
        troubles: kinds of crowds by name.
        methods: crowdjax's models and their peers, crowd-kit's where it is installed; all are compared with the vote.
        slow: methods that need long.
        n_crowds: crowds of each kind.
        n_slow: crowds of each kind that the slow methods answer.
        many_classes: with more classes than so many the integrated models are slow as well.
        restarts: of EBCC and of crowd-kit's MACE.
        seed: draws crowds and starts.
    """

    troubles: dict[str, Trouble] = dataclasses.field(default_factory=troubles)
    methods: tuple[Method, ...] = PEERS[:1] + OWN + PEERS[1:]
    slow: tuple[Method, ...] = ("GLAD (crowd-kit)", "MACE (crowd-kit)")
    n_crowds: int = 6
    n_slow: int = 2
    many_classes: int = 5
    restarts: int = 2
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [(name,) for name in config.troubles]


def size(config: Config, name: str) -> Size:
    kind = config.troubles[name]
    n_labels = round(kind.per_instance * kind.n_instances)
    return Size(n_labels, kind.n_labelers, kind.n_instances, config.n_crowds * len(config.methods), None, "fits")


def run_cell(config: Config, name: str) -> Tables:
    found, warned = [], []
    drawn = crowds(config, name)
    for method in peers.here(config.methods):
        began = time.perf_counter()
        for r, crowd in enumerate(drawn[: config.n_slow] if slow(config, method, drawn[0].n_classes) else drawn):
            said = peers.answer(crowd, method, config.restarts, config.seed)
            values = score(said.posterior, crowd.truth) | {
                "called": [(said.posterior.argmax(1) == crowd.n_classes - 1).sum()]
            }
            found += rows(method, values, start=r, set=name)
            warned += [{"model": method, "set": name, "repeat": r, "kind": kind_of(text)} for text in said.warnings]
        seconds = time.perf_counter() - began
        say(f"stress, {name}: {method}: {seconds:.1f} s", event="fitted", model=method, seconds=round(seconds, 3))
    schema = pa.schema({"model": pa.string(), "set": pa.string(), "repeat": pa.int64(), "kind": pa.string()})
    return {"metrics": pa.Table.from_pylist(found), "warnings": pa.Table.from_pylist(warned, schema)}


def crowds(config: Config, name: str) -> list[Crowd]:
    """The crowds of a kind; each has a seed of its own, whatever other kinds there are."""
    kind = config.troubles[name]
    seeds = np.random.SeedSequence([config.seed, *name.encode()]).spawn(kind.crowds or config.n_crowds)
    return [draw(np.random.default_rng(seed), kind) for seed in seeds]


def slow(config: Config, method: str, n_classes: int) -> bool:
    return method in config.slow or (method in ("integrated", SUBJECT) and n_classes > config.many_classes)


def score(posterior, truth) -> dict[str, list[float]]:
    """The measures of a method's answers."""
    return {"accuracy": [metrics.accuracy(posterior, truth)], "nll": [metrics.nll(posterior, truth)]}


def kind_of(warning: str) -> str:
    """A warning without what differs between crowds: its first words, numbers and ids as #.

    Example:
        >>> kind_of("7 of 200 instances are undecided between classes that are equally probable; and so on.")
        '# of # instances are undecided between classes …'
    """
    text = re.sub(IDS, "# ", re.sub(r"'[^']*'|\d[\d.,]*\d|\d", "#", warning))
    words = re.split(r"[;:.]\s", text)[0].split()
    return " ".join(words[:8]) + (" …" if len(words) > 8 else "")


def report(config: Config, tables) -> Report:
    found = tables["metrics"]
    kinds, methods = names(found, "set"), names(found, "model")
    measured = ("accuracy", "nll", "called")
    draws = {k: [[select(found, model=m, set=s, metric=k) for m in methods] for s in kinds] for k in measured}
    mean = {k: np.array([[v.mean() for v in row] for row in rows]) for k, rows in draws.items()}
    vote = methods.index(BASELINE)
    against = {k: [[v - row[vote][: len(v)] for v in row] for row in rows] for k, rows in draws.items()}
    gain = {k: np.array([[v.mean() for v in row] for row in rows]) for k, rows in against.items()}
    worst = np.array([[v.min() for v in row] for row in against["accuracy"]])
    shown = [m for m, method in enumerate(methods) if method in SHOWN]
    panels = {f"{title}, vote = 0": gain[k][:, shown] for k, title in {"accuracy": "Accuracy", "nll": "NLL"}.items()}
    figure = plots.differences(panels, kinds, [methods[m] for m in shown], highlight=SUBJECT)
    slow_ones = ", ".join(m for m in config.slow if m in methods)
    text = (
        f"{config.n_crowds} crowds of each kind, with one trouble each, where its settings say no other number; "
        f"{config.n_slow} for {slow_ones or 'slow methods'}, and for integrated and auto with more than "
        f"{config.many_classes} classes. None is a crowd of a model that is fitted (`experiments/troubles.py`). "
        "The vote has two pseudo-counts in all, and NLL is cut off at 1e-6.\n\n"
        + _summary(kinds, methods, mean, gain["accuracy"], worst)
        + "\n\n**Accuracy**\n\n"
        + _by_kind(kinds, methods, mean["accuracy"])
        + "\n\n**NLL**\n\n"
        + _by_kind(kinds, methods, mean["nll"])
        + "\n\n**Accuracy of the worst crowd**, against the vote on the same labels\n\n"
        + _by_kind(kinds, methods, worst)
        + "\n\n"
        + _rare(config, kinds, methods, mean["called"])
        + _warnings(tables["warnings"], found, methods)
        + "\n"
    )
    return Report(text, {"stress": figure})


def _by_kind(kinds, methods, values) -> str:
    return markdown(["crowd", *methods], [[s, *map(float, v)] for s, v in zip(kinds, values, strict=True)])


def _summary(kinds, methods, mean, gain, worst) -> str:
    """A line per method: means over the kinds of crowds, the worst kind and the worst crowd."""
    lines = [
        [
            method,
            float(mean["accuracy"][:, m].mean()),
            float(mean["nll"][:, m].mean()),
            int((gain[:, m] < -TOLERATED).sum()),
            f"{gain[:, m].min():+.3f} ({kinds[gain[:, m].argmin()]})",
            f"{worst[:, m].min():+.3f} ({kinds[worst[:, m].argmin()]})",
        ]
        for m, method in enumerate(methods)
    ]
    below = f"kinds more than {TOLERATED} below the vote"
    return markdown(["method", "accuracy", "NLL", below, "worst kind", "worst crowd"], lines)


def _rare(config: Config, kinds, methods, called) -> str:
    """How many instances are called positive where few are."""
    few = {s: config.troubles[s].rare for s in kinds if config.troubles[s].rare}
    if not few:
        return ""
    lines = [[s, n, *(f"{v:.1f}" for v in called[kinds.index(s)])] for s, n in few.items()]
    return "**Instances called positive**\n\n" + markdown(["crowd", "positive", *methods], lines) + "\n\n"


def _warnings(warned: pa.Table, found: pa.Table, methods) -> str:
    """Who warned of what: the share of the crowds of a kind."""
    if not warned.num_rows:
        return "No method warned."
    methods = [m for m in methods if m in names(warned, "model")]
    counts: dict[tuple[str, str], dict[str, set]] = {}
    for row in warned.to_pylist():
        counts.setdefault((row["set"], row["kind"]), {}).setdefault(row["model"], set()).add(row["repeat"])
    n = lambda m, s: len(select(found, model=m, set=s, metric="accuracy"))  # noqa: E731
    lines = [
        [s, kind.replace("|", "\\|"), *(f"{len(by[m]) / n(m, s):.0%}" if m in by else "" for m in methods)]
        for (s, kind), by in counts.items()
    ]
    return "**Warnings**: the share of the crowds\n\n" + markdown(["crowd", "warning", *methods], lines)
