"""A TOML file and ``key=value`` overrides to a checked, frozen config. What is not known is refused by name.

study = "fig3"          # which study; the rest are the fields of its Config
n_repeats = 10
[models.GLAD]           # one model: a preset of crowdjax.factor, and what differs from it
preset = "glad"
labeler = [1.0, 1.0]
covariates = []         # sides whose features the model gets: "labeler", "instance"
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import json
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cattrs

from crowdjax.factor import PRESETS, FactorConfig, Solver
from crowdjax.labels import InputError

STUDIES = (
    *("specialist", "fig3", "table1", "fig4", "real", "heldout", "leaderboard", "intervals", "look"),
    *("theodon_sim", "theodon_public", "rare", "calibration", "sbc"),
    "quickstart",
)


@dataclasses.dataclass(frozen=True)
class Model:
    """A factor model and the sides whose features it is given."""

    config: FactorConfig
    covariates: tuple[Literal["labeler", "instance"], ...] = ()


def preset(name: str, *covariates: str, **changes) -> Model:
    """A preset with changes."""
    return Model(dataclasses.replace(PRESETS[name], **changes), covariates)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A study, its config and its name."""

    name: str
    study: str
    config: Any

    @property
    def module(self):
        return importlib.import_module(f"experiments.{self.study}")

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


def load(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a TOML file. Raises ``InputError`` with one line for whatever is wrong."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; allowed: a TOML file of configs/") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read as TOML: {error}") from None
    for text in overrides:
        _override(settings, text)
    name, study = settings.pop("name", path.stem), settings.pop("study", None)
    if not (isinstance(name, str) and name and set(name) <= set(NAME)):
        raise InputError(f"{path}: name: got {name!r}; allowed: letters, digits, - and _")
    if study not in STUDIES:
        raise InputError(f"{path}: study: got {study!r}; allowed: {', '.join(STUDIES)}{_nearest(study, STUDIES)}")
    kind = importlib.import_module(f"experiments.{study}").Config
    return Experiment(name, study, structure(settings, kind, str(path)))


NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


def structure(value: Any, kind: Any, place: str) -> Any:
    """``value`` as a ``kind``: dataclass, number, text, list, table or model; nothing is converted silently."""
    if kind is Model:
        return _model(value, place)
    if dataclasses.is_dataclass(kind):
        fields = typing.get_type_hints(kind)
        _known(value, fields, place)
        try:
            return kind(**{k: structure(v, fields[k], f"{place}: {k}") for k, v in value.items()})
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{place}: {error}") from None
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value in args:
            return value
        raise InputError(f"{place}: got {value!r}; allowed: {', '.join(map(str, args))}{_nearest(value, args)}")
    if origin in (typing.Union, types.UnionType):
        return _first(value, args, place)
    if origin is dict and isinstance(value, dict):
        return {k: structure(v, args[1], f"{place}: {k}") for k, v in value.items()}
    if origin is tuple and isinstance(value, list):
        if args[-1] is Ellipsis:
            return tuple(structure(v, args[0], f"{place}[{n}]") for n, v in enumerate(value))
        if len(value) == len(args):
            return tuple(structure(v, a, f"{place}[{n}]") for n, (v, a) in enumerate(zip(value, args, strict=True)))
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    if kind is type(None) and value == "none":
        return None
    raise InputError(f"{place}: got {value!r}; allowed: {_described(kind)}")


def _model(value: Any, place: str) -> Model:
    """A preset's settings with some of them changed."""
    fields = typing.get_type_hints(FactorConfig)
    _known(value, {"preset": str, "covariates": tuple, **fields}, place)
    given = dict(value)
    base = structure(given.pop("preset", "factor"), Literal[tuple(PRESETS)], f"{place}: preset")
    covariates = given.pop("covariates", [])
    covariates = structure(covariates, typing.get_type_hints(Model)["covariates"], f"{place}: covariates")
    changes = {k: structure(v, fields[k], f"{place}: {k}") for k, v in given.items()}
    try:
        return Model(dataclasses.replace(PRESETS[base], **changes), covariates)
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None


def _first(value, kinds, place):
    for kind in kinds:
        try:
            return structure(value, kind, place)
        except InputError:
            continue
    raise InputError(f"{place}: got {value!r}; allowed: {' or '.join(map(_described, kinds))}")


def _known(value, fields, place):
    if not isinstance(value, dict):
        raise InputError(f"{place}: got {value!r}; allowed: a table of {', '.join(fields)}")
    for key in value:
        if key not in fields:
            raise InputError(f"{place}: unknown key {key!r}; allowed: {', '.join(fields)}{_nearest(key, fields)}")


def _nearest(got, allowed) -> str:
    near = difflib.get_close_matches(str(got), list(map(str, allowed)), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _described(kind) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin is tuple:
        return "a list of " + (_described(args[0]) if args[-1] is Ellipsis else ", ".join(map(_described, args)))
    if origin is dict:
        return "a table"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_described, args))
    return {float: "a number", int: "a whole number", str: "text", bool: "true, false", type(None): "none"}.get(
        kind, getattr(kind, "__name__", str(kind))
    )


def _override(settings: dict, text: str) -> None:
    """Puts ``a.b=value`` into nested settings; the value is TOML, or else text."""
    key, sign, value = text.partition("=")
    if not (key and sign):
        raise InputError(f"override: got {text!r}; allowed: key=value, for instance n_repeats=10")
    *tables, last = key.strip().split(".")
    for part in tables:
        settings = settings.setdefault(part, {})
        if not isinstance(settings, dict):
            raise InputError(f"override {text!r}: {part} is not a table")
    try:
        settings[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        settings[last] = value


__all__ = ["STUDIES", "Experiment", "FactorConfig", "Model", "Solver", "load", "preset", "structure"]
