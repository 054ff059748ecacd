"""Real label sets with truth, from a local folder: $CROWDJAX_DATA, or shared/data beside the project.

Every set is a folder of its name with ``labels.csv`` (or ``.parquet``; labeler, instance, label) and ``truth.csv``
(instance, label). Nothing is fetched. Ids are text and name things only: in some sets an id gives the truth away.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.csv
from jaxtyping import Float

from crowdjax import io
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats

# Binary questions with truth. Linked sets: hcb and trec2011, sp and sp_amt, medrel_cause and medrel_treat.
BINARY = (
    "duchenne",
    "bluebirds",
    "ducks",
    "hcb",
    "trec2011",
    "d_possent",
    "sp",
    "sp_amt",
    "zencrowd",
    "medrel_cause",
    "medrel_treat",
)
VARIABLE = "CROWDJAX_DATA"


class MissingData(InputError):
    """A set that is not on this machine; the message says where it was looked for."""


class Dataset(NamedTuple):
    """Labels, the ids behind their indices, and the truth of every instance: -1 or +1, NaN where unknown."""

    labels: Labels
    index: LabelIndex
    truth: Float[np.ndarray, " I"]


def folder() -> Path:
    """Where the sets are looked for."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"


def available() -> tuple[str, ...]:
    """The names of the binary sets with truth that are here, in the order of ``BINARY``."""
    return tuple(name for name in BINARY if _labels(name) and (folder() / name / "truth.csv").is_file())


def load(name: str, repeats: Repeats = "count") -> Dataset:
    """One binary set.

    Args:
        repeats: what to do with several judgements of one labeler on one instance, see ``Labels.from_arrays``.

    Raises:
        InputError: there is no set of this name.
        MissingData: it is not on this machine.
    """
    if name not in BINARY:
        raise InputError(f"data set: got {name!r}; allowed: {', '.join(BINARY)}")
    if name not in available():
        raise MissingData(
            f"data set {name}: not here; needed: a folder of sets, one of them {name}, named by ${VARIABLE}"
        )
    labels, index = io.read_labels(_labels(name), repeats=repeats)
    return Dataset(labels, index, _truth(name, index.instances))


def scores(name: str, instances: np.ndarray) -> Float[np.ndarray, " I"] | None:
    """The score of every instance in ``scores.csv`` (instance, score), NaN where it has none; None without the file."""
    file = folder() / name / "scores.csv"
    return _column(file, "score", instances) if file.is_file() else None


def _labels(name: str) -> Path | None:
    files = (folder() / name / f"labels.{kind}" for kind in ("csv", "parquet"))
    return next((f for f in files if f.is_file()), None)


def _truth(name: str, instances: np.ndarray) -> Float[np.ndarray, " I"]:
    """The truths of the instances that have labels; a set may know more."""
    label = _column(folder() / name / "truth.csv", "label", instances)
    return np.where(np.isnan(label), np.nan, np.where(label == 1, 1.0, -1.0))


def _column(file: Path, column: str, instances: np.ndarray) -> Float[np.ndarray, " I"]:
    """A column of numbers in the order of the instances, NaN where they have no row."""
    text = pyarrow.csv.ConvertOptions(column_types={"instance": pyarrow.string()})
    table = pyarrow.csv.read_csv(file, convert_options=text)
    row = io.positions(instances, np.array(table["instance"].to_pylist()))
    values = np.full(len(instances), np.nan)
    values[row >= 0] = table[column].to_numpy()[row[row >= 0]]
    return values
