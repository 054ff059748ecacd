"""crowdjax: the truth behind labels from a crowd, how sure it is, and who is good at what. On JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crowdjax.api import Aggregation, FitError, InputError, IntegratedAggregation, Prediction, fit, load
    from crowdjax.context_api import ContextualResult, context
    from crowdjax.look_api import LookResult, look

__version__ = "0.1.0"
__all__ = [
    "Aggregation",
    "ContextualResult",
    "FitError",
    "InputError",
    "IntegratedAggregation",
    "LookResult",
    "Prediction",
    "context",
    "fit",
    "load",
    "look",
]
HOMES = {"ContextualResult": "context_api", "context": "context_api", "LookResult": "look_api", "look": "look_api"}


def __getattr__(name: str):
    """The facades, imported when first asked for; ``import crowdjax`` itself imports and starts nothing."""
    if name in __all__:
        return getattr(importlib.import_module(f"crowdjax.{HOMES.get(name, 'api')}"), name)
    raise AttributeError(f"module 'crowdjax' has no attribute {name!r}")
