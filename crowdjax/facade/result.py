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
    MOST_CLASSES,
    Prediction,
    Tally,
    about_answers,
    about_labels,
    answer_table,
    labels_of_labelers,
    read_tables,
    shown,
    top_table,
)
from crowdjax.classes import places_of
from crowdjax.facade import many
from crowdjax.facade.fitted import Fitted
from crowdjax.facade.models import MODELS
from crowdjax.formats import Form
from crowdjax.labels import InputError, LabelIndex, Labels
from crowdjax.observation import Fit, Observation, Voted
from crowdjax.observation.contract import Params, answers
from crowdjax.observation.factors import predict as predict_factors
from crowdjax.observation.unseen import predict_new, rows_of_labelers
from crowdjax.observation.voted import TOP, answer_voted
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
    tally: Tally | many.SparseTally | None = None

    @property
    def confusion(self):
        """The confusions, as the kind of table that the labels came in.

        Raises:
            InputError: majority or one-coin of more than 50 classes, whose accuracy says it all.
        """
        if "confusion" not in self.tables:
            raise InputError(
                f"confusion: not made by {self.record['model']} with more than {MOST_CLASSES} classes; a label is "
                "right with the labeler's accuracy, and errors fall on all other classes alike"
            )
        return self._confusion

    _confusion = shown("confusion")

    def page(self) -> reports.Page:
        """The report: a page of the fit, its labelers, their confusions and its instances (docs/reports.md)."""
        return reports.of_classes(self.record, self.tables, many.whole(self.tally), np.asarray(self.fit.history))

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
        answered, p = self._answers(labels, model, known, io.ids(triples.index, "instance"))
        mapping = io.mapping(triples, tables)
        warnings = about_labels(labels, triples, self.record["repeats"])
        warnings += about_answers(p, labels_of_labelers(labels)[unseen], self.index.classes)
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
        return Prediction({"instances": answered}, record, kind_of(table, triples.roles))

    def _answers(self, labels: Labels, model: Observation, known, ids):
        """(the answers of new instances, the probabilities in them)."""
        if isinstance(model, Voted):
            found = answer_voted(labels, model, rows_of_labelers(model, self.fit.params, known))
            codes, p = np.asarray(found.classes), np.asarray(found.p)
            return top_table(ids, codes, p, self.index.classes), p
        new = predict_factors if hasattr(model, "factors") else predict_new
        posterior = answers(model, labels, new(labels, model, self.fit.params, known).posterior)
        return answer_table(ids, posterior, self.index.classes), posterior

    def checks(self, table, **settings) -> Prediction:
        """What the fit misses: its labels beside replicates that it would give (``crowdjax.facade.checks.check``)."""
        from crowdjax.facade.checks import check  # which knows results

        return check(self, table, **settings)

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
        model = MODELS[name].model(**config)  # pyright: ignore[reportOptionalCall]
    else:
        settings = {key: _tuples(value) for key, value in record["settings"].items() if value is not None}
        model = MODELS[name].make(labels=labels, classes=record["kind"], features=features, **settings)
    return Voted(model) if record.get("voted") else model


def _tuples(value):
    """A setting as it was before JSON: pairs are tuples, infinite numbers are numbers."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return float(value) if value in ("inf", "-inf") else value


def load(folder: Path, record: dict[str, Any]) -> Result:
    """The result that :meth:`Result.save` wrote, its record being read."""
    try:
        tables = read_tables(folder, "instances", "labelers", *([] if record.get("voted") else ["confusion"]))
        values = None if record["values"] is None else tuple(record["values"])
        index = io.index_of(tables["labelers"], tables["instances"])
        index = dataclasses.replace(index, classes=tuple(record["classes"]), values=values)
        index = dataclasses.replace(index, places=places_of(index.classes, values, record["kind"]))
        scaling = {k: io.Scaling(*map(tuple, (v["names"], v["mean"], v["sd"]))) for k, v in record["features"].items()}
        steps = record["solver"]["max_steps"]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{folder}: not a fit of crowdjax ({error!r:.100})") from None
    sizes = dict(n_labelers=len(index.labelers), n_instances=len(index.instances))
    n_values = len(values or index.classes)
    anyone = Labels.from_arrays(
        [0], [0], [1], n_values=n_values, n_classes=len(index.classes), places=index.places, **sizes
    )
    blank = {side: np.zeros((sizes[f"n_{side}s"], len(s.names))) for side, s in scaling.items()}
    model = made_again(record, anyone, blank)

    def like():
        voted = isinstance(model, Voted)
        votes = np.zeros((anyone.n_instances, TOP if voted else anyone.n_classes), jax.dtypes.canonicalize_dtype(float))
        start = model.start(anyone, np.zeros((1, anyone.n_classes), votes.dtype) if voted else votes)
        number, whole = np.zeros(()), np.zeros((), int)
        return Fit(
            start, (votes.astype(np.int32), votes) if voted else votes, number, number, whole, whole, np.zeros(steps)
        )

    shapes = jax.eval_shape(like), eqx.filter(model, eqx.is_array)
    found, arrays = results.load_arrays(folder / "fit.npz", shapes)
    model = eqx.combine(jax.tree.map(jnp.asarray, arrays), model)
    return Result(tables, record, as_arrow, found, model, index, scaling)
