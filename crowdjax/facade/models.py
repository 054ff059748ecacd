"""The models of the registry, and how settings of ``fit`` become settings of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from crowdjax.facade.registry import Kind, Registry, refuse_features
from crowdjax.factor.presets import PRESETS
from crowdjax.integrated.nominal import nominal
from crowdjax.integrated.pool import Pool
from crowdjax.labels import InputError, Labels
from crowdjax.observation import (
    BiasedCoin,
    ClassSkill,
    DawidSkene,
    Graded,
    Logistic,
    Majority,
    Observation,
    OneCoin,
)
from crowdjax.observation.factors import Factor, Glad
from crowdjax.observation.integrated_factors import MOST_FACTORS, IntegratedFactor, IntegratedGlad
from crowdjax.priors import FEW_LABELS
from crowdjax.settings import one_of, prior_of, seed_of, whole

MODELS = Registry()
POINTS, POINTS_OF_MANY = 64, 32  # of the integrated model around each class, up to five classes and above
RESTARTS = 4  # of factors, from two on
FEW_LABELERS = 5
MOST_INTEGRATED = 20  # classes
MOST_BIASED = 50  # classes whose biases auto learns: a Newton step takes the cube of their number
MOST_CELLS = 2**25  # of all labelers' confusions that auto makes: 2 GiB
MOST_FREE = 10  # classes with which a labeler may confuse any two in his own way; above, he has a skill and biases


def add(name: str, model: type, *, kinds=("nominal",), rectangular=False) -> None:
    """Add a model with a table of labelers, whose class prior the user may choose."""

    def make(*, labels: Labels, classes: Kind, features: Mapping[str, np.ndarray], class_prior=None) -> Observation:
        if classes == "exchangeable" and class_prior not in (None, "uniform"):
            raise InputError("class_prior: given with exchangeable classes, which are equally probable; leave it out")
        if classes == "exchangeable":
            class_prior = "uniform"
        logistic = isinstance(class_prior, str) and class_prior == "logistic"
        prior = "" if logistic else ", or as class_prior='logistic' (--class-prior logistic)"
        refuse_features(name, {k: v for k, v in features.items() if k == "labeler" or not logistic},
                        "models glad, factor" + prior * ("labeler" not in features))  # fmt: skip
        if logistic:
            if "instance" not in features:
                raise InputError("class_prior: logistic needs instance features; allowed without: learn, uniform")
            return Logistic(model(), features["instance"])
        return model(**prior_of(class_prior, labels.n_classes))

    MODELS.add(name, make, kinds=kinds, rectangular=rectangular, settings={"class_prior"}, model=model)


def add_factors(name: str, at_mode: type, integrated: type, *, settings=()) -> None:
    """Add a factor model whose instances are integrated out or at their mode; at their mode, features may explain
    them.
    """

    def make(*, labels, classes: Kind, features: Mapping[str, np.ndarray], class_prior=None, instances=None, **drawn):
        more = prior_of(class_prior, labels.n_classes) | _drawn(**drawn)
        if integrates(instances, features, class_prior, more.get("n_factors")):
            return integrated(**more)
        return at_mode(**more, **{f"{side}_features": values for side, values in features.items()})

    MODELS.add(name, make, settings={"class_prior", "instances", *settings}, model=at_mode)


def integrates(instances: str | None, features: Mapping[str, Any], class_prior, factors) -> bool:
    """Test whether a factor model integrates its instances out, as it does unless another setting needs their mode.

    Example:
        >>> integrates(None, {}, None, 2), integrates("map", {}, None, None), integrates(None, {}, "logistic", None)
        (True, False, False)
    """
    if instances is not None:
        one_of("instances", instances, ("integrate", "map"))
    logistic = isinstance(class_prior, str) and class_prior == "logistic"
    many = factors == "auto" or (isinstance(factors, int) and factors > MOST_FACTORS)
    needs = {f"{side} features": True for side in features} | {"class_prior logistic": logistic}
    needs = [need for need, there in (needs | {f"factors {factors}": many}).items() if there]
    if instances == "integrate" and needs:
        raise InputError(f"instances: got 'integrate' with {needs[0]}; allowed: map; without features, class_prior "
                         f"logistic and more than {MOST_FACTORS} factors integrate")  # fmt: skip
    return instances != "map" and not needs


def _drawn(factors=None, restarts=None, seed=None) -> dict[str, int]:
    """Return the settings of a model of factors, those of their random starts from two on."""
    if factors == "auto":
        raise InputError("factors: got 'auto' with more than two classes; allowed: a whole number from 1")
    n = 1 if factors is None else whole("factors", factors)
    restarts = None if restarts is None else whole("restarts", restarts)
    if n > 1:
        return {"n_factors": n, "restarts": restarts or RESTARTS, "seed": seed_of(seed or 0)}
    if seed is not None or (restarts or 1) > 1:
        what = "restarts" if seed is None else "seed"
        raise InputError(f"{what}: given with one factor, whose fit is deterministic; allowed with factors=2 or more")
    return {} if factors is None else {"n_factors": n}


def names() -> tuple[str, ...]:
    """List all values of the argument ``model`` of ``fit``, for two classes or more.

    Example:
        >>> names()[:4], "graded" in names()
        (('majority', 'one-coin', 'dawid-skene', 'glad'), True)
    """
    return tuple(dict.fromkeys((*PRESETS, *MODELS)))


add("majority", Majority, kinds=("nominal", "exchangeable"))
add("one-coin", OneCoin, kinds=("nominal", "exchangeable"))
add("biased-coin", BiasedCoin)
add("class-skill", ClassSkill)
add("dawid-skene", DawidSkene, rectangular=True)
MODELS.add("graded", Graded, kinds=("ordinal",), rectangular=True)


class Numbers(NamedTuple):
    """The inputs of a plan: the numbers of labels, labelers, instances and classes, and a function that orders the
    classes by votes.

    Example:
        >>> numbers_of(Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 2, 2], n_values=3))[:4]
        (3, 3.0, 3, 3)
    """

    n_labelers: int
    per_instance: float
    n_values: int
    n_classes: int
    order: Callable[[], np.ndarray]


def numbers_of(labels: Labels) -> Numbers:
    """Count the labels in memory."""
    counted = np.asarray(labels.counts) > 0
    n_labelers, n_instances = (len(np.unique(np.asarray(v)[counted])) for v in (labels.labeler, labels.instance))
    sizes = labels.n_values, labels.n_classes
    return Numbers(n_labelers, float(counted.sum() / n_instances), *sizes, partial(by_votes, labels))


def plan_integrated(numbers: Numbers, classes: Kind) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Choose the form of the integrated model, and the order of the classes for its points.

    Classes are taken by their votes: points treat them alike up to their number only, and names say nothing.
    """
    form = classes if classes != "nominal" else "free" if numbers.n_classes <= MOST_FREE else "skill"
    order = np.arange(numbers.n_classes) if form == "ordinal" else numbers.order()
    per_class = POINTS if numbers.n_classes <= 5 else POINTS_OF_MANY
    return {"model": "integrated", "form": form, "order": order.tolist(), "per_class": per_class}, ()


def plan_auto(numbers: Numbers, classes: Kind) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Choose the model that the numbers of labels, labelers and classes allow, with the reason where it is not the
    integrated one.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 2, 2], n_values=3)
        >>> plan_auto(numbers_of(labels), "nominal")[0]
        {'model': 'dawid-skene'}
    """
    n_labelers, per_instance, n_values, n_classes, _ = numbers
    square = n_values == n_classes
    if classes == "ordinal":
        return _guarded(numbers, classes)
    if classes == "exchangeable":
        return {"model": "one-coin"}, ()
    if per_instance < FEW_LABELS and square:
        reason = (
            f"{per_instance:.2f} labels per instance cannot tell able labelers from others; everybody counts the same, "
            "and the result is little more than the labels themselves."
        )
        return {"model": "majority"}, (reason,)
    if n_labelers <= FEW_LABELERS:
        reason = (
            f"{n_labelers} labelers are too few to learn how clear each instance is; Dawid and Skene's model with "
            "labelers from one population is used instead."
        )
        return {"model": "dawid-skene"}, (reason,)
    if square and (n_classes > MOST_BIASED or n_labelers * n_classes**2 > MOST_CELLS):
        reason = (
            f"The confusions of {n_labelers:,} labelers in {n_classes} classes are too many to learn; labelers "
            "differ by a skill alone."
        )
        return {"model": "one-coin"}, (reason,)
    if square and n_classes > MOST_INTEGRATED:
        reason = (
            f"{n_classes} classes are too many to learn who confuses what; labelers differ by a skill and by biases."
        )
        return {"model": "biased-coin"}, (reason,)
    return _guarded(numbers, classes)


def _guarded(numbers: Numbers, classes: Kind) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the integrated model, averaged with a simpler one and with votes."""
    plan, reasons = plan_integrated(numbers, classes)
    return {**plan, "beside": "graded" if classes == "ordinal" else "dawid-skene"}, reasons


def by_votes(labels: Labels) -> np.ndarray:
    """Order the classes by their votes, most first; ties by how their votes gather in labelers and instances.

    What decides is the same whatever labelers, instances and classes are called.

    Example:
        >>> by_votes(Labels.from_arrays([0, 1, 2], [0, 0, 1], [2, 2, 0], n_values=3)).tolist()
        [2, 0, 1]
    """
    if labels.n_values != labels.n_classes:
        return np.arange(labels.n_classes)
    real = np.asarray(labels.label) >= 0
    label, counts = np.asarray(labels.label)[real], np.asarray(labels.counts, np.float64)[real]

    def gathered(of: np.ndarray) -> np.ndarray:
        """Return how many labels of the same class the same labeler gave, or the same instance has, for each label."""
        _, cell = np.unique(np.asarray(of)[real].astype(np.int64) * labels.n_classes + label, return_inverse=True)
        return np.bincount(cell, counts)[cell]

    by, on = gathered(labels.labeler), gathered(labels.instance)
    keys = [np.ones_like(counts), by, on, by * on, by * by, on * on]
    sums = [np.bincount(label, counts * key, labels.n_classes).round(6) for key in keys]
    return np.lexsort([-s for s in sums[::-1]])


def make_planned(
    *, name: str, labels: Labels, classes: Kind, features: Mapping[str, np.ndarray], plan: dict[str, Any]
) -> Observation:
    """Build the model of a plan."""
    refuse_features(f"{name} of more than two classes", features)
    if plan["model"] != "integrated":
        return MODELS[plan["model"]].make(labels=labels, classes=classes, features=features)
    sizes = dict(places=labels.places, per_class=plan["per_class"])
    made = nominal(labels.n_classes, labels.n_values, plan["form"], **sizes)
    made = made if plan["form"] == "ordinal" else made.renamed(np.asarray(plan["order"]))
    if "beside" not in plan:
        return made
    return Pool((made, MODELS[plan["beside"]].make(labels=labels, classes=classes, features=features)))


MODELS.add(
    "integrated",
    partial(make_planned, name="integrated"),
    kinds=("nominal", "ordinal"),
    rectangular=True,
    plan=plan_integrated,
)
MODELS.add(
    "auto",
    partial(make_planned, name="auto"),
    kinds=("nominal", "ordinal", "exchangeable"),
    rectangular=True,
    plan=plan_auto,
)
add_factors("glad", Glad, IntegratedGlad)
add_factors("factor", Factor, IntegratedFactor, settings={"factors", "restarts", "seed"})
