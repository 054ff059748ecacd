"""What the pages need beyond Markdown: a page for every script of examples/, and docstrings as mkdocstrings reads them.

MkDocs calls the functions, griffe the class. Nothing is run here: a script's output is the text that
``make examples`` put beside it.
"""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # mkdocs loads this file by its path

from tools.notebooks import NOTEBOOKS, script_cells  # noqa: E402

EXAMPLE = """{title}

{text}

It prints, by `make examples`:

```text
{printed}
```
"""


def on_files(files, config):
    """Adds the examples' pages, and the measurements of benchmarks/, which lie outside of docs/."""
    for script in sorted((ROOT / "docs" / "examples").glob("*.py")):
        files.append(File.generated(config, f"examples/{script.stem}.md", content=example(script)))
    for path in sorted((ROOT / "benchmarks" / "results").rglob("*")):
        if path.suffix in {".md", ".svg"}:
            inside = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, inside, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links out of docs/ to the measurements stay inside of the site, where these have come one folder down."""
    return markdown.replace("../benchmarks/", "benchmarks/")


def example(script: Path) -> str:
    """The page of a script: its text and code cell by cell, what it printed, and its figure if it has one."""
    title, text = script_text(script)
    if script.stem in NOTEBOOKS:
        text = f"[Open as a notebook](../notebooks/{script.stem}.ipynb)\n\n{text}"
    printed = script.with_suffix(".txt").read_text(encoding="utf-8").strip()
    page = EXAMPLE.format(title=title, text=text, printed=printed)
    figure = script.with_suffix(".svg")
    return page + (f"\n![What it draws]({figure.name})\n" if figure.exists() else "")


def script_text(script: Path) -> tuple[str, str]:
    """The heading of a script, and its cells as Markdown without those that only a notebook has."""
    cells = [cell for cell in script_cells(script) if cell.metadata.get("active") != "ipynb"]
    title, _, text = cells[0].source.partition("\n")
    for is_code, group in groupby(cells[1:], lambda cell: cell.cell_type == "code"):
        joined = "\n\n".join(cell.source for cell in group)
        text += f"\n\n```python\n{joined}\n```" if is_code else f"\n\n{joined}"
    return title, text.strip()


class Docstrings(griffe.Extension):
    """Docstrings as griffe reads them."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring:
            text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", obj.docstring.value)  # Sphinx's roles are code
            text = re.sub(r"^(\s*)Example:(.*)$", r"\1Examples:\2", text, flags=re.MULTILINE)
            names = re.compile(r"^ +\w+(?:, \w+)+(?=: )", re.MULTILINE)  # to griffe a space is the end of a name
            obj.docstring.value = names.sub(lambda found: found[0].replace(", ", ",\u00a0"), text)
