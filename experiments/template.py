"""A study's config as a TOML file that explains itself: every key, its default, what is allowed and what it means.

What it means is said in one place, the ``Attributes:`` of the config's docstring.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import math
import re
import textwrap
import typing
from collections.abc import Iterator
from typing import Any

from crowdjax.factor import PRESETS, FactorConfig
from experiments.config import NAME, STUDIES, Model, described

WIDTH = 100


def template(study: str) -> str:
    """The text of a config of a study, with its defaults."""
    module = importlib.import_module(f"experiments.{study}")
    about = inspect.getdoc(module).split("\n\n")[0]
    lines = [
        *_comment(" ".join(about.split())),
        "# Settings that are left out have the values below; key=value on the command line goes before them.",
        "",
        *_comment(f"Which study: {', '.join(STUDIES)}."),
        f'study = "{study}"',
        *_table(module.Config(), ()),
    ]
    return "\n".join(lines) + "\n"


def documented(kind: type) -> dict[str, str]:
    """What the docstring of a dataclass says of each of its fields, as a sentence."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.getdoc(kind).partition("Attributes:\n")[2].splitlines():
        start = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if start:
            names = start[1].split(", ")
            found |= dict.fromkeys(names, start[2])
        elif line.startswith("        "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            break
    return {name: re.sub("^[a-z]", lambda m: m[0].upper(), text).replace("``", "") for name, text in found.items()}


def _table(config: Any, path: tuple[str, ...]) -> Iterator[str]:
    """The keys of a dataclass: first those with a value, then those that are tables."""
    kinds, said = typing.get_type_hints(type(config)), documented(type(config))
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    tables = {name: v for name, v in values.items() if isinstance(v, dict) or dataclasses.is_dataclass(v)}
    for name in (name for name in values if name not in tables):
        yield from ("", *_comment(_allowed(type(config), name)))
        yield f"{name} = {toml(values[name])}"
    for name, value in tables.items():
        yield from ("", *_comment(said[name]))
        yield from _subtable(value, kinds[name], (*path, name))


def _subtable(value: Any, kind: Any, path: tuple[str, ...]) -> Iterator[str]:
    element = typing.get_args(kind)[1] if isinstance(value, dict) else kind
    if element is Model:
        yield "# Keys, and what differs from the preset:"
        for name, text in _of_a_model().items():
            yield from _comment(f"{name}: {text}", "    ")
    elif isinstance(value, dict):
        yield "# Keys, and their values where they are left out:"
        for field in dataclasses.fields(element):
            yield from _comment(f"{field.name} = {toml(field.default)}: {documented(element)[field.name]}", "    ")
    else:
        yield f"[{_dotted(path)}]"
        yield from _table(value, path)
        return
    for name, one in value.items() if isinstance(value, dict) else [(None, value)]:
        yield f"[{_dotted(path if name is None else (*path, name))}]"
        settings = _model(one) if element is Model else _differences(one, element())
        yield from (f"{key} = {toml(v)}" for key, v in settings.items())


def _of_a_model() -> dict[str, str]:
    """What each key of a model means."""
    return {
        "preset": f"One of {', '.join(PRESETS)}.",
        "covariates": _allowed(Model, "covariates"),
        **{field.name: _allowed(FactorConfig, field.name) for field in dataclasses.fields(FactorConfig)},
    }


def _allowed(kind: type, name: str) -> str:
    """What a key means, and what is allowed."""
    return f"{documented(kind)[name]} Allowed: {described(typing.get_type_hints(kind)[name])}."


def _model(model: Model) -> dict[str, Any]:
    """The nearest preset, and what differs from it."""
    differences = {name: _differences(model.config, preset) for name, preset in reversed(PRESETS.items())}
    name = min(differences, key=lambda name: len(differences[name]))
    return {"preset": name} | ({"covariates": model.covariates} if model.covariates else {}) | differences[name]


def _differences(one: Any, other: Any) -> dict[str, Any]:
    return {f.name: v for f in dataclasses.fields(one) if (v := getattr(one, f.name)) != getattr(other, f.name)}


def toml(value: Any) -> str:
    """A value in TOML; None as the text ``none``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        line = f"[{', '.join(map(toml, value))}]"
        return line if len(line) < WIDTH else "[\n" + "".join(f"    {toml(v)},\n" for v in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return '"none"' if value is None else repr(value)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(name if set(name) <= set(NAME) else json.dumps(name, ensure_ascii=False) for name in path)


def _comment(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"# {indent}", subsequent_indent=f"# {indent}{indent}")
