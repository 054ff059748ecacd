"""What the smallest models are: their settings, priors, start values and sufficient statistics' weights; without JAX.

``FactorConfig`` configures the factor models of two classes, ``Nominal`` and its subclasses the models of K classes.
The programs of JAX (``crowdjax.factor``, ``crowdjax.observation.nominal``) and the fits on the host (``crowdjax.host``)
share the numbers defined here.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from numbers import Integral
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from crowdjax.labels import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

Kind = Literal["nominal", "ordinal", "exchangeable"]  # of classes
Copies = Literal["warn", "once"]
NAMES = (
    "majority", "one-coin", "dawid-skene", "glad", "glad-linear", "factor", "biased-coin", "class-skill", "graded",
    "integrated", "auto",
)  # fmt: skip
Gaussian = tuple[float, float]  # mean, standard deviation; of the factor model 0 fixes, inf frees
Link = Literal["linear", "exp"]
LEARNED = ("one-coin", "dawid-skene")  # models of two classes whose class prior is learned where none is given
SPLIT = 3.0  # nats that a fit of them with biases from the start has to be better by
FEW_LABELS = 1.5  # per instance: fewer say nothing of who is able
BETA = 2.0, 2.0  # of a class prior that is learned, of two classes
FACTOR_STEPS, FACTOR_LONGEST = 20, 1.5  # Newton's steps of an exact M-step at most; change of a logit in one
FACTOR_NEAR = 1e-3  # longest step after which the next would be below rounding
FactorPrior = float | Literal["learn", "logistic"]
RAREST = 1e-9  # class that is modelled; in float32 a rarer one is none
PRIORS = f"a number from {RAREST:g} to 1 - {RAREST:g}"


@dataclasses.dataclass(frozen=True)
class FactorConfig:
    """Settings of a factor model: priors, link and class prior. Frozen and hashable.

    Attributes:
        n_factors: D, the number of factors.
        labeler: prior mean and standard deviation of the first factor's α: of the constant column's weight with
            features, of every labeler's own weight without.
        instance: prior mean and standard deviation of β, and of every instance's own weight.
        bias: prior mean and standard deviation of γ; None: no γ.
        further: prior standard deviation of α and β of factors 2 to D; their means are 0.
        features: prior standard deviation of the weights of (standardised) feature columns; their means are 0.
        deviation: prior standard deviation of the own weights that labelers (instances) have beside features; 0: none.
        link: link of β: ``linear`` or ``exp``.
        class_prior: P(z = +1): a number, ``learn`` (Beta(2, 2) prior) or ``logistic`` in the instance features.

    Example:
        >>> FactorConfig(n_factors=0)
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: n_factors: got 0; allowed: 1 or more, a whole number
    """

    n_factors: int = 1
    labeler: Gaussian = (1.0, 1.0)
    instance: Gaussian = (1.0, 1.0)
    bias: Gaussian | None = (0.0, 1.0)
    further: float = 1.0
    features: float = 0.5
    deviation: float = 0.5
    link: Link = "linear"
    class_prior: FactorPrior = 0.5

    def __post_init__(self):
        if isinstance(self.n_factors, bool) or not isinstance(self.n_factors, Integral) or self.n_factors < 1:
            raise InputError(f"n_factors: got {self.n_factors}; allowed: 1 or more, a whole number")
        for name in ("labeler", "instance", "bias"):
            mean, sd = getattr(self, name) or (0.0, 0.0)
            if not (math.isfinite(mean) and sd >= 0):
                raise InputError(
                    f"{name}: mean {mean}, standard deviation {sd}; allowed: finite, and 0 (fixed) or more"
                )
        for name in ("further", "features", "deviation"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name}: standard deviation {getattr(self, name)}; allowed: 0 (fixed) or more")
        if self.link not in get_args(Link):
            raise InputError(f"link: got {self.link!r}; allowed: {', '.join(get_args(Link))}")
        prior = self.class_prior
        if prior not in ("learn", "logistic") and (isinstance(prior, str) or not RAREST <= prior <= 1 - RAREST):
            raise InputError(f"class_prior: got {prior}; allowed: {PRIORS}, learn, logistic")


PRESETS = {
    "majority": FactorConfig(labeler=(1.0, 0.0), instance=(1.0, 0.0), bias=None),
    "one-coin": FactorConfig(labeler=(1.0, 2.0), instance=(1.0, 0.0), bias=None),
    "dawid-skene": FactorConfig(labeler=(1.0, 2.0), instance=(1.0, 0.0), bias=(0.0, 2.0)),
    "glad": FactorConfig(bias=None, link="exp"),
    "glad-linear": FactorConfig(bias=None),
    "factor": FactorConfig(),
}


# Models of K classes

ClassPrior = Literal["learn", "free", "uniform"] | tuple[float, ...]
Population = Literal["learn", "fixed"]
PRETENDED = 4.0  # labelers whose skills are those of the settings, beside those of the data, in a learned population
NEWTON_STEPS = 3  # of an M-step; EM makes many
LONGEST = 2.0  # change of a log-odds in one of them
STEP_PARTS = 1.0, 0.5, 0.1, 0.0  # of such a step, of which the best is taken
PSEUDO_COUNTS = 4.0, 1.0  # on the diagonal of a confusion matrix and beside it, the middle of their prior
FEW = 0.01  # pseudo-counts without pooling
EXPONENT = 0.5, 0.5  # least and prior mean of e, and its prior standard deviation
MOST, MANY = 3.0, 20  # of e; with more classes e is ½: few labels for each, and one class would take everything
EXPONENT_STEPS = 5  # Newton's, of an M-step
REACH = 3.5  # standard deviations to either side that the points of the first factor cover
FURTHER = {2: 7, 3: 5}  # points of each further factor, by the number of factors
FACTORS_FIRST, FACTORS_NEWTON = 6, 2  # steps of the M-step at the votes, and of others: EM makes many


@dataclasses.dataclass(frozen=True)
class Nominal:
    """Base class of models of classes: a prior of the classes (``crowdjax.observation.nominal``).

    Attributes:
        class_prior: ``learn``, ``free``, ``uniform``, or K probabilities.

    Example:
        >>> Nominal(class_prior=(0.9, 0.2))
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: class_prior: got (0.9, 0.2); allowed: learn, free, uniform, or positive numbers \
that add up to 1
    """

    class_prior: ClassPrior = "learn"

    def __post_init__(self):
        prior = self.class_prior
        if isinstance(prior, list | np.ndarray):
            prior = tuple(map(float, prior))
            object.__setattr__(self, "class_prior", prior)
        if prior in ("learn", "free", "uniform"):
            return
        if isinstance(prior, str) or not (min(prior) > 0 and abs(sum(prior) - 1) < 1e-6):
            allowed = "learn, free, uniform, or positive numbers that add up to 1"
            raise InputError(f"class_prior: got {prior}; allowed: {allowed}")


@dataclasses.dataclass(frozen=True)
class Majority(Nominal):
    """The majority vote as a model: every labeler is right with the same probability σ(skill), and nothing is learned.

    Example:
        >>> Majority().class_prior
        'uniform'
    """

    class_prior: ClassPrior = "uniform"
    skill: float = 1.0


@dataclasses.dataclass(frozen=True)
class Coins(Nominal):
    """Base class of the coins: w_i ~ N(μ, σ²), with one σ for all skills and one for all biases.

    Attributes:
        skill: mean and standard deviation of skills.
        bias: standard deviation of γ_il - γ_ik, whose mean is 0.
        population: ``fixed``: the population has these values, and w_i is at its mode; ``learn``: the population
            is learned, starting from these values with the weight of four labelers, and w_i ~ N(m_i, v_i).

    Example:
        >>> Coins(population="free")
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: population: got 'free'; allowed: learn, fixed
    """

    skill: Gaussian = (1.0, 1.0)
    bias: float = 1.0
    population: Population = "learn"

    def __post_init__(self):
        super().__post_init__()
        if self.population not in ("learn", "fixed"):
            raise InputError(f"population: got {self.population!r}; allowed: learn, fixed")
        if not (self.skill[1] > 0 and self.bias > 0):
            raise InputError(f"skill and bias: got {self.skill}, {self.bias}; allowed: standard deviations above 0")

    def logits(self, k: int) -> tuple[Float[np.ndarray, "L K P"], Float[np.ndarray, "L K"], np.ndarray]:
        """Build the design x and the offset of the logits η = offset + x w of labels l and classes k, and mark which of
        the P numbers w are biases.
        """
        raise NotImplementedError

    def first(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute the prior means [P], variances [G] and the variance group of each of the P numbers, from the
        settings.
        """
        group = self.logits(k)[2].astype(int)
        mean = np.where(group == 0, self.skill[0], 0.0)
        return mean, np.array([self.skill[1] ** 2, self.bias**2 / 2])[: group.max() + 1], group


@dataclasses.dataclass(frozen=True)
class OneCoin(Coins):
    """The one-coin model: one skill for each labeler, whatever the class.

    Example:
        >>> [part.shape for part in OneCoin().logits(5)]
        [(2, 1, 1), (2, 1), (1,)]
    """

    def logits(self, k):
        return np.array([1.0, 0.0])[:, None, None], np.array([[0.0], [0.0]]), np.array([False])


@dataclasses.dataclass(frozen=True)
class BiasedCoin(Coins):
    """A skill for each labeler and a bias for each label: the log-odds of label l shift by γ_il whatever the class.

    Example:
        >>> BiasedCoin().logits(3)[0].shape
        (3, 3, 4)
    """

    def logits(self, k):
        eye = np.eye(k)
        x = np.concatenate([eye[:, :, None], np.repeat(eye[:, None], k, axis=1)], axis=2)
        return x, eye * np.log(k - 1), np.arange(k + 1) > 0


class Factors:
    """The priors of labelers and instances, in models of factors whose instances are integrated out.

    A labeler's parameters are normal; those of an instance take the points of the integral as values: an even grid for
    the first factor, the same for either of two classes, and Gauss-Hermite points for further factors.
    """

    n_factors: int
    labeler: Gaussian
    instance: Gaussian
    bias: float | None
    further: float
    points: int
    link: Link

    def grid(self) -> tuple[Float[np.ndarray, "B D"], Float[np.ndarray, " B"]]:
        """Compute the grid of an instance's factors and its log probabilities."""
        mean, sd = self.instance
        step = 2 * REACH * sd / (self.points - 1)
        lowest = np.round((mean - REACH * sd) / step - 0.5) + 0.5  # in steps: places are the same with either sign
        first = step * (lowest + np.arange(self.points))
        log_first = -0.5 * ((first - mean) / sd) ** 2
        log_first -= np.log(np.exp(log_first).sum())
        if self.link == "exp":
            first = np.exp(first)
        axes, logs = [first], [log_first]
        if self.n_factors > 1:
            x, weight = np.polynomial.hermite_e.hermegauss(FURTHER[self.n_factors])
            axes += [self.further * x] * (self.n_factors - 1)
            logs += [np.log(weight / weight.sum())] * (self.n_factors - 1)
        every = lambda parts: np.array(list(itertools.product(*parts)))  # noqa: E731
        return every(axes), every(logs).sum(1)

    def prior(self, n_classes: int) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
        """Compute prior means and standard deviations of w_i; a bias is in units of its standard deviation."""
        n_biases = 0 if self.bias is None else n_classes - 1
        first = np.arange(self.n_factors + n_biases) == 0
        factors = np.arange(len(first)) < self.n_factors
        sd = np.where(first, self.labeler[1], np.where(factors, self.further, 1.0))
        return np.where(first, self.labeler[0], 0.0), sd


@dataclasses.dataclass(frozen=True)
class Glad(Nominal, Factors):
    """The ability of a labeler times the easiness e^b of an instance: P(right) = σ(α_i e^b), b integrated out.

    Attributes:
        labeler, instance: prior mean and standard deviation of α_i and of b.
        points: number of quadrature points for b.
        rtol: gain, in units of 1 + |objective|, below which results no longer change.
        others: as in ``observation.integrated_factors``, whose defaults these are.

    Example:
        >>> Glad().grid()[0].shape, Glad().prior(2)
        ((16, 1), (array([1.]), array([1.])))
    """

    n_factors: int = 1
    labeler: Gaussian = (1.0, 1.0)
    instance: Gaussian = (1.0, 1.0)
    bias: float | None = None
    further: float = 1.0
    points: int = 16
    rtol: float = 1e-6
    restarts: int = 1
    link: Link = dataclasses.field(default="exp", init=False)


@dataclasses.dataclass(frozen=True)
class DawidSkene(Nominal):
    """A confusion matrix for each labeler, with pseudo-counts shared by all labelers.

    Attributes:
        pooling: ``learn`` the pseudo-counts; two numbers, the pseudo-counts on the diagonal and beside it; or None:
            0.01 each, which is hardly a prior.

    Example:
        >>> DawidSkene(pooling=(4.0, 1.0)).first(2, 2).tolist()
        [[4.0, 1.0], [1.0, 4.0]]
    """

    pooling: Literal["learn"] | tuple[float, float] | None = "learn"

    def __post_init__(self):
        super().__post_init__()
        pooling = self.pooling
        if pooling in ("learn", None):
            return
        if isinstance(pooling, str) or not (len(pooling) == 2 and min(pooling) > 0):
            raise InputError(f"pooling: got {pooling!r}; allowed: learn, None, or two numbers above 0")

    def first(self, n_values: int, n_classes: int, places: tuple[float, ...] | None = None) -> Float[np.ndarray, "L K"]:
        """Build the pseudo-counts of the settings; where they are learned, those at the middle of their prior."""
        if self.pooling is None:
            return np.full((n_values, n_classes), FEW)
        diagonal, beside = PSEUDO_COUNTS if self.pooling == "learn" else self.pooling
        return beside + (diagonal - beside) * classes_of_values(n_values, n_classes, places)


def classes_of_values(
    n_values: int, n_classes: int, places: tuple[float, ...] | None = None
) -> Float[np.ndarray, "L K"]:
    """Compute how much each value of a label counts for each class, [L, K]; the identity where values are classes.

    Args:
        places: see ``Labels``: the class that each value stands for, or a point between two; -1: all classes equally.

    Example: three grades of two classes; three classes, and one value that is none of them
        >>> classes_of_values(3, 2).tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
        >>> classes_of_values(4, 3, (0, 1, -1, 2))[2].round(2).tolist()
        [0.33, 0.33, 0.33]
    """
    place = np.arange(n_values) * (n_classes - 1) / (n_values - 1) if places is None else np.asarray(places, float)
    near = np.maximum(0, 1 - abs(place[:, None] - np.arange(n_classes)))
    return np.where(place[:, None] < 0, 1 / n_classes, near)
