"""Posterior predictive checks of the integrated model: what it misses, which labelers err together, which instances
surprise it.

Replicates are labels as the fitted model would give them, for the same pairs of labeler and instance: x_j is drawn, and
L_ij by σ(w_i·φ(x_j)). Every statistic T is computed from replicates as from the labels themselves, the posterior of x_j
included, so that what it takes for granted cancels. With residuals at the posterior means

    m_ij = σ(w_i·E[φ(x_j) | L])      e_ij = [L_ij = +1] - m_ij      v_ij = m_ij (1 - m_ij)

the statistics are

    share of yes   Σ [L_ij = +1] / N                                          a bias that all share
    vote counts    Σ_b (h_b - h̄_b)² / h̄_b                                     h_b: instances with b fifths of yes
    agreement      Σ_j Σ_{i≠k} e_ij e_kj / sqrt(Σ_j Σ_{i≠k} v_ij v_kj)         beyond what x_j explains
    schools        largest eigenvalue of  Σ_j e_ij e_kj / sqrt(Σ_j v_ij v_kj)  of the busiest labelers, i ≠ k
    surprise of j  -Σ_i log P(L_ij | m_ij), among instances with as many labels

The first two concern the population of instances, and x_j is drawn from it. For the others x_j is drawn from its own
posterior, so that a population which is slightly misspecified raises no alarm about pairs of labelers.

p = (1 + #{T(replicate) ≥ T(labels)}) / (1 + replicates), twice the smaller tail for the share of yes. Labelers are
fixed at their estimates, which were fitted to the same labels, so p tends to be too large.

Source: Gelman, Meng and Stern 1996 (posterior predictive assessment); Benjamini and Hochberg 1995.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy import sparse

from crowdjax.factor.features import PRECISION
from crowdjax.integrated.kernels import draw_points, expectations
from crowdjax.integrated.model import Features, IntegratedConfig, Parameters, centers
from crowdjax.labels import Labels
from crowdjax.observation.checks import Check
from crowdjax.segments import sum_by

FIFTHS = 5
FEWEST_VOTES = 3  # labels of an instance whose share of yes counts
BUSIEST = 200  # labelers among whom schools are looked for
FEWEST_COMMON = 5  # instances of two labelers, for their residuals to be compared
MEMBER = 0.5  # of a labeler's loading, in units of 1 / sqrt(labelers), from which it belongs to a school
LEVEL = 0.05  # of every test, and the share of false discoveries among surprising instances


class Residuals(NamedTuple):
    """The residuals e and variances v of every stored triple (0 for padding), and the statistics of all labels and of
    every instance.
    """

    error: Float[Array, " N"]
    variance: Float[Array, " N"]
    share_of_yes: Float[Array, ""]
    fifths: Float[Array, " B"]
    agreement: Float[Array, ""]
    surprise: Float[Array, " I"]


class School(NamedTuple):
    """A group of labelers whose residuals are correlated: its eigenvalue, the 95 % quantile of the largest eigenvalue
    of replicates, and each labeler's side: +1, -1, or 0 outside the group.

    Example: two against one
        >>> School(4.0, 2.5, np.array([1, 1, -1])).side.sum().item()
        1
    """

    strength: float
    threshold: float
    side: Int[np.ndarray, " W"]


class Checks(NamedTuple):
    """The result of posterior predictive checks: the checks, schools (strongest first), and each instance's p-value of
    its surprise with a flag for those found at a false discovery rate of 5 %.

    Example:
        >>> Checks((), (), np.array([0.001, 0.5]), np.array([True, False])).surprising.tolist()
        [True, False]
    """

    checks: tuple[Check, ...]
    schools: tuple[School, ...]
    surprise: Float[np.ndarray, " I"]
    surprising: Bool[np.ndarray, " I"]


def residuals(
    labels: Labels, parameters: Parameters, config: IntegratedConfig, center: Float[Array, " I"] | None = None
) -> Residuals:
    """Compute the residuals of the labels at the posterior means of φ(x_j). Every stored triple counts once.

    Example: two labelers who differ on an instance leave it surprising, on the next they agree
        >>> from crowdjax.integrated import start
        >>> labels, config = Labels.from_arrays([0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1]), IntegratedConfig()
        >>> found = residuals(labels, start(config, 2), config)
        >>> bool(found.surprise[0] > found.surprise[1]), float(found.share_of_yes)
        (True, 0.75)
    """
    design = jnp.asarray(config.design, parameters.labelers.dtype)
    phi = expectations(labels, parameters, config, design, center)
    labeler, instance, n = labels.labeler, labels.instance, labels.n_instances
    eta = sum(parameters.labelers[labeler, k] * phi[instance, k] for k in range(design.shape[1]))
    m, real = jax.nn.sigmoid(eta), (labels.counts > 0).astype(design.dtype)
    e, v = real * ((labels.label > 0) - m), real * m * (1 - m)
    loss = -real * jax.nn.log_sigmoid(jnp.where(labels.label > 0, eta, -eta))
    terms = (e, v, e * e, v * v, loss, real, real * (labels.label > 0))
    e_j, v_j, ee, vv, surprise, votes, yes = (sum_by(t, instance, n, ordered=True) for t in terms)
    pairs = (e_j**2 - ee).sum() / jnp.sqrt(jnp.maximum((v_j**2 - vv).sum(), jnp.finfo(e.dtype).tiny))
    fifth = jnp.minimum(jnp.floor(FIFTHS * yes / jnp.maximum(votes, 1)), FIFTHS - 1).astype(int)
    fifths = jnp.zeros(FIFTHS, e.dtype).at[fifth].add((votes >= FEWEST_VOTES).astype(e.dtype))
    return Residuals(e, v, yes.sum() / votes.sum(), fifths, pairs, surprise)


def replicate(
    key: PRNGKeyArray,
    labels: Labels,
    parameters: Parameters,
    config: IntegratedConfig,
    center: Float[Array, " I"] | None = None,
    *,
    given: bool = False,
) -> Labels:
    """Draw labels for the same pairs of labeler and instance from the model, with x_j drawn from the population or,
    with ``given``, from its posterior given these labels.

    Example: of the same labelers on the same instances
        >>> from crowdjax.integrated import start
        >>> labels, config = Labels.from_arrays([0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0]), IntegratedConfig(spread=0.0)
        >>> drawn = replicate(jax.random.key(0), labels, start(config, 2), config)
        >>> drawn.labeler.tolist(), drawn.label.shape
        ([0, 1, 0, 1], (4,))
    """
    of_instances, of_labels = jax.random.split(key)
    nobody = labels if given else dataclasses.replace(labels, weight=jnp.zeros(labels.label.shape))
    point = draw_points(of_instances, nobody, parameters, config, center)
    design = jnp.asarray(config.design, parameters.labelers.dtype)
    eta = jnp.matmul(parameters.labelers, design.T, precision=PRECISION)[labels.labeler, point[labels.instance]]
    yes = jax.random.uniform(of_labels, eta.shape, eta.dtype) < jax.nn.sigmoid(eta)
    return dataclasses.replace(labels, label=jnp.where(labels.real, yes, -1).astype(labels.label.dtype), gold=None)


_residuals = eqx.filter_jit(residuals)


@eqx.filter_jit
def _of_replicates(key, labels, parameters, config, center):
    """Compute the residuals of a replicate at the instances' own x_j, with the statistics of the votes of one at new
    x_j."""
    given, anew = (
        residuals(replicate(k, labels, parameters, config, center, given=given), parameters, config, center)
        for k, given in zip(jax.random.split(key), (True, False), strict=True)
    )
    return given._replace(share_of_yes=anew.share_of_yes, fifths=anew.fifths)


def check(
    key: PRNGKeyArray,
    labels: Labels,
    parameters: Parameters,
    config: IntegratedConfig,
    features: Features = Features(),
    replicates: int = 99,
) -> Checks:
    """Compare statistics of the labels with those of replicates. Host side; deterministic for a key.

    Args:
        labels: the labels of the fit; gold is not used.
        parameters, config, features: those of the fit.
        replicates: number of replicates; p-values are multiples of 1 / (1 + replicates).

    Example:
        >>> from crowdjax.integrated import start
        >>> labels, config = Labels.from_arrays([0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0]), IntegratedConfig(spread=0.0)
        >>> found = check(jax.random.key(0), labels, start(config, 2), config, replicates=3)
        >>> [check.name for check in found.checks]
        ['share of yes', 'vote counts', 'agreement', 'schools']
    """
    from scipy.stats import false_discovery_control  # slow to import

    labels = dataclasses.replace(labels, gold=None)
    center = centers(parameters, features)
    schools = partial(_directions, *_busiest(labels))
    on_device = jax.device_put(labels)  # once, for all replicates
    found = jax.tree.map(np.asarray, _residuals(on_device, parameters, config, center))
    n_labels = np.bincount(np.asarray(labels.instance), np.asarray(labels.counts) > 0, labels.n_instances).astype(int)
    strength, vectors, rows = schools(found)
    statistics, largest, surprises = [], [], []
    for k in range(replicates):
        drawn = _of_replicates(jax.random.fold_in(key, k), on_device, parameters, config, center)
        drawn = jax.tree.map(np.asarray, drawn)
        statistics.append((drawn.share_of_yes, drawn.fifths, drawn.agreement))
        largest.append(schools(drawn, vectors=False)[0][0])
        surprises.append(drawn.surprise)
    share, fifths, agreement = (np.array(v, float) for v in zip(*statistics, strict=True))
    usual = fifths.mean(0)
    off = lambda h: ((h - usual) ** 2 / np.maximum(usual, 1)).sum(-1)  # noqa: E731
    checks = (
        Check("share of yes", float(found.share_of_yes), share.mean(), _two_sided(found.share_of_yes, share)),
        Check("vote counts", off(found.fifths), off(fifths).mean(), _upper(off(found.fifths), off(fifths))),
        Check("agreement", float(found.agreement), agreement.mean(), _upper(found.agreement, agreement)),
        Check("schools", float(strength[0]), np.mean(largest), _upper(strength[0], largest)),
    )
    threshold = float(np.quantile(largest, 1 - LEVEL))
    p = _among_equals(found.surprise, np.array(surprises), n_labels)
    kept = [k for k in range(len(strength)) if strength[k] > threshold] if checks[-1].p <= LEVEL else []
    return Checks(
        checks,
        tuple(School(float(strength[k]), threshold, _sides(vectors[:, k], rows, labels.n_labelers)) for k in kept),
        p,
        false_discovery_control(p) <= LEVEL,
    )


def _upper(observed, drawn) -> float:
    return float((1 + np.count_nonzero(np.asarray(drawn) >= observed)) / (1 + len(drawn)))


def _two_sided(observed, drawn) -> float:
    return min(1.0, 2 * min(_upper(observed, drawn), _upper(-observed, -drawn)))


def _among_equals(observed, drawn, n_labels) -> Float[np.ndarray, " I"]:
    """Return p-values of instances among the replicates of all instances with as many labels."""
    p = np.ones(len(observed))
    for n in np.unique(n_labels[n_labels > 0]):
        here = n_labels == n
        others = np.sort(drawn[:, here], axis=None)
        p[here] = (1 + len(others) - np.searchsorted(others, observed[here], side="left")) / (1 + len(others))
    return p


def _busiest(labels: Labels):
    """Return (labelers among whom schools are looked for, their triples, how many instances two have in common)."""
    real = np.asarray(labels.counts) > 0
    n = np.bincount(np.asarray(labels.labeler)[real], minlength=labels.n_labelers)
    rows = np.sort(np.argsort(-n, kind="stable")[:BUSIEST])
    place = np.full(labels.n_labelers, -1)
    place[rows] = np.arange(len(rows))
    chosen = np.flatnonzero(real & (place[np.asarray(labels.labeler)] >= 0))
    where = (place[np.asarray(labels.labeler)[chosen]], np.asarray(labels.instance)[chosen])
    shape = (len(rows), labels.n_instances)
    once = sparse.csr_matrix((np.ones(len(chosen)), where), shape)
    return rows, chosen, where, shape, (once @ once.T).toarray()


def _directions(rows, chosen, where, shape, common, found: Residuals, vectors: bool = True):
    """Return (eigenvalues from the largest, eigenvectors, labelers) of the correlations of residuals."""

    def products(values):
        table = sparse.csr_matrix((np.asarray(values, float)[chosen], where), shape)
        return (table @ table.T).toarray()

    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(common >= FEWEST_COMMON, products(found.error) / np.sqrt(products(found.variance)), 0.0)
    z = np.nan_to_num(z, posinf=0.0, neginf=0.0)
    np.fill_diagonal(z, 0.0)
    if not vectors:
        return np.linalg.eigvalsh(z)[::-1], None, rows
    values, columns = np.linalg.eigh(z)
    return values[::-1], columns[:, ::-1], rows


def _sides(vector, rows, n_labelers: int) -> Int[np.ndarray, " W"]:
    """Return +1 for the larger side, -1 for the other, 0 for who has no part in it."""
    member = abs(vector) >= MEMBER / np.sqrt(len(vector))
    side = np.sign(vector) * member
    side *= 1 if (side > 0).sum() >= (side < 0).sum() else -1
    out = np.zeros(n_labelers, int)
    out[rows] = side
    return out
