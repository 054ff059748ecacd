"""Results of the factor model of two classes (``factor``) for its presets: majority, coins, GLAD and factors.

The fit is the factor model's own; what comes after it is that of every model (``crowdjax.facade.fit``).
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from jaxtyping import Float, PRNGKeyArray

from crowdjax import drive, factor, io, memory, minibatch, parallel, saving
from crowdjax.cautions import about_classes, about_prior, about_support, support
from crowdjax.chance import compare
from crowdjax.facade.aggregation import Aggregation, about
from crowdjax.facade.copies import Copies, heard
from crowdjax.facade.fit import about_marginal, read_features, taken
from crowdjax.facade.fitted import itself, read_fit
from crowdjax.facade.large import Writer, of_comparisons, write_parts
from crowdjax.facade.outcome import outcome_of, record_of, refuse_failed, tables_of, warnings_of
from crowdjax.factor.intervals import labeler_intervals
from crowdjax.labelers import LEVEL, Summary, is_rare
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats
from crowdjax.observation import Majority
from crowdjax.observation.factors import AT_MODE
from crowdjax.observation.summaries import summary_of_counts
from crowdjax.priors import SPLIT
from crowdjax.result import (
    agreement_of,
    by_class,
    class_table,
    confusion_table,
    gold_record,
    kept,
    labeler_table,
    tally,
    unsure_of,
    votes_of,
)
from crowdjax.roles import Opened, as_record
from crowdjax.scan import Scan
from crowdjax.tables import Kind, as_arrow

NUMBERS = 14  # a factor's, in memory: mean, variance, estimate and gradient, and the five pairs of L-BFGS
HINT = {
    "labeler": "Its labelers are all alike.",
    "instance": "Without a logistic class prior, its instances are all alike.",
}


def fit(
    triples: io.Triples,
    name: str,
    config: factor.FactorConfig,
    given: Mapping[str, Opened | None],
    *,
    held_out: bool,
    settings: factor.Solver,
    key: PRNGKeyArray,
    seed: int | None,
    repeats: Repeats = "count",
    copies: Copies = "warn",
    start: Aggregation | None = None,
    devices: int | None = None,
    progress: drive.Progress | None = None,
    kind: Kind = as_arrow,
) -> Aggregation:
    """Fit a preset to labels that were read; settings as in ``crowdjax.fit``, checked.

    Args:
        held_out: whether held-out labels choose the number of factors.
        seed: for the record; None where the fit draws nothing.
    """
    started = time.perf_counter()
    index = triples.index
    truth = io.truth_of(triples, given["gold"])
    labels, record_of_copies, of_copies = heard(triples.labels(repeats=repeats, gold=truth), triples, copies)
    read = read_features(index, given)
    chosen, about_choice = config.n_factors, {}
    if held_out:
        used = {side: values for side, (values, _, _) in read.items() if _uses(config, side)}
        choice = factor.choose_factors(labels, config, key, settings, features=used, seed=seed or 0)
        chosen, about_choice = choice.chosen, {"factors": _about_choice(choice)}
        config = factor.with_count(config, chosen)
        settings = settings if config.n_factors > 1 else dataclasses.replace(settings, restarts=1)
    left_out = {s: f"{name} has no use for them. {HINT[s]}" for s in HINT if not _uses(config, s)}
    features, scaling, remarks = taken(read, left_out)
    if held_out:
        remarks.append(
            f"Held-out labels chose {chosen} factors. They tell how well labels are predicted, neither the "
            "decision boundary nor that the inferred classes are right."
        )
    if config.n_factors > 1 and not features:  # each labeler and instance has a number for every factor
        numbers = NUMBERS * config.n_factors * (labels.n_labelers + labels.n_instances)
        memory.refuse_above(numbers * jnp.zeros(0).itemsize, f"factors: {config.n_factors:,} of everybody need")
    built = build(config, labels, features)
    begin = None if start is None else _continued(start, built, index)
    mapping = io.mapping(triples, given)
    found = parallel.fit(labels, built, key, settings, begin, devices=devices, progress=progress)
    refuse_failed(found)
    if name == "dawid-skene" and config.class_prior == "learn" and begin is None and is_rare(labels):
        found = _not_split(found, labels, built, key, settings, devices)
    posterior, counts = by_class(found.posterior), tally(labels, found.posterior)
    said = [*of_copies, *about(found), *about_instances(labels, config, built, found)]
    supported = support(counts.votes, posterior, truth)
    warnings = warnings_of(triples, labels, posterior, supported, truth, config.class_prior, repeats, said)
    warnings += remarks
    estimates = parallel.summary(labels, built, found)
    n_labels = estimates.n_labels if labels.weight is not None else np.rint(estimates.n_labels).astype(np.int64)
    unsure = unsure_of(labels, found.posterior)
    about_labelers = summary(built, found.weights, estimates, counts.agreement, unsure)
    tables = tables_of(index, n_labels, posterior, about_labelers, gold_record(labels))
    record = record_of(
        name,
        found,
        labels,
        index,
        n_factors=chosen,
        **about_choice,
        class_prior=config.class_prior,
        repeats=repeats,
        copies=record_of_copies,
        columns=mapping,
        seed=seed,
        solver=dataclasses.asdict(settings),
        config=dataclasses.asdict(config),
        features=scaling,
        warnings=warnings,
        started=started,
        devices=parallel.used(int(np.count_nonzero(labels.real)), devices),
    )
    return Aggregation(
        tables,
        record,
        kind,
        found,
        index,
        scaling,
        made=partial(itself, built),
        features=features,
        tally=counts,
        labels=kept(labels),
    )


def _not_split(found: factor.Fit, labels: Labels, model: factor.FactorModel, key, settings, devices) -> factor.Fit:
    """Return the fit, or the one that starts where labelers have no biases, unless the first is better by ``SPLIT``
    nats.

    Where one class is rare, its labels are mostly errors, and a split of the frequent class in two may explain these
    about as well. Without biases there is no such split.
    """
    coin = build(dataclasses.replace(factor.PRESETS["one-coin"], class_prior="learn"), labels, {})
    even = parallel.fit(labels, coin, key, settings, None, devices=devices).weights
    begin = found.weights._replace(
        labeler=even.labeler, bias=jax.tree.map(np.zeros_like, found.weights.bias), class_prior=even.class_prior
    )
    other = parallel.fit(labels, model, key, settings, begin, devices=devices)
    worse = not np.isfinite(other.objective) or found.objective > other.objective + SPLIT
    return found if worse else dataclasses.replace(other, n_steps=other.n_steps + found.n_steps)


def fit_parts(
    scan: Scan, out: Path, state: Path, name: str, config: factor.FactorConfig, solver: factor.Solver,
    settings: dict[str, Any], *, batch: int, repeats: Repeats, key: PRNGKeyArray, devices: int | None, max_rounds: int,
    rtol: float, progress: drive.Progress | None,
) -> dict[str, Any]:  # fmt: skip
    """Fit labels part by part and write the files of ``Aggregation.save``; the caller has claimed its state. Return the
    record.
    """
    started = time.perf_counter()
    report = drive.or_interrupt(progress, "stopped; the same call goes on from there")
    try:
        parts = minibatch.deal(scan, state / "parts", batch, repeats, report)
    except InputError:
        shutil.rmtree(state)
        raise
    total, classes = sum(parts.n_instances), scan.classes.classes
    posterior, ends = np.zeros(total, np.float32), np.cumsum(parts.n_instances)
    blank = build(config, Labels.from_arrays([0], [0], [1], n_labelers=len(parts.labelers), n_instances=total), {})
    own = np.zeros((total, config.n_factors), np.float32) if blank.instance.identity else None
    supported, compared, agreement = [], [], np.zeros((len(parts.labelers), 2, 2))
    unsure = np.zeros((len(parts.labelers), 2))
    with Writer(state / "instances.parquet") as writer:

        def hand_out(k: int, found: factor.Fit) -> None:
            rows, labels = slice(ends[k] - parts.n_instances[k], ends[k]), parts.labels(k)
            posterior[rows] = found.posterior
            if own is not None:
                own[rows] = found.weights.instance.free
            supported.append(support(votes_of(labels), found.posterior))
            compared.append(compare(labels))
            agreement[:] += agreement_of(labels, found.posterior)
            unsure[:] += unsure_of(labels, found.posterior)
            writer.write(class_table(parts.instances(k), by_class(found.posterior), classes))

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
    refuse_failed(found)
    plus, minus, hits, rejections = answer.sums
    estimates = factor.LabelerSummary(
        plus + minus, hits / plus, rejections / minus, (hits + rejections) / (plus + minus)
    )
    people, said = pa.array(parts.labelers), summary(blank, found.weights, estimates, agreement, unsure)
    record = {
        "model": name,
        **outcome_of(found),
        "n_labels": parts.n_labels,
        "n_labelers": len(parts.labelers),
        "n_instances": total,
        "seconds": time.perf_counter() - started,
        "n_factors": config.n_factors,
        "class_prior": config.class_prior,
        "repeats": repeats,
        "classes": list(classes),
        "values": None,
        "columns": {"labels": as_record(scan.roles)},
        "level": LEVEL,
        **settings,
        "features": {},
        "minibatch": batch,
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        "warnings": [
            *scan.classes.notes,
            *about(found),
            *([AT_MODE] if own is not None else []),
            *of_comparisons(parts, compared),
            *about_classes(posterior, np.rint(estimates.n_labels), classes),
            *about_support(functools.reduce(operator.add, supported), classes, about_prior(config.class_prior)),
        ],
    }
    tables = {
        "labelers": labeler_table(people, estimates.n_labels, said),
        "confusion": confusion_table(people, classes, None, said.confusion),
    }
    write_parts(out, state, record, tables, (found, {}))
    return record


def summary(
    model: factor.FactorModel,
    weights: factor.Weights,
    estimates: factor.LabelerSummary,
    agreement: Float[np.ndarray, "W 2 2"],
    unsure: Float[np.ndarray, "W 2"],
) -> Summary:
    """Summarise a fit's labelers with intervals; by counts where the model takes all labelers for equal.

    Args:
        estimates: of ``factor.labeler_summary``.
        agreement: labels by the inferred class and by their value (``crowdjax.result.tally``).
        unsure: what is not known of these classes (``crowdjax.result.unsure_of``).
    """
    if not (model.labeler.fixed and model.bias is None):
        return labeler_intervals(model, weights, estimates, agreement.sum(2), LEVEL, unsure)
    found = Majority(skill=float(np.asarray(model.factors(weights).alpha).flat[0]))
    params = {"skill": jnp.full(len(agreement), found.skill), "classes": jnp.zeros(2)}
    points = agreement.sum((0, 2))
    return summary_of_counts(found, params, jnp.asarray(agreement.swapaxes(1, 2)), jnp.asarray(points))


def load(folder: Path, record: dict[str, Any]) -> Aggregation:
    """Load a result that ``Aggregation.save`` wrote, given its record."""
    try:
        read = read_fit(folder, record)
        config = factor.FactorConfig(**{k: _number_or_pair(v) for k, v in record["config"].items()})
        solver = factor.Solver(**record["solver"])
    except (KeyError, TypeError, ValueError, OSError, AttributeError) as error:
        raise InputError(f"{folder}: not a fit of crowdjax ({error!r:.100})") from None
    anyone = Labels.from_arrays([0], [0], [1], **read.sizes)
    like = build(config, anyone, read.blank)
    shapes = _fit_like(like, anyone.n_instances, solver), read.blank
    found, features = saving.load_arrays(folder / "fit.npz", shapes)
    model = build(config, anyone, features)
    return Aggregation(
        read.tables, record, as_arrow, found, read.index, read.scaling, made=partial(itself, model), features=features
    )


def _about_choice(found: factor.HeldOut) -> dict[str, Any]:
    """Return what held-out labels said of every number of factors, for the record."""
    columns = (found.n_factors, found.log_likelihood, found.difference, found.standard_error)
    names = ("n_factors", "log_likelihood", "difference", "standard_error")
    return {
        "chosen": found.chosen,
        "rule": "the fewest factors within one standard error of the best mean log-probability of a held-out label",
        "n_folds": factor.heldout.N_FOLDS,
        "heldout": [dict(zip(names, (n, *map(float, row)), strict=True)) for n, *row in zip(*columns, strict=True)],
        "says": "how well labels are predicted; not the decision boundary, which labels do not identify",
    }


def _uses(config: factor.FactorConfig, side: io.Key) -> bool:
    """Return whether a model has anything that features of this side can explain: a part that is not fixed."""
    if side == "labeler":
        return config.labeler[1] > 0 or (config.bias is not None and config.bias[1] > 0)
    return config.instance[1] > 0 or config.class_prior == "logistic"


def build(config: factor.FactorConfig, labels: Labels, features: Mapping[io.Key, np.ndarray]) -> factor.FactorModel:
    """Build the model of these settings."""
    try:
        return factor.build(
            config, labels, labeler_features=features.get("labeler"), instance_features=features.get("instance")
        )
    except ValueError as error:
        raise InputError(str(error)) from None


def _continued(start: Aggregation, model: factor.FactorModel, index: LabelIndex) -> factor.Weights:
    """Return the weights of an earlier result, rows matched by id; those of labelers and instances it has not met are
    at the prior's mean."""
    mean, old = model.full(model.mean), start.fit.weights
    known = {side: io.positions(io.ids(index, side), io.ids(start.index, side)) for side in ("labeler", "instance")}
    sides = factor.Weights("labeler", "instance", "labeler", "instance")

    def shapes(weights: factor.Weights):  # but for how many labelers and instances there are
        sizes = lambda v, first: None if v is None else v.shape[first:]  # noqa: E731
        return [part and (sizes(part.dense, 0), sizes(part.free, 1)) for part in weights]

    if shapes(mean) != shapes(old):
        raise InputError("start: a fit of another model; allowed: the same model, factors and features")

    def rows(side, was, new):
        if was is None or was.free is None:
            return was
        row = known[side]
        return factor.Linear(was.dense, np.where(row[:, None] >= 0, np.asarray(was.free)[row], new.free))

    return factor.Weights(*(rows(*of) for of in zip(sides, old, mean, strict=True)))


def _number_or_pair(value):
    """Return a setting as it was before JSON: pairs are tuples, infinite numbers are numbers."""
    if isinstance(value, list):
        return tuple(map(_number_or_pair, value))
    return float(value) if value in ("inf", "-inf") else value


def _fit_like(model: factor.FactorModel, n_instances: int, solver: factor.Solver) -> factor.Fit:
    """Return the structure and shapes of a fit."""
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


def about_instances(labels: Labels, config: factor.FactorConfig, model: factor.FactorModel, found) -> list[str]:
    """Warn where every instance has parameters of its own that are at their mode."""
    if not model.instance.identity or not 0 < config.instance[1] < np.inf:
        return []
    priors = dict(
        labeler=config.labeler, instance=config.instance, bias=None if config.bias is None else config.bias[1]
    )
    free = 0 < config.labeler[1] < np.inf and (config.bias is None or (config.bias[0] == 0 < config.bias[1] < np.inf))
    if config.n_factors > 1 or model.instance.dense is not None or not free:
        return [AT_MODE]
    alpha, gamma = (model.factors(found.weights)._asdict()[name] for name in ("alpha", "gamma"))
    gamma = None if gamma is None else jnp.reshape(gamma, (-1, 1)) * jnp.array([-0.5, 0.5])
    return [AT_MODE, *about_marginal(labels, config.link == "exp", priors, alpha, gamma)]
