"""What is known of the label sets: title, kind, licence, citation and, of the public ones, their files."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from importlib import resources


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a repository, by its path there."""

    path: str
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A label set.

    Attributes:
        kind: of its labels: ``binary`` or ``several classes``.
        repository, commit, files: on GitHub, where it is public there; else it can only be had locally.
    """

    title: str
    kind: str
    licence: str
    citation: str
    repository: str = ""
    commit: str = ""
    files: tuple[File, ...] = ()


@functools.cache
def known() -> dict[str, Entry]:
    """Read the registry: every known set by name.

    Example:
        >>> known()["bluebirds"].repository
        'welinder/cubam'
    """
    sets = tomllib.loads(resources.files("crowdjax.datasets").joinpath("registry.toml").read_text("utf-8"))
    return {
        name: Entry(**about | {"files": tuple(File(**f) for f in about.get("files", ()))})
        for name, about in sets.items()
    }
