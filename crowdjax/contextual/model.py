"""The contextual model: prevalence, sensitivity and specificity as functions of a score, the truth summed out.

    logit π_j = r(x_j)                                                     prevalence
    s_ij = softplus( a(x_j) + e_i (+ d_i(x_j)) ),   γ_ij = g(x_j) + e'_i (+ d'_i(x_j))      accuracy and bias
    p(L) = Π_j Σ_z p(z_j = z) Π_i σ( L_ij (z s_ij + γ_ij) )               crowdjax.likelihood

r, a and g are functions of ``contextual.functions``, their priors those of ``values``; e_i ~ N(0, τ²),
τ ~ HalfNormal(.5), and d_i is a small Gaussian process of each labeler.
The softplus keeps sensitivity + specificity > 1, without which the
classes could be switched in every region of x. Families, labelers' level and constraint are settings; so are the
baselines (``PRESETS``).

Source: Nguyen, Ramakrishnan, Weinsberg (2022) for the functions of a score with Gaussian-process priors; the
parametrisation by s and γ, the priors and the labelers' levels are ours (docs/contextual.md).
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from crowdjax import likelihood
from crowdjax.contextual.config import Constraint, ContextualConfig
from crowdjax.contextual.data import Bins, Data, Prior, specs_of
from crowdjax.contextual.functions import Basis, Function, evaluate, look_up, tabulate
from crowdjax.segments import in_blocks

PRECISION = jax.lax.Precision.HIGHEST
AT_ONCE = 1024  # blocks, where they are not taken one by one


# Everything unknown but the truth is a function of standard normals: u ~ N(0, I).


def sites(
    config: ContextualConfig, n_labelers: int, basis: Basis, labeler_basis: Basis | None
) -> dict[str, tuple[int, ...]]:
    """List the names and shapes of all unknowns but the truth; scales and length-scales (``SCALES``) come first."""
    n_columns, n_terms = basis.x.shape[1], len(basis.terms)
    scales, rest = {}, {}
    for name, function in config.functions.items():
        rest[f"{name}_mean"] = ()
        if function.family != "constant":
            rest[f"{name}_slope"] = (n_columns,)
        if function.family == "gp":
            scales |= {f"{name}_amplitude": (n_terms,), f"{name}_length": (basis.n_lengths,)}
            rest[f"{name}_weights"] = (n_terms, basis.terms[0].n_weights)
    if config.labelers != "global":
        scales["labeler_scale"] = (2,)
        rest["labeler_offset"] = (2, n_labelers)
    if config.drift:
        scales["drift_scale"] = (2,)
        rest["labeler_drift"] = (2, n_labelers, config.cells.n_periods - 1)
    if config.labelers == "function":
        scales |= {"labeler_amplitude": (2,), "labeler_length": (2, n_columns)}
        terms = labeler_basis.terms
        rest["labeler_weights"] = (2, len(terms), n_labelers, terms[0].n_weights)
    if config.cells is not None and config.cells.parts:
        scales["shift_scale"] = (len(config.cells.parts),)
        rest["shift_weights"] = (sum(part.matrix.shape[1] for part in config.cells.parts),)
    return scales | rest


SCALES = ("_amplitude", "_length", "_scale")


def n_scales(shapes: dict[str, tuple[int, ...]]) -> int:
    """Count the entries of u that are scales or length-scales; they come first."""
    return sum(math.prod(shape) for name, shape in shapes.items() if name.endswith(SCALES))


def split(u: Float[Array, " P"], shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Split the vector u by site."""
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = jnp.split(u, ends[:-1])
    return {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}


def values(config: ContextualConfig, white: dict[str, Array]) -> dict[str, Array]:
    """Compute the sites' values from standard normals of the same shapes: defines all priors.

    Weights and offsets stay white; ``coefficients`` gives them their scales.
    """
    functions, out = config.functions, {}
    for name, z in white.items():
        owner, _, kind = name.rpartition("_")
        function = functions.get(owner)
        if kind == "mean":
            out[name] = function.mean[0] + function.mean[1] * z
        elif kind == "slope":
            out[name] = function.slope * z
        elif kind == "length":
            mean, deviation = (config.labeler_gp if function is None else config.gp).log_length
            out[name] = jnp.exp(mean + deviation * z)
        elif owner == "shift" and kind == "scale":
            out[name] = half_normal(z, jnp.array([part.scale for part in config.cells.parts], z.dtype))
        elif owner == "drift":
            out[name] = half_normal(z, DRIFT)
        elif kind in ("amplitude", "scale"):
            scale = function.amplitude if function else config.offset_scale if kind == "scale" else LABELER_AMPLITUDE
            out[name] = half_normal(z, scale)
        else:
            out[name] = z
    return out


LABELER_AMPLITUDE = 0.5  # of d_i: HalfNormal(½)
DRIFT = 0.2  # of τ_d: HalfNormal


def half_normal(z: Array, scale: float) -> Array:
    """Map z ~ N(0, 1) to HalfNormal(scale) by quantiles. A logarithm's tail towards zero would be exponential, which
    samplers and Gaussian approximations bear badly.
    """
    quantile = jnp.clip(jax.scipy.special.ndtr(z), 1e-12, 1 - 1e-6)  # float32 would say 0 or infinity beyond
    return scale * jnp.sqrt(2.0) * jax.scipy.special.erfinv(quantile)


def model(config: ContextualConfig, data: Data):
    """Define the NumPyro model: sites ``NAME_white`` ~ N(0, 1), their values as deterministic sites, and the labels'
    evidence as a factor.

    Args:
        config: the model's settings.
        data: of :func:`prepare_data`.

    Example: the log density that NumPyro sees, of one draw from the prior
        >>> from crowdjax.contextual import prepare_data
        >>> data = prepare_data(config, labels, found.scale(scores))
        >>> with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.trace() as trace:
        ...     model(config, data)
        >>> [name for name in trace if name.endswith("_slope")], trace["labels"]["fn"].log_factor.shape
        (['prevalence_slope'], ())
    """
    white, shapes = {}, shapes_of(config, data)
    if data.prior is not None:
        v = numpyro.sample("earlier_white", dist.Normal(0, 1).expand(data.prior.mean.shape).to_event(1))
        white = split(of_prior(data.prior, v), shapes)
    for name in () if white else shapes:
        white[name] = numpyro.sample(
            f"{name}_white", dist.Normal(0, 1).expand(shapes[name]).to_event(len(shapes[name]))
        )
    draw = {name: numpyro.deterministic(name, value) for name, value in values(config, white).items()}
    numpyro.factor("labels", log_likelihood(config, data, draw))


def shapes_of(config: ContextualConfig, data: Data) -> dict[str, tuple[int, ...]]:
    """Compute the shapes of the sites for these data."""
    return sites(config, data.labels.n_labelers, data.basis, data.labeler_basis)


def coefficients(config: ContextualConfig, basis: Basis, labeler_basis: Basis | None, draw) -> dict[str, Array]:
    """Compute what the likelihood depends on: weights and offsets times their scales. Affine in all sites but scales
    and length-scales; of those, only inducing inputs need to know a length-scale again.
    """
    out = {}
    for name, function in config.functions.items():
        out |= {f"{name}_{key}": value for key, value in of_one(name, function, basis, draw).items()}
    if config.labelers != "global":  # offsets add up to zero: the shared functions are those of the crowd
        white = draw["labeler_offset"]
        mean = draw.get("labeler_mean", white.mean(-1))  # of the labelers fitted, where these are others
        out["labeler_offset"] = draw["labeler_scale"][:, None] * (white - mean[:, None])
    if config.drift:  # by period; centred over the periods
        path = jnp.matmul(draw["labeler_drift"], jnp.asarray(config.cells.walk.T, white.dtype), precision=PRECISION)
        out["labeler_offset"] = out["labeler_offset"][..., None] + draw["drift_scale"][:, None, None] * path
    if config.labelers == "function":
        lengths = draw["labeler_length"].reshape(2, len(labeler_basis.terms), -1)
        coloured = [
            [
                term.colour(draw["labeler_amplitude"][side], lengths[side, t], draw["labeler_weights"][side, t])
                for t, term in enumerate(labeler_basis.terms)
            ]
            for side in (0, 1)
        ]
        out["labeler_coefficients"] = jnp.stack([jnp.stack(c) for c in coloured])
    if "shift_scale" in draw:
        out["shift"] = config.cells.shift(draw["shift_scale"], draw["shift_weights"])
    return out


def of_one(name: str, function: Function, basis: Basis, draw) -> dict[str, Array]:
    """Return the coefficients of one function (``functions.evaluate``)."""
    value = of_function(name, draw)
    out = {key: value[key] for key in ("mean", "slope", "length") if key in value}
    if function.family == "gp":
        lengths = value["length"].reshape(len(basis.terms), -1)
        parts = zip(basis.terms, value["amplitude"], lengths, value["weights"], strict=True)
        out["coefficients"] = jnp.stack([term.colour(*part) for term, *part in parts])
    return out


def of_function(name: str, values: dict[str, Array]) -> dict[str, Array]:
    """Return the values of one function, without the prefix ``name_``."""
    return {key.removeprefix(f"{name}_"): value for key, value in values.items() if key.startswith(f"{name}_")}


def tables(config: ContextualConfig, basis: Basis, c: dict[str, Array]) -> dict[str, tuple[Array, ...]]:
    """Return the three functions' tables (``functions.tabulate``)."""
    return {name: tabulate(function, basis, of_function(name, c)) for name, function in config.functions.items()}


def constrained(constraint: Constraint | Bool[Array, ""], a, g):
    """Compute (s, γ) from the unconstrained accuracy a and bias g, elementwise.

    Example:
        >>> s, gamma = constrained("both", jnp.array(0.5), jnp.array(-3.0))
        >>> bool(jax.nn.sigmoid(s + gamma) > 0.5), bool(jax.nn.sigmoid(s - gamma) > 0.5)
        (True, True)
    """
    if not isinstance(constraint, str):
        both, ordered = constrained("both", a, g), constrained("ordered", a, g)
        return tuple(jnp.where(constraint, x, y) for x, y in zip(both, ordered, strict=True))
    if constraint == "ordered":
        return jax.nn.softplus(a), g
    if constraint == "both":  # logit sensitivity and logit specificity above 0
        plus, minus = jax.nn.softplus(a + g), jax.nn.softplus(a - g)
        return (plus + minus) / 2, (plus - minus) / 2
    return a, g


def accuracy_bias(config: ContextualConfig, basis, labeler_basis, c, table, labeler, row):
    """Compute (s, γ) for pairs (labeler, row of the bases), each of shape [N], from coefficients and tables."""
    both = []
    for side, name in enumerate(("accuracy", "bias")):
        value = look_up(config.functions[name], basis, of_function(name, c), table[name])[row]
        if config.labelers != "global":
            offset = c["labeler_offset"][side]
            if config.drift:
                mean = offset.mean(-1, keepdims=True)
                path = jnp.concatenate([offset, mean], -1)
                value = value + path[labeler, -1 if basis.cell is None else config.cells.period(basis.cell[row])]
            else:
                value = value + offset[labeler]
        if config.labelers == "function":
            for t, (term, of_input) in enumerate(zip(labeler_basis.terms, labeler_basis.rows, strict=True)):
                value = value + (term.features[of_input[row]] * c["labeler_coefficients"][side, t][labeler]).sum(-1)
        both.append(value)
    return constrained(config.constraint, *both)


def prevalence_logit(config: ContextualConfig, basis: Basis, c, table) -> Float[Array, " n"]:
    """Compute r(x), the logit of the prevalence, shifted by the inputs' cells where there are some, from coefficients
    and tables.
    """
    r = look_up(config.functions["prevalence"], basis, of_function("prevalence", c), table["prevalence"])
    return r if basis.cell is None or "shift" not in c else r + in_cell(c["shift"], basis.cell)


def in_cell(shift: Float[Array, " C"], cell: Int[Array, " n"]) -> Float[Array, " n"]:
    """Look up the shift of each cell; 0 for the cell -1, which stands for the mean cell."""
    return jnp.append(shift, 0)[cell]


class Curves(NamedTuple):
    """Prevalence, sensitivity and specificity at n inputs, as probabilities.

    Example:
        >>> Curves(jnp.array([0.1]), jnp.array([0.9]), jnp.array([0.8])).specificity.shape
        (1,)
    """

    prevalence: Float[Array, " n"]
    sensitivity: Float[Array, "*W n"]
    specificity: Float[Array, "*W n"]


def prevalence(config: ContextualConfig, basis: Basis, draw) -> Float[Array, " n"]:
    """Compute π(x) of one draw."""
    function = config.functions["prevalence"]
    r = evaluate(function, basis, of_one("prevalence", function, basis, draw))
    if basis.cell is not None and "shift_scale" in draw:
        r = r + in_cell(config.cells.shift(draw["shift_scale"], draw["shift_weights"]), basis.cell)
    return jax.nn.sigmoid(r)


def curves(
    config: ContextualConfig, basis: Basis, labeler_basis: Basis | None, draw, labelers: Int[Array, " W"]
) -> Curves:
    """Evaluate the prevalence, and sensitivity and specificity of each of the given labelers (shape [W, n]), of one
    draw."""
    n, w = basis.x.shape[0], len(labelers)
    row = jnp.tile(jnp.arange(n), w)
    c = coefficients(config, basis, labeler_basis, draw)
    table = tables(config, basis, c)
    s, gamma = accuracy_bias(config, basis, labeler_basis, c, table, jnp.repeat(labelers, n), row)
    sensitivity, specificity = likelihood.sensitivity_specificity(s.reshape(w, n), gamma.reshape(w, n))
    return Curves(jax.nn.sigmoid(prevalence_logit(config, basis, c, table)), sensitivity, specificity)


def triples(config: ContextualConfig, data: Data, c, table):
    """Compute (s, γ) of every triple, and logit π of every instance."""
    labels = data.labels
    s, gamma = accuracy_bias(config, data.basis, data.labeler_basis, c, table, labels.labeler, labels.instance)
    return s, gamma, prevalence_logit(config, data.basis, c, table)[: labels.n_instances]


def on_devices(function, data: Data, *alike):
    """Run ``function(part of the data, *alike)`` on every device of the mesh and concatenate the rows of the
    results.
    """
    if data.mesh is None:
        return function(data, *alike)
    (axis,) = data.mesh.axis_names
    each = data.labels.n_blocks // data.mesh.size
    size = each * data.labels.block_instances

    def here(data, *alike):
        first = (jax.lax.axis_index(axis) * size).astype(jnp.int32)
        instance = data.labels.instance - first
        own = dataclasses.replace(data.labels, instance=instance, n_instances=size, n_blocks=each)
        return function(dataclasses.replace(data, labels=own, mesh=None), *alike)

    given = specs_of(data), *(P() for _ in alike)
    return jax.shard_map(here, mesh=data.mesh, in_specs=given, out_specs=P(axis), check_vma=False)(data, *alike)


def block_log_likelihoods(config: ContextualConfig, data: Data, c: dict[str, Array]) -> Float[Array, " n_blocks"]:
    """Compute log p(L | functions) of each block from coefficients. Blocks are computed again in the backward pass, so
    that memory stays small.
    """
    return on_devices(partial(_of_blocks, config), data, c)[: data.n_blocks]


def _of_blocks(config: ContextualConfig, data: Data, c: dict[str, Array]) -> Float[Array, " n_blocks"]:
    table = tables(config, data.basis, c)
    if data.labels.n_blocks == 1:
        return likelihood.evidence(data.labels, *triples(config, data, c, table))[None]

    @jax.checkpoint
    def one(index):
        part = blocks(data, index[None])
        return likelihood.evidence(part.labels, *triples(config, part, c, table))

    return jax.lax.map(one, jnp.arange(data.labels.n_blocks), batch_size=None if in_blocks() else AT_ONCE)


def log_likelihood(config: ContextualConfig, data: Data, draw: dict[str, Array]) -> Float[Array, ""]:
    """Compute log p(L | functions) from the sites' values."""
    return block_log_likelihoods(config, data, coefficients(config, data.basis, data.labeler_basis, draw)).sum()


def blocks(data: Data, index: Int[Array, " B"]) -> Data:
    """Select blocks of consecutive instances as data of their own (the indices may be traced): a minibatch.

    The evidence of B blocks drawn at random, times n_blocks / B, is an unbiased estimate of the whole.
    """
    labels, size, n = data.labels, data.labels.block_instances, data.labels.n_blocks

    def of(values):
        values = jnp.asarray(values)
        return values.reshape(n, -1, *values.shape[1:])[index]

    def pick(values):
        return None if values is None else jax.lax.collapse(of(values), 0, 2)

    gold = labels.gold
    if gold is not None:
        gold = pick(jnp.concatenate([jnp.asarray(gold), jnp.full(n * size - len(gold), -1, gold.dtype)]))
    shift = (jnp.arange(len(index)) - index).astype(jnp.int32) * size
    chosen = dataclasses.replace(
        labels,
        labeler=pick(labels.labeler),
        instance=(of(labels.instance) + shift[:, None]).reshape(-1),
        label=pick(labels.label),
        weight=pick(labels.weight),
        gold=gold,
        n_instances=len(index) * size,
        n_blocks=len(index),
        block_instances=size,
    )

    def rows(basis: Basis) -> Basis:
        knots = basis.knots
        if knots is not None:
            knots = dataclasses.replace(knots, index=pick(knots.index), fraction=pick(knots.fraction))
        return Basis(pick(basis.x), basis.terms, tuple(map(pick, basis.rows)), knots, pick(basis.cell))

    bins = data.bins and Bins(data.bins.basis, data.bins.own, pick(data.bins.row))
    own = None if data.labeler_basis is None else rows(data.labeler_basis)
    return Data(chosen, rows(data.basis), own, bins, prior=data.prior)


def draw_at(config: ContextualConfig, data: Data, u: Float[Array, " P"]) -> dict[str, Array]:
    """Compute the sites' values (one draw) from standard normals u."""
    u = u if data.prior is None else of_prior(data.prior, u)
    return values(config, split(u, shapes_of(config, data)))


def of_prior(prior: Prior, v: Float[Array, " M"]) -> Float[Array, " P"]:
    """Compute (θ, w) from standard normals v, where w has the prior that an earlier fit left."""
    return jnp.concatenate([prior.theta, prior.mean + jnp.matmul(prior.root, v, precision=PRECISION)])


def coefficients_at(config: ContextualConfig, data: Data, u: Float[Array, " P"]) -> dict[str, Array]:
    """Compute :func:`coefficients` at standard normals u."""
    return coefficients(config, data.basis, data.labeler_basis, draw_at(config, data, u))


def coefficients_of(config: ContextualConfig, data: Data, theta, w) -> Float[Array, " Q"]:
    """Compute the vector y = y₀ + R(θ) w: all that the labels depend on, but for the length-scales of inducing
    inputs.
    """
    return labels_see(coefficients_at(config, data, jnp.concatenate([theta, w])))


def labels_see(c: dict[str, Array]) -> Float[Array, " Q"]:
    """Flatten the coefficients to a vector, without length-scales."""
    return ravel_pytree({name: value for name, value in c.items() if not name.endswith("_length")})[0]


def block_values(config: ContextualConfig, data: Data, theta, y: Float[Array, " Q"]) -> Float[Array, " n_blocks"]:
    """Compute log p(L | y) of each block. θ matters for inducing inputs only: their values say the rest of the function
    up to its length-scale.
    """
    width = size_of(config, data) - len(theta)
    c = coefficients_at(config, data, jnp.concatenate([theta, jnp.zeros(width, y.dtype)]))
    seen = {name: value for name, value in c.items() if not name.endswith("_length")}
    return block_log_likelihoods(config, data, c | ravel_pytree(seen)[1](y))


def size_of(config: ContextualConfig, data: Data) -> int:
    """Count the unknowns, P."""
    if data.prior is not None:
        return len(data.prior.mean)
    return sum(math.prod(shape) for shape in shapes_of(config, data).values())


def scales_of(config: ContextualConfig, data: Data) -> int:
    """Count the scales and length-scales among the unknowns, K; they come first. An earlier fit's are held fixed."""
    return 0 if data.prior is not None else n_scales(shapes_of(config, data))


def prior_draws(config: ContextualConfig, n_labelers: int, basis: Basis, labeler_basis: Basis | None, key, n: int):
    """Draw all sites n times from the prior, each of shape [n, ...]."""
    return _prior_draws(config, tuple(sites(config, n_labelers, basis, labeler_basis).items()), key, n, basis.x.dtype)


@eqx.filter_jit
def _prior_draws(config, shapes: tuple, key, n: int, dtype):
    u = jax.random.normal(key, (n, sum(math.prod(shape) for _, shape in shapes)), dtype)
    return jax.vmap(lambda one: values(config, split(one, dict(shapes))))(u)


def log_density(config: ContextualConfig, data: Data, u: Float[Array, " P"], scale: float = 1.0) -> Float[Array, ""]:
    """Compute log p(L, u) up to a constant: the density that every inference method works on. ``scale`` multiplies the
    evidence, for minibatches.
    """
    return -0.5 * (u**2).sum() + scale * log_likelihood(config, data, draw_at(config, data, u))
