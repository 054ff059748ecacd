"""The old name of ``crowdjax.drive``; its names still work and warn (docs/policy.md)."""

from __future__ import annotations

from crowdjax.renamed import renamed

NAMES = "PERIOD", "Progress", "Spread", "or_interrupt", "run", "silent"
__getattr__ = renamed(__name__, {name: f"crowdjax.drive.{name}" for name in NAMES}, gone="0.4")
