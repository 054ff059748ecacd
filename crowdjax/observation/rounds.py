"""Fits to more labels than memory holds: EM whose sums go over parts of the labels, one part in memory at a time.

    round: counts, points = Σ over parts of a pass at the same parameters      then one M-step

That is the EM of all labels at once: the sufficient statistic of a table of labelers adds up. It serves every model
whose parameters are not by instance. What a round leaves is written to disk and renamed: a fit that was stopped goes on
from there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from crowdjax import disk, optimize
from crowdjax.drive import Progress, silent
from crowdjax.labels import InputError, Labels
from crowdjax.observation.contract import Observation, Params, Pass
from crowdjax.observation.fit import m_step, predict
from crowdjax.observation.table import tally, vote_shares


class Answer(NamedTuple):
    """The result of the last pass; the instances' probabilities are returned part by part.

    Example:
        >>> Answer._fields[0]
        'params'
    """

    params: Params
    objective: float
    log_likelihood: float
    code: int
    history: Float[np.ndarray, " T"]
    counts: Float[np.ndarray, "W L G"]
    points: Float[np.ndarray, " G"]


@partial(jax.jit, static_argnums=0)
def _pass(static, labels, arrays, params) -> Pass:
    return predict(labels, eqx.combine(arrays, static), params)


@jax.jit
def _at_votes(labels: Labels):
    votes = vote_shares(labels)
    return tally(labels, votes), votes.sum(0)


@partial(jax.jit, static_argnums=0)
def _new(static, arrays, params, counts, points):
    return m_step(eqx.combine(arrays, static), params, counts, points)


def run(
    part: Callable[[int], Labels],
    n_parts: int,
    model: Observation,
    folder: Path,
    *,
    max_rounds: int = 20,
    rtol: float = 1e-5,
    hand_out: Callable[[int, Float[Array, "I K"]], None],
    progress: Progress = silent,
) -> Answer:
    """Fit until a round gains less than ``rtol`` (1 + |objective|), then collect every part's results.

    Args:
        part: k -> the labels of part k, with the labelers of all.
        folder: where the state is kept; what is there is gone on with.
        hand_out: gets (k, posterior of part k) in the last pass.

    Raises:
        InputError: the model has parameters by instance, or a class prior of each instance.

    Example: two parts of one instance each
        >>> import tempfile
        >>> from crowdjax.observation import Majority
        >>> parts = [Labels.from_arrays([0, 1], [0, 0], [k, k], n_values=3) for k in (1, 2)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = run(parts.__getitem__, 2, Majority(), Path(folder), hand_out=lambda k, p: print(p.argmax(1)))
        [1]
        [2]
    """
    arrays, static = eqx.partition(model, eqx.is_array)
    counts, points = _total(_at_votes(part(k)) for k in range(n_parts))
    params = model.start(with_sums(counts, points, part(0)), jnp.diag(points))
    params = jax.tree.map(lambda v: jnp.asarray(v, counts.dtype), params)
    by_instance = "instance" in jax.tree.leaves(model.specs(params))
    if by_instance or model.log_points(params).ndim != 1:
        raise InputError(f"minibatch: {type(model).__name__} has parameters for each instance; fit without --minibatch")
    if model.class_of_point(params).shape[0] == len(points):  # points are the classes
        params = _new(static, arrays, params, counts, points)
    unravel = ravel_pytree(params)[1]
    saved = _read(folder / "state.npz")
    if saved is not None:
        params = unravel(jnp.asarray(saved["x"]))
    history, small = ([], 0) if saved is None else (list(saved["history"]), int(saved["small"]))
    value = log_likelihood = -np.inf
    while small < 2 and len(history) < max_rounds:
        sums = []
        for k in range(n_parts):
            found = _pass(static, part(k), arrays, params)
            sums.append((found.value, found.counts, found.points))
            sums = [_total(sums)]
            progress(f"round {len(history) + 1}", k + 1, n_parts, objective=history[-1] if history else None)
        _, counts, points = sums[0]
        value = float(sums[0][0] + model.log_prior(params))
        if not np.isfinite(value):
            of_labelers = np.asarray(counts), np.asarray(points)
            return Answer(params, value, value, optimize.NONFINITE, np.array(history), *of_labelers)
        gained = value - history[-1] if history else np.inf
        small = small + 1 if gained <= rtol * (1 + abs(value)) else 0
        history.append(value)
        params = _new(static, arrays, params, counts, points)
        _write(folder, x=np.asarray(ravel_pytree(params)[0]), history=np.array(history), small=np.array(small))
    total = None
    for k in range(n_parts):
        found = _pass(static, part(k), arrays, params)
        mine = (found.value, found.counts, found.points)
        total = mine if total is None else _total([total, mine])
        hand_out(k, found.posterior)
        progress("answers", k + 1, n_parts)
    log_likelihood, counts, points = float(total[0]), np.asarray(total[1]), np.asarray(total[2])
    objective = log_likelihood + float(model.log_prior(params))
    code = optimize.CONVERGED if small >= 2 else optimize.MAX_STEPS
    return Answer(params, objective, log_likelihood, code, np.array(history), counts, points)


def with_sums(counts: Float[np.ndarray, "W L K"], points: Float[np.ndarray, " K"], like: Labels) -> Labels:
    """Make labels of K instances that ``tally`` with ``diag(points)`` gives these sums of, for a start without the
    labels.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 2, 0], n_values=3)
        >>> counts, points = _at_votes(labels)
        >>> found = tally(with_sums(counts, points, labels), jnp.diag(points))
        >>> bool(jnp.allclose(found, counts))
        True
    """
    counts, points = np.asarray(counts, np.float64), np.asarray(points, np.float64)
    labeler, label, instance = np.nonzero(np.ones_like(counts))
    weight = np.divide(counts, points, out=np.zeros_like(counts), where=points > 0)
    sizes = dict(n_labelers=len(counts), n_instances=len(points), n_values=like.n_values, n_classes=like.n_classes)
    order = np.argsort(instance, kind="stable")
    rows = (v[order] for v in (labeler, instance, label))
    return Labels.from_arrays(*rows, weight=weight.ravel()[order], **sizes, places=like.places)


def _total(parts):
    """Return the sums of pytrees."""
    first, *others = parts
    for other in others:
        first = jax.tree.map(jnp.add, first, other)
    return first


def _read(path: Path) -> dict[str, np.ndarray] | None:
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _write(folder: Path, **arrays: np.ndarray) -> None:
    """Write the state; it appears whole or not at all."""
    folder.mkdir(exist_ok=True)
    with disk.file(folder / "state.npz") as new, open(new, "wb") as file:
        np.savez(file, **arrays)
