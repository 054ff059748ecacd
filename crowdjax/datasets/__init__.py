"""Real label sets, from a local folder ($CROWDJAX_DATA, or shared/data beside the project) or from the download cache;
public sets can be downloaded.

Every set is a folder of its name with ``labels.csv`` (or ``.parquet``; labeler, instance, label) and ``truth.csv``
(instance, label). Ids are text and name things only: in some sets an id gives the truth away.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.csv
from jaxtyping import Float

from crowdjax import io, saving
from crowdjax.datasets.download import DownloadError, fetch
from crowdjax.datasets.registry import Entry, known
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats
from crowdjax.tables import write

__all__ = [
    "BINARY",
    "VARIABLE",
    "Dataset",
    "DownloadError",
    "MissingData",
    "Set",
    "available",
    "folder",
    "get",
    "listed",
    "load",
    "scores",
]

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
RECORD = "data.json"


class MissingData(InputError):
    """Exception for a set that is not on this machine; the message names the folders that were searched."""


class Dataset(NamedTuple):
    """A label set: labels, the ids behind their indices, and the truth of every instance (-1 or +1, NaN where
    unknown).
    """

    labels: Labels
    index: LabelIndex
    truth: Float[np.ndarray, " I"]


@dataclasses.dataclass(frozen=True)
class Set:
    """A label set's description and location; ``str`` shows both, with licence and citation.

    Attributes:
        entry: the registry's entry; None for an unknown folder among the local sets.
        where: its folder; None if it is not on this machine.
    """

    name: str
    entry: Entry | None
    where: Path | None

    def __str__(self) -> str:
        absent = "can be fetched: crowdjax data get" if self.entry and self.entry.files else "not here; local only"
        lines = [f"{self.name}: {self.entry.title} ({self.entry.kind})" if self.entry else self.name]
        lines.append(f"  at        {self.where}" if self.where else f"  at        {absent}")
        lines.append(f"  licence   {self.entry.licence if self.entry else 'see its folder'}")
        return "\n".join([*lines, f"  citation  {self.entry.citation}"] if self.entry else lines)


def folder() -> Path:
    """Find the folder that is searched for sets."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"


def cache() -> Path:
    """Find the folder of downloaded sets, inside the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crowdjax" / "data"


def available() -> tuple[str, ...]:
    """List the names of the local binary sets with truth, in the order of ``BINARY``."""
    return tuple(name for name in BINARY if (home := _home(name)) and (home / "truth.csv").is_file())


def listed() -> list[Set]:
    """List every set that is known or in the local folder."""
    local = sorted(p.name for p in folder().glob("*") if _labels(p)) if folder().is_dir() else []
    return [Set(name, known().get(name), _home(name)) for name in dict.fromkeys([*known(), *local])]


def get(name: str, out: str | os.PathLike | None = None) -> Set:
    """Locate a set, and download it if it is public and not on this machine; with ``out``, copy its labels and truth to
    that folder.

    Raises:
        InputError: there is no set of this name, or ``out`` cannot be written or holds other files.
        MissingData: the set is not public and not on this machine.
        DownloadError: the download failed; nothing was written.
    """
    sets = {found.name: found for found in listed()}
    if name not in sets:
        raise InputError(f"data set: got {name!r}; allowed: {', '.join(sets)}")
    if out is not None:
        saving.check_out(out)
    found = sets[name]
    home = found.where or _fetched(name)
    if out is None:
        return dataclasses.replace(found, where=home)
    about = {"name": name, **({} if found.entry is None else dataclasses.asdict(found.entry)), "files": {}}
    with saving.new_result(out, about, RECORD) as new:
        for file in (home / f for f in ("labels.csv", "labels.parquet", "truth.csv")):
            if file.is_file():
                shutil.copy(file, new)
    return dataclasses.replace(found, where=Path(out))


def load(name: str, repeats: Repeats = "count", *, download: bool = False) -> Dataset:
    """Load a binary label set by name.

    Args:
        repeats: treatment of repeated judgements of one labeler on one instance, see ``Labels.from_arrays``.
        download: whether to download the set if it is public and not on this machine.

    Raises:
        InputError: there is no set of this name.
        MissingData: the set is not on this machine.
        DownloadError: the download failed.
    """
    if name not in BINARY:
        raise InputError(f"data set: got {name!r}; allowed: {', '.join(BINARY)}")
    home = _home(name) if name in available() else _fetched(name) if download else None
    if home is None:
        raise MissingData(
            f"data set {name}: not here; needed: a folder of sets, one of them {name}, named by ${VARIABLE}"
        )
    labels, index = io.read_labels(_labels(home), repeats=repeats)
    return Dataset(labels, index, _truth(home, index.instances))


def scores(name: str, instances: np.ndarray) -> Float[np.ndarray, " I"] | None:
    """Read the score of every instance from ``scores.csv`` (instance, score), NaN without one; None without the
    file.
    """
    file = folder() / name / "scores.csv"
    return _column(file, "score", instances) if file.is_file() else None


def _home(name: str) -> Path | None:
    """Return the folder of a set: the local one, else that of the cache if it is as it was written."""
    if _labels(folder() / name):
        return folder() / name
    try:
        saving.read_result(cache() / name, RECORD)
    except InputError:
        return None
    return cache() / name


def _fetched(name: str) -> Path:
    """Return the folder of a set in the cache, after fetching it."""
    entry = known().get(name)
    if entry is None or not entry.files:
        raise MissingData(f"data set {name}: local only, and not here; needed: a folder of sets, named by ${VARIABLE}")
    rows = fetch(name, entry)
    if _home(name) is None:  # what is there is nobody's own: a copy that was damaged
        shutil.rmtree(cache() / name, ignore_errors=True)
    with saving.new_result(cache() / name, {"name": name, **dataclasses.asdict(entry)}, RECORD) as new:
        for part, table in rows.tables().items():
            write(table, new / f"{part}.csv")
    return cache() / name


def _labels(home: Path) -> Path | None:
    files = (home / f"labels.{kind}" for kind in ("csv", "parquet"))
    return next((f for f in files if f.is_file()), None)


def _truth(home: Path, instances: np.ndarray) -> Float[np.ndarray, " I"]:
    """Return the truths of the instances that have labels; a set may know more."""
    label = _column(home / "truth.csv", "label", instances)
    return np.where(np.isnan(label), np.nan, np.where(label == 1, 1.0, -1.0))


def _column(file: Path, column: str, instances: np.ndarray) -> Float[np.ndarray, " I"]:
    """Return a column of numbers in the order of the instances, NaN where they have no row."""
    text = pyarrow.csv.ConvertOptions(column_types={"instance": pyarrow.string()})
    table = pyarrow.csv.read_csv(file, convert_options=text)
    row = io.positions(instances, np.array(table["instance"].to_pylist()))
    values = np.full(len(instances), np.nan)
    values[row >= 0] = table[column].to_numpy()[row[row >= 0]]
    return values
