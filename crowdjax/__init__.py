"""crowdjax: the truth behind labels from a crowd, how sure it is, and who is good at what. On JAX."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from crowdjax import extras, renamed

if TYPE_CHECKING:
    from crowdjax.api import Aggregation, FitError, InputError, IntegratedAggregation, Prediction, fit
    from crowdjax.check_api import CheckResult, check
    from crowdjax.context_api import CategoricalResult, ContextualResult, context
    from crowdjax.conversion import convert, tidy
    from crowdjax.description import Description, describe
    from crowdjax.loading import load
    from crowdjax.planning import Plan, plan

__version__ = "0.2.0"
__all__ = [
    "Aggregation",
    "CategoricalResult",
    "CheckResult",
    "ContextualResult",
    "Description",
    "FitError",
    "InputError",
    "IntegratedAggregation",
    "Plan",
    "Prediction",
    "check",
    "context",
    "convert",
    "describe",
    "fit",
    "load",
    "plan",
    "tidy",
]
HOMES = {
    "context_api": ("CategoricalResult", "ContextualResult", "context"),
    "loading": ("load",),
    "check_api": ("CheckResult", "check"),
    "planning": ("Plan", "plan"),
    "conversion": ("convert", "tidy"),
    "description": ("Description", "describe"),
}

find_renamed = renamed.renamed("crowdjax", {"look": "check", "LookResult": "CheckResult"}, gone="0.4", stacklevel=3)


def __getattr__(name: str):
    """Import a public name from its module on first access; ``import crowdjax`` itself imports nothing and starts
    nothing.
    """
    if name in __all__:
        home = next((home for home, names in HOMES.items() if name in names), "api")
        with extras.needed(f"crowdjax.{name}"):
            return getattr(importlib.import_module(f"crowdjax.{home}"), name)
    return find_renamed(name)
