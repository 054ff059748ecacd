"""The facade: from a table of labels to answers in one call, and from a saved fit to answers about new labels.

    result = crowdjax.fit("labels.csv", model="dawid-skene")        result.instances, result.labelers, result.warnings
    result.save("out")        crowdjax.load("out").predict("more.csv").instances

It reads (``crowdjax.io``), builds and fits (``crowdjax.factor``), raises where a fit failed, and says in plain
sentences what a reader of the answers should know. Researchers who fit many times call ``crowdjax.factor`` itself.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import PRNGKeyArray

from crowdjax import factor, integrated_api, io, memory, minibatch, outliers, parallel, pieces, results, watch
from crowdjax import report as reports
from crowdjax import summary as summaries
from crowdjax.answers import (
    FitError,
    Prediction,
    Printed,
    Support,
    Tally,
    about_answers,
    about_gold,
    about_labels,
    about_prior,
    about_support,
    answer_table,
    counted,
    label_type,
    labels_of_labelers,
    read_tables,
    support,
    tally,
    votes_of,
)
from crowdjax.columns import Words, listed
from crowdjax.facade import fit as facade_fit
from crowdjax.facade import large
from crowdjax.facade.fitted import Fitted
from crowdjax.facade.models import MODELS, names
from crowdjax.facade.registry import Kind
from crowdjax.facade.result import Result
from crowdjax.facade.result import load as load_classes
from crowdjax.factor.fit import Method
from crowdjax.factor.presets import PRIORS
from crowdjax.files import reading
from crowdjax.formats import Form
from crowdjax.integrated import LEVEL, Choice
from crowdjax.integrated_api import IntegratedAggregation
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats
from crowdjax.observation import Observation, Solver
from crowdjax.observation.fit import Method as Methods
from crowdjax.roles import Columns, as_record
from crowdjax.settings import DEFAULT, Default, brief, callback, number, one_of, path_of, randomness, whole
from crowdjax.tables import as_arrow, kind_of

__all__ = ["Aggregation", "FitError", "InputError", "IntegratedAggregation", "Prediction", "fit", "load"]

NUMBERS = 14  # a factor's, in memory: mean, variance, estimate and gradient, and the five pairs of L-BFGS
HINT = {
    "labeler": "Its labelers are all alike.",
    "instance": "Without a logistic class prior, its instances are all alike.",
}


@dataclasses.dataclass(frozen=True, repr=False)
class Aggregation(Fitted):
    """Answers about instances and labelers, and the fit behind them.

    Attributes:
        labelers: labeler, n_labels, sensitivity, specificity, accuracy.
        fit, model: of ``crowdjax.factor``; their rows are in the order of ``index``.
        index: the ids of labelers and instances.
        features: standardised features of labelers and of instances, where there are any.
        scaling: how they were standardised.
        tally: the labels, counted; None in a result that was loaded.

    Example:
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
        >>> result = crowdjax.fit(labels, model="one-coin")
        >>> result.record["n_labels"], np.asarray(result.labelers["n_labels"]).tolist()
        (6, [2, 2, 2])
    """

    fit: factor.Fit
    model: factor.FactorModel
    index: LabelIndex
    features: dict[io.Key, np.ndarray]
    scaling: dict[io.Key, io.Scaling]
    tally: Tally | None = None

    def page(self) -> reports.Page:
        """The report: a page of the fit, its labelers and its instances (docs/reports.md)."""
        found = self.model.factors(self.fit.weights)
        own = self.model.n_factors > 1 or not self.model.constant_beta
        return reports.of_fit(
            self.record,
            self.tables["instances"],
            self.tables["labelers"],
            counted(self.tally),
            np.asarray(self.fit.history),
            switched=bool(self.fit.switched),
            factors=reports.directions(found.alpha, found.beta) if own else None,
        )

    def arrays(self):
        """What ``fit.npz`` holds."""
        return self.fit, self.features

    def predict(
        self,
        table,
        *,
        labeler_features=None,
        instance_features=None,
        columns: Columns | None = None,
        form: Form | None = None,
        missing: Sequence[Any] = (),
        header: bool = True,
    ) -> Prediction:
        """The truth of new instances from their labels, the labelers held at what the fit found.

        Args:
            table: labels, as in :func:`fit`. Labelers that the fit has not seen are expected to be what their features
                say, or, in a fit without labeler features, what the prior says.
            labeler_features: with a row for every labeler that the fit has not seen.
            instance_features: with a row for every instance.
            columns, form, missing, header: as in :func:`fit`. Labels in words are read as those of the fit were.

        Raises:
            InputError: as in :func:`fit`; features are missing that the fit needs, or given and of no use to it.
        """
        started = time.perf_counter()
        given = {"labeler": labeler_features, "instance": instance_features}
        for key, source in given.items():
            if source is not None and key not in self.scaling:
                raise InputError(f"{key} features: given, but the fit used none; leave them out or fit with them")
        repeats = self.record["repeats"]
        names = {f"{side}_features": scaling.names for side, scaling in self.scaling.items()}
        said, tables = io.open_tables(
            columns, known=names, labeler_features=labeler_features, instance_features=instance_features
        )
        settings = dict(form=form, missing=missing, header=header, words=self.words)
        triples = io.read_triples(table, columns=said, **settings)
        _refuse_counts(triples, self.record["model"])
        labels = triples.labels(repeats=repeats)
        known = io.positions(io.ids(triples.index, "labeler"), io.ids(self.index, "labeler"))
        unseen = known < 0
        sides = {side: (tables[f"{side}_features"], io.ids(triples.index, side)) for side in ("labeler", "instance")}
        rows = {side: self._rows(side, *of, unseen if side == "labeler" else True) for side, of in sides.items()}
        solver = _solver(self.record["solver"])
        mapping = io.mapping(triples, tables)
        found = factor.predict(
            labels,
            self.model,
            self.fit,
            known=known,
            labeler_rows=rows["labeler"],
            instance_rows=rows["instance"],
            solver=solver,
        )
        facade_fit.refuse_failed(found)
        warnings = about_labels(labels, triples, repeats) + _about(
            found, labels_of_labelers(labels)[unseen], self.words
        )
        if unseen.any() and "labeler" not in self.scaling:
            warnings.append(
                f"{unseen.sum()} of {len(unseen)} labelers are not in the fit; they are taken to be as its prior says."
            )
        record = {
            "model": self.record["model"],
            **facade_fit.outcome(found, labels),
            "seconds": time.perf_counter() - started,
            "n_unseen_labelers": int(unseen.sum()),
            "repeats": repeats,
            "words": self.words,
            "columns": mapping,
            "warnings": warnings,
        }
        answers = answer_table(io.ids(triples.index, "instance"), found.posterior, self.words)
        return Prediction({"instances": answers}, record, kind_of(table, triples.roles))

    def _rows(self, key: io.Key, source, ids: pa.Array, needed=True) -> np.ndarray | None:
        """Standardised rows of new labelers or instances with the model's constant in front; 0 where not needed."""
        if key not in self.scaling:
            return None
        values = io.read_new_features(source, key, ids, self.scaling[key], needed)
        return None if values is None else np.c_[np.broadcast_to(needed, len(ids)), values]


def fit(
    table,
    model: str | factor.FactorConfig | Observation = "dawid-skene",
    *,
    classes: Kind = "nominal",
    factors: int | Literal["auto"] | None = None,
    labeler_features=None,
    instance_features=None,
    gold=None,
    scores=None,
    class_prior: float | Sequence[float] | Literal["learn", "logistic", "uniform"] | None = None,
    repeats: Repeats = "count",
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
        labeler_features, instance_features: tables with a row for every labeler (instance) of the labels, numeric
            columns; they are standardised here, and constant columns are left out with a warning.
        gold: a table with the known truth of some instances: instance, label. In the integrated model it places the
            class boundary and calibrates the probabilities of the other instances.
        scores: a table with a row for every instance: instance, and one number that rises or falls with the truth. It
            places the integrated model's class boundary.
        class_prior: P(truth = 1): a number, ``learn``, or ``logistic`` in the instance features; default one half. Of
            more classes: a number for each, ``uniform``, ``learn`` or ``logistic``; the default is the model's.
        repeats: ``count`` repeated judgements of a labeler on an instance, keep the ``first`` or the ``last``, or take
            their ``mean``.
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
    started = time.perf_counter()
    one_of("repeats", repeats, get_args(Repeats))
    one_of("classes", classes, get_args(Kind))
    reading = dict(
        form=form, positive=positive, order=order, truth=truth, missing=missing, header=header, classes=classes
    )
    callback(progress)
    given = dict(gold=gold, scores=scores, labeler_features=labeler_features, instance_features=instance_features)
    general = dict(
        classes=classes, factors=factors, class_prior=class_prior, boundary=boundary, restarts=restarts, seed=seed,
        key=key, repeats=repeats, solver=solver, start=start, devices=devices, progress=progress,
    )  # fmt: skip
    _refuse_unknown(model)
    if not _may_be_binary(model, classes, class_prior, truth):
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
    if start is not None and not isinstance(start, Aggregation):
        raise InputError(f"start: got {type(start).__name__}; allowed: an Aggregation, from fit or load")
    _refuse_counts(triples, name, repeats)
    if name in integrated_api.MODELS:
        integrated_api.check(name, boundary, class_prior, solver, start)
        return integrated_api.fit(
            triples, name, tables, factors=config.n_factors, class_prior=config.class_prior, boundary=boundary,
            repeats=repeats, devices=devices, progress=progress, kind=kind_of(table, triples.roles),
        )  # fmt: skip
    if boundary is not None:
        raise InputError(f"boundary: got {brief(boundary)} with model {name}; allowed with integrated, auto")
    if scores is not None:
        raise InputError(f"scores: given with model {name}; allowed with integrated, auto")
    index = triples.index
    truth = io.truth_of(triples, tables["gold"])  # pyright: ignore[reportAssignmentType]
    labels = triples.labels(repeats=repeats, gold=truth)
    sources = {side: tables[f"{side}_features"] for side in ("labeler", "instance")}
    read = {s: io.read_features(source, s, io.ids(index, s)) for s, source in sources.items() if source is not None}
    chosen, about_choice = config.n_factors, {}
    if held_out:
        used = {side: values for side, (values, _, _) in read.items() if _uses(config, side)}
        choice = factor.choose_factors(labels, config, key, settings, features=used, seed=of_seed or 0)
        chosen, about_choice = choice.chosen, {"factors": _about_choice(choice)}
        config = factor.with_count(config, chosen)
        settings = settings if config.n_factors > 1 else dataclasses.replace(settings, restarts=1)
    features, scaling, remarks = {}, {}, []
    for side, (values, scale, constant) in read.items():
        if not _uses(config, side):
            remarks.append(f"The {side} features were left out: {name} has no use for them. {HINT[side]}")
            continue
        features[side], scaling[side] = values, scale
        remarks += outliers.about_columns(f"{side} features", scale.names, scale.undo(values))
        if constant:
            remarks.append(f"Constant {side} features were left out: {listed(constant)}.")
    if held_out:
        remarks.append(
            f"Held-out labels chose {chosen} factors. They tell how well labels are predicted, not where the "
            "classes meet, nor that the answers are right."
        )
    if config.n_factors > 1 and not features:  # everybody has a number of his own for every factor
        numbers = NUMBERS * config.n_factors * (labels.n_labelers + labels.n_instances)
        memory.refuse_above(numbers * jnp.zeros(0).itemsize, f"factors: {config.n_factors:,} of everybody need")
    built = _build(config, labels, features)
    begin = None if start is None else _continued(start, built, index)
    mapping = io.mapping(triples, tables)
    found = parallel.fit(labels, built, key, settings, begin, devices=devices, progress=progress)
    facade_fit.refuse_failed(found)
    counts = tally(labels, found.posterior)
    warnings = [
        *about_labels(labels, triples, repeats),
        *_about(found, labels_of_labelers(labels), triples.words),
        *about_support(support(counts.votes, found.posterior, truth), triples.words, about_prior(config.class_prior)),
        *about_gold(truth, triples.words),
        *remarks,
    ]
    record = {
        "model": name,
        **facade_fit.outcome(found, labels),
        "seconds": 0.0,
        "n_factors": chosen,
        **about_choice,
        "class_prior": config.class_prior,
        "repeats": repeats,
        "words": triples.words,
        "columns": mapping,
        "level": LEVEL,
        "seed": of_seed,
        "solver": dataclasses.asdict(settings),
        "config": dataclasses.asdict(config),
        "features": {side: dataclasses.asdict(s) for side, s in scaling.items()},
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        "warnings": warnings,
    }
    instances = answer_table(io.ids(index, "instance"), found.posterior, triples.words)
    answers = {"instances": instances, "labelers": _labelers(index, labels, built, found)}
    record["seconds"] = time.perf_counter() - started
    return Aggregation(answers, record, kind_of(table, triples.roles), found, built, index, features, scaling, counts)


def _read(table, columns, reading, given):
    """(the tables besides the labels, opened, the labels)."""
    said, tables = io.open_tables(columns, **given)
    return tables, io.read_triples(table, columns=said, **reading)


def _refuse_unknown(model) -> None:
    """Refuses what is no model, for labels of any number of classes."""
    if isinstance(model, str) or not isinstance(model, factor.FactorConfig | Observation):
        one_of("model", model, names())


def _may_be_binary(model, classes: Kind, class_prior, truth) -> bool:
    """Whether these settings mean the models of two classes, if the labels turn out to have two."""
    known = (*factor.PRESETS, *integrated_api.MODELS)
    named = isinstance(model, str) and model in known
    prior = class_prior is None or isinstance(class_prior, str) or np.ndim(class_prior) == 0
    ours = isinstance(model, factor.FactorConfig) or named
    return ours and classes == "nominal" and truth is None and prior and class_prior != "uniform"


def _fit_classes(table, tables, triples: io.Triples, model, *, solver, devices, progress, classes, repeats, start,
                 seed, **settings) -> Result:  # fmt: skip
    """:func:`fit` by a model of the registry, for any number of classes."""
    if isinstance(model, factor.FactorConfig) or (isinstance(model, str) and model not in MODELS):
        got = model if isinstance(model, str) else "a configuration of two classes"
        what = f"labels of {len(triples.index.classes)} classes" if classes == "nominal" else f"classes {classes!r}"
        raise InputError(f"model: got {got} with {what}; allowed: {', '.join(MODELS)}")
    name = model if isinstance(model, str) else MODELS.name_of(model)
    _refuse_counts(triples, name, repeats)
    if tables["scores"] is not None:
        raise InputError("scores: given with more than two classes; allowed with two, and models integrated, auto")
    if not isinstance(seed, Default):
        settings["seed"] = seed
    if not isinstance(solver, Solver):
        if solver is not None:
            one_of("solver", solver, get_args(Methods))
        solver = Solver(method=solver or "auto")
    return facade_fit.fit(
        triples, model, tables, classes=classes, settings=settings, repeats=repeats, solver=solver, start=start,
        devices=_devices(devices), progress=progress, kind=kind_of(table, triples.roles),
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
    started = time.perf_counter()
    table = path_of("labels", table, "with minibatches: a path or URL of Parquet")
    if isinstance(factors, str):
        raise InputError(f"factors: got {brief(factors)} with minibatches; allowed: a whole number from 1")
    one_of("classes", classes, get_args(Kind))
    one_of("repeats", repeats, get_args(Repeats))
    _refuse_unknown(model)
    if not _may_be_binary(model, classes, class_prior, truth):
        general = dict(factors=factors, class_prior=class_prior, restarts=restarts)
        scan = pieces.scan(table, columns=columns, positive=positive, order=order, truth=truth, kind=classes)
        return _fit_large_classes(
            scan, out, model, classes, general, solver, seed, batch, repeats, max_rounds, rtol, progress
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
    solver = _with_restarts(solver, restarts, config, drawn)
    devices = _devices(devices)
    out = results.check_out(out)
    scan = pieces.scan(table, columns=columns, positive=positive, order=order, truth=truth, kind=classes)
    if len(scan.classes.classes) > 2 or scan.classes.values is not None:
        general = dict(factors=factors, class_prior=class_prior, restarts=restarts)
        return _fit_large_classes(
            scan, out, model, classes, general, None, seed, batch, repeats, max_rounds, rtol, progress
        )
    minibatch.check_size(scan, batch)
    state = out.absolute().with_name(out.absolute().name + ".state")
    settings = dict(config=dataclasses.asdict(config), solver=dataclasses.asdict(solver), seed=of_seed)
    kept = dict(settings, table=scan.identity, batch=batch, repeats=repeats, rounds=[max_rounds, rtol], labels="codes")
    with results.claim(state, kept):
        return _fit_parts(
            scan, out, state, name, config, solver, settings, batch=batch, repeats=repeats, key=key, devices=devices,
            max_rounds=max_rounds, rtol=rtol, progress=progress, started=started,
        )  # fmt: skip


def _fit_large_classes(
    scan, out, model, classes: Kind, settings, solver, seed, batch, repeats, max_rounds, rtol, progress
) -> Written:
    """:func:`fit_large` by a model of the registry, for any number of classes."""
    if not isinstance(model, str) or model not in MODELS:
        raise InputError(f"model: got {brief(model)} with these classes; allowed: {', '.join(MODELS)}")
    if solver is not None:
        raise InputError("solver: given with minibatches and more than two classes, whose fit is EM; leave it out")
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


def _fit_parts(
    scan: pieces.Scan, out: Path, state: Path, name: str, config: factor.FactorConfig, solver: factor.Solver,
    settings: dict[str, Any], *, batch: int, repeats: Repeats, key: PRNGKeyArray, devices: int | None, max_rounds: int,
    rtol: float, progress: watch.Progress | None, started: float,
) -> Written:  # fmt: skip
    """:func:`fit_large`, its settings checked and its state claimed."""
    report = watch.or_interrupt(progress, "stopped; the same call goes on from there")
    try:
        parts = minibatch.deal(scan, state / "parts", batch, repeats, report)
    except InputError:
        shutil.rmtree(state)
        raise

    total = sum(parts.n_instances)
    posterior, ends = np.zeros(total, np.float32), np.cumsum(parts.n_instances)
    blank = _build(config, Labels.from_arrays([0], [0], [1], n_labelers=len(parts.labelers), n_instances=total), {})
    own = np.zeros((total, config.n_factors), np.float32) if blank.instance.identity else None
    label = label_type(scan.words)
    schema = pa.schema([("instance", parts.instances(0).type), ("probability", pa.float64()), ("label", label)])
    supported: list[Support] = []
    with pa.parquet.ParquetWriter(state / "instances.parquet", schema) as writer:

        def hand_out(k: int, found: factor.Fit) -> None:
            rows = slice(ends[k] - parts.n_instances[k], ends[k])
            posterior[rows] = found.posterior
            if own is not None:
                own[rows] = found.weights.instance.free
            supported.append(support(votes_of(parts.labels(k)), found.posterior))
            writer.write_table(answer_table(parts.instances(k), found.posterior, scan.words).cast(schema))

        answer = minibatch.run(
            parts, config, state / "rounds", key, solver, max_rounds=max_rounds, rtol=rtol, devices=devices,
            hand_out=hand_out, progress=report,
        )  # fmt: skip
    instance = factor.Linear(None, own) if own is not None else blank.full(blank.mean).instance
    history = np.full(solver.max_steps, np.nan)
    history[: len(answer.history)] = answer.history[: solver.max_steps]
    found = factor.Fit(
        answer.weights._replace(instance=instance), posterior, np.array(answer.objective),
        np.array(answer.log_likelihood), np.array(answer.code), np.array(len(answer.history)), history, np.array(False),
    )  # fmt: skip
    facade_fit.refuse_failed(found)
    plus, minus, hits, rejections = answer.sums
    labelers = {"n_labels": plus + minus, "sensitivity": hits / plus, "specificity": rejections / minus}
    labelers |= {"accuracy": (hits + rejections) / (plus + minus)}
    record = {
        "model": name,
        **facade_fit.outcome_of(found),
        "n_labels": parts.n_labels,
        "n_labelers": len(parts.labelers),
        "n_instances": total,
        "seconds": time.perf_counter() - started,
        "n_factors": config.n_factors,
        "class_prior": config.class_prior,
        "repeats": repeats,
        "words": scan.words,
        "columns": {"labels": as_record(scan.roles)},
        "level": LEVEL,
        **settings,
        "features": {},
        "minibatch": batch,
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        "warnings": [
            *scan.classes.notes,
            *_about(found, np.rint(labelers["n_labels"]), scan.words),
            *about_support(functools.reduce(operator.add, supported), scan.words, about_prior(config.class_prior)),
        ],
    }
    with results.new_result(out, record) as folder:
        shutil.copy(state / "instances.parquet", folder / "instances.parquet")
        pa.parquet.write_table(pa.table({"labeler": pa.array(parts.labelers), **labelers}), folder / "labelers.parquet")
        results.save_arrays(folder / "fit.npz", (found, {}))
    shutil.rmtree(state)
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
    if "values" in record:
        return load_classes(folder, record)
    if record.get("model") in integrated_api.MODELS:
        return integrated_api.load(folder, record)
    if record.get("model") == "contextual":
        raise InputError(
            f"{folder}: a contextual fit; allowed: a fit of {', '.join((*factor.PRESETS, *integrated_api.MODELS))}"
        )
    try:
        tables = read_tables(folder, "instances", "labelers")
        config = factor.FactorConfig(**{k: _number_or_pair(v) for k, v in record["config"].items()})
        scaling = {k: io.Scaling(*map(tuple, (v["names"], v["mean"], v["sd"]))) for k, v in record["features"].items()}
        solver = _solver(record["solver"])
    except (KeyError, TypeError, ValueError, OSError, AttributeError) as error:
        raise InputError(f"{folder}: not a fit of crowdjax ({error!r:.100})") from None
    index = io.index_of(tables["labelers"], tables["instances"])
    sizes = {"labeler": len(index.labelers), "instance": len(index.instances)}
    blank = {side: np.zeros((sizes[side], len(s.names))) for side, s in scaling.items()}
    anyone = Labels.from_arrays([0], [0], [1], n_labelers=sizes["labeler"], n_instances=sizes["instance"])
    like = _build(config, anyone, blank)
    found, features = results.load_arrays(folder / "fit.npz", (_fit_like(like, sizes["instance"], solver), blank))
    model = _build(config, anyone, features)
    return Aggregation(tables, record, as_arrow, found, model, index, features, scaling)


# Settings


def _refuse_counts(triples: io.Triples, model: str, repeats: Repeats = "count") -> None:
    if triples.anonymous and repeats != "count":
        raise InputError(f"repeats: got {repeats!r} with counts, which have no repeated labels; leave it out")
    if triples.anonymous and model != "majority":
        raise InputError(f"model: got {model} with counts, whose labelers nobody knows; allowed with counts: majority "
                         "(--model majority)")  # fmt: skip


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
    prior = 0.5 if prior is None else prior
    return model, _replaced(factor.PRESETS.get(model, factor.PRESETS["factor"]), n_factors=factors, class_prior=prior)


def _probability(class_prior) -> float:
    if isinstance(class_prior, bool) or not isinstance(class_prior, Real):
        raise InputError(f"class_prior: got {brief(class_prior)}; allowed: {PRIORS}, learn, logistic")
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


def _about_choice(found: factor.HeldOut) -> dict[str, Any]:
    """What held-out labels said of every number of factors, for the record."""
    columns = (found.n_factors, found.log_likelihood, found.difference, found.standard_error)
    names = ("n_factors", "log_likelihood", "difference", "standard_error")
    return {
        "chosen": found.chosen,
        "rule": "the fewest factors within one standard error of the best mean log-probability of a held-out label",
        "n_folds": factor.heldout.N_FOLDS,
        "heldout": [dict(zip(names, (n, *map(float, row)), strict=True)) for n, *row in zip(*columns, strict=True)],
        "says": "how well labels are predicted; not where the classes meet, which labels do not identify",
    }


def _uses(config: factor.FactorConfig, side: io.Key) -> bool:
    """Whether a model has anything that features of this side can explain: a part that is not fixed."""
    if side == "labeler":
        return config.labeler[1] > 0 or (config.bias is not None and config.bias[1] > 0)
    return config.instance[1] > 0 or config.class_prior == "logistic"


def _build(config, labels, features) -> factor.FactorModel:
    try:
        return factor.build(
            config, labels, labeler_features=features.get("labeler"), instance_features=features.get("instance")
        )
    except ValueError as error:
        raise InputError(str(error)) from None


def _continued(start: Aggregation, model: factor.FactorModel, index: LabelIndex) -> factor.Weights:
    """The weights of an earlier result, if they are of the same things."""
    for side in ("labelers", "instances"):
        if not np.array_equal(getattr(start.index, side), getattr(index, side)):
            raise InputError(f"start: a fit of other {side}; allowed: a fit of the same labelers and instances")
    wanted = model.full(model.mean)
    if jax.tree.map(jnp.shape, start.fit.weights) != jax.tree.map(jnp.shape, wanted):
        raise InputError("start: a fit of another model; allowed: the same model, factors and features")
    return start.fit.weights


# Saved settings


def _number_or_pair(value):
    """A setting as it was before JSON: pairs are tuples, infinite numbers are numbers."""
    if isinstance(value, list):
        return tuple(map(_number_or_pair, value))
    return float(value) if value in ("inf", "-inf") else value


def _solver(settings: Mapping[str, Any]) -> factor.Solver:
    return factor.Solver(**settings)


def _fit_like(model: factor.FactorModel, n_instances: int, solver: factor.Solver) -> factor.Fit:
    """The structure and shapes of a fit."""
    number, whole = np.zeros(()), np.zeros((), int)
    return factor.Fit(
        weights=model.full(model.mean),
        posterior=np.zeros(n_instances),
        objective=number,
        log_likelihood=number,
        code=whole,
        n_steps=whole,
        history=np.zeros(solver.max_steps),
        switched=np.zeros((), bool),
    )


# What is said about a fit


def _about(found: factor.Fit, n_labels: np.ndarray, words: Words | None) -> list[str]:
    """What a fit itself says, given how many labels each labeler gave."""
    out = facade_fit.about_end(found)
    if bool(found.switched):
        out.append("The first solution had classes switched; the corrected one explains the labels better and is kept.")
    return out + about_answers(found.posterior, n_labels, words)


def _labelers(index: LabelIndex, labels: Labels, model: factor.FactorModel, found: factor.Fit) -> pa.Table:
    summary = parallel.summary(labels, model, found)._asdict()
    columns = {k: np.asarray(v, np.float64) for k, v in summary.items()}
    if labels.weight is None:
        columns["n_labels"] = np.rint(columns["n_labels"]).astype(np.int64)
    return pa.table({"labeler": io.ids(index, "labeler"), **columns})
