"""The models behind the faces of crowd-kit and scikit-learn: a data frame in, a Series out.

    from crowdjax.adapters import DawidSkene          # in place of: from crowdkit.aggregation import DawidSkene
    DawidSkene().fit_predict(frame)                   # columns task, worker, label -> a Series of labels by task

Labels may be any two values; the greater of them is the positive class. ``MajorityVote``, ``DawidSkene``,
``OneCoinDawidSkene`` and ``GLAD`` have crowd-kit's names, arguments, attributes and order of tasks; ``Factor``,
``Auto`` and ``Aggregator`` (any model) have the same manners. All have ``get_params`` and ``set_params``, by which
scikit-learn clones them; neither package is needed. What crowdjax itself says of a fit, its warnings for instance, is
in ``result_``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, get_args

import numpy as np

from crowdjax import api, factor
from crowdjax.extras import needed
from crowdjax.integrated import Choice
from crowdjax.labels import InputError, Repeats

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GLAD", "Aggregator", "Auto", "DawidSkene", "Factor", "MajorityVote", "OneCoinDawidSkene"]

COLUMNS = ("task", "worker", "label")
Missing = Literal["error", "ignore", "value"]


@dataclasses.dataclass(frozen=True)
class Votes:
    """The rows of a frame by number: ``tasks[task[n]]`` was given ``classes[label[n]]`` by ``workers[worker[n]]``."""

    task: np.ndarray
    worker: np.ndarray
    label: np.ndarray
    tasks: pd.Index
    workers: pd.Index
    classes: pd.Index

    @property
    def table(self) -> dict[str, np.ndarray]:
        """As ``crowdjax.fit`` takes them."""
        return {"labeler": self.worker, "instance": self.task, "label": self.label}


class Answers(NamedTuple):
    """A label for every task, and the probabilities of both."""

    labels: pd.Series
    probas: pd.DataFrame


class Estimator:
    """What all estimators here have in common; subclasses are dataclasses whose fields are the settings.

    Attributes:
        labels_: a Series ``agg_label`` by task: the more probable label; the lesser one at one half.
        probas_: a frame by task with a column for either label; rows add up to 1.
        skills_: a Series ``skill`` by worker: the chance of being right, over the tasks that the worker judged.
        errors_: a frame by (worker, label given) with a column for either true label: the chances of giving it.
        classes_: the two labels in order.
        result_: what ``crowdjax.fit`` returned, by number of worker and task; None for the majority vote.
    """

    _by_id = False  # tasks in the order of their ids; else of their first rows

    def fit(self, data: pd.DataFrame, true_labels: pd.Series | None = None) -> Self:
        """Fits the model.

        Args:
            data: columns task, worker and label, a row for each judgement.
            true_labels: the label of some tasks, where known, by task.

        Raises:
            InputError: not such a frame, a value is missing, or labels have more values than two, or one.
            FitError: the fit has no usable answer.
        """
        votes = read(data, by_id=self._by_id)
        gold = None if true_labels is None else _gold(votes, true_labels)
        self.result_ = api.fit(votes.table, gold=gold, **self._settings())
        self.classes_, self._workers = votes.classes, votes.workers
        self.labels_, self.probas_ = _answers(votes, self.result_)
        self._describe(votes)
        return self

    def fit_predict(self, data: pd.DataFrame, true_labels: pd.Series | None = None) -> pd.Series:
        """:meth:`fit`, then ``labels_``."""
        return self.fit(data, true_labels).labels_

    def fit_predict_proba(self, data: pd.DataFrame, true_labels: pd.Series | None = None) -> pd.DataFrame:
        """:meth:`fit`, then ``probas_``."""
        return self.fit(data, true_labels).probas_

    def predict(self, data: pd.DataFrame) -> pd.Series:
        """Labels of other tasks, workers held at what the fit found; ones that it has not seen are taken as its prior
        says."""
        return self._predicted(data).labels

    def predict_proba(self, data: pd.DataFrame) -> pd.DataFrame:
        """Probabilities of other tasks, as :meth:`predict`."""
        return self._predicted(data).probas

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # pyright: ignore

    def set_params(self, **settings) -> Self:
        """Changes settings; refuses names that are none."""
        known = self.get_params()
        for name, value in settings.items():
            if name not in known:
                raise InputError(f"{type(self).__name__}: got {name}; allowed: {', '.join(known) or 'no settings'}")
            setattr(self, name, value)
        return self

    def _settings(self) -> dict[str, Any]:
        """What to ask of ``crowdjax.fit``."""
        raise NotImplementedError

    def _predicted(self, data: pd.DataFrame) -> Answers:
        votes = self._others(data)
        return _answers(votes, self.result_.predict(votes.table))

    def _others(self, data: pd.DataFrame) -> Votes:
        """The rows of another frame, workers numbered as in the fit."""
        if not hasattr(self, "classes_"):
            raise InputError(f"{type(self).__name__}: not fitted yet; call fit first")
        return read(data, by_id=self._by_id, workers=self._workers, classes=self.classes_)

    def _describe(self, votes: Votes) -> None:
        """``skills_`` and ``errors_``."""
        import pandas as pd

        found = {k: np.asarray(self.result_.labelers[k], float) for k in ("sensitivity", "specificity", "accuracy")}
        right = np.stack([found["specificity"], found["sensitivity"]], 1)[:, None]  # [W, 1, true label]
        given = np.where(np.eye(2, dtype=bool), right, 1 - right)  # [W, label given, true label]
        rows = pd.MultiIndex.from_product([votes.workers, votes.classes], names=["worker", "label"])
        self.errors_ = pd.DataFrame(given.reshape(-1, 2), rows, votes.classes.rename("label"))
        self.skills_ = _by_worker(votes, found["accuracy"], "skill")


@dataclasses.dataclass(eq=False)
class Aggregator(Estimator):
    """Any model of :func:`crowdjax.fit`; the settings are those of its arguments that are no tables.

    Example:
        >>> Aggregator("factor", factors=2).set_params(seed=1).get_params()["seed"]
        1
    """

    model: str | factor.FactorConfig = "auto"
    factors: int | Literal["auto"] | None = None
    class_prior: float | Literal["learn"] | None = None
    repeats: Repeats = "count"
    restarts: int | None = None
    seed: int | None = None
    boundary: Choice | None = None

    def _settings(self) -> dict[str, Any]:
        return {name: value for name, value in self.get_params().items() if value is not None}


@dataclasses.dataclass(eq=False)
class Auto(Estimator):
    """The model ``auto``: the integrated model wherever the labels allow it. See :func:`crowdjax.fit`.

    Example:
        >>> Auto(boundary="unweighted").get_params()
        {'boundary': 'unweighted'}
    """

    boundary: Choice | None = None

    def _settings(self) -> dict[str, Any]:
        return {"model": "auto", "boundary": self.boundary}


@dataclasses.dataclass(eq=False)
class Factor(Estimator):
    """The latent-factor model, with so many factors (``auto``: as held-out labels say). See :func:`crowdjax.fit`.

    Example:
        >>> Factor(2).set_params(seed=1)
        Factor(factors=2, seed=1)
    """

    factors: int | Literal["auto"] = 1
    seed: int | None = None

    def _settings(self) -> dict[str, Any]:
        drawn = {} if self.seed is None else {"seed": self.seed}
        return {"model": "factor", "factors": self.factors, **drawn}


@dataclasses.dataclass(eq=False)
class DawidSkene(Estimator):
    """The two-coin model of Dawid and Skene (1979), the share of either class learned, as in crowd-kit.

    The answers are those of the highest posterior: where crowd-kit stops early or gives a labeler an error of exactly
    0, these differ. ``initial_error`` is not taken.

    Attributes:
        n_iter: the most passes over the labels.
        tol: stop where steps gain less than this share of the objective.
        priors_: a Series ``prior`` by label: the share of either among the tasks.

    Example:
        >>> DawidSkene(50).get_params()
        {'n_iter': 50, 'tol': 1e-06}
    """

    n_iter: int = 100
    tol: float = 1e-6

    _model = "dawid-skene"
    _prior: ClassVar[float | str] = "learn"

    def _settings(self) -> dict[str, Any]:
        solver = factor.Solver(max_steps=self.n_iter, rtol=self.tol)
        return {"model": self._model, "class_prior": self._prior, "solver": solver}

    def _describe(self, votes: Votes) -> None:
        super()._describe(votes)
        self.priors_ = self.probas_.mean().rename("prior")


@dataclasses.dataclass(eq=False)
class OneCoinDawidSkene(DawidSkene):
    """Every worker has one chance of being right, whatever the truth; the share of either class is learned.

    Example:
        >>> OneCoinDawidSkene(n_iter=50)
        OneCoinDawidSkene(n_iter=50, tol=1e-06)
    """

    _model = "one-coin"


@dataclasses.dataclass(eq=False)
class GLAD(DawidSkene):
    """Workers' abilities and tasks' difficulties (Whitehill et al. 2009): P(right) = σ(α_i exp(b_j)), both classes
    alike.

    Attributes:
        alphas_: a Series ``alpha`` by worker.
        betas_: a Series ``beta`` by task: b_j.

    Example:
        >>> GLAD()
        GLAD(n_iter=100, tol=1e-06)
    """

    _model = "glad"
    _prior = 0.5
    _by_id = True

    def _describe(self, votes: Votes) -> None:
        import pandas as pd

        super()._describe(votes)
        weights = self.result_.fit.weights
        alpha, beta = (np.asarray(side.free[:, 0], float) for side in (weights.labeler, weights.instance))
        self.alphas_ = _by_worker(votes, alpha, "alpha")
        self.betas_ = pd.Series(beta, votes.tasks.rename("task"), name="beta")
        self.priors_ = pd.Series(0.5, votes.classes.rename("label"), name="prior")


def _answers(votes: Votes, result: api.Prediction) -> Answers:
    return _of_probabilities(votes, np.asarray(result.instances["probability"], float))


def _shares(votes: Votes, weights: np.ndarray) -> Answers:
    """The shares of votes, each with its worker's weight."""
    each = weights[votes.worker]
    total = np.bincount(votes.task, each)
    empty = np.flatnonzero(total <= 0)
    if empty.size:
        raise InputError(f"skills: those of the workers on task {votes.tasks[empty[0]]!s} add up to 0")
    return _of_probabilities(votes, np.bincount(votes.task, each * votes.label) / total)


def _of_probabilities(votes: Votes, p: np.ndarray) -> Answers:
    """The answers about tasks whose greater label has the probabilities p."""
    import pandas as pd

    tasks = votes.tasks.rename("task")
    labels = pd.Series(votes.classes[(p > 0.5).astype(int)], tasks, name="agg_label")
    return Answers(labels, pd.DataFrame(np.c_[1 - p, p], tasks, votes.classes.rename("label")))


def _by_worker(votes: Votes, values: np.ndarray, name: str) -> pd.Series:
    import pandas as pd

    return pd.Series(values, votes.workers.rename("worker"), name=name)


