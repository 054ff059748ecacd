"""Labels of any classes in a shape that tables of similar sizes share, so that one compiled program serves them all.

Padding does not change results but for rounding (tests/test_room.py): it has labels of weight 0, padding instances
(``labels.shard.real``) and, where a model is ``neutral``, labelers without labels.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from crowdjax.labelers import Summary
from crowdjax.labels import Labels
from crowdjax.layout import with_room
from crowdjax.observation.contract import Observation, Params, Pass
from crowdjax.observation.fit import predict_jit
from crowdjax.observation.unseen import rows_of_labelers


class Room(NamedTuple):
    """Padded labels, with the sizes without padding.

    Example:
        >>> from crowdjax.observation import DawidSkene
        >>> room = of(Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 1, 0]), DawidSkene())
        >>> room.labels.n_labelers, room.n_labelers
        (32, 3)
    """

    labels: Labels
    n_labelers: int
    n_instances: int

    def params(self, model: Observation, given: Params) -> Params:
        """Add rows to the parameters for the labelers of the padding, as for unseen labelers."""
        known = np.arange(self.labels.n_labelers)
        return rows_of_labelers(model, given, np.where(known < self.n_labelers, known, -1))

    def fit_of(self, model: Observation, found: Any) -> Any:
        """Remove the padding from a fit."""
        sizes = {"labeler": self.n_labelers, "instance": self.n_instances, None: None}
        specs = jax.tree.leaves(model.specs(found.params), is_leaf=lambda spec: spec is None)
        leaves, structure = jax.tree.flatten(found.params)
        only = [value if spec is None else value[: sizes[spec]] for value, spec in zip(leaves, specs, strict=True)]
        params = jax.tree.unflatten(structure, only)
        return dataclasses.replace(found, params=params, posterior=found.posterior[: self.n_instances])

    def summary_of(self, found: Summary) -> Summary:
        """Remove the padding from a summary of labelers."""
        return jax.tree.map(lambda v: v[: self.n_labelers], found)


def of(labels: Labels, model: Observation) -> Room | None:
    """Pad labels as far as the model allows (``layout.with_room``); None where it allows none.

    Labels are padded for models with the attribute ``neutral`` only; your own model needs no support for padding.
    """
    if labels.shard is not None or not hasattr(model, "neutral"):
        return None
    padded = with_room(labels)
    if padded is labels:
        return None
    n_labelers = padded.n_labelers if model.neutral else labels.n_labelers
    return Room(dataclasses.replace(padded, n_labelers=n_labelers), labels.n_labelers, labels.n_instances)


def predict_new(labels: Labels, model: Observation, params: Params, labelers: Int[Any, " W"]) -> Pass:
    """Compute posteriors of labels whose labelers are those of a fit in another order, or unseen.

    Host side.

    Example:
        >>> from crowdjax.observation import OneCoin, fit_jit
        >>> old = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> params = fit_jit(old, OneCoin()).params
        >>> new = Labels.from_arrays([0, 1], [0, 0], [1, 0])
        >>> predict_new(new, OneCoin(), params, np.array([0, 2])).posterior.argmax(1).tolist()
        [1]
    """
    params, room = rows_of_labelers(model, params, labelers), of(labels, model)
    if room is None:
        return predict_jit(labels, model, params)  # pyright: ignore[reportReturnType]
    found = predict_jit(room.labels, model, room.params(model, params))
    points = found.points if found.points.ndim == 1 else found.points[: room.n_instances]
    return Pass(found.value, found.posterior[: room.n_instances], found.counts[: room.n_labelers], points)
