"""The facade of the contextual model: from tables of labels and scores to curves, prevalence and a calibrated score.

    result = crowdjax.context("labels.csv", "scores.csv", population="all.csv")
    result.prevalence, result.curves, result.calibration, result.instances, result.labelers, result.warnings
    result.save("out")        tables, figures and the fit, which crowdjax.load("out") reads
    result.predict(new, scores), result.checks(labels)

It reads (``crowdjax.io``), fits and summarises (``crowdjax.contextual``) and draws (``crowdjax.plots``).

    inputs     checks of settings and scores
    fit        context: read, fit, summarise
    outputs    tables of results
    result     the result and its methods
"""

from crowdjax.context_api.fit import context
from crowdjax.context_api.result import ContextualResult, load
from crowdjax.facade.categories import CategoricalResult

__all__ = ["CategoricalResult", "ContextualResult", "context", "load"]
