"""The section on instances: how certain the inferred classes are, and the instances to label again first."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from crowdjax import plots
from crowdjax.report.document import Block, Column, Drawing, Figures, Table
from crowdjax.result import Tally

MOST = 300  # instances in a table
UNSURE = (0.2, 0.8)  # probabilities between which an inferred class counts as uncertain
CONTESTED = 1 / 3  # share of an instance's labels on the smaller side, from which it counts as contested


def entropy(p: Float[np.ndarray, " I"]) -> Float[np.ndarray, " I"]:
    """Return -p log₂ p - (1-p) log₂(1-p), in bits: 1 where nothing is known, 0 where all is.

    Example:
        >>> entropy(np.array([0.5, 1.0, 0.0])).tolist()
        [1.0, 0.0, 0.0]
    """
    q = np.stack([p, 1 - p])
    return -(q * np.log2(np.where(q > 0, q, 1))).sum(0) + 0.0


def contested(votes: Float[np.ndarray, "I L"]) -> np.ndarray:
    """Return which instances have at least a third of their labels against the most frequent one."""
    n = votes.sum(1)
    return n - votes.max(1) >= CONTESTED * np.maximum(n, 1e-12)


def against_votes(p: Float[np.ndarray, " I"], votes: Float[np.ndarray, "I 2"]) -> np.ndarray:
    """Mark inferred classes that differ from what most labels of their instance say."""
    return (p - 0.5) * (votes[:, 1] - votes[:, 0]) < 0


def section(instances: pa.Table, tally: Tally) -> list[Block]:
    """Show a figure and a table of instances, least certain first; of equal ones the most contested first."""
    p, votes = instances["probability"].to_numpy(), tally.votes
    doubt, against = entropy(p), against_votes(p, votes)
    split = votes.min(1) / np.maximum(votes.sum(1), 1e-12)
    order = np.lexsort((-votes.sum(1), -split, -doubt.round(3)))[:MOST]
    shown = instances.take(pa.array(order))
    words = pa.types.is_string(instances["label"].type)
    columns = [Column("instance", "id"), Column("probability", "share"), Column("label", "id" if words else "count")]
    columns += [Column("votes for", "count"), Column("votes against", "count"), Column("entropy, bits", "share")]
    values = [shown[name].to_pylist() for name in ("instance", "probability", "label")]
    values += [votes[order, 1].tolist(), votes[order, 0].tolist(), doubt[order].tolist()]
    if "score" in instances.column_names:
        columns.insert(1, Column("score", "number"))
        values.insert(1, shown["score"].to_pylist())
    remarks = [["against the votes"] if of else [] for of in against[order]]
    if "depends" in instances.column_names:
        for remark, depends in zip(remarks, shown["depends"].to_pylist(), strict=True):
            remark += ["depends on the boundary"] * depends
    columns.append(Column("remark"))
    values.append([", ".join(remark) for remark in remarks])
    rows = list(zip(*values, strict=True))
    note = f"The {len(rows):,} least certain of {len(p):,}; all are in instances.parquet." if len(rows) < len(p) else ""
    drawn = plots.probabilities(p, title="Inferred classes")
    caption = "How many instances got which probability. What is near the dashed line could be either."
    return [
        Figures([Drawing("probabilities", drawn, "Histogram of the probabilities of all instances", caption)]),
        Table("Instances: the least sure first, of those alike the contested", columns, rows, note, True),
    ]
