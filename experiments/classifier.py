"""A classifier learned from a crowd: the joint model of labels and of the class by features of instances, against
classifiers trained on votes, on Dawid and Skene's answers, and by the EM of Raykar et al. (2010).

    P(z_j = 1) = σ(w·x_j)      class_prior = "logistic" of ``crowdjax.factor``, the extension that Ruvolo, Whitehill,
                               Movellan (2013) call straightforward

What the labels gain from it, and what the classifier is worth on instances without any label, over the number of
instances, labels of each, and what features say of the class. Crowds (``experiments.featured``) are no logistic model:

    z_j = 1 where sqrt(share) f(x_j) + sqrt(1 - share) t_j > 0      t_j ~ Student's t, f a curve and a threshold
    a_i = .7 + .5 t_i      b_j = exp(.4 N)      γ_i = .4 N          labels are signs of a latent response
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from crowdjax import metrics, plots
from crowdjax.factor import Solver
from crowdjax.labels import Labels
from experiments import featured, peers
from experiments.cells import Cell, Size, Tables
from experiments.config import Model, preset
from experiments.fitting import Draws, fit_all, size_of
from experiments.peers import crowd_of
from experiments.raykar import logistic, predicted, raykar
from experiments.tables import Report, markdown, names, rows, scored, select, standard_error, with_error

ABILITY, CLARITY, BIAS = (0.7, 0.5), 0.4, 0.4
WITHOUT, JOINT = "Dawid-Skene", "Dawid-Skene, classifier"
HARD, SOFT, STEPS = "trained on votes", "trained on vote shares", "trained on Dawid-Skene"
RAYKAR, TRUE = "Raykar et al.", "trained on truths"


@dataclasses.dataclass(frozen=True)
class Config:
    """Crowds and models.

    Attributes:
        n_instances: with labels.
        per_instance: labels of each.
        shares: of the variance of what decides the class that features have.
        n_labelers: of every crowd.
        n_noise: features that say nothing, beside three of which one says nothing.
        n_new: instances without labels, on which classifiers are judged.
        n_repeats: crowds of each size and share.
        models: the models by name; those with features of instances have the classifier.
        seed: draws the crowds.
        solver: how to fit.
    """

    n_instances: tuple[int, ...] = (100, 300, 1000)
    per_instance: tuple[int, ...] = (1, 3)
    shares: tuple[float, ...] = (0.0, 0.4, 0.8)
    n_labelers: int = 20
    n_noise: int = 3
    n_new: int = 1000
    n_repeats: int = 20
    models: dict[str, Model] = dataclasses.field(
        default_factory=lambda: {
            "majority vote": preset("majority"),
            WITHOUT: preset("dawid-skene"),
            "one-coin, classifier": preset("one-coin", "instance", class_prior="logistic"),
            JOINT: preset("dawid-skene", "instance", class_prior="logistic"),
        }
    )
    seed: int = 0
    solver: Solver = Solver(rtol=1e-5)


class Drawn(NamedTuple):
    """Labels of all pairs; truths and features of the instances, those without labels last."""

    label: np.ndarray
    truth: np.ndarray
    features: np.ndarray


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [(n, k) for k in config.per_instance for n in config.n_instances]


def size(config: Config, n_instances: int, per_instance: int) -> Size:
    labels, r = _design(config, n_instances, per_instance), len(config.shares) * config.n_repeats
    n, features = len(labels.label), np.ones((r, n_instances, featured.N_FEATURES + config.n_noise))
    blank = Draws(np.ones((r, n)), np.ones((r, n), np.int8), None, features)
    return size_of(labels, blank, config.models, config.solver)


def run_cell(config: Config, n_instances: int, per_instance: int) -> Tables:
    labels = _design(config, n_instances, per_instance)
    crowds = [draw(config, s, n_instances, per_instance, r) for s in config.shares for r in range(config.n_repeats)]
    at = np.asarray(labels.labeler), np.asarray(labels.instance)
    label = np.stack([c.label[at] for c in crowds])
    weight = np.tile(np.asarray(labels.counts, np.float32), (len(crowds), 1))
    x, new = (np.stack([c.features[part] for c in crowds]) for part in (slice(n_instances), slice(n_instances, None)))
    truth, unknown = (
        np.stack([c.truth[part] for c in crowds]) for part in (slice(n_instances), slice(n_instances, None))
    )
    title = f"classifier, {n_instances}, {per_instance}"
    fitted = fit_all(labels, Draws(weight, label, None, x), config.models, config.solver, config.seed, title)
    answers = {k: np.asarray(f.posterior) for k, f in fitted.items()}
    weights = {
        k: np.asarray(f.fit.weights.class_prior.dense)[..., 0] for k, f in fitted.items() if config.models[k].covariates
    }
    told = [crowd_of(labels, y, c) for y, c in zip(label, truth, strict=True)]
    joint = [raykar(crowd, z) for crowd, z in zip(told, x, strict=True)]
    answers[RAYKAR], weights[RAYKAR] = np.stack([j.posterior for j in joint]), np.stack([j.weights for j in joint])
    votes = np.stack([peers.shares(crowd)[:, 1] for crowd in told])
    targets = {HARD: (np.sign(votes - 0.5) + 1) / 2, SOFT: votes, STEPS: answers.get(WITHOUT), TRUE: truth * 1.0}
    for name, target in targets.items():
        if target is not None:
            weights[name] = np.stack([logistic(z, t) for z, t in zip(x, target, strict=True)])
    found = []
    for k, share in enumerate(config.shares):
        part = slice(k * config.n_repeats, (k + 1) * config.n_repeats)
        setting = {"n_instances": n_instances, "per_instance": per_instance, "share": share}
        for name, p in answers.items():
            found += scored(name, p[part], truth[part], of="labels", **setting)
        for name, w in weights.items():
            said = [predicted(z, v) for z, v in zip(new[part], w[part], strict=True)]
            pairs = list(zip(said, unknown[part], strict=True))
            measures = {"auc": metrics.auc_roc, "nll": metrics.nll, "accuracy": metrics.accuracy}
            found += rows(
                name, {m: [f(*pair) for pair in pairs] for m, f in measures.items()}, of="classifier", **setting
            )
    return {"metrics": pa.Table.from_pylist(found)}


def _design(config: Config, n_instances: int, per_instance: int) -> Labels:
    """Who labels what: the same in all crowds of a size."""
    rng = np.random.default_rng([config.seed, n_instances, per_instance])
    labeler, instance = np.nonzero(featured.asked(rng, config.n_labelers, n_instances, per_instance))
    n = {"n_labelers": config.n_labelers, "n_instances": n_instances}
    return Labels.from_arrays(labeler, instance, np.ones(len(labeler), np.int8), blocks=False, **n)


def draw(config: Config, share: float, n_instances: int, per_instance: int, repeat: int) -> Drawn:
    """Draw a crowd. One repeat has the same random numbers for all shares."""
    rng = np.random.default_rng([config.seed, n_instances, per_instance, repeat])
    n = n_instances + config.n_new
    x = rng.normal(size=(n, featured.N_FEATURES + config.n_noise))
    truth = featured.explained(rng, x[:, : featured.N_FEATURES], share) > 0
    ability = ABILITY[0] + ABILITY[1] * featured.heavy(rng, config.n_labelers)
    clarity = np.exp(CLARITY * rng.normal(size=n_instances))
    chances = featured.right(ability, clarity, BIAS * rng.normal(size=config.n_labelers))
    return Drawn(featured.answered(rng, chances, truth[:n_instances]), truth, x)


def report(config: Config, tables) -> Report:
    found = tables["metrics"]

    def get(m, of, k, at):
        return select(found, model=m, of=of, metric=k, per_instance=at[0], n_instances=at[1], share=at[2])

    every = [(k, n, s) for k in config.per_instance for n in config.n_instances for s in config.shares]
    head = ["labels of each", "instances", "share"]
    models = {
        of: [m for m in names(found, "model") if len(get(m, of, "nll", every[0]))] for of in ("labels", "classifier")
    }
    parts = [
        f"{config.n_repeats} crowds of each kind, {config.n_labelers} labelers. *Share*: of the variance of what "
        f"decides the class that features have, through a curve and a threshold of which a line has "
        f"{featured.linear_share():.2f}; there are {featured.N_FEATURES + config.n_noise} features, of which two say "
        f"something. Classifiers are judged on {config.n_new} instances without labels. *{TRUE}* cannot be had. All "
        "classifiers are logistic with weights N(0, 1); the generator is not (`experiments/classifier.py`)."
    ]
    for of, keys in {"labels": ("accuracy", "nll"), "classifier": ("auc", "nll")}.items():
        title = {"labels": "Answers about instances with labels: accuracy/NLL", "classifier": "Classifier: AUC/NLL"}[of]
        cell = lambda m, at, of=of, keys=keys: "/".join(f"{get(m, of, k, at).mean():.3f}" for k in keys)  # noqa: E731
        body = [[*at, *(cell(m, at) for m in models[of])] for at in every]
        parts.append(f"**{title}**\n\n" + markdown([*head, *models[of]], body))
        others = [m for m in models[of] if m != JOINT]
        if JOINT in models[of]:
            gain = lambda m, k, at, of=of: with_error(get(JOINT, of, k, at) - get(m, of, k, at))  # noqa: E731
            for k in keys:
                body = [[*at, *(gain(m, k, at) for m in others)] for at in every]
                name = {"accuracy": "accuracy", "nll": "NLL", "auc": "AUC"}[k]
                parts.append(
                    f"**{of.capitalize()}: {JOINT}, less the others: {name}** ± standard error\n\n"
                    + markdown([*head, *others], body)
                )
    figures = {}
    for of, metric, ylabel in (
        ("labels", "accuracy", "share of wrong answers"),
        ("classifier", "auc", "1 - AUC, new instances"),
    ):
        figures[f"classifier_{of}"] = _curves(config, get, models[of], of, metric, ylabel)
    return Report("\n\n".join(parts) + "\n", figures)


def _curves(config: Config, get, models, of: str, metric: str, ylabel: str):
    # Features that say nothing may harm answers, and there is nothing to classify by.
    shares = dict.fromkeys((config.shares[0], config.shares[-1]) if of == "labels" else config.shares[-2:])
    panels = {}
    for k in config.per_instance:
        for share in shares:
            values = {m: [1 - get(m, of, metric, (k, n, share)) for n in config.n_instances] for m in models}
            panels[f"{k} label{'s' * (k > 1)} of each, share {share}"] = {
                m: (np.array([v.mean() for v in of]), np.array([standard_error(v) for v in of]))
                for m, of in values.items()
            }
    return plots.curves(np.array(config.n_instances), panels, xlabel="instances with labels", ylabel=ylabel)
