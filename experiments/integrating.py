"""Fits of the integrated model to many draws of one problem, in one compiled program, beside ``experiments.fitting``.

The decision boundary is at 0 and the class prior ½, as those of the factor models are: what differs is that instance
factors are integrated out and that the labelers' population is learned.
"""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crowdjax import integrated
from crowdjax.integrated import IntegratedConfig
from crowdjax.integrated.fit import scores
from crowdjax.labels import Labels
from experiments.cells import say
from experiments.fitting import Draws


class Chances(NamedTuple):
    """What the integrated model says of every draw.

    Attributes:
        posterior: P(z_j = +1 | labels), shape [R, I].
        correctness: P1 and P0, the chances that a labeler is right on an instance if its class is +1 and if it is -1,
            expected over β_j = z_j x_j given the labels; shape [R, 2, W, I].
        yes: the chance of a label +1, expected over x_j given the labels; shape [R, W, I].
        objective: of the fits, shape [R].
    """

    posterior: Float[Array, "R I"]
    correctness: Float[Array, "R 2 W I"]
    yes: Float[Array, "R W I"]
    objective: Float[Array, " R"]


def fit_integrated(labels: Labels, draws: Draws, config: IntegratedConfig, name: str = "") -> Chances:
    """Fit the integrated model to every draw; features that the draws have are used.

        P1_ij = E[σ(α_i β_j + γ_i)]    P0_ij = E[σ(α_i β_j - γ_i)]    β_j = z_j x_j, E over z_j and x_j given the labels

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = fit_integrated(labels, Draws(np.ones((2, len(labels.label)))), IntegratedConfig(spread=0.9))
        >>> (found.posterior > 0.5).tolist()[0], found.correctness.shape
        ([True, False, True, False], (2, 2, 3, 4))
    """
    start = time.perf_counter()
    found = Chances(*_fits(labels, jax.tree.map(jnp.asarray, draws), config))
    objective = {"integrated": float(np.mean(found.objective))}  # waits for the fits
    seconds = time.perf_counter() - start
    fields = {"fits": len(found.posterior), "seconds": round(seconds, 3), "objective": objective}
    say(f"{name}: {len(found.posterior)} fits in {seconds:.1f} s", event="fitted", **fields)
    return found


@partial(jax.jit, static_argnames="config")
def _fits(labels: Labels, draws: Draws, config: IntegratedConfig):
    def one(draw: Draws):
        label = labels.label if draw.label is None else draw.label
        drawn = dataclasses.replace(labels, label=label).with_weight(draw.weight)
        features = integrated.Features(draw.labeler_features, draw.instance_features)
        fit = integrated.fit(drawn, config, jnp.zeros(()), features)
        return *_expected(drawn, fit.parameters, config, features), fit.objective

    return jax.lax.map(one, draws)


def _expected(labels: Labels, parameters, config: IntegratedConfig, features):
    """P(z_j = +1), P1 and P0, and the chances of a label +1."""
    design = jnp.asarray(config.design, parameters.labelers.dtype)
    turned = design.at[:, 0].multiply(-1)  # what the same labelers would say of -x
    yes, other = (jax.nn.sigmoid(scores(parameters.labelers, d)).T for d in (design, turned))  # [G, W]
    at_zero = integrated.around(jnp.zeros((), design.dtype))

    def functions(m):
        plus = integrated.class_probability(config, parameters, at_zero, m)[..., None]
        one, zero = plus * yes + (1 - plus) * other, plus * (1 - other) + (1 - plus) * (1 - yes)
        return jnp.concatenate([plus, one, zero, jnp.broadcast_to(yes, one.shape)], axis=-1)

    center = integrated.centers(parameters, features)
    given = functions(None) if center is None else functions
    found = integrated.expectations(labels, parameters, config, given, center).T
    one, zero, label = found[1:].reshape(3, -1, found.shape[1])
    return found[0], jnp.stack([one, zero]), label
