"""Shares of K exclusive classes from labels and a score, by the default command: do their intervals hold?

Crowds are those of ``simulate_classes.nominal`` (four classes, labelers of their own ability, tastes and, in some of
them, confusions), and each instance gets a classifier's score drawn given its class: σ(N(m_z, 1)), m from 1.5 (the
first class) to -1. None is the model of ``contextual.categories``, whose labelers confuse classes alike. Measured are
every class's interval, beside Dawid and Skene's model and the vote share, and the answers by accuracy and NLL.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from time import perf_counter

import jax
import numpy as np
import pyarrow as pa

import crowdjax
from crowdjax import metrics as judged
from crowdjax import plots
from crowdjax.contextual import ContextualConfig
from crowdjax.simulate_classes import CROWDS, nominal
from experiments.cells import Cell, Size, Tables
from experiments.tables import Report, markdown, rows, select
from experiments.theodon_sim import size_of_fits

SCORE = (1.5, 0.5, -0.5, -1.0)  # m, by class
NAMES = np.array(["a", "b", "c", "d"])


@dataclasses.dataclass(frozen=True)
class Config:
    """Crowds, and how many of their instances get gold.

    Attributes:
        crowds: settings of ``simulate_classes.CROWDS``.
        n_gold: how many instances, drawn at random, get gold.
        n_instances, n_labelers, per_instance: of every crowd.
        n_repeats: crowds of each kind.
        in_cell: crowds computed at a time.
        seed: draws crowds, scores and gold.
    """

    crowds: tuple[str, ...] = ("benign", "shared bias", "confuse", "rare", "unlike")
    n_gold: tuple[int, ...] = (0, 200)
    n_instances: int = 800
    n_labelers: int = 15
    per_instance: int = 3
    n_repeats: int = 20
    in_cell: int = 4
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [
        (crowd, n, start, min(start + config.in_cell, config.n_repeats))
        for start in range(0, config.n_repeats, config.in_cell)
        for crowd in config.crowds
        for n in config.n_gold
    ]


def size(config: Config, crowd: str, n_gold: int, start: int, end: int) -> Size:
    return size_of_fits(config.n_instances, config.per_instance, config.n_labelers, ContextualConfig(), end - start)


def run_cell(config: Config, crowd: str, n_gold: int, start: int, end: int) -> Tables:
    """Crowds of one kind with so much gold, from ``start`` up to ``end``."""
    found: list[dict] = []
    for r in range(start, end):
        for model, values in measured(config, crowd, n_gold, config.seed * 100_000 + r).items():
            columns = {name: [float(value)] for name, value in values.items()}
            found += rows(model, columns, start=r, crowd=crowd, gold=n_gold)
    return {"metrics": pa.Table.from_pylist(found)}


def measured(config: Config, crowd: str, n_gold: int, seed: int) -> dict[str, dict[str, float]]:
    """What the command says of one crowd, and what is true."""
    n, rng = config.n_instances, np.random.default_rng(seed)
    drawn = nominal(jax.random.key(seed), config.n_labelers, n, per_instance=config.per_instance, **CROWDS[crowd])
    truth = np.asarray(drawn.truth)
    score = 1 / (1 + np.exp(-rng.normal(np.array(SCORE)[truth], 1)))
    labels = {"labeler": np.asarray(drawn.labeler), "instance": np.asarray(drawn.instance),
              "label": NAMES[np.asarray(drawn.label)]}  # fmt: skip
    known = rng.choice(n, n_gold, replace=False)
    gold = {"instance": known, "label": NAMES[truth[known]]} if n_gold else None
    true = np.bincount(truth, minlength=len(NAMES)) / n
    started = perf_counter()
    result = crowdjax.context(labels, {"instance": np.arange(n), "score": score}, gold=gold)
    seconds = perf_counter() - started
    ends = np.array([[result.prevalence["classes"][c][end] for end in ("mean", "lower", "upper")] for c in NAMES])
    found = {"default": _of_answers(result, truth) | {
        "error": abs(ends[:, 0] - true).mean(),
        "covered": ((ends[:, 1] <= true) & (true <= ends[:, 2])).mean(),
        "width": (ends[:, 2] - ends[:, 1]).mean(),
        "checked": result.prevalence["checked"],
        "agree": result.prevalence["constraints_agree"],
        "nuts": result.record["inference"] == "nuts",
        "seconds": seconds,
    }}  # fmt: skip
    peer = crowdjax.fit(labels, model="dawid-skene", gold=gold)
    found["dawid-skene"] = _of_answers(peer, truth)
    found["dawid-skene"]["error"] = abs(np.array(peer.record["class_shares"]) - true).mean()
    votes = np.zeros((n, len(NAMES)))
    np.add.at(votes, (labels["instance"], np.asarray(drawn.label)), 1)
    share = votes / votes.sum(1, keepdims=True)
    found["vote"] = {
        "error": abs(share.mean(0) - true).mean(),
        "accuracy": judged.accuracy(share, truth),
        "nll": judged.nll(share, truth, eps=0.01),
    }
    return found


def _of_answers(result, truth) -> dict[str, float]:
    order = result.index.instances.astype(int)
    p = np.stack([result.tables["instances"][f"p_{c}"].to_numpy() for c in NAMES], 1)
    return {"accuracy": judged.accuracy(p, truth[order]), "nll": judged.nll(p, truth[order])}


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    header = ["crowd", "gold", "model", "error", "cover", "width", "says undecided", "not checked", "nuts", "accuracy"]
    body, shown = [], {}
    for crowd in config.crowds:
        for n in config.n_gold:
            for model in ("default", "dawid-skene", "vote"):
                get = partial(select, metrics, crowd=crowd, gold=n, model=model)
                if not len(get(metric="error")):
                    continue
                mean = lambda metric, form, get=get: f"{get(metric=metric).mean():{form}}"  # noqa: E731
                row = [crowd, n, model, mean("error", ".4f")]
                if model == "default":
                    row += [mean("covered", ".3f"), mean("width", ".3f")]
                    row += [f"{1 - get(metric=m).mean():.2f}" for m in ("agree", "checked")] + [mean("nuts", ".2f")]
                    shown[f"{crowd}, {n} gold"] = get(metric="covered")
                else:
                    row += [""] * 5
                seconds = f"{np.median(get(metric='seconds')):.0f}" if model == "default" else ""
                body.append([*row, mean("accuracy", ".4f"), mean("nll", ".4f"), seconds])
    text = (
        f"{config.n_instances} items, {config.per_instance} labels each of {config.n_labelers} labelers, four classes; "
        f"{config.n_repeats} crowds of each kind; the default command. Error: mean over classes of |share - truth|; "
        "cover, width: of the classes' 95 % intervals; says undecided: how often the page says that labels alone do "
        "not decide. NLL of the vote has its probabilities clipped to .01.\n\n"
        + markdown([*header, "NLL", "seconds"], body)
        + "\n"
    )
    figure = plots.spread(shown, title="Classes whose interval holds the share", xlabel="share of the four classes")
    return Report(text, {"shares": figure})
