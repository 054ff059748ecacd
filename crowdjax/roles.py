"""Which column of a table plays which role: as the user says, by the role's own name, or by one usual name for it.

No role is guessed. An unclear table is rejected with a message that ends with a line to paste. Once the user names one
role of a table, usual names do not count in that table any more: then each role needs its own name or the user's.
Columns of row numbers (no name, ``index``, ``Unnamed: 0``, ``__index_level_0__``) play no role unless they are named.
"""

from __future__ import annotations

import difflib
import logging
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import MISSING, column_name, listed, plain_column, show
from crowdjax.labels import InputError
from crowdjax.tables import Table, open_table

LOG = logging.getLogger("crowdjax")
NOTICE = 25  # the level of messages without --verbose: between INFO and WARNING

ALIASES = {
    "labeler": ["labeler", "labeller", "worker", "annotator", "rater", "coder", "judge", "assessor"],
    "instance": ["instance", "task", "item", "question", "unit", "example", "hit"],
    "label": ["label", "response", "judgement", "judgment", "answer", "rating", "choice", "vote", "annotation"],
}
ROW_NUMBERS = re.compile(r"|index|unnamed: \d+|level_\d+|__index_level_\d+__")
TRUTHS = ("label", "truth", "gold")  # never a score or a feature unless they are named

Columns = Mapping[str, Any]  # role -> name; of tables besides the labels: "table.role" -> name or names
Roles = dict[str, str | tuple[str, ...]]
NONE: Columns = MappingProxyType({})


class Shape(NamedTuple):
    """The roles of a kind of table: each needed one has a column, an optional one may, ``several`` has one or more."""

    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    several: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.needed, *self.optional, *([self.several] if self.several else []))


SHAPES = {
    "labels": Shape(("labeler", "instance", "label"), ("weight",)),
    "gold": Shape(("instance", "label"), ("chance",)),
    "scores": Shape(("instance",), (), "score"),
    "weights": Shape(("instance", "weight")),
    "population": Shape((), ("weight", "count"), "score"),
    "labeler_features": Shape(("labeler",), (), "feature"),
    "instance_features": Shape(("instance",), (), "feature"),
}


class Opened(NamedTuple):
    """A table whose columns have roles, not yet read."""

    kind: str
    table: Table
    roles: Roles

    @property
    def place(self) -> str:
        return self.table.place


def by_table(columns: Columns | None, given: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the user's columns, table by table: ``{"labeler": "who", "gold.instance": "q"}`` has two tables.

    Args:
        given: the tables that there are; columns of another are rejected.

    Example:
        >>> by_table({"labeler": "who", "gold.instance": "q"}, ["labels", "gold"])
        {'labels': {'labeler': 'who'}, 'gold': {'instance': 'q'}}
    """
    if columns is not None and not isinstance(columns, Mapping):
        raise InputError(f"columns: got {type(columns).__name__}; allowed: a dict, as {{'labeler': 'worker'}}")
    out: dict[str, dict[str, Any]] = {kind: {} for kind in given}
    for key, name in (columns or {}).items():
        kind, dot, role = str(key).rpartition(".")
        kind = kind if dot else "labels"
        if kind not in given:
            allowed = ", ".join(k for k in given if k != "labels")
            raise InputError(
                f"columns: got {key!r}, but there is no table {show(kind)}; allowed: ROLE of the labels"
                + (f", or TABLE.ROLE of {allowed}" if allowed else "")
            )
        if role in out[kind]:
            raise InputError(f"columns: {role!r} of {kind} is given twice; allowed: once")
        out[kind][role] = name
    return out


def open_as(
    kind: str, source, columns: Columns | None = None, *, place: str | None = None, known=(), like: Columns = NONE
) -> Opened:
    """Open a table besides the labels and finds its roles.

    Args:
        columns: the user's names, by role.
        place: what to call the table in a message, unless it has a path; by default its kind.
        known: the names that the columns of the role ``several`` must have, for instance those of the scores in a
            population's table.
        like: the user's columns of the labels, which a message suggests if this table has them too.
    """
    table = open_table(source, place or kind.replace("_", " "))
    said = dict(columns or {})
    several = SHAPES[kind].several
    wanted = said.pop(several, None) if several else None
    roles: Roles = dict(assign(table, kind, said, like=like))
    if several:
        roles[several] = _several(table, kind, roles, wanted, known)
    return Opened(kind, table, roles)


def assign(
    table: Table, kind: str, columns: Columns, *, prefix: str | None = None, like: Columns = NONE
) -> dict[str, str]:
    """Return the column of each needed role and of the optional ones that are there.

    Raises:
        InputError: a name is not among the columns, a role is not clear, two roles have the same column.
    """
    shape, names = SHAPES[kind], table.columns
    prefix = ("" if kind == "labels" else f"{kind}.") if prefix is None else prefix
    for given in columns:
        if given not in shape.all:
            raise InputError(f"columns: got {prefix + str(given)!r}; allowed: "
                             f"{', '.join(prefix + role for role in shape.all)}")  # fmt: skip
    found = {role: named(table, columns[role], role, prefix) for role in columns}
    for role in (*shape.needed, *shape.optional):
        if role in found:
            continue
        free = [n for n in names if n not in found.values()]
        own = [role] if role in free else [n for n in free if plain(n) == role]
        if not own and role in shape.needed and not columns:
            own = [n for n in free if is_alias(n, role)]
        if len(own) > 1:
            raise InputError(
                f"{table.place}: columns {' and '.join(map(repr, own))} may both be the {role}; say which: "
                + paste(kind, {**_recognised(table, kind, columns), role: own[0]}, prefix)
            )
        if own:
            found[role] = own[0]
    if {"weight", "count"} <= {*found}:
        raise InputError(
            f"{table.place}: columns {found['weight']!r} and {found['count']!r} may both be the weight; allowed: one"
        )
    missing = [role for role in shape.needed if role not in found]
    if missing:
        raise InputError(_unclear(table, kind, columns, found, missing, prefix, like))
    used = list(found.values())
    for name in used:
        if used.count(name) > 1:
            both = " and ".join(r for r, n in found.items() if n == name)
            raise InputError(f"{table.place}: column {name!r} for {both}; allowed: a column for each role")
    return found


def _recognised(table: Table, kind: str, columns: Columns) -> dict[str, str | None]:
    """Return what is clear of the needed roles: the user's names, own names and single usual names; None for the
    others."""
    out: dict[str, str | None] = {}
    for role in SHAPES[kind].needed:
        names = [column_name(columns[role])] if role in columns else [n for n in table.columns if is_alias(n, role)]
        out[role] = role if role in table.columns and role not in columns else names[0] if len(names) == 1 else None
    return out


def _unclear(
    table: Table, kind: str, columns: Columns, found, missing: Sequence[str], prefix: str, like: Columns
) -> str:
    """Return the message about roles without a column."""
    what = " and ".join(f"no column {role!r}" for role in missing)
    why = ""
    usual = {role: n for role in missing for n in table.columns if is_alias(n, role) and n not in found.values()}
    if columns and usual:
        why = f" (a usual name, as {next(iter(usual.values()))!r}, does not count once a role is named by hand)"
    roles = {role: found.get(role) or (None if columns else _recognised(table, kind, columns)[role])
             for role in SHAPES[kind].needed}  # fmt: skip
    free = [n for n in table.columns if n not in roles.values()]
    for role in missing:
        alike = [n for n in free if n == like.get(role) or (kind == "gold" and role == "label" and plain(n) in TRUTHS)]
        roles[role] = roles[role] or (alike[0] if len(alike) == 1 else None)
    return (
        f"{table.place}: {what}; found: {listed(table.columns)}{table.about}{why}{table.hint}; "
        f"say which column is which: {paste(kind, roles, prefix)}"
    )


def _several(table: Table, kind: str, roles: Roles, wanted, known: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the role that has one or more: numbers about labelers, instances or a population."""
    role = SHAPES[kind].several
    prefix = f"{kind}."
    if wanted is not None:
        chosen = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Sequence) else wanted
        found = tuple(named(table, name, role, prefix) for name in chosen)
        if not found:
            raise InputError(f"{table.place}: no column named for {role}; allowed: one or more")
        if known and len(found) != len(known):
            raise InputError(f"{table.place}: {len(found)} columns of {role}s; allowed: {len(known)}, as in the scores")
        if len({*found}) < len(found):
            raise InputError(f"{table.place}: {listed(found)} as {role}s; allowed: each column once")
        return found
    if known:
        return tuple(named(table, name, role, prefix) for name in known)
    others = [n for n in table.columns if n not in roles.values() and not is_row_number(n)]
    suspect = [n for n in others if plain(n) in TRUTHS]
    if role == "score":
        own = ["score"] if "score" in others else [n for n in others if plain(n) == "score"]
        if len(own) == 1:
            return (own[0],)
        others = [n for n in others if n not in suspect]
        if len(others) > 1:
            others = [n for n in others if _is_numeric(table, n)]
        if len(others) > 1:
            option = f"--score-columns {shell(','.join(others))}"
            raise InputError(
                f"{table.place}: columns {listed(others)} may all be scores; say which: "
                f"columns={{'{prefix}score': {others}}} ({option})"
            )
    elif suspect:
        others = [n for n in others if n not in suspect]
        raise InputError(
            f"{table.place}: column {suspect[0]!r} does not look like a {role}; leave it out, or name the {role}s: "
            + paste(kind, {**roles, role: others or None}, prefix)
        )
    if not others:
        besides = f" besides {listed(map(repr, roles.values()))}" if roles else ""
        hint = f" (column {suspect[0]!r} does not look like a {role})" if suspect else ""
        raise InputError(
            f"{table.place}: no columns{besides} that may be a {role}{hint}; found: {listed(table.columns)}; at least "
            f"one numeric column is needed: {paste(kind, {**roles, role: None}, prefix)}"
        )
    return tuple(others)


def _is_numeric(table: Table, name: str) -> bool:
    """Return whether a column holds numbers, or text that is numbers throughout."""
    column, t = plain_column(table.read([name])[name]), pa.types
    if not t.is_string(column.type):
        return t.is_integer(column.type) or t.is_floating(column.type) or t.is_decimal(column.type)
    try:
        column.filter(pc.invert(pc.is_in(column, value_set=pa.array(MISSING)))).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def plain(name: str) -> str:
    """Convert a column's name to lower case, without blanks, ``_`` and ``-``."""
    return "".join(c for c in name.lower() if c not in "_- ")


def is_alias(name: str, role: str) -> bool:
    """Return whether a column of this name usually has this role, as ``worker``, ``Worker ID`` and ``workerId``."""
    return plain(name).removesuffix("id" if role != "label" else "") in ALIASES.get(role, (role,))


def is_row_number(name: str) -> bool:
    """Return whether a column of this name is the index of a data frame that was written along."""
    return ROW_NUMBERS.fullmatch(name.strip().lower()) is not None


def named(table: Table, name, role: str, prefix: str = "") -> str:
    """Return the column that the user named."""
    if isinstance(name, list):
        raise InputError(f"{table.place}: columns {listed(name)} for {prefix}{role}; allowed: one")
    text = column_name(name)
    if text in table.columns:
        return text
    near = difflib.get_close_matches(text, table.columns, 1, 0.75)
    hint = f"; did you mean {prefix}{role}={near[0]}?" if near else ""
    raise InputError(f"{table.place}: no column {show(text)}; found: {listed(table.columns)}{hint}")


def paste(kind: str, roles: Mapping[str, Any], prefix: str | None = None) -> str:
    """Return the roles as an argument and as an option; ``?`` where nothing is known.

    Example:
        >>> paste("gold", {"instance": "q", "label": None})
        "columns={'gold.instance': 'q', 'gold.label': '?'} (--columns gold.instance=q,gold.label=?)"
    """
    prefix = ("" if kind == "labels" else f"{kind}.") if prefix is None else prefix
    short = {prefix + role: _few(name) for role, name in roles.items()}
    python = ", ".join(f"{role!r}: {names if len(names) > 1 else names[0]!r}" for role, names in short.items())
    option = ",".join(f"{role}={name}" for role, names in short.items() for name in names)
    return f"columns={{{python}}} (--columns {shell(option)})"


def _few(name) -> list[str]:
    names = [name] if isinstance(name, str) else ["?"] if not name else list(name)
    return [n if len(n) <= 60 and n.isprintable() else "?" for n in names[:12]]


def shell(text: str) -> str:
    """Quote text for a shell, in quotes where it needs some."""
    return text if re.fullmatch(r"[\w.,=?:/@%+-]+", text) else shlex.quote(text)


def tell(place: str, roles: Mapping[str, Any]) -> None:
    """Say which column plays which role."""
    fields = {"event": "columns", "table": place, "columns": as_record(roles)}
    LOG.log(NOTICE, "crowdjax: columns of %s: %s", place, shown(roles), extra={"fields": fields})


def shown(roles: Mapping[str, Any]) -> str:
    """Format roles on one line.

    Example:
        >>> shown({"instance": "id", "score": ("a", "b")})
        'instance=id, score=a, score=b'
    """
    pairs = [(r, n) for r, names in roles.items() for n in ([names] if isinstance(names, str) else names)]
    return listed([f"{role}={name}" for role, name in pairs])


def as_record(roles: Mapping[str, Any]) -> dict[str, Any]:
    """Convert roles for ``fit.json``."""
    return {role: names if isinstance(names, str) else list(names) for role, names in roles.items()}
