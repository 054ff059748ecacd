"""The facade of the integrated model: ``crowdjax.fit(table, model="integrated")`` and ``model="auto"``.

It chooses (``integrated.plan``), fits, places the class boundary, and puts the answers, the labelers with their
intervals and the facts of the boundary into tables and a record.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from crowdjax import integrated, io, optimize, results
from crowdjax.answers import FitError, Prediction, about_answers, about_repeats, answer_table, labels_of_labelers
from crowdjax.integrated import Boundary, Choice, IntegratedConfig, IntegratedFit
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats

MODELS = ("integrated", "auto")
DEPENDENT = 0.05  # share of instances whose class depends on the boundary, from which it is worth a sentence


@dataclasses.dataclass(frozen=True)
class IntegratedAggregation(Prediction):
    """Answers of the integrated model about instances and labelers, and the fit behind them.

    Attributes:
        instances: instance, probability, label; ``depends``: whether the label would be another with the class boundary
            at 0, halfway between the clusters of instances.
        labelers: a pyarrow table: labeler, n_labels; sensitivity and specificity, each with NAME_lower and NAME_upper
            (90 %); accuracy.
        fit, config, boundary: of ``crowdjax.integrated``; rows are in the order of ``index``.
        index: the ids of labelers and instances.
    """

    labelers: pa.Table
    fit: IntegratedFit
    config: IntegratedConfig
    boundary: Boundary
    index: LabelIndex

    def save(self, out: str | os.PathLike) -> None:
        """Writes ``instances.parquet``, ``labelers.parquet``, ``fit.json`` and ``fit.npz``; ``load`` reads them."""
        with results.new_result(out, self.record) as folder:
            pa.parquet.write_table(self.instances, folder / "instances.parquet")
            pa.parquet.write_table(self.labelers, folder / "labelers.parquet")
            results.save_arrays(folder / "fit.npz", (self.fit, self.boundary))

    def predict(
        self, table, *, labeler_features=None, instance_features=None, columns: Mapping[str, str] | None = None
    ) -> Prediction:
        """The truth of new instances from their labels; labelers that the fit has not seen are taken to be average.

        Raises:
            InputError: as in ``crowdjax.fit``; features are given, of which the model makes no use.
        """
        started = time.perf_counter()
        for side, source in (("labeler", labeler_features), ("instance", instance_features)):
            if source is not None:
                raise InputError(f"{side} features: given, but the fit used none; leave them out")
        repeats = self.record["repeats"]
        triples = io.read_triples(table, columns=columns)
        labels = triples.labels(repeats=repeats)
        known = io.positions(triples.index.labelers, self.index.labelers)
        parameters = jax.tree.map(np.asarray, self.fit.parameters)
        labelers = np.where((known >= 0)[:, None], parameters.labelers[known], parameters.mean)
        found = integrated.of_instances(labels, parameters._replace(labelers=labelers), self.config, self.boundary)
        warnings = about_repeats(labels, triples, repeats) + about_answers(
            found.probability, labels_of_labelers(labels)
        )
        if (known < 0).any():
            warnings.append(
                f"{(known < 0).sum()} of {len(known)} labelers are not in the fit; they are taken to be average."
            )
        record = {
            "model": self.record["model"],
            **_sizes(labels),
            "seconds": time.perf_counter() - started,
            "n_unseen_labelers": int((known < 0).sum()),
            "repeats": repeats,
            "warnings": warnings,
        }
        return Prediction(_instances(triples.index, found), record)


def fit(
    triples: io.Triples,
    model: Literal["integrated", "auto"],
    *,
    gold=None,
    class_prior: float | Literal["learn"] = 0.5,
    boundary: Choice | None = None,
    repeats: Repeats = "count",
    remarks: list[str],
) -> IntegratedAggregation:
    """Fits; settings are those of ``crowdjax.fit``.

    Args:
        triples: the labels, as ``io.read_triples`` read them.
        remarks: sentences to go before the fit's own.
    """
    started = time.perf_counter()
    index = triples.index
    truth = None if gold is None else io.read_gold(gold, index.instances)
    labels = triples.labels(repeats=repeats, gold=truth)
    blind = dataclasses.replace(labels, gold=None)
    config, usual, reasons = integrated.plan(labels, class_prior)
    if model == "integrated":
        config, usual, reasons = IntegratedConfig(class_prior=class_prior), "able", ()
    choice = boundary or usual
    if choice == "gold" and labels.gold is None:
        raise InputError("boundary: got 'gold' without gold labels; allowed without: able, gap, unweighted")
    if boundary is None and labels.gold is not None and config.spread != 0:
        choice = "gold"
    # The labels place every x_j; gold places the boundary between them, and is not asked twice.
    found = jax.tree.map(np.asarray, integrated.fit_jit(blind, config))
    code = int(found.code)
    if code > optimize.STALLED or not np.isfinite(float(found.objective)):
        raise FitError(f"the fit failed: {optimize.MEANING[code]}")
    placed = _place(choice, usual, labels, found, config)
    answers = integrated.of_instances(labels, found.parameters, config, placed)
    share = integrated.share_of_positives(blind, found, config, placed)
    warnings = [*remarks, *reasons, *about_repeats(labels, triples, repeats)]
    if code != optimize.CONVERGED:
        warnings.append(f"The fit did not converge: {optimize.MEANING[code]}.")
    depends = float(np.asarray(answers.depends).mean())
    if depends >= DEPENDENT:
        warnings.append(
            f"The label of {depends:.0%} of the instances depends on where the classes are taken to meet (boundary: "
            f"{choice}), which labels alone do not say; gold labels would."
        )
    warnings += about_answers(answers.probability, labels_of_labelers(labels))
    parameters = found.parameters
    record = {
        "model": model,
        "objective": float(found.objective),
        "log_likelihood": float(found.log_likelihood),
        "converged": code == optimize.CONVERGED,
        "result": optimize.MEANING[code],
        "n_iterations": int(found.n_steps),
        **_sizes(labels),
        "seconds": 0.0,
        "n_factors": 1,
        "class_prior": class_prior,
        "repeats": repeats,
        "boundary": {
            "choice": choice,
            "center": float(placed.center),
            "sd": float(np.sqrt(placed.mass @ (placed.points - placed.center) ** 2)),
            "share_depending": depends,
        },
        "positives": {**dict(zip(("mean", "lower", "upper"), share, strict=True)), "level": integrated.LEVEL},
        "population": {
            "mean": parameters.mean.tolist(),
            "covariance": parameters.covariance.tolist(),
            "spread": float(parameters.spread),
        },
        "config": dataclasses.asdict(config),
        "features": {},
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        "warnings": warnings,
    }
    labelers = _labelers(index, labels, found, config, placed)
    instances = _instances(index, answers)
    record["seconds"] = time.perf_counter() - started
    return IntegratedAggregation(instances, record, labelers, found, config, placed, index)


def load(folder: Path, record: dict[str, Any]) -> IntegratedAggregation:
    """The result that ``IntegratedAggregation.save`` wrote, its record being read."""
    try:
        instances = pa.parquet.read_table(folder / "instances.parquet")
        labelers = pa.parquet.read_table(folder / "labelers.parquet")
        config = IntegratedConfig(**record["config"])
        choice = record["boundary"]["choice"]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{folder}: not a fit of crowdjax ({error!r:.100})") from None
    index = LabelIndex(*(t.column(0).to_numpy() for t in (labelers, instances)))
    anyone = Labels.from_arrays([0], [0], [1], n_labelers=len(index.labelers), n_instances=len(index.instances))

    def like(labels):
        found = integrated.fit(labels, config)
        return found, _place(choice, "able", dataclasses.replace(labels, gold=np.ones(1, np.int8)), found, config)

    found, boundary = results.load_arrays(folder / "fit.npz", jax.eval_shape(like, anyone))
    return IntegratedAggregation(instances, record, labelers, found, config, boundary, index)


def _place(choice: Choice, usual: Choice, labels: Labels, found: IntegratedFit, config: IntegratedConfig) -> Boundary:
    """The boundary; gold labels move the one that would be chosen without."""
    placed = integrated.place(usual if choice == "gold" else choice, found.parameters.labelers, found.counts)
    if choice == "gold":
        likelihood = lambda c: integrated.gold_log_likelihood(labels, found.parameters, config, c)  # noqa: E731
        placed = integrated.from_gold(placed, likelihood)
    return placed


def check(boundary, class_prior) -> None:
    """Refuses settings that the integrated model does not know."""
    if boundary is not None and boundary not in get_args(Choice):
        raise InputError(f"boundary: got {boundary!r}; allowed: {', '.join(get_args(Choice))}")
    if class_prior == "logistic":
        raise InputError("class_prior: got 'logistic' with the integrated model; allowed: a number, learn")


def _sizes(labels: Labels) -> dict[str, int]:
    n_labels = int((labels.counts > 0).sum())
    return {"n_labels": n_labels, "n_labelers": labels.n_labelers, "n_instances": labels.n_instances}


def _instances(index: LabelIndex, found: integrated.InstanceAnswers) -> pa.Table:
    table = answer_table(pa.array(index.instances), found.probability)
    return table.append_column("depends", pa.array(np.asarray(found.depends)))


def _labelers(index: LabelIndex, labels: Labels, found, config, boundary) -> pa.Table:
    """Labelers with intervals; accuracy weighs both chances by the share of positives."""
    answers = integrated.of_labelers(found, config, boundary)
    n_labels = found.counts if labels.weight is not None else np.rint(found.counts).astype(np.int64)
    columns: dict[str, Any] = {"n_labels": n_labels}
    for name, interval in answers._asdict().items():
        ends = dict(zip((name, f"{name}_lower", f"{name}_upper"), interval, strict=True))
        columns |= {k: np.asarray(v, np.float64) for k, v in ends.items()}
    positives = integrated.share_of_positives(labels, found, config, boundary).mean
    columns["accuracy"] = positives * columns["sensitivity"] + (1 - positives) * columns["specificity"]
    return pa.table({"labeler": pa.array(index.labelers), **columns})
