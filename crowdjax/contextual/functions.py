"""Functions of the context with Gaussian-process priors: constant, linear, or linear plus a Gaussian process.

    f(x) = m + b·x + Σ_t (g_t(x) - line of g_t)        g_t ~ GP(0, a_t² exp(-½ |x - x'|² / ℓ²))

The line of g is its least-squares line over [-1, 1]: m and b alone say where the function lies and how it slopes, and g
how it bends. Otherwise the same well-determined level would be a product of amplitude and weights, which slows NUTS.

The context x has C columns in [-1, 1]. ``additive``: one g per column; ``tensor``: a single g of all columns with a
length-scale for each. However g is approximated, it is linear in white weights w ~ N(0, I), so that one ``Term`` knows
its value at the prepared inputs and can be prepared again at others:

- ``hsgp``: M eigenfunctions of the Laplacian on [-c, c], weighted by the square root of the spectral density
  (Solin and Särkkä 2020; Riutort-Mayol et al. 2023). Valid for 1.75 c/M <= ℓ <= c/3.2.
- ``inducing``: M inputs z, g(x) = K(x, z) chol(K(z, z))⁻ᵀ w; the projected process (no variance is added back).
- ``exact``: the same with z = every distinct input and a grid over [-1, 1], where it is the Gaussian process itself.

An ``increasing`` function is m + ∫ softplus(b + g(t)) dt from 0 to x, by the trapezoid rule on a grid.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int
from numpyro.contrib.hsgp.laplacian import eigenfunctions, sqrt_eigenvalues

Family = Literal["constant", "linear", "gp"]
PRECISION = jax.lax.Precision.HIGHEST
GRID = 129  # knots of an increasing function
EXACT_GRID = 41  # inputs besides the data at which an exact process is exact
MAX_EXACT = 1000


@dataclasses.dataclass(frozen=True)
class GP:
    """How Gaussian processes are represented; one for all functions of a model.

    Attributes:
        approximation: ``hsgp``, ``inducing`` or ``exact`` (at most 1000 distinct inputs).
        n_basis: M, per column (for ``tensor`` M^C eigenfunctions) or number of inducing inputs.
        boundary: c of the Hilbert-space basis.
        columns: ``additive`` or ``tensor``.
        log_length: mean and standard deviation of log ℓ; by default ℓ = .5, 95 % in .23 to 1.1.
    """

    approximation: Literal["hsgp", "inducing", "exact"] = "hsgp"
    n_basis: int = 32
    boundary: float = 3.2
    columns: Literal["additive", "tensor"] = "additive"
    log_length: tuple[float, float] = (-0.6931, 0.4)

    def __post_init__(self):
        if self.n_basis < 2:
            raise ValueError(f"n_basis: got {self.n_basis}; allowed: 2 or more")
        if not self.boundary > 1:
            raise ValueError(f"boundary: got {self.boundary}; allowed: more than 1, the edge of the context")

    @property
    def valid_lengths(self) -> tuple[float, float]:
        """The length-scales that the Hilbert-space basis can represent (Riutort-Mayol et al. 2023, section 4.2)."""
        if self.approximation != "hsgp":
            return 0.0, np.inf
        return 1.75 * self.boundary / self.n_basis, self.boundary / 3.2


@dataclasses.dataclass(frozen=True)
class Function:
    """One function's family and priors: m ~ N(mean), b ~ N(0, slope²), a ~ HalfNormal(amplitude)."""

    family: Family = "gp"
    mean: tuple[float, float] = (0.0, 1.0)
    slope: float = 1.0
    amplitude: float = 1.0
    increasing: bool = False


def _grid(dims: int) -> np.ndarray:
    """Evenly spaced points of [-1, 1]^D, where lines are fitted."""
    axis = np.linspace(-1, 1, 65 if dims == 1 else max(3, round(512 ** (1 / dims))))
    return np.stack(np.meshgrid(*[axis] * dims, indexing="ij"), -1).reshape(-1, dims)


def _fitted_line(dims: int) -> tuple[np.ndarray, np.ndarray]:
    """The grid of shape [G, D], and the matrix [1 + D, G] from values on it to their least-squares line."""
    grid = _grid(dims)
    return grid, np.linalg.pinv(np.c_[np.ones(len(grid)), grid])


class Hilbert(eqx.Module):
    """Eigenfunctions φ_m(x) without their lines, of shape [n, M], and their frequencies ω of shape [D, M]."""

    features: Float[Array, "n M"]
    omega: Float[Array, "D M"]
    boundary: float = eqx.field(static=True)
    n_basis: int = eqx.field(static=True)

    @classmethod
    def at(cls, x, n_basis: int, boundary: float) -> Hilbert:
        dims = x.shape[-1]
        x = jnp.asarray(x)
        omega = sqrt_eigenvalues(boundary, n_basis, dims).astype(x.dtype)
        grid, fit = _fitted_line(dims)
        line = jnp.asarray(fit @ np.asarray(eigenfunctions(grid, boundary, n_basis), np.float64), x.dtype)
        features = eigenfunctions(x, boundary, n_basis) - line[0] - jnp.matmul(x, line[1:], precision=PRECISION)
        return cls(features.astype(x.dtype), omega, boundary, n_basis)

    def again(self, x) -> Hilbert:
        return Hilbert.at(x, self.n_basis, self.boundary)

    @property
    def n_weights(self) -> int:
        return self.omega.shape[-1]

    def log_scale(self, amplitude, length: Float[Array, " D"]) -> Float[Array, " M"]:
        """The logarithm of :meth:`scale`."""
        wide = 0.5 * jnp.log(jnp.sqrt(2 * jnp.pi) * length[:, None])
        return jnp.log(amplitude) + (wide - (length[:, None] * self.omega) ** 2 / 4).sum(0)

    def scale(self, amplitude, length: Float[Array, " D"]) -> Float[Array, " M"]:
        """The square root of the spectral density, a Π_d (√(2π) ℓ_d)^½ exp(-ℓ_d² ω_d² / 4), in closed form: the root
        of the density itself has no gradient in float32 once the density underflows."""
        return amplitude * jnp.exp(self.log_scale(1.0, length))

    def __call__(self, amplitude, length, weights: Float[Array, " M"]) -> Float[Array, " n"]:
        return jnp.matmul(self.features, self.scale(amplitude, length) * weights, precision=PRECISION)


class Inducing(eqx.Module):
    """Inputs x of shape [n, D] and inducing inputs z of shape [M, D]."""

    x: Float[Array, "n D"]
    z: Float[Array, "M D"]

    def again(self, x) -> Inducing:
        return Inducing(jnp.asarray(x), self.z)

    @property
    def n_weights(self) -> int:
        return self.z.shape[0]

    def log_scale(self, amplitude, length) -> Float[Array, " M"]:
        """The logarithm of what multiplies all weights."""
        return jnp.broadcast_to(jnp.log(amplitude), (self.n_weights,))

    def __call__(self, amplitude, length, weights: Float[Array, " M"]) -> Float[Array, " n"]:
        def correlation(a, b):
            return jnp.exp(-0.5 * (((a[:, None] - b[None]) / length) ** 2).sum(-1))

        m = self.n_weights
        jitter = 20 * m * jnp.finfo(self.x.dtype).eps  # the rounding error of a sum of m ones, and some
        root = jnp.linalg.cholesky(correlation(self.z, self.z) + jitter * jnp.eye(m, dtype=self.x.dtype))
        solved = jax.scipy.linalg.solve_triangular(root.T, weights, lower=False)
        grid, fit = _fitted_line(self.z.shape[1])
        at_grid = jnp.matmul(correlation(jnp.asarray(grid, self.x.dtype), self.z), solved, precision=PRECISION)
        line = jnp.matmul(jnp.asarray(fit, self.x.dtype), at_grid, precision=PRECISION)
        values = jnp.matmul(correlation(self.x, self.z), solved, precision=PRECISION)
        return amplitude * (values - line[0] - jnp.matmul(self.x, line[1:], precision=PRECISION))


class Knots(eqx.Module):
    """Where each input lies between the knots of an increasing function, and the terms at those knots."""

    terms: tuple[Hilbert | Inducing, ...]
    index: Int[Array, " n"]
    fraction: Float[Array, " n"]


class Basis(eqx.Module):
    """The context prepared for evaluating functions: x of shape [n, C], the terms at x, and knots where needed."""

    x: Float[Array, "n C"]
    terms: tuple[Hilbert | Inducing, ...]
    knots: Knots | None

    def again(self, x) -> Basis:
        """The same functions at other inputs, shape [n', C]."""
        x = jnp.asarray(x, self.x.dtype)
        terms = tuple(t.again(part) for t, part in zip(self.terms, _parts(x, len(self.terms)), strict=True))
        return Basis(x, terms, None if self.knots is None else _knots(x, self.knots.terms))


def prepare(gp: GP, x, *, increasing: bool = False, anchors=None) -> Basis:
    """Prepares inputs x of shape [n, C] (host side). Inducing inputs are chosen from them, or given: one array of shape
    [M, D] for each term.

    Raises:
        ValueError: the exact process is asked for at too many inputs, or an increasing function of several columns.

    Example:
        >>> basis = prepare(GP(n_basis=8), np.linspace(-1, 1, 5)[:, None])
        >>> basis.terms[0].features.shape
        (5, 8)
    """
    x = np.asarray(x, dtype=jnp.result_type(float))
    n_columns = x.shape[1]
    if increasing and n_columns > 1:
        raise ValueError(f"increasing: the context has {n_columns} columns; allowed: one")
    n_terms = 1 if gp.columns == "tensor" else n_columns

    def term(t, part):
        if gp.approximation == "hsgp":
            return Hilbert.at(part, gp.n_basis, gp.boundary)
        return Inducing(jnp.asarray(part), jnp.asarray(_inducing_inputs(gp, part) if anchors is None else anchors[t]))

    terms = tuple(term(t, part) for t, part in enumerate(_parts(x, n_terms)))
    knots = None
    if increasing:
        grid = np.linspace(-1, 1, GRID, dtype=x.dtype)[:, None]
        knots = _knots(jnp.asarray(x), tuple(t.again(grid) for t in terms))
    return Basis(jnp.asarray(x), terms, knots)


def sample_scale(name: str, scale: float, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draws from HalfNormal(scale), as its quantile of a standard normal site ``name_white``.

    A logarithm's tail towards zero would be exponential, which samplers and Gaussian approximations bear badly.
    """
    white = numpyro.sample(f"{name}_white", dist.Normal(0, 1).expand(shape).to_event(len(shape)))
    quantile = jnp.clip(jax.scipy.special.ndtr(white), 1e-12, 1 - 1e-6)  # float32 would say 0 or infinity beyond
    return numpyro.deterministic(name, scale * jnp.sqrt(2.0) * jax.scipy.special.erfinv(quantile))


def sample(name: str, function: Function, gp: GP, basis: Basis) -> dict[str, Array]:
    """Draws a function's parameters in NumPyro: sites ``name_mean``, ``_slope``, ``_amplitude``, ``_length`` and
    ``_weights`` (white). Shapes: [], [C], [T], [C], [T, M]."""
    out = {"mean": numpyro.sample(f"{name}_mean", dist.Normal(*function.mean))}
    n_columns, n_terms = basis.x.shape[1], len(basis.terms)
    if function.family != "constant":
        out["slope"] = numpyro.sample(f"{name}_slope", dist.Normal(0, function.slope).expand([n_columns]).to_event(1))
    if function.family == "gp":
        out["amplitude"] = sample_scale(f"{name}_amplitude", function.amplitude, (n_terms,))
        length = dist.LogNormal(*gp.log_length).expand([n_columns]).to_event(1)
        out["length"] = numpyro.sample(f"{name}_length", length)
        white = dist.Normal(0, 1).expand([n_terms, basis.terms[0].n_weights]).to_event(2)
        out["weights"] = numpyro.sample(f"{name}_weights", white)
    return out


def parameters_of(name: str, draw: dict[str, Array]) -> dict[str, Array]:
    """One function's parameters out of all sites: those named ``name_...``, without the prefix."""
    return {key.removeprefix(f"{name}_"): value for key, value in draw.items() if key.startswith(f"{name}_")}


def evaluate(function: Function, basis: Basis, p: dict[str, Array]) -> Float[Array, " n"]:
    """f at the prepared inputs, given its parameters (one draw).

    Example:
        >>> basis = prepare(GP(), np.array([[-1.0], [1.0]]))
        >>> evaluate(Function("linear"), basis, {"mean": jnp.array(1.0), "slope": jnp.array([2.0])}).tolist()
        [-1.0, 3.0]
    """
    if function.family == "constant":
        return jnp.broadcast_to(p["mean"], basis.x.shape[:1])
    slope = p["slope"]
    if function.increasing and function.family == "gp":
        rise = jax.nn.softplus(slope[0] + _process(basis.knots.terms, p))
        path = jnp.concatenate([jnp.zeros(1, rise.dtype), jnp.cumsum((rise[1:] + rise[:-1]) / (GRID - 1))])
        path = path - path[GRID // 2]
        left, right = path[basis.knots.index], path[basis.knots.index + 1]
        return p["mean"] + left + basis.knots.fraction * (right - left)
    slope = jax.nn.softplus(slope) if function.increasing else slope
    line = p["mean"] + jnp.matmul(basis.x, slope, precision=PRECISION)
    return line + _process(basis.terms, p) if function.family == "gp" else line


def _process(terms, p) -> Float[Array, " n"]:
    """Σ_t g_t, each with its amplitude, length-scales and weights."""
    lengths = p["length"].reshape(len(terms), -1)
    return sum(t(p["amplitude"][i], lengths[i], p["weights"][i]) for i, t in enumerate(terms))


def _parts(x, n_terms: int):
    """The columns that each term sees: all of them, or one each."""
    return [x] if n_terms == 1 else [x[:, i : i + 1] for i in range(n_terms)]


def _knots(x, terms) -> Knots:
    position = (x[:, 0] + 1) / 2 * (GRID - 1)
    index = jnp.clip(jnp.floor(position), 0, GRID - 2)
    return Knots(terms, index.astype(jnp.int32), position - index)  # beyond the ends the last piece goes on


def _inducing_inputs(gp: GP, x: np.ndarray) -> np.ndarray:
    """All distinct inputs and a grid (exact); half at quantiles, half evenly spaced (one column); or points far from
    each other (several)."""
    distinct = np.unique(x, axis=0)
    if gp.approximation == "exact":
        if len(distinct) > MAX_EXACT:
            raise ValueError(
                f"approximation: exact for {len(distinct)} distinct inputs; allowed: at most {MAX_EXACT}; "
                "use hsgp or inducing"
            )
        if x.shape[1] > 1:
            return distinct
        return np.unique(np.r_[distinct, np.linspace(-1, 1, EXACT_GRID, dtype=x.dtype)[:, None]], axis=0)
    if x.shape[1] == 1:
        half = gp.n_basis // 2
        even = np.linspace(-1, 1, gp.n_basis - half)
        return np.sort(np.r_[even, np.quantile(distinct, (np.arange(half) + 0.5) / half)])[:, None].astype(x.dtype)
    pool = distinct[np.linspace(0, len(distinct) - 1, min(len(distinct), 5000)).astype(int)]
    chosen = [int(np.argmin((pool**2).sum(1)))]
    distance = ((pool - pool[chosen[0]]) ** 2).sum(1)
    while len(chosen) < min(gp.n_basis, len(pool)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((pool - pool[chosen[-1]]) ** 2).sum(1))
    return pool[chosen]
