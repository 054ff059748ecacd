"""What results of every fit share: a page, and a folder that ``crowdjax.load`` reads."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from crowdjax import report as reports
from crowdjax import results
from crowdjax.answers import Prediction, shown


@dataclasses.dataclass(frozen=True, repr=False)
class Fitted(Prediction):
    """A fit with its answers about instances and labelers.

    Attributes:
        labelers: a table of them, of the kind that the labels came in.
    """

    labelers = shown("labelers")
    _title = "Fit of"

    def page(self) -> reports.Page:
        """The report (docs/reports.md).

        Raises:
            InputError: the result was loaded; a report needs the labels' counts, which are not kept.
        """
        raise NotImplementedError

    def arrays(self) -> Any:
        """What ``fit.npz`` holds: a pytree of arrays."""
        raise NotImplementedError

    def save(self, out: str | os.PathLike, *, report: bool = False) -> None:
        """Writes every table, ``fit.json`` and ``fit.npz``; ``crowdjax.load`` reads them.

        Args:
            report: whether to write ``report.html`` and ``figures`` as well (:meth:`page`).
        """
        page = self.page() if report else None
        with results.new_result(out, self.record) as folder:
            self.write_tables(folder)
            results.save_arrays(folder / "fit.npz", self.arrays())
            if page is not None:
                reports.write(page, folder)
