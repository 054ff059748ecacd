"""Make the notebooks of docs/notebooks/ from the tutorials: the scripts of docs/examples/ and the pages with doctests.

    python -m tools.notebooks

A script in percent format gives its cells. A page gives its text, and of its doctests one code cell for every example
that shows a value. The tutorials are the only source: notebooks are generated, never edited, and hold no outputs.
Outputs are on the pages beside them; they differ in their last digits from machine to machine, and would make every
notebook a change of every run. tests/test_notebooks.py runs the notebooks and compares what they print with the pages.
"""

from __future__ import annotations

import doctest
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "notebooks"
INSTALL = """\
# Install crowdjax where it is missing; without a release on an index: pip install -e '.[all]' in a checkout.
import importlib.util

if importlib.util.find_spec("crowdjax") is None:
    %pip install "crowdjax[all]"
"""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$\n?", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"^(?:!\[[^\]]*\]\([^)]*\)|\[Open as a notebook\].*)\n?", re.MULTILINE)  # only for the page


class Source(NamedTuple):
    """A tutorial, or a section of it.

    Attributes:
        path: from the root: a script in percent format, or a page.
        section: the heading of the page's section; None: the whole.
        pasted: whether readers paste the page's blocks: a table of CSV is written to the file that the text names,
            Python is run, what it prints is left out.
    """

    path: str
    section: str | None = None
    pasted: bool = False


NOTEBOOKS = {
    "first_decision": [Source("README.md", "From a table to a decision", pasted=True)],
    "own_labels": [Source("docs/examples/own_labels.py")],
    "prevalence": [Source("docs/examples/prevalence.py")],
    "machines": [Source("docs/examples/machines.py")],
    "weeks": [Source("docs/examples/weeks.py")],
    "kernels": [Source("docs/kernels.md"), Source("docs/examples/kernels.py")],
    "new_model": [Source("docs/examples/new_model.py"), Source("docs/new-model.md", "One step of EM by hand")],
}


def notebook(sources: list[Source]) -> NotebookNode:
    """Return the notebook of some tutorials, one after the other, after a cell that installs crowdjax."""
    cells = [new_code_cell(INSTALL)]
    for k, source in enumerate(sources):
        made = script_cells(ROOT / source.path) if source.path.endswith(".py") else page_cells(source)
        heading = "#" if k == 0 else "##"
        made[0].source = re.sub(r"\A#+ ", f"{heading} ", made[0].source)
        cells += [_relinked(cell, ROOT / source.path) for cell in made]
    for k, cell in enumerate(cells):
        cell.id, cell.source = f"cell-{k}", cell.source.strip()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def script_cells(path: Path) -> list[NotebookNode]:
    """Return the cells of a script in percent format; its docstring is the first."""
    text, code = re.fullmatch(r'"""(.*?)"""\n(.*)', path.read_text(encoding="utf-8"), re.DOTALL).groups()
    return [new_markdown_cell(text.strip()), *jupytext.reads(code, fmt="py:percent").cells]


def page_cells(source: Source) -> list[NotebookNode]:
    """Return the cells of a page: its text, its doctests, and the blocks that are to be pasted."""
    page, cells, prose = (ROOT / source.path).read_text(encoding="utf-8"), [], ""
    if source.section is not None:
        page = re.search(rf"^## {source.section}\n.*?(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)[0]
    place = 0
    for block in [*FENCE.finditer(page), None]:
        prose += page[place : block.start() if block else len(page)]
        place = block.end() if block else place
        code = list(_code(block, prose, source.pasted)) if block else []
        if block and not code:  # shown, not run
            prose += "" if source.pasted and (block[1] == "text" or "pip install" in block[2]) else block[0]
        if code or not block:
            prose = re.sub(r"\n{3,}", "\n\n", ELSEWHERE.sub("", prose)).strip()
            cells += [new_markdown_cell(prose)] if prose else []
            cells, prose = [*cells, *map(new_code_cell, code)], ""
    return cells


def _code(block: re.Match, prose: str, pasted: bool) -> Iterator[str]:
    """Yield the code cells of a block: of a doctest one for every example that shows a value."""
    language, text = block.groups()
    if language == "python" and ">>> " in text:
        lines: list[str] = []
        for example in doctest.DocTestParser().get_examples(text):
            code = example.source.rstrip("\n")
            lines.append(f"\n{code}\n" if re.match("def |class |@", code) else code)
            if example.want:
                yield _joined(lines)
                lines = []
        if lines:
            yield _joined(lines)
    elif language == "csv" and pasted:
        yield f"%%writefile {re.findall(r'Save this as `(.+?)`', prose)[-1]}\n{text.rstrip()}"
    elif language == "python" and pasted:
        yield text.rstrip()


def _joined(lines: list[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _relinked(cell: NotebookNode, page: Path) -> NotebookNode:
    """Return a cell whose links lead from the notebooks' folder to where they led from the page."""

    def link(found: re.Match) -> str:
        path, sharp, anchor = found[2].partition("#")
        if re.match(r"[a-z]+:", path):
            return found[0]
        target = (page.parent / path).resolve() if path else page
        if target.parent.name == "examples":  # a page that is made of a script
            own = FOLDER / f"{target.stem}.ipynb"
            target = own if own.stem in NOTEBOOKS else target.with_suffix(".py")
        return f"[{found[1]}]({Path(os.path.relpath(target, FOLDER)).as_posix()}{sharp}{anchor})"

    if cell.cell_type == "markdown":
        cell.source = LINK.sub(link, cell.source)
    return cell


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, sources in NOTEBOOKS.items():
        nbformat.write(notebook(sources), FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
