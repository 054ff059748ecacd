"""Descriptions of a table of labels: sizes, repeats, agreement, connected components, and the models that the crowd
allows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crowdjax import integrated, io, metrics
from crowdjax.classes import is_alphabet
from crowdjax.columns import listed, show
from crowdjax.facade.models import numbers_of, plan_auto
from crowdjax.formats import Form
from crowdjax.integrated.classes import looks_ordered
from crowdjax.labels import Labels
from crowdjax.roles import Columns, as_record, shown

FEW = 5  # labels, below which always the same label says nothing
SHOWN = 5  # examples
MOST = 10  # values whose labels are counted


@dataclasses.dataclass(frozen=True)
class Description:
    """A description of a table of labels, as numbers (``record``) and as text (``str``).

    Example:
        >>> labels = {"labeler": ["ann", "bob"], "instance": ["q1", "q1"], "label": [1, 0]}
        >>> found = describe(labels)
        >>> isinstance(found, Description), found.record["n_labelers"], "labels" in str(found)
        (True, 2, True)
    """

    record: dict[str, Any]

    def __str__(self) -> str:
        return _text(self.record)


def describe(
    table, *, columns: Columns | None = None, form: Form | None = None, positive=None,
    order: Sequence[Any] | None = None, truth: Sequence[Any] | None = None, missing: Sequence[Any] = (),
    header: bool = True,
) -> Description:  # fmt: skip
    """Describe a table of labels without fitting a model: sizes, repeats, agreement, and the models that it allows.

    Agreement and Krippendorff's α (``metrics.krippendorff_alpha``) take the first judgement of a labeler on an
    instance; weights are left aside.

    Args:
        table, columns, form, positive, order, truth, missing, header: as in ``crowdjax.fit``.

    Raises:
        InputError: as in ``crowdjax.fit``.

    Example:
        >>> labels = {"labeler": list("abcabc"), "instance": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
        >>> found = describe(labels).record
        >>> found["n_labels"], found["share_positive"], round(found["agreement"], 3), round(found["alpha"], 3)
        (6, 0.3333333333333333, 0.667, 0.375)
    """
    reading = dict(form=form, positive=positive, order=order, truth=truth, missing=missing, header=header)
    triples = io.read_triples(table, columns=columns, **reading)
    labeler, instance, label, index = triples.labeler, triples.instance, triples.label, triples.index
    values = index.values or index.classes
    two, in_words = len(values) == 2, not is_alphabet(index.classes)
    n_labelers, n_instances = len(triples.index.labelers), len(triples.index.instances)
    each = {"labeler": np.bincount(labeler, minlength=n_labelers), "instance": np.bincount(instance)}
    first, same = _repeats(labeler, instance, label, n_instances)
    m = np.bincount(instance[first], minlength=n_instances)
    cell = np.unique(instance[first].astype(np.int64) * len(values) + label[first], return_counts=True)[1]
    pairs, agreeing = (m * (m - 1)).sum(), (cell * (cell - 1)).sum()
    labels = triples.labels()
    model, reasons = _auto(labels)
    crowd = integrated.crowd_of(labeler, instance, n_labelers, n_instances)
    low, high = np.full(n_labelers, len(values)), np.zeros(n_labelers, int)
    np.minimum.at(low, labeler, label)
    np.maximum.at(high, labeler, label)
    constant = np.flatnonzero((low == high) & (each["labeler"] >= FEW))
    constant = constant[np.argsort(-each["labeler"][constant], kind="stable")]
    by_value = np.bincount(label, minlength=len(values)).tolist()
    record = {
        "columns": {"labels": as_record(triples.roles)},
        "n_labels": len(labeler),
        "n_labelers": n_labelers,
        "n_instances": n_instances,
        **{f"labels_per_{side}": _quartiles(counts) for side, counts in each.items()},
        "n_single": int((each["instance"] == 1).sum()),
        "classes": list(index.classes),
        "values": [{"value": v, "n_labels": n} for v, n in zip(values, by_value, strict=True)],
        "share_positive": float((label == 1).mean()) if two and index.values is None else None,
        "words": dict(zip(("negative", "positive"), index.classes, strict=True)) if two and in_words else None,
        "n_repeats": len(labeler) - len(first),
        "share_repeats_alike": same,
        "agreement": float(agreeing / pairs) if pairs else None,
        "alpha": _or_none(metrics.krippendorff_alpha(instance[first], label[first])),
        "crowds": np.bincount(crowd).tolist(),
        "n_enough": int((each["labeler"] >= FEW).sum()),
        "n_constant": len(constant),
        "constant": [
            {"labeler": _plain(index.labelers[i]), "label": values[low[i]], "n_labels": int(each["labeler"][i])}
            for i in constant[:SHOWN]
        ],
        "similar_ids": {side: _similar(getattr(index, side)) for side in ("labelers", "instances")},
        "auto": {"model": model, "reasons": list(reasons)},
        "looks_ordered": looks_ordered(labels),
        "notes": list(triples.notes),
    }
    return Description(record)


def _quartiles(counts) -> dict[str, float]:
    return dict(
        zip(("min", "q1", "median", "q3", "max"), np.percentile(counts, (0, 25, 50, 75, 100)).tolist(), strict=True)
    )


def _repeats(labeler, instance, label, n_instances: int):
    """Return (rows of the first judgement of every labeler on every instance, share of the others that say the
    same)."""
    pair = labeler.astype(np.int64) * n_instances + instance
    _, first, group = np.unique(pair, return_index=True, return_inverse=True)
    again = np.ones(len(pair), bool)
    again[first] = False
    alike = label[again] == label[first][group[again]]
    return np.sort(first), float(alike.mean()) if alike.size else None


def _similar(ids: np.ndarray) -> dict[str, Any]:
    """Return ids that differ only in case or white space."""
    groups: dict[str, list[str]] = {}
    for name in ids.tolist():
        if isinstance(name, str):
            groups.setdefault(" ".join(name.split()).casefold(), []).append(name)
    found = [names for names in groups.values() if len(names) > 1]
    return {"n": len(found), "examples": found[:SHOWN]}


def _auto(labels: Labels) -> tuple[str, tuple[str, ...]]:
    """Return what ``auto`` would fit, and why it differs from the integrated model."""
    if (labels.n_values, labels.n_classes) != (2, 2):
        plan, reasons = plan_auto(numbers_of(labels), "nominal")
        name = "the integrated model" if plan["model"] == "integrated" else plan["model"]
        return f"{name}, averaged with {plan['beside']}" if plan.get("beside") else name, reasons
    plan = integrated.plan(labels)
    if plan.config.spread == 0:
        return "Dawid and Skene's model with labelers from one population", plan.reasons
    learned = "" if plan.config.hierarchy else ", its population not learned"
    return f"the integrated model{learned}", plan.reasons


def _plain(value):
    return value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else str(value)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


# Text


def _text(found: Mapping[str, Any]) -> str:
    rows = [
        ("columns", shown(found["columns"]["labels"])),
        ("labels", f"{found['n_labels']:,}, {_shares(found)}"),
        *([("classes", _classes(found))] if len(found["classes"]) > 2 or found["share_positive"] is None else []),
        ("labelers", f"{found['n_labelers']:,}, {_degrees(found['labels_per_labeler'])}"),
        ("instances", f"{found['n_instances']:,}, {_degrees(found['labels_per_instance'])}"),
        ("agreement", _agreement(found)),
        ("repeats", _about_repeats(found)),
        ("one label", f"{found['n_single']:,} of {found['n_instances']:,} instances have one label"),
        ("one value", _constant(found)),
    ]
    for side, similar in found["similar_ids"].items():
        if similar["n"]:
            examples = "; ".join(" and ".join(map(repr, names)) for names in similar["examples"])
            rows.append(("alike", f"{similar['n']:,} ids of {side} differ only in case or white space: {examples}"))
    rows.append(("compared", _comparable(found["crowds"])))
    if found["looks_ordered"]:
        rows.append(
            (
                "order",
                "disagreeing labels are mostly neighbours, as grades are: --classes ordinal takes them so",
            )
        )
    rows.append(("auto", " ".join([f"fits {found['auto']['model']}.", *found["auto"]["reasons"]])))
    rows += [("note", note) for note in found["notes"]]
    return "\n".join(f"{name:<11}{text}" for name, text in rows)


def _shares(found: Mapping[str, Any]) -> str:
    """Count how often labels have each value; of two the positive one."""
    if found["share_positive"] is not None:
        words = found["words"]
        meaning = f" (positive: {words['positive']!r})" if words else ""
        return f"{found['share_positive']:.1%} of them positive{meaning}"
    n, each = found["n_labels"], sorted(found["values"], key=lambda v: -v["n_labels"])
    some = ", ".join(f"{v['n_labels'] / n:.1%} {show(v['value'])}" for v in each[:MOST])
    return some + (f" and {len(each) - MOST:,} other values" if len(each) > MOST else "")


def _classes(found: Mapping[str, Any]) -> str:
    """Return the classes in their order."""
    classes = found["classes"]
    return f"{len(classes):,}: {listed(map(show, classes))}"


def _degrees(counts: Mapping[str, float]) -> str:
    low, q1, median, q3, high = (f"{v:,.10g}" for v in counts.values())
    if low == high:
        return f"with {low} label{'s' * (low != '1')} each"
    return f"with {low} to {high} labels each (median {median}, quartiles {q1} and {q3})"


def _agreement(found: Mapping[str, Any]) -> str:
    if found["agreement"] is None:
        return "cannot be told: no instance has labels of two labelers"
    alpha = "is not defined, all labels being the same" if found["alpha"] is None else f"{found['alpha']:.3f}"
    return (
        f"{found['agreement']:.1%} of pairs of labels on an instance; Krippendorff's alpha {alpha} "
        "(1: all agree, 0: as by chance)"
    )


def _about_repeats(found: Mapping[str, Any]) -> str:
    if not found["n_repeats"]:
        return "none: no labeler judged an instance twice"
    return (
        f"{found['n_repeats']:,} labels repeat an earlier one (labeler and instance alike); "
        f"{found['share_repeats_alike']:.1%} of them say the same"
    )


def _constant(found: Mapping[str, Any]) -> str:
    text = f"{found['n_constant']:,} of {found['n_enough']:,} labelers with {FEW} labels or more always give the same"
    examples = ", ".join(f"{c['labeler']!r} ({c['n_labels']:,} times {show(c['label'])})" for c in found["constant"])
    return f"{text}: {examples}" + (", ..." if found["n_constant"] > SHOWN else "") if examples else text


def _comparable(crowds: list[int]) -> str:
    if len(crowds) == 1:
        return "All labelers can be compared: instances that they share connect every two of them."
    sizes = ", ".join(f"{n:,}" for n in crowds[:SHOWN]) + (", ..." if len(crowds) > SHOWN else "")
    return (
        f"Not all labelers can be compared: they fall into {len(crowds):,} connected components (of {sizes} "
        "labelers) without a shared instance."
    )
