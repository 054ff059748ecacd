"""Fits to more labels than fit into memory: read in pieces from Parquet, kept in parts on disk, fitted part by part.

    instances are dealt to parts (``Parts``)  →  rounds over the parts (``rounds``)  →  one last pass for the results

A part holds all labels of its instances. A visit fits a part alone, by the ordinary fit, with what the other parts say
of the labelers as its prior: each of them is remembered as a quadratic of the weights w that all parts share,

    log p(L_k | w) ≈ b_k·w - ½ Σ h_k w²        with the exact gradient at the part's last visit, h_k ≥ its curvature

and a product of such terms and a Gaussian prior is a Gaussian prior. Where nothing moves any more the gradients of all
parts and of the prior cancel: that is a maximum of the whole objective, whatever h. An instance's own weights are
fitted in its part and kept there. The first round is a good estimate already; each further one comes nearer.

Everything a visit leaves behind is written under a private name, flushed to the disk and renamed (``crowdjax.disk``). A
fit that was stopped goes on from there and ends where it would have ended.

Source: the incremental form of EM (Neal and Hinton 1998) and of majorisation-minimisation (Mairal 2015).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet
from jaxtyping import Array, Float, Int, PRNGKeyArray

from crowdjax import disk, layout, likelihood, optimize, parallel
from crowdjax.columns import encode
from crowdjax.drive import Progress, silent
from crowdjax.factor import FactorConfig, FactorModel, Factors, Fit, Linear, Solver, Weights, build
from crowdjax.factor.fit import fit as fit_one
from crowdjax.factor.model import Objective
from crowdjax.factor.predict import labeler_sums
from crowdjax.labels import InputError, Labels, Repeats
from crowdjax.scan import Scan
from crowdjax.segments import sum_by

MOST_PARTS = 500  # a file of each is open while labels are dealt


class Answer(NamedTuple):
    """The result of the last pass; the instances' probabilities are returned part by part."""

    weights: Weights  # instances' own left out
    objective: float
    log_likelihood: float
    code: int
    history: Float[np.ndarray, " T"]  # objective after each round, every part at its last visit
    sums: Float[np.ndarray, "4 W"]  # factor.predict.labeler_sums


# Parts on disk


@dataclasses.dataclass(frozen=True)
class Parts:
    """The labels of a table, dealt to parts by instance, in a folder.

    Attributes:
        labelers: their ids, sorted.
        n_labels: labels, in all.
        n_instances: of each part.
        room: sizes of the largest part.
        n_values, n_classes, places: of ``Labels``.
    """

    folder: Path
    labelers: np.ndarray
    n_labels: int
    n_instances: tuple[int, ...]
    room: layout.Profile
    n_values: int = 2
    n_classes: int = 2
    places: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.n_instances)

    def labels(self, k: int) -> Labels:
        """Return the labels of part k, of instances counted from 0."""
        with np.load(self.folder / f"{k}.npz") as file:
            arrays = {"weight": None, "gold": None} | dict(file)
        n = self.n_instances[k]
        return Labels(
            **arrays, n_labelers=len(self.labelers), n_instances=n, n_blocks=1, block_instances=n,
            n_values=self.n_values, n_classes=self.n_classes, places=self.places,
        )  # fmt: skip

    def instances(self, k: int) -> pa.Array:
        """Return the ids of the instances of part k."""
        return pa.parquet.read_table(self.folder / f"{k}.parquet")["instance"].combine_chunks()


def check_size(scan: Scan, size: int) -> None:
    """Raise ``InputError`` where parts of so many labels would be too many."""
    least = -(-scan.n_rows // MOST_PARTS)
    if size < least:
        raise InputError(f"minibatch: got {size}; allowed: at least {least}, for {scan.n_rows} labels")


def deal(scan: Scan, folder: Path, size: int, repeats: Repeats = "count", progress: Progress = silent) -> Parts:
    """Deal the rows of a table to parts of about ``size`` labels by the hash of their instance; in a folder, which
    appears whole or not at all. A folder that is there is what an earlier call made."""
    if not folder.exists():
        with disk.folder(folder) as new:
            _deal(scan, new, -(-scan.n_rows // size), repeats, progress)
    about = json.loads((folder / "parts.json").read_text(encoding="utf-8"))
    with np.load(folder / "room.npz") as file:
        room = layout.Profile(*(file[name] for name in layout.Profile._fields))
    labelers = pa.parquet.read_table(folder / "labelers.parquet")["labeler"].to_numpy()
    sizes = len(scan.classes.said), len(scan.classes.classes)
    return Parts(folder, labelers, about["n_labels"], tuple(about["n_instances"]), room, *sizes, scan.classes.places)


def _deal(scan: Scan, folder: Path, n_parts: int, repeats: Repeats, progress: Progress) -> None:
    labelers: dict[Any, int] = {}
    writers: list[pa.ipc.RecordBatchFileWriter] = []
    done = 0
    try:
        for rows in scan.rows():
            labeler = _codes(rows.labeler, labelers)
            encoded = rows.instance.dictionary_encode().combine_chunks()
            part = (_hashes(encoded.dictionary) % n_parts)[encoded.indices.to_numpy()]
            columns = {"instance": rows.instance.combine_chunks(), "labeler": labeler, "label": rows.label}
            if rows.weight is not None:
                columns["weight"] = rows.weight
            order = np.argsort(part, kind="stable")
            table = pa.table(columns).take(pa.array(order))
            edges = np.searchsorted(part[order], np.arange(n_parts + 1))
            if not writers:
                writers = [pa.ipc.new_file(str(folder / f"{k}.arrow"), table.schema) for k in range(n_parts)]
            for k, writer in enumerate(writers):
                writer.write_table(table.slice(edges[k], edges[k + 1] - edges[k]))
            done += len(labeler)
            progress("reading", done, scan.n_rows)
    finally:
        for writer in writers:
            writer.close()

    ids = pa.array(list(labelers))
    order = pc.array_sort_indices(ids).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    pa.parquet.write_table(pa.table({"labeler": ids.take(pa.array(order))}), folder / "labelers.parquet")
    profiles, n_instances, n_labels = [], [], 0
    for k in range(n_parts):
        with pa.memory_map(str(folder / f"{k}.arrow")) as file:
            table = pa.ipc.open_file(file).read_all()
            weight = table["weight"].to_numpy() if "weight" in table.column_names else None
            if len(table) and (weight is None or weight.any()):
                instance, instances = encode(table["instance"], scan.place, "instance")
                labels = Labels.from_arrays(
                    rank[table["labeler"].to_numpy()], instance, table["label"].to_numpy(), weight=weight,
                    n_labelers=len(rank), n_instances=len(instances), n_values=len(scan.classes.said),
                    n_classes=len(scan.classes.classes), repeats=repeats, blocks=False,
                )  # fmt: skip
                arrays = {"labeler": labels.labeler, "instance": labels.instance, "label": labels.label}
                if labels.weight is not None:
                    arrays["weight"] = labels.weight.astype(np.float32)
                np.savez(folder / f"{len(profiles)}.npz", **arrays)
                pa.parquet.write_table(pa.table({"instance": instances}), folder / f"{len(profiles)}.parquet")
                profiles.append(layout.plan_of(labels, 1)[1])
                n_instances.append(len(instances))
                n_labels += int(np.count_nonzero(labels.counts))
        (folder / f"{k}.arrow").unlink()
        progress("dealing", k + 1, n_parts)
    if not profiles:
        raise InputError(f"{scan.place}: every weight is 0; at least one judgement is needed")
    np.savez(folder / "room.npz", **layout.widest(profiles)._asdict())
    about = {"n_labels": n_labels, "n_instances": n_instances}
    (folder / "parts.json").write_text(json.dumps(about), encoding="utf-8")


def _codes(ids: pa.ChunkedArray, known: dict[Any, int]) -> Int[np.ndarray, " n"]:
    """Return a number for each id, in the order in which they were first seen; new ones are added to ``known``."""
    encoded = ids.dictionary_encode().combine_chunks()
    codes = [known.setdefault(v, len(known)) for v in encoded.dictionary.to_pylist()]
    return np.array(codes, np.int32)[encoded.indices.to_numpy()]


def _hashes(ids: pa.Array) -> Int[np.ndarray, " n"]:
    """Return a number for each id that is the same in every run."""
    return np.array([zlib.crc32(str(v).encode()) for v in ids.to_pylist()], np.int64)


# Rounds


class _Shared(NamedTuple):
    """The terms of all parts together: quadratics of the flat vector of shared weights."""

    linear: Float[np.ndarray, " P"]
    curved: Float[np.ndarray, " P"]


def run(
    parts: Parts,
    config: FactorConfig,
    folder: Path,
    key: PRNGKeyArray,
    solver: Solver,
    *,
    max_rounds: int = 20,
    rtol: float = 1e-5,
    devices: int | None = None,
    hand_out: Callable[[int, Fit], None],
    progress: Progress = silent,
) -> Answer:
    """Fit part by part until a round gains less than ``rtol`` (1 + |objective|), then collect every part's results.

    Args:
        folder: where the state is kept; what is there is gone on with.
        solver: of a visit.
        hand_out: gets (k, ``Fit`` of part k) in the last pass, in which the shared weights are held.
    """
    folder.mkdir(exist_ok=True)
    state, n = _State(folder, parts, config), len(parts)
    devices = parallel.n_devices(int(parts.room.n_labels), devices)
    room = parts.room
    if devices > 1:
        room = layout.widest([layout.plan_of(parts.labels(k), devices)[1] for k in range(n)])
    again = dataclasses.replace(solver, restarts=1)
    visit = functools.partial(parallel.run, _visit, key=key, devices=devices, room=room)
    while not state.converged(rtol) and state.visits < n * max_rounds:
        round_, k = divmod(state.visits, n)
        known = state.own(k)
        mean, variance = state.prior_of_others(k, known)
        labels, model = state.part(k, mean, variance)
        start = None if state.visits == 0 else state.start(k, known)
        found, more = visit(labels, model, solver=again if state.visits else solver, start=start)
        if int(found.code) > optimize.STOPPED:
            return state.answer(float("nan"), float("nan"), int(found.code), np.zeros((4, len(parts.labelers))))
        state.visited(k, found, more)
        progress(f"round {round_ + 1}", k + 1, n, objective=state.objective)

    objective, sums = state.log_prior(), np.zeros((4, len(parts.labelers)))
    evidence = 0.0
    for k in range(n):
        labels, model = state.part(k, state.weights, np.zeros_like(state.weights))
        found, more = visit(labels, model, solver=again, start=state.start(k, state.own(k)))
        objective += float(more.value)
        evidence += float(more.evidence)
        sums += more.sums[:, : sums.shape[1]]
        hand_out(k, found)
        progress("answers", k + 1, n)
    code = optimize.CONVERGED if state.converged(rtol) else optimize.MAX_STEPS
    return state.answer(objective, evidence, code, sums)


class _More(NamedTuple):
    """What a visit says of a part at its end: its term's gradient and curvature in the shared weights; log p(L) and
    that with the log prior of instances' own weights; and ``labeler_sums``."""

    gradient: Weights  # instances' left out
    curved: Weights
    evidence: Float[Array, ""]
    value: Float[Array, ""]
    sums: Float[Array, "4 W"]


def _visit(labels: Labels, model: FactorModel, key, solver: Solver, start) -> tuple[Fit, _More]:
    found = fit_one(labels, model, key, solver, start)
    # without any prior: what the labels alone say
    free = lambda v: jnp.full_like(v, jnp.inf)  # noqa: E731
    bare = Objective(labels, dataclasses.replace(model, variance=jax.tree.map(free, model.variance), beta=None))
    x = jax.flatten_util.ravel_pytree(found.weights)[0]
    value, gradient, posterior = bare(x)
    factors = model.factors(found.weights)
    own = model.log_priors(found.weights).instance.free
    own = 0.0 if own is None else labels.across(own)
    return found, _More(
        gradient=_shared(jax.tree.map(jnp.negative, bare.unravel(gradient))),
        curved=_shared(_curvature(labels, model, factors, posterior)),
        evidence=-value,
        value=-value + own,
        sums=labeler_sums(labels, factors, posterior),
    )


def _curvature(labels: Labels, model: FactorModel, factors: Factors, p) -> Weights:
    """Return a diagonal that is at least the curvature of log p(L) in the shared weights: of the complete-data
    likelihood, the sums of the rows' absolute values, labeler by labeler (a matrix in α_i and γ_i)."""
    i, j, c = labels.labeler, labels.instance, labels.counts
    n_factors = factors.alpha.shape[1]
    b = [factors.beta[:, d][j] for d in range(n_factors)]
    s = sum(factors.alpha[:, d][i] * b[d] for d in range(n_factors))
    gamma = 0.0 if factors.gamma is None else factors.gamma[i]
    plus, minus = likelihood.sensitivity_specificity(s, gamma)  # σ(s + γ), σ(s - γ)
    on_plus, on_minus = c * p[j] * plus * (1 - plus), c * (1 - p[j]) * minus * (1 - minus)
    add = lambda v: labels.across(sum_by(v, i, labels.n_labelers))  # noqa: E731
    same = {(d, e): abs(add((on_plus + on_minus) * b[d] * b[e])) for d in range(n_factors) for e in range(d + 1)}
    of_alpha = [sum(same[max(d, e), min(d, e)] for e in range(n_factors)) for d in range(n_factors)]
    of_bias = None
    if model.bias is not None:
        cross = [abs(add((on_plus - on_minus) * v)) for v in b]
        of_alpha = [v + w for v, w in zip(of_alpha, cross, strict=True)]
        of_bias = Linear(None, sum(cross, add(on_plus + on_minus))[:, None])
    there = jnp.asarray(model.class_prior.dense, p.dtype)
    pi = jax.nn.sigmoid(factors.prior_logit)[:, None]
    of_prior = labels.across((there * pi * (1 - pi)).sum(0, keepdims=True))
    of_labeler = Linear(None, jnp.stack(of_alpha, 1))
    if model.labeler.dense is not None:  # fixed, as in the majority vote
        of_labeler = Linear(jnp.zeros((model.labeler.n_columns, n_factors)), None)
    return Weights(of_labeler, Linear(), of_bias, Linear(of_prior))


class _State:
    """Where a fit is: the shared weights, the terms of all parts together, and on disk those of each part. Only
    ``visited`` changes anything, first on disk."""

    def __init__(self, folder: Path, parts: Parts, config: FactorConfig):
        self.folder, self.parts, self.config = folder, parts, config
        anyone = Labels.from_arrays([0], [0], [1], n_labelers=len(parts.labelers), n_instances=1)
        self.model = build(config, anyone)
        full = self.model.full(self.model.mean), self.model.full(self.model.variance)
        self.mean, self.variance = (_flat(w) for w in full)
        nothing = np.zeros_like(self.mean)
        saved = _read(folder / "state.npz")
        self.visits = int(saved["visits"]) if saved else 0
        self.weights = saved["weights"] if saved else self.mean
        self.terms = _Shared(saved["linear"], saved["curved"]) if saved else _Shared(nothing, nothing)
        self.values = saved["values"] if saved else np.zeros(len(parts))  # of each part at its last visit
        self.history = saved["history"] if saved else np.zeros(0)

    def own(self, k: int) -> dict[str, np.ndarray] | None:
        """Return what the last visit of part k left, if there was one."""
        round_ = (self.visits - 1 - k) // len(self.parts)
        return None if round_ < 0 else _read(self.folder / f"{k}-{round_}.npz")

    def prior_of_others(self, k: int, known) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the prior times the terms of all parts but k; weights that are fixed stay so."""
        linear, curved = self.terms
        if known is not None:
            linear, curved = linear - known["linear"], np.maximum(curved - known["curved"], 0)
        moves = self.variance > 0
        precision = np.where(moves & np.isfinite(self.variance), 1 / np.where(moves, self.variance, 1), 0)
        total = precision + curved
        safe = np.where(total > 0, total, 1)
        mean = np.where(total > 0, (precision * self.mean + linear) / safe, self.mean)
        variance = np.where(total > 0, 1 / safe, np.inf)
        return np.where(moves, mean, self.mean), np.where(moves, variance, 0)

    def part(self, k: int, mean, variance) -> tuple[Labels, FactorModel]:
        """Return the labels of part k and the model with another prior of the shared weights."""
        labels = self.parts.labels(k)
        model = build(self.config, labels)
        return labels, dataclasses.replace(
            model, mean=self._weights(mean, model.mean), variance=self._weights(variance, model.variance)
        )

    def start(self, k: int, known) -> Weights:
        """Return the start of a visit: the shared weights, and instances' own as they were, or at their prior mean."""
        weights = self._weights(self.weights, self.model.mean)
        if self.model.instance.dense is not None:
            return weights._replace(instance=self.model.full(self.model.mean).instance)
        n, mean = self.parts.n_instances[k], np.asarray(self.model.mean.instance.free, np.float32)
        free = known["own"] if known is not None else np.broadcast_to(mean, (n, self.config.n_factors))
        return weights._replace(instance=Linear(None, free))

    def visited(self, k: int, found: Fit, more: _More) -> None:
        """Take a visit's result in, and writes it down."""
        n = len(self.parts.labelers)
        weights = _flat(found.weights)
        curved = _flat(_of_first(more.curved, n))
        linear = curved * weights + _flat(_of_first(more.gradient, n))
        old, round_ = self.own(k), self.visits // len(self.parts)
        own = found.weights.instance.free
        _write(
            self.folder / f"{k}-{round_}.npz", linear=linear, curved=curved,
            own=np.zeros(0) if own is None else np.asarray(own),
        )  # fmt: skip
        terms = _Shared(self.terms.linear + linear, self.terms.curved + curved)
        if old is not None:
            terms = _Shared(terms.linear - old["linear"], terms.curved - old["curved"])
        self.values = np.where(np.arange(len(self.parts)) == k, float(more.value), self.values)
        self.weights, self.terms, self.visits = weights, terms, self.visits + 1
        if k == len(self.parts) - 1:
            self.history = np.r_[self.history, self.values.sum() + self.log_prior()]
        _write(
            self.folder / "state.npz", visits=self.visits, weights=self.weights, linear=terms.linear,
            curved=terms.curved, values=self.values, history=self.history,
        )  # fmt: skip
        if round_:
            (self.folder / f"{k}-{round_ - 1}.npz").unlink(missing_ok=True)

    @property
    def objective(self) -> float | None:
        """The objective after the last whole round."""
        return float(self.history[-1]) if len(self.history) else None

    def converged(self, rtol: float) -> bool:
        """Return whether the last round gained little. With a single part a round is the fit itself."""
        if len(self.parts) == 1:
            return len(self.history) > 0
        return len(self.history) > 1 and abs(self.history[-1] - self.history[-2]) <= rtol * (1 + abs(self.history[-1]))

    def log_prior(self) -> float:
        """Return log p of the shared weights."""
        terms = self.model.log_priors(self._weights(self.weights, self.model.full(self.model.mean)))
        return float(sum(jax.tree.leaves(_shared(terms))))

    def answer(self, objective: float, evidence: float, code: int, sums) -> Answer:
        weights = _shared(self._weights(self.weights, self.model.mean))
        return Answer(weights, objective, evidence, code, self.history, np.asarray(sums))

    def _weights(self, flat, like: Weights) -> Weights:
        """Return the flat vector of shared weights in the structure of ``like``, whose instance side stays."""
        arrays, tree = jax.tree.flatten(_shared(self.model.full(self.model.mean)))
        pieces = np.split(np.asarray(flat, jnp.result_type(float)), np.cumsum([v.size for v in arrays])[:-1])
        shaped = [v.reshape(a.shape) for v, a in zip(pieces, arrays, strict=True)]
        return jax.tree.unflatten(tree, shaped)._replace(instance=like.instance)


def _shared(weights: Weights) -> Weights:
    """Return the weights that all parts share: those of instances left out."""
    return weights._replace(instance=None)


def _of_first(weights: Weights, n: int) -> Weights:
    """Return the weights of the first n labelers: without padding."""
    cut = lambda part: part if part is None or part.free is None else Linear(part.dense, part.free[:n])  # noqa: E731
    return weights._replace(labeler=cut(weights.labeler), bias=cut(weights.bias))


def _flat(weights: Weights) -> Float[np.ndarray, " P"]:
    """Return the shared weights as one vector of 64 bits."""
    return np.concatenate([np.ravel(v) for v in jax.tree.leaves(_shared(weights))]).astype(np.float64)


def _read(path: Path) -> dict[str, np.ndarray] | None:
    if not path.exists():
        return None
    with np.load(path) as file:
        return dict(file)


def _write(path: Path, **arrays) -> None:
    """Write arrays to a file that appears whole or not at all."""
    with disk.file(path) as new, open(new, "wb") as file:
        np.savez(file, **arrays)
