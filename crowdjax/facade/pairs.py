"""Warnings of a contextual fit about pairs of labelers who agree beyond truth and score, and about a score that is one
labeler's own label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from crowdjax.columns import listed
from crowdjax.contextual.agreement import LEAST, LEVEL, Pair
from crowdjax.labels import Labels

SHOWN = 3  # pairs that are named
MISPLACED = 0.01  # labels on the wrong side of a cut, over those of the rarer value, at most


def record(found: Sequence[Pair], labelers: Sequence[Any]) -> dict[str, Any]:
    """Build the entry of the record: the number of pairs compared, and the pairs that fail."""
    failed = [one for one in found if one.p <= LEVEL]
    named = [{**one._asdict(), "labelers": [str(labelers[i]) for i in one.labelers]} for one in failed]
    return {"n_pairs": len(found), "level": LEVEL, "pairs": named}


def about(found: Sequence[Pair], labelers: Sequence[Any], by_gold: bool) -> list[str]:
    """Warn of pairs that agree more, or less, than truth and score explain.

    Args:
        by_gold: whether the reported prevalence is right by gold's chances.

    Example:
        >>> pair = Pair((0, 1), 400, 0.93, 0.90, 0.002)
        >>> about([pair], ["gpt", "claude"], False)[0].split(": ")[1][:62]
        'gpt and claude agree on 93.0 % of 400 instances where 90.0 % a'
    """
    failed = [one for one in found if one.p <= LEVEL]
    if not failed:
        return []
    what = "; ".join(
        f"{labelers[one.labelers[0]]} and {labelers[one.labelers[1]]} agree on {100 * one.observed:.1f} % of "
        f"{one.common:,} instances where {100 * one.expected:.1f} % are explained"
        for one in failed[:SHOWN]
    )
    more = f"; {len(failed) - SHOWN} further pairs (fit.json has them)" if len(failed) > SHOWN else ""
    so = (
        "The prevalence is right by gold's chances all the same; probabilities of instances are overconfident."
        if by_gold
        else "The model takes errors as independent: its interval of the prevalence is likely too narrow, which way it "
        "is off cannot be told from labels, and probabilities of instances are overconfident. Gold of instances drawn "
        "with known chances (--gold) would settle the prevalence."
    )
    return [
        f"Labelers agree otherwise than truth and score explain: {what}{more}. Some share errors, these or the others "
        f"among themselves. {so}"
    ]


def about_cuts(labels: Labels, scores: Float[np.ndarray, "I C"], names: Sequence[str], labelers) -> list[str]:
    """Warn that a labeler's labels are a score cut at a threshold, as where the score is that labeler's confidence.

    Example:
        >>> labels = Labels.from_arrays(np.zeros(100, int), np.arange(100), np.arange(100) >= 60)
        >>> about_cuts(labels, np.arange(100)[:, None], ["score"], ["gpt"])[0][:59]
        "The labels of gpt are the column 'score' cut at 59.5: given"
    """
    labeler, instance, label = (np.asarray(v) for v in (labels.labeler, labels.instance, labels.label))
    found, cut = [], 0.0
    for i in range(labels.n_labelers):
        own = np.flatnonzero((labeler == i) & (np.asarray(labels.counts) > 0))
        yes = label[own] > 0
        if min(yes.sum(), (~yes).sum()) < LEAST:
            continue
        for name, column in zip(names, scores.T, strict=False):
            order = np.argsort(column[instance[own]], kind="stable")
            x, up = column[instance[own]][order], yes[order]
            wrong = np.r_[0, np.cumsum(up)] + np.r_[np.cumsum(~up[::-1])[::-1], 0]  # yes below a cut, and no above it
            between = np.r_[False, x[1:] > x[:-1], False]
            best = int(np.argmin(np.where(between, wrong, len(up))))
            if between[best] and wrong[best] <= MISPLACED * min(up.sum(), (~up).sum()):
                found.append(str(labelers[i]))
                cut, column_name = (x[best - 1] + x[best]) / 2, name
                break
    if not found:
        return []
    return [
        f"The labels of {listed(found, 5)} are the column {column_name!r} cut at {cut:.4g}: given the score they say "
        "nothing more, and the model, which takes errors as random at every score, has the cut for the truth. Leave "
        "these labels out (the score holds what they say), or give a score of another source."
    ]
