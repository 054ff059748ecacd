"""Numbers in README and docs are those of the committed results; ``test_published.py`` makes these again."""

import re
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from experiments.__main__ import main

MARK = re.compile(r"^<!-- numbers of (\S+) -->\n((?:\|.*\n)+)", re.M)
NUMBER = re.compile(r"(?<![\w.])[-−]?\d*\.\d+(?:e[-+]?\d+)?(?!\w)")
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted([*DOCS.glob("*.md"), *DOCS.glob("research/*.md")]), DOCS / "results" / "README.md"]


def numbers(text: str) -> list[str]:
    """What has a decimal point; 1e6 labels and 90 % are settings."""
    return [word.replace("−", "-") for word in NUMBER.findall(text)]


def tables():
    for page in PAGES:
        for k, (source, table) in enumerate(MARK.findall(page.read_text(encoding="utf-8"))):
            yield pytest.param(source, table, id=f"{page.parent.name}/{page.name} {k}")


@pytest.mark.parametrize(("source", "table"), list(tables()))
def test_every_number_of_a_table_is_in_its_source_rounded(source, table):
    known = np.abs([float(word) for word in numbers((ROOT / source).read_text(encoding="utf-8"))])
    told = numbers(table)
    assert len(told) > 5
    for word in told:
        half = 0.5 * 10.0 ** -len(word.partition("e")[0].partition(".")[2])
        assert (abs(known - abs(float(word))) <= 1.001 * half).any(), f"{word} is not in {source}"


def test_a_stale_number_would_be_seen():
    source, table = next(p.values for p in tables())
    word = numbers(table)[0]
    with pytest.raises(AssertionError, match="is not in"):
        test_every_number_of_a_table_is_in_its_source_rounded(source, table.replace(word, ".123456"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "atol"), [("intervals", 0.02)])
def test_a_config_still_gives_its_committed_summary(name, atol, tmp_path, capsys):
    """All numbers of its tables, where results do not yet carry what ``rerun`` needs (``test_published.EARLIER``)."""
    assert main(["run", f"{ROOT}/configs/{name}.toml", "--out", str(tmp_path), "-q"]) == 0
    found = rows(capsys.readouterr().out)
    expected = rows(Path(ROOT / "docs" / "results" / name / "SUMMARY.md").read_text(encoding="utf-8"))
    assert [numbers_out(row) for row in found] == [numbers_out(row) for row in expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose([float(x) for x in numbers(a)], [float(x) for x in numbers(b)], atol=atol, rtol=0.05)


def rows(summary: str) -> list[str]:
    return [line for line in summary.splitlines() if line.startswith("|")]


def numbers_out(row: str) -> str:
    return NUMBER.sub("", row)
