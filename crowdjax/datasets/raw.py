"""The files of the public sources, each in a form of its own, as rows: judgements and truths. Ids are text."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from crowdjax.extras import needed


class Rows(NamedTuple):
    """Judgements (labeler, instance, 0 or 1) in the order of the source, and truths (instance, 0 or 1)."""

    labels: list[tuple[str, str, int]]
    truth: list[tuple[str, int]]

    def tables(self) -> dict[str, pa.Table]:
        """Return the tables ``labels`` and ``truth``."""
        names = {"labels": ("labeler", "instance", "label"), "truth": ("instance", "label")}
        columns = {"labels": zip(*self.labels, strict=True), "truth": zip(*self.truth, strict=True)}
        return {part: pa.table(dict(zip(names[part], map(pa.array, columns[part]), strict=True))) for part in names}


def duchenne(folder: Path) -> Rows:
    """Read lines ``image worker label`` and ``image label``; only the images that have truth."""
    truth = [(image, int(label)) for image, label in _fields(folder / "groundtruth.txt")]
    known = {image for image, _ in truth}
    judged = _fields(folder / "mturklabels.txt")
    return Rows([(who, image, int(label)) for image, who, label in judged if image in known], truth)


def bluebirds(folder: Path) -> Rows:
    """Read YAML: ``{worker: {image: bool}}`` and ``{image: bool}``."""
    judged, truth = (_yaml(folder / name) for name in ("labels.yaml", "gt.yaml"))
    labels = [(str(who), str(image), int(label)) for who, own in judged.items() for image, label in own.items()]
    return Rows(labels, [(str(image), int(label)) for image, label in truth.items()])


def ducks(folder: Path) -> Rows:
    """Read lines ``image worker label`` by number after a line of sizes; YAML of the numbers behind ids, and of
    species."""
    worker, image = ({k: str(i) for i, k in _yaml(folder / "map.yaml")[part].items()} for part in ("wkr", "img"))
    birds = _yaml(folder / "classes.yaml")
    ducks = [birds["species"][name] for name in ("Mallard", "American Black Duck")]
    _, *judged = _fields(folder / "labels.txt")
    labels = [(worker[int(who)], image[int(what)], int(label)) for what, who, label in judged]
    return Rows(labels, [(image[k], int(kind in ducks)) for k, kind in birds["labels"].items()])


def d_possent(folder: Path) -> Rows:
    """Read CSV with columns item, worker, label; and one with columns item, truth."""
    files = ((folder / name).read_text().splitlines() for name in ("label.csv", "truth.csv"))
    (_, *judged), (_, *truth) = map(csv.reader, files)
    return Rows([(who, item, int(label)) for item, who, label in judged], [(item, int(label)) for item, label in truth])


PARSERS: dict[str, Callable[[Path], Rows]] = {f.__name__: f for f in (duchenne, bluebirds, ducks, d_possent)}


def _fields(path: Path) -> Iterator[list[str]]:
    return (line.split() for line in path.read_text().splitlines() if line.strip())


def _yaml(path: Path):
    with needed(str(path)):
        import yaml

    return yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
