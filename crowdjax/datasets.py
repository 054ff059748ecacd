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


def _labels(name: str) -> Path | None:
    files = (folder() / name / f"labels.{kind}" for kind in ("csv", "parquet"))
    return next((f for f in files if f.is_file()), None)


def _truth(name: str, instances: np.ndarray) -> Float[np.ndarray, " I"]:
    """The truths of the instances that have labels; a set may know more."""
    file = folder() / name / "truth.csv"
    text = pyarrow.csv.ConvertOptions(column_types={"instance": pyarrow.string()})
    table = pyarrow.csv.read_csv(file, convert_options=text)
    judged = io.positions(instances, np.array(table["instance"].to_pylist()))
    truth = np.full(len(instances), np.nan)
    truth[judged >= 0] = np.where(table["label"].to_numpy()[judged[judged >= 0]] == 1, 1.0, -1.0)
    return truth
