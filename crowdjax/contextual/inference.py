"""Fitting the contextual model: one call, three methods, one kind of result.

Every method works on log p(L, u), the truth summed out, after the same linear change of variables u = m + R v, where m
is the mode and R Rᵀ the inverse of the negative Hessian there:

- ``laplace``: v ~ N(0, I).
- ``svi``: v ~ N(μ, T Tᵀ), T triangular, by stochastic ascent of the ELBO; with many labels on minibatches of instances.
- ``nuts``: NumPyro's sampler on v, whose posterior is nearly round, so that trees are short; chains are vmapped.

Laplace and SVI measure themselves by Pareto-smoothed importance sampling, and can be corrected by it (``resample``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpyro.infer.hmc import hmc

from crowdjax import optimize
from crowdjax.contextual.context import Scale
from crowdjax.contextual.diagnostics import chain_diagnostics, pareto_smooth
from crowdjax.contextual.functions import GP
from crowdjax.contextual.model import (
    ContextualConfig,
    Data,
    block,
    block_log_likelihood,
    constrain,
    log_density,
    log_likelihood,
    log_prior,
    prepare_data,
    start,
)
from crowdjax.labels import LabelError, Labels

Method = Literal["nuts", "svi", "laplace"]


@dataclasses.dataclass(frozen=True)
class Inference:
    """How to fit; frozen and hashable.

    Attributes:
        method: ``nuts`` (the reference), ``svi`` or ``laplace``.
        n_draws: posterior draws; for NUTS of each chain.
        n_warmup, n_chains, target_accept, max_depth: NUTS.
        n_steps: ascent steps of SVI, each on ``n_particles`` draws and ``n_batch`` blocks of instances.
        learning_rate: of SVI at its start; decays to a hundredth.
        max_steps: evaluations in the search for the mode.
        resample: whether draws of SVI and Laplace are resampled with their importance weights.
    """

    method: Method = "nuts"
    n_draws: int = 500
    n_warmup: int = 500
    n_chains: int = 2
    target_accept: float = 0.9
    max_depth: int = 8
    n_steps: int = 1500
    n_particles: int = 8
    n_batch: int = 1
    learning_rate: float = 0.02
    max_steps: int = 300
    resample: bool = False

    def __post_init__(self):
        if self.method not in get_args(Method):
            raise ValueError(f"method: got {self.method!r}; allowed: {', '.join(get_args(Method))}")
        for name in ("n_draws", "n_chains", "n_particles", "n_batch", "n_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}; allowed: 1 or more")


class Gaussian(NamedTuple):
    """N(mean, root rootᵀ)."""

    mean: Float[Array, " P"]
    root: Float[Array, "P P"]


@dataclasses.dataclass(frozen=True, eq=False)
class ContextualFit:
    """A fitted contextual model. Holds no data beyond the inducing inputs, if there are any.

    Attributes:
        config, inference: as asked for.
        scale: from scores to the context.
        draws: values of the model's sites, each of shape [S, ...].
        labels_per_labeler: judgements given by each labeler (summed multiplicities), shape [W].
        inputs: representatives of the instances' context at their quantiles, shape [Q, C].
        whitening: mode and inverse root of the Hessian: where a further fit starts.
        unconstrained: the draws of u, shape [S, P].
        diagnostics: numbers by name: ``rhat``, ``ess``, ``divergences`` (NUTS), ``khat`` (SVI, Laplace), ...
        trace: the ELBO's estimates (SVI), or the negative objective at each evaluation of the search for the mode.
        warnings: sentences, one for each reason not to trust the fit.
    """

    config: ContextualConfig
    inference: Inference
    scale: Scale
    draws: dict[str, np.ndarray]
    labels_per_labeler: Float[np.ndarray, " W"]
    inputs: Float[np.ndarray, "Q C"]
    anchors: tuple[np.ndarray, ...]
    whitening: Gaussian
    unconstrained: Float[np.ndarray, "S P"]
    diagnostics: dict[str, float]
    trace: Float[np.ndarray, " T"]
    warnings: tuple[str, ...]

    @property
    def n_draws(self) -> int:
        return len(self.unconstrained)
