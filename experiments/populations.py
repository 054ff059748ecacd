"""Dawid and Skene's model with labelers of one population that is learned, fitted to many draws in one program."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from crowdjax import integrated
from crowdjax.factor import Factors, e_step
from crowdjax.integrated import IntegratedConfig
from crowdjax.labels import Labels
from experiments.fitting import Draws

POPULATION = "learned population"


class Population(NamedTuple):
    """What was found of every draw: parameters, factors and posteriors, with a leading axis of draws."""

    parameters: integrated.Parameters
    factors: Factors
    posterior: Float[np.ndarray, "R I"]


def populations(labels: Labels, draws: Draws) -> dict[str, Population]:
    """Fit Dawid and Skene's model with labelers of a learned population, which features move or do not, to every draw.

        (α_i, γ_i) ~ N(μ + Mᵀx_i, Σ)

    Returns:
        without and with the features of labelers, by name.
    """
    config = IntegratedConfig(spread=0.0)
    label = draws.label if draws.label is not None else np.tile(np.asarray(labels.label), (len(draws.weight), 1))

    @jax.jit
    @jax.vmap
    def one(weight, label, x):
        own = dataclasses.replace(labels, label=label).with_weight(weight)
        parameters = integrated.fit(own, config, features=integrated.Features(labeler=x)).parameters
        alpha, gamma = parameters.labelers.T
        n = labels.n_instances
        factors = Factors(alpha[:, None], jnp.ones((n, 1)), gamma, jnp.full(n, parameters.prior_logit))
        return Population(parameters, factors, e_step(own, factors))

    given = {POPULATION: None, f"{POPULATION}, features": draws.labeler_features}
    found = {name: one(jnp.asarray(draws.weight), jnp.asarray(label), x) for name, x in given.items()}
    return {name: jax.tree.map(np.asarray, v) for name, v in found.items()}
