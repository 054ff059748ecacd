"""Apply the integrated model to labels: fit → decision boundary → gold → tables, in one function.

``crowdjax.fit(table, "auto")`` and the studies of it call this function: what is measured is what users get.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from crowdjax.integrated import room as rooms
from crowdjax.integrated.auto import Plan
from crowdjax.integrated.auto import plan as plan_of
from crowdjax.integrated.average import (
    Average,
    Averaged,
    Member,
    averaged,
    first_at_votes,
    of_average,
    pays,
    positives_of,
    votes_of,
)
from crowdjax.integrated.axis import LARGEST, axis_draws, laplace_draws
from crowdjax.integrated.boundary import Boundary, Choice, around, candidates, informed, place
from crowdjax.integrated.draws import DOUBT, Draws, LabelerSummary
from crowdjax.integrated.exact import sample, split_r_hat
from crowdjax.integrated.fit import IntegratedFit, fit_jit
from crowdjax.integrated.gold import Calibration, calibrate, of_gold, without_own
from crowdjax.integrated.kernels import positives
from crowdjax.integrated.model import Features, IntegratedConfig, Parameters, centers
from crowdjax.integrated.score import normal_scores, score_log_likelihood
from crowdjax.integrated.summaries import (
    LEVEL,
    InstanceSummary,
    of_instances,
    of_labelers,
    shares_at,
)
from crowdjax.integrated.turned import is_turned, turned, turned_average
from crowdjax.labelers import Interval
from crowdjax.labels import InputError, Labels

LEAST_GOLD = 5  # labels of each class that place a boundary unasked
INFORMED = ("gold", "score")  # boundaries that more than the labels place
Posterior = Literal["axis", "laplace", "exact"]


class Answer(NamedTuple):
    """The estimates of the integrated model for a set of labels.

    Attributes:
        plan: the settings of the model and the choice of the boundary.
        fit: the fit to the labels alone; of several fits the one with the largest weight.
        boundary: the decision boundary of that fit.
        average: the fits over which the probabilities of instances are averaged.
        calibration: the calibration of the other instances' probabilities by gold; None where gold placed no boundary.
        instances: calibrated posteriors of the instances; those with gold get their gold.
        labelers: sensitivity, specificity, informedness and accuracy, with intervals.
        positives: the share of positive instances, with its interval.
        posterior: the method used for the labelers' posterior, for the record.

    Example:
        >>> Answer._fields[:4]
        ('plan', 'fit', 'boundary', 'average')
    """

    plan: Plan
    fit: IntegratedFit
    boundary: Boundary
    average: Average
    calibration: Calibration | None
    instances: InstanceSummary
    labelers: LabelerSummary
    positives: Interval
    posterior: dict[str, Any]


def answer(
    labels: Labels,
    plan: Plan | None = None,
    boundary: Choice | None = None,
    *,
    features: Features = Features(),
    scores: Float[np.ndarray, " I"] | None = None,
    begin: Parameters | None = None,
    fit: Callable[..., IntegratedFit] = fit_jit,
    level: float = LEVEL,
    posterior: Posterior | None = None,
    room: bool = True,
) -> Answer:
    """Fit the model, place the boundary, and estimate instances, labelers and the share of positives.

    The labels alone place every x_j; gold of both classes, or scores, move the boundary between the classes and
    calibrate the probabilities. Host side, deterministic.

    Args:
        labels: the judgements, with gold where there is any.
        plan: settings, and the boundary to use without gold and scores; default: those of ``auto``
            (``integrated.plan``).
        boundary: another choice of the boundary (:func:`choose`).
        features: standardised features of labelers and instances.
        scores: a number for each instance that rises or falls with the truth, NaN where there is none; shape [I].
        begin: initial parameters; default: from the majority vote.
        fit: function that fits labels (without their gold); its arguments are those of ``fit_jit``.
        level: level of all intervals.
        posterior: method for the labelers' posterior (:func:`labeler_draws`).
        room: whether to pad labels to the next of a few sizes, so that compiled programs are reused
            (``integrated.room``); on one device.

    Raises:
        InputError: the boundary needs gold or scores that are not given, or the posterior is not available for this
            model.

    Example: three labelers, of whom one contradicts the others
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = answer(labels)
        >>> found.plan.boundary, (found.instances.probability > 0.5).tolist()
        ('gap', [True, False, True, False])
    """
    plan = plan_of(labels) if plan is None else plan
    choice, config = choose(labels, plan, boundary, scores), plan.config
    n_instances, taken_out = labels.n_instances, None
    if room and posterior != "exact":
        labels, taken_out = rooms.of(labels)
        features = taken_out.features(features, labels)
        begin = None if begin is None else taken_out.parameters(begin)
    blind = dataclasses.replace(labels, gold=None)
    if plan.able is not None and config.spread != 0 and pays(plan):
        evenly = first_at_votes(blind, config, features, 0.0)  # all fits of an average are one program
        begin = evenly if begin is None else begin._replace(prior_logit=evenly.prior_logit)
    found_by = partial(fit, blind, features=features)
    first = found_by(config, begin=begin)
    if boundary is not None or scores is not None or not (plan.able is not None and pays(plan)):
        plan = plan._replace(able=None)
    if plan.able is None:
        if both_classes(labels, LEAST_GOLD) and is_turned(_of_known(blind, labels, first.parameters, config, features)):
            first = turned(first)
        informing = labels if both_classes(labels) else blind  # gold of one class pushes the boundary away from it
        placed, calibration = _place(informing, plan._replace(boundary=choice), plan.boundary, first, features, scores)
        found = Averaged(Average((Member(1.0, choice, config, first.parameters, placed),)), (first,))
    else:
        again = lambda begin, config: found_by(config, begin=begin)  # noqa: E731
        found, calibration = averaged(blind, plan, first, features, again), None
        if choice == "gold":
            found, calibration = _by_gold(found, labels, features)
        member = found.average.members[0]
        first, choice, config, placed = found.fits[0], member.choice, member.config, member.boundary
    draws, how = labeler_draws(blind, first, config, features, posterior)
    shares = np.asarray(shares_at(blind, first, config, placed, features))
    said = Answer(
        plan._replace(config=config, boundary=choice),
        first,
        placed,
        found.average,
        calibration,
        of_average(labels, found.average, features, calibration),
        of_labelers(first, config, placed, features, level, shares, draws, n_instances=n_instances),
        positives_of(blind, found, features, level),
        {**how, "doubt": DOUBT},
    )
    if taken_out is None:
        return said
    return said._replace(
        fit=taken_out.fit_of(said.fit),
        average=taken_out.average_of(said.average),
        instances=taken_out.instances_of(said.instances),
        labelers=taken_out.labelers_of(said.labelers),
    )


def labeler_draws(
    labels: Labels,
    fit: IntegratedFit,
    config: IntegratedConfig,
    features: Features = Features(),
    posterior: Posterior | None = None,
) -> tuple[Draws, dict[str, Any]]:
    """Draw weighted samples of the labelers' posterior, and record the method. Host side, deterministic.

        axis       quadrature for each labeler, averaged over the unit of the axis (``integrated.axis``): the default
        laplace    normal distributions around the modes: the default of large labels, and of two factors
        exact      Gibbs sampling (``integrated.exact``)

    Raises:
        InputError: the posterior is not available for this model.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> labeler_draws(labels, fit_jit(labels), IntegratedConfig())[1]["method"]
        'axis'
    """
    config_of_axis = config.factors == 1
    if posterior is None:
        n_labels = int((np.asarray(labels.counts) > 0).sum())
        posterior = "axis" if config_of_axis and n_labels <= LARGEST else "laplace"
    if posterior == "laplace":
        return laplace_draws(fit), {"method": "laplace"}
    if not config_of_axis:
        raise InputError(f"posterior: got {posterior!r} with two factors; allowed: laplace")
    if posterior == "axis":
        return axis_draws(labels, fit, config, features), {"method": "axis"}
    featured = any(part is not None for part in features)
    if featured or config.spread == 0:
        has = "features" if featured else "Dawid and Skene's model"
        raise InputError(f"posterior: got 'exact' with {has}; allowed: axis, laplace")
    chain = sample(jax.random.key(0), labels, fit.parameters, config)
    r_hat = split_r_hat(np.asarray(chain.mean)) if config.hierarchy else None
    how = {"method": "exact", "draws": len(chain.mean), "accepted": chain.accepted.tolist(), "r_hat": r_hat}
    return chain.draws, how


def choose(labels: Labels, plan: Plan, boundary: Choice | None = None, scores=None) -> Choice:
    """Choose the decision boundary: the one asked for, else by scores, by gold of both classes, or as planned.

    Where ρ = 0 there is nothing between the classes for gold or scores to place, and the plan's is taken.

    Raises:
        InputError: the boundary needs gold or scores that are not given, or scores are given and not used.

    Example:
        >>> from crowdjax.integrated import IntegratedConfig
        >>> j = list(range(10))
        >>> labels = Labels.from_arrays(j, j, [1, 0] * 5, gold=[1, 0] * 5)
        >>> choose(labels, Plan(IntegratedConfig(), "able", ()))
        'gold'
    """
    if boundary == "gold" and not both_classes(labels):
        none = labels.gold is None or not (np.asarray(labels.gold) >= 0).any()
        got = "without gold labels" if none else "with gold labels of one class"
        raise InputError(f"boundary: got 'gold' {got}; allowed: able, gap, unweighted; or gold labels of both classes")
    if boundary is not None and (boundary == "score") != (scores is not None):
        has = "without scores" if scores is None else "with scores"
        allowed = "able, gap, unweighted, gold" if scores is None else "score"
        raise InputError(f"boundary: got {boundary!r} {has}; allowed {has}: {allowed}")
    if plan.config.spread == 0:
        return plan.boundary if boundary in (None, *INFORMED) else boundary
    return boundary or (
        "score" if scores is not None else "gold" if both_classes(labels, LEAST_GOLD) else plan.boundary
    )


def both_classes(labels: Labels, least: int = 1) -> bool:
    """Test whether at least ``least`` gold labels of each class are known.

    Example:
        >>> both_classes(Labels.from_arrays([0, 1], [0, 1], [1, 0], gold=[1, np.nan]))
        False
    """
    gold = np.asarray([] if labels.gold is None else labels.gold)
    return bool(min((gold == 0).sum(), (gold == 1).sum()) >= least)


def _by_gold(found: Averaged, labels: Labels, features: Features) -> tuple[Averaged, Calibration]:
    """Return the average with its weights times the likelihood of gold, and the able's boundary moved by it; a
    calibration.

    Gold has no part in the fits, and in the weights it has little of each instance's own.
    """
    known = np.flatnonzero(np.asarray(labels.gold) >= 0)
    blind, gold = dataclasses.replace(labels, gold=None), np.asarray(labels.gold)[known]
    said = np.asarray(of_average(blind, found.average, features).probability)[known]
    if is_turned(of_gold(said[:, None], gold)[:, 0]):
        found = turned_average(found)
    members, own, logs = [], [], []
    for member in found.average.members:
        at = member.boundary
        if member.choice == "able":
            points = candidates(at)
            all_ = positives(blind, member.parameters, member.config, points, centers(member.parameters, features))
            at = informed(at, np.log(of_gold(np.asarray(all_)[known], gold)).sum(0))
            member = member._replace(choice="gold", boundary=at)
        p = np.asarray(of_instances(blind, member.parameters, member.config, at, features).probability)[known]
        p = of_gold(p[:, None], gold)[:, 0]
        members, own, logs = [*members, member], [*own, p], [*logs, np.log(p).sum()]
    votes = of_gold(np.asarray(votes_of(blind))[known][:, None], gold)[:, 0]
    logs = np.array([*logs, np.log(votes).sum()])
    weights = np.array([*(m.weight for m in members), found.average.votes]) * np.exp(logs - logs.max())
    weights /= weights.sum()
    of = [member.config for member in members]
    main = max(dict.fromkeys(of), key=lambda config: sum(w for w, c in zip(weights, of, strict=False) if c == config))
    order = sorted(range(len(members)), key=lambda k: (of[k] != main, -weights[k]))
    average = Average(tuple(members[k]._replace(weight=float(weights[k])) for k in order), float(weights[-1]))
    truths = weights @ np.stack([*own, votes])
    return Averaged(average, tuple(found.fits[k] for k in order)), calibrate(truths)


def _of_known(
    blind: Labels, labels: Labels, parameters: Parameters, config: IntegratedConfig, features: Features
) -> Float[np.ndarray, " J"]:
    """P(z_j = gold_j) of the instances with gold, by a fit that is blind to it, with the boundary at 0."""
    known = np.flatnonzero(np.asarray(labels.gold) >= 0)
    at = around(np.zeros((), np.asarray(parameters.labelers).dtype))
    said = np.asarray(of_instances(blind, parameters, config, at, features).probability)[known]
    return of_gold(said[:, None], np.asarray(labels.gold)[known])[:, 0]


def _place(
    labels: Labels, plan: Plan, usual: Choice, fit: IntegratedFit, features: Features, scores
) -> tuple[Boundary, Calibration | None]:
    """Return the boundary, and what gold says of probabilities; gold and scores move the usual boundary."""
    parameters = fit.parameters
    placed = place(usual if plan.boundary in INFORMED else plan.boundary, parameters.labelers, fit.counts)
    if plan.boundary not in INFORMED:
        return placed, None
    at = candidates(placed)
    positive = positives(labels, parameters, plan.config, at, centers(parameters, features))
    own = None
    if labels.gold is not None:
        known = np.flatnonzero(np.asarray(labels.gold) >= 0)
        own = of_gold(np.asarray(positive)[known], np.asarray(labels.gold)[known])
    if plan.boundary == "score":
        ranked = np.full(labels.n_instances, np.nan)
        ranked[: len(scores)][~np.isnan(scores)] = normal_scores(scores[~np.isnan(scores)])
        likelihood = score_log_likelihood(positive, ranked, labels.gold)
    else:
        assert own is not None
        likelihood = np.log(own).sum(0)
    placed = informed(placed, likelihood)
    return placed, None if own is None else calibrate(without_own(placed, own))
