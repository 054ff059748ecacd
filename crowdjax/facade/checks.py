"""Posterior predictive checks of a fitted model of any kind."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pyarrow as pa

from crowdjax import io, memory, saving
from crowdjax import report as reports
from crowdjax.facade.fitted import Fitted
from crowdjax.formats import Form
from crowdjax.integrated.checks import Checks
from crowdjax.labels import InputError, Labels
from crowdjax.observation.checks import LEVEL
from crowdjax.result import Prediction, kept, labels_of_labelers, shown
from crowdjax.roles import Columns
from crowdjax.settings import seed_of, whole
from crowdjax.tables import kind_of

ENDS = "", "_lower", "_upper"
KEPT = (  # of labelers
    *("accuracy", "lower", "upper", "kind"),
    *(f"{name}{end}" for name in ("informedness", "sensitivity", "specificity") for end in ENDS),
)
MOST_LABELS = 200_000  # of more, a part is looked at: a replicate costs two passes over the points

SAID = {
    "share of yes": "{observed:.1%} of all labels say yes; the model expects {expected:.1%} (p = {p:.2f}).",
    "schools": "Some labelers think alike where others do not: there are schools of thought (p = {p:.2f}).",
    "label shares": "The labels are shared out over their values otherwise than the model expects (p = {p:.2f}).",
    "vote counts": "Instances' votes agree more, or less, than the model expects (p = {p:.2f}).",
    "agreement": "Labelers agree more than the instances' classes explain: they share errors that the model assumes "
    "to be independent, and its probabilities are overconfident (p = {p:.2f}).",
}


@dataclasses.dataclass(frozen=True, repr=False)
class CheckResult(Prediction):
    """The result of posterior predictive checks: statistics, and tables of instances and labelers.

    Attributes:
        instances: table: instance, n_labels, surprise (p-value: the probability, under the model, of labels at least as
            unusual), surprising; null for instances that were not checked.
        record: the content of ``check.json``: checks, schools, settings, warnings.
        labelers: table: labeler, n_labels, informedness with its interval and kind, as in the fit; school: 0 for none,
            k and -k for the two sides of school k.

    Example:
        >>> import numpy as np, crowdjax
        >>> rng = np.random.default_rng(0)
        >>> table = {"labeler": np.tile(np.arange(8), 30), "instance": np.repeat(np.arange(30), 8)}
        >>> table["label"] = (np.repeat(rng.integers(0, 2, 30), 8) ^ (rng.random(240) < 0.2)).astype(int)
        >>> found = crowdjax.check(crowdjax.fit(table, "auto"), table, replicates=19)
        >>> found.record["n_looked_at"], [check["name"] for check in found.record["checks"]][:2]
        (30, ['share of yes', 'vote counts'])
    """

    labelers = shown("labelers")
    _title = "Posterior predictive checks of"

    def _facts(self) -> dict[str, str]:
        failed = [check["name"] for check in self.record["checks"] if check["failed"]]
        checks = f"{len(failed)} of {len(self.record['checks'])} failed{': ' * bool(failed)}{', '.join(failed)}"
        looked = f"{self.record['n_surprising']:,} of {self.record['n_looked_at']:,} instances looked at"
        return {"checks": checks, "surprising": looked}

    def page(self) -> reports.Page:
        """Build the HTML report on the checks (docs/reports.md)."""
        return reports.of_check(self.record, self.tables["labelers"], self.tables["instances"])

    def save(self, out: str | os.PathLike, *, report: bool = False) -> None:
        """Save ``check.json``, ``labelers.parquet`` and ``instances.parquet`` to a folder; the folder appears whole or
        not at all.

        Args:
            report: whether to write ``report.html`` as well (:meth:`page`).
        """
        with saving.new_result(out, self.record, "check.json") as folder:
            self.write_tables(folder)
            if report:
                reports.write(self.page(), folder)


@memory.bounded
def check(
    result: Fitted,
    table,
    *,
    instance_features=None,
    columns: Columns | None = None,
    form: Form | None = None,
    missing: Sequence[Any] = (),
    header: bool = True,
    replicates: int = 99,
    seed: int = 0,
) -> CheckResult:
    """Run posterior predictive checks: compare the labels of a fit with replicates drawn from the fitted model
    (``crowdjax.observation.checks``; for the integrated model of two classes, whose labelers may form schools,
    ``crowdjax.integrated.check``).

    Args:
        result: result of a fit of any model.
        instance_features: table of features, where the integrated model used any.
        table, columns, form, missing, header: the labels of the fit and how to read them, as in the fit.
        replicates: number of replicates; p-values are multiples of 1 / (1 + replicates).
        seed: seed of the draws; the same seed gives the same result.

    Raises:
        InputError: labelers or instances are not those of the fit; fewer than 19 replicates.
    """
    started = time.perf_counter()
    replicates = whole("replicates", replicates, 19, or_else=f"since with fewer no p-value reaches {LEVEL}")
    seed = seed_of(seed)
    said, tables = result.open_tables(columns, instance_features=instance_features)
    if instance_features is not None and not result.schooled:
        raise InputError(
            f"instance features: given with model {result.record['model']}, whose fit has them; leave them out"
        )
    triples = fitted_triples(result, table, "checks", columns=said, form=form, missing=missing, header=header)
    labels = triples.labels(repeats=result.record["repeats"])
    refuse_others(labels, result.tables["labelers"], "checks")
    mapping = io.mapping(triples, tables)
    part, drawn = part_of(labels, seed)
    rows = None
    if result.schooled and "instance" in result.scaling:
        ids, scaling = io.ids(result.index, "instance"), result.scaling["instance"]
        rows = io.read_new_features(tables["instance_features"], "instance", ids, scaling)[drawn]  # pyright: ignore
    found = result.looked(jax.random.key(seed), part, drawn, rows, replicates)
    n_labels = np.bincount(labels.instance, labels.counts > 0, labels.n_instances).astype(np.int64)
    failed = [one for one in found.checks if one.p <= LEVEL]
    warnings = [SAID[one.name].format(**one._asdict()) for one in failed]
    if len(drawn) < labels.n_instances:
        warnings.append(f"Looked at {len(drawn)} of {labels.n_instances} instances, drawn at random.")
    record = {
        "model": result.record["model"],
        **{name: result.record.get(name) for name in ("classes", "values")},
        **{f"n_{what}": result.record[f"n_{what}"] for what in ("labels", "labelers", "instances")},
        "columns": mapping,
        "level": result.record["level"],
        "replicates": replicates,
        "seed": seed,
        "checks": [{**one._asdict(), "failed": one in failed} for one in found.checks],
        "schools": [
            {
                "strength": s.strength,
                "threshold": s.threshold,
                "sides": [int((s.side > 0).sum()), int((s.side < 0).sum())],
            }
            for s in found.schools
        ],
        "n_looked_at": len(drawn),
        "n_surprising": int(found.surprising.sum()),
        "seconds": time.perf_counter() - started,
        "warnings": warnings,
    }
    shared = [name for name in KEPT if name in result.tables["labelers"].column_names]
    labelers = pa.table(
        {
            "labeler": io.ids(triples.index, "labeler"),
            "n_labels": labels_of_labelers(labels),
            **{name: result.tables["labelers"][name] for name in shared},
            **({"school": _schools(found, labels.n_labelers)} if result.schooled else {}),
        }
    )
    instances = pa.table(
        {
            "instance": io.ids(triples.index, "instance"),
            "n_labels": n_labels,
            "surprise": at_places(drawn, found.surprise, labels.n_instances),
            "surprising": at_places(drawn, found.surprising, labels.n_instances),
        }
    )
    tables = {"instances": instances, "labelers": labelers}
    return CheckResult(tables, record, kind_of(table, triples.roles), labels=kept(labels))


def fitted_triples(result: Fitted, table, what: str, **reading) -> io.Triples:
    """Read the triples of a fit once more; reject those of other labelers or instances."""
    triples = io.read_triples(table, like=result.index, **reading)
    if "minibatch" in result.record:
        raise InputError(f"{what}: of a fit by minibatches, whose instances are in another order; allowed: a fit of "
                         "all labels at once")  # fmt: skip
    for side in ("labelers", "instances"):
        if not np.array_equal(getattr(triples.index, side), getattr(result.index, side)):
            raise InputError(f"labels: the {side} are not those of the fit; {what} take the labels that were fitted")
    return triples


def refuse_others(labels: Labels, fitted: pa.Table, what: str) -> None:
    """Reject labels of which labelers have more or fewer than the fit knew, by their weights or by their number."""
    n, known = labels_of_labelers(labels), fitted["n_labels"].to_numpy()
    weight = np.bincount(labels.labeler, labels.counts, labels.n_labelers)
    other = np.flatnonzero(~np.isclose(weight, known, rtol=1e-3) & (n != known))
    if other.size:
        who, had = (fitted[name][int(other[0])].as_py() for name in ("labeler", "n_labels"))
        raise InputError(
            f"labels: {n[other[0]]} of labeler {who!r}, and the fit had {had}; {what} take the labels that were fitted"
        )


def _schools(found: Checks, n_labelers: int) -> np.ndarray:
    """Return the strongest school that each labeler belongs to, with the sign of its side."""
    out = np.zeros(n_labelers, np.int64)
    for k, school in enumerate(found.schools, 1):
        out = np.where(out == 0, k * school.side, out)
    return out


def part_of(labels: Labels, seed: int) -> tuple[Labels, np.ndarray]:
    """Draw a random part of the instances with at most ``MOST_LABELS`` labels; return (its labels, the instances
    drawn).
    """
    real, n = np.asarray(labels.counts) > 0, labels.n_instances
    if real.sum() <= MOST_LABELS:
        return labels, np.arange(n)
    drawn = np.random.default_rng(seed).choice(n, max(1, int(n * MOST_LABELS / real.sum())), replace=False)
    drawn.sort()
    place = np.full(n, -1)
    place[drawn] = np.arange(len(drawn))
    kept = np.flatnonzero(real & (place[labels.instance] >= 0))
    return Labels.from_arrays(
        labels.labeler[kept],
        place[labels.instance[kept]],
        labels.label[kept],
        weight=labels.counts[kept],
        n_labelers=labels.n_labelers,
        n_instances=len(drawn),
        n_values=labels.n_values,
        n_classes=labels.n_classes,
    ), drawn


def at_places(places: np.ndarray, values: np.ndarray, n: int) -> pa.Array:
    """Place values at given positions of a column of length n, null elsewhere."""
    out, missing = np.zeros(n, values.dtype), np.ones(n, bool)
    out[places], missing[places] = values, False
    return pa.array(out, mask=missing)
