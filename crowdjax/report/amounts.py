"""Shares and their changes in words: with as many digits as tell the ends of an interval apart."""

from __future__ import annotations

import math

SURE, LIKELY = 0.975, 0.9  # probabilities, from which a change is reported, or reported as likely


def digits(low: float, high: float) -> int:
    """Return the decimals of percentages that distinguish two shares.

    Example:
        >>> digits(0.15, 0.25), digits(0.0011, 0.0013)
        (0, 3)
    """
    return min(6, max(0, 1 - math.floor(math.log10(max(100 * (high - low), 1e-12)))))


def interval(low: float, high: float) -> str:
    """Return an interval of a share.

    Example:
        >>> interval(0.15, 0.25), interval(0.0011, 0.0013)
        ('15 to 25 %', '0.110 to 0.130 %')
    """
    n = digits(low, high)
    return f"{100 * low:.{n}f} to {100 * high:.{n}f} %"


def points(change: float, low: float, high: float) -> str:
    """Format a change of a share in percentage points, with its interval; a dash where there is none.

    Example:
        >>> points(0.1, 0.02, 0.18), points(-0.0031, -0.0052, -0.001), points(math.nan, math.nan, math.nan)
        ('+10.0 (+2.0 to +18.0)', '−0.31 (−0.52 to −0.10)', '–')
    """
    if math.isnan(change):
        return "–"
    n = max(1, digits(low, high))
    mean, low_, high_ = (f"{round(100 * v, n) + 0.0:+.{n}f}" for v in (change, low, high))  # no minus before a zero
    return f"{mean} ({low_} to {high_})".replace("-", "−")


def probability(p: float) -> str:
    """Format a probability that was counted among draws; none is certain.

    Example:
        >>> probability(1.0), probability(0.314), probability(math.nan)
        ('>0.99', '0.31', '–')
    """
    return "–" if math.isnan(p) else ">0.99" if p > 0.99 else "<0.01" if p < 0.01 else f"{p:.2f}"


def size(p: float) -> str:
    """Return the same of a large one, in a sentence.

    Example:
        >>> size(0.97), size(1.0)
        ('of 0.97', 'above 0.99')
    """
    return "above 0.99" if p > 0.99 else f"of {p:.2f}"


def chance(p_increase: float) -> str:
    """Format the probability of a rise or a fall, whichever is likelier.

    Example:
        >>> chance(0.998), chance(0.12)
        ('a rise with a probability above 0.99', 'a fall with a probability of 0.88')
    """
    kind = "rise" if p_increase >= 0.5 else "fall"
    return f"a {kind} with a probability {size(max(p_increase, 1 - p_increase))}"


def verdict(p_increase: float) -> str:
    """Describe a change in a word or two.

    Example:
        >>> [verdict(p) for p in (0.99, 0.95, 0.5, 0.06, 0.01, math.nan)]
        ['rose', 'probably rose', 'no clear change', 'probably fell', 'fell', '']
    """
    if math.isnan(p_increase):
        return ""
    word = "rose" if p_increase >= 0.5 else "fell"
    p = max(p_increase, 1 - p_increase)
    return word if p >= SURE else f"probably {word}" if p >= LIKELY else "no clear change"
