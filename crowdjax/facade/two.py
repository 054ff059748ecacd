"""Fits of two classes on the host, without JAX, from labels that were read to the result of ``facade.presets``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from crowdjax import io
from crowdjax.cautions import support
from crowdjax.facade.aggregation import Aggregation, about
from crowdjax.facade.copies import heard
from crowdjax.facade.fitted import refuse_counts
from crowdjax.facade.outcome import record_of, refuse_failed, tables_of, warnings_of
from crowdjax.fits import Linear
from crowdjax.host import two as host
from crowdjax.labelers import is_rare
from crowdjax.labels import Labels, Repeats
from crowdjax.priors import LEARNED, PRESETS, SPLIT, Copies, FactorConfig
from crowdjax.result import by_class, gold_record, kept, tally, unsure_of
from crowdjax.roles import Opened
from crowdjax.stopping import FactorSolver
from crowdjax.tables import Kind, as_arrow

if TYPE_CHECKING:
    from crowdjax.factor import FactorModel


def config_of(model, class_prior) -> FactorConfig | None:
    """Choose the configuration of a model that is fitted on the host; None where these settings need JAX.

    Example:
        >>> config_of("one-coin", None).class_prior, config_of("majority", "learn"), config_of("glad", None)
        ('learn', None, None)
    """
    if not (isinstance(model, str) and model in host.MODELS):
        return None
    if class_prior is None:
        return dataclasses.replace(PRESETS[model], class_prior="learn" if model in LEARNED else 0.5)
    if isinstance(class_prior, str):
        learned = class_prior == "learn" and model in LEARNED
        return dataclasses.replace(PRESETS[model], class_prior="learn") if learned else None
    real = isinstance(class_prior, Real) and not isinstance(class_prior, bool)
    return dataclasses.replace(PRESETS[model], class_prior=float(class_prior)) if real else None


def fit(
    triples: io.Triples,
    name: str,
    config: FactorConfig,
    given: Mapping[str, Opened | None],
    *,
    repeats: Repeats = "count",
    copies: Copies = "warn",
    kind: Kind = as_arrow,
) -> Aggregation:
    """Fit a model of two classes on the host; arguments are those of ``facade.presets.fit``."""
    started = time.perf_counter()
    refuse_counts(triples, name, repeats)
    index, solver = triples.index, FactorSolver()
    truth = io.truth_of(triples, given["gold"])
    labels, record_of_copies, of_copies = heard(triples.labels(repeats=repeats, gold=truth), triples, copies)
    mapping = io.mapping(triples, given)
    found = host.fit(labels, config, solver)
    refuse_failed(found.fit)
    if name == "dawid-skene" and config.class_prior == "learn" and is_rare(labels):
        found = _not_split(found, labels, config, solver)
    ended = found.fit
    posterior, counts = by_class(ended.posterior), tally(labels, ended.posterior)
    said = [*of_copies, *about(ended)]
    supported = support(counts.votes, posterior, truth)
    warnings = warnings_of(triples, labels, posterior, supported, truth, config.class_prior, repeats, said)
    n_labels = found.counts.sum(1)
    n_labels = n_labels if labels.weight is not None else np.rint(n_labels).astype(np.int64)
    about_labelers = host.summary(found, config, counts.agreement, unsure_of(labels, ended.posterior))
    tables = tables_of(index, n_labels, posterior, about_labelers, gold_record(labels))
    record = record_of(
        name,
        ended,
        labels,
        index,
        n_factors=1,
        class_prior=config.class_prior,
        repeats=repeats,
        copies=record_of_copies,
        columns=mapping,
        seed=None,
        solver=dataclasses.asdict(solver),
        config=dataclasses.asdict(config),
        features={},
        warnings=warnings,
        started=started,
        device="cpu",
        devices="none of JAX: this model and size are faster without",
    )
    made = partial(_model, config, labels.n_labelers, labels.n_instances, truth)
    return Aggregation(
        tables, record, kind, ended, index, {}, made=made, features={}, tally=counts, labels=kept(labels)
    )


def _not_split(found: host.Found, labels: Labels, config: FactorConfig, solver: FactorSolver) -> host.Found:
    """As ``presets._not_split``: the fit, or one that starts without biases, unless the first is better."""
    even = host.fit(labels, dataclasses.replace(PRESETS["one-coin"], class_prior="learn"), solver).fit.weights
    bias = Linear(None, np.zeros_like(found.fit.weights.bias.free))
    begin = found.fit.weights._replace(labeler=even.labeler, bias=bias, class_prior=even.class_prior)
    other = host.fit(labels, config, solver, begin)
    worse = not np.isfinite(other.fit.objective) or found.fit.objective > other.fit.objective + SPLIT
    if worse:
        return found
    return other._replace(fit=dataclasses.replace(other.fit, n_steps=other.fit.n_steps + found.fit.n_steps))


def _model(config: FactorConfig, n_labelers: int, n_instances: int, gold) -> FactorModel:
    """Return the factor model of these settings."""
    from crowdjax.factor import build

    sizes = dict(n_labelers=n_labelers, n_instances=n_instances)
    return build(config, Labels.from_arrays([0], [0], [1], gold=gold, **sizes))
