"""Answers about instances as a table and a record, whatever model they come from, and what every reader should know."""

from __future__ import annotations

import dataclasses
import functools
import html
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import Float, Int

from crowdjax import io, outliers, results
from crowdjax import summary as summaries
from crowdjax.columns import Words, show
from crowdjax.files import reading
from crowdjax.integrated.auto import crowd_of
from crowdjax.labels import InputError, Labels, Repeats
from crowdjax.tables import Kind

TREATMENT = {
    "count": "each counts as one more",
    "first": "only the first was used",
    "last": "only the last was used",
    "mean": "they share the weight of one",
}
TIE = 1e-5  # probabilities this near one half are one half but for rounding
CLEAR, LEAST_VOTES = 0.75, 3  # share of an instance's labels on one side, and how many labels, that make a clear vote
AGAINST = 0.05  # share of answers against a clear vote, from which it is worth a sentence
MANY = 10  # labels or instances, below which a class that is absent surprises nobody
LEAST_GOLD = 5  # gold labels of a class, below which they say little of it


class FitError(RuntimeError):
    """The fit has no usable answer; the message says what happened.

    Example:
        >>> issubclass(FitError, RuntimeError)
        True
    """


def shown(name: str) -> Any:
    """An attribute of a result: its table of this name, as the kind of table that the labels came in."""
    return functools.cached_property(lambda result: result.kind(result.tables[name]))


class Printed:
    """What prints itself as a summary, in a notebook as well."""

    def summary(self) -> str:
        """The result as text of at most 25 lines: what it is, whether it converged, warnings, the first rows."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"


@dataclasses.dataclass(frozen=True, repr=False)
class Prediction(Printed):
    """Answers about instances. Printed it is its :meth:`summary`.

    Attributes:
        instances: a table of the kind that the labels came in (pandas for pandas, pyarrow for a path): instance,
            probability (of the truth being 1), label (1 where that is above one half, else 0; where the labels are in
            words, the word).
        tables: this and all others as pyarrow, by name.
        record: what ``fit.json`` (``predict.json``) holds: sizes, objective, settings, versions.
        kind: makes the tables that are shown.

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

    instances = shown("instances")
    _title = "Answers by a fit of"

    def summary(self) -> str:
        """The result as text of at most 25 lines: what it is, whether it converged, warnings, the first rows."""
        rows = {name: self.tables[name] for name in ("instances", "labelers") if name in self.tables}
        shown = {name: (table.slice(0, summaries.LINES), table.num_rows) for name, table in rows.items()}
        return summaries.text(f"{self._title} {self.record['model']}", self.record, shown, self._facts())

    def _facts(self) -> dict[str, str]:
        """What the summary says besides the record."""
        unseen = self.record.get("n_unseen_labelers")
        return {"unseen": f"{unseen:,} labelers are not in the fit"} if unseen else {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the answers should know, one sentence each."""
        return tuple(self.record["warnings"])

    def save(self, out: str | os.PathLike) -> None:
        """Writes the answers to a folder, which appears whole or not at all."""
        with results.new_result(out, self.record, "predict.json") as folder:
            self.write_tables(folder)

    def write_tables(self, folder: Path) -> None:
        """Writes every table to a Parquet file of its name."""
        for name, table in self.tables.items():
            pa.parquet.write_table(table, folder / f"{name}.parquet")

    @property
    def words(self) -> Words | None:
        """The two words of the labels, where they are in words."""
        words = self.record.get("words")
        return None if words is None else Words(*words)


def read_tables(folder: Path, *names: str) -> dict[str, pa.Table]:
    """Tables of a result that was saved."""
    paths = {name: folder / f"{name}.parquet" for name in names}

    def read(path: Path) -> pa.Table:
        with reading(str(path), "a table of a result"):
            return pa.parquet.read_table(path)

    return {name: read(path) for name, path in paths.items()}


class Tally(NamedTuple):
    """The labels of a fit, counted: what a report needs of them, since a result holds no labels.

    Attributes:
        votes: how many labels of each instance say 0, and 1, by their multiplicities.
        agreement: how many labels of each labeler, by what the answer is (0, 1; each by its probability) and by what
            the label is (0, 1).
        n_crowds: parts of the crowd that have no instance in common.
    """

    votes: Float[np.ndarray, "I 2"]
    agreement: Float[np.ndarray, "W 2 2"]
    n_crowds: int


def votes_of(labels: Labels) -> Float[np.ndarray, "I 2"]:
    """How many labels of each instance say 0, and 1, by their multiplicities.

    Example:
        >>> votes_of(Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1])).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
    """
    cell = 2 * labels.instance.astype(np.int64) + (np.asarray(labels.label) > 0)
    return np.bincount(cell, labels.counts, 2 * labels.n_instances).reshape(-1, 2)


def tally(labels: Labels, posterior) -> Tally:
    """Counts the labels of a fit.

    Example:
        >>> found = tally(Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1]), [0.75, 1.0])
        >>> found.votes.tolist(), found.agreement[1].tolist(), found.n_crowds
        ([[1.0, 1.0], [0.0, 1.0]], [[0.25, 0.0], [0.75, 0.0]], 1)
    """
    counts = np.asarray(labels.counts, np.float64)
    real = counts > 0
    labeler, instance, counts = (np.asarray(v)[real] for v in (labels.labeler, labels.instance, counts))
    yes = np.asarray(labels.label)[real] > 0
    p = np.asarray(posterior, np.float64)[instance]
    cell = 4 * labeler.astype(np.int64) + yes
    agreement = np.bincount(cell, counts * (1 - p), 4 * labels.n_labelers)
    agreement += np.bincount(cell + 2, counts * p, 4 * labels.n_labelers)
    crowds = crowd_of(labeler, instance, labels.n_labelers, labels.n_instances).max(initial=-1) + 1
    return Tally(votes_of(labels), agreement.reshape(-1, 2, 2), int(crowds))


def counted(found: Tally | None) -> Tally:
    """The tally, refused where there is none."""
    if found is None:
        raise InputError(
            "report: the result was loaded, and labels are not kept; allowed: of a fit made in this session"
        )
    return found


def probabilities(posterior) -> np.ndarray:
    """Posteriors as float64; rounding leads neither past 0 and 1 nor away from a tie."""
    p = np.clip(np.asarray(posterior, np.float64), 0, 1)
    return np.where(abs(p - 0.5) < TIE, 0.5, p)


def answer_table(ids: pa.Array, posterior, words: Words | None = None, **scores) -> pa.Table:
    """The table of answers: instance, scores, probability, label.

    Args:
        words: the two words of the labels, where they are in words: then the answers are.
        scores: columns to put between instance and probability.

    Example: of one half the label is the negative one
        >>> answer_table(pa.array(["q1", "q2"]), [0.9, 0.5], Words("no", "yes"))["label"].to_pylist()
        ['yes', 'no']
    """
    p = probabilities(posterior)
    label = pa.array((p > 0.5).astype(np.int8))
    if words is not None:
        label = pa.array([words.negative, words.positive], pa.string()).take(label)
    return pa.table({"instance": ids, **scores, "probability": p, "label": label})


def label_type(words: Words | None) -> pa.DataType:
    """The type of the column ``label`` of answers."""
    return pa.int8() if words is None else pa.string()


def named(words: Words | None) -> tuple[str, str]:
    """The two answers for a message, the negative one first.

    Example:
        >>> named(None), named(Words(None, "duck"))
        (('0', '1'), ("not 'duck'", "'duck'"))
    """
    if words is None:
        return "0", "1"
    positive = show(words.positive)
    return f"not {positive}" if words.negative is None else show(words.negative), positive


def labels_of_labelers(labels: Labels) -> Int[np.ndarray, " W"]:
    """How many labels each labeler gave."""
    return np.bincount(labels.labeler[labels.counts > 0], minlength=labels.n_labelers)


def about_labels(labels: Labels, triples: io.Triples, repeats: Repeats) -> list[str]:
    """What was left out of the labels, and what was done with repeated judgements, if there are any."""
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
    """How answers stand to the labels they rest on: counts, which add up over parts of the instances.

    Attributes:
        instances, positive: answers, and those that are positive.
        expected: Σ p.
        against: answers against a clear vote.
        voted: instances most of whose labels are positive.
        labels: how many are negative, and positive, by their multiplicities.
    """

    instances: int
    positive: int
    expected: float
    against: int
    voted: int
    labels: tuple[float, float]

    def __add__(self, other: Support) -> Support:
        added = {k: v + getattr(other, k) for k, v in self._asdict().items() if k != "labels"}
        return Support(**added, labels=(self.labels[0] + other.labels[0], self.labels[1] + other.labels[1]))


def support(votes: Float[np.ndarray, "I 2"], posterior, gold: Float[np.ndarray, " I"] | None = None) -> Support:
    """Compares answers with the votes of their instances.

    Args:
        gold: NaN where unknown; what is known is against no vote.

    Example: one answer goes against three labels
        >>> support(np.array([[3.0, 0.0], [1.0, 2.0]]), [0.75, 1.0])._asdict()
        {'instances': 2, 'positive': 2, 'expected': 1.75, 'against': 1, 'voted': 1, 'labels': (4.0, 2.0)}
    """
    p, n = probabilities(posterior), votes.sum(1)
    yes, most = p > 0.5, votes[:, 1] > votes[:, 0]
    clear = (n >= LEAST_VOTES) & (votes.max(1) >= CLEAR * n * (1 - TIE))
    negative, positive = votes.sum(0).tolist()
    clear &= (p != 0.5) & (True if gold is None else np.isnan(gold))
    against = int((clear & (yes != most)).sum())
    return Support(len(p), int(yes.sum()), float(p.sum()), against, int(most.sum()), (negative, positive))


def about_prior(class_prior: float | str) -> str:
    """Why answers may go against their labels in a model with this class prior, and what to compare with."""
    why = "Most labelers may be wrong there in the same way"
    if isinstance(class_prior, str):
        return f"{why}, or the model has the classes wrong; compare with model 'majority'."
    return (
        f"{why}, or the model splits a frequent class in two, as it can where the class prior is fixed (here at "
        f"{class_prior:g}); compare with class_prior='learn' (--class-prior learn) and with model 'majority'."
    )


def about_support(found: Support, words: Words | None, advice: str) -> list[str]:
    """What answers rest on besides their labels, where that is much.

    Args:
        advice: why answers may go against their labels, and what to compare with.
    """
    out, (zero, one) = [], named(words)
    fewer, total = min(found.labels), sum(found.labels)
    frequent, absent = (zero, one) if found.labels[1] == fewer else (one, zero)
    alike = fewer == 0 or (fewer <= 1 and total >= MANY)
    if alike:
        all_ = f"All {total:g} labels" if fewer == 0 else f"All but one of {total:g} labels"
        out.append(
            f"{all_} are {frequent}. Labels of one class say nothing of the other: the probabilities, and what is said "
            f"of labelers on instances that are {absent}, rest on the priors."
        )
    rare = min(found.expected, found.instances - found.expected)
    if not alike and found.instances >= MANY and rare < 1:
        which = one if found.expected == rare else zero
        out.append(
            f"Less than one of {found.instances} instances is expected to be {which}: what is said of labelers on such "
            "instances rests on the priors."
        )
    if found.against > AGAINST * found.instances:
        out.append(
            f"{found.against} of {found.instances} answers contradict at least three quarters of their instance's "
            f"labels: {found.positive} instances are answered {one}, and of {found.voted} most labels say so. {advice}"
        )
    return out


def about_gold(gold: Float[np.ndarray, " I"] | None, words: Words | None, placing: bool = False) -> list[str]:
    """What gold labels cannot say, being of one class or nearly so.

    Args:
        gold: -1 or +1, NaN (or 0) where unknown.
        placing: whether they are to place a class boundary, for which few of a class are too few.
    """
    if gold is None:
        return []
    counts = [int((gold < 0).sum()), int((gold > 0).sum())]
    few, n = min(counts), sum(counts)
    rare, frequent = sorted(range(2), key=counts.__getitem__)
    names = named(words)
    if few == 0:
        said = (
            f"All {n} gold labels are {names[frequent]}: they fix these instances and say nothing of labelers on "
            f"instances that are {names[rare]}."
        )
        more = " They neither place the class boundary nor calibrate the probabilities; gold of both classes does."
        return [said + more * placing]
    if placing and few < LEAST_GOLD:
        return [
            f"Only {few} of {n} gold labels {'is' if few == 1 else 'are'} {names[rare]}: the class boundary that they "
            f"place is little known; {LEAST_GOLD} or more of each class would tell more."
        ]
    return []


def about_answers(posterior, n_labels: np.ndarray, words: Words | None = None) -> list[str]:
    """What answers and the numbers of labels of each labeler say themselves."""
    out = []
    single = np.count_nonzero(n_labels == 1)
    if single:
        out.append(f"{single} of {len(n_labels)} labelers gave one label; what is said of them is mostly prior.")
    p = probabilities(posterior)
    ties = np.count_nonzero(p == 0.5)
    if ties:
        out.append(f"{ties} of {len(p)} instances are undecided (probability 0.5); their label says {named(words)[0]}.")
    return out
