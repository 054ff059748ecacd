"""The sampling design in a contextual fit: how many instances of the population each one represents, and priors."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from crowdjax.contextual import ContextualConfig
from crowdjax.labels import Labels
from crowdjax.result import votes_of


def importance_of(values: Float[np.ndarray, "I C"], weights, people) -> Float[np.ndarray, " I"] | None:
    """Compute how many instances of the population each labelled instance represents: its weight, or its share of the
    instances nearest to it in the score.
    """
    if weights is not None:
        return weights
    if people is None or values.shape[1] > 1:
        return None
    distinct, row, n = np.unique(values[:, 0], return_inverse=True, return_counts=True)
    nearest = np.searchsorted((distinct[1:] + distinct[:-1]) / 2, people[0][:, 0])
    count = np.bincount(nearest, weights=people[1], minlength=len(distinct))
    return (count / n)[row]


def about_several(names, values: Float[np.ndarray, "I C"]) -> list[str]:
    """Describe at which values of the other scores the curves are drawn."""
    if len(names) < 2:
        return []
    at = ", ".join(f"{n} = {m:.4g}" for n, m in zip(names[1:], np.median(values[:, 1:], 0), strict=True))
    return [f"Curves are along {names[0]}, with the other scores at their medians: {at}."]


def scaled(config: ContextualConfig, labels: Labels, importance) -> ContextualConfig:
    """Set priors of the design: centre the prevalence around the share of positive labels, lowered since some of these
    are wrong, and expect labelers to be better at the class that is much more frequent.

    Levels are rounded, so that label sets of one kind share compiled programs.
    """
    votes = votes_of(labels)
    counted = votes.sum(1) > 0
    weights = None if importance is None else np.asarray(importance)[counted]
    if weights is not None and not weights.sum() > 0:
        weights = None
    share = np.clip(np.average(votes[counted, 1] / votes[counted].sum(1), weights=weights), 1e-6, 1 - 1e-6)
    level = float(np.clip(np.round(np.log(share / (1 - share))), -8, 8))
    side = float(np.sign(level))
    return dataclasses.replace(
        config,
        prevalence_mean=(level + side, 2.5),
        accuracy_mean=(1.75, 1.0) if side else (1.5, 1.0),
        bias_mean=(0.5 * side, 1.0),
    )
