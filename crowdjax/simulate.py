"""Simulated label sets with known truth, factors and probabilities of correct labels.

The studies' generators are pure functions of a key on a fixed grid of all labelers x instances, with weight 0 where a
judgement was not asked for: the pattern of the triples is the same in every repeat, so repeats are one vmap.
``power_law`` makes large sparse sets on the host, for benchmarks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int8, PRNGKeyArray

from crowdjax.factor.features import PRECISION
from crowdjax.factor.kernels import Factors
from crowdjax.labels import Labels
from crowdjax.score_log import ScoreLog, Shape, from_log

__all__ = [
    "LargeCrowd",
    "SampledCrowd",
    "Scenario",
    "ScoreLog",
    "ScoredCrowd",
    "Simulation",
    "coins",
    "from_log",
    "grid",
    "judgements",
    "mixed",
    "power_law",
    "prevalence_crowd",
    "scenario_functions",
    "section4",
    "smile_factors",
    "smiles",
    "specialists",
    "systematic",
    "theodon",
    "theodon_functions",
]


class Simulation(NamedTuple):
    """A simulated crowd on a grid of all labelers and instances: labels, truths, factors and features.

    Labels and truths are codes, here and in the other crowds.

    Example:
        >>> crowd = Simulation(np.array([1, 0]), np.ones(2), np.array([1]), None)
        >>> crowd.on(grid(2, 1)).label.tolist()
        [1, 0]
    """

    label: Int8[Array, " W*I"]
    weight: Float[Array, " W*I"]
    truth: Int8[Array, " I"]
    factors: Factors
    labeler_features: Float[Array, "W F"] | None = None
    instance_features: Float[Array, "I F2"] | None = None

    def on(self, grid: Labels) -> Labels:
        """Build the ``Labels`` of the simulation on its grid."""
        return dataclasses.replace(grid, label=self.label, weight=self.weight)


def grid(n_labelers: int, n_instances: int) -> Labels:
    """Build the triples of all W·I pairs of labelers and instances, in stored order and with label 1; a ``Simulation``
    fills in the labels.

    Example:
        >>> cells = grid(2, 3)
        >>> cells.labeler.tolist(), cells.instance.tolist()
        ([0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2])
    """
    labeler = np.tile(np.arange(n_labelers), n_instances)
    instance = np.repeat(np.arange(n_instances), n_labelers)
    return Labels.from_arrays(labeler, instance, np.ones(labeler.size, np.int8), blocks=False)


def judgements(key: PRNGKeyArray, factors: Factors, truth: Int8[Array, " I"]) -> Int8[Array, " W*I"]:
    """Draw a label of every labeler on every instance, in the order of ``grid``.

        logit P(L_ij = +1 | z_j) = z_j α_i·β_j + γ_i

    Example: labelers who are always right
        >>> factors = Factors(jnp.full((2, 1), 99.0), jnp.ones((3, 1)), None, jnp.zeros(3))
        >>> judgements(jax.random.key(0), factors, jnp.array([1, 0, 1], jnp.int8)).tolist()
        [1, 1, 0, 0, 1, 1]

    Source: Ruvolo, Whitehill, Movellan (2013), equation 1.
    """
    s = jnp.matmul(factors.beta, factors.alpha.T, precision=PRECISION)  # [I, W]
    logit = (2 * truth[:, None] - 1) * s + (0.0 if factors.gamma is None else factors.gamma)
    return jax.random.bernoulli(key, jax.nn.sigmoid(logit)).astype(jnp.int8).ravel()


def coins(key: PRNGKeyArray, n: int, p: float = 0.5) -> Int8[Array, " n"]:
    """Draw n truths, each 1 with probability p.

    Example:
        >>> coins(jax.random.key(0), 3, p=1.0).tolist()
        [1, 1, 1]
    """
    return jax.random.bernoulli(key, p, (n,)).astype(jnp.int8)


def section4(
    key: PRNGKeyArray,
    n_labelers: int,
    n_instances: int,
    *,
    n_features: int = 4,
    spread: float = 0.5,
    density: float = 0.4,
    active: Int[Array, ""] | int | None = None,
) -> Simulation:
    """Simulate the setting of section 4: one factor without bias, with labelers' and instances' factors linear in known
    features.

        α_i = w_0 + Σ_k w_k x_ik      x_ik ~ N(0, spread²)    w_0 ~ N(1, spread²), w_k ~ N(0, spread²)    β_j likewise

    Args:
        density: probability that a labeler labels an instance.
        active: number of labelers who give labels, the first ones (may be traced: one program for all sizes of crowd).

    Returns:
        features without their constant column; truths are fair coins.

    Example:
        >>> import jax
        >>> crowd = section4(jax.random.key(0), 10, 20, active=8)
        >>> crowd.factors.alpha.shape, float(crowd.weight.reshape(20, 10)[:, 8:].sum())
        ((10, 1), 0.0)

    Source: Ruvolo, Whitehill, Movellan (2013), section 4.
    """
    k_labeler, k_instance, k_truth, k_label, k_asked = jax.random.split(key, 5)

    def side(key, n):
        k_x, k_w = jax.random.split(key)
        x = spread * jax.random.normal(k_x, (n, n_features))
        w = spread * jax.random.normal(k_w, (n_features + 1,))
        return x, 1 + w[0] + (x * w[1:]).sum(1)

    labeler_features, alpha = side(k_labeler, n_labelers)
    instance_features, beta = side(k_instance, n_instances)
    factors = Factors(alpha[:, None], beta[:, None], None, jnp.zeros(n_instances))
    truth = coins(k_truth, n_instances)
    asked = jax.random.bernoulli(k_asked, density, (n_instances, n_labelers))
    asked &= jnp.arange(n_labelers) < (n_labelers if active is None else active)
    return Simulation(
        judgements(k_label, factors, truth),
        asked.ravel().astype(alpha.dtype),
        truth,
        factors,
        labeler_features,
        instance_features,
    )


def smile_factors(detector: Float[Array, " I"]) -> Float[Array, "I 3"]:
    """Compute the instance factors of ``smiles`` from a detector's output: one that is low above the median (an
    exaggerated social smile fools many), one that changes sign there, and one that sets middling outputs apart.

    Example: outputs far apart differ in the second factor
        >>> smile_factors(jnp.array([-1.0, 1.0]))[:, 1].round(1).tolist() == [-1.0, 1.0]
        True

    Source: Ruvolo, Whitehill, Movellan (2013), Figure 4; the shapes are ours.
    """
    easy = 1.3 - jax.nn.sigmoid(4 * (detector - 0.3))
    side = jnp.tanh(2 * detector)
    middle = 2 * jnp.exp(-2 * detector**2) - 1
    return jnp.stack([easy, side, middle], axis=1)


def smiles(
    key: PRNGKeyArray,
    n_labelers: int = 20,
    n_instances: int = 160,
    *,
    ability: tuple[float, float] = (0.6, 0.8),
    further: tuple[float, float] = (0.7, 0.5),
    bias: float = 0.5,
    positives: float = 0.36,
) -> Simulation:
    """Simulate a stand-in for the smile study of section 5, whose detector outputs were never published.

    Every labeler judges every instance. The instance factors are functions of a detector's output (``smile_factors``);
    the labelers' are free: α_1 ~ N(ability), α_2, α_3 ~ N(0, further²), γ ~ N(0, bias²). Labelers thus differ in what
    they are good at, not only in how good they are.

    Args:
        ability: mean and standard deviation of α_1.
        positives: probability that a truth is 1 (.36 in the real study).

    Returns:
        a simulation whose one instance feature is the detector's output, ~ N(0, 1).

    Example:
        >>> crowd = smiles(jax.random.key(0), 10, 20)
        >>> crowd.label.shape, crowd.factors.alpha.shape
        ((200,), (10, 3))

    Source: Ruvolo, Whitehill, Movellan (2013), section 5; the shapes are ours.
    """
    k_detector, k_alpha, k_bias, k_truth, k_label = jax.random.split(key, 5)
    detector = jax.random.normal(k_detector, (n_instances,))
    mean, sd = jnp.array([ability[0], 0.0, 0.0]), jnp.array([ability[1], *further])
    factors = Factors(
        alpha=mean + sd * jax.random.normal(k_alpha, (n_labelers, 3)),
        beta=smile_factors(detector),
        gamma=bias * jax.random.normal(k_bias, (n_labelers,)),
        prior_logit=jnp.zeros(n_instances),
    )
    truth = coins(k_truth, n_instances, positives)
    label = judgements(k_label, factors, truth)
    return Simulation(label, jnp.ones(label.shape), truth, factors, None, detector[:, None])


def mixed(
    key: PRNGKeyArray,
    n_labelers: int,
    n_instances: int,
    *,
    per_instance: Int[Array, ""] | int = 5,
    active: Int[Array, ""] | int | None = None,
    ability: tuple[float, float] = (1.3, 0.5),
    bias: tuple[float, float] = (0.0, 0.5),
    clarity: float = 0.5,
    positives: float = 0.5,
    spammers: float = 0.0,
    adversaries: float = 0.0,
) -> Simulation:
    """Simulate a crowd of able labelers, spammers and adversaries on instances that are more or less clear.

        logit P(L_ij = +1 | z_j) = z_j κ_i α_i β_j + γ_i
        α_i ~ N(ability)      γ_i ~ N(bias)      β_j ~ exp(N(0, clarity²))      κ_i = 1, 0 (spammer) or -1 (adversary)

    Args:
        per_instance: number of labelers of each instance, chosen at random (may be traced).
        active: number of labelers who give labels, the first ones (may be traced).
        ability, bias: mean and standard deviation; the mean of ``bias`` is shared by the whole crowd.
        positives: probability that a truth is 1.
        spammers, adversaries: probabilities that a labeler is one.

    Example:
        >>> import jax
        >>> crowd = mixed(jax.random.key(0), 10, 20, per_instance=3, active=5)
        >>> sorted(set(crowd.weight.reshape(20, 10).sum(1).tolist())), float(crowd.weight.reshape(20, 10)[:, 5:].sum())
        ([3.0], 0.0)

    Source: the settings are ours; the kinds of labelers are those of Raykar and Yu 2012.
    """
    k_kind, k_alpha, k_bias, k_clarity, k_truth, k_label, k_asked = jax.random.split(key, 7)
    kind = jax.random.uniform(k_kind, (n_labelers,))
    sign = jnp.where(kind < spammers, 0.0, jnp.where(kind < spammers + adversaries, -1.0, 1.0))
    alpha = sign * (ability[0] + ability[1] * jax.random.normal(k_alpha, (n_labelers,)))
    gamma = bias[0] + bias[1] * jax.random.normal(k_bias, (n_labelers,))
    beta = jnp.exp(clarity * jax.random.normal(k_clarity, (n_instances,)))
    factors = Factors(alpha[:, None], beta[:, None], gamma, jnp.full(n_instances, jnp.log(positives / (1 - positives))))
    truth = coins(k_truth, n_instances, positives)
    there = jnp.arange(n_labelers) < (n_labelers if active is None else active)
    turn = jnp.where(there, jax.random.uniform(k_asked, (n_instances, n_labelers)), 2.0)
    asked = (turn.argsort(1).argsort(1) < per_instance) & there
    return Simulation(judgements(k_label, factors, truth), asked.ravel().astype(alpha.dtype), truth, factors)


def specialists(n_labelers: int = 1, n_instances: int = 1) -> Factors:
    """Build the factors of an example: ``n_labelers`` specialists and as many generalists, ``n_instances`` instances of
    the specialists' kind and as many others.

    Example:
        >>> from crowdjax.factor import correctness
        >>> [[round(float(p), 2) for p in row] for row in correctness(specialists())[0]]
        [[0.95, 0.7], [0.8, 0.8]]

    Source: Ruvolo, Whitehill, Movellan (2013), section 2.1.
    """
    alpha = jnp.repeat(jnp.array([[0.848, 1.0], [1.386, 0.0]]), n_labelers, axis=0)
    beta = jnp.repeat(jnp.array([[1.0, 2.094], [1.0, 0.0]]), n_instances, axis=0)
    return Factors(alpha, beta, None, jnp.zeros(2 * n_instances))


@dataclasses.dataclass(frozen=True)
class LargeCrowd:
    """A sparse crowd of any size, drawn in chunks on the host; the labels do not depend on how the chunks are used.

    Attributes:
        truth: 0 or 1.
        sensitivity, specificity: of every labeler; labeler 0 is the busiest.
        popularity: cumulative probabilities that a judgement is by labeler 0, 1, ...

    Example: the same labels, whatever the chunks
        >>> crowd = power_law(0, 100)
        >>> sum(len(labeler) for labeler, _, _ in crowd.chunks())
        100
    """

    seed: int
    n_labels: int
    truth: Int8[np.ndarray, " I"]
    sensitivity: Float[np.ndarray, " W"]
    specificity: Float[np.ndarray, " W"]
    popularity: Float[np.ndarray, " W"]
    chunk: int = 2**22

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Iterate over (labeler, instance, label) in chunks of at most ``chunk`` judgements, instances in order."""
        n_instances = len(self.truth)
        for k, start in enumerate(range(0, self.n_labels, self.chunk)):
            rng = np.random.default_rng([self.seed, 1, k])
            row = np.arange(start, min(start + self.chunk, self.n_labels))
            labeler = np.searchsorted(self.popularity, rng.random(len(row)), side="right").astype(np.int32)
            instance = (row * n_instances // self.n_labels).astype(np.int32)
            positive = self.truth[instance] > 0
            yes = np.where(positive, self.sensitivity[labeler], 1 - self.specificity[labeler])
            yield labeler, instance, (rng.random(len(row)) < yes).astype(np.int8)

    def labels(self) -> Labels:
        """Build the ``Labels`` of all chunks."""
        labeler, instance, label = (np.concatenate(parts) for parts in zip(*self.chunks(), strict=True))
        return Labels.from_arrays(
            labeler, instance, label, n_labelers=len(self.sensitivity), n_instances=len(self.truth)
        )


def power_law(
    seed: int,
    n_labels: int,
    *,
    n_labelers: int | None = None,
    n_instances: int | None = None,
    exponent: float = 1.0,
    ability: tuple[float, float] = (1.0, 0.7),
    bias: float = 0.5,
) -> LargeCrowd:
    """Simulate a sparse crowd, for benchmarks, in which labeler k gives judgements in proportion to 1/(k + 1)^exponent.

    Labelers are two-coin: s ~ N(ability), γ ~ N(0, bias²). Instances get n_labels / n_instances judgements each (whole
    numbers, as even as can be); a busy labeler may judge one twice. Truths are fair coins.

    Args:
        n_labelers: W; default: one per 1000 labels, at least 5.
        n_instances: I; default: one per 10 labels.

    Example:
        >>> crowd = power_law(0, 10_000)
        >>> labels = crowd.labels()
        >>> labels.n_instances, labels.n_labelers
        (1000, 10)
    """
    n_labelers = max(5, n_labels // 1000) if n_labelers is None else n_labelers
    n_instances = max(1, n_labels // 10) if n_instances is None else n_instances
    if not (1 <= n_instances <= n_labels and n_labelers >= 1):
        raise ValueError(
            f"{n_labels} labels of {n_instances} instances by {n_labelers} labelers; allowed: at least one label per "
            "instance, and a labeler"
        )
    rng = np.random.default_rng([seed, 0])
    s, gamma = rng.normal(*ability, n_labelers), rng.normal(0, bias, n_labelers)
    share = (1.0 + np.arange(n_labelers)) ** -exponent
    popularity = np.cumsum(share / share.sum())
    popularity[-1] = 1.0
    return LargeCrowd(
        seed,
        n_labels,
        truth=rng.choice(np.array([0, 1], np.int8), n_instances),
        sensitivity=1 / (1 + np.exp(-s - gamma)),
        specificity=1 / (1 + np.exp(-s + gamma)),
        popularity=popularity,
    )


class ScoredCrowd(NamedTuple):
    """Simulated labels whose prevalence and accuracy depend on a score: triples in order of instance, per_instance
    each.

    ``weight`` is one over the chance of being sampled, up to a constant; ``population`` the scores sampled from.

    Example:
        >>> who, what = np.array([0, 1]), np.array([0, 1])
        >>> ScoredCrowd(np.array([0.2, 0.9]), None, who, what, np.array([0, 1]), None, None).labels(2).label.tolist()
        [0, 1]
    """

    score: Float[Array, " I"]
    truth: Int8[Array, " I"]
    labeler: Int[Array, " N"]
    instance: Int[Array, " N"]
    label: Int8[Array, " N"]
    weight: Float[Array, " I"]
    population: Float[Array, " K"]

    def labels(self, n_labelers: int) -> Labels:
        """Build the ``Labels`` of ``n_labelers`` labelers."""
        return Labels.from_arrays(
            self.labeler, self.instance, self.label, n_labelers=n_labelers, n_instances=len(self.score)
        )


def theodon_functions(
    score: Float[Array, " n"], shape: Shape = "linear", *, rare: bool = False
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
    """Compute (prevalence, sensitivity, specificity) as functions of the score.

        π = .01 + .15 s - .2 s² + .8 s³ (rare: .0001 + .8 s³)     sens = .6 + .35 h(s), spec = .6 + .35 h(1 - s)

    with h(s) = s (linear), √s (concave, accurate) or s² (convex, inaccurate). The forms are published; the numbers are
    ours.

    Args:
        score: in [0, 1], shape [n].

    Example: labelers are better at likely positives and at likely negatives
        >>> _, sensitivity, specificity = theodon_functions(jnp.array([0.0, 1.0]))
        >>> sensitivity.round(2).tolist() == specificity[::-1].round(2).tolist()
        True

    Source: Nguyen, Ramakrishnan, Weinsberg (2022), evaluation; the constants are ours (docs/contextual.md).
    """
    h = {"linear": lambda s: s, "concave": jnp.sqrt, "convex": jnp.square}[shape]
    prevalence = 1e-4 + 0.8 * score**3 if rare else 0.01 + 0.15 * score - 0.2 * score**2 + 0.8 * score**3
    return jnp.clip(prevalence, 1e-4 if rare else 1e-3, 0.999), 0.6 + 0.35 * h(score), 0.6 + 0.35 * h(1 - score)


def theodon(
    key: PRNGKeyArray,
    n_instances: int,
    per_instance: int,
    n_labelers: int,
    *,
    shape: Shape = "linear",
    rare: bool = False,
    population: int = 100_000,
) -> ScoredCrowd:
    """Simulate labels from functions of a score: scores Beta(.8, 2), or Beta(.3, 8) for rare events.

    For rare events (about one in a thousand) instances are drawn from a population with chances in proportion to
    .01 + score, so that likely positives are over-represented; otherwise the sample is the population.

    Args:
        per_instance: number of labels of each instance, by different labelers drawn at random.
        population: number of scores from which the rare design samples.

    Example:
        >>> import jax
        >>> crowd = theodon(jax.random.key(0), 100, 3, 10)
        >>> crowd.labels(10).label.shape
        (300,)

    Source: Nguyen, Ramakrishnan, Weinsberg (2022), evaluation; the constants are ours (docs/contextual.md).
    """
    k_score, k_sample, k_truth, k_labeler, k_label = jax.random.split(key, 5)
    if rare:
        everyone = jax.random.beta(k_score, 0.3, 8.0, (population,))
        chance = 0.01 + everyone
        sampled = jax.random.choice(k_sample, population, (n_instances,), p=chance / chance.sum())
        score, weight = everyone[sampled], 1 / chance[sampled]
    else:
        everyone = score = jax.random.beta(k_score, 0.8, 2.0, (n_instances,))
        weight = jnp.ones(n_instances)
    prevalence, sensitivity, specificity = theodon_functions(score, shape, rare=rare)
    truth = jax.random.bernoulli(k_truth, prevalence).astype(jnp.int8)
    order = jnp.argsort(jax.random.uniform(k_labeler, (n_instances, n_labelers)), axis=1)
    labeler = order[:, :per_instance].ravel()
    instance = jnp.repeat(jnp.arange(n_instances), per_instance)
    yes = jnp.where(truth > 0, sensitivity, 1 - specificity)[instance]
    label = jax.random.bernoulli(k_label, yes).astype(jnp.int8)
    return ScoredCrowd(score, truth, labeler, instance, label, weight, everyone)


Scenario = Literal["plain", "poor", "shy", "rare", Shape]
# Accuracies at scores 0 and 1, linear in between: sensitivity rises, specificity falls.
ACCURACIES = {
    "plain": ((0.70, 0.95), (0.97, 0.87)),
    "poor": ((0.55, 0.90), (0.95, 0.62)),
    "shy": ((0.30, 0.85), (0.985, 0.93)),
    "rare": ((0.70, 0.92), (0.985, 0.88)),
}


def scenario_functions(
    score: Float[np.ndarray, " n"], scenario: Scenario | ScoreLog
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Compute (prevalence, sensitivity, specificity) of a typical labeler as functions of the score, for a named
    scenario.

        plain  π = .03 + .6 s, rate .20      labelers are right more often than not, everywhere
        poor   π as in ``theodon``, rate .09 positives are missed and negatives mistaken
        shy    π = .02 + .58 s, rate .19     labelers miss more than half of the positives at low scores
        rare   π = .00001 + 6.4 s⁴, rate .001

    and ``linear``, ``concave`` and ``convex`` as in ``theodon_functions``, rate .09; or what a log of scores says
    (``from_log``), with accuracies as in ``theodon_functions``.

    Example: shy labelers call few positives positive where the score is low
        >>> _, sensitivity, _ = scenario_functions(np.array([0.0, 1.0]), "shy")
        >>> sensitivity.round(2).tolist()
        [0.3, 0.85]
    """
    s = np.asarray(score, float)
    if isinstance(scenario, ScoreLog):
        _, *accuracy = theodon_functions(s, scenario.shape)
        return scenario.prevalence(s), *(np.asarray(v, float) for v in accuracy)
    if scenario not in ACCURACIES:
        return tuple(np.asarray(v, float) for v in theodon_functions(s, scenario))
    prevalence = {
        "plain": 0.03 + 0.6 * s,
        "poor": 0.01 + 0.15 * s - 0.2 * s**2 + 0.8 * s**3,
        "shy": 0.02 + 0.58 * s,
        "rare": np.minimum(1e-5 + 6.4 * s**4, 0.95),
    }[scenario]
    sensitivity, specificity = (low + (high - low) * s for low, high in ACCURACIES[scenario])
    return prevalence, sensitivity, specificity


class SampledCrowd(NamedTuple):
    """Simulated labels of a sample from a population whose share of positives is known.

    Attributes:
        crowd: labels, scores and truths of the sampled instances, their sampling weights (one over the chance of being
            sampled) and the population's scores.
        rate: the share of positives in the population.
        offsets: offsets of every labeler on the logits of sensitivity and specificity, shape [W, 2].
        scenario: the scenario of the functions.
        slopes: slopes of every labeler on these logits, times 2 s - 1; shape [W, 2].

    Example:
        >>> drawn = prevalence_crowd("poor", 0)
        >>> drawn.labels.n_instances, round(drawn.rate, 2), round(float(drawn.crowd.weight.sum()))
        (1000, 0.09, 50000)
    """

    crowd: ScoredCrowd
    rate: float
    offsets: Float[np.ndarray, "W 2"]
    scenario: Scenario | ScoreLog
    slopes: Float[np.ndarray, "W 2"]

    @property
    def labels(self) -> Labels:
        """The ``Labels`` of the sample."""
        return self.crowd.labels(len(self.offsets))

    def functions(self, score: Float[np.ndarray, " n"]) -> Float[np.ndarray, "3 n"]:
        """Compute the prevalence, and the crowd's sensitivity and specificity: averages over labelers, weighted by
        their labels.
        """
        share = np.bincount(self.crowd.labeler, minlength=len(self.offsets)) / len(self.crowd.labeler)
        crowd = np.einsum("w,wkn->kn", share, self.accuracies(score))
        return np.stack([scenario_functions(score, self.scenario)[0], *crowd])

    def accuracies(self, score: Float[np.ndarray, " n"]) -> Float[np.ndarray, "W 2 n"]:
        """Compute every labeler's sensitivity and specificity at the scores."""
        accuracy = np.array(scenario_functions(score, self.scenario)[1:])
        own = self.offsets[:, :, None] + self.slopes[:, :, None] * (2 * np.asarray(score) - 1)
        return 1 / (1 + np.exp(-np.log(accuracy) + np.log1p(-accuracy) - own))

    def gold(self, n: int, seed: int) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Draw n instances for gold with probabilities that depend on votes and weights; return (instances, inclusion
        probabilities).

        Chances are in proportion to √(p(1 - p)), p = (positive labels + .1) / (labels + .5); where positives are
        ``rare``, to (share of positive labels + .05) w^¼.

        Example:
            >>> rows, chance = prevalence_crowd("poor", 0).gold(100, 0)
            >>> len(set(rows.tolist())), bool((chance <= 1).all())
            (100, True)
        """
        c = self.crowd
        labels = np.bincount(c.instance, minlength=len(c.score))
        votes = np.bincount(c.instance, c.label, minlength=len(c.score))
        p = (votes + 0.1) / (labels + 0.5)
        size = (votes / labels + 0.05) * c.weight**0.25 if self.scenario == "rare" else np.sqrt(p * (1 - p))
        chance = np.minimum(n * size / size.sum(), 1)
        while abs(chance.sum() - n) > 1e-9 * n:
            free = chance < 1
            chance[free] = np.minimum((n - (~free).sum()) * size[free] / size[free].sum(), 1)
        rows = systematic(np.random.default_rng([seed, 18]), chance, n)
        return rows, chance[rows]


def prevalence_crowd(
    scenario: Scenario | ScoreLog,
    seed: int,
    *,
    n_instances: int = 1000,
    per_instance: int = 2,
    n_labelers: int | None = None,
    population: int | None = None,
    spread: float = 0.4,
    slope: float = 0.0,
) -> SampledCrowd:
    """Simulate a crowd that labels a sample of a population, for studies of the prevalence (``scenario_functions``).

    Scores are Beta(.8, 2) and every instance has the same chance of being sampled; in the scenario ``rare`` scores are
    Beta(.3, 10) and chances are in proportion to .001 + s², so that some 24 of 1000 sampled instances are positive.
    Logits of sensitivity and specificity differ between labelers by N(0, spread²), and by N(0, slope²) (2 s - 1): with
    a slope every labeler has curves of its own.

    Args:
        scenario: a name, or your own log of scores (``from_log``).
        per_instance: number of labels of each instance, by different labelers drawn at random.
        n_labelers: number of labelers; default: 10, or 5 in ``rare``.
        population: number of instances in the population; default: 50 000, or 200 000 in ``rare``.

    Example: the same again
        >>> bool((prevalence_crowd("rare", 3).crowd.label == prevalence_crowd("rare", 3).crowd.label).all())
        True
    """
    rng = np.random.default_rng([seed, 17])
    rare = scenario == "rare"
    n_labelers = n_labelers or (5 if rare else 10)
    n = population or (200_000 if rare else 50_000)
    own = isinstance(scenario, ScoreLog)
    everyone = scenario.draw(rng, n) if own else rng.beta(*((0.3, 10) if rare else (0.8, 2)), n)
    positive = rng.random(n) < scenario_functions(everyone, scenario)[0]
    size = 0.001 + everyone**2 if rare else np.ones(n)
    chance = np.minimum(n_instances * size / size.sum(), 1)
    sampled = rng.permutation(systematic(rng, chance, n_instances))
    score, truth = everyone[sampled], positive[sampled]
    offsets = spread * rng.standard_normal((n_labelers, 2))
    slopes = slope * np.random.default_rng([seed, 19]).standard_normal((n_labelers, 2))
    labeler = rng.random((n_instances, n_labelers)).argsort(1)[:, :per_instance].ravel()
    instance = np.repeat(np.arange(n_instances), per_instance)
    _, sensitivity, specificity = scenario_functions(score[instance], scenario)
    right = np.where(truth[instance], sensitivity, specificity)
    which = labeler, np.where(truth[instance], 0, 1)
    logit = np.log(right / (1 - right)) + offsets[which] + slopes[which] * (2 * score[instance] - 1)
    label = (rng.random(len(logit)) < 1 / (1 + np.exp(-logit))) == truth[instance]
    crowd = ScoredCrowd(score, truth.astype(np.int8), labeler, instance, label.astype(np.int8),
                        1 / chance[sampled], everyone)  # fmt: skip
    return SampledCrowd(crowd, float(positive.mean()), offsets, scenario, slopes)


def systematic(rng: np.random.Generator, chance: Float[np.ndarray, " n"], size: int) -> Int[np.ndarray, " size"]:
    """Draw ``size`` distinct rows by systematic sampling: equal steps along the rows in random order, with inclusion
    probabilities ``chance`` that add up to size.

    Example:
        >>> systematic(np.random.default_rng(0), np.array([1.0, 0.0, 0.5, 0.5]), 2).tolist().count(0)
        1
    """
    order = rng.permutation(len(chance))
    steps = np.cumsum(chance[order])
    at = np.searchsorted(steps * (size / steps[-1]), rng.random() + np.arange(size))
    return order[np.minimum(at, len(order) - 1)]
