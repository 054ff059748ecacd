"""KOS, by messages, and MACE, by expectation-maximisation: the peers whose parts are neither a vote nor our models."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np
from jaxtyping import Float

from crowdjax.adapters.frames import Settings, Votes, answers, read, shown
from crowdjax.labels import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(eq=False)
class KOS(Settings):
    """KOS message passing between instances and labelers (Karger, Oh and Shah 2014), for labels of two values A = ±1:

        x_{j→i} = Σ_{i'≠i} A_i'j y_{i'→j}      y_{i→j} = Σ_{j'≠j} A_ij' x_{j'→i}      label_j = sign Σ_i A_ij y_{i→j}

    Messages start at N(1, 1) and are scaled in every step.

    Attributes:
        n_iter: number of steps.
        random_state: seed of the initial messages.
        labels_: a Series ``agg_label`` by instance; a sum of 0 gives the lesser label.
        classes_: the labels in order.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"task": [1] * 3 + [2] * 3, "worker": list("abc") * 2, "label": list("nnyyyn")})
        >>> KOS().fit_predict(frame).to_dict()
        {1: 'n', 2: 'y'}

    Source: Karger, Oh and Shah 2014, Budget-optimal task allocation for reliable crowdsourcing systems.
    """

    n_iter: int = 100
    random_state: int = 0

    def fit(self, data: pd.DataFrame) -> Self:
        """Run the message passing on a frame with columns task, worker and label.

        Raises:
            InputError: labels have more than two values.
        """
        votes = read(data, by_id=True)
        if len(votes.classes) != 2:
            values = f"{len(votes.classes)} values ({shown(votes.classes)})"
            raise InputError(f"data: column 'label' has {values}; allowed with KOS: two")
        sign = 2.0 * votes.label - 1
        y = np.random.RandomState(self.random_state).normal(1, 1, len(sign))
        for _ in range(self.n_iter):
            new = _from_others(votes.worker, sign * _from_others(votes.task, sign * y))
            size = abs(new).max()
            if size == 0:  # no labeler has a second instance, or no instance a second labeler
                break
            y = new / size
        total = np.bincount(votes.task, sign * y)
        positive = total > 0
        self.classes_ = votes.classes
        self.labels_ = answers(votes, np.c_[~positive, positive].astype(float)).labels
        return self

    def fit_predict(self, data: pd.DataFrame) -> pd.Series:
        """Run :meth:`fit` and return ``labels_``."""
        return self.fit(data).labels_


def _from_others(index: np.ndarray, message: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Sum all other messages of the same instance (labeler)."""
    return np.bincount(index, message)[index] - message


@dataclasses.dataclass(eq=False)
class MACE(Settings):
    """MACE, multi-annotator competence estimation: a labeler gives the true label, or spams from a distribution of the
    labeler's own.

        P(label l | class k) = κ_i [l = k] + σ_i θ_il      σ_i + κ_i = 1, classes alike

    Fitted by EM, or by variational Bayes with κ_i, σ_i ~ Beta and θ_i ~ Dir(10), from several starts; the best counts.

    Attributes:
        n_restarts, n_iter: number of starts, and of steps from each.
        method: ``vb`` or ``em``.
        smoothing: for ``em``: pseudo-count added to each count; None: crowd-kit's default, .01 / K.
        default_noise: the starts are uniform in [1, 2 + noise] before they are normalised.
        alpha, beta: prior counts of spamming and of knowing.
        random_state: seed of the first start; that of the next is one more.
        verbose: not used; nothing is printed.
        labels_: a Series ``agg_label`` by instance, in the order of their first rows.
        probas_: a frame by instance with a column for each label.
        spamming_: [W, 2], σ_i and κ_i, labelers in the order of their first rows.
        thetas_: [W, K].
        classes_: the labels in order, as in the columns of ``thetas_``.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"task": [1] * 3 + [2] * 3, "worker": list("abc") * 2, "label": list("xxyzzy")})
        >>> mace = MACE(n_restarts=2).fit(frame)
        >>> mace.labels_.tolist(), int(mace.spamming_[:, 0].argmax())
        (['x', 'z'], 2)

    Source: Hovy, Berg-Kirkpatrick, Vaswani and Hovy 2013, Learning whom to trust with MACE.
    """

    n_restarts: int = 10
    n_iter: int = 50
    method: Literal["vb", "em"] = "vb"
    smoothing: float | None = None
    default_noise: float = 0.5
    alpha: float = 0.5
    beta: float = 0.5
    random_state: int = 0
    verbose: int = 0

    def fit(self, data: pd.DataFrame) -> Self:
        """Fit the model to a frame with columns task, worker and label."""
        if self.method not in get_args(Literal["vb", "em"]):
            raise InputError(f"method: got {self.method!r}; allowed: vb, em")
        votes = read(data)
        fits = (self._fit(votes, self.random_state + r) for r in range(self.n_restarts))
        _, self.spamming_, self.thetas_, p = max(fits, key=lambda fit: fit[0])
        self.classes_ = votes.classes
        self.labels_, self.probas_ = answers(votes, p)
        return self

    def fit_predict(self, data: pd.DataFrame) -> pd.Series:
        """Fit the model and return ``labels_``."""
        return self.fit(data).labels_

    def fit_predict_proba(self, data: pd.DataFrame) -> pd.DataFrame:
        """Fit the model and return ``probas_``."""
        return self.fit(data).probas_

    def _fit(self, votes: Votes, seed: int):
        """Return (log p(labels), spamming, thetas, probabilities) from one start."""
        n_workers, k = len(votes.workers), len(votes.classes)
        start = lambda n: np.random.RandomState(seed).uniform(1, 2 + self.default_noise, (n_workers, n))  # noqa: E731
        spamming, thetas = (x / x.sum(1, keepdims=True) for x in (start(2), start(k)))
        added = (np.array([self.alpha, self.beta]), 10.0)
        if self.method == "em":
            added = (0.01 / k if self.smoothing is None else self.smoothing,) * 2
        for _ in range(self.n_iter):
            _, _, knowing, habits = self._expect(votes, spamming, thetas)
            spamming, thetas = self._normalised(knowing + added[0]), self._normalised(habits + added[1])
        value, p, _, _ = self._expect(votes, spamming, thetas)
        return value, spamming, thetas, p

    def _expect(self, votes: Votes, spamming: Float[np.ndarray, "W 2"], thetas: Float[np.ndarray, "W K"]):
        """Return (log p(labels), probabilities of the classes, labels that were spam and known, labels that were
        spam)."""
        n_workers, k = thetas.shape
        spam = spamming[votes.worker, 0] * thetas[votes.worker, votes.label]
        right = spam + spamming[votes.worker, 1]
        h = votes.sums(np.log(right) - np.log(spam)) + np.bincount(votes.task, np.log(spam))[:, None] - np.log(k)
        value = np.logaddexp.reduce(h, axis=1)
        p = np.exp(h - value[:, None])
        known = p[votes.task, votes.label] * (1 - spam / right)
        habits = np.bincount(votes.worker * k + votes.label, 1 - known, n_workers * k).reshape(n_workers, k)
        knowing = np.c_[habits.sum(1), np.bincount(votes.worker, known)]
        return value.sum(), p, knowing, habits

    def _normalised(self, counts):
        """Return the shares of the counts, or what stands for them where they are those of a Dirichlet."""
        if self.method == "em":
            return counts / counts.sum(1, keepdims=True)
        from scipy.special import digamma

        return np.exp(digamma(counts) - digamma(counts.sum(1, keepdims=True)))
