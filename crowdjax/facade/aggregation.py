"""The result of a fit of the factor model of two classes; without JAX until it is asked for more than it holds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from crowdjax import io
from crowdjax.facade.fitted import Fitted, New
from crowdjax.facade.outcome import about_end, outcome_of, refuse_failed
from crowdjax.labels import Labels
from crowdjax.result import Tally, by_class, counted

if TYPE_CHECKING:
    from crowdjax import factor
    from crowdjax import report as reports
    from crowdjax.factor.observed import Observed


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class Aggregation(Fitted):
    """The result of a fit to two classes: estimates for instances and labelers, and the fit.

    Attributes:
        fit, model: objects of ``crowdjax.factor``.
        made: function that builds the model on first use.
        features: standardised features of labelers and of instances, where there are any.
        tally: counts of the labels; None in a loaded result.

    Example:
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
        >>> result = crowdjax.fit(labels, model="one-coin")
        >>> result.record["n_labels"], np.asarray(result.labelers["n_labels"]).tolist()
        (6, [2, 2, 2])
    """

    made: Callable[[], factor.FactorModel]
    features: dict[io.Key, np.ndarray]
    tally: Tally | None = None

    @functools.cached_property
    def model(self) -> factor.FactorModel:
        """The fitted ``FactorModel``."""
        return self.made()

    def on_device(self) -> factor.Fit:
        """Convert the fit's arrays to the float type that JAX computes with."""
        import jax

        return jax.tree.map(jax.numpy.asarray, self.fit)

    def page(self) -> reports.Page:
        """Build the HTML report on the fit, its labelers and its instances (docs/reports.md)."""
        from crowdjax import report as reports

        own = self.record["config"]["n_factors"] > 1 or self.record["config"]["instance"][1] > 0
        found = self.model.factors(self.fit.weights) if own else None
        return reports.of_fit(
            self.record,
            self.tables["instances"],
            self.tables["labelers"],
            counted(self.tally),
            np.asarray(self.fit.history),
            switched=bool(self.fit.switched),
            factors=reports.directions(found.alpha, found.beta) if own else None,
        )

    def arrays(self):
        """Collect the arrays of ``fit.npz``."""
        return self.fit, self.features

    def answers_of(self, labels: Labels, known, features) -> New:
        """Infer the instances of other labels."""
        from crowdjax import factor

        needed = {"labeler": known < 0, "instance": np.ones(labels.n_instances, bool)}  # with the model's constant
        rows = {side: None if v is None else np.c_[needed[side], v] for side, v in features.items()}
        found = factor.predict(
            labels,
            self.model,
            self.on_device(),
            known=known,
            labeler_rows=rows.get("labeler"),
            instance_rows=rows.get("instance"),
            solver=factor.Solver(**self.record["solver"]),
        )
        refuse_failed(found)
        return New(by_class(found.posterior), outcome_of(found), about(found))

    def observed(self, part, drawn, replicates) -> tuple[Observed, factor.Weights]:
        """Build the observation model of two classes with the fitted weights, for checks."""
        from crowdjax.factor.observed import Observed

        return Observed(self.model), self.on_device().weights


def about(found: factor.Fit) -> list[str]:
    """Report how a fit ended, and whether classes were switched."""
    out = about_end(found)
    if bool(found.switched):
        out.append("The first solution had classes switched; the corrected one explains the labels better and is kept.")
    return out
