"""Answers about instances as a table and a record, whatever model they come from, and what every reader should know."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import Int

from crowdjax import io, results
from crowdjax.labels import Labels, Repeats

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


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Answers about instances.

    Attributes:
        instances: a pyarrow table: instance, probability (of the truth being 1), label (1 where that is above one half,
            else 0).
        record: what ``fit.json`` (``predict.json``) holds: sizes, objective, settings, versions.

    Example:
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
        >>> result = crowdjax.fit(labels, model="one-coin")
        >>> isinstance(result, Prediction), result.warnings
        (True, ())
    """

    instances: pa.Table
    record: dict[str, Any]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the answers should know, one sentence each."""
        return tuple(self.record["warnings"])

    def save(self, out: str | os.PathLike) -> None:
        """Writes the answers to a folder, which appears whole or not at all."""
        with results.new_result(out, self.record, "predict.json") as folder:
            pa.parquet.write_table(self.instances, folder / "instances.parquet")


def probabilities(posterior) -> np.ndarray:
    """Posteriors as float64; ties that rounding missed are ties."""
    p = np.asarray(posterior, np.float64)
    return np.where(abs(p - 0.5) < TIE, 0.5, p)


def answer_table(ids: pa.Array, posterior) -> pa.Table:
    """The table of answers: instance, probability, label; labels are 1 above one half."""
    p = probabilities(posterior)
    return pa.table({"instance": ids, "probability": p, "label": (p > 0.5).astype(np.int8)})


def labels_of_labelers(labels: Labels) -> Int[np.ndarray, " W"]:
    """How many labels each labeler gave."""
    return np.bincount(labels.labeler[labels.counts > 0], minlength=labels.n_labelers)


def about_repeats(labels: Labels, triples: io.Triples, repeats: Repeats) -> list[str]:
    """What was done with repeated judgements, if there are any."""
    n = len(triples.label) if triples.weight is None else np.count_nonzero(triples.weight)
    real = labels.counts > 0
    labeler, instance = labels.labeler[real], labels.instance[real]
    again = n - (1 + np.count_nonzero(np.diff(instance.astype(np.int64) * labels.n_labelers + labeler)))
    if not again:
        return []
    return [f"{again} of {n} labels repeat an earlier one (labeler and instance alike); {TREATMENT[repeats]}."]


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
