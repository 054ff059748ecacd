"""The inferred classes of instances as a table and a record, whatever the model, and the warnings about them."""

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

from crowdjax import io, outliers, results
from crowdjax import summary as summaries
from crowdjax.classes import column_of_values
from crowdjax.columns import listed, show, word
from crowdjax.files import reading
from crowdjax.labelers import Ends, Interval, Summary, agreement_with_votes, crowd_of, kinds
from crowdjax.labels import InputError, Labels, Repeats
from crowdjax.priors import FEW_LABELS
from crowdjax.tables import Kind

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from crowdjax.plots.result import Plots

TREATMENT = {
    "count": "each counts as one more",
    "first": "only the first was used",
    "last": "only the last was used",
    "mean": "they share the weight of one",
}
TIE = 1e-5  # probabilities this near one half are one half but for rounding
CLEAR, LEAST_VOTES = 0.75, 3  # share of an instance's labels on one side, and how many labels, that make a clear vote
AGAINST = 0.05  # share of inferred classes against a clear vote, from which it is reported
MANY = 10  # labels or instances, below which a class that is absent surprises nobody
ENDS = ("", "_lower", "_upper")  # of a column with an interval
CONTRADICTED = 0.01  # chance that gold agrees with votes as little, below which it is said
LEAST_GOLD = 5  # gold labels of a class, below which they say little of it
MOST_KEPT = 1_000_000  # labels that a result keeps, some 10 MB
MOST_CLASSES, MOST_PROBABLE = 50, 5  # classes with a column each; beyond, how many of the most probable have one


class FitError(RuntimeError):
    """The error of a fit without a usable result; the message says what happened.

    Example:
        >>> issubclass(FitError, RuntimeError)
        True
    """


def shown(name: str) -> Any:
    """Return a property that converts a result's table of this name to the caller's dataframe library."""
    return functools.cached_property(lambda result: result.kind(result.tables[name]))


class Printed:
    """Base class of results that print as their summary, in a notebook as well.

    Attributes:
        headlines: what was found, a sentence each.
    """

    headlines: ClassVar[Sequence[str]] = ()

    def summary(self) -> str:
        """Return the result as text of at most 25 lines: the model, convergence, warnings and the first rows."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"


@dataclasses.dataclass(frozen=True, repr=False)
class Prediction(Printed):
    """Class probabilities of instances, as a table. Prints as its :meth:`summary`.

    Attributes:
        instances: a table of the kind that the labels came in (pandas for pandas, pyarrow for a path), see
            :func:`answer_table`.
        tables: this and all others as pyarrow, by name.
        record: what ``fit.json`` (``predict.json``) holds: sizes, objective, settings, versions.
        kind: makes the tables that are shown.
        labels: of a fit or a check of up to a million labels these, for figures; None where they are not kept.

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
        """Return the result as text of at most 25 lines: the model, convergence, warnings and the first rows."""
        rows = {name: self.tables[name] for name in ("instances", "labelers") if name in self.tables}
        shown = {name: (table.slice(0, summaries.LINES), table.num_rows) for name, table in rows.items()}
        return summaries.text(f"{self._title} {self.record['model']}", self.record, shown, self._facts())

    def _facts(self) -> dict[str, str]:
        """Return the facts that the summary shows besides the record."""
        unseen = self.record.get("n_unseen_labelers")
        return {"unseen": f"{unseen:,} labelers are not in the fit"} if unseen else {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings that a reader of the result should know, one sentence each."""
        return tuple(self.record["warnings"])

    @property
    def plot(self) -> Plots:
        """The figures of the result: ``result.plot.confusion()`` and others (``crowdjax.plots.result``)."""
        from crowdjax.plots.result import Plots

        return Plots(self)

    def save(self, out: str | os.PathLike) -> None:
        """Write the result to a folder, which appears whole or not at all."""
        with results.new_result(out, self.record, "predict.json") as folder:
            self.write_tables(folder)

    def write_tables(self, folder: Path) -> None:
        """Write every table to a Parquet file of its name.

        Words are written as a dictionary of them; numbers and the ids of rows, which hardly repeat, are larger so, and
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
    """Counts of a fit's labels that a report needs, since a result holds no labels.

    Attributes:
        votes: how many labels of each instance have each value, by their multiplicities.
        agreement: how many labels of each labeler, by the inferred class (each by its probability) and by the value of
            the label.
        n_crowds: connected components: parts of the crowd that have no instance in common.
    """

    votes: Float[np.ndarray, "I L"]
    agreement: Float[np.ndarray, "W K L"]
    n_crowds: int


def kept(labels: Labels) -> Labels | None:
    """Return the labels if a result keeps as many, else None."""
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
        posterior: [I, K]; of two classes that of the positive one [I] as well.
        agreement: of :func:`agreement_of`, where the fit has it.

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


def counted(found: Tally | None) -> Tally:
    """Return the tally; raise where there is none."""
    if found is None:
        raise InputError(
            "report: the result was loaded, and labels are not kept; allowed: of a fit made in this session"
        )
    return found


def probabilities(posterior) -> np.ndarray:
    """Convert posteriors to float64; rounding leads neither past 0 and 1 nor away from a tie.

    Of two classes the probability of the positive one, [I]; of more that of each, [I, K].
    """
    p = np.clip(np.asarray(posterior, np.float64), 0, 1)
    if p.ndim == 2 and p.shape[1] > 2:
        return p
    p = p if p.ndim == 1 else p[:, 1]
    return np.where(abs(p - 0.5) < TIE, 0.5, p)


def by_class(posterior) -> Float[np.ndarray, "I K"]:
    """Return the probability of each class.

    Example:
        >>> by_class([0.25]).tolist()
        [[0.75, 0.25]]
    """
    p = np.asarray(posterior, np.float64)
    return np.stack([1 - p, p]).T if p.ndim == 1 else p


def _chosen(p: Float[np.ndarray, "I K"]) -> Int[np.ndarray, " I"]:
    """Return the most probable class; of those alike the first."""
    return np.argmax(p >= p.max(1, keepdims=True) - TIE, axis=1)


def answer_table(ids: pa.Array, posterior, classes: Sequence[Any] | None = None, **scores) -> pa.Table:
    """Tabulate the inferred classes, in the user's own values.

        posterior [I]      instance, scores, probability (of the positive class), label
        posterior [I, 2]   instance, scores, label, confidence, probability
        posterior [I, K]   instance, scores, label, confidence, p_<class> of each class; of more than 50 classes
                           class_1, p_1, ..., class_5, p_5: the most probable ones
        (codes, p)         the same from the most probable classes alone and their probabilities, the likeliest first

    Args:
        classes: in their order; by default 0 and 1. Of classes that are equally probable the first is the label.
        scores: columns to put after instance.

    Example:
        >>> answer_table(pa.array(["q1", "q2"]), [0.9, 0.5], ("no", "yes"))["label"].to_pylist()
        ['yes', 'no']
        >>> answer_table(pa.array(["q1"]), [[0.2, 0.5, 0.3]], ("a", "b", "c")).to_pylist()
        [{'instance': 'q1', 'label': 'b', 'confidence': 0.5, 'p_a': 0.2, 'p_b': 0.5, 'p_c': 0.3}]
    """
    classes = (0, 1) if classes is None else tuple(classes)
    if isinstance(posterior, tuple):
        codes, p = map(np.asarray, posterior)
        return _top_table(ids, codes, p, classes)
    values, p = column_of_values(classes), by_class(probabilities(posterior))
    known = {"instance": ids, **scores}
    if np.ndim(posterior) == 1:
        return pa.table({**known, "probability": p[:, 1], "label": values.take(pa.array(_chosen(p)))})
    answers = {"label": values.take(pa.array(_chosen(p))), "confidence": p.max(1, initial=0)}
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
    """Return the class that is the label: the most probable one; of those alike the first.

    Example:
        >>> chosen_of_top(np.array([[2, 0], [1, 0]]), np.array([[0.5, 0.5], [0.75, 0.25]])).tolist()
        [0, 1]
    """
    return np.where(p >= p[:, :1] - TIE, codes, np.iinfo(codes.dtype).max).min(1)


class GoldRecord(NamedTuple):
    """Labels of each labeler on instances of known truth, by their class: how many, and how many of these right.

    Example:
        >>> GoldRecord(np.array([[2.0, 1.0]]), np.array([[1.0, 1.0]])).given.sum()
        np.float64(3.0)
    """

    given: Float[np.ndarray, "W K"]
    right: Float[np.ndarray, "W K"]


def gold_record(labels: Labels) -> GoldRecord | None:
    """Summarise each labeler by the known truths alone; None without gold, or where labels are not the classes.

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
    """Return the table of labelers, each measure with NAME_lower and NAME_upper: labeler, n_labels, accuracy (lower,
    upper), kind, informedness; of two classes sensitivity and specificity too.

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
    return pa.table(table | ({} if gold is None else _of_gold(gold)))


def _of_gold(gold: GoldRecord) -> dict[str, Any]:
    """Return the columns of a gold record."""
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
        values: of labels; by default the classes.
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
    """Return the type of the column ``label`` of the table of instances."""
    return column_of_values((0, 1) if classes is None else classes).type


def named(classes: Sequence[Any] | None) -> tuple[str, ...]:
    """Return the classes for a message; of two the negative one first.

    Example:
        >>> named(None), named((None, "duck")), named((1, 2, 3))
        (('0', '1'), ("not 'duck'", "'duck'"), ('1', '2', '3'))
    """
    first, *others = (0, 1) if classes is None else classes
    return (f"not {show(others[0])}" if first is None else show(first), *map(show, others))


def labels_of_labelers(labels: Labels) -> Int[np.ndarray, " W"]:
    """Return how many labels each labeler gave."""
    return np.bincount(labels.labeler[labels.counts > 0], minlength=labels.n_labelers)


def about_labels(labels: Labels, triples: io.Triples, repeats: Repeats) -> list[str]:
    """Report the labels that were left out, and how repeated judgements were treated, if there are any."""
    n = len(triples.label) if triples.weight is None else np.count_nonzero(triples.weight)
    real = labels.counts > 0
    labeler, instance = labels.labeler[real], labels.instance[real]
    again = n - (1 + np.count_nonzero(np.diff(instance.astype(np.int64) * labels.n_labelers + labeler)))
    notes = [*triples.notes, *outliers.about_weights("labels", triples.weight)]
    if not again or triples.anonymous:
        return notes
    return [
        *notes,
        f"{again} of {n} labels repeat an earlier one (labeler and instance alike); {TREATMENT[repeats]}.",
    ]


class Support(NamedTuple):
    """Counts of how inferred classes agree with their labels; they add up over parts of the instances.

    Attributes:
        instances: how many instances.
        answered: instances inferred to be of each class.
        expected: Σ p of each class.
        against: instances inferred against a clear vote.
        voted: instances whose most frequent label is of each class; () where labels are of other values.
        labels: how many labels have each value, by their multiplicities.
    """

    instances: int
    answered: tuple[int, ...]
    expected: tuple[float, ...]
    against: int
    voted: tuple[int, ...]
    labels: tuple[float, ...]

    def __add__(self, other: Support) -> Support:
        def add(a, b):
            return tuple(x + y for x, y in zip(a, b, strict=True)) if isinstance(a, tuple) else a + b

        return Support(*map(add, self, other))


def support(votes: Float[np.ndarray, "I L"], posterior, gold: Float[np.ndarray, " I"] | None = None) -> Support:
    """Compare the inferred classes with the votes of their instances.

    Args:
        gold: NaN where unknown; what is known is against no vote.

    Example: one inferred class goes against three labels
        >>> found = support(np.array([[3.0, 0.0], [1.0, 2.0]]), [0.75, 1.0])
        >>> found.answered, found.expected, found.against, found.voted, found.labels
        ((0, 2), (0.25, 1.75), 1, (1, 1), (4.0, 2.0))
    """
    p, n = by_class(probabilities(posterior)), votes.sum(1)
    answer, tied, k = _chosen(p), _tied(p), p.shape[1]
    answered = tuple(np.bincount(answer, minlength=k).tolist())
    totals = (tuple(p.sum(0).tolist()), tuple(votes.sum(0).tolist()))
    if votes.shape[1] != k:
        return Support(len(p), answered, totals[0], 0, (), totals[1])
    most = votes.argmax(1)
    clear = (n >= LEAST_VOTES) & (votes.max(1) >= CLEAR * n * (1 - TIE))
    clear &= ~tied & (True if gold is None else np.isnan(gold))
    against = int((clear & (answer != most)).sum())
    return Support(len(p), answered, totals[0], against, tuple(np.bincount(most, minlength=k).tolist()), totals[1])


def _tied(p: Float[np.ndarray, "I K"]) -> np.ndarray:
    """Return where two classes or more are the most probable."""
    return (p >= p.max(1, keepdims=True) - TIE).sum(1) > 1


def about_prior(class_prior: float | str | Sequence[float]) -> str:
    """Say why inferred classes may go against their labels under this class prior, and what to compare with.

    Example:
        >>> "fixed (here at 0.5, 0.25, 0.25)" in about_prior((0.5, 0.25, 0.25)), "fixed" in about_prior("learn")
        (True, False)
    """
    why = "Most labelers may be wrong there in the same way"
    if isinstance(class_prior, str) and class_prior != "uniform":
        return f"{why}, or the model has the classes wrong; compare with model 'majority'."
    numbers = [class_prior] if isinstance(class_prior, int | float) else class_prior
    fixed = class_prior if isinstance(class_prior, str) else listed([f"{p:g}" for p in numbers], 5)
    return (
        f"{why}, or the model splits a frequent class in two, as it can where the class prior is fixed (here at "
        f"{fixed}); compare with class_prior='learn' (--class-prior learn) and with model 'majority'."
    )


def about_support(found: Support, classes: Sequence[Any] | None, advice: str) -> list[str]:
    """Warn where inferred classes rest on much besides their labels.

    Args:
        advice: why inferred classes may go against their labels, and what to compare with.
    """
    out, names = [], named(classes)
    two, total, most = len(names) == 2, sum(found.labels), max(found.labels)
    alike = most == total or (total - most <= 1 and total >= MANY)
    if alike and found.voted:
        all_ = f"All {total:g} labels are" if most == total else f"All but one of {total:g} labels are"
        all_ = "The one label is" if total == 1 else all_
        k = len(names) - 1 - found.labels[::-1].index(most)
        absent, other = (names[1 - k], "the other") if two else (f"not {names[k]}", "the others")
        out.append(
            f"{all_} {names[k]}. Labels of one class say nothing of {other}: the probabilities, and what is said "
            f"of labelers on instances that are {absent}, rest on the priors."
        )
    rare = [name for name, n in zip(names, found.expected, strict=True) if n < 1]
    if not alike and found.instances >= MANY and rare:
        out.append(
            f"Less than one of {found.instances} instances is expected to be {_either(rare)}: estimates of labelers "
            "on such instances rest on the priors."
        )
    if found.against > AGAINST * found.instances:
        k = 1 if two else int(np.argmax(np.abs(np.subtract(found.answered, found.voted))))
        out.append(
            f"{found.against} of {found.instances} inferred classes contradict at least three quarters of their "
            f"instance's labels: {found.answered[k]} instances are inferred {names[k]}, and of {found.voted[k]} most "
            f"labels say so. {advice}"
        )
    return out


def _either(names: Sequence[str]) -> str:
    """Return one of several names, for a message."""
    return names[0] if len(names) == 1 else f"one of {listed(names, 5)}"


def about_gold(
    gold: Float[np.ndarray, " I"] | None, classes: Sequence[Any] | None, placing: bool = False, placed: bool = False
) -> list[str]:
    """Warn where gold labels are of one class, nearly so, or lack a class.

    Args:
        gold: codes, NaN (or -1) where unknown.
        placing: whether they are to place a boundary between two classes, for which few of a class are too few.
        placed: whether they have placed it.
    """
    if gold is None or not (np.asarray(gold) >= 0).any():
        return []
    gold, names = np.asarray(gold, np.float64), named(classes)
    counts = [int((gold == k).sum()) for k in range(len(names))]
    absent, n, frequent = [k for k, c in enumerate(counts) if not c], sum(counts), int(np.argmax(counts))
    if len(absent) == len(names) - 1:
        others = names[absent[0]] if len(names) == 2 else f"not {names[frequent]}"
        said = (
            f"All {n} gold labels are {names[frequent]}: they fix these instances and say nothing of labelers on "
            f"instances that are {others}."
        )
        more = " They neither place the class boundary nor calibrate the probabilities; gold of both classes does."
        return [said + more * placing]
    if absent:
        return [f"No gold label is {_either([names[k] for k in absent])}: they say nothing of labelers on such "
                "instances."]  # fmt: skip
    few, rare = min(counts), int(np.argmin(counts))
    if placing and few < LEAST_GOLD:
        only = f"Only {few} of {n} gold labels {'is' if few == 1 else 'are'} {names[rare]}: "
        if placed:
            more = f"the class boundary that they place is little known; {LEAST_GOLD} or more of each class tell more."
        else:
            more = "they neither place the class boundary nor calibrate the probabilities; "
            more += f"{LEAST_GOLD} or more of each class do."
        return [only + more]
    return []


def about_comparisons(labels: Labels, gold: Float[np.ndarray, " I"] | None = None) -> list[str]:
    """Warn that labels hardly compare labelers: fewer than 1.5 an instance, and no gold.

    Example: everybody has instances of their own
        >>> about_comparisons(Labels.from_arrays([0, 1, 2], [0, 1, 2], [1, 0, 1]))[0][:36]
        '1.00 labels per instance cannot tell'
        >>> about_comparisons(Labels.from_arrays([0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1]))
        []
    """
    counted = np.asarray(labels.counts) > 0
    n = np.count_nonzero(np.bincount(np.asarray(labels.instance)[counted]))
    known = gold is not None and np.isfinite(gold).any()
    if known or not n or counted.sum() / n >= FEW_LABELS:
        return []
    return [
        f"{counted.sum() / n:.2f} labels per instance cannot tell able labelers from others: their accuracies, and how "
        "certain the inferred classes are, rest on the model's priors. Gold labels, or more labels "
        "of each instance, would tell."
    ]


def about_contradiction(
    gold: Float[np.ndarray, " I"] | None, labels: Labels, classes: Sequence[Any] | None
) -> list[str]:
    """Warn that gold labels and the labels of their instances contradict each other, where they do so beyond chance.

    Args:
        gold: codes, NaN (or -1) where unknown.

    Gold agrees with the most frequent label (a tie counts in part) less often than a coin, or of K classes a die,
    would: P(agreements ≤ those seen) < .01.

    Example: ten gold labels, all against three votes each
        >>> j, i = np.divmod(np.arange(30), 3)
        >>> labels = Labels.from_arrays(i, j, np.zeros(30))
        >>> about_contradiction(np.ones(10), labels, None)[0][:58]
        '10 of 10 gold labels contradict the most frequent label of'
        >>> about_contradiction(np.zeros(10), labels, None)
        []
    """
    if gold is None or labels.n_values != labels.n_classes:
        return []
    agreeing, n, chance = agreement_with_votes(gold, labels)
    if chance >= CONTRADICTED:
        return []
    where = " (see positive=, --positive)" if labels.n_classes == 2 else ""
    return [
        f"{round(n - agreeing)} of {n} gold labels contradict the most frequent label of their "
        f"instance. Either the classes of the gold labels are exchanged{where}, or most labelers "
        "are wrong: then dawid-skene, whose fit gold decides, is the model (auto and integrated fit labels alone)."
    ]


def about_answers(posterior, n_labels: np.ndarray, classes: Sequence[Any] | None = None) -> list[str]:
    """Return the warnings that follow from the probabilities and the numbers of labels of each labeler."""
    out = []
    single = np.count_nonzero(n_labels == 1)
    if single:
        out.append(f"{single} of {len(n_labels)} labelers gave one label; what is said of them is mostly prior.")
    p = by_class(probabilities(posterior[1] if isinstance(posterior, tuple) else posterior))
    ties = np.count_nonzero(_tied(p))
    if ties and p.shape[1] == 2:
        out.append(
            f"{ties} of {len(p)} instances are undecided (probability 0.5); their label says {named(classes)[0]}."
        )
    elif ties:
        out.append(
            f"{ties} of {len(p)} instances are undecided between classes that are equally probable; their label says "
            "the first of these."
        )
    return out
