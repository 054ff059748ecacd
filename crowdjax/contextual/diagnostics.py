"""When to trust a posterior: R-hat and effective sample sizes of chains, Pareto k-hat of approximations. Host side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin


class Psis(NamedTuple):
    """Smoothed, normalised log weights and the tail's shape k-hat: below .7 the weighted draws can be trusted."""

    log_weights: Float[np.ndarray, " S"]
    khat: float


def pareto_smooth(log_ratios: Float[np.ndarray, " S"]) -> Psis:
    """Smooth importance weights by a generalised Pareto tail.

    The largest min(S/5, 3√S) ratios are replaced by quantiles of a generalised Pareto distribution fitted to them.

    Args:
        log_ratios: log p(u_s) - log q(u_s) up to a constant, of draws from q. Draws at which the target is not finite
            get no weight.

    Example:
        >>> draws = np.random.default_rng(0).standard_normal(1000)
        >>> bool(pareto_smooth(0.1 * draws).khat < 0.5)
        True

    Source: Vehtari, Simpson, Gelman, Yao, Gabry 2024, Pareto smoothed importance sampling.
    """
    x = np.where(np.isfinite(log_ratios), log_ratios, -np.inf).astype(np.float64)
    size = len(x)
    n_tail = int(np.ceil(min(0.2 * size, 3 * np.sqrt(size))))
    if size < 25 or np.isfinite(x).sum() <= n_tail:
        return Psis(np.full(size, -np.log(size)), np.inf)  # nothing to smooth: equal weights, not to be trusted
    x = x - x.max()
    order = np.argsort(x)
    tail = order[-n_tail:]
    cutoff = max(x[order[-n_tail - 1]], np.log(np.finfo(float).tiny))
    excess = np.exp(x[tail]) - np.exp(cutoff)
    khat = -np.inf  # all ratios alike
    if excess[-1] > 1e-12 and excess[0] >= 0:
        khat, sigma = _fit_pareto(np.maximum(excess, 1e-300))
        p = (np.arange(n_tail) + 0.5) / n_tail
        quantiles = -sigma * np.log1p(-p) if abs(khat) < 1e-12 else sigma * np.expm1(-khat * np.log1p(-p)) / khat
        x[tail] = np.minimum(np.log(quantiles + np.exp(cutoff)), 0)
    return Psis(x - np.logaddexp.reduce(x), float(khat))


def _fit_pareto(x: np.ndarray) -> tuple[float, float]:
    """Return (k, σ) of a generalised Pareto distribution, x sorted (Zhang and Stephens 2009), k shrunk towards ½."""
    n = len(x)
    m = 30 + int(np.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    b = 1 / x[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * quartile)
    k = np.log1p(-b[:, None] * x).mean(1)
    profile = n * (np.log(-b / k) - k - 1)
    weights = np.exp(profile - profile.max())
    b = (b * weights).sum() / weights.sum()
    k = np.log1p(-b * x).mean()
    return (k * n + 0.5 * 10) / (n + 10), -k / b


def chain_diagnostics(draws: Float[np.ndarray, "chains S P"]) -> dict[str, float]:
    """Compute the largest split R-hat and the smallest effective sample size over P quantities; quantities that never
    vary are left out.
    """
    draws = np.asarray(draws, np.float64)
    varies = draws.std((0, 1)) > 0
    draws = draws[:, :, varies]
    if not draws.size:
        return {"rhat": np.inf, "ess": 0.0}
    rhat = split_gelman_rubin(draws)
    return {"rhat": float(np.max(rhat)), "ess": float(np.min(effective_sample_size(draws)))}
