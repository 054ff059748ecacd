"""Loading saved results of every kind; their records say which kind they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from crowdjax import api, saving
from crowdjax.labels import InputError
from crowdjax.result import Prediction, read_tables
from crowdjax.settings import path_of
from crowdjax.tables import as_arrow

if TYPE_CHECKING:
    from crowdjax.planning import Plan


def load(folder: str | os.PathLike) -> Prediction | Plan:
    """Load a saved result: a fit, a contextual fit, a prediction, a posterior predictive check or a plan.

    Returns:
        What ``save`` was called on: ``Aggregation``, ``IntegratedAggregation``, ``ContextualResult``, ``Prediction``,
        ``CheckResult`` or ``Plan``. Its tables are pyarrow's.

    Raises:
        InputError: the folder has no result, or the result is incomplete or was changed after it was saved.

    Example:
        >>> import tempfile
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
        >>> result = crowdjax.fit(labels, model="one-coin")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result.save(folder + "/out")
        ...     crowdjax.load(folder + "/out").record["objective"] == result.record["objective"]
        True
    """
    folder = Path(path_of("folder", folder, "a folder of a result"))
    if "\0" in str(folder) or len(folder.name) > 255:
        raise InputError(
            f"folder: got {str(folder)[:40]!r}, which cannot be the name of a folder; allowed: the folder of a result"
        )
    if (folder / "predict.json").is_file():
        record = saving.read_result(folder, "predict.json")
        return Prediction(read_tables(folder, "instances"), record, as_arrow)
    for name in ("check.json", "look.json"):  # look: of crowdjax 0.1
        if (folder / name).is_file():
            record = saving.read_result(folder, name)
            from crowdjax import check_api

            return check_api.CheckResult(read_tables(folder, "instances", "labelers"), record, as_arrow)
    if (folder / "plan.json").is_file():
        record = saving.read_result(folder, "plan.json")
        from crowdjax import planning

        names = [Path(file).stem for file in record["files"] if file.endswith(".parquet")]
        return planning.Plan(read_tables(folder, *names), record, as_arrow)
    record = saving.read_result(folder)
    if record.get("model") == "contextual" and len(record.get("classes") or ()) > 2:
        from crowdjax.facade import categories

        return categories.load(folder, record)
    if record.get("model") == "contextual":
        from crowdjax import context_api  # takes numpyro and matplotlib along

        return context_api.load(folder, record)
    return api.load(folder)
