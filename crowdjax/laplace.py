"""Laplace's approximation: the normal distribution at the mode of a log density, by its Hessian there.

    p(x | data) ≈ N(x̂, H⁻¹)      H = -∂² log p(x̂, data) / ∂x ∂xᵀ

It is exact where the log density is quadratic, and closer the more data there are for each parameter. It is of no use
where their number grows with that of the parameters (Neyman and Scott 1948).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from crowdjax.labels import InputError

MOST = 4096  # parameters: the Hessian takes a pass over the data for each, and their square in memory
AT_ONCE = 16  # of these passes
FLAT = 1e-5  # curvature, as a share of what each parameter has alone, that is none but for rounding


class Gaussian(NamedTuple):
    """A normal distribution of a flat vector: mean, and a root of the covariance, root · rootᵀ.

    Example: two numbers, of which the second is known
        >>> Gaussian(np.zeros(2), np.array([[3.0], [0.0]])).draws(np.random.default_rng(0), 10_000).std(0).round(1)
        array([3., 0.])
    """

    mean: Float[np.ndarray, " P"]
    root: Float[np.ndarray, "P R"]

    def draws(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "n P"]:
        """Draw n times."""
        return self.mean + rng.standard_normal((n, self.root.shape[1])) @ self.root.T


def gaussian(log_density: Callable[..., Float[Array, ""]], params: Any, *data: Any) -> Gaussian | None:
    """Approximate a density by the normal distribution at its mode. Host side, in float64 but for the Hessian.

    Parameters that the density does not depend on, and directions in which it is flat, are held at the mode.

    Args:
        log_density: (params, *data) -> a scalar, differentiable twice.
        params: the mode, a pytree of arrays of any shape.
        data: what else it takes, pytrees.

    Returns:
        the distribution of ``ravel_pytree(params)``, shape [P]; None where the density is not at a maximum.

    Raises:
        InputError: there are more than 4096 parameters.

    Example: of a normal density the approximation is the density itself
        >>> density = lambda x, sd: -0.5 * ((x / sd) ** 2).sum()
        >>> found = gaussian(density, jnp.zeros(2), jnp.array([1.0, 3.0]))
        >>> (found.root @ found.root.T).round(3).tolist()
        [[1.0, 0.0], [0.0, 9.0]]
    """
    x = np.asarray(ravel_pytree(params)[0], np.float64)
    if len(x) > MOST:
        raise InputError(f"Laplace's approximation: {len(x):,} parameters; allowed: {MOST:,}, since it takes a pass "
                         "over the labels for each")  # fmt: skip
    h = -np.asarray(hessian(log_density, params, *data), np.float64)
    h, alone = (h + h.T) / 2, np.diag(h)
    seen = alone != 0
    if not (np.isfinite(h).all() and (alone[seen] > 0).all()):
        return None
    unit = 1 / np.sqrt(alone[seen])
    values, vectors = np.linalg.eigh(h[np.ix_(seen, seen)] * unit[:, None] * unit)
    if (values < -FLAT).any():
        return None
    curved = values > FLAT
    root = np.zeros((len(x), int(curved.sum())))
    root[seen] = unit[:, None] * vectors[:, curved] / np.sqrt(values[curved])
    return Gaussian(x, root)


@eqx.filter_jit
def hessian(log_density: Callable[..., Float[Array, ""]], params: Any, *data: Any) -> Float[Array, "P P"]:
    """Compute the Hessian of a log density in the flattened parameters, by P directional derivatives of the gradient.

    Args:
        log_density, params, data: as in :func:`gaussian`; parameters of any shape.

    Example:
        >>> hessian(lambda x: -x[0] * x[1], jnp.ones(2)).tolist()
        [[0.0, -1.0], [-1.0, 0.0]]
    """
    x, unravel = ravel_pytree(params)
    gradient = jax.grad(lambda x: log_density(unravel(x), *data))
    return jax.lax.map(lambda v: jax.jvp(gradient, (x,), (v,))[1], jnp.eye(len(x), dtype=x.dtype), batch_size=AT_ONCE)


def unravelled(params: Any, draws: Float[np.ndarray, "n P"]) -> Any:
    """Return draws of a flat vector as draws of a pytree: every leaf has a first axis of n.

    Args:
        params: of the shapes of one draw.

    Example:
        >>> unravelled({"a": jnp.zeros(()), "b": jnp.zeros((1, 2))}, np.ones((5, 3)))["b"].shape
        (5, 1, 2)
    """
    flat, unravel = ravel_pytree(params)
    return jax.vmap(unravel)(jnp.asarray(draws, flat.dtype))
