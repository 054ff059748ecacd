"""The sections on confusion: which labels the crowd, and each labeler, gives to instances of each class."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from crowdjax import plots
from crowdjax.report.document import Block, Column, Drawing, Figures, Prose, Table
from crowdjax.report.words import Words, head, quoted
from crowdjax.result import Tally

MOST_CELLS = 6000  # of the table of labelers
MOST_LABELERS = 500
LEAST = 10  # labels on instances of a class, below which no confusion is reported
TOLD = 3  # mix-ups in a sentence
REST = "the rest"


def of_crowd(tally: Tally, words: Words) -> list[Block]:
    """Show the confusion of all labels together, counted by inferred class: a sentence, a figure and a table.

    Of the labels on instances of class k, each counted by its instance's probability of k, the share that says l.
    """
    counts = tally.agreement.sum(0)
    n = counts.sum(1)
    matrix = np.divide(counts, n[:, None], out=np.full(counts.shape, np.nan), where=n[:, None] > 1e-9)
    cells = _with_rest(matrix[np.ix_(words.shown, words.said)], words)
    classes, labels = [words.classes[k] for k in words.shown], _labels(words)
    drawn = plots.confusion(cells, classes, labels, titles=["All labels together"])
    caption = (
        "Each row is an inferred class: of the labels on its instances, the share that says "
        "what the column says. An able crowd is dark on the diagonal."
    )
    columns = [Column("truth", "id"), Column("labels", "count"), *_columns(words)]
    rows = [(head(classes[k]), round(float(n[words.shown[k]]), 1), *cells[k].tolist()) for k in range(len(classes))]
    return [
        Prose([_mix_ups(matrix, n, words), *left_out(words)]),
        Figures([Drawing("confusion", drawn, "Confusion matrix of all labels together", caption)]),
        Table(
            "Confusion of the crowd: of the labels on a class's instances, the share that says each label",
            columns,
            rows,
        ),
    ]


def of_labelers(confusion: pa.Table, people: pa.Table, words: Words, level: float) -> list[Block]:
    """Return the confusion of each labeler, as the model has it: figures of those with most labels, and a table."""
    most = min(MOST_LABELERS, max(1, MOST_CELLS // (len(words.shown) * len(words.said))))
    order = np.argsort(-people["n_labels"].to_numpy(), kind="stable")[:most]
    ids = people["labeler"].take(pa.array(order))
    found = cells_of(confusion, ids, words)
    shares, names = _with_rest(found[..., 0], words), ids.to_pylist()
    classes, some = [words.classes[k] for k in words.shown], min(len(names), plots.MOST_PANELS)
    labels = [words.values[v] for v in words.said]
    drawn = plots.confusion(found[:some, ..., 0], classes, labels, titles=list(map(str, names[:some])))
    which = f"The {some:,} labelers with most labels" if some < people.num_rows else "Every labeler"
    caption = f"{which}; rows are the truth, columns the label, dark is a high probability."
    right = Column(f"right, {level:.0%}", "interval")
    columns = [Column("labeler", "id"), Column("truth"), right, *_columns(words)]
    rows = []
    for i, name in enumerate(names):
        for k, word in enumerate(classes):
            own = np.flatnonzero(words.said == words.value_of[words.shown[k]])
            interval = tuple(found[i, k, own[0]].tolist()) if len(own) else (np.nan,) * 3
            rows.append((name, head(word), interval, *shares[i, k].tolist()))
    note = (
        f"The {len(names):,} labelers with most labels of {people.num_rows:,}; all are in confusion.parquet."
        if len(names) < people.num_rows
        else ""
    )
    caption_of_table = (
        "Confusion of the labelers: the probability of each label, by the truth, those with most labels first"
    )
    return [
        Figures([Drawing("confusion_labelers", drawn, "Confusion matrices of labelers", caption)]),
        Table(caption_of_table, columns, rows, note, True),
    ]


def cells_of(confusion: pa.Table, labelers: pa.ChunkedArray, words: Words) -> Float[np.ndarray, "W k l 3"]:
    """Return (probability, lower, upper) of the classes and labels that are shown, NaN where the table has none."""
    wanted = {
        "labeler": labelers.to_pylist(),
        "truth": [words.classes[k] for k in words.shown],
        "label": [words.values[v] for v in words.said],
    }
    place = [_places(confusion[name], list(map(str, values))) for name, values in wanted.items()]
    here = np.all(np.stack(place) >= 0, axis=0)
    out = np.full((*map(len, wanted.values()), 3), np.nan)
    for k, name in enumerate(("probability", "lower", "upper")):
        out[(*(at[here] for at in place), k)] = np.asarray(confusion[name].to_numpy(), float)[here]
    return out


def _places(column: pa.ChunkedArray, words: list[str]) -> np.ndarray:
    """Return where each value of a column is among some words; -1 where it is not."""
    coded = column.combine_chunks().dictionary_encode()
    place = {word: k for k, word in enumerate(words)}
    return np.array([place.get(str(v), -1) for v in coded.dictionary.to_pylist()], int)[coded.indices.to_numpy()]


def left_out(words: Words) -> list[str]:
    """Return a sentence where not all classes or labels are shown."""
    said = []
    if len(words.shown) < len(words.classes):
        said.append(f"{len(words.shown)} most frequent of {len(words.classes):,} classes")
    if not words.square and len(words.said) < len(words.values):
        said.append(f"{len(words.said)} most frequent of {len(words.values):,} labels")
    return [f"Shown are the {' and the '.join(said)}; confusion.parquet has the others."] if said else []


def _mix_ups(matrix: Float[np.ndarray, "K L"], n: Float[np.ndarray, " K"], words: Words) -> str:
    """Return the most frequent errors, in a sentence."""
    wrong = np.where(n[:, None] >= LEAST, np.nan_to_num(matrix), 0)
    square = np.flatnonzero(words.value_of >= 0)
    wrong[square, words.value_of[square]] = 0
    worst = np.argsort(-wrong, axis=None, kind="stable")[:TOLD]
    pairs = [(k, v) for k, v in zip(*np.unravel_index(worst, wrong.shape), strict=True) if wrong[k, v] >= 0.005]
    if not pairs:
        return "Labels hardly ever contradict the inferred classes."
    told = [
        f"{wrong[k, v]:.0%} say {quoted(words.values[v])} where the truth is {quoted(words.classes[k])}"
        for k, v in pairs
    ]
    return f"The most frequent errors: of the labels on a class's instances, {', '.join(told)}."


def _labels(words: Words) -> list[str]:
    """Return the heads of the columns of a matrix."""
    said = [words.values[v] for v in words.said]
    return said + [REST] * (len(said) < len(words.values))


def _columns(words: Words) -> list[Column]:
    return [Column(head(word), "share") for word in _labels(words)]


def _with_rest(cells: Float[np.ndarray, "*n k l"], words: Words) -> Float[np.ndarray, "*n k m"]:
    """Return cells with a column for the labels that are not shown, where there are any."""
    if len(words.said) == len(words.values):
        return cells
    return np.concatenate([cells, np.clip(1 - cells.sum(-1, keepdims=True), 0, 1)], -1)
