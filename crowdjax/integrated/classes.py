"""The integrated model's answers for three classes and more, and what ``auto`` does there: ONE public function,
``answer``.

labelers ≤ 5             Dawid and Skene's model with labelers from one population: too few to learn clarity from
< 1.5 labels an instance  votes of one skill, that of the whole crowd: nothing tells labelers apart
more than 20 classes      one skill and one bias for each labeler: too many confusions
else                      the integrated model: confusions of everybody up to 10 classes, above a skill and biases

The sum over points is an integral up to its points, so that three sets of them are averaged. Classes are taken in the
order of their votes: names of classes say nothing, and renaming them permutes the answers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import permutations
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from crowdjax import optimize
from crowdjax.integrated.auto import FEW_LABELERS, FEW_LABELS
from crowdjax.integrated.nominal import SPREAD, Form, Integrated, nominal
from crowdjax.labels import InputError, Labels
from crowdjax.observation import (
    BiasedCoin,
    DawidSkene,
    Fit,
    Observation,
    OneCoin,
    fit_jit,
    predict,
    table_pass,
    vote_shares,
)
from crowdjax.observation.summaries import LEVEL, Summary, summary_of_counts

Kind = Literal["nominal", "ordinal", "exchangeable"]

FREE_CLASSES, SKILL_CLASSES = 10, 20  # most classes of which confusions, and of which biases are integrated
POINTS, POINTS_OF_MANY = 64, 32  # around each class, up to five classes and above
FEW_GOLD, FEW_OF_CLASS = 10, 5  # gold labels that place the classes: in all, and of each of two classes
GOLD_SD = 1.0  # prior standard deviation of what gold adds to the log-odds of classes


@dataclasses.dataclass(frozen=True)
class ClassesConfig:
    """Settings, frozen and hashable.

    Attributes:
        classes: ``nominal``; ``ordinal``: in order, by the user's word only; ``exchangeable``: the names mean nothing
            across instances, as in a quiz.
        spread: ρ of two classes at -1 and 1 of which the model's is the like.
        sets: sets of points that are averaged.
        max_steps: most passes over the labels, for each set.
        rtol: stop after three passes in a row that each gain less than ``rtol`` (1 + |objective|).

    Example:
        >>> ClassesConfig(classes="sorted")
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: classes: got 'sorted'; allowed: nominal, ordinal, exchangeable
    """

    classes: Kind = "nominal"
    spread: float = SPREAD
    sets: int = 3
    max_steps: int = 30
    rtol: float = 2e-5

    def __post_init__(self):
        if self.classes not in get_args(Kind):
            raise InputError(f"classes: got {self.classes!r}; allowed: {', '.join(get_args(Kind))}")
        for name, least in {"spread": 0.3, "sets": 1, "max_steps": 1, "rtol": 0}.items():
            if not getattr(self, name) >= least:
                raise InputError(f"{name}: got {getattr(self, name)}; allowed: {least} or more")


class Plan(NamedTuple):
    """The models that are averaged, whether labelers are told apart, and in plain sentences why.

    Example:
        >>> Plan((DawidSkene(),), True, ()).models[0].class_prior
        'learn'
    """

    models: tuple[Observation, ...]
    apart: bool
    reasons: tuple[str, ...]


class Answer(NamedTuple):
    """What is said of instances and labelers.

    Attributes:
        posterior: P(z_j = k | labels); known classes where gold is given.
        labelers: accuracy and confusion of each labeler with intervals.
        plan: the models.
        fits: one for each model, of the labels in the order of ``order``.
        order: the class that is the n-th of the fits.
        reasons: what to tell, in plain sentences.

    Example:
        >>> Answer._fields[0]
        'posterior'
    """

    posterior: Float[np.ndarray, "I K"]
    labelers: Summary
    plan: Plan
    fits: tuple[Fit, ...]
    order: Int[np.ndarray, " K"]
    reasons: tuple[str, ...]


def answer(labels: Labels, config: ClassesConfig = ClassesConfig(), *, seed: int = 0, level: float = LEVEL) -> Answer:
    """Plans, fits and averages.

    Args:
        labels: of any number of classes; gold clamps, and from ten on, five of each of two classes, moves the shares of
            classes of the other instances.
        seed: of the points.
        level: of intervals.

    Example: six labelers; the last says the class after the one he means
        >>> z = np.arange(30) % 3
        >>> said = np.stack([z, z, z, z, z, (z + 1) % 3], axis=1).ravel()
        >>> labels = Labels.from_arrays(np.tile(np.arange(6), 30), np.repeat(np.arange(30), 6), said, n_values=3)
        >>> found = answer(labels, ClassesConfig(sets=1))
        >>> bool((found.posterior.argmax(1) == z).all()), found.labelers.confusion[0][5].argmax(1).tolist()
        (True, [1, 2, 0])
    """
    plan = plan_of(labels, config, seed)
    if config.classes == "exchangeable":
        return _exchangeable(labels, plan, config, level)
    order = np.arange(labels.n_classes) if config.classes == "ordinal" else by_votes(labels)
    sorted_ = _renamed(labels, order)
    if not plan.apart:
        one = np.zeros_like(np.asarray(labels.labeler))
        sorted_ = dataclasses.replace(sorted_, labeler=one, n_labelers=1)
    fits = tuple(_fit(sorted_, model, config) for model in plan.models)
    back = np.argsort(order)
    posterior = np.mean([np.asarray(f.posterior, np.float64) for f in fits], axis=0)
    posterior, reasons = _placed_by_gold(sorted_, plan, fits, posterior)
    summary = _mean_summary([_summary(sorted_, m, f, level) for m, f in zip(plan.models, fits, strict=True)])
    if not plan.apart:
        summary = _for_all(summary, labels.n_labelers)
    values = back if labels.n_values == labels.n_classes else np.arange(labels.n_values)
    confusion = tuple(c[:, back][:, :, values] for c in summary.confusion)
    return Answer(posterior[:, back], Summary(summary.accuracy, confusion), plan, fits, order, plan.reasons + reasons)


def plan_of(labels: Labels, config: ClassesConfig = ClassesConfig(), seed: int = 0) -> Plan:
    """How to fit these labels, by their numbers alone; host side, deterministic.

    Example:
        >>> found = plan_of(Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 2, 2], n_values=3))
        >>> type(found.models[0]).__name__, found.reasons[0][:36]
        ('DawidSkene', '3 labelers are too few to learn how ')
    """
    counted = np.asarray(labels.counts) > 0
    n_labelers = len(np.unique(np.asarray(labels.labeler)[counted]))
    per_instance = counted.sum() / len(np.unique(np.asarray(labels.instance)[counted]))
    k, n_values = labels.n_classes, labels.n_values
    if per_instance < FEW_LABELS and n_values == k:
        reason = (
            f"{per_instance:.2f} labels per instance cannot tell able labelers from others; everybody counts the same, "
            "and the answers are little more than the labels themselves."
        )
        return Plan((OneCoin(),), False, (reason,))
    if n_labelers <= FEW_LABELERS and config.classes == "nominal":
        reason = (
            f"{n_labelers} labelers are too few to learn how clear each instance is; Dawid and Skene's model with "
            "labelers from one population is used instead."
        )
        return Plan((DawidSkene(),), True, (reason,))
    if k > SKILL_CLASSES:
        reason = f"{k} classes are too many to learn who confuses what; labelers differ by a skill and by biases."
        coin = OneCoin(class_prior="uniform") if config.classes == "exchangeable" else BiasedCoin()
        return Plan((coin,), True, (reason,))
    form: Form = ("free" if k <= FREE_CLASSES else "skill") if config.classes == "nominal" else config.classes
    n_sets = 1 if form == "ordinal" or k == 2 else config.sets  # one dimension has a grid
    points = dict(per_class=POINTS if k <= 5 else POINTS_OF_MANY, of_two=config.spread)
    return Plan(tuple(nominal(k, n_values, form, seed=seed + n, **points) for n in range(n_sets)), True, ())


def by_votes(labels: Labels) -> Int[np.ndarray, " K"]:
    """The classes from the most voted to the least; equals by how their votes fall on instances.

    Example:
        >>> by_votes(Labels.from_arrays([0, 1, 2], [0, 0, 1], [2, 2, 0], n_values=3)).tolist()
        [2, 0, 1]
    """
    if labels.n_values != labels.n_classes:
        return np.arange(labels.n_classes)
    label, counts = np.asarray(labels.label), np.asarray(labels.counts, np.float64)
    keys = [counts, counts * np.sqrt(1.0 + np.asarray(labels.labeler)), counts * np.sqrt(1.0 + labels.instance)]
    sums = [np.bincount(label[label >= 0], key[label >= 0], labels.n_classes).round(6) for key in keys]
    return np.lexsort([-s for s in sums[::-1]])


def fit(labels: Labels, model: Integrated, max_steps: int = 30, rtol: float = 2e-5) -> Fit:
    """EM from the shares of votes, in one program; pure, jit it.

    Laplace's objective falls now and then by a little, as what is unknown of labelers changes: that does not end it.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 2, 0, 0, 1] * 2,
        ...                             n_values=3)
        >>> fit(labels, nominal(3, per_class=16)).posterior.argmax(1).tolist()
        [1, 0, 1, 0]
    """
    x0, unravel = ravel_pytree(model.start(labels, vote_shares(labels)))

    def step(x, _):
        params = unravel(x)
        found = table_pass(labels, model.table(params), model.log_points(params), model.class_of_point(params))
        value, counts, points = labels.across((found.value, found.counts, found.points))
        new = ravel_pytree(model.m_step(params, counts, points))[0]
        return optimize.Step(new, -(value + model.log_prior(params)), x - new, (value, found.posterior))

    end = optimize.iterate(step, x0, max_steps=max_steps, rtol=rtol)
    value, posterior = end.aux
    return Fit(unravel(end.x), posterior, -end.value, value, end.code, end.n_steps, -end.history)


_fit_jit = eqx.filter_jit(fit)


def _fit(labels: Labels, model: Observation, config: ClassesConfig) -> Fit:
    if isinstance(model, Integrated):
        return _fit_jit(labels, model, config.max_steps, config.rtol)
    return fit_jit(labels, model)


def _renamed(labels: Labels, order: Int[np.ndarray, " K"]) -> Labels:
    """The same with the n-th class of ``order`` called n."""
    if labels.n_values != labels.n_classes:
        return labels
    new = lambda codes: np.where(codes >= 0, np.argsort(order)[np.maximum(codes, 0)], -1).astype(codes.dtype)  # noqa: E731
    gold = None if labels.gold is None else new(np.asarray(labels.gold))
    return dataclasses.replace(labels, label=new(np.asarray(labels.label)), gold=gold)


@eqx.filter_jit
def _predict(labels: Labels, model: Observation, params: Any):
    return predict(labels, model, params)


def _summary(labels: Labels, model: Observation, fit: Fit, level: float) -> Summary:
    found = _predict(labels, model, fit.params)
    points = found.points if found.points.ndim == 1 else found.points.sum(0)
    return summary_of_counts(model, fit.params, found.counts, points, level)


def _mean_summary(summaries: Sequence[Summary]) -> Summary:
    """Means of estimates and of ends: sets of points differ by far less than an interval is wide."""
    return Summary(
        *(tuple(np.mean(part, axis=0) for part in zip(*of, strict=True)) for of in zip(*summaries, strict=True))
    )


def _for_all(summary: Summary, n_labelers: int) -> Summary:
    """The one labeler's, for everybody."""
    return Summary(*(tuple(np.repeat(part, n_labelers, axis=0) for part in of) for of in summary))


def _placed_by_gold(labels: Labels, plan: Plan, fits, posterior):
    """Moves the log-odds of classes to where gold is likeliest, by answers that have not seen it; with the reason."""
    if labels.gold is None:
        return posterior, ()
    gold = np.asarray(labels.gold)
    known = gold >= 0
    often = np.bincount(gold[known], minlength=labels.n_classes) >= FEW_OF_CLASS
    if known.sum() < FEW_GOLD or often.sum() < 2:
        return posterior, ()
    blind = dataclasses.replace(labels, gold=None)
    found = zip(plan.models, fits, strict=True)
    p = np.mean([np.asarray(_predict(blind, m, f.params).posterior, np.float64) for m, f in found], axis=0)[known]
    shift = shift_by_gold(p, gold[known])
    moved = posterior * np.exp(shift)
    moved /= moved.sum(1, keepdims=True)
    reason = f"{known.sum()} gold labels say how common each class is; the other answers follow them."
    return np.where(known[:, None], posterior, moved), (reason,)


def shift_by_gold(
    p: Float[np.ndarray, "n K"], gold: Int[np.ndarray, " n"], sd: float = GOLD_SD
) -> Float[np.ndarray, " K"]:
    """What to add to log p so that gold is likeliest, δ ~ N(0, sd²): the mode, by Newton's steps.

    Args:
        p: probabilities that have not seen the gold.

    Example: the second class is more common than was thought
        >>> shift_by_gold(np.full((20, 2), 0.5), np.repeat([0, 1], [5, 15])).round(2).tolist()
        [-0.44, 0.44]
    """
    n_classes = p.shape[1]
    log_p, of_gold = np.log(np.maximum(p, 1e-9)), np.bincount(gold, minlength=n_classes)
    shift = np.zeros(n_classes)
    for _ in range(30):
        q = np.exp(log_p + shift - (log_p + shift).max(1, keepdims=True))
        q /= q.sum(1, keepdims=True)
        gradient = of_gold - q.sum(0) - shift / sd**2
        step = np.linalg.solve(np.diag(q.sum(0)) - q.T @ q + np.eye(n_classes) / sd**2, gradient)
        shift += step / max(1, abs(step).max())
    return shift


def _exchangeable(labels: Labels, plan: Plan, config: ClassesConfig, level: float) -> Answer:
    """Classes of each instance in the order of its votes; those nobody voted for share what is left."""
    if labels.n_values != labels.n_classes:
        raise InputError(
            "classes: got 'exchangeable' where labels have other values than the classes; allowed: nominal"
        )
    real = np.asarray(labels.label) >= 0
    cell = np.asarray(labels.instance)[real], np.asarray(labels.label)[real]
    counts = np.asarray(labels.counts, np.float64)[real]
    votes = np.zeros((2, labels.n_instances, labels.n_classes))
    np.add.at(votes[0], cell, counts)
    np.add.at(votes[1], cell, counts * np.sqrt(2.0 + np.asarray(labels.labeler)[real]))  # tells equal numbers apart
    rank = np.argsort(np.lexsort((-votes[1].round(6), -votes[0].round(6)), axis=1), axis=1)
    label = np.full_like(np.asarray(labels.label), -1)
    label[real] = rank[cell]
    gold = None
    if labels.gold is not None:
        gold = np.asarray(labels.gold)
        gold = np.where(gold >= 0, rank[np.arange(len(gold)), np.maximum(gold, 0)], -1).astype(gold.dtype)
    ranked = dataclasses.replace(labels, label=label, gold=gold)
    if not plan.apart:
        ranked = dataclasses.replace(ranked, labeler=np.zeros_like(np.asarray(labels.labeler)), n_labelers=1)
    fits = tuple(_fit(ranked, model, config) for model in plan.models)
    posterior = np.mean([np.asarray(f.posterior, np.float64) for f in fits], axis=0)
    posterior = np.take_along_axis(posterior, rank, axis=1)
    without = votes[0] == 0
    if labels.gold is not None:
        without[np.asarray(labels.gold) >= 0] = False
    left = np.where(without, posterior, 0).sum(1, keepdims=True) / np.maximum(without.sum(1, keepdims=True), 1)
    summary = _mean_summary([_summary(ranked, m, f, level) for m, f in zip(plan.models, fits, strict=True)])
    if not plan.apart:
        summary = _for_all(summary, labels.n_labelers)
    order = np.arange(labels.n_classes)
    return Answer(np.where(without, left, posterior), summary, plan, fits, order, plan.reasons)


def looks_ordered(labels: Labels, seed: int = 0) -> bool:
    """Whether classes, in the order of their codes, look like grades: votes about one instance that disagree fall on
    classes next to each other.

        T = Σ_ab D_ab |a - b| / Σ_ab E_ab |a - b|

    D counts pairs of labels that disagree, E is what their margins alone give. It does where at most one in twenty
    orders of the classes has a T as low, and no two neighbours are confused less than .9 times what E says. Of fewer
    than five classes there are too few orders to tell.

    Example: disagreements of one grade
        >>> z = np.repeat(np.arange(5), 8)
        >>> said = np.clip(np.stack([z, z + np.tile([1, -1], 20)], 1), 0, 4).ravel()
        >>> looks_ordered(Labels.from_arrays(np.arange(80) % 2, np.repeat(np.arange(40), 2), said, n_values=5))
        True
    """
    k = labels.n_values
    if k < 5 or k != labels.n_classes:
        return False
    votes = np.zeros((labels.n_instances, k))
    real = np.asarray(labels.label) >= 0
    np.add.at(
        votes, (np.asarray(labels.instance)[real], np.asarray(labels.label)[real]), np.asarray(labels.counts)[real]
    )
    pairs = (votes / np.maximum(votes.sum(1, keepdims=True) - 1, 1)).T @ votes
    np.fill_diagonal(pairs, 0)
    margin = np.sqrt(pairs.sum(1) + 1e-12)
    for _ in range(200):
        expected = np.outer(margin, margin)
        np.fill_diagonal(expected, 0)
        margin *= np.sqrt((pairs.sum(1) + 1e-12) / np.maximum(expected.sum(1), 1e-12))
    away = abs(np.subtract.outer(np.arange(k), np.arange(k)))
    orders = [*permutations(range(k))] if k < 7 else [np.random.default_rng(seed).permutation(k) for _ in range(2000)]
    distance = lambda order: (pairs * away[np.ix_(order, order)]).sum() / (expected * away[np.ix_(order, order)]).sum()  # noqa: E731
    own = distance(np.arange(k))
    as_low = np.mean([distance(np.asarray(order)) <= own + 1e-9 for order in orders])
    near = np.diag(pairs, 1) >= 0.9 * np.diag(expected, 1)
    return bool(as_low <= 0.05 and near.all())
