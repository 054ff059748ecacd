"""How many instances, labels and gold for a wanted width: designs, their widths by simulation, and the cheapest.

crowd of the pilot, or of assumptions ─worlds─▶ simulated crowds ─designs─▶ widths ─laws─▶ the cheapest design
                                      └─▶ allocation: which scores to sample
"""

from __future__ import annotations

import dataclasses
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from crowdjax import context_api, drive, io, memory, saving
from crowdjax.context_api import ContextualResult
from crowdjax.contextual import ContextualConfig
from crowdjax.facade.categories import CategoricalResult
from crowdjax.facade.fitted import Fitted
from crowdjax.integrated import LEVEL
from crowdjax.labels import InputError
from crowdjax.planning import designs, worlds
from crowdjax.planning.designs import Design, Law, Outcome
from crowdjax.planning.worlds import Sampling, World
from crowdjax.result import Printed, shown
from crowdjax.roles import Columns
from crowdjax.settings import brief, callback, one_of, seed_of, whole
from crowdjax.tables import Kind, as_arrow

if TYPE_CHECKING:
    from crowdjax import report as reports

BEYOND = 4.0  # times the most instances simulated, up to which the power law is followed
CHECKED = 1.1  # times the most instances simulated, from which the chosen design is simulated as well
MOST_LABELS = 60_000  # of a design that is simulated
DEFAULT_SPREAD, DEFAULT_LABELERS, DEFAULT_SIZE = 0.4, 10, 100_000
ASSUMED = ("auc", "sensitivity", "specificity", "spread")


@dataclasses.dataclass(frozen=True, repr=False)
class Plan(Printed):
    """A plan: designs with their expected interval widths, the chosen one, and the allocation of its sample over
    scores.

    Attributes:
        designs: ``items``, per_item, gold, labels, cost, width (expected, of the 95 % interval), error (its Monte Carlo
            standard error), held (how often the intervals held the rate that was simulated), by_gold (how often the
            headline was the estimate assisted by gold), simulated (null in ``held`` where only the power law says the
            width), meets, chosen.
        allocation: lower, upper (edges of the score), population, prevalence, ``items``, chance: the sample that the
            chosen design draws, where sampling is ``optimal``; weights are 1 / chance.
        record: the content of ``plan.json``: arguments, assumptions, the sentence and the warnings.
        kind: kind of dataframe for the tables shown.

    Example: see :func:`plan`.
        >>> Plan({}, {"sentence": "none", "warnings": []}, as_arrow).sentence
        'none'
    """

    tables: dict[str, pa.Table]
    record: dict[str, Any]
    kind: Kind

    designs, allocation, next = shown("designs"), shown("allocation"), shown("next")

    @property
    def sentence(self) -> str:
        """The recommendation in a sentence."""
        return self.record["sentence"]

    @property
    def headlines(self) -> tuple[str, ...]:
        """The sentences that the command prints at the end."""
        return (self.sentence,)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the plan, one sentence each."""
        return tuple(self.record["warnings"])

    def summary(self) -> str:
        """Format the plan as text: the sentence, the designs and the warnings."""
        lines = textwrap.wrap(self.sentence, 100)
        if "designs" in self.tables:
            lines += ["", f"{'instances':>9}{'labels each':>13}{'gold':>6}{'cost':>9}{'width':>10}{'held':>6}"]
            for d in self.tables["designs"].to_pylist():
                held = "" if d["held"] is None else f"{d['held']:.2f}"
                lines.append(
                    f"{d['items']:>9,}{d['per_item']:>13}{d['gold']:>6}{d['cost']:>9,.0f}{d['width']:>10.3g}{held:>6}"
                    + ("  chosen" if d["chosen"] else "  meets" if d["meets"] else "")
                )
        for sentence in self.warnings:
            lines += textwrap.wrap(f"Note: {sentence}", 100)
        return "\n".join(lines)

    def page(self) -> reports.Page:
        """Build the report: the design, the width of every design, and which scores to sample (docs/reports.md)."""
        from crowdjax import report as reports

        return reports.of_plan(self.record, self.tables)

    def save(self, out: str | os.PathLike, *, report: bool = False) -> None:
        """Save ``plan.json`` and a Parquet file of every table to a folder; the folder appears whole or not at all.

        Args:
            report: whether to write ``report.html`` as well (:meth:`page`).
        """
        with saving.new_result(out, self.record, "plan.json") as folder:
            for name, table in self.tables.items():
                pa.parquet.write_table(table, folder / f"{name}.parquet")
            if report:
                from crowdjax import report as reports

                reports.write(self.page(), folder)


@memory.bounded
def plan(
    pilot: ContextualResult | str | os.PathLike | None = None,
    *,
    width: float,
    rate: float | None = None,
    auc: float | None = None,
    sensitivity: float | Sequence[float] | None = None,
    specificity: float | Sequence[float] | None = None,
    spread: float | None = None,
    labelers: int | None = None,
    population=None,
    sampling: Sampling | None = None,
    items: Sequence[int] = (500, 1000, 2000),
    per_item: Sequence[int] = (1, 2, 3),
    gold: Sequence[int] = (0, 100, 200),
    gold_cost: float = 5.0,
    replicates: int = 3,
    seed: int = 0,
    columns: Columns | None = None,
    progress: drive.Progress | None = None,
) -> Plan:
    """Plan how many instances to label, with how many labels each and how much gold, for a target interval width.

    Crowds are drawn from the pilot's posterior, or from assumptions, and each is fitted as :func:`crowdjax.context`
    does by default, with Laplace's method. Widths at numbers of instances between are those of a power law fitted to
    all crowds with as many labels and as much gold.

    Args:
        pilot: a result of :func:`crowdjax.context`, or its folder. The labels of a design include the pilot's.
        width: target width of the 95 % interval of the share of positives.
        rate: the share of positives, to which the pilot's prevalence is shifted on the logit scale; required without a
            pilot.
        auc: AUC of the score; without a pilot only. The logit of the prevalence is linear in the score's normal score.
        sensitivity, specificity: of a typical labeler: one number, or two for the lowest and the highest score. Without
            a pilot only.
        spread: standard deviation between labelers on the logit scale; default .4. Without a pilot only.
        labelers: number of labelers; default: the pilot's, or 10. Labelers beyond the pilot's are drawn from its crowd.
        population: number of instances in the population, default 100 000; or, without a pilot, a table of their
            scores.
        sampling: ``optimal`` (by the table ``allocation``; the default where the population's scores are known),
            ``random``, or ``pilot`` (with the inclusion probabilities of the pilot's weights).
        items, per_item, gold: numbers of instances, of labels per instance and of gold labels; designs are all
            combinations.
        gold_cost: cost of a gold label, in labels.
        replicates: number of crowds simulated for each number of instances.
        seed: of the simulation.
        columns: how to read the population's table, as in :func:`crowdjax.fit`.
        progress: callback (``crowdjax.drive.Progress``); return True to interrupt the plan.

    Raises:
        InputError: a setting is invalid, is missing without a pilot, or is not allowed beside one.

    Example:
        >>> import crowdjax
        >>> found = crowdjax.plan(width=0.2, rate=0.2, auc=0.8, sensitivity=0.85, specificity=0.9, items=(200, 400),
        ...                       per_item=(3,), gold=(0,), replicates=1)
        >>> found.tables["designs"].column_names[:4]
        ['items', 'per_item', 'gold', 'labels']
    """
    started = perf_counter()
    width, seed = _share("width", width), seed_of(seed)
    callback(progress)
    n_items, ks, golds = (_wholes(*a) for a in (("items", items, 50), ("per_item", per_item, 1), ("gold", gold, 0)))
    replicates = whole("replicates", replicates)
    cost = _positive("gold_cost", gold_cost)
    rate = None if rate is None else _share("rate", rate)
    labelers = None if labelers is None else whole("labelers", labelers, 2)
    assumed = dict(zip(ASSUMED, (auc, sensitivity, specificity, spread), strict=True))
    config, transform, found = ContextualConfig(), "identity", None
    if pilot is None:
        n_labelers = labelers or DEFAULT_LABELERS
        world, about = _assumed(rate, assumed, n_labelers, population, columns)
    else:
        found = _pilot(pilot)
        _refuse_beside_pilot(assumed | {"columns": columns})
        n_labelers = labelers or len(found.fit.labels_per_labeler)
        world, about = _of_pilot(found, rate, n_labelers, population, seed)
        config, transform = dataclasses.replace(found.fit.config, cells=None, drift=False), found.fit.scale.transform
    _check_designs(n_items, ks, world, n_labelers)
    room = n_items[-1], ks[-1]
    setting = designs.setting_for(world, config, transform, _sampling(sampling, world), room, seed)
    told, outcomes = drive.or_interrupt(progress, "stopped: a plan has nothing to return before its end"), []
    total = len(n_items) * len(ks) * replicates
    done = iter(range(total + len(ks) * replicates + 1))
    report = lambda: told("designs", min(next(done), total), total)  # noqa: E731
    for n in n_items:
        for r in range(replicates):
            outcomes += designs.simulate(world, setting, n, ks, golds, (seed, n, r), report)
    best = cheapest(designs.laws(outcomes), width, cost, n_items, world.counts.sum())
    confirmed = best is not None and best.items > CHECKED * n_items[-1] and best.items * best.per_item <= MOST_LABELS
    if confirmed:  # what the power law says beyond what was simulated, simulated too
        setting = dataclasses.replace(setting, room=(best.items, best.per_item))
        for r in range(replicates):
            outcomes += designs.simulate(
                world, setting, best.items, [best.per_item], golds, (seed, best.items, r), report
            )
        best = cheapest(designs.laws(outcomes), width, cost, n_items, world.counts.sum())
    told("designs", total, total)

    found_laws = designs.laws(outcomes)
    table = _table(outcomes, found_laws, best, width, cost)
    sentence = _sentence(table, best, width, about["rate"], cost)
    chosen = best or Design(n_items[-1], ks[-1], golds[-1])
    record = {
        "model": "plan",
        "sentence": sentence,
        "n_labels": chosen.items * chosen.per_item,
        "n_labelers": n_labelers,
        "n_instances": chosen.items,
        "width": width,
        "level": LEVEL,
        "reached": best is not None,
        "design": chosen._asdict() if best else None,
        **about,
        "sampling": setting.sampling,
        "gold_cost": cost,
        "replicates": replicates,
        "seed": seed,
        "laws": [{"per_item": k, "gold": g, **one._asdict()} for (k, g), one in found_laws.items()],
        "seconds": perf_counter() - started,
        "warnings": _warnings(table, best, n_items, setting.sampling, confirmed),
    }
    return Plan({"designs": table, "allocation": _allocation(world, chosen.items)}, record, as_arrow)


def cheapest(
    found: dict[tuple[int, int], Law], width: float, gold_cost: float, items: Sequence[int], most: float
) -> Design | None:
    """Find the design of least cost whose expected width is at most the target; None if there is none.

    Numbers of instances are those of the power law, from the fewest simulated to ``BEYOND`` times the most, with two
    digits.

    Args:
        items: those simulated, ascending.
        most: the population.
    """
    able = []
    for (k, g), one in found.items():
        n = max(one.items(width), items[0], g)
        if n <= min(BEYOND * items[-1], most):
            able.append(Design(int(min(_two_digits(n), most)), k, g))
    return min(able, key=lambda d: (d.cost(gold_cost), d.gold), default=None)


def _two_digits(n: float) -> int:
    """Round up to two digits, from one hundred on."""
    step = 10 ** max(int(np.floor(np.log10(n))) - 1, 0)
    return int(np.ceil(n / step - 1e-9)) * step


# What is simulated


def _pilot(pilot) -> ContextualResult:
    if isinstance(pilot, ContextualResult):
        return pilot
    if isinstance(pilot, CategoricalResult):
        raise InputError(f"pilot: a fit of {len(pilot.record['classes'])} classes; allowed: a fit of two classes")
    if not isinstance(pilot, str | os.PathLike):
        raise InputError(f"pilot: got {brief(pilot)}; allowed: a result of crowdjax.context, or its folder")
    record = saving.read_result(pilot)
    if record.get("model") != "contextual":
        raise InputError(
            f"pilot: {pilot}: a fit of {record.get('model')}; allowed: a fit of crowdjax.context (--next takes any fit)"
        )
    if len(record.get("classes") or ()) > 2:
        raise InputError(f"pilot: {pilot}: a fit of {len(record['classes'])} classes; allowed: a fit of two classes")
    return context_api.load(Path(pilot), record)


def _of_pilot(found: ContextualResult, rate, labelers: int, population, seed: int) -> tuple[World, dict[str, Any]]:
    if found.record.get("kinds") is not None:
        raise InputError("pilot: a fit with kinds, which has several prevalences; allowed: a fit of one kind")
    if population is not None and (found.population is not None or not isinstance(population, int)):
        raise InputError(
            "population: given beside a pilot; allowed: the number of instances, where the pilot has no table of the "
            "population"
        )
    size = None if population is None else whole("population", population)
    world = worlds.from_pilot(
        found.fit, found.scores, found.weights, found.population, rate=rate, n_labelers=labelers, size=size, seed=seed
    )
    mean = float(np.average(world.mean, weights=world.counts))
    return world, {
        "rate": mean,
        "pilot": {"n_labels": found.record["n_labels"], "labels_sha256": found.record.get("labels_sha256")},
    }


def _assumed(rate, assumed: dict[str, Any], labelers: int, population, columns) -> tuple[World, dict[str, Any]]:
    for name, value in (("rate", rate), *assumed.items()):
        if value is None and name != "spread":
            raise InputError(
                f"{name}: none given, and no pilot; needed: a pilot, or rate, auc, sensitivity, specificity"
            )
    auc, spread = assumed["auc"], assumed["spread"]
    if not (isinstance(auc, int | float) and 0.5 <= auc < 1):
        raise InputError(f"auc: got {brief(auc)}; allowed: .5 to below 1")
    pairs = [_accuracy(name, assumed[name]) for name in ("sensitivity", "specificity")]
    if np.add(pairs[0], pairs[1]).min() <= 1:
        raise InputError(
            "sensitivity, specificity: their sum is 1 or less, no better than chance; allowed: a sum above 1"
        )
    spread = DEFAULT_SPREAD if spread is None else _positive("spread", spread, zero=True)
    table, size = None, DEFAULT_SIZE
    if isinstance(population, int) and not isinstance(population, bool):
        size = whole("population", population, 100)
    elif population is not None:
        _, given = io.open_tables(columns, population=population)
        table = io.read_population(given["population"], given["population"].roles["score"])
    world = worlds.from_assumptions(
        rate=rate, auc=float(auc), sensitivity=pairs[0], specificity=pairs[1], spread=spread,
        n_labelers=labelers, population=table, size=size,
    )  # fmt: skip
    about = {"auc": auc, "sensitivity": pairs[0], "specificity": pairs[1], "spread": spread}
    return world, {"rate": rate, "assumed": about}


def _sampling(given: str | None, world: World) -> Sampling:
    if given is None:
        return "optimal" if world.whole else "pilot" if world.weighted else "random"
    one_of("sampling", given, get_args(Sampling))
    if given == "pilot" and not world.weighted:
        raise InputError("sampling: got 'pilot' without a pilot that has weights; allowed: random, optimal")
    return given  # pyright: ignore[reportReturnType]


def _check_designs(items, per_item, world: World, labelers: int) -> None:
    if items[-1] > world.counts.sum():
        raise InputError(
            f"items: got {items[-1]}; allowed: up to {world.counts.sum():g}, the population (--population)"
        )
    if per_item[-1] > labelers:
        raise InputError(f"per_item: got {per_item[-1]}; allowed: up to {labelers}, the labelers")


def _refuse_beside_pilot(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if value is not None:
            raise InputError(f"{name}: given beside a pilot, which determines it; allowed: one of them")


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < 1:
        raise InputError(f"{name}: got {brief(value)}; allowed: above 0, below 1")
    return float(value)


def _positive(name: str, value: Any, zero: bool = False) -> float:
    fine = isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(value)
    if not fine or value < 0 or (value == 0 and not zero):
        raise InputError(f"{name}: got {brief(value)}; allowed: a number {'from' if zero else 'above'} 0")
    return float(value)


def _accuracy(name: str, value: Any) -> tuple[float, float]:
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    if len(pair) != 2:
        raise InputError(f"{name}: got {len(pair)} numbers; allowed: one, or those at the lowest and the highest score")
    return _share(name, pair[0]), _share(name, pair[1])


def _wholes(name: str, values: Any, least: int) -> list[int]:
    """Return whole numbers, ascending, each once."""
    values = [values] if np.ndim(values) == 0 else list(values)
    if not values:
        raise InputError(f"{name}: none; allowed: one or more whole numbers from {least}")
    return sorted({whole(name, v, least) for v in values})


# Sentences


def _table(outcomes: list[Outcome], found: dict[tuple[int, int], Law], best: Design | None, width, cost) -> pa.Table:
    """Return a row for each design simulated, and one for the design chosen; the cheapest first."""
    by_design: dict[Design, list[Outcome]] = {}
    for o in outcomes:
        by_design.setdefault(o.design, []).append(o)
    if best is not None:
        by_design.setdefault(best, [])
    rows = []
    for d in sorted(by_design, key=lambda d: (d.cost(cost), d)):
        some, one = by_design[d], found[d.per_item, d.gold]
        share = lambda name, some=some: float(np.mean([getattr(o, name) for o in some])) if some else None  # noqa: E731
        rows.append({
            **d._asdict(), "labels": d.items * d.per_item, "cost": d.cost(cost), "width": one.width(d.items),
            "error": one.error(d.items), "held": share("held"), "by_gold": share("by_gold"), "n_fits": len(some),
            "meets": one.width(d.items) <= width * (1 + 1e-9), "chosen": d == best,
        })  # fmt: skip
    return pa.Table.from_pylist(rows)


def _allocation(world: World, n: int) -> pa.Table:
    a = world.allocation(n)
    return pa.table({
        "lower": a.edges[:-1], "upper": a.edges[1:], "population": a.population, "prevalence": a.prevalence,
        "items": a.items, "chance": a.chance,
    })  # fmt: skip


def _words(d: dict[str, Any]) -> str:
    gold = f" and gold of {d['gold']:,} of them" if d["gold"] else ""
    each = "one label" if d["per_item"] == 1 else f"{d['per_item']} labels"
    return f"{d['items']:,} instances with {each} each{gold}"


def _sentence(table: pa.Table, best: Design | None, width: float, rate: float, cost: float) -> str:
    rows = table.to_pylist()
    if best is not None:
        d = next(row for row in rows if row["chosen"])
        counted = f" (a gold label counts as {cost:g})" if d["gold"] else ""
        return (
            f"Cheapest design for an interval of width {width:.3g} at a rate of {100 * rate:.3g} %: {_words(d)}, "
            f"at the cost of {d['cost']:,.0f} labels{counted}; expected width {d['width']:.3g} ± {d['error']:.1g}."
        )
    d = min(rows, key=lambda row: row["width"])
    bare = min((row for row in rows if not row["gold"]), key=lambda row: row["width"], default=None)
    text = (
        f"No design reaches a width of {width:.3g} at a rate of {100 * rate:.3g} %, nor does up to {BEYOND:.0f} times "
        f"the instances: the narrowest of those simulated is {_words(d)}, {d['width']:.3g}."
    )
    if d["gold"] and bare is not None:
        text += f" Labels alone give {bare['width']:.3g}; some {_more_gold(d, width):,} gold labels should reach it."
    return text


def _more_gold(d: dict[str, Any], width: float) -> int:
    """Return how much gold has the width, if it falls as one over the root of it."""
    return _two_digits(d["gold"] * (d["width"] / width) ** 2)


def _warnings(table: pa.Table, best: Design | None, items, sampling: str, confirmed: bool) -> list[str]:
    said = []
    if best is not None and best.items > items[-1] and not confirmed:
        said.append(
            f"The design chosen lies beyond the numbers of instances simulated, up to {items[-1]:,}: its width is a "
            "power law's. Plan again with it among them (--items)."
        )
    if best is not None and best.items == items[0]:
        said.append(f"{items[0]:,} instances are the fewest that were simulated; fewer may do (--items).")
    if best is not None and best.gold:
        said.append(
            "Gold is drawn by chances in proportion to sqrt(f (1 - f)) w^(1/4), f the probabilities of a first fit "
            "(crowdjax.contextual.assisted.gold_chances); give these chances with the gold."
        )
    if best is not None and sampling == "optimal":
        said.append(
            "Instances are drawn by the chances in allocation, within each stratum at random; their weights are one "
            "over them (--weights)."
        )
    return said


def following(result: Fitted, n: int) -> Plan:
    """Rank the instances to label next, as a plan with the one table ``next`` (``result.next_labels``).

    Args:
        result: the result of any fit.

    Raises:
        InputError: as there.
    """
    started = perf_counter()
    table = result.next_table(n)
    of = result.record
    aim = "the prevalence" if of["model"] == "contextual" else "the inferred classes"
    record = {
        "model": "plan",
        "sentence": f"The next {n:,} labels for {aim}, the most useful first.",
        **{name: of[name] for name in ("n_labels", "n_labelers", "n_instances")},
        "of": of["model"],
        "aim": aim,
        "next": n,
        "seconds": perf_counter() - started,
        "warnings": [],
    }
    return Plan({"next": table}, record, result.kind)
