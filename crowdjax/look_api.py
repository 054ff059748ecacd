"""The facade of looking inside: ``crowdjax.look(result, table)`` says who is who and what the fit misses.

It reads the labels of the fit once more, compares them with what the fitted model would give (``integrated.look``), and
puts labelers, instances and checks into tables, a record and plain sentences.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from crowdjax import integrated, io
from crowdjax.answers import Prediction, labels_of_labelers
from crowdjax.facade.checks import LookResult, at_places, part_of
from crowdjax.formats import Form
from crowdjax.integrated import Features
from crowdjax.integrated.look import LEVEL, Look
from crowdjax.integrated_api import IntegratedAggregation
from crowdjax.labels import InputError
from crowdjax.roles import Columns, Opened
from crowdjax.settings import brief, seed_of, whole
from crowdjax.tables import kind_of

SAID = {
    "share of yes": "{observed:.1%} of all labels say yes; the model expects {expected:.1%} (p = {p:.2f}).",
    "vote counts": "Instances' shares of yes are spread otherwise than the model expects (p = {p:.2f}).",
    "agreement": "Labelers agree more than the instances' factor explains: they share errors that the model takes for "
    "independent, and its probabilities are too sure (p = {p:.2f}).",
    "schools": "Some labelers think alike where others do not: there are schools of thought (p = {p:.2f}).",
}


def look(
    result: Prediction,
    table,
    *,
    instance_features=None,
    columns: Columns | None = None,
    form: Form | None = None,
    missing: Sequence[Any] = (),
    header: bool = True,
    replicates: int = 99,
    seed: int = 0,
) -> LookResult:
    """Compares the labels of a fit with replicates that the fitted model gives.

    Args:
        result: of ``crowdjax.fit(table, "auto")`` or ``"integrated"``, a fit of a model of the registry, or of
            ``crowdjax.context``; or loaded.
        table, columns, form, missing, header: the labels of that fit, as there.
        instance_features: as in the fit, where it used any.
        replicates: how many to draw; p-values are multiples of 1 / (1 + replicates).
        seed: of the draws; the same seed gives the same answer.

    Raises:
        InputError: the fit is of another model; labelers or instances are not those of the fit; fewer than 19
            replicates.

    Example:
        >>> import numpy as np, crowdjax
        >>> rng = np.random.default_rng(0)
        >>> table = {"labeler": np.tile(np.arange(8), 30), "instance": np.repeat(np.arange(30), 8)}
        >>> table["label"] = (np.repeat(rng.integers(0, 2, 30), 8) ^ (rng.random(240) < 0.2)).astype(int)
        >>> found = look(crowdjax.fit(table, "auto"), table, replicates=19)
        >>> found.labelers["kind"].tolist().count("adversary")
        0
    """
    started = time.perf_counter()
    if hasattr(result, "checks"):
        if instance_features is not None:
            what = "of the contextual model" if result.record["model"] == "contextual" else "of more than two classes"
            raise InputError(f"instance features: given with a fit {what}; leave them out")
        return result.checks(  # pyright: ignore[reportAttributeAccessIssue]
            table, columns=columns, form=form, missing=missing, header=header, replicates=replicates, seed=seed
        )
    if not isinstance(result, IntegratedAggregation):
        got = f"a fit of {result.record['model']}" if isinstance(result, Prediction) else brief(result)
        raise InputError(f"look: got {got}; allowed: a fit of integrated, auto, more than two classes, or contextual")
    replicates = whole("replicates", replicates, 19, or_else=f"since with fewer no p-value reaches {LEVEL}")
    seed = seed_of(seed)
    names = {f"{side}_features": scaling.names for side, scaling in result.scaling.items()}
    said, tables = io.open_tables(columns, known=names, instance_features=instance_features)
    settings = dict(form=form, missing=missing, header=header, words=result.words)
    triples = io.read_triples(table, columns=said, **settings)
    for side in ("labelers", "instances"):
        if not np.array_equal(getattr(triples.index, side), getattr(result.index, side)):
            raise InputError(f"labels: the {side} are not those of the fit; look takes the labels that were fitted")
    labels = triples.labels(repeats=result.record["repeats"])
    features = _features(result, tables["instance_features"])
    mapping = io.mapping(triples, tables)
    parameters = jax.tree.map(np.asarray, result.fit.parameters)
    part, drawn = part_of(labels, seed)
    of_part = features if features.instance is None else Features(instance=features.instance[drawn])
    found = integrated.look(jax.random.key(seed), part, parameters, result.config, of_part, replicates)
    n_labels = np.bincount(labels.instance, labels.counts > 0, labels.n_instances).astype(np.int64)
    failed = [check for check in found.checks if check.p <= LEVEL]
    warnings = [SAID[check.name].format(**check._asdict()) for check in failed]
    if len(drawn) < labels.n_instances:
        warnings.append(f"Looked at {len(drawn)} of {labels.n_instances} instances, drawn at random.")
    record = {
        "model": result.record["model"],
        **{f"n_{what}": result.record[f"n_{what}"] for what in ("labels", "labelers", "instances")},
        "columns": mapping,
        "level": result.record["positives"]["level"],
        "replicates": replicates,
        "seed": seed,
        "checks": [{**check._asdict(), "failed": check in failed} for check in found.checks],
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
    labelers = pa.table(
        {
            "labeler": io.ids(triples.index, "labeler"),
            "n_labels": labels_of_labelers(labels),
            **_informedness(result),
            "school": _schools(found, labels.n_labelers),
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
    return LookResult({"instances": instances, "labelers": labelers}, record, kind_of(table, triples.roles))


def _features(result: IntegratedAggregation, instance_features: Opened | None) -> Features:
    """The features that matter once the labelers are known: the instances'."""
    if "instance" not in result.scaling:
        if instance_features is not None:
            raise InputError("instance features: given, but the fit used none; leave them out")
        return Features()
    ids = io.ids(result.index, "instance")
    everyone = np.ones(len(ids), bool)
    return Features(
        instance=io.read_new_features(instance_features, "instance", ids, result.scaling["instance"], everyone)
    )


def _informedness(result: IntegratedAggregation) -> dict[str, Any]:
    """The columns about informedness that the fit's labelers have."""
    names = ("informedness", "informedness_lower", "informedness_upper", "kind")
    return {name: result.tables["labelers"][name] for name in names}


def _schools(found: Look, n_labelers: int):
    """The strongest school that each labeler belongs to, with the sign of its side."""
    out = np.zeros(n_labelers, np.int64)
    for k, school in enumerate(found.schools, 1):
        out = np.where(out == 0, k * school.side, out)
    return out
