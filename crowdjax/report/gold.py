"""Gold beside the model: each labeler's share of right labels on gold, with its interval, and whether it contradicts
the model."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from crowdjax.labelers import Interval, in_sd
from crowdjax.report.document import Check, Column

LEAST = 5  # labels on gold, from which a labeler is compared with the model
RARE = 0.01  # probability of as many labelers beyond the model's limits, below which the model is doubted
# measure: the column that counts its labels on gold
COUNTS = {"accuracy": "gold_labels", "sensitivity": "gold_positives", "specificity": "gold_negatives"}


def share(right: Float[np.ndarray, " n"], given: Float[np.ndarray, " n"], level: float) -> Interval:
    """Return shares with Wilson's intervals; NaN where nothing was given.

        (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)

    Example:
        >>> [round(float(end[0]), 2) for end in share(np.array([9.0]), np.array([10.0]), 0.95)]
        [0.9, 0.6, 0.98]
    """
    n = np.where(given > 0, given, np.nan)
    p, z = right / n, in_sd(level)
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    lower, upper = ((middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    return Interval(p, np.clip(lower, 0, p), np.clip(upper, p, 1))


def of_labelers(people: pa.Table, measure: str, level: float) -> Interval | None:
    """Return the measure of each labeler by gold alone; None where the table has none.

    Args:
        people: the table of labelers of a result.
        measure: accuracy, sensitivity or specificity.
    """
    if f"gold_{measure}" not in people.column_names:
        return None
    given = np.asarray(people[COUNTS[measure]].to_numpy(), float)
    found = np.nan_to_num(np.asarray(people[f"gold_{measure}"].to_numpy(), float))
    return share(found * given, given, level)


def column(
    people: pa.Table, measure: str, level: float, span: tuple[float, float, float] | None = None
) -> tuple[list[Column], list[list]]:
    """Return the measure by gold as a column of the labelers' table and its values; empty without gold.

    Args:
        span: the scale on which its intervals are drawn.
    """
    found = of_labelers(people, measure, level)
    if found is None:
        return [], []
    return [Column(f"{measure} on gold", "interval", span)], [list(zip(*(v.tolist() for v in found), strict=True))]


def checks(people: pa.Table, level: float) -> list[Check]:
    """Check the model's accuracy of labelers against gold; nothing where no labeler has enough labels on gold.

    The labels on gold of labeler i have the share g_i of n_i, the model's accuracy is a_i with the standard deviation
    s_i. Of labelers with |g_i - a_i| > z √(s_i² + a_i(1-a_i)/n_i) a right model has about 1 - level, so their number is
    binomial.
    """
    names = ("accuracy", "lower", "upper", "gold_accuracy", "gold_labels")
    if not {*names} <= {*people.column_names}:
        return []
    a, lower, upper, g, n = (np.asarray(people[name].to_numpy(), float) for name in names)
    use = (n >= LEAST) & np.isfinite(a + lower + upper + g)
    if not use.any():
        return []
    from scipy import special

    a, lower, upper, g, n = (v[use] for v in (a, lower, upper, g, n))
    z = in_sd(level)
    beyond = int((abs(g - a) > z * np.sqrt(((upper - lower) / (2 * z)) ** 2 + a * (1 - a) / n)).sum())
    bad = bool(beyond and special.bdtrc(beyond - 1, len(a), 1 - level) < RARE)
    by_gold, by_model = (float((v * n).sum() / n.sum()) for v in (g, a))
    text = (
        f"On gold, {by_gold:.1%} of their labels are right; the model expects {by_model:.1%}. By chance alone, "
        f"{len(a) * (1 - level):.1f} of them are expected beyond {level:.0%} limits. "
    )
    text += (
        "More do, so the model is wrong about some labelers, or gold is unlike the other instances."
        if bad
        else "The same gold helped to fit the model; gold that is kept out of the fit is a harder test."
    )
    return [Check("care" if bad else "good", f"{beyond} of {len(a):,} labelers differ on gold from the model", text)]
