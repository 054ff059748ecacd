"""Recover who is better on which instances, where instances are tricky or labelers are specialists.

The two examples of factors beyond ability of Ruvolo, Whitehill, Movellan (2013), introduction. Generators are none
of the models that are fitted. Labelers have an ability t_i ~ U(0, 1), or know some kinds of things; a share of the
instances is special; no model knows which:

    misled        On plain instances the surface shows the class; a tricky one shows the other class. A labeler
                  notices the surface with probability √t, sees through it with t⁴, and else guesses: right with ½ +
                  ½√t on plain instances, with t⁴ + ½(1 - √t) on tricky ones. Novices guess, the middle is misled,
                  experts are right.
    overthought   Accuracy falls with ability on tricky instances: .55 + .4t on plain ones, .85 - .5t on tricky
                  ones.
    specialists   Instances are of 20 species in two families. A labeler knows a species or guesses, right with .97
                  or ½. A quarter of the labelers are specialists of each family, who know each of its species with
                  probability .9 and of the other family with .3; the others know any with .6. The special instances
                  are those of the first family.

What is measured needs no class to be named rightly. yes_ij is a model's chance of a label +1 of labeler i on
instance j, given the labels: the mean over its posterior of the class. Then

    held out      the mean log-likelihood of the labels that were left out
    chances       correlation of the chance of a right label, yes_ij or 1 - yes_ij by the true class, with the true
                  one
    who, which    the chances of agreeing with the model's own answers, less the means of labelers and instances, are to
                  first order u_i v_j (singular vectors): u against how much likelier a labeler in truth agrees with
                  these answers on special instances than on others (correlation, whose sign is what turns u and v), v
                  against which instances are special (area under the ROC curve)

The vote takes u and v from the labels' agreement with it. In a model of one ability whose instance factors are
positive (GLAD) chances rise with ability on every instance. Which class a tricky instance is of, free instance
factors hardly say: z_j → -z_j, β_j → -β_j changes nothing but the prior of β_j. So accuracy is shown on plain and on
special instances too. The generators' settings were written down before anything was fitted and are the only ones
that were tried; what turns u and v was changed once, after a run of four crowds.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from crowdjax import metrics, plots, simulate
from crowdjax.factor import Solver, correctness
from crowdjax.integrated import IntegratedConfig
from experiments.cells import Cell, Size, Tables
from experiments.config import Model
from experiments.fitting import Draws, drop, fit_all, size_of
from experiments.integrating import fit_integrated
from experiments.table1 import models
from experiments.tables import Report, markdown, names, rows, select

Kind = Literal["misled", "overthought", "specialists"]
KINDS: tuple[Kind, ...] = ("misled", "overthought", "specialists")
VOTES = "votes"
TRUE = "generator"
BINS = 8  # of labelers, by what they differ in, in the figure
SPECIES = 10  # of each family
KNOWN, GUESSED = 0.97, 0.5  # chances of being right
MEASURES = {
    "accuracy": "accuracy",
    "accuracy_plain": "plain",
    "accuracy_special": "special",
    "auc_roc": "A0",
    "nll": "NLL",
    "held_out": "held out",
    "chances": "chances",
    "who": "who",
    "which": "which",
}
XLABEL = {"specialists": "species known, first less second family"}
INTEGRATED = {
    "integrated": IntegratedConfig(spread=0.9),
    "integrated, 2 factors": IntegratedConfig(spread=0.9, factors=2),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The crowds and the models.

    Attributes:
        kinds: of crowds.
        n_labelers, n_instances: of every crowd.
        tricky: the share of tricky instances; of specialists' instances half are special.
        n_repeats: crowds of each kind.
        held_out: the share of the labels that are left out of the fits.
        models: the factor models by name.
        integrated: whether the integrated models are fitted too.
        shown: the models in the figures of chances.
        seed: draws the crowds and starts.
        solver: how to fit.
    """

    kinds: tuple[Kind, ...] = KINDS
    n_labelers: int = 40
    n_instances: int = 200
    tricky: float = 0.25
    n_repeats: int = 50
    held_out: float = 0.2
    models: dict[str, Model] = dataclasses.field(default_factory=models)
    integrated: bool = True
    shown: tuple[str, ...] = ("GLAD", "2 factors", "integrated, 2 factors")
    seed: int = 0
    solver: Solver = Solver(restarts=4, rtol=1e-5)


class Crowd(NamedTuple):
    """One crowd: labels 0 or 1, truths, special instances, what labelers differ in, the chances of being right."""

    label: Int[np.ndarray, "I W"]
    truth: Int[np.ndarray, " I"]
    special: Bool[np.ndarray, " I"]
    differ: Float[np.ndarray, " W"]
    right: Float[np.ndarray, "I W"]

    def better(self, answer: Int[np.ndarray, " I"]) -> Float[np.ndarray, " W"]:
        """How much likelier every labeler agrees with these answers on special instances than on the others."""
        agrees = np.where((answer == self.truth)[:, None], self.right, 1 - self.right)
        return agrees[self.special].mean(0) - agrees[~self.special].mean(0)


def crowd(seed: int, kind: Kind, repeat: int, n_labelers: int = 40, n_instances: int = 200, tricky=0.25) -> Crowd:
    """Draw a crowd of a kind; it depends on its number and on no other's.

    Example: on tricky instances that are overthought, the able are worse
        >>> drawn = crowd(0, "overthought", 3)
        >>> bool(np.corrcoef(drawn.differ, drawn.right[drawn.special].mean(0))[0, 1] < -0.99)
        True
    """
    rng = np.random.default_rng([seed, *kind.encode(), repeat])
    truth = rng.integers(0, 2, n_instances)
    if kind == "specialists":
        family = np.arange(2 * SPECIES) < SPECIES  # the first
        species = rng.permutation(n_instances) % (2 * SPECIES)
        special = family[species]
        group = rng.permutation(n_labelers) * 4 // n_labelers  # 0 and 1 are specialists
        chance = np.where(group[:, None] >= 2, 0.6, np.where((group[:, None] == 0) == family, 0.9, 0.3))
        knows = rng.random(chance.shape) < chance  # [W, species]
        differ = knows[:, family].mean(1) - knows[:, ~family].mean(1)
        right = np.where(knows[:, species].T, KNOWN, GUESSED)
    else:
        special = rng.permutation(n_instances) < round(tricky * n_instances)
        differ = t = rng.random(n_labelers)
        plain, other = {
            "misled": (0.5 + 0.5 * np.sqrt(t), t**4 + 0.5 * (1 - np.sqrt(t))),
            "overthought": (0.55 + 0.4 * t, 0.85 - 0.5 * t),
        }[kind]
        right = np.where(special[:, None], other, plain)
    label = np.where(rng.random(right.shape) < right, truth[:, None], 1 - truth[:, None])
    return Crowd(label.astype(np.int8), truth, special, differ, right)


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [(kind,) for kind in config.kinds]


def size(config: Config, kind: Kind) -> Size:
    grid = simulate.grid(config.n_labelers, config.n_instances)
    blank = Draws(*(np.ones((config.n_repeats, len(grid.label))) for _ in range(2)))
    found = size_of(grid, blank, config.models, config.solver)
    return found._replace(fits=found.fits + config.n_repeats * len(INTEGRATED) * config.integrated)


def run_cell(config: Config, kind: Kind) -> Tables:
    sizes = config.n_labelers, config.n_instances
    crowds = [crowd(config.seed, kind, r, *sizes, config.tricky) for r in range(config.n_repeats)]
    grid = simulate.grid(*sizes)
    label = np.stack([c.label.ravel() for c in crowds])
    weight = drop(config.seed, np.ones(label.shape[1]), config.held_out, config.n_repeats)
    fitted = fit_all(grid, Draws(weight, label), config.models, config.solver, config.seed, f"interactions, {kind}")
    found = {}
    for name, fit in fitted.items():
        p = np.asarray(fit.posterior, float)
        found[name] = p, None if fit.factors is None else np.asarray(_yes(fit.factors, fit.posterior), float)
    for name, settings in INTEGRATED.items() if config.integrated else ():
        fit = fit_integrated(grid, Draws(weight, label), settings, f"interactions, {kind}, {name}")
        found[name] = np.asarray(fit.posterior, float), np.asarray(fit.yes, float)
    asked = (weight > 0).reshape(len(crowds), config.n_instances, config.n_labelers)
    measured, curves = [], []
    for name, (p, yes) in found.items():
        judged = [judge(c, p[r], asked[r], None if yes is None else yes[r].T) for r, c in enumerate(crowds)]
        measured += rows(name, {k: [j[k] for j in judged] for k in judged[0]}, kind=kind)
        if yes is not None:
            curves += _curve(name, kind, crowds, [_right(c, y.T) for c, y in zip(crowds, yes, strict=True)])
    curves += _curve(TRUE, kind, crowds, [c.right for c in crowds])
    return {"metrics": pa.Table.from_pylist(measured), "curves": pa.Table.from_pylist(curves)}


@jax.jit
def _yes(factors, posterior) -> Float[np.ndarray, "R W I"]:
    """The chances of a label +1, over the posterior of the class."""

    def one(factors, p):
        plus, minus = correctness(factors)
        return p * plus + (1 - p) * (1 - minus)

    return jax.vmap(one)(factors, jnp.asarray(posterior))


def _right(crowd: Crowd, yes: Float[np.ndarray, "I W"]) -> Float[np.ndarray, "I W"]:
    return np.where(crowd.truth[:, None] > 0, yes, 1 - yes)


def judge(crowd: Crowd, p: Float[np.ndarray, " I"], asked, yes: Float[np.ndarray, "I W"] | None) -> dict[str, float]:
    """The measures of a model on one crowd; of the majority vote (no ``yes``) those of its answers and its agreement.

    Args:
        p: P(z_j = +1).
        asked: which labels were fitted, [I, W].
        yes: the chances of a label +1.
    """
    answers = {k: metrics.BINARY[k](p, crowd.truth) for k in ("accuracy", "auc_roc", "nll")}
    answers |= {
        "accuracy_plain": metrics.accuracy(p[~crowd.special], crowd.truth[~crowd.special]),
        "accuracy_special": metrics.accuracy(p[crowd.special], crowd.truth[crowd.special]),
    }
    answer = (p > 0.5).astype(int)
    if yes is None:
        agreed = np.where(asked, crowd.label == answer[:, None], np.nan)
        told = {"held_out": np.nan, "chances": np.nan}
    else:
        agreed = np.where(answer[:, None] > 0, yes, 1 - yes)
        said = np.clip(np.where(crowd.label > 0, yes, 1 - yes)[~asked], metrics.EPS, 1)
        told = {"held_out": np.log(said).mean(), "chances": metrics.correlation(_right(crowd, yes), crowd.right)}
    who, which = directions(agreed)
    correlation = metrics.correlation(who, crowd.better(answer))
    turn = -1 if correlation < 0 else 1
    return answers | told | {"who": turn * correlation, "which": metrics.auc_roc(turn * which, crowd.special)}


def directions(agreed: Float[np.ndarray, "I W"]) -> tuple[Float[np.ndarray, " W"], Float[np.ndarray, " I"]]:
    """Find the first singular vectors of labelers and of instances of a table less its means; NaN is not known.

    Example: the first labeler agrees on the first instance, the others on the others
        >>> who, which = directions(np.array([[1.0, 0, 0], [0, 1, 1], [0, 1, 1]]))
        >>> (who * np.sign(who[0]) > 0).tolist(), (which * np.sign(who[0]) > 0).tolist()
        ([True, False, False], [True, False, False])
    """
    known = np.isfinite(agreed)
    table = np.where(known, agreed, 0.0)
    for _ in range(20):  # two-way means of an incomplete table, in turn
        for axis in (0, 1):
            mean = table.sum(axis, keepdims=True) / np.maximum(known.sum(axis, keepdims=True), 1)
            table = np.where(known, table - mean, 0.0)
    u, _, v = np.linalg.svd(table, full_matrices=False)
    return v[0], u[:, 0]


def _curve(model: str, kind: Kind, crowds, right) -> list[dict]:
    """Chances of being right on special instances, by what labelers differ in: bins of equal size over all crowds."""
    differ = np.concatenate([c.differ for c in crowds])
    value = np.concatenate([r[c.special].mean(0) for c, r in zip(crowds, right, strict=True)])
    bins = np.array_split(np.argsort(differ, kind="stable"), min(BINS, len(differ)))
    return [
        {
            "model": model,
            "kind": kind,
            "differ": float(differ[b].mean()),
            "mean": float(value[b].mean()),
            "error": float(value[b].std(ddof=1) / np.sqrt(len(b))) if len(b) > 1 else 0.0,
        }
        for b in bins
    ]


def report(config: Config, tables) -> Report:
    found = tables["metrics"]
    kinds = names(found, "kind")
    parts = [f"**{kind}**\n\n{_table(found, kind)}" for kind in kinds]
    text = (
        f"Tricky instances and specialists (`experiments/interactions.py`): {config.n_repeats} crowds of each kind, "
        f"{config.n_labelers} labelers on {config.n_instances} instances, from generators that are none of the models; "
        f"{config.held_out:.0%} of the labels are held out. Accuracy on all, on plain and on special instances, A0 and "
        "NLL are of the classes. *Held out*: mean log-likelihood of these labels. *Chances*: correlation of the "
        "estimated with the true chance of a right label. *Who*: correlation of the labelers' direction with how much "
        "likelier they in truth agree with the model's answers on special instances than on others; *which*: area "
        "under the ROC curve of the instances' direction for which are special (.5: nothing). Means over crowds ± "
        "standard errors; no class has to be named rightly for *held out*, *who* and *which*.\n\n"
        + "\n\n".join(parts)
        + "\n"
    )
    return Report(text, _figures(config, tables["curves"], kinds) | _recovered(found, kinds))


def _table(found, kind: Kind) -> str:
    def shown(model, metric):
        v = select(found, model=model, metric=metric, kind=kind)
        if np.isnan(v).any():
            return "–"
        error = v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else np.nan
        return f"{v.mean():.3f}" + ("" if np.isnan(error) else f" ± {error:.3f}")

    body = [[model, *(shown(model, metric) for metric in MEASURES)] for model in names(found, "model")]
    return markdown(["model", *MEASURES.values()], body)


def _recovered(found, kinds) -> dict[str, object]:
    """Who and which: every model's mean on every kind of crowd, with two standard errors."""
    models, figures = names(found, "model"), {}
    for metric, xlabel in {"who": "correlation", "which": "area under the ROC curve"}.items():
        values = [[select(found, model=m, metric=metric, kind=k) for k in kinds] for m in models]
        mean = np.array([[v.mean() for v in row] for row in values])
        error = np.array([[v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else 0.0 for v in row] for row in values])
        title = {"who": "Who: directions of labelers", "which": "Which: directions of instances"}[metric]
        figures[metric] = plots.side_by_side(mean, 2 * error, models, kinds, title=title, xlabel=xlabel)
    return figures


def _figures(config: Config, curves, kinds) -> dict[str, object]:
    """Chances over what labelers differ in: tricky instances in one figure, specialists in another."""
    table = curves.to_pylist()
    figures = {}
    for group in (("misled", "overthought"), ("specialists",)):
        there = [kind for kind in group if kind in kinds]
        if not there:
            continue
        panels, x = {}, {}
        for kind in there:
            of = lambda model, kind=kind: [r for r in table if r["kind"] == kind and r["model"] == model]  # noqa: E731
            lines = {model: of(model) for model in (TRUE, *config.shown)}
            panels[kind] = {
                m: tuple(np.array([[r["mean"], r["error"]] for r in line]).T) for m, line in lines.items() if line
            }
            x[kind] = np.array([r["differ"] for r in lines[TRUE]])
        xlabel = XLABEL.get(group[0], "ability of the labeler")
        ylabel = "P(right), special instances"
        figures["_".join(("chances", group[0]))] = plots.curves(x, panels, xlabel=xlabel, ylabel=ylabel, ylim=(0, 1))
    return figures
