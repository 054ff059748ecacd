"""Estimators with the interface of crowd-kit and scikit-learn: a data frame in, a Series out.

    from crowdjax.adapters import DawidSkene          # in place of: from crowdkit.aggregation import DawidSkene
    DawidSkene().fit_predict(frame)                   # columns task, worker, label -> a Series of labels by instance

Labels may have any two or more values; ``classes_`` lists them in order. ``MajorityVote``, ``DawidSkene``,
``OneCoinDawidSkene``, ``GLAD``, ``Wawa``, ``ZeroBasedSkill``, ``GoldMajorityVote``, ``MMSR``, ``KOS`` and ``MACE`` have
crowd-kit's names, arguments, attributes and order of rows; ``Factor``, ``Auto`` and ``Aggregator`` (any model) follow
the same conventions. All have ``get_params`` and ``set_params``, which scikit-learn uses to clone them; neither package
is required. The attribute ``result_`` holds crowdjax's own result, with its warnings.
"""

from crowdjax.adapters.models import GLAD, Aggregator, Auto, DawidSkene, Factor, OneCoinDawidSkene
from crowdjax.adapters.peers import KOS, MACE
from crowdjax.adapters.votes import MMSR, GoldMajorityVote, MajorityVote, Wawa, ZeroBasedSkill

__all__ = [
    "GLAD",
    "KOS",
    "MACE",
    "MMSR",
    "Aggregator",
    "Auto",
    "DawidSkene",
    "Factor",
    "GoldMajorityVote",
    "MajorityVote",
    "OneCoinDawidSkene",
    "Wawa",
    "ZeroBasedSkill",
]
