"""Changes of the prevalence from period to period, and what they come from: other scores, or scores that mean more.

    M(a, b) = Σ_k ω_k π(x_k, b) / Σ_k ω_k        over the inputs k of period a, at the calibration of period b

is the prevalence that the scores of a would have if they meant what they mean in b. The change from a to b is

    M(b, b) − M(a, a) = by_scores + by_calibration
    by_scores      = ½ [M(b, a) − M(a, a)] + ½ [M(b, b) − M(a, b)]      the mix of scores moves, their meaning is held
    by_calibration = ½ [M(a, b) − M(a, a)] + ½ [M(b, b) − M(b, a)]      their meaning moves, the mix is held

which treats both periods alike and leaves nothing over. Where inputs are of groups, the mix is that of scores and
groups.

Source: Kitagawa 1955 (components of a difference between two rates).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from crowdjax.contextual.estimands import check_weights, in_cells
from crowdjax.contextual.inference import ContextualFit
from crowdjax.contextual.model import prevalence
from crowdjax.segments import sum_by


class Parts(NamedTuple):
    """The parts of each change, by posterior draw, shape [S, T - 1, *n].

    Example:
        >>> Parts(np.zeros((2, 1)), np.ones((2, 1))).by_calibration.shape
        (2, 1)
    """

    by_scores: Float[np.ndarray, "S U *n"]
    by_calibration: Float[np.ndarray, "S U *n"]


def parts(
    own: Float[np.ndarray, "S T *n"], earlier: Float[np.ndarray, "S T *n"], later: Float[np.ndarray, "S T *n"]
) -> Parts:
    """Split each period's change since the one before into what other scores and what another calibration made of it.

    Args:
        own, earlier, later: prevalence of each period's inputs at its own calibration, M(t, t), at that of the period
            before, M(t, t - 1), and at that of the period after, M(t, t + 1). ``earlier[:, 0]`` and ``later[:, -1]`` do
            not matter.

    Returns:
        Parts that add up to ``own[:, 1:] - own[:, :-1]``.

    Example: scores as before, which mean .1 more
        >>> found = parts(np.array([[0.2, 0.3]]), np.array([[np.nan, 0.2]]), np.array([[0.3, np.nan]]))
        >>> found.by_scores.round(9).tolist(), found.by_calibration.round(9).tolist()
        ([[0.0]], [[0.1]])

    Source: Kitagawa 1955.
    """
    before, after, forward, backward = own[:, :-1], own[:, 1:], later[:, :-1], earlier[:, 1:]
    return Parts(
        ((backward - before) + (after - forward)) / 2,
        ((forward - before) + (after - backward)) / 2,
    )


class Sums(NamedTuple):
    """Sums over the inputs of each of n sets, by posterior draw: expected positives Σ ω π at each of L assignments to
    cells, shape [S, L, n], and the weight Σ ω, shape [S, n].

    Example:
        >>> Sums(np.ones((1, 1, 2)), np.full((1, 2), 4.0)).weight.tolist()
        [[4.0, 4.0]]
    """

    positives: Float[np.ndarray, "S L n"]
    weight: Float[np.ndarray, "S n"]


def sums(
    fit: ContextualFit,
    scores,
    by: Int[np.ndarray, " k"],
    n: int,
    at: Sequence[Int[np.ndarray, " k"]],
    weights=None,
    *,
    key: PRNGKeyArray | None = None,
) -> Sums:
    """Add up prevalence over sets of inputs, as if these were in given cells.

    Args:
        scores, weights, key: as for ``population_prevalence``, shape [k].
        by: the set of each input, 0 to n - 1.
        at: the cell of each input, once or several times; -1: the mean cell.

    Example: two weeks of the same scores, in a fit that knows of no weeks
        >>> week = np.array([0, 0, 1, 1])
        >>> total = sums(found, [0.1, 0.9, 0.1, 0.9], week, 2, [week])
        >>> total.positives.shape, total.weight[0].tolist()
        ((500, 1, 2), [2.0, 2.0])
    """
    weights = check_weights(weights, len(np.asarray(scores)), allow_zero=key is None)
    basis, cells = fit.bases(scores)[0], jnp.asarray(np.stack(at), jnp.int32)
    shares, sets = jnp.asarray(weights / weights.mean()), jnp.asarray(by, jnp.int32)
    return Sums(*(np.asarray(v, np.float64) for v in _sums(fit.config, basis, fit.draws, shares, sets, cells, n, key)))


@eqx.filter_jit
def _sums(config, basis, draws, weights, sets, cells, n: int, key):
    keys = None if key is None else jax.random.split(key, len(next(iter(draws.values()))))

    def one(at):
        draw, key = at
        w = weights if key is None else weights * jax.random.exponential(key, weights.shape, weights.dtype)
        pi = (prevalence(config, in_cells(basis, cell), draw) for cell in cells)
        return jnp.stack([sum_by(w * p, sets, n) for p in pi]), sum_by(w, sets, n)

    return jax.lax.map(one, (draws, keys))


def shift_draws(fit: ContextualFit) -> Float[np.ndarray, "S C"]:
    """Return the shift of the logit of the prevalence in every cell, in every posterior draw: by how much the same
    score means more there than in the mean cell.

    Raises:
        ValueError: the fit knows of no cells.

    Example:
        >>> shift_draws(found)
        Traceback (most recent call last):
        ...
        ValueError: fit: it has no periods or groups; allowed: a fit with config.cells
    """
    cells = fit.config.cells
    if cells is None:
        raise ValueError("fit: it has no periods or groups; allowed: a fit with config.cells")
    scale, weights = (jnp.asarray(fit.draws[name]) for name in ("shift_scale", "shift_weights"))
    return np.asarray(jax.vmap(cells.shift)(scale, weights), np.float64)
