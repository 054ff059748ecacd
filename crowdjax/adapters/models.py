"""The models of crowdjax as estimators: any of ``crowdjax.fit``, and crowd-kit's three."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, get_args

import numpy as np
from jaxtyping import Float

from crowdjax import api, factor
from crowdjax.adapters import fits
from crowdjax.adapters.frames import Answers, Settings, Votes, answers, by_worker, known_truths, read, series
from crowdjax.facade.registry import Kind
from crowdjax.integrated import Choice
from crowdjax.labels import InputError, Repeats
from crowdjax.observation import Fit, Solver, nominal
from crowdjax.observation.factors import Glad
from crowdjax.result import MOST_CLASSES

if TYPE_CHECKING:
    import pandas as pd

Strategy = Literal["assign", "addition"]
Truths = dict[str, np.ndarray] | None
HARDLY = 1e-5  # pseudo-count of each label in a matrix: .01 moves results, 1e-8 takes many more steps


class Found(NamedTuple):
    """A fit for ``result_``, with its estimates for instances and labelers."""

    result: Any
    p: Float[np.ndarray, "I K"]
    right: Float[np.ndarray, " W"]
    given: Float[np.ndarray, "W L K"]


class Estimator(Settings):
    """Base class of the estimators; subclasses are dataclasses whose fields are the settings.

    Attributes:
        labels_: a Series ``agg_label`` by instance: the most probable label; a tie goes to the least.
        probas_: a frame by instance with a column for each label; rows add up to 1.
        skills_: a Series ``skill`` by labeler: the probability of being right, over the instances that the labeler
            judged.
        errors_: a frame by (labeler, label given) with a column for each true label: the probability of giving that
            label.
        classes_: the labels in order.
        result_: what ``crowdjax.fit`` returned, by number of labeler and instance.
    """

    _by_id = False  # instances in the order of their ids; else of their first rows

    def fit(self, data: pd.DataFrame, true_labels: pd.Series | None = None) -> Self:
        """Fit the model to a frame of labels.

        Args:
            data: a frame with columns task, worker and label, one row for each judgement.
            true_labels: a Series with the true label of some instances, by instance.

        Raises:
            InputError: the frame lacks a column or has missing values, all labels are equal, or the model does not
                support this number of labels.
            FitError: the fit has no usable result.
        """
        votes = read(data, by_id=self._by_id)
        self._describe(votes, self._found(votes, None if true_labels is None else known_truths(votes, true_labels)))
        return self

    def fit_predict(self, data: pd.DataFrame, true_labels: pd.Series | None = None) -> pd.Series:
        """Fit the model and return ``labels_``."""
        return self.fit(data, true_labels).labels_

    def fit_predict_proba(self, data: pd.DataFrame, true_labels: pd.Series | None = None) -> pd.DataFrame:
        """Fit the model and return ``probas_``."""
        return self.fit(data, true_labels).probas_

    def predict(self, data: pd.DataFrame) -> pd.Series:
        """Predict the labels of other instances with the labelers fixed at their estimates; an unseen labeler takes the
        prior's values.
        """
        return self._predicted(data).labels

    def predict_proba(self, data: pd.DataFrame) -> pd.DataFrame:
        """Predict the probabilities of the labels of other instances, under the assumptions of :meth:`predict`."""
        return self._predicted(data).probas

    def _settings(self) -> dict[str, Any]:
        """Return the arguments of ``crowdjax.fit``."""
        raise NotImplementedError

    def _found(self, votes: Votes, gold: Truths) -> Found:
        """Return what ``crowdjax.fit`` finds."""
        result = api.fit(votes.table, gold=gold, **self._settings())
        p, right = _probabilities(votes, result), np.asarray(result.labelers["accuracy"], float)
        if len(votes.classes) == 2:
            each = [np.asarray(result.labelers[name], float) for name in ("specificity", "sensitivity")]
            of_class = np.stack(each, 1)[:, None]  # [W, 1, true label]
            return Found(result, p, right, np.where(np.eye(2, dtype=bool), of_class, 1 - of_class))
        if "confusion" not in result.tables:  # errors fall on all other labels alike
            wrong = (1 - right)[:, None, None] / (len(votes.classes) - 1)
            return Found(
                result, p, right, np.where(np.eye(len(votes.classes), dtype=bool), right[:, None, None], wrong)
            )
        shape = len(votes.workers), len(votes.classes), -1
        confusion = np.asarray(result.confusion["probability"], float).reshape(shape)
        return Found(result, p, right, confusion.swapaxes(1, 2))

    def _describe(self, votes: Votes, found: Found) -> None:
        """Return the attributes of a fit that succeeded."""
        self.result_, self.classes_, self._workers = found.result, votes.classes, votes.workers
        self.labels_, self.probas_ = answers(votes, found.p)
        self.skills_, self.errors_ = by_worker(votes, found.right, "skill"), _errors(votes, found.given)

    def _predict(self, votes: Votes) -> Float[np.ndarray, "I K"]:
        """Return the probabilities of other votes, whose labelers are numbered as in the fit."""
        return _probabilities(votes, self.result_.predict(votes.table))

    def _predicted(self, data: pd.DataFrame) -> Answers:
        classes = self._fitted("classes_")
        votes = read(data, by_id=self._by_id, workers=self._workers, classes=classes)
        return answers(votes, self._predict(votes))


def _probabilities(votes: Votes, result) -> Float[np.ndarray, "I K"]:
    """Return P(label | votes), of a fit or a prediction of ``crowdjax.fit``."""
    table = result.instances
    if len(votes.classes) == 2:
        p = np.asarray(table["probability"], float)
        return np.c_[1 - p, p]
    if hasattr(result, "fit") and isinstance(result.fit.posterior, tuple):
        codes, top = (np.asarray(v) for v in result.fit.posterior)
        rest = np.clip(1 - top.sum(1, dtype=float), 0, 1) / (len(votes.classes) - top.shape[1])
        p = np.repeat(rest[:, None], len(votes.classes), axis=1)
        np.put_along_axis(p, codes, top, 1)
        return p
    if hasattr(result, "fit"):
        return np.asarray(result.fit.posterior, float)
    if len(votes.classes) > MOST_CLASSES:
        raise InputError(f"predict: a model of {len(votes.classes)} labels; allowed: at most {MOST_CLASSES}")
    return np.stack([np.asarray(table[f"p_{k}"], float) for k in range(len(votes.classes))], axis=1)


def _errors(votes: Votes, given: Float[np.ndarray, "W L K"]) -> pd.DataFrame:
    """Tabulate P(label | true label) by labeler and label, with a column for each true label."""
    import pandas as pd

    rows = pd.MultiIndex.from_product([votes.workers, votes.classes], names=["worker", "label"])
    return pd.DataFrame(given.reshape(-1, given.shape[2]), rows, votes.classes.rename("label"))


@dataclasses.dataclass(eq=False)
class Aggregator(Estimator):
    """Estimator for any model of :func:`crowdjax.fit`; its settings are the arguments of that function that are not
    tables.

    Example:
        >>> Aggregator("factor", factors=2).set_params(seed=1).get_params()["seed"]
        1
    """

    model: str | factor.FactorConfig = "auto"
    factors: int | Literal["auto"] | None = None
    class_prior: float | tuple[float, ...] | Literal["learn"] | None = None
    repeats: Repeats = "count"
    restarts: int | None = None
    seed: int | None = None
    boundary: Choice | None = None
    classes: Kind | None = None  # ordinal: in the order of the labels

    def _settings(self) -> dict[str, Any]:
        return {name: value for name, value in self.get_params().items() if value is not None}


@dataclasses.dataclass(eq=False)
class Auto(Estimator):
    """Estimator for the model ``auto``: the integrated model wherever the labels allow it. See :func:`crowdjax.fit`.

    Example:
        >>> Auto(boundary="unweighted").get_params()
        {'boundary': 'unweighted'}
    """

    boundary: Choice | None = None

    def _settings(self) -> dict[str, Any]:
        return {"model": "auto", "boundary": self.boundary}


@dataclasses.dataclass(eq=False)
class Factor(Estimator):
    """Estimator for the latent-factor model with a given number of factors, or ``auto`` to choose it by held-out
    labels. See :func:`crowdjax.fit`.

    Example:
        >>> Factor(2).set_params(seed=1)
        Factor(factors=2, seed=1)
    """

    factors: int | Literal["auto"] = 1
    seed: int | None = None

    def _settings(self) -> dict[str, Any]:
        drawn = {} if self.seed is None else {"seed": self.seed}
        return {"model": "factor", "factors": self.factors, **drawn}


class Likelihood(Estimator):
    """Base class of crowd-kit's models, which maximise a log-density in passes over the labels.

    Two labels are fitted as ``crowdjax.fit`` does, more by ``crowdjax.observation``, whose ``Fit`` is ``result_`` then.

    Attributes:
        n_iter: largest number of passes over the labels.
        tol: stop where steps gain less than this share of the log-density.
        priors_: a Series ``prior`` by label: the share of each among the instances.
        loss_history_: log-density per label after each pass.
    """

    n_iter: int
    tol: float

    def _model(self, classes: pd.Index) -> Any:
        """Return the model of ``crowdjax.observation``."""
        raise NotImplementedError

    def _found(self, votes, gold):
        return super()._found(votes, gold) if len(votes.classes) == 2 else self._observed(votes, gold)

    def _observed(self, votes: Votes, gold: Truths, start=None) -> Found:
        """Return the fit by ``crowdjax.observation``."""
        model = self._model(votes.classes)
        labels = fits.labels_of(votes, gold)
        start = None if start is None else start(labels, model)
        found = fits.fit(labels, model, Solver(max_steps=self.n_iter, rtol=self.tol), start)
        p = np.asarray(found.posterior, float)
        right = votes.by_worker(p[votes.task, votes.label])
        return Found(found, p, right, self._given(votes, model, found.params, right))

    def _given(self, votes: Votes, model, params, right) -> Float[np.ndarray, "W L K"]:
        return np.exp(np.asarray(model.table(params), float))

    def _describe(self, votes, found):
        super()._describe(votes, found)
        fitted = self.result_ if isinstance(self.result_, Fit) else self.result_.fit
        history = np.asarray(fitted.history, float)
        self.loss_history_ = (history[~np.isnan(history)] / len(votes.label)).tolist()
        self.priors_ = self.probas_.mean().rename("prior")

    def _predict(self, votes):
        if not isinstance(self.result_, Fit):
            return super()._predict(votes)
        n = np.arange(len(votes.workers))
        known = np.where(n < len(self._workers), n, -1)
        return fits.posterior(fits.labels_of(votes), self._model(self.classes_), self.result_.params, known)


@dataclasses.dataclass(eq=False)
class DawidSkene(Likelihood):
    """Dawid and Skene's (1979) model: a confusion matrix for each labeler and a learned class prior.

    The estimates maximise the posterior density, with more than two labels all but the likelihood: where
    crowd-kit stops early, they differ. ``crowdjax.fit`` pools the labelers, which is better where each gave few labels.

    Attributes:
        n_iter: largest number of passes over the labels.
        tol: stop where steps gain less than this share of the log-density.
        initial_error_strategy: use of ``initial_error``: ``assign`` takes its matrices as the start, ``addition`` adds
            its counts to those of the votes.
        priors_: a Series ``prior`` by label: the share of each among the instances.
        loss_history_: log-density per label after each pass.

    Example:
        >>> DawidSkene(50).get_params()
        {'n_iter': 50, 'tol': 1e-06, 'initial_error_strategy': None}
    """

    n_iter: int = 100
    tol: float = 1e-6
    initial_error_strategy: Strategy | None = None

    def fit(self, data, true_labels=None, initial_error: pd.DataFrame | None = None) -> Self:
        """Fit the model to a frame of labels.

        Args:
            data: a frame with columns task, worker and label, one row for each judgement.
            true_labels: a Series with the true label of some instances, by instance.
            initial_error: probabilities, or counts, to start from: rows by labeler and label given, one column for each
                true label. With ``assign`` it needs all labelers.

        Raises:
            InputError: as in :meth:`Estimator.fit`; or ``initial_error`` is not such a frame.
        """
        self._start = self._checked(initial_error)
        return super().fit(data, true_labels)

    def fit_predict(self, data, true_labels=None, initial_error: pd.DataFrame | None = None) -> pd.Series:
        """Fit the model and return ``labels_``."""
        return self.fit(data, true_labels, initial_error).labels_

    def fit_predict_proba(self, data, true_labels=None, initial_error: pd.DataFrame | None = None) -> pd.DataFrame:
        """Fit the model and return ``probas_``."""
        return self.fit(data, true_labels, initial_error).probas_

    def _checked(self, errors: pd.DataFrame | None) -> pd.DataFrame | None:
        if errors is None:
            return None
        if self.initial_error_strategy not in get_args(Strategy):
            got, allowed = self.initial_error_strategy, ", ".join(get_args(Strategy))
            raise InputError(f"initial_error_strategy: got {got!r} with initial_error; allowed: {allowed}")
        if list(getattr(getattr(errors, "index", None), "names", [])) != ["worker", "label"]:
            raise InputError(
                "initial_error: allowed: a frame by labeler and label (a MultiIndex), columns by true label"
            )
        return errors

    def _model(self, classes):
        return nominal.DawidSkene(pooling=(HARDLY, HARDLY), class_prior="free")

    def _settings(self):
        return _api_settings(self, "dawid-skene", "learn")

    def _found(self, votes, gold):
        if self._start is None:
            return super()._found(votes, gold)
        import pandas as pd

        add = self.initial_error_strategy == "addition"
        errors, rows = self._start, pd.MultiIndex.from_product([votes.workers, votes.classes])
        absent = votes.workers[~votes.workers.isin(errors.index.get_level_values(0))]
        if len(absent) and not add:
            raise InputError(f"initial_error: none of labeler {absent[0]}; allowed with assign: rows for every labeler")
        matrices = errors.reindex(index=rows, columns=votes.classes, fill_value=0).to_numpy(float)
        matrices = matrices.reshape(len(votes.workers), -1, len(votes.classes))
        if not (matrices >= 0).all():
            raise InputError("initial_error: got a number below 0, or none; allowed: chances, or counts")
        return self._observed(votes, gold, lambda labels, model: fits.start_at(labels, model, matrices, add=add))


@dataclasses.dataclass(eq=False)
class OneCoinDawidSkene(Likelihood):
    """The one-coin model: each labeler is right with one probability, whatever the truth; the class prior is learned.

    Attributes:
        n_iter: largest number of passes over the labels.
        tol: stop where steps gain less than this share of the log-density.
        priors_: a Series ``prior`` by label: the share of each among the instances.
        loss_history_: log-density per label after each pass.

    Example:
        >>> OneCoinDawidSkene(n_iter=50)
        OneCoinDawidSkene(n_iter=50, tol=1e-06)
    """

    n_iter: int = 100
    tol: float = 1e-6

    def _model(self, classes):
        return nominal.OneCoin(skill=(1.0, 2.0), population="fixed", class_prior="free")

    def _settings(self):
        return _api_settings(self, "one-coin", "learn")


@dataclasses.dataclass(eq=False)
class GLAD(Likelihood):
    """GLAD (Whitehill et al. (2009)): P(right) = σ(α_i exp(b_j)), with abilities of labelers and difficulties of
    instances.

    Attributes:
        n_iter: largest number of passes over the labels.
        tol: stop where steps gain less than this share of the log-density.
        silent: not used; nothing is printed.
        labels_priors: a Series of the labels' prior probabilities; default: equal.
        alphas_priors_mean, betas_priors_mean: cannot be set; the means are 1.
        m_step_max_iter, m_step_tol: not used; there is no M-step, all parameters are optimised together.
        alphas_: a Series ``alpha`` by labeler.
        betas_: a Series ``beta`` by instance: b_j.
        priors_: a Series ``prior`` by label: ``labels_priors``.
        loss_history_: log-density per label after each pass.

    Example:
        >>> GLAD(50).n_iter
        50
    """

    n_iter: int = 100
    tol: float = 1e-6
    silent: bool = True
    labels_priors: pd.Series | None = None
    alphas_priors_mean: None = None
    betas_priors_mean: None = None
    m_step_max_iter: int = 25
    m_step_tol: float = 1e-2

    _by_id = True

    def _found(self, votes, gold):
        for name in ("alphas_priors_mean", "betas_priors_mean"):
            if getattr(self, name) is not None:
                raise InputError(f"{name}: cannot be set; allowed: None (the means are 1)")
        return super()._found(votes, gold) if self.labels_priors is None else self._observed(votes, gold)

    def _prior(self, classes: pd.Index) -> np.ndarray:
        if self.labels_priors is None:
            return np.full(len(classes), 1 / len(classes))
        prior = series(self.labels_priors, "labels_priors", "label").reindex(classes).to_numpy(float)
        if not ((prior > 0).all() and abs(prior.sum() - 1) < 1e-6):
            raise InputError("labels_priors: allowed: a chance above 0 for each label, that add up to 1")
        return prior

    def _model(self, classes):
        return Glad(class_prior=tuple(self._prior(classes).tolist()))

    def _settings(self):
        return _api_settings(self, "glad", 0.5) | {"instances": "map"}

    def _given(self, votes, model, params, right):
        k = len(votes.classes)
        right = right[:, None, None]
        return np.where(np.eye(k, dtype=bool), right, (1 - right) / (k - 1))

    def _describe(self, votes, found):
        import pandas as pd

        super()._describe(votes, found)
        if isinstance(self.result_, Fit):
            alpha, beta = (self.result_.params[side]["own"] for side in ("alpha", "beta"))
        else:
            weights = self.result_.fit.weights
            alpha, beta = weights.labeler.free, weights.instance.free
        self.alphas_ = by_worker(votes, np.asarray(alpha[:, 0], float), "alpha")
        self.betas_ = pd.Series(np.asarray(beta[:, 0], float), votes.tasks.rename("task"), name="beta")
        self.priors_ = pd.Series(self._prior(votes.classes), votes.classes.rename("label"), name="prior")


def _api_settings(estimator: Likelihood, model: str, class_prior: float | str) -> dict[str, Any]:
    solver = factor.Solver(max_steps=estimator.n_iter, rtol=estimator.tol)
    return {"model": model, "class_prior": class_prior, "solver": solver}
