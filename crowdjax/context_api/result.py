"""The result of the contextual model: tables, figures, report, queries and storage."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from jaxtyping import Float, Int

from crowdjax import contextual, io, plots, posterior, saving
from crowdjax import report as reports
from crowdjax.cautions import about_classes, about_labels
from crowdjax.context_api import inputs, outputs
from crowdjax.contextual import Band, ContextualFit, Functions, gain
from crowdjax.facade import kinds, periods
from crowdjax.facade.checks import CheckResult, check
from crowdjax.facade.fitted import Fitted
from crowdjax.facade.prevalence import ASSISTED
from crowdjax.formats import Form
from crowdjax.integrated import LEVEL
from crowdjax.labels import InputError, LabelIndex, Labels
from crowdjax.result import Prediction, Tally, class_table, labels_of_labelers, read_tables, shown
from crowdjax.roles import Columns
from crowdjax.settings import whole
from crowdjax.tables import as_arrow, kind_of

MOST_LINES = 40  # labelers in a figure
MOST_POINTS = 20_000  # instances behind a reliability diagram
WEAKER = "ordered"  # folder of the fit under the weaker constraint
CELL_TABLES = ("prevalence", "changes", "labelers_by_period")
MOST_NEXT = 10_000  # labels that are planned one after the other
MOST_CELLS = 2e7  # posterior draws times instances, of which the next labels are chosen
LEAST_GOLD = 100  # with fewer, reliability is measured against the posteriors


@dataclasses.dataclass(frozen=True, repr=False)
class ContextualResult(Fitted):
    """The result of a contextual fit: estimates for instances, labelers and the population, with 95 % intervals.

    Attributes:
        instances: table of instances, of the kind that the labels came in: instance, score, probability (that the truth
            is 1), label. Scores beyond the first are columns score_NAME.
        curves: table: quantity (prevalence, sensitivity or specificity of the crowd), score, mean, lower, upper.
        labelers: table: labeler, n_labels, sensitivity and specificity; where labelers differ also balanced_accuracy
            and rank; each measure with NAME_lower and NAME_upper; with gold each labeler's own record: gold_labels,
            gold_accuracy, gold_positives, gold_sensitivity, gold_negatives, gold_specificity.
        calibration: table: score, probability, lower, upper, at observed scores.
        prevalence: dict: mean, lower, upper, level, method; ``estimates`` has every estimate.
        tables: these four as pyarrow, by name.
        record: the content of ``fit.json``: diagnostics, settings, sizes, warnings.
        fit: the ``ContextualFit``; its rows are in the order of ``index``.
        index: the ids of labelers and instances, and the two classes.
        scores: scores of the instances, shape [I, C].
        population: (scores [K, C], counts [K]) of the population; None where not given.
        gold: code of the truth, NaN where unknown, shape [I]; None without gold.
        tally: counts of the labels.
        weights: number of instances of the population that each instance represents, shape [I]; None where not given.
        weaker: the second fit, under the weaker constraint; None without one.
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
        """The prevalence in a sentence and, with periods, that of the latest period and its change."""
        found = [f"prevalence: {self.prevalence['headline']}"] if "headline" in self.prevalence else []
        latest = reports.periods.headline(self.tables)
        each = self.tables["prevalence"].to_pylist() if self.record.get("kinds") else []
        for row in each:
            assisted = row.get("assisted_mean") is not None
            mean, lower, upper = (row[f"assisted_{end}" if assisted else end] for end in ("mean", "lower", "upper"))
            by = f"; {ASSISTED}" if assisted else ""
            found.append(f"{row['kind']}: {mean:.1%} ({lower:.1%} to {upper:.1%}{by})")
        return [*found, *([f"latest period: {latest}"] if latest else [])]

    def page(self, figures: Mapping[str, plots.Figure] | None = None) -> reports.Page:
        """Build the HTML report on the functions, the labelers and the instances (docs/reports.md).

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
        """Save tables, ``prevalence.json``, ``fit.json``, the fit and the figures (SVG and PNG) to a folder; the folder
        appears whole or not at all.

        Args:
            report: whether to write ``report.html`` as well (:meth:`page`).
        """
        with saving.new_result(out, self.record) as folder:
            self.write_tables(folder)
            saving.write_json(folder / "prevalence.json", self.prevalence)
            saving.save_arrays(folder / "inputs.npz", self._inputs())
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
        """Return the arrays that the result needs besides the fit, for :func:`load`."""
        given = {"population": self.population, "gold": self.gold, "weights": self.weights}
        given |= {"cell": self.cell, "people_cell": self.people_cell}
        counts = self.tally._replace(n_crowds=np.array(self.tally.n_crowds))._asdict()
        return {"scores": self.scores, **counts, **{k: v for k, v in given.items() if v is not None}}

    def figures(self) -> dict[str, plots.Figure]:
        """Draw the figures: functions over the scores' density, reliability before and after calibration, prevalence
        estimates, labelers' own curves, and estimates over time and by group, as far as the fit has them.
        """
        forecasts, observed = self.forecasts()
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
        """Return the kinds by number; [None] of a fit without."""
        return [None] if self.record.get("kinds") is None else range(len(self.record["kinds"]))

    def _functions(self, kind: int | None) -> tuple[np.ndarray, dict[str, tuple], dict[str, tuple], dict[str, Any]]:
        """Return (scores, title -> (mean, lower, upper), densities of scores, settings of the axis), to draw
        functions."""
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
        """Convert the posterior draws to ArviZ's format, chains × draws (needs the extra ``arviz``).

        ``posterior`` holds prevalence_curve, sensitivity_curve and specificity_curve over score, prevalence (of the
        population, as in ``prevalence``), and the model's own unknowns. SVI and Laplace give one chain, and
        ``attrs["chains"]`` says so.

        Args:
            table, columns: the labels of the fit, as in :func:`context`; with them, ``log_likelihood`` holds log
                p(labels) of each instance, the truth summed out.

        Raises:
            InputError: arviz-base is not installed; the labels are not those of the fit.
        """
        if self.record.get("kinds") is not None:
            raise InputError("to_arviz: a fit with kinds, whose functions have several scores; use result.fit.draws")
        x = np.unique(self.tables["curves"]["score"].to_numpy())
        population, key, cell = self.population, None, self.people_cell
        if population is None:
            cell = self.cell
            population, key = (self.scores, self.weights), jax.random.key(self.record["seed"] or 0)
        labels = None if table is None else self._labels(table, columns)
        prevalence = contextual.prevalence_draws(self.fit, *population, key=key, cell=cell)
        curves = x, outputs.along_first(x, self.scores)
        drawn = posterior.of_contextual(self.fit, self.scores, curves, prevalence, labels, self.cell)
        return posterior.tree(drawn, self.index, labels)

    def _labels(self, table, columns) -> Labels:
        """Return the labels of the fit, read once more."""
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
        """Infer the truth of new instances from their labels and scores, by the posterior of the fit.

        Args:
            table: labels, as in :func:`context`; their values are those of the fit. A labeler who is not in the fit is
                drawn from the crowd's distribution.
            scores: a table with one row for every instance and the score columns of the fit.
            columns, form, missing, header: as in :func:`context`.

        Raises:
            InputError: as in :func:`context`, or a label has a value that the fit does not have.

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
        inputs.refuse_counts(triples, self.fit.config.labelers)
        labels, instances = triples.labels(repeats=self.record["repeats"]), io.ids(triples.index, "instance")
        _, values = io.read_values(given["scores"], "instance", instances, names, kind="scores")
        transform = self.fit.scale.transform
        inputs.check_scores(
            names, values, transform, lambda row: f"instance {triples.index.instances[row]!s}", vary=False
        )
        values = self._by_kind(given["scores"], instances, values)
        known = io.positions(io.ids(triples.index, "labeler"), io.ids(self.index, "labeler"))
        unseen = (known < 0) & (self.fit.config.labelers != "global")
        fit = contextual.with_labelers(self.fit, known, jax.random.key(self.record["seed"] or 0))
        cell = periods.of_others(given["scores"], instances, self.record, self.tables.get("prevalence"))
        probability = np.asarray(contextual.item_posteriors(fit, labels, values, cell=cell), np.float64)
        warnings = about_labels(labels, triples, self.record["repeats"])
        warnings += about_classes(probability, labels_of_labelers(labels)[known < 0], self.index.classes)
        if cell is not None and (cell < 0).any():
            warnings.append(
                f"{(cell < 0).sum()} of {len(cell)} instances are of a period or group that is not in the fit; they are"
                " assumed to be of the mean one."
            )
        if unseen.any():
            warnings.append(
                f"{unseen.sum()} of {len(unseen)} labelers are not in the fit; they are drawn from its crowd."
            )
        warnings += inputs.about_numbers(names, self.scores, (values, np.ones(len(values))), fit.scale, "new instances")
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
        columns_ = outputs.score_columns(names, values, self.record.get("kinds"))
        answers = class_table(instances, probability, self.index.classes, **columns_)
        return Prediction({"instances": answers}, record, kind_of(table, triples.roles))

    def again(self, labels: Labels):
        """Infer the instances of the fit again from some of their labels, by its scores."""
        return contextual.item_posteriors(self.fit, labels, self.scores, cell=self.cell)

    def checks(self, table, *, scores=None, columns: Columns | None = None, **settings) -> CheckResult:
        """Run posterior predictive checks: compare the labels with replicates, each from another posterior draw
        (``crowdjax.facade.checks.check``).

        Args:
            table, columns, settings: as there.
            scores: those of the fit, by default as the result holds them.

        Raises:
            InputError: as there, or the scores are not those of the fit.
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
        """Return the scores as the fit takes them: each in the column of its kind, where there are kinds."""
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
        """Rank the instances to label next by how much a further label narrows the prevalence
        (``crowdjax.contextual.gain``). An instance may come up again.

        Existing labels count as votes, as if all were from average labelers. Instances with gold are left out.

        Returns:
            A table: instance, score, probability, gain (the share of the prevalence's variance that this label removes)
            and left (the share that remains after it).
        """
        whole("next", n, 1, MOST_NEXT)
        if self.record.get("kinds") is not None:
            raise InputError("next: a fit with kinds, which has several prevalences; allowed: a fit of one kind")
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
            raise InputError("next: every instance has gold; allowed: a fit in which some have none")
        q = (p * sensitivity + (1 - p) * (1 - specificity))[:, open_]
        found = gain.batch(prevalence, q, n)
        rows = open_[found.instance]
        table = self.tables["instances"].select(["instance", "score", "probability"]).take(rows)
        before = np.r_[1.0, found.left[:-1]]
        return table.append_column("gain", pa.array(before - found.left)).append_column("left", pa.array(found.left))

    def observed(self, part: Labels, drawn: np.ndarray, n: int) -> tuple[contextual.Contextual, list]:
        """Build the observation model of some of the instances, and draw n values of its parameters, for checks."""
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
        """Return the labelers with most labels; of these, the two best and the two worst by name."""
        most = np.argsort(-self.fit.labels_per_labeler, kind="stable")[:MOST_LINES]
        rank = self.tables["labelers"]["rank"].to_numpy()[most]
        best = np.argsort(rank, kind="stable")
        named = best if len(best) <= 4 else np.r_[best[:2], best[-2:]]
        at = outputs.along_first(x, self.scores)
        if kind is not None:
            at = kinds.spread(x[:, None], np.full(len(x), kind), self.scores.shape[1])
        own = contextual.labeler_functions(self.fit, at, most, LEVEL)
        panels = {name.capitalize(): (crowd[name.capitalize()][0], getattr(own, name).mean) for name in own._fields[1:]}
        low, high = (self.tables["labelers"][f"rank_{end}"].to_numpy()[most] for end in ("lower", "upper"))
        ids = [plots.short(str(i)) for i in self.index.labelers[most]]
        names = {int(row): f"{ids[row]}: rank {low[row]:.0f} to {high[row]:.0f}" for row in named}
        return plots.labeler_curves(x, panels, names, **axis)

    def forecasts(self) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], str]:
        """Return the score as it is (if it is a probability) and calibrated, each with the truth: gold where there is
        enough, else the instances' posteriors."""
        known = np.zeros(0, int) if self.gold is None else np.flatnonzero(np.isfinite(self.gold))
        gold = len(known) >= LEAST_GOLD
        known = known if gold else np.arange(len(self.scores))
        rows = known[plots.evenly(len(known), MOST_POINTS)]
        truth = (
            (self.gold[rows] > 0).astype(float) if gold else self.tables["instances"]["probability"].to_numpy()[rows]
        )
        first, forecasts = outputs.first_score(self.scores[rows])[:, 0], {}
        if first.min() >= 0 and first.max() <= 1:
            forecasts["score"] = (first, truth)
        forecasts["calibrated"] = (contextual.calibrate(self.fit, self.scores[rows]).mean, truth)
        return forecasts, "share of positives (gold)" if gold else "mean posterior of the instances"


def load(folder: Path, record: dict[str, Any]) -> ContextualResult:
    """Load a result that ``ContextualResult.save`` wrote, given its record."""
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
        raise InputError(f"{folder}: written by an earlier version, without inputs.npz; fit again")
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
    found = saving.load_arrays(folder / "inputs.npz", like)
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


def _interval(estimate: Mapping[str, Any]) -> tuple[float, float, float]:
    return tuple(np.nan if estimate[k] is None else estimate[k] for k in Band._fields)
