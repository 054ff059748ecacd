"""crowdjax: the truth behind labels from a crowd, how sure it is, and who is good at what. On JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from crowdjax import extras

if TYPE_CHECKING:
    from crowdjax.api import Aggregation, FitError, InputError, IntegratedAggregation, Prediction, fit
    from crowdjax.context_api import CategoricalResult, ContextualResult, context
    from crowdjax.conversion import convert, tidy
    from crowdjax.description import Description, describe
    from crowdjax.loading import load
    from crowdjax.look_api import LookResult, look
    from crowdjax.planning import Plan, plan

__version__ = "0.2.0"
__all__ = [
    "Aggregation",
    "CategoricalResult",
    "ContextualResult",
    "Description",
    "FitError",
    "InputError",
    "IntegratedAggregation",
    "LookResult",
    "Plan",
    "Prediction",
    "context",
    "convert",
    "describe",
    "fit",
    "load",
    "look",
    "plan",
    "tidy",
]
HOMES = {
    "context_api": ("CategoricalResult", "ContextualResult", "context"),
    "loading": ("load",),
    "look_api": ("LookResult", "look"),
    "planning": ("Plan", "plan"),
    "conversion": ("convert", "tidy"),
    "description": ("Description", "describe"),
}


def __getattr__(name: str):
    """The facades, imported when first asked for; ``import crowdjax`` itself imports and starts nothing."""
    if name in __all__:
        home = next((home for home, names in HOMES.items() if name in names), "api")
        with extras.needed(f"crowdjax.{name}"):
            return getattr(importlib.import_module(f"crowdjax.{home}"), name)
    raise AttributeError(f"module 'crowdjax' has no attribute {name!r}")
