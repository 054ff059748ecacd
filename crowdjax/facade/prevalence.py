"""Prevalence estimates of a contextual fit, the choice of the one to report, and the sentence that reports it.

    model           the prevalence function over the population's scores, the weighted or the labelled instances
    weaker          the same where labelers need only be better than chance (constraint ``ordered``)
    gold            from gold of known chances: alone, and assisted by the model's predictions (``contextual.assisted``)
    vote share      without a model

Labels alone often do not decide: the model under its constraint is narrow, and wrong where labelers miss most
positives. So the first estimate is the one that is right by design where there is one, and otherwise the model's, with
a sentence where the weaker constraint says something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, PRNGKeyArray

from crowdjax import contextual
from crowdjax.contextual import Band, ContextualFit, assisted
from crowdjax.contextual.subsample import Compared
from crowdjax.facade import by_gold
from crowdjax.facade.by_gold import Gold
from crowdjax.integrated import LEVEL
from crowdjax.labels import Labels
from crowdjax.report.amounts import interval
from crowdjax.result import votes_of

WEAKER = "weaker constraint"
ASSISTED = "assisted by gold"
ALONE = "gold alone (Hajek)"
REACH = 0.4  # of the model's interval: by how much of it the weaker constraint's reaches beyond, where they disagree


def summary(
    fit: ContextualFit,
    weaker: ContextualFit | None,
    labels: Labels,
    scores: Float[np.ndarray, "I C"],
    weights: Float[np.ndarray, " I"] | None,
    population: tuple[Float[np.ndarray, "K C"], Float[np.ndarray, " K"]] | None,
    gold: Gold | None,
    cell: Int[np.ndarray, " I"] | None,
    people_cell: Int[np.ndarray, " K"] | None,
    key: PRNGKeyArray,
    mesh: Mesh | None,
    subsample: Compared | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Compute every prevalence estimate and choose the headline; return (the content of ``prevalence.json``, warnings).

    Args:
        weaker: the fit under the weaker constraint; None where there is none.
        gold: with its chances and predictions; None without gold.
        cell: period and group of the instances, where there are some.
        people_cell: those of the population's rows.
        subsample: what NUTS said of an approximation that did not pass its own check.
    """
    model = _by_model(fit, labels, scores, weights, population, cell, people_cell, key, mesh)
    assisting = _by_gold(gold, weights)
    estimates, warnings, agree, reach = [*model, *assisting], [], None, None
    if weaker is not None:
        band, reach = _weaker(fit, weaker, scores, weights, population, cell, people_cell)
        what = f"as {model[0]['method']!r}, where labelers need only be better than chance"
        estimates.insert(1, _estimate(WEAKER, band, what))
        agree = reach < REACH
    of = "the population" if population is not None or weights is not None else "the labelled sample"
    doubt = _doubt(gold)
    first = model[0]
    if assisting and assisting[1]["lower"] is not None and doubt is None:
        first = assisting[1]
        estimates.insert(0, estimates.pop(estimates.index(first)))
    if doubt is not None:
        warnings.append(doubt)
    if first is model[0] and agree is False:
        warnings.append(_undecided(model[0], estimates[1]))
    if population is None and weights is None:
        warnings.append(
            "Prevalence: of the labelled sample, as neither weights nor a population were given (--weights, "
            "--population). If instances were chosen by their score, it is not that of the population."
        )
    checked = not (fit.diagnostics.get("khat", 0.0) > 0.7 or fit.diagnostics.get("rhat", 1.0) > 1.01)
    checked = checked or (subsample is not None and subsample.agrees)
    found = {
        **first,
        "level": LEVEL,
        "of": of,
        "headline": _headline(first, of, checked or first is not model[0]),
        "checked": checked,
        "constraints_agree": agree,
        "reach": reach,
        "estimates": estimates,
        "trust": trust_of_gold(
            assisting[1]["n_gold"] if assisting else 0,
            assisting[1]["n_gold_wanted"] if assisting else None,
            bool(assisting) and assisting[1]["lower"] is not None,
            gold is not None and gold.given,
            doubt is not None,
            agree,
        ),
    }
    return found, warnings


def _estimate(method: str, band, what: str) -> dict[str, Any]:
    numbers = (None if v is None else float(v) for v in band)
    return {"method": method, **dict(zip(Band._fields, numbers, strict=True)), "what": what}


def _by_model(
    fit: ContextualFit, labels: Labels, scores, weights, population, cell, people_cell, key, mesh: Mesh | None
) -> list[dict[str, Any]]:
    """Return the model's estimates, the best first, and the vote share."""
    out = []
    first, second = jax.random.split(key)
    by = "labelled instances, each with " + ("its sampling weight" if weights is not None else "the same weight")
    if population is not None:
        band = contextual.population_prevalence(fit, *population, level=LEVEL, cell=people_cell)
        what = "the prevalence function averaged over the population's scores"
        out.append(_estimate("population table", band, what))
    band = contextual.population_prevalence(fit, scores, weights, key=first, level=LEVEL, cell=cell)
    name = "labelled instances" if weights is None else "weighted instances"
    out.append(_estimate(name, band, f"the prevalence function averaged over a sample: the {by}"))
    band = contextual.item_prevalence(fit, labels, scores, second, weights, level=LEVEL, cell=cell, mesh=mesh)
    out.append(_estimate("item posteriors", band, f"the inferred truths averaged over a sample: the {by}"))
    votes = votes_of(labels)
    counted = votes.sum(1) > 0
    shares = votes[counted, 1] / votes[counted].sum(1)
    share = np.average(shares, weights=None if weights is None else weights[counted])
    without = "" if counted.all() else " that have labels that count"
    what = f"the share of positive labels, without a model, averaged over the {by}{without}"
    out.append(_estimate("vote share", (share, None, None), what))
    return out


def _weaker(
    fit: ContextualFit, weaker: ContextualFit, scores, weights, population, cell, people_cell
) -> tuple[Band, float]:
    """Return (the prevalence under the weaker constraint, how far its interval reaches beyond the model's, which counts
    1)."""
    over = population if population is not None else (scores, weights)
    at = cell if population is None else people_cell
    strong, weak = (contextual.prevalence_draws(f, *over, cell=at) for f in (fit, weaker))
    narrow, wide = contextual.band(strong, LEVEL), contextual.band(weak, LEVEL)
    beyond = max(narrow.lower - wide.lower, wide.upper - narrow.upper, 0)
    return wide, float(beyond / max(narrow.upper - narrow.lower, np.finfo(np.float32).tiny))


def _by_gold(gold: Gold | None, weights) -> list[dict[str, Any]]:
    """Return the estimates that rest on the chances of gold: from gold alone, and assisted by the model's
    predictions."""
    if gold is None:
        return []
    by = "chances of gold" + ("" if gold.given else " (the same for all)")
    by += "" if weights is None else " and sampling weights"
    what = {
        ALONE: f"the share of positives in gold, by its {by}, without a model",
        ASSISTED: f"the model's predictions, corrected by their errors on gold, by its {by}",
    }
    few = lambda found: f"; no interval from so few: some {found.n_wanted} are wanted"  # noqa: E731
    return [
        {
            "method": method, "mean": found.mean, "lower": found.lower, "upper": found.upper,
            "what": what[method] + (few(found) if found.lower is None else ""),
            "n_gold": found.n_gold, "n_gold_wanted": found.n_wanted, "lambda": list(found.lam),
        }
        for method, found in zip(what, assisted.estimates(gold.sample, LEVEL), strict=True)
    ]  # fmt: skip


def _doubt(gold: Gold | None) -> str | None:
    """Return a sentence where gold without chances is no random part of the labelled instances."""
    name = None if gold is None else by_gold.selected(gold)
    return None if name is None else (
        f"Gold is no random part of the labelled instances: its {name} differ from those of the others, and no "
        "chances were given. What rests on gold's own share is not reported first; a column chance in the gold "
        "table (--gold) says how likely each instance was to be drawn for gold."
    )  # fmt: skip


def _percent(estimate: Mapping[str, Any]) -> str:
    return interval(estimate["lower"], estimate["upper"])


def _headline(first: Mapping[str, Any], of: str, checked: bool) -> str:
    kind = f"{LEVEL:.0%} interval" if checked else "range that could not be checked"
    return f"{100 * first['mean']:.3g} % of {of} ({kind}: {_percent(first)}; {first['method']})"


def _undecided(strong: Mapping[str, Any], weak: Mapping[str, Any]) -> str:
    return (
        f"Labels alone do not decide the prevalence: {_percent(strong)} if labelers are right more often than not "
        f"about positives and about negatives, {_percent(weak)} if they are only better than chance. Gold of some 100 "
        "instances drawn at random (--gold), or more labels of each instance, would decide it."
    )


def trust_of_gold(
    n_gold: int, wanted: int | None, enough: bool, given: bool, selected: bool, agree: bool | None
) -> str:
    """Explain in words which estimate to trust.

    Args:
        wanted: gold labels that an interval takes; None where nothing rests on gold.
        enough: whether there are so many.
        given: whether gold came with its chances.
        selected: whether gold is no random part.
        agree: whether the constraints do.
    """
    if not n_gold:
        return (
            "Without gold every estimate rests on the model: on labelers as the constraint has them"
            + ("" if agree is not False else ", which matters here")
            + ", and on errors that are independent given truth and score. Gold of instances drawn by known chances "
            "would check it."
        )
    if not enough and not selected:
        return (
            f"Gold is too little for an interval of its own ({n_gold} labels; some {wanted} are wanted): the estimates "
            "rest on the model."
        )
    if selected:
        return "Gold was not drawn at random, so only the model's estimates count."
    design = "by the given chances" if given else "at random among the labelled instances"
    return (
        f"If gold was drawn {design}, {ASSISTED!r} is right by that design, whatever the model is worth: trust it "
        "first. If it was picked in another way, only the model's estimates count."
    )
