"""Numbers that look like no measurement: a lone value far off, a code for a missing one, another unit, a huge weight.

One number can ruin a column whose scale is set by its range or its spread, as that of features is. A value at either
end of a column is odd where the gap to the next one is wider than the range of all that lie inside, or, of usual codes
for a missing value (-1, -99, 999, 9999), than a quarter of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crowdjax.labels import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

CODES = (-1, -9, -99, -999, -9999, 99, 999, 9999, 99999)
GAP, GAP_OF_CODES = 1.0, 0.25  # in ranges of the values inside
LEAST = 10  # distinct values that make a range
MOST = 6  # odd values at either end
OTHER_UNIT = 0.05  # part that one range is of another, below which they are hardly of one unit
BEYOND = 0.01  # share of scores beyond the ends of the scale that is worth a sentence
HEAVY = 0.5  # share of all weight on one row, from which it is worth a sentence


class Odd(NamedTuple):
    """An outlying value, the number of its rows, and the range of the others.

    Example:
        >>> odd_values(np.r_[np.linspace(0, 1, 50), 999, 999])
        [Odd(value=999.0, rows=2, low=0.0, high=1.0)]
    """

    value: float
    rows: int
    low: float
    high: float


def odd_values(values: Float[np.ndarray, " n"], *, codes_only: bool = False) -> list[Odd]:
    """Return the odd values of a column.

    Args:
        codes_only: whether only codes for missing values are looked for: where ranks are used, no value is far off.

    Example: -1 below shares of 0 to 1 is a code, below 0, 1, ..., 19 it may be the next number
        >>> odd_values(np.r_[np.linspace(0, 1, 20), -1])[0].value, odd_values(np.arange(-1, 20.0))
        (-1.0, [])
    """
    found, rows = np.unique(np.asarray(values, np.float64), return_counts=True)
    low, high = 0, len(found)  # what is left is found[low:high]
    for _ in range(MOST):
        low += _first_odd(found[low:high], codes_only)
        high -= _first_odd(found[low:high][::-1], codes_only)
    kept = found[low:high]
    return [
        Odd(float(v), int(n), float(kept[0]), float(kept[-1]))
        for k, (v, n) in enumerate(zip(found, rows, strict=True))
        if not low <= k < high
    ]


def _first_odd(found: Float[np.ndarray, " n"], codes_only: bool) -> bool:
    """Return whether the first of sorted distinct values (rising or falling) is odd."""
    if len(found) <= LEAST:
        return False
    code = bool(np.isclose(found[0], CODES, rtol=1e-9).any())
    if codes_only and not code:
        return False
    gap, inside = abs(found[1] - found[0]), abs(found[-1] - found[1])
    return bool(gap > (GAP_OF_CODES if code else GAP) * inside)


FARTHEST = "The scale of the column goes by its farthest values"
NEAREST = "It counts as a score at the end of the scale"


def about_columns(
    place: str, names: Sequence[str], values: Float[np.ndarray, "n C"], *, codes_only: bool = False, so: str = FARTHEST
) -> list[str]:
    """Return a sentence for every odd value of some columns.

    Args:
        so: what follows from it.

    Example:
        >>> about_columns("labeler features", ["age"], np.r_[20:40, 999.0][:, None])[0][:60]
        "labeler features: column 'age' is 999 in 1 row and 20 to 39 "
    """
    return [
        _sentence(place, name, odd, so)
        for name, column in zip(names, values.T, strict=True)
        for odd in odd_values(column, codes_only=codes_only)
    ]


def _sentence(place: str, name: str, odd: Odd, so: str) -> str:
    rows = f"{odd.rows} row{'s' * (odd.rows > 1)}"
    return (
        f"{place}: column {name!r} is {odd.value:g} in {rows} and {odd.low:g} to {odd.high:g} in the others. {so}; if "
        "it stands for a missing value, leave out what has it."
    )


def refuse_other_unit(
    place: str, names: Sequence[str], sample: Float[np.ndarray, "I C"], others: Float[np.ndarray, "K C"]
) -> None:
    """Reject scores that seem to be in another unit than the sample's, or that lie far outside its range.

    Odd values aside, the sample's scores span at least 5 % of the central 99 % of the others, and the others, of whom
    most may well lie close together, span in all at least 5 % of the sample's central 99 %.

    Raises:
        InputError: the spans are smaller; the message names both ranges.

    Example: shares here, percents there
        >>> one, hundred = np.linspace(0, 1, 50)[:, None], np.linspace(0, 100, 50)[:, None]
        >>> refuse_other_unit("population", ["p"], one, hundred)
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: population: column 'p' ranges from 0 to 100, but from 0 to 1 in the labelled ...
    """
    for name, own, other in zip(names, sample.T, others.T, strict=True):
        strange = [odd.value for odd in odd_values(np.r_[own, other])]
        own, other = (part[~np.isin(part, strange)] for part in (own, other))
        if not len(own) or not len(other):
            continue
        few = len(np.unique(other)) < LEAST  # they may well lie close together
        if np.ptp(own) < OTHER_UNIT * _middle(other) or (not few and np.ptp(other) < OTHER_UNIT * _middle(own)):
            raise InputError(
                f"{place}: column {name!r} ranges from {other.min():g} to {other.max():g}, but from {own.min():g} to "
                f"{own.max():g} in the labelled instances; allowed: scores in one unit (is one a share, the other a "
                "percentage?); if the unit is the same, label instances over more of the range, or give only the part "
                "of the population that the labelled instances represent"
            )


def _middle(values: Float[np.ndarray, " n"]) -> float:
    """Return the width of the central 99 %."""
    return float(np.diff(np.quantile(values, [0.005, 0.995]))[0])


def about_others(
    place: str,
    names: Sequence[str],
    sample: Float[np.ndarray, "I C"],
    others: Float[np.ndarray, "K C"],
    beyond: Bool[np.ndarray, "K C"],
    counts: Float[np.ndarray, " K"],
    *,
    codes_only: bool = False,
) -> list[str]:
    """Warn of odd scores in a sample and in others, and return which share of these lies beyond the sample's.

    Args:
        place: who the others are.
        beyond: which of their scores lie beyond the scale that the sample gave; up to 1 %, and odd values, are passed
            over.
        counts: how many instances each row stands for.

    Example:
        >>> sample, others = np.linspace(0, 1, 50)[:, None], np.linspace(0, 2, 50)[:, None]
        >>> about_others("population", ["p"], sample, others, others > 1, np.ones(50))[0].split(":")[0]
        "50% of the population have a 'p' beyond that of the labelled instances (0 to 1)"
    """
    out = []
    for name, own, other, far in zip(names, sample.T, others.T, beyond.T, strict=True):
        odd = odd_values(np.r_[own, other], codes_only=codes_only)
        for found in odd:
            here = found.value in other
            rows = int((other == found.value).sum()) if here else found.rows
            out.append(_sentence(place if here else "scores", name, found._replace(rows=rows), NEAREST))
        strange = [found.value for found in odd]
        n = np.where(np.isin(other, strange), 0, counts)
        share = n[far].sum() / max(n.sum(), 1e-300)
        if share > BEYOND:
            own, where = own[~np.isin(own, strange)], other[far & (n > 0)]
            out.append(
                f"{share:.0%} of the {place} have a {name!r} beyond that of the labelled instances ({own.min():g} to "
                f"{own.max():g}): there, at {where.min():g} to {where.max():g}, the functions are extrapolated: they "
                "stay as at the nearest end."
            )
    return out


def about_weights(place: str, weights: Float[np.ndarray, " n"] | None) -> list[str]:
    """Warn where one weight outweighs all others together.

    Example:
        >>> about_weights("weights", np.r_[np.ones(99), 999.0])
        ['weights: one row of 100 has 999, 91% of all weight: the result is little more than what that row says.']
    """
    if weights is None or np.count_nonzero(weights) < LEAST:
        return []
    most, total = float(weights.max()), float(weights.sum())
    if most <= HEAVY * total:
        return []
    return [
        f"{place}: one row of {len(weights)} has {most:g}, {most / total:.0%} of all weight: the result is little "
        "more than what that row says."
    ]
