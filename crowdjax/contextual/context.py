"""Context: the score (or scores) of every instance, mapped to [-1, 1] where the functions live.

Host side (NumPy); problems are refused here. A ``Scale`` is learned once, from the scores of the instances and, where
it is known, of the population; new scores go through the same map.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import numpy as np

from crowdjax.labels import LabelError

Transform = Literal["identity", "logit", "rank"]
RANK_KNOTS = 1024  # of the distribution function that stands for the ranks


@dataclasses.dataclass(frozen=True, eq=False)
class Scale:
    """The map from scores to [-1, 1], column by column.

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
    def learn(cls, scores, *, transform: Transform = "identity", population=None) -> Scale:
        """Learns the map.

        Args:
            scores: of the instances, shape [I] or [I, C], finite, no column constant; for ``logit`` inside (0, 1).
            transform: see above.
            population: further scores that the map's range is to cover, shape [K] or [K, C].

        Raises:
            LabelError: a score is not finite, out of range, or a column is constant.

        Example:
            >>> scale = Scale.learn([0.2, 0.4, 0.6])
            >>> scale([0.2, 0.5, 0.6]).ravel().round(2).tolist()
            [-1.0, 0.5, 1.0]
        """
        if transform not in get_args(Transform):
            raise LabelError(f"transform: got {transform!r}; allowed: {', '.join(get_args(Transform))}")
        columns = as_columns(scores)
        for c in range(columns.shape[1]):
            if columns[:, c].min() == columns[:, c].max():
                raise LabelError(
                    f"score: column {c} is {columns[0, c]} throughout; allowed: scores that differ between instances"
                )
        if population is not None:
            columns = np.r_[columns, as_columns(population, columns.shape[1])]
        if transform == "rank":
            knots = np.quantile(columns, np.linspace(0, 1, RANK_KNOTS), axis=0, method="inverted_cdf").T
            share = np.array([_distribution(k[[0, -1]], k) for k in knots])
            return cls(transform, share[:, 0], share[:, 1], knots)
        columns = _logit(columns) if transform == "logit" else columns
        return cls(transform, columns.min(0), columns.max(0))

    def __call__(self, scores) -> np.ndarray:
        """x in [-1, 1] (beyond it for scores outside the learned range), shape [n, C]."""
        columns = as_columns(scores, len(self.low))
        if self.knots is not None:
            columns = np.stack([_distribution(x, k) for x, k in zip(columns.T, self.knots, strict=True)], 1)
        elif self.transform == "logit":
            columns = _logit(columns)
        return 2 * (columns - self.low) / (self.high - self.low) - 1


def as_columns(scores, n_columns: int | None = None) -> np.ndarray:
    """Scores as finite float64 of shape [n, C]; raises ``LabelError`` otherwise."""
    columns = np.asarray(scores)
    if columns.dtype.kind not in "iufb":
        raise LabelError(f"score: values of type {columns.dtype}; allowed: finite numbers")
    columns = columns.astype(np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or not columns.size:
        raise LabelError(f"score: shape {columns.shape}; allowed: [n] or [n, columns], not empty")
    bad = np.argwhere(~np.isfinite(columns))
    if bad.size:
        row, column = bad[0]
        raise LabelError(f"score: got {columns[row, column]} at row {row}, column {column}; allowed: finite numbers")
    if n_columns is not None and columns.shape[1] != n_columns:
        raise LabelError(f"score: {columns.shape[1]} columns; the model was given {n_columns}")
    return columns


def _logit(columns: np.ndarray) -> np.ndarray:
    bad = np.argwhere((columns <= 0) | (columns >= 1))
    if bad.size:
        row, column = bad[0]
        raise LabelError(
            f"score: got {columns[row, column]} at row {row}, column {column}; allowed for the logit: "
            "between 0 and 1, both excluded"
        )
    return np.log(columns) - np.log1p(-columns)


def _distribution(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """The share of scores below x, ties counted half."""
    share = np.linspace(0, 1, len(knots))
    distinct = np.unique(knots)
    left = np.searchsorted(knots, distinct, side="left")
    right = np.searchsorted(knots, distinct, side="right") - 1
    return np.interp(x, distinct, (share[left] + share[right]) / 2)
