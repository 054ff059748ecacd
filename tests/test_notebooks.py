"""Notebooks are what their tutorials give, open in any notebook program, and print what the tutorials show."""

from __future__ import annotations

import doctest
import importlib.util
import re
from types import SimpleNamespace

import nbclient
import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from IPython.core.inputtransformer2 import TransformerManager
from test_checks import broken_links
from test_examples import words

from conftest import ROOT
from tools import notebooks
from tools.notebooks import FENCE, FOLDER, NOTEBOOKS, Source, notebook
from tools.words import findings


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """The name of a kernel of this interpreter and this checkout, whatever kernels the machine has."""
    folder = tmp_path_factory.mktemp("jupyter")
    write_kernel_spec(folder / "kernels" / "here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")  # of tqdm: there are no widgets here
        yield "here"


def shown(source: Source) -> str:
    """What a tutorial says that it prints."""
    if source.path.endswith(".py"):
        return (ROOT / source.path).with_suffix(".txt").read_text(encoding="utf-8")
    page = (ROOT / source.path).read_text(encoding="utf-8")
    if source.section is not None:
        page = page.partition(f"\n## {source.section}\n")[2].partition("\n## ")[0]
    blocks = [block.groups() for block in FENCE.finditer(page)]
    wants = [
        [text] if language == "text" else [e.want for e in doctest.DocTestParser().get_examples(text)]
        for language, text in blocks
    ]
    return "\n".join(want for block in wants for want in block)


def test_every_notebook_has_a_tutorial_and_is_listed():
    listed = re.findall(r"^\| \[(\w+)\]", (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NOTEBOOKS) == set(listed)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_what_its_tutorials_give(name):
    """Edited by hand, run and saved, or older than its tutorial, it differs: ``make notebooks``."""
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    nbformat.validate(nbformat.reads(text, as_version=nbformat.NO_CONVERT))
    assert text == nbformat.writes(notebook(NOTEBOOKS[name])) + "\n"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_of_a_notebook_lead_to_files(name):
    made = notebook(NOTEBOOKS[name])
    text = "\n\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert broken_links(FOLDER / f"{name}.ipynb", text) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_text_of_a_notebook_has_the_words_of_the_field(name, tmp_path):
    text = tmp_path / "text.md"
    cells = [cell.source for cell in notebook(NOTEBOOKS[name]).cells if cell.cell_type == "markdown"]
    text.write_text("\n\n".join(cells), encoding="utf-8")
    assert [str(found) for found in findings(text)] == []


@pytest.mark.parametrize("there", [True, False])
def test_the_first_cell_installs_crowdjax_where_it_is_missing(there, monkeypatch):
    ran = []
    shell = SimpleNamespace(run_line_magic=lambda *given: ran.append(given))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there or None)
    code = TransformerManager().transform_cell(notebooks.INSTALL)
    exec(code, {"get_ipython": lambda: shell})
    assert ran == ([] if there else [("pip", 'install "crowdjax[all]"')])


def test_a_page_gives_its_text_and_a_cell_for_every_value_shown(tmp_path, monkeypatch):
    page = """# Title

![left out](figure.svg)

```bash
shown, not run
```

```python
>>> x = 1
>>> def f():
...     return x
>>> f()
1
>>> f() + 1
2
>>> y = 3

```

The [end](other.md#a).
"""
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path / "docs" / "notebooks")
    cells = notebook([Source("page.md")]).cells[1:]
    assert [(cell.cell_type, cell.source) for cell in cells] == [
        ("markdown", "# Title\n\n```bash\nshown, not run\n```"),
        ("code", "x = 1\n\ndef f():\n    return x\n\nf()"),
        ("code", "f() + 1"),
        ("code", "y = 3"),
        ("markdown", "The [end](../../other.md#a)."),
    ]


@pytest.mark.long
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, kernel, tmp_path):
    """In an empty folder it prints what the tutorials show, numbers apart, and nothing on stderr."""
    made = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(
        made, timeout=600, kernel_name=kernel, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [
        output
        for cell in made.cells
        if cell.cell_type == "code" and not cell.source.startswith("%%writefile")
        for output in cell.outputs
    ]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    figures = [output for output in outputs if "image/svg+xml" in output.get("data", {})]
    assert len(figures) == (name in ("prevalence", "weeks"))
    printed = "\n".join(
        output.text if output.output_type == "stream" else output.data["text/plain"]
        for output in outputs
        if output not in figures
    )
    assert words(printed) == words("\n".join(map(shown, NOTEBOOKS[name])))
    assert re.search(r"\w", printed)
