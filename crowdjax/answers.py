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

from crowdjax import io, results
from crowdjax import summary as summaries
from crowdjax.columns import Words
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
            probability (of the truth being 1), label (1 where that is above one half, else 0).
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
    votes = np.bincount(2 * instance.astype(np.int64) + yes, counts, 2 * labels.n_instances)
    cell = 4 * labeler.astype(np.int64) + yes
    agreement = np.bincount(cell, counts * (1 - p), 4 * labels.n_labelers)
    agreement += np.bincount(cell + 2, counts * p, 4 * labels.n_labelers)
    crowds = crowd_of(labeler, instance, labels.n_labelers, labels.n_instances).max(initial=-1) + 1
    return Tally(votes.reshape(-1, 2), agreement.reshape(-1, 2, 2), int(crowds))


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


def answer_table(ids: pa.Array, posterior) -> pa.Table:
    """The table of answers: instance, probability, label; labels are 1 above one half."""
    p = probabilities(posterior)
    return pa.table({"instance": ids, "probability": p, "label": (p > 0.5).astype(np.int8)})


def labels_of_labelers(labels: Labels) -> Int[np.ndarray, " W"]:
    """How many labels each labeler gave."""
    return np.bincount(labels.labeler[labels.counts > 0], minlength=labels.n_labelers)


def about_labels(labels: Labels, triples: io.Triples, repeats: Repeats) -> list[str]:
    """What was left out of the labels, and what was done with repeated judgements, if there are any."""
    n = len(triples.label) if triples.weight is None else np.count_nonzero(triples.weight)
    real = labels.counts > 0
    labeler, instance = labels.labeler[real], labels.instance[real]
    again = n - (1 + np.count_nonzero(np.diff(instance.astype(np.int64) * labels.n_labelers + labeler)))
    if not again or triples.anonymous:
        return [*triples.notes]
    return [
        *triples.notes,
        f"{again} of {n} labels repeat an earlier one (labeler and instance alike); {TREATMENT[repeats]}.",
    ]


def about_answers(posterior, n_labels: np.ndarray) -> list[str]:
    """What answers and the numbers of labels of each labeler say themselves."""
    out = []
    single = np.count_nonzero(n_labels == 1)
    if single:
        out.append(f"{single} of {len(n_labels)} labelers gave one label; what is said of them is mostly prior.")
    p = probabilities(posterior)
    ties = np.count_nonzero(p == 0.5)
    if ties:
        out.append(f"{ties} of {len(p)} instances are undecided (probability 0.5); their label says 0.")
    return out
