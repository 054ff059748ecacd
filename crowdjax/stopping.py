"""When a fit ends: result codes, settings of solvers, and the constants of Anderson's acceleration; without JAX.

The programs of JAX (``crowdjax.optimize``) and the fits on the host (``crowdjax.host``) stop by the same rules.
"""

from __future__ import annotations

import dataclasses
from numbers import Real
from typing import Literal, get_args

from crowdjax.labels import InputError

# Result codes, one per member of a batch. Codes > STOPPED have no usable result.
RUNNING, CONVERGED, MAX_STEPS, STALLED, STOPPED, NONFINITE = range(6)
MEANING = {
    RUNNING: "still running",
    CONVERGED: "converged",
    MAX_STEPS: "stopped at the maximum number of steps before converging; raise max_steps or continue from this fit",
    STALLED: "stopped where rounding hides any further gain; the result is usable, x64 goes further",
    STOPPED: "stopped on request before converging; continue from this fit",
    NONFINITE: "the objective is not finite; look for extreme features, weights or prior variances",
}

# Anderson's acceleration (``crowdjax.optimize.acceleration``)
MEMORY = 5  # differences that are combined
NOISE = 4  # roundings that a value may rise by
RIDGE = 10  # roundings that are added to the diagonal of the scaled Gram matrix
SERIES = 0.9  # largest ratio of two gains, of the geometric series that says what is left to gain
PROMISED = 5  # times what a step promises by the metric is left at most
START_RTOL = 1e-4  # of the steps towards a start

Method = Literal["auto", "em", "lbfgs"]
FactorMethod = Literal["auto", "em", "lbfgs", "em-cg", "em-bound"]


@dataclasses.dataclass(frozen=True)
class FactorSolver:
    """Settings of the solver of a factor model: method, limits and tolerance. Frozen and hashable, static under jit.

    Attributes:
        method: ``lbfgs`` on the marginal objective; ``em``: accelerated EM with an exact M-step, for models whose β
            is constant and whose labelers have no features; EM with conjugate gradients (``em-cg``, Ruvolo et al.,
            section 3), or with the closed-form step of a quadratic bound (``em-bound``). ``auto``: ``em`` where it
            applies, else ``lbfgs``.
        max_steps: largest number of passes over the labels in the main stage.
        start_steps: largest number of passes of the M-step at the majority vote, for models where it takes more than
            one.
        rtol: relative tolerance: stop after three steps in a row that each gain less than ``rtol`` (1 + |objective|).
        jitter: standard deviation of the random start of factors 2 to D; at exactly 0 they are on a saddle point.
        refresh: number of steps after which the preconditioner is recomputed; 0: never.
        restarts: number of random starts of factors 2 to D; the one with the best objective is kept.

    Example:
        >>> FactorSolver("newton")
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: method: got 'newton'; allowed: auto, em, lbfgs, em-cg, em-bound
    """

    method: FactorMethod = "auto"
    max_steps: int = 500
    start_steps: int = 20
    rtol: float = 1e-6
    jitter: float = 0.5
    refresh: int = 10
    restarts: int = 1

    def __post_init__(self):
        if self.method not in get_args(FactorMethod):
            raise InputError(f"method: got {self.method!r}; allowed: {', '.join(get_args(FactorMethod))}")
        least = {"max_steps": 1, "start_steps": 0, "rtol": 0, "jitter": 0, "refresh": 0, "restarts": 1}
        for name, bound in least.items():
            if not (isinstance(getattr(self, name), Real) and getattr(self, name) >= bound):
                raise InputError(f"{name}: got {getattr(self, name)}; allowed: {bound} or more")


@dataclasses.dataclass(frozen=True)
class Solver:
    """Settings of the solver of an observation model: method, limit and tolerance. Frozen and hashable.

    Attributes:
        method: ``em`` (needs the model's ``m_step``), ``lbfgs``, or ``auto``: EM where there is an M-step.
        max_steps: largest number of passes over the labels.
        rtol: relative tolerance: stop where the estimated remaining gain is less than ``rtol`` (1 + |objective|).

    Example:
        >>> Solver(method="newton")
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: method: got 'newton'; allowed: auto, em, lbfgs
    """

    method: Method = "auto"
    max_steps: int = 300
    rtol: float = 1e-7

    def __post_init__(self):
        if self.method not in get_args(Method):
            raise InputError(f"method: got {self.method!r}; allowed: {', '.join(get_args(Method))}")
        if self.max_steps < 1 or not self.rtol >= 0:
            raise InputError("max_steps and rtol: allowed: 1 or more, and 0 or more")
