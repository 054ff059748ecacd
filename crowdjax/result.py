"""Results of a fit, whatever the model: the inferred classes of instances as a table, and a record."""

from __future__ import annotations

import dataclasses
import functools
import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from crowdjax import saving
from crowdjax import summary as summaries
from crowdjax.classes import column_of_values
from crowdjax.columns import show, word
from crowdjax.files import reading
from crowdjax.labelers import Ends, Interval, Summary, crowd_of, kinds
from crowdjax.labels import InputError, Labels
from crowdjax.tables import Kind

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from crowdjax.plots.result import Plots

TIE = 1e-5  # probabilities this near one half are one half but for rounding
ENDS = ("", "_lower", "_upper")  # of a column with an interval
MOST_KEPT = 1_000_000  # labels that a result keeps, some 10 MB
MOST_CLASSES, MOST_PROBABLE = 50, 5  # classes with a column each; beyond, how many of the most probable have one


class FitError(RuntimeError):
    """Exception for a fit without a usable result; the message says what happened.

    Example:
        >>> issubclass(FitError, RuntimeError)
        True
    """


def shown(name: str) -> Any:
    """Build a property that converts a result's table of this name to the caller's dataframe library."""
    return functools.cached_property(lambda result: result.kind(result.tables[name]))


class Printed:
    """Base class of results that print as their summary, in a notebook as well.

    Attributes:
        headlines: the main findings, a sentence each.
    """

    headlines: ClassVar[Sequence[str]] = ()

    def summary(self) -> str:
        """Format the result as text of at most 25 lines: the model, convergence, warnings and the first rows."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"


@dataclasses.dataclass(frozen=True, repr=False)
class Prediction(Printed):
    """Predicted class probabilities of instances, as a table. Prints as its :meth:`summary`.

    Attributes:
        instances: table of instances, of the kind that the labels came in (pandas for pandas, pyarrow for a path); see
            :func:`class_table`.
        tables: this and all other tables as pyarrow, by name.
        record: the content of ``fit.json`` (``predict.json``): sizes, objective, settings, versions.
        kind: kind of dataframe for the tables shown.
        labels: the labels of a fit or a check of up to a million labels, for figures; None where they are not kept.

    Example:
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
        >>> result = crowdjax.fit(labels, model="one-coin")
        >>> isinstance(result, Prediction), result.warnings
        (True, ())
    """

    tables: dict[str, pa.Table]
    record: dict[str, Any]
    kind: Kind
    labels: Labels | None = dataclasses.field(default=None, kw_only=True)

    instances = shown("instances")
    _title = "Predictions of a fit of"

    def summary(self) -> str:
        """Format the result as text of at most 25 lines: the model, convergence, warnings and the first rows."""
        rows = {name: self.tables[name] for name in ("instances", "labelers") if name in self.tables}
        shown = {name: (table.slice(0, summaries.LINES), table.num_rows) for name, table in rows.items()}
        return summaries.text(f"{self._title} {self.record['model']}", self.record, shown, self._facts())

    def _facts(self) -> dict[str, str]:
        """Return the facts that the summary shows besides the record."""
        unseen = self.record.get("n_unseen_labelers")
        return {"unseen": f"{unseen:,} labelers are not in the fit"} if unseen else {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the result, one sentence each."""
        return tuple(self.record["warnings"])

    @property
    def plot(self) -> Plots:
        """The figures of the result: ``result.plot.confusion()`` and others (``crowdjax.plots.result``)."""
        from crowdjax.plots.result import Plots

        return Plots(self)

    def save(self, out: str | os.PathLike) -> None:
        """Save the result to a folder; the folder appears whole or not at all."""
        with saving.new_result(out, self.record, "predict.json") as folder:
            self.write_tables(folder)

    def write_tables(self, folder: Path) -> None:
        """Write every table to a Parquet file under its name.

        Text is written with dictionary encoding; numbers and row ids, which hardly repeat, would be larger with it and
        take four times as long.
        """
        for name, table in self.tables.items():
            words = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
            repeated = [word for word in words if word != name.removesuffix("s")]
            pa.parquet.write_table(table, folder / f"{name}.parquet", use_dictionary=repeated)


def read_tables(folder: Path, *names: str) -> dict[str, pa.Table]:
    """Read the tables of a saved result."""
    paths = {name: folder / f"{name}.parquet" for name in names}

    def read(path: Path) -> pa.Table:
        with reading(str(path), "a table of a result"):
            return pa.parquet.read_table(path)

    return {name: read(path) for name, path in paths.items()}


class Tally(NamedTuple):
    """Counts of a fit's labels for reports, since a result holds no labels.

    Attributes:
        votes: number of labels of each instance with each value, by multiplicity.
        agreement: number of labels of each labeler, by inferred class (each weighted by its probability) and value of
            the label.
        n_crowds: number of connected components: groups of labelers and instances without labels between them.
    """

    votes: Float[np.ndarray, "I L"]
    agreement: Float[np.ndarray, "W K L"]
    n_crowds: int


def kept(labels: Labels) -> Labels | None:
    """Return the labels for a result to keep, None if they are more than it keeps."""
    return labels if len(labels.label) <= MOST_KEPT else None


def votes_of(labels: Labels) -> Float[np.ndarray, "I L"]:
    """Count the labels of each instance by value, with their multiplicities.

    Example:
        >>> votes_of(Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1])).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
    """
    n = labels.n_instances
    cell = n * np.maximum(labels.label, 0).astype(np.int64) + labels.instance
    return np.bincount(cell, labels.counts, n * labels.n_values).reshape(-1, n).T


def tally(labels: Labels, posterior, agreement: Float[np.ndarray, "W K L"] | None = None) -> Tally:
    """Count the labels of a fit.

    Args:
        posterior: posterior, shape [I, K]; for two classes that of the positive one, shape [I], is enough.
        agreement: counts from :func:`agreement_of`, where the fit has them.

    Example:
        >>> found = tally(Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1]), [0.75, 1.0])
        >>> found.votes.tolist(), found.agreement[1].tolist(), found.n_crowds
        ([[1.0, 1.0], [0.0, 1.0]], [[0.25, 0.0], [0.75, 0.0]], 1)
    """
    real = np.asarray(labels.counts) > 0
    labeler, instance = np.asarray(labels.labeler)[real], np.asarray(labels.instance)[real]
    crowds = crowd_of(labeler, instance, labels.n_labelers, labels.n_instances).max(initial=-1) + 1
    agreement = agreement_of(labels, posterior) if agreement is None else agreement
    return Tally(votes_of(labels), agreement, int(crowds))


def agreement_of(labels: Labels, posterior) -> Float[np.ndarray, "W K L"]:
    """Count the labels of each labeler by the inferred class (each by its probability) and by their value.

    Example:
        >>> agreement_of(Labels.from_arrays([0, 1], [0, 0], [1, 0]), [0.75]).tolist()
        [[[0.0, 0.25], [0.0, 0.75]], [[0.25, 0.0], [0.75, 0.0]]]
    """
    counts = np.asarray(labels.counts, np.float64)
    real = counts > 0
    labeler, instance, label, counts = (
        np.asarray(v)[real] for v in (labels.labeler, labels.instance, labels.label, counts)
    )
    cell = labels.n_values * labeler.astype(np.int64) + label
    width = labels.n_labelers * labels.n_values
    found = [np.bincount(cell, counts * p[instance], width) for p in by_class(posterior).T]
    return np.stack([n.reshape(labels.n_labelers, -1) for n in found], 1)


def unsure_of(labels: Labels, positive: Float[np.ndarray, " I"]) -> Float[np.ndarray, "W 2"]:
    """Sum the variance of the truth of two classes, p (1 - p), over the labels of each labeler, by their value: what
    the posterior does not know of the truths that a labeler is judged by (``labelers.intervals_of_two``).

    Args:
        positive: posterior of the positive class.

    Example: one instance in doubt, one whose class is known
        >>> unsure_of(Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1]), np.array([0.5, 1.0])).tolist()
        [[0.0, 0.25], [0.25, 0.0]]
    """
    counts, p = np.asarray(labels.counts, np.float64), np.asarray(positive, np.float64)
    real = counts > 0
    labeler, instance, label = (np.asarray(v)[real] for v in (labels.labeler, labels.instance, labels.label))
    each = counts[real] ** 2 * (p * (1 - p))[instance]
    return np.bincount(2 * labeler.astype(np.int64) + label, each, 2 * labels.n_labelers).reshape(-1, 2)


def counted(found: Tally | None) -> Tally:
    """Check that there is a tally and return it; raise without one."""
    if found is None:
        raise InputError(
            "report: the result was loaded, and labels are not kept; allowed: of a fit made in this session"
        )
    return found


def probabilities(posterior) -> np.ndarray:
    """Convert posteriors to float64 in [0, 1]; of two classes, a probability that differs from ½ only by rounding
    becomes ½.

    Of two classes the probability of the positive one, [I]; of more that of each, [I, K].
    """
    p = np.clip(np.asarray(posterior, np.float64), 0, 1)
    if p.ndim == 2 and p.shape[1] > 2:
        return p
    p = p if p.ndim == 1 else p[:, 1]
    return np.where(abs(p - 0.5) < TIE, 0.5, p)


def by_class(posterior) -> Float[np.ndarray, "I K"]:
    """Compute the probability of each class, [I, K].

    Example:
        >>> by_class([0.25]).tolist()
        [[0.75, 0.25]]
    """
    p = np.asarray(posterior, np.float64)
    return np.stack([1 - p, p]).T if p.ndim == 1 else p


def chosen(p: Float[np.ndarray, "I K"]) -> Int[np.ndarray, " I"]:
    """Find the most probable class; a tie goes to the first."""
    return np.argmax(p >= p.max(1, keepdims=True) - TIE, axis=1)


def class_table(ids: pa.Array, posterior, classes: Sequence[Any] | None = None, **scores) -> pa.Table:
    """Tabulate the inferred classes in the user's own values.

        posterior [I]      instance, scores, probability (of the positive class), label
        posterior [I, 2]   instance, scores, label, confidence, probability
        posterior [I, K]   instance, scores, label, confidence, p_<class> of each class; of more than 50 classes
                           class_1, p_1, ..., class_5, p_5: the most probable ones
        (codes, p)         the same from the most probable classes alone and their probabilities, the likeliest first

    Args:
        classes: classes in order; default 0 and 1. A tie goes to the first class.
        scores: columns to insert after instance.

    Example:
        >>> class_table(pa.array(["q1", "q2"]), [0.9, 0.5], ("no", "yes"))["label"].to_pylist()
        ['yes', 'no']
        >>> class_table(pa.array(["q1"]), [[0.2, 0.5, 0.3]], ("a", "b", "c")).to_pylist()
        [{'instance': 'q1', 'label': 'b', 'confidence': 0.5, 'p_a': 0.2, 'p_b': 0.5, 'p_c': 0.3}]
    """
    classes = (0, 1) if classes is None else tuple(classes)
    if isinstance(posterior, tuple):
        codes, p = map(np.asarray, posterior)
        return _top_table(ids, codes, p, classes)
    values, p = column_of_values(classes), by_class(probabilities(posterior))
    known = {"instance": ids, **scores}
    if np.ndim(posterior) == 1:
        return pa.table({**known, "probability": p[:, 1], "label": values.take(pa.array(chosen(p)))})
    answers = {"label": values.take(pa.array(chosen(p))), "confidence": p.max(1, initial=0)}
    if len(classes) == 2:
        more = {"probability": p[:, 1]}
    elif len(classes) <= MOST_CLASSES:
        more = {f"p_{word(c)}": p[:, k] for k, c in enumerate(classes)}
    else:
        first = np.argsort(-p, axis=1, kind="stable")[:, :MOST_PROBABLE]
        more = _ranked(first, np.take_along_axis(p, first, 1), values)
    return pa.table({**known, **answers, **more})


def _ranked(codes: Int[np.ndarray, "I n"], p: Float[np.ndarray, "I n"], values: pa.Array) -> dict[str, Any]:
    """Return the columns of the most probable classes."""
    columns = {}
    for n in range(codes.shape[1]):
        columns |= {f"class_{n + 1}": values.take(pa.array(codes[:, n])), f"p_{n + 1}": p[:, n]}
    return columns


def _top_table(ids: pa.Array, codes, p, classes: Sequence[Any]) -> pa.Table:
    """Tabulate the inferred classes from the most probable ones and their probabilities, the likeliest first."""
    values, p = column_of_values(classes), np.clip(np.asarray(p, np.float64), 0, 1)
    label = values.take(pa.array(chosen_of_top(codes, p)))
    return pa.table({"instance": ids, "label": label, "confidence": p[:, 0], **_ranked(codes, p, values)})


def chosen_of_top(codes: Int[np.ndarray, "I n"], p: Float[np.ndarray, "I n"]) -> Int[np.ndarray, " I"]:
    """Choose the inferred class from the most probable classes; a tie goes to the first.

    Example:
        >>> chosen_of_top(np.array([[2, 0], [1, 0]]), np.array([[0.5, 0.5], [0.75, 0.25]])).tolist()
        [0, 1]
    """
    return np.where(p >= p[:, :1] - TIE, codes, np.iinfo(codes.dtype).max).min(1)


class GoldRecord(NamedTuple):
    """Counts of each labeler's labels on gold instances, and of those that are right, by class.

    Example:
        >>> GoldRecord(np.array([[2.0, 1.0]]), np.array([[1.0, 1.0]])).given.sum()
        np.float64(3.0)
    """

    given: Float[np.ndarray, "W K"]
    right: Float[np.ndarray, "W K"]


def gold_record(labels: Labels) -> GoldRecord | None:
    """Count each labeler's right labels on gold instances; None without gold, or where labels are not the classes.

    Example:
        >>> gold_record(Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1], gold=[1, np.nan])).right.tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    if labels.gold is None or labels.n_values != labels.n_classes:
        return None
    gold, counts = np.asarray(labels.gold)[labels.instance], np.asarray(labels.counts, np.float64)
    known = (counts > 0) & (gold >= 0)
    gold, label, labeler = (np.asarray(v)[known] for v in (gold, labels.label, labels.labeler))
    cell, shape = labeler.astype(np.int64) * labels.n_classes + gold, (labels.n_labelers, labels.n_classes)
    tallied = (np.bincount(cell, n, shape[0] * shape[1]) for n in (counts[known], counts[known] * (label == gold)))
    return GoldRecord(*(n.reshape(shape) for n in tallied))


def labeler_table(
    ids: pa.Array, n_labels: Int[np.ndarray, " W"], about: Summary, gold: GoldRecord | None = None
) -> pa.Table:
    """Tabulate the labelers: labeler, n_labels, accuracy (lower, upper), kind, informedness; for two classes
    sensitivity and specificity too. Each measure has NAME_lower and NAME_upper.

    Where truths are known, also what these say by themselves: gold_labels, how many labels are on them, and
    gold_accuracy, the share of these that is right; of two classes gold_positives, gold_sensitivity, gold_negatives and
    gold_specificity.

    Example:
        >>> flat = (np.array([0.7]), np.array([0.6]), np.array([0.8]))
        >>> matrix = tuple(np.array([[[p, 1 - p], [1 - p, p]]]) for (p,) in flat)
        >>> found = labeler_table(pa.array(["ann"]), np.array([9]), Summary(flat, matrix, flat))
        >>> found.column_names[:6], found["kind"].to_pylist()
        (['labeler', 'n_labels', 'accuracy', 'lower', 'upper', 'kind'], ['ordinary'])
    """
    kind = about.kind
    if kind is None:
        kind = kinds(Interval(*about.informedness), about.confusion[0].shape[1])
    kind = pa.array(kind, mask=np.isnan(about.informedness[1]))
    columns = dict(zip(("accuracy", "lower", "upper"), about.accuracy, strict=True))
    measures = {"informedness": about.informedness}
    if about.confusion[0].shape[1:] == (2, 2):
        of_class = lambda k: tuple(end[:, k, k] for end in about.confusion)  # noqa: E731
        measures |= {"sensitivity": of_class(1), "specificity": of_class(0)}
    more = {f"{name}{end}": v for name, ends in measures.items() for end, v in zip(ENDS, ends, strict=True)}
    known, others = ({name: _numbers(v) for name, v in part.items()} for part in (columns, more))
    table = {"labeler": ids, "n_labels": n_labels, **known, "kind": kind, **others}
    return pa.table(table | gold_columns(gold))


def gold_columns(gold: GoldRecord | None) -> dict[str, Any]:
    """Build the columns of a gold record for a table of labelers; none without a record.

    Example:
        >>> found = gold_columns(GoldRecord(np.array([[2.0, 3.0, 0.0]]), np.array([[1.0, 3.0, 0.0]])))
        >>> {name: column.tolist() if name == "gold_labels" else column.to_pylist() for name, column in found.items()}
        {'gold_labels': [5], 'gold_accuracy': [0.8]}
    """
    if gold is None:
        return {}
    names = {"accuracy": ("labels", slice(None))}
    if gold.given.shape[1] == 2:
        names |= {"sensitivity": ("positives", slice(1, 2)), "specificity": ("negatives", slice(0, 1))}
    columns = {}
    for measure, (count, of) in names.items():
        given, right = (n[:, of].sum(1) for n in gold)
        whole = given.astype(np.int64) if (given == np.rint(given)).all() else given
        share = np.divide(right, given, out=np.full(len(given), np.nan), where=given > 0)
        columns |= {f"gold_{count}": whole, f"gold_{measure}": _numbers(share)}
    return columns


def confusion_table(ids: pa.Array, classes: Sequence[Any], values: Sequence[Any] | None, confusion: Ends) -> pa.Table:
    """Tabulate each labeler's confusion matrix: labeler, truth, label, probability, lower, upper.

    Args:
        values: values of labels; default: the classes.
        confusion: P(label | truth), [W, K, L] each.

    Example:
        >>> of_one = np.array([[[0.9, 0.1], [0.3, 0.7]]])
        >>> found = confusion_table(pa.array(["ann"]), ("no", "yes"), None, (of_one, of_one, of_one))
        >>> found["truth"].to_pylist(), found["label"].to_pylist(), found["probability"].to_pylist()
        (['no', 'no', 'yes', 'yes'], ['no', 'yes', 'no', 'yes'], [0.9, 0.1, 0.3, 0.7])
    """
    cells = np.indices(confusion[0].shape).reshape(3, -1)
    sides = (ids, column_of_values(classes), column_of_values(classes if values is None else values))
    columns = {
        name: of.take(pa.array(cell))
        for name, of, cell in zip(("labeler", "truth", "label"), sides, cells, strict=True)
    }
    ends = zip(("probability", "lower", "upper"), confusion, strict=True)
    return pa.table(columns | {name: _numbers(found.reshape(-1)) for name, found in ends})


def _numbers(values) -> pa.Array:
    """Convert numbers to float64, null where there is none."""
    return pa.array(np.asarray(values, np.float64), from_pandas=True)


def label_type(classes: Sequence[Any] | None) -> pa.DataType:
    """Find the type of the column ``label`` in the table of instances."""
    return column_of_values((0, 1) if classes is None else classes).type


def named(classes: Sequence[Any] | None) -> tuple[str, ...]:
    """Format the classes for a message; of two the negative one first.

    Example:
        >>> named(None), named((None, "duck")), named((1, 2, 3))
        (('0', '1'), ("not 'duck'", "'duck'"), ('1', '2', '3'))
    """
    first, *others = (0, 1) if classes is None else classes
    return (f"not {show(others[0])}" if first is None else show(first), *map(show, others))


def labels_of_labelers(labels: Labels) -> Int[np.ndarray, " W"]:
    """Count the labels that each labeler gave."""
    return np.bincount(labels.labeler[labels.counts > 0], minlength=labels.n_labelers)


def tied(p: Float[np.ndarray, "I K"]) -> np.ndarray:
    """Mark the instances with more than one most probable class."""
    return (p >= p.max(1, keepdims=True) - TIE).sum(1) > 1
