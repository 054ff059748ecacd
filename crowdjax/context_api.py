"""The facade of the contextual model: from tables of labels and scores to curves, prevalence and a calibrated score.

    result = crowdjax.context("labels.csv", "scores.csv", population="all.csv")
    result.prevalence, result.curves, result.calibration, result.instances, result.labelers, result.warnings
    result.save("out")        tables, figures and the fit, which crowdjax.load("out") reads
    result.predict(new, scores), result.checks(labels)

It reads (``crowdjax.io``), fits and summarises (``crowdjax.contextual``) and draws (``crowdjax.plots``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from jax.sharding import Mesh
from jaxtyping import Float, Int, PRNGKeyArray

from crowdjax import contextual, io, memory, outliers, parallel, plots, posterior, results, watch
from crowdjax import report as reports
from crowdjax.answers import (
    FitError,
    Prediction,
    Tally,
    about_answers,
    about_contradiction,
    about_gold,
    about_labels,
    answer_table,
    labels_of_labelers,
    read_tables,
    shown,
    tally,
)
from crowdjax.classes import Classes, two_of
from crowdjax.contextual import Band, ContextualConfig, ContextualFit, Functions, Inference, Scale, gain
from crowdjax.contextual.agreement import agreement
from crowdjax.contextual.context import Transform, is_separate
from crowdjax.contextual.functions import GP, MAX_EXACT, Approximation, Combine, Family
from crowdjax.contextual.inference import Method
from crowdjax.contextual.model import Constraint, Level
from crowdjax.facade import kinds, pairs, periods
from crowdjax.facade import previous as going_on
from crowdjax.facade.checks import LookResult, check
from crowdjax.facade.design import importance_of, scaled
from crowdjax.facade.fitted import Fitted
from crowdjax.facade.prevalence import ASSISTED
from crowdjax.facade.prevalence import summary as of_prevalence
from crowdjax.formats import Form
from crowdjax.integrated import LEVEL
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats
from crowdjax.roles import Columns
from crowdjax.settings import DEFAULT, Default, callback, flag, one_of, path_of, randomness, whole
from crowdjax.shards import AXIS
from crowdjax.tables import as_arrow, kind_of

__all__ = ["ContextualResult", "context"]

GRID = 201  # scores at which the curves are given
MOST_CALIBRATION = 1000  # rows of the calibration table
MOST_UNKNOWNS = 5000  # of the labelers: every method works with a dense Hessian
MOST_BASIS = 1024  # eigenfunctions or inducing inputs of a process
COMBINE = ("additive", "tensor")  # of several scores of an instance
MOST_COMBINED = 3  # scores of one process
MOST_LINES = 40  # labelers in a figure
MOST_POINTS = 20_000  # instances behind a reliability diagram
WEAKER = "ordered"  # folder of the fit under the weaker constraint
CELL_TABLES = ("prevalence", "changes", "labelers_by_period")
MOST_NEXT = 10_000  # labels that are planned one after the other
MOST_CELLS = 2e7  # posterior draws times instances, of which the next labels are chosen
LEAST_GOLD = 100  # with fewer, reliability is measured against the posteriors


@dataclasses.dataclass(frozen=True, repr=False)
class ContextualResult(Fitted):
    """Answers about instances, labelers and the population; intervals hold 95 %.

    Attributes:
        instances: a table of the kind that the labels came in: instance, score, probability (of the truth being 1),
            label. Scores beyond the first are columns score_NAME.
        curves: quantity (prevalence, and sensitivity and specificity of the crowd), score, mean, lower, upper.
        labelers: labeler, n_labels; sensitivity, specificity and, where labelers differ, balanced_accuracy and rank,
            each with NAME_lower and NAME_upper.
        calibration: score, probability, lower, upper, at scores that occur.
        prevalence: mean, lower, upper, level, method; ``estimates`` has every way to estimate it.
        tables: these four as pyarrow, by name.
        record: what ``fit.json`` holds: diagnostics, settings, sizes, warnings.
        fit: of ``crowdjax.contextual``; its rows are in the order of ``index``.
        index: the ids of labelers and instances, and the two classes.
        scores: of the instances, shape [I, C].
        population: (scores [K, C], counts [K]), where given.
        gold: code of the truth, NaN where unknown, shape [I]; None without gold.
        tally: the labels, counted.
        weights: how many instances of the population each stands for, shape [I]; None where not given.
        weaker: the fit under the weaker constraint beside it; None without.
        cell, people_cell: period and group of the instances, shape [I], and of the population's rows, shape [K]; None
            without ``time`` and ``group``. With them there are the
            tables ``cells`` (prevalence.parquet), ``changes`` and ``labelers_by_period`` (``facade.periods``).

    Example:
        >>> import crowdjax
        >>> rng = np.random.default_rng(0)
        >>> score, who = rng.random(60), np.tile(["ann", "bob", "cat"], 60)
        >>> answers = np.where(rng.random(180) < 0.9, 1, 0) == np.repeat(rng.random(60) < score, 3)
        >>> labels = {"labeler": who, "instance": np.repeat(np.arange(60), 3), "label": answers}
        >>> simple = dict(prevalence="linear", accuracy="constant", labelers="global", inference="laplace")
        >>> result = crowdjax.context(labels, {"instance": np.arange(60), "score": score}, **simple)
        >>> result.to_arviz()["posterior"]["prevalence_curve"].dims
        ('chain', 'draw', 'score')
    """

    prevalence: dict[str, Any]
    fit: ContextualFit
    index: LabelIndex
    scores: Float[np.ndarray, "I C"]
    population: tuple[Float[np.ndarray, "K C"], Float[np.ndarray, " K"]] | None
    gold: Float[np.ndarray, " I"] | None
    tally: Tally
    weights: Float[np.ndarray, " I"] | None
    cell: Int[np.ndarray, " I"] | None = None
    people_cell: Int[np.ndarray, " K"] | None = None
    weaker: ContextualFit | None = None

    curves = shown("curves")
    cells, changes, labelers_by_period = shown("prevalence"), shown("changes"), shown("labelers_by_period")

    def _facts(self) -> dict[str, str]:
        found = self.prevalence
        interval = f"{found['lower']:.1%} to {found['upper']:.1%}, {found['level']:.0%}; {found['method']}"
        facts = {"prevalence": f"{found['mean']:.1%} ({interval})"}
        latest = reports.periods.headline(self.tables)
        return facts | ({"latest": latest} if latest else {})

    calibration = shown("calibration")

    @property
    def headlines(self) -> Sequence[str]:
        """The prevalence in a sentence and, with periods, the latest one's and its change."""
        found = [f"prevalence: {self.prevalence['headline']}"] if "headline" in self.prevalence else []
        latest = reports.periods.headline(self.tables)
        each = self.tables["prevalence"].to_pylist() if self.record.get("kinds") else []
        found += [f"{row['kind']}: {row['mean']:.1%} ({row['lower']:.1%} to {row['upper']:.1%})" for row in each]
        return [*found, *([f"latest period: {latest}"] if latest else [])]

    def page(self, figures: Mapping[str, plots.Figure] | None = None) -> reports.Page:
        """The report: a page of the functions, the labelers and the instances (docs/reports.md).

        Args:
            figures: :meth:`figures`, if they are drawn already.
        """
        functions = {}
        for kind in self._kinds():
            x, curves, densities, axis = self._functions(kind)
            of = "" if kind is None else f" of {self.record['kinds'][kind]}"
            functions |= {name + of: plots.bands(x, {name: b}, densities, **axis) for name, b in curves.items()}
        return reports.of_context(
            self.record,
            self.tables["instances"],
            self.tables["labelers"],
            self.tables["calibration"],
            self.prevalence,
            self.tally,
            {name: plots.as_svg(figure, name) for name, figure in functions.items()},
            self.figures() if figures is None else figures,
            {name: self.tables[name] for name in CELL_TABLES if name in self.tables},
        )

    def save(self, out: str | os.PathLike, *, report: bool = False) -> None:
        """Writes tables, ``prevalence.json``, ``fit.json``, the fit and the figures (SVG and PNG) to a folder, which
        appears whole or not at all.

        Args:
            report: whether to write ``report.html`` as well (:meth:`page`).
        """
        with results.new_result(out, self.record) as folder:
            self.write_tables(folder)
            results.write_json(folder / "prevalence.json", self.prevalence)
            results.save_arrays(folder / "inputs.npz", self._inputs())
            contextual.save(self.fit, folder)
            if self.weaker is not None:
                contextual.save(self.weaker, folder / WEAKER)
            (folder / "figures").mkdir()
            figures = self.figures()
            for name, figure in figures.items():
                plots.save(figure, folder / "figures" / name)
            if report:
                reports.write(self.page(figures), folder)

    def _inputs(self) -> dict[str, Any]:
        """What the answers rest on besides the fit, for :func:`load`."""
        given = {"population": self.population, "gold": self.gold, "weights": self.weights}
        given |= {"cell": self.cell, "people_cell": self.people_cell}
        counts = self.tally._replace(n_crowds=np.array(self.tally.n_crowds))._asdict()
        return {"scores": self.scores, **counts, **{k: v for k, v in given.items() if v is not None}}

    def figures(self) -> dict[str, plots.Figure]:
        """The functions over the scores' density, reliability before and after calibration, the estimates of the
        prevalence, the labelers' own curves where they differ, and what there is over time and by group."""
        forecasts, observed = self._forecasts()
        drawn, each = {}, {}
        for kind in self._kinds():
            x, curves, densities, axis = self._functions(kind)
            at = "" if kind is None else f"_{kind + 1}"
            drawn[f"functions{at}"] = plots.bands(x, curves, densities, **axis)
            if self.fit.config.labelers != "global":
                each[f"labelers{at}"] = self._labeler_curves(x, curves, axis, kind)
        drawn |= {
            "reliability": plots.reliability(forecasts, ylabel=observed),
            "prevalence": plots.intervals(
                {e["method"]: _interval(e) for e in self.prevalence["estimates"]},
                title="Share of positives",
                xlabel=f"estimate, {LEVEL:.0%} interval",
            ),
        }
        return drawn | each | reports.periods.figures(self.tables)

    def _kinds(self) -> Sequence[int | None]:
        """The kinds by number; [None] of a fit without."""
        return [None] if self.record.get("kinds") is None else range(len(self.record["kinds"]))

    def _functions(self, kind: int | None) -> tuple[np.ndarray, dict[str, tuple], dict[str, tuple], dict[str, Any]]:
        """(scores, title -> (mean, lower, upper), densities of scores, settings of the axis), to draw functions."""
        table, column = self.tables["curves"], kind or 0
        if kind is not None:
            table = table.filter(pc.equal(table["kind"], pa.scalar(self.record["kinds"][kind], table["kind"].type)))
        x = np.unique(table["score"].to_numpy())
        curves = {
            name.capitalize(): tuple(table[part].to_numpy().reshape(3, -1)[k] for part in Band._fields)
            for k, name in enumerate(Functions._fields)
        }
        logit = self.fit.scale.transform == "logit"
        of = "" if kind is None else f" of {self.record['kinds'][kind]}"
        axis = dict(xlabel=self.record["scores"][0] + of, xscale="logit" if logit else "linear")
        samples = {"labelled instances": (self.scores, np.ones(len(self.scores)))}
        if self.population is not None:
            samples["population"] = self.population
        densities = {}
        for name, (scores, counts) in samples.items():
            has = np.isfinite(scores[:, column])
            densities[name] = scores[has, column], counts[has]
        return x, curves, densities, axis

    def to_arviz(self, table=None, *, columns: Columns | None = None) -> posterior.DataTree:
        """The posterior draws as ArviZ takes them, chains × draws (the extra ``arviz``).

        ``posterior`` holds prevalence_curve, sensitivity_curve and specificity_curve over score, prevalence (of the
        population, as in ``prevalence``), and the model's own unknowns. SVI and Laplace give one chain, and
        ``attrs["chains"]`` says so.

        Args:
            table, columns: the labels of the fit, as in :func:`context`: then ``log_likelihood`` holds that of each
                instance's labels, the truth summed out.

        Raises:
            InputError: arviz-base is not installed; the labels are not those of the fit.
        """
        if self.record.get("kinds") is not None:
            raise InputError("to_arviz: of a fit by kinds, whose functions have several scores; use result.fit.draws")
        x = np.unique(self.tables["curves"]["score"].to_numpy())
        population, key, cell = self.population, None, self.people_cell
        if population is None:
            cell = self.cell
            population, key = (self.scores, self.weights), jax.random.key(self.record["seed"] or 0)
        return posterior.to_arviz(
            self.fit,
            self.index,
            self.scores,
            (x, _along_first(x, self.scores)),
            contextual.prevalence_draws(self.fit, *population, key=key, cell=cell),
            None if table is None else self._labels(table, columns),
            self.cell,
        )

    def _labels(self, table, columns) -> Labels:
        """The labels of the fit, read once more."""
        triples = io.read_triples(table, columns=columns, like=self.index)
        for side in ("labelers", "instances"):
            if not np.array_equal(getattr(triples.index, side), getattr(self.index, side)):
                raise InputError(f"labels: the {side} are not those of the fit; to_arviz takes the labels fitted")
        return triples.labels(repeats=self.record["repeats"], gold=self.gold)

    def predict(
        self,
        table,
        scores,
        *,
        columns: Columns | None = None,
        form: Form | None = None,
        missing: Sequence[Any] = (),
        header: bool = True,
    ) -> Prediction:
        """The truth of new instances from their labels and scores, by the posterior of the fit.

        Args:
            table: labels, as in :func:`context`; their values are those of the fit. A labeler whom the fit has not met
                is drawn from the crowd's distribution.
            scores: a table with a row for every instance and the score columns of the fit.
            columns, form, missing, header: as in :func:`context`.

        Raises:
            InputError: as in :func:`context`; a label is none of the fit's values.

        Example:
            >>> import crowdjax
            >>> rng = np.random.default_rng(0)
            >>> score, who = rng.random(60), np.tile(["ann", "bob", "cat"], 60)
            >>> answers = np.where(rng.random(180) < 0.9, 1, 0) == np.repeat(rng.random(60) < score, 3)
            >>> labels = {"labeler": who, "instance": np.repeat(np.arange(60), 3), "label": answers}
            >>> simple = dict(prevalence="linear", accuracy="constant", labelers="global", inference="laplace")
            >>> result = crowdjax.context(labels, {"instance": np.arange(60), "score": score}, **simple)
            >>> new = {"labeler": ["ann", "bob"], "instance": ["x", "y"], "label": [True, False]}
            >>> result.predict(new, {"instance": ["x", "y"], "score": [0.9, 0.1]}).instances["label"].tolist()
            [1, 0]
        """
        started = perf_counter()
        names = self.record["scores"]
        said, given = io.open_tables(columns, known={"scores": names}, scores=scores)
        triples = io.read_triples(table, columns=said, form=form, missing=missing, header=header, like=self.index)
        _refuse_counts(triples, self.fit.config.labelers)
        labels, instances = triples.labels(repeats=self.record["repeats"]), io.ids(triples.index, "instance")
        _, values = io.read_values(given["scores"], "instance", instances, names, kind="scores")
        transform = self.fit.scale.transform
        _check_scores(names, values, transform, lambda row: f"instance {triples.index.instances[row]!s}", vary=False)
        values = self._by_kind(given["scores"], instances, values)
        known = io.positions(io.ids(triples.index, "labeler"), io.ids(self.index, "labeler"))
        unseen = (known < 0) & (self.fit.config.labelers != "global")
        fit = contextual.with_labelers(self.fit, known, jax.random.key(self.record["seed"] or 0))
        cell = periods.of_others(given["scores"], instances, self.record, self.tables.get("prevalence"))
        probability = np.asarray(contextual.item_posteriors(fit, labels, values, cell=cell), np.float64)
        warnings = about_labels(labels, triples, self.record["repeats"])
        warnings += about_answers(probability, labels_of_labelers(labels)[known < 0], self.index.classes)
        if cell is not None and (cell < 0).any():
            warnings.append(
                f"{(cell < 0).sum()} of {len(cell)} instances are of a period or group that is not in the fit; they are"
                " assumed to be of the mean one."
            )
        if unseen.any():
            warnings.append(
                f"{unseen.sum()} of {len(unseen)} labelers are not in the fit; they are drawn from its crowd."
            )
        warnings += _about_numbers(names, self.scores, (values, np.ones(len(values))), fit.scale, "new instances")
        record = {
            "model": "contextual",
            "n_labels": int((labels.counts > 0).sum()),
            "n_labelers": labels.n_labelers,
            "n_instances": labels.n_instances,
            "n_unseen_labelers": int(unseen.sum()),
            "classes": list(self.index.classes),
            "repeats": self.record["repeats"],
            "scores": names,
            "columns": io.mapping(triples, given),
            "seconds": perf_counter() - started,
            "warnings": warnings,
        }
        columns_ = _score_columns(names, values, self.record.get("kinds"))
        answers = answer_table(instances, probability, self.index.classes, **columns_)
        return Prediction({"instances": answers}, record, kind_of(table, triples.roles))

    def checks(self, table, *, scores=None, columns: Columns | None = None, **settings) -> LookResult:
        """What the fit misses: its labels beside replicates, each of another posterior draw
        (``crowdjax.facade.checks.check``).

        Args:
            table, columns, settings: as there.
            scores: those of the fit, by default as the result holds them.

        Raises:
            InputError: as there; the scores are not those of the fit.
        """
        names = self.record["scores"]
        said, given = io.open_tables(columns, known={"scores": names}, scores=scores)
        if scores is not None:
            ids = io.ids(self.index, "instance")
            again = io.read_values(given["scores"], "instance", ids, names, kind="scores")[1]
            if not np.array_equal(self._by_kind(given["scores"], ids, again), self.scores, equal_nan=True):
                raise InputError("scores: not those of the fit; allowed: the scores that were fitted, or none")
        return check(self, table, columns=said, **settings)

    def _by_kind(self, source, instances, values: Float[np.ndarray, "n C"]) -> Float[np.ndarray, "n C"]:
        """The scores as the fit takes them: each in the column of its kind, where there are kinds."""
        known = self.record.get("kinds")
        if known is None:
            return values
        _, code = io.read_categories(source, self.record["kind"], instances, known)
        if (code < 0).any():
            raise InputError(
                f"scores: column {self.record['kind']!r}: instance {instances[int(np.argmax(code < 0))]} is of a kind "
                f"that is not in the fit; allowed: {', '.join(map(str, known))}"
            )
        return kinds.spread(values, code, len(known))

    def next_table(self, n: int) -> pa.Table:
        """The instances to label next, in this order: those whose next labels narrow the prevalence most
        (``crowdjax.contextual.gain``). An instance may come up again.

        The labels there are count by their votes, as if all were of average labelers. Gold needs no label.

        Returns:
            instance, score, probability, gain: the share of the prevalence's variance that this label takes away, and
            left: the share that is left after it.
        """
        whole("next", n, 1, MOST_NEXT)
        if self.record.get("kinds") is not None:
            raise InputError("next: of a fit by kinds, whose prevalences are several; allowed: of a fit of one of them")
        fit = contextual.thinned(self.fit, max(2, int(MOST_CELLS / len(self.scores))))
        over, cell = self.population, self.people_cell
        if over is None:
            over, cell = (self.scores, self.weights), self.cell
        prevalence = np.asarray(contextual.prevalence_draws(fit, *over, cell=cell), np.float64)
        pi, sensitivity, specificity = (np.float64(v) for v in contextual.function_draws(fit, self.scores))
        p = gain.posteriors_by_votes(pi, sensitivity, specificity, self.tally.votes)
        known = np.zeros(len(self.scores), bool) if self.gold is None else np.isfinite(self.gold)
        open_ = np.flatnonzero(~known)
        if not open_.size:
            raise InputError("next: every instance has gold; allowed: where the truth of some is unknown")
        q = (p * sensitivity + (1 - p) * (1 - specificity))[:, open_]
        found = gain.batch(prevalence, q, n)
        rows = open_[found.instance]
        table = self.tables["instances"].select(["instance", "score", "probability"]).take(rows)
        before = np.r_[1.0, found.left[:-1]]
        return table.append_column("gain", pa.array(before - found.left)).append_column("left", pa.array(found.left))

    def observed(self, part: Labels, drawn: np.ndarray, n: int) -> tuple[contextual.Contextual, list]:
        """(the model of some of the instances, n draws of its parameters): what checks compare labels with."""
        data = contextual.prepare_data(
            self.fit.config,
            part,
            self.fit.scale(self.scores[drawn]),
            self.fit.anchors or None,
            cell=None if self.cell is None else self.cell[drawn],
        )
        model = contextual.Contextual.of(self.fit.config, data)
        u = self.fit.unconstrained.reshape(self.fit.n_draws, -1)
        rows = np.linspace(0, len(u) - 1, n).round().astype(int)
        return model, [model.params(part, jnp.asarray(u[row])) for row in rows]

    def _labeler_curves(
        self, x: Float[np.ndarray, " X"], crowd: Mapping[str, tuple], axis: Mapping[str, Any], kind: int | None
    ) -> plots.Figure:
        """The labelers with most labels; of these, the two best and the two worst by name."""
        most = np.argsort(-self.fit.labels_per_labeler, kind="stable")[:MOST_LINES]
        rank = self.tables["labelers"]["rank"].to_numpy()[most]
        best = np.argsort(rank, kind="stable")
        named = best if len(best) <= 4 else np.r_[best[:2], best[-2:]]
        at = _along_first(x, self.scores)
        if kind is not None:
            at = kinds.spread(x[:, None], np.full(len(x), kind), self.scores.shape[1])
        own = contextual.labeler_functions(self.fit, at, most, LEVEL)
        panels = {name.capitalize(): (crowd[name.capitalize()][0], getattr(own, name).mean) for name in own._fields[1:]}
        low, high = (self.tables["labelers"][f"rank_{end}"].to_numpy()[most] for end in ("lower", "upper"))
        ids = [plots.short(str(i)) for i in self.index.labelers[most]]
        names = {int(row): f"{ids[row]}: rank {low[row]:.0f} to {high[row]:.0f}" for row in named}
        return plots.labeler_curves(x, panels, names, **axis)

    def _forecasts(self) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], str]:
        """The score as it is (if it is a probability) and calibrated, each with the truth: gold where there is enough,
        else the instances' posteriors."""
        known = np.zeros(0, int) if self.gold is None else np.flatnonzero(np.isfinite(self.gold))
        gold = len(known) >= LEAST_GOLD
        known = known if gold else np.arange(len(self.scores))
        rows = known[plots.evenly(len(known), MOST_POINTS)]
        truth = (
            (self.gold[rows] > 0).astype(float) if gold else self.tables["instances"]["probability"].to_numpy()[rows]
        )
        first, forecasts = _first(self.scores[rows])[:, 0], {}
        if first.min() >= 0 and first.max() <= 1:
            forecasts["score"] = (first, truth)
        forecasts["calibrated"] = (contextual.calibrate(self.fit, self.scores[rows]).mean, truth)
        return forecasts, "share of positives (gold)" if gold else "mean posterior of the instances"


def context(
    table,
    scores,
    *,
    weights=None,
    population=None,
    gold=None,
    prevalence: Family = "gp",
    accuracy: Family = "gp",
    labelers: Level = "offset",
    constraint: Constraint = "both",
    increasing: bool = False,
    transform: Transform = "identity",
    time: str | None = None,
    group: str | None = None,
    kind: str | None = None,
    approximation: Approximation | None = None,
    n_basis: int | None = None,
    combine: Combine | None = None,
    inference: Method | Inference | None = None,
    draws: int | None = None,
    seed: int | Default = DEFAULT,
    key: PRNGKeyArray | None = None,
    columns: Columns | None = None,
    form: Form | None = None,
    positive=None,
    missing: Sequence[Any] = (),
    header: bool = True,
    repeats: Repeats = "count",
    start: ContextualResult | None = None,
    previous: ContextualResult | str | os.PathLike | None = None,
    devices: int | None = None,
    progress: watch.Progress | None = None,
) -> ContextualResult:
    """Fits prevalence, sensitivity and specificity as functions of a score to a table of labels.

    Args:
        table: labels, as in :func:`crowdjax.fit`.
        scores: a table with a row for every instance of the labels: instance, and score or another numeric column.
            With several scores, which ``columns`` names, curves are given along the first, the others at their medians.
        weights: a table with columns instance and weight: how many instances of the population each stands for. They
            count in the prevalence, not in the fit.
        population: a table of the population's scores, with the columns of ``scores`` and, optionally, weight or
            count. The prevalence is then that of this table; weights, if also given, serve the other estimates.
        gold: a table with the known truth of some instances: instance, label and, optionally, chance: that it was drawn
            for gold, given that it has labels; by default the same for all.
        prevalence, accuracy: ``gp``, ``linear`` or ``constant``.
        labelers: ``global`` (all alike), ``offset`` or ``function`` (each with curves of its own shape).
        constraint: ``both`` (sensitivity and specificity above one half each), ``ordered`` (their sum above 1) or
            ``free``. With ``both`` a second fit, under ``ordered``, says whether the prevalence rests on that.
        increasing: whether the prevalence may only rise with the score; for one score.
        time, group: columns of the scores' table: the period of every instance, in their ascending order (numbers,
            dates, text), and its group; a population's table has them too. The prevalence then changes by period and
            group, each leaning on its neighbours, and labelers may drift over the periods (``cells``, ``changes``,
            ``labelers_by_period``).
        kind: a column of the scores' table, and of a population's: what an instance is judged for, where items are
            judged for several things. Each kind has functions of its own; labelers are common to all. Not with time,
            group, previous, several scores, inducing inputs or labelers ``function``.
        transform: of the scores before all else: ``identity``, ``logit`` (they are probabilities) or ``rank``.
        approximation: of the Gaussian processes: ``hsgp`` (eigenfunctions, the default), ``inducing`` (inputs that
            stand for all, the default of ``tensor``) or ``exact`` (up to 1000 distinct scores).
        n_basis: eigenfunctions or inducing inputs of each process; default 32.
        combine: how several scores make a function: ``additive`` (a sum of a process for each, the default) or
            ``tensor`` (one process of all, up to three).
        inference: ``laplace``, ``nuts``, ``svi``, or settings of one's own; by default Laplace, and where its Pareto
            k-hat is above .7 NUTS, up to 3000 instances and 20000 labels. Above, the result says that its range is not
            checked.
        draws: posterior draws, of each chain; default 500.
        seed, key: one of them; by default seed 0.
        columns, form, positive, missing, header: how to read the tables, as in :func:`crowdjax.fit`. With several
            numeric columns in the scores' table ``{"scores.score": ["a", "b"]}`` says which of them are scores.
        repeats: what to do with several labels of one labeler on one instance, as in :func:`crowdjax.fit`.
        start: an earlier result of the same labels, scores and model to go on from: NUTS adds draws to its chains,
            without warm-up; SVI and Laplace begin where it ended.
        previous: an earlier result, or its folder, of other instances: what it says of the functions and of labelers is
            the prior of this fit. Settings of the functions are its own.
        devices: how many share the labels and add up what they find; by default all that pay. Labels of one block (up
            to 32768) stay on one.
        progress: told how far it is (``crowdjax.watch.Progress``). Where it answers true NUTS ends with the draws it
            has, SVI with the steps it has done; before these, and with Laplace, the fit is interrupted.

    Raises:
        InputError: a table or a setting is wrong; one line says which value, where, and what is allowed.
        FitError: the fit failed.

    Example:
        >>> import crowdjax
        >>> rng = np.random.default_rng(0)
        >>> score, who = rng.random(60), np.tile(["ann", "bob", "cat"], 60)
        >>> answers = np.where(rng.random(180) < 0.9, 1, 0) == np.repeat(rng.random(60) < score, 3)
        >>> labels = {"labeler": who, "instance": np.repeat(np.arange(60), 3), "label": answers}
        >>> scores = {"instance": np.arange(60), "score": score}
        >>> simple = dict(prevalence="linear", accuracy="constant", labelers="global", inference="laplace")
        >>> result = crowdjax.context(labels, scores, **simple)
        >>> bool(result.prevalence["lower"] < 0.5 < result.prevalence["upper"]), len(result.calibration["score"])
        (True, 60)
    """
    memory.room_for_programs()
    started = perf_counter()
    for name, word, allowed in (
        ("prevalence", prevalence, Family), ("accuracy", accuracy, Family), ("labelers", labelers, Level),
        ("constraint", constraint, Constraint), ("transform", transform, Transform),
    ):  # fmt: skip
        one_of(name, word, get_args(allowed))
    if flag("increasing", increasing) and prevalence == "constant":
        raise InputError("increasing: given with prevalence 'constant'; allowed with: linear, gp")
    for name, word, allowed in (
        ("approximation", approximation, get_args(Approximation)),
        ("combine", combine, COMBINE),
    ):
        if word is not None:
            one_of(name, word, allowed)
    callback(progress)
    of_seed, key = randomness(seed, key)
    draws = None if draws is None else whole("draws", draws)
    if not (inference is None or isinstance(inference, Inference)):
        one_of("inference", inference, get_args(Method))
    config = ContextualConfig(prevalence, accuracy, labelers, constraint, bool(increasing))
    said, given = io.open_tables(columns, scores=scores, population=population, weights=weights, gold=gold)
    triples = io.read_triples(table, columns=said, form=form, positive=positive, missing=missing, header=header)
    two_of(Classes(triples.index.classes, triples.index.values), triples.place)  # refuses more
    _refuse_counts(triples, labelers)
    index, instances = triples.index, io.ids(triples.index, "instance")
    truth = io.truth_of(triples, given["gold"])
    chances = None if gold is None else io.read_chances(given["gold"], instances)
    labels = triples.labels(repeats=repeats, gold=truth)
    names, values = io.read_values(given["scores"], "instance", instances, kind="scores")
    if increasing and len(names) > 1:
        raise InputError(f"increasing: given with {len(names)} scores ({', '.join(names)}); allowed: with one")
    people = None if population is None else io.read_population(given["population"], names)
    _check_scores(names, values, transform, lambda row: f"instance {index.instances[row]!s}")
    if people is not None:
        _check_scores(names, people[0], transform, lambda row: f"population, row {row + 1}", vary=False)
    several = dict(time=time, group=group, previous=previous, increasing=increasing, combine=combine,
                   approximation=approximation)  # fmt: skip
    several |= {"scores": names[1:], "labelers function": labelers == "function"}
    of_kind = kinds.read(given["scores"], instances, kind, **several)
    sampling = None if weights is None else io.read_weights(given["weights"], instances)
    config = dataclasses.replace(config, gp=_processes(config, names, values, approximation, n_basis, combine))
    _check_size(config, labels, len(names))
    if of_kind is not None:
        values, people = _separate(of_kind, kind, values, people, given["population"])
        config = dataclasses.replace(config, gp=dataclasses.replace(config.gp, columns="separate"))
    stands_for = importance_of(values, sampling, people)
    config = scaled(config, labels, stands_for)
    identity, earlier = _digest(labels, values, None), None
    before = _before(previous, start=start, time=time, group=group, approximation=approximation, n_basis=n_basis,
                     combine=combine)  # fmt: skip
    if before is not None:
        earlier = going_on.of(before, config, transform, names, index, identity)
        config = earlier.fit.config
    named = periods.read(given["scores"], instances, time, group)
    if named is not None:
        identity = _digest(labels, values, named)
        drift = labelers == "offset" and named.cells.n_periods > 1
        drift = drift and 2 * labels.n_labelers * named.cells.n_periods <= periods.MOST_DRIFTS
        config = dataclasses.replace(config, cells=named.cells, drift=drift)
    cell, people_cell = None if named is None else named.cell, None
    if named is not None and people is not None:
        people_cell = periods.of_population(given["population"], named, time, group)
    method, reason = _inference(inference, draws)
    key, other = jax.random.split(key)
    scale = Scale.learn(values, transform=transform) if earlier is None else earlier.scale
    begin = None
    if start is not None:
        begin, scale = _continued(start, index, identity, config, transform)
    remarks = _about_numbers(names, values, people, scale)
    if earlier is not None:
        remarks += going_on.warnings(before, earlier, index)
    prior = None if earlier is None else earlier.prior(earlier.fit)
    mapping = io.mapping(triples, given)
    mesh = _mesh(int((labels.counts > 0).sum()), devices)

    given_to = dict(scale=scale, importance=stands_for, cell=cell, mesh=mesh, progress=progress)
    fit = contextual.fit(labels, values, config, key, method, start=begin, prior=prior, **given_to)
    if inference is None and fit.diagnostics["khat"] > GOOD and _small(labels):
        reason += f"; laplace had a Pareto k-hat of {fit.diagnostics['khat']:.2f}, above {GOOD}, so nuts"
        method = Inference("nuts") if draws is None else Inference("nuts", n_draws=draws)
        fit = contextual.fit(labels, values, config, key, method, prior=prior, **given_to)
    if not np.isfinite(fit.unconstrained).all():
        raise FitError(f"the fit failed: {method.method} ended at numbers that are not finite")
    probability = np.asarray(contextual.item_posteriors(fit, labels, values, cell=cell, mesh=mesh), np.float64)
    weaker = None
    if config.constraint == "both":
        weak = dataclasses.replace(config, constraint="ordered", bias_mean=(config.bias_mean[0], WIDE))
        prior = None if earlier is None or earlier.weaker is None else earlier.prior(earlier.weaker)
        weaker = contextual.fit(labels, values, weak, key, BESIDE, judged=False, prior=prior, **given_to)
    found, said_of_it = of_prevalence(
        fit, weaker, labels, values, sampling, people, chances, cell, people_cell, other, mesh
    )
    remarks += said_of_it
    by_cell: dict[str, pa.Table] = {}
    if named is not None:
        over = None if people is None else (people[0], people_cell, people[1])
        again = jax.random.fold_in(other, 1)
        by_cell, said_of_cells = periods.tables(fit, named, index, values, sampling, over, truth, again)
        remarks += said_of_cells
    remarks += outliers.about_weights("weights", sampling)
    alike = config.labelers == "global"
    compared = () if alike else agreement(fit, labels, values, cell=cell)
    remarks += pairs.about(compared, index.labelers, found["method"] == ASSISTED)
    remarks += [] if triples.anonymous else pairs.about_cuts(labels, _first(values), names, index.labelers)
    uncounted = labels.n_instances - len(np.unique(labels.instance[labels.counts > 0]))
    if uncounted:
        remarks.append(
            f"{uncounted} of {labels.n_instances} instances have no label that counts (weights of 0): only their score "
            "says what they are, and the vote share leaves them out."
        )
    if of_kind is not None:
        again = jax.random.fold_in(other, 1)
        found_by_kind = kinds.prevalence(fit, of_kind.groups, values, sampling, people, truth, again)
        by_cell = {"prevalence": found_by_kind}
    if len(names) > 1:
        at = ", ".join(f"{n} = {m:.4g}" for n, m in zip(names[1:], np.median(values[:, 1:], 0), strict=True))
        remarks.append(f"Curves are along {names[0]}, with the other scores at their medians: {at}.")
    if alike:
        remarks.append("Labelers are taken to be alike: their table repeats the crowd's sensitivity and specificity.")
    record = {
        "model": "contextual",
        "result": _summary(fit),
        "inference": method.method,
        "inference_reason": reason,
        "diagnostics": fit.diagnostics,
        "stopped": "stopped" in fit.diagnostics,
        "n_labels": int((labels.counts > 0).sum()),
        "n_labelers": labels.n_labelers,
        "n_instances": labels.n_instances,
        "n_gold": 0 if truth is None else int(np.isfinite(truth).sum()),
        "n_population": None if people is None else len(people[1]),
        "columns": mapping,
        "scores": names,
        "transform": transform,
        "time": time,
        "group": group,
        "kind": kind,
        "kinds": None if of_kind is None else of_kind.groups,
        "previous": None if earlier is None else earlier.about(before),
        "weights": sampling is not None,
        "level": LEVEL,
        "seconds": 0.0,
        "seed": of_seed,
        "classes": list(index.classes),
        "repeats": repeats,
        "agreement": pairs.record(compared, index.labelers),
        "labels_sha256": identity,
        "config": dataclasses.asdict(config),
        "settings": dataclasses.asdict(method),
        "versions": {"jax": jax.__version__, "numpyro": version("numpyro"), "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
        "warnings": [
            *about_labels(labels, triples, repeats),
            *fit.warnings,
            *about_gold(truth, index.classes),
            *about_contradiction(truth, labels, index.classes),
            *remarks,
        ],
    }
    result = ContextualResult(
        tables={
            "instances": answer_table(
                instances, probability, index.classes, **_score_columns(names, values, record["kinds"])
            ),
            "curves": _curves(fit, values, people, record["kinds"]),
            "labelers": _labelers(fit, labels, index),
            "calibration": _calibration(fit, names, values, people, record["kinds"]),
            **by_cell,
        },
        record=record,
        kind=kind_of(table, triples.roles),
        prevalence=found,
        fit=fit,
        index=index,
        scaling={},
        scores=values,
        population=people,
        gold=truth,
        tally=tally(labels, probability),
        weights=sampling,
        cell=cell,
        people_cell=people_cell,
        weaker=weaker,
    )
    record["seconds"] = perf_counter() - started
    return result


def load(folder: Path, record: dict[str, Any]) -> ContextualResult:
    """The result that ``ContextualResult.save`` wrote, its record being read."""
    try:
        by_cell = record.get("time") is not None or record.get("group") is not None
        more = [n for n in CELL_TABLES if (folder / f"{n}.parquet").is_file()]
        tables = read_tables(folder, "instances", "curves", "labelers", "calibration", *more)
        prevalence = json.loads((folder / "prevalence.json").read_text(encoding="utf-8"))
        classes = record.get("classes") or record.get("words") or (0, 1)  # words: as they were written before
        record = {"repeats": "count", **record}
        index = io.index_of(tables["labelers"], tables["instances"], classes)
        n, w, columns = len(index.instances), len(index.labelers), len(record.get("kinds") or record["scores"])
        people, gold, weighted = record["n_population"], record["n_gold"], record["weights"]
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{folder}: not a contextual fit of crowdjax ({error!r:.100})") from None
    if not (folder / "inputs.npz").is_file():
        raise InputError(f"{folder}: written by an earlier version, without inputs.npz; allowed: a fit made anew")
    like = {
        "scores": np.zeros((n, columns)),
        "votes": np.zeros((n, 2)),
        "agreement": np.zeros((w, 2, 2)),
        "n_crowds": np.zeros((), int),
        **({} if people is None else {"population": (np.zeros((people, columns)), np.zeros(people))}),
        **({"gold": np.zeros(n)} if gold else {}),
        **({"weights": np.zeros(n)} if weighted else {}),
        **({"cell": np.zeros(n, np.int32)} if by_cell else {}),
        **({"people_cell": np.zeros(people, np.int32)} if by_cell and people is not None else {}),
    }
    found = results.load_arrays(folder / "inputs.npz", like)
    fit = contextual.load(folder)
    return ContextualResult(
        tables=tables,
        record={**record, "diagnostics": fit.diagnostics},
        kind=as_arrow,
        prevalence=prevalence,
        fit=fit,
        index=index,
        scaling={},
        scores=found["scores"],
        population=found.get("population"),
        gold=found.get("gold"),
        tally=Tally(found["votes"], found["agreement"], int(found["n_crowds"])),
        weights=found.get("weights"),
        cell=found.get("cell"),
        people_cell=found.get("people_cell"),
        weaker=contextual.load(folder / WEAKER) if (folder / WEAKER).is_dir() else None,
    )


# Settings


def _refuse_counts(triples: io.Triples, labelers: Level) -> None:
    if triples.anonymous and labelers != "global":
        raise InputError(f"labelers: got {labelers!r} with counts, whose labelers nobody knows; allowed with counts: "
                         "global (--labelers global)")  # fmt: skip


def _digest(labels: Labels, scores: Float[np.ndarray, "I C"], named: periods.Named | None) -> str:
    """Of what a fit rests on: labels, gold, scores, and the periods and groups of instances."""
    cells = () if named is None else (named.cell, np.frombuffer(repr((named.times, named.groups)).encode(), np.uint8))
    parts = (labels.labeler, labels.instance, labels.label, labels.counts, labels.gold, scores, *cells)
    return hashlib.sha256(b"".join(b"-" if p is None else np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()


def _continued(start, index: LabelIndex, identity: str, config: ContextualConfig, transform: Transform):
    """(the fit to go on from, its scale)."""
    if not isinstance(start, ContextualResult):
        raise InputError(f"start: got {type(start).__name__}; allowed: an earlier result of crowdjax.context")
    same = all(np.array_equal(getattr(start.index, side), getattr(index, side)) for side in ("labelers", "instances"))
    if not same or start.record.get("labels_sha256") != identity:
        raise InputError(
            "start: a fit of other labels, gold or scores, periods or groups; allowed: an earlier result of the same"
        )
    if (start.fit.config, start.fit.scale.transform) != (config, transform):
        raise InputError("start: a fit with other settings of the functions or the transform; allowed: with the same")
    if start.fit.prior is not None:
        raise InputError("start: a fit that went on from an earlier result; allowed: one without previous=")
    return start.fit, start.fit.scale


def _before(previous, **others) -> ContextualResult | None:
    """The earlier result, read where a folder is given; what is given beside it and has no sense there is refused."""
    if previous is None:
        return None
    for name, value in others.items():
        if value is not None:
            raise InputError(f"{name}: given with previous, whose fit has its own; allowed: one of them")
    if isinstance(previous, ContextualResult):
        return previous
    folder = Path(path_of("previous", previous, "a folder of a result of crowdjax context"))
    record = results.read_result(folder)
    if record.get("model") != "contextual":
        raise InputError(f"previous: {folder} holds a result of {record.get('model')!r}; allowed: of crowdjax context")
    return load(folder, record)


def _mesh(n_labels: int, devices: int | None) -> Mesh | None:
    """The devices of this process that a fit of so many labels uses."""
    n = (
        1
        if jax.process_count() > 1
        else parallel.n_devices(n_labels, None if devices is None else whole("devices", devices))
    )
    return None if n == 1 else Mesh(np.array(jax.devices()[:n]), (AXIS,))


def _check_scores(names, values, transform: Transform, about: Callable[[int], str], *, vary: bool = True) -> None:
    """Refuses what ``Scale`` would, by the names that the user knows."""
    for name, column in zip(names, values.T, strict=True):
        if vary and column.min() == column.max():
            raise InputError(
                f"scores: column {name!r} is {column[0]:g} throughout; allowed: scores that differ between instances"
            )
        outside = np.flatnonzero((column < 0) | (column > 1))
        if transform == "logit" and outside.size:
            row = int(outside[0])
            raise InputError(
                f"scores: column {name!r}, {about(row)}: got {column[row]:g}; allowed with transform logit: 0 to 1"
            )


def _about_numbers(names, values, others, scale: Scale, place: str = "population") -> list[str]:
    """What is odd about scores, and about others (with their counts), if any; refuses others of another unit. Of kinds:
    of each by itself."""
    if is_separate(values):
        out = []
        for k in range(values.shape[1]):
            mine, part = np.isfinite(values[:, k]), scale.column(k)
            theirs = None
            if others is not None:
                has = np.isfinite(others[0][:, k])
                theirs = (others[0][has, k][:, None], others[1][has]) if has.any() else None
            out += _about_numbers(names, values[mine, k][:, None], theirs, part, place)
        return out
    codes_only = scale.transform == "rank"  # no rank is far from the others
    seen = contextual.logit if scale.transform == "logit" else np.asarray
    names = [f"{name} (logit)" for name in names] if scale.transform == "logit" else names
    if others is None:
        return outliers.about_columns("scores", names, seen(values), codes_only=codes_only, so=outliers.NEAREST)
    scores, counts = others
    outliers.refuse_other_unit(place, names, seen(values), seen(scores))
    return outliers.about_others(
        place, names, seen(values), seen(scores), scale.beyond(scores), counts, codes_only=codes_only
    )


def _processes(config: ContextualConfig, names, values, approximation, n_basis, combine) -> GP:
    """How the Gaussian processes are represented; refuses what does not apply."""
    given = {"approximation": approximation, "n_basis": n_basis, "combine": combine}
    given = {name: setting for name, setting in given.items() if setting is not None}
    if given and "gp" not in (config.prevalence, config.accuracy):
        raise InputError(
            f"{next(iter(given))}: given with prevalence {config.prevalence!r} and accuracy {config.accuracy!r}, which "
            "have no Gaussian process; allowed where one of them is gp"
        )
    n, tensor = len(names), combine == "tensor"
    if combine is not None and n == 1:
        raise InputError(f"combine: got {combine!r} with one score, {names[0]!r}; allowed with two or more")
    if tensor and n > MOST_COMBINED:
        raise InputError(f"combine: got 'tensor' with {n} scores; allowed: up to {MOST_COMBINED}, or additive")
    approximation = approximation or ("inducing" if tensor else "hsgp")
    if approximation == "exact":
        if n_basis is not None:
            raise InputError("n_basis: given with approximation exact, which has no basis; allowed: hsgp, inducing")
        most = max(len(np.unique(term, axis=0)) for term in ([values] if tensor else values.T))
        if most > MAX_EXACT:
            raise InputError(
                f"approximation: got 'exact' with {most} distinct scores; allowed: up to {MAX_EXACT}, or hsgp, inducing"
            )
    n_basis = config.gp.n_basis if n_basis is None else whole("n_basis", n_basis)
    most = int(MOST_BASIS ** (1 / n)) if tensor and approximation == "hsgp" else MOST_BASIS
    if not 2 <= n_basis <= most:
        of = f" of each of {n} scores" if most < MOST_BASIS else ""
        raise InputError(f"n_basis: got {n_basis}; allowed with {approximation}: 2 to {most}{of}")
    return dataclasses.replace(config.gp, approximation=approximation, n_basis=n_basis, columns=combine or "additive")


def _check_size(config: ContextualConfig, labels: Labels, n_columns: int) -> None:
    own = {"global": 0, "offset": 2, "function": 2 + 2 * config.labeler_gp.n_basis * n_columns}[config.labelers]
    if own * labels.n_labelers > MOST_UNKNOWNS:
        raise InputError(
            f"labelers: got {config.labelers!r}, which gives {labels.n_labelers} labelers {own * labels.n_labelers} "
            f"unknowns; allowed: up to {MOST_UNKNOWNS}, as with {'offset or ' * (own > 2)}global"
        )


GOOD = 0.7  # Pareto k-hat, up to which an approximation is taken for the posterior
MOST_NUTS = {"instances": 3000, "labels": 20_000}  # up to which NUTS takes its place otherwise


def _small(labels: Labels) -> bool:
    """Whether NUTS takes a minute or two, and no hours."""
    n_labels = int((labels.counts > 0).sum())
    return labels.n_instances <= MOST_NUTS["instances"] and n_labels <= MOST_NUTS["labels"]


WIDE = 2.0  # standard deviation of the bias's level under the weaker constraint: labelers may miss most positives
BESIDE = Inference("laplace")  # of the fit under the weaker constraint


def _inference(inference: Method | Inference | None, draws: int | None) -> tuple[Inference, str]:
    """(the settings, why these)."""
    reason = "as asked for" if inference is not None else "by default"
    if not isinstance(inference, Inference):
        inference = Inference(inference or "laplace")
    return inference if draws is None else dataclasses.replace(inference, n_draws=draws), reason


# Answers


def _summary(fit: ContextualFit) -> str:
    d = fit.diagnostics
    if fit.inference.method == "nuts":
        return f"nuts with R-hat {d['rhat']:.3f}, ESS {d['ess']:.0f}, {d['divergences']:.0f} divergences"
    return f"{fit.inference.method} with Pareto k-hat {d['khat']:.2f}"


def _along_first(x: Float[np.ndarray, " X"], scores: Float[np.ndarray, "I C"]) -> Float[np.ndarray, "X C"]:
    """x as the first score, the others at their medians."""
    return np.c_[x, np.broadcast_to(np.median(scores[:, 1:], 0), (len(x), scores.shape[1] - 1))]


def _all_scores(scores, population) -> Float[np.ndarray, "n C"]:
    return scores if population is None else np.r_[scores, population[0]]


def _separate(named: periods.Named, column, values, people, population):
    """(scores of the instances, and the population with its counts, each score in the column of its kind)."""
    values = kinds.spread(values, named.cell, len(named.groups))
    kinds.refuse_constant(values, named.groups)
    if people is not None:
        at = periods.of_population(population, named, None, column)
        people = kinds.spread(people[0], at, len(named.groups)), people[1]
    return values, people


def _first(scores: Float[np.ndarray, "n C"]) -> Float[np.ndarray, "n C"]:
    """The scores by the names that the user knows: of kinds the only one of each row."""
    return kinds.gathered(scores)[0] if is_separate(scores) else scores


def _curves(fit: ContextualFit, scores, population, of_kinds=None) -> pa.Table:
    if of_kinds is not None:
        return kinds.curves(fit, _all_scores(scores, population), of_kinds, GRID)
    first = _all_scores(scores, population)[:, 0]
    low, high = np.clip([first.min(), first.max()], *fit.scale.ends[:, 0])  # beyond, functions stay as they are
    x = fit.scale.even(low, high, GRID)
    found = contextual.functions(fit, _along_first(x, scores), LEVEL)
    parts = {part: np.concatenate([getattr(band, part) for band in found]).astype(float) for part in Band._fields}
    return pa.table({"quantity": np.repeat(found._fields, len(x)), "score": np.tile(x, 3), **parts})


def _calibration(fit: ContextualFit, names, scores, population, of_kinds=None) -> pa.Table:
    """At the distinct scores, thinned evenly."""
    rows = _all_scores(scores, population)
    if of_kinds is not None:
        score, kind = kinds.gathered(rows)
        distinct = np.unique(np.c_[kind, score], axis=0)
        rows = kinds.spread(distinct[:, 1:], distinct[:, 0].astype(int), len(of_kinds))
    else:
        rows = np.unique(rows, axis=0)
    rows = rows[plots.evenly(len(rows), MOST_CALIBRATION)]
    band = contextual.calibrate(fit, rows, level=LEVEL)
    columns = {"probability": band.mean, "lower": band.lower, "upper": band.upper}
    return pa.table({**_score_columns(names, rows, of_kinds), **{k: np.asarray(v, float) for k, v in columns.items()}})


def _score_columns(names, values, of_kinds=None) -> dict[str, Any]:
    """The first score as score, others as score_NAME; of kinds the kind and its score."""
    if of_kinds is not None:
        score, kind = kinds.gathered(values)
        return {"kind": pa.array([of_kinds[k] for k in kind]), "score": score[:, 0]}
    return {"score": values[:, 0]} | {f"score_{n}": v for n, v in zip(names[1:], values[:, 1:].T, strict=True)}


def _labelers(fit: ContextualFit, labels: Labels, index: LabelIndex) -> pa.Table:
    found = contextual.labeler_table(fit, LEVEL)
    n = found.n_labels if labels.weight is not None else np.rint(found.n_labels).astype(np.int64)
    bands = {"sensitivity": found.sensitivity, "specificity": found.specificity}
    if fit.config.labelers != "global":
        bands |= {"balanced_accuracy": found.balanced, "rank": found.rank}
    columns = {}
    for name, band in bands.items():
        for suffix, values in zip(("", "_lower", "_upper"), band, strict=True):
            columns[name + suffix] = np.asarray(values, float)
    return pa.table({"labeler": io.ids(index, "labeler"), "n_labels": n, **columns})


def _interval(estimate: Mapping[str, Any]) -> tuple[float, float, float]:
    return tuple(np.nan if estimate[k] is None else estimate[k] for k in Band._fields)
