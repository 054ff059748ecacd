"""Functions of the context with Gaussian-process priors: constant, linear, or linear plus a Gaussian process.

    f(x) = m + b·x + Σ_t (g_t(x) - line of g_t)        g_t ~ GP(0, a_t² exp(-½ |x - x'|² / ℓ²))

The line of g is its least-squares line over [-1, 1]: m and b alone say where the function lies and how it slopes, and g
how it bends. Otherwise the same well-determined level would be a product of amplitude and weights, which slows NUTS.

The context x has C columns in [-1, 1]. ``additive``: one g per column; ``tensor``: a single g of all columns with a
length-scale for each; ``separate``: every input has one of the columns, NaN in the others, and each column has its own
function: its g, its slope, and its level, m + N(0, b²/4). However g is approximated, it is linear in white weights
w ~ N(0, I): a term colours the weights (its coefficients) and knows its values at the prepared inputs:

- ``hsgp``: M eigenfunctions of the Laplacian on [-c, c], weighted by the square root of the spectral density
  (Solin and Särkkä 2020; Riutort-Mayol et al. 2023). Valid for 1.75 c/M <= ℓ <= c/3.2.
- ``inducing``: M inputs z, g(z) = a chol(K(z, z)) w, g(x) = K(x, z) K(z, z)⁻¹ g(z); the projected process (no variance
  is added back).
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
from jaxtyping import Array, Float, Int

Family = Literal["constant", "linear", "gp"]
Approximation = Literal["hsgp", "inducing", "exact"]
Combine = Literal["additive", "tensor", "separate"]
PRECISION = jax.lax.Precision.HIGHEST
KNOTS = 129  # of an increasing function
MOST_INPUTS = 2048  # distinct inputs of one column; more are put on a grid
LEVEL = 0.5  # of the columns that say which of several functions an input is of, as if they were scores
EXACT_GRID = 41  # inputs besides the data at which an exact process is exact
MAX_EXACT = 1000


@dataclasses.dataclass(frozen=True)
class GP:
    """The representation of Gaussian processes, one for all functions of a model.

    Attributes:
        approximation: ``hsgp``, ``inducing`` or ``exact`` (at most 1000 distinct inputs).
        n_basis: number of basis functions M per column (for ``tensor`` M^C eigenfunctions), or number of inducing
            inputs.
        boundary: c of the Hilbert-space basis.
        columns: ``additive``, ``tensor`` or, by ``hsgp``, ``separate``.
        log_length: prior mean and standard deviation of log ℓ; default: ℓ = .5, with 95 % between .23 and 1.1.

    Example:
        >>> GP().valid_lengths
        (0.17500000000000002, 1.0)

    Source: Solin and Särkkä 2020; Riutort-Mayol and others 2023.
    """

    approximation: Approximation = "hsgp"
    n_basis: int = 32
    boundary: float = 3.2
    columns: Combine = "additive"
    log_length: tuple[float, float] = (-0.6931, 0.4)

    def __post_init__(self):
        if self.n_basis < 2:
            raise ValueError(f"n_basis: got {self.n_basis}; allowed: 2 or more")
        if not self.boundary > 1:
            raise ValueError(f"boundary: got {self.boundary}; allowed: more than 1, the edge of the context")

    @property
    def valid_lengths(self) -> tuple[float, float]:
        """The range of length-scales that the Hilbert-space basis can represent (Riutort-Mayol et al. 2023, section
        4.2).
        """
        if self.approximation != "hsgp":
            return 0.0, np.inf
        return 1.75 * self.boundary / self.n_basis, self.boundary / 3.2


@dataclasses.dataclass(frozen=True)
class Function:
    """The family and the priors of one function: m ~ N(mean), b ~ N(0, slope²), a ~ HalfNormal(amplitude).

    Example:
        >>> Function("linear", slope=2.0).mean
        (0.0, 1.0)
    """

    family: Family = "gp"
    mean: tuple[float, float] = (0.0, 1.0)
    slope: float = 1.0
    amplitude: float = 1.0
    increasing: bool = False


def _grid(dims: int) -> np.ndarray:
    """Return evenly spaced points of [-1, 1]^D, where lines are fitted."""
    axis = np.linspace(-1, 1, 65 if dims == 1 else max(3, round(512 ** (1 / dims))))
    return np.stack(np.meshgrid(*[axis] * dims, indexing="ij"), -1).reshape(-1, dims)


def _fitted_line(dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the grid of shape [G, D], and the matrix [1 + D, G] from values on it to their least-squares line."""
    grid = _grid(dims)
    return grid, np.linalg.pinv(np.c_[np.ones(len(grid)), grid])


def frequencies(dims: int, n_basis: int, boundary: float) -> Float[np.ndarray, "D M"]:
    """Compute the square roots of the eigenvalues of the Laplacian on [-c, c]^D, for all combinations of the first
    n_basis of each column.

    Example:
        >>> frequencies(2, 3, np.pi / 2).tolist()
        [[1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0], [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0]]
    """
    each = np.meshgrid(*[np.arange(1, n_basis + 1)] * dims, indexing="ij")
    return np.stack([e.ravel() for e in each]) * np.pi / (2 * boundary)


def eigenfunctions(x: Float[np.ndarray, "K D"], omega, boundary: float) -> Float[np.ndarray, "K M"]:
    """Evaluate the eigenfunctions Π_d c^(-½) sin(ω_d (x_d + c)); on the host, which needs no compilation.

    Source: Solin and Särkkä 2020, eq. 56.
    """
    return (np.sin(omega * (x[:, :, None] + boundary)) / np.sqrt(boundary)).prod(1)


class Hilbert(eqx.Module):
    """Eigenfunctions φ_m(x) without their lines, at K distinct inputs, and their frequencies ω of shape [D, M]."""

    features: Float[Array, "K M"]
    omega: Float[Array, "D M"]
    boundary: float = eqx.field(static=True)
    n_basis: int = eqx.field(static=True)

    @classmethod
    def at(cls, x: Float[np.ndarray, "K D"], n_basis: int, boundary: float) -> Hilbert:
        grid, fit = _fitted_line(x.shape[-1])
        omega = frequencies(x.shape[-1], n_basis, boundary)
        line = fit @ eigenfunctions(grid, omega, boundary)
        features = eigenfunctions(x.astype(np.float64), omega, boundary) - line[0] - x @ line[1:]
        return cls(jnp.asarray(features, x.dtype), jnp.asarray(omega, x.dtype), boundary, n_basis)

    def with_nothing(self) -> Hilbert:
        """Add an input at which every function is zero."""
        return dataclasses.replace(self, features=jnp.pad(self.features, ((0, 1), (0, 0))))

    @property
    def n_weights(self) -> int:
        return self.omega.shape[-1]

    @property
    def n_lengths(self) -> int:
        return self.omega.shape[0]

    def colour(self, amplitude, length: Float[Array, " D"], white: Float[Array, "*S M"]) -> Float[Array, "*S M"]:
        """Multiply white weights by the square root of the spectral density, a Π_d (√(2π) ℓ_d)^½ exp(-ℓ_d² ω_d² / 4),
        in closed form: the root of the density itself has no gradient in float32 once the density underflows.
        """
        return amplitude * jnp.exp(self.log_colour(length)) * white

    def log_colour(self, length: Float[Array, " D"]) -> Float[Array, " M"]:
        """Compute the logarithm of the square root of the spectral density at amplitude 1."""
        wide = 0.5 * jnp.log(jnp.sqrt(2 * jnp.pi) * length[:, None])
        return (wide - (length[:, None] * self.omega) ** 2 / 4).sum(0)

    def __call__(self, length, coefficients: Float[Array, " M"]) -> Float[Array, " K"]:
        return jnp.matmul(self.features, coefficients, precision=PRECISION)


class Inducing(eqx.Module):
    """K distinct inputs x of shape [K, D] and inducing inputs z of shape [M, D]; coefficients are values at z."""

    x: Float[Array, "K D"]
    z: Float[Array, "M D"]

    @property
    def n_weights(self) -> int:
        return self.z.shape[0]

    @property
    def n_lengths(self) -> int:
        return self.z.shape[1]

    def root(self, length) -> Float[Array, "M M"]:
        """Compute chol K(z, z) at amplitude 1."""
        m = self.n_weights
        jitter = 20 * m * jnp.finfo(self.x.dtype).eps  # the rounding error of a sum of m ones, and some
        return jnp.linalg.cholesky(_correlation(self.z, self.z, length) + jitter * jnp.eye(m, dtype=self.x.dtype))

    def colour(self, amplitude, length, white: Float[Array, " M"]) -> Float[Array, " M"]:
        return amplitude * jnp.matmul(self.root(length), white, precision=PRECISION)

    def __call__(self, length, coefficients: Float[Array, " M"]) -> Float[Array, " K"]:
        solved = jax.scipy.linalg.cho_solve((self.root(length), True), coefficients)
        grid, fit = _fitted_line(self.z.shape[1])
        at_grid = jnp.matmul(_correlation(jnp.asarray(grid, self.x.dtype), self.z, length), solved, precision=PRECISION)
        line = jnp.matmul(jnp.asarray(fit, self.x.dtype), at_grid, precision=PRECISION)
        values = jnp.matmul(_correlation(self.x, self.z, length), solved, precision=PRECISION)
        return values - line[0] - jnp.matmul(self.x, line[1:], precision=PRECISION)


def _correlation(a, b, length):
    return jnp.exp(-0.5 * (((a[:, None] - b[None]) / length) ** 2).sum(-1))


class Knots(eqx.Module):
    """The position of each input between the knots of an increasing function, and the terms at those knots."""

    terms: tuple[Hilbert | Inducing, ...]
    index: Int[Array, " n"]
    fraction: Float[Array, " n"]


class Basis(eqx.Module):
    """The context prepared for evaluating functions: x of shape [n, C], the terms at the distinct inputs of their
    columns, for each term the row of every input among those, knots where needed, and the cell (period and group) of
    each input where there are cells."""

    x: Float[Array, "n C"]
    terms: tuple[Hilbert | Inducing, ...]
    rows: tuple[Int[Array, " n"], ...]
    knots: Knots | None
    cell: Int[Array, " n"] | None = None

    @property
    def n_lengths(self) -> int:
        """The number of length-scales of a process."""
        return sum(term.n_lengths for term in self.terms)


def prepare(gp: GP, x, *, increasing: bool = False, anchors=None) -> Basis:
    """Prepare inputs x of shape [n, C] (host side). Inducing inputs are chosen from them, or given: one array of shape
    [M, D] for each term.

    Processes are evaluated once for each distinct input. Where a column has more than 2048 of them, at 2048 evenly
    spaced ones, of which every input takes the nearest: off by 1/2048 at most, a 300th of the shortest length-scale.

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
    if gp.columns == "separate":
        if gp.approximation != "hsgp":
            raise ValueError(f"columns: separate with approximation {gp.approximation}; allowed with: hsgp")
        return _separate(gp, x)
    n_terms = 1 if gp.columns == "tensor" else n_columns
    if anchors is None and gp.approximation != "hsgp":
        anchors = [_inducing_inputs(gp, part) for part in _parts(x, n_terms)]

    def term(t, part):
        if gp.approximation == "hsgp":
            return Hilbert.at(part, gp.n_basis, gp.boundary)
        return Inducing(jnp.asarray(part), jnp.asarray(anchors[t], x.dtype))

    at_knots = None
    if increasing:
        grid = np.linspace(-1, 1, KNOTS, dtype=x.dtype)[:, None]
        at_knots = tuple(term(t, part) for t, part in enumerate(_parts(grid, n_terms)))
    return _basis(x, n_terms, term, at_knots)


def evaluate(function: Function, basis: Basis, c: dict[str, Array]) -> Float[Array, " n"]:
    """Evaluate f at the prepared inputs, given its coefficients: ``mean`` [], ``slope`` [C], ``coefficients`` [T, M]
    (white weights after :meth:`Hilbert.colour`) and ``length`` [C], as far as its family has them.

    Example:
        >>> basis = prepare(GP(), np.array([[-1.0], [1.0]]))
        >>> evaluate(Function("linear"), basis, {"mean": jnp.array(1.0), "slope": jnp.array([2.0])}).tolist()
        [-1.0, 3.0]
    """
    return look_up(function, basis, c, tabulate(function, basis, c))


def tabulate(function: Function, basis: Basis, c: dict[str, Array]) -> tuple[Array, ...]:
    """Evaluate the costly part of f once for all inputs: each term at its distinct inputs, or an increasing function at
    its knots.
    """
    if function.family != "gp":
        return ()
    if not function.increasing:
        return _terms(basis.terms, c)
    rise = jax.nn.softplus(c["slope"][0] + sum(_terms(basis.knots.terms, c)))
    path = jnp.concatenate([jnp.zeros(1, rise.dtype), jnp.cumsum((rise[1:] + rise[:-1]) / (KNOTS - 1))])
    return (path - path[KNOTS // 2],)


def look_up(function: Function, basis: Basis, c: dict[str, Array], table: tuple[Array, ...]) -> Float[Array, " n"]:
    """Evaluate f at the prepared inputs from its table."""
    if function.family == "constant":
        return jnp.broadcast_to(c["mean"], basis.x.shape[:1])
    if function.increasing and table:
        left, right = table[0][basis.knots.index], table[0][basis.knots.index + 1]
        return c["mean"] + left + basis.knots.fraction * (right - left)
    slope = jax.nn.softplus(c["slope"]) if function.increasing else c["slope"]
    line = c["mean"] + jnp.matmul(basis.x, slope, precision=PRECISION)
    return sum((values[row] for values, row in zip(table, basis.rows, strict=False)), line)


def _terms(terms, c) -> tuple[Array, ...]:
    lengths = c["length"].reshape(len(terms), -1)
    return tuple(t(lengths[i], c["coefficients"][i]) for i, t in enumerate(terms))


def _basis(x: np.ndarray, n_terms: int, term, at_knots) -> Basis:
    """Return the basis at x: ``term(t, distinct inputs)`` makes each term."""
    terms, rows = [], []
    for t, part in enumerate(_parts(x, n_terms)):
        distinct, row = _distinct(part)
        terms.append(term(t, distinct))
        rows.append(jnp.asarray(row))
    return Basis(jnp.asarray(x), tuple(terms), tuple(rows), at_knots and _knots(jnp.asarray(x), at_knots))


def _separate(gp: GP, x: Float[np.ndarray, "n C"]) -> Basis:
    """Return the basis where each input has one column: the others' terms are zero there."""
    has = ~np.isnan(x)
    terms, rows = [], []
    for c in range(x.shape[1]):
        distinct, row = _distinct(x[has[:, c], c][:, None] if has[:, c].any() else np.zeros((1, 1), x.dtype))
        every = np.full(len(x), len(distinct), np.int32)
        every[has[:, c]] = row[: has[:, c].sum()]
        terms.append(Hilbert.at(distinct, gp.n_basis, gp.boundary).with_nothing())
        rows.append(jnp.asarray(every))
    line = np.concatenate([np.nan_to_num(x), np.where(has, LEVEL, 0)], 1).astype(x.dtype)
    return Basis(jnp.asarray(line), tuple(terms), tuple(rows), None)


def _distinct(part: Float[np.ndarray, "n D"]) -> tuple[np.ndarray, np.ndarray]:
    """Return (distinct inputs [K, D], the row of each input among them); a grid where a column has too many."""
    if part.shape[1] > 1:
        distinct, row = np.unique(part, axis=0, return_inverse=True)
        return distinct, row.reshape(-1).astype(np.int32)
    distinct, row = np.unique(part[:, 0], return_inverse=True)
    if len(distinct) > MOST_INPUTS:
        low, high = distinct[0], distinct[-1]
        distinct = np.linspace(low, high, MOST_INPUTS, dtype=part.dtype)
        row = np.rint((part[:, 0] - low) / (high - low) * (MOST_INPUTS - 1))
    return distinct[:, None], row.astype(np.int32)


def _parts(x, n_terms: int):
    """Return the columns that each term sees: all of them, or one each."""
    return [x] if n_terms == 1 else [x[:, i : i + 1] for i in range(n_terms)]


def _knots(x, terms) -> Knots:
    position = (x[:, 0] + 1) / 2 * (KNOTS - 1)
    index = jnp.minimum(jnp.floor(position), KNOTS - 2)
    return Knots(terms, index.astype(jnp.int32), position - index)


def _inducing_inputs(gp: GP, x: np.ndarray) -> np.ndarray:
    """Return all distinct inputs and a grid (exact); half at quantiles, half evenly spaced (one column); or points far
    from each other (several)."""
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
