"""Find the words that the project's public text does not use, and name the ones to use instead.

    python -m tools.words crowdjax README.md docs CONTRIBUTING.md CHANGELOG.md mkdocs.yml

Public text is what a reader sees: in Python the docstrings, the comments and the string literals of more than one
word (messages, help, the report's text); in Markdown and Jinja all of it. Code is left out: spans in backticks, fenced
blocks, doctests, and quoted names such as 'worker', which may be columns of a user's table. So are the folders of
docs/results/, which record what was printed. Prints one line per finding, ``file:line: word -> better``, and exits
with 1 if there is one; with 2 if there is nothing to check.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOREIGN = ("crowdjax", "formats")  # readers of exports name the fields of other tools: tasks, workers, answers
FOREIGN_WORDS = ("items?", "tasks?", "workers?", "annotators?", "raters?", "answers?")
RESULTS = ("docs", "results")  # its folders record what was printed, in the words of that day
SUFFIXES = (".py", ".md", ".jinja")

# what is not written -> what is written instead
BANNED = {
    r"the (?:papers?|posts?)\b(?! of )": "the author and the year, as in Ruvolo, Whitehill, Movellan (2013)",
    r"the papers?['’]s?": "the author and the year, as in Ruvolo, Whitehill, Movellan (2013)",
    r"items?": "instance",
    r"tasks?": "instance",
    r"units? (?:of|to) label(?:led|s)?": "instance",
    r"workers?": "labeler",
    r"annotators?": "labeler",
    r"raters?": "labeler",
    r"(?:where )?(?:the )?(?:two )?classes (?:are taken to |to )?meet(?:ing)?": "decision boundary",
    r"(?:a|the|this|that|one|each|every) looks?(?! (?:like|at))": "posterior predictive check",
    r"watch(?:e[sd]|ing)?": "blocks of steps, progress callback",
    r"told of": "passed, recorded, reported",
    r"(?:is|are|was|what it is) told": "is given, is reported",
    r"meanwhile": "while it runs",
    r"asked before": "checked before",
    r"answers?": "result, response",
    r"one crowd": "connected component",
    r"crowds? (?:that|which) shares? no": "connected component",
    r"(?:at|of) the door": "on input",
    r"refus(?:e|es|ed|al|ing)": "rejected",
    r"class(?:es')? boundar(?:y|ies)": "decision boundary",
    r"(?:right|wrong) way round": "inverted",
    r"too sure": "overconfident",
    r"(?:is|are|was|were) said|said to be": "is reported, is called",
    r"in one go": "at once, together, atomically",
    r"without a word": "without an error, silently",
    r"(?:so many|some) (?:steps|passes) at a time": "in blocks of steps",
    r"over-confident": "overconfident",
}
PATTERNS = [
    (word, re.compile(rf"(?<![\w.=<%/-])(?:{word})(?![\w=(%/]|\.\w)", re.IGNORECASE), better)
    for word, better in BANNED.items()
]
# Names of columns, arguments and settings are not prose, nor are titles and values of a result.
NAMES = re.compile(r"columns? (?:called )?\w+(?:(?:, | and |, and | or )\w+)*|^[ ]*\w+(?:, \w+)*:(?= )", re.MULTILINE)
FIXED = (
    "item posteriors",
    "item response",
    "worker agreement with aggregate",
    "budget-optimal task allocation",
    "multi-annotator competence estimation",
    "crowdsourcing tasks via latent factor models",
)
TITLES = re.compile("|".join(FIXED), re.IGNORECASE)
CODE = re.compile(r"```.*?(?:```|\Z)|``.*?``|`[^`]*`|<!--.*?-->|\{[{%].*?[%}]\}|https?://\S+|'\w+'|\"\w+\"", re.DOTALL)
DOCTEST = re.compile(r"^[ \t]*>>> .*(?:\n[ \t]*\S.*)*", re.MULTILINE)


class Finding(NamedTuple):
    path: str
    line: int
    word: str
    better: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word} -> {self.better}"


def blanked(text: str) -> str:
    """Replace code by spaces, so that every other character keeps its place and line."""
    for code in (DOCTEST, CODE, NAMES, TITLES):
        text = code.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    return text


def found(text: str, path: str, first_line: int = 1) -> Iterator[Finding]:
    """Yield the banned words of a text that starts on ``first_line`` of a file."""
    prose = blanked(text)
    foreign = Path(path).parts[:2] == FOREIGN
    for word, pattern, better in PATTERNS:
        if foreign and word in FOREIGN_WORDS:
            continue
        for match in pattern.finditer(prose):
            yield Finding(path, first_line + prose.count("\n", 0, match.start()), " ".join(match[0].split()), better)


def literal(node: ast.Constant | ast.JoinedStr) -> str:
    """Return the text of a string literal, with a mark for each value that is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "`…`" for part in node.values)


def strings(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the string literals of more than one word with their lines; a formatted string is one literal."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts
        if (text or isinstance(node, ast.JoinedStr)) and len(literal(node).split()) > 1:
            yield literal(node), node.lineno


def comments(source: str) -> Iterator[tuple[str, int]]:
    """Yield the comments of a Python file with their lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string, token.start[0]


def findings(path: Path) -> list[Finding]:
    """Return what a file's public text says in banned words, by line."""
    source = path.read_text(encoding="utf-8")
    texts = [*strings(ast.parse(source)), *comments(source)] if path.suffix == ".py" else [(source, 1)]
    return sorted(finding for text, line in texts for finding in found(text, str(path), line))


def files(place: Path) -> list[Path]:
    """Return the checked files of a folder, or the file itself."""
    if place.is_file():
        return [place]
    under = [path for path in place.rglob("*") if path.suffix in SUFFIXES]
    return sorted(path for path in under if path.parts[:2] != RESULTS or len(path.parts) == 3)


def main(places: list[str]) -> int:
    """Print the findings in these files and folders; return 1 if there are any, 2 if one has no files to check."""
    empty = [place for place in places if not files(Path(place))] if places else ["no place given"]
    if empty:
        allowed = f"files and folders with {', '.join(SUFFIXES)}"
        print(f"words: {empty[0]}: nothing to check; allowed: {allowed}", file=sys.stderr)
        return 2
    all_findings = [finding for place in places for path in files(Path(place)) for finding in findings(path)]
    print(*all_findings, sep="\n", end="\n" if all_findings else "")
    return int(bool(all_findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
