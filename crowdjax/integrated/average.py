"""Posteriors averaged over what labels do not identify: the decision boundary and the class prior.

    p_j = λ p_j(able, π = ½) + (1-λ) [ (1-v) ((1-u) Σ_e w_e p_j(gap, π_e) + u Σ_e w0_e p0_j(π_e)) + v votes_j ]

``integrated.auto`` defines these terms and λ. There is one fit for each π_e, and one for each with ρ = 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from crowdjax.factor.kernels import majority
from crowdjax.integrated.auto import EVEN, EXPONENTS, GAP_SD, MOST_CLEAR, PENALTY, VOTES, Plan
from crowdjax.integrated.boundary import Boundary, Choice, around, place
from crowdjax.integrated.fit import IntegratedFit, at_votes
from crowdjax.integrated.gold import Calibration, calibrated
from crowdjax.integrated.model import Features, IntegratedConfig, Parameters
from crowdjax.integrated.summaries import (
    LEVEL,
    InstanceSummary,
    Interval,
    at_level,
    of_instances,
    positives_below,
)
from crowdjax.labelers import share_of_labels
from crowdjax.labels import Labels
from crowdjax.stored import stored

LEAST = 1e-3  # weight of a member that is kept

votes_of = stored(majority)


def first_at_votes(labels: Labels, config: IntegratedConfig, features: Features, prior_logit: float) -> Parameters:
    """Run ``at_votes`` compiled, as one program for all class priors.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> float(first_at_votes(labels, IntegratedConfig(), Features(), 0.5).prior_logit)
        0.5
    """
    return _first(labels, config, features, jnp.asarray(np.float64(prior_logit)))


_first = stored(at_votes)


class Member(NamedTuple):
    """One member of an average: its fitted parameters, its decision boundary and how that was chosen, and its weight.

    Example:
        >>> Member._fields
        ('weight', 'choice', 'config', 'parameters', 'boundary')
    """

    weight: float
    choice: Choice
    config: IntegratedConfig
    parameters: Parameters
    boundary: Boundary


class Average(NamedTuple):
    """A weighted average of fitted members and of votes. The first member describes the labelers; votes have the weight
    that is left of 1.

    Example:
        >>> Average((), 0.0).votes
        0.0
    """

    members: tuple[Member, ...]
    votes: float = 0.0


class Averaged(NamedTuple):
    """An average with the fits of its members, in their order.

    Example:
        >>> Averaged._fields
        ('average', 'fits')
    """

    average: Average
    fits: tuple[IntegratedFit, ...]


def pays(plan: Plan) -> bool:
    """Test whether the plan averages more than one fit.

    Example:
        >>> from crowdjax.integrated.auto import plan
        >>> pays(plan(Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 1, 0])))
        True
    """
    return plan.able is not None and plan.able < 1


def averaged(
    labels: Labels,
    plan: Plan,
    fit: IntegratedFit,
    features: Features,
    refit: Callable[[Parameters, IntegratedConfig], IntegratedFit],
) -> Averaged:
    """Fit the members of a plan's average and weight them.

    Args:
        labels: the labels, without gold.
        fit: a fit at class prior ½.
        refit: function that fits the same labels from other parameters, whose class prior it keeps, with other
            settings.

    Example: three labelers, of whom one contradicts the others
        >>> from crowdjax.integrated import fit_jit, plan
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> refit = lambda begin, config: fit_jit(labels, config, begin=begin)
        >>> found = averaged(labels, plan(labels), fit_jit(labels), Features(), refit)
        >>> found.average.members[0].choice, round(sum(m.weight for m in found.average.members), 2)
        ('gap', 0.9)
    """
    assert plan.able is not None
    able = place("able", fit.parameters.labelers, fit.counts)
    gap, nowhere = around(jnp.zeros_like(able.center), GAP_SD), around(jnp.zeros_like(able.center))
    share = share_of_labels(labels)
    logit = np.log(share) - np.log1p(-share)
    config, clear = plan.config, dataclasses.replace(plan.config, spread=0.0)

    def at_priors(config, exponents):
        return [refit(first_at_votes(labels, config, features, e * logit), config) for e in exponents]

    fits = [fit, *at_priors(config, EXPONENTS[1:])]
    fits0 = at_priors(clear, EXPONENTS) if features.instance is None else []  # features say how clear instances are
    evidence, evidence0 = _evidence(fits), _evidence(fits0)
    low, high = EVEN
    penalty = PENALTY * min(max((min(share, 1 - share) - low) / (high - low), 0.0), 1.0)
    weights = np.exp(_logs(evidence - penalty * (np.array(EXPONENTS) > 0)))
    both = np.exp(_logs(np.r_[evidence, evidence0]))
    share0 = float(both[len(fits) :].sum())
    weights0 = np.exp(_logs(evidence0)) * MOST_CLEAR * share0
    weights *= 1 - weights0.sum()
    rest = (1 - plan.able) * (1 - VOTES)
    members = [(plan.able, "able", config, fit, able)]
    members += [(rest * w, "gap", config, f, gap) for w, f in zip(weights, fits, strict=True)]
    members += [(rest * w, "gap", clear, f, nowhere) for w, f in zip(weights0, fits0, strict=True)]
    main = clear if share0 > 0.5 else config
    members = sorted((m for m in members if m[0] >= LEAST), key=lambda m: (m[2] != main, -m[0]))
    votes = (1 - plan.able) * VOTES
    scale = (1 - votes) / sum(m[0] for m in members)
    kept = tuple(Member(float(w * scale), choice, of, f.parameters, at) for w, choice, of, f, at in members)
    return Averaged(Average(kept, float(votes)), tuple(m[3] for m in members))


def _evidence(fits) -> Float[np.ndarray, " F"]:
    found = np.array([float(f.objective) for f in fits])
    return np.where(np.isfinite(found), found, -np.inf)


def _logs(values: Float[np.ndarray, " F"]) -> Float[np.ndarray, " F"]:
    """Return the logarithms of weights that add up to one."""
    return values - np.logaddexp.reduce(values) if np.isfinite(values).any() else values


def of_average(
    labels: Labels,
    average: Average,
    features: Features = Features(),
    calibration: Calibration | None = None,
) -> InstanceSummary:
    """Infer the instances of any labels under an average; x_j is that of the first member.

    An instance depends on the boundary where members say different classes with more than a tenth of the weight each.

    Example: one member
        >>> from crowdjax.integrated import around, start
        >>> labels, config = Labels.from_arrays([0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0]), IntegratedConfig(spread=0.0)
        >>> average = Average((Member(1.0, "gap", config, start(config, 2), around(jnp.array(0.0))),))
        >>> print("{:.2f} {:.2f}".format(*of_average(labels, average).probability))
        0.88 0.12
    """
    each = [of_instances(labels, m.parameters, m.config, m.boundary, features) for m in average.members]
    each = [jax.tree.map(np.asarray, e) for e in each]
    if len(each) == 1 and not average.votes:
        only = average.members[0]
        return each[0] if calibration is None else of_instances(
            labels, only.parameters, only.config, only.boundary, features, calibration
        )  # fmt: skip
    weights = [m.weight for m in average.members]
    p = average.votes * np.asarray(votes_of(labels))
    p += sum(w * e.probability for w, e in zip(weights, each, strict=True))
    zero = sum(w * e.at_zero for w, e in zip(weights, each, strict=True)) / sum(weights)
    p = p if calibration is None else np.asarray(calibrated(jnp.asarray(p), calibration))
    saying = sum(w * (e.probability > 0.5) for w, e in zip(weights, each, strict=True)) / sum(weights)
    depends = np.minimum(saying, 1 - saying) > 0.1
    if labels.gold is not None:
        gold = np.asarray(labels.gold)
        p, zero = (np.where(gold < 0, v, gold.astype(v.dtype)) for v in (p, zero))
        depends &= gold < 0
    return each[0]._replace(probability=p, at_zero=zero, depends=depends)


def positives_of(
    labels: Labels,
    found: Averaged,
    features: Features = Features(),
    level: float = LEVEL,
) -> Interval:
    """Estimate the share of positive instances under an average (``integrated.share_of_positives`` is for one member).

    Example: nobody disagrees
        >>> from crowdjax.integrated import fit_jit, plan
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 1, 0, 0, 0] * 2)
        >>> refit = lambda begin, config: fit_jit(labels, config, begin=begin)
        >>> found = averaged(labels, plan(labels), fit_jit(labels), Features(), refit)
        >>> 0.4 < positives_of(labels, found).mean < 0.6
        True
    """
    total = sum(m.weight for m in found.average.members)
    mean, below = 0.0, 0.0
    for member, fit in zip(found.average.members, found.fits, strict=True):
        of_one: tuple[float, Float[np.ndarray, " S"]] = positives_below(
            labels, fit, member.config, member.boundary, features
        )
        mean, below = mean + member.weight / total * of_one[0], below + member.weight / total * of_one[1]
    return at_level(mean, below, level)
