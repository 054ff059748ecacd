"""Fits of K classes on the host, without JAX, from labels that were read to the result of ``facade.fit``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from crowdjax import io
from crowdjax.cautions import about_known, support
from crowdjax.facade.copies import heard
from crowdjax.facade.fitted import refuse_counts
from crowdjax.facade.outcome import about_end, record_of, refuse_failed, tables_of, warnings_of
from crowdjax.facade.result import Result
from crowdjax.host import classes as host
from crowdjax.labels import Labels, Repeats
from crowdjax.priors import Copies
from crowdjax.result import gold_record, kept, labels_of_labelers, tally
from crowdjax.roles import Opened
from crowdjax.settings import prior_of
from crowdjax.stopping import Solver
from crowdjax.tables import Kind, as_arrow

if TYPE_CHECKING:
    from crowdjax.observation import Observation


def fit(
    triples: io.Triples,
    name: str,
    class_prior,
    given: Mapping[str, Opened | None],
    *,
    repeats: Repeats = "count",
    copies: Copies = "warn",
    kind: Kind = as_arrow,
) -> Result:
    """Fit a model of K classes on the host; arguments are those of ``facade.fit``."""
    started = time.perf_counter()
    refuse_counts(triples, name, repeats)
    index, solver = triples.index, Solver()
    settings: dict[str, Any] = {} if class_prior is None else {"class_prior": _said(class_prior)}
    model = host.MODELS[name](**prior_of(class_prior, len(index.classes)))
    truth = io.truth_of(triples, given["gold"])
    labels, record_of_copies, of_copies = heard(triples.labels(repeats=repeats, gold=truth), triples, copies)
    mapping = io.mapping(triples, given)
    found = host.fit(labels, model, solver)
    refuse_failed(found.fit)
    posterior, agreement = found.fit.posterior, None if name == "glad" else found.counts.swapaxes(1, 2)
    counts = tally(labels, posterior, agreement)
    supported = support(counts.votes, posterior, truth)
    said = [*of_copies, *about_end(found.fit), *about_known(posterior)]
    warnings = warnings_of(triples, labels, posterior, supported, truth, model.class_prior, repeats, said)
    tables = tables_of(index, labels_of_labelers(labels), posterior, host.summary(found, model), gold_record(labels))
    record = record_of(
        name,
        found.fit,
        labels,
        index,
        kind="nominal",
        class_shares=posterior.mean(0).tolist(),
        settings=settings,
        repeats=repeats,
        copies=record_of_copies,
        columns=mapping,
        seed=None,
        solver=dataclasses.asdict(solver),
        config={field.name: getattr(model, field.name) for field in dataclasses.fields(model)},
        features={},
        warnings=warnings,
        started=started,
        device="cpu",
        devices="none of JAX: this model and size are faster without",
    )
    made = partial(_model, name, len(index.classes), settings)
    held = {"seed": np.uint32(0)} if name == "glad" else None  # what the model of JAX has: its start draws nothing
    return Result(tables, record, kind, found.fit, index, {}, made=made, held=held, tally=counts, labels=kept(labels))


def _model(name: str, n_classes: int, settings: dict[str, Any]) -> Observation:
    """Return the observation model of these settings."""
    from crowdjax.facade.models import MODELS

    labels = Labels.from_arrays([0], [0], [0], n_values=n_classes)
    return MODELS[name].make(labels=labels, classes="nominal", features={}, **settings)


def _said(value: Any) -> Any:
    """Return a setting as a record keeps it."""
    return np.asarray(value).tolist() if isinstance(value, np.ndarray | np.generic) else value
