"""The page of a fit of any number of classes: whether to trust it, class shares, inferred classes and confusions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from crowdjax import plots
from crowdjax.columns import listed
from crowdjax.labelers import Interval
from crowdjax.report import confusion, crowd, fit, gold
from crowdjax.report.document import Block, Check, Column, Drawing, Facts, Figures, Page, Prose, Section, Table
from crowdjax.report.instances import MOST as MOST_INSTANCES
from crowdjax.report.labelers import ALLOWANCE, FEW, FLAGGED, SURENESS, forest, sureness
from crowdjax.report.labelers import MOST as MOST_LABELERS
from crowdjax.report.words import Words, frequent, head, inline, quoted, words_of
from crowdjax.result import Tally

MOST_CLASSES = 100  # in the table of class shares
OTHERS = 3  # classes besides the inferred one that are shown for an instance
# how sentences name the models that auto takes
NAMES = {
    "integrated": "the integrated model",
    "dawid-skene": "Dawid and Skene's model",
    "one-coin": "one coin per labeler",
    "biased-coin": "a biased coin per labeler",
    "class-skill": "a skill for each class",
    "graded": "the model for ordered classes",
}
FAR = 0.1  # difference between the inferred class shares and those of the votes, from which it is noted


def of_classes(
    record: Mapping[str, Any], tables: Mapping[str, pa.Table], tally: Tally, history: Float[np.ndarray, " T"]
) -> Page:
    """Return the page of a fit of any number of classes.

    Args:
        record, tables: of the result; of the tables instances, labelers and confusion.
        tally: the labels, counted by class and by value.
        history: the objective after each step, NaN beyond the last.
    """
    words = words_of(record, tally)
    answers, people = tables["instances"], tables["labelers"]
    name, said = model_in_words(record)
    chosen = answer_codes(answers, words)
    confidence = answers["confidence"].to_numpy()
    checks = [
        *fit.of_the_fit(record, None),
        *_shares_alike(record, tally, words),
        *gold.checks(people, record["level"]),
        *crowd.checks_of_classes(people, tally, confidence, against_votes(chosen, tally, words)),
        _calibration(record),
    ]
    sections = [
        Section("Before you trust it", fit.trust(record["warnings"], checks)),
        Section("What was fitted", [Prose([f"{name}. {said}"]), Facts(_settings(record) | fit.columns(record))]),
        Section("The classes", _classes(record, chosen, tally, words)),
        Section("Inferred classes", answers_of(answers, chosen, tally, words)),
        Section("What the crowd confuses", confusion.of_crowd(tally, words)),
        Section("The labelers", _labelers(people, record, words)),
        Section("What each labeler confuses", _confused(tables, people, words, record["level"])),
        Section("The labels", crowd.section(people, tally, yes=False)),
        Section("How the fit went", fit.course(history)),
    ]
    numbers = {
        "labels": f"{record['n_labels']:,}",
        "labelers": f"{record['n_labelers']:,}",
        "instances": f"{record['n_instances']:,}",
        "classes": f"{len(words.classes):,}",
    }
    return Page("Report of a fit", name, fit.lead(record), numbers, sections, fit.about(record))


def model_in_words(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of the model, and what it takes to be so.

    Example:
        >>> model_in_words({"model": "mine", "kind": "nominal"})
        ('Model “mine”', "A model of one's own; its settings are in fit.json.")
    """
    plan = (record.get("settings") or {}).get("plan", {})
    if record["model"] == "auto" and plan.get("model") in NAMES:
        beside = f", averaged with {NAMES[plan['beside']]}" if plan.get("beside") in NAMES else ""
        said = " ".join((fit.OF_CLASSES[plan["model"]][1], fit.KINDS[record["kind"]])).strip()
        return f"Automatic choice: {NAMES[plan['model']]}{beside}", said
    own = (f"Model {quoted(record['model'])}", "A model of one's own; its settings are in fit.json.")
    name, said = fit.OF_CLASSES.get(record["model"], own)
    return name, f"{said} {fit.KINDS.get(record['kind'], '')}".strip()


def answer_codes(answers: pa.Table, words: Words) -> Int[np.ndarray, " I"]:
    """Return the code of each instance's class."""
    code = {word: k for k, word in enumerate(words.classes)}
    return np.array([code[str(value)] for value in answers["label"].to_pylist()], int)


def against_votes(chosen: Int[np.ndarray, " I"], tally: Tally, words: Words) -> np.ndarray:
    """Mark inferred classes with fewer labels than another class has; labels that are no class are no votes."""
    own, classes = words.value_of[chosen], words.value_of[words.value_of >= 0]
    if not classes.size:
        return np.zeros(len(chosen), bool)
    votes = tally.votes[np.arange(len(chosen)), own]
    return (own >= 0) & (votes < tally.votes[:, classes].max(1))


def _confused(tables: Mapping[str, pa.Table], people: pa.Table, words: Words, level: float) -> list[Block]:
    """Return the confusion of each labeler, where the accuracy does not say it all."""
    return confusion.of_labelers(tables["confusion"], people, words, level) if "confusion" in tables else []


def _settings(record) -> dict[str, str]:
    solver = record.get("solver", {})
    values, settings = record["values"], dict(record["settings"] or {})
    plan = settings.pop("plan", {})
    facts = {
        "Model": record["model"],
        "Classes": f"{len(record['classes']):,}, {record['kind']}",
        "Values of labels": None if values is None else f"{len(values):,}",
        "Fitted": listed([plan[name] for name in ("model", "beside") if name in plan]) or None,
        "Seed": record.get("seed"),
        **{name.replace("_", " ").capitalize(): value for name, value in settings.items()},
        "Repeated labels": record.get("repeats"),
        "Solver": solver.get("method"),
        **{f"Features of {side}s": ", ".join(s["names"]) for side, s in record.get("features", {}).items()},
        "Objective": f"{record['objective']:,.1f}",
        "Log likelihood": f"{record['log_likelihood']:,.1f}" if "log_likelihood" in record else None,
        "How it ended": record["result"],
        "Passes over the labels": f"{record['n_iterations']:,}",
        "Time": f"{record['seconds']:.1f} s",
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _vote_shares(tally: Tally) -> Float[np.ndarray, " L"]:
    votes = tally.votes.sum(0)
    return votes / max(votes.sum(), 1e-300)


def _shares_alike(record, tally: Tally, words: Words) -> list[Check]:
    """Check whether the inferred class shares are those of the votes."""
    if not words.square:
        return []
    answers, votes = np.asarray(record["class_shares"]), _vote_shares(tally)
    far, k = abs(answers - votes).sum() / 2, int(abs(answers - votes).argmax())
    text = (
        f"{quoted(words.classes[k])} differs most: {answers[k]:.1%} of the instances, {votes[k]:.1%} of the votes. "
        "Able labelers' classes gain, and those that a crowd says too often lose. A class may also have been taken for "
        "another; a few known truths (the option gold) tell."
    )
    if far < FAR:
        return [Check("good", "The inferred class shares are near those of the votes", text)]
    status = "care" if far > 2 * FAR else "note"
    return [Check(status, f"{far:.0%} of the class shares differ from those of the votes", text)]


def _classes(record, chosen, tally: Tally, words: Words) -> list[Block]:
    """Show the shares of the classes among inferred classes and votes."""
    n = np.bincount(chosen, minlength=len(words.classes))
    shares, votes = np.asarray(record["class_shares"]), _vote_shares(tally)
    votes = np.where(words.value_of < 0, 0, votes[words.value_of])
    panels = {"inferred": shares[words.shown], "votes": votes[words.shown]}
    drawn = plots.shares(panels, [words.classes[k] for k in words.shown], title="Shares of the classes")
    caption = "Where the two are apart, the model takes some labelers' word for more than others'."
    rows = frequent(shares, MOST_CLASSES)
    columns = [
        Column("class", "id"),
        Column("instances", "count"),
        Column("share", "interval"),
        Column("share of votes", "share"),
    ]
    ends = np.stack(gold.share(shares * len(chosen), np.full(len(shares), len(chosen)), record["level"]), 1)
    values = [(words.classes[k], int(n[k]), tuple(ends[k].tolist()), float(votes[k])) for k in rows]
    note = (
        f"Intervals hold {record['level']:.0%}; they take the {len(chosen):,} instances as a random sample, and the "
        "labelers as fitted."
    )
    note += f" The {len(rows):,} most frequent of {len(n):,} classes." if len(rows) < len(n) else ""
    few = len(words.shown) < len(words.classes)
    drawing = Drawing("class_shares", drawn, "Shares of the classes, inferred and among the votes", caption)
    out = [
        *([Prose(confusion.left_out(words))] if few else []),
        Figures([drawing]),
        Table(
            "Classes: instances with this inferred class, its share by probability, and its share of the votes",
            columns,
            values,
            note,
            len(rows) > 25,
        ),
    ]
    if not words.square:
        out.append(_values(tally, words))
    return out


def _values(tally: Tally, words: Words) -> Table:
    """Return what labels say, where that is not the classes."""
    total, share = tally.votes.sum(0), _vote_shares(tally)
    rows = [(words.values[v], float(total[v]), float(share[v])) for v in frequent(share, MOST_CLASSES)]
    columns = [Column("label", "id"), Column("labels", "count"), Column("share", "share")]
    return Table("Values of labels", columns, rows)


def answers_of(answers: pa.Table, chosen, tally: Tally, words: Words) -> list[Block]:
    """Show how certain the inferred classes are, and the least certain, with their probabilities and votes."""
    confidence = answers["confidence"].to_numpy()
    order = np.lexsort((-tally.votes.sum(1), confidence.round(3)))[:MOST_INSTANCES]
    against, p = against_votes(chosen, tally, words)[order], _probabilities(answers, words, order)
    columns = [Column("instance", "id"), Column("class"), Column("confidence", "share")]
    values = [answers["instance"].take(pa.array(order)).to_pylist(), [head(words.classes[k]) for k in chosen[order]]]
    columns.append(Column("votes", "words"))
    values += [confidence[order].tolist(), [_votes(row, words) for row in tally.votes[order]]]
    if against.any():
        columns.append(Column("remark", "tag"))
        values.append(["against the votes" if it else "" for it in against])
    if p is not None and len(words.shown) == len(words.classes):
        columns += [Column(head(f"p_{word}"), "share") for word in words.classes]
        values += p.T.tolist()
    elif p is not None or "class_2" in answers.column_names:
        known = [zip(words.classes, row, strict=True) for row in p] if p is not None else None
        likely = known or _likeliest(answers.take(pa.array(order)))
        columns.append(Column("other classes", "words"))
        values.append([_others(row, words.classes[k]) for row, k in zip(likely, chosen[order], strict=True)])
    n = len(chosen)
    note = f"The {len(order):,} least certain of {n:,}; all are in instances.parquet." if len(order) < n else ""
    drawn = plots.probabilities(confidence, title="Confidence", xlabel="probability of the inferred class")
    caption = "How many instances got which confidence. Left of the dashed line no class has half of the probability."
    return [
        Figures([Drawing("confidence", drawn, "Histogram of the probability of the inferred class", caption)]),
        Table("Instances: the least sure first", columns, list(zip(*values, strict=True)), note, True),
    ]


def _probabilities(answers: pa.Table, words: Words, rows) -> Float[np.ndarray, "n K"] | None:
    """Return the probabilities of all classes of some instances; None where the table has only some."""
    some = answers.take(pa.array(rows))
    if "probability" in some.column_names:
        p = some["probability"].to_numpy()
        return np.stack([1 - p, p], 1)
    names = [f"p_{word}" for word in words.classes]
    return np.stack([some[name].to_numpy() for name in names], 1) if {*names} <= {*some.column_names} else None


def _likeliest(answers: pa.Table) -> list[list[tuple[str, float]]]:
    """Return the likeliest classes of each instance, where a table has no others."""
    ranks = [name.removeprefix("class_") for name in answers.column_names if name.startswith("class_")]
    pairs = [zip(*(answers[f"{part}_{k}"].to_pylist() for part in ("class", "p")), strict=True) for k in ranks]
    return [[(str(word), p) for word, p in row] for row in zip(*pairs, strict=True)]


def _others(likely: Iterable[tuple[str, float]], own: str) -> str:
    """Return the likeliest classes besides the inferred one, with their probabilities.

    Example:
        >>> _others([("cat", 0.3), ("dog", 0.69), ("cow", 0.001), ("ape", 0.009)], "dog").split()
        ['cat', '0.30,', 'ape', '0.01']
    """
    order = sorted(likely, key=lambda pair: -pair[1])
    return ", ".join([f"{inline(word)}\u00a0{p:.2f}" for word, p in order if word != own and p >= 0.005][:OTHERS])


def _votes(votes: Float[np.ndarray, " L"], words: Words) -> str:
    """Return an instance's labels in words, the most frequent first.

    Example:
        >>> _votes(np.array([1.0, 0.0, 2.5]), Words([], ["cat", "dog", "cow"], *[np.array([])] * 3)).split()
        ['cow', '2.5,', 'cat', '1']
    """
    order = [v for v in np.argsort(-votes, kind="stable") if votes[v] > 0]
    said = [f"{inline(words.values[v])}\u00a0{votes[v]:g}" for v in order[: OTHERS + 2]]
    return ", ".join(said + [f"{len(order) - len(said)} more"] * (len(order) > len(said)))


def _calibration(record) -> Check:
    """Say how probabilities compare with the share of right classes (docs/results/classes)."""
    if not record.get("posterior", {}).get("doubt"):
        return Check("note", "Probabilities are overconfident, more often than not", fit.SURE)
    measured = (
        "Of simulated crowds of independent labelers 92% of the inferred classes are right in place of 78%, of the "
        "real set web 87% in place of 69%, of valence5 41% in place of 63%."
    )
    return Check("note", fit.EITHER_WAY, f"{fit.EITHER} {measured}")


def _labelers(people: pa.Table, record, words: Words) -> list[Block]:
    """Return labelers with their accuracy: a figure and a table."""
    data = {name: people[name].to_pylist() for name in people.column_names}
    found, lower, upper = (np.asarray(data[name], float) for name in ("accuracy", "lower", "upper"))
    n, most = np.asarray(data["n_labels"], float), int(np.argmax(record["class_shares"]))
    chance = float(record["class_shares"][most])
    called = np.where(n < FEW, "few labels", data.get("kind", [""] * len(n)))
    order = np.lexsort((-n, ~np.isin(called, FLAGGED)))[:MOST_LABELERS]
    columns, values = [Column("labeler", "id"), Column("labels", "count")], [data["labeler"], data["n_labels"]]
    known = np.isfinite(found)
    span = (0.0, 1.0, chance)
    if known.any():
        columns.append(Column("accuracy", "interval", span if np.isfinite(found + lower + upper).all() else None))
        values.append(list(zip(found, lower, upper, strict=True)))
        more, theirs = gold.column(people, "accuracy", record["level"], span)
        columns += more
        values += theirs
    if "kind" in data:
        columns.insert(1, Column("called", "tag"))
        values.insert(1, called.tolist())
        if "informedness_lower" in data:
            informed = Interval(*(np.asarray(data[f"informedness{end}"], float) for end in ("", "_lower", "_upper")))
            columns.insert(2, Column("P(called)", "share"))
            values.insert(2, sureness(called, informed, record["level"], len(words.classes)).tolist())
    for name in ("sensitivity", "specificity"):
        if name in data:
            ends = (np.asarray(data[name + end], float).tolist() for end in ("", "_lower", "_upper"))
            columns.append(Column(name, "interval"))
            values.append(list(zip(*ends, strict=True)))
            more, theirs = gold.column(people, name, record["level"])
            columns += more
            values += theirs
    if "gold_labels" in data:
        columns.append(Column("labels on gold", "count"))
        values.append(data["gold_labels"])
    rows = [tuple(column[i] for column in values) for i in order]
    left = len(n) - len(rows)
    note = f"The first {len(rows):,} of {len(n):,}; all are in labelers.parquet." if left else ""
    flagged = "those called spammers or adversaries first, then " if "kind" in data else ""
    doubt = record.get("posterior", {}).get("doubt")
    text = (
        f"The accuracy of a labeler is the chance that its label is right; intervals hold {record['level']:.0%}. Who "
        f"always says {quoted(words.classes[most])}, the most frequent class, is right {chance:.0%} of the time: the "
        "dashed line, and the mark in the table."
    )
    said = [f"{text} {ALLOWANCE.format(doubt=doubt)}" if doubt else text]
    if "kind" in data:
        said.append(
            f"A labeler is called something by its interval, never by the estimate alone; with fewer than {FEW} labels "
            "nobody is called anything. " + SURENESS.format(least=0)
        )
    table = Table(f"Labelers: {flagged}by number of labels", columns, rows, note, True)
    if not known.any():
        text = "Labels are not the classes here, so a labeler has no accuracy; its confusion is below."
        return [Prose([f"{text} {ALLOWANCE.format(doubt=doubt)}" if doubt else text]), table]
    return [Prose(said), Figures([forest(people, chance)]), table]
