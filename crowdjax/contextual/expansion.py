"""The labels' log-likelihood to second order in the coefficients, in one pass over the labels.

Labels see the model through the three functions at B distinct inputs, r, a, g, and what each labeler adds to a and g.
With ℓ^z the log-probability of an instance's labels and of its truth z, p = P(z = +1 | labels) and D = ℓ⁺ - ℓ⁻,

    ∇ log e_j = p ∇ℓ⁺ + (1-p) ∇ℓ⁻,        ∇² log e_j = p ∇²ℓ⁺ + (1-p) ∇²ℓ⁻ + p (1-p) ∇D ∇Dᵀ

where ∇D has an entry for r, a, g each at the instance's input, and two for each of its labels. So the sums over labels
are tables by input and by (labeler, input), and a Gram matrix of instances; functions are linear in their coefficients
(an ``increasing`` one is linearised), and their basis turns the tables into the Hessian.

Source: the missing-information identity of Louis 1982; docs/contextual.md.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from crowdjax import likelihood
from crowdjax.contextual.config import ContextualConfig
from crowdjax.contextual.data import Data
from crowdjax.contextual.functions import evaluate
from crowdjax.contextual.model import blocks, coefficients_at, of_function, on_devices, size_of
from crowdjax.segments import in_blocks, sum_by

PRECISION = jax.lax.Precision.HIGHEST
NAMES = ("prevalence", "accuracy", "bias")


class Expansion(NamedTuple):
    """log p(L | y) of each block, its gradient and minus its Hessian; the prevalence's logit r at the distinct inputs,
    and its derivative by y.

    Example:
        >>> from crowdjax.contextual.data import prepare_data
        >>> data = prepare_data(config, labels, found.scale(scores))
        >>> at = expand(config, data, jnp.zeros(1), jnp.zeros(4))
        >>> at.values.shape, at.slope.shape, at.information.shape
        ((1,), (4,), (4, 4))
    """

    values: Float[Array, " n_blocks"]
    slope: Float[Array, " Q"]
    information: Float[Array, "Q Q"]
    logit: Float[Array, " B"]
    basis: Float[Array, "B Q"]


class Sums(NamedTuple):
    """Sums of one pass: by block, by input (first and second derivatives in r, a, g), by labeler and input (see
    ``_sums``), over instances the products of what labelers add; by cell and input the first derivative in r and its
    second ones with r, a, g, and by cell and labeler those of r with what the labeler adds."""

    values: Float[Array, " n_blocks"]
    slope: Float[Array, "B 3"]
    curvature: Float[Array, "B 6"]
    labelers: Float[Array, "W*B 11"]
    gram: Float[Array, "2WO 2WO"]
    cells: Float[Array, "C*B 4"]
    cells_by_labeler: Float[Array, "C*W 2O"]


class Own(NamedTuple):
    """Labelers' terms in a and g: coefficients [2, W, O] of features [B, O] of the input (1 for an offset)."""

    coefficients: Float[Array, "2 W O"]
    features: Float[Array, "B O"]


def expand(config: ContextualConfig, data: Data, theta: Float[Array, " K"], y: Float[Array, " Q"]) -> Expansion:
    """Return the expansion at coefficients y (``coordinates.coefficients_of``), scales and length-scales θ being given.

    Args:
        theta: matters for inducing inputs only.
    """
    c, place = _named(config, data, theta, y)
    values, jacobians, places = [], [], []
    for name in NAMES:
        value, jacobian = _function(config, data, name, c)
        values.append(value)
        jacobians.append(jacobian)
        places.append(np.concatenate([np.ravel(place[f"{name}_{k}"]) for k in PARTS if f"{name}_{k}" in place]))
    own, at = _own(config, data, c), _own(config, data, place)
    shift = None if data.basis.cell is None else c.get("shift")
    sums = on_devices(partial(_whole, config), data, jnp.stack(values), own, shift)
    sums = jax.tree.map(lambda v: v.sum(0), sums._replace(values=jnp.zeros(1)))._replace(values=sums.values.reshape(-1))

    slope = jnp.zeros_like(y)
    information = jnp.zeros((len(y), len(y)), y.dtype)
    add = lambda of, rows, columns, what: of.at[np.ix_(rows, columns)].add(-what)  # noqa: E731
    dot = partial(jnp.einsum, precision=PRECISION)
    for f in range(3):
        slope = slope.at[places[f]].add(dot("b,bm->m", sums.slope[:, f], jacobians[f]))
        for h in range(3):
            by_input = sums.curvature[:, PAIRS[f][h]]
            block = dot("bm,bn->mn", jacobians[f] * by_input[:, None], jacobians[h])
            information = add(information, places[f], places[h], block)
    logit_basis = jnp.zeros((len(values[0]), len(y)), y.dtype).at[:, places[0]].set(jacobians[0])
    prevalence = values[0], logit_basis
    if shift is not None:
        cells, by_cell = np.asarray(place["shift"]), sums.cells.reshape(len(shift), -1, 4)
        slope = slope.at[cells].add(by_cell[..., 0].sum(1))
        information = information.at[cells, cells].add(-by_cell[..., 1].sum(1))
        for f in range(3):
            block = dot("cb,bm->cm", by_cell[..., 1 + f], jacobians[f])
            information = add(information, cells, places[f], block)
            information = add(information, places[f], cells, block.T)
    if own is None:
        return Expansion(sums.values[: data.n_blocks], slope, information, *prevalence)
    w, o = own.coefficients.shape[1], own.features
    table = sums.labelers.reshape(w, len(o), -1)
    at = at.coefficients.transpose(1, 0, 2)  # [W, 2, O]
    first, cross, second = table[..., :2], table[..., 2:8].reshape(w, -1, 2, 3), table[..., 8:]
    slope = slope.at[at.reshape(-1)].add(dot("wbk,bo->wko", first, o).reshape(-1))
    for f in range(3):
        block = dot("wbk,bo,bm->wkom", cross[..., f], o, jacobians[f]).reshape(at.size, -1)
        information = add(information, at.reshape(-1), places[f], block)
        information = add(information, places[f], at.reshape(-1), block.T)
    second = jnp.stack([second[..., [0, 1]], second[..., [1, 2]]], -1)  # [W, B, 2, 2]
    own_block = dot("wbkl,bo,bp->wkolp", second, o, o).reshape(w, at[0].size, at[0].size)
    rows = at.reshape(w, -1)
    information = information.at[rows[:, :, None], rows[:, None, :]].add(-own_block)
    information = add(information, at.reshape(-1), at.reshape(-1), sums.gram)
    if shift is not None:
        block = sums.cells_by_labeler.reshape(len(shift), -1)
        information = add(information, cells, at.reshape(-1), block)
        information = add(information, at.reshape(-1), cells, block.T)
    return Expansion(sums.values[: data.n_blocks], slope, information, *prevalence)


PARTS = ("mean", "slope", "coefficients")
PAIRS = ((0, 1, 2), (1, 3, 4), (2, 4, 5))  # columns of Sums.curvature


def _named(config, data: Data, theta, y):
    """Return (coefficients by name; of all but length-scales, their places in y)."""
    width = size_of(config, data) - len(theta)
    c = coefficients_at(config, data, jnp.concatenate([theta, jnp.zeros(width, y.dtype)]))
    seen = {name: value for name, value in c.items() if not name.endswith("_length")}
    leaves, tree = jax.tree.flatten(seen)
    ends = np.cumsum([leaf.size for leaf in leaves])
    places = [np.arange(end - leaf.size, end).reshape(leaf.shape) for end, leaf in zip(ends, leaves, strict=True)]
    return c | ravel_pytree(seen)[1](y), jax.tree.unflatten(tree, places)


def _function(config, data: Data, name: str, c):
    """Return (the function at the distinct inputs [B], its derivative by the coefficients of ``PARTS`` [B, F])."""
    own = of_function(name, c)
    parts = {key: own[key] for key in PARTS if key in own}
    flat, unravel = ravel_pytree(tuple(parts.values()))
    function, basis = config.functions[name], data.bins.basis

    def value(flat):
        return evaluate(function, basis, own | dict(zip(parts, unravel(flat), strict=True)))

    at, push = jax.linearize(value, flat)
    return at, jax.vmap(push, out_axes=1)(jnp.eye(len(flat), dtype=flat.dtype))


def _own(config, data: Data, c) -> Own | None:
    """Return what labelers add; of positions instead of coefficients: where they are in y."""
    if config.labelers == "global":
        return None
    coefficients = c["labeler_offset"].reshape(2, -1, 1)  # by labeler; where they drift, by labeler and period
    features = [jnp.ones((len(data.bins.basis.x), 1), data.bins.basis.x.dtype)]
    if config.labelers == "function":
        own = c["labeler_coefficients"].transpose(0, 2, 1, 3)  # [2, W, T, M]
        xp = np if isinstance(own, np.ndarray) else jnp
        coefficients = xp.concatenate([coefficients, own.reshape(*own.shape[:2], -1)], -1)
        basis = data.bins.own
        features += [term.features[row] for term, row in zip(basis.terms, basis.rows, strict=True)]
    return Own(coefficients, jnp.concatenate(features, 1))


def _whole(config, data: Data, v, own: Own | None, shift) -> Sums:
    """Return the sums over some blocks, with a leading axis of 1 for the devices."""
    n = data.labels.n_blocks
    if n == 1 or not in_blocks():
        return jax.tree.map(lambda x: x[None], _sums(config, data, v, own, shift))

    def one(total, index):
        sums = _sums(config, blocks(data, index[None]), v, own, shift)
        return jax.tree.map(jnp.add, total, sums._replace(values=0.0)), sums.values[0]

    shapes = jax.eval_shape(lambda: _sums(config, blocks(data, jnp.zeros(1, jnp.int32)), v, own, shift))
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)._replace(values=0.0)
    total, values = jax.lax.scan(one, zero, jnp.arange(n))
    return jax.tree.map(lambda x: x[None], total._replace(values=values))


def _sums(config, data: Data, v: Float[Array, "3 B"], own: Own | None, shift: Float[Array, " C"] | None) -> Sums:
    """Differentiate for all labels at once. Columns of ``labelers``: first derivatives by what the labeler adds to a
    and g; its mixed second derivatives with r, a, g (twice three); its second derivatives aa, ag, gg at the truth's
    posterior."""
    labels, bin_of = data.labels, data.bins.row
    instance, n, c = labels.instance, data.bins.row.shape[0], labels.counts
    labeler, bin_ = jnp.asarray(labels.labeler), bin_of[labels.instance]
    if config.drift:  # a fit has the cells of its instances
        labeler = labeler * config.cells.n_periods + config.cells.period(data.basis.cell[instance])
    a, g, r = v[1][bin_], v[2][bin_], v[0][bin_of]
    cell = bin_of if data.basis.cell is None else data.basis.cell
    if shift is not None:
        r = r + shift[cell]
    if own is not None:
        added = (own.coefficients[:, labeler] * own.features[bin_]).sum(-1)
        a, g = a + added[0], g + added[1]
    logs, first, second = _cells(config, labels.label, a, g)
    by_instance = partial(sum_by, index=instance, size=n, ordered=True)
    plus, minus = (by_instance(c * log) for log in logs)
    gold = labels.gold
    if gold is not None:
        gold = jnp.concatenate([jnp.asarray(gold), jnp.full(n - len(gold), -1, gold.dtype)])
    p, pi = likelihood.posterior(plus, minus, r, gold), jax.nn.sigmoid(r)
    q = p * (1 - p) if gold is None else jnp.where(gold < 0, p * (1 - p), 0)
    mean = lambda pair: c[:, None] * (p[instance][:, None] * pair[0] + (1 - p[instance][:, None]) * pair[1])  # noqa: E731
    of_labels = mean(first), mean(second), c[:, None] * (first[0] - first[1])
    e, h, d = of_labels
    by = by_instance(jnp.concatenate(of_labels, 1))
    a_, g_ = by[:, 5], by[:, 6]  # ∇D by a and g of the instance
    pi_q = jnp.stack([q - pi * (1 - pi), q * a_, q * g_], 1)
    second_by = by[:, 2:5] + q[:, None] * jnp.stack([a_ * a_, a_ * g_, g_ * g_], 1)
    rows = jnp.concatenate([(p - pi)[:, None], by[:, :2], pi_q, second_by], 1)
    by_bin = sum_by(rows, bin_of, v.shape[1])
    evidence = likelihood.instance_evidence(plus, minus, r, gold)
    values = evidence[: labels.n_blocks * (n // labels.n_blocks)].reshape(labels.n_blocks, -1).sum(1)
    empty = jnp.zeros((0, 0), v.dtype)
    cells = empty
    if shift is not None:
        by_r = jnp.concatenate([(p - pi)[:, None], pi_q], 1)
        cells = sum_by(by_r, cell * v.shape[1] + bin_of, len(shift) * v.shape[1])
    if own is None:
        return Sums(values, by_bin[:, :3], by_bin[:, 3:], empty, empty, cells, empty)
    grad = jnp.stack([jnp.ones_like(a_), a_, g_], 1) * q[:, None]
    mixed = d[:, :, None] * grad[instance][:, None, :]
    mixed = mixed.at[:, 0, 1:].add(h[:, :2]).at[:, 1, 1:].add(h[:, 1:])
    w, width = own.coefficients.shape[1], own.features.shape[1]
    columns = jnp.concatenate([e, mixed.reshape(-1, 6), h], 1)
    by_labeler = sum_by(columns, labeler * v.shape[1] + bin_, w * v.shape[1])
    own_d = (d[:, :, None] * own.features[bin_][:, None, :]).reshape(-1, 2 * width)
    root = jnp.zeros((n, w, 2 * width), v.dtype).at[instance, labeler].add(own_d * jnp.sqrt(q)[instance][:, None])
    root = root.reshape(n, -1)
    gram, both = jnp.matmul(root.T, root, precision=PRECISION), empty
    if shift is not None:
        both = sum_by(own_d * q[instance][:, None], cell[instance] * w + labeler, len(shift) * w)
    return Sums(values, by_bin[:, :3], by_bin[:, 3:], by_labeler, gram, cells, both)


def _cells(config, label, a, g):
    """Return log p(label | truth) under either truth, [N], and its derivatives: first (a, g), second (aa, ag, gg), [N,
    ..]."""
    logits = _logits(config.constraint, a, g)
    (plus, *_), (minus, *_) = logits
    t = likelihood.per_triple(label, (plus - minus) / 2, (plus + minus) / 2)
    sign = 2 * jnp.asarray(label, a.dtype) - 1
    first, second = [], []
    for slope, (_, by_a, by_g, aa, ag, gg) in zip((t.slope_plus, t.slope_minus), logits, strict=True):
        u, uu = sign * slope, -slope * (1 - slope)
        first.append(jnp.stack([u * by_a, u * by_g], 1))
        second.append(jnp.stack([uu * by_a**2 + u * aa, uu * by_a * by_g + u * ag, uu * by_g**2 + u * gg], 1))
    return (t.log_plus, t.log_minus), first, second


def _logits(constraint, a, g):
    """Return the logit of the label 1 under either truth (``model.constrained``): its value, its derivatives by a and
    g, and its second ones, aa, ag, gg."""
    if not isinstance(constraint, str):
        both, ordered = _logits("both", a, g), _logits("ordered", a, g)
        return jax.tree.map(lambda x, y: jnp.where(constraint, x, y), both, ordered)
    one, zero = jnp.ones_like(a), jnp.zeros_like(a)
    if constraint == "free":
        return (g + a, one, one, zero, zero, zero), (g - a, -one, one, zero, zero, zero)
    if constraint == "ordered":
        s, slope = jax.nn.softplus(a), jax.nn.sigmoid(a)
        bend = slope * (1 - slope)
        return (g + s, slope, one, bend, zero, zero), (g - s, -slope, one, -bend, zero, zero)
    up, down = jax.nn.sigmoid(a + g), jax.nn.sigmoid(a - g)
    bend, fold = up * (1 - up), down * (1 - down)
    return (
        (jax.nn.softplus(a + g), up, up, bend, bend, bend),
        (-jax.nn.softplus(a - g), -down, down, -fold, fold, -fold),
    )
