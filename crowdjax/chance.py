"""Whether labels agree beyond chance, with each other or with a classifier's score; on the host, without a model.

With x_ij the label as 0 and 1 for each value, less p_i, the shares of a labeler's own labels, chance gives
Σ_j Σ_{i≠k} x_ij·x_kj the mean 0 and the variance 2 Σ_j Σ_{i≠k} tr C_i C_k, where C_i is the covariance of a label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crowdjax.labelers import in_sd
from crowdjax.labels import Labels

if TYPE_CHECKING:
    from jaxtyping import Float, Int

AGREED, PAIRED = 2.33, 3.09  # standard scores that chance exceeds in 1 and in .1 %
FOLLOWED = 0.01  # chance that labels follow a score of theirs by chance as much
PRETENDED = 5  # labels of a labeler as all labels are, where chance is computed
MOST_COMPARED, MOST_PAIRED = 2_000_000, 2000  # instances times squared values of labels; labelers looked at in pairs


def beyond_chance(labels: Labels, scores: Float[np.ndarray, "I S"] | None = None) -> tuple[float, bool]:
    """Return the number of pairs of labels of the same instance, and whether labels agree beyond chance: with each
    other, or with a score. Host side.

    A labeler's own shares p_i have five labels more that are as all are. Any of three scores is enough: that of Σ_j
    Σ_{i≠k} x_ij·x_kj (1 %); of squared differences between agreement and chance over pairs of labelers, since half of a
    crowd may say the opposite of the other half (.1 %); and of labels by the ranks of a score (1 %). Labels that are
    all alike are beyond any comparison; of a labeler's labels of one instance the first counts.

    Args:
        scores: NaN where there is none.

    Example: coins, and labels of the same truth
        >>> rng, (j, i) = np.random.default_rng(0), np.divmod(np.arange(500), 5)
        >>> beyond_chance(Labels.from_arrays(i, j, rng.integers(0, 2, 500)))
        (1000.0, False)
        >>> beyond_chance(Labels.from_arrays(i, j, rng.integers(0, 2, 100)[j]))
        (1000.0, True)
    """
    real = np.asarray(labels.counts) > 0
    i, j, label = (np.asarray(v)[real].astype(np.int64) for v in (labels.labeler, labels.instance, labels.label))
    size, k = min(labels.n_instances, max(1, MOST_COMPARED // labels.n_values**2)), labels.n_values
    first = np.unique(j * labels.n_labelers + i, return_index=True)[1]  # a labeler who repeats agrees with nobody
    i, j, label = (v[first][j[first] < size] for v in (i, j, label))
    who, i = np.unique(i, return_inverse=True)
    votes = np.bincount(j * k + label, minlength=size * k).reshape(size, k).astype(np.float64)
    n = votes.sum(1)
    pairs = float((n * (n - 1)).sum() / 2)
    if np.count_nonzero(votes.sum(0)) < 2:
        return pairs, True
    all_labels = votes.sum(0) / n.sum()
    own = np.bincount(i * k + label, minlength=len(who) * k).reshape(-1, k) + PRETENDED * all_labels
    own /= own.sum(1, keepdims=True)
    spread = np.eye(k) * own[:, None] - own[:, :, None] * own[:, None]  # of a label, [W, L, L]
    shares, spreads = (_by_instance(v[i].reshape(len(i), -1), j, size) for v in (own, spread))
    off = np.eye(k)[label] - own[i]
    more = ((votes - shares) ** 2).sum() - (off**2).sum()
    variance = 2 * ((spreads**2).sum() - (spread[i] ** 2).sum())
    agreed = more > AGREED * np.sqrt(max(variance, 0.0))
    paired = len(who) <= MOST_PAIRED and not agreed and _paired(i, j, label, own, size) > PAIRED
    if agreed or paired or scores is None:
        return pairs, bool(agreed or paired)
    return pairs, _follow(off, np.diagonal(spread, axis1=1, axis2=2)[i], j, np.asarray(scores, np.float64)[:size])


def _follow(
    off: Float[np.ndarray, "N L"],
    variance: Float[np.ndarray, "N L"],
    j: Int[np.ndarray, " N"],
    scores: Float[np.ndarray, "J S"],
) -> bool:
    """Return whether labels, less what they are by chance, follow a score: its ranks from below, -log u - 1, or from
    above, -log(1 - u) - 1 (Savage 1956), which see a few instances at either end."""
    from scipy.stats import rankdata

    n = np.maximum(np.isfinite(scores).sum(0), 1)
    u = (rankdata(scores, axis=0, nan_policy="omit") - 0.5) / n
    shape = np.nan_to_num(np.concatenate([-np.log(u), -np.log1p(-u)], 1) - 1)[j]
    z = shape.T @ off / np.sqrt(np.maximum((shape**2).T @ variance, np.finfo(float).tiny))
    return bool(abs(z).max() > in_sd(1 - FOLLOWED / z.size))


def _by_instance(values: Float[np.ndarray, "N C"], j: Int[np.ndarray, " N"], size: int) -> Float[np.ndarray, "I C"]:
    """Sum rows by instance."""
    return np.stack([np.bincount(j, column, size) for column in values.T], 1)


def _paired(i, j, label, own, size: int) -> float:
    """Return the standard score of the squared differences between agreement and chance, over pairs of labelers."""
    from scipy.sparse import csr_array

    def together(which):
        judged = csr_array((np.ones(which.sum()), (j[which], i[which])), (size, len(own)))
        return (judged.T @ judged).toarray()[np.triu_indices(len(own), 1)]

    n, agreed = together(label >= 0), sum(together(label == value) for value in np.unique(label))
    chance = (own @ own.T)[np.triu_indices(len(own), 1)]
    variance = n * chance * (1 - chance)
    enough = variance > 1
    over = ((agreed - n * chance)[enough] ** 2 / variance[enough] - 1).sum()
    return float(over / np.sqrt(2 * max(enough.sum(), 1)))
