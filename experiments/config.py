"""A TOML file and ``key=value`` overrides to a checked, frozen config. What is wrong is refused by name and line.

study = "fig3"          # which study; the rest are the fields of its Config
n_repeats = 10
[models.GLAD]           # one model: a preset of crowdjax.factor, and what differs from it
preset = "glad"
labeler = [1.0, 1.0]
covariates = []         # sides whose features the model gets: "labeler", "instance"
[rerun]                 # how committed results are made again and compared (``Rerun``)
tolerance = { correlation = 0.01 }
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import importlib
import json
import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import cattrs

from crowdjax.datasets import BINARY
from crowdjax.factor import PRESETS, FactorConfig
from crowdjax.labels import InputError
from experiments import CONFIGS
from experiments.lines import lines

STUDIES = (
    *("specialist", "fig3", "table1", "fig4", "real", "heldout", "leaderboard", "intervals", "verdicts"),
    *("verdicts_classes", "checks", "classes", "stress", "binary", "detector", "interactions"),
    *("unseen", "groups", "adversaries", "classifier"),
    *(
        "theodon_sim",
        "theodon_public",
        "rare",
        "headline",
        "shares",
        "machines",
        "assisted",
        "sbc",
        "sparse",
    ),
    "quickstart",
)
NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

Set = Literal[BINARY]  # a real set
Place = tuple[str | int, ...]  # keys, and numbers of elements, from the outermost table to a setting


@dataclasses.dataclass(frozen=True)
class Model:
    """A factor model and the sides whose features it is given.

    Attributes:
        config: a preset, and what differs from it.
        covariates: sides whose features the model gets.
    """

    config: FactorConfig
    covariates: tuple[Literal["labeler", "instance"], ...] = ()


def preset(name: str, *covariates: str, **changes) -> Model:
    """A preset with changes."""
    return Model(dataclasses.replace(PRESETS[name], **changes), covariates)


@dataclasses.dataclass(frozen=True)
class Rerun:
    """How committed results are made again, and how far a value may be off; not part of what is run.

    Attributes:
        cells: names of the cells to compute; empty: all.
        tolerance: by metric, how far a value may be off, absolute and relative to it.
        switched: the share of a metric's values that may be off by more: fits that end at another optimum.
    """

    cells: tuple[str, ...] = ()
    tolerance: dict[str, float] = dataclasses.field(default_factory=dict)
    switched: float = 0.0

    def __post_init__(self):
        if not 0 <= self.switched < 1:
            raise ValueError(f"switched: got {self.switched}; allowed: a share from 0 to less than 1")
        for metric, value in self.tolerance.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"tolerance: got {value} for {metric}; allowed: 0 or more")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A study, its config and its name; the file's text and the overrides that they come from, to repeat a run."""

    name: str
    study: str
    config: Any
    source: str = ""
    overrides: tuple[str, ...] = ()
    rerun: Rerun = Rerun()

    @property
    def module(self):
        return importlib.import_module(f"experiments.{self.study}")

    @property
    def cells(self) -> list[tuple]:
        """What the run is made of."""
        return self.module.cells(self.config)

    def resolved(self) -> dict[str, Any]:
        """Every setting, defaults included, as what JSON can hold; and which of the real sets it uses are there."""
        from crowdjax import datasets

        there = [s for s in self.module.data(self.config) if s in datasets.available()]
        return {"name": self.name, "study": self.study, **cattrs.unstructure(self.config), "data": there}

    @property
    def folder(self) -> str:
        """NAME-HASH; the hash is of all settings and of nothing else."""
        text = json.dumps(self.resolved(), sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class Wrong(Exception):
    """A setting that is not allowed, and its place; ``told``: the place that the message names, where it is another."""

    def __init__(self, place: Place, text: str, told: Place | None = None):
        super().__init__(text)
        self.place, self.told = place, place if told is None else told


def load(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a TOML file, or of a config that comes along, by its name (``quickstart``).

    Raises:
        InputError: one line for whatever is wrong: which setting, on which line or in which override, what is allowed.
    """
    if not os.path.lexists(path) and str(path) in {known.stem for known in CONFIGS.glob("*.toml")}:
        path = CONFIGS / f"{path}.toml"
    if os.path.lexists(path) and not path.is_file():
        raise InputError(f"{path}: no file; allowed: a TOML file of configs/")
    try:
        text = path.read_text(encoding="utf-8")
        settings = tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; allowed: a TOML file of configs/") from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        place, why = (f"{path}:{line[1]}", str(error)[: line.start()]) if line else (path, error)
        raise InputError(f"{place}: cannot be read as TOML: {why}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    origin = {place: f"{path}:{line}" for place, line in lines(text).items()}
    try:
        for override in overrides:
            _override(settings, origin, override)
        return dataclasses.replace(_experiment(settings, path.stem), source=text, overrides=tuple(overrides))
    except Wrong as wrong:
        places = [wrong.place[:n] for n in range(len(wrong.place), 0, -1)]
        where = next((origin[place] for place in places if place in origin), str(path))
        raise InputError(": ".join(filter(None, (_cut(where), _cut(dotted(wrong.told)), str(wrong))))) from None


def _shown(value: Any) -> str:
    """A value for a message."""
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."


def _experiment(settings: dict[str, Any], stem: str) -> Experiment:
    name, study = settings.pop("name", stem), settings.pop("study", None)
    rerun = structure(settings.pop("rerun", {}), Rerun, ("rerun",))
    if not (isinstance(name, str) and name and set(name) <= set(NAME)):
        raise Wrong(("name",), f"got {_shown(name)}; allowed: letters, digits, - and _")
    structure(study, Literal[STUDIES], ("study",))
    kind = importlib.import_module(f"experiments.{study}").Config
    return Experiment(name, study, structure(settings, kind), rerun=rerun)


def study_of(name: str) -> str:
    """The name of a study, refused where there is none."""
    if name not in STUDIES:
        raise InputError(f"study: got {_shown(name)}; {_allowed(name, STUDIES)}")
    return name


def write_new(path: Path, text: str) -> None:
    """Writes a file that is not there yet."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path}: is there already; allowed: a new file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def dotted(place: Place) -> str:
    """``models.GLAD.labeler[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def structure(value: Any, kind: Any, place: Place = ()) -> Any:
    """``value`` as a ``kind``: dataclass, number, text, list, table or model; nothing is converted silently.

    Raises:
        Wrong: it is none.
    """
    if kind is Model:
        return _model(value, place)
    if dataclasses.is_dataclass(kind):
        fields = typing.get_type_hints(kind)
        _known(value, fields, place)
        return _made(kind, {k: structure(v, fields[k], (*place, k)) for k, v in value.items()}, place)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value in args:
            return value
        raise Wrong(place, f"got {_shown(value)}; {_allowed(value, args)}")
    if origin in (typing.Union, types.UnionType):
        return _first(value, args, place)
    if origin is dict and isinstance(value, dict):
        return {k: structure(v, args[1], (*place, k)) for k, v in value.items()}
    if origin is tuple and isinstance(value, list):
        if args[-1] is Ellipsis:
            return tuple(structure(v, args[0], (*place, n)) for n, v in enumerate(value))
        if len(value) == len(args):
            return tuple(structure(v, a, (*place, n)) for n, (v, a) in enumerate(zip(value, args, strict=True)))
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    if kind is type(None) and value == "none":
        return None
    raise Wrong(place, f"got {_shown(value)}; allowed: {described(kind)}")


def _model(value: Any, place: Place) -> Model:
    """A preset's settings with some of them changed."""
    fields = typing.get_type_hints(FactorConfig)
    _known(value, {"preset": str, "covariates": tuple, **fields}, place)
    given = dict(value)
    base = structure(given.pop("preset", "factor"), Literal[tuple(PRESETS)], (*place, "preset"))
    kind = typing.get_type_hints(Model)["covariates"]
    covariates = structure(given.pop("covariates", []), kind, (*place, "covariates"))
    changes = {k: structure(v, fields[k], (*place, k)) for k, v in given.items()}
    return Model(_made(functools.partial(dataclasses.replace, PRESETS[base]), changes, place), covariates)


def _made(make, settings: dict[str, Any], place: Place):
    """What ``make`` makes of the settings; where it refuses one by its name, that one is what is wrong."""
    try:
        return make(**settings)
    except ValueError as error:
        name, _, text = str(error).partition(": ")
        raise (Wrong((*place, name), text) if name in settings else Wrong(place, str(error))) from None


def _first(value, kinds, place: Place):
    for kind in kinds:
        try:
            return structure(value, kind, place)
        except Wrong:
            continue
    raise Wrong(place, f"got {_shown(value)}; allowed: {' or '.join(map(described, kinds))}")


def _known(value, fields: Iterable[str], place: Place) -> None:
    if not isinstance(value, dict):
        raise Wrong(place, f"got {_shown(value)}; allowed: a table of {', '.join(fields)}")
    for key in value:
        if key not in fields:
            raise Wrong((*place, key), f"unknown key {_shown(key)}; {_allowed(key, fields)}", place)


def _allowed(got, allowed: Iterable) -> str:
    """What is allowed, and what of it was meant."""
    allowed = list(map(str, allowed))
    near = difflib.get_close_matches(str(got), allowed, n=1)
    return f"allowed: {', '.join(allowed)}" + (f"; did you mean {near[0]}?" if near else "")


def described(kind: Any) -> str:
    """A kind of setting in words."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin is tuple:
        many = {float: "numbers", int: "whole numbers"}.get(args[0]) or described(args[0])
        return f"a list of {many}" if args[-1] is Ellipsis else f"a list of {len(args)} {many}"
    if origin is dict:
        return "a table"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(described, args))
    return {float: "a number", int: "a whole number", str: "text", bool: "true, false", type(None): "none"}.get(
        kind, getattr(kind, "__name__", str(kind))
    )


def _override(settings: dict[str, Any], origin: dict[Place, str], text: str) -> None:
    """Puts ``a.b=value`` into nested settings; the value is TOML, or else text. From here on that is its origin."""
    key, sign, value = text.partition("=")
    if not (key and sign):
        raise InputError(f"override: got {_shown(text)}; allowed: key=value, for instance n_repeats=10")
    said = f"override {text!r}"
    *tables, last = place = tuple(key.strip().split("."))
    for n, part in enumerate(tables, 1):
        settings = settings.setdefault(part, {})
        origin.setdefault(place[:n], said)
        if not isinstance(settings, dict):
            raise InputError(f"{said}: {part} is not a table")
    for old in [p for p in origin if p[: len(place)] == place]:
        del origin[old]
    origin[place] = said
    try:
        settings[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        settings[last] = value
