"""Checks of the arguments of a contextual fit: scores, processes, sizes, devices and inference."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from crowdjax import contextual, io, outliers, parallel
from crowdjax.contextual import ContextualConfig, Inference, Scale
from crowdjax.contextual.config import Level
from crowdjax.contextual.context import Transform, is_separate
from crowdjax.contextual.functions import GP, MAX_EXACT
from crowdjax.contextual.inference import Method
from crowdjax.contextual.subsample import Compared
from crowdjax.facade import periods
from crowdjax.labels import InputError, Labels
from crowdjax.layout import AXIS
from crowdjax.settings import whole

MOST_UNKNOWNS = 5000  # of the labelers: every method works with a dense Hessian
MOST_BASIS = 1024  # eigenfunctions or inducing inputs of a process
COMBINE = ("additive", "tensor")  # of several scores of an instance
MOST_COMBINED = 3  # scores of one process
GOOD = 0.7  # Pareto k-hat, up to which an approximation is taken for the posterior
MOST_NUTS = {"instances": 3000, "labels": 20_000}  # up to which NUTS takes its place otherwise


def refuse_counts(triples: io.Triples, labelers: Level) -> None:
    """Reject counts of labels, whose labelers are unknown, for a fit that distinguishes labelers."""
    if triples.anonymous and labelers != "global":
        raise InputError(f"labelers: got {labelers!r} with counts, whose labelers are unknown; allowed with counts: "
                         "global (--labelers global)")  # fmt: skip


def digest(labels: Labels, scores: Float[np.ndarray, "I C"], named: periods.Named | None) -> str:
    """Hash the inputs of a fit: labels, gold, scores, and the periods and groups of instances."""
    cells = () if named is None else (named.cell, np.frombuffer(repr((named.times, named.groups)).encode(), np.uint8))
    parts = (labels.labeler, labels.instance, labels.label, labels.counts, labels.gold, scores, *cells)
    return hashlib.sha256(b"".join(b"-" if p is None else np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()


def mesh(n_labels: int, devices: int | None) -> Mesh | None:
    """Choose the devices of this process for a fit of so many labels."""
    n = (
        1
        if jax.process_count() > 1
        else parallel.n_devices(n_labels, None if devices is None else whole("devices", devices))
    )
    return None if n == 1 else Mesh(np.array(jax.devices()[:n]), (AXIS,))


def check_scores(names, values, transform: Transform, about: Callable[[int], str], *, vary: bool = True) -> None:
    """Reject scores that ``Scale`` rejects, in a message with the user's names."""
    for name, column in zip(names, values.T, strict=True):
        if vary and column.min() == column.max():
            raise InputError(
                f"scores: column {name!r} is {column[0]:g} throughout; allowed: scores that differ between instances"
            )
        outside = np.flatnonzero((column < 0) | (column > 1))
        if transform == "logit" and outside.size:
            row = int(outside[0])
            raise InputError(
                f"scores: column {name!r}, {about(row)}: got {column[row]:g}; allowed with transform logit: 0 to 1"
            )


def about_numbers(names, values, others, scale: Scale, place: str = "population") -> list[str]:
    """Warn of outlying scores, also in the population (with their counts), and reject scores in another unit; each kind
    by itself.
    """
    if is_separate(values):
        out = []
        for k in range(values.shape[1]):
            mine, part = np.isfinite(values[:, k]), scale.column(k)
            theirs = None
            if others is not None:
                has = np.isfinite(others[0][:, k])
                theirs = (others[0][has, k][:, None], others[1][has]) if has.any() else None
            out += about_numbers(names, values[mine, k][:, None], theirs, part, place)
        return out
    codes_only = scale.transform == "rank"  # no rank is far from the others
    seen = contextual.logit if scale.transform == "logit" else np.asarray
    names = [f"{name} (logit)" for name in names] if scale.transform == "logit" else names
    if others is None:
        return outliers.about_columns("scores", names, seen(values), codes_only=codes_only, so=outliers.NEAREST)
    scores, counts = others
    outliers.refuse_other_unit(place, names, seen(values), seen(scores))
    return outliers.about_others(
        place, names, seen(values), seen(scores), scale.beyond(scores), counts, codes_only=codes_only
    )


def processes(config: ContextualConfig, names, values, approximation, n_basis, combine) -> GP:
    """Choose the representation of the Gaussian processes; reject settings that do not apply."""
    given = {"approximation": approximation, "n_basis": n_basis, "combine": combine}
    given = {name: setting for name, setting in given.items() if setting is not None}
    if given and "gp" not in (config.prevalence, config.accuracy):
        raise InputError(
            f"{next(iter(given))}: given with prevalence {config.prevalence!r} and accuracy {config.accuracy!r}, which "
            "have no Gaussian process; allowed where one of them is gp"
        )
    n, tensor = len(names), combine == "tensor"
    if combine is not None and n == 1:
        raise InputError(f"combine: got {combine!r} with one score, {names[0]!r}; allowed with two or more")
    if tensor and n > MOST_COMBINED:
        raise InputError(f"combine: got 'tensor' with {n} scores; allowed: up to {MOST_COMBINED}, or additive")
    approximation = approximation or ("inducing" if tensor else "hsgp")
    if approximation == "exact":
        if n_basis is not None:
            raise InputError("n_basis: given with approximation exact, which has no basis; allowed: hsgp, inducing")
        most = max(len(np.unique(term, axis=0)) for term in ([values] if tensor else values.T))
        if most > MAX_EXACT:
            raise InputError(
                f"approximation: got 'exact' with {most} distinct scores; allowed: up to {MAX_EXACT}, or hsgp, inducing"
            )
    n_basis = config.gp.n_basis if n_basis is None else whole("n_basis", n_basis)
    most = int(MOST_BASIS ** (1 / n)) if tensor and approximation == "hsgp" else MOST_BASIS
    if not 2 <= n_basis <= most:
        of = f" of each of {n} scores" if most < MOST_BASIS else ""
        raise InputError(f"n_basis: got {n_basis}; allowed with {approximation}: 2 to {most}{of}")
    return dataclasses.replace(config.gp, approximation=approximation, n_basis=n_basis, columns=combine or "additive")


def check_size(config: ContextualConfig, labels: Labels, n_columns: int) -> None:
    """Reject a fit whose labelers have more unknowns than ``MOST_UNKNOWNS``."""
    own = {"global": 0, "offset": 2, "function": 2 + 2 * config.labeler_gp.n_basis * n_columns}[config.labelers]
    if own * labels.n_labelers > MOST_UNKNOWNS:
        raise InputError(
            f"labelers: got {config.labelers!r}, which gives {labels.n_labelers} labelers {own * labels.n_labelers} "
            f"unknowns; allowed: up to {MOST_UNKNOWNS}, as with {'offset or ' * (own > 2)}global"
        )


def small(labels: Labels) -> bool:
    """Test whether NUTS takes a minute or two rather than hours."""
    n_labels = int((labels.counts > 0).sum())
    return labels.n_instances <= MOST_NUTS["instances"] and n_labels <= MOST_NUTS["labels"]


def about_subsample(khat: float, found: Compared) -> str:
    """Format the part of a sentence about the check of an approximation on a sub-sample."""
    so = "agrees" if found.agrees else "does not agree" if found.rhat <= 1.01 else "did not converge"
    return (
        f"; laplace had a Pareto k-hat of {khat:.2f}, above {GOOD:g}; nuts on {found.n} of the instances, drawn along "
        f"the score, {so} (ends of the prevalence's interval differ by {found.ends:.2f} of its width)"
    )


def about_check(warnings: Sequence[str], found: Compared | None) -> list[str]:
    """Drop the warning of a high k-hat from a fit's warnings where a sub-sample has settled it."""
    if found is None or not found.agrees:
        return [*warnings]
    return [w for w in warnings if not w.startswith("Pareto k-hat is ")]


def inference(inference: Method | Inference | None, draws: int | None) -> tuple[Inference, str]:
    """Choose the settings of the inference; return (settings, the reason)."""
    reason = "as asked for" if inference is not None else "by default"
    if not isinstance(inference, Inference):
        inference = Inference(inference or "laplace")
    return inference if draws is None else dataclasses.replace(inference, n_draws=draws), reason
