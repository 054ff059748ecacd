"""The factor model, its instance factor integrated out: labelers from a learned population, a named class boundary."""

from crowdjax.integrated.answers import (
    LEVEL,
    InstanceAnswers,
    Interval,
    LabelerAnswers,
    class_probability,
    coins,
    kinds,
    of_instances,
    of_labelers,
    share_of_positives,
)
from crowdjax.integrated.auto import Plan, plan
from crowdjax.integrated.boundary import Boundary, Choice, around, from_gold, neutral_point, place, weights_of_able
from crowdjax.integrated.fit import IntegratedFit, fit, fit_jit
from crowdjax.integrated.kernels import GridPass, expectations, gold_log_likelihood, grid_pass
from crowdjax.integrated.look import Check, Look, School, look, replicate, residuals
from crowdjax.integrated.model import Features, IntegratedConfig, Parameters, centers, labeler_means, start

__all__ = [
    "LEVEL",
    "Boundary",
    "Check",
    "Choice",
    "Features",
    "GridPass",
    "InstanceAnswers",
    "IntegratedConfig",
    "IntegratedFit",
    "Interval",
    "LabelerAnswers",
    "Look",
    "Parameters",
    "Plan",
    "School",
    "around",
    "centers",
    "class_probability",
    "coins",
    "expectations",
    "fit",
    "fit_jit",
    "from_gold",
    "gold_log_likelihood",
    "grid_pass",
    "kinds",
    "labeler_means",
    "look",
    "neutral_point",
    "of_instances",
    "of_labelers",
    "place",
    "plan",
    "replicate",
    "residuals",
    "share_of_positives",
    "start",
    "weights_of_able",
]
