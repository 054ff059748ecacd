"""Simulated crowds with one trouble each, on the host. None is a crowd of a model that is fitted: each labeler has a
confusion matrix, and instances differ in difficulty and look like other classes to everybody."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from experiments.peers import Crowd

READ_WRONG = 0.7  # the chance that a labeler takes a misread instance for one of another class


@dataclasses.dataclass(frozen=True)
class Trouble:
    """A kind of crowd.

        P(L_ij = l | j is seen as k) = softmax_l(γ_il + κ_i α_i β_j (1[k'=l] + own·N_ikl + looks·N_jl))
        α_i ~ N(ability) + log(K-1)      γ_il ~ N(bias)      β_j = exp(clarity · N(0, 1))

    κ_i is 0 for spammers and -1 for adversaries; k' is k but for one class of each confused labeler, which he takes for
    the next one; a misread instance is seen as of another class by most labelers.

    Attributes:
        n_labelers, n_instances, n_classes: their numbers.
        per_instance: labels of an instance; of 1.2, a fifth of the instances have two.
        ability: mean and standard deviation over labelers of the log odds of being right.
        bias: standard deviation of a labeler's log odds of a class, whatever the truth.
        shared: what all labelers add to the log odds of the last class.
        own, looks, clarity: how much labelers' confusions differ, how much instances look like other classes to
            everybody, and how much they differ in difficulty.
        rare: instances of the last class; 0 where classes are drawn evenly.
        spammers, adversaries, confused: shares of the labelers.
        copies: labelers who repeat the labels of the first of them.
        coin: whether that one answers at random.
        misread: share of the instances.
        skew: labeler k is asked in proportion to 1/(k+1)^skew.
        dominant: whether one labeler labels every instance.
        crowds: how many are drawn; 0: as many as of other kinds.
    """

    n_labelers: int = 30
    n_instances: int = 200
    n_classes: int = 2
    per_instance: float = 5.0
    ability: tuple[float, float] = (1.3, 0.5)
    bias: float = 0.35
    shared: float = 0.0
    own: float = 0.2
    looks: float = 0.2
    clarity: float = 0.4
    rare: int = 0
    spammers: float = 0.0
    adversaries: float = 0.0
    confused: float = 0.0
    copies: int = 0
    coin: bool = False
    misread: float = 0.0
    skew: float = 0.0
    dominant: bool = False
    crowds: int = 0


def draw(rng: np.random.Generator, kind: Trouble) -> Crowd:
    """Draw a crowd; labels are in order of instances, as many in every crowd of a kind.

    Example:
        >>> crowd = draw(np.random.default_rng(0), Trouble(n_instances=10, per_instance=1.2))
        >>> len(crowd.label)
        12
    """
    label = labels(rng, kind, truth := _truth(rng, kind))
    instance, labeler = np.nonzero(_asked(rng, kind))
    return Crowd(labeler, instance, label[instance, labeler], truth, kind.n_classes)


def labels(rng: np.random.Generator, kind: Trouble, truth) -> np.ndarray:
    """What every labeler says, or would say, of every instance, [I, W]."""
    cumulative = chances(rng, kind, truth).cumsum(2)
    label = (rng.random((*cumulative.shape[:2], 1)) > cumulative[..., :-1]).sum(2)
    if kind.copies:
        if kind.coin:
            label[:, 0] = rng.integers(0, kind.n_classes, kind.n_instances)
        label[:, : kind.copies] = label[:, :1]
    return label


def chances(rng: np.random.Generator, kind: Trouble, truth) -> Float[np.ndarray, "I W K"]:
    """P(label | labeler, instance)."""
    n_labelers, n_classes = kind.n_labelers, kind.n_classes
    alpha = rng.normal(*kind.ability, n_labelers) + np.log(n_classes - 1)
    gamma = rng.normal(0, kind.bias, (n_labelers, n_classes))
    gamma[:, -1] += kind.shared
    beta = np.exp(kind.clarity * rng.normal(size=kind.n_instances))
    kappa = np.ones(n_labelers)
    at = rng.permutation(n_labelers)
    spammers, adversaries = (round(share * n_labelers) for share in (kind.spammers, kind.adversaries))
    kappa[at[:spammers]] = 0
    kappa[at[spammers : spammers + adversaries]] = -1
    said = np.eye(n_classes)[None] + kind.own * rng.normal(size=(n_labelers, n_classes, n_classes))
    for i in rng.permutation(n_labelers)[: round(kind.confused * n_labelers)]:
        k = rng.integers(n_classes - 1)
        said[i, k] = said[i, k + 1]
    seen = np.broadcast_to(truth[:, None], (kind.n_instances, n_labelers)).copy()
    other = (truth + rng.integers(1, n_classes, kind.n_instances)) % n_classes
    wrong = rng.permutation(kind.n_instances)[: round(kind.misread * kind.n_instances)]
    seen[wrong] = np.where(rng.random((len(wrong), n_labelers)) < READ_WRONG, other[wrong, None], truth[wrong, None])
    looks = kind.looks * rng.normal(size=(kind.n_instances, 1, n_classes))
    logit = gamma + (kappa * alpha * beta[:, None])[..., None] * (said[np.arange(n_labelers), seen] + looks)
    p = np.exp(logit - logit.max(2, keepdims=True))
    return p / p.sum(2, keepdims=True)


def _truth(rng: np.random.Generator, kind: Trouble) -> np.ndarray:
    if not kind.rare:
        return rng.integers(0, kind.n_classes, kind.n_instances)
    truth = rng.integers(0, kind.n_classes - 1, kind.n_instances)
    truth[rng.permutation(kind.n_instances)[: kind.rare]] = kind.n_classes - 1
    return truth


def _asked(rng: np.random.Generator, kind: Trouble) -> Bool[np.ndarray, "I W"]:
    """Draw who labels what: labelers of each instance without replacement, in proportion to their activity."""
    activity = -kind.skew * np.log1p(np.arange(kind.n_labelers))
    if kind.dominant:
        activity[0] = np.inf
    turn = (activity + rng.gumbel(size=(kind.n_instances, kind.n_labelers))).argsort(1)[:, ::-1].argsort(1)
    least = int(kind.per_instance)
    n = np.full(kind.n_instances, least)
    n[rng.permutation(kind.n_instances)[: round((kind.per_instance - least) * kind.n_instances)]] += 1
    return turn < n[:, None]
