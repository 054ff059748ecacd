"""Choose the instances whose next label lowers the expected error most, from any fit's probabilities.

The inferred class of an instance with class probabilities p is the likeliest one, wrong with probability 1 - max p. One
more label l of an average labeler, P(l | k) = C_kl, leaves the expected error

    Σ_l P(l) (1 - max_k P(k | l)) = 1 - Σ_l max_k p_k C_kl                                                    (1)

so that it is worth Σ_l max_k p_k C_kl - max_k p_k. That is 0 where no label would change the inferred class; among
such instances the least certain come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from crowdjax.columns import word
from crowdjax.labels import InputError, LabelIndex
from crowdjax.result import MOST_CLASSES, probabilities

if TYPE_CHECKING:
    from jaxtyping import Float

LITTLE = 1e-6  # of a probability: gains below are rounding of float32


def expected_gain(p: Float[np.ndarray, "I K"], confusion: Float[np.ndarray, "K L"]) -> Float[np.ndarray, " I"]:
    """Compute how much one more label lowers the expected error of each inferred class, equation (1).

    Args:
        p: class probabilities.
        confusion: P(label | class) of an average labeler.

    Example: a labeler who is right in four of five cases changes no class that is more certain than that
        >>> coin = np.array([[0.8, 0.2], [0.2, 0.8]])
        >>> expected_gain(np.array([[0.5, 0.5], [0.9, 0.1]]), coin).round(6).tolist()
        [0.3, 0.0]
    """
    after = np.zeros(len(p))
    for column in confusion.T:
        after += (p * column).max(1)
    gain = after - p.max(1)
    return np.where(gain > LITTLE, gain, 0.0)


def mean_confusion(confusion: pa.Table, labelers: pa.Table, index: LabelIndex) -> Float[np.ndarray, "K L"]:
    """Compute the confusion matrix of an average labeler, weighted by numbers of labels.

    Args:
        confusion, labelers: the tables of a result.
    """
    k, n_values = len(index.classes), len(index.values or index.classes)
    table = confusion["probability"].to_numpy().reshape(-1, k, n_values)
    if len(table) == 1:  # of one labeler, or of the crowd
        return table[0]
    return np.average(table, axis=0, weights=labelers["n_labels"].to_numpy())


def class_probabilities(instances: pa.Table, index: LabelIndex) -> Float[np.ndarray, "I K"]:
    """Read the probability of each class from the table of instances."""
    if "probability" in instances.column_names:
        positive = probabilities(instances["probability"].to_numpy())
        return np.stack([1 - positive, positive], 1)
    return np.stack([instances[f"p_{word(c)}"].to_numpy() for c in index.classes], 1)


def next_instances(tables: dict[str, pa.Table], index: LabelIndex, n: int) -> pa.Table:
    """Tabulate the n instances to label next: instance, label, confidence, gain.

    Args:
        tables: of a result.
        n: at most as many as there are.

    Raises:
        InputError: more instances than there are; more than 50 classes.
    """
    instances = tables["instances"]
    if n > instances.num_rows:
        raise InputError(f"next: got {n}; allowed: 1 to {instances.num_rows}, the instances")
    if "confusion" not in tables:
        raise InputError(f"next: a fit without confusion matrices; allowed: a fit of up to {MOST_CLASSES} classes")
    p = class_probabilities(instances, index)
    gain = expected_gain(p, mean_confusion(tables["confusion"], tables["labelers"], index))
    order = np.lexsort((p.max(1), -gain))[:n]
    found = {"instance": instances["instance"].take(order), "label": instances["label"].take(order)}
    return pa.table({**found, "confidence": p.max(1)[order], "gain": gain[order]})
