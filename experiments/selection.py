"""Settings chosen without the sets that they are scored on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Honest(NamedTuple):
    """What a choice among settings is worth on groups that had no part in it.

    Attributes:
        mean, standard_error: of the scores of the left-out groups.
        chosen: the setting chosen without each group.
        selected: the mean of the setting that is best on all groups, which is too good by the choice.
        n_settings: how many there were to choose from.
    """

    mean: float
    standard_error: float
    chosen: Int[np.ndarray, " G"]
    selected: float
    n_settings: int


def by_group(scores: Float[np.ndarray, "S T"], groups: Sequence[str]) -> Float[np.ndarray, "S G"]:
    """Compute means over the sets of each group, groups in order of appearance.

    Example:
        >>> by_group(np.array([[1.0, 2.0, 4.0]]), ["a", "b", "b"]).tolist()
        [[1.0, 3.0]]
    """
    group = np.array(groups)
    return np.stack([np.asarray(scores)[:, group == g].mean(1) for g in dict.fromkeys(groups)], 1)


def leave_one_out(scores: Float[np.ndarray, "S T"], groups: Sequence[str], by=None) -> Honest:
    """Choose the setting without each group of sets, and score it on that group.

        s(g) = argmax_s Σ_{h≠g} by_sh      mean = Σ_g score_{s(g), g} / G

    Args:
        scores: of settings on sets; the larger, the better.
        groups: of the sets; linked sets count once.
        by: what settings are chosen by, where it is not the scores; the larger, the better.

    Example: each of two settings is good on one group only
        >>> leave_one_out(np.array([[0.9, 0.5], [0.6, 0.8]]), ["a", "b"]).mean
        0.55
    """
    scored = by_group(scores, groups)
    judged = scored if by is None else by_group(by, groups)
    n = scored.shape[1]
    chosen = (judged.sum(1, keepdims=True) - judged).argmax(0)
    out = scored[chosen, np.arange(n)]
    error = float(out.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return Honest(float(out.mean()), error, chosen, float(scored[judged.mean(1).argmax()].mean()), len(scored))
