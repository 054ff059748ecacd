"""The posterior of a fit for ArviZ: the labels are read once more where draws need them, since a result holds none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crowdjax import io, posterior
from crowdjax.facade.checks import fitted_triples, refuse_others
from crowdjax.facade.copies import heard_again
from crowdjax.facade.fitted import Fitted
from crowdjax.formats import Form
from crowdjax.integrated import Features
from crowdjax.labels import InputError, Labels
from crowdjax.roles import Columns
from crowdjax.settings import seed_of, whole

if TYPE_CHECKING:
    from crowdjax.posterior import DataTree


class Asked(NamedTuple):
    """The inputs of a posterior's draws.

    Attributes:
        labels: of the fit, None where none were given.
        features: standardised, of the integrated model of two classes.
        draws: how many.
        seed: of the draws.

    Example:
        >>> Asked(None).draws
        1000
    """

    labels: Labels | None
    features: Features = Features()
    draws: int = 1000
    seed: int = 0

    def given(self, why: str) -> Labels:
        """Return the labels; raise where there are none.

        Args:
            why: they are needed.
        """
        if self.labels is None:
            raise InputError(f"to_arviz: {why}, and a result holds no labels; give the table that was fitted: "
                             "result.to_arviz(table)")  # fmt: skip
        return self.labels


def to_arviz(
    result: Fitted,
    table=None,
    *,
    gold=None,
    labeler_features=None,
    instance_features=None,
    draws: int = 1000,
    seed: int = 0,
    columns: Columns | None = None,
    form: Form | None = None,
    missing: Sequence = (),
    header: bool = True,
) -> DataTree:
    """Return the posterior of a fit; see :meth:`Fitted.to_arviz`."""
    posterior.require()  # before anything slow
    n, seed = whole("draws", draws), seed_of(seed)
    sides = {"labeler": labeler_features, "instance": instance_features}
    said, tables = result.open_tables(columns, gold=gold, **{f"{side}_features": v for side, v in sides.items()})
    if table is None:
        more = [f"{side} features" for side, given in sides.items() if given is not None] + ["gold"] * (
            gold is not None
        )
        if more:
            raise InputError(f"{more[0]}: given without labels; allowed with the table that was fitted")
        return posterior.tree(result.drawn(Asked(None, draws=n, seed=seed)), result.index)
    reading = dict(columns=said, form=form, missing=missing, header=header)
    triples = fitted_triples(result, table, "to_arviz", **reading)
    clamped = result.clamped and "gold" in result.record.get("columns", {})
    if clamped and gold is None:
        raise InputError("gold: none given, and the fit used some, which fixes the truth of its instances; give it: "
                         "result.to_arviz(table, gold=...)")  # fmt: skip
    if gold is not None and not clamped:
        why = "whose labelers are judged by labels alone" if not result.clamped else "which was fitted without"
        raise InputError(f"gold: given with a fit {why}; leave it out")
    truth = io.truth_of(triples, tables["gold"]) if result.clamped else None
    labels = triples.labels(repeats=result.record["repeats"], gold=truth)
    labels = heard_again(labels, np.arange(labels.n_labelers), result.record)
    refuse_others(labels, result.tables["labelers"], "draws")
    rows = {}
    for side, scaling in result.scaling.items() if not result.clamped else ():
        ids = io.ids(result.index, side)
        rows[side] = io.read_new_features(tables[f"{side}_features"], side, ids, scaling)
    if result.clamped and any(given is not None for given in sides.values()):
        raise InputError("features: given with a fit that has them; leave them out")
    return posterior.tree(result.drawn(Asked(labels, Features(**rows), n, seed)), result.index, labels)
