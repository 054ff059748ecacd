"""Measurements as long tables (one row per model, repeat and metric), and their summaries as Markdown."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax import metrics


@dataclasses.dataclass(frozen=True)
class Report:
    """Markdown, and figures by name."""

    text: str
    figures: Mapping[str, object] = dataclasses.field(default_factory=dict)


def rows(model: str, values: Mapping[str, Iterable[float]], *, start: int = 0, **setting) -> list[dict]:
    """Rows of one model at one setting of what is swept: metric -> value of each repeat, counted from ``start``."""
    return [
        {"model": model, "repeat": r, "metric": metric, "value": float(v), **setting}
        for metric, repeats in values.items()
        for r, v in enumerate(repeats, start)
    ]


def scored(model: str, posterior, truth, **setting) -> list[dict]:
    """Rows of all measures of binary probabilities [R, I] against truth, [I] or [R, I]."""
    posterior = np.asarray(posterior)
    truth = np.broadcast_to(truth, posterior.shape)
    values = {
        name: [measure(p, z) for p, z in zip(posterior, truth, strict=True)] for name, measure in metrics.BINARY.items()
    }
    return rows(model, values, **setting)


def select(table: pa.Table, **where) -> np.ndarray:
    """The values of the rows where every named column has the given value, in order of repeats."""
    rows = functools.reduce(pc.and_, (pc.equal(table[column], value) for column, value in where.items()))
    repeat, values = (table[column].filter(rows).to_numpy() for column in ("repeat", "value"))
    return values[np.argsort(repeat, kind="stable")]


def names(table: pa.Table, column: str) -> list:
    """The values of a column in order of appearance."""
    return table[column].drop_null().unique().to_pylist()


def markdown(header: Sequence[str], body: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers with three decimals."""
    show = lambda v: ("–" if np.isnan(v) else f"{v:.3f}") if isinstance(v, float) else str(v)  # noqa: E731
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(show(v) for v in line) + " |" for line in lines)


def standard_error(values: np.ndarray) -> float:
    """Compute the standard error of a mean over repeats; 0 of one value, which tells nothing of it.

    Example:
        >>> standard_error(np.array([0.0, 2.0]))
        1.0
    """
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def with_error(values: np.ndarray) -> str:
    """Write the mean of a difference over repeats with its standard error.

    Example:
        >>> with_error(np.array([0.0, 0.2]))
        '+0.100 ± 0.100'
    """
    return f"{values.mean():+.3f} ± {standard_error(values):.3f}"
