"""Answers of other methods, on labels with any number of classes: crowd-kit's, and two Bayesian ones of the literature.

    iBCC    confusion matrices and class prior with conjugate priors, by variational inference (Kim and Ghahramani 2012)
    EBCC    the same with subtypes of every class, on which mistakes of labelers are correlated (Li et al. 2019)

crowdjax's own models are called by the public ``crowdjax.fit``. All take the same labels and answer in one form.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.special import digamma, gammaln

import crowdjax
from crowdjax.labels import Labels

OWN = ("majority", "one-coin", "biased-coin", "dawid-skene", "glad", "factor", "integrated", "auto")
KIT = {"MajorityVote": "vote", "DawidSkene": "Dawid-Skene", "GLAD": "GLAD", "MACE": "MACE"}  # of crowd-kit
PEERS = ("vote", "iBCC", "EBCC", *(f"{name} (crowd-kit)" for name in KIT.values()))
DIAGONAL, REST = 4.0, 1.0  # Dirichlet prior of a row of a confusion matrix
SUBTYPES = 10  # of every class, in EBCC
CONCENTRATION = 0.1  # of the Dirichlet prior of the subtypes, all together


class Crowd(NamedTuple):
    """Labels as codes, and the truth; -1 where it is not known. A label that was given twice is there twice.

    Attributes:
        n_rows: of the table for ``crowdjax.fit``; what labels lack is rows of weight 0, so that crowds share compiled
            programs. 0: as many as there are labels.
    """

    labeler: Int[np.ndarray, " N"]
    instance: Int[np.ndarray, " N"]
    label: Int[np.ndarray, " N"]
    truth: Int[np.ndarray, " I"]
    n_classes: int
    n_rows: int = 0

    @property
    def table(self) -> dict[str, np.ndarray]:
        """The labels as a table for ``crowdjax.fit``."""
        labels = {"labeler": self.labeler, "instance": self.instance, "label": self.label}
        more = self.n_rows - len(self.label)
        if not self.n_rows:
            return labels
        weight = np.repeat([1.0, 0.0], [len(self.label), more])
        return {k: np.append(v, np.repeat(v[:1], more)) for k, v in labels.items()} | {"weight": weight}


def crowd_of(labels: Labels, label: Int[np.ndarray, " N"], truth: Bool[np.ndarray, " I"]) -> Crowd:
    """One draw's labels of two classes, in the stored order of ``labels``, without padding.

    Example:
        >>> labels = Labels.from_arrays([0, 1], [0, 0], [1, 0])
        >>> crowd_of(labels, np.asarray(labels.label), np.array([True])).label.tolist()
        [1, 0]
    """
    real = np.asarray(labels.counts) > 0
    labeler, instance = (np.asarray(v)[real] for v in (labels.labeler, labels.instance))
    return Crowd(labeler, instance, np.asarray(label)[real].astype(int), truth.astype(int), 2)


class Said(NamedTuple):
    """P(class) of every instance, uniform where there are no labels, and what a method warned of."""

    posterior: Float[np.ndarray, "I K"]
    warnings: tuple[str, ...] = ()


class Variational(NamedTuple):
    """The mean-field posterior of EBCC: q(class, subtype), and the evidence's lower bound after every step."""

    q: Float[np.ndarray, "I K M"]
    elbo: Float[np.ndarray, " T"]


def answer(crowd: Crowd, method: str, restarts: int = 5, seed: int = 0) -> Said:
    """Answer with a method by its name: of ``OWN``, or of ``PEERS``.

    Args:
        restarts: of EBCC and of crowd-kit's MACE.
        seed: draws their starts.

    Example:
        >>> crowd = Crowd(*(np.array(v) for v in ([0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 1])), 2)
        >>> answer(crowd, "iBCC").posterior.round().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if method == "vote":
        return Said(vote(crowd))
    if method in ("iBCC", "EBCC"):
        q = ibcc(crowd) if method == "iBCC" else ebcc(crowd, restarts=restarts, seed=seed).q
        return Said(q.reshape(len(crowd.truth), crowd.n_classes, -1).sum(2))
    if method.endswith(" (crowd-kit)"):
        kind = next(k for k, name in KIT.items() if method == f"{name} (crowd-kit)")
        settings = {"random_state": seed, "n_restarts": restarts} if kind == "MACE" else {}
        return Said(_of_kit(crowd, kind, settings))
    return _own(crowd, method)


def here(methods: tuple[str, ...]) -> list[str]:
    """Those of the methods that are installed."""
    kit = importlib.util.find_spec("crowdkit")
    return [m for m in methods if kit or not m.endswith("(crowd-kit)")]


def vote(crowd: Crowd) -> Float[np.ndarray, "I K"]:
    """Compute the share of each class in an instance's labels, with two pseudo-counts in all: (n_k + 2/K) / (n + 2)."""
    votes = counts(crowd) + 2 / crowd.n_classes
    return votes / votes.sum(1, keepdims=True)


def ibcc(crowd: Crowd, tolerance: float = 1e-3) -> Float[np.ndarray, "I K"]:
    """Compute q(class) by iBCC, the limit of EBCC with one subtype.

        E log V_ikl = ψ(n_ikl + b_kl) - ψ(Σ_l (n_ikl + b_kl))      n_ikl = Σ_{j: L_ij = l} q_jk      b_kk = 4, b_kl = 1
        q_jk ∝ exp(ψ(1 + Σ_j q_jk) + Σ_i E log V_i,k,L_ij)

    Args:
        tolerance: the largest change of q at which it stops.

    Source: Kim and Ghahramani, Bayesian classifier combination, AISTATS 2012, without correlations.
    """
    return _vb(crowd, shares(crowd)[..., None], tolerance, 1).q[..., 0]


def ebcc(crowd: Crowd, subtypes: int = SUBTYPES, restarts: int = 5, seed: int = 0) -> Variational:
    """Compute the mean-field posterior of EBCC from the start with the highest lower bound of the evidence.

        z_j ~ τ      g_j | z_j = k ~ η_k      L_ij | z_j = k, g_j = m ~ V_ikm
        τ ~ Dir(1)      η_k ~ Dir(.1/M)      V_ikm ~ Dir(b_k), b_kk = 4, b_kl = 1

    A start is the shares of votes, cut into subtypes at random.

    Source: Li, Rubinstein and Cohn, Exploiting worker correlation for label aggregation in crowdsourcing, ICML 2019.
    """
    rng, votes = np.random.default_rng(seed), shares(crowd)
    starts = (votes[..., None] * rng.dirichlet(np.ones(subtypes), votes.shape) for _ in range(restarts))
    return max((_vb(crowd, q, 1e-3, subtypes) for q in starts), key=lambda found: found.elbo[-1])


def shares(crowd: Crowd) -> Float[np.ndarray, "I K"]:
    """Compute the share of each class in an instance's labels; uniform where it has none."""
    votes = counts(crowd)
    n = votes.sum(1, keepdims=True)
    return np.where(n > 0, votes / np.maximum(n, 1), 1 / crowd.n_classes)


def counts(crowd: Crowd) -> Int[np.ndarray, "I K"]:
    """Count the labels of each class of an instance."""
    cell = crowd.instance * crowd.n_classes + crowd.label
    return np.bincount(cell, minlength=len(crowd.truth) * crowd.n_classes).reshape(-1, crowd.n_classes)


def _vb(crowd: Crowd, q: Float[np.ndarray, "I K M"], tolerance: float, n_subtypes: int, most: int = 500) -> Variational:
    """Coordinate ascent from q, until q(class) changes by less than the tolerance."""
    n_instances, n_classes, n_labelers = *q.shape[:2], 1 + int(crowd.labeler.max())
    cell = crowd.labeler * n_classes + crowd.label
    shape = (n_labelers * n_classes, n_instances)
    said = sparse.csr_array((np.ones(len(cell)), (cell, crowd.instance)), shape=shape)
    asked = np.flatnonzero(np.bincount(crowd.instance, minlength=n_instances))
    prior = (DIAGONAL - REST) * np.eye(n_classes) + REST  # [K, L]
    elbo = []
    for _ in range(most):
        known = q[asked]
        tau = 1 + known.sum((0, 2))
        eta = CONCENTRATION / n_subtypes + known.sum(0)
        said_of = (said @ q.reshape(n_instances, -1)).reshape(n_labelers, n_classes, n_classes, n_subtypes)
        v = said_of.transpose(0, 2, 3, 1) + prior[:, None]  # [W, K, M, L]
        log_point = _expected_log(tau)[:, None] + _expected_log(eta)
        log_v = _expected_log(v).transpose(0, 3, 1, 2).reshape(n_labelers * n_classes, -1)
        log_q = log_point + (said.T @ log_v).reshape(q.shape)
        top = log_q.max((1, 2), keepdims=True)
        new = np.exp(log_q - top)
        total = new.sum((1, 2), keepdims=True)
        # With q at its best for these Dirichlets the bound is Σ_j log Σ exp(E log p) minus their divergences.
        fit = (top + np.log(total))[asked].sum()
        priors = (np.ones(n_classes), tau), (np.full_like(eta, CONCENTRATION / n_subtypes), eta), (prior[:, None], v)
        elbo.append(fit - sum(_divergence(a, b) for a, b in priors))
        change = abs((new / total).sum(2) - q.sum(2))[asked].max()
        q = np.where((np.bincount(asked, minlength=n_instances) > 0)[:, None, None], new / total, q)
        if change < tolerance:
            break
    return Variational(q, np.array(elbo))


def _expected_log(dirichlet):
    return digamma(dirichlet) - digamma(dirichlet.sum(-1, keepdims=True))


def _divergence(prior, posterior) -> float:
    """KL of Dirichlets from their priors, all of them together, the classes along the last axis."""
    prior = np.broadcast_to(prior, posterior.shape)
    constant = lambda a: gammaln(a.sum(-1)) - gammaln(a).sum(-1)  # noqa: E731
    return float((constant(posterior) - constant(prior)).sum() + ((posterior - prior) * _expected_log(posterior)).sum())


def _own(crowd: Crowd, model: str) -> Said:
    result = crowdjax.fit(crowd.table, model, order=list(range(crowd.n_classes)))
    found = result.instances
    if crowd.n_classes == 2:
        p = np.asarray(found["probability"], float)
        p = np.stack([1 - p, p], 1)
    else:
        p = np.stack([np.asarray(found[f"p_{k}"], float) for k in range(crowd.n_classes)], 1)
    return Said(_placed(crowd, np.asarray(found["instance"]), p), tuple(result.warnings))


def _of_kit(crowd: Crowd, kind: str, settings: dict) -> Float[np.ndarray, "I K"]:
    import pandas as pd
    from crowdkit import aggregation

    table = pd.DataFrame({"task": crowd.instance, "worker": crowd.labeler, "label": crowd.label})
    with warnings.catch_warnings(action="ignore"):
        found = getattr(aggregation, kind)(**settings).fit_predict_proba(table)
    p = found.reindex(columns=range(crowd.n_classes)).fillna(0.0)
    return _placed(crowd, p.index.to_numpy(), p.to_numpy())


def _placed(crowd: Crowd, instance, p) -> Float[np.ndarray, "I K"]:
    out = np.full((len(crowd.truth), crowd.n_classes), 1 / crowd.n_classes)
    out[np.asarray(instance, int)] = p
    return out
