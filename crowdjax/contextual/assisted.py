"""Prevalence from gold labels of known chances, and how predictions of all instances narrow it.

Gold labels z_j of some instances, drawn with chances ψ_j, give the prevalence without a model: ω_j = 1/ψ_j,

    Σ_G ω z / N (Horvitz–Thompson)        Σ_G ω z / Σ_G ω (Hájek)                                              (1)

Predictions f of all instances narrow it and cannot bias it, whatever they are worth: the difference estimator

    θ_λ = λ F + Σ_G ω (z - λ f) / Σ_G ω        F: the mean of f in the population                             (2)

is gold alone with λ = 0; λ is tuned to the least variance. A prediction must not have seen its own instance's gold
(``estimands.held_out_posteriors``).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LEAST = 5  # effective gold positives and negatives, below which no interval is given
WIDER = 1.02  # than gold alone no interval with predictions may be


class Difference(NamedTuple):
    """An estimate of a mean, its variance, and the weight λ of the predictions.

    Example:
        >>> Difference(0.2, 0.01, 0.0).variance
        0.01
    """

    mean: float
    variance: float
    lam: float


def same_distribution(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> float:
    """Return the p-value that two samples are of one distribution (Kolmogorov-Smirnov).

    Example: gold of the highest scores only is no random part
        >>> same_distribution(np.linspace(0.8, 1, 50), np.linspace(0, 1, 100)) < 1e-3
        True
    """
    from scipy import stats

    with warnings.catch_warnings():  # where the exact p-value overflows SciPy takes the asymptotic one, with a warning
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ks_2samp(a, b).pvalue)


def difference(
    z: Float[np.ndarray, " n"],
    f: Float[np.ndarray, " n"],
    chance: Float[np.ndarray, " n"],
    mean_f: float = 0.0,
    *,
    lam: float | None = None,
    variance_f: float = 0.0,
    size: float | None = None,
) -> Difference:
    """Estimate a mean from gold labels drawn with known chances and from predictions.

        V(λ) = λ² V_F + Σ_G (1 - ψ) (ω (e - ē) / N)²        e = z - λ f        λ* = clip(C_zf / (C_ff + V_F), 0, 1)

    With ``size`` N this is Horvitz and Thompson's form (ē = 0), whose mean and variance are unbiased where instances
    are drawn independently of each other; else Hájek's, N = Σ_G ω, and V takes n/(n - 1) times the sum.

    Args:
        z, f: gold labels and predictions of the gold instances, shape [n].
        chance: ψ of each, in (0, 1].
        mean_f, variance_f: of the predictions in the population; variance 0 where all of them are known.
        lam: λ; by default λ*.

    Example: predictions that are right leave nothing to chance
        >>> z = np.array([1.0, 0.0, 0.0, 1.0])
        >>> difference(z, z, np.full(4, 0.1), 0.3, lam=1.0)
        Difference(mean=0.3, variance=0.0, lam=1.0)
        >>> float(difference(z, 0 * z, np.full(4, 0.1), size=40).mean)
        0.5

    Source: Horvitz and Thompson 1952; Hájek 1971; Särndal, Swensson and Wretman 1992; Angelopoulos, Duchi and Zrnic
    2023 (PPI++).
    """
    weight = 1 / chance
    total = weight.sum() if size is None else size
    n = len(z)
    factor = n / (n - 1) if size is None and n > 1 else 1.0

    def spread(a, b):
        if size is None:
            a, b = (v - weight @ v / total for v in (a, b))
        return factor * ((1 - chance) * (weight / total) ** 2 * a * b).sum()

    if lam is None:
        most = spread(f, f) + variance_f
        lam = float(np.clip(spread(z, f) / most, 0, 1)) if most > 0 else 0.0
    e = z - lam * f
    return Difference(float(lam * mean_f + weight @ e / total), float(lam**2 * variance_f + spread(e, e)), float(lam))


def stratified(
    z: Float[np.ndarray, " n"],
    f: Float[np.ndarray, " n"],
    stratum: Int[np.ndarray, " n"],
    sizes: Float[np.ndarray, " H"],
    mean_f: Float[np.ndarray, " H"],
    *,
    lam: Float[np.ndarray, " H"] | None = None,
) -> tuple[float, float, Float[np.ndarray, " H"]]:
    """Return (mean, variance, λ of each stratum) where gold is a simple random sample of each stratum.

        θ = Σ_h W_h [λ_h F_h + mean_h(z - λ_h f)]        V = Σ_h W_h² (1 - n_h/N_h) s²_h / n_h        W_h = N_h / N

    Args:
        stratum: of each gold instance, 0 to H - 1; each stratum has two or more.
        sizes: N_h, shape [H].
        mean_f: of the predictions in each stratum, shape [H].
        lam: λ_h, shape [H]; by default those of the least variance.

    Example: two strata, one of them known to its last instance
        >>> z, stratum = np.array([1.0, 0, 1, 1]), np.array([0, 0, 1, 1])
        >>> stratified(z, 0 * z, stratum, np.array([20, 2]), np.zeros(2))[0].round(3)
        np.float64(0.545)
    """
    lam = np.full(len(sizes), np.nan) if lam is None else np.asarray(lam, float)
    share, found = np.asarray(sizes) / np.sum(sizes), []
    for h, size in enumerate(sizes):
        here = stratum == h
        chance = np.full(here.sum(), here.sum() / size)
        found.append(difference(z[here], f[here], chance, mean_f[h], lam=None if np.isnan(lam[h]) else float(lam[h])))
    mean, variance, lam = np.array(found).T
    return share @ mean, share**2 @ variance, lam


def two_samples(
    z: Float[np.ndarray, " n"],
    f: Float[np.ndarray, " n"],
    others: Float[np.ndarray, " N"],
    *,
    lam: float | None = None,
) -> Difference:
    """Estimate a mean from a random sample with gold and another, independent one with predictions only.

        θ_λ = λ mean(f') + mean(z - λ f)      V = λ² var(f')/N + var(z - λ f)/n      λ* = Cov(z, f) / ((1 + n/N) Var f)

    Var f is that of both samples together.

    Args:
        z, f: gold labels and predictions of the first sample, shape [n].
        others: f', predictions of the second, shape [N].
        lam: λ; by default λ*, between 0 and 1.

    Example:
        >>> two_samples(np.array([1.0, 0, 1, 0]), np.array([0.9, 0.2, 0.6, 0.3]), np.array([0.1, 0.8]), lam=1.0).mean
        0.45

    Source: Angelopoulos, Duchi and Zrnic 2023 (PPI++).
    """
    n, m = len(z), len(others)
    if lam is None:
        covariance = np.cov(z, f, ddof=0)[0, 1]
        lam = float(np.clip(covariance / ((1 + n / m) * np.var(np.r_[f, others], ddof=1)), 0, 1))
    e = z - lam * f
    return Difference(float(lam * others.mean() + e.mean()), float(lam**2 * others.var() / m + e.var() / n), lam)


# Gold inside a labelled sample


class Sample(NamedTuple):
    """A labelled sample, gold of part of it, and predictions.

    Attributes:
        gold: the truth, 0 or 1; NaN where unknown; shape [I].
        chance: that an instance was drawn for gold, given that it is in the sample, shape [I].
        weight: of sampling: how many of the population each instance stands for, up to a constant; shape [I].
        predictions: of the instances, shape [I].
        function: predictions that are known of the whole population, as π(x): (of the instances [I], mean in the
            population); None without one.

    Example:
        >>> gold = np.array([1, 0, np.nan, np.nan])
        >>> Sample(gold, np.full(4, 0.5), np.ones(4), np.array([0.9, 0.1, 0.2, 0.7])).known.sum().item()
        2
    """

    gold: Float[np.ndarray, " I"]
    chance: Float[np.ndarray, " I"]
    weight: Float[np.ndarray, " I"]
    predictions: Float[np.ndarray, " I"]
    function: tuple[Float[np.ndarray, " I"], float] | None = None

    @property
    def known(self) -> Bool[np.ndarray, " I"]:
        return np.isfinite(self.gold)


class Gap(NamedTuple):
    """The difference of gold from the predictions of its instances: the means of both, and a two-sided p-value.

    Example:
        >>> Gap._fields
        ('gold', 'predicted', 'p')
    """

    gold: float
    predicted: float
    p: float


def gap(sample: Sample, sd: float = 0.0) -> Gap | None:
    """Return whether predictions are right on average where gold was drawn; None where gold is too little to say.

        D = Σ_G ω (z - f) / Σ_G ω      Var D = Σ_G ω² f (1 - f) / (Σ_G ω)² + sd²      ω = weight / chance

    Too little: fewer than five effective gold labels of either class, counted by the predictions or by gold.

    Args:
        sd: of what the predictions' errors have in common: the posterior standard deviation of their mean.

    Example: as many positives as predicted, and twice as many
        >>> z = np.r_[np.ones(20), np.zeros(80)]
        >>> [round(gap(Sample(z, np.ones(100), np.ones(100), np.full(100, f))).p, 3) for f in (0.2, 0.1)]
        [1.0, 0.001]
    """
    from scipy.special import erfc

    known = sample.known
    z, f, weight = sample.gold[known], sample.predictions[known], sample.weight[known] / sample.chance[known]
    if not weight.sum() > 0:
        return None
    weight = weight / weight.sum()
    effective, means = 1 / (weight @ weight), (float(weight @ z), float(weight @ f))
    if effective * max(means) < LEAST or effective * (1 - min(means)) < LEAST:
        return None
    error = np.sqrt(weight**2 @ (f * (1 - f)) + sd**2)
    return Gap(*means, float(erfc(abs(means[0] - means[1]) / max(error, 1e-12) / np.sqrt(2))))


class Assisted(NamedTuple):
    """An estimate of the prevalence with its interval, None where gold is too little for one.

    Attributes:
        lam: λ of the instances' predictions, and of the population's where there are any; () for gold alone.
        n_gold: gold labels.
        n_wanted: how many would be wanted for an interval; at most n_gold where there is one.
        df: degrees of freedom of the interval: effective gold labels of the rarer class.

    Example:
        >>> Assisted(0.2, 0.1, 0.3, 0.0025, (1.0,), 100, 20, 25.0).n_wanted
        20
    """

    mean: float
    lower: float | None
    upper: float | None
    variance: float
    lam: tuple[float, ...]
    n_gold: int
    n_wanted: int
    df: float

    @property
    def width(self) -> float:
        """Width of the interval; infinite without one."""
        return np.inf if self.lower is None or self.upper is None else self.upper - self.lower


def estimates(sample: Sample, level: float = 0.95) -> tuple[Assisted, Assisted]:
    """Return the prevalence from gold alone, and from gold and predictions.

        θ_λ = z̄_G + λ_1 (f̄_S - f̄_G) + λ_2 (π̄_U - π̄_S)

    with means over gold (weights w/ψ), over the labelled sample S (weights w) and over the population U. Sampling and
    gold both vary: every instance has a share u_j in the error of θ,

        u_j = λ_1 w_j (f_j - f̄_S)/Σw - λ_2 w_j (π_j - π̄_S)/Σw + [j in G] ω_j (e_j - ē)/Σω        e = z - λ_1 f

    and V = Σ u_j² n/(n - 1), which holds whatever f̄_S and the residuals have in common; λ minimises it over [0, 1].
    The interval is Student's on the scale of logit θ, with as many degrees of freedom as the rarer class has effective
    gold labels, (Σω)²/Σω²: errors of rare prevalences are skewed, and their variance is known from few instances.

    Args:
        sample: gold, chances, weights and predictions.
        level: of the intervals.

    Example: predictions that know the truth leave the noise of sampling
        >>> rng = np.random.default_rng(0)
        >>> truth = (rng.random(1000) < 0.2).astype(float)
        >>> gold = np.where(rng.random(1000) < 0.2, truth, np.nan)
        >>> alone, both = estimates(Sample(gold, np.full(1000, 0.2), np.ones(1000), truth))
        >>> round(alone.upper - alone.lower, 2), round(both.upper - both.lower, 2)
        (0.1, 0.05)
    """
    if not sample.known.any():
        raise ValueError("gold: none known; allowed: one or more")
    mean, shares, contrasts, d = linear(sample)
    alone = _with_interval(sample, mean, shares, (), level)
    lam = _least(shares, contrasts)
    both = _with_interval(sample, mean + lam @ d, shares + contrasts @ lam, tuple(lam.tolist()), level)
    usable = 0 < both.mean < 1 and both.width <= WIDER * alone.width
    return alone, both if usable else alone._replace(lam=(0.0,) * len(lam))


def estimates_of_classes(samples: Sequence[Sample], level: float = 0.95) -> tuple[list[Assisted], list[Assisted]]:
    """Return the shares of exclusive classes from gold alone, and from gold and predictions: :func:`estimates` with one
    λ for all classes, which minimises the sum of their variances, so that the shares add up to one.

    Args:
        samples: one for each class, of the same instances: gold and predictions of the class against the others, the
            predictions adding up to one.
        level: of the intervals.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.integers(0, 3, 600)
        >>> known, f = rng.random(600) < 0.3, 0.1 + 0.7 * np.eye(3)[truth]
        >>> gold = np.where(known[:, None], np.eye(3)[truth], np.nan)
        >>> of = [Sample(gold[:, k], np.full(600, 0.3), np.ones(600), f[:, k]) for k in range(3)]
        >>> _, both = estimates_of_classes(of)
        >>> round(sum(e.mean for e in both), 12)
        1.0
    """
    parts = [linear(sample) for sample in samples]
    alone = [_with_interval(s, mean, shares, (), level) for s, (mean, shares, *_) in zip(samples, parts, strict=True)]
    lam = _least(*(np.concatenate(stacked) for stacked in zip(*(part[1:3] for part in parts), strict=True)))
    both = [
        _with_interval(s, mean + lam @ d, shares + contrasts @ lam, tuple(lam.tolist()), level)
        for s, (mean, shares, contrasts, d) in zip(samples, parts, strict=True)
    ]
    if all(0 < e.mean < 1 for e in both) and sum(e.variance for e in both) <= sum(e.variance for e in alone):
        return alone, both
    return alone, [e._replace(lam=(0.0,) * len(lam)) for e in alone]


def linear(sample: Sample):
    """Return (z̄_G, its shares [I], shares of the contrasts [I, K], the contrasts [K]) of :func:`estimates`."""
    w = sample.weight / sample.weight.sum()
    omega = np.where(sample.known, sample.weight / sample.chance, 0.0)
    omega = omega / omega.sum()
    z, f = np.where(sample.known, sample.gold, 0.0), sample.predictions
    f = np.where(sample.known | (w > 0), f, 0.0)
    mean, of_gold, of_sample = omega @ z, omega @ f, w @ f
    columns = [w * (f - of_sample) - omega * (f - of_gold)]
    d = [of_sample - of_gold]
    if sample.function is not None:
        pi, of_population = sample.function
        columns.append(-w * (pi - w @ pi))
        d.append(of_population - w @ pi)
    return mean, omega * (z - mean), np.stack(columns, 1), np.array(d)


def _least(shares: Float[np.ndarray, " I"], contrasts: Float[np.ndarray, "I K"]) -> Float[np.ndarray, " K"]:
    """Return λ in [0, 1]^K of the least Σ (shares + contrasts λ)², by turns."""
    lam, square = np.zeros(contrasts.shape[1]), (contrasts**2).sum(0)
    for _ in range(100 if len(lam) > 1 else 1):
        for k in np.flatnonzero(square > 0):
            rest = shares + contrasts @ lam - contrasts[:, k] * lam[k]
            lam[k] = np.clip(-(rest @ contrasts[:, k]) / square[k], 0, 1)
    return lam


def gold_chances(
    predictions: Float[np.ndarray, " I"], weight: Float[np.ndarray, " I"], n: int, least: float = 0.2
) -> Float[np.ndarray, " I"]:
    """Return chances to draw n gold labels with, in proportion to √(f (1 - f)) w^¼: instances in doubt, of all weights.

    A share ``least`` of the gold is drawn from all instances alike, as predictions may be wrong where they are sure.
    Of known predictions the least variance would take w in place of w^¼; f is too high where hardly anything is
    positive, and w spends gold there that finds too few positives for an interval (docs/contextual.md).

    Args:
        predictions: f of each labelled instance.
        weight: w, of sampling.
        n: gold labels; at most the instances.

    Returns:
        Chances above 0, at most 1, of sum n.

    Example: the instance in doubt is drawn more often
        >>> gold_chances(np.array([0.01, 0.5, 0.99]), np.ones(3), 1).round(2).tolist()
        [0.18, 0.64, 0.18]
    """
    f = np.clip(predictions, 1e-6, 1 - 1e-6)
    size = np.sqrt(f * (1 - f)) * weight**0.25
    size = (1 - least) * size / size.sum() + least / len(size)
    chance = np.minimum(n * size, 1)
    while (missing := n - chance.sum()) > 1e-9 * n and (free := chance < 1).any():
        chance[free] = np.minimum(chance[free] * (1 + missing / chance[free].sum()), 1)
    return chance


def effective(sample: Sample) -> tuple[float, float]:
    """Return effective gold negatives and positives, (Σω)²/Σω² each.

    Example:
        >>> gold = np.array([1, 1, 0, np.nan])
        >>> effective(Sample(gold, np.array([0.5, 0.5, 0.1, 1]), np.ones(4), np.zeros(4)))
        (1.0, 2.0)
    """
    omega = sample.weight / sample.chance
    parts = (omega[sample.gold == c] for c in (0, 1))
    parts = (part / part.max(initial=np.finfo(float).tiny) for part in parts)  # squares stay finite
    return tuple(float(o.sum() ** 2 / (o @ o)) if len(o) else 0.0 for o in parts)


def _with_interval(sample: Sample, mean: float, shares, lam: tuple[float, ...], level: float) -> Assisted:
    from scipy import special

    n, rarer = int(sample.known.sum()), min(effective(sample))
    variance = float(shares @ shares) * n / max(n - 1, 1)
    wanted = int(np.ceil(n * LEAST / max(rarer, 1)))
    if rarer < LEAST or not 0 < mean < 1:
        return Assisted(float(mean), None, None, variance, lam, n, max(wanted, n + 1), rarer)
    half = special.stdtrit(rarer, (1 + level) / 2) * np.sqrt(variance) / (mean * (1 - mean))
    lower, upper = special.expit(special.logit(mean) + np.array([-half, half]))
    return Assisted(float(mean), float(lower), float(upper), variance, lam, n, wanted, rarer)


class Change(NamedTuple):
    """A difference of two prevalences with its interval, and the probability that it is above 0.

    Example:
        >>> Change(0.1, 0.02, 0.18, 0.99).p_increase
        0.99
    """

    difference: float
    lower: float
    upper: float
    p_increase: float


def change(before: Assisted, after: Assisted) -> Change | None:
    """Compare the estimates of two independent samples; None where one of them has no interval.

        d = b - a        lower = d - √((b - l_b)² + (u_a - a)²)        upper = d + √((u_b - b)² + (a - l_a)²)
        p_increase = T_ν((logit b - logit a) / √(s_a² + s_b²))        s = √V / (m (1 - m)), m = a or b

    The interval is recovered from the two intervals (MOVER), and ν are Satterthwaite's degrees of freedom.

    Args:
        before, after: estimates a and b, with intervals of one level.

    Example:
        >>> sample = lambda n: Sample(np.repeat([1.0, 0.0], [n, 100 - n]), np.ones(100), np.ones(100), np.zeros(100))
        >>> change(estimates(sample(20))[0], estimates(sample(40))[0]).p_increase > 0.99
        True

    Source: Zou and Donner 2008, section 2 (MOVER); Welch 1947.
    """
    from scipy import special

    if before.lower is None or before.upper is None or after.lower is None or after.upper is None:
        return None
    d = after.mean - before.mean
    lower = d - np.hypot(after.mean - after.lower, before.upper - before.mean)
    upper = d + np.hypot(after.upper - after.mean, before.mean - before.lower)
    s = np.array([e.variance / (e.mean * (1 - e.mean)) ** 2 for e in (before, after)])  # of the logits
    total = s.sum()
    if total == 0:
        return Change(d, d, d, (np.sign(d) + 1) / 2)
    df = total**2 / (s**2 / np.array([before.df, after.df])).sum()
    t = (special.logit(after.mean) - special.logit(before.mean)) / np.sqrt(total)
    return Change(float(d), float(lower), float(upper), float(special.stdtr(df, t)))


def bootstrap(
    sample: Sample, lam: tuple[float, ...], seed: int, *, n_replicates: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of θ_λ by resampling sample and gold together, in two strata: with gold and
    without.

    It undercovers where gold positives are few (docs/contextual.md); :func:`estimates` has the interval to report.

    Args:
        sample, level: as in :func:`estimates`.
        lam: λ as found there; () for gold alone.
        seed: draws the replicates.

    Example:
        >>> gold = np.tile([1, 0, 0, np.nan], 50)
        >>> lower, upper = bootstrap(Sample(gold, np.full(200, 0.75), np.ones(200), np.zeros(200)), (), 0)
        >>> bool(lower < 1 / 3 < upper)
        True
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((n_replicates, len(sample.gold)))
    for rows in (np.flatnonzero(sample.known), np.flatnonzero(~sample.known)):
        if len(rows):
            counts[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), n_replicates)
    omega = np.where(sample.known, sample.weight / sample.chance, 0.0)
    z, f = np.where(sample.known, sample.gold, 0.0), sample.predictions
    of_gold, of_sample = (counts @ omega)[:, None], (counts @ sample.weight)[:, None]
    z_gold, f_gold = (counts @ np.stack([omega * z, omega * f], 1) / of_gold).T
    theta = z_gold
    if lam:
        theta = theta + lam[0] * (counts @ (sample.weight * f) / of_sample[:, 0] - f_gold)
    if len(lam) > 1 and sample.function is not None:
        pi, of_population = sample.function
        theta = theta + lam[1] * (of_population - counts @ (sample.weight * pi) / of_sample[:, 0])
    lower, upper = np.quantile(theta, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)
