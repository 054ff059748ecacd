"""Machines as labelers: the share of positives by their labels, a few people's, and gold of known chances.

Three machines (language models, say) label every item, two people a fifth of them. A score is known of
every item, and truth and errors depend on it: each machine misses and invents in its own way. Given truth and score the
machines err together, by a Gaussian copula on a difficulty c that nobody sees and that is not of the fitted model,

    machine m errs on item j  ⇔  √ρ c_j + √(1 - ρ) ε_mj < Φ⁻¹(its chance to err at u_j and z_j)        c, ε ~ N(0, 1)

with ρ the strength. In ``cut`` the first machine's label is the score above one half, as where a machine's confidence
is both its label and the score; in ``left out`` the fit is not given these labels. Compared are the default command's
headline without and with gold; the model's own interval; PPI++ on the machines' share of yes; Rogan and Gladen's
correction of the machines' majority by gold; gold alone; and the majority's plain share.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from time import perf_counter
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

import crowdjax
from crowdjax import metrics as judged
from crowdjax import plots
from crowdjax.contextual import ContextualConfig, assisted
from crowdjax.contextual.inference import Method
from crowdjax.facade.prevalence import ALONE, ASSISTED
from crowdjax.simulate import systematic
from experiments.cells import Cell, Size, Tables
from experiments.tables import Report, markdown, names, rows, select
from experiments.theodon_sim import size_of_fits

Gold = Literal["none", "random", "chosen"]
STRENGTH = {"none": 0.0, "medium": 0.4, "strong": 0.8, "cut": 0.4, "left out": 0.4}
CUTS = ("cut", "left out")
MACHINES = ("machine 1", "machine 2", "machine 3")
PEOPLE = ("ann", "bob")
# logits of sensitivity and specificity of each machine, level and slope in u, and of people
SENSITIVITY = np.array([[1.2, 0.5], [0.7, 0.3], [1.6, 0.6]])
SPECIFICITY = np.array([[2.6, -0.6], [3.2, -0.3], [2.0, -0.5]])
PERSON = np.array([1.8, 3.0])
RARER = 1.5  # added to the machines' specificity where positives are rare, or nearly all of their yes were wrong
SLOPE = 2.2  # of the truth's logit in u


@dataclasses.dataclass(frozen=True)
class Config:
    """Crowds, and how gold is drawn.

    Attributes:
        rates: shares of positives.
        dependence: of the machines: keys of ``STRENGTH``.
        gold: none; of items drawn at random; or chosen by the machines' votes (``gold_of``).
        n_gold: how many items get gold.
        n_instances: items.
        n_seen: items that both people label.
        n_repeats: crowds of each kind.
        in_cell: crowds computed at a time.
        inference: of the fits; None: the default, which goes on to NUTS where Laplace's k-hat is above .7.
        seed: draws crowds and gold.
    """

    rates: tuple[float, ...] = (0.2, 0.02)
    dependence: tuple[str, ...] = tuple(STRENGTH)
    gold: tuple[Gold, ...] = ("none", "random", "chosen")
    n_gold: int = 150
    n_instances: int = 1000
    n_seen: int = 200
    n_repeats: int = 20
    in_cell: int = 5
    inference: Method | None = None
    seed: int = 0


class Crowd(NamedTuple):
    """Items with their truth, and who says what.

    Attributes:
        score: of every item, in (0, 1).
        truth: 0 or 1.
        machines: what each machine says of every item, 0 or 1.
        labeler, instance, label: the labels that the fit is given, as a long table.
    """

    score: Float[np.ndarray, " I"]
    truth: Int[np.ndarray, " I"]
    machines: Int[np.ndarray, "M I"]
    labeler: np.ndarray
    instance: Int[np.ndarray, " N"]
    label: Int[np.ndarray, " N"]


def crowd(rate: float, dependence: str, seed: int, *, n_instances: int = 1000, n_seen: int = 200) -> Crowd:
    """Draw items, truths and labels."""
    from scipy import special

    rng = np.random.default_rng([seed, 19])
    u = rng.standard_normal(n_instances)
    score = special.expit(1.5 * u - 1)
    truth = (rng.random(n_instances) < special.expit(level_of(rate) + SLOPE * u)).astype(int)

    def errs(sensitivity, specificity, shared):
        """Whether it errs on each item: level and slope of both logits, and ρ."""
        logit = np.where(truth > 0, sensitivity[0] + sensitivity[1] * u, specificity[0] + specificity[1] * u)
        noise = np.sqrt(shared) * difficulty + np.sqrt(1 - shared) * rng.standard_normal(n_instances)
        return noise < special.ndtri(special.expit(-logit))

    difficulty = rng.standard_normal(n_instances)
    more = np.array([RARER * (rate < 0.1), 0])
    wrong = [errs(s, c + more, STRENGTH[dependence]) for s, c in zip(SENSITIVITY, SPECIFICITY, strict=True)]
    machines = truth ^ np.array(wrong)
    if dependence in CUTS:
        machines[0] = score > 0.5
    seen = np.sort(rng.choice(n_instances, n_seen, replace=False))
    people = (truth ^ np.array([errs((PERSON[0], 0), (PERSON[1], 0), 0.0) for _ in PEOPLE]))[:, seen]
    given = machines[1:] if dependence == "left out" else machines
    return Crowd(
        score,
        truth,
        machines,
        np.r_[np.repeat(MACHINES[-len(given) :], n_instances), np.repeat(PEOPLE, n_seen)],
        np.r_[np.tile(np.arange(n_instances), len(given)), np.tile(seen, len(PEOPLE))],
        np.r_[given.ravel(), people.ravel()],
    )


def level_of(rate: float) -> float:
    """The level b at which σ(b + SLOPE u) is the rate in the mean over u ~ N(0, 1)."""
    from scipy import optimize, special

    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    return float(optimize.brentq(lambda b: w @ special.expit(b + SLOPE * x) - rate, -30, 10))


def gold_of(drawn: Crowd, how: Gold, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(items with gold, the chance of each): all alike, or in proportion to the machines' share of yes + .05."""
    size, rng = len(drawn.truth), np.random.default_rng([seed, 20])
    chance = np.full(size, n / size) if how == "random" else in_proportion(drawn.machines.mean(0) + 0.05, n)
    known = systematic(rng, chance, n)
    return known, chance[known]


def in_proportion(size: Float[np.ndarray, " I"], n: int) -> Float[np.ndarray, " I"]:
    """Chances of sum n in proportion to sizes, at most 1."""
    chance = np.minimum(n * size / size.sum(), 1)
    while abs(chance.sum() - n) > 1e-9 * n:
        free = chance < 1
        chance[free] = np.minimum((n - (~free).sum()) * size[free] / size[free].sum(), 1)
    return chance


# Estimates without a model


def ppi(z, f, chance, everyone, known) -> tuple[float, float, float]:
    """PPI++ with its normal interval, as ppi-python has it; λ in [0, 1] has the least variance.

    Gold drawn at random and all other items are two independent samples. Otherwise gold has weights ω = 1/ψ, of mean 1,

        θ = λ mean(f') + mean(ω (z - λ f))      V = λ² var(f') / N + var(ω (z - λ f)) / n      f': of all items

    Source: Angelopoulos, Duchi and Zrnic 2023 (PPI++).
    """
    if np.ptp(chance) < 1e-12:
        found = assisted.two_samples(z, f, np.delete(everyone, known))
        return _normal(found.mean, found.variance)
    weight = 1 / chance / (1 / chance).mean()
    n, spread = len(z), everyone.var() / len(everyone)
    most = (weight * f).var() / n + spread
    lam = float(np.clip(np.cov(weight * z, weight * f, ddof=0)[0, 1] / n / most, 0, 1)) if most else 0.0
    return weighted_ppi(z, f, weight, everyone, lam)


def weighted_ppi(z, f, weight, everyone, lam: float) -> tuple[float, float, float]:
    """The second of :func:`ppi`, at weights of mean 1 and λ."""
    e = weight * (z - lam * f)
    return _normal(lam * everyone.mean() + e.mean(), lam**2 * everyone.var() / len(everyone) + e.var() / len(z))


def rogan_gladen(z, said, chance, everyone) -> tuple[float, float, float] | None:
    """(q + c - 1) / (s + c - 1): the share q of yes corrected by sensitivity s and specificity c, which gold gives,

        V = [q (1 - q) / N + p² V(s) + (1 - p)² V(c)] / (s + c - 1)²

    weighted by 1/ψ where chances differ. None where gold lacks a class, or s + c ≤ 1.

    Source: Rogan and Gladen 1978.
    """
    rates, variances = [], []
    for value in (1, 0):
        of = z == value
        if not of.any():
            return None
        weight = 1 / chance[of] / (1 / chance[of]).sum()
        right = said[of] == value
        rates.append(weight @ right)
        variances.append((weight**2 @ (right - rates[-1]) ** 2) * of.sum() / max(of.sum() - 1, 1))
    (s, c), q = rates, everyone.mean()
    if s + c <= 1:
        return None
    p = float(np.clip((q + c - 1) / (s + c - 1), 0, 1))
    variance = q * (1 - q) / len(everyone) + p**2 * variances[0] + (1 - p) ** 2 * variances[1]
    return _normal(p, variance / (s + c - 1) ** 2)


def _normal(mean: float, variance: float) -> tuple[float, float, float]:
    half = 1.959964 * np.sqrt(variance)
    return mean, mean - half, mean + half


# The study


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [
        (rate, dependence, start, min(start + config.in_cell, config.n_repeats))
        for start in range(0, config.n_repeats, config.in_cell)
        for rate in config.rates
        for dependence in config.dependence
    ]


def size(config: Config, rate: float, dependence: str, start: int, end: int) -> Size:
    n_fits = (end - start) * len(config.gold)
    n_labelers = len(MACHINES) + len(PEOPLE)
    return size_of_fits(config.n_instances, len(MACHINES), n_labelers, ContextualConfig(), n_fits)


def run_cell(config: Config, rate: float, dependence: str, start: int, end: int) -> Tables:
    """Crowds of one kind, from ``start`` up to ``end``."""
    found: list[dict] = []
    for r in range(start, end):
        seed = config.seed * 100_000 + r
        drawn = crowd(rate, dependence, seed, n_instances=config.n_instances, n_seen=config.n_seen)
        for how in config.gold:
            for model, values in measured(config, drawn, rate, how, seed).items():
                columns = {k: [v] for k, v in values.items()}
                found += rows(model, columns, start=r, rate=rate, dependence=dependence, gold=how)
    return {"metrics": pa.Table.from_pylist(found)}


def measured(config: Config, drawn: Crowd, rate: float, how: Gold, seed: int) -> dict[str, dict[str, float]]:
    """What each estimate says of one crowd."""
    ids, votes = np.arange(len(drawn.truth)), drawn.machines.mean(0)
    majority = (votes > 0.5).astype(float)
    out: dict[str, tuple | None] = {}
    gold = None
    if how == "none":
        out["majority's share"] = _normal(majority.mean(), majority.var() / len(majority))
    else:
        known, chance = gold_of(drawn, how, config.n_gold, seed)
        z = drawn.truth[known].astype(float)
        gold = {"instance": known, "label": drawn.truth[known], "chance": chance}
        out["PPI++"] = ppi(z, votes[known], chance, votes, known)
        out["Rogan-Gladen"] = rogan_gladen(z, majority[known], chance, majority)
    started = perf_counter()
    result = crowdjax.context(
        {"labeler": drawn.labeler, "instance": drawn.instance, "label": drawn.label},
        {"instance": ids, "score": drawn.score},
        gold=gold,
        inference=config.inference,
    )
    seconds, found = perf_counter() - started, result.prevalence
    by = {e["method"]: (e["mean"], e["lower"], e["upper"]) for e in found["estimates"]}
    out = {"headline": (found["mean"], found["lower"], found["upper"]), **out}
    if how != "none":
        out |= {"model": by["labelled instances"], "assisted": by[ASSISTED], "gold alone": by[ALONE]}
    values = {name: _judged(rate, e) for name, e in out.items()}
    order = result.index.instances.astype(int)
    probability = np.asarray(result.instances["probability"], float)
    unknown = np.ones(len(ids), bool) if gold is None else ~np.isin(order, gold["instance"])  # gold's own are 0 or 1
    truth, p = drawn.truth[order][unknown], probability[unknown]
    values["headline"] |= {
        "accuracy": judged.accuracy(p, truth),
        "nll": judged.nll(p, truth),
        "majority accuracy": float((majority[order][unknown] == truth).mean()),
        "majority nll": judged.nll((3 * votes[order][unknown] + 0.5) / 4, truth),
        "pairs said": float(bool(result.record["agreement"]["pairs"])),
        "cut said": float(any("cut at" in w for w in result.warnings)),
        "undecided": float(found["constraints_agree"] is False),
        "checked": float(found["checked"]),
        "by gold": float(found["method"] == ASSISTED),
        "seconds": seconds,
    }
    return values


def _judged(true: float, estimate: tuple | None) -> dict[str, float]:
    if estimate is None:
        return {"given": 0.0}
    mean, lower, upper = estimate
    values = {"bias": mean - true, "given": float(lower is not None)}
    if lower is not None:
        values |= {"covered": float(lower <= true <= upper), "width": upper - lower}
    return values


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    prevalence, items, figures = [], [], {}
    for rate in config.rates:
        for dependence in config.dependence:
            for how in config.gold:
                get = partial(select, metrics, rate=rate, dependence=dependence, gold=how)
                part = metrics.filter(pc.equal(metrics["gold"], how))
                for model in names(part, "model"):
                    line = [_mean(get(model=model, metric=m), f) for m, f in FORMS.items()]
                    prevalence.append([rate, dependence, how, model, *line])
                line = [_mean(get(model="headline", metric=m), f) for m, f in ITEMS.items()]
                items.append([rate, dependence, how, *line])
        shown = {}
        for dependence in config.dependence:
            last = partial(select, metrics, rate=rate, dependence=dependence, gold=config.gold[-1], metric="bias")
            shown |= {f"{dependence}: {m}": last(model=m) / rate for m in ("headline", "model", "PPI++")}
        title = f"Rate {rate:g}, gold {config.gold[-1]}"
        figures[f"machines_{len(figures) + 1}"] = plots.spread(shown, title=title, xlabel="bias / rate")
    text = (
        f"{config.n_instances} items; {len(MACHINES)} machines label all, {len(PEOPLE)} people {config.n_seen}; "
        f"{config.n_repeats} crowds of each kind; gold of {config.n_gold} items; inference: "
        f"{config.inference or 'default'}. Cover, width: of 95 % intervals of the share of positives; given: how often "
        "there is one; bias, with its standard error over crowds.\n\n"
        + markdown(["rate", "dependence", "gold", "estimate", *FORMS], prevalence)
        + "\n\nItems without gold: accuracy and NLL of the default fit and of the machines' majority (its chances are "
        "(yes + ½)/(3 + 1)). Said: how often warnings name pairs that go together, a label that is the score cut in "
        "two, or that labels alone do not decide; by gold: how often the headline is the assisted estimate.\n\n"
        + markdown(["rate", "dependence", "gold", *ITEMS], items)
        + "\n"
    )
    return Report(text, figures)


FORMS = {"covered": ".2f", "width": ".4f", "bias": "+.4f", "given": ".2f"}
ITEMS = {
    "accuracy": ".4f", "majority accuracy": ".4f", "nll": ".4f", "majority nll": ".4f", "pairs said": ".2f",
    "cut said": ".2f", "undecided": ".2f", "checked": ".2f", "by gold": ".2f",
}  # fmt: skip


def _mean(values: np.ndarray, form: str) -> str:
    if not len(values):
        return "–"
    error = f" ± {values.std(ddof=1) / np.sqrt(len(values)):.4f}" if form[0] == "+" and len(values) > 1 else ""
    return f"{values.mean():{form}}{error}"
