"""Groups of labelers with copied labels (``dependence``): how a fit weights and reports them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crowdjax import io
from crowdjax.columns import listed
from crowdjax.dependence import Group, groups, once
from crowdjax.labels import InputError, Labels
from crowdjax.priors import Copies

if TYPE_CHECKING:
    from jaxtyping import Int

SHOWN = 3  # groups with a sentence of their own


class Heard(NamedTuple):
    """Labels as a fit weights them, with the record and the warnings about groups of labelers who repeat one another.

    Example:
        >>> Heard(None, {"treatment": "warn", "groups": []}, []).warnings
        []
    """

    labels: Labels
    record: dict[str, Any]
    warnings: list[str]


def heard(labels: Labels, triples: io.Triples, copies: Copies) -> Heard:
    """Find groups of labelers who repeat one another, and count each as one labeler where that is wanted.

    Raises:
        InputError: the labels are counts, whose labelers are unknown, and copies are to count once.
    """
    if triples.anonymous and copies == "once":
        raise InputError("copies: got 'once' with counts, whose labelers are unknown; allowed with counts: 'warn'")
    found = () if triples.anonymous else groups(labels)
    names = [[str(name) for name in triples.index.labelers[list(group.labelers)]] for group in found]
    record = {
        "treatment": copies,
        "groups": [
            {**group._asdict(), "labelers": [*group.labelers], "names": of}
            for group, of in zip(found, names, strict=True)
        ],
    }
    if copies == "once" and found:
        labels = once(labels, [group.labelers for group in found])
    return Heard(labels, record, about(found, names, copies))


def heard_again(labels: Labels, known: Int[np.ndarray, " W"], record: Mapping[str, Any]) -> Labels:
    """Weight other labels as the fit did: its groups count as one labeler where they did so in the fit.

    Args:
        known: which labeler of the fit each is, -1 for others.
        record: of the fit.
    """
    said = record.get("copies", {})
    if said.get("treatment") != "once" or not said["groups"]:
        return labels
    return once(labels, [np.flatnonzero(np.isin(known, group["labelers"])) for group in said["groups"]])


def about(found: tuple[Group, ...], names: list[list[str]], copies: Copies) -> list[str]:
    """Warn of groups of labelers who repeat one another.

    Example:
        >>> about((Group((0, 1), 90, 0, 28.4),), [["ann", "bob"]], "once")[0].split(". ")
        ... # doctest: +NORMALIZE_WHITESPACE
        ['2 labelers seem to repeat one another: ann, bob',
         'Of 90 pairs of their labels on the same instance 0 differ; about 28 would if each answered for itself',
         'They count as one labeler.']
    """
    out = [
        f"{len(of)} labelers seem to repeat one another: {listed(of, 5)}. Of {group.common:,} pairs of their labels on "
        f"the same instance {group.disagreements:,} differ; about {group.expected:,.0f} would if each answered for "
        f"itself. {SAID[copies]}"
        for group, of in zip(found[:SHOWN], names, strict=False)
    ]
    if len(found) > SHOWN:
        out.append(f"{len(found) - SHOWN} further groups of labelers seem to repeat one another; the record has them.")
    return out


SAID = {
    "warn": "The fit counts them all: where they err, inferred classes err with them; they look more able than they "
    "are, and others less. Count them as one labeler with copies='once' (--copies once).",
    "once": "They count as one labeler.",
}
