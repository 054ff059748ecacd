"""NUTS for the contextual model: NumPyro's sampler in coordinates where the posterior is nearly round, chains vmapped.

The coordinates are those of the mode's quadratic; after half of the warm-up they are made anew from the mean Hessian at
the chains' draws, E[∇log p ∇log pᵀ]. NumPyro adapts step sizes and a diagonal mass matrix on top of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.infer.hmc import hmc

from crowdjax.contextual.coordinates import TANGENTS, Affine
from crowdjax.contextual.diagnostics import chain_diagnostics
from crowdjax.contextual.model import ContextualConfig, Data, log_density


class Settings(NamedTuple):
    """``n_warmup`` and ``n_draws`` of each of ``n_chains``, aimed-at acceptance, most doublings of a tree."""

    n_warmup: int
    n_draws: int
    n_chains: int
    target_accept: float
    max_depth: int


class Sampler(NamedTuple):
    """Where each chain stands: enough to go on without warm-up."""

    position: Float[Array, "chains P"]
    step_size: Float[Array, " chains"]
    inverse_mass: Float[Array, "chains P"]


BLOCK = 25  # iterations between two reports
HESSIANS = 4  # draws of each chain whose Hessians are averaged
LEAST_PRECISION = 0.2  # eigenvalues of the mean Hessian below this are raised to it; the prior's own are 1


def sample(
    config: ContextualConfig,
    data: Data,
    affine: Affine,
    settings: Settings,
    key: PRNGKeyArray,
    report: Callable[[str, int, int], None],
    earlier: Sampler | None = None,
):
    """(draws u [chains, S, P], the affine map at the end, where the sampler stands, diagnostics).

    Args:
        affine: coordinates to start in; those that ``earlier`` was left in, where chains go on.
        earlier: chains to continue, without warm-up.
    """
    size, chains, warmup = len(affine.mean), settings.n_chains, settings.n_warmup
    keys = jax.random.split(key, 3)
    done, total = 0, settings.n_draws + (0 if earlier else warmup)

    def run(affine, warmup, n, start: Sampler, key):
        """n iterations, the first of which are warm-up: (state, what each iteration gave)."""
        nonlocal done
        adapt = (warmup, settings.target_accept, settings.max_depth)
        state = _start(config, data, affine, adapt, start, jax.random.split(key, len(start.position)))
        parts, end = [], done + n
        while done < end:
            state, part = _run(config, data, affine, adapt, state, min(BLOCK, end - done))
            parts.append(jax.tree.map(np.asarray, part))
            done = min(done + BLOCK, end)
            report("nuts", done, total)
        return state, [np.concatenate(p, 1) for p in zip(*parts, strict=True)]

    if earlier is None:
        first = warmup // 2 if warmup >= 40 else 0
        dtype = affine.mean.dtype
        start = Sampler(
            0.5 * jax.random.normal(keys[0], (chains, size), dtype),
            jnp.full(chains, 0.2, dtype),
            jnp.ones((chains, size)),
        )
        if first:
            _, (u, *_) = run(affine, first, first, start, keys[1])
            affine = _again(config, data, affine, jnp.asarray(u[:, -HESSIANS:].reshape(-1, size)))
            v = jnp.linalg.solve(affine.root, (jnp.asarray(u[:, -1]) - affine.mean).T).T
            start = start._replace(position=v)
        warmup -= first
    else:
        start, warmup = Sampler(*map(jnp.asarray, earlier)), 0
    state, found = run(affine, warmup, warmup + settings.n_draws, start, keys[2])
    draws, diverging, accept, steps = (part[:, warmup:] for part in found)
    sampler = Sampler(*map(np.asarray, (state.z, state.adapt_state.step_size, state.adapt_state.inverse_mass_matrix)))
    diagnostics = chain_diagnostics(draws) | {
        "divergences": int(diverging.sum()),
        "acceptance": float(accept.mean()),
        "leapfrog_steps": float(steps.mean()),
    }
    return draws, affine, sampler, diagnostics


@eqx.filter_jit
def _again(config, data, affine: Affine, draws: Float[Array, "S P"]) -> Affine:
    """Coordinates at the draws' mean, whitened by the inverse of their mean Hessian."""

    def hessian(u):
        slope = jax.grad(lambda v: -log_density(config, data, affine(v)))
        v = jnp.linalg.solve(affine.root, u - affine.mean)
        eye = jnp.eye(len(v), dtype=v.dtype)
        return jax.lax.map(lambda e: jax.jvp(slope, (v,), (e,))[1], eye, batch_size=min(TANGENTS, len(v)))

    mean = jax.lax.map(hessian, draws).mean(0)
    eigenvalues, vectors = jnp.linalg.eigh((mean + mean.T) / 2)
    return Affine(draws.mean(0), affine.root @ (vectors / jnp.sqrt(jnp.maximum(eigenvalues, LEAST_PRECISION))))


def _kernel(config, data, affine: Affine, adapt):
    """NumPyro's NUTS on v: (init(v, key, step_size, inverse_mass), step)."""
    warmup, target_accept, max_depth = adapt
    init, step = hmc(potential_fn=lambda v: -log_density(config, data, affine(v)), algo="NUTS")

    def begin(v, key, step_size, inverse_mass):
        return init(
            v,
            warmup,
            step_size=step_size,
            inverse_mass_matrix=inverse_mass,
            target_accept_prob=target_accept,
            max_tree_depth=max_depth,
            rng_key=key,
        )

    return begin, step


@eqx.filter_jit
def _start(config, data, affine, adapt, start: Sampler, keys):
    begin, _ = _kernel(config, data, affine, adapt)
    return jax.vmap(begin)(start.position, keys, start.step_size, start.inverse_mass)


@eqx.filter_jit
def _run(config, data, affine, adapt, state, n: int):
    """n iterations of every chain: the state, and (u, diverging, acceptance, leapfrog steps) of each."""
    begin, step = _kernel(config, data, affine, adapt)

    def chain(state):
        adapted = state.adapt_state
        begin(state.z, state.rng_key, adapted.step_size, adapted.inverse_mass_matrix)  # sets up step

        def one(state, _):
            state = step(state)
            return state, (affine(state.z), state.diverging, state.accept_prob, state.num_steps)

        return jax.lax.scan(one, state, None, length=n)

    return jax.vmap(chain)(state)
