"""The contextual model: prevalence, sensitivity and specificity as functions of a score, the truth summed out.

    logit π_j = r(x_j)                                                     prevalence
    s_ij = softplus( a(x_j) + e_i (+ d_i(x_j)) ),   γ_ij = g(x_j) + e'_i (+ d'_i(x_j))      accuracy and bias
    p(L) = Π_j Σ_z p(z_j = z) Π_i σ( L_ij (z s_ij + γ_ij) )               crowdjax.likelihood

r, a and g have the priors of ``contextual.functions``; e_i ~ N(0, τ²), τ ~ HalfNormal(.5), and d_i is a small Gaussian
process of each labeler. The softplus keeps sensitivity + specificity > 1, without which the classes could be switched
in every region of x. Families, labelers' level and constraint are settings; so are the baselines (``PRESETS``).

Source: Nguyen, Ramakrishnan, Weinsberg 2022 (the post) for the functions of a score with Gaussian-process priors; the
parametrisation by s and γ, the priors and the labelers' levels are ours (docs/contextual.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int
from numpyro.infer.util import constrain_fn, potential_energy

from crowdjax import likelihood
from crowdjax.contextual.functions import (
    GP,
    Basis,
    Family,
    Function,
    Hilbert,
    evaluate,
    parameters_of,
    prepare,
    sample,
    sample_scale,
)
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
        for name, kind in [
            ("prevalence", Family),
            ("accuracy", Family),
            ("labelers", Level),
            ("constraint", Constraint),
        ]:
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}: got {getattr(self, name)!r}; allowed: {', '.join(get_args(kind))}")
        if self.labeler_gp.approximation != "hsgp":
            raise ValueError(f"labeler_gp: approximation {self.labeler_gp.approximation!r}; allowed: hsgp")

    @property
    def functions(self) -> dict[str, Function]:
        """r, a and g with their priors."""
        return {
            "prevalence": Function(
                self.prevalence, mean=(-2.0, 2.0), slope=2.0, amplitude=1.5, increasing=self.increasing
            ),
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


def bases(config: ContextualConfig, x: Float[np.ndarray, "n C"], anchors=None) -> tuple[Basis, Basis | None]:
    """The bases of the shared functions and of the labelers' own at inputs x. ``anchors``: inducing inputs to keep."""
    own = prepare(config.labeler_gp, x) if config.labelers == "function" else None
    return prepare(config.gp, x, increasing=config.increasing, anchors=anchors), own


def prepare_data(config: ContextualConfig, labels: Labels, x: Float[np.ndarray, "I C"], anchors=None) -> Data:
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
    return Data(labels, *bases(config, x, anchors))


def parameters(
    config: ContextualConfig, n_labelers: int, basis: Basis, labeler_basis: Basis | None
) -> dict[str, Array]:
    """The NumPyro prior of everything unknown but the truth; only the shapes of the bases matter."""
    draw = {}
    for name, function in config.functions.items():
        draw |= {f"{name}_{key}": value for key, value in sample(name, function, config.gp, basis).items()}
    if config.labelers == "global":
        return draw
    draw["labeler_scale"] = sample_scale("labeler_scale", config.offset_scale, (2,))
    white = dist.Normal(0, 1)
    draw["labeler_offset"] = numpyro.sample("labeler_offset", white.expand([2, n_labelers]).to_event(2))
    if config.labelers == "function":
        n_terms, m = len(labeler_basis.terms), labeler_basis.terms[0].n_weights
        draw["labeler_amplitude"] = sample_scale("labeler_amplitude", 0.5, (2,))
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
    """e_i and e'_i; they add up to zero, so that the shared functions are those of the crowd."""
    white = draw["labeler_offset"]
    return draw["labeler_scale"][:, None] * (white - white.mean(-1, keepdims=True))


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


class Curves(NamedTuple):
    """The three functions at n inputs, on the probability scale."""

    prevalence: Float[Array, " n"]
    sensitivity: Float[Array, "*W n"]
    specificity: Float[Array, "*W n"]


def curves(
    config: ContextualConfig, basis: Basis, labeler_basis: Basis | None, draw, labelers: Int[Array, " W"]
) -> Curves:
    """Prevalence, and sensitivity and specificity of each of the given labelers (shape [W, n]), of one draw."""
    n, w = basis.x.shape[0], len(labelers)
    row = jnp.tile(jnp.arange(n), w)
    s, gamma = accuracy_bias(config, basis, labeler_basis, draw, jnp.repeat(labelers, n), row)
    sensitivity, specificity = likelihood.sensitivity_specificity(s.reshape(w, n), gamma.reshape(w, n))
    return Curves(jax.nn.sigmoid(prevalence_logit(config, basis, draw)), sensitivity, specificity)


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
        return block_log_likelihood(config, blocks(data, index[None]), draw)

    return jax.lax.map(one, jnp.arange(data.labels.n_blocks)).sum()


def blocks(data: Data, index: Int[Array, " B"]) -> Data:
    """Some blocks of consecutive instances as data of their own (the indices may be traced): a minibatch.

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
        gold = pick(jnp.concatenate([jnp.asarray(gold), jnp.zeros(n * size - labels.n_instances, jnp.int8)]))
    shift = (jnp.arange(len(index)) - index).astype(jnp.int32) * size
    chosen = Labels(
        labeler=pick(labels.labeler),
        instance=(of(labels.instance) + shift[:, None]).reshape(-1),
        label=pick(labels.label),
        weight=pick(labels.weight),
        gold=gold,
        n_labelers=labels.n_labelers,
        n_instances=len(index) * size,
        n_blocks=len(index),
        block_instances=size,
    )

    def rows(basis: Basis) -> Basis:
        def term(t):
            field = "features" if isinstance(t, Hilbert) else "x"
            return dataclasses.replace(t, **{field: pick(getattr(t, field))})

        knots = basis.knots
        if knots is not None:
            knots = dataclasses.replace(knots, index=pick(knots.index), fraction=pick(knots.fraction))
        return Basis(pick(basis.x), tuple(term(t) for t in basis.terms), knots)

    return Data(chosen, rows(data.basis), None if data.labeler_basis is None else rows(data.labeler_basis))


# The unconstrained vector u: what the samplers and optimisers move.


def _prior(config, data):
    parameters(config, data.labels.n_labelers, data.basis, data.labeler_basis)


def centre(config: ContextualConfig, data: Data) -> tuple[Float[Array, " P"], Callable]:
    """(u at the priors' centres, the map from u to the dictionary of unconstrained sites)."""
    trace = numpyro.handlers.trace(numpyro.handlers.seed(_prior, jax.random.key(0))).get_trace(config, data)
    values = {}
    for name, site in trace.items():
        if site["type"] != "sample":
            continue
        value = jnp.zeros_like(site["value"])
        if name in ("prevalence_mean", "accuracy_mean", "bias_mean"):
            value = value + config.functions[name.removesuffix("_mean")].mean[0]
        if name.endswith("_length"):
            value = value + (config.labeler_gp if name.startswith("labeler") else config.gp).log_length[0]
        values[name] = value
    return ravel_pytree(values)


def prior_draws(config: ContextualConfig, n_labelers: int, basis: Basis, labeler_basis: Basis | None, key, n: int):
    """n draws of all sites from the prior, each of shape [n, ...]."""

    def one(key):
        return numpyro.handlers.seed(parameters, key)(config, n_labelers, basis, labeler_basis)

    return jax.vmap(one)(jax.random.split(key, n))


def log_prior(config: ContextualConfig, data: Data, u: Float[Array, " P"]) -> Float[Array, ""]:
    """log p(u), the Jacobian of the unconstraining map included."""
    unravel = centre(config, data)[1]
    return -potential_energy(_prior, (config, data), {}, unravel(u))


def constrain(config: ContextualConfig, data: Data, u: Float[Array, " P"]) -> dict[str, Array]:
    """The sites' values (one draw) of an unconstrained vector."""
    return constrain_fn(_prior, (config, data), {}, centre(config, data)[1](u), return_deterministic=True)


def log_density(config: ContextualConfig, data: Data, u: Float[Array, " P"], scale: float = 1.0) -> Float[Array, ""]:
    """log p(L, u): prior and evidence; the density that every method of inference works on. ``scale`` multiplies the
    evidence, for minibatches."""
    return log_prior(config, data, u) + scale * log_likelihood(config, data, constrain(config, data, u))


def log_scales(config: ContextualConfig, data: Data, u: Float[Array, " P"]) -> Float[Array, " P"]:
    """The logarithm of the scale that multiplies each white entry of u (weights: their spectral root; offsets: τ); 0
    for entries that are not white. Depends on amplitudes, length-scales and τ only."""
    draw = constrain(config, data, u)
    shapes = centre(config, data)[1](u)
    out = {name: jnp.zeros_like(value) for name, value in shapes.items()}
    for name, function in config.functions.items():
        if function.family == "gp":
            lengths = draw[f"{name}_length"].reshape(len(data.basis.terms), -1)
            amplitudes = draw[f"{name}_amplitude"]
            scales = [t.log_scale(amplitudes[i], lengths[i]) for i, t in enumerate(data.basis.terms)]
            out[f"{name}_weights"] = jnp.stack(scales)
    if config.labelers != "global":
        scale = jnp.log(draw["labeler_scale"])[:, None]
        out["labeler_offset"] = jnp.broadcast_to(scale, shapes["labeler_offset"].shape)
    return ravel_pytree(out)[0]


def sets_scales(config: ContextualConfig, data: Data) -> np.ndarray:
    """Which entries of u ``log_scales`` depends on, shape [P]."""
    u, unravel = centre(config, data)
    names = unravel(u)
    mask = {name: np.full(v.shape, name.endswith(("_white", "_length"))) for name, v in names.items()}
    return np.concatenate([mask[name].ravel() for name in sorted(mask)])
