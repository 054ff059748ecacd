"""The result of a fit of any registered model: tables in the user's words, and what can be done with them further."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from crowdjax import io, results
from crowdjax import report as reports
from crowdjax.answers import (
    Prediction,
    Tally,
    about_answers,
    about_labels,
    answer_table,
    counted,
    labels_of_labelers,
    read_tables,
    shown,
)
from crowdjax.facade.checks import MOST_LABELS, LookResult, check
from crowdjax.facade.fitted import Fitted
from crowdjax.facade.models import MODELS
from crowdjax.formats import Form
from crowdjax.labels import InputError, LabelIndex, Labels
from crowdjax.observation import Fit, Observation
from crowdjax.observation.contract import Params, answers
from crowdjax.observation.factors import predict as predict_factors
from crowdjax.observation.unseen import predict_new, rows_of_labelers
from crowdjax.roles import Columns
from crowdjax.tables import as_arrow, kind_of


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Fitted):
    """Answers about instances, labelers and their confusions, and the fit behind them.

    Attributes:
        labelers: labeler, n_labels, accuracy with its interval.
        confusion: labeler, truth, label, probability with its interval.
        fit, model: of ``crowdjax.observation``; rows are in the order of ``index``.
        index: the ids of labelers and instances, the classes and the values of labels.
        scaling: how features were standardised.
        tally: the labels, counted; None in a result that was loaded.

    Example:
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": list("xxyzzz")}
        >>> result = crowdjax.fit(labels, model="one-coin")
        >>> result.instances["label"].tolist(), result.confusion["truth"].tolist()[:4]
        (['x', 'z'], ['x', 'x', 'x', 'y'])
    """

    fit: Fit
    model: Observation
    index: LabelIndex
    scaling: dict[io.Key, io.Scaling]
    tally: Tally | None = None

    confusion = shown("confusion")
    about_labelers = ("accuracy", "lower", "upper")

    def page(self) -> reports.Page:
        """The report: a page of the fit, its labelers, their confusions and its instances (docs/reports.md)."""
        return reports.of_classes(self.record, self.tables, counted(self.tally), np.asarray(self.fit.history))

    def arrays(self):
        """What ``fit.npz`` holds."""
        return self.fit, eqx.filter(self.model, eqx.is_array)

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
            table: labels, as in ``crowdjax.fit``; their values are those of the fit. Labelers that the fit has not
                seen are taken to be as the model says of anybody.
            labeler_features, instance_features: with a row for every new labeler (every instance), where the fit used
                features.
            columns, form, missing, header: as in ``crowdjax.fit``.

        Raises:
            InputError: as in ``crowdjax.fit``; a label is none of the fit's values.
        """
        started = time.perf_counter()
        given = {"labeler": labeler_features, "instance": instance_features}
        for side, source in given.items():
            if source is not None and side not in self.scaling:
                raise InputError(f"{side} features: given, but the fit used none; leave them out or fit with them")
        names = {f"{side}_features": scaling.names for side, scaling in self.scaling.items()}
        said, tables = io.open_tables(
            columns, known=names, labeler_features=labeler_features, instance_features=instance_features
        )
        reading = dict(form=form, missing=missing, header=header)
        triples = io.read_triples(table, columns=said, like=self.index, **reading)
        labels = triples.labels(repeats=self.record["repeats"])
        known = io.positions(io.ids(triples.index, "labeler"), io.ids(self.index, "labeler"))
        unseen = known < 0
        features = {}
        for side, scaling in self.scaling.items():
            needed = unseen if side == "labeler" else True
            ids = io.ids(triples.index, side)
            features[side] = io.read_new_features(tables[f"{side}_features"], side, ids, scaling, needed)
            if side == "labeler":  # those of the fit keep what they had in it
                new = 0 if features[side] is None else features[side]
                features[side] = np.where(unseen[:, None], new, np.asarray(self.model.labeler_features)[known])
        model = made_again(self.record, labels, features)
        new = predict_factors if hasattr(model, "factors") else predict_new
        posterior = answers(model, labels, new(labels, model, self.fit.params, known).posterior)
        mapping = io.mapping(triples, tables)
        warnings = about_labels(labels, triples, self.record["repeats"])
        warnings += about_answers(posterior, labels_of_labelers(labels)[unseen], self.index.classes)
        if unseen.any():
            warnings.append(
                f"{unseen.sum()} of {len(unseen)} labelers are not in the fit; they are taken to be as its prior says."
            )
        record = {
            "model": self.record["model"],
            "n_labels": int((np.asarray(labels.counts) > 0).sum()),
            "n_labelers": labels.n_labelers,
            "n_instances": labels.n_instances,
            "seconds": time.perf_counter() - started,
            "n_unseen_labelers": int(unseen.sum()),
            "classes": self.record["classes"],
            "repeats": self.record["repeats"],
            "columns": mapping,
            "warnings": warnings,
        }
        table_of = answer_table(io.ids(triples.index, "instance"), posterior, self.index.classes)
        return Prediction({"instances": table_of}, record, kind_of(table, triples.roles))

    def checks(self, table, **settings) -> LookResult:
        """What the fit misses: its labels beside replicates that it would give (``crowdjax.facade.checks.check``)."""
        return check(self, table, **settings)

    def observed(self, part: Labels, drawn: np.ndarray, n: int) -> tuple[Observation, Params]:
        """(the model, its parameters): what checks compare the labels of some instances with."""
        if len(drawn) < len(self.index.instances) and hasattr(self.model, "factors"):
            raise InputError(f"labels: {self.record['n_labels']:,}; allowed with a model of factors: {MOST_LABELS:,}")
        return self.model, self.fit.params

    def params_for(self, index: LabelIndex) -> Params:
        """The parameters for other labelers and instances, matched by id, to start a fit from."""
        known = {side: io.positions(io.ids(index, side), io.ids(self.index, side)) for side in ("labeler", "instance")}
        return rows_of_labelers(self.model, self.fit.params, known["labeler"], known["instance"])


def made_again(record: dict[str, Any], labels: Labels, features: dict[str, np.ndarray]) -> Observation:
    """The model of a record, for labels that may be others."""
    name = record["model"]
    if name not in MODELS:
        raise InputError(
            f"model: {name} is not in the registry; add its class: crowdjax.facade.models.MODELS.add({name!r}, ...)"
        )
    if record["settings"] is None:  # made by hand
        config = {key: _tuples(value) for key, value in record["config"].items()}
        return MODELS[name].model(**config)  # pyright: ignore[reportOptionalCall]
    settings = {key: _tuples(value) for key, value in record["settings"].items() if value is not None}
    return MODELS[name].make(labels=labels, classes=record["kind"], features=features, **settings)


def _tuples(value):
    """A setting as it was before JSON: pairs are tuples, infinite numbers are numbers."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return float(value) if value in ("inf", "-inf") else value


def load(folder: Path, record: dict[str, Any]) -> Result:
    """The result that :meth:`Result.save` wrote, its record being read."""
    try:
        tables = read_tables(folder, "instances", "labelers", "confusion")
        values = None if record["values"] is None else tuple(record["values"])
        index = io.index_of(tables["labelers"], tables["instances"])
        index = dataclasses.replace(index, classes=tuple(record["classes"]), values=values)
        scaling = {k: io.Scaling(*map(tuple, (v["names"], v["mean"], v["sd"]))) for k, v in record["features"].items()}
        steps = record["solver"]["max_steps"]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{folder}: not a fit of crowdjax ({error!r:.100})") from None
    sizes = dict(n_labelers=len(index.labelers), n_instances=len(index.instances))
    n_values = len(values or index.classes)
    anyone = Labels.from_arrays([0], [0], [1], n_values=n_values, n_classes=len(index.classes), **sizes)
    blank = {side: np.zeros((sizes[f"n_{side}s"], len(s.names))) for side, s in scaling.items()}
    model = made_again(record, anyone, blank)

    def like():
        votes = np.zeros((anyone.n_instances, anyone.n_classes), jax.dtypes.canonicalize_dtype(float))
        number, whole = np.zeros(()), np.zeros((), int)
        return Fit(model.start(anyone, votes), votes, number, number, whole, whole, np.zeros(steps))

    shapes = jax.eval_shape(like), eqx.filter(model, eqx.is_array)
    found, arrays = results.load_arrays(folder / "fit.npz", shapes)
    model = eqx.combine(jax.tree.map(jnp.asarray, arrays), model)
    return Result(tables, record, as_arrow, found, model, index, scaling)
