"""The section on the labels themselves, and what they say for and against a result before any model does."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from crowdjax import plots
from crowdjax.priors import FEW_LABELS
from crowdjax.report.document import Block, Check, Drawing, Facts, Figures
from crowdjax.report.instances import UNSURE, against_votes, contested
from crowdjax.report.labelers import FEW
from crowdjax.result import Tally


def section(labelers: pa.Table, tally: Tally, *, yes: bool = True) -> list[Block]:
    """Return how many labels instances and labelers have: figures and facts.

    Args:
        yes: whether to say how many labels are positive.
    """
    of_instance, of_labeler = tally.votes.sum(1), labelers["n_labels"].to_numpy().astype(float)
    positive = {"Labels that say yes": f"{tally.votes[:, 1].sum() / tally.votes.sum():.1%}"} if yes else {}
    drawings = [
        Drawing(
            f"labels_per_{what}",
            plots.counts(n, title=f"Labels per {what}", xlabel="labels", ylabel=f"{what}s"),
            f"Histogram of the number of labels per {what}",
        )
        for what, n in (("instance", of_instance), ("labeler", of_labeler))
    ]
    facts = {
        "Labels per instance": spread(of_instance),
        "Labels per labeler": spread(of_labeler),
        **positive,
        "Parts of the crowd": f"{tally.n_crowds:,}",
    }
    return [Figures(drawings), Facts(facts)]


def checks(labelers: pa.Table, instances: pa.Table, tally: Tally) -> list[Check]:
    """Check what the labels and the inferred classes say for a result, or against it."""
    p, (low, high) = instances["probability"].to_numpy(), UNSURE
    unsure = _unsure((p > low) & (p < high), f"Their probability is between {low} and {high}.")
    return [*_of_labels(labelers, tally), unsure, _against(against_votes(p, tally.votes))]


def checks_of_classes(labelers: pa.Table, tally: Tally, confidence, against) -> list[Check]:
    """Return the same of any number of classes.

    Args:
        confidence: the probability of each instance's inferred class.
        against: which inferred classes differ from what most labels of their instance say.
    """
    sure = UNSURE[1]
    unsure = _unsure(confidence < sure, f"The probability of their class is below {sure}.")
    return [*_of_labels(labelers, tally), unsure, _against(against)]


def _of_labels(labelers: pa.Table, tally: Tally) -> list[Check]:
    """Check what the labels say, whatever is inferred from them."""
    return [_connected(tally), _labels(tally.votes), _few(labelers), _contested(tally.votes)]


def spread(n: Float[np.ndarray, " n"]) -> str:
    """Format mean and range in a few words.

    Example:
        >>> spread(np.array([1.0, 2.0, 6.0])), spread(np.array([40.0, 40.0]))
        ('3.0 (1 to 6)', '40 each')
    """
    low, high = n.min(), n.max()
    return f"{low:,g} each" if low == high else f"{n.mean():,.1f} ({low:,g} to {high:,g})"


def _connected(tally: Tally) -> Check:
    if tally.n_crowds == 1:
        return Check("good", "All labelers are connected", "Shared instances compare them, directly or through others.")
    return Check(
        "care",
        f"{tally.n_crowds:,} connected components",
        "No instance has labels from two of these parts of the crowd. Nothing in the labels compares a labeler of one "
        "part with a labeler of another, nor the difficulty of their instances.",
    )


def _labels(votes) -> Check:
    n = votes.sum(1)
    mean, single = n.mean(), (n <= 1).mean()
    title = f"{mean:.1f} labels per instance"
    if mean < FEW_LABELS:
        return Check(
            "care", title, "Too few to tell able labelers from others: the result is little more than the labels."
        )
    if single > 0.05:
        text = f"{single:.0%} of the instances have a single label, which nothing contradicts or supports."
        return Check("note", title, text)
    return Check("good", title, "Labelers contradict and support each other on nearly all instances.")


def _few(labelers: pa.Table) -> Check:
    n = labelers["n_labels"].to_numpy().astype(float)
    few, theirs = (n < FEW).sum(), n[n < FEW].sum() / n.sum()
    title = f"{few:,} of {len(n):,} labelers have fewer than {FEW} labels"
    text = f"They gave {theirs:.1%} of all labels. Their estimates are mostly what the model assumes of any labeler."
    if not few:
        return Check("good", f"Every labeler has {FEW} labels or more", "Each can be judged by their own labels.")
    return Check("care" if theirs > 0.5 else "note" if theirs > 0.1 else "good", title, text)


def _contested(votes) -> Check:
    share = contested(votes).mean()
    side = "on the smaller side" if votes.shape[1] == 2 else "against the most frequent one"
    text = f"At least a third of their labels are {side}. There the model decides, more than the votes do."
    return Check(
        "care" if share > 0.4 else "note" if share > 0.1 else "good",
        f"{share:.0%} of the instances are contested",
        text,
    )


def _unsure(unsure, which: str) -> Check:
    share = unsure.mean()
    text = f"{which} The table of instances begins with them; more labels, or an expert's label, help most there."
    return Check(
        "care" if share > 0.4 else "note" if share > 0.1 else "good", f"{share:.0%} of instances are uncertain", text
    )


def _against(against) -> Check:
    share = against.mean()
    if not share:
        return Check("good", "No inferred class goes against the votes", "The model and the majority agree everywhere.")
    text = (
        "There the model trusts a minority of labelers more than the rest, by what they did elsewhere. Where it does "
        "so often, a few known truths are worth having: they tell which of the two is right."
    )
    return Check(
        "care" if share > 0.2 else "note" if share > 0.05 else "good",
        f"{share:.0%} of the inferred classes go against the votes",
        text,
    )
