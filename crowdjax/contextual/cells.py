"""Periods and groups: by how much the logit of the prevalence is shifted in each of their cells.

    logit π(x, t, g) = r(x) + h_t + k_g + h_{t,g}

h is a random walk over the periods, h_t - h_{t-1} ~ N(0, σ_h²); k_g ~ N(0, σ_g²); and each group has a small walk of
its own. All are centred over their cells, so that r is the mean cell's. Scales are half-normal: steps of .3, groups of
.5 and own steps of .15 on the logit scale, so that periods and groups with few labels lean on their neighbours.

Source: docs/contextual.md, "Time and groups".
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Part(NamedTuple):
    """A shift σ A ε of all cells: ``scale`` of σ ~ HalfNormal(scale), and A of shape [cells, m], ε ~ N(0, I).

    Example:
        >>> Part("group", 0.5, np.eye(2) - 0.5).matrix.shape
        (2, 2)
    """

    name: str
    scale: float
    matrix: Float[np.ndarray, "C m"]


@dataclasses.dataclass(frozen=True)
class Cells:
    """The periods and groups that shift the prevalence; cell = period * n_groups + group.

    Attributes:
        step, spread, own_step: prior scales of the walk's steps, of the groups, and of the steps of a group's own walk.

    Example: three weeks of two sites
        >>> [part.name for part in Cells(3, 2).parts], Cells(3, 2).of(np.array([2]), np.array([1])).tolist()
        (['period', 'group', 'own'], [5])
    """

    n_periods: int = 1
    n_groups: int = 1
    step: float = 0.3
    spread: float = 0.5
    own_step: float = 0.15

    def __len__(self) -> int:
        return self.n_periods * self.n_groups

    def of(self, period: Int[np.ndarray, " n"] | None, group: Int[np.ndarray, " n"] | None) -> Int[np.ndarray, " n"]:
        """Compute the cell of each instance from its period and group (None: there is one)."""
        given = period if period is not None else group
        zero = np.zeros(len(given), np.int32)
        period, group = (zero if v is None else np.asarray(v, np.int32) for v in (period, group))
        return period * self.n_groups + group

    def period(self, cell: Int[Array, " n"]) -> Int[Array, " n"]:
        """Compute the period of each cell; -1, an unknown cell, stays -1."""
        return cell // self.n_groups

    @property
    def walk(self) -> Float[np.ndarray, "T m"]:
        """The matrix that maps unit steps to a centred random walk over the periods."""
        return _centred(np.tril(np.ones((self.n_periods, self.n_periods)))[:, 1:])

    @property
    def parts(self) -> tuple[Part, ...]:
        """The additive terms of the shift."""
        walk = self.walk
        groups = _centred(np.eye(self.n_groups))
        out = []
        if self.n_periods > 1:
            out.append(Part("period", self.step, np.repeat(walk, self.n_groups, 0)))
        if self.n_groups > 1:
            out.append(Part("group", self.spread, np.tile(groups, (self.n_periods, 1))))
        if self.n_periods > 1 and self.n_groups > 1:
            out.append(Part("own", self.own_step, np.kron(walk, groups)))
        return tuple(out)

    def shift(self, scale: Float[Array, " P"], weights: Float[Array, " m"]) -> Float[Array, " C"]:
        """Compute the shift of every cell from the parts' scales and their concatenated weights."""
        ends = np.cumsum([part.matrix.shape[1] for part in self.parts])[:-1]
        return sum(
            s * jnp.matmul(jnp.asarray(part.matrix, weights.dtype), w, precision=jax.lax.Precision.HIGHEST)
            for part, s, w in zip(self.parts, scale, jnp.split(weights, ends), strict=True)
        )


def _centred(matrix: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n m"]:
    return matrix - matrix.mean(0)
