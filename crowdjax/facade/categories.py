"""A contextual fit of K exclusive classes, from table to table: class shares, curves, the crowd's confusion.

``crowdjax.context`` comes here where labels say more than two classes. The share of every class is estimated by the
model, under the weaker constraint beside it, and, where gold was drawn by known chances, by gold and by gold and the
model's predictions (``contextual.assisted``, one class against the others).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
from jaxtyping import Float

from crowdjax import io, outliers, plots, saving
from crowdjax import report as reports
from crowdjax.cautions import about_chance, about_contradiction, about_gold, about_labels
from crowdjax.classes import column_of_values
from crowdjax.columns import show
from crowdjax.contextual import assisted
from crowdjax.contextual.categories import MOST_CLASSES, CategoricalConfig
from crowdjax.contextual.categories_answers import (
    Shares,
    class_probabilities,
    confusions,
    curves_of_classes,
    shares,
    with_labelers,
)
from crowdjax.contextual.categories_fit import CategoricalFit, fit_categories
from crowdjax.contextual.context import RANK_KNOTS, Scale
from crowdjax.contextual.functions import GP
from crowdjax.facade import by_gold
from crowdjax.facade.design import about_several
from crowdjax.facade.fitted import Fitted, New
from crowdjax.facade.prevalence import ALONE, ASSISTED, REACH, WEAKER, trust_of_gold
from crowdjax.integrated import LEVEL
from crowdjax.labels import InputError, LabelIndex, Labels
from crowdjax.report.amounts import interval
from crowdjax.result import (
    Tally,
    class_table,
    confusion_table,
    gold_columns,
    gold_record,
    kept,
    read_tables,
    shown,
    tally,
    votes_of,
)
from crowdjax.tables import Kind, as_arrow

GRID = 101  # scores at which the curves are given
WIDE = 2.0  # deviation of the leanings' levels under the weaker constraint
MODEL, ITEMS, VOTES = "model", "item posteriors", "vote share"
MOST_UNKNOWN = 1500  # of labelers: the posterior works with a dense Hessian
SHOWN = 4  # classes in the headline


class Given(NamedTuple):
    """The tables of a fit, as read."""

    labels: Labels
    index: LabelIndex
    names: Sequence[str]
    scores: Float[np.ndarray, "I C"]
    population: tuple[Float[np.ndarray, "K C"], Float[np.ndarray, " K"]] | None
    weights: Float[np.ndarray, " I"] | None
    gold: Float[np.ndarray, " I"] | None
    chances: Float[np.ndarray, " I"] | None
    importance: Float[np.ndarray, " I"] | None


@dataclasses.dataclass(frozen=True, repr=False)
class CategoricalResult(Fitted):
    """The result of a contextual fit to K exclusive classes: estimates for instances, labelers and class shares, with
    95 % intervals.

    Attributes:
        instances: table: instance, score, label, confidence, and p_CLASS of each class.
        prevalence_of_classes: table of all estimates of the class shares: class, method, mean, lower, upper, what; the
            one to report comes first.
        curves: table: class, score, mean, lower, upper: the share of each class as a function of the (first) score.
        confusion: table of the crowd's confusion matrix: labeler (null), truth, label, probability, lower, upper.
        labelers: table: labeler, n_labels, accuracy, lower, upper; recall_CLASS, lower_CLASS and upper_CLASS of each
            class; with gold gold_labels and gold_accuracy.
        prevalence: the content of ``prevalence.json``: the headline, the shares, whether both constraints agree.
        fit: the fit of ``crowdjax.contextual.categories_fit``.
        scores, population, gold, weights: as given to the fit.
        tally: counts of the labels.

    Example:
        >>> import crowdjax
        >>> rng = np.random.default_rng(0)
        >>> truth, who = rng.integers(0, 3, 60), np.tile(["ann", "bob", "cat"], 60)
        >>> answers = np.where(rng.random(180) < 0.8, np.repeat(truth, 3), rng.integers(0, 3, 180))
        >>> labels = {"labeler": who, "instance": np.repeat(np.arange(60), 3), "label": np.array(list("abc"))[answers]}
        >>> scores = {"instance": np.arange(60), "score": rng.random(60)}
        >>> simple = dict(prevalence="linear", accuracy="constant", labelers="global", constraint="ordered")
        >>> result = crowdjax.context(labels, scores, inference="laplace", **simple)
        >>> shares = result.prevalence["classes"]
        >>> sorted(shares), round(sum(share["mean"] for share in shares.values()), 3)
        (['a', 'b', 'c'], 1.0)
    """

    prevalence: dict[str, Any]
    scores: Float[np.ndarray, "I C"]
    tally: Tally

    prevalence_of_classes, curves = shown("prevalence"), shown("curves")

    @property
    def headlines(self) -> Sequence[str]:
        """The class shares in a sentence."""
        return [f"shares: {self.prevalence['headline']}"]

    def _facts(self) -> dict[str, str]:
        return {"shares": self.prevalence["headline"]}

    def page(self) -> reports.Page:
        """Build the HTML report on class shares, curves, inferred classes and labelers (docs/reports.md)."""
        return reports.of_categories(self.record, self.tables, self.prevalence, self.tally, self.figures())

    def figures(self) -> dict[str, plots.Figure]:
        """Draw the figures: class shares with their intervals, and the most frequent classes' curves over the score."""
        rows, classes = self.tables["prevalence"].to_pylist(), list(map(str, self.record["classes"]))
        first = {str(row["class"]): row for row in rows if row["method"] == self.prevalence["method"]}
        ends = {n: tuple(np.nan if first[n][e] is None else first[n][e] for e in ("mean", "lower", "upper"))
                for n in classes}  # fmt: skip
        table = self.tables["curves"]
        x = table["score"].to_numpy().reshape(len(classes), -1)[0]
        parts = [table[end].to_numpy().reshape(len(classes), -1) for end in ("mean", "lower", "upper")]
        most = sorted(classes, key=lambda n: -ends[n][0])[:SHOWN]
        panels = {plots.short(n): tuple(p[classes.index(n)] for p in parts) for n in most}
        density = {"labelled instances": (self.scores[:, 0], np.ones(len(self.scores)))}
        return {
            "shares": plots.intervals(ends, title="Shares of the classes", xlabel=f"share, {LEVEL:.0%} interval"),
            "classes_by_score": plots.bands(x, panels, density, xlabel=self.record["scores"][0]),
        }

    def save(self, out, *, report: bool = False) -> None:
        """Save tables, ``prevalence.json``, ``fit.json``, ``fit.npz`` and the figures to a folder; the folder appears
        whole or not at all, and ``crowdjax.load`` reads it.

        Args:
            report: whether to write ``report.html`` as well (:meth:`page`).
        """
        with saving.new_result(out, self.record) as folder:
            self.write_tables(folder)
            saving.write_json(folder / "prevalence.json", self.prevalence)
            saving.save_arrays(folder / "fit.npz", self.arrays())
            (folder / "figures").mkdir()
            for name, figure in self.figures().items():
                plots.save(figure, folder / "figures" / name)
            if report:
                reports.write(self.page(), folder)

    def arrays(self) -> dict[str, Any]:
        """Collect the arrays of ``fit.npz``."""
        scale = {k: v for k in ("low", "high", "knots") if (v := getattr(self.fit.scale, k)) is not None}
        found = {"u": self.fit.u, "labels_per_labeler": self.fit.labels_per_labeler, "trace": self.fit.trace}
        return found | {"scale": scale, "scores": self.scores, **self.tally._replace(
            n_crowds=np.array(self.tally.n_crowds))._asdict()}  # fmt: skip

    def predict(self, table, scores, *, columns=None, form=None, missing=(), header=True):
        """Infer the class of new instances from their labels and scores, by the posterior of the fit.

        Args:
            table: labels, as in ``crowdjax.context``; their values are the classes of the fit. A labeler who is not in
                the fit is drawn from its crowd.
            scores: a table with one row for every instance and the score columns of the fit.

        Raises:
            InputError: as in ``crowdjax.context``, or a label is not one of the classes.
        """
        return _predicted(self, table, scores, columns, dict(form=form, missing=missing, header=header))

    def again(self, labels: Labels):
        """Infer the instances of the fit again from some of their labels, by its scores."""
        return class_probabilities(self.fit, labels, self.scores)

    def checks(self, table, **settings):
        """Raise ``InputError``: this model has no posterior predictive checks yet.

        Raises:
            InputError: always; ``crowdjax.fit`` has checks of K classes.
        """
        raise InputError(
            "checks: a contextual fit of more than two classes; allowed: two classes, or a fit of crowdjax.fit"
        )


def refuse(classes: Sequence[Any], **settings) -> None:
    """Reject, by name, settings that do not apply to more than two classes."""
    few = ", ".join(map(show, classes[:3])) + (", ..." if len(classes) > 3 else "")
    for name, given in settings.items():
        if given:
            raise InputError(
                f"{name}: given with {len(classes)} classes ({few}); allowed with two classes only; leave it out"
            )


def fitted(
    given: Given,
    config: dict[str, Any],
    *,
    scale: Scale,
    method,
    n_draws: int,
    key,
    kind: Kind,
    record: Mapping[str, Any],
    remarks: Sequence[str],
    about: io.Triples,
    progress,
    started: float,
) -> CategoricalResult:
    """Fit the contextual model of K classes to tables that were read, and build its result.

    Args:
        config: families, labelers and constraint of ``contextual.categories.CategoricalConfig``.
        record: what ``fit.json`` holds besides.
        remarks: sentences for the warnings.
        about: what was read.
    """
    labels, index = given.labels, given.index
    classes = list(index.classes)
    if index.values is not None and tuple(index.values) != tuple(index.classes):
        raise InputError("label: values that are not the classes; allowed with a score: labels that are the classes")
    if not 2 < len(classes) <= MOST_CLASSES:
        raise InputError(f"label: {len(classes)} classes; allowed with a score: 2 to {MOST_CLASSES}")
    unknown = 0 if config["labelers"] == "global" else 2 * len(classes) * labels.n_labelers
    if unknown > MOST_UNKNOWN:
        raise InputError(
            f"labelers: got 'offset', which gives {labels.n_labelers} labelers of {len(classes)} classes {unknown} "
            f"unknowns; allowed: up to {MOST_UNKNOWN}, as with global (--labelers global)"
        )
    settings = CategoricalConfig(_level(labels, given.importance), **config)
    to_model = dict(n_draws=n_draws, scale=scale, importance=given.importance, progress=progress)
    key, other = jax.random.split(key)
    fit = fit_categories(labels, given.scores, settings, key, method=method, **to_model)
    weaker = None
    if settings.constraint == "both":
        weak = dataclasses.replace(settings, constraint="ordered", bias_deviation=WIDE)
        weaker = fit_categories(labels, given.scores, weak, other, method="laplace", **to_model)
    probability = class_probabilities(fit, labels, given.scores)
    prevalence, table, said = _shares(fit, weaker, given, probability)
    each, crowd, accuracy = confusions(fit, given.scores, LEVEL)
    d = fit.diagnostics
    found = f"nuts with R-hat {d['rhat']:.3f}, ESS {d['ess']:.0f}" if fit.method == "nuts" else (
        f"laplace with Pareto k-hat {d['khat']:.2f}")  # fmt: skip
    warnings = [
        *about_labels(labels, about, record["repeats"]),
        *said,
        *remarks,
        *outliers.about_weights("weights", given.weights),
    ]
    warnings += [*about_gold(given.gold, classes), *about_contradiction(given.gold, labels, classes)]
    warnings += about_chance(labels, given.gold, given.scores)
    if not fit.checked:
        more = "more draws (--draws) would help" if fit.method == "nuts" else (
            "up to 3000 instances NUTS takes its place (--inference nuts)")  # fmt: skip
        warnings.append(f"The posterior did not pass its check ({found}): intervals may be too narrow; {more}.")
    warnings += about_several(given.names, given.scores)
    if fit.config.labelers == "global":
        warnings.append("Labelers are assumed to be alike: their table repeats the crowd's accuracy.")
    full = {
        "model": "contextual",
        "result": found,
        "inference": fit.method,
        "diagnostics": d,
        "stopped": False,
        "n_labels": int((np.asarray(labels.counts) > 0).sum()),
        "n_labelers": labels.n_labelers,
        "n_instances": labels.n_instances,
        "n_gold": 0 if given.gold is None else int(np.isfinite(given.gold).sum()),
        "n_population": None if given.population is None else len(given.population[1]),
        "scores": list(given.names),
        "transform": scale.transform,
        "level": LEVEL,
        "classes": classes,
        "values": None,
        "kind": "nominal",
        "class_shares": [float(v) for v in probability.mean(0)],
        "settings": {"inference": fit.method, "draws": n_draws},
        "unknowns": list(fit.u.shape),
        "config": dataclasses.asdict(settings),
        "objective": float(fit.trace.max()),
        "n_iterations": len(fit.trace),
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        **record,
        "warnings": warnings,
    }
    result = CategoricalResult(
        tables={
            "instances": class_table(
                io.ids(index, "instance"), probability, classes, **_score_columns(given.names, given.scores)
            ),
            "labelers": _labelers(fit, each, accuracy, labels, index),
            "confusion": confusion_table(pa.nulls(1, pa.string()), classes, None, tuple(v[None] for v in crowd)),
            "prevalence": table,
            "curves": _curves(fit, given),
        },
        record=full,
        kind=kind,
        fit=fit,
        index=index,
        scaling={},
        prevalence=prevalence,
        scores=given.scores,
        tally=tally(labels, probability),
        labels=kept(labels),
    )
    full["seconds"] = perf_counter() - started
    return result


def _level(labels: Labels, importance) -> tuple[float, ...]:
    """Return the log shares of the classes among labels, weighted as the population is, rounded, so that label sets of
    one kind share compiled programs."""
    votes = votes_of(labels)
    counted = votes.sum(1) > 0
    weight = None if importance is None or not importance[counted].sum() > 0 else importance[counted]
    share = np.average(votes[counted] / votes[counted].sum(1, keepdims=True), axis=0, weights=weight)
    return tuple(np.clip(np.round(np.log(np.maximum(share, 1e-6))), -8, 0).tolist())


def _score_columns(names: Sequence[str], values: Float[np.ndarray, "n C"]) -> dict[str, Any]:
    return {"score": values[:, 0]} | {f"score_{n}": v for n, v in zip(names[1:], values[:, 1:].T, strict=True)}


def _shares(fit, weaker, given: Given, probability) -> tuple[dict[str, Any], pa.Table, list[str]]:
    """Return (what ``prevalence.json`` holds, every estimate, sentences for the warnings)."""
    classes, labels = given.index.classes, given.labels
    over = given.population if given.population is not None else (given.scores, given.weights)
    strong = shares(fit, *over, level=LEVEL)
    weights = np.ones(len(given.scores)) if given.weights is None else given.weights
    votes = votes_of(labels)
    counted = (votes.sum(1) > 0) & (weights > 0)
    by_vote = np.average(votes[counted] / votes[counted].sum(1, keepdims=True), axis=0, weights=weights[counted])
    rows = {MODEL: [tuple(v[k] for v in strong) for k in range(len(classes))]}
    warnings, agree, reach = [], None, None
    if weaker is not None:
        wide = shares(weaker, *over, level=LEVEL)
        rows[WEAKER] = [tuple(v[k] for v in wide) for k in range(len(classes))]
        beyond = np.maximum(np.maximum(strong.lower - wide.lower, wide.upper - strong.upper), 0)
        reach = float(np.max(beyond / np.maximum(strong.upper - strong.lower, 1e-12)))
        agree = reach < REACH
    rows[ITEMS] = [(float(np.average(p, weights=weights)), None, None) for p in probability.T]
    rows[VOTES] = [(float(v), None, None) for v in by_vote]
    first, (gold, wanted) = MODEL, _by_gold(fit, given)
    rows |= gold
    if gold and all(row[1] is not None for row in gold[ASSISTED]):
        first = ASSISTED
    elif gold:
        missing = [show(c) for c, row in zip(classes, gold[ASSISTED], strict=True) if row[1] is None]
        warnings.append(
            f"Gold is too little for an interval of {', '.join(missing[:5])}: the shares reported first are the "
            f"model's. Some {wanted} gold labels drawn at random, or fewer by chances that favour them, would do."
        )
    elif given.gold is not None and np.isfinite(given.gold).any():
        warnings.append(
            "Gold is no random part of the labelled instances: its scores or labels differ from those of the others, "
            "and no chances were given. What rests on gold's own shares is not reported; a column chance in the gold "
            "table (--gold) says how likely each instance was to be drawn for gold."
        )
    if first == MODEL and agree is False:
        k = int(np.argmax(beyond / np.maximum(strong.upper - strong.lower, 1e-12)))
        warnings.append(
            f"Labels alone do not decide the shares: of {show(classes[k])} {interval(strong.lower[k], strong.upper[k])}"
            " if labelers recognise every class better than by a guess, "
            f"{interval(wide.lower[k], wide.upper[k])} if they only give its label more often than without it. Gold of "
            "some 100 instances drawn at random (--gold), or more labels of each instance, would decide it."
        )
    if given.population is None and given.weights is None:
        warnings.append(
            "Shares: of the labelled sample, as neither weights nor a population were given (--weights, --population). "
            "If instances were chosen by their score, they are not those of the population."
        )
    of = "the labelled sample" if given.population is None and given.weights is None else "the population"
    checked = fit.checked or first != MODEL
    rows = {first: rows.pop(first), **rows}
    flat = [(c, name, *map(_number, row)) for name, each in rows.items() for c, row in zip(classes, each, strict=True)]
    columns = dict(zip(("class", "method", "mean", "lower", "upper"), map(list, zip(*flat, strict=True)), strict=True))
    columns["class"] = column_of_values(classes).take(pa.array(np.tile(np.arange(len(classes)), len(rows))))
    order = sorted(range(len(classes)), key=lambda k: -rows[first][k][0])
    told = [f"{show(classes[k])} {100 * rows[first][k][0]:.3g} % ({interval(*rows[first][k][1:])})" for k in order]
    rest = f", and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    name = f"{LEVEL:.0%} intervals" if checked else "ranges that could not be checked"
    found = {
        "method": first,
        "level": LEVEL,
        "of": of,
        "classes": {str(c): dict(zip(("mean", "lower", "upper"), map(_number, row), strict=True))
                    for c, row in zip(classes, rows[first], strict=True)},
        "headline": f"{', '.join(told[:SHOWN])}{rest} of {of} ({name}; {first})",
        "checked": checked,
        "constraints_agree": agree,
        "reach": reach,
        "n_gold_wanted": wanted,
        "trust": trust_of_gold(
            0 if given.gold is None else int(np.isfinite(given.gold).sum()),
            wanted,
            first == ASSISTED,
            given.chances is not None,
            not gold,
            agree,
        ),
    }  # fmt: skip
    return found, pa.table(columns), warnings


def _number(value) -> float | None:
    return None if value is None else float(value)


def _by_gold(fit, given: Given) -> tuple[dict[str, list[tuple]], int | None]:
    """Return (estimates that rest on the chances of gold, of each class against the others, none where gold is no
    random part of the labelled instances; how many gold labels intervals of all classes take)."""
    if given.gold is None or not np.isfinite(given.gold).any():
        return {}, None
    known = np.isfinite(given.gold)
    unseen = dataclasses.replace(given.labels, gold=None)
    predictions = class_probabilities(fit, unseen, given.scores)
    weights = np.ones(len(known)) if given.weights is None else given.weights
    at = None
    if given.population is not None:
        at = curves_of_classes(fit, given.scores).mean, shares(fit, *given.population).mean
    chance = np.full(len(known), known.mean()) if given.chances is None else np.where(
        np.isnan(given.chances), 1, given.chances)  # fmt: skip
    samples = []
    for k in range(len(given.index.classes)):
        truth = np.where(known, given.gold == k, np.nan)
        function = None if at is None else (at[0][:, k], float(at[1][k]))
        samples.append(assisted.Sample(truth, chance, weights, predictions[:, k], function))
    share = votes_of(given.labels) / np.maximum(votes_of(given.labels).sum(1, keepdims=True), 1)
    compared = {"scores": given.scores[:, 0]} | {f"labels of {k}": column for k, column in enumerate(share.T)}
    if by_gold.selected(by_gold.Gold(samples[0], given.chances is not None, compared, None)) is not None:
        return {}, None
    found = assisted.estimates_of_classes(samples, LEVEL)
    of = {name: [(e.mean, e.lower, e.upper) for e in each] for name, each in zip((ALONE, ASSISTED), found, strict=True)}
    return of, max(e.n_wanted for e in found[1])


def _labelers(fit, each: Shares, accuracy, labels: Labels, index: LabelIndex) -> pa.Table:
    n = fit.labels_per_labeler
    whole = np.rint(n).astype(np.int64) if (n == np.rint(n)).all() else n
    lower, upper = np.quantile(accuracy, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    columns = {"labeler": io.ids(index, "labeler"), "n_labels": whole,
               "accuracy": accuracy.mean(0), "lower": lower, "upper": upper}  # fmt: skip
    for k, name in enumerate(index.classes):
        for end, values in zip(("recall", "lower", "upper"), each, strict=True):
            columns[f"{end}_{name}"] = values[:, k, k]  # prefixes: no two classes give one name
    return pa.table(columns | gold_columns(gold_record(labels)))


def _curves(fit, given: Given) -> pa.Table:
    """Tabulate class, score, mean, lower, upper along the first score, the others at their medians."""
    first = given.scores[:, 0] if given.population is None else np.r_[given.scores[:, 0], given.population[0][:, 0]]
    low, high = np.clip([first.min(), first.max()], *fit.scale.ends[:, 0])
    x = fit.scale.even(low, high, GRID)
    at = np.c_[x, np.broadcast_to(np.median(given.scores[:, 1:], 0), (len(x), given.scores.shape[1] - 1))]
    found = curves_of_classes(fit, at, LEVEL)
    each = np.repeat(np.arange(len(given.index.classes)), len(x))
    names = column_of_values(given.index.classes).take(pa.array(each))
    ends = dict(zip(("mean", "lower", "upper"), (v.T.ravel() for v in found), strict=True))
    return pa.table({"class": names, "score": np.tile(x, len(given.index.classes)), **ends})


def _predicted(result: CategoricalResult, table, scores, columns, reading):
    from crowdjax.cautions import about_classes
    from crowdjax.result import Prediction, labels_of_labelers
    from crowdjax.tables import kind_of

    started, names = perf_counter(), result.record["scores"]
    said, given = io.open_tables(columns, known={"scores": names}, scores=scores)
    triples = io.read_triples(table, columns=said, like=result.index, **reading)
    labels, instances = triples.labels(repeats=result.record["repeats"]), io.ids(triples.index, "instance")
    _, values = io.read_values(given["scores"], "instance", instances, names, kind="scores")
    known = io.positions(io.ids(triples.index, "labeler"), io.ids(result.index, "labeler"))
    fit = with_labelers(result.fit, known, int(result.record["seed"] or 0))
    new = New(class_probabilities(fit, labels, values))
    warnings = about_labels(labels, triples, result.record["repeats"])
    warnings += about_classes(new.posterior, labels_of_labelers(labels)[known < 0], result.index.classes)
    unseen = (known < 0) & (fit.config.labelers != "global")
    if unseen.any():
        warnings.append(f"{unseen.sum()} of {len(unseen)} labelers are not in the fit; they are drawn from its crowd.")
    beyond = fit.scale.beyond(values).any(1)
    if beyond.any():
        warnings.append(f"{beyond.sum()} of {len(beyond)} instances have scores beyond those of the fit.")
    record = {
        "model": "contextual",
        "n_labels": int((np.asarray(labels.counts) > 0).sum()),
        "n_labelers": labels.n_labelers,
        "n_instances": labels.n_instances,
        "n_unseen_labelers": int(unseen.sum()),
        "classes": list(result.index.classes),
        "repeats": result.record["repeats"],
        "scores": names,
        "columns": io.mapping(triples, given),
        "seconds": perf_counter() - started,
        "warnings": warnings,
    }
    answers = class_table(instances, new.posterior, result.index.classes, **_score_columns(names, values))
    return Prediction({"instances": answers}, record, kind_of(table, triples.roles))


def load(folder: Path, record: dict[str, Any]) -> CategoricalResult:
    """Load a result that ``CategoricalResult.save`` wrote, given its record."""
    try:
        tables = read_tables(folder, "instances", "labelers", "confusion", "prevalence", "curves")
        prevalence = json.loads((folder / "prevalence.json").read_text(encoding="utf-8"))
        index = io.index_of(tables["labelers"], tables["instances"], record["classes"])
        config = {k: tuple(v) if isinstance(v, list) else v for k, v in record["config"].items()}
        gp = {k: tuple(v) if isinstance(v, list) else v for k, v in config["gp"].items()}
        settings = CategoricalConfig(**config | {"gp": GP(**gp)})
        n, w, c, k = len(index.instances), len(index.labelers), len(record["scores"]), len(record["classes"])
        ends = {"low": np.zeros(c), "high": np.zeros(c)}
        like = {
            "u": np.zeros(record["unknowns"]),
            "labels_per_labeler": np.zeros(w),
            "trace": np.zeros(record["n_iterations"]),
            "scale": ends | ({"knots": np.zeros((c, RANK_KNOTS))} if record["transform"] == "rank" else {}),
            "scores": np.zeros((n, c)),
            "votes": np.zeros((n, k)),
            "agreement": np.zeros((w, k, k)),
            "n_crowds": np.zeros((), int),
        }
        arrays = saving.load_arrays(folder / "fit.npz", like)
        fit = CategoricalFit(
            settings,
            Scale(record["transform"], **arrays["scale"]),
            arrays["u"],
            arrays["labels_per_labeler"],
            record["inference"],
            record["diagnostics"],
            arrays["trace"],
        )
        found = Tally(arrays["votes"], arrays["agreement"], int(arrays["n_crowds"]))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{folder}: not a contextual fit of crowdjax ({error!r:.100})") from None
    return CategoricalResult(
        tables=tables,
        record=record,
        kind=as_arrow,
        fit=fit,
        index=index,
        scaling={},
        prevalence=prevalence,
        scores=arrays["scores"],
        tally=found,
    )
