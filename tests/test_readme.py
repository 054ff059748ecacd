"""What the README shows of its own table is what a reader gets who pastes it."""

from __future__ import annotations

import re

import pytest
from test_examples import words

import crowdjax
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
TRUTH = "mmbmfffbmbbfffbb"  # first letters of the classes that the table was drawn from


@pytest.fixture
def pasted(tmp_path, monkeypatch, capsys):
    """The names of the README's first Python block, run beside its table, and what it printed."""
    monkeypatch.chdir(tmp_path)
    table, code = (re.search(f"```{kind}\n(.*?)```", README, re.DOTALL)[1] for kind in ("csv", "python"))
    (tmp_path / "labels.csv").write_text(table, encoding="utf-8")
    names = {}
    exec(code, names)
    return names, capsys.readouterr().out


def test_the_table_of_the_readme_gives_what_is_printed_below_it(pasted):
    _, printed = pasted
    shown = re.search("```text\n(.*?)```", README, re.DOTALL)[1]
    assert words(printed) == words(shown)
    assert printed.splitlines()[-1] == shown.splitlines()[-1]  # whom to ask again


def test_the_labels_that_the_readme_calls_true_are(pasted):
    instances = pasted[0]["result"].instances.to_pandas().set_index("instance")
    wrong = instances[instances["label"].str[0] != list(TRUTH)]
    assert wrong.index.tolist() == ["photo 14"] and wrong["confidence"].iloc[0] == pytest.approx(0.99, abs=0.005)
    majority = crowdjax.fit("labels.csv", "majority", form="wide")
    right = [label[0] == k for label, k in zip(majority.instances["label"].to_pylist(), TRUTH, strict=True)]
    assert sum(right) == 14 and "3 of 16 instances are undecided" in majority.warnings[2]


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_an_image_is_one_paragraph(page):
    """A blank line within its words would show them as text, and no picture."""
    assert not re.search(r"!\[[^\]]*\n\s*\n[^\]]*\]\(", page.read_text(encoding="utf-8"))
