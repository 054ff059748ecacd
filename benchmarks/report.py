"""Measurements as JSON, as a table to read, and as figures of time over labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Row

FIGURES = {  # suite: unit of its times, what they are of, the time in seconds
    "passes": ("ns/label", "one pass", lambda row: row.value * row.labels / 1e9),
    "fits": ("s", "a whole fit", lambda row: row.value),
}


def write(folder: Path, machine: dict[str, Any], rows: list[Row]) -> None:
    """``results.json``, ``results.md`` and a figure of every suite in ``FIGURES`` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine, "rows": [row._asdict() for row in rows]}
    (folder / "results.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "results.md").write_text(table(machine, rows))
    for suite, (unit, what, scale) in FIGURES.items():
        here = [r._replace(value=scale(r)) for r in rows if r.suite == suite and r.unit == unit and r.labels]
        if here:
            figure(here, f"seconds of {what}", folder / f"{suite}.svg")


def table(machine: dict[str, Any], rows: list[Row]) -> str:
    """A line for every suite, name and unit, a column for every number of labels."""
    text = [f"`python -m benchmarks`: {', '.join(f'{k} {v}' for k, v in machine.items())}", ""]
    for suite in dict.fromkeys(row.suite for row in rows):
        here = [row for row in rows if row.suite == suite]
        sizes = sorted({row.labels for row in here})
        text += [f"## {suite}", "", "| | " + " | ".join(f"{n:.0e}" if n else "" for n in sizes) + " | |"]
        text += ["|---" * (len(sizes) + 2) + "|"]
        for name, unit in dict.fromkeys((row.name, row.unit) for row in here):
            values = {row.labels: f"{row.value:.4g}" for row in here if (row.name, row.unit) == (name, unit)}
            text.append(f"| {name} | " + " | ".join(values.get(n, "") for n in sizes) + f" | {unit} |")
        text.append("")
    return "\n".join(text)


def slope(labels, seconds) -> float:
    """Of log time over log labels, from 1e5 labels on where there are two such sizes: 1 is linear."""
    labels, seconds = np.asarray(labels, float), np.asarray(seconds, float)
    large = labels >= 1e5 if (labels >= 1e5).sum() > 1 else labels > 0
    return float(np.polyfit(np.log(labels[large]), np.log(seconds[large]), 1)[0])


def figure(rows: list[Row], what: str, path: Path) -> None:
    """Seconds over labels of every name, log-log, with its slope."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(figsize=(7, 5))
    for name in dict.fromkeys(row.name for row in rows):
        n, t = np.array(sorted((row.labels, row.value) for row in rows if row.name == name)).T
        text = f"{name} (slope {slope(n, t):.2f})" if len(n) > 1 else name
        yardstick = name == "NumPy step" or name.startswith("streaming bound")
        style = dict(color="black", linestyle="--" if name == "NumPy step" else ":") if yardstick else {}
        axes.loglog(n, t, label=text, marker="o", **style)
    axes.set(xlabel="labels", ylabel=what)
    axes.legend(frameon=False, fontsize=8)
    fig.tight_layout()
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)
