"""Whether labels agree beyond chance, with each other or with a classifier's score; on the host, without a model.

With x_ij the label as 0 and 1 for each value, less p_i, the shares of a labeler's own labels, chance gives
Σ_j Σ_{i≠k} x_ij·x_kj the mean 0 and the variance 2 Σ_j Σ_{i≠k} tr C_i C_k, where C_i is the covariance of a label.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crowdjax.labelers import in_sd
from crowdjax.labels import Labels

if TYPE_CHECKING:
    from jaxtyping import Float, Int

AGREED = 2.33  # a standard score that chance exceeds in 1 %
FOLLOWED = 0.01  # chance that labels follow a score of theirs by chance as much
PRETENDED = 5  # labels of a labeler as labelers' labels are, where chance is computed
FEW = 5  # labels, below which labelers count as one where labels are compared with a score
MOST_COMPARED = 4_000_000  # labels times values of labels
MOST_PAIRED = 10_000_000  # pairs of labels that the variance goes by, times values of labels
SHUFFLES, MOST_SHUFFLED = 99, 50_000  # shuffled labels that are compared with the labels; of so many
MOST_ENTRIES = 1_000_000  # of them, times values of labels
MANY = 100  # labelers, from which on an eigenvalue is found by products


class Comparison(NamedTuple):
    """What pairs of labels of the same instance say; comparisons of parts of the instances add up.

    Attributes:
        pairs: number of pairs.
        more: Σ_j Σ_{i≠k} x_ij·x_kj.
        variance: of it, by chance.
        joined: in how many parts labelers go together beyond chance; looked at where all pairs do not say enough.
        parts: how many parts.
        values: whether each value of labels occurs.

    Example:
        >>> one = compare(Labels.from_arrays([0, 1], [0, 0], [1, 0]))
        >>> (one + one).pairs
        2.0
    """

    pairs: float
    more: float
    variance: float
    joined: int
    parts: int
    values: tuple[bool, ...]

    def __add__(self, other: Comparison) -> Comparison:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Comparison(
            self.pairs + other.pairs,
            self.more + other.more,
            self.variance + other.variance,
            self.joined + other.joined,
            self.parts + other.parts,
            tuple(a or b for a, b in zip(self.values, other.values, strict=True)),
        )

    @property
    def beyond(self) -> bool:
        """Whether labels agree beyond chance, over all pairs (1 %) or because labelers go together (1 %); labels that
        are all alike are beyond any comparison."""
        agreed = self.more > AGREED * np.sqrt(max(self.variance, 0.0))
        if sum(self.values) < 2 or agreed or not self.joined:
            return bool(sum(self.values) < 2 or agreed)
        others = sum(comb(self.parts, n) * 0.01**n * 0.99 ** (self.parts - n) for n in range(self.joined))
        return 1 - others <= 0.01 + 1e-9


def compare(labels: Labels, anonymous: bool = False) -> Comparison:
    """Compare labels of the same instance with chance. Host side.

    A labeler's own shares p_i have five labels more that are as those of the mean labeler; of a labeler's labels of one
    instance the first counts.

    Args:
        anonymous: whether each label, as often as it counts, is of a labeler of its own.

    Example: coins, and labels of the same truth
        >>> rng, (j, i) = np.random.default_rng(0), np.divmod(np.arange(500), 5)
        >>> compare(Labels.from_arrays(i, j, rng.integers(0, 2, 500))).beyond
        False
        >>> compare(Labels.from_arrays(i, j, rng.integers(0, 2, 100)[j])).beyond
        True
    """
    i, j, label, size = _compared(labels, anonymous)
    k = labels.n_values
    who, i = np.unique(i, return_inverse=True)
    votes = np.bincount(j * k + label, minlength=size * k).reshape(size, k).astype(np.float64)
    n = votes.sum(1)
    pairs, values = float((n * (n - 1)).sum() / 2), tuple((votes.sum(0) > 0).tolist())
    if sum(values) < 2:
        return Comparison(pairs, 0.0, 0.0, 0.0, 1, values)
    own = np.bincount(i * k + label, minlength=len(who) * k).reshape(-1, k).astype(np.float64)
    own += PRETENDED * (own / own.sum(1, keepdims=True)).mean(0)
    own /= own.sum(1, keepdims=True)
    off = -own[i]
    off[np.arange(len(i)), label] += 1
    more = ((votes - _by_instance(own[i], j, size)) ** 2).sum() - (off**2).sum()
    found = Comparison(pairs, float(more), _variance(i, j, own, n), 0, 1, values)
    return found if found.beyond or len(who) < 2 else found._replace(joined=int(_joined(i, j, off, own)))


def _variance(i, j, own: Float[np.ndarray, "W L"], n: Float[np.ndarray, " I"]) -> float:
    """Compute 2 Σ_j Σ_{i≠k} tr C_i C_k, where tr C_i C_k = Σ_l p_il p_kl (1 - p_il - p_kl) + (Σ_l p_il p_kl)²; where
    labels are many, from some pairs of each instance, taken at random."""
    order = np.lexsort((np.random.default_rng(0).random(len(j)), j))
    i, j = i[order], j[order]
    most = np.minimum(n - 1, max(1, MOST_PAIRED // (len(j) * own.shape[1])))
    weight = n * (n - 1) / np.maximum(most * (2 * n - 1 - most), 1)  # of pairs, by those that are at most so far apart
    total = 0.0
    for apart in range(1, int(most.max()) + 1):
        (first,) = np.nonzero(j[apart:] == j[:-apart])
        p, q = own[i[first]], own[i[first + apart]]
        both = p * q
        total += weight[j[first]] @ ((both * (1 - p - q)).sum(1) + both.sum(1) ** 2)
    return float(4 * total)


def follow(labels: Labels, scores: Float[np.ndarray, "J S"], anonymous: bool = False) -> bool:
    """Test whether labels follow a score beyond chance (1 %), labeler by labeler; labelers with few labels count as
    one. Host side.

    With t the ranks u of a score from below, -log u, or from above, -log(1 - u) (Savage 1956), which see a few
    instances at either end, less the mean over a labeler's labels, chance gives Σ t_j [L_ij = l] the mean 0 and the
    variance Σ_i n_i / (n_i - 1) p_il (1 - p_il) Σ_j t_j².

    Args:
        scores: NaN where there is none.

    Example: half of the labels are the score cut in two
        >>> rng, (j, i) = np.random.default_rng(0), np.divmod(np.arange(500), 5)
        >>> score = rng.random(100)
        >>> label = np.where(rng.random(500) < 0.5, score[j] > 0.5, rng.integers(0, 2, 500))
        >>> [follow(Labels.from_arrays(i, j, label), v[:, None]) for v in (score, rng.random(100))]
        [True, False]
    """
    from scipy.stats import rankdata

    i, j, label, _ = _compared(labels, anonymous)
    n = np.bincount(i)
    i = np.where(n[i] < FEW, len(n), i)
    who, i = np.unique(i, return_inverse=True)
    scores = np.asarray(scores, np.float64)
    u = (rankdata(scores, axis=0, nan_policy="omit") - 0.5) / np.maximum(np.isfinite(scores).sum(0), 1)
    t = np.concatenate([-np.log(u), -np.log1p(-u)], 1)[j]
    there, n_values = np.isfinite(t), labels.n_values
    n = np.maximum(_by_instance(there.astype(np.float64), i, len(who)), 1)  # labels with a score, of each labeler
    t = np.where(there, t - (_by_instance(np.nan_to_num(t), i, len(who)) / n)[i], 0.0)
    z = []
    for value in range(n_values):
        is_value = (label == value)[:, None]
        p = _by_instance((is_value & there).astype(np.float64), i, len(who)) / n
        variance = (n / np.maximum(n - 1, 1) * p * (1 - p) * _by_instance(t**2, i, len(who))).sum(0)
        z.append((t * is_value).sum(0) / np.sqrt(np.maximum(variance, np.finfo(float).tiny)))
    return bool(abs(np.array(z)).max() > in_sd(1 - FOLLOWED / (n_values * t.shape[1])))


def _compared(labels: Labels, anonymous: bool):
    """Return labelers, instances and labels that are compared, and how many of the first instances they are of."""
    counts = np.asarray(labels.counts)
    real = counts > 0
    i, j, label = (np.asarray(v)[real].astype(np.int64) for v in (labels.labeler, labels.instance, labels.label))
    most = MOST_COMPARED // labels.n_values
    if anonymous:
        times = np.maximum(np.rint(counts[real].astype(np.float64)), 1)
        times *= np.minimum(most / np.bincount(j, times)[j], 1)  # no instance alone is more than is compared
        times = np.maximum(np.rint(times), 1)
        size = _first(np.bincount(j, times, labels.n_instances), most)
        j, label = (np.repeat(v, np.where(j < size, times, 0).astype(np.int64)) for v in (j, label))
        return np.arange(len(j)), j, label, size
    first = np.unique(j * labels.n_labelers + i, return_index=True)[1]  # a labeler who repeats agrees with nobody
    size = _first(np.bincount(j[first], minlength=labels.n_instances), most)
    return *(v[first][j[first] < size] for v in (i, j, label)), size


def _first(n: Float[np.ndarray, " J"], most: int) -> int:
    """How many of the first instances have at most so many labels; one, if it alone has more."""
    return max(1, int(np.searchsorted(np.cumsum(n), most, side="right")))


def _by_instance(values: Float[np.ndarray, "N C"], j: Int[np.ndarray, " N"], size: int) -> Float[np.ndarray, "I C"]:
    """Sum rows by instance, or by labeler."""
    return np.stack([np.bincount(j, column, size) for column in values.T], 1)


def _joined(i, j, off, own) -> bool:
    """Test whether labelers go together, or against each other, beyond chance (1 %): half of a crowd may say the
    opposite of the other half, and then all pairs together agree as coins do.

    The largest eigenvalue of A, A_ik = Σ_j x_ij·x_kj / √(d_i d_k) for i ≠ k with x in units of its standard deviation
    and d_i the number of labels that i's instances have, exceeds those of labels that are shuffled within labelers.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import LinearOperator, eigsh

    rng, (n_labelers, k) = np.random.default_rng(0), own.shape
    some = j <= np.sort(j)[: min(MOST_SHUFFLED, max(2, MOST_ENTRIES // k))][-1]
    order = np.lexsort((j[some], i[some]))
    i, j, off = i[some][order], j[some][order], off[some][order]
    x = off / np.sqrt(np.maximum(1 - (own**2).sum(1), np.finfo(float).tiny))[i][:, None]
    degree = 1 / np.sqrt(np.maximum(np.bincount(i, np.bincount(j)[j], n_labelers), 1))
    x *= degree[i][:, None]
    itself = np.bincount(i, (x**2).sum(1), n_labelers)  # of each labeler with itself: shuffling does not change it
    columns = (j[:, None] * k + np.arange(k)).ravel()
    first = np.r_[0, np.cumsum(np.bincount(i, minlength=n_labelers))] * k
    v0 = rng.normal(size=n_labelers)

    def largest(x) -> float:
        by_labeler = csr_array((x.ravel(), columns, first), (n_labelers, (j.max() + 1) * k))
        if n_labelers < MANY:
            return float(np.linalg.eigvalsh((by_labeler @ by_labeler.T).toarray() - np.diag(itself))[-1])
        product = lambda v: by_labeler @ (by_labeler.T @ v) - itself * v  # noqa: E731
        operator = LinearOperator((n_labelers, n_labelers), matvec=product, dtype=float)  # pyright: ignore[reportCallIssue]
        return float(eigsh(operator, 1, which="LA", v0=v0, return_eigenvectors=False, tol=1e-3)[0])

    seen = largest(x)
    shuffled = (x[np.lexsort((rng.random(len(i)), i))] for _ in range(SHUFFLES))
    return all(largest(other) < seen for other in shuffled)
