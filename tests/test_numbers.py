"""Numbers in README and docs are those of the committed results; ``test_published.py`` makes these again."""

import re

import numpy as np
import pytest

from conftest import ROOT

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
