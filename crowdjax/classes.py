"""What labels say: their distinct values, the classes that these stand for, and a code for each.

    0/1, -1/+1, true/false    the classes 0 and 1
    two other values          the last one is positive: as the user says, as the words say (no, yes), or in their order
    more                      numbers by size, text by the alphabet, categories as declared; or as the user says

Values stay what they were: numbers numbers, text text (without the blanks around it). Text that is text only because
its source has no types (CSV) counts as numbers where all of it is numbers. What may be a slip is rejected or reported.
"""

from __future__ import annotations

import collections
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import (
    MISSING,
    NUMBER,
    Where,
    at,
    column_of,
    first_of,
    pasted,
    plain_column,
    refuse_where,
    show,
    word,
)
from crowdjax.labels import InputError

if TYPE_CHECKING:
    from jaxtyping import Int

SIGNS = {"0": 0, "0.0": 0, "1": 1, "+1": 1, "1.0": 1, "-1": -1, "-1.0": -1, "true": 1, "false": 0}
ALPHABET = "0/1, -1/+1 or true/false"
WRITTEN = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?", re.ASCII)  # a number as programs write them: not 007
PAIRS = {
    frozenset(pair): pair
    for pair in (
        ("no", "yes"), ("n", "y"), ("false", "true"), ("f", "t"), ("negative", "positive"), ("neg", "pos"),
        ("ham", "spam"), ("absent", "present"), ("incorrect", "correct"), ("wrong", "right"), ("bad", "good"),
        ("fail", "pass"),
    )
}  # fmt: skip
MOST = 1000  # values of labels
FEW = 5  # values that any number of labels may have
FRACTIONS = 20  # values of labels that are no whole numbers; more are scores
COUNTED = 10  # classes whose labels are counted in a note
RARE, FREQUENT = 2, 20  # labels of a value that may be a slip, and how many times more the other values have

Kind = Literal["nominal", "ordinal", "exchangeable"]


class Classes(NamedTuple):
    """The classes of the truth and the values of labels, in the user's own values.

    Attributes:
        classes: in order; of two the last is the positive one.
        values: those of labels, in order; None: they are the classes.
        notes: what a reader should know of them, one sentence each.
        places: the class that each value speaks for (``places_of``).
    """

    classes: tuple[Any, ...] = (0, 1)
    values: tuple[Any, ...] | None = None
    notes: tuple[str, ...] = ()
    places: tuple[float, ...] | None = None

    @property
    def said(self) -> tuple[Any, ...]:
        """The values that a label may have."""
        return self.classes if self.values is None else self.values


class Distinct(NamedTuple):
    """The distinct labels of a column.

    Attributes:
        kind: their type.
        counts: how often each occurs.
        at: says where one of them is first.
        ordered: the categories in their order, where the column declares one.
    """

    kind: pa.DataType
    counts: Mapping[Any, int]
    at: Callable[[Any], str]
    ordered: tuple[Any, ...] = ()


def distinct(column: pa.ChunkedArray, place: str, where: Where) -> Distinct:
    """Return the distinct values of a column of labels.

    Raises:
        InputError: they are lists, dates or other values that no label is.

    Example:
        >>> distinct(pa.chunked_array([["a", "b", "a"]]), "labels", "label").counts
        {'a': 2, 'b': 1}
    """
    t, ordered = pa.types, ()
    if t.is_dictionary(column.type) and column.type.ordered and column.num_chunks:
        ordered = tuple(column.chunk(0).dictionary.to_pylist())
    kind = column.type.value_type if t.is_dictionary(column.type) else column.type
    texts = (t.is_string, t.is_large_string, t.is_string_view)
    if not any(test(kind) for test in (*texts, t.is_boolean, t.is_integer, t.is_floating, t.is_decimal, t.is_null)):
        raise InputError(f"{place}: {first_of(column, where)}; allowed: text, numbers, true and false")
    column = plain_column(column)
    counted = pc.value_counts(column)
    counts = dict(zip(*(counted.field(name).to_pylist() for name in ("values", "counts")), strict=True))
    return Distinct(column.type, counts, lambda value: at(where, column.to_pylist().index(value)), ordered)


def classes_of(
    found: Distinct,
    place: str,
    *,
    positive=None,
    order: Sequence[Any] | None = None,
    truth: Sequence[Any] | None = None,
    kind: Kind | None = None,
    untyped: bool = False,
    known: Iterable[Any] = (),
    missing: bool = True,
) -> Classes:
    """Return the classes that labels stand for.

    Args:
        positive: of two values, the one that is positive.
        order: all values of labels in their order; of two the last is positive.
        truth: the values that the truth can be, in their order, where labels say more or other things.
        kind: of the classes; an order of text is then not left to the alphabet.
        untyped: whether text is text only because its source has no types.
        known: values that are there by what the source says, whether they occur or not.
        missing: whether values can be left out, so that a message may say how.

    Raises:
        InputError: the values contradict what the user says of them, or are hardly the values of labels.

    Example:
        >>> found = distinct(pa.chunked_array([["yes", "no", "yes"]]), "labels", "label")
        >>> classes_of(found, "labels").classes
        ('no', 'yes')
        >>> found = distinct(pa.chunked_array([[10, 2, 1, 2]]), "labels", "label")
        >>> classes_of(found, "labels")[:2], classes_of(found, "labels", truth=["no", "yes"])[:2]
        (((1, 2, 10), None), (('no', 'yes'), (1, 2, 10)))
    """
    labels = _Values(found, place, untyped, known, missing)
    order, truth = _given("order", order), _given("truth", truth)
    if positive is not None:
        for name, given in (("order", order), ("truth", truth)):
            if given is not None:
                raise InputError(f"positive: given with {name}; allowed: one of them, the last of two in {name} is "
                                 "positive")  # fmt: skip
        return Classes(labels.two(word(positive)))
    if order is None and truth is None:
        return labels.alone(kind)
    return labels.as_said(order, truth, kind)


class _Values:
    """The words of labels, how often each occurs, and the user's own value of each."""

    def __init__(self, found: Distinct, place: str, untyped: bool, known: Iterable[Any], missing: bool):
        self.found, self.place, self.missing = found, place, missing
        self.counts: dict[str, int] = collections.Counter()
        for value, n in found.counts.items():
            if value is not None and value == value and word(value) not in MISSING:
                self.counts[word(value)] += n
        for value in known:
            self.counts.setdefault(word(value), 0)
        self.total = sum(self.counts.values())
        self.untyped = untyped
        self.own = _own_values(self.counts, found.kind, untyped)

    def alone(self, kind: Kind | None) -> Classes:
        """Return the classes where the user says nothing of them."""
        words = [*self.counts]
        signs = {SIGNS.get(w.lower()) for w in words}
        if None not in signs:
            if {0, -1} <= signs:
                self._refuse_signs()
            return Classes()
        if len(words) == 1:
            raise InputError(
                f"{self.place}: the labels are all {show(words[0])}; say which of them is positive, "
                f"with positive={show(words[0])} (--positive {pasted(words[0])})"
            )
        self._refuse_slips(words)
        values = self._in_order(words)
        self._refuse_unordered(kind, values)
        return Classes(values, None, tuple(self._notes(values)))

    def two(self, positive: str) -> tuple[Any, Any]:
        """Return the two classes by the positive one; the other is None where it does not occur."""
        words = [*self.counts]
        if len(words) > 2:
            usual = sorted(words, key=lambda w: -self.counts[w])[:2]
            if positive in words and positive not in usual:
                usual = [positive, usual[0]]
            raise InputError(self._odd([w for w in words if w not in usual], usual, positive))
        if positive not in words:
            one = f" (--positive {pasted(max(words))})" if words else ""
            raise InputError(
                f"{self.place}: the labels are {', '.join(map(show, sorted(words))) or 'missing'}; allowed: two, one "
                f"of them {show(positive)}{one}"
            )
        other = next((w for w in words if w != positive), None)
        return (None if other is None else self.own[other], self.own[positive])

    def as_said(self, order: list[Any] | None, truth: list[Any] | None, kind: Kind | None = None) -> Classes:
        """Return the classes as the user lists them, or the values of labels, or both."""
        words = [*self.counts]
        truth_words = [word(v) for v in truth or ()]
        if order is not None:
            values = self._listed("order", order)
            self._refuse_others([word(v) for v in order], values)
        elif {*words} <= {*truth_words}:  # labels say nothing but the truth, perhaps not all of it
            return Classes(self._listed("truth", truth))
        else:
            self._refuse_slips(words, mixed=False)
            values = self._in_order(words)
        if truth is None:
            return Classes(values)
        own = _own_values([*words, *truth_words], self.found.kind, self.untyped)
        inside = all(own[w] in values for w in truth_words)
        ordered = kind == "ordinal" and (order is not None or _are_numbers(values))
        self._refuse_truth(truth_words, own, values, ordered)
        classes = tuple(own[w] for w in truth_words) if inside else tuple(truth)
        if order is None and inside and not _are_numbers(values):  # what is no class lies between them
            others, half = [v for v in values if v not in classes], (len(classes) + 1) // 2
            values = (*classes[:half], *others, *classes[half:])
        note = f"Labels are {self._counted(values)}; the truth is {_some(classes)}."
        if not inside:
            turned = ", ".join(show(str(c)) for c in reversed(classes))
            note += (
                f" Labels near {show(str(values[0]))} speak for {show(str(classes[0]))}, those near "
                f"{show(str(values[-1]))} for {show(str(classes[-1]))}; the other way round: truth=[{turned}]."
            )
        if values == classes:
            return Classes(classes, None, (note,))
        if order is None:
            self._refuse_unordered(kind, values)
        return Classes(classes, values, (note,), places_of(classes, values, kind))

    def _refuse_truth(self, words: list[str], own, values: tuple[Any, ...], ordered: bool) -> None:
        """Reject truth values that the labels do not cover, or not in this order."""
        absent = [w for w in words if own[w] not in values]
        if absent and len(absent) < len(words):
            known = next(w for w in words if w not in absent)
            raise InputError(
                f"truth: got {show(absent[0])}, which is not a label value, and {show(known)}, which is; allowed: only "
                f"label values ({_some(values)}), or only names that are not"
            )
        if len(words) > len(values):
            raise InputError(
                f"truth: got {len(words)} values, but labels have {len(values)}; allowed: at most {len(values)}"
            )
        places = [values.index(own[w]) for w in words] if not absent else []
        if ordered and places != sorted(places):
            right = ", ".join(repr(values[k]) for k in sorted(places))
            raise InputError(
                f"truth: got {_some(tuple(own[w] for w in words))}, against the order of the labels, {_some(values)}; "
                f"allowed: truth=[{right}]"
            )

    # Order

    def _in_order(self, words: Sequence[str]) -> tuple[Any, ...]:
        """Return the values in the order that goes without saying."""
        declared = [word(v) for v in self.found.ordered]
        if declared:
            ordered = sorted(words, key=declared.index)
        elif self._numbers(words):
            ordered = sorted(words, key=_number)
        else:
            ordered = sorted(words)
        folded = [w.casefold() for w in ordered]
        pair = PAIRS.get(frozenset(folded)) if len(words) == 2 and not declared else None
        if pair is not None:
            ordered = [ordered[folded.index(w)] for w in pair]
        return tuple(dict.fromkeys(self.own[w] for w in ordered))

    @staticmethod
    def _numbers(words: Iterable[str]) -> bool:
        return all(NUMBER.fullmatch(w) for w in words)

    def _listed(self, name: str, given: Sequence[Any]) -> tuple[Any, ...]:
        """Return the values that the user lists, as the labels have them; those that do not occur with the labels'
        type."""
        words = [word(v) for v in given]
        own = _own_values([*self.counts, *words], self.found.kind, self.untyped)
        for w in words:
            if own[w] is None:
                raise InputError(f"{name}: got {show(w)} with labels of type {self.found.kind}; allowed: their values")
        values = tuple(own[w] for w in words)
        if len({*values}) < len(values):
            again = next(v for v, n in collections.Counter(values).items() if n > 1)
            raise InputError(f"{name}: {show(again)} is there twice; allowed: each value once")
        return values

    # What is rejected

    def _refuse_unordered(self, kind: Kind | None, values: tuple[Any, ...]) -> None:
        """Raise on text that is to be in an order which nobody has said."""
        if kind == "ordinal" and len(values) > 2 and not _are_numbers(values) and not self.found.ordered:
            raise InputError(
                f"{self.place}: classes are ordinal, but the order of the labels {_some(values)} is unknown; "
                f"{_order(values)}, in ascending order"
            )

    def _refuse_others(self, listed: Sequence[str], values: tuple[Any, ...]) -> None:
        """Raise on a value that the user's order lacks."""
        odd = [w for w in self.counts if self.own[w] not in values and w not in listed and self.counts[w]]
        if not odd:
            return
        leave = f", or leave it out: --missing {pasted(odd[0])}" if self.missing else ""
        raise InputError(
            f"{self.place}: {self._at(odd[0])}: got {show(odd[0])} ({self.counts[odd[0]]:,} of {self.total:,} labels); "
            f"allowed: those of order, {_some(values)}; to have it as a class {_order([*values, *odd])}{leave}"
        )

    def _refuse_signs(self) -> None:
        """Raise on labels that may be 0 and 1, or -1 and 1, or all three."""
        minus, zero = (next(w for w in self.counts if SIGNS.get(w.lower()) == s) for s in (-1, 0))
        every = sorted({SIGNS[w.lower()] for w in self.counts})
        raise InputError(
            f"{self.place}: {self._at(minus)}: got {show(self._raw(minus))}; allowed: 0/1 throughout "
            f"({self._at(zero)} has 0) or -1/+1 throughout; if all are classes {_order(every)}"
        )

    def _refuse_slips(self, words: list[str], mixed: bool = True) -> None:
        """Raise on values that are hardly those of labels: written in two ways, of two kinds, or too many."""
        n, labels = len(words), self.total
        fractions = self._numbers(words) and any(_number(w) % 1 for w in words)
        if n > MOST or n > max(FEW, labels / 2) or (fractions and n > FRACTIONS):
            what = "scores" if fractions else "ids, scores or free text"
            allowed = (
                f"at most {FRACTIONS} values that are no whole numbers"
                if fractions
                else f"values that are there several times, at most {MOST:,}"
            )
            raise InputError(
                f"{self.place}: {self._at(words[0])}: got {show(self._raw(words[0]))}, one of {n:,} values in "
                f"{labels:,} labels, as {what} have them; allowed: {allowed}"
            )
        folds: dict[Any, str] = {}
        for w in words:
            other = folds.setdefault(_fold(w), w)
            if other != w and self.own[other] != self.own[w]:
                odd, usual = sorted((other, w), key=lambda v: self.counts[v])
                raise InputError(self._odd([odd], [v for v in words if v != odd], None, alike=usual))
        numeric = [w for w in words if NUMBER.fullmatch(w)]
        text = [w for w in words if w not in numeric]
        if mixed and numeric and text:
            few, many = sorted((text, numeric), key=lambda group: sum(self.counts[w] for w in group))
            raise InputError(self._odd(few, many, None))
        negative = [w for w in numeric if _number(w) < 0]
        if mixed and not text and len(negative) == 1 and _number(negative[0]) == -1:
            raise InputError(self._odd(negative, [w for w in words if w not in negative], None))

    def _odd(self, odd: list[str], usual: list[str], positive: str | None, alike: str | None = None) -> str:
        """Return the message about values of which some are odd among the others: how often and where the first of them
        is."""
        counts, few = self.counts, 5
        odd = sorted(odd, key=lambda w: counts[w])
        others = ", ".join(f"{show(w)} ({counts[w]:,})" for w in sorted(usual, key=lambda w: -counts[w])[:few])
        besides = f" and {len(odd) - 1} other values" if len(odd) > 1 else ""
        allowed = "numbers or words, not both" if any(map(NUMBER.fullmatch, odd + usual)) else "values written alike"
        if positive is not None:
            allowed = f"two, one of them {show(positive)}"
        elif self._numbers(odd + usual):
            allowed = "0/1, -1/+1, or numbers that are all classes"
        text = (
            f"{self.place}: {self._at(odd[0])}: got {show(odd[0])} ({counts[odd[0]]:,} of {self.total:,} labels"
            f"{besides}) beside {others}; allowed: {allowed}"
        )
        pairs = [(w, alike or u) for w in odd for u in usual if _fold(u) == _fold(w)]
        if pairs:
            one, other = pairs[0]
            how = "differ in case only" if one.casefold() == other.casefold() else "are the same but for their writing"
            return f"{text}; {show(one)} and {show(other)} {how}: write them alike"
        if self.missing and sum(counts[w] for w in odd) <= self.total / 2:
            words = [f"--missing {pasted(','.join(odd[:few]))}"]
            words += [] if positive is None else [f"--positive {pasted(positive)}"]
            text += f"; to leave {'it' if len(odd) == 1 else 'them'} out: {' '.join(words)}"
        every = sorted(odd + usual, key=_number) if self._numbers(odd + usual) else sorted(odd + usual)
        return f"{text}; if all are classes {_order([w if self.own[w] is None else self.own[w] for w in every])}"

    def _raw(self, w: str) -> Any:
        """Return a value of the column that is this word."""
        return next(v for v in self.found.counts if v is not None and word(v) == w)

    def _at(self, w: str) -> str:
        return self.found.at(self._raw(w)) if self.counts[w] else f"column {w!r}"

    # Notes

    def _notes(self, values: tuple[Any, ...]) -> list[str]:
        """Report the classes that the user has not listed."""
        if len(values) == 2:
            other, positive = values
            return [
                f"Classes: {show(other)}, {show(positive)}; probability is that of {show(positive)} "
                f"(--positive {pasted(word(other))} for the other)."
            ]
        n = self._each(values)
        notes = [f"Classes: {self._counted(values)}."]
        for value, own in n.items():
            others = np.median([m for v, m in n.items() if v != value])
            if 0 < own <= RARE and FREQUENT * own <= others:
                leave = f"--missing {pasted(word(value))} leaves it out" if self.missing else "leave it out of the file"
                notes.append(f"The class {show(value)} occurs {'once' if own == 1 else 'twice'} in {self.total:,} "
                             f"labels; a slip? {leave}.")  # fmt: skip
        return notes[: 1 + FEW]

    def _each(self, values: Iterable[Any]) -> dict[Any, int]:
        n = dict.fromkeys(values, 0)
        for w, k in self.counts.items():
            n[self.own[w]] += k
        return n

    def _counted(self, values: tuple[Any, ...]) -> str:
        """Return the values with their counts where there are few, else their number."""
        n = self._each(values)
        if len(values) > COUNTED:
            ends = f"{show(values[0])} to {show(values[-1])}"
            return f"{len(values):,}, {ends}, of {min(n.values()):,} to {max(n.values()):,} labels"
        first, *rest = (f"{show(v)} ({n[v]:,}" for v in values)
        return ", ".join([f"{first} label{'s' * (n[values[0]] != 1)})", *(f"{v})" for v in rest)])


def tells_classes(note: str) -> bool:
    """Return whether a note only tells which classes there are: that is no reason to doubt a fit.

    Example:
        >>> tells_classes("Classes: 'cat' (9 labels), 'dog' (8)."), tells_classes("The class 'dgo' occurs once.")
        (True, False)
    """
    return note.startswith("Classes: ") or (note.startswith("Labels are ") and "; the truth is " in note)


def places_of(classes: Sequence[Any], values: Sequence[Any] | None, kind: Kind | None) -> tuple[float, ...] | None:
    """Return the class that each value of a label speaks for, as a code; -1: for none.

    None, by their place, where the classes are in order or values are other words or numbers than classes. Else a value
    that is a class speaks for it, a number between two of these for both, and what else there is for none.

    Example:
        >>> places_of(["a", "b", "c"], ["a", "b", "unsure", "c"], "nominal")
        (0.0, 1.0, -1.0, 2.0)
        >>> places_of([1, 5], [1, 2, 3, 4, 5, 9], "nominal"), places_of([0, 1], [1, 2, 3], "nominal")
        ((0.0, 0.25, 0.5, 0.75, 1.0, -1.0), None)
    """
    if values is None or kind == "ordinal" or not {*classes} <= {*values}:
        return None
    if _are_numbers([*classes, *values]) and [*classes] == sorted(classes):
        return tuple(np.interp(values, classes, np.arange(len(classes)), left=-1, right=-1).tolist())
    place = {value: float(k) for k, value in enumerate(classes)}
    return tuple(place.get(value, -1.0) for value in values)


def _own_values(words: Iterable[str], kind: pa.DataType, untyped: bool) -> dict[str, Any]:
    """Return the user's own value of each word: of the type of the column; None for what is none of it."""
    t, words = pa.types, [*words]
    if t.is_boolean(kind):
        return {w: {"true": True, "false": False}.get(w.lower()) for w in words}
    numeric = t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind)
    if not numeric and not (untyped and all(map(WRITTEN.fullmatch, words))):
        return {w: w for w in words}
    numbers = {w: _number(w) if NUMBER.fullmatch(w) else None for w in words}
    fractions = any(n is not None and n % 1 for n in numbers.values())
    return {w: None if n is None else float(n) if fractions else int(n) for w, n in numbers.items()}


def _number(text: str) -> int | float:
    """Return a number from text, whole where it is."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        return int(value) if value % 1 == 0 else value


def _fold(text: str) -> Any:
    """Normalise what writing does not change: case, blanks, the Unicode form of letters, how a number is written."""
    if NUMBER.fullmatch(text):
        return _number(text)
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _given(name: str, values) -> list[Any] | None:
    """Return the values of ``order`` or ``truth``."""
    if values is None:
        return None
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise InputError(f"{name}: got {show(values)}; allowed: a list of values in their order, as ['no', 'yes']")
    values = [v.item() if isinstance(v, np.generic) else v for v in values]
    values = [v.strip() if isinstance(v, str) else v for v in values]
    for value in values:
        if not isinstance(value, str | int | float) or value != value or word(value) in MISSING:
            raise InputError(f"{name}: got {show(value)}; allowed: text, numbers, true and false")
    if len({word(v) for v in values}) < max(2, len(values)):
        raise InputError(f"{name}: got {_some(values) or 'nothing'}; allowed: two values or more, each once")
    return values


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _some(values: Iterable[Any], most: int = 12) -> str:
    values = [*values]
    return ", ".join(map(show, values[:most])) + (f", ... ({len(values):,} in all)" if len(values) > most else "")


def _order(values: Sequence[Any]) -> str:
    """Suggest a value for ``order``, in Python and on the command line; nothing to type where that is too much."""
    values = [*values]
    option = pasted(",".join(map(word, values)))
    if len(values) > 12 or option == "?":
        return "say order=[...] (--order V,V,...)"
    return f"say order={values!r}" + ("" if any("," in word(v) for v in values) else f" (--order {option})")


def is_alphabet(classes: Sequence[Any]) -> bool:
    """Return whether classes are 0 and 1 as numbers, which labels may write as -1/+1 and true/false too.

    Example:
        >>> is_alphabet((0, 1)), is_alphabet((False, True)), is_alphabet(("no", "yes"))
        (True, False, False)
    """
    return tuple(classes) == (0, 1) and not any(isinstance(v, bool) for v in classes)


def two_of(found: Classes, place: str) -> tuple[Any, ...] | None:
    """Return the two classes of a binary model; None where they are 0 and 1.

    Raises:
        InputError: there are more, or labels say more.

    Example:
        >>> two_of(Classes(), "labels"), two_of(Classes(("no", "yes")), "labels")
        (None, ('no', 'yes'))
    """
    if len(found.said) != 2:
        raise InputError(
            f"{place}: labels of {len(found.said):,} values, {_some(found.said)}; allowed here: two; leave others out "
            "with missing=[...] (--missing V,V)"
        )
    return None if is_alphabet(found.classes) else found.classes


def codes_of(column: pa.ChunkedArray, place: str, where: Where, values: Sequence[Any]) -> Int[np.ndarray, " N"]:
    """Encode a column of labels, or of known classes, as positions in ``values``.

    Raises:
        InputError: a value is missing, or none of these; its row is named.

    Example:
        >>> codes_of(pa.chunked_array([["yes", " no"]]), "gold", "label", ("no", "yes")).tolist()
        [1, 0]
    """
    alphabet = is_alphabet(values)
    allowed = ALPHABET if alphabet else " or ".join(show(v) for v in values[:20] if v is not None)
    allowed += f" or another of {len(values):,} values" if len(values) > 20 else ""
    leave = f"{allowed}; to leave empty labels out: missing=[''] (--missing '')"
    column, t = plain_column(column), pa.types
    refuse_where(pc.is_null(column, nan_is_null=True), column, place, where, leave)
    if t.is_nested(column.type):
        raise InputError(f"{place}: {first_of(column, where)}; allowed: {allowed}")
    encoded, read = column.dictionary_encode().combine_chunks(), _reader(values)
    known = encoded.dictionary.to_pylist()
    if t.is_string(column.type) and not all(v.strip() for v in known):
        refuse_where(pc.equal(pc.utf8_trim_whitespace(column), ""), column, place, where, leave)
    found = np.array([read(v) for v in known], np.int32)
    indices = encoded.indices.to_numpy()
    codes = found[indices] if len(indices) else np.empty(0, np.int32)
    refuse_where(codes == NONE, column, place, where, allowed)
    if alphabet:
        minus, zero = codes == -1, codes == 0
        if minus.any() and zero.any():
            also = f"0/1 throughout ({at(where, int(np.flatnonzero(zero)[0]))} has 0) or -1/+1 throughout"
            refuse_where(minus, column, place, where, also)
        codes = (codes == 1).astype(np.int32)
    kind = np.int8 if len(values) <= 2**7 - 1 else np.int16 if len(values) <= 2**15 - 1 else np.int32
    return codes.astype(kind)


NONE = -2  # what is no value


def _reader(values: Sequence[Any]) -> Callable[[Any], int]:
    """Return which of these values a raw one is, NONE for none of them; -1 of the alphabet stays -1."""
    if is_alphabet(values):
        return lambda v: SIGNS.get(word(v).lower(), NONE)
    if all(isinstance(v, bool) for v in values):
        place = {word(v): k for k, v in enumerate(values)}
        return lambda v: place.get(word(v).lower(), NONE)
    if _are_numbers(values):
        place = {v: k for k, v in enumerate(values)}

        def of_number(v):
            text = word(v)
            return place.get(_number(text), NONE) if NUMBER.fullmatch(text) else NONE

        return of_number
    place = {word(v): k for k, v in enumerate(values) if v is not None}
    return lambda v: place.get(word(v), NONE)


def column_of_values(values: Sequence[Any]) -> pa.Array:
    """Return the values of classes as a column of their own type: 0 and 1 of 8 bits.

    Example:
        >>> str(column_of_values((0, 1)).type), str(column_of_values(("no", "yes")).type)
        ('int8', 'string')
    """
    return pa.array(values, pa.int8()) if is_alphabet(values) else column_of([*values], "classes", "label")
