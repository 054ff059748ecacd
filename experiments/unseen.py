"""Labelers and instances that a fit has never seen: how well their features predict the chance of being right.

Ruvolo, Whitehill, Movellan (2013), section 2.2, expect a labeler without labels to be what its features say. The error
of that is set against what needs no features: the prior's mean, and the mean over the labelers (instances) of the fit.

Simulated crowds (``experiments.featured``) vary the number of labelers in the fit and the share of the variance that
features have; the same share holds for labelers and instances. Real sets hold labelers, or instances, out in folds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Float
from scipy.special import expit

from crowdjax import datasets, integrated, io, plots
from crowdjax.factor import PRESETS, Factors, Solver, build, correctness, expected_factor, unseen_factors
from crowdjax.labels import Labels
from crowdjax.metrics import correlation, mean_absolute_error
from experiments import featured
from experiments.cells import Cell, Size, Tables
from experiments.config import Model, preset
from experiments.fitting import Draws, fit_all, size_of
from experiments.populations import POPULATION, populations
from experiments.tables import Report, markdown, names, rows, scored, select, standard_error, with_error

ABILITY, CLARITY, BIAS = (0.8, 0.5), 0.5, 0.3  # mean and standard deviation of a; of log b; of γ
PRIOR, SEEN = "prior's mean", "mean of the seen"
UNMOVED = "Dawid-Skene"  # the model that these two are of
VOTES, TRUTHS, BEST = "regression of votes", "regression of truths", "best by features"
SIDES = ("labeler", "instance")
POINTS = 31  # quantiles of a deviation, of the best prediction
LEAST = 10  # labelers of a category of a real set
SHOWN = (PRIOR, SEEN, VOTES, "factor, features", "factor, features only", POPULATION + ", features", BEST)
DRAWN = ("Dawid-Skene, features", "factor, features only", POPULATION + ", features", VOTES)  # of real sets
LABELERS = ("duchenne", "zencrowd", "medrel_cause", "medrel_treat")
INSTANCES = ("zencrowd", "sp", "sp_amt", "medrel_cause", "medrel_treat")


@dataclasses.dataclass(frozen=True)
class Config:
    """Crowds, models, and the real sets.

    Attributes:
        shares: of the variance of abilities, and of log clarities, that features have.
        n_labelers: in the fit.
        n_instances: in the fit.
        per_labeler: instances that each labeler labels.
        n_unseen: labelers, and instances, to predict.
        n_repeats: crowds of each size and share.
        models: the models by name.
        labelers: real sets with features of labelers.
        instances: real sets with features of instances.
        n_folds: parts of the labelers (instances) of a real set, each predicted from the others.
        seed: draws crowds and folds.
        solver: how to fit.
    """

    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    n_labelers: tuple[int, ...] = (10, 30, 90)
    n_instances: int = 100
    per_labeler: int = 25
    n_unseen: int = 200
    n_repeats: int = 40
    models: dict[str, Model] = dataclasses.field(
        default_factory=lambda: {
            "Dawid-Skene": preset("dawid-skene"),
            "Dawid-Skene, features": preset("dawid-skene", "labeler"),
            "factor": preset("factor"),
            "factor, features": preset("factor", "labeler", "instance"),
            "factor, features only": preset("factor", "labeler", "instance", deviation=0.0),
        }
    )
    labelers: tuple[Literal[LABELERS], ...] = LABELERS
    instances: tuple[Literal[INSTANCES], ...] = INSTANCES
    n_folds: int = 5
    seed: int = 0
    solver: Solver = Solver(rtol=1e-5)


class Crowd(NamedTuple):
    """One crowd: labels of all cells, and what is true of the seen and of the unseen.

    Attributes:
        features: of labelers and of instances, the seen first.
        chances: per side, of the seen first, the chance of being right averaged over the seen of the other side.
        best: per side, of the unseen, what is expected of that chance by the features.
    """

    label: np.ndarray
    truth: np.ndarray
    features: tuple[np.ndarray, np.ndarray]
    chances: tuple[np.ndarray, np.ndarray]
    best: tuple[np.ndarray, np.ndarray]


def data(config: Config) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*config.labelers, *config.instances)))


def cells(config: Config) -> list[Cell]:
    found: list[Cell] = [("simulated", n) for n in config.n_labelers]
    here = datasets.available()
    return found + [(f"real {s}s", name) for s in SIDES for name in getattr(config, f"{s}s") if name in here]


def size(config: Config, kind: str, setting) -> Size:
    if kind == "simulated":
        labels, r = _design(config, setting), len(config.shares) * config.n_repeats
        features = (np.ones((r, n, featured.N_FEATURES)) for n in (setting, config.n_instances))
        blank = Draws(np.ones((r, len(labels.label))), np.ones((r, len(labels.label)), np.int8), *features)
        found = size_of(labels, blank, config.models, config.solver)
        return found._replace(fits=found.fits + 2 * r)
    labels, side = datasets.load(setting).labels, kind.removeprefix("real ").removesuffix("s")
    n = labels.n_labelers if side == "labeler" else labels.n_instances
    blank = Draws(np.ones((config.n_folds, len(labels.label))), None, *_on_side(side, np.ones((config.n_folds, n, 1))))
    found = size_of(labels, blank, _of_side(config, side), config.solver)
    return found._replace(fits=found.fits + 2 * config.n_folds * (side == "labeler"))


def run_cell(config: Config, kind: str, setting) -> Tables:
    if kind == "simulated":
        return {"metrics": pa.Table.from_pylist(_simulated(config, setting))}
    found = _real_labelers(config, setting) if kind == "real labelers" else _real_instances(config, setting)
    return {"real": pa.Table.from_pylist(found)}


# Simulated crowds


def _simulated(config: Config, n_labelers: int) -> list[dict]:
    labels = _design(config, n_labelers)
    crowds = [draw(config, share, n_labelers, r) for share in config.shares for r in range(config.n_repeats)]
    at = np.asarray(labels.labeler), np.asarray(labels.instance)
    label = np.stack([c.label[at] for c in crowds])
    n = n_labelers, config.n_instances
    seen = [np.stack([c.features[k][: n[k]] for c in crowds]) for k in (0, 1)]
    new = [np.stack([c.features[k][n[k] :] for c in crowds]) for k in (0, 1)]
    weight = np.tile(np.asarray(labels.counts, np.float32), (len(crowds), 1))
    draws = Draws(weight, label, *seen)
    fitted = fit_all(labels, draws, config.models, config.solver, config.seed, f"unseen, {n_labelers}")
    learned = populations(labels, draws)
    answers = {k: f.posterior for k, f in fitted.items()} | {k: p for k, (_, _, p) in learned.items()}
    of_share = {s: slice(k * config.n_repeats, (k + 1) * config.n_repeats) for k, s in enumerate(config.shares)}
    truth, found = np.stack([c.truth for c in crowds]), []
    for name, posterior in answers.items():
        for s, part in of_share.items():
            found += scored(name, posterior[part], truth[part], side="answers", share=s, n_labelers=n_labelers)
    for k, side in enumerate(SIDES):
        said = _of_models(config, labels, draws, fitted, new[k], side)
        if side == "labeler":
            said |= {name: _by_population(p, new[0]) for name, (p, _, _) in learned.items()}
        told = [agreement(at, y, n, k) for y in label]
        true = [c.chances[k][: n[k]] for c in crowds]
        said[VOTES] = np.stack([ridge(x, *t, z) for x, t, z in zip(seen[k], told, new[k], strict=True)]).clip(0, 1)
        said[TRUTHS] = np.stack([ridge(x, t, np.ones(n[k]), z) for x, t, z in zip(seen[k], true, new[k], strict=True)])
        said[BEST] = np.stack([c.best[k] for c in crowds])
        true = np.stack([c.chances[k][n[k] :] for c in crowds])
        for name, p in said.items():
            for s, part in of_share.items():
                pairs = list(zip(np.broadcast_to(p, true.shape)[part], true[part], strict=True))
                values = {
                    "mae": [mean_absolute_error(*pair) for pair in pairs],
                    "correlation": [correlation(*pair) for pair in pairs],
                }
                found += rows(name, values, side=side, share=s, n_labelers=n_labelers)
    return found


def _design(config: Config, n_labelers: int) -> Labels:
    """Who labels what: the same in all crowds of a size."""
    rng = np.random.default_rng([config.seed, n_labelers])
    instance, labeler = np.nonzero(featured.asked(rng, config.n_instances, n_labelers, config.per_labeler))
    n = {"n_labelers": n_labelers, "n_instances": config.n_instances}
    return Labels.from_arrays(labeler, instance, np.ones(len(labeler), np.int8), blocks=False, **n)


def draw(config: Config, share: float, n_labelers: int, repeat: int) -> Crowd:
    """Draw a crowd. One repeat has the same random numbers for all shares, and nothing to do with other repeats."""
    rng = np.random.default_rng([config.seed, n_labelers, repeat])
    n_instances, new = config.n_instances, config.n_unseen
    x, y = (rng.normal(size=(n + new, featured.N_FEATURES)) for n in (n_labelers, n_instances))
    ability = ABILITY[0] + ABILITY[1] * featured.explained(rng, x, share)
    clarity = np.exp(CLARITY * featured.explained(rng, y, share))
    bias = BIAS * rng.normal(size=len(x))
    truth = rng.random(n_instances) < 0.5
    here = slice(n_labelers), slice(n_instances)
    mean = lambda a, b, g, axis: np.mean(featured.right(a, b, g), 0).mean(axis)  # noqa: E731
    chances = mean(ability, clarity[here[1]], bias, 1), mean(ability[here[0]], clarity, bias[here[0]], 0)
    own = np.sqrt(1 - share) * featured.heavy_points(POINTS)
    known = lambda v: (np.sqrt(share) * featured.effect(v)[:, None] + own).ravel()  # noqa: E731
    usual = np.full(new * POINTS, BIAS)  # over both classes a bias and its opposite are alike
    best = (
        mean(ABILITY[0] + ABILITY[1] * known(x[n_labelers:]), clarity[here[1]], usual, 1),
        mean(ability[here[0]], np.exp(CLARITY * known(y[n_instances:])), bias[here[0]], 0),
    )
    label = featured.answered(rng, featured.right(ability[here[0]], clarity[here[1]], bias[here[0]]), truth)
    return Crowd(label, truth, (x, y), chances, tuple(b.reshape(new, POINTS).mean(1) for b in best))


def _by_population(parameters, x) -> Float[np.ndarray, "R n"]:
    """The chance of being right of labelers with these features, as the population has it, over both classes."""
    alpha, gamma = _expected(parameters, x)
    return (expit(alpha + gamma) + expit(alpha - gamma)) / 2


def _expected(parameters, x) -> tuple[Float[np.ndarray, "R n"], Float[np.ndarray, "R n"]]:
    """(α, γ) that a learned population expects of labelers with these features [R, n, F]."""

    def one(parameters, x):
        features = integrated.Features() if parameters.labeler_weights is None else integrated.Features(labeler=x)
        return jnp.broadcast_to(integrated.labeler_means(parameters, features), (x.shape[0], 2))

    found = np.asarray(jax.vmap(one)(jax.tree.map(jnp.asarray, parameters), jnp.asarray(x)))
    return found[..., 0], found[..., 1]


def _of_models(config: Config, labels: Labels, draws: Draws, fitted, new: Float[np.ndarray, "R n F"], side: str):
    """What the models with features of a side, and those without any, say of its unseen [R, n]."""
    new = np.concatenate([np.ones((*new.shape[:2], 1)), new], 2)
    said = {}
    for name, model in config.models.items():
        fit, factors = fitted[name].fit, fitted[name].factors
        first = {f"{s}_features": getattr(draws, f"{s}_features")[0] for s in model.covariates}
        built = build(model.config, labels, **first)
        if side in model.covariates:
            said[name] = _unseen(built, fit.weights, factors, side, new)
        elif name == (UNMOVED if side == "labeler" else "factor"):
            said[PRIOR] = _unseen(built, fit.weights, factors, side, new[:, :1])
        if name == UNMOVED:
            said[SEEN] = np.mean(jax.vmap(correctness)(factors), axis=(0, 2, 3))[:, None]
    return said


def _unseen(model, weights, factors, side: str, new) -> Float[np.ndarray, "R n"]:
    one = jax.jit(jax.vmap(lambda w, f, x: unseen(model, w, f, side, x)))
    return np.asarray(one(weights, factors, jnp.asarray(new)))


def unseen(model, weights, factors: Factors, side: str, new: Float[np.ndarray, "n F"]) -> Float[jax.Array, " n"]:
    """Compute the chance of being right of unseen labelers on the seen instances, or of the seen labelers on unseen
    instances, by their rows of features, constant included; averaged over the others and both classes.
    """
    if side == "labeler":
        alpha, gamma = unseen_factors(model, weights, known=jnp.full(len(new), -1), labeler_rows=new)
        return jnp.stack(correctness(factors._replace(alpha=alpha, gamma=gamma))).mean((0, 2))
    mean = model.full(model.mean).instance
    beta = expected_factor(model.instance, weights.instance, mean, new, len(new))
    return jnp.stack(correctness(factors._replace(beta=beta))).mean((0, 1))


def agreement(at, label, n: tuple[int, int], side: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Count how often labels of each labeler (side 0) or instance (1) are those of the majority of the other labels.

    Returns:
        (share, even votes counting half, ½ without labels; number of labels that have others beside them).

    Example: two agree on one instance, a third does not
        >>> labels = np.array([0, 1, 2]), np.zeros(3, int)
        >>> agreement(labels, np.array([1, 1, 0]), (3, 1), 0)[0].tolist()
        [0.5, 0.5, 0.0]
    """
    sign = 2.0 * label - 1
    others = np.bincount(at[1], sign, n[1])[at[1]] - sign
    counted = np.bincount(at[1], minlength=n[1])[at[1]] > 1
    agrees = (np.sign(others) * sign + 1) / 2
    count = np.bincount(at[side], counted, n[side])
    return np.where(count > 0, np.bincount(at[side], agrees * counted, n[side]) / np.maximum(count, 1), 0.5), count


def ridge(x, y, weight, new) -> Float[np.ndarray, " m"]:
    """Predict by weighted least squares with a constant; the weights of features have a penalty of one observation.

    Example:
        >>> x = np.array([[-1.0], [1.0]] * 500)
        >>> ridge(x, x[:, 0], np.ones(1000), np.array([[0.5]])).round(2).tolist()
        [0.5]
    """
    scale = weight / weight.mean()
    design, at = np.c_[np.ones(len(x)), x], np.c_[np.ones(len(new)), new]
    penalty = np.diag([0.0] + [1.0] * x.shape[1])
    return at @ np.linalg.solve((design.T * scale) @ design + penalty, (design.T * scale) @ y)


# Real sets


def _of_side(config: Config, of: str) -> dict[str, Model]:
    """The models without features, and the others with those of one side."""
    own = {k: dataclasses.replace(m, covariates=(of,) if m.covariates else ()) for k, m in config.models.items()}
    return {
        k: m for k, m in own.items() if not (of == "instance" and m.config == PRESETS["dawid-skene"] and m.covariates)
    }


def _on_side(of: str, x) -> tuple:
    return (x, None) if of == "labeler" else (None, x)


def _folds(config: Config, n: int) -> np.ndarray:
    return np.random.default_rng([config.seed, n]).permutation(n) % config.n_folds


def _held_out(config: Config, name: str, of: str):
    """(the set, which label is held out in its fold, draws of all folds, their fits, features)."""
    found = datasets.load(name)
    labels = found.labels
    ids = found.index.labelers if of == "labeler" else found.index.instances
    x = read_features(name, of, ids)
    fold = _folds(config, len(ids))[np.asarray(labels.labeler if of == "labeler" else labels.instance)]
    counts = np.asarray(labels.counts, np.float32)
    weight = np.stack([counts * (fold != f) for f in range(config.n_folds)])
    draws = Draws(weight, None, *_on_side(of, np.tile(x, (config.n_folds, 1, 1))))
    fitted = fit_all(labels, draws, _of_side(config, of), config.solver, config.seed, f"{name}, {of}s")
    return found, fold, draws, fitted, x


def _real_labelers(config: Config, name: str) -> list[dict]:
    found, fold, draws, fitted, x = _held_out(config, name, "labeler")
    labels = found.labels
    learned = populations(labels, draws)
    said = {
        PRIOR: _of_held_out(labels, fold, fitted[UNMOVED].factors),
        SEEN: _of_held_out(labels, fold, fitted[UNMOVED].factors, seen=draws.weight),
        **{k: _of_held_out(labels, fold, f.factors) for k, f in fitted.items() if config.models[k].covariates},
    }
    for k, (parameters, factors, _) in learned.items():
        alpha, gamma = _expected(parameters, draws.labeler_features)
        said[k] = _of_held_out(labels, fold, factors._replace(alpha=alpha[..., None], gamma=gamma))
    said[VOTES] = _by_votes(config, labels, fold, x, 0)
    answers = {k: f.posterior for k, f in fitted.items()} | {k: p for k, (_, _, p) in learned.items()}
    return _judged(name, "labeler", found, said, np.asarray(labels.labeler), answers)


def _real_instances(config: Config, name: str) -> list[dict]:
    found, fold, _, fitted, x = _held_out(config, name, "instance")
    labels = found.labels
    said = {
        PRIOR: _of_held_out(labels, fold, fitted["factor"].factors),
        SEEN: _of_held_out(labels, fold, fitted[UNMOVED].factors),
        **{k: _of_held_out(labels, fold, f.factors) for k, f in fitted.items() if config.models[k].covariates},
        VOTES: _by_votes(config, labels, fold, x, 1),
    }
    return _judged(name, "instance", found, said, np.asarray(labels.instance), {})


def _of_held_out(labels: Labels, fold, factors: Factors, seen=None) -> tuple[np.ndarray, np.ndarray]:
    """P(right) of every label, on a positive and on a negative, by the fit that did not have it.

    A labeler or an instance whose labels weigh nothing has its prior's mean, moved by its features where there are any.

    Args:
        seen: the weights of the labels of every fit, for the mean chances of its labelers in place of their own.
    """
    alpha, beta, gamma = (
        None if v is None else np.asarray(v, float) for v in (factors.alpha, factors.beta, factors.gamma)
    )
    i, j = np.asarray(labels.labeler), np.asarray(labels.instance)
    own = np.zeros(alpha.shape[:2]) if gamma is None else gamma
    s = (alpha[fold, i] * beta[fold, j]).sum(-1)
    if seen is None:
        return expit(s + own[fold, i]), expit(s - own[fold, i])
    typical = alpha[..., 0] * beta[:, :1, 0]
    there = np.stack([np.bincount(i, w, labels.n_labelers) > 0 for w in seen])
    mean = [(expit(typical + sign * own) * there).sum(1) / there.sum(1) for sign in (1, -1)]
    return mean[0][fold], mean[1][fold]


def _by_votes(config: Config, labels: Labels, fold, x, side: int) -> tuple[np.ndarray, np.ndarray]:
    """P(right) of every label by a regression of agreement with the votes on features, without its fold."""
    at = np.asarray(labels.labeler), np.asarray(labels.instance)
    n, label = (labels.n_labelers, labels.n_instances), np.asarray(labels.label)
    p, real = np.full(len(label), 0.5), np.asarray(labels.counts) > 0
    for f in range(config.n_folds):
        kept = real & (fold != f)
        rate, count = agreement(tuple(v[kept] for v in at), label[kept], n, side)
        p[fold == f] = np.clip(ridge(x, rate, count, x), 0.01, 0.99)[at[side][fold == f]]
    return p, p


def _judged(name: str, of: str, found: datasets.Dataset, said: Mapping, cluster, answers) -> list[dict]:
    """Whether held-out labels were right against gold: log loss of each label, and its difference from that by the mean
    of the seen with a standard error over the labelers (instances) held out."""
    labels = found.labels
    truth = found.truth[np.asarray(labels.instance)]
    known = (np.asarray(labels.counts) > 0) & ~np.isnan(truth)
    right = (np.asarray(labels.label) == (truth > 0))[known]
    count, cluster = np.asarray(labels.counts, float)[known], cluster[known]
    p = {k: np.clip(np.where(truth > 0, *v)[known], 1e-6, 1 - 1e-6) for k, v in said.items()}
    loss = {k: -np.where(right, np.log(v), np.log1p(-v)) * count for k, v in p.items()}
    n = np.bincount(cluster, count)
    share = np.bincount(cluster, right * count) / np.maximum(n, 1)
    out = []
    for k, v in loss.items():
        gain = np.bincount(cluster, v - loss[SEEN])
        mean = gain.sum() / n.sum()
        told = np.bincount(cluster, p[k] * count) / np.maximum(n, 1)
        many = n >= LEAST if of == "labeler" else n > 0
        values = {
            "log loss": v.sum() / n.sum(),
            "difference": mean,
            "error": np.sqrt(((gain - mean * n) ** 2).sum()) / n.sum(),
            "mae": float((abs(share - told) * n)[many].sum() / n[many].sum()),
            "correlation": np.nan if k in (PRIOR, SEEN, POPULATION) else correlation(told[many], share[many]),
            "clusters": float((n > 0).sum()),
            "judged": n.sum(),
        }
        out += rows(k, {m: [x] for m, x in values.items()}, set=name, side=of)
    for k, posterior in answers.items():
        out += scored(k, posterior, found.truth, set=name, side="answers")
    return out


def read_features(name: str, of: str, ids) -> Float[np.ndarray, "n F"]:
    """Read the standardised features of a real set; a category is a column of 0 and 1 for each of its values that
    ``LEAST`` labelers have, a missing number is the mean, a count of work is its logarithm."""
    columns = {of: pa.string()}
    options = pyarrow.csv.ConvertOptions(column_types=columns)
    table = pyarrow.csv.read_csv(datasets.folder() / name / f"{of}_features.csv", convert_options=options)
    row = io.positions(ids, np.array(table[of].to_pylist()))
    out = []
    for column in table.column_names[1:]:
        values = np.array(table[column].to_pylist(), object)
        values = np.where(row >= 0, values[row], None)
        if pa.types.is_string(table[column].type):
            levels = [v for v in dict.fromkeys(values) if v is not None and (values == v).sum() >= LEAST]
            out += [(values == level).astype(float) for level in levels]
        else:
            numbers = np.array([np.nan if v is None else v for v in values], float)
            numbers = np.log1p(numbers) if column.startswith(("n_", "chars_")) else numbers
            out.append(np.where(np.isnan(numbers), np.nanmean(numbers), numbers))
    x = np.stack([v for v in out if v.std() > 0], 1)
    return (x - x.mean(0)) / x.std(0)


# What is read from it


def report(config: Config, tables) -> Report:
    parts, figures = [], {}
    if "metrics" in tables:
        parts.append(_about_crowds(config, tables["metrics"]))
        for of in SIDES:
            figures[f"unseen_{of}s"] = _curves(config, tables["metrics"], of)
    if "real" in tables:
        text, figure = _about_sets(tables["real"])
        parts.append(text)
        figures |= {"unseen_real": figure} if figure else {}
    return Report("\n\n".join(parts) + "\n", figures)


def _about_crowds(config: Config, found: pa.Table) -> str:
    text = (
        f"Simulated crowds (`experiments/featured.py`): {config.n_repeats} of each size and share, "
        f"{config.n_instances} instances, each labeler labels {config.per_labeler}; {config.n_unseen} labelers and as "
        "many instances are predicted that the fit has never seen. Labels are probits, deviations have heavy tails, "
        "and features act through a curve and a threshold, of whose variance a line has "
        f"{featured.linear_share():.2f}. "
        f"*{TRUTHS}* knows the true chances of the seen, *{BEST}* the generator: neither can be had."
    )
    for of in SIDES:
        models = [m for m in names(found, "model") if len(select(found, model=m, side=of, metric="mae"))]
        base = lambda s, n, of=of: select(found, model=SEEN, side=of, metric="mae", share=s, n_labelers=n)  # noqa: E731
        body, gains = [], []
        for n in config.n_labelers:
            for s in config.shares:
                values = [select(found, model=m, side=of, metric="mae", share=s, n_labelers=n) for m in models]
                body.append([n, s, *(float(v.mean()) for v in values)])
                gains.append(
                    [n, s, *(with_error(v - base(s, n)) for m, v in zip(models, values, strict=True) if m != SEEN)]
                )
        text += f"\n\n**{of.capitalize()}s: mean absolute error of the chance of being right**\n\n"
        text += markdown(["labelers", "share", *models], body)
        text += (
            f"\n\n**{of.capitalize()}s: the same less the error by the {SEEN}** ± standard error; below 0 is better\n\n"
        )
        text += markdown(["labelers", "share", *(m for m in models if m != SEEN)], gains)
        ranked = [m for m in models if np.isfinite(select(found, model=m, side=of, metric="correlation")).any()]
        body = [
            [
                n,
                s,
                *(
                    float(np.nanmean(select(found, model=m, side=of, metric="correlation", share=s, n_labelers=n)))
                    for m in ranked
                ),
            ]
            for n in config.n_labelers
            for s in config.shares
        ]
        text += f"\n\n**{of.capitalize()}s: correlation of predicted and true chances**\n\n"
        text += markdown(["labelers", "share", *ranked], body)
    answers = found.filter(pa.compute.equal(found["side"], "answers"))
    models = names(answers, "model")
    cell = lambda m, **at: "/".join(  # noqa: E731
        f"{select(answers, model=m, metric=k, **at).mean():.3f}" for k in ("accuracy", "nll")
    )
    body = [[n, s, *(cell(m, share=s, n_labelers=n) for m in models)] for n in config.n_labelers for s in config.shares]
    return (
        text
        + "\n\n**Answers about the seen instances: accuracy/NLL**\n\n"
        + markdown(["labelers", "share", *models], body)
    )


def _curves(config: Config, found: pa.Table, of: str):
    panels = {}
    for n in config.n_labelers:
        at = dict(side=of, metric="mae", n_labelers=n)
        panels[f"{n} labelers in the fit"] = {
            m: tuple(
                np.array([f(select(found, model=m, share=s, **at)) for s in config.shares])
                for f in (np.mean, standard_error)
            )
            for m in SHOWN
            if len(select(found, model=m, **at))
        }
    xlabel = f"features' share of the variance ({of}s)"
    return plots.curves(np.array(config.shares), panels, xlabel=xlabel, ylabel="mean absolute error, P(right)")


def _about_sets(found: pa.Table):
    text = (
        "**Real sets.** Labelers (instances) are held out in folds: their labels have no part in the fit. Log loss, in "
        f"nats, of whether each of their labels is right by gold; difference from that by the {SEEN} ± standard "
        "error over those held out, below 0 is better; mean absolute error against the share of right labels "
        f"(of labelers with {LEAST} gold labels and more), weighted by their number."
    )
    values, half, at = {}, {}, []
    for of in SIDES:
        part = found.filter(pa.compute.equal(found["side"], of))
        for name in names(part, "set"):
            get = lambda m, k, part=part, name=name: float(select(part, model=m, metric=k, set=name)[0])  # noqa: E731
            models = names(part.filter(pa.compute.equal(part["set"], name)), "model")
            ranked = ["correlation"] * (of == "labeler")  # of labels of one instance the truth says more than features
            body = [
                [m, get(m, "log loss"), f"{get(m, 'difference'):+.4f} ± {get(m, 'error'):.4f}"]
                + [get(m, k) for k in ("mae", *ranked)]
                for m in models
            ]
            n, judged = int(get(SEEN, "clusters")), int(get(SEEN, "judged"))
            text += f"\n\n*{name}*: {n} {of}s with gold, {judged} labels of theirs\n\n"
            text += markdown(["by", "log loss", "difference", "mean absolute error", *ranked], body)
            at.append(f"{name}, {of}s")
            for m in DRAWN:
                if m in models:
                    values.setdefault(m, {})[at[-1]] = get(m, "difference")
                    half.setdefault(m, {})[at[-1]] = 2 * get(m, "error")
    part = found.filter(pa.compute.equal(found["side"], "answers"))
    models, sets = names(part, "model"), names(part, "set")
    cell = lambda m, s: "/".join(  # noqa: E731
        f"{select(part, model=m, metric=k, set=s).mean():.3f}" for k in ("accuracy", "nll")
    )
    if sets:
        text += "\n\n**Answers without a fold of the labelers: accuracy/NLL**\n\n"
        text += markdown(["set", *models], [[s, *(cell(m, s) for m in models)] for s in sets])
    table = lambda of: np.array([[of[m].get(s, np.nan) for m in of] for s in at])  # noqa: E731
    if not at:
        return text, None
    title, xlabel = "Log loss against the mean's", "nats per label, ± 2 standard errors"
    return text, plots.side_by_side(table(values), table(half), at, list(values), title=title, xlabel=xlabel)
