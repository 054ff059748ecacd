"""NUTS for the contextual model: NumPyro's sampler in coordinates where the posterior is nearly round.

The coordinates are those of the mode's quadratic; NumPyro adapts step sizes and a diagonal mass matrix on top of them.
On a CPU each chain has a thread and a program of its own: vmapped, all wait for the longest of their trees. Elsewhere,
and on several devices, whose programs must not run side by side, chains are vmapped.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.infer.hmc import hmc

from crowdjax.contextual.coordinates import Affine
from crowdjax.contextual.diagnostics import chain_diagnostics
from crowdjax.drive import Progress


class Settings(NamedTuple):
    """``n_warmup`` transitions and ``n_draws`` draws of each of ``n_chains``, transitions per draw, aimed-at
    acceptance, most doublings of a tree."""

    n_warmup: int
    n_draws: int
    n_chains: int
    n_thin: int
    target_accept: float
    max_depth: int


class Sampler(NamedTuple):
    """The state of each chain, enough to continue without warm-up."""

    position: Float[Array, "chains P"]
    step_size: Float[Array, " chains"]
    inverse_mass: Float[Array, "chains P"]


Density = Callable[..., Array]
BLOCK = 50  # transitions between two reports


def sample(
    density: Density,
    data,
    affine: Affine,
    settings: Settings,
    key: PRNGKeyArray,
    ask: Progress,
    earlier: Sampler | None = None,
):
    """Return (draws u [chains, S, P], where the sampler stands, diagnostics); where ``ask`` says so it stops with fewer
    draws.

    Args:
        density: log p(data, u) up to a constant, a pytree such as ``jax.tree_util.Partial(log_density, config)``.
        data: with a ``mesh``.
        affine: the coordinates; those that ``earlier`` moved in, where chains go on.
        earlier: chains to continue, without warm-up.
    """
    size, chains, warmup = len(affine.mean), settings.n_chains, 0 if earlier else settings.n_warmup
    k_start, k_run = jax.random.split(key)
    if earlier is None:
        dtype = affine.mean.dtype
        v = 0.5 * jax.random.normal(k_start, (chains, size), dtype)
        earlier = Sampler(v, jnp.full(chains, 0.2, dtype), jnp.ones((chains, size), dtype))
    adapt = (warmup, settings.target_accept, settings.max_depth)
    begin = Sampler(*map(jnp.asarray, earlier))
    state = start(density, data, affine, adapt, begin, jax.random.split(k_run, len(begin.position)))
    stages = [*_blocks(warmup, False), *_blocks(settings.n_draws * settings.n_thin, True)]
    parts, done, total = [], 0, sum(n for n, _ in stages)
    threads = jax.default_backend() == "cpu" and data.mesh is None
    with ThreadPoolExecutor(len(begin.position)) as pool:
        for n, kept in stages:
            if threads:
                # The first is made chain by chain, so that one of them compiles and the others find the program.
                state, part = in_threads(map if done == 0 else pool.map, density, data, affine, adapt, state, n)
            else:
                state, part = vmapped(density, data, affine, adapt, state, jnp.asarray(n))
            if kept:
                parts.append([np.asarray(p)[:, :n] for p in part])
            done += n
            if ask("nuts", done, total):
                break
    sampler = Sampler(*map(np.asarray, (state.z, state.adapt_state.step_size, state.adapt_state.inverse_mass_matrix)))
    n_kept = done - (total - settings.n_draws * settings.n_thin)
    if n_kept < settings.n_thin:
        return np.zeros((chains, 0, size)), sampler, {}
    path, diverging, accept, steps = (np.concatenate(p, 1) for p in zip(*parts, strict=True))
    diagnostics = chain_diagnostics(path) | {
        "divergences": int(diverging.sum()),
        "acceptance": float(accept.mean()),
        "leapfrog_steps": float(steps.mean()),
    }
    return path[:, settings.n_thin - 1 :: settings.n_thin], sampler, diagnostics


def _blocks(n: int, kept: bool):
    """Return (transitions between two reports, whether they are kept)."""
    alone = min(n, 0 if kept else 1)
    return [(size, kept) for size in [alone, *(min(BLOCK, n - k) for k in range(alone, n, BLOCK))] if size]


def in_threads(run, density, data, affine, adapt, states, n):
    """Make n <= BLOCK transitions of every chain: the states, and (u, whether it diverged, acceptance, leapfrog steps)
    of each. ``run``: ``map``, or that of a pool of threads."""
    wide = jax.config.jax_enable_x64

    def one(chain):
        with jax.enable_x64(wide):  # a thread does not inherit it
            return jax.block_until_ready(_alone(density, data, affine, adapt, chain, jnp.asarray(n)))

    chains = [jax.tree.map(lambda x, c=c: x[c], states) for c in range(len(states.z))]
    return jax.tree.map(lambda *x: jnp.stack(x), *run(one, chains))


@eqx.filter_jit
def vmapped(density, data, affine, adapt, states, n):
    """Return the same in one program."""
    return jax.vmap(lambda state: _transitions(density, data, affine, adapt, state, n))(states)


def _kernel(density, data, affine: Affine, adapt):
    """Build NumPyro's NUTS on v: (begin(v, key, step_size, inverse_mass), step)."""
    warmup, target_accept, max_depth = adapt
    init, step = hmc(potential_fn=lambda v: -density(data, affine(v)), algo="NUTS")

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
def start(density, data, affine, adapt, begin: Sampler, keys):
    """Return the states of all chains; ``adapt``: (transitions of warm-up, aimed-at acceptance, most doublings)."""
    init, _ = _kernel(density, data, affine, adapt)
    return jax.vmap(init)(begin.position, keys, begin.step_size, begin.inverse_mass)


@eqx.filter_jit
def _alone(density, data, affine, adapt, state, n):
    return _transitions(density, data, affine, adapt, state, n)


def _transitions(density, data, affine, adapt, state, n):
    """Return n <= BLOCK transitions of one chain; rows beyond n are zero. n is no constant: one program for all
    blocks."""
    begin, step = _kernel(density, data, affine, adapt)
    begin(state.z, state.rng_key, state.adapt_state.step_size, state.adapt_state.inverse_mass_matrix)  # sets up step

    def one(k, carry):
        state, out = carry
        state = step(state)
        found = affine(state.z), state.diverging, state.accept_prob, state.num_steps
        return state, jax.tree.map(lambda rows, row: rows.at[k].set(row), out, found)

    like = affine(state.z), state.diverging, state.accept_prob, state.num_steps
    empty = jax.tree.map(lambda x: jnp.zeros((BLOCK, *x.shape), x.dtype), like)
    return jax.lax.fori_loop(0, n, one, (state, empty))
