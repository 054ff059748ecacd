"""The integrated model: the factor model with the instance factor integrated out, a learned population of labelers, and
an explicit decision boundary.
"""

from crowdjax.integrated.answer import Answer, Posterior, answer, both_classes, choose, labeler_draws
from crowdjax.integrated.auto import Plan, plan
from crowdjax.integrated.average import (
    Average,
    Averaged,
    Member,
    averaged,
    first_at_votes,
    of_average,
    pays,
    positives_of,
)
from crowdjax.integrated.axis import axis_draws, laplace_draws
from crowdjax.integrated.boundary import (
    Boundary,
    Choice,
    around,
    candidates,
    informed,
    neutral_point,
    place,
    weights_of_able,
)
from crowdjax.integrated.checks import Check, Checks, School, check, replicate, residuals
from crowdjax.integrated.draws import Draws, LabelerSummary, boundaries, chances, doubted, interval, verdicts
from crowdjax.integrated.exact import Chain, sample
from crowdjax.integrated.fit import IntegratedFit, at_votes, fit, fit_jit
from crowdjax.integrated.gold import Calibration, calibrate, calibrated, of_gold, without_own
from crowdjax.integrated.kernels import GridPass, axis_information, expectations, grid_pass, positives
from crowdjax.integrated.model import Features, IntegratedConfig, Parameters, centers, init, labeler_means, start
from crowdjax.integrated.room import of as with_room
from crowdjax.integrated.score import normal_scores, score_log_likelihood
from crowdjax.integrated.summaries import (
    InstanceSummary,
    class_probability,
    of_instances,
    of_labelers,
    share_of_positives,
)
from crowdjax.labelers import LEVEL, Interval, agreement_with_votes, crowd_of, kinds
from crowdjax.renamed import renamed

__all__ = [
    "LEVEL",
    "Answer",
    "Average",
    "Averaged",
    "Boundary",
    "Calibration",
    "Chain",
    "Check",
    "Checks",
    "Choice",
    "Draws",
    "Features",
    "GridPass",
    "InstanceSummary",
    "IntegratedConfig",
    "IntegratedFit",
    "Interval",
    "LabelerSummary",
    "Member",
    "Parameters",
    "Plan",
    "Posterior",
    "School",
    "agreement_with_votes",
    "answer",
    "around",
    "at_votes",
    "averaged",
    "axis_draws",
    "axis_information",
    "both_classes",
    "boundaries",
    "calibrate",
    "calibrated",
    "candidates",
    "centers",
    "chances",
    "check",
    "choose",
    "class_probability",
    "crowd_of",
    "doubted",
    "expectations",
    "first_at_votes",
    "fit",
    "fit_jit",
    "grid_pass",
    "informed",
    "init",
    "interval",
    "kinds",
    "labeler_draws",
    "labeler_means",
    "laplace_draws",
    "neutral_point",
    "normal_scores",
    "of_average",
    "of_gold",
    "of_instances",
    "of_labelers",
    "pays",
    "place",
    "plan",
    "positives",
    "positives_of",
    "replicate",
    "residuals",
    "sample",
    "score_log_likelihood",
    "share_of_positives",
    "start",
    "verdicts",
    "weights_of_able",
    "with_room",
    "without_own",
]

OLD = {
    "look": "check",
    "Look": "Checks",
    "InstanceAnswers": "InstanceSummary",
    "LabelerAnswers": "LabelerSummary",
}
__getattr__ = renamed(__name__, OLD, gone="0.4")
