"""The factor model with its instance factor integrated out, labelers from a learned population, and a named boundary."""

from crowdjax.integrated.boundary import Boundary, around, neutral_point, place, weights_of_able
from crowdjax.integrated.fit import IntegratedFit, fit, fit_jit
from crowdjax.integrated.kernels import GridPass, expectations, gold_log_likelihood, grid_pass
from crowdjax.integrated.model import IntegratedConfig, Parameters, start

__all__ = [
    "Boundary",
    "GridPass",
    "IntegratedConfig",
    "IntegratedFit",
    "Parameters",
    "around",
    "expectations",
    "fit",
    "fit_jit",
    "gold_log_likelihood",
    "grid_pass",
    "neutral_point",
    "place",
    "start",
    "weights_of_able",
]
