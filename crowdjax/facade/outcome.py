"""The outcome of a fit as a record and tables, whatever the model; without JAX."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from crowdjax import io, stopping
from crowdjax.cautions import (
    Support,
    about_chance,
    about_classes,
    about_comparisons,
    about_contradiction,
    about_gold,
    about_labels,
    about_prior,
    about_support,
)
from crowdjax.labelers import LEVEL, Summary
from crowdjax.labels import LabelIndex, Labels, Repeats
from crowdjax.result import FitError, GoldRecord, class_table, confusion_table, labeler_table, labels_of_labelers

if TYPE_CHECKING:
    from jaxtyping import Float


def tables_of(index: LabelIndex, n_labels, posterior, about: Summary, gold: GoldRecord | None = None) -> dict[str, Any]:
    """Build the tables of a result, whatever the model: instances, labelers and their confusion."""
    ids = io.ids(index, "labeler")
    return {
        "instances": class_table(io.ids(index, "instance"), posterior, index.classes),
        "labelers": labeler_table(ids, n_labels, about, gold),
        "confusion": confusion_table(ids, index.classes, index.values, about.confusion),
    }


def record_of(
    name: str,
    found,
    labels: Labels,
    index: LabelIndex,
    *,
    features: Mapping[io.Key, io.Scaling],
    started: float,
    devices: str,
    device: str | None = None,
    **more,
) -> dict[str, Any]:
    """Build the record of a fit: the entries common to all models, and more.

    Args:
        devices: how many it was made on, and why.
        device: their kind; by default JAX's.
    """
    return {
        "model": name,
        **outcome(found, labels),
        "seconds": time.perf_counter() - started,
        "classes": list(index.classes),
        "values": None if index.values is None else list(index.values),
        "level": LEVEL,
        **more,
        "features": {side: dataclasses.asdict(s) for side, s in features.items()},
        "versions": {"jax": metadata.version("jax"), "numpy": np.__version__},
        "device": device or _device(),
        "devices": devices,
    }


def warnings_of(
    triples: io.Triples,
    labels: Labels,
    posterior,
    supported: Support,
    truth: Float[np.ndarray, " I"] | None,
    class_prior,
    repeats: Repeats,
    of_fit: Sequence[str],
) -> list[str]:
    """Collect the warnings about a fit, one sentence each.

    Args:
        posterior: of the classes of each instance, or the likeliest classes and their probabilities.
        supported: how the inferred classes agree with the labels.
        truth: known classes, NaN where unknown.
        of_fit: what the fit itself has to say.
    """
    classes = triples.index.classes
    compared = [] if any("labels per instance" in said for said in of_fit) else about_comparisons(labels, truth)
    return [
        *about_labels(labels, triples, repeats),
        *of_fit,
        *compared,
        *about_chance(labels, truth, anonymous=triples.anonymous),
        *about_classes(posterior, labels_of_labelers(labels), classes),
        *about_support(supported, classes, about_prior(class_prior)),
        *about_gold(truth, classes),
        *about_contradiction(truth, labels, classes),
    ]


def refuse_failed(found) -> None:
    """Raise ``FitError`` for a fit without a usable result."""
    code = int(found.code)
    if code > stopping.STOPPED or not np.isfinite(float(found.objective)):
        raise FitError(f"the fit failed: {stopping.MEANING[code]}")


def refuse_infinite(estimates: Sequence[Float[np.ndarray, "..."]]) -> None:
    """Raise ``FitError`` where estimates of labelers are not finite, as of labels that count too often for floats."""
    if not all(np.isfinite(v).all() for v in estimates):
        raise FitError("the fit failed: estimates of labelers are not finite; look for extreme features or weights")


def about_end(found) -> list[str]:
    """Warn of a fit that did not converge."""
    code = int(found.code)
    return [] if code == stopping.CONVERGED else [f"The fit did not converge: {stopping.MEANING[code]}."]


def outcome_of(found) -> dict[str, Any]:
    """Describe how a fit ended, for the record."""
    code = int(found.code)
    return {
        "objective": float(found.objective),
        "log_likelihood": float(found.log_likelihood),
        "converged": code == stopping.CONVERGED,
        "result": stopping.MEANING[code],
        "n_iterations": int(found.n_steps),
    }


def outcome(found, labels: Labels) -> dict[str, Any]:
    """Describe how a fit ended and how large its labels were, for the record."""
    return {
        **outcome_of(found),
        "n_labels": int((np.asarray(labels.counts) > 0).sum()),
        "n_labelers": labels.n_labelers,
        "n_instances": labels.n_instances,
    }


def _device() -> str:
    import jax

    return jax.devices()[0].device_kind
