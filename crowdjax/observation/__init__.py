"""Observation models: how labels depend on the truth, and the passes over the labels that every model shares.

found = observation.fit_jit(labels, observation.DawidSkene())        # found.posterior [I, K]
"""

from crowdjax.observation.contract import Observation, Pass
from crowdjax.observation.fit import Fit, Solver, fit, fit_jit, predict
from crowdjax.observation.nominal import BiasedCoin, ClassSkill, DawidSkene, Majority, OneCoin
from crowdjax.observation.table import evidence, table_pass, tally, vote_shares
from crowdjax.observation.voted import fit_voted, fit_voted_jit, voted_pass

__all__ = [
    "BiasedCoin",
    "ClassSkill",
    "DawidSkene",
    "Fit",
    "Majority",
    "Observation",
    "OneCoin",
    "Pass",
    "Solver",
    "evidence",
    "fit",
    "fit_jit",
    "fit_voted",
    "fit_voted_jit",
    "predict",
    "table_pass",
    "tally",
    "vote_shares",
    "voted_pass",
]
