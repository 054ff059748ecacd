"""The facade: fit a table of labels in one call, and apply a saved fit to new labels.

    result = crowdjax.fit("labels.csv", model="dawid-skene")        result.instances, result.labelers, result.warnings
    result.save("out")        crowdjax.load("out").predict("more.csv").instances

Slow imports are made by the calls that need them (``crowdjax.fitting``), so that ``import crowdjax.api`` takes no
longer than ``import jax``. For many fits call ``crowdjax.factor`` directly.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from crowdjax import io, saving
from crowdjax.labels import InputError, Repeats
from crowdjax.priors import NAMES, Copies, Kind
from crowdjax.result import FitError, Prediction
from crowdjax.settings import DEFAULT, Default, callback, one_of
from crowdjax.tables import kind_of

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    from crowdjax import drive, factor
    from crowdjax.facade.aggregation import Aggregation
    from crowdjax.facade.result import Result
    from crowdjax.fitting import Written
    from crowdjax.formats import Form
    from crowdjax.integrated import Choice, Posterior
    from crowdjax.integrated_api import IntegratedAggregation
    from crowdjax.observation import Observation, Solver
    from crowdjax.roles import Columns
    from crowdjax.stopping import FactorMethod as Method

__all__ = ["Aggregation", "FitError", "InputError", "IntegratedAggregation", "Prediction", "fit", "load", "saving"]
HOMES = {"Aggregation": "facade.aggregation", "IntegratedAggregation": "integrated_api", "Written": "fitting"}


def __getattr__(name: str):
    if name not in HOMES:
        raise AttributeError(f"module 'crowdjax.api' has no attribute {name!r}")
    return getattr(importlib.import_module(f"crowdjax.{HOMES[name]}"), name)


def fit(
    table,
    model: str | factor.FactorConfig | Observation = "auto",
    *,
    classes: Kind = "nominal",
    factors: int | Literal["auto"] | None = None,
    instances: Literal["integrate", "map"] | None = None,
    labeler_features=None,
    instance_features=None,
    gold=None,
    scores=None,
    class_prior: float | Sequence[float] | Literal["learn", "logistic", "uniform"] | None = None,
    repeats: Repeats = "count",
    copies: Copies = "warn",
    solver: Method | factor.Solver | Solver | None = None,
    restarts: int | None = None,
    seed: int | Default = DEFAULT,
    key: PRNGKeyArray | None = None,
    columns: Columns | None = None,
    form: Form | None = None,
    positive=None,
    order: Sequence[Any] | None = None,
    truth: Sequence[Any] | None = None,
    missing: Sequence[Any] = (),
    header: bool = True,
    start: Prediction | None = None,
    devices: int | None = None,
    boundary: Choice | None = None,
    posterior: Posterior | None = None,
    progress: drive.Progress | None = None,
) -> Aggregation | IntegratedAggregation | Result:
    """Fit a model to a table of labels, of two classes or more.

    Args:
        table: the labels: a path or URL of CSV, Parquet or a folder of either, or of an export of a labelling tool such
            as Label Studio or Prodigy; or a pandas, polars, pyarrow or DuckDB table or a dict of arrays. Columns
            labeler, instance and label (see ``crowdjax.io.read_labels``). The result has tables of the same kind; for a
            path, pyarrow's.
        model: ``auto``, which takes ``integrated`` (``crowdjax.integrated``) where the numbers of labels and labelers
            allow it and a simpler model otherwise; the name of a preset of two classes (``crowdjax.factor.PRESETS``) or
            of a model of more classes (``crowdjax.facade.models.MODELS``); a ``FactorConfig``; or your own observation
            model (``crowdjax.observation.Observation``), for any number of classes.
        classes: ``nominal``; ``ordinal``, for classes with an order such as grades; or ``exchangeable``, for classes
            whose names mean nothing across instances, such as the options of a quiz.
        factors: number of factors, for the models ``factor`` and ``integrated`` (1 or 2); default 1. ``auto``, for
            ``factor`` only, chooses among 0 (Dawid and Skene's model), 1, 2 and 3 by the likelihood of held-out labels
            (``crowdjax.factor.choose_factors``).
        instances: treatment of the instances' own parameters in the models ``factor`` and ``glad``: ``integrate`` them
            out, or fix them at their mode (``map``) as published, which makes probabilities overconfident. Default
            ``integrate``, but ``map`` where features, ``class_prior="logistic"``, ``factors="auto"`` or more than three
            factors need it.
        labeler_features, instance_features: tables with one row for every labeler (instance) of the labels and numeric
            columns. Columns are standardised; constant columns are left out with a warning.
        gold: a table with the known truth of some instances: columns instance and label. In the integrated model gold
            places the decision boundary and calibrates the probabilities of the other instances.
        scores: a table with a row for every instance: instance, and one number that rises or falls with the truth.
            Scores place the integrated model's decision boundary.
        class_prior: P(truth = 1): a number, ``learn``, or ``logistic`` in the instance features. For more than two
            classes: K probabilities, ``uniform``, ``learn`` or ``logistic``. Default by model: learned in the coins,
            class-skill, dawid-skene, glad and factor; equal probabilities in majority and where ``instances`` are at
            their mode; for integrated and auto see ``crowdjax.integrated``.
        repeats: repeated judgements of a labeler on an instance: ``count`` them all, keep the ``first`` or the
            ``last``, or take their ``mean``.
        copies: labelers who repeat one another's labels, right or wrong (``crowdjax.dependence``): ``warn`` names them;
            ``once`` names them and counts each group as one labeler.
        solver: ``auto`` (the fastest that applies; the default), ``em``, ``lbfgs``, ``em-cg``, ``em-bound``, or a
            settings object (``crowdjax.factor.Solver`` or ``crowdjax.observation.Solver``); not for ``integrated`` and
            ``auto``.
        restarts: number of random starts, of which the best fit is kept; for two factors or more, default 4.
        seed, key: give one of them (default seed 0) to draw the starts of factors beyond the first and the folds of
            ``factors="auto"``. Fits without random draws reject both.
        columns: names of columns that differ from the defaults: ``{"labeler": "who"}``, and for other tables
            ``{"gold.instance": "question", "scores.score": "p", "labeler_features.feature": ["age", "years"]}``
            (``docs/tables.md``).
        form: ``wide`` for a table with one column per labeler, ``wide-by-labeler`` with one row per labeler, ``counts``
            with one column per label; exports are recognised.
        positive: the value to treat as positive where labels are words, such as ``"yes"``.
        order: the values of the labels in ascending order; of two, the last is the positive one.
        truth: the values that the truth can have, where labels have more, such as grades given to a yes/no question.
        missing: values that are not labels, such as ``["unsure"]``; their rows are left out.
        header: whether the first line of a CSV file has the column names; if not, columns are called 1, 2, 3 and so on.
        start: an earlier result to continue from; for two classes it must have the same labelers and instances.
        devices: number of JAX devices to use (``crowdjax.parallel.use_cores``); default: as many as speed the fit up.
        boundary: how to place the integrated model's decision boundary: ``able`` (the point at which able labelers give
            either label with probability ½; the default), ``gap``, ``unweighted``, ``gold`` (the default with gold) or
            ``score`` (the default with scores).
        posterior: method for the labelers' posterior in the integrated model of two classes: ``axis``, quadrature (the
            default up to 100,000 labels); ``laplace``, normal approximations; ``exact``, Gibbs sampling.
        progress: callback (``crowdjax.drive.Progress``), called between blocks of steps of a long fit. Return True to
            stop the fit; the result then has a warning that says so. Fits without JAX, of seconds, do not call it.

    Raises:
        InputError: the table or a setting is invalid; a one-line message says which value, where, and what is allowed.
        FitError: the fit has no usable result.

    Example:
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
        >>> result = crowdjax.fit(labels, model="one-coin")
        >>> result.instances["instance"].tolist(), result.instances["label"].tolist()
        (['q1', 'q2'], [1, 0])
    """
    _refuse_words(model, repeats, copies, classes)
    callback(progress)
    reading = dict(
        form=form, positive=positive, order=order, truth=truth, missing=missing, header=header, classes=classes
    )
    given = dict(gold=gold, scores=scores, labeler_features=labeler_features, instance_features=instance_features)
    others = (factors, instances, solver, restarts, key, start, devices, boundary, posterior, truth, *given.values())
    opened = None
    if classes == "nominal" and seed is DEFAULT and all(v is None or v is gold for v in others):
        from crowdjax.facade import host

        if host.may_take(model, class_prior):
            tables, triples = opened = io.read_all(table, columns, reading, given)
            how = dict(repeats=repeats, copies=copies, kind=kind_of(table, triples.roles))
            found = host.fit(triples, model, class_prior, tables, **how)
            if found is not None:
                return found
    from crowdjax import fitting

    return fitting.fit(
        table, model, classes=classes, factors=factors, instances=instances, labeler_features=labeler_features,
        instance_features=instance_features, gold=gold, scores=scores, class_prior=class_prior, repeats=repeats,
        copies=copies, solver=solver, restarts=restarts, seed=seed, key=key, columns=columns, form=form,
        positive=positive, order=order, truth=truth, missing=missing, header=header, start=start,
        devices=devices, boundary=boundary, posterior=posterior, progress=progress, opened=opened,
    )  # fmt: skip


def _refuse_words(model, repeats, copies, classes) -> None:
    """Reject settings that no model knows, before anything slow is imported."""
    one_of("repeats", repeats, get_args(Repeats))
    one_of("copies", copies, get_args(Copies))
    one_of("classes", classes, get_args(Kind))
    if isinstance(model, str) and model == "contextual":
        raise InputError("model: got 'contextual', which needs a table of scores; call crowdjax.context(table, scores)")
    if isinstance(model, str) and "crowdjax.facade.models" not in sys.modules:  # which models may have been added to
        one_of("model", model, NAMES)


def fit_large(
    table: str | os.PathLike,
    out: str | os.PathLike,
    model: str | factor.FactorConfig = "dawid-skene",
    *,
    batch: int,
    factors: int | None = None,
    instances: Literal["integrate", "map"] | None = None,
    class_prior: float | Literal["learn"] | None = None,
    repeats: Repeats = "count",
    solver: Method | factor.Solver | None = None,
    restarts: int | None = None,
    seed: int | Default = DEFAULT,
    columns: Columns | None = None,
    positive=None,
    order: Sequence[Any] | None = None,
    truth: Sequence[Any] | None = None,
    classes: Kind = "nominal",
    devices: int | None = None,
    max_rounds: int = 20,
    rtol: float = 1e-5,
    progress: drive.Progress | None = None,
) -> Written:
    """Fit a model to more labels than memory holds (``crowdjax.minibatch``), and save the result to ``out``.

    The state of the fit is kept beside ``out``, in a folder of that name with ``.state`` added, until the result is
    written: repeat a call that was stopped, and it continues from there.

    Args:
        table: a Parquet file or a folder of them: a path, or a URL that pyarrow or fsspec can read.
        out: folder for the result; the order of its instances is arbitrary.
        batch: approximate number of labels in memory at a time.
        max_rounds, rtol: the largest number of rounds over all labels, and the relative gain of a round at which the
            fit stops.
        progress: callback (``crowdjax.drive.Progress``); return True to interrupt the fit.
        others: as in :func:`fit`.

    Raises:
        InputError, FitError: as in :func:`fit`; also where the saved state belongs to another fit.
    """
    from crowdjax import fitting

    return fitting.fit_large(
        table, out, model, batch=batch, factors=factors, instances=instances, class_prior=class_prior,
        repeats=repeats, solver=solver, restarts=restarts, seed=seed, columns=columns, positive=positive,
        order=order, truth=truth, classes=classes, devices=devices, max_rounds=max_rounds, rtol=rtol,
        progress=progress,
    )  # fmt: skip


def load(folder: str | os.PathLike) -> Aggregation | IntegratedAggregation | Result:
    """Load a fit that ``Aggregation.save`` or ``crowdjax fit`` wrote; ``crowdjax.load`` loads other results too.

    Raises:
        InputError: the folder has no result, or the result is incomplete or was changed after it was saved.

    Example:
        >>> import tempfile
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
        >>> result = crowdjax.fit(labels, model="one-coin")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result.save(folder + "/out")
        ...     crowdjax.load(folder + "/out").record["objective"] == result.record["objective"]
        True
    """
    from crowdjax import fitting

    return fitting.load(folder)
