"""The page of a run, beside its summary (``crowdjax.report``).

A run is read from its folder alone: config.json, environment.json, metrics.parquet, SUMMARY.md and its SVG figures.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from markdown_it import MarkdownIt

from crowdjax.labels import InputError, one_line
from crowdjax.report import Column, Drawing, Facts, Figures, Page, Prose, Section, Table


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
        schema = pq.read_schema(folder / "metrics.parquet")
        missing = {"model", "repeat", "metric", "value"} - set(schema.names)
        if missing or not {"name", "study"} <= set(config) or not {"date", "versions"} <= set(environment):
            raise ValueError("other columns or settings than those of a run")
        if not (pa.types.is_floating(schema.field("value").type) and isinstance(environment["versions"], dict)):
            raise ValueError("values or versions of another kind than those of a run")
    except FileNotFoundError:
        raise InputError(f"{folder}: no finished run; allowed: a config, or a folder that `run` wrote") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: not a run of experiments ({one_line(error)})") from None
    return run


def of_run(run: Run) -> Page:
    """The page of one run: its summary, its figures and every setting."""
    where = run.environment
    sections = list(_summary((run.folder / "SUMMARY.md").read_text(encoding="utf-8"), run.figures))
    facts = {
        "Command": where["command"],
        "Date": where["date"][:10],
        "Time": f"{where['seconds']:,} s",
        "Machine": f"{where['device']}, {where['processor']}, {where['cores']} cores",
        "Python": where["python"],
    }
    table = Table(
        "Every setting, defaults included",
        [Column("setting", "id"), Column("value")],
        [*flat(run.config).items()],
        search=True,
    )
    sections += [Section("How it was run", [Facts(facts)]), Section("Settings", [table])]
    lead = f"Study “{run.config['study']}”, run on {where['date'][:10]}. All values are in metrics.parquet beside this."
    numbers = {
        "models": f"{len(run.metrics['model'].unique()):,}",
        "values": f"{run.metrics.num_rows:,}",
        "seconds": f"{where['seconds']:,}",
    }
    return Page("Report of an experiment", run.config["name"], lead, numbers, sections, about(where))


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


def about(environment) -> str:
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
    kinds = [
        "id",
        *(
            "written" if all(numeric.fullmatch(c) for c in cells) else "text"
            for cells in list(zip(*rows, strict=True))[1:]
        ),
    ]
    columns = [Column(name, kind) for name, kind in zip(head, kinds, strict=True)]
    return Table(caption, columns, rows, search=len(rows) > 25)


def _plain(token) -> str:
    """The text of an inline token, without its marks."""
    return "".join(" " if c.type.endswith("break") else c.content for c in token.children if c.type != "image").strip()
