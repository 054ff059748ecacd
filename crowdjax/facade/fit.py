"""From labels that were read to a result, for any model that has a table of labelers: ``crowdjax.fit`` calls it.

triples → labels → model → fit → tables of instances, of labelers, their confusion → Result
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from crowdjax import drive, io, memory, optimize, outliers, parallel, spread
from crowdjax.cautions import about_known, support
from crowdjax.columns import listed
from crowdjax.facade import many
from crowdjax.facade.copies import Copies, heard
from crowdjax.facade.fitted import itself
from crowdjax.facade.models import MODELS, numbers_of
from crowdjax.facade.outcome import about_end, record_of, refuse_failed, tables_of, warnings_of
from crowdjax.facade.registry import Kind
from crowdjax.facade.result import Result
from crowdjax.integrated.classes import looks_ordered
from crowdjax.labelers import DOUBT, LEVEL
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats
from crowdjax.observation import Observation, Solver, Voted
from crowdjax.observation.contract import answers, leading, refuse_faulty
from crowdjax.observation.factor_summary import factor_summary
from crowdjax.observation.factors import Factor, Glad
from crowdjax.observation.integrated_factors import IntegratedFactor, IntegratedGlad, falls
from crowdjax.observation.nominal import Coins
from crowdjax.observation.summaries import labeler_summary
from crowdjax.result import gold_record, kept, labels_of_labelers, tally
from crowdjax.roles import Opened
from crowdjax.settings import brief
from crowdjax.tables import Kind as TableKind
from crowdjax.tables import as_arrow

CELL = 64  # bytes that a cell of all confusions takes: in a fit, and in the table of confusions
GRADES = 20  # classes at most that are looked at for an order
INFLATED = (
    "The fit has climbed by raising abilities: averaged over what instances may be, its labelers explain the labels "
    "worse than at the start. Take instances='integrate', without features of instances and with three factors at most."
)
# Settings of models of two classes alone.
OF_TWO = {
    "key": "model factor, instances 'map'",
    **dict.fromkeys(("boundary", "posterior"), "models integrated, auto"),
}


def fit(
    triples: io.Triples,
    model: str | Observation,
    given: Mapping[str, Opened | None],
    *,
    classes: Kind = "nominal",
    settings: Mapping[str, Any],
    repeats: Repeats = "count",
    copies: Copies = "warn",
    solver: Solver,
    start: Result | None = None,
    devices: int | None = None,
    progress: drive.Progress | None = None,
    kind: TableKind = as_arrow,
) -> Result:
    """Fit a registered model to labels that were read; settings as in ``crowdjax.fit``.

    Args:
        triples: the labels, as ``io.read_triples`` read them.
        given: the tables gold, labeler_features and instance_features, as ``io.open_tables`` opened them.
        settings: of the model, those that were given.
        kind: of the tables to show.
    """
    started = time.perf_counter()
    index = triples.index
    truth = io.truth_of(triples, given.get("gold"))
    labels, record_of_copies, of_copies = heard(triples.labels(repeats=repeats, gold=truth), triples, copies)
    name = model if isinstance(model, str) else MODELS.name_of(model)
    if isinstance(model, str):
        refuse(name, labels, classes, settings)
    else:
        MODELS.refuse_kind(name, classes)
        _refuse_settings(name, {**settings, **given})
    features, scaling, remarks = taken(read_features(index, given))
    remarks += _about_order(name, labels, classes)
    reasons: tuple[str, ...] = ()
    settings = {key: _said(value) for key, value in settings.items() if value is not None}
    if isinstance(model, str):
        if MODELS[name].plan is not None:
            plan, reasons = MODELS[name].plan(numbers_of(labels), classes)  # pyright: ignore[reportOptionalCall]
            settings = {**settings, "plan": plan}
        built = _made(name, labels, classes, settings, features)
    else:
        built, settings = model, None  # pyright: ignore[reportAssignmentType]
        refuse_faulty(labels, model)
    built = many.of_many(built, labels)
    refuse_large(labels, built, name)
    if start is not None and (settings or {}).keys() & {"restarts", "seed"}:
        raise InputError("restarts, seed: given with a start, from which the fit is deterministic; leave them out")
    begin = None if start is None else continued(start, name, index, config_of(built))
    mapping = io.mapping(triples, given)
    found = _best(labels, built, begin, solver, devices=devices, progress=progress)
    refuse_failed(found)
    found = dataclasses.replace(found, posterior=answers(built, labels, found.posterior))
    told = _told(labels, built, found, index, truth)
    cautions = built.cautions() if hasattr(built, "cautions") else ()
    said = [*of_copies, *about_end(found), *cautions, *about_mode(labels, built, found.params)]
    doubt = doubt_of(leading(built, found)[0])
    said += [] if doubt else about_known(told.posterior)
    warnings = [
        *warnings_of(triples, labels, told.posterior, told.support, truth, class_prior_of(built), repeats, said),
        *reasons,
        *remarks,
    ]
    record = record_of(
        name,
        found,
        labels,
        index,
        kind=classes,
        class_shares=told.shares.tolist(),
        settings=settings,
        repeats=repeats,
        copies=record_of_copies,
        columns=mapping,
        seed=seed_of(built) if start is None else None,
        solver=dataclasses.asdict(solver),
        config=config_of(built),
        features=scaling,
        warnings=warnings,
        started=started,
        devices=parallel.used(int(np.count_nonzero(labels.real)), devices),
        **doubt,
    )
    made, held = partial(itself, built), eqx.filter(built, eqx.is_array)
    return Result(
        told.tables, record, kind, found, index, scaling, made=made, held=held, tally=told.tally, labels=kept(labels)
    )


def _best(labels: Labels, model: Observation, start, solver: Solver, **how):
    """Return the fit; of a model that starts at random, the best of its starts. A fit that is stopped is the last."""
    starts = model.starts() if start is None and hasattr(model, "starts") else [model]
    fits = []
    for one in starts:
        fits.append(spread.fit(labels, one, start, solver, **how))
        if fits[-1].code == optimize.STOPPED:
            break
    best = max(fits, key=lambda found: float(found.objective) if np.isfinite(found.objective) else -np.inf)
    stopped = fits[-1].code == optimize.STOPPED and best.code <= optimize.STOPPED
    code = fits[-1].code if stopped else best.code
    return dataclasses.replace(best, code=code, n_steps=sum(found.n_steps for found in fits))


def seed_of(model: Observation) -> int | None:
    """Look up the seed of a model's random starts; None where its start draws nothing."""
    drawn = isinstance(model, Factor | IntegratedFactor) and model.n_factors > 1
    return int(model.seed) if drawn else None


def doubt_of(model: Observation) -> dict[str, dict[str, float]]:
    """Return what the record says of intervals that allow for errors which labelers share (κ)."""
    return {"posterior": {"doubt": DOUBT}} if getattr(model, "doubted", False) else {}


def _told(labels: Labels, model: Observation, found, index: LabelIndex, truth) -> many.Told:
    """Return the tables of a fit, and the numbers that its warnings depend on."""
    if isinstance(model, Voted):
        return many.told(labels, model, found.params, index, truth)
    p, counts = found.posterior, tally(labels, found.posterior)
    of_labelers = factor_summary if hasattr(model, "factors") else labeler_summary
    about = of_labelers(labels, *leading(model, found), LEVEL)
    tables = tables_of(index, labels_of_labelers(labels), p, about, gold_record(labels))
    return many.Told(tables, counts, support(counts.votes, p, truth), p, np.asarray(p, np.float64).mean(0))


def _about_order(name: str, labels: Labels, classes: Kind) -> list[str]:
    """Say that classes which were taken as unordered look like grades, of a model that takes both."""
    able = name in MODELS and "ordinal" in MODELS[name].kinds
    if classes != "nominal" or not able or labels.n_values > GRADES or not looks_ordered(labels):
        return []
    return [
        "Labels that disagree are mostly of neighbouring classes, as grades are. If the classes are grades, compare "
        "with classes='ordinal' (--classes ordinal), which is better on some tables of grades and worse on others."
    ]


def refuse(name: str, labels: Labels, classes: Kind, settings: Mapping[str, Any]) -> None:
    """Reject labels that a model does not support, naming the models that do."""
    MODELS.refuse_kind(name, classes)
    entry = MODELS[name]
    if labels.n_values != labels.n_classes and not entry.rectangular:
        able = ", ".join(e.name for e in MODELS.values() if e.rectangular)
        raise InputError(f"truth: given with model {name}, whose labels are the classes; allowed with models {able}")
    for setting, value in settings.items():
        if value is not None and setting not in entry.settings:
            able = ", ".join(MODELS.with_setting(setting))
            allowed = f"models {able}" if able else f"two classes and {OF_TWO[setting]}"
            raise InputError(f"{setting}: given with model {name} and these classes; allowed with {allowed}")


def refuse_large(labels: Labels, model: Observation, name: str) -> None:
    """Reject confusion matrices that do not fit into memory."""
    if isinstance(model, Voted):
        return
    cells = labels.n_labelers * labels.n_values * labels.n_classes
    if isinstance(model, Coins) and not hasattr(model, "coin_step"):  # Newton's steps take the cube of the classes
        cells *= max(1, 2 * labels.n_classes // CELL)
    if isinstance(model, IntegratedFactor):
        cells *= len(model.grid()[0])
    what = f"{labels.n_labelers:,} labelers' confusions of {labels.n_classes:,} classes by {name} need"
    less = "allowed: fewer classes, rare ones joined; models majority, one-coin need little with any number of classes"
    less += "; instances='map' needs less" if isinstance(model, IntegratedFactor) else ""
    memory.refuse_host(CELL * cells, what, less)


def _refuse_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Reject arguments that a user's own model sets in its own configuration."""
    for setting, value in settings.items():
        if value is not None and setting != "gold":
            raise InputError(f"{setting}: given with a model object ({name}); set it in the model")


def _made(name: str, labels: Labels, classes: Kind, settings: Mapping[str, Any], features) -> Observation:
    chosen = {key: value for key, value in settings.items() if value is not None}
    return MODELS[name].make(labels=labels, classes=classes, features=features, **chosen)


Features = Mapping[io.Key, tuple[np.ndarray, io.Scaling, tuple[str, ...]]]


def read_features(index: LabelIndex, given: Mapping[str, Opened | None]) -> Features:
    """Read the features of labelers and instances, as far as they are given (``io.read_features``)."""
    sources = {side: given.get(f"{side}_features") for side in ("labeler", "instance")}
    return {s: io.read_features(source, s, io.ids(index, s)) for s, source in sources.items() if source is not None}


def taken(read: Features, left_out: Mapping[str, str] = MappingProxyType({})):
    """Select the features that the model uses; return (standardised features by side, their scaling, sentences about
    those left out).

    Args:
        left_out: by side, why a model has no use for them.
    """
    rows, scaling, remarks = {}, {}, []
    for side, (values, scale, constant) in read.items():
        if side in left_out:
            remarks.append(f"The {side} features were left out: {left_out[side]}")
            continue
        rows[side], scaling[side] = values, scale
        remarks += outliers.about_columns(f"{side} features", scale.names, scale.undo(values))
        if constant:
            remarks.append(f"Constant {side} features were left out: {listed(constant)}.")
    return rows, scaling, remarks


DRAWN = ("restarts", "seed")  # settings of a fit's draws, of which a start has no use


def continued(start: Result, name: str, index, config: Mapping[str, Any]) -> Any:
    """Build initial parameters from an earlier result; rows are matched by id.

    Args:
        config: of the model that is to be fitted, which is that of the start.
    """
    if not isinstance(start, Result) or start.record["model"] != name:
        same = start.record["model"] == name  # of two classes, by the program of those
        hint = ", or instances='map' where the earlier one has it" if same and name in ("factor", "glad") else ""
        raise InputError(f"start: a fit of another model; allowed: an earlier result of {name}{hint}")
    if tuple(start.index.classes) != tuple(index.classes):
        raise InputError("start: a fit of other classes; allowed: an earlier result with the same classes")
    had, asked = (json.loads(json.dumps(of, default=_said)) for of in (start.record["config"], config))
    other = [key for key in sorted({*had, *asked} - {*DRAWN}) if had.get(key) != asked.get(key)]
    if any(key not in of for key in other for of in (had, asked)):
        raise InputError(f"start: a fit of another form of {name}; allowed: an earlier result with the same settings")
    if other:
        got, new = (brief(of.get(other[0])) for of in (had, asked))
        raise InputError(f"start: a fit with {other[0]} {got}; allowed: an earlier result with {new}, as asked for now")
    return start.params_for(index)


def about_mode(labels: Labels, model: Observation, params) -> list[str]:
    """Warn where a fit of one factor with instances at their mode has climbed to overconfident values."""
    if not isinstance(model, Factor) or model.n_factors > 1 or model.own_specs() != (None,):
        return []
    found = model.factors(params)
    priors = dict(labeler=model.labeler, instance=model.instance, bias=model.bias)
    return about_marginal(labels, isinstance(model, Glad), priors, found.alpha, found.gamma)


def about_marginal(labels: Labels, glad: bool, priors: Mapping[str, Any], alpha, gamma) -> list[str]:
    """Warn where labelers explain the labels worse than at the start, once instances are integrated out.

    Args:
        priors: of the labelers and instances, those of ``IntegratedFactor``.
        alpha, gamma: of the labelers, [W, 1] and [W, K].
    """
    model = (IntegratedGlad if glad else IntegratedFactor)(**priors)
    return [INFLATED] if bool(falls(labels, model, jnp.asarray(alpha), gamma)) else []


def config_of(model: Observation) -> dict[str, Any]:
    """Collect the settings of a model without its arrays; of a pool, those of each member."""
    model = model.model if isinstance(model, Voted) else model
    fields = dataclasses.fields(model)  # type: ignore[arg-type]
    values = {field.name: getattr(model, field.name) for field in fields}
    return {name: _plain(value) for name, value in values.items() if not isinstance(value, np.ndarray | jax.Array)}


def _said(value: Any) -> Any:
    """Return a setting as a record keeps it."""
    return np.asarray(value).tolist() if isinstance(value, np.ndarray | np.generic | jax.Array) else value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and value and all(map(dataclasses.is_dataclass, value)):
        return [_plain(model) for model in value]
    return {"name": type(value).__name__, **config_of(value)} if dataclasses.is_dataclass(value) else value


def class_prior_of(model: Observation) -> str | tuple[float, ...]:
    """Look up the class prior setting of a model; ``learn`` where it has none.

    Example:
        >>> from crowdjax.observation import DawidSkene, Voted, OneCoin
        >>> class_prior_of(DawidSkene(class_prior=(0.5, 0.25, 0.25))), class_prior_of(Voted(OneCoin()))
        ((0.5, 0.25, 0.25), 'learn')
    """
    return getattr(model.model if isinstance(model, Voted) else model, "class_prior", "learn")
