"""Hundreds of classes: coins, whose pass knows of each instance only the classes that were voted for, and a rest.

A labeler's label is right with the log-probability r_i and any one wrong label has w_i. With S_jk = Σ_i c_ij [L_ij = k]
(r_i - w_i), the sum over the votes for class k,

    h_jk = log π_k + Σ_i c_ij w_i + S_jk      S_jk = 0 where nobody voted for k
    evidence = Σ_j [ Σ_i c_ij w_i + log( Σ_{k voted} π_k exp S_jk + 1 - Σ_{k voted} π_k ) ]

exactly (but for the rounding of 1 - Σ π_k), with a few numbers a label, however many classes there are, where
``crowdjax.observation.table`` needs [W, K, K] and [I, K] numbers. Models are those with ``coin(params) -> (r, w)`` and
``coin_step``: majority and one-coin.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from crowdjax import optimize
from crowdjax.labels import InputError, Labels
from crowdjax.observation.contract import Observation, Params
from crowdjax.observation.fit import Fit, Solver, scale_of
from crowdjax.segments import sum_by, sum_many, total

TOP = 5  # classes of each instance that a fit tells the probabilities of


class VotedPass(NamedTuple):
    """The result of one pass: sums over the instances of this shard, and arrays by label and by instance.

    Attributes:
        value: the evidence.
        own: P(z_j = L_n | labels) of each label's own class, 0 for padding.
        rest: P(z_j = k | labels) / π_k of a class k without a vote; 0 where there is none or gold is known.
        right: Σ_n c_n own_n of each labeler: expected number of right labels.
        points: expected instances of each class.

    Example:
        >>> VotedPass._fields
        ('value', 'own', 'rest', 'right', 'points')
    """

    value: Float[Array, ""]
    own: Float[Array, " N"]
    rest: Float[Array, " I"]
    right: Float[Array, " W"]
    points: Float[Array, " K"]


def first_votes(labels: Labels) -> Int[Array, " N"]:
    """Find for each label the first label of the same class on the same instance; a label that finds itself represents
    its class.

    The result depends on no parameter, so a fit computes it once, by hashing: every instance has twice as many slots as
    labels; a class is assigned to a random slot, and on a collision the class whose label comes first keeps the slot.
    The others try again.

    Example:
        >>> first_votes(Labels.from_arrays([0, 1, 2, 0], [0, 0, 0, 1], [4, 7, 4, 4], n_values=9)).tolist()
        [0, 1, 0, 3]
    """
    instance, label = jnp.asarray(labels.instance), jnp.asarray(labels.label).astype(jnp.int32)
    n = label.shape[0]
    index, number = (
        jnp.arange(n, dtype=jnp.int32),
        sum_by(jnp.ones_like(label), instance, labels.n_instances, ordered=True),
    )
    start, places = 2 * (jnp.cumsum(number) - number)[instance], 2 * number[instance].astype(jnp.uint32)

    def attempt(state):
        first, k = state
        mixed = (label.astype(jnp.uint32) + k) * jnp.uint32(0x9E3779B1)
        mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(0x85EBCA77)
        place = start + ((mixed ^ (mixed >> 13)) % places).astype(jnp.int32)
        waits = first == n
        served = (
            jnp.full(2 * n, n, jnp.int32).at[place].min(jnp.where(waits, index, n), mode="promise_in_bounds")[place]
        )
        same = waits & (served < n) & (label[jnp.minimum(served, n - 1)] == label)
        return jnp.where(same, served, first), k + 1

    first = jnp.full(n, n, jnp.int32)
    return jax.lax.while_loop(lambda state: (state[0] == n).any(), attempt, (first, jnp.uint32(0)))[0]


def voted_pass(
    labels: Labels,
    right: Float[Array, " W"],
    wrong: Float[Array, " W"],
    log_prior: Float[Array, " K"],
    first: Int[Array, " N"] | None = None,
) -> VotedPass:
    """Compute evidence, posteriors and sufficient statistics of coin models with many classes, as ``table_pass`` does.

    Args:
        labels: N stored triples of W labelers and I instances; gold fixes the class of its instance.
        right, wrong: log P(the right label) and log P(any one wrong label) of each labeler.
        log_prior: log π.
        first: of :func:`first_votes`.

    Example: two of three labelers agree, each right three times in four; nobody voted for the other 97 classes
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [4, 7, 4], n_values=99)
        >>> right, wrong = jnp.log(jnp.full(3, 0.75)), jnp.log(jnp.full(3, 0.25 / 98))
        >>> found = voted_pass(labels, right, wrong, jnp.log(jnp.full(99, 1 / 99)))
        >>> [round(float(v), 2) for v in found.own], round(float(found.points.sum()), 2)
        ([1.0, 0.0, 1.0], 1.0)
    """
    dtype, n_classes = log_prior.dtype, log_prior.shape[0]
    first = first_votes(labels) if first is None else first
    real, instance, counts = jnp.asarray(labels.real), jnp.asarray(labels.instance), labels.counts.astype(dtype)
    label = jnp.maximum(jnp.asarray(labels.label), 0).astype(jnp.int32)
    stands = real & (first == jnp.arange(first.shape[0]))
    of_instance = partial(sum_by, index=instance, size=labels.n_instances, ordered=True)

    prior = jnp.exp(log_prior)
    of_labels = counts * wrong[labels.labeler], counts * (right - wrong)[labels.labeler]
    t = log_prior[label] + jnp.zeros_like(counts).at[first].add(of_labels[1], mode="promise_in_bounds")
    weight = jnp.where(stands, prior[label], 0)
    n_voted, voted = of_instance(stands.astype(jnp.int32)), of_instance(weight)
    left = jnp.where(n_voted < n_classes, jnp.maximum(prior.sum() - voted, 0), 0)
    if labels.gold is not None:
        gold = jnp.asarray(labels.gold).astype(jnp.int32)
        known, agrees = gold >= 0, (gold[instance] < 0) | (gold[instance] == label)
        among = of_instance((stands & agrees).astype(jnp.int32)) > 0
        stands &= agrees
        left = jnp.where(known, jnp.where(among, 0, prior[jnp.maximum(gold, 0)]), left)
    t = jnp.where(stands, t, -jnp.inf)
    floor = jnp.where(left > 0, 0.0, -jnp.inf).astype(dtype)
    top = floor.at[instance].max(jax.lax.stop_gradient(t), indices_are_sorted=True, mode="promise_in_bounds")
    e = jnp.exp(t - top[instance])
    odds = jnp.exp(-top)  # of the rest
    s = of_instance(e) + left * odds
    shared = jnp.ones(labels.n_instances, dtype) if labels.shard is None else labels.shard.real.astype(dtype)
    value = total(shared * (of_instance(of_labels[0]) + top + jnp.log(s)))

    free = jnp.where(left > 0, odds / s, 0)
    free = free if labels.gold is None else jnp.where(known, 0, free)
    own = (e / s[instance])[first]
    votes = jnp.where(stands, shared[instance] * (own - free[instance] * prior[label]), 0)
    points = prior * total(shared * free) + sum_many(votes, label, n_classes)
    if labels.gold is not None:
        points += sum_many(jnp.where(known & ~among, shared, 0), jnp.maximum(gold, 0), n_classes)  # pyright: ignore
    return VotedPass(value, own, free, sum_many(counts * own, labels.labeler, labels.n_labelers), points)


def top_classes(
    labels: Labels, found: VotedPass, log_prior: Float[Array, " K"], first: Int[Array, " N"], n: int = TOP
) -> tuple[Int[Array, "I n"], Float[Array, "I n"]]:
    """Find the n most probable classes of each instance and their probabilities, including classes without votes.

    The classes in order of their prior have ranks. The class that is number c among those without a vote has the least
    rank r with r = c + the number of classes voted for of a rank up to r.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [4, 7, 4], n_values=9)
        >>> log_prior, first = jnp.log(jnp.arange(1.0, 10) / 45), first_votes(labels)
        >>> found = voted_pass(labels, jnp.log(jnp.full(3, 0.6)), jnp.log(jnp.full(3, 0.05)), log_prior, first)
        >>> top_classes(labels, found, log_prior, first, 3)[0].tolist()
        [[4, 7, 8]]
    """
    n_classes, n_instances = log_prior.shape[0], labels.n_instances
    n, index = min(n, n_classes), jnp.arange(first.shape[0], dtype=jnp.int32)
    instance, label = jnp.asarray(labels.instance), jnp.asarray(labels.label).astype(jnp.int32)
    stands = (label >= 0) & (first == index)

    def likeliest(left, _):
        p = jnp.full(n_instances, -1, found.own.dtype).at[instance].max(jnp.where(left, found.own, -1))
        best = left & (found.own == p[instance])
        of = jnp.full(n_instances, n_classes).at[instance].min(jnp.where(best, label, n_classes))
        return left & (label != of[instance]), (of, p)

    voted = jax.tree.map(jnp.transpose, jax.lax.scan(likeliest, stands, length=n)[1])

    order = jnp.argsort(-log_prior, stable=True).astype(jnp.int32)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(n_classes, dtype=jnp.int32))
    rank, c = jnp.where(stands, rank[label], jnp.iinfo(jnp.int32).max)[:, None], jnp.arange(n, dtype=jnp.int32)

    def further(state):
        before, _ = state
        passed = (rank <= before[instance]).astype(jnp.int32)
        ranks = c + sum_by(passed, instance, n_instances, ordered=True)
        return ranks, (ranks != before).any()

    state = jnp.broadcast_to(c, (n_instances, n)), jnp.array(True)
    ranks, _ = jax.lax.while_loop(lambda state: state[1], further, state)
    others = jnp.where(ranks < n_classes, order[jnp.minimum(ranks, n_classes - 1)], -1)
    p = jnp.where(others >= 0, found.rest[:, None] * jnp.exp(log_prior)[others], -1)
    if labels.gold is not None:  # one that nobody voted for goes last but for its probability
        gold = jnp.asarray(labels.gold).astype(jnp.int32)
        lacks = (gold >= 0) & ~(voted[1] > 0).any(1)
        others = others.at[:, -1].set(jnp.where(lacks & ~(others == gold[:, None]).any(1), gold, others[:, -1]))
        p = jnp.where(lacks[:, None] & (others == gold[:, None]), 1, p)
    classes, p = (jnp.concatenate(both, axis=1) for both in zip(voted, (others, p), strict=True))
    p, classes = jax.lax.sort((-p, classes), dimension=1, num_keys=2)
    return classes[:, :n], -p[:, :n]


def vote_counts(labels: Labels, first: Int[Array, " N"], dtype=None) -> tuple[Float[Array, " W"], Float[Array, " K"]]:
    """Compute (right [W], points [K]) with vote shares as the classes of an instance; sums are over this shard.

    As ``vote_shares``: gold counts as all votes, no vote as one of each class.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [2, 1, 1], n_values=3)
        >>> [round(float(v), 2) for v in vote_counts(labels, first_votes(labels))[1]]
        [0.0, 0.67, 0.33]
    """
    dtype = dtype or jnp.result_type(float)
    instance, counts, k = jnp.asarray(labels.instance), labels.counts.astype(dtype), labels.n_classes
    label = jnp.maximum(jnp.asarray(labels.label), 0).astype(jnp.int32)
    shared = jnp.ones(labels.n_instances, dtype) if labels.shard is None else labels.shard.real.astype(dtype)
    number = sum_by(counts, instance, labels.n_instances, ordered=True)
    each = counts / jnp.where(number > 0, number, 1)[instance]
    own = jnp.zeros_like(counts).at[first].add(each, mode="promise_in_bounds")[first]
    without = number == 0
    if labels.gold is not None:
        gold = jnp.asarray(labels.gold).astype(jnp.int32)
        known = gold >= 0
        own = jnp.where(known[instance], label == gold[instance], own)
        each, without = jnp.where(known[instance], 0, each), without & ~known
    points = sum_many(each * shared[instance], label, k) + (without * shared).sum() / k
    if labels.gold is not None:
        points += sum_many(known * shared, jnp.maximum(gold, 0), k)
    return sum_many(counts * own, labels.labeler, labels.n_labelers), points


@dataclasses.dataclass(frozen=True)
class Voted:
    """A coin model with :func:`voted_pass` as its pass, used by ``crowdjax.fit`` for majority and one-coin with many
    classes.

    Parameters are those of the coin. For its table, which describes labelers, it has one point and two labels, right
    and wrong. A fit's posterior is (classes [I, 5], probabilities [I, 5]), most probable first.

    Attributes:
        model: a coin: one with ``coin`` and ``coin_step``.

    Example:
        >>> from crowdjax.observation import BiasedCoin
        >>> Voted(BiasedCoin())
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: BiasedCoin: not a coin model; allowed with so many classes: majority, one-coin
    """

    model: Any

    def __post_init__(self):
        if not hasattr(self.model, "coin_step"):
            name = type(self.model).__name__
            raise InputError(f"{name}: not a coin model; allowed with so many classes: majority, one-coin")

    def start(self, labels: Labels, votes: Float[Array, "_ K"]) -> Params:
        """Build initial parameters.

        Args:
            votes: the share of each class in the votes, of each instance of all shards or summed over them.
        """
        return self.model.start(dataclasses.replace(labels, shard=None), votes)

    def table(self, params) -> Float[Array, "W 2 1"]:
        right, wrong = self.model.coin(params)
        return jnp.stack([right, wrong + jnp.log(params["classes"].shape[0] - 1.0)], axis=1)[:, :, None]

    def log_points(self, params):
        return jnp.zeros(1)

    def class_of_point(self, params):
        return jnp.ones((1, 1))

    def log_prior(self, params):
        return self.model.log_prior(params)

    def specs(self, params):
        return self.model.specs(params)

    def unseen(self, params):
        return self.model.unseen(params)

    @property
    def beta(self):
        """The coin's pseudo-counts, where it has any."""
        if not hasattr(self.model, "beta"):
            raise AttributeError("beta")
        return lambda params, counts: counts + jnp.exp(self.table(params))

    def m_step(self, params, counts: Float[Array, "W 2 1"], points: Float[Array, " K"]):
        """Make the M-step from the numbers of right and wrong labels."""
        new = self.model.coin_step(params, counts[:, 0, 0], counts.sum((1, 2)))
        return params | new | self.model.classes_step(params, points)

    def at(self, labels: Labels, params, first: Int[Array, " N"]) -> VotedPass:
        """Run a pass at these parameters."""
        right, wrong = self.model.coin(params)
        return voted_pass(labels, right, wrong, self.model.log_points(params), first)

    def stages(self, labels: Labels, start: Params | None, solver: Solver) -> optimize.Staged:
        """Build the EM of ``crowdjax.observation.fit`` as its one stage."""
        if solver.method == "lbfgs":
            raise InputError("method: got 'lbfgs'; allowed with so many classes: auto, em")
        first = first_votes(labels)
        n = labels.counts.astype(jnp.result_type(float))
        number = labels.across(sum_many(n, labels.labeler, labels.n_labelers))
        as_numbers = partial(jax.tree.map, lambda v: jnp.asarray(v, jnp.result_type(float)))

        def climb(params, right, points):
            return self.m_step(params, jnp.stack([right, number - right], axis=1)[:, :, None], points)

        if start is None:
            at_votes = labels.across(vote_counts(labels, first))
            params = climb(as_numbers(self.start(labels, at_votes[1][None])), *at_votes)
        else:
            params = as_numbers(start)
        x0, unravel = ravel_pytree(params)
        metric = scale_of(labels, self.model, params)

        def step(x):
            params = unravel(x)
            found = self.at(labels, params, first)
            new = ravel_pytree(climb(params, *labels.across((found.right, found.points))))[0]
            value = labels.across(found.value) + self.log_prior(params)
            return optimize.Step(new, -value, metric * (x - new), None), metric

        def end(best) -> Fit:
            params = unravel(best["x"])
            return Fit(
                params=params,
                posterior=top_classes(labels, self.at(labels, params, first), self.model.log_points(params), first),
                objective=-best["value"],
                log_likelihood=-best["value"] - self.log_prior(params),
                code=best["code"],
                n_steps=best["steps"],
                history=-best["history"],
            )

        best = {
            "x": x0,
            "value": jnp.array(jnp.inf, x0.dtype),
            "code": jnp.array(optimize.RUNNING),
            "steps": jnp.array(0),
            "history": jnp.full(solver.max_steps, jnp.nan, x0.dtype),
        }
        return optimize.Staged(
            first=best,
            numbers=np.arange(1),
            prepare=lambda best, k: best,
            limit=lambda best, k: jnp.asarray(solver.max_steps),
            loop=lambda best, k: optimize.acceleration(
                step, best["x"], max_steps=solver.max_steps, rtol=solver.rtol
            ),
            close=lambda best, k, found: {
                "x": found.x, "value": found.value, "code": found.code, "steps": found.n_steps,
                "history": found.history,
            },
            code=lambda best: best["code"],
            end=end,
        )  # fmt: skip


def fit_voted(labels: Labels, model: Observation, start: Params | None = None, solver: Solver = Solver()) -> Fit:
    """Fit a coin model to labels of many classes by the EM of ``crowdjax.observation.fit``.

    Args:
        labels: labels of K classes and K values; gold fixes the class of its instance.
        model: a coin model, one with ``coin`` and ``coin_step``: majority, one-coin.

    Returns:
        the same as ``fit``, but for the posterior: (classes [I, 5], probabilities [I, 5]), the likeliest first.

    Raises:
        InputError: the model is not a coin model, or the solver is not EM.

    Example: the third labeler contradicts the others
        >>> from crowdjax.observation import OneCoin
        >>> label = [0, 0, 1, 2, 2, 0, 1, 1, 2]
        >>> labels = Labels.from_arrays([0, 1, 2] * 3, [0] * 3 + [1] * 3 + [2] * 3, label, n_values=500)
        >>> fit_voted_jit(labels, OneCoin()).posterior[0][:, 0].tolist()
        [0, 2, 1]
    """
    return Voted(model).stages(labels, start, solver).run()


@partial(jax.jit, static_argnames=("model", "solver"))
def fit_voted_jit(labels: Labels, model: Observation, start: Params | None = None, solver: Solver = Solver()) -> Fit:
    """Run :func:`fit_voted` compiled, once for each shape, model and solver.

    Example:
        >>> from crowdjax.observation import Majority
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 200, 200], n_values=300)
        >>> fit_voted_jit(labels, Majority()).posterior[0][0, :2].tolist()
        [200, 1]
    """
    return fit_voted(labels, model, start, solver)


class Answer(NamedTuple):
    """The result of a pass at given parameters, for instances, labelers and classes.

    Attributes:
        classes, p: the five likeliest classes of each instance and their probabilities.
        counts: how many labels of each labeler are right and wrong.
        points: expected instances of each class.

    Example:
        >>> Answer._fields
        ('classes', 'p', 'counts', 'points')
    """

    classes: Int[Array, "I n"]
    p: Float[Array, "I n"]
    counts: Float[Array, "W 2 1"]
    points: Float[Array, " K"]


@partial(jax.jit, static_argnums=1)
def answer_voted(labels: Labels, model: Voted, params: Params) -> Answer:
    """Infer instances and labelers in one pass at given parameters; the labels need not be those of the fit.

    Example:
        >>> from crowdjax.observation import Majority
        >>> labels, model = Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 200, 200], n_values=300), Voted(Majority())
        >>> answer_voted(labels, model, model.start(labels, jnp.ones((1, 300)) / 300)).classes[0, :2].tolist()
        [200, 1]
    """
    first = first_votes(labels)
    found = model.at(labels, params, first)
    number = sum_many(labels.counts.astype(found.right.dtype), labels.labeler, labels.n_labelers)
    counts = jnp.stack([found.right, number - found.right], axis=1)[:, :, None]
    return Answer(*top_classes(labels, found, model.model.log_points(params), first), counts, found.points)
