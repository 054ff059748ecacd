"""Reports: one page of a result that anybody can open, read, print and send; self-contained, nothing is fetched.

    page = of_fit(...)  →  document.Page (plain values)  →  html.render(page)  →  report.html, and figures/

A page is sections of blocks (``document``). Those of fits, contextual fits and looks are made here, from tables,
records and arrays, which the facades hand over (``result.save(out, report=True)``). docs/reports.md says how to read
them.
"""

from crowdjax.report.categories import of_categories
from crowdjax.report.checks import of_check
from crowdjax.report.classes import of_classes
from crowdjax.report.context import of_context
from crowdjax.report.document import (
    Check,
    Checks,
    Column,
    Drawing,
    Facts,
    Figures,
    Page,
    Prose,
    Section,
    Table,
)
from crowdjax.report.factors import directions
from crowdjax.report.fit import of_fit
from crowdjax.report.html import render, write
from crowdjax.report.plan import of_plan

__all__ = [
    "Check",
    "Checks",
    "Column",
    "Drawing",
    "Facts",
    "Figures",
    "Page",
    "Prose",
    "Section",
    "Table",
    "directions",
    "of_categories",
    "of_check",
    "of_classes",
    "of_context",
    "of_fit",
    "of_plan",
    "render",
    "write",
]
