"""Settings of the contextual model: families of its functions, labelers, constraint and priors; named baselines."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from crowdjax.contextual.cells import Cells
from crowdjax.contextual.functions import (
    GP,
    Family,
    Function,
)

Level = Literal["global", "offset", "function"]
Constraint = Literal["ordered", "both", "free"]


@dataclasses.dataclass(frozen=True)
class ContextualConfig:
    """Settings of a contextual model: families, constraint and priors. Frozen and hashable.

    Attributes:
        prevalence, accuracy: families of r, and of a and g: ``constant``, ``linear`` or ``gp``.
        labelers: ``global`` (all alike), ``offset`` (e_i) or ``function`` (e_i + d_i(x)).
        constraint: ``ordered`` (sensitivity + specificity > 1), ``both`` (each above ½) or ``free``.
        increasing: whether the prevalence may only rise with the score (one column).
        prevalence_mean, prevalence_slope: of the priors N(mean) of r's level and N(0, slope²) of its slope, wide enough
            for rates from one in a hundred thousand to nearly all.
        accuracy_mean, bias_mean: means of the priors of the levels of a and g.
        gp: representation of the Gaussian processes.
        labeler_gp: representation of d_i, whose amplitude is HalfNormal(½).
        offset_scale: τ ~ HalfNormal(offset_scale).
        cells: periods and groups that shift the prevalence; None for none.
        drift: whether labelers' offsets walk over the periods, by steps N(0, τ_d²), τ_d ~ HalfNormal(.2).

    Example:
        >>> ContextualConfig(accuracy="gaussian")
        Traceback (most recent call last):
        ...
        ValueError: accuracy: got 'gaussian'; allowed: constant, linear, gp
    """

    prevalence: Family = "gp"
    accuracy: Family = "gp"
    labelers: Level = "offset"
    constraint: Constraint = "both"
    increasing: bool = False
    prevalence_mean: tuple[float, float] = (-4.0, 4.0)
    prevalence_slope: float = 4.0
    accuracy_mean: tuple[float, float] = (1.5, 1.0)
    bias_mean: tuple[float, float] = (0.0, 1.0)
    gp: GP = GP()
    labeler_gp: GP = GP(n_basis=8, boundary=2.5, log_length=(-0.3567, 0.2))
    offset_scale: float = 0.5
    cells: Cells | None = None
    drift: bool = False

    def __post_init__(self):
        if not isinstance(self.constraint, str):  # of a program (``traced``)
            return
        if self.drift and (self.labelers != "offset" or self.cells is None or self.cells.n_periods < 2):
            raise ValueError("drift: of labelers; allowed with labelers 'offset' and two periods or more")
        for name, kind in [
            ("prevalence", Family),
            ("accuracy", Family),
            ("labelers", Level),
            ("constraint", Constraint),
        ]:
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}: got {getattr(self, name)!r}; allowed: {', '.join(get_args(kind))}")
        if self.labeler_gp.approximation != "hsgp":
            raise ValueError(f"labeler_gp: approximation {self.labeler_gp.approximation!r}; allowed: hsgp")

    def traced(self) -> ContextualConfig:
        """Convert the settings for compiled programs: numbers of priors, and whether the constraint is ``both`` or
        ``ordered``, become arrays, so that fits which differ in them share programs.

        Example:
            >>> bool(ContextualConfig(constraint="both").traced().constraint)
            True
        """
        numbers = {name: jax.tree.map(jnp.asarray, getattr(self, name)) for name in NUMBERS}
        constraint = self.constraint if self.constraint == "free" else jnp.asarray(self.constraint == "both")
        return dataclasses.replace(self, **numbers, constraint=constraint)

    @property
    def functions(self) -> dict[str, Function]:
        """The functions r, a and g with their priors."""
        return {
            "prevalence": Function(
                self.prevalence, self.prevalence_mean, self.prevalence_slope, 1.5, increasing=self.increasing
            ),
            "accuracy": Function(self.accuracy, self.accuracy_mean),
            "bias": Function(self.accuracy, self.bias_mean),
        }


NUMBERS = ("prevalence_mean", "prevalence_slope", "accuracy_mean", "bias_mean", "offset_scale")
TRACED = (*NUMBERS, "constraint")
jax.tree_util.register_dataclass(
    ContextualConfig, TRACED, [f.name for f in dataclasses.fields(ContextualConfig) if f.name not in TRACED]
)

PRESETS = {
    "constant-constant": ContextualConfig("constant", "constant"),  # Bayesian Dawid-Skene
    "linear-constant": ContextualConfig("linear", "constant"),  # Raykar et al. 2010, one feature
    "gp-constant": ContextualConfig("gp", "constant"),  # Rodrigues et al. 2014
    "constant-linear": ContextualConfig("constant", "linear"),
    "lr-lr": ContextualConfig("linear", "linear"),  # strongest baseline of Nguyen, Ramakrishnan, Weinsberg (2022)
    "theodon": ContextualConfig("gp", "gp"),
}
