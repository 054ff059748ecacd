"""Posterior draws as ArviZ takes them: a DataTree of chains × draws, every dimension named.

``posterior`` holds the unknowns of a model and what follows from them for each labeler; ``log_likelihood`` that of each
instance's labels, the truth summed out, and ``observed_data`` the labels, where these are given. ``attrs`` of a group
say how the draws were made.

    of_contextual    draws that a contextual fit has: Laplace's, NUTS's or SVI's
    of_weights       weights of the factor model of two classes: draws of a sampler of one's own, or of Laplace's
    of_labelers      weighted draws of the integrated model of two classes
    of_params        parameters of K classes, instances' factors integrated out
    of_confusion     confusions of labelers
    tree             any draws
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from crowdjax import __version__, contextual, integrated, likelihood
from crowdjax.contextual import ContextualFit
from crowdjax.extras import needed
from crowdjax.factor import FactorModel, Factors, Weights
from crowdjax.integrated.kernels import instance_evidence as evidence_on_axis
from crowdjax.labels import LabelIndex, Labels
from crowdjax.observation import Params
from crowdjax.observation.integrated_factors import IntegratedFactor, contrasts
from crowdjax.observation.summaries import points_of_class
from crowdjax.observation.table import instance_evidence as evidence_of_table
from crowdjax.observation.table import table_pass

if TYPE_CHECKING:
    from xarray import DataTree

__all__ = ["Drawn", "chances", "of_confusion", "of_contextual", "of_labelers", "of_params", "of_weights", "tree"]

DIMS = {
    "mean": (),
    "slope": ("column",),
    "length": ("column",),
    "amplitude": ("term",),
    "weights": ("term", "basis"),
    "scale": (),
    "offset": ("labeler",),
    "drift": ("labeler", "step"),
}  # what an unknown is over, by the end of its name
OWN = {"shift": {"scale": ("part",), "weights": ("shift",)}, "drift": {"scale": ("side",)}}
ONE_CHAIN = "independent draws of an approximation, as one chain: R-hat and effective sample size say nothing of it"
DIMS_OF_LABELERS = {
    "ability": ("labeler", "factor"),
    "instance_factor": ("instance", "factor"),
    "bias": ("labeler",),
    "confusion": ("labeler", "truth", "label"),
    "accuracy": ("labeler",),
    "sensitivity": ("labeler",),
    "specificity": ("labeler",),
    "informedness": ("labeler",),
    "class_prior": (),
}
BY_HESSIAN = {
    "approximation": "normal, at the mode, by the Hessian of the log posterior with the truths summed out",
    "chains": ONE_CHAIN,
}
BY_COUNTS = {
    "approximation": "of each labeler by himself, the truths taken for known: too narrow where they are not",
    "chains": ONE_CHAIN,
}
AT_MODE = {
    "approximation": "none: one draw, the mode. Instances have numbers of their own there, of which each has few "
    "labels, so that the curvature at the mode says nothing of the posterior; crowdjax.factor.log_posterior is its "
    "density, for a sampler",
}
NO_MAXIMUM = {
    "approximation": "none: one draw, the estimates. The log posterior is not at a maximum there; a longer fit may be",
}
About = Mapping[str, str] | None
NO_FEATURES = integrated.Features()
AT_ONCE = 16  # draws, of which numbers are computed


class Drawn(NamedTuple):
    """Draws of a posterior, ready for :func:`tree`.

    Attributes:
        draws: by name, shape [chains, draws, ...].
        dims: names of the dimensions after these two.
        method: how they were made: ``nuts``, ``laplace``, ``axis``, ``exact``, ``mode``, ...
        log_likelihood: of the labels of each instance, shape [chains, draws, I].
        about: further attributes of the groups: name and text.
        coords: of dimensions besides labeler, instance, factor, truth and label.

    Example:
        >>> Drawn({"ability": np.zeros((4, 100, 8))}, {"ability": ("labeler",)}, "nuts").about
        {}
    """

    draws: Mapping[str, np.ndarray]
    dims: Mapping[str, Sequence[str]]
    method: str
    log_likelihood: Float[np.ndarray, "chains draws I"] | None = None
    about: Mapping[str, str] = {}
    coords: Mapping[str, Any] = {}


def tree(drawn: Drawn, index: LabelIndex | None = None, labels: Labels | None = None) -> DataTree:
    """Return draws for ``arviz_base``, ``arviz_stats`` and ``arviz_plots``.

    Args:
        drawn: the draws.
        index: the ids of labelers and instances and the classes; by default their numbers.
        labels: for the group ``observed_data``.

    Raises:
        InputError: arviz-base is not installed.

    Example: of a sampler's dict of arrays [chains, draws, ...], as NumPyro's ``get_samples(group_by_chain=True)``
        >>> found = tree(Drawn({"ability": np.zeros((4, 100, 8))}, {"ability": ("labeler",)}, "nuts"))
        >>> dict(found["posterior"]["ability"].sizes), found["posterior"].attrs["method"]
        ({'chain': 4, 'draw': 100, 'labeler': 8}, 'nuts')
    """
    with needed("to_arviz"):
        import arviz_base
    groups: dict[str, dict[str, Any]] = {"posterior": dict(drawn.draws)}
    dims = {name: list(over) for name, over in drawn.dims.items()}
    if drawn.log_likelihood is not None:
        groups["log_likelihood"] = {"labels": drawn.log_likelihood}
        dims["labels"] = ["instance"]
    sizes = {
        name: n
        for given in groups.values()
        for key, values in given.items()
        for name, n in zip(dims.get(key, ()), np.shape(values)[2:], strict=True)
    }
    ids = {"factor": np.arange(1, sizes.get("factor", 0) + 1)}
    if index is not None:
        ids |= {"labeler": index.labelers, "instance": index.instances}
        ids |= {"truth": list(index.classes), "label": list(index.values or index.classes)}
    if labels is not None:
        real = np.asarray(labels.counts) > 0
        said = {side: np.asarray(getattr(labels, side))[real] for side in ("labeler", "instance", "label")}
        groups["observed_data"] = {
            "label": said["label"],
            **{f"{side}_of_label": ids[side][said[side]] if side in ids else said[side] for side in list(said)[:2]},
        }
        dims |= {name: ["judgement"] for name in groups["observed_data"]}
    about = {
        "inference_library": "crowdjax",
        "inference_library_version": __version__,
        "method": drawn.method,
        **drawn.about,
    }
    coords = {**ids, **drawn.coords}
    return arviz_base.from_dict(
        groups,
        dims=dims,
        coords={name: values for name, values in coords.items() if name in sizes},
        attrs=dict.fromkeys(groups, about),
    )


def require() -> None:
    """Raise ``InputError`` where arviz-base is not installed.

    Example:
        >>> require()
    """
    with needed("to_arviz"):
        import arviz_base  # noqa: F401


def chances(confusion: Float[np.ndarray, "*draws W K L"]) -> dict[str, np.ndarray]:
    """Return what confusions say of labelers: informedness; of two classes sensitivity and specificity too, each of
    shape [*draws, W]; nothing where labels are not the classes.

    Example:
        >>> {name: float(v[0].round(1)) for name, v in chances(np.array([[[0.9, 0.1], [0.4, 0.6]]])).items()}
        {'informedness': 0.5, 'sensitivity': 0.6, 'specificity': 0.9}
    """
    k, n_values = confusion.shape[-2:]
    if k != n_values:
        return {}
    right = confusion[..., np.arange(k), np.arange(k)]
    out = {"informedness": (right.sum(-1) - 1) / (k - 1)}
    return out if k > 2 else out | {"sensitivity": right[..., 1], "specificity": right[..., 0]}


def of_confusion(confusion: Float[np.ndarray, "S W K L"], accuracy: Float[np.ndarray, "S W"] | None = None) -> Drawn:
    """Name independent draws of labelers' confusions, by the approximation behind the intervals of a result's table.

    Args:
        confusion: P(label | truth).
        accuracy: chance of a right label.

    Example:
        >>> sorted(of_confusion(np.full((100, 3, 2, 2), 0.5)).draws)
        ['confusion', 'informedness', 'sensitivity', 'specificity']
    """
    draws = {"confusion": confusion[None], **chances(confusion[None])}
    draws |= {} if accuracy is None else {"accuracy": accuracy[None]}
    return Drawn(draws, {name: DIMS_OF_LABELERS[name] for name in draws}, "counts", about=BY_COUNTS)


def of_contextual(
    fit: ContextualFit,
    scores: Float[np.ndarray, "I C"],
    curves: tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n C"]],
    prevalence: Float[np.ndarray, " S"],
    labels: Labels | None = None,
    cell: Int[np.ndarray, " I"] | None = None,
) -> Drawn:
    """Name the draws of a contextual fit: the three functions over a score, the population's prevalence, and the
    model's own unknowns by the names of ``crowdjax.contextual.model``.

    Args:
        fit: what was fitted.
        scores: of the instances.
        curves: the first score, and all of them, where the functions are looked at.
        prevalence: draws of the population's (``contextual.prevalence_draws``).
        labels: of the fit, for the log-likelihood of each instance.
        cell: of the instances, in a fit by period or group.

    Example: ``docs/contextual.md`` has one
        >>> dims_of("labeler_offset")
        ['side', 'labeler']
    """
    chains = fit.unconstrained.shape[0]

    def by_chain(draws):
        draws = np.asarray(draws)
        return draws.reshape(chains, -1, *draws.shape[1:])

    functions = contextual.function_draws(fit, curves[1])._asdict()
    drawn = {f"{name}_curve": draws for name, draws in functions.items()}
    drawn |= {"prevalence": prevalence, **fit.draws}
    dims = {f"{name}_curve": ["score"] for name in functions} | {name: dims_of(name) for name in fit.draws}
    each = None if labels is None else by_chain(contextual.log_likelihood_draws(fit, labels, scores, cell))
    about = {"warnings": "\n".join(fit.warnings)}
    if fit.inference.method != "nuts":
        about["chains"] = ONE_CHAIN
    draws = {name: by_chain(values) for name, values in drawn.items()}
    coords = {"score": curves[0], "side": ["accuracy", "bias"]}
    return Drawn(draws, dims, fit.inference.method, each, about, coords)


def of_weights(
    weights: Weights, model: FactorModel, labels: Labels | None = None, *, method: str = "nuts", about: About = None
) -> Drawn:
    """Name draws of the weights of the factor model of two classes.

        ability [labeler, factor], bias [labeler]        α and γ, the bias where the model has one
        instance_factor [instance, factor]               β, where it is not the same number for all instances
        sensitivity, specificity, informedness [labeler] σ(s + γ), σ(s - γ) and their sum less 1, at the mean of β
        class_prior                                      π, where it is learned

    Args:
        weights: draws, every leaf of the shape in ``factor.init`` after two axes [chains, draws]; of a sampler on
            ``factor.log_posterior`` or of any other.
        model: of the draws.
        labels: for the log-likelihood of each instance's labels, shape [I] of every draw.
        method, about: of the attributes (:class:`Drawn`).

    Example: two draws of a model of three labelers
        >>> from crowdjax.factor import PRESETS, build
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> model = build(PRESETS["dawid-skene"], labels)
        >>> start = model.start(jax.random.key(0))
        >>> draws = jax.tree.map(lambda v: jnp.broadcast_to(v, (1, 2, *v.shape)), start)
        >>> found = of_weights(draws, model, labels)
        >>> sorted(found.draws), found.log_likelihood.shape
        (['ability', 'bias', 'informedness', 'sensitivity', 'specificity'], (1, 2, 2))
    """
    chains, n = jax.tree.leaves(weights)[0].shape[:2]
    flat = jax.tree.map(lambda v: jnp.asarray(v).reshape(-1, *v.shape[2:]), weights)
    found = _of_weights(flat, model, labels)
    draws = {name: np.asarray(values).reshape(chains, n, *values.shape[1:]) for name, values in found.items()}
    each = draws.pop("log_likelihood", None)
    return Drawn(draws, {name: DIMS_OF_LABELERS[name] for name in draws}, method, each, about or {})


@eqx.filter_jit
def _of_weights(weights: Weights, model: FactorModel, labels: Labels | None) -> dict[str, Array]:
    def one(weights: Weights) -> dict[str, Array]:
        factors = model.factors(weights)
        gamma = jnp.zeros(len(factors.alpha)) if factors.gamma is None else factors.gamma
        plus, minus = likelihood.sensitivity_specificity(factors.alpha @ factors.beta.mean(0), gamma)
        out = {"ability": factors.alpha, "sensitivity": plus, "specificity": minus, "informedness": plus + minus - 1}
        if factors.gamma is not None:
            out["bias"] = gamma
        if not model.constant_beta:
            out["instance_factor"] = factors.beta
        if model.beta is not None:
            out["class_prior"] = jax.nn.sigmoid(weights.class_prior.dense[0, 0])
        if labels is not None:
            out["log_likelihood"] = _evidence_of(labels, factors)
        return out

    return jax.lax.map(one, weights, batch_size=AT_ONCE)


def _evidence_of(labels: Labels, factors: Factors) -> Float[Array, " I"]:
    """Return log p(L_j | W) of the labels of each instance."""
    i, j = labels.labeler, labels.instance
    s = (factors.alpha[i] * factors.beta[j]).sum(1)
    both = likelihood.instance_log_likelihood(labels, s, 0.0 if factors.gamma is None else factors.gamma[i])
    return likelihood.instance_evidence(*both, factors.prior_logit, labels.gold)


def of_labelers(
    draws: integrated.Draws,
    fit: integrated.IntegratedFit,
    config: integrated.IntegratedConfig,
    boundary: integrated.Boundary,
    features: integrated.Features = NO_FEATURES,
    labels: Labels | None = None,
    *,
    n: int = 1000,
    unit: int = 1,
    seed: int = 0,
    method: str = "axis",
    about: About = None,
) -> Drawn:
    """Pick draws that all weigh the same from the labelers' posterior of the integrated model, and name them.

        ability [labeler, factor], bias [labeler]        α_i (and δ_i), γ_i
        sensitivity, specificity, informedness [labeler] on the population of instances, as the fit reports them
        accuracy [labeler]                               both weighed by the share of positives, where labels are given

    Args:
        draws: weighted (``integrated.labeler_draws``).
        fit, config, boundary, features: of the model; features of shapes [W, F] and [I, H].
        labels: for the log-likelihood of each instance's labels, x_j integrated out, and for accuracy.
        n: how many to pick.
        unit: how many consecutive rows go together (``integrated.draws.picked``).
        seed: of the picks.
        method, about: of the attributes (:class:`Drawn`).

    Example: three labelers, of whom one contradicts the others
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> fit, config = integrated.fit_jit(labels), integrated.IntegratedConfig()
        >>> given = integrated.laplace_draws(fit), fit, config, integrated.around(jnp.array(0.0))
        >>> found = of_labelers(*given, labels=labels, n=50, unit=256, method="laplace")
        >>> found.draws["ability"].shape, found.log_likelihood.shape
        ((1, 50, 3, 1), (1, 50, 4))
    """
    parameters, rows = fit.parameters, integrated.draws.picked(draws, n, unit, np.random.default_rng(seed))
    share = 0.5 if labels is None else integrated.summaries.shares_at(labels, fit, config, boundary, features)
    chances = integrated.draws.chances_of(draws, parameters, config, boundary, features, share)
    who = np.arange(rows.shape[1])
    w = np.asarray(draws.labelers)[rows, who]
    named = {name: np.asarray(values)[rows, who] for name, values in chances._asdict().items() if name != "kind"}
    if labels is None:
        del named["accuracy"]
    named |= {"ability": w[..., :-1], "bias": w[..., -1]}
    dims = {name: DIMS_OF_LABELERS[name] for name in named}
    each = None if labels is None else _on_axis(labels, parameters, config, features, jnp.asarray(w))
    out = {name: values[None] for name, values in named.items()}
    return Drawn(out, dims, method, None if each is None else np.asarray(each)[None], about or {})


@eqx.filter_jit
def _on_axis(labels: Labels, parameters, config, features, w: Float[Array, "S W K"]) -> Float[Array, "S I"]:
    center = integrated.centers(parameters, features)
    one = lambda w: evidence_on_axis(labels, parameters._replace(labelers=w), config, center)  # noqa: E731
    return jax.lax.map(one, w)


def of_params(
    params: Params, model: IntegratedFactor, labels: Labels | None = None, *, method: str = "nuts", about: About = None
) -> Drawn:
    """Name draws of the parameters of GLAD and of factors of K classes, instances' factors integrated out.

        ability [labeler, factor], bias [labeler, label] α and γ, the bias where the model has one
        confusion [labeler, truth, label]                P(label | truth) on the labelled instances, without labels on
                                                         those of the prior; and what it says (:func:`chances`)
        class_prior [truth]                              π

    Args:
        params: draws, every leaf of the shape in ``observation.init`` after two axes [chains, draws].
        model: of the draws.
        labels: for the log-likelihood of each instance's labels, shape [I] of every draw, and for the confusion.
        method, about: of the attributes (:class:`Drawn`).

    Example: two draws of GLAD
        >>> from crowdjax.observation import vote_shares
        >>> from crowdjax.observation.integrated_factors import IntegratedGlad
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [2, 1, 0, 0, 0, 2], n_values=3)
        >>> start = IntegratedGlad().start(labels, vote_shares(labels))
        >>> draws = jax.tree.map(lambda v: jnp.broadcast_to(v, (1, 2, *v.shape)), start)
        >>> {name: values.shape for name, values in of_params(draws, IntegratedGlad()).draws.items()}
        {'ability': (1, 2, 3, 1), 'class_prior': (1, 2, 3), 'confusion': (1, 2, 3, 3, 3), 'informedness': (1, 2, 3)}
    """
    chains, n = jax.tree.leaves(params)[0].shape[:2]
    flat = jax.tree.map(lambda v: jnp.asarray(v).reshape(-1, *v.shape[2:]), params)
    found = _of_params(flat, model, labels)
    draws = {name: np.asarray(values).reshape(chains, n, *values.shape[1:]) for name, values in found.items()}
    each = draws.pop("log_likelihood", None)
    draws |= chances(draws["confusion"])
    dims = DIMS_OF_LABELERS | {"bias": ("labeler", "label"), "class_prior": ("truth",)}
    return Drawn(draws, {name: dims[name] for name in draws}, method, each, about or {})


@eqx.filter_jit
def _of_params(params: Params, model: IntegratedFactor, labels: Labels | None) -> dict[str, Array]:
    def one(params: Params) -> dict[str, Array]:
        d, k = model.n_factors, params["classes"].shape[0]
        parts = model.table(params), model.log_points(params), model.class_of_point(params)
        points = jnp.exp(parts[1]) if labels is None else table_pass(labels, *parts).points
        out = {"ability": params["w"][:, :d], "class_prior": jnp.exp(parts[1]) @ parts[2]}
        of_class = points_of_class(model, params, points)[1]
        out["confusion"] = jnp.einsum("wlg,gk->wkl", jnp.exp(parts[0]), of_class)
        if model.bias is not None:
            out["bias"] = params["w"][:, d:] @ (contrasts(k) * model.bias / np.sqrt(2)).T
        if labels is not None:
            out["log_likelihood"] = evidence_of_table(labels, *parts)
        return out

    return jax.lax.map(one, params, batch_size=AT_ONCE)


def dims_of(site: str) -> list[str]:
    """Name the dimensions of an unknown of the model, besides chains and draws.

    Example:
        >>> dims_of("prevalence_weights"), dims_of("labeler_offset")
        (['term', 'basis'], ['side', 'labeler'])
    """
    owner, _, kind = site.rpartition("_")
    if owner in OWN:
        return list(OWN[owner][kind])
    if owner != "labeler":
        return list(DIMS[kind])
    return ["side", *{"amplitude": (), "weights": ("term", "labeler", "basis")}.get(kind, DIMS[kind])]
