"""Context: the score (or scores) of every instance, mapped to [-1, 1] where the functions live.

Host side (NumPy); malformed input is rejected here. A ``Scale`` is learned once, from the scores of the labelled
instances; all other scores go through the same map.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from crowdjax.labels import LabelError
from crowdjax.outliers import odd_values

Transform = Literal["identity", "logit", "rank"]
RANK_KNOTS = 1024  # of the distribution function that stands for the ranks
LEAST_SHARE = 1e-6  # of a score under the logit: 0 and 1 are this far from their ends
TAIL, REACH = 0.005, 0.25  # outside the central range at either end; how far the scale goes beyond, in such ranges
EDGE = 0.95  # where the ends of the sample's scores lie
LEAST_ROWS = 20  # from which a score at either end is outside the central range, however few there are


@dataclasses.dataclass(frozen=True, eq=False)
class Scale:
    """The monotone map from scores to [-1, 1], column by column; scores beyond its ends are clipped.

    Attributes:
        transform: ``identity``, ``logit`` (scores are probabilities) or ``rank`` (empirical distribution function).
        low, high: per column, what goes to -1 and 1 after the transform.
        knots: for ``rank``, quantiles of each column, shape [C, K] (evenly spaced in probability).

    Example: by the distribution of the scores
        >>> Scale.learn([0.0, 1.0, 100.0], transform="rank")([1.0]).ravel().round(1).tolist()
        [0.0]
    """

    transform: Transform
    low: np.ndarray
    high: np.ndarray
    knots: np.ndarray | None = None

    @classmethod
    def learn(cls, scores, *, transform: Transform = "identity") -> Scale:
        """Learn the map from the scores of the labelled instances.

        The lowest and highest score go to -.95 and .95. An end is at most a quarter of the range of the central 99 %
        of the scores away from it, so that one odd score costs the others no more than that. Values that
        :func:`crowdjax.outliers.odd_values` finds have no part in it.

        Args:
            scores: shape [I] or [I, C], finite, no column constant; for ``logit`` in [0, 1], where the ends count as
                1e-6 and 1 - 1e-6.
            transform: see above.

        Raises:
            LabelError: a score is not finite, out of range, or a column is constant.

        Example:
            >>> scale = Scale.learn([0.2, 0.4, 0.6])
            >>> scale([0.2, 0.5, 0.6, 999]).ravel().round(3).tolist()
            [-0.95, 0.475, 0.95, 1.0]
        """
        if transform not in get_args(Transform):
            raise LabelError(f"transform: got {transform!r}; allowed: {', '.join(get_args(Transform))}")
        raw = as_columns(scores)
        columns = logit(raw) if transform == "logit" else raw
        of_column = [column[~np.isnan(column)] for column in columns.T]
        for c, column in enumerate(of_column):
            if not len(column) or column.min() == column.max():
                raise LabelError(
                    f"score: column {c} is {raw[0, c]} throughout; allowed: scores that differ between instances"
                )
        if transform == "rank":
            levels = np.linspace(0, 1, RANK_KNOTS)
            knots = np.array([np.quantile(column, levels, method="inverted_cdf") for column in of_column])
            share = np.array([_distribution(k[[0, -1]], k) for k in knots])
            return cls(transform, share[:, 0], share[:, 1], knots)
        low, high = np.array([_ends(column) for column in of_column]).T
        margin = (high - low) * (1 / EDGE - 1) / 2
        return cls(transform, low - margin, high + margin)

    def __call__(self, scores) -> Float[np.ndarray, "n C"]:
        """Return x in [-1, 1], shape [n, C]."""
        columns = as_columns(scores, len(self.low))
        if self.knots is not None:
            columns = np.stack([_distribution(x, k) for x, k in zip(columns.T, self.knots, strict=True)], 1)
        elif self.transform == "logit":
            columns = logit(columns)
        return np.clip(2 * (columns - self.low) / (self.high - self.low) - 1, -1, 1)

    @property
    def ends(self) -> Float[np.ndarray, "2 C"]:
        """The scores that map to -1 and 1.

        Example:
            >>> Scale.learn([0.0, 38.0]).ends.ravel().round(6).tolist()
            [-1.0, 39.0]
        """
        if self.knots is not None:
            return self.knots[:, [0, -1]].T
        ends = np.stack([self.low, self.high])
        return np.clip(1 / (1 + np.exp(-ends)), LEAST_SHARE, 1 - LEAST_SHARE) if self.transform == "logit" else ends

    def column(self, k: int) -> Scale:
        """Select the map of one column."""
        knots = None if self.knots is None else self.knots[k : k + 1]
        return Scale(self.transform, self.low[k : k + 1], self.high[k : k + 1], knots)

    def even(self, low: float, high: float, n: int) -> Float[np.ndarray, " n"]:
        """Compute at most n scores from low to high, evenly spaced on the scale (for ranks: in the score)."""
        if self.transform == "logit":
            start, end = logit(np.array([[low, high]]))[0]
            x = 1 / (1 + np.exp(-np.linspace(start, end, n)))
        else:
            x = np.linspace(low, high, n)
        return np.unique(np.clip(x, low, high))

    def beyond(self, scores) -> Bool[np.ndarray, "n C"]:
        """Mark the scores beyond the ends of the scale, where the functions are constant.

        Example:
            >>> Scale.learn([0.2, 0.4, 0.6]).beyond([0.1, 0.3]).ravel().tolist()
            [True, False]
        """
        columns = as_columns(scores, len(self.low))
        if self.transform == "logit":
            columns = np.clip(columns, LEAST_SHARE, 1 - LEAST_SHARE)
        low, high = self.ends
        return (columns < low) | (columns > high)


def _ends(column: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return the lowest and highest score, but for odd values, and no farther from the central range than a part of
    it."""
    column = np.sort(column[~np.isin(column, [odd.value for odd in odd_values(column)])])
    tail = int(np.ceil(TAIL * len(column))) if len(column) >= LEAST_ROWS else 0
    low, high = column[tail], column[-1 - tail]
    reach = REACH * (high - low) or np.inf  # no width, as where most scores are 0: the whole range
    return max(column[0], low - reach), min(column[-1], high + reach)


def as_columns(scores, n_columns: int | None = None) -> np.ndarray:
    """Convert scores to finite float64 of shape [n, C]; raise ``LabelError`` otherwise."""
    columns = np.asarray(scores)
    if columns.dtype.kind not in "iufb":
        raise LabelError(f"score: values of type {columns.dtype}; allowed: finite numbers")
    columns = columns.astype(np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or not columns.size:
        raise LabelError(f"score: shape {columns.shape}; allowed: [n] or [n, columns], not empty")
    bad = np.argwhere(~np.isfinite(columns) if not is_separate(columns) else np.zeros(columns.shape, bool))
    if bad.size:
        row, column = bad[0]
        raise LabelError(f"score: got {columns[row, column]} at row {row}, column {column}; allowed: finite numbers")
    if n_columns is not None and columns.shape[1] != n_columns:
        raise LabelError(f"score: {columns.shape[1]} columns; the model was given {n_columns}")
    return columns


def is_separate(columns: Float[np.ndarray, "n C"]) -> Bool[np.ndarray, ""] | bool:
    """Test whether every row has one finite column and NaN in the others: scores of several kinds.

    Example:
        >>> bool(is_separate(np.array([[0.1, np.nan], [np.nan, 0.7]]))), bool(is_separate(np.array([[0.1], [np.nan]])))
        (True, False)
    """
    finite = np.isfinite(columns)
    return columns.shape[1] > 1 and (finite.sum(1) == 1).all() and (finite | np.isnan(columns)).all()


def logit(columns: Float[np.ndarray, "n C"]) -> Float[np.ndarray, "n C"]:
    """Compute the logit of scores in [0, 1], clipped to [1e-6, 1 - 1e-6].

    Raises:
        LabelError: a score is outside [0, 1].

    Example:
        >>> logit(np.array([[0.0], [0.5]])).ravel().round(2).tolist()
        [-13.82, 0.0]
    """
    bad = np.argwhere((columns < 0) | (columns > 1))
    if bad.size:
        row, column = bad[0]
        raise LabelError(
            f"score: got {columns[row, column]} at row {row}, column {column}; allowed for the logit: 0 to 1"
        )
    columns = np.clip(columns, LEAST_SHARE, 1 - LEAST_SHARE)
    return np.log(columns) - np.log1p(-columns)


def _distribution(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Return the share of scores below x, ties counted half."""
    share = np.linspace(0, 1, len(knots))
    distinct = np.unique(knots)
    left = np.searchsorted(knots, distinct, side="left")
    right = np.searchsorted(knots, distinct, side="right") - 1
    return np.interp(x, distinct, (share[left] + share[right]) / 2)
