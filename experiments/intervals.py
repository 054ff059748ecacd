"""Whether intervals of the integrated model hold what they say, on crowds drawn from it.

    logit P(L_ij = +1) = α_i x_j + γ_i      x_j = z_j β_j,  β_j ~ N(1, ρ²)      (α_i, γ_i) ~ N(μ, Σ)

Coverage of the 90 % intervals of every labeler's sensitivity and specificity, and of the share of positives, with ρ
given and with ρ learned; the classes meet at 0, and are taken to (``gap``), or the boundary is ``able``. And
simulation-based calibration: where the truth is in its posterior, normal on the logit scale, by tenths that hold a
tenth each if inference is right (Talts, Betancourt, Simpson, Vehtari, Gelman 2018).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from scipy import special

from crowdjax import integrated, simulate
from crowdjax.factor import Factors
from crowdjax.integrated import IntegratedConfig
from experiments.cells import Cell, Size, Tables
from experiments.tables import Report, markdown, names, rows, select

BOUNDARIES = ("gap", "able")
LEVEL = 0.9  # of the intervals whose coverage is measured
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
        n_repeats: crowds of each spread.
        seed: draws the crowds.
    """

    spreads: tuple[float, ...] = (0.7, 1.0)
    n_labelers: int = 60
    n_instances: int = 300
    density: float = 0.3
    mean: tuple[float, float] = (1.2, 0.2)
    covariance: tuple[float, float, float] = (0.4, -0.1, 0.6)
    n_repeats: int = 60
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
    values = {}
    for r in range(config.n_repeats):
        one = jax.tree.map(lambda v, r=r: v[r], drawn)
        for boundary, measured in judged(one, pairs, _settings(spread, known), spread).items():
            for k, v in measured.items():
                values.setdefault(boundary, {}).setdefault(k, []).append(v)
    found = [row for b, measured in values.items() for row in rows(known, measured, spread=spread, boundary=b)]
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


def judged(crowd: simulate.Simulation, pairs, config: IntegratedConfig, spread: float) -> dict[str, dict[str, float]]:
    """By boundary: the share of labelers inside their intervals, whether the share of positives is, and the widths."""
    labels = crowd.on(pairs)
    fit = integrated.fit_jit(labels, config)
    alpha, gamma = crowd.factors.alpha[:, 0], crowd.factors.gamma
    points, mass = np.polynomial.hermite_e.hermegauss(61)
    chance = lambda sign: (  # noqa: E731
        mass @ jax.nn.sigmoid(alpha * (1 + spread * points[:, None]) + sign * gamma) / mass.sum()
    )
    truths = np.concatenate([chance(1), chance(-1)])
    measured = {}
    for boundary in BOUNDARIES:
        found = integrated.answer(labels, integrated.Plan(config, boundary, ()), fit=fit, level=LEVEL)
        chances, share = found.labelers[:2], found.positives  # chances: sensitivity, specificity
        lower, upper = (np.concatenate([getattr(v, end) for v in chances]) for end in ("lower", "upper"))
        tenths = np.bincount((TENTHS * ranks(lower, upper, truths)).astype(int), minlength=TENTHS) / len(truths)
        measured[boundary] = {
            **{f"tenth {k}": v for k, v in enumerate(tenths)},
            "labelers": float(((lower <= truths) & (truths <= upper)).mean()),
            "width of labelers": float((upper - lower).mean()),
            "positives": float(share.lower <= (crowd.truth > 0).mean() <= share.upper),
            "width of positives": share.upper - share.lower,
        }
    return measured


def ranks(lower: np.ndarray, upper: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """P(less than the truth) of posteriors that are normal on the logit scale, from their 90 % intervals, below 1."""
    lower, upper, truth = (special.logit(np.clip(np.asarray(v, float), 1e-9, 1 - 1e-9)) for v in (lower, upper, truth))
    sd = (upper - lower) / (2 * special.ndtri((1 + LEVEL) / 2))
    return np.minimum(special.ndtr((truth - (lower + upper) / 2) / sd), np.nextafter(1, 0))


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    lines, tenths = [], []
    for spread in names(metrics, "spread"):
        for known in names(metrics, "model"):
            for boundary in names(metrics, "boundary"):
                at = dict(model=known, spread=spread, boundary=boundary)
                line = [f"{spread}, {known}", boundary]
                for k in ("labelers", "positives"):
                    v = select(metrics, metric=k, **at)
                    line.append(f"{v.mean():.3f} ± {v.std(ddof=1) / np.sqrt(len(v)):.3f}")
                    line.append(float(select(metrics, metric=f"width of {k}", **at).mean()))
                lines.append(line)
                shares = [float(select(metrics, metric=f"tenth {k}", **at).mean()) for k in range(TENTHS)]
                tenths.append([*line[:2], *shares])
    text = f"""Coverage of {LEVEL:.0%} intervals, ± standard error over {config.n_repeats} crowds of {config.n_labelers}
labelers and {config.n_instances} instances; {config.density:.0%} of the pairs are judged.

{markdown(["ρ", "boundary", "labelers", "width", "share of positives", "width"], lines)}

Where the true sensitivities and specificities are in their posteriors, by tenths: .100 each if inference is right.

{markdown(["ρ", "boundary", *map(str, range(1, TENTHS + 1))], tenths)}
"""
    return Report(text)
