"""Labels in a shape that tables of similar sizes share, so that one compiled program serves them all; and back.

Padding does not change results but for rounding (tests/test_room.py): it has labels of weight 0, padding instances
(``labels.shard.real``), and labelers without labels, which the population ignores.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from crowdjax.integrated.average import Average
from crowdjax.integrated.draws import LabelerSummary
from crowdjax.integrated.fit import IntegratedFit
from crowdjax.integrated.model import Features, Parameters
from crowdjax.integrated.summaries import InstanceSummary
from crowdjax.labelers import Interval
from crowdjax.labels import Labels
from crowdjax.layout import with_room


class Room(NamedTuple):
    """Sizes with and without padding.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 1, 0])
        >>> padded, room = of(labels)
        >>> room.n_labelers, padded.n_labelers, len(padded.label)
        (3, 32, 2048)
    """

    labelers: int
    n_labelers: int
    n_instances: int

    def features(self, given: Features, labels: Labels) -> Features:
        """Add rows of 0 to features for the padding of the labels."""
        sizes = labels.n_labelers, labels.n_instances
        return Features(*(None if v is None else _longer(v, n) for v, n in zip(given, sizes, strict=True)))

    def parameters(self, given: Parameters) -> Parameters:
        """Add labelers at the population's mean for the padding."""
        rows = np.tile(np.asarray(given.mean), (self.labelers - len(given.labelers), 1))
        return given._replace(labelers=np.concatenate([np.asarray(given.labelers), rows]))

    def average(self, given: Average) -> Average:
        """Apply :meth:`parameters` to every member."""
        return given._replace(
            members=tuple(m._replace(parameters=self.parameters(m.parameters)) for m in given.members)
        )

    def average_of(self, found: Average) -> Average:
        """Remove the padding from the parameters of an average."""
        only = tuple(m._replace(parameters=self._only(m.parameters)) for m in found.members)
        return found._replace(members=only)

    def fit_of(self, found: IntegratedFit) -> IntegratedFit:
        """Remove the padding from a fit."""
        cut = {name: np.asarray(getattr(found, name))[: self.n_labelers] for name in ("covariance", "counts")}
        return dataclasses.replace(found, parameters=self._only(found.parameters), **cut)

    def instances_of(self, found: InstanceSummary) -> InstanceSummary:
        """Remove the padding from a table of instances."""
        return InstanceSummary(*(np.asarray(v)[: self.n_instances] for v in found))

    def labelers_of(self, found: LabelerSummary) -> LabelerSummary:
        """Remove the padding from a summary of labelers."""
        *about, kind = found
        only = (Interval(*(np.asarray(v)[: self.n_labelers] for v in interval)) for interval in about)
        return LabelerSummary(*only, kind=None if kind is None else kind[: self.n_labelers])

    def _only(self, given: Parameters) -> Parameters:
        given = jax.tree.map(np.asarray, given)
        return given._replace(labelers=given.labelers[: self.n_labelers])


def of(labels: Labels) -> tuple[Labels, Room]:
    """Pad labels to a shared size, and return how to remove the padding from results (``layout.with_room``).

    Example:
        >>> padded, room = of(Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 1, 0]))
        >>> padded.n_instances, room.n_instances
        (512, 1)
    """
    padded = with_room(labels)
    return padded, Room(padded.n_labelers, labels.n_labelers, labels.n_instances)


def _longer(rows: Float[np.ndarray, "n F"], n: int) -> Float[np.ndarray, "m F"]:
    rows = np.asarray(rows)
    return np.concatenate([rows, np.zeros((n - len(rows), *rows.shape[1:]), rows.dtype)])
