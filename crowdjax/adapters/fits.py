"""Fits of the models of ``crowdjax.observation`` to votes, and posteriors of other votes under a fit."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from crowdjax import memory, spread
from crowdjax.adapters.frames import Votes
from crowdjax.labels import Labels
from crowdjax.observation import (
    Fit,
    Observation,
    Params,
    Solver,
    factors,
    predict_new,
    tally,
    vote_shares,
)
from crowdjax.optimize import MEANING, STOPPED
from crowdjax.result import FitError

FLOOR = 1e-10  # least chance of a label in a matrix to start from


def labels_of(votes: Votes, gold: dict[str, np.ndarray] | None = None) -> Labels:
    """Convert votes to ``Labels``; gold fixes the truth of its instances."""
    truth = None
    if gold is not None:
        truth = np.full(len(votes.tasks), np.nan)
        truth[gold["instance"]] = gold["label"]
    sizes = dict(n_labelers=len(votes.workers), n_instances=len(votes.tasks), n_values=len(votes.classes))
    return Labels.from_arrays(votes.worker, votes.task, votes.label, gold=truth, **sizes)


@memory.bounded
def fit(labels: Labels, model: Observation, solver: Solver, start: Params | None = None) -> Fit:
    """Fit a model to labels; raise ``FitError`` without a usable result."""
    found = spread.fit(labels, model, start, solver, devices=1)
    if int(found.code) > STOPPED or not np.isfinite(float(found.objective)):
        raise FitError(f"the fit failed: {MEANING[int(found.code)]}")
    return found


def start_at(labels: Labels, model, matrices: Float[np.ndarray, "W L K"], *, add: bool):
    """Build initial parameters of Dawid and Skene's model: these matrices, or these counts added to the votes'
    counts.
    """
    votes = eqx.filter_jit(vote_shares)(labels)
    counts = matrices + eqx.filter_jit(tally)(labels, votes) if add else matrices
    shares = votes.mean(0)
    return {**model.start(labels, votes), "rows": jnp.log(counts + FLOOR), "classes": jnp.log(shares)}


def posterior(labels: Labels, model: Observation, params: Params, known: np.ndarray) -> Float[np.ndarray, "I K"]:
    """Compute P(z_j = k | labels) of other instances, where labeler i is the known[i]-th of the fit, -1 if unseen."""
    new = eqx.filter_jit(factors.predict) if hasattr(model, "factors") else predict_new
    return np.asarray(new(labels, model, params, known).posterior, float)
