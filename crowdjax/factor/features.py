"""Features of labelers or instances, and the linear maps from weights to factors.

Source: Ruvolo, Whitehill, Movellan (2013), section 2.2.

A factor is Φ·W. Φ may have dense columns X, an identity part (one free weight per labeler or instance, never stored as
a matrix), or both: [X, I] shrinks towards what the features say and deviates where the labels say so.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crowdjax.fits import Linear

PRECISION = jax.lax.Precision.HIGHEST


class Features(eqx.Module):
    """The feature matrix Φ = [X, I] of labelers or instances, with either part optional.

    Example:
        >>> phi = Features.columns([[1.0, 2.0], [1.0, 4.0]], identity=True)
        >>> phi.apply(Linear(jnp.array([[1.0], [0.5]]), jnp.array([[0.0], [0.1]]))).ravel().tolist()
        [2.0, 3.0999999046325684]
    """

    dense: Float[Array, "n F"] | None
    n: int = eqx.field(static=True)
    identity: bool = eqx.field(static=True)
    fixed: bool = eqx.field(static=True, default=False)  # a constant whose weight is known: the factor is one number

    @classmethod
    def free(cls, n: int) -> Features:
        """Build Φ = I: a weight of its own for every labeler (instance)."""
        return cls(None, n, True)

    @classmethod
    def constant(cls, n: int, *, fixed: bool = False) -> Features:
        """Build Φ = a column of ones: one weight shared by all, known (of variance 0) with ``fixed``."""
        return cls(np.ones((n, 1)), n, False, fixed)

    @classmethod
    def columns(cls, dense, *, identity: bool = False) -> Features:
        """Build Φ = X, or [X, I] with ``identity``. X is finite, of shape [n, F]; raises ``ValueError`` otherwise."""
        dense = np.asarray(dense, dtype=np.float64)
        if dense.ndim != 2 or not np.isfinite(dense).all():
            raise ValueError(
                f"features: shape {dense.shape}; allowed: finite numbers, one row each, one column a feature"
            )
        return cls(dense, len(dense), identity)

    @property
    def n_columns(self) -> int:
        """F, the number of dense columns."""
        return 0 if self.dense is None else self.dense.shape[-1]

    def like(self, dense_value, free_value, n_factors: int) -> Linear:
        """Build a ``Linear`` of this Φ's shape filled with given values (broadcast along rows)."""
        dense = None if self.dense is None else jnp.broadcast_to(dense_value, (self.n_columns, n_factors))
        free = jnp.broadcast_to(free_value, (self.n, n_factors)) if self.identity else None
        return Linear(dense, free)

    def apply(self, weights: Linear) -> Float[Array, "n D"]:
        """Compute Φ W, shape [n, D]; equations 4-6."""
        if self.dense is None:
            return weights.free
        out = jnp.matmul(jnp.asarray(self.dense, weights.dense.dtype), weights.dense, precision=PRECISION)
        return out if weights.free is None else out + weights.free

    def transpose(self, values: Float[Array, "n D"]) -> Linear:
        """Compute Φᵀ v: the gradient in the weights from the gradient in the factors."""
        dense = None
        if self.dense is not None:
            dense = jnp.matmul(jnp.asarray(self.dense, values.dtype).T, values, precision=PRECISION)
        return Linear(dense, values if self.identity else None)

    def squared(self) -> Features:
        """Square the entries of Φ, which maps the diagonal of a Hessian in the factors to one in the weights."""
        return Features(None if self.dense is None else self.dense**2, self.n, self.identity)


def rbf_basis(x, *, n_basis: int = 8, centers=None, width: float | None = None, constant: bool = True) -> np.ndarray:
    """Evaluate Gaussian bumps exp(-(x - c)²/2w²) and a constant column at a variable: shape [n, n_basis + constant].

    Args:
        x: the variable, for instance a detector's output; shape [n].
        centers: shape [n_basis]; default: at evenly spaced quantiles of x.
        width: common width w; default: the median distance between neighbouring centers.

    Example:
        >>> rbf_basis([0.0, 1.0, 2.0], centers=[0.0, 2.0]).round(2).tolist()
        [[1.0, 0.61, 1.0], [0.88, 0.88, 1.0], [0.61, 1.0, 1.0]]

    Source: Ruvolo, Whitehill, Movellan (2013), section 5 and Figure 4 (the number of functions is not given there).
    """
    x = np.asarray(x, dtype=np.float64).reshape(-1)
    centers = np.quantile(x, np.linspace(0.02, 0.98, n_basis)) if centers is None else np.asarray(centers, float)
    if width is None:
        width = float(np.median(np.diff(np.sort(centers)))) if len(centers) > 1 else float(np.std(x))
    bumps = np.exp(-0.5 * ((x[:, None] - centers) / max(width, 1e-12)) ** 2)
    return np.c_[bumps, np.ones(len(x))] if constant else bumps
