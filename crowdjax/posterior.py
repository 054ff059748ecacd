"""The draws of a contextual fit as ArviZ takes them: a DataTree of chains × draws, every dimension named.

``posterior`` holds the three functions over a score, the population's prevalence, and the model's own unknowns by the
names of ``crowdjax.contextual.model``; ``log_likelihood`` that of each instance's labels, where labels are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from crowdjax import __version__, contextual
from crowdjax.contextual import ContextualFit
from crowdjax.extras import needed
from crowdjax.labels import LabelIndex, Labels

if TYPE_CHECKING:
    from xarray import DataTree

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


def to_arviz(
    fit: ContextualFit,
    index: LabelIndex,
    scores: Float[np.ndarray, "I C"],
    curves: tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n C"]],
    prevalence: Float[np.ndarray, " S"],
    labels: Labels | None = None,
    cell: Int[np.ndarray, " I"] | None = None,
) -> DataTree:
    """Return the draws of a fit, for ``arviz_base``, ``arviz_stats`` and ``arviz_plots``.

    Args:
        fit, index: what was fitted, and its ids.
        scores: of the instances.
        curves: the first score, and all of them, where the functions are looked at.
        prevalence: draws of the population's (``contextual.prevalence_draws``).
        labels: of the fit, for the log-likelihood of each instance.
        cell: of the instances, in a fit by period or group.

    Raises:
        InputError: arviz-base is not installed.
    """
    with needed("to_arviz"):
        import arviz_base
    chains = fit.unconstrained.shape[0]

    def by_chain(draws):
        draws = np.asarray(draws)
        return draws.reshape(chains, -1, *draws.shape[1:])

    functions = contextual.function_draws(fit, curves[1])._asdict()
    drawn = {f"{name}_curve": draws for name, draws in functions.items()}
    drawn |= {"prevalence": prevalence, **fit.draws}
    groups = {"posterior": {name: by_chain(draws) for name, draws in drawn.items()}}
    dims = {f"{name}_curve": ["score"] for name in functions} | {name: dims_of(name) for name in fit.draws}
    coords = {"score": curves[0], "labeler": index.labelers, "side": ["accuracy", "bias"]}
    if labels is not None:
        groups["log_likelihood"] = {"labels": by_chain(contextual.log_likelihood_draws(fit, labels, scores, cell))}
        dims["labels"], coords["instance"] = ["instance"], index.instances
    about = {"inference_library": "crowdjax", "inference_library_version": __version__, "method": fit.inference.method}
    about["warnings"] = "\n".join(fit.warnings)
    if fit.inference.method != "nuts":
        about["chains"] = ONE_CHAIN
    used = {name for over in dims.values() for name in over}
    return arviz_base.from_dict(
        groups,
        dims=dims,
        coords={name: values for name, values in coords.items() if name in used},
        attrs=dict.fromkeys(groups, about),
    )


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
