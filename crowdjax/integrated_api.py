"""The facade of the integrated model: ``crowdjax.fit(table, model="integrated")`` and ``model="auto"``.

It chooses (``integrated.plan``), fits, places the decision boundary, and puts the instances, the labelers with their
intervals and the facts of the boundary into tables and a record.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from jaxtyping import Float

from crowdjax import drive, integrated, io, outliers, parallel, posterior, saving
from crowdjax.cautions import (
    about_chance,
    about_classes,
    about_contradiction,
    about_gold,
    about_labels,
    about_prior,
    about_support,
    support,
)
from crowdjax.columns import listed
from crowdjax.facade.copies import Copies, heard
from crowdjax.facade.fit import read_features, taken
from crowdjax.facade.fitted import Fitted, New, read_fit
from crowdjax.facade.outcome import about_end, record_of, refuse_failed, refuse_infinite, tables_of
from crowdjax.factor.presets import PRESETS
from crowdjax.integrated import (
    Boundary,
    Calibration,
    Choice,
    Features,
    IntegratedConfig,
    Posterior,
)
from crowdjax.integrated.turned import turned_parameters
from crowdjax.labelers import of_two
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats
from crowdjax.result import Tally, by_class, counted, gold_record, kept, labels_of_labelers, tally
from crowdjax.roles import Opened
from crowdjax.settings import one_of
from crowdjax.tables import Kind, as_arrow

if TYPE_CHECKING:
    from crowdjax import report as reports
    from crowdjax.facade.arviz import Asked

MODELS = ("integrated", "auto")
DEPENDENT = 0.05  # share of instances whose class depends on the boundary, from which it is worth a sentence
JOINT = {
    name: {"joint": f"draws of one number are {said}", "chains": posterior.ONE_CHAIN}
    for name, said in {
        "axis": "of one unit of the axis, given which labelers are independent",
        "laplace": "independent: each labeler's are of his own posterior",
        "exact": "of one sweep, for all labelers",
    }.items()
}
ELSEWHERE = (
    "Most labelers may be wrong there in the same way, or the decision boundary lies elsewhere; compare with model "
    "'majority', or give gold labels."
)


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class IntegratedAggregation(Fitted):
    """The result of a fit of the integrated model to two classes: estimates for instances and labelers, and the fit.

    Attributes:
        instances: table with columns instance, label, confidence, probability and ``depends``: whether the label would
            change with the decision boundary at 0, halfway between the clusters of instances.
        labelers: table of labelers, as for every model (``crowdjax.result.labeler_table``), over the population of
            instances.
        fit, config, boundary: objects of ``crowdjax.integrated``.
        average: the fits and boundaries over which the probabilities of instances are averaged.
        calibration: the calibration of the other instances' probabilities by gold; None without gold.
        tally: counts of the labels; None in a loaded result.
        position: posterior mean of each instance's position on the model's axis; None in a loaded result.

    Example:
        >>> import numpy as np, crowdjax
        >>> rng = np.random.default_rng(0)
        >>> table = {"labeler": np.tile(np.arange(8), 30), "instance": np.repeat(np.arange(30), 8)}
        >>> table["label"] = (np.repeat(rng.integers(0, 2, 30), 8) ^ (rng.random(240) < 0.2)).astype(int)
        >>> result = crowdjax.fit(table, "auto")
        >>> result.record["boundary"]["choice"], "expert" in np.asarray(result.labelers["kind"])
        ('gap', False)
    """

    config: IntegratedConfig
    boundary: Boundary
    average: integrated.Average
    calibration: Calibration | None
    tally: Tally | None = None
    position: Float[np.ndarray, " I"] | None = None

    schooled = True
    clamped = False
    _unseen = "average"

    def page(self) -> reports.Page:
        """Build the HTML report on the fit, its labelers and its instances (docs/reports.md)."""
        from crowdjax import report as reports

        return reports.of_fit(
            self.record,
            self.tables["instances"],
            self.tables["labelers"],
            counted(self.tally),
            np.asarray(self.fit.history),
            positions=self.position,
        )

    def arrays(self):
        """Collect the arrays of ``fit.npz``."""
        members = tuple((m.parameters, m.boundary) for m in self.average.members)
        return self.fit, self.boundary, self.calibration, *((members,) if self.record.get("average") else ())

    def answers_of(self, labels: Labels, known, features) -> New:
        """Infer the instances of other labels."""
        rows = Features(**features)
        members = tuple(m._replace(parameters=parameters_for(m.parameters, known, rows)) for m in self.average.members)
        padded, room = integrated.with_room(labels)
        average = room.average(self.average._replace(members=members))
        found = room.instances_of(integrated.of_average(padded, average, room.features(rows, padded), self.calibration))
        return New(by_class(found.probability), columns={"depends": np.asarray(found.depends)})

    def drawn(self, asked: Asked) -> posterior.Drawn:
        """Return the draws behind the labelers' intervals, picked so that all weigh the same."""
        method, features = self.record["posterior"]["method"], asked.features
        config, labels = self.config, asked.labels
        if method == "laplace":
            draws, unit = integrated.laplace_draws(self.fit), None
        else:
            labels = asked.given(f"the draws of posterior={method!r} are made from the labels")
            draws, _ = integrated.labeler_draws(labels, self.fit, config, features, method)
            unit = 1 if method == "exact" else integrated.axis.rows_of_unit(config, len(draws.spread))
        return posterior.of_labelers(
            draws, self.fit, config, self.boundary, features, labels, n=asked.draws,
            unit=unit or len(draws.spread), seed=asked.seed, method=method, about=JOINT[method],
        )  # fmt: skip

    def looked(self, key, labels: Labels, drawn, features, replicates: int) -> integrated.Checks:
        """Run posterior predictive checks of the fit on its labels, and find labelers who err together."""
        parameters = jax.tree.map(np.asarray, self.fit.parameters)
        return integrated.check(key, labels, parameters, self.config, Features(instance=features), replicates)


def fit(
    triples: io.Triples,
    model: Literal["integrated", "auto"],
    given: Mapping[str, Opened | None],
    *,
    factors: int = 1,
    class_prior: float | Literal["learn"] | None = None,
    boundary: Choice | None = None,
    posterior: Posterior | None = None,
    repeats: Repeats = "count",
    copies: Copies = "warn",
    start: IntegratedAggregation | None = None,
    devices: int | None = None,
    progress: drive.Progress | None = None,
    kind: Kind = as_arrow,
) -> IntegratedAggregation:
    """Fit the integrated model to labels that were read; settings as in ``crowdjax.fit``.

    Args:
        triples: the labels, as ``io.read_triples`` read them.
        given: the tables gold, scores, labeler_features and instance_features, as ``io.open_tables`` opened them.
        kind: kind of dataframe for the result's tables.
    """
    started = time.perf_counter()
    index = triples.index
    truth = io.truth_of(triples, given["gold"])
    labels, record_of_copies, of_copies = heard(triples.labels(repeats=repeats, gold=truth), triples, copies)
    plan = integrated.plan(labels, class_prior)
    if model == "integrated":
        config = IntegratedConfig(class_prior=0.5 if class_prior is None else class_prior, factors=factors)
        plan = integrated.Plan(config, "able", ())
    config, scores = plan.config, None
    if given["scores"] is not None:
        scores = _read_score(given["scores"], io.ids(index, "instance"))
    choice = integrated.choose(labels, plan, boundary, scores)
    rows, scaling, remarks = taken(read_features(index, given), unused(config))
    features = Features(**rows)
    if scores is not None:  # only their ranks are used
        remarks += outliers.about_columns("scores", ["score"], scores[:, None], codes_only=True)
    mapping = io.mapping(triples, given)
    if scores is not None and choice != "score":
        remarks.append("The scores were left out: the model has nothing between the classes for them to place.")
    begin = None if start is None else continued(start, model, config, index, features, scaling)

    fitted: list[integrated.IntegratedFit] = []

    def fit_there(labels, config, **given) -> integrated.IntegratedFit:
        fitted.append(parallel.fit_integrated(labels, config, devices=devices, progress=progress, **given))
        if len(fitted) == 1:
            refuse_failed(fitted[0])
        return fitted[-1]

    said = integrated.answer(
        labels, plan, boundary, features=features, scores=scores, begin=begin, fit=fit_there, posterior=posterior,
        room=parallel.n_devices(np.count_nonzero(labels.real), devices) == 1,
    )  # fmt: skip
    found, config, choice = said.fit, said.plan.config, said.plan.boundary
    placed, calibration, answers, share = said.boundary, said.calibration, said.instances, said.positives
    warnings = [*remarks, *plan.reasons, *about_labels(labels, triples, repeats), *of_copies, *about_end(found)]
    depends = float(np.asarray(answers.depends).mean())
    if config.factors == 2:
        warnings.append(
            "Labels hardly say which of two factors is the class; it is assumed to be what labelers respond to on "
            "average. Compare with one factor."
        )
    if depends >= DEPENDENT:
        warnings.append(
            f"The label of {depends:.0%} of the instances would change under another plausible decision boundary "
            f"({choice}), which labels alone do not identify; gold labels do."
        )
    probabilities, counts = by_class(answers.probability), tally(labels, answers.probability)
    warnings += about_chance(labels, truth)
    warnings += about_classes(probabilities, labels_of_labelers(labels), index.classes)
    advice = about_prior(plan.config.class_prior) if config.spread == 0 else ELSEWHERE
    warnings += about_support(support(counts.votes, probabilities, truth), index.classes, advice)
    placing = any(member.config.spread != 0 for member in said.average.members)
    warnings += about_gold(truth, index.classes, placing, choice == "gold")
    warnings += about_contradiction(truth, labels, index.classes)
    parameters = found.parameters
    n_labels = found.counts if labels.weight is not None else np.rint(found.counts).astype(np.int64)
    about = [tuple(np.asarray(end, np.float64) for end in interval) for interval in said.labelers[:4]]
    refuse_infinite([end for interval in about for end in interval])
    sensitivity, specificity, informedness, accuracy = about
    summary = of_two(accuracy, sensitivity, specificity, informedness, said.labelers.kind)
    tables = tables_of(index, n_labels, probabilities, summary, gold_record(labels))
    tables["instances"] = tables["instances"].append_column("depends", pa.array(np.asarray(answers.depends)))
    record = record_of(
        model,
        found,
        labels,
        index,
        n_factors=config.factors,
        class_prior=config.class_prior if _about_average(said.average) is None else "averaged",
        repeats=repeats,
        copies=record_of_copies,
        columns=mapping,
        seed=None,
        boundary={
            "choice": choice,
            "center": float(placed.center),
            "sd": float(np.sqrt(placed.mass @ (placed.points - placed.center) ** 2)),
            "share_depending": depends,
        },
        average=_about_average(said.average),
        calibration=None if calibration is None else _about_calibration(calibration),
        positives={**dict(zip(("mean", "lower", "upper"), share, strict=True)), "level": integrated.LEVEL},
        posterior=said.posterior,
        population={
            "mean": parameters.mean.tolist(),
            "covariance": parameters.covariance.tolist(),
            "spread": float(parameters.spread),
            **_weights(parameters, scaling),
        },
        config=dataclasses.asdict(config),
        features=scaling,
        warnings=warnings,
        started=started,
        devices=parallel.used(int(np.count_nonzero(labels.real)), devices),
    )
    record["n_iterations"] = sum(int(each.n_steps) for each in fitted)
    return IntegratedAggregation(
        tables, record, kind, found, index, scaling, config=config, boundary=placed,
        average=said.average, calibration=calibration, tally=counts, labels=kept(labels),
        position=np.asarray(answers.mean),
    )  # fmt: skip


def load(folder: Path, record: dict[str, Any]) -> IntegratedAggregation:
    """Load a result that ``IntegratedAggregation.save`` wrote, given its record."""
    try:
        read, config = read_fit(folder, record), IntegratedConfig(**record["config"])
        choice, average = record["boundary"]["choice"], record.get("average")
        weights = (
            [(float(m["weight"]), m["boundary"], _spread(config, m)) for m in average["members"]] if average else []
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{folder}: not a fit of crowdjax ({error!r:.100})") from None
    anyone, features = Labels.from_arrays([0], [0], [1], **read.sizes), Features(**read.blank)

    def like(labels):
        found = integrated.fit(labels, config, features=features)

        def at(choice):
            placed = integrated.place("able", found.parameters.labelers, found.counts)
            if choice in ("gold", "score"):
                return integrated.informed(placed, jnp.zeros_like(integrated.candidates(placed)))
            return placed

        calibration = integrated.calibrate(np.full(1, 0.5)) if record.get("calibration") else None
        members = tuple((found.parameters, at(choice)) for _, choice, _ in weights)
        return found, at(choice), calibration, *((members,) if average else ())

    found, boundary, calibration, *rest = saving.load_arrays(folder / "fit.npz", jax.eval_shape(like, anyone))
    kept = rest[0] if average else ((found.parameters, boundary),)
    of = zip(weights or [(1.0, choice, config)], kept, strict=True)
    members = integrated.Average(
        tuple(integrated.Member(*w, *m) for w, m in of), float(average["votes"]) if average else 0.0
    )
    return IntegratedAggregation(
        read.tables, record, as_arrow, found, read.index, read.scaling, config=config, boundary=boundary,
        average=members, calibration=calibration,
    )  # fmt: skip


def parameters_for(parameters: integrated.Parameters, known, features: Features) -> integrated.Parameters:
    """Rearrange parameters for other labelers, given the row of each in the fit; -1, an unseen labeler, gets the prior
    mean.
    """
    parameters = jax.tree.map(np.asarray, parameters)
    expected = np.asarray(integrated.labeler_means(parameters, features))
    return parameters._replace(labelers=np.where((known >= 0)[:, None], parameters.labelers[known], expected))


def continued(
    start: Any, name: str, config: IntegratedConfig, index: LabelIndex, features: Features, scaling
) -> integrated.Parameters:
    """Build initial parameters from an earlier result; labelers are matched by id."""
    if not isinstance(start, IntegratedAggregation) or start.record["model"] != name:
        raise InputError(f"start: a fit of another model; allowed: an earlier result of {name}")
    if start.index.classes != index.classes:
        raise InputError("start: a fit of other classes; allowed: an earlier result with the same classes")
    names = [{side: s.names for side, s in of.items()} for of in (start.scaling, scaling)]
    like = dataclasses.replace(start.config, spread=config.spread) if start.record.get("average") else start.config
    if like != config or names[0] != names[1]:
        raise InputError("start: a fit with other settings or features; allowed: an earlier result with the same")
    known = io.positions(io.ids(index, "labeler"), io.ids(start.index, "labeler"))
    parameters = start.fit.parameters
    if float(parameters.mean[0]) < 0:  # gold turned that fit; labels alone say the mirror image
        parameters = turned_parameters(parameters)
    return parameters_for(parameters, known, features)


def unused(config: IntegratedConfig) -> dict[str, str]:
    """Explain why the model does not use features, by their side."""
    labeler = {} if config.hierarchy else {"labeler": "the labelers' population is not learned."}
    return labeler | ({} if config.spread != 0 else {"instance": "all instances are equally clear."})


def _weights(parameters, scaling) -> dict[str, dict[str, Any]]:
    """Return the weights of standardised features by name: of instances, and (of α, of γ) of labelers."""
    found = {"labeler": parameters.labeler_weights, "instance": parameters.instance_weights}
    return {f"{side}_weights": dict(zip(s.names, found[side].tolist(), strict=True)) for side, s in scaling.items()}


def _about_average(average: integrated.Average) -> dict[str, Any] | None:
    """Return the fits that the probabilities of instances average; ``None`` for a single one."""
    if len(average.members) == 1 and not average.votes:
        return None
    members = [
        {
            "weight": m.weight,
            "boundary": m.choice,
            "class_prior": float(jax.nn.sigmoid(m.parameters.prior_logit)),
            "spread": float(m.parameters.spread),
        }
        for m in average.members
    ]
    return {"members": members, "votes": average.votes}


def _spread(config: IntegratedConfig, member: dict[str, Any]) -> IntegratedConfig:
    """Return the settings of a member of an average that was saved."""
    learned = member.get("spread", 1.0) != 0
    return (
        config if learned == (config.spread != 0) else dataclasses.replace(config, spread="learn" if learned else 0.0)
    )


def _about_calibration(found: Calibration) -> dict[str, float]:
    mean = float(found.mass @ found.slopes)
    return {"slope": mean, "sd": float(jnp.sqrt(found.mass @ (found.slopes - mean) ** 2))}


def _read_score(source: Opened, instances: pa.Array) -> np.ndarray:
    """Return the score of every instance."""
    names, values = io.read_values(source, "instance", instances, kind="scores")
    if len(names) != 1:
        raise InputError(f"scores: columns {listed(names)}; allowed: one (--score-columns {names[0]})")
    if values.min() == values.max():
        raise InputError(
            f"scores: column {names[0]!r} is {values[0, 0]:g} throughout; allowed: scores that differ between instances"
        )
    return values[:, 0]


def check(name: str, boundary, class_prior, solver=None, posterior=None) -> None:
    """Reject settings that the integrated model does not support."""
    if posterior is not None:
        one_of("posterior", posterior, get_args(Posterior))
    if boundary is not None:
        one_of("boundary", boundary, get_args(Choice))
    if isinstance(class_prior, str) and class_prior == "logistic":
        raise InputError("class_prior: got 'logistic' with the integrated model; allowed: a number, learn")
    if solver is not None:
        raise InputError(f"solver: given with model {name}; allowed with the models {', '.join(PRESETS)}")
