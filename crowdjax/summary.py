"""A result as text: what it is, whether it converged, its warnings and its first rows, on a screen at most."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

LINES, WIDTH = 25, 100
INDENT = 12  # columns for the name of a fact
WARNINGS = 8  # lines for all of them
CELL = 24  # characters of a value

Rows = tuple[pa.Table, int]  # the first rows of a table, and how many there are in all


def text(title: str, record: Mapping[str, Any], tables: Mapping[str, Rows], more: Mapping[str, str]) -> str:
    """Return the text of a result, at most ``LINES`` lines of ``WIDTH`` characters.

    Args:
        title: what the result is.
        record: sizes, settings and warnings, as in ``fit.json``.
        tables: those to show the first rows of, by name.
        more: further facts by name.

    Example:
        >>> record = {"n_labels": 6, "n_labelers": 3, "n_instances": 2, "converged": True, "warnings": ["Few labels."]}
        >>> rows = pa.table({"instance": ["q1", "q2"], "probability": [0.98765, 0.5]})
        >>> print(text("Fit of glad", record | {"n_iterations": 9}, {"instances": (rows, 2)}, {}))
        Fit of glad: 6 labels, 3 labelers, 2 instances
        converged   yes, 9 passes over the labels
        warnings    1
          Few labels.
        instances   2
          instance  probability
          q1              0.988
          q2              0.500
    """
    sizes = ", ".join(f"{record[f'n_{what}']:,} {what}" for what in ("labels", "labelers", "instances"))
    lines = [_printable(f"{title}: {sizes}")]
    for name, value in (_facts(record) | dict(more)).items():
        lines += _wrapped(f"{name:<{INDENT}}{value}", 2 if name == "columns" else 1, " " * INDENT)
    lines += _warnings(record["warnings"])
    each = (LINES - len(lines)) // max(1, len(tables)) - 2
    for name, (rows, n) in tables.items():
        lines += [f"{name:<{INDENT}}{n:,}{f', the first {each}' if n > each else ''}", *_rows(rows.slice(0, each))]
    return "\n".join(line[:WIDTH].rstrip() for line in lines)


def columns(record: Mapping[str, Any]) -> dict[str, str]:
    """Return which column of each table played which role, where the record says so.

    Example:
        >>> columns({"columns": {"labels": {"labeler": "worker", "instance": "task"}}})
        {'labels': 'labeler=worker, instance=task'}
    """
    tables = record.get("columns") or {}
    return {t: ", ".join(f"{role}={_plain(name)}" for role, name in roles.items()) for t, roles in tables.items()}


def _plain(name: Any) -> str:
    return " and ".join(map(str, name)) if isinstance(name, list | tuple) else str(name)


def _facts(record: Mapping[str, Any]) -> dict[str, str]:
    out = {"columns": "; ".join(f"{table}: {roles}" for table, roles in columns(record).items())}
    names = {
        "classes": record.get("kind"),
        "factors": record.get("n_factors"),
        "class prior": record.get("class_prior"),
        "repeats": record.get("repeats"),
        "boundary": (record.get("boundary") or {}).get("choice"),
        "solver": (record.get("solver") or {}).get("method"),
        "minibatch": record.get("minibatch"),
        "inference": record.get("inference"),
        "scores": ", ".join(record.get("scores") or ()) or None,
        "transform": record.get("transform"),
        "replicates": record.get("replicates"),
        "seed": record.get("seed"),
        "level": record.get("level"),
    }
    out["settings"] = ", ".join(f"{name} {value}" for name, value in names.items() if value is not None)
    if "converged" in record:
        passes = f"{record['n_iterations']:,} passes over the labels"
        out["converged"] = f"yes, {passes}" if record["converged"] else f"no: {record['result']} ({passes})"
    elif "result" in record:
        out["inference"] = record["result"]
    share = record.get("positives")
    if share:
        out["positives"] = f"{share['mean']:.1%} ({share['lower']:.1%} to {share['upper']:.1%}, {share['level']:.0%})"
    return {name: value for name, value in out.items() if value}


def _warnings(sentences: Sequence[str]) -> list[str]:
    """Return all of them where there is room, each shortened to its share of the lines."""
    if not sentences:
        return [f"{'warnings':<{INDENT}}none"]
    shown = sentences if len(sentences) <= WARNINGS else sentences[: WARNINGS - 1]
    each = WARNINGS // len(shown)
    lines = [line for sentence in shown for line in _wrapped("  " + sentence, each, "    ")]
    left = len(sentences) - len(shown)
    return [f"{'warnings':<{INDENT}}{len(sentences)}", *lines, *([f"  ... and {left} more"] if left else [])]


def _wrapped(line: str, most: int, indent: str) -> list[str]:
    """Return text on at most so many lines; all of it on one line of characters that print."""
    start = line[: len(line) - len(line.lstrip())]
    settings = dict(initial_indent=start, subsequent_indent=indent, max_lines=most, placeholder=" ...")
    return textwrap.wrap(_printable(line.strip()), WIDTH, **settings)


def _rows(table: pa.Table) -> list[str]:
    """Lay out aligned rows under their names, as many columns as have room."""
    cells = []
    for name in table.column_names:
        values = table[name].to_pylist()
        right = any(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        words = [_cut(name), *map(_cell, values)]
        width = max(map(len, words))
        cells.append([w.rjust(width) if right else w.ljust(width) for w in words])
    widths = itertools.accumulate(2 + len(column[0]) for column in cells)
    cells = [column for column, end in zip(cells, widths, strict=True) if end <= WIDTH]
    return ["  " + "  ".join(row) for row in zip(*cells, strict=True)]


def _cell(value: Any) -> str:
    """Return a value as it is shown: floats with three digits behind the point, or three that mean something."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"
    return _cut(str(value))


def _cut(value: str) -> str:
    value = _printable(value)
    return value if len(value) <= CELL else value[: CELL - 3] + "..."


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
