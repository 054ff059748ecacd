"""The factor model, its instance factor integrated out: labelers from a learned population, a named class boundary."""

from crowdjax.integrated.answers import (
    LEVEL,
    InstanceAnswers,
    Interval,
    LabelerAnswers,
    class_probability,
    of_instances,
    of_labelers,
    share_of_positives,
)
from crowdjax.integrated.auto import Plan, plan
from crowdjax.integrated.boundary import Boundary, Choice, around, from_gold, neutral_point, place, weights_of_able
from crowdjax.integrated.fit import IntegratedFit, fit, fit_jit
from crowdjax.integrated.kernels import GridPass, axis_information, expectations, gold_log_likelihood, grid_pass
from crowdjax.integrated.model import IntegratedConfig, Parameters, start

__all__ = [
    "LEVEL",
    "Boundary",
    "Choice",
    "GridPass",
    "InstanceAnswers",
    "IntegratedConfig",
    "IntegratedFit",
    "Interval",
    "LabelerAnswers",
    "Parameters",
    "Plan",
    "around",
    "axis_information",
    "class_probability",
    "expectations",
    "fit",
    "fit_jit",
    "from_gold",
    "gold_log_likelihood",
    "grid_pass",
    "neutral_point",
    "of_instances",
    "of_labelers",
    "place",
    "plan",
    "share_of_positives",
    "start",
    "weights_of_able",
]
