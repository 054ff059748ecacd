"""The latent-factor model (Ruvolo, Whitehill, Movellan) with GLAD and Dawid-Skene as configurations."""

from crowdjax.factor.features import Features, Linear, rbf_basis
from crowdjax.factor.fit import Fit, Solver, fit, fit_jit, sweep
from crowdjax.factor.kernels import Factors, curvature_pass, data_pass, e_step, evidence, expected_complete, majority
from crowdjax.factor.model import FactorModel, Objective, Weights
from crowdjax.factor.presets import PRESETS, FactorConfig, build

__all__ = [
    "PRESETS",
    "FactorConfig",
    "FactorModel",
    "Factors",
    "Features",
    "Fit",
    "Linear",
    "Objective",
    "Solver",
    "Weights",
    "build",
    "curvature_pass",
    "data_pass",
    "e_step",
    "evidence",
    "expected_complete",
    "fit",
    "fit_jit",
    "majority",
    "rbf_basis",
    "sweep",
]
