"""The facade of the integrated model: ``crowdjax.fit(table, model="integrated")`` and ``model="auto"``.

It chooses (``integrated.plan``), fits, places the class boundary, and puts the answers, the labelers with their
intervals and the facts of the boundary into tables and a record.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import Float

from crowdjax import integrated, io, outliers, parallel, results, watch
from crowdjax import report as reports
from crowdjax.answers import (
    Prediction,
    Tally,
    about_answers,
    about_gold,
    about_labels,
    about_prior,
    about_support,
    answer_table,
    counted,
    labels_of_labelers,
    read_tables,
    support,
    tally,
)
from crowdjax.columns import Words, listed
from crowdjax.facade.fit import about_end, outcome, refuse_failed
from crowdjax.facade.fitted import Fitted
from crowdjax.factor.presets import PRESETS
from crowdjax.formats import Form
from crowdjax.integrated import (
    Boundary,
    Calibration,
    Choice,
    Features,
    IntegratedConfig,
    IntegratedFit,
)
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats
from crowdjax.roles import Columns, Opened
from crowdjax.settings import one_of
from crowdjax.tables import Kind, as_arrow, kind_of

MODELS = ("integrated", "auto")
DEPENDENT = 0.05  # share of instances whose class depends on the boundary, from which it is worth a sentence
ELSEWHERE = (
    "Most labelers may be wrong there in the same way, or the class boundary lies elsewhere; compare with model "
    "'majority', or give gold labels."
)


@dataclasses.dataclass(frozen=True, repr=False)
class IntegratedAggregation(Fitted):
    """Answers of the integrated model about instances and labelers, and the fit behind them.

    Attributes:
        instances: instance, probability, label; ``depends``: whether the label would be another with the class boundary
            at 0, halfway between the clusters of instances.
        labelers: labeler, n_labels; sensitivity, specificity and informedness (their sum less 1), each
            with NAME_lower and NAME_upper (95 %); accuracy; kind: expert, ordinary, spammer, adversary or unknown.
        fit, config, boundary: of ``crowdjax.integrated``; rows are in the order of ``index``.
        calibration: what gold says of the probabilities of the other instances; None without gold.
        index: the ids of labelers and instances.
        scaling: how features of labelers and instances were standardised, where there are any.
        tally: the labels, counted; None in a result that was loaded.
        position: where each instance is expected to lie on the model's axis; None in a result that was loaded.

    Example:
        >>> import numpy as np, crowdjax
        >>> rng = np.random.default_rng(0)
        >>> table = {"labeler": np.tile(np.arange(8), 30), "instance": np.repeat(np.arange(30), 8)}
        >>> table["label"] = (np.repeat(rng.integers(0, 2, 30), 8) ^ (rng.random(240) < 0.2)).astype(int)
        >>> result = crowdjax.fit(table, "auto")
        >>> result.record["boundary"]["choice"], "expert" in np.asarray(result.labelers["kind"])
        ('able', False)
    """

    fit: IntegratedFit
    config: IntegratedConfig
    boundary: Boundary
    calibration: Calibration | None
    index: LabelIndex
    scaling: dict[io.Key, io.Scaling]
    tally: Tally | None = None
    position: Float[np.ndarray, " I"] | None = None

    def page(self) -> reports.Page:
        """The report: a page of the fit, its labelers and its instances (docs/reports.md)."""
        return reports.of_fit(
            self.record,
            self.tables["instances"],
            self.tables["labelers"],
            counted(self.tally),
            np.asarray(self.fit.history),
            positions=self.position,
        )

    def arrays(self):
        """What ``fit.npz`` holds."""
        return self.fit, self.boundary, self.calibration

    def predict(
        self,
        table,
        *,
        labeler_features=None,
        instance_features=None,
        columns: Columns | None = None,
        form: Form | None = None,
        missing: Sequence[Any] = (),
        header: bool = True,
    ) -> Prediction:
        """The truth of new instances from their labels; labelers that the fit has not seen are taken to be average, or
        what their features say.

        Args:
            table, columns, form, missing, header: as in ``crowdjax.fit``. Words are read as the fit read its own.
            labeler_features: with a row for every labeler that the fit has not seen.
            instance_features: with a row for every instance.

        Raises:
            InputError: as in ``crowdjax.fit``; features are missing that the fit used, or given and of no use to it.
        """
        started = time.perf_counter()
        given = {"labeler": labeler_features, "instance": instance_features}
        for side, source in given.items():
            if source is not None and side not in self.scaling:
                raise InputError(f"{side} features: given, but the fit used none; leave them out")
        repeats = self.record["repeats"]
        names = {f"{side}_features": scaling.names for side, scaling in self.scaling.items()}
        said, tables = io.open_tables(
            columns, known=names, labeler_features=labeler_features, instance_features=instance_features
        )
        settings = dict(form=form, missing=missing, header=header, words=self.words)
        triples = io.read_triples(table, columns=said, **settings)
        if triples.anonymous:
            raise InputError("labels: counts, whose labelers nobody knows; allowed: labels of known labelers")
        labels = triples.labels(repeats=repeats)
        known = io.positions(io.ids(triples.index, "labeler"), io.ids(self.index, "labeler"))
        parameters = jax.tree.map(np.asarray, self.fit.parameters)
        needed = {"labeler": known < 0, "instance": np.ones(labels.n_instances, bool)}
        rows = {
            side: io.read_new_features(
                tables[f"{side}_features"], side, io.ids(triples.index, side), scaling, needed[side]
            )
            for side, scaling in self.scaling.items()
        }
        features = Features(**rows)
        mapping = io.mapping(triples, tables)
        expected = np.asarray(integrated.labeler_means(parameters, features))
        labelers = np.where((known >= 0)[:, None], parameters.labelers[known], expected)
        parameters = parameters._replace(labelers=labelers)
        found = integrated.of_instances(labels, parameters, self.config, self.boundary, features, self.calibration)
        warnings = about_labels(labels, triples, repeats)
        warnings += about_answers(found.probability, labels_of_labelers(labels)[known < 0], self.words)
        if (known < 0).any() and "labeler" not in self.scaling:
            warnings.append(
                f"{(known < 0).sum()} of {len(known)} labelers are not in the fit; they are taken to be average."
            )
        record = {
            "model": self.record["model"],
            **_sizes(labels),
            "seconds": time.perf_counter() - started,
            "n_unseen_labelers": int((known < 0).sum()),
            "repeats": repeats,
            "words": self.words,
            "columns": mapping,
            "warnings": warnings,
        }
        answers = {"instances": _instances(triples.index, found, self.words)}
        return Prediction(answers, record, kind_of(table, triples.roles))


def fit(
    triples: io.Triples,
    model: Literal["integrated", "auto"],
    given: Mapping[str, Opened | None],
    *,
    factors: int = 1,
    class_prior: float | Literal["learn"] = 0.5,
    boundary: Choice | None = None,
    repeats: Repeats = "count",
    devices: int | None = None,
    progress: watch.Progress | None = None,
    kind: Kind = as_arrow,
) -> IntegratedAggregation:
    """Fits; settings are those of ``crowdjax.fit``.

    Args:
        triples: the labels, as ``io.read_triples`` read them.
        given: the tables gold, scores, labeler_features and instance_features, as ``io.open_tables`` opened them.
        kind: of the tables to show.
    """
    started = time.perf_counter()
    index = triples.index
    truth = io.truth_of(triples, given["gold"])
    labels = triples.labels(repeats=repeats, gold=truth)
    plan = integrated.plan(labels, class_prior)
    if model == "integrated":
        plan = integrated.Plan(IntegratedConfig(class_prior=class_prior, factors=factors), "able", ())
    config, scores = plan.config, None
    if given["scores"] is not None:
        scores = _read_score(given["scores"], io.ids(index, "instance"))
    choice = integrated.choose(labels, plan, boundary, scores)
    features, scaling, remarks = _features(config, index, given)
    if scores is not None:  # only their ranks are used
        remarks += outliers.about_columns("scores", ["score"], scores[:, None], codes_only=True)
    mapping = io.mapping(triples, given)
    if scores is not None and choice != "score":
        remarks.append("The scores were left out: the model has nothing between the classes for them to place.")
    blind = dataclasses.replace(labels, gold=None)
    found = parallel.fit_integrated(blind, config, features=features, devices=devices, progress=progress)
    refuse_failed(found)
    said = integrated.answer(labels, plan, boundary, features=features, scores=scores, fit=found)
    placed, calibration, answers, share = said.boundary, said.calibration, said.instances, said.positives
    warnings = [*remarks, *plan.reasons, *about_labels(labels, triples, repeats), *about_end(found)]
    depends = float(np.asarray(answers.depends).mean())
    if config.factors == 2:
        warnings.append(
            "Labels hardly say which of two factors is the class; it is taken to be what labelers answer to on "
            "average. Compare with one factor."
        )
    if depends >= DEPENDENT:
        warnings.append(
            f"The label of {depends:.0%} of the instances depends on where the classes are taken to meet (boundary: "
            f"{choice}), which labels alone do not say; gold labels would."
        )
    counts, position = tally(labels, answers.probability), np.asarray(answers.mean)
    warnings += about_answers(answers.probability, labels_of_labelers(labels), triples.words)
    advice = about_prior(class_prior) if config.spread == 0 else ELSEWHERE
    warnings += about_support(support(counts.votes, answers.probability, truth), triples.words, advice)
    warnings += about_gold(truth, triples.words, config.spread != 0)
    parameters = found.parameters
    record = {
        "model": model,
        **outcome(found, labels),
        "seconds": 0.0,
        "n_factors": config.factors,
        "class_prior": class_prior,
        "repeats": repeats,
        "words": triples.words,
        "columns": mapping,
        "level": integrated.LEVEL,
        "boundary": {
            "choice": choice,
            "center": float(placed.center),
            "sd": float(np.sqrt(placed.mass @ (placed.points - placed.center) ** 2)),
            "share_depending": depends,
        },
        "calibration": None if calibration is None else _about_calibration(calibration),
        "positives": {**dict(zip(("mean", "lower", "upper"), share, strict=True)), "level": integrated.LEVEL},
        "population": {
            "mean": parameters.mean.tolist(),
            "covariance": parameters.covariance.tolist(),
            "spread": float(parameters.spread),
            **_weights(parameters, scaling),
        },
        "config": dataclasses.asdict(config),
        "features": {side: dataclasses.asdict(s) for side, s in scaling.items()},
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        "warnings": warnings,
    }
    labelers = _labelers(index, labels, found, share.mean, said.labelers)
    tables = {"instances": _instances(index, answers, triples.words), "labelers": labelers}
    record["seconds"] = time.perf_counter() - started
    return IntegratedAggregation(
        tables, record, kind, found, config, placed, calibration, index, scaling, counts, position
    )


def load(folder: Path, record: dict[str, Any]) -> IntegratedAggregation:
    """The result that ``IntegratedAggregation.save`` wrote, its record being read."""
    try:
        tables = read_tables(folder, "instances", "labelers")
        config = IntegratedConfig(**record["config"])
        choice = record["boundary"]["choice"]
        scaling = {k: io.Scaling(*map(tuple, (v["names"], v["mean"], v["sd"]))) for k, v in record["features"].items()}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{folder}: not a fit of crowdjax ({error!r:.100})") from None
    index = io.index_of(tables["labelers"], tables["instances"])
    anyone = Labels.from_arrays([0], [0], [1], n_labelers=len(index.labelers), n_instances=len(index.instances))

    sizes = {"labeler": len(index.labelers), "instance": len(index.instances)}
    features = Features(**{side: np.zeros((sizes[side], len(s.names))) for side, s in scaling.items()})

    def like(labels):
        found = integrated.fit(labels, config, features=features)
        placed = integrated.place("able", found.parameters.labelers, found.counts)
        if choice in ("gold", "score"):
            placed = integrated.informed(placed, jnp.zeros_like(integrated.candidates(placed)))
        return found, placed, integrated.calibrate(jnp.full(1, 0.5)) if record.get("calibration") else None

    found, boundary, calibration = results.load_arrays(folder / "fit.npz", jax.eval_shape(like, anyone))
    return IntegratedAggregation(tables, record, as_arrow, found, config, boundary, calibration, index, scaling)


def _features(config: IntegratedConfig, index: LabelIndex, given: Mapping[str, Opened | None]):
    """(standardised features, their scaling, what to say of them); those that the model cannot use are left out."""
    use = {
        "labeler": (config.hierarchy, "the labelers' population is not learned."),
        "instance": (config.spread != 0, "all instances are equally clear."),
    }
    rows, scaling, remarks = {}, {}, []
    for side, (useful, reason) in use.items():
        source = given[f"{side}_features"]
        if source is None:
            continue
        values, scale, constant = io.read_features(source, side, io.ids(index, side))
        if not useful:
            remarks.append(f"The {side} features were left out: {reason}")
            continue
        rows[side], scaling[side] = values, scale
        remarks += outliers.about_columns(f"{side} features", scale.names, scale.undo(values))
        if constant:
            remarks.append(f"Constant {side} features were left out: {listed(constant)}.")
    return Features(**rows), scaling, remarks


def _weights(parameters, scaling) -> dict[str, dict[str, Any]]:
    """The weights of standardised features by name: of instances, and (of α, of γ) of labelers."""
    found = {"labeler": parameters.labeler_weights, "instance": parameters.instance_weights}
    return {f"{side}_weights": dict(zip(s.names, found[side].tolist(), strict=True)) for side, s in scaling.items()}


def _about_calibration(found: Calibration) -> dict[str, float]:
    mean = float(found.mass @ found.slopes)
    return {"slope": mean, "sd": float(jnp.sqrt(found.mass @ (found.slopes - mean) ** 2))}


def _read_score(source: Opened, instances: pa.Array) -> np.ndarray:
    """The score of every instance."""
    names, values = io.read_values(source, "instance", instances, kind="scores")
    if len(names) != 1:
        raise InputError(f"scores: columns {listed(names)}; allowed: one (--score-columns {names[0]})")
    if values.min() == values.max():
        raise InputError(
            f"scores: column {names[0]!r} is {values[0, 0]:g} throughout; allowed: scores that differ between instances"
        )
    return values[:, 0]


def check(name: str, boundary, class_prior, solver=None, start=None) -> None:
    """Refuses settings that the integrated model does not know."""
    if boundary is not None:
        one_of("boundary", boundary, get_args(Choice))
    if isinstance(class_prior, str) and class_prior == "logistic":
        raise InputError("class_prior: got 'logistic' with the integrated model; allowed: a number, learn")
    for setting, value in {"solver": solver, "start": start}.items():
        if value is not None:
            raise InputError(f"{setting}: given with model {name}; allowed with the models {', '.join(PRESETS)}")


def _sizes(labels: Labels) -> dict[str, int]:
    n_labels = int((labels.counts > 0).sum())
    return {"n_labels": n_labels, "n_labelers": labels.n_labelers, "n_instances": labels.n_instances}


def _instances(index: LabelIndex, found: integrated.InstanceAnswers, words: Words | None) -> pa.Table:
    table = answer_table(io.ids(index, "instance"), found.probability, words)
    return table.append_column("depends", pa.array(np.asarray(found.depends)))


def _labelers(index: LabelIndex, labels: Labels, found, positives: float, answers) -> pa.Table:
    """Labelers with intervals; accuracy weighs both chances by the share of positives."""
    n_labels = found.counts if labels.weight is not None else np.rint(found.counts).astype(np.int64)
    columns: dict[str, Any] = {"n_labels": n_labels}
    for name, interval in answers._asdict().items():
        ends = dict(zip((name, f"{name}_lower", f"{name}_upper"), interval, strict=True))
        columns |= {k: np.asarray(v, np.float64) for k, v in ends.items()}
    columns["accuracy"] = positives * columns["sensitivity"] + (1 - positives) * columns["specificity"]
    columns["kind"] = integrated.kinds(answers.informedness)
    return pa.table({"labeler": io.ids(index, "labeler"), **columns})
