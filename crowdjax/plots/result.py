"""The figures of results, ``result.plot.NAME()``: from a result's tables, and its labels, to axes.

figure                      takes
confusion, labelers         tables
agreement, map              the labels: of the fit, or given again where the result was loaded
instances                   tables, and of fits without scores the votes
reliability, labels_needed  truth: gold
prevalence                  a fit with scores
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from crowdjax import io
from crowdjax.columns import show, when
from crowdjax.labels import InputError, LabelIndex, Labels
from crowdjax.plots import agreement as pairwise
from crowdjax.plots import amounts, judgements
from crowdjax.plots.calibration import reliability_on
from crowdjax.plots.confusions import MOST_PANELS, matrices_of, tiles
from crowdjax.plots.functions import over_score
from crowdjax.plots.instances import instances as points
from crowdjax.plots.labelers import forest
from crowdjax.plots.periods import over_periods
from crowdjax.plots.style import short
from crowdjax.roles import by_table
from crowdjax.settings import seed_of
from crowdjax.settings import whole as whole_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_GROUPS = 4  # groups, or classes, in one figure
MEASURES = ("accuracy", "balanced_accuracy", "informedness", "sensitivity", "specificity")
GOLD = {"accuracy": "labels", "sensitivity": "positives", "specificity": "negatives"}  # measure -> gold_NAME, its count


class Given(NamedTuple):
    """Labels that count, as arrays.

    Attributes:
        whole: as the fit had them.
    """

    labeler: Int[np.ndarray, " N"]
    instance: Int[np.ndarray, " N"]
    label: Int[np.ndarray, " N"]
    whole: Labels


class Plots:
    """The figures of one result, each a method that draws on ``ax``, or a new figure, and returns the axes.

    Example:
        >>> import crowdjax
        >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
        >>> plot = crowdjax.fit(labels, model="one-coin").plot
        >>> dir(plot)
        ['agreement', 'confusion', 'instances', 'labelers', 'labels_needed', 'map', 'prevalence', 'reliability']
        >>> plot.confusion(["a"]).get_xlabel()
        'label'
    """

    def __init__(self, result: Any):
        self._result = result

    def __dir__(self) -> list[str]:
        return sorted(name for name in vars(type(self)) if not name.startswith("_"))

    def __repr__(self) -> str:
        docs = {name: (inspect.getdoc(getattr(self, name)) or "").split("\n")[0] for name in dir(self)}
        width = max(map(len, docs)) + 2
        return "\n".join(["result.plot.NAME(ax=None):", *(f"  {name:{width}}{doc}" for name, doc in docs.items())])

    # Labelers

    def confusion(self, labelers: Sequence[Any] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw confusion matrices, P(label | truth): a tile for each labeler.

        Args:
            labelers: their ids; by default the twelve with most labels.

        Raises:
            InputError: the result has no matrices; an id is none of its labelers.
        """
        who = self._most("confusion", labelers)
        classes = self._classes
        values = self._result.record.get("values") or classes
        tables = self._result.tables
        if "confusion" in tables:
            table = tables["confusion"]
            if table["labeler"].null_count == table.num_rows:  # of the crowd alone
                titles, found = matrices_of(table, classes, values, [None])
                titles = ["all labelers"]
            else:
                import pyarrow.compute as pc

                table = table.filter(pc.is_in(table["labeler"], value_set=_like(who, table["labeler"])))
                titles, found = matrices_of(table, classes, values, who)
        elif len(classes) == 2 and "sensitivity" in tables["labelers"].column_names:
            of = {name: dict(zip(self._labelers, self._numbers("labelers", name), strict=True))
                  for name in ("specificity", "sensitivity")}  # fmt: skip
            ends = [(of["specificity"][w], of["sensitivity"][w]) for w in who]
            titles, found = list(map(str, who)), np.array([[[a, 1 - a], [1 - b, b]] for a, b in ends])
        else:
            raise self._lacks("confusion", "the result has no confusion matrices",
                              "crowdjax.fit(labels).plot.confusion(), with 50 classes at most")  # fmt: skip
        return tiles(found, self._names, _names(values), titles, ax=ax)

    def labelers(self, measure: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw a measure of labelers with intervals, the best at the top, gold beside where there is any.

        Args:
            measure: accuracy (the default), balanced_accuracy, informedness, sensitivity or specificity, as the table
                of labelers has it.

        Raises:
            InputError: the table of labelers has no such column.
        """
        table = self._table("labelers", "labelers")
        there = [name for name in MEASURES if name in table.column_names]
        if measure is None and there:
            measure = there[0]
        if measure not in there:
            raise InputError(f"labelers: no measure {show(measure)} in this result; allowed: {', '.join(there)}")
        own = ("lower", "upper") if measure == "accuracy" else (f"{measure}_lower", f"{measure}_upper")
        found = self._numbers("labelers", measure)
        nothing = np.full(len(found), np.nan)
        lower, upper = (self._numbers("labelers", end) if end in table.column_names else nothing for end in own)
        chance = {"informedness": 0.0, "balanced_accuracy": 1 / max(len(self._classes), 1)}.get(measure)
        level = f", {self._result.record.get('level', 0.95):.0%} interval"
        xlabel = measure.replace("_", " ") + (level if np.isfinite(lower).any() else "")
        return forest(found, lower, upper, self._labelers, xlabel=xlabel, chance=chance,
                      gold=self._gold_of_labelers(measure), ax=ax)  # fmt: skip

    def agreement(self, labels: Any = None, *, columns: Any = None, ax: Axes | None = None) -> Axes:
        """Draw the pairwise agreement of labelers, those who agree next to each other; of a check, by school.

        Args:
            labels: those that were fitted, where the result was loaded; columns: which is which, as in
                ``crowdjax.fit``.

        Raises:
            InputError: the labels are not kept, or not those of the fit; no two labelers have three instances in
                common.
        """
        given = self._labels("agreement", labels, columns)
        n = given.whole.n_labelers
        found = pairwise.pairs(given.labeler, given.instance, given.label, n)
        if not np.isfinite(found.share[~np.eye(n, dtype=bool)]).any():
            raise InputError(
                f"agreement: no two labelers have {pairwise.LEAST} instances in common; allowed: labels of which two "
                "do; result.plot.labelers() compares them with the inferred classes"
            )
        table = self._result.tables["labelers"]
        school = table["school"].to_numpy() if "school" in table.column_names else None
        return pairwise.agreement(found, self._labelers, school, ax=ax)

    # Instances

    def map(self, labels: Any = None, *, columns: Any = None, ax: Axes | None = None) -> Axes:
        """Draw every label: labelers by their skill, instances by the inferred class and its probability.

        Args:
            labels, columns: as in :meth:`agreement`.

        Raises:
            InputError: the labels are not kept, or not those of the fit.
        """
        given = self._labels("map", labels, columns)
        values = list(self._result.record.get("values") or self._classes)
        names = self._result.tables["labelers"].column_names
        skill = next((self._numbers("labelers", m) for m in MEASURES if m in names), np.zeros(given.whole.n_labelers))
        inferred, place = self._order(given)
        as_value = np.array([values.index(c) if c in values else -1 for c in self._classes])
        gold = given.whole.gold
        coded = [np.where(c >= 0, as_value[np.maximum(c, 0)], -1)
                 for c in (inferred, np.full(len(place), -1) if gold is None else np.asarray(gold))]  # fmt: skip
        return judgements.label_map(given.labeler, given.instance, given.label, _names(values), self._labelers,
                                    skill=skill, inferred=coded[0], place=place, gold=coded[1], ax=ax)  # fmt: skip

    def instances(self, labels: Any = None, *, columns: Any = None, ax: Axes | None = None) -> Axes:
        """Draw each instance at its place and the probability of its class; of a check, how surprising its labels are.

        The place is the position on the integrated model's axis, the score of a contextual fit, or else the share of
        its labels that say so.

        Args:
            labels, columns: as in :meth:`agreement`; for fits without positions and scores.

        Raises:
            InputError: the labels are needed and not kept, or not those of the fit.
        """
        table = self._table("instances", "instances")
        if "surprise" in table.column_names:
            return self._surprise(ax)
        two = len(self._classes) == 2
        p = self._numbers("instances", "probability" if two else "confidence")
        answer = self._codes("label")
        position = getattr(self._result, "position", None)
        placed = position is not None or "score" in table.column_names
        votes = self._votes_at_hand() if placed and labels is None else self._votes("instances", labels, columns)
        if position is not None:
            x, xlabel = np.asarray(position, float), "position on the model's axis"
        elif "score" in table.column_names:
            x, xlabel = self._numbers("instances", "score"), self._result.record["scores"][0]
        else:
            x, xlabel = self._share_of_votes(votes)
        groups = {"": np.ones(len(x), bool)}
        if votes is not None and votes.shape[1] == len(self._classes):
            most = votes[np.arange(len(votes)), answer] >= votes.max(1)
            groups = {"as most labels say": most, "against them": ~most}
        known = self._known_to_fit()
        if known is not None and known.any():
            groups = {name: here & ~known for name, here in groups.items()} | {"gold": known}
        ylabel = f"probability of {self._positive}" if two else "probability of the inferred class"
        ax = points(x, p, groups, xlabel=xlabel, ylabel=ylabel, ax=ax)
        low = 0.0 if two else min(float(p.min()), 0.9)  # of a fit that is sure of all, a scale that can be read
        room = 0.04 * (1 - low)
        ax.set_ylim(low - room, 1 + room)
        return ax

    # Against truth

    def reliability(self, gold: Any = None, *, columns: Any = None, ax: Axes | None = None) -> Axes:
        """Draw how often classes are right over the probability that the model gives them.

        Of two classes the probability of the positive one, of more that of the inferred class. What the fit knew as
        gold is left out; of a contextual fit with gold, the default is the calibrated score against it.

        Args:
            gold: a table with truths that the fit did not know: instance, label.
            columns: which is which, as in ``crowdjax.fit``.

        Raises:
            InputError: there is no truth that the fit did not know.
        """
        if not {"probability", "confidence"} & set(self._table("reliability", "instances").column_names):
            raise self._lacks("reliability", "a check infers no classes",
                              "crowdjax.fit(labels).plot.reliability(gold)")  # fmt: skip
        known = self._known_to_fit()
        had = known is None or bool(known.any())
        if gold is None and had and "calibration" in self._result.tables:
            forecasts, observed = self._result.forecasts()
            return reliability_on(forecasts, xlabel="forecast", ylabel=observed, ax=ax)
        if gold is None:
            why = "the fit was given its gold" if had else "there is no gold"
            raise self._lacks("reliability", f"{why}, and a fit can't be judged without truth that it did not know",
                              'result.plot.reliability({"instance": [...], "label": [...]})')  # fmt: skip
        if known is None:
            raise self._lacks("reliability", "the fit had gold, and a loaded result does not say of which instances",
                              "the same of the result of crowdjax.fit, before it is saved")  # fmt: skip
        truth = self._truth("reliability", gold, columns)
        rows = np.isfinite(truth) & ~known
        if not rows.any():
            raise self._lacks("reliability", "the fit was given all of these truths",
                              "a fit without gold, or truths of other instances")  # fmt: skip
        if len(self._classes) == 2:
            if len(np.unique(truth[rows])) == 1:
                raise self._lacks("reliability", f"all {rows.sum():,} truths are {self._names[int(truth[rows][0])]}",
                                  "truths of both classes, drawn at random")  # fmt: skip
            p, y, what = self._numbers("instances", "probability"), truth == 1, self._positive
            xlabel, ylabel = f"probability of {what}", f"share that is {what}"
        else:
            p, y = self._numbers("instances", "confidence"), truth == self._codes("label")
            xlabel, ylabel = "probability of the inferred class", "share that is right"
        name = f"{rows.sum():,} instances"
        return reliability_on({name: (p[rows], y[rows].astype(float))}, xlabel=xlabel, ylabel=ylabel, ax=ax)

    def labels_needed(
        self, gold: Any = None, labels: Any = None, *, draws: int = 10, seed: int = 0, columns: Any = None,
        ax: Axes | None = None,
    ) -> Axes:  # fmt: skip
        """Draw the accuracy against gold over the labels of an instance, by leaving labels out at random.

        Two methods: the majority vote, and the model with labelers held at what the fit found from all labels, so it
        shows what more labels of known labelers bring. The same instances are judged throughout.

        Args:
            gold: a table of truths, by default the fit's gold: instance, label.
            labels: those that were fitted, where the result was loaded; columns: which is which.
            draws: how often labels are drawn for each number.
            seed: of the draws.

        Raises:
            InputError: there is no gold, or no labels; instances with gold have one label each; the fit used features.
        """
        draws, seed = whole_number("draws", draws), seed_of(seed)
        said = by_table(columns, ["labels", *(["gold"] if gold is not None else [])])
        given = self._labels("labels_needed", labels, said["labels"])
        truth = self._truth("labels_needed", gold, said["gold"]) if gold is not None else None
        if truth is None and given.whole.gold is not None:
            truth = np.where(np.asarray(given.whole.gold) >= 0, given.whole.gold, np.nan)
        if truth is None or not np.isfinite(truth).any():
            raise self._lacks("labels_needed", "there is no gold",
                              'result.plot.labels_needed({"instance": [...], "label": [...]})')  # fmt: skip
        again = getattr(self._result, "again", None)
        if again is None:
            raise self._lacks("labels_needed", "a check infers no classes",
                              "crowdjax.fit(labels).plot.labels_needed(gold)")  # fmt: skip
        n_labels = np.bincount(given.instance, minlength=given.whole.n_instances)
        known = np.isfinite(truth) & (n_labels > 0)
        sizes = amounts.sizes_of(n_labels[known])
        rows = np.flatnonzero(known & (n_labels >= sizes[-1]))
        if len(sizes) < 2:
            raise InputError("labels_needed: most instances with gold have one label; allowed: two labels of each")
        whole = dataclasses.replace(given.whole, gold=None)
        counted = np.flatnonzero(np.asarray(whole.counts) > 0)
        code = np.where(np.isfinite(truth), truth, 0).astype(int)
        n_classes, n_values = whole.n_classes, whole.n_values

        def by_model(kept):
            weight = np.zeros(len(whole.label), np.float32)
            weight[counted[kept]] = np.asarray(whole.counts)[counted[kept]]
            found = again(dataclasses.replace(whole, weight=weight))
            if isinstance(found, tuple):  # the likeliest classes and their probabilities
                return (np.asarray(found[0])[:, 0] == code).astype(float)
            p = np.asarray(found, float)
            p = np.stack([1 - p, p], 1) if p.ndim == 1 else p
            return (p.argmax(1) == code).astype(float)

        answers = {"the model, labelers as fitted": by_model}
        if n_values == n_classes:
            answers["majority vote"] = lambda kept: amounts.vote_scores(
                given.instance[kept], given.label[kept], code, n_values
            )
        found = amounts.scores(given.instance, sizes, answers, rows, whole.n_instances, draws=draws, seed=seed)
        title = f"{len(rows):,} instances with gold"
        if len(np.unique(code[rows])) == 1:
            title += f", all {short(self._names[code[rows[0]]], 16)}"
        return amounts.labels_needed(sizes, found, title=title, ax=ax)

    # The population

    def prevalence(self, over: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the share of positives, or of classes, over the score with its density, or over time, with bands.

        Args:
            over: ``score`` or ``time``; by default time where the fit has periods.

        Raises:
            InputError: the fit has no score, or no periods.
        """
        tables, record = self._result.tables, self._result.record
        if "curves" not in tables:
            raise self._lacks("prevalence", "the fit has no score",
                              "crowdjax.context(labels, scores).plot.prevalence()")  # fmt: skip
        timed = record.get("time") is not None
        over = ("time" if timed else "score") if over is None else over
        if over not in ("score", "time"):
            raise InputError(f"over: got {show(over)}; allowed: score, time")
        if over == "time":
            if not timed:
                raise self._lacks("prevalence", "the fit has no periods",
                                  'crowdjax.context(labels, scores, time="week").plot.prevalence("time")')  # fmt: skip
            return self._over_time(ax)
        scores = np.asarray(self._result.scores, float)
        x, functions = self._functions()
        column = 0
        density = {"labelled instances (√ of the density)": (scores[np.isfinite(scores[:, column]), column], None)}
        population = getattr(self._result, "population", None)
        if population is not None and record.get("kinds") is None:
            density["population"] = population[0][:, 0], population[1]
        logit = getattr(self._result.fit.scale, "transform", "") == "logit"
        ylabel = f"share of {self._positive}" if len(self._classes) == 2 else "share of the class"
        return over_score(x, functions, density, xlabel=record["scores"][0], ylabel=ylabel,
                          xscale="logit" if logit else "linear", ax=ax)  # fmt: skip

    # Parts

    @property
    def _classes(self) -> list[Any]:
        return list(self._result.record.get("classes") or (0, 1))

    @property
    def _names(self) -> list[str]:
        return _names(self._classes)

    @property
    def _positive(self) -> str:
        return short(str(self._classes[1]), 24)

    @property
    def _labelers(self) -> list[Any]:
        return self._result.tables["labelers"]["labeler"].to_pylist()

    def _lacks(self, name: str, what: str, line: str) -> InputError:
        return InputError(f"{name}: {what}; allowed: {line}")

    def _table(self, name: str, part: str) -> Any:
        if part not in self._result.tables:
            raise self._lacks(name, f"the result has no {part}", f"crowdjax.fit(labels).plot.{name}()")
        return self._result.tables[part]

    def _numbers(self, part: str, column: str) -> np.ndarray:
        return np.asarray(self._result.tables[part][column].to_numpy(), float)

    def _codes(self, column: str) -> Int[np.ndarray, " I"]:
        """Return the codes of a column of classes."""
        code = {value: k for k, value in enumerate(self._classes)}
        return np.array([code[v] for v in self._result.tables["instances"][column].to_pylist()], int)

    def _most(self, name: str, labelers: Sequence[Any] | None) -> list[Any]:
        """Return labelers as they were asked for, or those with most labels."""
        table = self._table(name, "labelers")
        ids = table["labeler"].to_pylist()
        if labelers is None:
            order = np.argsort(-np.asarray(table["n_labels"].to_numpy(), float), kind="stable")[:MOST_PANELS]
            return [ids[k] for k in order]
        labelers = [labelers] if isinstance(labelers, str) or not np.iterable(labelers) else list(labelers)
        known = set(ids)
        wrong = [w for w in labelers if not (isinstance(w, Hashable) and w in known)]
        if wrong or not labelers:
            some = ", ".join(show(i) for i in ids[:5]) + (", ..." if len(ids) > 5 else "")
            who = show(wrong[0]) if wrong else "nobody"
            raise InputError(f"{name}: {who} is no labeler of the fit; allowed: {some}")
        return labelers

    def _labels(self, name: str, source: Any, columns: Any) -> Given:
        """Return the labels of the fit, as it kept them or as they are given again."""
        result, columns = self._result, by_table(columns, ["labels"])["labels"]
        if "labelers" not in result.tables:
            raise self._lacks(name, "a prediction keeps no labels", f"crowdjax.fit(labels).plot.{name}()")
        if source is not None and hasattr(result, "index"):
            triples = io.read_triples(source, columns=columns, like=result.index)
            whole = _in_order(triples, result.index, name).labels(repeats=result.record["repeats"])
        elif result.labels is not None:
            whole = result.labels
        elif hasattr(result, "index"):
            raise self._lacks(name, "labels are not kept in a result that was loaded, nor more than a million",
                              f"result.plot.{name}({'gold, ' * (name == 'labels_needed')}labels)")  # fmt: skip
        else:
            raise self._lacks(name, "labels are not kept in a check that was loaded",
                              f"crowdjax.check(result, labels).plot.{name}()")  # fmt: skip
        real = np.asarray(whole.counts) > 0
        labeler, instance, label = (np.asarray(v)[real] for v in (whole.labeler, whole.instance, whole.label))
        return Given(labeler, instance, label, whole)

    def _votes(self, name: str, source: Any, columns: Any) -> Float[np.ndarray, "I L"]:
        """Return how many labels of each instance have each value."""
        votes = self._votes_at_hand()
        if source is None and votes is not None:
            return votes
        given = self._labels(name, source, columns)
        n, size = given.whole.n_values, given.whole.n_instances
        return np.bincount(given.instance.astype(np.int64) * n + given.label, minlength=n * size).reshape(size, n)

    def _votes_at_hand(self) -> Float[np.ndarray, "I L"] | None:
        tally = getattr(self._result, "tally", None)
        return tally.votes if tally is not None and isinstance(tally.votes, np.ndarray) else None

    def _known_to_fit(self) -> np.ndarray | None:
        """Return which instances the fit had gold of; None where it had some and does not say of which."""
        result = self._result
        gold = getattr(result, "gold", None)
        if gold is not None:
            return np.isfinite(gold)
        nobody, table = np.zeros(result.tables["instances"].num_rows, bool), result.tables.get("labelers")
        if result.labels is not None:
            return nobody if result.labels.gold is None else np.asarray(result.labels.gold) >= 0
        had = result.record.get("n_gold") or (table is not None and "gold_labels" in table.column_names)
        return None if had else nobody

    def _truth(self, name: str, gold: Any, columns: Any) -> Float[np.ndarray, " I"]:
        """Return the code of the known truth of each instance, NaN where unknown."""
        ids = self._table(name, "instances")["instance"].combine_chunks()
        if isinstance(columns, Mapping):  # here gold is the only table
            columns = {role if "." in str(role) else f"gold.{role}": column for role, column in columns.items()}
        columns = by_table(columns, ["gold"])["gold"]
        return io.read_gold(gold, ids, self._classes, columns=columns)

    def _gold_of_labelers(self, measure: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return (labels on gold that are right, labels on gold) of each labeler, of those that the measure counts."""
        table, whole = self._result.tables["labelers"], self._result.labels
        if measure not in GOLD:
            return None
        count, share = f"gold_{GOLD[measure]}", f"gold_{measure}"
        if count in table.column_names and share in table.column_names:
            n = self._numbers("labelers", count)
            return np.nan_to_num(self._numbers("labelers", share)) * n, n
        if whole is None or whole.gold is None or whole.n_values != whole.n_classes:
            return None
        real = np.asarray(whole.counts) > 0
        gold = np.asarray(whole.gold)[np.asarray(whole.instance)]
        of = {"sensitivity": gold == 1, "specificity": gold == 0}.get(measure, gold >= 0) & real
        right = of & (gold == np.asarray(whole.label))
        return tuple(np.bincount(np.asarray(whole.labeler)[rows], minlength=whole.n_labelers) for rows in (right, of))

    def _order(self, given: Given) -> tuple[Int[np.ndarray, " I"], Float[np.ndarray, " I"]]:
        """Return (the inferred class of each instance, -1 where there is none; what sorts them)."""
        table = self._result.tables["instances"]
        if "label" not in table.column_names:  # of a check: by votes
            votes = self._votes("map", None, None)
            share = votes / np.maximum(votes.sum(1, keepdims=True), 1)
            return np.full(len(votes), -1), share @ np.arange(votes.shape[1])
        answer = self._codes("label")
        if len(self._classes) == 2:
            return answer, self._numbers("instances", "probability")
        return answer, answer + 1 - self._numbers("instances", "confidence")

    def _surprise(self, ax: Axes | None) -> Axes:
        """Draw how surprising the labels of each instance are, over their number."""
        table = self._result.tables["instances"]
        looked = ~np.asarray(table["surprise"].is_null().to_numpy(), bool)
        p = self._numbers("instances", "surprise")[looked]
        if self._result.labels is None:
            x, xlabel = self._numbers("instances", "n_labels"), "labels of the instance"
        else:
            x, xlabel = self._share_of_votes(self._votes("instances", None, None))
        odd = np.array(table["surprising"].to_pylist(), object)[looked].astype(bool)
        groups = {"as the model expects": ~odd, "surprising": odd}
        ax = points(x[looked], p, groups, xlabel=xlabel, ylabel="p-value of its labels", ax=ax)
        ax.set_yscale("log")
        return ax

    def _share_of_votes(self, votes: Float[np.ndarray, "I L"]) -> tuple[Float[np.ndarray, " I"], str]:
        """Return the share of each instance's labels that are positive or, of more values, the most frequent."""
        n = np.maximum(votes.sum(1), 1e-9)
        if votes.shape[1] == 2 == len(self._classes):
            return votes[:, 1] / n, f"share of its labels that say {self._positive}"
        return votes.max(1) / n, "share of its most frequent label"

    def _functions(self) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, ...]]]:
        """Return (scores, name -> (mean, lower, upper)): the prevalence, or the most frequent classes."""
        table = self._result.tables["curves"]
        ends = ("mean", "lower", "upper")
        columns = {name: table[name].to_pylist() for name in table.column_names if name not in ("score", *ends)}
        x, values = self._numbers("curves", "score"), [self._numbers("curves", end) for end in ends]
        if "class" in columns:
            share = self._result.prevalence["classes"]
            names = sorted(share, key=lambda name: -(share[name]["mean"] or 0))[:MOST_GROUPS]
            rows = {name: np.array([str(c) == name for c in columns["class"]]) for name in names}
        elif "kind" in columns:
            kinds = list(dict.fromkeys(columns["kind"]))[:MOST_GROUPS]
            here = np.array([q == "prevalence" for q in columns["quantity"]])
            rows = {str(k): here & np.array([v == k for v in columns["kind"]]) for k in kinds}
        else:
            rows = {"prevalence": np.array([q == "prevalence" for q in columns["quantity"]])}
        grid = x[next(iter(rows.values()))]
        return grid, {short(n, 20): tuple(np.interp(grid, x[at], v[at]) for v in values) for n, at in rows.items()}

    def _over_time(self, ax: Axes | None) -> Axes:
        """Draw the prevalence of the periods, of all groups together or of the first groups."""
        rows = self._result.tables["prevalence"].to_pylist()
        times = list(dict.fromkeys(row["time"] for row in rows))
        groups = list(dict.fromkeys(row["group"] for row in rows))
        groups = [None] if None in groups else groups[:MOST_GROUPS]
        series = {}
        for group in groups:
            found = {row["time"]: row for row in rows if row["group"] == group}
            assisted = all(found[t].get("assisted_mean") is not None for t in times if t in found)
            prefix = "assisted_" if assisted else ""
            ends = tuple(np.array([found[t][prefix + e] for t in times], float) for e in ("mean", "lower", "upper"))
            series["" if group is None else short(str(group), 20)] = ends
        ax = over_periods([when(t) for t in times], series, "share", ax=ax)
        ax.set_xlabel(short(str(self._result.record["time"])))
        return ax


def _names(values: Sequence[Any]) -> list[str]:
    """Return classes in words; of two that are one and the rest, the rest is the other's opposite."""
    return [f"not {values[1]}" if v is None and len(values) == 2 else str(v) for v in values]


def _like(values: Sequence[Any], column: Any) -> Any:
    import pyarrow as pa

    return pa.array(values, column.type)


def _in_order(triples: io.Triples, index: LabelIndex, name: str) -> io.Triples:
    """Number the labelers and instances of labels as the fit did; a fit by minibatches has an order of its own."""
    moved = {}
    for side in ("labeler", "instance"):
        had, here = (getattr(of, f"{side}s") for of in (index, triples.index))
        if np.array_equal(had, here):
            continue
        place = {i: n for n, i in enumerate(had.tolist())}
        rows = np.array([place.get(i, -1) for i in here.tolist()], np.int32)
        if len(rows) != len(place) or (rows < 0).any():
            raise InputError(f"labels: the {side}s are not those of the fit; {name} takes the labels fitted")
        moved[side] = rows[getattr(triples, side)]
    return dataclasses.replace(triples, **moved)
