"""crowdjax: the truth behind labels from a crowd, how sure it is, and who is good at what. On JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crowdjax.api import Aggregation, FitError, InputError, IntegratedAggregation, Prediction, fit, load
    from crowdjax.context_api import ContextualResult, context

__version__ = "0.1.0"
__all__ = [
    "Aggregation",
    "ContextualResult",
    "FitError",
    "InputError",
    "IntegratedAggregation",
    "Prediction",
    "context",
    "fit",
    "load",
]


def __getattr__(name: str):
    """The facades, imported when first asked for; ``import crowdjax`` itself imports and starts nothing."""
    if name in __all__:
        home = "crowdjax.context_api" if name in ("ContextualResult", "context") else "crowdjax.api"
        return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'crowdjax' has no attribute {name!r}")
