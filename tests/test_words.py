"""The checker of words finds what public text may not say, and only there; the library and its docs pass it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from conftest import ROOT
from tools import words

PLANTED = [  # (word, line, text)
    ("the paper", 1, '"""Evaluate equation 1 of the paper."""'),
    ("items", 1, '"""Count the items."""'),
    ("annotators", 2, "x = 1\n# annotators differ"),
    ("where the classes meet", 1, 'raise ValueError("unknown: where the classes meet")'),
    ("answers", 1, 'print(f"{1:.0%} of the answers are unsure")'),
    ("a look", 3, '"""Build the page.\n\n    It is a look inside.\n    """'),
    ("watched", 1, '"""Run a fit that is watched."""'),
    ("told of", 2, '"""A caller\n    told of the end."""'),
    ("meanwhile", 1, "x = 'it runs meanwhile'"),
    ("one crowd", 1, '"""Labels of one crowd."""'),
    ("refused", 1, '"""Text that is refused."""'),
    ("class boundary", 1, '"""Place the class boundary."""'),
    ("wrong way round", 1, '"""Classes the wrong way round."""'),
    ("too sure", 2, "x = 1\n# probabilities are too sure"),
    ("is said", 1, '"""Text that is said."""'),
    ("in one go", 1, '"""Write it in one go."""'),
    ("without a word", 1, '"""It ends without a word."""'),
    ("over-confident", 1, '"""Probabilities are over-confident."""'),
]
ALLOWED = [
    '"""Read ``worker`` and `task`, in a table with columns task, worker and label."""',
    '"""Add one.\n\n    Example:\n        >>> print("the answers of workers")\n        the answers of workers\n    """',
    "items = {'answers': 1}  # by name",
    'raise ValueError("items: got 1; allowed: 2")',
    '"""Rate a set, set aside a unit of time, and look at a watchful crowd."""',
]


def said(folder: Path, text: str, name: str = "a.py") -> list[words.Finding]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return words.findings(path)


@pytest.mark.parametrize(("word", "line", "text"), PLANTED)
def test_a_planted_word_is_found_on_its_line(word, line, text, tmp_path):
    found = said(tmp_path, f"{text}\n")
    assert [(f.word.lower(), f.line) for f in found] == [(word, line)]
    assert found[0].better and found[0].better != word


@pytest.mark.parametrize("text", ALLOWED)
def test_code_names_and_other_words_are_left_out(text, tmp_path):
    assert said(tmp_path, f"{text}\n") == []


def test_of_markdown_the_code_is_left_out(tmp_path):
    text = "Workers label.\n\n```\nworkers\n```\n\n`workers` and <!-- workers --> too.\n\nThe tasks.\n"
    assert [(f.word, f.line) for f in said(tmp_path, text, "a.md")] == [("Workers", 1), ("tasks", 9)]


def test_recorded_results_are_not_read_and_the_exit_status_says_whether_there_is_a_finding(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for folder in ("docs/results", "docs/results/study", "docs/api"):
        os.makedirs(folder)
        Path(folder, "page.md").write_text("one crowd\n", encoding="utf-8")
    assert words.main(["docs"]) == 1
    checked = ("docs/api/page.md", "docs/results/page.md")
    assert capsys.readouterr().out == "".join(f"{path}:1: one crowd -> connected component\n" for path in checked)
    for path in checked:
        Path(path).write_text("a connected component\n", encoding="utf-8")
    assert words.main(["docs"]) == 0


def test_a_place_without_files_is_no_clean_place(tmp_path, capsys):
    """A name that is misspelt in a Makefile must not pass."""
    for places in ([], [str(tmp_path / "docs")], [str(tmp_path)]):
        assert words.main(places) == 2
        assert "nothing to check; allowed: files and folders" in capsys.readouterr().err


def test_readers_of_exports_may_name_their_tools_fields_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("crowdjax/formats")
    path = Path("crowdjax/formats/a.py")
    path.write_text('"""Read the answers of tasks; the paper is refused."""\n', encoding="utf-8")
    assert sorted(f.word for f in words.findings(path)) == ["refused", "the paper"]


def checked_by_make_lint() -> list[str]:
    """The files and folders that ``make lint`` checks."""
    (step,) = re.findall(r"-m tools\.words (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    return step.split()


def test_what_make_lint_checks_passes_and_includes_the_library_and_the_docs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    places = checked_by_make_lint()
    assert {"crowdjax", "README.md", "docs", "CONTRIBUTING.md", "CHANGELOG.md"} <= set(places)
    assert words.main(places) == 0, capsys.readouterr().out
