"""Fitting the contextual model: one call, three methods, one kind of result.

- ``nuts``: NumPyro's sampler, the reference (``nuts``).
- ``laplace``: a mixture of Gaussians over scales and along the prevalence (``nested``).
- ``svi``: the quadratic that maximises the ELBO; with many labels on minibatches of instances (``approximate``).

All start at the mode, with the truth summed out. Laplace and SVI measure themselves by Pareto-smoothed importance
sampling, and can be corrected by it (``resample``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import secrets
from numbers import Integral
from pathlib import Path
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from crowdjax import disk, drive, optimize
from crowdjax.contextual import approximate, nested, nuts
from crowdjax.contextual.cells import Cells
from crowdjax.contextual.config import ContextualConfig
from crowdjax.contextual.context import Scale
from crowdjax.contextual.coordinates import Affine, Coordinates, Quadratic, affine, find_coordinates
from crowdjax.contextual.data import Data, Prior, bases, prepare_data
from crowdjax.contextual.diagnostics import Psis, chain_diagnostics
from crowdjax.contextual.functions import GP, Basis, Inducing
from crowdjax.contextual.model import Curves, curves, draw_at, log_density, prior_draws, size_of
from crowdjax.labels import InputError, LabelError, Labels, one_line

Method = Literal["nuts", "svi", "laplace"]


@dataclasses.dataclass(frozen=True)
class Inference:
    """Settings of the posterior inference: method, draws and steps. Frozen and hashable.

    Attributes:
        method: ``nuts`` (the reference), ``svi`` or ``laplace``.
        n_draws: number of posterior draws; for NUTS per chain.
        n_warmup: number of NUTS warm-up transitions, which are discarded.
        n_chains: number of NUTS chains.
        n_thin: NUTS keeps every n_thin-th transition.
        target_accept: target acceptance probability of NUTS.
        max_depth: largest tree depth of NUTS.
        n_steps: number of SVI steps.
        n_particles: number of draws in an SVI step, taken in antithetic pairs.
        n_batch: number of blocks of instances in an SVI step.
        resample: whether SVI's draws are resampled by their importance weights; Laplace's are where it pays off.

    Example:
        >>> Inference("laplace", n_draws=0)
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: n_draws: got 0; allowed: a whole number from 1
    """

    method: Method = "nuts"
    n_draws: int = 500
    n_warmup: int = 500
    n_chains: int = 2
    n_thin: int = 6
    target_accept: float = 0.98
    max_depth: int = 8
    n_steps: int = 30
    n_particles: int = 8
    n_batch: int = 4
    resample: bool = False

    def __post_init__(self):
        if self.method not in get_args(Method):
            raise ValueError(f"method: got {self.method!r}; allowed: {', '.join(get_args(Method))}")
        for name in ("n_draws", "n_chains", "n_thin", "n_particles", "n_batch", "n_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise InputError(f"{name}: got {value!r}; allowed: a whole number from 1")


@dataclasses.dataclass(frozen=True, eq=False)
class ContextualFit:
    """A fitted contextual model: posterior draws and diagnostics. Holds no labels.

    Attributes:
        config, inference: settings of the model and of the inference.
        scale: map from scores to the context.
        draws: values of the model's sites, each of shape [S, ...], the chains one after the other.
        unconstrained: the same as vectors u, shape [chains, S / chains, P].
        labels_per_labeler: judgements given by each labeler (summed multiplicities), shape [W].
        inputs: the instances' context at 64 evenly spaced quantiles (of the first column), shape [Q, C].
        anchors: inducing inputs of each term, where there are any.
        coordinates: coordinates in which a further fit starts.
        sampler: state of each NUTS chain, and the coordinates it moves in; empty for other methods.
        diagnostics: numbers by name: ``rhat``, ``ess``, ``divergences`` (NUTS), ``khat`` (SVI, Laplace), ...
        trace: ELBO estimates (SVI), or the objective during the search for the mode.
        warnings: sentences, one for each reason not to trust the fit.
        prior: prior that an earlier fit left (``contextual.earlier``); None: the prior of the settings.

    Example:
        >>> found.n_draws, found.unconstrained.shape[0], sorted(found.diagnostics)[:3]
        (500, 1, ['components', 'ess', 'informed_prevalence'])
    """

    config: ContextualConfig
    inference: Inference
    scale: Scale
    draws: dict[str, np.ndarray]
    unconstrained: Float[np.ndarray, "chains S P"]
    labels_per_labeler: Float[np.ndarray, " W"]
    inputs: Float[np.ndarray, "Q C"]
    anchors: tuple[np.ndarray, ...]
    coordinates: Coordinates
    sampler: dict[str, np.ndarray]
    diagnostics: dict[str, float]
    trace: Float[np.ndarray, " T"]
    warnings: tuple[str, ...]
    prior: Prior | None = None

    @property
    def n_draws(self) -> int:
        """The number of draws S of all chains."""
        return self.unconstrained.shape[0] * self.unconstrained.shape[1]

    def bases(self, scores) -> tuple[Basis, Basis | None]:
        """Compute the functions' bases at scores of shape [n] or [n, C]."""
        return bases(self.config, self.scale(scores), self.anchors or None)

    def bases_of_inputs(self) -> tuple[Basis, Basis | None]:
        """Compute the functions' bases at ``inputs``."""
        return bases(self.config, self.inputs, self.anchors or None)


def fit(
    labels: Labels,
    scores,
    config: ContextualConfig,
    key: PRNGKeyArray,
    inference: Inference = Inference(),
    *,
    scale: Scale | None = None,
    start: ContextualFit | None = None,
    importance: Float[np.ndarray, " I"] | None = None,
    cell: Int[np.ndarray, " I"] | None = None,
    mesh: Mesh | None = None,
    progress: drive.Progress | None = None,
    judged: bool = True,
    prior: Prior | None = None,
) -> ContextualFit:
    """Fit the contextual model to labels and scores by Laplace, SVI or NUTS.

    Args:
        labels: the judgements, with gold where known.
        scores: score of every instance, shape [I] or [I, C].
        key: random key for draws, chains and minibatches.
        scale: map from scores to the context; default: the identity, mapped to [-1, 1].
        start: a fit of the same model to continue: NUTS goes on with its chains, without warm-up, and the result holds
            all draws; SVI starts where it ended. Laplace needs no start.
        importance: number of instances of the population that each one represents. Laplace follows the posterior's
            curvature along the mean prevalence with these weights; the posterior does not depend on them.
        cell: cell (period and group) of every instance, where ``config.cells`` has them.
        mesh: devices that share the blocks of labels; default: one device. Labels of one block stay on one device.
        progress: callback (``crowdjax.drive.Progress``), called between compiled blocks of steps. Return True to stop:
            NUTS keeps the draws that it has, SVI its quadratic.
        prior: prior that an earlier fit left (``contextual.earlier.carried``), with its scale; default: the prior of
            the settings.
        judged: whether to measure how much the labels inform each function, and to warn.

    Raises:
        LabelError: scores missing, not finite or constant; ``start`` is of another model.
        KeyboardInterrupt: ``progress`` asked to stop before there was anything to return.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scores = rng.random(60)
        >>> answers = np.repeat(rng.random(60) < scores, 3) == (rng.random(180) < 0.9)
        >>> labels = Labels.from_arrays(np.tile([0, 1, 2], 60), np.repeat(np.arange(60), 3), answers)
        >>> config = ContextualConfig("linear", "constant", labelers="global")
        >>> found = fit(labels, scores, config, jax.random.key(0), Inference("laplace"))
        >>> found.draws["prevalence_slope"].shape, bool(found.draws["prevalence_slope"].mean() > 0)
        ((500, 1), True)
    """
    scale = scale or (start.scale if start else Scale.learn(scores))
    x = scale(scores)
    data = jax.device_put(prepare_data(config, labels, x, start.anchors or None if start else None, mesh, cell, prior))
    if start and (start.config != config or start.unconstrained.shape[-1] != size_of(config, data)):
        raise LabelError(
            "start: a fit of another model or of other labelers; allowed: one of the same config and labelers"
        )
    program = config.traced()
    draws, coordinates, sampler, diagnostics, trace = _infer(
        program, data, inference, key, start, progress, importance, judged
    )
    sites = _values(program, data, jnp.asarray(draws.reshape(-1, draws.shape[-1])))
    result = ContextualFit(
        config=config,
        inference=inference,
        scale=scale,
        draws=jax.tree.map(np.asarray, sites),
        unconstrained=draws,
        labels_per_labeler=np.bincount(labels.labeler, weights=labels.counts, minlength=labels.n_labelers),
        inputs=representatives(x),
        anchors=tuple(np.asarray(t.z) for t in data.basis.terms if isinstance(t, Inducing)),
        coordinates=jax.tree.map(np.asarray, coordinates),
        sampler=sampler,
        diagnostics=diagnostics,
        trace=trace,
        warnings=(),
        prior=prior,
    )
    if not judged:
        return result
    informed = _informed(result)
    diagnostics = {k: float(v) for k, v in (diagnostics | informed).items()}
    result = dataclasses.replace(result, diagnostics=diagnostics)
    return dataclasses.replace(result, warnings=_warnings(result, labels))


def representatives(x: Float[np.ndarray, "I C"], size: int = 64) -> Float[np.ndarray, "Q C"]:
    """Select rows of x at evenly spaced quantiles of its first column, to represent the instances' distribution."""
    order = np.argsort(x[:, 0], kind="stable")
    return x[order[((np.arange(size) + 0.5) / size * len(x)).astype(int)]]


NOTHING = {
    "nuts": "stopped before the first draws after warm-up, so there is nothing to return",
    "svi": "stopped in the search for the mode or while drawing, so there is nothing to return",
    "laplace": "stopped: laplace has nothing to return before its end; nuts has draws, svi a quadratic",
}


def _infer(config, data: Data, inference: Inference, key, start: ContextualFit | None, progress, importance, judged):
    """Return (draws [chains, S, P], coordinates, where the sampler stands, diagnostics, trace)."""
    report, ask = drive.or_interrupt(progress, NOTHING[inference.method]), progress or drive.silent
    if inference.method == "laplace":
        return _laplace(config, data, inference, key, importance, report, judged)
    goes_on = start is not None and inference.method == "nuts" and start.inference.method == "nuts"
    coordinates, trace = start and jax.tree.map(jnp.asarray, start.coordinates), np.zeros(0)
    diagnostics = {"mode_code": optimize.CONVERGED}
    if not goes_on and not (inference.method == "svi" and start):
        found = find_coordinates(config, data, report, coordinates)
        coordinates, trace, diagnostics["mode_code"] = found.coordinates, found.trace, found.code
    if inference.method == "nuts":
        draws, sampler, more = _nuts(config, data, inference, coordinates, key, start if goes_on else None, ask)
        return draws, coordinates, sampler, diagnostics | more, trace
    coordinates, trace = approximate.ascend(
        config, data, coordinates, key, inference.n_steps, inference.n_particles, inference.n_batch, ask
    )
    if len(trace) < inference.n_steps:
        diagnostics["stopped"], report = len(trace), drive.silent
    found, again = jax.random.split(jax.random.fold_in(key, 1))
    draws, smoothed, khat_scales = approximate.draw(config, data, coordinates, inference.n_draws, found, report)
    diagnostics |= _quality(smoothed) | {"khat_scales": khat_scales}
    if inference.resample:
        draws = _resampled(draws, smoothed, again)
    return draws[None], coordinates, {}, diagnostics, trace


def _laplace(config, data: Data, inference: Inference, key, importance, report, judged: bool):
    """Return the same by the nested approximation."""
    weights = None
    if importance is not None:
        row = np.asarray(data.bins.row)[: len(importance)]
        weights = np.bincount(row, weights=importance, minlength=len(data.bins.basis.x))
    found = nested.approximate(config, data, weights, report)
    report("draws", 0, 2)
    seed = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.fold_in(key, 1))))
    draws, smoothed = nested.posterior_draws(config, data, found.mixture, inference.n_draws, seed, judged)
    report("draws", 2, 2)
    diagnostics = {"mode_code": found.code, "components": len(found.mixture.log_weights)}
    diagnostics |= {} if smoothed is None else _quality(smoothed)
    return draws[None].astype(data.basis.x.dtype), found.coordinates, {}, diagnostics, found.trace


def _quality(smoothed: Psis) -> dict[str, float]:
    return {"khat": smoothed.khat, "ess": 1 / (np.exp(smoothed.log_weights) ** 2).sum()}


def _resampled(draws, smoothed: Psis, key):
    weights = jnp.asarray(np.exp(smoothed.log_weights))
    return draws[np.asarray(jax.random.choice(key, len(draws), (len(draws),), p=weights))]


def _nuts(config, data, inference: Inference, coordinates, key, earlier: ContextualFit | None, ask):
    """Return (draws, where the sampler stands, diagnostics), of all draws where chains go on."""
    i = inference
    settings = nuts.Settings(i.n_warmup, i.n_draws, i.n_chains, i.n_thin, i.target_accept, i.max_depth)
    if earlier is None:
        at, sampler = affine(config, data, coordinates), None
    else:
        at = Affine(*(jnp.asarray(earlier.sampler[name]) for name in Affine._fields))
        sampler = nuts.Sampler(*(earlier.sampler[name] for name in nuts.Sampler._fields))
    draws, sampler, diagnostics = nuts.sample(
        jax.tree_util.Partial(log_density, config), data, at, settings, key, ask, sampler
    )
    if not draws.shape[1]:
        raise KeyboardInterrupt(NOTHING["nuts"])
    if draws.shape[1] < i.n_draws:
        diagnostics["stopped"] = draws.shape[1]
    if earlier is not None:
        diagnostics["divergences"] += int(earlier.diagnostics["divergences"])
        draws = np.concatenate([earlier.unconstrained, draws], 1)
        diagnostics |= chain_diagnostics(draws)
    return draws, sampler._asdict() | jax.tree.map(np.asarray, at)._asdict(), diagnostics


# What to say about a fit.


@eqx.filter_jit
def _values(config, data, u):
    return jax.lax.map(lambda one: draw_at(config, data, one), u)


@eqx.filter_jit
def crowd_curves(config, basis, labeler_basis, draws, share: Float[Array, " W"]) -> Curves:
    """Compute the three functions of every draw, shape [S, n]; sensitivity and specificity are averaged over labelers
    by share.
    """
    labelers = jnp.arange(1 if config.labelers == "global" else len(share))
    share = jnp.ones(1) if config.labelers == "global" else jnp.asarray(share / share.sum())

    def one(draw):
        c = curves(config, basis, labeler_basis, draw, labelers)
        mean = lambda p: jnp.matmul(share.astype(p.dtype), p, precision=jax.lax.Precision.HIGHEST)  # noqa: E731
        return Curves(c.prevalence, mean(c.sensitivity), mean(c.specificity))

    return jax.lax.map(one, draws)


def _informed(fit: ContextualFit) -> dict[str, float]:
    """Return how much the labels inform each function: 1 - posterior variance / prior variance, averaged over the
    instances' quantiles."""
    basis, own = fit.bases_of_inputs()
    share = jnp.asarray(fit.labels_per_labeler)
    step = max(1, fit.n_draws // 200)
    drawn = {k: v[::step] for k, v in fit.draws.items()}
    prior = prior_draws(fit.config, len(share), basis, own, jax.random.key(0), -(-fit.n_draws // step))
    after, before = (crowd_curves(fit.config, basis, own, draws, share) for draws in (drawn, prior))
    ratio = jax.tree.map(lambda a, b: 1 - float(a.var(0).mean() / b.var(0).mean()), after, before)
    return {f"informed_{name}": value for name, value in ratio._asdict().items()}


def _warnings(fit: ContextualFit, labels: Labels) -> tuple[str, ...]:
    """Return sentences, each with what is wrong and what to do."""
    d, config, out = fit.diagnostics, fit.config, []
    if "stopped" in d:
        asked, what = (
            (i.n_draws, "draws of each chain") if (i := fit.inference).method == "nuts" else (i.n_steps, "steps")
        )
        out.append(f"stopped after {d['stopped']:.0f} of {asked} {what}; start=, with the same labels, goes on")
    if fit.inference.method == "nuts":
        if d["divergences"]:
            out.append(
                f"{d['divergences']:.0f} divergent transitions: parts of the posterior may be missing; "
                "raise target_accept"
            )
        if not d["rhat"] <= 1.01:
            out.append(f"R-hat is {d['rhat']:.3f}, above 1.01: the chains disagree; draw more")
        if d["ess"] < 100 * len(fit.unconstrained):
            out.append(
                f"the smallest effective sample size is {d['ess']:.0f}, below 100 per chain: intervals are noisy; "
                "draw more"
            )
    else:
        if not d.get("khat_scales", 0.0) < 0.7:
            out.append(
                f"Pareto k-hat of the scales' draws is {d['khat_scales']:.2f}, above 0.7: amplitudes and length-scales "
                "may be off; compare with nuts"
            )
        if not d["khat"] < 0.7:
            name = {"svi": "variational", "laplace": "Laplace"}[fit.inference.method]
            out.append(
                f"Pareto k-hat is {d['khat']:.2f}, above 0.7: the {name} approximation misses parts of the "
                "posterior, its intervals may be too narrow and resampling does not mend it; compare with nuts"
            )
        if fit.inference.method == "svi" and _still_climbing(fit.trace):
            out.append("the ELBO was still rising at the end: raise n_steps or continue from this fit")
        if d["mode_code"] > optimize.CONVERGED and d["mode_code"] != optimize.STALLED:
            out.append(f"the search for the mode: {optimize.MEANING[int(d['mode_code'])]}")
    low, high = config.gp.valid_lengths
    for name, function in config.functions.items():
        if function.family != "gp" or fit.prior is not None:  # then lengths are held where they are
            continue
        for column, length in enumerate(np.median(fit.draws[f"{name}_length"], 0)):
            if not low <= length <= high:
                out.append(
                    f"the length-scale of {name} (column {column}) is {length:.2f}, outside the {low:.2f} to "
                    f"{high:.2f} that the basis can represent; "
                    + ("raise n_basis" if length < low else "raise boundary")
                )
    return tuple(out + identification(config, labels, d))


def identification(config: ContextualConfig, labels: Labels, informed: dict[str, float]) -> list[str]:
    """List warnings about functions that the labels do not identify."""
    out = []
    counts = np.bincount(labels.instance, weights=labels.counts > 0, minlength=labels.n_instances)
    most, gold = counts.max(), labels.gold is not None and np.any(np.asarray(labels.gold) >= 0)
    if most <= 1 and not gold:
        out.append(
            "not identified: every instance has one label, which tells one number per score (the share of positive "
            "labels) and not prevalence, sensitivity and specificity apart; they lean on the priors"
        )
    elif most <= 2 and not gold and config.labelers == "global":
        out.append(
            "weakly identified: two labels per instance of labelers assumed to be alike tell two numbers per score "
            "and not three; labelers='offset', a third label or gold labels would"
        )
    if config.constraint == "free" and not gold:
        out.append(
            "not identified: with constraint 'free' the classes can be switched in every region of the score; only "
            "the priors name them"
        )
    for name in ("prevalence", "sensitivity", "specificity"):
        if informed[f"informed_{name}"] < 0.2:
            out.append(f"the labels say little about {name}: its posterior is nearly as wide as its prior")
    return out


def _still_climbing(trace: np.ndarray) -> bool:
    """Return whether the last fifth of the ELBO's estimates lies above the fifth before by more than noise and half a
    nat."""
    n = len(trace) // 5
    if n < 3:
        return True
    before, after = trace[-2 * n : -n], trace[-n:]
    noise = np.sqrt((before.var() + after.var()) / n)
    return bool(after.mean() - before.mean() > max(0.5, 3 * noise))


# Files.


def save(fit: ContextualFit, folder: str | os.PathLike) -> None:
    """Save a fit to a folder as ``contextual.json`` (settings, diagnostics, warnings) and ``contextual.npz`` (arrays).

    An earlier fit there is replaced. Its arrays have another name, which ``contextual.json`` holds: either fit is whole
    at any moment.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(found, folder)
        ...     load(folder).config == found.config
        True
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    older = {path.name for path in folder.glob("contextual*.npz")}
    name = f"contextual-{secrets.token_hex(4)}.npz" if older else "contextual.npz"  # the earlier fit's stays till then
    arrays = {f"draws/{k}": v for k, v in fit.draws.items()} | {f"sampler/{k}": v for k, v in fit.sampler.items()}
    arrays |= {f"anchors/{i}": z for i, z in enumerate(fit.anchors)}
    arrays |= {
        f"scale/{k}": getattr(fit.scale, k) for k in ("low", "high", "knots") if getattr(fit.scale, k) is not None
    }
    q = fit.coordinates
    arrays |= {f"quadratic/{k}": v for k, v in q.labels._asdict().items()}
    arrays |= {"centre": q.centre, "root": q.root}
    arrays |= {f"prior/{k}": v for k, v in (fit.prior._asdict() if fit.prior else {}).items()}
    arrays |= {k: getattr(fit, k) for k in _PLAIN}
    with disk.file(folder / name) as new:
        np.savez(new, **arrays)
    settings = {
        "arrays": name,
        "config": dataclasses.asdict(fit.config),
        "inference": dataclasses.asdict(fit.inference),
        "transform": fit.scale.transform,
        "diagnostics": {k: v if np.isfinite(v) else str(v) for k, v in fit.diagnostics.items()},
        "warnings": fit.warnings,
    }
    settings["sha256"] = _digest(settings, (folder / name).read_bytes())
    with disk.file(folder / "contextual.json") as new:
        new.write_text(json.dumps(settings, indent=1, allow_nan=False), encoding="utf-8")
    for replaced in older:
        (folder / replaced).unlink(missing_ok=True)


def _digest(settings: dict, arrays: bytes) -> str:
    """Hash the settings, but for the digest itself, and the file of arrays."""
    plain = {k: v for k, v in settings.items() if k != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode() + arrays).hexdigest()


_PLAIN = ("unconstrained", "labels_per_labeler", "inputs", "trace")


def load(folder: str | os.PathLike) -> ContextualFit:
    """Load a fit that :func:`save` wrote; executes no code from the files.

    Raises:
        InputError: the folder has no fit, or the fit was changed after it was saved.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(found, folder)
        ...     bool((load(folder).unconstrained == found.unconstrained).all())
        True
    """
    folder = Path(folder)
    if not (folder / "contextual.json").is_file():
        raise InputError(f"{folder}: no fit of the contextual model; allowed: a folder that `crowdjax context` wrote")
    try:
        settings = json.loads((folder / "contextual.json").read_text(encoding="utf-8"))
        content = (folder / Path(settings.get("arrays", "contextual.npz")).name).read_bytes()
        if settings["sha256"] != _digest(settings, content):
            raise InputError(f"{folder}: changed since it was written (SHA-256 differs); fit again")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return _loaded(settings, dict(file))
    except InputError:
        raise
    except Exception as error:  # what damaged settings raise is of many kinds
        raise InputError(f"{folder}: not a fit of the contextual model ({one_line(error)})") from None


EARLIER_PRIORS = {"prevalence_mean": (-2.0, 2.0), "prevalence_slope": 2.0}  # of fits that do not say them


def _loaded(settings, arrays) -> ContextualFit:
    def group(name):
        return {k.removeprefix(f"{name}/"): v for k, v in arrays.items() if k.startswith(f"{name}/")}

    def gp(values):
        return GP(**values | {"log_length": tuple(values["log_length"])})

    config = EARLIER_PRIORS | settings["config"]
    config |= {name: tuple(values) for name, values in config.items() if isinstance(values, list)}
    cells = config.get("cells")
    config |= {"cells": cells and Cells(**cells)} | {name: gp(config[name]) for name in ("gp", "labeler_gp")}
    return ContextualFit(
        config=ContextualConfig(**config),
        inference=Inference(**{k: v for k, v in settings["inference"].items() if k != "max_steps"}),
        scale=Scale(transform=settings["transform"], **group("scale")),
        draws=group("draws"),
        sampler=group("sampler"),
        anchors=tuple(z for _, z in sorted(group("anchors").items(), key=lambda item: int(item[0]))),
        coordinates=Coordinates(Quadratic(**group("quadratic")), arrays["centre"], arrays["root"]),
        diagnostics={k: float(v) for k, v in settings["diagnostics"].items()},
        warnings=tuple(settings["warnings"]),
        prior=Prior(**group("prior")) if group("prior") else None,
        **{k: arrays[k] for k in _PLAIN},
    )
