"""The contextual model: prevalence, sensitivity and specificity as functions of a score, the truth summed out.

    logit π_j = r(x_j)                                                     prevalence
    s_ij = softplus( a(x_j) + e_i (+ d_i(x_j)) ),   γ_ij = g(x_j) + e'_i (+ d'_i(x_j))      accuracy and bias
    p(L) = Π_j Σ_z p(z_j = z) Π_i σ( L_ij (z s_ij + γ_ij) )               crowdjax.likelihood

r, a and g have the priors of ``contextual.functions``; e_i ~ N(0, τ²), τ ~ HalfNormal(.5), and d_i is a small Gaussian
process of each labeler. The softplus keeps sensitivity + specificity > 1, without which the classes could be switched
in every region of x. Families, labelers' level and constraint are settings; the baselines are settings too (``PRESETS``).

Source: Nguyen, Ramakrishnan, Weinsberg 2022 (the post) for the functions of a score with Gaussian-process priors; the
parametrisation by s and γ, the priors and the labelers' levels are ours (docs/contextual.md).
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from numpyro.infer.util import constrain_fn, potential_energy

from crowdjax import likelihood
from crowdjax.contextual.functions import GP, Basis, Family, Function, evaluate, parameters_of, prepare, sample
from crowdjax.labels import LabelError, Labels

Level = Literal["global", "offset", "function"]
Constraint = Literal["ordered", "both", "free"]


@dataclasses.dataclass(frozen=True)
class ContextualConfig:
    """What distinguishes one contextual model from another, frozen and hashable.

    Attributes:
        prevalence, accuracy: families of r, and of a and g: ``constant``, ``linear`` or ``gp``.
        labelers: ``global`` (all alike), ``offset`` (e_i) or ``function`` (e_i + d_i(x)).
        constraint: ``ordered`` (sensitivity + specificity > 1), ``both`` (each above ½) or ``free``.
        increasing: whether the prevalence may only rise with the score (one column).
        gp: how the Gaussian processes are represented.
        labeler_gp: the same for d_i, whose amplitude is HalfNormal(½).
        offset_scale: τ ~ HalfNormal(offset_scale).

    Example:
        >>> ContextualConfig(accuracy="gaussian")
        Traceback (most recent call last):
        ...
        ValueError: accuracy: got 'gaussian'; allowed: constant, linear, gp
    """

    prevalence: Family = "gp"
    accuracy: Family = "gp"
    labelers: Level = "offset"
    constraint: Constraint = "ordered"
    increasing: bool = False
    gp: GP = GP()
    labeler_gp: GP = GP(n_basis=8, boundary=2.5, log_length=(-0.3567, 0.2))
    offset_scale: float = 0.5

    def __post_init__(self):
        for name, kind in [("prevalence", Family), ("accuracy", Family), ("labelers", Level), ("constraint", Constraint)]:
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}: got {getattr(self, name)!r}; allowed: {', '.join(get_args(kind))}")

    @property
    def functions(self) -> dict[str, Function]:
        """r, a and g with their priors."""
        return {
            "prevalence": Function(self.prevalence, mean=(-2.0, 2.0), amplitude=1.5, increasing=self.increasing),
            "accuracy": Function(self.accuracy, mean=(1.5, 1.0)),
            "bias": Function(self.accuracy),
        }


PRESETS = {
    "constant-constant": ContextualConfig("constant", "constant"),  # Bayesian Dawid-Skene
    "linear-constant": ContextualConfig("linear", "constant"),  # Raykar et al. 2010, one feature
    "gp-constant": ContextualConfig("gp", "constant"),  # Rodrigues et al. 2014
    "constant-linear": ContextualConfig("constant", "linear"),
    "lr-lr": ContextualConfig("linear", "linear"),  # the post's strongest baseline
    "theodon": ContextualConfig("gp", "gp"),
}


class Data(eqx.Module):
    """What the model is conditioned on: the labels and the context of every instance, prepared.

    The bases have a row for every instance slot of the labels' layout (n_blocks × block_instances); slots beyond
    n_instances hold no labels and add nothing to the evidence.
    """

    labels: Labels
    basis: Basis
    labeler_basis: Basis | None


def prepare_data(config: ContextualConfig, labels: Labels, x: Float[np.ndarray, "I C"], dtype=None) -> Data:
    """Puts labels and context together (host side).

    Args:
        labels: of I instances.
        x: the context in [-1, 1], one row per instance.

    Raises:
        LabelError: the numbers of instances differ.
    """
    if len(x) != labels.n_instances:
        raise LabelError(f"score: {len(x)} rows for {labels.n_instances} instances; allowed: one each")
    padding = labels.n_blocks * labels.block_instances - len(x)
    x = np.r_[x, np.repeat(x[:1], padding, axis=0)]
    own = prepare(config.labeler_gp, x, dtype=dtype) if config.labelers == "function" else None
    return Data(labels, prepare(config.gp, x, increasing=config.increasing, dtype=dtype), own)


def parameters(config: ContextualConfig, n_labelers: int, basis: Basis, labeler_basis: Basis | None) -> dict[str, Array]:
    """The NumPyro prior of everything unknown but the truth; only the shapes of the bases matter."""
    draw = {}
    for name, function in config.functions.items():
        draw |= {f"{name}_{key}": value for key, value in sample(name, function, config.gp, basis).items()}
    if config.labelers == "global":
        return draw
    scale = dist.HalfNormal(config.offset_scale).expand([2]).to_event(1)
    draw["labeler_scale"] = numpyro.sample("labeler_scale", scale)
    white = dist.Normal(0, 1)
    draw["labeler_offset"] = numpyro.sample("labeler_offset", white.expand([2, n_labelers]).to_event(2))
    if config.labelers == "function":
        n_terms, m = len(labeler_basis.terms), labeler_basis.terms[0].n_weights
        half = dist.HalfNormal(0.5).expand([2]).to_event(1)
        draw["labeler_amplitude"] = numpyro.sample("labeler_amplitude", half)
        length = dist.LogNormal(*config.labeler_gp.log_length).expand([2, labeler_basis.x.shape[1]]).to_event(2)
        draw["labeler_length"] = numpyro.sample("labeler_length", length)
        white = white.expand([2, n_terms, n_labelers, m]).to_event(4)
        draw["labeler_weights"] = numpyro.sample("labeler_weights", white)
    return draw


def model(config: ContextualConfig, data: Data):
    """The NumPyro model: the priors, and the evidence of the labels as a factor."""
    draw = parameters(config, data.labels.n_labelers, data.basis, data.labeler_basis)
    numpyro.factor("labels", log_likelihood(config, data, draw))


def constrained(constraint: Constraint, a, g):
    """(s, γ) of the unconstrained accuracy a and bias g, elementwise.

    Example:
        >>> s, gamma = constrained("both", jnp.array(0.5), jnp.array(-3.0))
        >>> bool(jax.nn.sigmoid(s + gamma) > 0.5), bool(jax.nn.sigmoid(s - gamma) > 0.5)
        (True, True)
    """
    if constraint == "ordered":
        return jax.nn.softplus(a), g
    if constraint == "both":  # logit sensitivity and logit specificity above 0
        plus, minus = jax.nn.softplus(a + g), jax.nn.softplus(a - g)
        return (plus + minus) / 2, (plus - minus) / 2
    return a, g


def labeler_offsets(config: ContextualConfig, draw) -> Float[Array, "2 W"]:
    """e_i and e'_i."""
    return draw["labeler_scale"][:, None] * draw["labeler_offset"]


def labeler_process(config: ContextualConfig, basis: Basis, draw, side: int, labeler, row) -> Float[Array, " N"]:
    """d_i(x) for pairs (labeler, row of the basis); side 0: accuracy, 1: bias."""
    out = 0.0
    lengths = draw["labeler_length"][side].reshape(len(basis.terms), -1)
    for t, term in enumerate(basis.terms):
        weights = draw["labeler_weights"][side, t] * term.scale(draw["labeler_amplitude"][side], lengths[t])
        out = out + (term.features[row] * weights[labeler]).sum(-1)
    return out


def accuracy_bias(config: ContextualConfig, basis, labeler_basis, draw, labeler, row):
    """(s, γ) for pairs (labeler, row of the basis), each of shape [N]."""
    functions = config.functions
    sides = []
    for side, name in enumerate(("accuracy", "bias")):
        value = evaluate(functions[name], basis, parameters_of(name, draw))[row]
        if config.labelers != "global":
            value = value + labeler_offsets(config, draw)[side][labeler]
        if config.labelers == "function":
            value = value + labeler_process(config, labeler_basis, draw, side, labeler, row)
        sides.append(value)
    return constrained(config.constraint, *sides)


def prevalence_logit(config: ContextualConfig, basis: Basis, draw) -> Float[Array, " n"]:
    """r(x), the logit of the prevalence."""
    return evaluate(config.functions["prevalence"], basis, parameters_of("prevalence", draw))


def block_log_likelihood(config: ContextualConfig, data: Data, draw) -> Float[Array, ""]:
    """log p(L | functions) of data in one block."""
    labels = data.labels
    s, gamma = accuracy_bias(config, data.basis, data.labeler_basis, draw, labels.labeler, labels.instance)
    return likelihood.evidence(labels, s, gamma, prevalence_logit(config, data.basis, draw)[: labels.n_instances])


def log_likelihood(config: ContextualConfig, data: Data, draw) -> Float[Array, ""]:
    """log p(L | functions): the sum over blocks, each recomputed in the backward pass so that memory stays small."""
    if data.labels.n_blocks == 1:
        return block_log_likelihood(config, data, draw)

    @jax.checkpoint
    def one(index):
        return block_log_likelihood(config, block(data, index), draw)

    return jax.lax.map(one, jnp.arange(data.labels.n_blocks)).sum()


def block(data: Data, index) -> Data:
    """Block ``index`` (may be traced) as data of its own: a minibatch of consecutive instances, of fixed shape.

    The evidence of a block drawn at random, times the number of blocks, is an unbiased estimate of the whole.
    """
    labels, size = data.labels, data.labels.block_instances
    width = labels.label.shape[0] // labels.n_blocks

    def triples(values):
        return None if values is None else jax.lax.dynamic_slice_in_dim(jnp.asarray(values), index * width, width)

    def rows(values):
        return jax.lax.dynamic_slice_in_dim(jnp.asarray(values), index * size, size)

    gold = None
    if labels.gold is not None:
        padding = labels.n_blocks * size - labels.n_instances
        gold = rows(jnp.concatenate([jnp.asarray(labels.gold), jnp.zeros(padding, jnp.int8)]))
    here = Labels(
        labeler=triples(labels.labeler),
        instance=triples(labels.instance) - index * size,
        label=triples(labels.label),
        weight=triples(labels.weight),
        gold=gold,
        n_labelers=labels.n_labelers,
        n_instances=size,
        n_blocks=1,
        block_instances=size,
    )
    return Data(here, _rows_of(data.basis, rows), data.labeler_basis and _rows_of(data.labeler_basis, rows))


def _rows_of(basis: Basis, rows) -> Basis:
    """The basis at some of its inputs."""

    def pick(term):
        field = "features" if hasattr(term, "features") else "x"
        return dataclasses.replace(term, **{field: rows(getattr(term, field))})

    knots = basis.knots
    if knots is not None:
        knots = dataclasses.replace(knots, index=rows(knots.index), fraction=rows(knots.fraction))
    return Basis(rows(basis.x), tuple(pick(t) for t in basis.terms), knots)


# The unconstrained vector u: what the samplers and optimisers move.


def _prior(config, data):
    parameters(config, data.labels.n_labelers, data.basis, data.labeler_basis)


def start(config: ContextualConfig, data: Data) -> tuple[Float[Array, " P"], callable]:
    """(u at the priors' centres, the map from u to the dictionary of unconstrained sites)."""
    trace = numpyro.handlers.trace(numpyro.handlers.seed(_prior, jax.random.key(0))).get_trace(config, data)
    centre = {}
    for name, site in trace.items():
        value = jnp.zeros_like(site["value"])
        if name in ("prevalence_mean", "accuracy_mean", "bias_mean"):
            value = value + config.functions[name.removesuffix("_mean")].mean[0]
        if name.endswith("_length"):
            value = value + (config.labeler_gp if name.startswith("labeler") else config.gp).log_length[0]
        if name in ("labeler_scale", "labeler_amplitude"):
            value = value - 1.0
        centre[name] = value
    return ravel_pytree(centre)


def log_prior(config: ContextualConfig, data: Data, u: Float[Array, " P"]) -> Float[Array, ""]:
    """log p(u), the Jacobian of the unconstraining map included."""
    unravel = start(config, data)[1]
    return -potential_energy(_prior, (config, data), {}, unravel(u))


def constrain(config: ContextualConfig, data: Data, u: Float[Array, " P"]) -> dict[str, Array]:
    """The sites' values (one draw) of an unconstrained vector."""
    return constrain_fn(_prior, (config, data), {}, start(config, data)[1](u))


def log_density(config: ContextualConfig, data: Data, u: Float[Array, " P"]) -> Float[Array, ""]:
    """log p(L, u): prior and evidence; the density that every method of inference works on."""
    return log_prior(config, data, u) + log_likelihood(config, data, constrain(config, data, u))
