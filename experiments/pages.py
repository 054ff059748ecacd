"""Runs as pages: the report of one run beside its summary, and one page that compares several (``crowdjax.report``).

A run is read from its folder alone: config.json, environment.json, metrics.parquet, SUMMARY.md and its SVG figures.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from markdown_it import MarkdownIt
from scipy.stats import t

from crowdjax import plots
from crowdjax.labels import InputError, one_line
from crowdjax.report import Column, Drawing, Facts, Figures, Page, Prose, Section, Table

LEVEL = 0.95  # of intervals over repeats
MOST_ROWS = 400
MOST_FIGURES = 8  # of measures


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run, as it is in its folder."""

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def metrics(self) -> pa.Table:
        return pq.read_table(self.folder / "metrics.parquet")

    @property
    def figures(self) -> dict[str, str]:
        """SVG by name."""
        return {f.stem: f.read_text(encoding="utf-8") for f in sorted(self.folder.glob("*.svg"))}


def read(folder: Path) -> Run:
    """The run in a folder. Raises ``InputError`` where there is none."""
    try:
        config, environment = (
            json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("config", "environment")
        )
        run = Run(folder, config, environment)
        missing = {"model", "repeat", "metric", "value"} - set(pq.read_schema(folder / "metrics.parquet").names)
        if missing or not {"name", "study"} <= set(config) or not {"date", "versions"} <= set(environment):
            raise ValueError("other columns or settings than those of a run")
    except FileNotFoundError:
        raise InputError(f"{folder}: no finished run; allowed: a config, or a folder that `run` wrote") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: not a run of experiments ({one_line(error)})") from None
    return run


def of_run(run: Run) -> Page:
    """The page of one run: its summary, its figures and every setting."""
    where = run.environment
    sections = list(_summary((run.folder / "SUMMARY.md").read_text(encoding="utf-8"), run.figures))
    settings = [(name, value) for name, value in flat(run.config).items()]
    facts = {
        "Command": where["command"],
        "Date": where["date"][:10],
        "Time": f"{where['seconds']:,} s",
        "Machine": f"{where['device']}, {where['processor']}, {where['cores']} cores",
        "Python": where["python"],
    }
    table = Table("Every setting, defaults included", [Column("setting", "id"), Column("value")], settings, search=True)
    sections += [Section("How it was run", [Facts(facts)]), Section("Settings", [table])]
    lead = f"Study “{run.config['study']}”, run on {where['date'][:10]}. All values are in metrics.parquet beside this page."
    numbers = {
        "models": f"{len(run.metrics['model'].unique()):,}",
        "values": f"{run.metrics.num_rows:,}",
        "seconds": f"{where['seconds']:,}",
    }
    return Page("Report of an experiment", run.config["name"], lead, numbers, sections, _about(where))


def of_runs(runs: Sequence[Run]) -> Page:
    """The page that compares runs: settings that differ, measures side by side with intervals, figures."""
    names = [run.name for run in runs]
    where = [run.environment for run in runs]
    head = [Column("run", "id"), Column("study"), Column("date"), Column("seconds", "number"), Column("machine")]
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
    return Page("Comparison of experiments", " and ".join(_short(names)), lead, numbers, sections, _about(where[0]))


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested settings by their paths, each as text.

    Example:
        >>> flat({"seed": 0, "solver": {"method": "em"}, "sets": ["a", "b"]})
        {'seed': '0', 'solver.method': 'em', 'sets': 'a, b'}
    """
    out = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{before}{key}.") if value else {f"{before}{key}": "–"}
        else:
            out[f"{before}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return out


def summarised(metrics: pa.Table) -> dict[tuple[str, ...], tuple[float, float, int]]:
    """(mean, half of the interval, repeats) by (measure, model, settings of what was swept); NaN values are left out.

    The interval is Student's, of the mean over repeats: t sd / √R; NaN of one repeat.

    Example:
        >>> rows = [{"model": "m", "repeat": r, "metric": "accuracy", "value": v, "set": "a"} for r, v in enumerate((0, 1))]
        >>> {k: [round(float(x), 2) for x in v] for k, v in summarised(pa.Table.from_pylist(rows)).items()}
        {('accuracy', 'm', 'set = a'): [0.5, 6.35, 2.0]}
    """
    swept = [c for c in metrics.column_names if c not in ("model", "repeat", "metric", "value")]
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in metrics.to_pylist():
        at = ", ".join(f"{c} = {row[c]}" for c in swept if row[c] is not None)
        groups.setdefault((row["metric"], row["model"], at), []).append(row["value"])
    out = {}
    for key, values in groups.items():
        v = np.array(values, float)
        v = v[np.isfinite(v)]
        half = t.ppf((1 + LEVEL) / 2, len(v) - 1) * v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else np.nan
        out[key] = (float(v.mean()) if len(v) else np.nan, float(half), len(v))
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
    return [Table("Settings that differ", columns, [(k, *values) for k, values in found.items()], search=len(found) > 25)]


def _means(found, names) -> list:
    """Per measure and model the mean over the settings that all runs with that model have."""
    pairs = dict.fromkeys(k[:2] for f in found for k in f)
    cells, rows = {}, []
    for measure, model in pairs:
        own = [{k[2]: v for k, v in f.items() if k[:2] == (measure, model)} for f in found]
        common = set.intersection(*(set(o) for o in own if o))
        cells[measure, model] = [_mean([o[at] for at in common]) if o and common else (np.nan, np.nan) for o in own]
        rows.append((model, measure, *(_written(*cell) for cell in cells[measure, model]), len(common)))
    drawings = []
    for measure in list(dict.fromkeys(m for m, _ in pairs))[:MOST_FIGURES]:
        models = [model for m, model in pairs if m == measure]
        values = np.array([cells[measure, model] for model in models])
        drawn = plots.side_by_side(values[..., 0], values[..., 1], models, names, title=measure, xlabel=measure)
        drawings.append(Drawing(f"measure-{len(drawings)}", drawn, f"{measure} of every model in every run"))
    columns = [Column("model", "id"), Column("measure"), *(Column(n, "written") for n in names), Column("settings", "count")]
    text = (
        "Means over the settings that all runs with that model have; their number is in the last column. ± is half of a "
        f"{LEVEL:.0%} interval over repeats (Student's), the settings being taken as they are; a single repeat has none. "
        "Runs with the same seed share their draws, so their differences are surer than these intervals say."
    )
    return [Prose([text]), Figures(drawings), _limited("Means by model and measure", columns, rows)]


def _mean(cells: Sequence[tuple[float, float, int]]) -> tuple[float, float]:
    """The mean of independent means, and half of its interval."""
    mean, half = np.array([c[:2] for c in cells]).T
    return float(mean.mean()), float(np.sqrt((half**2).sum()) / len(half))


def _each(found, names) -> list:
    keys = dict.fromkeys(k for f in found for k in f)
    if all(not at for _, _, at in keys):
        return []
    rows = [(at, model, measure, *(_written(*f[k][:2]) if k in f else "–" for f in found)) for k in keys for measure, model, at in [k]]
    columns = [Column("setting", "id"), Column("model"), Column("measure"), *(Column(n, "written") for n in names)]
    return [_limited("Every measure of every model at every setting", columns, rows)]


def _limited(caption: str, columns, rows) -> Table:
    note = f"The first {MOST_ROWS:,} of {len(rows):,}; all are in each run's metrics.parquet." if len(rows) > MOST_ROWS else ""
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


def _written(mean: float, half: float) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:.4g}" if np.isnan(half) else f"{mean:.4g} ± {half:.2g}"


def _short(names: Sequence[str]) -> list[str]:
    return [*names] if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]


def _about(environment) -> str:
    return "Made by " + ", ".join(f"{k} {v}" for k, v in environment["versions"].items()) + "."


def _summary(text: str, figures: Mapping[str, str]) -> Iterator[Section]:
    """The summary's Markdown as sections: headings, paragraphs, tables and figures; its first lines, which the page has
    elsewhere, are left out."""
    title, blocks, caption = "Results", [], ""
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(text)
    k = next((i for i, token in enumerate(tokens) if token.type == "heading_close"), -1) + 1
    for i, token in enumerate(tokens[k:], k):
        inline = tokens[i + 1] if i + 1 < len(tokens) else None
        if caption and token.type in ("heading_open", "paragraph_open") and token.level == 0:  # no table's, after all
            blocks.append(Prose([caption]))
            caption = ""
        if token.type == "heading_open":
            if blocks:
                yield Section(title, blocks)
            title, blocks = _plain(inline), []
        elif token.type == "paragraph_open" and token.level == 0:
            words = _plain(inline)
            pictures = [Path(c.attrs["src"]).stem for c in inline.children if c.type == "image"]
            if pictures:
                blocks.append(Figures([Drawing(p, figures[p], p) for p in pictures if p in figures]))
            elif re.fullmatch(r"\*\*[^*]+\*\*", inline.content):
                caption = words
            elif not words.startswith("Generated by "):
                blocks.append(Prose([words]))
        elif token.type == "table_open":
            rows = list(_rows(tokens[i:]))
            blocks.append(_table(caption or title, rows[0], rows[1:]))
            caption = ""
    if blocks or caption:
        yield Section(title, [*blocks, *([Prose([caption])] if caption else [])])


def _rows(tokens) -> Iterator[list[str]]:
    """The cells of the table that begins here, row by row."""
    row: list[str] = []
    for token in tokens:
        if token.type == "inline":
            row.append(_plain(token))
        elif token.type == "tr_close":
            yield row
            row = []
        elif token.type == "table_close":
            return


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    numeric = re.compile(r"[-+−]?\.?\d.*|–|")
    kinds = ["id", *("written" if all(numeric.fullmatch(c) for c in cells) else "text" for cells in list(zip(*rows))[1:])]
    columns = [Column(name, kind) for name, kind in zip(head, kinds, strict=True)]
    return Table(caption, columns, rows, search=len(rows) > 25)


def _plain(token) -> str:
    """The text of an inline token, without its marks."""
    return "".join(" " if c.type.endswith("break") else c.content for c in token.children if c.type != "image").strip()
