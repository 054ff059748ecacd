"""Warnings about inferred classes: labels left out, gold of one class, votes contradicted, too few comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crowdjax import io, outliers
from crowdjax.chance import Comparison, compare, follow
from crowdjax.columns import listed
from crowdjax.labelers import agreement_with_votes
from crowdjax.labels import Labels, Repeats
from crowdjax.priors import FEW_LABELS

if TYPE_CHECKING:
    from jaxtyping import Float
from crowdjax.result import TIE, by_class, chosen, named, probabilities, tied

TREATMENT = {
    "count": "each counts as one more",
    "first": "only the first was used",
    "last": "only the last was used",
    "mean": "they share the weight of one",
}
CLEAR, LEAST_VOTES = 0.75, 3  # share of an instance's labels on one side, and how many labels, that make a clear vote
AGAINST = 0.05  # share of inferred classes against a clear vote, from which it is reported
MANY = 10  # labels or instances, below which a class that is absent surprises nobody
CONTRADICTED = 0.01  # chance that gold agrees with votes as little, below which it is reported
LEAST_PAIRS = 100  # of labels of the same instance, below which agreement is not judged
WRONG = 0.05  # of the inferred classes, from which intervals that take them for known are far too narrow
LEAST_GOLD = 5  # gold labels of a class, below which they say little of it


def about_labels(labels: Labels, triples: io.Triples, repeats: Repeats) -> list[str]:
    """Report the labels that were left out, and how repeated judgements were treated, if there are any."""
    n = len(triples.label) if triples.weight is None else np.count_nonzero(triples.weight)
    real = labels.counts > 0
    labeler, instance = labels.labeler[real], labels.instance[real]
    again = n - (1 + np.count_nonzero(np.diff(instance.astype(np.int64) * labels.n_labelers + labeler)))
    notes = [*triples.notes, *outliers.about_weights("labels", triples.weight)]
    if not again or triples.anonymous:
        return notes
    return [
        *notes,
        f"{again} of {n} labels repeat an earlier one (labeler and instance alike); {TREATMENT[repeats]}.",
    ]


class Support(NamedTuple):
    """Counts of how inferred classes agree with their labels; they add up over parts of the instances.

    Attributes:
        instances: how many instances.
        answered: instances inferred to be of each class.
        expected: Σ p of each class.
        against: instances inferred against a clear vote.
        voted: instances whose most frequent label is of each class; () where labels are of other values.
        labels: how many labels have each value, by their multiplicities.
    """

    instances: int
    answered: tuple[int, ...]
    expected: tuple[float, ...]
    against: int
    voted: tuple[int, ...]
    labels: tuple[float, ...]

    def __add__(self, other: Support) -> Support:
        def add(a, b):
            return tuple(x + y for x, y in zip(a, b, strict=True)) if isinstance(a, tuple) else a + b

        return Support(*map(add, self, other))


def support(votes: Float[np.ndarray, "I L"], posterior, gold: Float[np.ndarray, " I"] | None = None) -> Support:
    """Compare the inferred classes with the votes of their instances.

    Args:
        gold: NaN where unknown; what is known is against no vote.

    Example: one inferred class goes against three labels
        >>> found = support(np.array([[3.0, 0.0], [1.0, 2.0]]), [0.75, 1.0])
        >>> found.answered, found.expected, found.against, found.voted, found.labels
        ((0, 2), (0.25, 1.75), 1, (1, 1), (4.0, 2.0))
    """
    p, n = by_class(probabilities(posterior)), votes.sum(1)
    answer, even, k = chosen(p), tied(p), p.shape[1]
    answered = tuple(np.bincount(answer, minlength=k).tolist())
    totals = (tuple(p.sum(0).tolist()), tuple(votes.sum(0).tolist()))
    if votes.shape[1] != k:
        return Support(len(p), answered, totals[0], 0, (), totals[1])
    most = votes.argmax(1)
    clear = (n >= LEAST_VOTES) & (votes.max(1) >= CLEAR * n * (1 - TIE))
    clear &= ~even & (True if gold is None else np.isnan(gold))
    against = int((clear & (answer != most)).sum())
    return Support(len(p), answered, totals[0], against, tuple(np.bincount(most, minlength=k).tolist()), totals[1])


def about_prior(class_prior: float | str | Sequence[float]) -> str:
    """Say why inferred classes may go against their labels under this class prior, and what to compare with.

    Example:
        >>> "fixed (here at 0.5, 0.25, 0.25)" in about_prior((0.5, 0.25, 0.25)), "fixed" in about_prior("learn")
        (True, False)
    """
    why = "Most labelers may be wrong there in the same way"
    if isinstance(class_prior, str) and class_prior != "uniform":
        return f"{why}, or the model has the classes wrong; compare with model 'majority'."
    numbers = [class_prior] if isinstance(class_prior, int | float) else class_prior
    fixed = class_prior if isinstance(class_prior, str) else listed([f"{p:g}" for p in numbers], 5)
    return (
        f"{why}, or the model splits a frequent class in two, as it can where the class prior is fixed (here at "
        f"{fixed}); compare with class_prior='learn' (--class-prior learn) and with model 'majority'."
    )


def about_support(found: Support, classes: Sequence[Any] | None, advice: str) -> list[str]:
    """Warn where inferred classes rest on much besides their labels.

    Args:
        advice: why inferred classes may go against their labels, and what to compare with.
    """
    out, names = [], named(classes)
    two, total, most = len(names) == 2, sum(found.labels), max(found.labels)
    alike = most == total or (total - most <= 1 and total >= MANY)
    if alike and found.voted:
        all_ = f"All {total:g} labels are" if most == total else f"All but one of {total:g} labels are"
        all_ = "The one label is" if total == 1 else all_
        k = len(names) - 1 - found.labels[::-1].index(most)
        absent, other = (names[1 - k], "the other") if two else (f"not {names[k]}", "the others")
        out.append(
            f"{all_} {names[k]}. Labels of one class say nothing of {other}: the probabilities, and the "
            f"estimates of labelers on instances that are {absent}, rest on the priors."
        )
    rare = [name for name, n in zip(names, found.expected, strict=True) if n < 1]
    if not alike and found.instances >= MANY and rare:
        out.append(
            f"Less than one of {found.instances} instances is expected to be {_either(rare)}: estimates of labelers "
            "on such instances rest on the priors."
        )
    if found.against > AGAINST * found.instances:
        k = 1 if two else int(np.argmax(np.abs(np.subtract(found.answered, found.voted))))
        out.append(
            f"{found.against} of {found.instances} inferred classes contradict at least three quarters of their "
            f"instance's labels: {found.answered[k]} instances are inferred {names[k]}; by most labels it would be "
            f"{found.voted[k]}. {advice}"
        )
    return out


def _either(names: Sequence[str]) -> str:
    """Return one of several names, for a message."""
    return names[0] if len(names) == 1 else f"one of {listed(names, 5)}"


def about_gold(
    gold: Float[np.ndarray, " I"] | None, classes: Sequence[Any] | None, placing: bool = False, placed: bool = False
) -> list[str]:
    """Warn where gold labels are of one class, nearly so, or lack a class.

    Args:
        gold: codes, NaN (or -1) where unknown.
        placing: whether they are to place a boundary between two classes, for which few of a class are too few.
        placed: whether they have placed it.
    """
    if gold is None or not (np.asarray(gold) >= 0).any():
        return []
    gold, names = np.asarray(gold, np.float64), named(classes)
    counts = [int((gold == k).sum()) for k in range(len(names))]
    absent, n, frequent = [k for k, c in enumerate(counts) if not c], sum(counts), int(np.argmax(counts))
    if len(absent) == len(names) - 1:
        others = names[absent[0]] if len(names) == 2 else f"not {names[frequent]}"
        said = (
            f"All {n} gold labels are {names[frequent]}: they fix these instances and say nothing of labelers on "
            f"instances that are {others}."
        )
        more = " They neither place the decision boundary nor calibrate the probabilities; gold of both classes does."
        return [said + more * placing]
    if absent:
        return [f"No gold label is {_either([names[k] for k in absent])}: they say nothing of labelers on such "
                "instances."]  # fmt: skip
    few, rare = min(counts), int(np.argmin(counts))
    if placing and few < LEAST_GOLD:
        only = f"Only {few} of {n} gold labels {'is' if few == 1 else 'are'} {names[rare]}: "
        if placed:
            more = (
                f"the decision boundary that they place is little known; {LEAST_GOLD} or more of each class tell more."
            )
        else:
            more = "they neither place the decision boundary nor calibrate the probabilities; "
            more += f"{LEAST_GOLD} or more of each class do."
        return [only + more]
    return []


def about_comparisons(labels: Labels, gold: Float[np.ndarray, " I"] | None = None) -> list[str]:
    """Warn that labels hardly compare labelers: fewer than 1.5 an instance, and no gold.

    Example: everybody has instances of their own
        >>> about_comparisons(Labels.from_arrays([0, 1, 2], [0, 1, 2], [1, 0, 1]))[0][:36]
        '1.00 labels per instance cannot tell'
        >>> about_comparisons(Labels.from_arrays([0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1]))
        []
    """
    counted = np.asarray(labels.counts) > 0
    n = np.count_nonzero(np.bincount(np.asarray(labels.instance)[counted]))
    known = gold is not None and np.isfinite(gold).any()
    if known or not n or counted.sum() / n >= FEW_LABELS:
        return []
    return [
        f"{counted.sum() / n:.2f} labels per instance cannot tell able labelers from others: their accuracies, and how "
        "certain the inferred classes are, rest on the model's priors. Gold labels, or more labels "
        "of each instance, would tell."
    ]


def about_chance(
    labels: Labels,
    gold: Float[np.ndarray, " I"] | None = None,
    scores: Float[np.ndarray, "I S"] | None = None,
    anonymous: bool = False,
) -> list[str]:
    """Warn that labels agree no more than chance would have it: then nothing shows that they know the classes.

    It takes a hundred pairs of labels, labels of two values, and no gold (``crowdjax.chance``).

    Example: coins, and labels of the same truth
        >>> rng, (j, i) = np.random.default_rng(0), np.divmod(np.arange(500), 5)
        >>> about_chance(Labels.from_arrays(i, j, rng.integers(0, 2, 500)))[0][:50]
        'Labels agree no more than chance would have it (1,'
        >>> about_chance(Labels.from_arrays(i, j, rng.integers(0, 2, 100)[j]))
        []
    """
    if gold is not None and np.isfinite(gold).any():
        return []
    found = compare(labels, anonymous)
    if scores is None:
        return about_comparison(found)
    known = not about_comparison(found) or follow(labels, scores, anonymous)
    return [] if known else about_comparison(found, " and, labeler by labeler, do not follow the score")


def about_comparison(found: Comparison, more: str = "") -> list[str]:
    """Warn of labels that agree no more than chance would have it, by their comparison.

    Args:
        more: what else they do not do.

    Example: one pair of labels says nothing
        >>> about_comparison(compare(Labels.from_arrays([0, 1], [0, 0], [1, 0])))
        []
    """
    if found.pairs < LEAST_PAIRS or found.beyond:
        return []
    rest = "Prevalence, probabilities and estimates of labelers" if more else "Probabilities and kinds of labelers"
    return [
        f"Labels agree no more than chance would have it ({found.pairs:,.0f} pairs of labels of the same instance)"
        f"{more}: nothing shows that they know the classes. {rest} rest on the model's assumptions; gold labels would "
        "tell."
    ]


def about_contradiction(
    gold: Float[np.ndarray, " I"] | None, labels: Labels, classes: Sequence[Any] | None
) -> list[str]:
    """Warn that gold labels and the labels of their instances contradict each other, where they do so beyond chance.

    Args:
        gold: codes, NaN (or -1) where unknown.

    Gold agrees with the most frequent label (a tie counts in part) less often than a coin, or of K classes a die,
    would: P(agreements ≤ those seen) < .01.

    Example: ten gold labels, all against three votes each
        >>> j, i = np.divmod(np.arange(30), 3)
        >>> labels = Labels.from_arrays(i, j, np.zeros(30))
        >>> about_contradiction(np.ones(10), labels, None)[0][:58]
        '10 of 10 gold labels contradict the most frequent label of'
        >>> about_contradiction(np.zeros(10), labels, None)
        []
    """
    if gold is None or labels.n_values != labels.n_classes:
        return []
    agreeing, n, chance = agreement_with_votes(gold, labels)
    if chance >= CONTRADICTED:
        return []
    where = " (see positive=, --positive)" if labels.n_classes == 2 else ""
    return [
        f"{round(n - agreeing)} of {n} gold labels contradict the most frequent label of their "
        f"instance. Either the classes of the gold labels are exchanged{where}, or most labelers "
        "are wrong: then dawid-skene, whose fit gold decides, is the model (auto and integrated fit labels alone)."
    ]


def about_known(posterior) -> list[str]:
    """Warn that intervals of labelers take inferred classes for known where many of these are expected to be wrong; for
    models that are not ``doubted``.

    On simulated crowds of five classes whose labelers have confusions of their own, 95 % intervals of Dawid and Skene's
    accuracies held .40 to .56 where 26 and 10 % were expected to be wrong; of three classes .68 and .88 at 17 and 5 %.

    Example:
        >>> about_known(np.array([[0.8, 0.1, 0.1], [0.0, 1.0, 0.0]]))[0][:55]
        'Of the inferred classes 10% are expected to be wrong, a'
        >>> about_known(np.eye(3))
        []
    """
    p = by_class(probabilities(posterior[1] if isinstance(posterior, tuple) else posterior))
    wrong = 1 - p.max(1).mean()
    if wrong < WRONG:
        return []
    return [
        f"Of the inferred classes {wrong:.0%} are expected to be wrong, and the intervals of labelers take them for "
        "known, so they are too narrow. Gold, or more labels of each instance, would tell."
    ]


def about_classes(posterior, n_labels: np.ndarray, classes: Sequence[Any] | None = None) -> list[str]:
    """Return the warnings that follow from the probabilities and the numbers of labels of each labeler."""
    out = []
    single = np.count_nonzero(n_labels == 1)
    if single:
        out.append(f"{single} of {len(n_labels)} labelers gave one label; their estimates are mostly prior.")
    p = by_class(probabilities(posterior[1] if isinstance(posterior, tuple) else posterior))
    ties = np.count_nonzero(tied(p))
    if ties and p.shape[1] == 2:
        out.append(
            f"{ties} of {len(p)} instances are undecided (probability 0.5); their label says {named(classes)[0]}."
        )
    elif ties:
        out.append(
            f"{ties} of {len(p)} instances are undecided between classes that are equally probable; their label says "
            "the first of these."
        )
    return out
