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

The posterior is the mixture of Gaussians of ``contextual.nested``, with derivatives by automatic differentiation; where
its Pareto k-hat is high, NUTS takes its place.

Source: Nguyen, Ramakrishnan, Weinsberg 2022 for functions of a score with Gaussian-process priors; K
classes, the parametrisation and the priors are ours (docs/contextual.md).
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy.linalg import solve_triangular

from crowdjax import drive
from crowdjax.contextual import nuts
from crowdjax.contextual.context import Scale
from crowdjax.contextual.coordinates import Affine
from crowdjax.contextual.diagnostics import pareto_smooth
from crowdjax.contextual.functions import GP, Basis, Family, Function, evaluate, prepare
from crowdjax.contextual.mode import At, climb, few_threads
from crowdjax.contextual.model import half_normal, n_scales, split
from crowdjax.contextual.nested import Mixture, design, draw, likely, mixture_of, resampled, worst_of
from crowdjax.contextual.nested import log_density as log_mixture
from crowdjax.labels import LabelError, Labels

CONFUSION = 0.5  # of C: HalfNormal
MOST_CLASSES = 20
TANGENTS = 16  # columns of a Hessian at a time


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


# Inference


@eqx.filter_jit
def _expanded(config, data, theta, w, which):
    """Return (log likelihood, gradient and Hessian in w; logit of the population's share of a class, the same)."""
    evidence = lambda w: log_likelihood(config, data, jnp.concatenate([theta, w]))  # noqa: E731

    def level(w):
        v = values(config, split(jnp.concatenate([theta, w]), shapes_of(config, data)))
        log_pi = class_logits(config, data.at, v) + jnp.log(data.share)[:, None]
        own = jnp.arange(config.n_classes) == which
        part = lambda chosen: jax.nn.logsumexp(jnp.where(chosen, log_pi, -jnp.inf))  # noqa: E731
        return part(own) - part(~own)  # finite in both tails

    def second_order(f):
        value, slope = jax.value_and_grad(f)(w)
        push = lambda e: jax.jvp(jax.grad(f), (w,), (e,))[1]  # noqa: E731
        return value, slope, jax.lax.map(push, jnp.eye(len(w), dtype=w.dtype), batch_size=TANGENTS)

    return *second_order(evidence), *second_order(level)


@dataclasses.dataclass(frozen=True, eq=False)
class CategoricalPosterior:
    """log p(L, w | θ) on the host, as ``mode.climb`` and ``nested.windows`` take it; its level is the logit of the
    population's share of class ``which``."""

    config: CategoricalConfig
    data: CategoricalData
    which: int = 0
    factor: float = 1.0

    def __call__(self, theta, w) -> At:
        dtype = self.data.basis.x.dtype
        arrays = (jnp.asarray(theta, dtype), jnp.asarray(w, dtype), jnp.asarray(self.which))
        found = [np.asarray(v, np.float64) for v in _expanded(self.config, self.data, *arrays)]
        value, slope, hessian, level, level_slope, level_hessian = found
        precision = np.eye(len(w)) - (hessian + hessian.T) / 2
        half = (level_hessian + level_hessian.T) / 2
        return At(float(value - 0.5 * w @ w), slope - w, precision, float(level), level_slope, half)


MOST_SCALES, WORK = 32, 2e9  # θ of the design; its points times unknowns² times labels, at most
CANDIDATES, CHECKED = 4000, 2e7  # draws that are weighted; times labels, at most
GOOD = 0.7  # Pareto k-hat, up to which the draws are the posterior's
MOST_NUTS = {"instances": 3000, "labels": 20_000}  # up to which NUTS takes their place otherwise


@dataclasses.dataclass(frozen=True, eq=False)
class CategoricalFit:
    """A fitted model of K classes. Holds no labels.

    Attributes:
        config: as asked for.
        scale: from scores to the context.
        u: posterior draws of the unknowns, standard normals a priori, shape [S, P].
        labels_per_labeler: judgements given by each labeler, shape [W].
        method: ``laplace`` or ``nuts``.
        diagnostics: numbers by name: ``khat``, ``rhat``, ``ess``, ``divergences``, ...
        trace: the objective of each mode.
    """

    config: CategoricalConfig
    scale: Scale
    u: Float[np.ndarray, "S P"]
    labels_per_labeler: Float[np.ndarray, " W"]
    method: str
    diagnostics: dict[str, float]
    trace: Float[np.ndarray, " T"]

    def shapes(self, n_labelers: int) -> dict[str, tuple[int, ...]]:
        """Return the sites, with so many labelers."""
        x = self.scale(np.broadcast_to(self.scale.ends.mean(0), (1, len(self.scale.low))))
        return sites(self.config, n_labelers, prepare(self.config.gp, x))

    def parts(self, n_labelers: int) -> dict[str, np.ndarray]:
        """Return the draws by site, each of shape [S, ...]."""
        shapes = self.shapes(n_labelers)
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1]
        each = np.split(self.u, ends, axis=1)
        return {n: p.reshape(-1, *shape) for (n, shape), p in zip(shapes.items(), each, strict=True)}

    @property
    def checked(self) -> bool:
        """Whether the intervals pass the diagnostics."""
        d = self.diagnostics
        return d["rhat"] <= 1.01 if self.method == "nuts" else d["khat"] <= GOOD


def fit_categories(
    labels: Labels,
    scores,
    config: CategoricalConfig,
    key: PRNGKeyArray,
    *,
    n_draws: int = 500,
    method: Literal["laplace", "nuts"] | None = None,
    scale: Scale | None = None,
    importance: Float[np.ndarray, " I"] | None = None,
    progress: drive.Progress | None = None,
) -> CategoricalFit:
    """Fit the contextual model of K classes.

    Args:
        labels: the judgements, their values the classes, with gold where known.
        scores: of every instance, shape [I] or [I, C].
        n_draws: posterior draws; of NUTS of each of two chains.
        method: by default Laplace, and NUTS where its Pareto k-hat is above .7, up to 3000 instances and 20000 labels.
        scale: from scores to the context; by default learned from them.
        importance: how many of the population each instance stands for: the posterior does not depend on it.
        progress: callback (``crowdjax.drive.Progress``); return True to interrupt the fit.

    Raises:
        LabelError: scores or labels are not those of the model.
        KeyboardInterrupt: ``progress`` asked to stop.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth, score = rng.integers(0, 3, 60), rng.random(60)
        >>> answers = np.where(rng.random((60, 3)) < 0.8, truth[:, None], rng.integers(0, 3, (60, 3)))
        >>> who, which = np.tile([0, 1, 2], 60), np.repeat(np.arange(60), 3)
        >>> labels = Labels.from_arrays(who, which, answers.ravel(), n_values=3)
        >>> config = CategoricalConfig((0.0, 0.0, 0.0), "linear", "constant", "constant", labelers="global")
        >>> three = fit_categories(labels, score, config, jax.random.key(0), method="laplace")
        >>> shares(three, score).mean.sum().round(3).item()
        1.0
    """
    scale = scale or Scale.learn(scores)
    data = prepare_categories(config, labels, scale(scores), importance)
    report = drive.or_interrupt(progress, "stopped before there was anything to return")
    size = sum(int(np.prod(shape)) for shape in shapes_of(config, data).values())
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    with few_threads(size):
        mixture, trace, code = _mixture(config, data, report)
        u, psis = _weighted(config, data, mixture, n_draws, rng)
    diagnostics = {"khat": psis.khat, "ess": float(1 / (np.exp(psis.log_weights) ** 2).sum()), "mode_code": float(code)}
    diagnostics["components"] = float(len(mixture.log_weights))
    n_labels = int((np.asarray(labels.counts) > 0).sum())
    small = labels.n_instances <= MOST_NUTS["instances"] and n_labels <= MOST_NUTS["labels"]
    if method == "nuts" or (method is None and psis.khat > GOOD and small):
        settings = nuts.Settings(NUTS["warmup"], n_draws, 2, NUTS["thin"], NUTS["accept"], NUTS["depth"])
        chains, _, found = nuts.sample(
            jax.tree_util.Partial(log_density, config),
            data,
            _affine(mixture, data.basis.x.dtype),
            settings,
            key,
            report,
        )
        u, diagnostics, method = chains.reshape(-1, size), diagnostics | found, "nuts"
    return CategoricalFit(
        config,
        scale,
        np.asarray(u, data.basis.x.dtype),
        np.bincount(labels.labeler, weights=labels.counts, minlength=labels.n_labelers),
        method or "laplace",
        {name: float(value) for name, value in diagnostics.items()},
        trace,
    )


NUTS = {"warmup": 400, "thin": 3, "accept": 0.9, "depth": 7}


def _mixture(config: CategoricalConfig, data: CategoricalData, report: drive.Progress):
    """Return (the mixture, the log posterior at each mode, the worst result code)."""
    shapes = shapes_of(config, data)
    k = n_scales(shapes)
    size = sum(int(np.prod(shape)) for shape in shapes.values()) - k
    n = int(np.clip(WORK / (size**2 * max(data.labels.label.shape[0], 1)), 1, MOST_SCALES))
    thetas, posterior, peaks = design(k, n), CategoricalPosterior(config, data), []
    for i, theta in enumerate(thetas):
        report("mode", i, 2 * len(thetas))
        peaks.append(climb(posterior, theta, peaks[0].w if peaks else np.zeros(size)))
    order = likely(peaks)
    posterior = dataclasses.replace(posterior, which=_least_known(config, data, thetas[order[0]], peaks[order[0]]))
    chosen = [peaks[i]._replace(at=posterior(thetas[i], peaks[i].w)) for i in order]
    mixture = mixture_of(posterior, thetas[order], chosen, report)
    return mixture, np.array([p.value for p in peaks]), worst_of(peaks)


def _least_known(config: CategoricalConfig, data: CategoricalData, theta, peak) -> int:
    """Return the class whose share the labels leave widest, in logits at the mode: the posterior is cut along it."""
    if config.n_classes == 2:
        return 1
    wide = []
    for which in range(config.n_classes):
        slope = CategoricalPosterior(config, data, which)(theta, peak.w).level_slope
        wide.append(np.sum(solve_triangular(peak.chol, slope, lower=True) ** 2))
    return int(np.argmax(wide))


def _weighted(config, data, mixture: Mixture, n: int, rng):
    """Return (n draws, resampled by their weights where these can be used; the smoothed weights)."""
    n_checked = int(np.clip(CHECKED / max(data.labels.label.shape[0], 1), 100, CANDIDATES))
    u = draw(mixture, max(n, n_checked), rng)
    k = mixture.theta.shape[1]
    found = np.asarray(_log_likelihoods(config, data, jnp.asarray(u[:n_checked], data.basis.x.dtype)), np.float64)
    psis = pareto_smooth(found - 0.5 * (u[:n_checked, k:] ** 2).sum(1) - log_mixture(mixture, u[:n_checked]))
    return resampled(u, psis, n, rng), psis


@eqx.filter_jit
def _log_likelihoods(config, data, u):
    return jax.lax.map(partial(log_likelihood, config, data), u)


def _affine(mixture: Mixture, dtype) -> Affine:
    """Return u = mean + root v with the mean and the covariance of the mixture, θ's widened by what a few points
    miss."""
    p, k = np.exp(mixture.log_weights), mixture.theta.shape[1]
    centres = np.concatenate([mixture.theta, mixture.mean], 1)
    mean = p @ centres
    covariance = (centres - mean).T * p @ (centres - mean)
    covariance[:k, :k] += 0.1 * np.eye(k)
    for weight, chol in zip(p, mixture.chol, strict=True):
        inverse = solve_triangular(chol, np.eye(len(chol)), lower=True)
        covariance[k:, k:] += weight * (inverse.T @ inverse)
    return Affine(jnp.asarray(mean, dtype), jnp.asarray(np.linalg.cholesky(covariance), dtype))


# What one wants to know


class Shares(NamedTuple):
    """Mean and equal-tailed interval of K shares, each of shape [K].

    Example:
        >>> Shares(*np.ones((3, 2))).mean.shape
        (2,)
    """

    mean: Float[np.ndarray, " K"]
    lower: Float[np.ndarray, " K"]
    upper: Float[np.ndarray, " K"]


def _draws(fit: CategoricalFit, basis: Basis, function, *arrays):
    """Return ``function(values of a draw, *arrays)`` of every draw."""
    shapes = tuple(sites(fit.config, len(fit.labels_per_labeler), basis).items())
    return np.asarray(_each(fit.config, shapes, function, jnp.asarray(fit.u), basis, *arrays), np.float64)


@eqx.filter_jit
def _each(config, shapes, function, u, basis, *arrays):
    of = lambda one: function(config, values(config, split(one, dict(shapes))), basis, *arrays)  # noqa: E731
    return jax.lax.map(of, u)


def _mean_shares(config, v, basis, weight):
    return weight @ jnp.exp(class_logits(config, basis, v))


def _shares_at(config, v, basis):
    return jnp.exp(class_logits(config, basis, v))


def share_draws(fit: CategoricalFit, scores, counts=None) -> Float[np.ndarray, "S K"]:
    """Return every posterior draw of the classes' shares in a population.

    Args:
        scores: of the population's rows, shape [n] or [n, C].
        counts: how many each row stands for; by default one.
    """
    x = fit.scale(scores)
    weight = np.ones(len(x)) if counts is None else np.asarray(counts, np.float64)
    distinct, row = np.unique(x, axis=0, return_inverse=True)
    share = np.bincount(row.reshape(-1), weights=weight, minlength=len(distinct))
    basis = prepare(fit.config.gp, distinct)
    return _draws(fit, basis, _mean_shares, jnp.asarray(share / share.sum(), basis.x.dtype))


def shares(fit: CategoricalFit, scores, counts=None, level: float = 0.95) -> Shares:
    """Return the classes' shares in a population, as :func:`share_draws`."""
    return _summary(share_draws(fit, scores, counts), level)


def curves_of_classes(fit: CategoricalFit, scores, level: float = 0.95) -> Shares:
    """Return π(x) at given scores: mean and interval, each of shape [n, K]."""
    return _summary(_draws(fit, prepare(fit.config.gp, fit.scale(scores)), _shares_at), level)


def class_probabilities(fit: CategoricalFit, labels: Labels, scores) -> Float[np.ndarray, "I K"]:
    """Return P(z_j | labels, score), averaged over the posterior's draws."""
    data = prepare_categories(fit.config, labels, fit.scale(scores))
    u = jnp.asarray(fit.u)
    return np.asarray(_posteriors(fit.config, data, u), np.float64)


@eqx.filter_jit
def _posteriors(config, data, u):
    shapes = shapes_of(config, data)

    def add(total, one):
        h = instance_logits(config, data, values(config, split(one, shapes)))
        return total + jax.nn.softmax(h, axis=-1), None

    zero = jnp.zeros((data.labels.n_instances, config.n_classes), u.dtype)
    return jax.lax.scan(add, zero, u)[0] / len(u)


def with_labelers(fit: CategoricalFit, known: Int[np.ndarray, " W"], seed: int) -> CategoricalFit:
    """Return the fit for other labelers: those of the fit by their index, and -1 for others, who are drawn from its
    crowd."""
    config, n = fit.config, len(fit.labels_per_labeler)
    counts = np.where(known < 0, 0, fit.labels_per_labeler[known])
    if config.labelers == "global":
        return dataclasses.replace(fit, labels_per_labeler=counts)
    rng, of = np.random.default_rng(seed), {}
    for name, shape in fit.shapes(n).items():
        part = fit.parts(n)[name]
        if name.startswith("labeler_") and name not in ("labeler_scale",):
            part = part - part.mean(1, keepdims=True) if config.centred else part
            new = rng.standard_normal((len(part), len(known), *shape[1:]))
            part = np.where((known >= 0).reshape(1, -1, *[1] * (len(shape) - 1)), part[:, known], new)
        of[name] = part.reshape(len(part), -1)
    u = np.concatenate(list(of.values()), 1).astype(fit.u.dtype)
    return dataclasses.replace(fit, u=u, labels_per_labeler=counts, config=dataclasses.replace(config, centred=False))


def _confusions(config, v, basis, labeler):
    """Return [W, K, K]: P(L | z) of labelers, averaged over inputs by the class's share there."""
    pi = jnp.exp(class_logits(config, basis, v))
    n, w = pi.shape[0], labeler.shape[0]
    at = said(config, basis, v, jnp.repeat(labeler, n), jnp.tile(jnp.arange(n), w))
    each = confusion_at(config, v, at).reshape(w, n, config.n_classes, config.n_classes)
    return (each * pi[None, :, :, None]).sum(1) / pi.sum(0)[None, :, None]


def confusions(fit: CategoricalFit, scores, level: float = 0.95) -> tuple[Shares, Shares, Float[np.ndarray, "S W"]]:
    """Return (confusion of every labeler [W, K, K], of the crowd [K, K], draws of every labeler's accuracy [S, W]).

    P(L = l | z) is averaged over the instances' scores by the class's share there, the crowd's over labelers by their
    judgements, accuracy over classes by their shares.

    Args:
        scores: of the labelled instances, shape [I] or [I, C].
    """
    x = fit.scale(scores)
    order = np.argsort(x[:, 0], kind="stable")
    few = x[order[((np.arange(INPUTS) + 0.5) / INPUTS * len(x)).astype(int)]]
    basis = prepare(fit.config.gp, few)
    n = len(fit.labels_per_labeler) if fit.config.labelers == "offset" else 1
    step = max(1, len(fit.u) // 300)
    thin = dataclasses.replace(fit, u=fit.u[::step])
    each = _draws(thin, basis, _confusions, jnp.arange(n) if n > 1 else jnp.full(1, -1))
    pi = _draws(thin, basis, _mean_shares, jnp.full(len(few), 1 / len(few), basis.x.dtype))
    each = np.broadcast_to(each, (len(each), len(fit.labels_per_labeler), *each.shape[2:]))
    share = fit.labels_per_labeler / fit.labels_per_labeler.sum()
    accuracy = np.einsum("swzz,sz->sw", each, pi)
    return _summary(each, level), _summary(np.einsum("swzl,w->szl", each, share), level), accuracy


INPUTS = 32  # quantiles of the scores that stand for the instances


def _summary(draws, level: float) -> Shares:
    lower, upper = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Shares(draws.mean(0), lower, upper)
