"""Figures of results and studies, in one clean style, as SVG and PNG that are the same bytes every time.

    result.plot.NAME()    any result's figures, on matplotlib Axes (docs/figures.md): result
    confusions, labelers, agreement, judgements, calibration, amounts, instances, functions, periods, estimates
                          arrays → Axes or ``Figure``, a module for each family
    fits, studies         figures of reports and of experiments
    style                 colours, sizes, ``save``, ``as_svg``

Functions take arrays; matplotlib is imported when one is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowdjax.plots.calibration import reliability
from crowdjax.plots.confusions import MOST_PANELS, NUMBERED, confusion
from crowdjax.plots.estimates import intervals, shares
from crowdjax.plots.fits import boundary, counts, objective, positions, probabilities
from crowdjax.plots.functions import bands, labeler_curves
from crowdjax.plots.labelers import KINDS, MOST_LINES, accuracies, chances
from crowdjax.plots.periods import MOST_MARKS, over_time, periods_span
from crowdjax.plots.studies import (
    curves,
    differences,
    dots,
    factor_over_feature,
    known_functions,
    matrices,
    ranks,
    side_by_side,
    spread,
)
from crowdjax.plots.style import COLOURS, MARKERS, STYLE, as_svg, evenly, save, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Figure

__all__ = [
    "COLOURS",
    "KINDS",
    "MARKERS",
    "MOST_LINES",
    "MOST_MARKS",
    "MOST_PANELS",
    "NUMBERED",
    "STYLE",
    "accuracies",
    "as_svg",
    "bands",
    "boundary",
    "chances",
    "confusion",
    "counts",
    "curves",
    "differences",
    "dots",
    "evenly",
    "factor_over_feature",
    "intervals",
    "known_functions",
    "labeler_curves",
    "matrices",
    "objective",
    "over_time",
    "periods_span",
    "positions",
    "probabilities",
    "ranks",
    "reliability",
    "save",
    "shares",
    "short",
    "side_by_side",
    "spread",
]
