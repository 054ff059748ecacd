"""The facade: from a table of labels to answers in one call, and from a saved fit to answers about new labels.

    result = crowdjax.fit("labels.csv", model="dawid-skene")        result.instances, result.labelers, result.warnings
    result.save("out")        crowdjax.load("out").predict("more.csv").instances

It reads (``crowdjax.io``), builds and fits (``crowdjax.factor``), raises where a fit failed, and says in plain
sentences what a reader of the answers should know. Researchers who fit many times call ``crowdjax.factor`` itself.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import PRNGKeyArray

from crowdjax import factor, integrated_api, io, memory, minibatch, parallel, pieces, results, watch
from crowdjax import summary as summaries
from crowdjax.answers import (
    FitError,
    Prediction,
    Printed,
)
from crowdjax.facade import fit as facade_fit
from crowdjax.facade import large, presets
from crowdjax.facade.copies import Copies
from crowdjax.facade.fitted import refuse_counts
from crowdjax.facade.models import MODELS, integrates, names
from crowdjax.facade.presets import Aggregation
from crowdjax.facade.registry import Kind
from crowdjax.facade.result import Result
from crowdjax.facade.result import load as load_classes
from crowdjax.factor.fit import Method
from crowdjax.factor.presets import PRIORS
from crowdjax.files import reading
from crowdjax.formats import Form
from crowdjax.integrated import Choice, Posterior
from crowdjax.integrated_api import IntegratedAggregation
from crowdjax.labels import InputError, Repeats
from crowdjax.observation import Observation, Solver
from crowdjax.observation.fit import Method as Methods
from crowdjax.roles import Columns
from crowdjax.settings import DEFAULT, Default, brief, callback, number, one_of, path_of, randomness, whole
from crowdjax.tables import kind_of

LEARNED = ("one-coin", "dawid-skene")  # models whose class prior is learned where none is given
CONTRACT = ("start", "table", "log_points", "class_of_point", "log_prior", "specs")  # of a model of one's own

__all__ = ["Aggregation", "FitError", "InputError", "IntegratedAggregation", "Prediction", "fit", "load"]


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
    progress: watch.Progress | None = None,
) -> Aggregation | IntegratedAggregation | Result:
    """Fits a model to a table of labels, of two classes or more.

    Args:
        table: path or URL of CSV, Parquet or a folder of either, or of an export of Label Studio or Prodigy; or a
            pandas, polars, pyarrow or DuckDB table or a dict of arrays; with columns labeler, instance and label (see
            ``crowdjax.io.read_labels``). The answers are tables of the same kind; for a path, pyarrow's.
        model: the name of a preset (``crowdjax.factor.PRESETS``), or a configuration of one's own; ``integrated``
            (``crowdjax.integrated``); or ``auto``: that, or what the numbers of labels and labelers allow instead; for
            more than two classes a name in ``crowdjax.facade.models.MODELS``; or an observation model of one's own
            (``crowdjax.observation.Observation``), for any number of classes.
        classes: ``nominal``; ``ordinal``: in an order, as grades are; ``exchangeable``: their names mean nothing from
            one instance to the next, as the options of a quiz.
        factors: number of factors, for the models ``factor`` and ``integrated`` (1 or 2); default 1. ``auto``, for
            ``factor``: the one of 0 (Dawid and Skene's model), 1, 2 and 3 that predicts held-out labels best
            (``crowdjax.factor.choose_factors``).
        instances: of the models ``factor`` and ``glad``, whether what instances have of their own is integrated out
            (``integrate``) or at its likeliest values (``map``), as in the papers, which makes probabilities too sure.
            By default ``integrate``, but ``map`` where features, ``class_prior="logistic"``, ``factors="auto"`` or more
            than three factors need it.
        labeler_features, instance_features: tables with a row for every labeler (instance) of the labels, numeric
            columns; they are standardised here, and constant columns are left out with a warning.
        gold: a table with the known truth of some instances: instance, label. In the integrated model it places the
            class boundary and calibrates the probabilities of the other instances.
        scores: a table with a row for every instance: instance, and one number that rises or falls with the truth. It
            places the integrated model's class boundary.
        class_prior: P(truth = 1): a number, ``learn``, or ``logistic`` in the instance features. Of more classes: a
            number for each, ``uniform``, ``learn`` or ``logistic``. The default is the model's: learned in the coins,
            class-skill, dawid-skene, glad and factor, even in majority and where ``instances`` are at their mode; of
            integrated and auto see ``integrated``.
        repeats: ``count`` repeated judgements of a labeler on an instance, keep the ``first`` or the ``last``, or take
            their ``mean``.
        copies: what to do with labelers who repeat one answer, right or wrong (``crowdjax.dependence``): ``warn``
            names them; ``once`` names them and counts each group as one labeler.
        solver: ``auto`` (the fastest; the default), ``em``, ``lbfgs``, ``em-cg``, ``em-bound``, or settings of one's
            own; not for ``integrated`` and ``auto``.
        restarts: starts to take the best of, with two factors and more; default 4.
        seed, key: draw the starts of factors beyond the first, and the folds of ``factors="auto"``; one of them, by
            default seed 0. Other fits draw nothing and refuse both.
        columns: which column is which, where names differ: ``{"labeler": "who"}``, and of other tables
            ``{"gold.instance": "question", "scores.score": "p", "labeler_features.feature": ["age", "years"]}``
            (``docs/tables.md``).
        form: ``wide`` for a table with a column for every labeler, ``wide-by-labeler`` with a row for every labeler,
            ``counts`` with a column for every label; exports are recognised.
        positive: of labels in two words, which one stands for 1: ``"yes"``.
        order: the values of the labels in their order; of two the last is the positive one.
        truth: the values that the truth can be, where labels say more, as grades about a yes or no.
        missing: values that are no label, as ``["unsure"]``: their rows are left out.
        header: whether the first line of a CSV file names its columns; if not, they are called 1, 2, 3 and so on.
        start: an earlier result, to continue from; of two classes on the same labelers and instances.
        devices: how many to use, of those that JAX has (``crowdjax.parallel.use_cores``); by default all that pay.
        boundary: where the integrated model takes the classes to meet: ``able`` (where able labelers are at one half;
            the default), ``gap``, ``unweighted``, ``gold`` (the default where there is gold) or ``score`` (the default
            where there are scores).
        posterior: how the integrated model of two classes finds what is known of labelers: ``axis``, quadrature (the
            default up to 100,000 labels); ``laplace``, normal distributions; ``exact``, Gibbs sampling.
        progress: told how far a long fit is (``crowdjax.watch.Progress``); where it answers true the fit stops, and a
            warning says so.

    Raises:
        InputError: the table or a setting is wrong; one line says which value, where, and what is allowed.
        FitError: the fit failed.

    Example:
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
        >>> result = crowdjax.fit(labels, model="one-coin")
        >>> result.instances["instance"].tolist(), result.instances["label"].tolist()
        (['q1', 'q2'], [1, 0])
    """
    one_of("repeats", repeats, get_args(Repeats))
    one_of("copies", copies, get_args(Copies))
    one_of("classes", classes, get_args(Kind))
    reading = dict(
        form=form, positive=positive, order=order, truth=truth, missing=missing, header=header, classes=classes
    )
    callback(progress)
    given = dict(gold=gold, scores=scores, labeler_features=labeler_features, instance_features=instance_features)
    general = dict(
        classes=classes, factors=factors, instances=instances, class_prior=class_prior, boundary=boundary,
        posterior=posterior, restarts=restarts, seed=seed, key=key, repeats=repeats, copies=copies, solver=solver,
        start=start, devices=devices, progress=progress,
    )  # fmt: skip
    if isinstance(model, str) and model == "contextual":
        raise InputError("model: got 'contextual', which needs a table of scores; call crowdjax.context(table, scores)")
    _refuse_unknown(model)
    integrated = _integrates(model, instances, given, class_prior, factors)
    if integrated or not _may_be_binary(model, classes, class_prior, truth):
        return _fit_classes(table, *_read(table, columns, reading, given), model, **general)
    name, config = _config(model, factors, class_prior)
    held_out = isinstance(factors, str)  # factors="auto"
    if held_out and start is not None:
        raise InputError("start: given with factors 'auto'; allowed: with the number of factors of the earlier result")
    if start is not None and not isinstance(start, Prediction):
        raise InputError(f"start: got {type(start).__name__}; allowed: a result, from fit or load")
    of_seed, key, drawn = _randomness(name, config, restarts, seed, key, held_out, start is not None)
    settings = _with_restarts(solver, restarts, config, drawn)
    devices = _devices(devices)
    tables, triples = _read(table, columns, reading, given)
    if len(triples.index.classes) > 2 or triples.index.values is not None:
        return _fit_classes(table, tables, triples, model, **general)
    refuse_counts(triples, name, repeats)
    if name in integrated_api.MODELS:
        integrated_api.check(name, boundary, class_prior, solver, posterior)
        return integrated_api.fit(
            triples, name, tables, factors=config.n_factors,
            class_prior=None if class_prior is None else config.class_prior, boundary=boundary,
            posterior=posterior, repeats=repeats, copies=copies, start=start, devices=devices, progress=progress,
            kind=kind_of(table, triples.roles),
        )  # fmt: skip
    if start is not None and not isinstance(start, Aggregation):
        got = start.record["model"]
        raise InputError(f"start: a fit of {got}; allowed: an earlier result of {name} and of two classes")
    if boundary is not None:
        raise InputError(f"boundary: got {brief(boundary)} with model {name}; allowed with integrated, auto")
    if posterior is not None:
        raise InputError(f"posterior: got {brief(posterior)} with model {name}; allowed with integrated, auto")
    if scores is not None:
        raise InputError(f"scores: given with model {name}; allowed with integrated, auto")
    return presets.fit(
        triples, name, config, tables, held_out=held_out, settings=settings, key=key, seed=of_seed, repeats=repeats,
        copies=copies, start=start, devices=devices, progress=progress, kind=kind_of(table, triples.roles),
    )  # fmt: skip


def _read(table, columns, reading, given):
    """(the tables besides the labels, opened, the labels)."""
    memory.room_for_programs()
    said, tables = io.open_tables(columns, **given)
    return tables, io.read_triples(table, columns=said, **reading)


def _refuse_unknown(model) -> None:
    """Refuses what is no model, for labels of any number of classes."""
    if isinstance(model, type):
        raise InputError(f"model: got the class {model.__name__}; allowed: one made of it, {model.__name__}()")
    if not isinstance(model, str) and hasattr(model, "start") and not hasattr(model, "factors"):
        absent = [name for name in CONTRACT if not hasattr(model, name)]
        if absent:
            raise InputError(f"model: got {type(model).__name__} without {', '.join(absent)}; allowed: one that has "
                             f"{', '.join(CONTRACT)} (crowdjax.observation.Observation)")  # fmt: skip
        return
    if isinstance(model, str) or not (isinstance(model, factor.FactorConfig) or hasattr(model, "factors")):
        one_of("model", model, names())


def _integrates(model, instances, tables, class_prior, factors) -> bool:
    """Whether this is a model of factors whose instances are integrated out, a model of the registry for any classes.

    Raises:
        InputError: other models have no use for ``instances``.
    """
    if not (isinstance(model, str) and model in ("factor", "glad")):
        if instances is not None:
            name = model if isinstance(model, str) else type(model).__name__
            raise InputError(f"instances: got {brief(instances)} with model {name}; allowed with models factor, glad")
        return False
    features = {side: True for side in ("labeler", "instance") if tables.get(f"{side}_features") is not None}
    return integrates(instances, features, class_prior, factors)


def _may_be_binary(model, classes: Kind, class_prior, truth) -> bool:
    """Whether these settings mean the models of two classes, if the labels turn out to have two."""
    known = (*factor.PRESETS, *integrated_api.MODELS)
    named = isinstance(model, str) and model in known
    prior = class_prior is None or isinstance(class_prior, str) or np.ndim(class_prior) == 0
    ours = isinstance(model, factor.FactorConfig) or named
    return ours and classes == "nominal" and truth is None and prior and class_prior not in ("uniform", "free")


def _fit_classes(table, tables, triples: io.Triples, model, *, solver, devices, progress, classes, repeats, copies,
                 start, seed, **settings) -> Result:  # fmt: skip
    """:func:`fit` by a model of the registry, for any number of classes."""
    if isinstance(model, factor.FactorConfig) or (isinstance(model, str) and model not in MODELS):
        got = model if isinstance(model, str) else "a configuration of two classes"
        what = f"labels of {len(triples.index.classes)} classes" if classes == "nominal" else f"classes {classes!r}"
        raise InputError(f"model: got {got} with {what}; allowed: {', '.join(MODELS)}")
    name = model if isinstance(model, str) else MODELS.name_of(model)
    refuse_counts(triples, name, repeats)
    if tables["scores"] is not None:
        raise InputError(f"scores: given with model {name} and these classes; allowed with two classes and models "
                         "integrated, auto")  # fmt: skip
    if settings["key"] is not None or not isinstance(seed, Default):
        of_seed, _ = randomness(seed, settings["key"])
        settings |= {} if of_seed is None else {"seed": of_seed}
    if not isinstance(solver, Solver):
        if solver is not None:
            one_of("solver", solver, get_args(Methods))
        if solver == "lbfgs" and name in MODELS and MODELS[name].plan is not None:
            raise InputError(f"solver: got 'lbfgs' with model {name}; allowed: auto, em")
        solver = Solver(method=solver or "auto")
    return facade_fit.fit(
        triples, model, tables, classes=classes, settings=settings, repeats=repeats, copies=copies, solver=solver,
        start=start, devices=_devices(devices), progress=progress, kind=kind_of(table, triples.roles),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, repr=False)
class Written(Printed):
    """A result that is on disk only; :func:`load` reads it. Printed it is its :meth:`summary`."""

    folder: Path
    record: dict[str, Any]

    def summary(self) -> str:
        """The result as text of at most 25 lines: what it is, whether it converged, warnings, the first rows."""
        rows = {name: _first_rows(self.folder / f"{name}.parquet") for name in ("instances", "labelers")}
        where = {"written to": str(self.folder)}
        return summaries.text(f"Fit of {self.record['model']}", self.record, rows, where)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the answers should know, one sentence each."""
        return tuple(self.record["warnings"])


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
    progress: watch.Progress | None = None,
) -> Written:
    """Fits a model to more labels than memory holds (``crowdjax.minibatch``); writes what ``Aggregation.save`` writes.

    Its state is kept beside ``out``, in a folder of that name with ``.state`` added, until the result is there: a call
    that was stopped goes on where it was when it is made again.

    Args:
        table: a Parquet file or a folder of them; a path, or a URL that pyarrow or fsspec knows.
        out: folder for the result; its instances are in no particular order.
        batch: labels in memory at a time, about.
        max_rounds, rtol: the most rounds over all labels, and the gain of a round that counts as none.
        progress: told how far it is; where it answers true the fit is interrupted (``crowdjax.watch.Progress``).
        others: as in :func:`fit`.

    Raises:
        InputError, FitError: as in :func:`fit`; the state is of another fit.
    """
    memory.room_for_programs()
    table = path_of("labels", table, "with minibatches: a path or URL of Parquet")
    if isinstance(factors, str):
        raise InputError(f"factors: got {brief(factors)} with minibatches; allowed: a whole number from 1")
    one_of("classes", classes, get_args(Kind))
    one_of("repeats", repeats, get_args(Repeats))
    _refuse_unknown(model)
    general = dict(factors=factors, instances=instances, class_prior=class_prior, restarts=restarts)
    integrated = _integrates(model, instances, {}, class_prior, factors)
    if integrated or not _may_be_binary(model, classes, class_prior, truth):
        scan = pieces.scan(table, columns=columns, positive=positive, order=order, truth=truth, kind=classes)
        return _fit_large_classes(
            scan, out, model, classes, general, solver, devices, seed, batch, repeats, max_rounds, rtol, progress
        )
    name, config = _config(model, factors, class_prior)
    if name in integrated_api.MODELS:
        raise InputError(f"model: got {name!r} with minibatches; allowed: {', '.join(factor.PRESETS)}")
    if config.class_prior == "logistic":
        raise InputError("class_prior: logistic needs instance features; allowed with minibatches: a number, learn")
    batch = whole("minibatch", batch, or_else="labels in memory at a time")
    max_rounds, rtol = whole("max_rounds", max_rounds), number("rtol", rtol, 0, "a number from 0")
    callback(progress)
    of_seed, key, drawn = _randomness(name, config, restarts, seed, None)
    asked, solver = solver, _with_restarts(solver, restarts, config, drawn)
    devices = _devices(devices)
    out = results.check_out(out)
    scan = pieces.scan(table, columns=columns, positive=positive, order=order, truth=truth, kind=classes)
    if len(scan.classes.classes) > 2 or scan.classes.values is not None:
        return _fit_large_classes(
            scan, out, model, classes, general, asked, devices, seed, batch, repeats, max_rounds, rtol, progress
        )
    minibatch.check_size(scan, batch)
    state = out.absolute().with_name(out.absolute().name + ".state")
    settings = dict(config=dataclasses.asdict(config), solver=dataclasses.asdict(solver), seed=of_seed)
    kept = dict(settings, table=scan.identity, batch=batch, repeats=repeats, rounds=[max_rounds, rtol], labels="codes")
    with results.claim(state, kept):
        record = presets.fit_parts(
            scan, out, state, name, config, solver, settings, batch=batch, repeats=repeats, key=key, devices=devices,
            max_rounds=max_rounds, rtol=rtol, progress=progress,
        )  # fmt: skip
    return Written(out, record)


def _fit_large_classes(
    scan, out, model, classes: Kind, settings, solver, devices, seed, batch, repeats, max_rounds, rtol, progress
) -> Written:
    """:func:`fit_large` by a model of the registry, for any number of classes."""
    if not isinstance(model, str) or model not in MODELS:
        raise InputError(f"model: got {brief(model)} with these classes; allowed: {', '.join(MODELS)}")
    if solver is not None:
        raise InputError("solver: given with minibatches and more than two classes, whose fit is EM; leave it out")
    if _devices(devices) not in (None, 1):
        raise InputError(f"devices: got {devices} with minibatches and more than two classes; allowed: 1")
    if not isinstance(seed, Default):
        settings["seed"] = seed
    batch = whole("minibatch", batch, or_else="labels in memory at a time")
    max_rounds, rtol = whole("max_rounds", max_rounds), number("rtol", rtol, 0, "a number from 0")
    callback(progress)
    out = results.check_out(out)
    minibatch.check_size(scan, batch)
    built = large.made(model, scan, classes, settings)
    state = out.absolute().with_name(out.absolute().name + ".state")
    kept = dict(model=model, kind=classes, settings=settings, table=scan.identity, batch=batch, repeats=repeats)
    with results.claim(state, kept | {"rounds": [max_rounds, rtol]}):
        record = large.fit_parts(
            scan, out, state, model, built, classes=classes, settings=settings, batch=batch, repeats=repeats,
            max_rounds=max_rounds, rtol=rtol, progress=progress,
        )  # fmt: skip
    return Written(out, record)


def _first_rows(path: Path) -> summaries.Rows:
    with reading(str(path), "a table of a result"), pa.parquet.ParquetFile(path) as file:
        rows = next(file.iter_batches(summaries.LINES), None)
        return pa.Table.from_batches([] if rows is None else [rows], file.schema_arrow), file.metadata.num_rows


def load(folder: str | os.PathLike) -> Aggregation | IntegratedAggregation | Result:
    """The fit that ``Aggregation.save`` or ``crowdjax fit`` wrote; ``crowdjax.load`` reads other results too.

    Raises:
        InputError: there is none, it is not whole, or it was changed since.

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
    folder = Path(path_of("folder", folder, "that of a result"))
    record = results.read_result(folder)
    if "kind" in record:
        return load_classes(folder, record)
    if record.get("model") in integrated_api.MODELS:
        return integrated_api.load(folder, record)
    if record.get("model") == "contextual":
        raise InputError(
            f"{folder}: a contextual fit; allowed: a fit of {', '.join((*factor.PRESETS, *integrated_api.MODELS))}"
        )
    return presets.load(folder, record)


# Settings


def _config(model, factors, class_prior) -> tuple[str, factor.FactorConfig]:
    prior = class_prior if class_prior is None or isinstance(class_prior, str) else _probability(class_prior)
    if isinstance(model, factor.FactorConfig):
        if isinstance(factors, str):
            raise InputError(f"factors: got {brief(factors)} with a configuration; allowed with model factor")
        if factors is not None and whole("factors", factors) != model.n_factors:
            raise InputError(f"factors: got {factors} with a configuration of {model.n_factors}; set n_factors there")
        return "custom", model if prior is None else _replaced(model, class_prior=prior)
    if isinstance(factors, str) and factors == "auto":
        if model != "factor":
            raise InputError(f"factors: got 'auto' with model {model}; allowed: 1, or auto with model factor")
        factors = max(factor.heldout.COUNTS)
    factors = 1 if factors is None else whole("factors", factors, or_else="auto")
    if factors > {"factor": factors, "integrated": 2}.get(model, 1):
        raise InputError(
            f"factors: got {factors} with model {model}; allowed: 1; 1 or 2 with integrated, any number with factor"
        )
    if prior is None:
        prior = "learn" if model in LEARNED else 0.5
    return model, _replaced(factor.PRESETS.get(model, factor.PRESETS["factor"]), n_factors=factors, class_prior=prior)


def _probability(class_prior) -> float:
    if isinstance(class_prior, bool) or not isinstance(class_prior, Real):
        raise InputError(
            f"class_prior: got {brief(class_prior)}; allowed: {PRIORS}, learn, logistic; of more than two classes also "
            "uniform, free or a number for each"
        )
    return float(class_prior)


def _replaced(config: factor.FactorConfig, **changes) -> factor.FactorConfig:
    prior = changes.get("class_prior")
    if isinstance(prior, str):
        one_of("class_prior", prior, ("learn", "logistic"), PRIORS)
    try:
        return dataclasses.replace(config, **changes)
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from None


def _devices(devices: int | None) -> int | None:
    return None if devices is None else parallel.n_devices(0, whole("devices", devices))


def _randomness(name, config, restarts, seed, key, held_out=False, continued=False):
    """(the seed, the key, whether the fit draws anything); refuses what a fit that draws nothing has no use for."""
    drawn = name not in integrated_api.MODELS and (held_out or (config.n_factors > 1 and not continued))
    given = {"seed": not isinstance(seed, Default), "key": key is not None}
    given["restarts"] = restarts is not None and whole("restarts", restarts) > 1
    seed, key = randomness(seed, key)
    if not drawn and any(given.values()):
        what = next(name for name, there in given.items() if there)
        one = " of one factor" if name in ("factor", "custom") else ""
        why = "a start" if continued else f"model {name}{one}"
        raise InputError(
            f"{what}: given with {why}, whose fit draws nothing; allowed: with two factors or more (model factor, or a "
            "configuration), or factors 'auto'"
        )
    return seed if drawn else None, key, drawn


def _with_restarts(solver, restarts, config, drawn: bool) -> factor.Solver:
    if not isinstance(solver, factor.Solver):
        if solver is not None:
            one_of("solver", solver, get_args(Method))
        solver = factor.Solver(method=solver or "auto", restarts=4 if drawn else 1)
    if not drawn and solver.restarts > 1:
        raise InputError(f"restarts: got {solver.restarts} for a fit that draws nothing; allowed: 1")
    return solver if restarts is None else dataclasses.replace(solver, restarts=whole("restarts", restarts))
