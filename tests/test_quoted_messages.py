"""Messages that the documentation quotes in italics are messages of the library, word by word."""

from __future__ import annotations

import ast
import re

import pytest

from conftest import ROOT
from tools.words import strings

QUOTING = ("troubleshooting.md",)
QUOTE = re.compile(r"(?<![*\w])\*(?![*\s])([^*]+)(?<!\s)\*(?![*\w])")
FILLED = "…"  # stands for what a message fills in


def quotes(text: str) -> list[str]:
    """Return what a page quotes: text in italics, outside code."""
    prose = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return [" ".join(quote.split()).strip(f" {FILLED}:") for quote in QUOTE.findall(prose)]


@pytest.fixture(scope="module")
def messages() -> str:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "crowdjax").rglob("*.py")))
    return "\n".join(text.replace(f"`{FILLED}`", FILLED) for tree in trees for text, _ in strings(tree))


@pytest.mark.parametrize("page", QUOTING)
def test_messages_that_a_page_quotes_are_in_the_code(page, messages):
    found = quotes((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert len(found) > 30
    assert [quote for quote in found if quote not in messages] == []


def test_a_message_that_is_not_in_the_code_is_found(messages):
    (quote,) = quotes("A **bold** word, `code * 2` and *the labels\nare all … and purple*.")
    assert quote == "the labels are all … and purple" and quote not in messages
