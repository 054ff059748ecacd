"""Whether intervals of the integrated model hold what they say, on crowds drawn from it.

    logit P(L_ij = +1) = α_i x_j + γ_i      x_j = z_j β_j,  β_j ~ N(1, ρ²)      (α_i, γ_i) ~ N(μ, Σ)

With ρ given and with ρ learned, the classes meeting at 0 and taken to: coverage of the 95 % intervals of every
labeler's sensitivity and specificity by each posterior (``integrated.labeler_draws``), and of the share of positives.
And simulation-based calibration (Talts, Betancourt, Simpson, Vehtari, Gelman 2018): the share of truths above the
posterior's median, and where they lie by tenths, which hold a tenth each if inference is right. κ, which real labelers
call for (``configs/verdicts.toml``), is 0 here.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from crowdjax import integrated, simulate
from crowdjax.factor import Factors
from crowdjax.integrated import IntegratedConfig, Posterior
from experiments.cells import Cell, Size, Tables
from experiments.tables import Report, markdown, names, rows, select

LEVEL = integrated.LEVEL  # of the intervals whose coverage is measured
TENTHS = 10


@dataclasses.dataclass(frozen=True)
class Config:
    """The crowds.

    Attributes:
        spreads: values of ρ.
        n_labelers, n_instances: of every crowd.
        density: the share of the pairs that are judged.
        mean: of labelers' α and γ.
        covariance: of α, of α and γ, of γ.
        posteriors: of the labelers: laplace, axis, exact.
        n_repeats: crowds of each spread.
        seed: draws the crowds.
    """

    spreads: tuple[float, ...] = (0.7, 1.0)
    n_labelers: int = 60
    n_instances: int = 300
    density: float = 0.3
    mean: tuple[float, float] = (1.2, 0.2)
    covariance: tuple[float, float, float] = (0.4, -0.1, 0.6)
    posteriors: tuple[Posterior, ...] = ("laplace", "axis")
    n_repeats: int = 24
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [(spread, known) for spread in config.spreads for known in ("known", "learned")]


def size(config: Config, spread: float, known: str) -> Size:
    grid, settings = simulate.grid(config.n_labelers, config.n_instances), _settings(spread, known)
    lower = lambda: integrated.fit_jit.lower(grid.with_weight(np.ones(len(grid.label), np.float32)), settings)  # noqa: E731
    n = round(config.density * config.n_labelers * config.n_instances)
    return Size(n, config.n_labelers, config.n_instances, config.n_repeats, lower, "a fit")


def run_cell(config: Config, spread: float, known: str) -> Tables:
    pairs = jax.tree.map(np.asarray, simulate.grid(config.n_labelers, config.n_instances))
    keys = jax.random.split(jax.random.key(config.seed), config.n_repeats)
    drawn = jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: draw(key, config, spread)))(keys))
    values: dict[str, dict[str, list[float]]] = {}
    for r in range(config.n_repeats):
        one = jax.tree.map(lambda v, r=r: v[r], drawn)
        for posterior, measured in judged(one, pairs, _settings(spread, known), spread, config.posteriors).items():
            for k, v in measured.items():
                values.setdefault(posterior, {}).setdefault(k, []).append(v)
    found = [row for p, measured in values.items() for row in rows(known, measured, spread=spread, posterior=p)]
    return {"metrics": pa.Table.from_pylist(found)}


def _settings(spread: float, known: str) -> IntegratedConfig:
    return IntegratedConfig(spread=spread if known == "known" else "learn")


def draw(key, config: Config, spread: float) -> simulate.Simulation:
    """A crowd from the model."""
    k_labeler, k_beta, k_truth, k_label, k_asked = jax.random.split(key, 5)
    a, b, c = config.covariance
    labelers = jax.random.multivariate_normal(
        k_labeler, jnp.array(config.mean), jnp.array([[a, b], [b, c]]), (config.n_labelers,)
    )
    beta = 1 + spread * jax.random.normal(k_beta, (config.n_instances, 1))
    factors = Factors(labelers[:, :1], beta, labelers[:, 1], jnp.zeros(config.n_instances))
    truth = simulate.coins(k_truth, config.n_instances)
    label = simulate.judgements(k_label, factors, truth)
    asked = jax.random.bernoulli(k_asked, config.density, label.shape)
    return simulate.Simulation(label, asked.astype(beta.dtype), truth, factors)


def judged(
    crowd: simulate.Simulation, pairs, config: IntegratedConfig, spread: float, posteriors
) -> dict[str, dict[str, float]]:
    """By posterior: where the truths of labelers lie in it; by ``positives`` whether their share is in its interval."""
    labels = crowd.on(pairs)
    fit = integrated.fit_jit(labels, config)
    alpha, gamma = crowd.factors.alpha[:, 0], crowd.factors.gamma
    points, mass = np.polynomial.hermite_e.hermegauss(61)
    chance = lambda sign: (  # noqa: E731
        mass @ jax.nn.sigmoid(alpha * (1 + spread * points[:, None]) + sign * gamma) / mass.sum()
    )
    truths, tail = np.concatenate([chance(1), chance(-1)]), (1 - LEVEL) / 2
    share = integrated.share_of_positives(labels, fit, config, integrated.around(jnp.zeros(())), level=LEVEL)
    inside = float(share.lower <= (crowd.truth > 0).mean() <= share.upper)
    measured = {"positives": {"coverage": inside, "width": share.upper - share.lower}}
    for posterior in posteriors:
        draws, _ = integrated.labeler_draws(labels, fit, config, posterior=posterior)
        values = np.concatenate(integrated.chances(draws, config, jnp.zeros(len(draws.spread))), axis=1)
        weight = np.tile(draws.weight, 2)
        rank = np.minimum((weight * (values < truths)).sum(0), 1 - 1e-9)
        ends = integrated.interval(values, weight, LEVEL)
        tenths = np.bincount((TENTHS * rank).astype(int), minlength=TENTHS) / len(rank)
        measured[posterior] = {
            "coverage": float(((tail <= rank) & (rank <= 1 - tail)).mean()),
            "width": float((ends.upper - ends.lower).mean()),
            "above": float((rank > 0.5).mean()),
            **{f"tenth {k}": v for k, v in enumerate(tenths)},
        }
    return measured


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    lines, tenths, positives = [], [], []

    def mean(metric, **at):
        v = select(metrics, metric=metric, **at)
        return f"{v.mean():.3f} ± {v.std(ddof=1) / np.sqrt(len(v)):.3f}"

    for spread in names(metrics, "spread"):
        for known in names(metrics, "model"):
            at, title = dict(model=known, spread=spread), f"{spread}, {known}"
            width = lambda p, at=at: float(select(metrics, metric="width", posterior=p, **at).mean())  # noqa: E731
            positives.append([title, mean("coverage", posterior="positives", **at), width("positives")])
            for p in config.posteriors:
                lines.append([title, p, *(mean(k, posterior=p, **at) for k in ("above", "coverage")), width(p)])
                shares = [select(metrics, metric=f"tenth {k}", posterior=p, **at).mean() for k in range(TENTHS)]
                tenths.append([title, p, *map(float, shares)])
    text = f"""Truths of labelers above the posterior's median, and in {LEVEL:.0%} intervals, ± standard error over
{config.n_repeats} crowds of {config.n_labelers} labelers and {config.n_instances} instances; {config.density:.0%} of
the pairs are judged.

{markdown(["ρ", "posterior", "above the median", "coverage", "width"], lines)}

The share of positives.

{markdown(["ρ", "coverage", "width"], positives)}

Where the true sensitivities and specificities are in their posteriors, by tenths: .100 each if inference is right.

{markdown(["ρ", "posterior", *map(str, range(1, TENTHS + 1))], tenths)}
"""
    return Report(text)
