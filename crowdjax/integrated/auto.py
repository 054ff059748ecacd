"""What ``model="auto"`` does with a crowd: the integrated model where it can be learned, else less, with the reason.

labelers ≤ 2             Dawid and Skene's model with labelers from one population: two say nothing of how clear an
                         instance is
< 1.5 labels an instance  the population stays at the prior and the boundary at 0: labels that nothing contradicts say
                         nothing about who is right
several separate crowds  are fitted together; what they have in common is the population and the boundary alone

Labels do not identify the decision boundary. With many labelers the able ones place it (``able``); with few the
clusters of instances do (``gap``), whose sizes the class prior has to learn:

    p_j = λ p_j(able, π = ½) + (1-λ) [ (1-v) ((1-u) Σ_e w_e p_j(gap, π_e) + u Σ_e w0_e p0_j(π_e)) + v votes_j ]
    logit π_e = e logit(share of positive labels),  e = 0, 1, 2         w_e ∝ exp(evidence_e - h [e > 0])
    λ = (W - 15) / 25, within 0 and 1                                   w0_e ∝ exp(evidence0_e)

    h = 5 (s - .3) / .1, within 0 and 5           s: the share of the labels that are for the class with fewer
    u = ½ Σ_e exp(evidence0_e) / Σ_e [ exp(evidence0_e) + exp(evidence_e) ]

Quantities with the index 0 are those with ρ = 0, where all instances are equally clear: Dawid and Skene's model with
labelers from one population, which determines the class prior and is certain of it, but rightly so only where no
instances lie between the classes. Labelers are described by the model of the higher evidence.

W is the number of labelers. From 40 labelers on nothing is averaged. Few labelers do not show whether one class is rare
or the crowd is biased: h leaves the choice to the evidence where few labels are for one class, and to π = ½ where both
have many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crowdjax.integrated.boundary import Choice
from crowdjax.integrated.model import SPREADS, IntegratedConfig
from crowdjax.labelers import crowd_of
from crowdjax.labels import Labels
from crowdjax.priors import FEW_LABELS

FEW_LABELERS = 2
ABLE_FROM, ABLE_AT = 15, 40  # labelers: λ rises from 0 at the first number to 1 at the second
EXPONENTS = 0.0, 1.0, 2.0  # e: the class prior is σ(e logit(share of positive labels))
PENALTY = 5.0  # h: nats of evidence that a class prior other than one half has to gain, at most
EVEN = 0.3, 0.4  # share of the labels for the class with fewer: h is 0 up to the first, all from the second on
VOTES = 0.1  # v
MOST_CLEAR = 0.5  # u, where the evidence leaves no doubt
GAP_SD = 0.5  # standard deviation of a boundary between the clusters


class Plan(NamedTuple):
    """The planned model and boundary, with reasons in plain sentences where the model is not the usual one.

    ``able`` is the weight of the boundary by the able labelers, by the number of labelers, from 0 to 1; ``None``: the
    boundary is the one named, and nothing is averaged.

    Example:
        >>> Plan(IntegratedConfig(), "able", ()).config.factors
        1
    """

    config: IntegratedConfig
    boundary: Choice
    reasons: tuple[str, ...]
    able: float | None = None


def plan(labels: Labels, class_prior: float | str | None = None) -> Plan:
    """Choose the model and the boundary for these labels from their numbers alone; host side, deterministic.

    Example:
        >>> found = plan(Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 1, 0]))
        >>> found.config.spread, found.boundary
        ('learn', 'gap')
    """
    given, class_prior = class_prior is not None, 0.5 if class_prior is None else class_prior
    real = np.asarray(labels.counts) > 0
    labeler, instance = np.asarray(labels.labeler)[real], np.asarray(labels.instance)[real]
    n_labelers, n_instances = len(np.unique(labeler)), len(np.unique(instance))
    per_instance = len(labeler) / n_instances
    reasons = []
    config, boundary = IntegratedConfig(class_prior=class_prior), "able"
    able = min(max((n_labelers - ABLE_FROM) / (ABLE_AT - ABLE_FROM), 0.0), 1.0)
    boundary = "able" if able >= 0.5 else "gap"
    if n_labelers <= FEW_LABELERS:
        config, boundary, able = IntegratedConfig(class_prior=class_prior, spread=0.0), "gap", None
        reasons.append(
            f"{_labelers(n_labelers)} too few to learn how clear each instance is; Dawid and Skene's model with "
            "labelers from one population is used instead."
        )
    if per_instance < FEW_LABELS:
        spread = config.spread if config.spread == 0 else SPREADS[0]
        config, boundary = IntegratedConfig(class_prior=class_prior, spread=spread, hierarchy=False), "gap"
        able = None
        reasons.append(
            f"{per_instance:.2f} labels per instance cannot tell able labelers from others; their population is not "
            "learned, and the result is little more than the labels themselves."
        )
    crowds = crowd_of(labeler, instance, labels.n_labelers, labels.n_instances).max() + 1
    if crowds > 1:
        reasons.append(
            f"The labels fall into {crowds} connected components; nothing compares their labelers but the "
            "assumption that all come from one population."
        )
    return Plan(config, boundary, tuple(reasons), None if given else able)


def _labelers(n: int) -> str:
    return "One labeler is" if n == 1 else f"{n} labelers are"
