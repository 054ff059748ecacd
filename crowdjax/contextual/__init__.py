"""The contextual model (Theodon): prevalence, sensitivity and specificity as functions of a score."""

from crowdjax.contextual.context import Scale
from crowdjax.contextual.diagnostics import pareto_smooth
from crowdjax.contextual.estimands import (
    Band,
    Functions,
    LabelerTable,
    band,
    calibrate,
    check_weights,
    functions,
    inclusion_weights,
    item_posteriors,
    item_prevalence,
    labeler_functions,
    labeler_table,
    population_prevalence,
    sampling_weights,
)
from crowdjax.contextual.functions import GP, Function
from crowdjax.contextual.inference import ContextualFit, Inference, fit, load, save
from crowdjax.contextual.model import PRESETS, ContextualConfig, model, prepare_data

__all__ = [
    "GP",
    "PRESETS",
    "Band",
    "ContextualConfig",
    "ContextualFit",
    "Function",
    "Functions",
    "Inference",
    "LabelerTable",
    "Scale",
    "band",
    "calibrate",
    "check_weights",
    "fit",
    "functions",
    "inclusion_weights",
    "item_posteriors",
    "item_prevalence",
    "labeler_functions",
    "labeler_table",
    "load",
    "model",
    "pareto_smooth",
    "population_prevalence",
    "prepare_data",
    "sampling_weights",
    "save",
]
