"""The result of a fit of any registered model: tables in the user's values, and methods on them; JAX is imported only
when needed.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crowdjax import io, saving
from crowdjax.facade.fitted import Fitted, New, itself, read_fit
from crowdjax.fits import ObservationFit
from crowdjax.labels import InputError, LabelIndex, Labels
from crowdjax.result import MOST_CLASSES, Tally, shown
from crowdjax.tables import as_arrow

if TYPE_CHECKING:
    from crowdjax import report as reports
    from crowdjax.facade.arviz import Asked
    from crowdjax.facade.many import SparseTally
    from crowdjax.observation import Observation
    from crowdjax.observation.contract import Params
    from crowdjax.posterior import Drawn


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class Result(Fitted):
    """The result of a fit of a registered model: estimates for instances and labelers, confusion matrices, and the fit.

    Attributes:
        fit, model: objects of ``crowdjax.observation``.
        made: function that builds the model on first use.
        held: arrays that belong to the model itself.
        tally: counts of the labels; None in a loaded result.

    Example:
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": list("xxyzzz")}
        >>> result = crowdjax.fit(labels, model="one-coin")
        >>> result.instances["label"].tolist(), result.confusion["truth"].tolist()[:4]
        (['x', 'z'], ['x', 'x', 'x', 'y'])
    """

    made: Callable[[], Observation]
    held: Any = None
    tally: Tally | SparseTally | None = None

    @functools.cached_property
    def model(self) -> Observation:
        """The fitted observation model."""
        return self.made()

    @property
    def confusion(self):
        """The labelers' confusion matrices as a table of the kind that the labels came in.

        Raises:
            InputError: majority or one-coin with more than 50 classes, whose confusion follows from the labeler's
                accuracy.
        """
        if "confusion" not in self.tables:
            raise InputError(
                f"confusion: not made by {self.record['model']} with more than {MOST_CLASSES} classes; a label is "
                "right with the labeler's accuracy, and errors fall on all other classes equally"
            )
        return self._confusion

    _confusion = shown("confusion")

    def page(self) -> reports.Page:
        """Build the HTML report on the fit, its labelers, their confusion matrices and its instances
        (docs/reports.md).
        """
        from crowdjax import report as reports

        if isinstance(self.tally, Tally):
            found = self.tally
        else:
            from crowdjax.facade import many

            found = many.whole(self.tally)
        return reports.of_classes(self.record, self.tables, found, np.asarray(self.fit.history))

    def arrays(self):
        """Collect the arrays of ``fit.npz``."""
        return self.fit, self.held

    def answers_of(self, labels: Labels, known, features) -> New:
        """Infer the instances of other labels."""
        from crowdjax.observation import Voted
        from crowdjax.observation.contract import answers
        from crowdjax.observation.factors import predict as predict_factors
        from crowdjax.observation.room import predict_new
        from crowdjax.observation.unseen import rows_of_labelers
        from crowdjax.observation.voted import answer_voted

        features = dict(features)
        if "labeler" in features:  # those of the fit keep what they had in it
            new = 0 if features["labeler"] is None else features["labeler"]
            features["labeler"] = np.where((known < 0)[:, None], new, np.asarray(self.model.labeler_features)[known])
        by_hand = self.record["settings"] is None and not hasattr(self.model, "own_specs")
        model = self.model if by_hand else made_again(self.record, labels, features)
        if isinstance(model, Voted):
            found = answer_voted(labels, model, rows_of_labelers(model, self.fit.params, known))
            return New((np.asarray(found.classes), np.asarray(found.p)))
        found = (predict_factors if hasattr(model, "factors") else predict_new)(labels, model, self.fit.params, known)
        return New(answers(model, labels, found.posterior))

    def observed(self, part: Labels, drawn, replicates: int) -> tuple[Observation, Params]:
        """Select the model that describes labelers, with its parameters."""
        from crowdjax.facade import many
        from crowdjax.observation.contract import leading

        many.refuse(self.record["model"], self.model, "checks")
        model, fit = leading(self.model, self.fit)
        return model, fit.params

    def drawn(self, asked: Asked) -> Drawn:
        """Return draws of the labelers' confusions; of factors that are integrated out of all their parameters."""
        import jax

        from crowdjax import laplace, posterior
        from crowdjax.facade import many
        from crowdjax.observation.contract import leading
        from crowdjax.observation.integrated_factors import IntegratedFactor
        from crowdjax.observation.summaries import confusion_draws

        many.refuse(self.record["model"], self.model, "to_arviz")
        model, fit = leading(self.model, self.fit)
        params = jax.tree.map(jax.numpy.asarray, fit.params)
        if hasattr(model, "factors"):
            one = jax.tree.map(lambda v: np.asarray(v)[None, None], model.factors(params)._asdict())
            draws = {"ability": one["alpha"], "instance_factor": one["beta"]}
            draws |= {} if one["gamma"] is None else {"bias": one["gamma"]}
            dims = posterior.DIMS_OF_LABELERS | {"bias": ("labeler", "label")}
            return posterior.Drawn(draws, {name: dims[name] for name in draws}, "mode", about=posterior.AT_MODE)
        labels = asked.given("draws are made from the labels")
        rng = np.random.default_rng(asked.seed)
        if isinstance(model, IntegratedFactor):
            found = laplace.gaussian(_log_density, params, labels, model)
            if found is None:
                drawn, method, about = jax.tree.map(lambda v: v[None], params), "mode", posterior.NO_MAXIMUM
            else:
                drawn, method = laplace.unravelled(params, found.draws(rng, asked.draws)), "laplace"
                about = posterior.BY_HESSIAN
            drawn = jax.tree.map(lambda v: v[None], drawn)
            return posterior.of_params(drawn, model, labels, method=method, about=about)
        return posterior.of_confusion(*confusion_draws(rng, labels, model, fit, asked.draws))

    def params_for(self, index: LabelIndex) -> Params:
        """Rearrange the parameters for other labelers and instances, matched by id, to start a fit from."""
        from crowdjax.observation.unseen import rows_of_labelers

        known = {side: io.positions(io.ids(index, side), io.ids(self.index, side)) for side in ("labeler", "instance")}
        return rows_of_labelers(self.model, self.fit.params, known["labeler"], known["instance"])


def _log_density(params: Params, labels: Labels, model: Observation):
    """Return the log posterior of the parameters, up to a constant."""
    from crowdjax.observation import evidence

    parts = model.table(params), model.log_points(params), model.class_of_point(params)
    return evidence(labels, *parts) + model.log_prior(params)


def made_again(record: dict[str, Any], labels: Labels, features: dict[str, np.ndarray]) -> Observation:
    """Rebuild the model of a record, for labels that may be others."""
    from crowdjax.facade import many
    from crowdjax.facade.models import MODELS

    name = record["model"]
    if name not in MODELS:
        raise InputError(
            f"model: {name} is not in the registry; add its class: crowdjax.facade.models.MODELS.add({name!r}, ...)"
        )
    if record["settings"] is None:  # made by hand
        config = {key: _tuples(value) for key, value in record["config"].items()}
        try:
            return many.of_many(MODELS[name].model(**config), labels)  # pyright: ignore[reportOptionalCall]
        except TypeError:
            raise InputError(f"model: {name} has arrays of its own, which a record does not hold; allowed: predict by "
                             "the result of the fit, before it is saved") from None  # fmt: skip
    settings = {key: _tuples(value) for key, value in record["settings"].items() if value is not None}
    made = MODELS[name].make(labels=labels, classes=record["kind"], features=features, **settings)
    return many.of_many(made, labels)


def _tuples(value):
    """Return a setting as it was before JSON: pairs are tuples, infinite numbers are numbers."""
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return float(value) if value in ("inf", "-inf") else value


def load(folder: Path, record: dict[str, Any]) -> Result:
    """Load a result that :meth:`Result.save` wrote, given its record."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from crowdjax.observation import Voted
    from crowdjax.observation.voted import TOP

    try:
        read, steps = read_fit(folder, record), record["solver"]["max_steps"]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{folder}: not a fit of crowdjax ({error!r:.100})") from None
    classes, values = read.index.classes, read.index.values
    n_values = len(values or classes)
    sizes = dict(n_values=n_values, n_classes=len(classes), places=read.index.places, **read.sizes)
    anyone = Labels.from_arrays([0], [0], [1], **sizes)
    model = made_again(record, anyone, read.blank)

    def like():
        number, whole, k = np.zeros(()), np.zeros((), int), anyone.n_classes
        p = np.zeros((anyone.n_instances, TOP if isinstance(model, Voted) else k), jax.dtypes.canonicalize_dtype(float))
        votes, posterior = (np.zeros((1, k), p.dtype), (p.astype(np.int32), p)) if isinstance(model, Voted) else (p, p)
        return ObservationFit(model.start(anyone, votes), posterior, number, number, whole, whole, np.zeros(steps))

    shapes = jax.eval_shape(like), eqx.filter(model, eqx.is_array)
    found, arrays = saving.load_arrays(folder / "fit.npz", shapes)
    arrays = jax.tree.map(jnp.asarray, arrays)
    made = functools.partial(itself, eqx.combine(arrays, model))
    return Result(read.tables, record, as_arrow, found, read.index, read.scaling, made=made, held=arrays)
