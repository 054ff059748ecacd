"""The widths of designs by simulation: crowds of a world, each fitted as ``crowdjax.context`` fits it.

All crowds are one compiled program, with room for the largest design; what smaller ones have not got counts 0. Gold
needs no further fit: the fit's predictions give the chances of gold, and with the gold drawn by them the estimate that
it assists (``contextual.assisted``).

Between the numbers of instances that were simulated a width follows a power law,

    log width = a + b log n                                                                                  (1)

for each number of labels and of gold, fitted by least squares to all fits of these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from crowdjax import contextual
from crowdjax.contextual import ContextualConfig, Inference, Scale, assisted
from crowdjax.contextual.context import Transform
from crowdjax.facade.design import importance_of, scaled
from crowdjax.integrated import LEVEL
from crowdjax.labels import Labels
from crowdjax.planning.worlds import Crowd, Sampling, World, crowd
from crowdjax.simulate import systematic

GOLD_DRAWS = 4  # of each fit: they cost nothing
SAMPLE = 5000  # instances from whose labels scale and priors are learned


class Design(NamedTuple):
    """A design: numbers of instances, of labels per instance, and of gold labels.

    Example:
        >>> Design(1000, 2, 100).cost(5.0)
        2500.0
    """

    items: int
    per_item: int
    gold: int

    def cost(self, gold_cost: float) -> float:
        """Compute the cost in labels, where a gold label counts as ``gold_cost`` labels."""
        return self.items * self.per_item + gold_cost * self.gold


class Outcome(NamedTuple):
    """The outcome of a design on one simulated crowd.

    Attributes:
        width: of the headline's 95 % interval.
        held: whether (for gold: how often) the interval held the true rate.
        by_gold: whether (how often) the headline was the estimate assisted by gold.

    Example:
        >>> Outcome(Design(1000, 2, 0), 0.1, 1.0, 0.0).width
        0.1
    """

    design: Design
    width: float
    held: float
    by_gold: float


@dataclasses.dataclass(frozen=True)
class Setting:
    """The settings by which all crowds are sampled and fitted, so that they share one compiled program.

    Attributes:
        config, scale: of the fits.
        sampling: of the instances.
        room: instances and labels of each that the program has room for.

    Example:
        >>> Setting(ContextualConfig(), Scale.learn([0.0, 1.0]), "random", (1000, 3)).sampling
        'random'
    """

    config: ContextualConfig
    scale: Scale
    sampling: Sampling
    room: tuple[int, int]


def setting_for(
    world: World, config: ContextualConfig, transform: Transform, sampling: Sampling, room: tuple[int, int], seed: int
) -> Setting:
    """Build the setting with the scale and the priors (``scaled``) that a fit learns from its labels, learned once from
    a large simulated crowd.
    """
    n = int(min(SAMPLE, world.counts.sum()))
    drawn = crowd(world, n, 1, sampling, np.random.default_rng(seed))
    config = scaled(config, _labels(drawn, 1, (n, 1), 0), drawn.weight)
    return Setting(config, Scale.learn(world.scores[drawn.row], transform=transform), sampling, room)


def simulate(
    world: World,
    setting: Setting,
    n: int,
    per_item: Sequence[int],
    gold: Sequence[int],
    seed: tuple[int, ...],
    told: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Simulate a crowd of n instances and fit it with each number of labels and each number of gold labels.

    Args:
        told: called before each fit.
    """
    rng = np.random.default_rng(seed)
    drawn, found = crowd(world, n, max(per_item), setting.sampling, rng), []
    for k in per_item:
        told()
        found += _fitted(world, setting, drawn, k, gold, rng)
    return found


def _fitted(world: World, setting: Setting, drawn: Crowd, k: int, gold: Sequence[int], rng) -> list[Outcome]:
    """Return outcomes for the first k labels of every instance."""
    n, n_rows = len(drawn.row), len(world.counts)
    labels = _labels(drawn, k, setting.room, n_rows)
    empty = np.zeros(setting.room[0] - n, int)
    scores = world.scores[np.r_[drawn.row, empty, np.arange(n_rows)]]
    people = (world.scores, world.counts) if world.whole else None
    weights = None if setting.sampling == "random" else drawn.weight
    stands_for = importance_of(scores[:n], weights, people)
    stands_for = np.r_[np.ones(n) if stands_for is None else stands_for, np.zeros(len(scores) - n)]
    key, other = jax.random.split(jax.random.key(int(rng.integers(2**31))))
    laplace = Inference("laplace")
    fit = contextual.fit(
        labels, scores, setting.config, key, laplace, scale=setting.scale, importance=stands_for, judged=False
    )
    over = people or (scores[:n], weights)
    band = contextual.population_prevalence(fit, *over, key=None if people else other, level=LEVEL)
    of_model = float(band.upper - band.lower), float(band.lower <= drawn.rate <= band.upper)
    out = [Outcome(Design(n, k, 0), *of_model, 0.0)] if 0 in gold else []
    if not any(gold):
        return out
    f = contextual.held_out_posteriors(fit, labels, scores)[:n]
    function = None
    if people is not None:
        pi = np.asarray(contextual.calibrate(fit, world.scores).mean, np.float64)
        function = pi[drawn.row], float(np.average(pi, weights=world.counts))
    w = np.ones(n) if weights is None else weights
    for g in (g for g in gold if 0 < g <= n):
        draws = np.array([_assisted(f, w, g, drawn, function, of_model, rng) for _ in range(GOLD_DRAWS)])
        out.append(Outcome(Design(n, k, g), *map(float, draws.mean(0))))
    return out


def _labels(drawn: Crowd, k: int, room: tuple[int, int], n_rows: int) -> Labels:
    """Return the first k labels of every instance. Weights of 0 fill the room: other labels, instances that there are
    not, and one instance of each of the population's rows, so that as many scores differ in every crowd."""
    n, most = drawn.label.shape
    shape = (room[0] + n_rows, room[1])
    labeler, label, weight = (np.zeros(shape, t) for t in (np.int64, np.int8, np.float64))
    labeler[:n, :most], label[:n, :most], weight[:n, :k] = drawn.labeler, drawn.label, 1.0
    return Labels.from_arrays(
        labeler.ravel(),
        np.repeat(np.arange(shape[0]), shape[1]),
        label.ravel(),
        weight=weight.ravel(),
        n_labelers=drawn.n_labelers,
        n_instances=shape[0],
    )


def _assisted(f, w, g: int, drawn: Crowd, function, of_model, rng) -> tuple[float, float, float]:
    """Return (width, whether it held the rate, whether gold gave an interval), with gold drawn once."""
    chance = assisted.gold_chances(f, w, g)
    gold = np.full(len(f), np.nan)
    known = systematic(rng, chance, g)
    gold[known] = drawn.truth[known]
    found = assisted.estimates(assisted.Sample(gold, chance, w, f, function), LEVEL)[1]
    if found.lower is None or found.upper is None:
        return *of_model, 0.0
    return found.width, float(found.lower <= drawn.rate <= found.upper), 1.0


# Between designs


class Law(NamedTuple):
    """The power law log width = level + slope log(n / centre), for one number of labels and of gold.

    Attributes:
        spread: standard deviation of log width between crowds.
        n_fits: how many crowds it rests on.
        square: Σ log(n / centre)² over these.

    Example:
        >>> law = Law(np.log(0.1), -0.5, 0.0, 3, 1.0, 1000.0)
        >>> round(law.width(4000), 6), law.items(0.05)
        (0.05, 4000.0)
    """

    level: float
    slope: float
    spread: float
    n_fits: int
    square: float
    centre: float

    def width(self, n: float) -> float:
        """Compute the expected width with n instances: the mean of a lognormal, exp(mean + variance / 2)."""
        return float(np.exp(self.level + self.slope * np.log(n / self.centre) + self.spread**2 / 2))

    def error(self, n: float) -> float:
        """Compute the standard error of the expected width, from the number of crowds."""
        far = np.log(n / self.centre) ** 2 / self.square if self.square > 0 else 0.0
        return self.width(n) * self.spread * float(np.sqrt(1 / self.n_fits + far))

    def items(self, width: float) -> float:
        """Compute the number of instances with this width; infinite where more instances do not narrow it."""
        if self.slope > FLAT:
            return np.inf if self.width(self.centre) > width else 1.0
        return float(np.round(self.centre * np.exp(np.log(width / self.width(self.centre)) / self.slope), 6))


FLAT = -0.02  # slopes above it are none


def law(outcomes: Sequence[Outcome]) -> Law:
    """Fit the power law (1) to crowds of one number of labels and of gold.

    Example: widths that halve where there are four times as many instances
        >>> some = [Outcome(Design(n, 2, 0), w, 1.0, 0.0) for n, w in ((500, 0.2), (2000, 0.1))]
        >>> round(law(some).slope, 6), round(law(some).width(1000), 6)
        (-0.5, 0.141421)
    """
    log_n = np.log([o.design.items for o in outcomes])
    log_w = np.log([o.width for o in outcomes])
    x, level = log_n - log_n.mean(), float(log_w.mean())
    square = float(x @ x)
    slope = float(min(x @ log_w / square, 0)) if square > 1e-12 else -0.5  # of one size: as of independent instances
    free = max(len(x) - (2 if square > 1e-12 else 1), 1)
    rest = log_w - level - slope * x
    return Law(level, slope, float(np.sqrt(rest @ rest / free)), len(x), square, float(np.exp(log_n.mean())))


def laws(outcomes: Sequence[Outcome]) -> dict[tuple[int, int], Law]:
    """Fit the power law for each number of labels and of gold, by ``(per_item, gold)``."""
    groups: dict[tuple[int, int], list[Outcome]] = {}
    for o in outcomes:
        groups.setdefault((o.design.per_item, o.design.gold), []).append(o)
    return {key: law(group) for key, group in groups.items()}
