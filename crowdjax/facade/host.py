"""The choice of fits that run on the host without JAX: few labels, few classes, the smallest models."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from crowdjax import io
from crowdjax.facade import classes, two
from crowdjax.host.classes import MODELS
from crowdjax.host.two import MODELS as OF_TWO
from crowdjax.result import MOST_CLASSES

if TYPE_CHECKING:
    from crowdjax.facade.aggregation import Aggregation
    from crowdjax.facade.result import Result

MOST = 10_000_000  # labels; of more, a fit by JAX on all cores is faster
MOST_OF_GLAD = 1_000_000  # labels that GLAD was measured with, of which it takes a third of JAX's time
MOST_NUMBERS = 2_000_000  # of all labelers' confusions, of which a fit keeps a dozen copies
MOST_BIASED = 10  # classes of the biased coin, a step of which takes the cube of them


def may_take(model, class_prior) -> bool:
    """Test whether some labels could be fitted on the host with these settings.

    Example:
        >>> may_take("dawid-skene", None), may_take("glad", "logistic"), may_take("factor", None)
        (True, False, False)
    """
    if not (isinstance(model, str) and model in MODELS):
        return False
    return (
        class_prior in (None, "learn", "uniform") if isinstance(class_prior, str | None) else _is_numbers(class_prior)
    )


def fit(triples: io.Triples, model: str, class_prior, given, **how: Any) -> Aggregation | Result | None:
    """Fit on the host with settings that :func:`may_take` accepts; None where these labels need JAX."""
    index, n = triples.index, len(triples.index.classes)
    if index.values is not None or len(triples.label) > (MOST_OF_GLAD if model == "glad" else MOST):
        return None
    binary = class_prior != "uniform" if isinstance(class_prior, str | None) else np.ndim(class_prior) == 0
    if n == 2 and model in OF_TWO and binary:
        config = two.config_of(model, class_prior)
        return None if config is None else two.fit(triples, model, config, given, **how)
    sized = isinstance(class_prior, str | None) or np.size(class_prior) == (n if np.ndim(class_prior) else 1)
    few = n <= (MOST_BIASED if model == "biased-coin" else MOST_CLASSES)
    if not sized or not few or len(index.labelers) * n**2 > MOST_NUMBERS:
        return None
    return classes.fit(triples, model, class_prior, given, **how)


def _is_numbers(class_prior) -> bool:
    """Return whether a class prior is a number, or several."""
    several = class_prior if isinstance(class_prior, list | tuple | np.ndarray) else [class_prior]
    return all(isinstance(v, Real) and not isinstance(v, bool) for v in several)
