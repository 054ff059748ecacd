"""Observation models: how labels depend on the truth, and the passes over the labels that every model shares.

found = observation.fit_jit(labels, observation.DawidSkene())        # found.posterior [I, K]
"""

from crowdjax.labelers import Summary
from crowdjax.observation.contract import Observation, Params, Pass
from crowdjax.observation.fit import Fit, Solver, fit, fit_jit, init, predict
from crowdjax.observation.graded import Graded
from crowdjax.observation.nominal import BiasedCoin, ClassSkill, DawidSkene, Logistic, Majority, OneCoin
from crowdjax.observation.room import predict_new
from crowdjax.observation.summaries import labeler_summary
from crowdjax.observation.table import evidence, table_pass, tally, vote_shares
from crowdjax.observation.unseen import rows_of_labelers
from crowdjax.observation.voted import Voted, fit_voted, fit_voted_jit, voted_pass

__all__ = [
    "BiasedCoin",
    "ClassSkill",
    "DawidSkene",
    "Fit",
    "Graded",
    "Logistic",
    "Majority",
    "Observation",
    "OneCoin",
    "Params",
    "Pass",
    "Solver",
    "Summary",
    "Voted",
    "evidence",
    "fit",
    "fit_jit",
    "fit_voted",
    "fit_voted_jit",
    "init",
    "labeler_summary",
    "predict",
    "predict_new",
    "rows_of_labelers",
    "table_pass",
    "tally",
    "vote_shares",
    "voted_pass",
]
