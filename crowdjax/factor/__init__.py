"""The latent-factor model (Ruvolo, Whitehill, Movellan) with GLAD and Dawid-Skene as configurations."""

from crowdjax.factor.batches import sweep
from crowdjax.factor.features import Features, Linear, rbf_basis
from crowdjax.factor.fit import Fit, Solver, fit, fit_jit
from crowdjax.factor.heldout import HeldOut, choose_factors, folds, label_log_likelihood, with_count
from crowdjax.factor.kernels import Factors, curvature_pass, data_pass, e_step, evidence, expected_complete, majority
from crowdjax.factor.model import FactorModel, Objective, Weights, init, log_posterior
from crowdjax.factor.predict import (
    LabelerSummary,
    correctness,
    expected_factor,
    labeler_summary,
    predict,
    unseen_factors,
)
from crowdjax.factor.presets import PRESETS, FactorConfig, build

__all__ = [
    "PRESETS",
    "FactorConfig",
    "FactorModel",
    "Factors",
    "Features",
    "Fit",
    "HeldOut",
    "LabelerSummary",
    "Linear",
    "Objective",
    "Solver",
    "Weights",
    "build",
    "choose_factors",
    "correctness",
    "curvature_pass",
    "data_pass",
    "e_step",
    "evidence",
    "expected_complete",
    "expected_factor",
    "fit",
    "fit_jit",
    "folds",
    "init",
    "label_log_likelihood",
    "labeler_summary",
    "log_posterior",
    "majority",
    "predict",
    "rbf_basis",
    "sweep",
    "unseen_factors",
    "with_count",
]
