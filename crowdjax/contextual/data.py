"""Data of the contextual model: labels, the bases of its functions at every instance, distinct inputs, devices."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from crowdjax.contextual.config import ContextualConfig
from crowdjax.contextual.functions import Basis, Inducing, Knots, prepare
from crowdjax.labels import LabelError, Labels


class Bins(eqx.Module):
    """Distinct inputs for sums by input: the bases there, and the one of every instance slot."""

    basis: Basis
    own: Basis | None
    row: Int[Array, " n"]


class Prior(NamedTuple):
    """The prior that an earlier fit leaves to the next one (``contextual.earlier``): scales and length-scales θ are
    held, and w = mean + root v, v ~ N(0, I), takes the place of w ~ N(0, I).

    Example:
        >>> Prior(np.zeros(2), np.zeros(3), np.eye(3)).root.shape
        (3, 3)
    """

    theta: Float[Array, " K"]
    mean: Float[Array, " M"]
    root: Float[Array, "M M"]


MOST_BINS = 256  # of one column; of several columns together MOST_BINS_OF_SEVERAL
MOST_BINS_OF_SEVERAL = 2048


class Data(eqx.Module):
    """Prepared data of the model: labels, and the context of every instance as bases.

    The bases have a row for every instance slot of the labels' layout (n_blocks × block_instances); slots beyond
    n_instances hold no labels and add nothing to the evidence. On a mesh the labels' blocks are shared out over its
    devices, with empty blocks at the end where they do not divide.
    """

    labels: Labels
    basis: Basis
    labeler_basis: Basis | None
    bins: Bins | None = None
    mesh: Mesh | None = eqx.field(static=True, default=None)
    prior: Prior | None = None

    @property
    def n_blocks(self) -> int:
        """The number of blocks that hold instances."""
        return -(-self.labels.n_instances // self.labels.block_instances)


def bases(config: ContextualConfig, x: Float[np.ndarray, "n C"], anchors=None) -> tuple[Basis, Basis | None]:
    """Compute the bases of the shared functions and of the labelers' own at inputs x. ``anchors``: inducing inputs to
    keep.
    """
    own = prepare(config.labeler_gp, x) if config.labelers == "function" else None
    return prepare(config.gp, x, increasing=config.increasing, anchors=anchors), own


def prepare_data(
    config: ContextualConfig,
    labels: Labels,
    x: Float[np.ndarray, "I C"],
    anchors=None,
    mesh: Mesh | None = None,
    cell: Int[np.ndarray, " I"] | None = None,
    prior: Prior | None = None,
) -> Data:
    """Prepare labels and context for the model (host side).

    Args:
        labels: of I instances.
        x: the context in [-1, 1], one row per instance.
        mesh: devices that share the blocks of labels, at most one per block; None: the first device.
        cell: cell of each instance, where the settings have cells (``cells.Cells.of``); None: the mean cell.
        prior: prior that an earlier fit left; None: the prior of the settings.

    Raises:
        LabelError: the numbers of instances differ.

    Example:
        >>> prepare_data(config, labels, found.scale(scores)).basis.x.shape
        (60, 1)
    """
    if len(x) != labels.n_instances:
        raise LabelError(f"score: {len(x)} rows for {labels.n_instances} instances; allowed: one each")
    if mesh is not None and min(mesh.size, labels.n_blocks) == 1:
        mesh = None
    if mesh is not None:
        mesh = Mesh(mesh.devices.ravel()[: labels.n_blocks], mesh.axis_names)
        labels = _filled(labels, mesh.size)
    padding = labels.n_blocks * labels.block_instances - len(x)
    x = np.r_[x, np.repeat(x[:1], padding, axis=0)]
    if prior is not None:
        prior = Prior(*map(jnp.asarray, prior))
    data = Data(labels, *bases(config, x, anchors), mesh=mesh, prior=prior)
    if config.cells is not None and cell is not None:
        slots = np.r_[np.asarray(cell, np.int32), np.zeros(padding, np.int32)]
        data = dataclasses.replace(data, basis=dataclasses.replace(data.basis, cell=jnp.asarray(slots)))
    data = dataclasses.replace(data, bins=_bins(config, x, anchors_of(data.basis)))
    if mesh is None:
        return data
    places = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs_of(data), is_leaf=lambda v: isinstance(v, P))
    return jax.device_put(data, places)


def anchors_of(basis: Basis) -> tuple[np.ndarray, ...] | None:
    """Collect the inducing inputs of each term that has some."""
    return tuple(np.asarray(t.z) for t in basis.terms if isinstance(t, Inducing)) or None


def _bins(config: ContextualConfig, x: Float[np.ndarray, "n C"], anchors) -> Bins:
    """Return the distinct inputs; where there are too many, the centres of a grid's cells."""
    if config.gp.columns == "separate":
        return _separate_bins(config, x)
    distinct, row = np.unique(x, axis=0, return_inverse=True)
    n_columns = x.shape[1]
    most = MOST_BINS if n_columns == 1 else MOST_BINS_OF_SEVERAL
    if len(distinct) > most:
        low, high, n = x.min(0), x.max(0), round(most ** (1 / n_columns))
        width = np.maximum(high - low, np.finfo(x.dtype).tiny) / n
        cell = np.clip(np.floor((x - low) / width), 0, n - 1).astype(np.int64)
        row = np.ravel_multi_index(tuple(cell.T), (n,) * n_columns)
        centres = np.stack(np.unravel_index(np.arange(n**n_columns), (n,) * n_columns), 1)
        distinct = (low + (centres + 0.5) * width).astype(x.dtype)
    return Bins(*bases(config, distinct, anchors), jnp.asarray(row.reshape(-1).astype(np.int32)))


def _separate_bins(config: ContextualConfig, x: Float[np.ndarray, "n C"]) -> Bins:
    """Return the bins of inputs with one column each: its distinct values, or the cells of a grid where there are too
    many."""
    column = np.isfinite(x).argmax(1)
    rows, distinct, before = np.zeros(len(x), np.int32), [], 0
    for c in range(x.shape[1]):
        mine = column == c
        if not mine.any():
            continue
        part = _bins(
            dataclasses.replace(config, gp=dataclasses.replace(config.gp, columns="additive")), x[mine, c : c + 1], None
        )
        at = np.full((len(part.basis.x), x.shape[1]), np.nan, x.dtype)
        at[:, c] = np.asarray(part.basis.x)[:, 0]
        rows[mine] = before + np.asarray(part.row)
        distinct.append(at)
        before += len(at)
    return Bins(*bases(config, np.concatenate(distinct), None), jnp.asarray(rows))


def _filled(labels: Labels, n: int) -> Labels:
    """Return the labels with empty blocks at the end, so that n devices have as many each; gold of every slot."""
    size, width = labels.block_instances, labels.label.shape[0] // labels.n_blocks
    more = -labels.n_blocks % n
    n_blocks = labels.n_blocks + more

    def fill(values, by, length):
        return None if values is None else np.r_[values, np.full(length - len(values), by, values.dtype)]

    last = (np.arange(labels.n_blocks, n_blocks, dtype=np.int32) + 1) * size - 1
    return dataclasses.replace(
        labels,
        labeler=fill(labels.labeler, 0, n_blocks * width),
        instance=np.r_[labels.instance, np.repeat(last, width)],
        label=fill(labels.label, -1, n_blocks * width),
        weight=fill(labels.weight, 0, n_blocks * width),
        gold=fill(labels.gold, -1, n_blocks * size),
        n_blocks=n_blocks,
    )


def specs_of(data: Data) -> Data:
    """Return what of the data is distributed over the mesh: all rows of triples and instances."""
    (axis,) = data.mesh.axis_names
    by_row, whole = (lambda tree, spec=spec: jax.tree.map(lambda _: spec, tree) for spec in (P(axis), P()))

    def of(basis: Basis) -> Basis:
        knots = basis.knots
        if knots is not None:
            knots = Knots(whole(knots.terms), P(axis), P(axis))
        cell = None if basis.cell is None else P(axis)
        return Basis(P(axis), whole(basis.terms), by_row(basis.rows), knots, cell)

    bins = data.bins and Bins(whole(data.bins.basis), whole(data.bins.own), P(axis))
    own = data.labeler_basis and of(data.labeler_basis)
    return Data(by_row(data.labels), of(data.basis), own, bins, data.mesh, whole(data.prior))
