"""Place the decision boundary from a score of the instances.

A classifier's score rises from the one class to the other. On some scale, which ranks find, it is assumed to be normal
within each class, and to say no more about an instance's labels than its class does:

    u_j = Φ⁻¹((rank_j - ½) / I)      u_j | z_j ~ N(m_z, s²)
    log P(u | L, c) = max over m, s of Σ_j log Σ_z P(z_j = z | L_j, c) N(u_j | m_z, s²)

The boundary c that splits the instances into the two classes that differ most in their scores is the likeliest. The
score need be no probability and not calibrated, nor is its direction assumed.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, Int8

EM_STEPS = 60
LEAST = 1e-6  # probabilities are kept off 0


def normal_scores(score: Float[np.ndarray, " I"]) -> Float[np.ndarray, " I"]:
    """Compute the normal scores Φ⁻¹((rank - ½) / I); ties get their mean rank. Host side.

    Example:
        >>> normal_scores(np.array([0.9, 0.1, 0.2])).round(2).tolist()
        [0.9700000286102295, -0.9700000286102295, 0.0]
    """
    _, place, n = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(n) - n / 2)[place]
    return np.asarray(ndtri(rank / len(rank)))


@jax.jit
def score_log_likelihood(
    positive: Float[Array, "I C"], u: Float[Array, " I"], gold: Int8[Array, " I"] | None = None
) -> Float[Array, " C"]:
    """Compute log P(u | L, c) of a score at every boundary c, with the classes' means and variance found by EM and gold
    used. Compiled.

    Args:
        positive: P(z_j = +1 | L_j, c) (``kernels.positives``).
        u: of ``normal_scores``; NaN where there is none.
        gold: code of the truth, -1 where unknown.

    Example: a score that is the class, and boundaries that do and do not split by it
        >>> u = jnp.array([-1.0, -1.1, 1.0, 1.1])
        >>> right, wrong = jnp.array([0.1, 0.1, 0.9, 0.9]), jnp.array([0.1, 0.9, 0.9, 0.9])
        >>> found = score_log_likelihood(jnp.stack([right, wrong], axis=1), u)
        >>> bool(found[0] > found[1])
        True
    """
    log_p = jnp.log(jnp.clip(jnp.stack([1 - positive, positive]), LEAST, 1))
    if gold is not None:
        known = jnp.stack([gold == 1, gold == 0])[:, :, None]  # the class that it is not
        log_p = jnp.where(known, -jnp.inf, log_p)
    u = jnp.asarray(u, log_p.dtype)
    has = (~jnp.isnan(u)).astype(u.dtype)
    u, n_scores = jnp.nan_to_num(u), has.sum()

    def m_step(r):
        """Return means [2, C] and variance [C] of the classes, given who is in them [2, I, C]."""
        r = r * has[:, None]
        n = r.sum(1)
        mean = jnp.einsum("zic,i->zc", r, u) / jnp.maximum(n, 1)
        square = jnp.einsum("zic,i->zc", r, u * u)
        variance = (square - n * mean**2).sum(0) / n_scores
        return mean, jnp.maximum(variance, 1e-3)

    def joint(mean, variance):
        return log_p - 0.5 * ((u[:, None] - mean[:, None]) ** 2 / variance + jnp.log(2 * jnp.pi * variance))

    def step(r, _):
        return jax.nn.softmax(joint(*m_step(r)), axis=0), None

    r, _ = jax.lax.scan(step, jnp.exp(log_p - jax.nn.logsumexp(log_p, axis=0)), length=EM_STEPS)
    return has @ jax.nn.logsumexp(joint(*m_step(r)), axis=0)
