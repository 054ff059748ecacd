"""The contextual model of K exclusive classes: class shares and a crowd's confusion as functions of a score.

    π(x) = softmax(r(x)),  1ᵀr = log shares of the design                    prevalence of the classes
    P(L = l | z, x, i) :   margin_z = softplus(a_i(x) + γ_iz(x) - mean_{l≠z} γ_il(x)) - log(K - 1)      (both)
                           P(L = z | z) = σ(margin_z),   P(L = l | z) ∝ exp(γ_il(x) + C_zl),  l ≠ z

r and γ are K - 1 contrasts whose differences between two classes have the priors of the two-class model's logits,
a is one function, C is the crowd's confusion of classes beyond that, and each labeler has an accuracy, an accuracy for
each class and a leaning to each class of its own. Under ``both`` every class is recognised better than by a guess among
K; under ``ordered`` its own label is only more likely than without the class,

    margin_z = γ_iz + softplus(a_i) - log Σ_{l≠z} exp(γ_il + C_zl)                                          (ordered)

At K = 2 both are the two-class model (``contextual.model``). The truth is summed out.

Source: Nguyen, Ramakrishnan, Weinsberg 2022 for functions of a score with Gaussian-process priors; K
classes, the parametrisation and the priors are ours (docs/contextual.md).
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from crowdjax.contextual.functions import GP, Basis, Family, Function, evaluate, prepare
from crowdjax.contextual.model import half_normal, split
from crowdjax.labels import LabelError, Labels

CONFUSION = 0.5  # of C: HalfNormal
MOST_CLASSES = 20


@dataclasses.dataclass(frozen=True)
class CategoricalConfig:
    """Settings of a contextual model of K classes, frozen and hashable.

    Attributes:
        log_shares: about where the classes' shares are, before any label: shape [K], up to a constant.
        prevalence, accuracy, bias: families of r, of a and of γ: ``constant``, ``linear`` or ``gp``.
        labelers: ``global`` (all alike) or ``offset``.
        constraint: ``both`` (each class recognised better than by a guess) or ``ordered``.
        prevalence_deviation, prevalence_slope: of the differences of r between two classes: of the level around
            ``log_shares``, and of the slope.
        accuracy_mean, bias_deviation: of the priors of the levels of a, and of differences of γ.
        gp: how the Gaussian processes are represented.
        offset_scale: of labelers: the scales of their accuracy, of that of each class, and of γ are HalfNormal with it.
        centred: whether labelers' offsets are taken from their mean; not those of other labelers (``with_labelers``).

    Example:
        >>> CategoricalConfig((0.0, 0.0, -1.0)).n_classes
        3
        >>> CategoricalConfig((0.0, 0.0), constraint="free")
        Traceback (most recent call last):
        ...
        ValueError: constraint: got 'free'; allowed: both, ordered
    """

    log_shares: tuple[float, ...]
    prevalence: Family = "gp"
    accuracy: Family = "gp"
    bias: Family = "linear"
    labelers: Literal["global", "offset"] = "offset"
    constraint: Literal["both", "ordered"] = "both"
    prevalence_deviation: float = 2.5
    prevalence_slope: float = 4.0
    accuracy_mean: tuple[float, float] = (1.5, 1.0)
    bias_deviation: float = 1.0
    gp: GP = GP(n_basis=24)
    offset_scale: float = 0.5
    centred: bool = True

    def __post_init__(self):
        for name, allowed in (
            ("prevalence", get_args(Family)),
            ("accuracy", get_args(Family)),
            ("bias", get_args(Family)),
            ("labelers", ("global", "offset")),
            ("constraint", ("both", "ordered")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        if not 2 <= self.n_classes <= MOST_CLASSES:
            raise ValueError(f"log_shares: of {self.n_classes} classes; allowed: 2 to {MOST_CLASSES}")

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.log_shares)

    @property
    def functions(self) -> dict[str, tuple[Function, int]]:
        """r, a and γ: priors of a difference of two classes (of a: of itself), and how many functions each is."""
        k = self.n_classes - 1
        return {
            "prevalence": (
                Function(self.prevalence, (0.0, self.prevalence_deviation), self.prevalence_slope, 1.5),
                k,
            ),
            "accuracy": (Function(self.accuracy, self.accuracy_mean), 1),
            "bias": (Function(self.bias, (0.0, self.bias_deviation)), k),
        }


def contrasts(n_classes: int) -> Float[np.ndarray, "K K-1"]:
    """Return columns whose combinations by independent N(0, σ²) add up to zero over the classes and differ between any
    two by N(0, σ²): Helmert's, over √2.

    Example:
        >>> q = contrasts(4)
        >>> bool(np.allclose(q.sum(0), 0)), bool(np.isclose(((q[0] - q[3]) ** 2).sum(), 1))
        (True, True)
    """
    q = np.zeros((n_classes, n_classes - 1))
    for m in range(1, n_classes):
        q[:m, m - 1], q[m, m - 1] = -1, m
        q[:, m - 1] /= np.sqrt(2 * m * (m + 1))
    return q


class CategoricalData(eqx.Module):
    """Labels and the context of every instance, prepared, and the distinct contexts with the share of the population
    that each stands for: the level along which the posterior is cut."""

    labels: Labels
    basis: Basis
    at: Basis
    share: Float[Array, " B"]
    mesh: None = eqx.field(static=True, default=None)


def prepare_categories(
    config: CategoricalConfig, labels: Labels, x: Float[np.ndarray, "I C"], importance=None
) -> CategoricalData:
    """Put labels and context together.

    Args:
        labels: of I instances, their values the classes; one block.
        x: the context in [-1, 1].
        importance: how many of the population each instance stands for, shape [I].

    Raises:
        LabelError: the sizes differ, or values are not the classes.
    """
    if labels.n_values != config.n_classes or labels.n_classes != config.n_classes or labels.places is not None:
        raise LabelError(
            f"label: {labels.n_values} values for {config.n_classes} classes; allowed: labels that are the classes"
        )
    if len(x) != labels.n_instances:
        raise LabelError(f"score: {len(x)} rows for {labels.n_instances} instances; allowed: one each")
    weight = np.ones(len(x)) if importance is None else np.asarray(importance, np.float64)
    few = np.unique(np.round(x * GRID) / GRID, axis=0, return_inverse=True)
    share = np.bincount(few[1].reshape(-1), weights=weight, minlength=len(few[0]))
    padding = labels.n_blocks * labels.block_instances - len(x)
    rows = np.r_[x, np.repeat(x[:1], padding, axis=0)]
    dtype = jnp.result_type(float)
    return CategoricalData(
        jax.tree.map(jnp.asarray, labels),
        prepare(config.gp, rows),
        prepare(config.gp, few[0].astype(rows.dtype)),
        jnp.asarray(share / share.sum(), dtype),
    )


GRID = 128  # cells of [0, 1] to which contexts are rounded for the level


def sites(config: CategoricalConfig, n_labelers: int, basis: Basis) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of everything unknown but the truth; scales and length-scales first."""
    n_columns, n_terms, n_classes = basis.x.shape[1], len(basis.terms), config.n_classes
    scales, rest = {}, {}
    for name, (function, n) in config.functions.items():
        rest[f"{name}_mean"] = (n,)
        if function.family != "constant":
            rest[f"{name}_slope"] = (n, n_columns)
        if function.family == "gp":
            scales |= {f"{name}_amplitude": (n_terms,), f"{name}_length": (basis.n_lengths,)}
            rest[f"{name}_weights"] = (n, n_terms, basis.terms[0].n_weights)
    if config.labelers == "offset":
        scales["labeler_scale"] = (2,)
        rest |= {"labeler_accuracy": (n_labelers,), "labeler_bias": (n_labelers, n_classes - 1)}
    if n_classes > 2:
        scales["confusion_scale"] = ()
        rest["confusion"] = (n_classes, n_classes - 1)
        if config.labelers == "offset":
            scales["class_scale"] = ()
            rest["labeler_class"] = (n_labelers, n_classes)
    return scales | rest


def shapes_of(config: CategoricalConfig, data: CategoricalData) -> dict[str, tuple[int, ...]]:
    """Return the sites of a model of these data."""
    return sites(config, data.labels.n_labelers, data.basis)


def values(config: CategoricalConfig, white: dict[str, Array]) -> dict[str, Array]:
    """Return the sites' values, given standard normals: weights, offsets and confusions stay white."""
    out = {}
    for name, z in white.items():
        owner, _, kind = name.rpartition("_")
        if owner not in config.functions:
            scale = {"labeler_scale": config.offset_scale, "class_scale": config.offset_scale}.get(name)
            scale = CONFUSION if name == "confusion_scale" else scale
            out[name] = z if scale is None else half_normal(z, scale)
            continue
        function, _ = config.functions[owner]
        if kind == "mean":
            out[name] = function.mean[0] + function.mean[1] * z
        elif kind == "slope":
            out[name] = function.slope * z
        elif kind == "length":
            out[name] = jnp.exp(config.gp.log_length[0] + config.gp.log_length[1] * z)
        elif kind == "amplitude":
            out[name] = half_normal(z, function.amplitude)
        else:
            out[name] = z
    return out


def function_at(config: CategoricalConfig, name: str, basis: Basis, v: dict[str, Array]) -> Float[Array, "n m"]:
    """Return one of the functions at the prepared inputs: m columns, contrasts of r and γ, or a itself."""
    function, n = config.functions[name]

    def one(k):
        c = {"mean": v[f"{name}_mean"][k]}
        if function.family != "constant":
            c["slope"] = v[f"{name}_slope"][k]
        if function.family == "gp":
            lengths = v[f"{name}_length"].reshape(len(basis.terms), -1)
            parts = zip(basis.terms, v[f"{name}_amplitude"], lengths, v[f"{name}_weights"][k], strict=True)
            c |= {"length": v[f"{name}_length"], "coefficients": jnp.stack([t.colour(*part) for t, *part in parts])}
        return evaluate(function, basis, c)

    return jnp.stack([one(k) for k in range(n)], -1)


def class_logits(config: CategoricalConfig, basis: Basis, v: dict[str, Array]) -> Float[Array, "n K"]:
    """Return log π(x)."""
    q = jnp.asarray(contrasts(config.n_classes), basis.x.dtype)
    level = jnp.asarray(config.log_shares, basis.x.dtype)
    r = jnp.matmul(function_at(config, "prevalence", basis, v), q.T, precision=PRECISION)
    return jax.nn.log_softmax(level + r, axis=-1)


PRECISION = jax.lax.Precision.HIGHEST


class Said(NamedTuple):
    """The terms that decide the labels of n pairs (labeler, input): the logit that a label is right, of each class [n,
    K], leanings γ [n, K], and log Σ_{l≠z} exp(γ_l + C_zl) [n, K]."""

    margin: Float[Array, "n K"]
    leaning: Float[Array, "n K"]
    others: Float[Array, "n K"]


def confusion_of(config: CategoricalConfig, v: dict[str, Array]) -> Float[Array, "K K"]:
    """Return C, with -inf on the diagonal: its labels have a probability of their own."""
    k = config.n_classes
    dtype = v["accuracy_mean"].dtype
    out = jnp.where(jnp.eye(k, dtype=bool), -jnp.inf, jnp.zeros((k, k), dtype))
    if k == 2:
        return out
    rows, columns = np.nonzero(~np.eye(k, dtype=bool))
    return out.at[rows, columns].set(v["confusion_scale"] * v["confusion"].reshape(-1))


def said(config: CategoricalConfig, basis: Basis, v: dict[str, Array], labeler, row) -> Said:
    """Return the log-odds of the labels of pairs (labeler, row of the basis); ``labeler`` -1: of the crowd's mean."""
    k, dtype = config.n_classes, basis.x.dtype
    q = jnp.asarray(contrasts(k), dtype)
    a = function_at(config, "accuracy", basis, v)[row]  # [n, 1], or one for each class
    contrast = function_at(config, "bias", basis, v)[row]
    if config.labelers == "offset":
        own = v["labeler_scale"][0] * centred(config, v["labeler_accuracy"])[:, None]
        if k > 2:
            own = own + v["class_scale"] * centred(config, v["labeler_class"])
        a = a + beside_mean(own)[labeler]
        contrast = contrast + beside_mean(v["labeler_scale"][1] * centred(config, v["labeler_bias"]))[labeler]
    leaning = jnp.matmul(contrast, q.T, precision=PRECISION)
    top = jax.lax.stop_gradient(leaning.max(-1, keepdims=True))
    sums = jnp.matmul(jnp.exp(leaning - top), jnp.exp(confusion_of(config, v)).T, precision=PRECISION)
    others = jnp.log(jnp.maximum(sums, jnp.finfo(dtype).tiny)) + top
    if config.constraint == "both":  # γ adds up to zero, so that the mean of the others is -γ / (K - 1)
        margin = jax.nn.softplus(a + leaning * (1 + 1 / (k - 1))) - jnp.log(jnp.asarray(k - 1, dtype))
    else:
        margin = leaning + jax.nn.softplus(a) - others
    return Said(margin, leaning, others)


def centred(config: CategoricalConfig, white: Array) -> Array:
    """Return offsets that add up to zero over the labelers fitted: the shared functions are those of the crowd."""
    return white - white.mean(0) if config.centred else white


def beside_mean(offsets: Float[Array, "W m"]) -> Float[Array, "W+1 m"]:
    """Return the offsets, and after them those of the crowd's mean: none."""
    return jnp.concatenate([offsets, jnp.zeros((1, offsets.shape[1]), offsets.dtype)])


def label_log_probability(config: CategoricalConfig, v, at: Said, label: Int[Array, " n"]) -> Float[Array, "n K"]:
    """Return log P(L = label | z) of each class z."""
    code = jnp.maximum(label, 0)
    c = jnp.where(jnp.isfinite(confusion_of(config, v)), confusion_of(config, v), 0)
    wrong = jnp.take_along_axis(at.leaning, code[:, None], 1) + c[:, code].T - at.others
    right = code[:, None] == jnp.arange(config.n_classes)
    return jnp.where(right, jax.nn.log_sigmoid(at.margin), jax.nn.log_sigmoid(-at.margin) + jnp.where(right, 0, wrong))


def confusion_at(config: CategoricalConfig, v, at: Said) -> Float[Array, "n K K"]:
    """Return P(L = l | z) of each pair: [n, z, l]."""
    each = [
        label_log_probability(config, v, at, jnp.full(at.margin.shape[0], label, jnp.int32))
        for label in range(config.n_classes)
    ]
    return jnp.exp(jnp.stack(each, -1))


def instance_logits(config: CategoricalConfig, data: CategoricalData, v: dict[str, Array]) -> Float[Array, "I K"]:
    """Return log π(x_j) + Σ_i log P(L_ij | z) of each class; known truths are certain."""
    labels = data.labels
    at = said(config, data.basis, v, labels.labeler, labels.instance)
    each = label_log_probability(config, v, at, labels.label) * labels.counts[:, None].astype(at.margin.dtype)
    slots = labels.n_blocks * labels.block_instances
    sums = jax.ops.segment_sum(each, labels.instance, slots, indices_are_sorted=True)[: labels.n_instances]
    h = class_logits(config, data.basis, v)[: labels.n_instances] + sums
    if labels.gold is None:
        return h
    other = (labels.gold[:, None] >= 0) & (labels.gold[:, None] != jnp.arange(config.n_classes))
    return jnp.where(other, -jnp.inf, h)


def log_likelihood(config: CategoricalConfig, data: CategoricalData, u: Float[Array, " P"]) -> Float[Array, ""]:
    """Return log p(L | functions), the truth summed out, of standard normals u."""
    v = values(config, split(u, shapes_of(config, data)))
    return jax.nn.logsumexp(instance_logits(config, data, v), axis=-1).sum()


def log_density(config: CategoricalConfig, data: CategoricalData, u: Float[Array, " P"]) -> Float[Array, ""]:
    """Return log p(L, u) up to a constant."""
    return log_likelihood(config, data, u) - 0.5 * (u**2).sum()
