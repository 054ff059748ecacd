"""Where solvers and samplers of one's own start: the shapes of a fit, checked, with a name for every array."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import DictKey, GetAttrKey, SequenceKey

from crowdjax import contextual, factor, integrated, observation
from crowdjax.facade.models import MODELS, numbers_of
from crowdjax.integrated.pool import Pool
from crowdjax.labels import InputError, Labels
from crowdjax.observation.factors import Factor

W, I = 6, 30
RNG = np.random.default_rng(0)
LABELER, INSTANCE = np.indices((W, I)).reshape(2, -1)
TWO, THREE = (Labels.from_arrays(LABELER, INSTANCE, RNG.integers(0, k, W * I), n_values=k) for k in (2, 3))
OF_LABELERS, OF_INSTANCES = RNG.normal(size=(W, 2)), RNG.normal(size=(I, 3))
CASES = [(name, kind, k) for name, entry in MODELS.items() for kind in sorted(entry.kinds) for k in (2, 3)]


def made(name: str, kind, k: int):
    entry, labels = MODELS[name], (TWO, THREE)[k - 2]
    plan = {} if entry.plan is None else {"plan": entry.plan(numbers_of(labels), kind)[0]}
    return entry.make(labels=labels, classes=kind, features={}, **plan), labels


def names(tree) -> list[str]:
    """The names of the leaves, by their paths; a position is a name of a model's member alone."""
    out = []
    for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]:
        assert path and isinstance(path[-1], GetAttrKey | DictKey), path
        assert all(isinstance(key, GetAttrKey | DictKey | SequenceKey) for key in path), path
        out.append(".".join(str(getattr(k, "name", getattr(k, "key", getattr(k, "idx", None)))) for k in path))
    return out


@pytest.mark.parametrize("preset", factor.PRESETS)
@pytest.mark.parametrize("features", [False, True])
def test_weights_of_the_factor_model_have_names_and_the_shapes_of_a_fit(preset, features):
    given = dict(labeler_features=OF_LABELERS, instance_features=OF_INSTANCES) if features else {}
    model = factor.build(factor.PRESETS[preset], TWO, **given)
    start = jax.eval_shape(lambda: factor.init(TWO, model, jax.random.key(0)))
    found = names(start)
    assert {name.split(".")[0] for name in found} <= {"labeler", "instance", "bias", "class_prior"}
    assert {name.split(".")[1] for name in found} <= {"dense", "free"}
    fit = jax.eval_shape(lambda: factor.fit(TWO, model, jax.random.key(0)))
    assert names(fit)[: len(found)] == [f"weights.{name}" for name in found]
    assert jax.tree.map(jnp.shape, start) == jax.tree.map(jnp.shape, fit.weights)
    assert all(name for name in names(model))


@pytest.mark.parametrize(("name", "kind", "k"), CASES)
def test_parameters_of_every_registered_model_have_names_and_the_shapes_of_a_fit(name, kind, k):
    model, labels = made(name, kind, k)
    start = jax.eval_shape(lambda: observation.init(labels, model))
    if isinstance(model, Pool):
        assert isinstance(start, tuple) and len(start) == len(model.members)
        assert all(not key.isdigit() for own in start for key in names(own))
    else:
        assert not any(part.isdigit() for key in names(start) for part in key.split("."))
    fit = jax.eval_shape(lambda: observation.fit(labels, model))
    assert jax.tree.map(jnp.shape, start) == jax.tree.map(jnp.shape, fit.params)


def test_parameters_of_the_integrated_model_have_names_and_the_shapes_of_a_fit():
    features = integrated.Features(OF_LABELERS, OF_INSTANCES)
    start = integrated.init(TWO, features=features)
    assert names(start) == [*start._fields]
    fit = jax.eval_shape(lambda: integrated.fit(TWO, features=features))
    assert jax.tree.map(jnp.shape, start) == jax.tree.map(jnp.shape, fit.parameters)
    assert all(not name.split(".")[-1].isdigit() for name in names(fit))


def test_sites_of_the_contextual_model_have_names():
    scores = np.linspace(0, 1, I)[:, None]
    config = contextual.ContextualConfig("linear", "constant")
    data = contextual.prepare_data(config, TWO, contextual.Scale.learn(scores)(scores))
    found = names(observation.init(TWO, contextual.Contextual.of(config, data)))
    assert {"prevalence_mean", "prevalence_slope", "accuracy_mean", "labeler_offset"} <= set(found)


def other(model: factor.FactorModel, part: str, **values):
    return dataclasses.replace(model, **{part: getattr(model, part)._replace(**values)})


FACTOR = factor.build(factor.PRESETS["factor"], TWO)
WIDE = factor.Linear(None, jnp.ones((W - 1, 1)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            factor.build(factor.PRESETS["factor"], Labels.from_arrays([0], [0], [1], n_instances=I)),
            "model.labeler: got 1 row; allowed: 6, one for each of the labels' labelers",
        ),
        (
            factor.build(factor.PRESETS["factor"], Labels.from_arrays([0], [0], [1], n_labelers=W)),
            "model.instance: got 1 row; allowed: 30, one for each of the labels' instances",
        ),
        (
            other(FACTOR, "mean", labeler=WIDE),
            r"model.mean.labeler.free: got shape \(5, 1\); allowed: what broadcasts to \(6, 1\)",
        ),
        (
            other(FACTOR, "variance", bias=factor.Linear()),
            r"model.variance.bias.free: got None; allowed: what broadcasts to \(6, 1\)",
        ),
    ],
)
def test_a_factor_model_of_other_labels_is_rejected(model, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        factor.init(TWO, model, jax.random.key(0))


def test_features_of_another_number_are_rejected():
    with pytest.raises(
        InputError, match=r"^features.instance: got shape \(30,\); allowed: \(30, H\), one row for each"
    ):
        integrated.init(TWO, features=integrated.Features(instance=np.ones(I)))
    with pytest.raises(InputError, match=r"^features.instance: given with spread 0"):
        integrated.init(TWO, integrated.IntegratedConfig(spread=0.0), integrated.Features(instance=np.ones((I, 1))))
    with pytest.raises(InputError, match=r"^Factor.labeler_features: got shape \(5, 2\); allowed: \(6, F\)"):
        observation.init(THREE, Factor(labeler_features=OF_LABELERS[:5]))


def test_a_faulty_model_is_rejected():
    class Short(observation.Majority):
        def table(self, params):
            return super().table(params)[:1]

    with pytest.raises(InputError, match=r"^Short.table: got shape \(1, 3, 3\); allowed: \(6, 3, 3\)"):
        observation.init(THREE, Short())


def test_models_of_two_classes_neither_start_from_labels_of_more_nor_fit_them():
    labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 2, 0, 1], n_values=3)
    model = factor.build(factor.PRESETS["dawid-skene"], labels)
    key = jax.random.key(0)
    for made in (
        lambda: factor.init(labels, model, key),
        lambda: factor.fit_jit(labels, model, key),
        lambda: factor.fit(labels, model, key),
        lambda: integrated.init(labels),
        lambda: integrated.fit_jit(labels),
        lambda: integrated.fit(labels),
    ):
        with pytest.raises(InputError, match=r"^labels: got 3 classes and 3 values of labels; allowed: two of each"):
            made()
