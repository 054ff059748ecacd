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
from crowdjax.result import Tally, agreement_of, by_class, counted

if TYPE_CHECKING:
    from crowdjax import factor
    from crowdjax import report as reports
    from crowdjax.facade.arviz import Asked
    from crowdjax.factor.observed import Observed
    from crowdjax.posterior import Drawn


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

    def drawn(self, asked: Asked) -> Drawn:
        """Return Laplace's draws of the weights, or the mode where instances have weights of their own."""
        import jax

        from crowdjax import laplace, posterior

        model, weights = self.model, self.on_device().weights
        if model.labeler.fixed and model.bias is None:  # majority learns nothing of labelers: their labels are counted
            return posterior.of_confusion(self._counted(asked, float(model.factors(weights).alpha[0, 0])))
        own = model.instance.identity and not model.instance.fixed
        found = None
        if not own:
            labels = asked.given("Laplace's approximation is made from the labels")
            found = laplace.gaussian(_log_density, weights, labels, model)
        if found is None:
            draws, method = jax.tree.map(lambda v: v[None, None], weights), "mode"
            about = posterior.AT_MODE if own else posterior.NO_MAXIMUM
        else:
            drawn = found.draws(np.random.default_rng(asked.seed), asked.draws)
            draws = jax.tree.map(lambda v: v[None], laplace.unravelled(weights, drawn))
            method, about = "laplace", posterior.BY_HESSIAN
        return posterior.of_weights(draws, model, asked.labels, method=method, about=about)

    def _counted(self, asked: Asked, skill: float) -> np.ndarray:
        """Draw confusions [S, W, 2, 2] from their Dirichlets: the counts of labels by the inferred class, and one more
        of each class, right with the chance σ(skill) of everybody."""
        if self.tally is None:
            labels = asked.given("the labels are counted")
            counts = agreement_of(labels, np.asarray(self.fit.posterior))
        else:
            counts = self.tally.agreement
        right = 1 / (1 + np.exp(-skill))
        a = counts + np.where(np.eye(2), right, 1 - right)
        drawn = np.random.default_rng(asked.seed).standard_gamma(a, (asked.draws, *a.shape))
        return drawn / drawn.sum(-1, keepdims=True)

    def observed(self, part, drawn, replicates) -> tuple[Observed, factor.Weights]:
        """Build the observation model of two classes with the fitted weights, for checks."""
        from crowdjax.factor.observed import Observed

        return Observed(self.model), self.on_device().weights


def _log_density(weights: factor.Weights, labels: Labels, model: factor.FactorModel):
    """Return the log posterior of the weights."""
    from crowdjax import factor

    return factor.log_posterior(labels, model, weights)


def about(found: factor.Fit) -> list[str]:
    """Report how a fit ended, and whether classes were switched."""
    out = about_end(found)
    if bool(found.switched):
        out.append("The first solution had classes switched; the corrected one explains the labels better and is kept.")
    return out
