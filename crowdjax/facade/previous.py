"""Continuing from an earlier contextual result with other instances: its posterior is the prior of the next fit.

What the functions, scores and classes are has to be the same; labelers are found by their ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from crowdjax import io
from crowdjax.contextual import ContextualConfig, ContextualFit, Scale, carried
from crowdjax.contextual.data import Prior
from crowdjax.labels import InputError, LabelIndex

SAME = ("prevalence", "accuracy", "labelers", "constraint", "increasing")  # settings of the functions


class Previous(NamedTuple):
    """An earlier fit, its companion under the weaker constraint, and the row of each labeler there (-1: new).

    Example:
        >>> Previous._fields
        ('fit', 'weaker', 'known')
    """

    fit: ContextualFit
    weaker: ContextualFit | None
    known: Int[np.ndarray, " W"]

    @property
    def scale(self) -> Scale:
        """The scale of the earlier fit."""
        return self.fit.scale

    def prior(self, fit: ContextualFit) -> Prior:
        """Build the prior of the next fit from one of the two earlier fits."""
        return carried(fit, self.known)

    def about(self, earlier: Any) -> dict[str, Any]:
        """Build the entry of the record."""
        return {
            "labels_sha256": earlier.record.get("labels_sha256"),
            "n_labels": earlier.record["n_labels"],
            "n_instances": earlier.record["n_instances"],
            "known_labelers": int((self.known >= 0).sum()),
        }


def of(
    earlier, asked: ContextualConfig, transform: str, names: Sequence[str], index: LabelIndex, identity: str
) -> Previous:
    """Check that the next fit can continue from an earlier result, and match its labelers.

    Args:
        earlier: a contextual result.
        asked: the settings of the functions that were asked for.
        names: the columns of scores.
        index: labelers, instances and classes of the new labels.
        identity: digest of the new labels.

    Raises:
        InputError: it cannot.
    """
    if earlier.record.get("labels_sha256") == identity:
        raise InputError(
            "previous: a result of the same labels, which would count twice; allowed: a result of other labels"
        )
    if earlier.record.get("time") is not None or earlier.record.get("group") is not None:
        raise InputError("previous: a result with time or group; allowed: a result without, one batch per period")
    if list(earlier.record["scores"]) != list(names):
        were = ", ".join(earlier.record["scores"])
        raise InputError(f"previous: a result with scores {were}; got {', '.join(names)}; allowed: the same")
    if tuple(earlier.index.classes) != tuple(index.classes):
        raise InputError(
            f"previous: a result with classes {earlier.index.classes}; got {index.classes}; allowed: the same"
        )
    config, scale = earlier.fit.config, earlier.fit.scale
    if config.gp.approximation != "hsgp":
        raise InputError(f"previous: a result with approximation {config.gp.approximation!r}; allowed: hsgp")
    for name in SAME:
        was, now = getattr(config, name), getattr(asked, name)
        if was != now:
            raise InputError(f"previous: a result with {name} {was!r}; got {now!r}; allowed: the same")
    if scale.transform != transform:
        raise InputError(f"previous: a result with transform {scale.transform!r}; got {transform!r}; allowed: the same")
    known = io.positions(io.ids(index, "labeler"), io.ids(earlier.index, "labeler"))
    return Previous(earlier.fit, earlier.weaker, known)


def warnings(earlier, found: Previous, index: LabelIndex) -> list[str]:
    """Warn of instances that are in both fits, and of a fit without any known labeler."""
    out = []
    twice = int((io.positions(io.ids(index, "instance"), io.ids(earlier.index, "instance")) >= 0).sum())
    if twice:
        out.append(
            f"{twice} of {len(index.instances)} instances are in the earlier result too: labels that are in both count "
            "twice."
        )
    if found.fit.config.labelers != "global" and not (found.known >= 0).any():
        out.append("None of the labelers is in the earlier result: it tells of the crowd and the score alone.")
    return out
