"""The classes of a fit in the user's own words, and which of them a page shows where there are many."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from crowdjax.result import Tally

MOST = 10  # classes, up to which a page shows all of them
HEAD = 24  # characters of a word at the head of a column


class Words(NamedTuple):
    """The classes, the values of labels, and those that a page shows.

    Attributes:
        classes: the words of the classes.
        values: the words of what labels say; often the classes.
        shown: the classes that are shown, in their own order.
        said: the values that are shown, likewise.
        value_of: which value says a class; -1 where none does.
    """

    classes: list[str]
    values: list[str]
    shown: Int[np.ndarray, " k"]
    said: Int[np.ndarray, " l"]
    value_of: Int[np.ndarray, " K"]

    @property
    def square(self) -> bool:
        """Whether the values of labels are the classes."""
        return self.classes == self.values


def words_of(record: Mapping[str, Any], tally: Tally) -> Words:
    """Return the words of a fit: at most ``MOST`` classes and values are shown, those most frequent.

    Example:
        >>> record = {"classes": list("abc"), "values": list("abc?"), "class_shares": [0.5, 0.1, 0.4]}
        >>> found = words_of(record, Tally(np.ones((3, 4)), np.ones((1, 3, 4)), 1))
        >>> found.shown.tolist(), found.value_of.tolist(), found.square
        ([0, 1, 2], [0, 1, 2], False)
    """
    classes = [str(value) for value in record["classes"]]
    values = classes if record["values"] is None else [str(value) for value in record["values"]]
    place = {word: k for k, word in enumerate(values)}
    shown = frequent(np.asarray(record["class_shares"]), MOST)
    said = shown if classes == values else frequent(tally.votes.sum(0), MOST)
    return Words(classes, values, shown, said, np.array([place.get(word, -1) for word in classes]))


def frequent(share: Float[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
    """Return which have the largest shares, in their own order.

    Example:
        >>> frequent(np.array([0.1, 0.5, 0.4]), 2).tolist()
        [1, 2]
    """
    return np.sort(np.argsort(-share, kind="stable")[:most])


def head(word: str) -> str:
    """Format a word for the head of a column, cut where it is long.

    Example:
        >>> head("a class that is described at some length")
        'a class that is describ…'
    """
    return word if len(word) <= HEAD else word[: HEAD - 1] + "…"


def inline(word: str) -> str:
    """Format a word for a line; a mark after one that is written from right to left keeps what follows in its place.

    Example:
        >>> inline("cat"), inline("שלום")[-1]
        ('cat', '\\u200e')
    """
    leftward = any(unicodedata.bidirectional(c) in ("R", "AL") for c in word)
    return head(word) + "\u200e" * leftward


def quoted(word: str) -> str:
    """Quote a word in a sentence.

    Example:
        >>> quoted("cat")
        '“cat”'
    """
    return f"“{inline(word)}”"
