"""Command help that fits a screen: usage, summary, one line for each argument and option, and an example.

Everything is taken from the command itself: its docstring, whose last paragraph may be ``Example: ...``, and the help,
the metavar and the panel (a heading that options share) of its parameters.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import PurePath

import typer.core

WIDTH, INDENT = 80, "  "
MOST = 28  # columns of an option's name; where it is longer, its help is on the next line
LAST = ("verbose", "quiet", "help")  # of every command, on one line


class Compact:
    """Mixin of commands and groups of commands that prints compact help."""

    def format_help(self, ctx, formatter) -> None:
        formatter.write("\n".join(lines(self, ctx)) + "\n")


class Command(Compact, typer.core.TyperCommand):
    """A command with compact help; an option that takes one value is given once."""

    def parse_args(self, ctx, args):
        given = [word.partition("=")[0] for word in (args[: args.index("--")] if "--" in args else args)]
        for parameter in self.params:
            names = [] if getattr(parameter, "is_flag", True) or parameter.multiple else parameter.opts
            if sum(given.count(name) for name in names) > 1:
                ctx.fail(f"{names[0]}: given twice; allowed: once (several values with commas between them)")
        return super().parse_args(ctx, args)


def lines(command, ctx) -> Iterator[str]:
    """Format the help of a command as lines."""
    text, example = parts(command.help)
    shown = [p for p in command.get_params(ctx) if not getattr(p, "hidden", False)]
    yield f"Usage: {ctx.command_path} {usage(command, shown)}"
    for at, paragraph in enumerate(text):
        yield from ([""] if at else [])
        yield from textwrap.wrap(paragraph, WIDTH)
    rows = [(_panel(p), row(p)) for p in shown if p.name not in LAST]
    rows += [("Commands", (name, summary(c))) for name, c in getattr(command, "commands", {}).items() if not c.hidden]
    sections = [(title, [r for t, r in rows if t == title]) for title in dict.fromkeys(["", *(t for t, _ in rows)])]
    last = [p for name in LAST for p in shown if p.name == name]
    said = [row(p)[1] for p in last[:-1]] + ["this help"]
    sections.append(("", [(", ".join(min(p.opts, key=len) for p in last), "; ".join(said))]))
    width = max(len(name) for _, rows in sections for name, _ in rows if len(name) <= MOST)
    for title, rows in sections:
        if rows:
            yield from ("", f"{title}:") if title else () if (title, rows) == sections[-1] else ("",)
            yield from table(rows, width)
    if example:
        yield from example


def _panel(param) -> str:
    return getattr(param, "rich_help_panel", None) or ""


def summary(command) -> str:
    """Extract the first clause of a command's help."""
    return re.split(r"[.;:](?: |$)", " ".join(parts(command.help)[0][:1]))[0]


def parts(text: str | None) -> tuple[list[str], list[str]]:
    """Split a docstring into (paragraphs, the lines of the example)."""
    paragraphs = (text or "").strip().split("\n\n")
    example = paragraphs.pop().splitlines() if paragraphs[-1].startswith("Example:") else []
    return [" ".join(p.split()) for p in paragraphs if p.strip()], example


def usage(command, params) -> str:
    """Format the usage line: required arguments and [OPTIONS]."""
    words = []
    for param in params:
        name = metavar(param)
        if param.param_type_name == "argument":
            dots = "" if param.nargs == 1 or name.endswith(("...", "...]")) else "..."
            words.append(name + dots if param.required or name.startswith("[") else f"[{name}{dots}]")
        elif param.required:
            words.append(f"{param.opts[0]} {name}")
    return " ".join([*words, "[OPTIONS]", *(["COMMAND ..."] if hasattr(command, "commands") else [])])


def row(param) -> tuple[str, str]:
    """Format (name, help) of a parameter; the default is added where the help does not give it."""
    text = re.sub(r"(?<!\.)\.$", "", param.help or "")
    argument, flag = param.param_type_name == "argument", getattr(param, "is_flag", False)
    if isinstance(param.default, str | int | float | PurePath) and not flag and "default" not in text:
        text += f" [{param.default}]"
    name = ", ".join(sorted(param.opts, key=len))
    return metavar(param) if argument else name if flag else f"{name} {metavar(param)}", text


def metavar(param) -> str:
    return param.metavar or param.name.upper().replace("_", "-")


def table(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Lay out names and their meanings in two columns."""
    second = len(INDENT) + width + len(INDENT)
    for name, text in rows:
        wrapped = textwrap.wrap(text, WIDTH - second) or [""]
        if len(name) > width:
            yield INDENT + name
            name = ""
        yield f"{INDENT}{name:<{width}}{INDENT}{wrapped[0]}".rstrip()
        yield from (" " * second + line for line in wrapped[1:])
