"""What ``crowdjax.api`` does with JAX: it chooses the model, checks its settings, and calls the facade that fits it."""

from __future__ import annotations

import dataclasses
from numbers import Real
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from crowdjax import factor, integrated_api, io, memory, minibatch, parallel, programs, saving, scan
from crowdjax import summary as summaries
from crowdjax.facade import fit as facade_fit
from crowdjax.facade import large, presets
from crowdjax.facade.aggregation import Aggregation
from crowdjax.facade.fitted import Fitted, refuse_counts
from crowdjax.facade.models import MODELS, integrates, names
from crowdjax.facade.registry import Kind
from crowdjax.facade.result import Result
from crowdjax.facade.result import load as load_classes
from crowdjax.factor.presets import PRIORS
from crowdjax.files import reading
from crowdjax.labels import InputError, Repeats
from crowdjax.observation import Solver
from crowdjax.priors import LEARNED
from crowdjax.result import Printed
from crowdjax.settings import Default, brief, callback, number, one_of, path_of, randomness, whole
from crowdjax.stopping import FactorMethod as Method
from crowdjax.stopping import Method as Methods
from crowdjax.tables import kind_of

CONTRACT = ("start", "table", "log_points", "class_of_point", "log_prior", "specs")  # of a model of one's own


@memory.bounded
def fit(
    table,
    model,
    *,
    classes,
    factors,
    instances,
    labeler_features,
    instance_features,
    gold,
    scores,
    class_prior,
    repeats,
    copies,
    solver,
    restarts,
    seed,
    key,
    columns,
    form,
    positive,
    order,
    truth,
    missing,
    header,
    start,
    devices,
    boundary,
    posterior,
    progress,
    opened=None,
):
    """Implement :func:`crowdjax.api.fit`, whose arguments these are.

    Args:
        opened: the tables besides the labels and the labels, where they were read already.
    """
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
    _refuse_unknown(model)
    integrated = _integrates(model, instances, given, class_prior, factors)
    if integrated or not _may_be_binary(model, classes, class_prior, truth):
        tables, triples = opened or io.read_all(table, columns, reading, given)
        return _fit_classes(table, tables, triples, model, **general)
    name, config = _config(model, factors, class_prior)
    held_out = isinstance(factors, str)  # factors="auto"
    if held_out and start is not None:
        raise InputError("start: given with factors 'auto'; allowed: the number of factors of the earlier result")
    if start is not None and not isinstance(start, Fitted):
        raise InputError(f"start: got {type(start).__name__}; allowed: a fit, of crowdjax.fit or crowdjax.load")
    of_seed, key, drawn = _randomness(name, config, restarts, seed, key, held_out, start is not None)
    settings = _with_restarts(solver, restarts, config, drawn)
    devices = _devices(devices)
    tables, triples = opened or io.read_all(table, columns, reading, given)
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
        got = f"{start.record['model']} of {len(start.index.classes)} classes"
        raise InputError(f"start: a fit of {got}; allowed: an earlier result of {name} of two classes")
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


def _refuse_unknown(model) -> None:
    """Reject an unknown model, for labels of any number of classes."""
    if isinstance(model, type):
        raise InputError(f"model: got the class {model.__name__}; allowed: an instance of it, {model.__name__}()")
    if not isinstance(model, str) and hasattr(model, "start") and not hasattr(model, "factors"):
        absent = [name for name in CONTRACT if not hasattr(model, name)]
        if absent:
            raise InputError(f"model: got {type(model).__name__} without {', '.join(absent)}; allowed: one that has "
                             f"{', '.join(CONTRACT)} (crowdjax.observation.Observation)")  # fmt: skip
        return
    if isinstance(model, str) or not (isinstance(model, factor.FactorConfig) or hasattr(model, "factors")):
        one_of("model", model, names())


def _integrates(model, instances, tables, class_prior, factors) -> bool:
    """Return whether this is a model of factors whose instances are integrated out, a model of the registry for any
    classes.

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
    """Return whether these settings mean the models of two classes, if the labels turn out to have two."""
    known = (*factor.PRESETS, *integrated_api.MODELS)
    named = isinstance(model, str) and model in known
    prior = class_prior is None or isinstance(class_prior, str) or np.ndim(class_prior) == 0
    ours = isinstance(model, factor.FactorConfig) or named
    return ours and classes == "nominal" and truth is None and prior and class_prior not in ("uniform", "free")


def _fit_classes(table, tables, triples: io.Triples, model, *, solver, devices, progress, classes, repeats, copies,
                 start, seed, **settings) -> Result:  # fmt: skip
    """Run :func:`fit` by a model of the registry, for any number of classes."""
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
    """A result that is on disk only; :func:`load` reads it. Prints as its :meth:`summary`."""

    folder: Path
    record: dict[str, Any]

    def summary(self) -> str:
        """Return the result as text of at most 25 lines: what it is, whether it converged, warnings, the first rows."""
        rows = {name: _first_rows(self.folder / f"{name}.parquet") for name in ("instances", "labelers")}
        where = {"written to": str(self.folder)}
        return summaries.text(f"Fit of {self.record['model']}", self.record, rows, where)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings that a reader of the result should know, one sentence each."""
        return tuple(self.record["warnings"])


@memory.bounded
def fit_large(
    table,
    out,
    model,
    *,
    batch,
    factors,
    instances,
    class_prior,
    repeats,
    solver,
    restarts,
    seed,
    columns,
    positive,
    order,
    truth,
    classes,
    devices,
    max_rounds,
    rtol,
    progress,
) -> Written:
    """Implement :func:`crowdjax.api.fit_large`, whose arguments these are."""
    table = path_of("labels", table, "with minibatches: a path or URL of Parquet")
    if isinstance(factors, str):
        raise InputError(f"factors: got {brief(factors)} with minibatches; allowed: a whole number from 1")
    one_of("classes", classes, get_args(Kind))
    one_of("repeats", repeats, get_args(Repeats))
    _refuse_unknown(model)
    general = dict(factors=factors, instances=instances, class_prior=class_prior, restarts=restarts)
    integrated = _integrates(model, instances, {}, class_prior, factors)
    if integrated or not _may_be_binary(model, classes, class_prior, truth):
        pieces = scan.scan(table, columns=columns, positive=positive, order=order, truth=truth, kind=classes)
        return _fit_large_classes(
            pieces, out, model, classes, general, solver, devices, seed, batch, repeats, max_rounds, rtol, progress
        )
    if isinstance(model, str) and model in integrated_api.MODELS:
        pieces = scan.scan(table, columns=columns, positive=positive, order=order, truth=truth, kind=classes)
        return _fit_large_classes(
            pieces, out, model, classes, general, solver, devices, seed, batch, repeats, max_rounds, rtol, progress
        )
    name, config = _config(model, factors, class_prior)
    if config.class_prior == "logistic":
        raise InputError("class_prior: logistic needs instance features; allowed with minibatches: a number, learn")
    batch = whole("minibatch", batch, or_else="labels in memory at a time")
    max_rounds, rtol = whole("max_rounds", max_rounds), number("rtol", rtol, 0, "a number from 0")
    callback(progress)
    of_seed, key, drawn = _randomness(name, config, restarts, seed, None)
    asked, solver = solver, _with_restarts(solver, restarts, config, drawn)
    devices = _devices(devices)
    out = saving.check_out(out)
    pieces = scan.scan(table, columns=columns, positive=positive, order=order, truth=truth, kind=classes)
    if len(pieces.classes.classes) > 2 or pieces.classes.values is not None:
        return _fit_large_classes(
            pieces, out, model, classes, general, asked, devices, seed, batch, repeats, max_rounds, rtol, progress
        )
    minibatch.check_size(pieces, batch)
    state = out.absolute().with_name(out.absolute().name + ".state")
    settings = dict(config=dataclasses.asdict(config), solver=dataclasses.asdict(solver), seed=of_seed)
    kept = dict(
        settings, table=pieces.identity, batch=batch, repeats=repeats, rounds=[max_rounds, rtol], labels="codes"
    )
    with saving.claim(state, kept):
        record = presets.fit_parts(
            pieces, out, state, name, config, solver, settings, batch=batch, repeats=repeats, key=key, devices=devices,
            max_rounds=max_rounds, rtol=rtol, progress=progress,
        )  # fmt: skip
    return Written(out, record)


def _fit_large_classes(
    pieces, out, model, classes: Kind, settings, solver, devices, seed, batch, repeats, max_rounds, rtol, progress
) -> Written:
    """Run :func:`fit_large` by a model of the registry, for any number of classes."""
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
    out = saving.check_out(out)
    minibatch.check_size(pieces, batch)
    built = large.made(model, pieces, classes, settings)
    state = out.absolute().with_name(out.absolute().name + ".state")
    kept = dict(model=model, kind=classes, settings=settings, table=pieces.identity, batch=batch, repeats=repeats)
    with saving.claim(state, kept | {"rounds": [max_rounds, rtol]}):
        record = large.fit_parts(
            pieces, out, state, model, built, classes=classes, settings=settings, batch=batch, repeats=repeats,
            max_rounds=max_rounds, rtol=rtol, progress=progress,
        )  # fmt: skip
    return Written(out, record)


def _first_rows(path: Path) -> summaries.Rows:
    with reading(str(path), "a table of a result"), pa.parquet.ParquetFile(path) as file:
        rows = next(file.iter_batches(summaries.LINES), None)
        return pa.Table.from_batches([] if rows is None else [rows], file.schema_arrow), file.metadata.num_rows


def load(folder):
    """Implement :func:`crowdjax.api.load`."""
    programs.ready()
    folder = Path(path_of("folder", folder, "that of a result"))
    record = saving.read_result(folder)
    if record.get("model") == "contextual":
        raise InputError(
            f"{folder}: a contextual fit; allowed: a fit of {', '.join((*factor.PRESETS, *integrated_api.MODELS))}"
        )
    if "kind" in record:
        return load_classes(folder, record)
    if record.get("model") in integrated_api.MODELS:
        return integrated_api.load(folder, record)
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
    """Return (seed, key, whether the fit draws); reject a seed or key that the fit does not use."""
    drawn = name not in integrated_api.MODELS and (held_out or (config.n_factors > 1 and not continued))
    given = {"seed": not isinstance(seed, Default), "key": key is not None}
    given["restarts"] = restarts is not None and whole("restarts", restarts) > 1
    seed, key = randomness(seed, key)
    if not drawn and any(given.values()):
        what = next(name for name, there in given.items() if there)
        one = " of one factor" if name in ("factor", "custom") else ""
        why = "a start" if continued else f"model {name}{one}"
        raise InputError(
            f"{what}: given with {why}, whose fit is deterministic; allowed with two factors or more (model factor, or "
            "a configuration), or factors 'auto'"
        )
    return seed if drawn else None, key, drawn


def _with_restarts(solver, restarts, config, drawn: bool) -> factor.Solver:
    if not isinstance(solver, factor.Solver):
        if solver is not None:
            one_of("solver", solver, get_args(Method))
        solver = factor.Solver(method=solver or "auto", restarts=4 if drawn else 1)
    if not drawn and solver.restarts > 1:
        raise InputError(f"restarts: got {solver.restarts} for a fit that is deterministic; allowed: 1")
    return solver if restarts is None else dataclasses.replace(solver, restarts=whole("restarts", restarts))
