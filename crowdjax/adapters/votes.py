"""Weighted votes: the label with the largest sum of its labelers' weights wins; methods differ in the weights.

| | weight of a labeler |
|---|---|
| MajorityVote | 1, or the skill that is given |
| Wawa | share of the labeler's labels that agree with the majority |
| ZeroBasedSkill | share of the labeler's labels that agree with the weighted vote itself, iterated |
| GoldMajorityVote | share of the labeler's labels on gold instances that are right |
| MMSR | log-odds of being right, from how often labelers agree with each other |
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, Self, get_args

import numpy as np
from jaxtyping import Float

from crowdjax.adapters.frames import Answers, Settings, Votes, answers, by_worker, read, series
from crowdjax.labels import InputError

if TYPE_CHECKING:
    import pandas as pd

Missing = Literal["error", "ignore", "value"]


@dataclasses.dataclass(eq=False)
class MajorityVote(Settings):
    """The majority vote or, with skills, the label with the largest sum of its labelers' skills. A tie goes to the
    least label.

    Attributes:
        default_skill: skill of labelers without one, where ``on_missing_skill`` is ``value``.
        on_missing_skill: ``error``, ``ignore`` (their labels do not count) or ``value``.
        labels_: a Series ``agg_label`` by instance.
        probas_: a frame by instance with a column for each label: its share of the votes.
        skills_: a Series ``skill`` by labeler: the share of the labeler's labels that are those of ``labels_``.
        classes_: the labels in order.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"task": [1, 1, 1], "worker": ["ann", "bob", "cat"], "label": ["no", "yes", "yes"]})
        >>> MajorityVote().fit_predict_proba(frame).round(2).to_dict("list")
        {'no': [0.33], 'yes': [0.67]}
        >>> MajorityVote().fit_predict(frame, pd.Series({"ann": 0.9, "bob": 0.4, "cat": 0.4})).tolist()
        ['no']
    """

    default_skill: float | None = None
    on_missing_skill: Missing = "error"

    def fit(self, data: pd.DataFrame, skills: pd.Series | None = None) -> Self:
        """Count the votes of a frame, each weighted by its labeler's skill.

        Args:
            data: a frame with columns task, worker and label.
            skills: a Series with the weight of each labeler's vote, by labeler.

        Raises:
            InputError: the frame lacks a column or has missing values, a labeler has no skill, or no labeler of an
                instance has one.
        """
        votes = read(data)
        weights = np.ones(len(votes.workers))
        if skills is not None:
            weights = weights_of(votes.workers, skills, self.on_missing_skill, self.default_skill)
            empty = np.flatnonzero(np.bincount(votes.task, weights[votes.worker]) <= 0)
            if empty.size:
                raise InputError(f"skills: those of the labelers on instance {votes.tasks[empty[0]]!s} add up to 0")
        self.result_, self.classes_ = None, votes.classes
        p = shares(votes, weights)
        self.labels_, self.probas_ = answers(votes, p)
        self.skills_ = by_worker(votes, agreement(votes, p), "skill")
        return self

    def fit_predict(self, data: pd.DataFrame, skills: pd.Series | None = None) -> pd.Series:
        """Run :meth:`fit` and return ``labels_``."""
        return self.fit(data, skills).labels_

    def fit_predict_proba(self, data: pd.DataFrame, skills: pd.Series | None = None) -> pd.DataFrame:
        """Run :meth:`fit` and return ``probas_``, the shares of votes."""
        return self.fit(data, skills).probas_

    def predict(self, data: pd.DataFrame) -> pd.Series:
        """Predict the labels of other instances by majority vote."""
        return self._predicted(data).labels

    def predict_proba(self, data: pd.DataFrame) -> pd.DataFrame:
        """Compute each label's share of the votes on other instances."""
        return self._predicted(data).probas

    def _predicted(self, data: pd.DataFrame) -> Answers:
        votes = read(data, classes=self._fitted("classes_"))
        return answers(votes, shares(votes, np.ones(len(votes.workers))))


class Skilled(Settings):
    """Base class of weighted votes; subclasses say how ``fit`` estimates the weights.

    As in crowd-kit, ``predict`` weighs the votes on any instances, all of whose labelers were in the fit, and keeps the
    results in ``labels_`` and ``probas_``. An instance whose labelers' weights are all 0 gets plain votes.

    Attributes:
        skills_: a Series ``skill`` by labeler.
        labels_: a Series ``agg_label`` by instance.
        probas_: a frame by instance with a column for each label: its share of the weights.
        classes_: the labels in order.
    """

    def fit(self, data: pd.DataFrame) -> Self:
        """Estimate the weights from a frame with columns task, worker and label."""
        votes = read(data, by_id=True)
        self.classes_, self.skills_ = votes.classes, by_worker(votes, self._weights(votes), "skill")
        self._apply(votes)
        return self

    def fit_predict(self, data: pd.DataFrame) -> pd.Series:
        """Run :meth:`fit` and return ``labels_``."""
        return self.fit(data).labels_

    def fit_predict_proba(self, data: pd.DataFrame) -> pd.DataFrame:
        """Run :meth:`fit` and return ``probas_``."""
        return self.fit(data).probas_

    def predict(self, data: pd.DataFrame) -> pd.Series:
        """Predict the labels of any instances whose labelers were in the fit."""
        return self._apply(self._others(data)).labels

    def predict_proba(self, data: pd.DataFrame) -> pd.DataFrame:
        """Compute each label's share of the weights, for any instances whose labelers were in the fit."""
        return self._apply(self._others(data)).probas

    def _others(self, data: pd.DataFrame) -> Votes:
        return read(data, by_id=True, classes=self._fitted("classes_"))

    def _apply(self, votes: Votes) -> Answers:
        found = answers(votes, shares(votes, weights_of(votes.workers, self.skills_, least=-np.inf)))
        self.labels_, self.probas_ = found
        return found

    def _weights(self, votes: Votes) -> Float[np.ndarray, " W"]:
        raise NotImplementedError


@dataclasses.dataclass(eq=False)
class Wawa(Skilled):
    """Worker agreement with aggregate: each vote is weighted by the share of the labeler's labels that agree with the
    majority.

    Example: the third contradicts the others twice
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"task": [1, 1, 1, 2, 2, 2], "worker": list("abcabc"), "label": list("xxyzzx")})
        >>> Wawa().fit(frame).skills_.to_dict()
        {'a': 1.0, 'b': 1.0, 'c': 0.0}

    Source: Appen's documentation, and crowd-kit's.
    """

    def _weights(self, votes):
        return agreement(votes, votes.sums())


@dataclasses.dataclass(eq=False)
class ZeroBasedSkill(Skilled):
    """Iterated weighted vote: each vote is weighted by the share of the labeler's labels that agree with the weighted
    vote:

        skill += rate (share of labels that agree with the vote - skill)     from 1/K + eps

    Attributes:
        n_iter: number of steps.
        lr_init, lr_steps_to_reduce, lr_reduce_factor: initial learning rate, and the factor by which it falls after
            every ``lr_steps_to_reduce`` steps.
        eps: excess of the initial skills over chance.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"task": [1, 1, 1, 2, 2, 2], "worker": list("abcabc"), "label": list("xxyzzz")})
        >>> ZeroBasedSkill(n_iter=50).fit(frame).skills_.round(3).to_dict()
        {'a': 1.0, 'b': 1.0, 'c': 0.5}

    Source: crowd-kit's documentation.
    """

    n_iter: int = 100
    lr_init: float = 1.0
    lr_steps_to_reduce: int = 20
    lr_reduce_factor: float = 0.5
    eps: float = 1e-5

    def _weights(self, votes):
        skills = np.full(len(votes.workers), 1 / len(votes.classes) + self.eps)
        for step in range(1, self.n_iter + 1):
            rate = self.lr_init * self.lr_reduce_factor ** (step // self.lr_steps_to_reduce)
            skills = skills + rate * (agreement(votes, shares(votes, skills)) - skills)
        return skills


@dataclasses.dataclass(eq=False)
class GoldMajorityVote(Skilled):
    """Weighted vote by gold: each vote is weighted by the share of the labeler's labels that are right on gold
    instances.

    ``fit`` finds the skills of the labelers who judged such an instance; ``predict`` applies them.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"task": [1, 1, 2, 2], "worker": list("abab"), "label": list("xyzx")})
        >>> GoldMajorityVote().fit_predict(frame, pd.Series({1: "x"})).to_dict()
        {1: 'x', 2: 'z'}
    """

    def fit(self, data: pd.DataFrame, true_labels: pd.Series) -> Self:  # type: ignore[override]
        """Estimate each labeler's skill from the instances with known truth.

        Args:
            data: a frame with columns task, worker and label.
            true_labels: a Series with the true label of some instances, by instance.
        """
        votes = read(data, by_id=True)
        truth = series(true_labels, "true_labels", "task").reindex(votes.tasks)
        known = truth.notna().to_numpy()[votes.task]
        if not known.any():
            raise InputError(
                "true_labels: none is of an instance in data; allowed: the labels of some of its instances, by instance"
            )
        right = votes.classes[votes.label] == truth.to_numpy()[votes.task]
        n = np.bincount(votes.worker, known)
        share = np.bincount(votes.worker, known & right) / np.maximum(n, 1)
        self.classes_, self.skills_ = votes.classes, by_worker(votes, share, "skill")[n > 0]
        return self

    def fit_predict(self, data: pd.DataFrame, true_labels: pd.Series) -> pd.Series:  # type: ignore[override]
        """Run :meth:`fit`, then :meth:`predict` on the same instances; every labeler needs an instance with a known
        truth.
        """
        return self.fit(data, true_labels).predict(data)

    def fit_predict_proba(self, data: pd.DataFrame, true_labels: pd.Series) -> pd.DataFrame:  # type: ignore[override]
        """Run :meth:`fit`, then :meth:`predict_proba` on the same instances; every labeler needs an instance with a
        known truth.
        """
        return self.fit(data, true_labels).predict_proba(data)


@dataclasses.dataclass(eq=False)
class MMSR(Skilled):
    """Matrix mean-subsequence-reduced: robust estimates of labelers' accuracies from their pairwise agreement.

        E[(K C - 1) / (K - 1)] = s sᵀ      C: how often two labelers agree      P(right) = s (K-1)/K + 1/K

    A matrix of rank one is fitted to what is observed, in each step without the F greatest and F least quotients; a
    vote counts by log((K-1) P / (1-P)), which is below 0 for a labeler who is wrong more often than by guessing.

    Attributes:
        n_iter: largest number of steps.
        tol: stop where the matrix changes by less than this.
        random_state: seed of the initial matrix.
        probas_: the sums of the weights by label, over the sum of their sizes; negative where votes count against it.
        loss_history_: the change of the matrix in each step.

    Example: the third guesses
        >>> import pandas as pd
        >>> rng = np.random.default_rng(0)
        >>> truth, worker, task = rng.integers(0, 3, 60), np.tile(range(4), 60), np.repeat(range(60), 4)
        >>> label = np.where((worker == 2) | (rng.random(240) < 0.2), rng.integers(0, 3, 240), truth[task])
        >>> int(MMSR().fit(pd.DataFrame({"task": task, "worker": worker, "label": label})).skills_.idxmin())
        2

    Source: Ma and Olshevsky 2020, Adversarial crowdsourcing through robust rank-one matrix completion.
    """

    n_iter: int = 10000
    tol: float = 1e-10
    random_state: int | None = 0

    @property
    def scores_(self) -> pd.DataFrame:
        """Alias of ``probas_`` under crowd-kit's name."""
        return self.probas_

    def fit_predict_score(self, data: pd.DataFrame) -> pd.DataFrame:
        """Run :meth:`fit` and return ``scores_``."""
        return self.fit(data).scores_

    def predict_score(self, data: pd.DataFrame) -> pd.DataFrame:
        """Compute the scores of any instances whose labelers were in the fit."""
        return self.predict_proba(data)

    def _weights(self, votes):
        n, k = len(votes.tasks), len(votes.classes)
        agree, common = _agreements(votes)
        seen = common > 0
        c = np.where(seen, (k * agree / np.maximum(common, 1) - 1) / (k - 1), 0)
        u, self.loss_history_ = self._rank_one(abs(c), seen, 1 / np.sqrt(n))
        s = np.clip(_signs(c) * u, 1 / np.sqrt(n) - 1 / (k - 1), 1 - 1 / np.sqrt(n))
        p = s * (k - 1) / k + 1 / k
        return np.log(p * (k - 1) / (1 - p))

    def _rank_one(self, c: Float[np.ndarray, "W W"], seen, least: float) -> tuple[Float[np.ndarray, " W"], list[float]]:
        """Return the absolute skills u, c ≈ u vᵀ where seen, and how the product changed."""
        rng = np.random.RandomState(self.random_state)
        u = v = rng.uniform(size=len(c))
        trimmed = max(int(seen.sum(0).min()) // 2 - 1, 0)
        history = []
        for _ in range(self.n_iter):
            before = np.outer(u, v)
            v = _trimmed_mean(c, u, v, seen, trimmed, least)
            u = _trimmed_mean(c, v, u, seen, trimmed, least)
            history.append(float(np.linalg.norm(np.outer(u, v) - before)))
            if history[-1] < self.tol:
                break
        return u * np.sqrt(np.linalg.norm(v) / np.linalg.norm(u)), history


def _agreements(votes: Votes) -> tuple[Float[np.ndarray, "W W"], Float[np.ndarray, "W W"]]:
    """Return how many labels two labelers share, and how many instances; 0 with oneself. Of repeats the last counts."""
    from scipy.sparse import csr_array

    n_workers, n_tasks, k = len(votes.workers), len(votes.tasks), len(votes.classes)
    pair = votes.worker * n_tasks + votes.task
    last = len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1]
    worker, task, label = votes.worker[last], votes.task[last], votes.label[last]
    ones = np.ones(len(last))
    said = csr_array((ones, (worker, task * k + label)), shape=(n_workers, n_tasks * k))
    judged = csr_array((ones, (worker, task)), shape=(n_workers, n_tasks))
    others = 1 - np.eye(n_workers)
    return (said @ said.T).toarray() * others, (judged @ judged.T).toarray() * others


def _trimmed_mean(c, u, now, seen, n: int, least: float) -> Float[np.ndarray, " W"]:
    """Return for each column the mean of c / u where seen, without the n greatest of those above ``now`` and the n
    least of those below; as it is now where nothing is left, and not 0 by a single one."""
    use = seen & (u > 0)[:, None]
    quotient = np.sort(np.where(use, c / np.where(u > 0, u, 1)[:, None], np.inf), axis=0)
    rank, number = np.arange(len(c))[:, None], use.sum(0)
    low = np.minimum((quotient < now).sum(0), n)
    high = number - np.minimum(((quotient > now) & (rank < number)).sum(0), n)
    kept = (rank >= low) & (rank < high)
    count = kept.sum(0)
    mean = np.where(kept, quotient, 0).sum(0) / np.maximum(count, 1)
    mean = np.where((count == 1) & (mean == 0), least, mean)
    return np.where(count > 0, mean, now)


def _signs(c: Float[np.ndarray, "W W"]) -> Float[np.ndarray, " W"]:
    """Find who is better than chance: the larger of two groups of labelers, most agreement being within them.

    Source: Kunegis et al. 2010, Spectral analysis of signed graphs (the least eigenvector of their Laplacian).
    """
    _, vectors = np.linalg.eigh(np.diag(abs(c).sum(1)) - c)
    found = np.where(vectors[:, 0] >= 0, 1.0, -1.0)
    return found if found.sum() >= 0 else -found


def shares(votes: Votes, weights: Float[np.ndarray, " W"]) -> Float[np.ndarray, "I K"]:
    """Compute the sums of the weights by instance and label, over the sum of their absolute values; plain vote shares
    where all weights are 0.
    """
    each = weights[votes.worker]
    size = np.bincount(votes.task, abs(each))
    empty = size == 0
    each = np.where(empty[votes.task], 1, each)
    return votes.sums(each) / np.where(empty, np.bincount(votes.task), size)[:, None]


def agreement(votes: Votes, p: Float[np.ndarray, "I K"]) -> Float[np.ndarray, " W"]:
    """Compute the share of each labeler's labels that agree with the most probable label."""
    return votes.by_worker(p.argmax(1)[votes.task] == votes.label)


def weights_of(
    workers: pd.Index,
    skills: pd.Series,
    on_missing_skill: Missing = "error",
    default_skill: float | None = None,
    least: float = 0,
) -> Float[np.ndarray, " W"]:
    """Look up the skills of the labelers, in order."""
    if on_missing_skill not in get_args(Missing):
        allowed = ", ".join(get_args(Missing))
        raise InputError(f"on_missing_skill: got {on_missing_skill!r}; allowed: {allowed}")
    import pandas as pd

    weights = pd.to_numeric(series(skills, "skills", "worker"), errors="coerce").reindex(workers).to_numpy(float)
    wrong = (weights < least) | np.isinf(weights)
    if wrong.any():
        raise InputError(f"skills: got {weights[wrong][0]}; allowed: finite, 0 or more")
    missing = np.isnan(weights)
    if missing.any() and on_missing_skill == "error":
        raise InputError(f"skills: none for labeler {workers[missing.argmax()]!s}; allowed: one for every labeler")
    fill = default_skill if on_missing_skill == "value" else 0.0
    if fill is None:
        raise InputError("default_skill: got None with on_missing_skill 'value'; allowed: a number")
    return np.where(missing, fill, weights)
