"""The contextual model (Theodon): prevalence, sensitivity and specificity as functions of a score.

Examples go on from the one of ``fit``: ``labels``, ``scores``, ``config`` and ``found`` are its.
"""

from crowdjax.contextual.allocation import Allocation, allocate
from crowdjax.contextual.cells import Cells
from crowdjax.contextual.config import PRESETS, ContextualConfig
from crowdjax.contextual.context import Scale, logit
from crowdjax.contextual.data import prepare_data
from crowdjax.contextual.diagnostics import pareto_smooth
from crowdjax.contextual.earlier import carried
from crowdjax.contextual.estimands import (
    Band,
    Functions,
    LabelerTable,
    band,
    calibrate,
    check_weights,
    function_draws,
    functions,
    held_out_posteriors,
    inclusion_weights,
    item_posteriors,
    item_prevalence,
    labeler_draws,
    labeler_functions,
    labeler_table,
    labelers_by_period,
    log_likelihood_draws,
    population_prevalence,
    prevalence_draws,
    sampling_weights,
    thinned,
    with_labelers,
)
from crowdjax.contextual.functions import GP, Function
from crowdjax.contextual.inference import ContextualFit, Inference, fit, load, save
from crowdjax.contextual.model import Curves, model
from crowdjax.contextual.observation import Contextual

__all__ = [
    "GP",
    "PRESETS",
    "Allocation",
    "Band",
    "Cells",
    "Contextual",
    "ContextualConfig",
    "ContextualFit",
    "Curves",
    "Function",
    "Functions",
    "Inference",
    "LabelerTable",
    "Scale",
    "allocate",
    "band",
    "calibrate",
    "carried",
    "check_weights",
    "fit",
    "function_draws",
    "functions",
    "held_out_posteriors",
    "inclusion_weights",
    "item_posteriors",
    "item_prevalence",
    "labeler_draws",
    "labeler_functions",
    "labeler_table",
    "labelers_by_period",
    "load",
    "log_likelihood_draws",
    "logit",
    "model",
    "pareto_smooth",
    "population_prevalence",
    "prepare_data",
    "prevalence_draws",
    "sampling_weights",
    "save",
    "thinned",
    "with_labelers",
]
