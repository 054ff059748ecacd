"""Parameters for labelers and instances other than those of a fit, unseen ones included."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from crowdjax.observation.contract import Observation, Params


def rows_of_labelers(
    model: Observation, params: Params, labelers: Int[Any, " W"], instances: Int[Any, " I"] | None = None
) -> Params:
    """Rearrange the rows of a model's parameters for other labelers and instances, by its ``specs`` and ``unseen``.
    Host side.

    Args:
        labelers: row of each labeler in ``params``; -1 for an unseen one, which gets the values of the model's
            ``unseen(params)``, by default the mean of all.
        instances: row of each instance, likewise; None: instances stay as they are.

    Example: the second labeler of a fit, and one who is new
        >>> from crowdjax.labels import Labels
        >>> from crowdjax.observation import Majority
        >>> labels, model = Labels.from_arrays([0, 1], [0, 0], [2, 2], n_values=3), Majority(skill=1.5)
        >>> params = model.start(labels, np.ones((1, 3)) / 3) | {"skill": np.array([1.0, 2.0])}
        >>> rows_of_labelers(model, params, np.array([1, -1]))["skill"].tolist()
        [2.0, 1.5]
    """
    rows = {"labeler": labelers, "instance": instances, None: None}
    fresh = dict(jax.tree_util.tree_leaves_with_path(model.unseen(params) if hasattr(model, "unseen") else {}))
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    specs = jax.tree.leaves(model.specs(params), is_leaf=lambda spec: spec is None)

    def arranged(path, value, row):
        if row is None:
            return value
        row, value = np.asarray(row), np.asarray(value)
        known = (row >= 0).reshape(row.shape + (1,) * (value.ndim - 1))
        anybody = np.asarray(fresh[path], value.dtype) if path in fresh else value.mean(0)
        return np.where(known, value[np.maximum(row, 0)], anybody)

    out = [arranged(path, value, rows[spec]) for (path, value), spec in zip(leaves, specs, strict=True)]
    return jax.tree.unflatten(structure, out)
