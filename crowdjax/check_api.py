"""Posterior predictive checks in one call: ``crowdjax.check(result, table)``."""

from __future__ import annotations

from crowdjax.facade.checks import CheckResult
from crowdjax.facade.fitted import Fitted
from crowdjax.labels import InputError
from crowdjax.settings import brief


def check(result: Fitted, table, **settings) -> CheckResult:
    """Run posterior predictive checks of a fit: compare its labels with replicates drawn from the fitted model. Same as
    ``result.checks(table)``.

    Args:
        result: a result of ``crowdjax.fit`` by any model, or one that was loaded.
        table: the labels of that fit.
        settings: columns, form, missing, header as in ``crowdjax.fit``; instance_features as in the fit, where it used
            any; replicates: number of replicates (default 99; p-values are multiples of 1 / (1 + replicates)); seed:
            seed of the draws (default 0; the same seed gives the same result).

    Raises:
        InputError: labelers or instances are not those of the fit; fewer than 19 replicates.

    Example:
        >>> import numpy as np, crowdjax
        >>> rng = np.random.default_rng(0)
        >>> table = {"labeler": np.tile(np.arange(8), 30), "instance": np.repeat(np.arange(30), 8)}
        >>> table["label"] = (np.repeat(rng.integers(0, 2, 30), 8) ^ (rng.random(240) < 0.2)).astype(int)
        >>> found = check(crowdjax.fit(table, "auto"), table, replicates=19)
        >>> found.labelers["kind"].tolist().count("adversary")
        0
    """
    if not isinstance(result, Fitted):
        raise InputError(f"check: got {brief(result)}; allowed: a fit, of crowdjax.fit or crowdjax.load")
    return result.checks(table, **settings)
