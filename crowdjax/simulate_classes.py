"""Generators of crowds with K classes whose truth is known: names, grades, and quizzes.

    nominal(key)    classes with names: labelers have tastes, and may mistake one class for another
    graded(key)     classes in order: labelers cut what they see into grades, each at cuts of his own
    quiz(key)       classes that are options of a question: the same number means nothing from one to the next

All are pure functions of a key on a fixed pattern of triples, so repeats are one vmap. Each first gives the chances
P(L_ij = l) of every labeler on every instance; none of them is a model that crowdjax fits where instances differ in
difficulty (``clarity``) or look like another class to everybody (``looks``).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int, PRNGKeyArray

from crowdjax.labels import Labels

__all__ = ["CROWDS", "ClassCrowd", "graded", "nominal", "quiz"]

CROWDS = {
    "benign": {},
    "shared bias": {"shared": (0.8, 0.3, -0.3, -0.8)},
    "confuse": {"confused": 0.5},
    "rare": {"prevalence": (0.75, 0.17, 0.05, 0.03)},
    "unlike": {"clarity": 0.5, "looks": 0.4},
}  # settings of ``nominal``, K = 4


class ClassCrowd(NamedTuple):
    """Labels of K classes as triples in order of instance, so many of each.

    Attributes:
        truth: 0 to K-1.
        confusion: P(label l | labeler i, class k), the mean over the instances of the class; NaN where there are none.
        label: 0 to L-1.

    Example:
        >>> who, what = np.array([0, 1]), np.array([0, 0])
        >>> labels = ClassCrowd(np.array([2]), np.ones((2, 3, 3)) / 3, who, what, np.array([2, 0])).labels()
        >>> labels.n_classes, labels.label.tolist()
        (3, [2, 0])
    """

    truth: Int[Array, " I"]
    confusion: Float[Array, "W K L"]
    labeler: Int[Array, " N"]
    instance: Int[Array, " N"]
    label: Int[Array, " N"]

    def labels(self) -> Labels:
        """Return the labels as judgements."""
        n_labelers, n_classes, n_values = self.confusion.shape
        sizes = dict(n_labelers=n_labelers, n_instances=len(self.truth), n_values=n_values, n_classes=n_classes)
        return Labels.from_arrays(*(np.asarray(a) for a in (self.labeler, self.instance, self.label)), **sizes)


def nominal(
    key: PRNGKeyArray,
    n_labelers: int = 40,
    n_instances: int = 600,
    n_classes: int = 4,
    *,
    per_instance: int = 6,
    ability: tuple[float, float] = (2.0, 1.0),
    bias: float = 0.7,
    shared: tuple[float, ...] | float = 0.0,
    confused: float = 0.0,
    prevalence: tuple[float, ...] | None = None,
    clarity: float = 0.0,
    looks: float = 0.0,
) -> ClassCrowd:
    """Simulate a crowd that names classes.

        P(L_ij = l | z_j) = softmax_l(γ_il + α_i β_j x_jl')      x_j = e_{z_j} + looks · N(0, I)
        α_i ~ max(N(ability), 0)      γ_i ~ N(shared, bias² I)      β_j = exp(clarity · N(0, 1))

    l' is l but for the confused, who take two neighbouring classes for each other: each of them two of his own.

    Args:
        per_instance: each instance is judged by so many labelers, drawn at random.
        shared: the bias of the whole crowd, for each class.
        confused: the share of labelers who are.
        prevalence: of the classes; by default all alike.
        clarity, looks: how much instances differ in difficulty, and how much they look like other classes to everybody.

    Example:
        >>> crowd = nominal(jax.random.key(0), 10, 20, **CROWDS["rare"])
        >>> crowd.label.shape, crowd.confusion.shape
        ((120,), (10, 4, 4))

    Source: the settings are ours.
    """
    k_truth, k_ability, k_bias, k_confused, k_pair, k_clarity, k_looks, k_label = jax.random.split(key, 8)
    truth = _truth(k_truth, n_instances, n_classes, prevalence)
    alpha = jnp.maximum(ability[0] + ability[1] * jax.random.normal(k_ability, (n_labelers,)), 0)
    gamma = jnp.asarray(shared) + bias * jax.random.normal(k_bias, (n_labelers, n_classes))
    beta = jnp.exp(clarity * jax.random.normal(k_clarity, (n_instances,)))
    x = jax.nn.one_hot(truth, n_classes) + looks * jax.random.normal(k_looks, (n_instances, n_classes))
    first = jax.random.randint(k_pair, (n_labelers, 1), 0, n_classes - 1)
    first = jnp.where(jax.random.bernoulli(k_confused, confused, (n_labelers, 1)), first, n_classes)
    named = jnp.arange(n_classes)
    named = named + (named == first) - (named == first + 1)  # [W, K]
    logit = gamma + alpha[:, None] * beta[:, None, None] * x[:, named]
    return _crowd(k_label, truth, n_classes, jax.nn.softmax(logit), per_instance)


def graded(
    key: PRNGKeyArray,
    n_labelers: int = 40,
    n_instances: int = 600,
    n_classes: int = 4,
    *,
    n_grades: int | None = None,
    per_instance: int = 6,
    noise: tuple[float, float] = (-0.5, 0.4),
    bias: float = 0.3,
    prevalence: tuple[float, ...] | None = None,
    looks: float = 0.0,
) -> ClassCrowd:
    """Simulate a crowd that grades: a labeler cuts the class plus noise at thresholds of their own.

        P(L_ij <= l) = Φ((c_l + b_i + d_il - x_j) / s_i)       x_j = z_j + looks · N(0, 1)
        log s_i ~ N(noise)      b_i ~ N(0, bias²): lenient or strict      d_il ~ N(0, bias²/4), then in order

    The c_l are equally spaced: halfway between the classes, where there are as many grades.

    Args:
        n_grades: L, how many grades there are; by default as many as classes.
        noise: mean and standard deviation of log s_i.
        looks: how far instances lie from their class to everybody.

    Example: nearly all labels are the class or a neighbour
        >>> crowd = graded(jax.random.key(0), 10, 20)
        >>> float((abs(crowd.label - crowd.truth[crowd.instance]) <= 1).mean()) > 0.9
        True

    Source: the settings are ours; cut points of a normal variable are those of Uebersax and Grove 1993.
    """
    k_truth, k_noise, k_bias, k_cut, k_looks, k_label = jax.random.split(key, 6)
    n_grades = n_grades or n_classes
    truth = _truth(k_truth, n_instances, n_classes, prevalence)
    x = truth + looks * jax.random.normal(k_looks, (n_instances,))
    s = jnp.exp(noise[0] + noise[1] * jax.random.normal(k_noise, (n_labelers, 1)))
    cuts = (jnp.arange(n_grades - 1) + 0.5) * (n_classes / n_grades) + (n_classes / n_grades - 1) / 2
    own = bias * jax.random.normal(k_bias, (n_labelers, 1))
    own = jnp.sort(cuts + own + bias / 2 * jax.random.normal(k_cut, (n_labelers, n_grades - 1)))
    below = norm.cdf((own - x[:, None, None]) / s)
    chance = jnp.diff(below, axis=2, prepend=0, append=1)
    return _crowd(k_label, truth, n_classes, chance, per_instance)


def quiz(
    key: PRNGKeyArray,
    n_labelers: int = 40,
    n_instances: int = 600,
    n_classes: int = 4,
    *,
    per_instance: int = 6,
    ability: tuple[float, float] = (1.0, 1.0),
    difficulty: float = 1.0,
    lure: float = 1.0,
) -> ClassCrowd:
    """Simulate a crowd that chooses among K options in any order: labelers who know the class give it, others guess.

        P(i knows j) = σ(α_i - δ_j)      α_i ~ N(ability)      δ_j ~ N(0, difficulty²)
        P(i guesses l) = softmax_l(lure · t_jl)      t_jl ~ N(0, 1): some wrong options are tempting

    Example:
        >>> crowd = quiz(jax.random.key(0), 10, 20, n_classes=5)
        >>> crowd.confusion.shape
        (10, 5, 5)

    Source: Rasch 1960 for who knows; the rest is ours.
    """
    k_truth, k_ability, k_difficulty, k_lure, k_label = jax.random.split(key, 5)
    truth = _truth(k_truth, n_instances, n_classes, None)
    alpha = ability[0] + ability[1] * jax.random.normal(k_ability, (n_labelers,))
    delta = difficulty * jax.random.normal(k_difficulty, (n_instances, 1))
    knows = jax.nn.sigmoid(alpha - delta)[..., None]
    guess = jax.nn.softmax(lure * jax.random.normal(k_lure, (n_instances, 1, n_classes)))
    chance = knows * jax.nn.one_hot(truth, n_classes)[:, None] + (1 - knows) * guess
    return _crowd(k_label, truth, n_classes, chance, per_instance)


def _truth(key, n_instances, n_classes, prevalence) -> Int[Array, " I"]:
    share = jnp.ones(n_classes) if prevalence is None else jnp.asarray(prevalence)
    return jax.random.categorical(key, jnp.log(share), shape=(n_instances,))


def _crowd(key, truth, n_classes, chance: Float[Array, "I W L"], per_instance: int) -> ClassCrowd:
    """Return labels drawn by their chances, of so many labelers for each instance."""
    k_asked, k_label = jax.random.split(key)
    n_instances, n_labelers, _ = chance.shape
    labeler = jnp.argsort(jax.random.uniform(k_asked, (n_instances, n_labelers)), axis=1)[:, :per_instance]
    label = jax.random.categorical(k_label, jnp.log(jnp.take_along_axis(chance, labeler[..., None], 1)))
    is_class = jax.nn.one_hot(truth, n_classes)
    confusion = jnp.einsum("jk,jil->ikl", is_class, chance) / is_class.sum(0)[:, None]
    instance = jnp.repeat(jnp.arange(n_instances), labeler.shape[1])
    return ClassCrowd(truth, confusion, labeler.ravel(), instance, label.ravel())
