"""The section on factors: labelers and instances in the directions that matter most."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from crowdjax import plots
from crowdjax.report.document import Block, Drawing, Figures, Prose

MOST_POINTS = 1500  # in a figure


class Factors(NamedTuple):
    """Directions of α βᵀ, the strongest first: coordinates of labelers and instances, each one's share of the sum of
    squares."""

    labelers: Float[np.ndarray, "W K"]
    instances: Float[np.ndarray, "I K"]
    share: Float[np.ndarray, " K"]


def directions(alpha: Float[np.ndarray, "W D"], beta: Float[np.ndarray, "I D"]) -> Factors:
    """Return the singular value decomposition α βᵀ = U S Vᵀ without the product, by Q R of either side.

    What comes out is U √S, V √S, and S² over its sum. α R, β R⁻ᵀ give the same, so this is what there is to see of
    factors. In each direction the labelers' mean is positive.

    Example:
        >>> found = directions(np.array([[2.0, 0.0], [2.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        >>> (found.labelers @ found.instances.T + 1e-9).round(6).tolist()
        [[2.0, 0.0, 2.0], [2.0, 1.0, 3.0]]
    """
    (qa, ra), (qb, rb) = (np.linalg.qr(np.asarray(v, float)) for v in (alpha, beta))
    u, s, vt = np.linalg.svd(ra @ rb.T)
    k = len(s)
    left, right = qa @ u[:, :k] * np.sqrt(s), qb @ vt[:k].T * np.sqrt(s)
    sign = np.where(left.mean(0) < 0, -1.0, 1.0)
    return Factors(left * sign, right * sign, s**2 / max((s**2).sum(), 1e-300))


def section(found: Factors | None, p: Float[np.ndarray, " I"]) -> list[Block]:
    """Build the figures of labelers and of instances, these coloured by their probabilities; nothing without
    factors."""
    if found is None:
        return []
    people, things = found.labelers[:, :2], found.instances[:, :2]
    some, rows = (plots.evenly(len(v), MOST_POINTS) for v in (people, things))
    drawings = [
        Drawing(
            "factors_labelers",
            plots.positions(people[some], found.share[:2], title="Labelers"),
            "Labelers in the first directions of the factors",
            "Far out in a direction: this labeler's labels depend on it.",
        ),
        Drawing(
            "factors_instances",
            plots.positions(things[rows], found.share[:2], title="Instances", colour=p[rows]),
            "Instances in the first directions of the factors",
            "Far out in a direction: this instance divides the labelers along it."
            + (f" {len(rows):,} of {len(things):,} are drawn." if len(rows) < len(things) else ""),
        ),
    ]
    shares = ", ".join(f"{s:.0%}" for s in found.share)
    text = (
        "Factors can be turned without changing any prediction, so they are shown by the singular directions of "
        f"labelers × instances. Together they are all that the factors say; each one's share of it: {shares}."
    )
    return [Prose([text]), Figures(drawings)]
