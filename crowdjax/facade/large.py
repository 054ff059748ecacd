"""Fits of registered models to more labels than memory holds: parts on disk, rounds over them, results part by part."""

from __future__ import annotations

import functools
import operator
import shutil
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from crowdjax import drive, minibatch, saving
from crowdjax.cautions import (
    about_classes,
    about_comparison,
    about_comparisons,
    about_known,
    about_prior,
    about_support,
    support,
)
from crowdjax.chance import Comparison, compare
from crowdjax.facade.fit import class_prior_of, config_of, doubt_of, refuse, refuse_large
from crowdjax.facade.models import MODELS, Numbers
from crowdjax.facade.outcome import about_end, outcome_of, refuse_failed
from crowdjax.facade.registry import Kind
from crowdjax.labelers import LEVEL
from crowdjax.labels import InputError, Labels, Repeats
from crowdjax.observation import Fit, Observation
from crowdjax.observation.contract import answers, leading
from crowdjax.observation.rounds import run
from crowdjax.observation.summaries import summary_of_counts
from crowdjax.result import class_table, confusion_table, labeler_table, votes_of
from crowdjax.roles import as_record
from crowdjax.scan import Scan

TWO_CLASSES = (
    "In parts, two classes are fitted as any number of them is; crowdjax.fit, with all labels in memory, averages more "
    "models where labelers are few."
)


def made(name: str, scan: Scan, classes: Kind, settings: dict[str, Any]) -> Observation | None:
    """Build the named model for a table that is read in pieces; None where the model depends on the labels' numbers.

    Raises:
        InputError: it is not for these classes, or has numbers of each instance, which parts cannot share.
    """
    said, found = scan.classes.said, scan.classes.classes
    anyone = Labels.from_arrays([0], [0], [0], n_values=len(said), n_classes=len(found), places=scan.classes.places)
    refuse(name, anyone, classes, settings)
    chosen = {key: value for key, value in settings.items() if value is not None}
    entry = MODELS[name]
    model = entry.make(labels=anyone, classes=classes, features={}, **chosen) if entry.plan is None else None
    if hasattr(model, "factors"):
        able = ", ".join(MODELS)
        raise InputError(f"model: got {name} and instances at their mode with minibatches and these classes; allowed: "
                         f"{able}")  # fmt: skip
    return model


def planned(name: str, parts: minibatch.Parts, classes: Kind) -> tuple[Observation, dict[str, Any], tuple[str, ...]]:
    """Choose the model from the numbers of all labels; return (model, its plan, the reason where it is not the usual
    one).
    """
    n_labels, seen, votes = 0, set(), 0
    for k in range(len(parts)):
        labels = parts.labels(k)
        counted = np.asarray(labels.counts) > 0
        n_labels += int(counted.sum())
        seen |= set(np.unique(np.asarray(labels.labeler)[counted]).tolist())
        label, counts = np.asarray(labels.label)[counted], np.asarray(labels.counts, np.float64)[counted]
        votes = votes + np.bincount(label, counts, labels.n_values)
    sizes, n_instances = (labels.n_values, labels.n_classes), max(sum(parts.n_instances), 1)
    square = labels.n_values == labels.n_classes
    order = lambda: np.argsort(-votes, kind="stable") if square else np.arange(labels.n_classes)  # noqa: E731
    plan, reasons = MODELS[name].plan(Numbers(len(seen), n_labels / n_instances, *sizes, order), classes)  # pyright: ignore[reportOptionalCall]
    anyone = Labels.from_arrays([0], [0], [0], n_values=sizes[0], n_classes=sizes[1], places=labels.places)
    return MODELS[name].make(labels=anyone, classes=classes, features={}, plan=plan), {"plan": plan}, reasons


def fit_parts(
    scan: Scan, out: Path, state: Path, name: str, model: Observation | None, *, classes: Kind,
    settings: dict[str, Any], batch: int, repeats: Repeats, max_rounds: int, rtol: float,
    progress: drive.Progress | None,
) -> dict[str, Any]:  # fmt: skip
    """Fit labels part by part and write the files of ``Result.save``; the caller has claimed its state. Return the
    record.
    """
    started = time.perf_counter()
    report = drive.or_interrupt(progress, "stopped; the same call goes on from there")
    try:
        parts = minibatch.deal(scan, state / "parts", batch, repeats, report)
    except InputError:
        shutil.rmtree(state)
        raise
    reasons: tuple[str, ...] = ()
    if model is None:
        model, plan, reasons = planned(name, parts, classes)
        settings = settings | plan
        if len(scan.classes.classes) == 2 and classes == "nominal":
            reasons = (*reasons, TWO_CLASSES)
    refuse_large(parts.labels(0), model, name)
    found_classes = scan.classes.classes
    total, ends = sum(parts.n_instances), np.cumsum(parts.n_instances)
    posterior = np.zeros((total, len(found_classes)), np.float32)
    supported, compared = [], []
    with Writer(state / "instances.parquet") as writer:

        def hand_out(k: int, found) -> None:
            rows = slice(ends[k] - parts.n_instances[k], ends[k])
            labels = parts.labels(k)
            posterior[rows] = answers(model, labels, found)
            supported.append(support(votes_of(labels), posterior[rows]))
            compared.append(compare(labels))
            writer.write(class_table(parts.instances(k), posterior[rows], found_classes))

        answer = run(
            parts.labels, len(parts), model, state / "rounds", max_rounds=max_rounds, rtol=rtol, hand_out=hand_out,
            progress=report,
        )  # fmt: skip
    history = np.full(max_rounds, np.nan)
    history[: len(answer.history)] = answer.history
    found = Fit(
        answer.params, posterior, np.array(answer.objective), np.array(answer.log_likelihood), np.array(answer.code),
        np.array(len(answer.history)), history,
    )  # fmt: skip
    refuse_failed(found)
    first, own = leading(model, found)
    n_points = first.class_of_point(own.params).shape[0]  # of several models in one, those of the first come first
    about = summary_of_counts(first, own.params, answer.counts[..., :n_points], answer.points[:n_points], LEVEL)
    labelers, n_labels = pa.array(parts.labelers), np.rint(answer.counts.sum((1, 2))).astype(np.int64)
    record = {
        "model": name,
        **outcome_of(found),
        "n_labels": parts.n_labels,
        "n_labelers": len(parts.labelers),
        "n_instances": total,
        "seconds": time.perf_counter() - started,
        "classes": list(found_classes),
        "values": None if scan.classes.values is None else list(scan.classes.values),
        "kind": classes,
        "class_shares": posterior.mean(0, dtype=np.float64).tolist(),
        "settings": settings,
        "repeats": repeats,
        "columns": {"labels": as_record(scan.roles)},
        "level": LEVEL,
        "solver": {"method": "em", "max_steps": max_rounds, "rtol": rtol},
        "config": config_of(model),
        "features": {},
        "minibatch": batch,
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        **doubt_of(first),
        "warnings": [
            *scan.classes.notes,
            *reasons,
            *about_end(found),
            *of_comparisons(parts, compared),
            *(() if doubt_of(first) else about_known(posterior)),
            *about_classes(posterior, n_labels, found_classes),
            *about_support(
                functools.reduce(operator.add, supported), found_classes, about_prior(class_prior_of(model))
            ),
        ],
    }
    tables = {
        "labelers": labeler_table(labelers, n_labels, about),
        "confusion": confusion_table(labelers, found_classes, scan.classes.values, about.confusion),
    }
    write_parts(out, state, record, tables, (found, eqx.filter(model, eqx.is_array)))
    return record


def of_comparisons(parts: minibatch.Parts, compared: list[Comparison]) -> list[str]:
    """Return the warnings about how labels compare labelers; instances are dealt to parts at random."""
    return [*about_comparisons(parts.labels(0)), *about_comparison(functools.reduce(operator.add, compared))]


def write_parts(out: Path, state: Path, record: dict[str, Any], tables: dict[str, pa.Table], arrays) -> None:
    """Write a result whose instances are already in the folder of its state, and remove that folder."""
    with saving.new_result(out, record) as folder:
        shutil.copy(state / "instances.parquet", folder / "instances.parquet")
        for title, table in tables.items():
            pa.parquet.write_table(table, folder / f"{title}.parquet")
        saving.save_arrays(folder / "fit.npz", arrays)
    shutil.rmtree(state)


class Writer:
    """A Parquet writer whose schema is that of the first table written."""

    def __init__(self, path: Path):
        self.path, self.file = path, None

    def __enter__(self):
        return self

    def write(self, table: pa.Table) -> None:
        """Append a table, cast to the schema of the first."""
        if self.file is None:
            self.file = pa.parquet.ParquetWriter(self.path, table.schema)
        self.file.write_table(table.cast(self.file.schema))

    def __exit__(self, *_) -> None:
        if self.file is not None:
            self.file.close()
