"""Crowds whose labelers and instances have features, on the host; none is a crowd of a model that is fitted.

Fitted models are logistic, linear in features, with normal deviations. Here labels are signs of a latent response with
normal noise, features act through a curve and a threshold, and deviations have heavy tails:

    L_ij = +1 where z_j a_i b_j + γ_i + N(0, 1) > 0        P(right) = Φ(a_i b_j ± γ_i)
    a_i = mean + sd (sqrt(share) f(x_i) + sqrt(1 - share) t_i)    t_i ~ Student's t, 5 degrees, of variance 1
    f(x) ∝ tanh(1.5 x_1) + 1[x_2 > .8] + const, of mean 0 and variance 1                   x_k ~ N(0, 1)

Grounds for f: practice helps less the more there is of it, a test is passed or not, and one feature of three says
nothing. A straight line has .79 of the variance of f (``linear_share``).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr
from scipy.stats import t as student

N_FEATURES = 3
STEEP, PASSED = 1.5, 0.8  # of the curve of the first feature; threshold of the second
DEGREES = 5  # of freedom of deviations


def effect(x: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Compute f, what features add; of mean 0 and variance 1 where they are normal.

    Example: the third feature says nothing
        >>> effect(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 9.0]])).round(2).tolist()
        [2.01, 2.01]
    """
    mean, sd = _moments()[:2]
    return (_curve(x) - mean) / sd


def linear_share() -> float:
    """Compute R², the share of the variance of f that the best line in normal features has.

    Example:
        >>> print(f"{linear_share():.2f}")
        0.79
    """
    return _moments()[2]


def _curve(x):
    return np.tanh(STEEP * x[:, 0]) + (x[:, 1] > PASSED)


@cache
def _moments() -> tuple[float, float, float]:
    """Mean, standard deviation and R² of the curve, by quadrature for the first feature and exact for the second."""
    points, mass = np.polynomial.hermite_e.hermegauss(200)
    mass = mass / mass.sum()
    curved = np.tanh(STEEP * points)
    passed = float(ndtr(-PASSED))
    variance = mass @ curved**2 + passed * (1 - passed)
    slope = np.exp(-(PASSED**2) / 2) / np.sqrt(2 * np.pi)  # E x 1[x > c]
    return passed, float(np.sqrt(variance)), float(((mass @ (points * curved)) ** 2 + slope**2) / variance)


def heavy(rng: np.random.Generator, n: int) -> Float[np.ndarray, " n"]:
    """Draw from Student's t of variance 1.

    Example:
        >>> len(heavy(np.random.default_rng(0), 3))
        3
    """
    return rng.standard_t(DEGREES, n) * np.sqrt((DEGREES - 2) / DEGREES)


def heavy_points(n: int) -> Float[np.ndarray, " n"]:
    """Compute n equally probable values of ``heavy``: the middles of its n-iles.

    Example:
        >>> heavy_points(3).round(2).tolist()
        [-0.83, 0.0, 0.83]
    """
    return student.ppf((np.arange(n) + 0.5) / n, DEGREES) * np.sqrt((DEGREES - 2) / DEGREES)


def explained(rng: np.random.Generator, x: Float[np.ndarray, "n 3"], share: float) -> Float[np.ndarray, " n"]:
    """Draw numbers of mean 0 and variance 1 of which features have a share of the variance.

    Example:
        >>> x = np.zeros((2, 3))
        >>> bool((explained(np.random.default_rng(0), x, 1.0) == effect(x)).all())
        True
    """
    return np.sqrt(share) * effect(x) + np.sqrt(1 - share) * heavy(rng, len(x))


def right(ability, clarity, bias) -> tuple[Float[np.ndarray, "W I"], Float[np.ndarray, "W I"]]:
    """Compute the chances of being right on positives and on negatives, Φ(a_i b_j ± γ_i).

    Example: a labeler who is inclined to say yes
        >>> [p.round(2).tolist() for p in right(np.ones(1), np.ones(1), np.ones(1))]
        [[[0.98]], [[0.5]]]
    """
    s = np.outer(ability, clarity)
    return ndtr(s + bias[:, None]), ndtr(s - bias[:, None])


def answered(
    rng: np.random.Generator, chances: tuple[np.ndarray, np.ndarray], truth: Bool[np.ndarray, " I"]
) -> Int[np.ndarray, "W I"]:
    """Draw what every labeler says, or would say, of every instance: 1 or 0.

    Example: labelers who are always right
        >>> answered(np.random.default_rng(0), (np.ones((1, 2)), np.ones((1, 2))), np.array([True, False])).tolist()
        [[1, 0]]
    """
    is_right = rng.random(chances[0].shape) < np.where(truth, *chances)
    return np.where(is_right, truth, ~truth).astype(np.int8)


def asked(rng: np.random.Generator, n_labelers: int, n_instances: int, per_instance: int) -> Bool[np.ndarray, "W I"]:
    """Draw who labels what: as many labels of every instance, labelers at random.

    Example:
        >>> asked(np.random.default_rng(0), 5, 3, 2).sum(0).tolist()
        [2, 2, 2]
    """
    return rng.random((n_labelers, n_instances)).argsort(0).argsort(0) < per_instance
