"""``crowdjax.context``: from tables of labels and scores to a result.

tables → labels, scores → settings → fit, and one under the weaker constraint → prevalence, tables → ContextualResult
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import PRNGKeyArray

from crowdjax import contextual, drive, io, memory, outliers, saving
from crowdjax.cautions import about_chance, about_contradiction, about_gold, about_labels
from crowdjax.classes import Classes, two_of
from crowdjax.context_api import inputs, outputs
from crowdjax.context_api.result import ContextualResult, load
from crowdjax.contextual import ContextualConfig, Inference, Scale, subsample
from crowdjax.contextual.agreement import agreement
from crowdjax.contextual.config import Constraint, Level
from crowdjax.contextual.context import Transform
from crowdjax.contextual.functions import GP, Approximation, Combine, Family
from crowdjax.contextual.inference import Method
from crowdjax.facade import by_gold, categories, kinds, pairs, periods
from crowdjax.facade import previous as going_on
from crowdjax.facade.design import about_several, importance_of, scaled
from crowdjax.facade.prevalence import ASSISTED
from crowdjax.facade.prevalence import summary as of_prevalence
from crowdjax.formats import Form
from crowdjax.integrated import LEVEL
from crowdjax.labels import InputError, LabelIndex, Repeats
from crowdjax.result import FitError, class_table, kept, tally
from crowdjax.roles import Columns
from crowdjax.settings import DEFAULT, Default, callback, flag, one_of, path_of, randomness, whole
from crowdjax.tables import kind_of

WIDE = 2.0  # standard deviation of the bias's level under the weaker constraint: labelers may miss most positives
BESIDE = Inference("laplace")  # of the fit under the weaker constraint


@memory.bounded
def context(
    table,
    scores,
    *,
    weights=None,
    population=None,
    gold=None,
    prevalence: Family = "gp",
    accuracy: Family = "gp",
    labelers: Level = "offset",
    constraint: Constraint = "both",
    increasing: bool = False,
    transform: Transform = "identity",
    time: str | None = None,
    group: str | None = None,
    kind: str | None = None,
    approximation: Approximation | None = None,
    n_basis: int | None = None,
    combine: Combine | None = None,
    inference: Method | Inference | None = None,
    draws: int | None = None,
    seed: int | Default = DEFAULT,
    key: PRNGKeyArray | None = None,
    columns: Columns | None = None,
    form: Form | None = None,
    positive=None,
    missing: Sequence[Any] = (),
    header: bool = True,
    repeats: Repeats = "count",
    start: ContextualResult | None = None,
    previous: ContextualResult | str | os.PathLike | None = None,
    devices: int | None = None,
    progress: drive.Progress | None = None,
) -> ContextualResult | categories.CategoricalResult:
    """Fit prevalence, sensitivity and specificity as functions of a score to a table of labels (contextual model).

    Args:
        table: labels, as in :func:`crowdjax.fit`. With more than two classes, the class shares are functions of the
            score (``contextual.categories``) and the result is a ``CategoricalResult``; time, group, kind, previous,
            start, increasing, devices, approximation, combine, inference ``svi`` and labelers ``function`` are for two
            classes only.
        scores: a table with a row for every instance of the labels: instance, and score or another numeric column. With
            several scores, named by ``columns``, curves are drawn along the first with the others at their medians.
        weights: a table with columns instance and weight: how many instances of the population each one represents.
            Weights enter the prevalence, not the fit.
        population: a table of the population's scores, with the columns of ``scores`` and, optionally, weight or count.
            The prevalence is then averaged over this table; weights, if also given, are used for the other estimates.
        gold: a table with the known truth of some instances: instance, label and, optionally, chance: the probability
            that the instance was drawn for gold, given that it has labels. Default: equal for all, and for all of a
            period, group or kind.
        prevalence, accuracy: family of the functions: ``gp``, ``linear`` or ``constant``.
        labelers: ``global`` (all labelers are equal), ``offset`` (each shifts the curves; the default) or ``function``
            (each has curves of its own shape).
        constraint: ``both`` (sensitivity and specificity above ½ each), ``ordered`` (their sum above 1) or ``free``.
            With ``both``, a second fit under ``ordered`` shows whether the prevalence depends on the constraint.
        increasing: whether the prevalence may only rise with the score; for one score.
        time, group: columns of the scores' table with the period of every instance (numbers, dates or text, in
            ascending order) and its group; a population's table needs them too. The prevalence then varies by period
            and group, with partial pooling between neighbours, and labelers may drift over the periods (tables
            ``cells``, ``changes``, ``labelers_by_period``).
        kind: a column of the scores' table, and of a population's, that says what each row is judged for, where
            instances are judged for several things. Each kind has functions of its own; labelers are shared. Not with
            time, group, previous, several scores, inducing inputs or labelers ``function``.
        transform: transformation of the scores before scaling: ``identity``, ``logit`` (for probabilities) or ``rank``.
        approximation: representation of the Gaussian processes: ``hsgp`` (eigenfunctions of the Laplacian, the
            default), ``inducing`` (inducing inputs, the default of ``tensor``) or ``exact`` (up to 1000 distinct
            scores).
        n_basis: number of eigenfunctions or inducing inputs of each process; default 32.
        combine: how several scores enter a function: ``additive`` (a sum of one process per score, the default) or
            ``tensor`` (one process of all scores, up to three).
        inference: ``laplace``, ``nuts``, ``svi``, or an ``Inference`` object. Default: Laplace; where its Pareto k-hat
            exceeds .7, NUTS for up to 3000 instances and 20000 labels. Above that size NUTS and Laplace are compared on
            a stratified sub-sample (``contextual.subsample``); where they differ, the interval is reported as
            unchecked.
        draws: number of posterior draws, per chain; default 500.
        seed, key: give one of them; default seed 0.
        columns, form, positive, missing, header: how to read the tables, as in :func:`crowdjax.fit`. Where the scores'
            table has several numeric columns, ``{"scores.score": ["a", "b"]}`` names the scores.
        repeats: treatment of repeated labels of one labeler on one instance, as in :func:`crowdjax.fit`.
        start: an earlier result of the same labels, scores and model to continue from: NUTS adds draws to its chains
            without warm-up; SVI and Laplace begin where it ended.
        previous: an earlier result of other instances, or its folder: its posterior of the functions and of the
            labelers is the prior of this fit. The settings of the functions are taken from it.
        devices: number of devices that share the labels; default: as many as speed the fit up. Labels of one block (up
            to 32768) stay on one device.
        progress: callback (``crowdjax.drive.Progress``). Return True to stop: NUTS keeps the draws that it has, SVI the
            steps that it has done; before these, and with Laplace, the fit is interrupted.

    Raises:
        InputError: a table or a setting is invalid; a one-line message says which value, where, and what is allowed.
        FitError: the fit has no usable result.

    Example:
        >>> import crowdjax
        >>> rng = np.random.default_rng(0)
        >>> score, who = rng.random(60), np.tile(["ann", "bob", "cat"], 60)
        >>> answers = np.where(rng.random(180) < 0.9, 1, 0) == np.repeat(rng.random(60) < score, 3)
        >>> labels = {"labeler": who, "instance": np.repeat(np.arange(60), 3), "label": answers}
        >>> scores = {"instance": np.arange(60), "score": score}
        >>> simple = dict(prevalence="linear", accuracy="constant", labelers="global", inference="laplace")
        >>> result = crowdjax.context(labels, scores, **simple)
        >>> bool(result.prevalence["lower"] < 0.5 < result.prevalence["upper"]), len(result.calibration["score"])
        (True, 60)
    """
    started = perf_counter()
    for name, word, allowed in (
        ("prevalence", prevalence, Family), ("accuracy", accuracy, Family), ("labelers", labelers, Level),
        ("constraint", constraint, Constraint), ("transform", transform, Transform),
    ):  # fmt: skip
        one_of(name, word, get_args(allowed))
    if flag("increasing", increasing) and prevalence == "constant":
        raise InputError("increasing: given with prevalence 'constant'; allowed with: linear, gp")
    for name, word, allowed in (
        ("approximation", approximation, get_args(Approximation)),
        ("combine", combine, inputs.COMBINE),
    ):
        if word is not None:
            one_of(name, word, allowed)
    callback(progress)
    of_seed, key = randomness(seed, key)
    draws = None if draws is None else whole("draws", draws)
    if not (inference is None or isinstance(inference, Inference)):
        one_of("inference", inference, get_args(Method))
    config = ContextualConfig(prevalence, accuracy, labelers, constraint, bool(increasing))
    said, given = io.open_tables(columns, scores=scores, population=population, weights=weights, gold=gold)
    triples = io.read_triples(table, columns=said, form=form, positive=positive, missing=missing, header=header)
    if len(triples.index.values or triples.index.classes) > 2:
        categories.refuse(
            triples.index.classes,
            time=time, group=group, kind=kind, previous=previous, start=start, increasing=increasing, devices=devices,
            approximation=approximation, combine=combine,
            **{"labelers function": labelers == "function", "constraint free": constraint == "free",
               "inference svi": inference == "svi", "inference settings": isinstance(inference, Inference)},
        )  # fmt: skip
        given_to = _read(triples, given, gold, repeats, transform, labelers)
        scale = Scale.learn(given_to.scores, transform=transform)
        families = dict(prevalence=prevalence, accuracy=accuracy, labelers=labelers, constraint=constraint)
        bias = "constant" if accuracy == "constant" else "linear"
        basis = GP(n_basis=24 if n_basis is None else whole("n_basis", n_basis, 2, MOST_BASIS_OF_CLASSES))
        return categories.fitted(
            given_to,
            families | {"bias": bias, "gp": basis},
            scale=scale,
            method=inference,
            n_draws=draws or 500,
            key=key,
            kind=kind_of(table, triples.roles),
            record={"columns": io.mapping(triples, given), "seed": of_seed, "repeats": repeats},
            remarks=inputs.about_numbers(given_to.names, given_to.scores, given_to.population, scale),
            about=triples,
            progress=progress,
            started=started,
        )
    two_of(Classes(triples.index.classes, triples.index.values), triples.place)
    inputs.refuse_counts(triples, labelers)
    index, instances = triples.index, io.ids(triples.index, "instance")
    truth = io.truth_of(triples, given["gold"])
    chances = None if gold is None else io.read_chances(given["gold"], instances)
    labels = triples.labels(repeats=repeats, gold=truth)
    names, values = io.read_values(given["scores"], "instance", instances, kind="scores")
    if increasing and len(names) > 1:
        raise InputError(f"increasing: given with {len(names)} scores ({', '.join(names)}); allowed: with one")
    people = None if population is None else io.read_population(given["population"], names)
    inputs.check_scores(names, values, transform, lambda row: f"instance {index.instances[row]!s}")
    if people is not None:
        inputs.check_scores(names, people[0], transform, lambda row: f"population, row {row + 1}", vary=False)
    several = dict(time=time, group=group, previous=previous, increasing=increasing, combine=combine,
                   approximation=approximation)  # fmt: skip
    several |= {"scores": names[1:], "labelers function": labelers == "function"}
    of_kind = kinds.read(given["scores"], instances, kind, **several)
    sampling = None if weights is None else io.read_weights(given["weights"], instances)
    config = dataclasses.replace(config, gp=inputs.processes(config, names, values, approximation, n_basis, combine))
    inputs.check_size(config, labels, len(names))
    if of_kind is not None:
        values, people = outputs.separate(of_kind, kind, values, people, given["population"])
        config = dataclasses.replace(config, gp=dataclasses.replace(config.gp, columns="separate"))
    stands_for = importance_of(values, sampling, people)
    config = scaled(config, labels, stands_for)
    identity, earlier = inputs.digest(labels, values, None), None
    before = _before(previous, start=start, time=time, group=group, approximation=approximation, n_basis=n_basis,
                     combine=combine)  # fmt: skip
    if before is not None:
        earlier = going_on.of(before, config, transform, names, index, identity)
        config = earlier.fit.config
    named = periods.read(given["scores"], instances, time, group)
    if named is not None:
        identity = inputs.digest(labels, values, named)
        drift = labelers == "offset" and named.cells.n_periods > 1
        drift = drift and 2 * labels.n_labelers * named.cells.n_periods <= periods.MOST_DRIFTS
        config = dataclasses.replace(config, cells=named.cells, drift=drift)
    cell, people_cell = None if named is None else named.cell, None
    if named is not None and people is not None:
        people_cell = periods.of_population(given["population"], named, time, group)
    method, reason = inputs.inference(inference, draws)
    key, other = jax.random.split(key)
    scale = Scale.learn(values, transform=transform) if earlier is None else earlier.scale
    begin = None
    if start is not None:
        begin, scale = _continued(start, index, identity, config, transform)
    remarks = inputs.about_numbers(names, values, people, scale)
    if earlier is not None:
        remarks += going_on.warnings(before, earlier, index)
    prior = None if earlier is None else earlier.prior(earlier.fit)
    mapping = io.mapping(triples, given)
    mesh = inputs.mesh(int((labels.counts > 0).sum()), devices)

    given_to = dict(scale=scale, importance=stands_for, cell=cell, mesh=mesh, progress=progress)
    fit = contextual.fit(labels, values, config, key, method, start=begin, prior=prior, **given_to)
    if inference is None and fit.diagnostics["khat"] > inputs.GOOD and inputs.small(labels):
        reason += f"; laplace had a Pareto k-hat of {fit.diagnostics['khat']:.2f}, above {inputs.GOOD}, so nuts"
        method = Inference("nuts") if draws is None else Inference("nuts", n_draws=draws)
        fit = contextual.fit(labels, values, config, key, method, prior=prior, **given_to)
    compared_with = None
    if inference is None and method.method == "laplace" and fit.diagnostics["khat"] > inputs.GOOD:  # too large for NUTS
        compared_with = subsample.compare(labels, values, config, jax.random.fold_in(other, 2), method, prior=prior,
                                          scale=scale, importance=stands_for, cell=cell, progress=progress)  # fmt: skip
        reason += inputs.about_subsample(fit.diagnostics["khat"], compared_with)
    if not np.isfinite(fit.unconstrained).all():
        raise FitError(f"the fit failed: {method.method} ended at numbers that are not finite")
    probability = np.asarray(contextual.item_posteriors(fit, labels, values, cell=cell, mesh=mesh), np.float64)
    weaker = None
    if config.constraint == "both":
        weak = dataclasses.replace(config, constraint="ordered", bias_mean=(config.bias_mean[0], WIDE))
        prior = None if earlier is None or earlier.weaker is None else earlier.prior(earlier.weaker)
        weaker = contextual.fit(labels, values, weak, key, BESIDE, judged=False, prior=prior, **given_to)
    first = outputs.first_score(values)[:, 0]
    strata = ("periods or groups", cell) if of_kind is None else ("kinds", of_kind.cell)
    strata = None if strata[1] is None else strata
    assisting = by_gold.read(fit, labels, values, first, strata, sampling, people, chances, cell, people_cell, mesh)
    found, said_of_it = of_prevalence(
        fit, weaker, labels, values, sampling, people, assisting, cell, people_cell, other, mesh, compared_with
    )
    remarks += said_of_it
    by_cell: dict[str, pa.Table] = {}
    if named is not None:
        over = None if people is None else (people[0], people_cell, people[1])
        again = jax.random.fold_in(other, 1)
        by_cell, said_of_cells = periods.tables(fit, named, index, values, sampling, over, assisting, again)
        remarks += said_of_cells
    remarks += outliers.about_weights("weights", sampling)
    alike = config.labelers == "global"
    compared = () if alike else agreement(fit, labels, values, cell=cell)
    remarks += pairs.about(compared, index.labelers, found["method"] == ASSISTED)
    remarks += [] if triples.anonymous else pairs.about_cuts(labels, outputs.first_score(values), names, index.labelers)
    uncounted = labels.n_instances - len(np.unique(labels.instance[labels.counts > 0]))
    if uncounted:
        remarks.append(
            f"{uncounted} of {labels.n_instances} instances have no label that counts (weights of 0): only their score "
            "says what they are, and the vote share leaves them out."
        )
    if of_kind is not None:
        again = jax.random.fold_in(other, 1)
        found_by_kind, said_of_kinds = kinds.prevalence(fit, of_kind.groups, values, sampling, people, assisting, again)
        remarks += said_of_kinds
        by_cell = {"prevalence": found_by_kind}
    remarks += about_several(names, values)
    if alike:
        remarks.append("Labelers are assumed to be alike: their table repeats the crowd's sensitivity and specificity.")
    record = {
        "model": "contextual",
        "result": outputs.said_of(fit),
        "inference": method.method,
        "inference_reason": reason,
        "diagnostics": fit.diagnostics,
        "subsample": None if compared_with is None else {**compared_with._asdict(), "agrees": compared_with.agrees},
        "stopped": "stopped" in fit.diagnostics,
        "n_labels": int((labels.counts > 0).sum()),
        "n_labelers": labels.n_labelers,
        "n_instances": labels.n_instances,
        "n_gold": 0 if truth is None else int(np.isfinite(truth).sum()),
        "n_population": None if people is None else len(people[1]),
        "columns": mapping,
        "scores": names,
        "transform": transform,
        "time": time,
        "group": group,
        "kind": kind,
        "kinds": None if of_kind is None else of_kind.groups,
        "previous": None if earlier is None else earlier.about(before),
        "weights": sampling is not None,
        "level": LEVEL,
        "seconds": 0.0,
        "seed": of_seed,
        "classes": list(index.classes),
        "repeats": repeats,
        "agreement": pairs.record(compared, index.labelers),
        "labels_sha256": identity,
        "config": dataclasses.asdict(config),
        "settings": dataclasses.asdict(method),
        "versions": {"jax": jax.__version__, "numpyro": version("numpyro"), "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        "warnings": [
            *about_labels(labels, triples, repeats),
            *inputs.about_check(fit.warnings, compared_with),
            *about_gold(truth, index.classes),
            *about_contradiction(truth, labels, index.classes),
            *about_chance(labels, truth, values, triples.anonymous),
            *remarks,
        ],
    }
    result = ContextualResult(
        tables={
            "instances": class_table(
                instances, probability, index.classes, **outputs.score_columns(names, values, record["kinds"])
            ),
            "curves": outputs.curves(fit, values, people, record["kinds"]),
            "labelers": outputs.of_labelers(fit, labels, index),
            "calibration": outputs.calibration(fit, names, values, people, record["kinds"]),
            **by_cell,
        },
        record=record,
        kind=kind_of(table, triples.roles),
        prevalence=found,
        fit=fit,
        index=index,
        scaling={},
        scores=values,
        population=people,
        gold=truth,
        tally=tally(labels, probability),
        labels=kept(labels),
        weights=sampling,
        cell=cell,
        people_cell=people_cell,
        weaker=weaker,
    )
    record["seconds"] = perf_counter() - started
    return result


MOST_BASIS_OF_CLASSES = 64  # each class has a process of its own


def _read(triples: io.Triples, given, gold, repeats: Repeats, transform: Transform, labelers: Level):
    """Return the tables of a fit of more than two classes."""
    inputs.refuse_counts(triples, labelers)
    index, instances = triples.index, io.ids(triples.index, "instance")
    truth = io.truth_of(triples, given["gold"])
    chances = None if gold is None else io.read_chances(given["gold"], instances)
    names, values = io.read_values(given["scores"], "instance", instances, kind="scores")
    inputs.check_scores(names, values, transform, lambda row: f"instance {index.instances[row]!s}")
    people = None if given["population"] is None else io.read_population(given["population"], names)
    if people is not None:
        inputs.check_scores(names, people[0], transform, lambda row: f"population, row {row + 1}", vary=False)
    sampling = None if given["weights"] is None else io.read_weights(given["weights"], instances)
    labels = triples.labels(repeats=repeats, gold=truth)
    stands_for = importance_of(values, sampling, people)
    return categories.Given(labels, index, names, values, people, sampling, truth, chances, stands_for)


def _continued(start, index: LabelIndex, identity: str, config: ContextualConfig, transform: Transform):
    """Return (the fit to go on from, its scale)."""
    if not isinstance(start, ContextualResult):
        raise InputError(f"start: got {type(start).__name__}; allowed: an earlier result of crowdjax.context")
    same = all(np.array_equal(getattr(start.index, side), getattr(index, side)) for side in ("labelers", "instances"))
    if not same or start.record.get("labels_sha256") != identity:
        raise InputError(
            "start: a fit of other labels, gold, scores, periods or groups; allowed: a result of the same inputs"
        )
    if (start.fit.config, start.fit.scale.transform) != (config, transform):
        raise InputError("start: a fit with other settings of the functions or another transform; allowed: the same")
    if start.fit.prior is not None:
        raise InputError("start: a fit that continued from an earlier result; allowed: a fit without previous=")
    return start.fit, start.fit.scale


def _before(previous, **others) -> ContextualResult | None:
    """Return the earlier result, read where a folder is given; reject settings that do not apply beside it."""
    if previous is None:
        return None
    for name, value in others.items():
        if value is not None:
            raise InputError(f"{name}: given with previous, which has its own; allowed: one of them")
    if isinstance(previous, ContextualResult):
        return previous
    folder = Path(path_of("previous", previous, "a folder of a result of crowdjax context"))
    record = saving.read_result(folder)
    if record.get("model") != "contextual":
        raise InputError(f"previous: {folder} holds a result of {record.get('model')!r}; allowed: of crowdjax context")
    return load(folder, record)
