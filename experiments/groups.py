"""Labelers of a group who lean to one class: what features of the bias are worth (γ = Φγ wγ of section 2.2 of Ruvolo,
Whitehill, Movellan (2013)), over the size of the crowd, the strength of the lean, and how far the record is wrong.

Crowds (``experiments.featured``): labels are signs of a latent response; two labelers of five belong to the group, and
the record of who belongs is right with a chance only. A model with the same feature, shuffled among the labelers, tells
what the feature says from what its prior does.

    a_i = .8 + .4 t_i      b_j = exp(.4 N)      γ_i = lean · [i belongs] + .3 N      t_i ~ Student's t
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
import pyarrow as pa

from crowdjax import plots
from crowdjax.factor import Solver, correctness
from crowdjax.labels import Labels
from crowdjax.metrics import mean_absolute_error
from experiments import featured, peers
from experiments.cells import Cell, Size, Tables
from experiments.config import Model, preset
from experiments.fitting import Draws, fit_all, size_of
from experiments.peers import crowd_of
from experiments.populations import populations
from experiments.tables import Report, markdown, names, rows, scored, select, standard_error, with_error

ABILITY, CLARITY, BIAS, GROUP = (0.8, 0.4), 0.4, 0.3, 0.4
ON, OFF, SHUFFLED = "Dawid-Skene, group", "Dawid-Skene", "Dawid-Skene, group shuffled"
SHOWN = ("majority vote", "one-coin, group", OFF, ON, SHUFFLED, "learned population", "learned population, features")


@dataclasses.dataclass(frozen=True)
class Config:
    """Crowds and models.

    Attributes:
        n_labelers: sizes of crowds; labels are as many in all of them.
        n_instances: of every crowd.
        per_instance: labels of each.
        leans: what labelers of the group add to the latent response, whose noise has variance 1.
        records: chances that the record of a labeler's group is right.
        shown: the record in the figure.
        n_repeats: crowds of each size, lean and record.
        models: the models by name; those with features of labelers have the record.
        seed: draws the crowds.
        solver: how to fit.
    """

    n_labelers: tuple[int, ...] = (20, 40, 100)
    n_instances: int = 200
    per_instance: int = 5
    leans: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5)
    records: tuple[float, ...] = (1.0, 0.9, 0.75)
    shown: float = 0.9
    n_repeats: int = 20
    models: dict[str, Model] = dataclasses.field(
        default_factory=lambda: {
            "majority vote": preset("majority"),
            "one-coin": preset("one-coin"),
            "one-coin, group": preset("one-coin", "labeler"),
            OFF: preset("dawid-skene"),
            ON: preset("dawid-skene", "labeler"),
        }
    )
    seed: int = 0
    solver: Solver = Solver(rtol=1e-5)


class Drawn(NamedTuple):
    """Labels of all pairs, truths, the record of who belongs, and the chances of being right on either class [2, W]."""

    label: np.ndarray
    truth: np.ndarray
    record: np.ndarray
    chances: np.ndarray


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [(n,) for n in config.n_labelers]


def size(config: Config, n_labelers: int) -> Size:
    labels, r = _design(config, n_labelers), len(_settings(config)) * config.n_repeats
    blank = Draws(
        np.ones((r, len(labels.label))), np.ones((r, len(labels.label)), np.int8), np.ones((r, n_labelers, 1))
    )
    found = size_of(labels, blank, config.models, config.solver)
    return found._replace(fits=2 * found.fits + 2 * r)


def run_cell(config: Config, n_labelers: int) -> Tables:
    labels, settings = _design(config, n_labelers), _settings(config)
    crowds = [draw(config, *s, n_labelers, r) for s in settings for r in range(config.n_repeats)]
    at = np.asarray(labels.labeler), np.asarray(labels.instance)
    label = np.stack([c.label[at] for c in crowds])
    weight = np.tile(np.asarray(labels.counts, np.float32), (len(crowds), 1))
    record = np.stack([_standardised(c.record) for c in crowds])
    shuffle = np.random.default_rng([config.seed, n_labelers, 1]).permutation(n_labelers)
    draws = Draws(weight, label, record)
    both = Draws(np.tile(weight, (2, 1)), np.tile(label, (2, 1)), np.concatenate([record, record[:, shuffle]]))
    fitted = fit_all(labels, both, config.models, config.solver, config.seed, f"groups, {n_labelers}")
    half = lambda f, part: jax.tree.map(lambda v: v[part], f)  # noqa: E731
    shuffled = half(fitted[ON], slice(len(crowds), None)) if ON in fitted else None
    fitted = {k: half(f, slice(len(crowds))) for k, f in fitted.items()}
    fitted |= {SHUFFLED: shuffled} if shuffled else {}
    learned = populations(labels, draws)
    answers = {k: f.posterior for k, f in fitted.items()} | {k: f.posterior for k, f in learned.items()}
    told = [crowd_of(labels, y, c.truth) for y, c in zip(label, crowds, strict=True)]
    answers["iBCC"] = np.stack([peers.ibcc(crowd)[:, 1] for crowd in told])
    factors = {k: f.factors for k, f in (fitted | learned).items() if f.factors is not None}
    chances = {k: np.mean(jax.jit(jax.vmap(correctness))(f), axis=3) for k, f in factors.items()}  # [2, R, W]
    truth, found = np.stack([c.truth for c in crowds]), []
    for k, (lean, right) in enumerate(settings):
        part = slice(k * config.n_repeats, (k + 1) * config.n_repeats)
        setting = {"n_labelers": n_labelers, "lean": lean, "record": right}
        for name, posterior in answers.items():
            found += scored(name, posterior[part], truth[part], **setting)
            excess = (np.asarray(posterior[part]) > 0.5).mean(1) - truth[part].mean(1)
            found += rows(name, {"excess": excess}, **setting)
        for name, p in chances.items():
            pairs = zip(np.moveaxis(p[:, part], 1, 0), crowds[part], strict=True)
            found += rows(name, {"mae": [mean_absolute_error(q, c.chances) for q, c in pairs]}, **setting)
    return {"metrics": pa.Table.from_pylist(found)}


def _settings(config: Config) -> list[tuple[float, float]]:
    """(lean, record): without a lean the record says nothing, whatever it is."""
    return [(lean, right) for lean in config.leans for right in config.records]


def _standardised(record):
    return ((record - record.mean()) / max(record.std(), 0.1))[:, None]


def _design(config: Config, n_labelers: int) -> Labels:
    """Who labels what: the same in all crowds of a size."""
    rng = np.random.default_rng([config.seed, n_labelers])
    labeler, instance = np.nonzero(featured.asked(rng, n_labelers, config.n_instances, config.per_instance))
    n = {"n_labelers": n_labelers, "n_instances": config.n_instances}
    return Labels.from_arrays(labeler, instance, np.ones(len(labeler), np.int8), blocks=False, **n)


def draw(config: Config, lean: float, right: float, n_labelers: int, repeat: int) -> Drawn:
    """Draw a crowd. One repeat has the same random numbers for all leans and records."""
    rng = np.random.default_rng([config.seed, n_labelers, 0, repeat])
    belongs = rng.permutation(n_labelers) < round(GROUP * n_labelers)
    record = np.where(rng.random(n_labelers) < right, belongs, ~belongs) * 1.0
    ability = ABILITY[0] + ABILITY[1] * featured.heavy(rng, n_labelers)
    clarity = np.exp(CLARITY * rng.normal(size=config.n_instances))
    bias = lean * belongs + BIAS * rng.normal(size=n_labelers)
    truth = rng.random(config.n_instances) < 0.5
    chances = featured.right(ability, clarity, bias)
    return Drawn(featured.answered(rng, chances, truth), truth, record, np.mean(chances, 2))


def report(config: Config, tables) -> Report:
    found = tables["metrics"]
    models = names(found, "model")
    get = lambda m, k, n, s: select(found, model=m, metric=k, n_labelers=n, lean=s[0], record=s[1])  # noqa: E731
    settings = _settings(config)
    head = ["labelers", "lean", "record right", *models]
    every = [(n, s) for n in config.n_labelers for s in settings]
    cell = lambda m, n, s: f"{get(m, 'accuracy', n, s).mean():.3f}/{get(m, 'nll', n, s).mean():.3f}"  # noqa: E731
    parts = [
        f"{config.n_repeats} crowds of each kind: {config.n_instances} instances with {config.per_instance} labels "
        f"each, whatever the number of labelers. {GROUP:.0%} of the labelers belong to a group that adds its lean to "
        "the latent response (variance 1) of all it sees; the record of who belongs is right with the chance given. No "
        "model that is fitted is the generator (`experiments/groups.py`). *Group shuffled*: the same model, the record "
        "shuffled among the labelers.",
        "**Accuracy/NLL**\n\n" + markdown(head, [[n, *s, *(cell(m, n, s) for m in models)] for n, s in every]),
    ]
    if ON in models and OFF in models:
        base = [m for m in (SHUFFLED, OFF, "majority vote") if m in models]
        differences = [
            [n, *s, *(with_error(get(ON, k, n, s) - get(m, k, n, s)) for k in ("accuracy", "nll") for m in base)]
            for n, s in every
        ]
        titles = [f"{k}, {m}" for k in ("accuracy", "NLL") for m in base]
        parts.append(f"**{ON}, less the others** ± standard error\n\n" + markdown([*head[:3], *titles], differences))
    told = [m for m in models if len(get(m, "mae", *every[0]))]
    body = [[n, *s, *(float(get(m, "mae", n, s).mean()) for m in told)] for n, s in every]
    parts.append(
        "**Mean absolute error of labelers' chances of being right, of either class**\n\n"
        + markdown([*head[:3], *told], body)
    )
    body = [[n, *s, *(f"{get(m, 'excess', n, s).mean():+.3f}" for m in models)] for n, s in every]
    parts.append("**Share called positive less the true share**\n\n" + markdown(head, body))
    figures = {}
    if config.shown in config.records:
        wrong = lambda m, *of: 1 - get(m, "accuracy", *of)  # noqa: E731
        figures = {
            "groups_answers": _curves(config, wrong, models, "share of wrong answers"),
            "groups_labelers": _curves(
                config, lambda m, *of: get(m, "mae", *of), told, "mean absolute error, P(right)"
            ),
        }
    return Report("\n\n".join(parts) + "\n", figures)


def _curves(config: Config, get, models, title: str):
    panels = {}
    for n in config.n_labelers:
        values = {m: [get(m, n, (lean, config.shown)) for lean in config.leans] for m in SHOWN if m in models}
        panels[f"{n} labelers"] = {
            m: (np.array([v.mean() for v in of]), np.array([standard_error(v) for v in of])) for m, of in values.items()
        }
    xlabel = f"lean of the group (record {config.shown:.0%} right)"
    return plots.curves(np.array(config.leans), panels, xlabel=xlabel, ylabel=title)
