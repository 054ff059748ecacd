"""One page that compares runs: settings that differ, measures side by side with intervals, figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.stats import t

from crowdjax import plots
from crowdjax.report import Column, Drawing, Figures, Page, Prose, Section, Table
from experiments.pages import Run, about, flat

LEVEL = 0.95  # of intervals over repeats
MOST_ROWS = 400  # of a table
MOST_FIGURES = 8  # of measures


def of_runs(runs: Sequence[Run]) -> Page:
    """The page that compares runs: settings that differ, measures side by side with intervals, figures."""
    names = [run.name for run in runs]
    where = [run.environment for run in runs]
    head = [Column("run", "id"), Column("study"), Column("date"), Column("seconds", "count"), Column("machine")]
    rows = [
        (n, r.config["study"], e["date"][:10], e["seconds"], f"{e['device']}, {e['processor']}")
        for n, r, e in zip(names, runs, where, strict=True)
    ]
    found = [summarised(run.metrics) for run in runs]
    sections = [
        Section("The runs", [Table("The runs that are compared", head, rows)]),
        Section("Settings that differ", _differences(runs, names)),
        Section("Measures in the mean", _means(found, names)),
        Section("Measures, one by one", _each(found, names)),
        Section("Figures", _pictures(runs, names)),
    ]
    numbers = {
        "runs": f"{len(runs)}",
        "settings that differ": f"{len(_differing(runs)):,}",
        "measures in common": f"{len(set.intersection(*({k[0] for k in f} for f in found))):,}",
    }
    lead = "What the runs have in common is compared; what only some of them have is shown and marked with a dash."
    return Page("Comparison of experiments", " and ".join(_short(names)), lead, numbers, sections, about(where[0]))


class Cell(NamedTuple):
    """A mean over repeats and half of its interval (``LEVEL``, Student's: t sd / √R); NaN where there is none."""

    mean: float
    half: float
    repeats: int


NONE = Cell(np.nan, np.nan, 0)


def summarised(metrics: pa.Table) -> dict[tuple[str, str, str], Cell]:
    """What the repeats say, by (measure, model, setting of what was swept); values that are NaN are left out.

    Example:
        >>> one = {"model": "m", "metric": "accuracy", "set": "a"}
        >>> found = summarised(pa.Table.from_pylist([one | {"repeat": r, "value": r} for r in (0, 1)]))
        >>> {k: [round(float(x), 2) for x in v] for k, v in found.items()}
        {('accuracy', 'm', 'set = a'): [0.5, 6.35, 2.0]}
    """
    swept = [c for c in metrics.column_names if c not in ("model", "repeat", "metric", "value")]
    groups: dict[tuple[str, str, str], list[float]] = {}
    for row in metrics.to_pylist():
        at = ", ".join(f"{c} = {row[c]}" for c in swept if row[c] is not None)
        groups.setdefault((row["metric"], row["model"], at), []).append(row["value"])
    out = {}
    for key, values in groups.items():
        v = np.array(values, float)
        v = v[np.isfinite(v)]
        half = t.ppf((1 + LEVEL) / 2, len(v) - 1) * v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else np.nan
        out[key] = Cell(float(v.mean()) if len(v) else np.nan, float(half), len(v))
    return out


def _differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    settings = [flat(run.config) for run in runs]
    keys = dict.fromkeys(k for s in settings for k in s)
    found = {k: [s.get(k, "–") for s in settings] for k in keys}
    return {k: values for k, values in found.items() if len(set(values)) > 1}


def _differences(runs, names) -> list:
    found = _differing(runs)
    if not found:
        return [Prose(["No setting differs."])]
    columns = [Column("setting", "id"), *(Column(name) for name in names)]
    return [
        Table("Settings that differ", columns, [(k, *values) for k, values in found.items()], search=len(found) > 25)
    ]


def _means(found, names) -> list:
    """Per measure and model the mean over the settings that all runs with that model have."""
    groups: dict[str, dict[str, list[Cell]]] = {}
    rows = []
    for measure, model in dict.fromkeys(k[:2] for f in found for k in f):
        own = [{k[2]: v for k, v in f.items() if k[:2] == (measure, model)} for f in found]
        common = set.intersection(*(set(o) for o in own if o))
        cells = [_mean([o[at] for at in common if at in o]) for o in own]
        groups.setdefault(measure, {})[model] = cells
        rows.append((measure, model, *_cells(cells), len(common)))
    drawings = []
    for measure, models in [*groups.items()][:MOST_FIGURES]:
        values = np.array([[cell[:2] for cell in cells] for cells in models.values()])
        drawn = plots.side_by_side(*np.moveaxis(values, 2, 0), [*models], names, title=measure, xlabel=measure)
        drawings.append(Drawing(f"measure-{len(drawings)}", drawn, f"{measure} of every model in every run"))
    rows.sort(key=lambda row: [*groups].index(row[0]))
    columns = [Column("measure", "id"), Column("model"), *_columns(names), Column("settings", "count")]
    text = (
        "Means over the settings that all runs with that model have; their number is in the last column. ± is half of "
        f"a {LEVEL:.0%} interval over repeats (Student's), the settings being taken as they are; a single repeat has "
        "none. Runs with the same seed share their draws, so differences are surer than these intervals say."
    )
    return [Prose([text]), Figures(drawings), _limited("Means by measure and model", columns, rows)]


def _each(found, names) -> list:
    """Every measure, those that all runs have before the others."""
    keys = sorted(dict.fromkeys(k for f in found for k in f), key=lambda k: sum(k not in f for f in found))
    if all(not at for _, _, at in keys):
        return []
    rows = [
        (at, model, measure, *_cells([f.get((measure, model, at), NONE) for f in found])) for measure, model, at in keys
    ]
    columns = [Column("setting", "id"), Column("model"), Column("measure"), *_columns(names)]
    return [_limited("Every measure of every model at every setting, what all runs have first", columns, rows)]


def _mean(cells: Sequence[Cell]) -> Cell:
    """The mean of independent means."""
    if not cells:
        return NONE
    mean, half = (np.array([getattr(c, part) for c in cells]) for part in ("mean", "half"))
    return Cell(float(mean.mean()), float(np.sqrt((half**2).sum()) / len(half)), min(c.repeats for c in cells))


def _columns(names) -> list[Column]:
    return [
        *(Column(name, "written") for name in names),
        *([Column("difference", "written")] if len(names) == 2 else []),
    ]


def _cells(cells: Sequence[Cell]) -> list[str]:
    """One for each run; of two runs their difference, too, the second less the first."""
    shown = [_written(c.mean, c.half) for c in cells]
    if len(cells) == 2:
        one, two = cells
        shown.append(_written(two.mean - one.mean, float(np.hypot(one.half, two.half)), "+"))
    return shown


def _limited(caption: str, columns, rows) -> Table:
    note = (
        f"The first {MOST_ROWS:,} of {len(rows):,}; all are in each run's metrics.parquet."
        if len(rows) > MOST_ROWS
        else ""
    )
    return Table(caption, columns, rows[:MOST_ROWS], note, search=True)


def _pictures(runs, names) -> list:
    figures = [run.figures for run in runs]
    return [
        Figures(
            [
                Drawing(f"run{k}-{picture}", f[picture], f"{picture} of {name}", f"{picture}, {name}")
                for k, (f, name) in enumerate(zip(figures, names, strict=True))
                if picture in f
            ]
        )
        for picture in dict.fromkeys(p for f in figures for p in f)
    ]


def _written(mean: float, half: float, sign: str = "") -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:{sign}.4g}" if np.isnan(half) else f"{mean:{sign}.4g} ± {half:.2g}"


def _short(names: Sequence[str]) -> list[str]:
    return [*names] if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]
