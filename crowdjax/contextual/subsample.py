"""A check of an approximate posterior of many labels by NUTS on a stratified sub-sample of the instances.

Both methods are fitted to the sub-sample, and the prevalence of its instances is compared:

    shift = |mean_a - mean_n| / sd_n        ends = max(|lower_a - lower_n|, |upper_a - upper_n|) / (upper_n - lower_n)

The posterior of fewer labels is wider and bends more, so that an approximation that holds there holds for all labels
the more. It agrees where neither is above its bound, .5 and .25; of two runs of NUTS with 400 effective draws they are
some .07 and .05.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from crowdjax import drive
from crowdjax.contextual.config import ContextualConfig
from crowdjax.contextual.context import Scale
from crowdjax.contextual.estimands import band, prevalence_draws
from crowdjax.contextual.inference import Inference, fit
from crowdjax.labels import Labels

SIZE = 1000  # instances of a sub-sample
MOST_SHIFT, MOST_ENDS = 0.5, 0.25


class Compared(NamedTuple):
    """The comparison of an approximation with a sub-sample; ``rhat`` is that of NUTS.

    Example:
        >>> Compared(1000, 0.1, 0.05, 1.002).agrees, Compared(1000, 0.1, 0.4, 1.002).agrees
        (True, False)
    """

    n: int
    shift: float
    ends: float
    rhat: float

    @property
    def agrees(self) -> bool:
        """Whether the approximation is accepted: NUTS converged, and both agree."""
        return self.rhat <= 1.01 and self.shift <= MOST_SHIFT and self.ends <= MOST_ENDS


def stratified(scores: Float[np.ndarray, "I C"], n: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Sample n rows at equal steps along the first score, ties in random order: each hundredth of the scores has its
    share.

    Example:
        >>> rows = stratified(np.arange(100.0)[:, None], 10, np.random.default_rng(0))
        >>> np.diff(rows).tolist()
        [10, 10, 10, 10, 10, 10, 10, 10, 10]
    """
    first = np.asarray(scores)[:, 0]
    order = np.lexsort((rng.random(len(first)), first))
    at = (np.arange(n) + rng.random()) * len(first) / n
    return np.sort(order[at.astype(int)])


def some(labels: Labels, rows: Int[np.ndarray, " n"]) -> Labels:
    """Return the labels of some instances, numbered anew; labelers keep their numbers.

    Example:
        >>> few = some(Labels.from_arrays([0, 1, 2], [0, 1, 2], [1, 0, 1]), np.array([0, 2]))
        >>> few.n_instances, few.n_labelers, int((few.counts > 0).sum())
        (2, 3, 2)
    """
    real = np.asarray(labels.counts) > 0
    labeler, instance, label, counts = (
        np.asarray(v)[real] for v in (labels.labeler, labels.instance, labels.label, labels.counts)
    )
    place = np.full(labels.n_instances, -1)
    place[rows] = np.arange(len(rows))
    kept = place[instance] >= 0
    gold = None if labels.gold is None else np.where(np.asarray(labels.gold) < 0, np.nan, labels.gold)[rows]
    return Labels.from_arrays(
        labeler[kept],
        place[instance[kept]],
        (label[kept] > 0).astype(int),
        weight=counts[kept],
        gold=gold,
        n_labelers=labels.n_labelers,
        n_instances=len(rows),
    )


def compare(
    labels: Labels,
    scores: Float[np.ndarray, "I C"],
    config: ContextualConfig,
    key: PRNGKeyArray,
    inference: Inference,
    *,
    scale: Scale,
    importance: Float[np.ndarray, " I"] | None = None,
    cell: Int[np.ndarray, " I"] | None = None,
    prior=None,
    progress: drive.Progress | None = None,
    n: int | None = None,
) -> Compared:
    """Fit a sub-sample by ``inference`` and by NUTS.

    Args:
        labels, scores, config, scale, importance, cell, prior: as in ``contextual.fit``.
        n: instances of the sub-sample, at most as many as there are; default ``SIZE``.
    """
    n = min(n or SIZE, labels.n_instances)
    rows = stratified(scores, n, np.random.default_rng(np.asarray(jax.random.key_data(key))))
    of = lambda values: None if values is None else values[rows]  # noqa: E731
    few, weights, cells = some(labels, rows), of(importance), of(cell)
    found = []
    for method in (inference, Inference("nuts")):
        fitted = fit(
            few, scores[rows], config, key, method, scale=scale, importance=weights, cell=cells, prior=prior,
            progress=progress, judged=False,
        )  # fmt: skip
        found.append((fitted, prevalence_draws(fitted, scores[rows], weights, cell=cells)))
    (_, a), (by_nuts, b) = found
    one, two = band(a), band(b)
    ends = max(abs(one.lower - two.lower), abs(one.upper - two.upper)) / (two.upper - two.lower)
    return Compared(n, float(abs(one.mean - two.mean) / b.std()), float(ends), by_nuts.diagnostics["rhat"])
