"""What is added to labels so that similar tables share one program changes no answer."""

import dataclasses

import jax
import numpy as np
import pytest

import crowdjax
from crowdjax import integrated, layout, memory, spread
from crowdjax.integrated import Features
from crowdjax.integrated.nominal import nominal
from crowdjax.integrated.pool import Pool
from crowdjax.labels import Labels
from crowdjax.observation import ClassSkill, DawidSkene, fit_jit, labeler_summary
from crowdjax.observation import room as rooms
from crowdjax.observation.integrated_factors import IntegratedFactor, IntegratedGlad

TOLERANCE = 1e-6  # in 64 bits


def crowd(seed: int, n_instances: int, n_labelers: int, n_classes: int = 2, per: int = 4) -> Labels:
    rng = np.random.default_rng(seed)
    truth, instance = rng.integers(0, n_classes, n_instances), np.repeat(np.arange(n_instances), per)
    labeler = rng.integers(0, n_labelers, len(instance))
    right = rng.random(len(instance)) < rng.beta(6, 2, n_labelers)[labeler]
    label = np.where(right, truth[instance], rng.integers(0, n_classes, len(instance)))
    return Labels.from_arrays(
        labeler, instance, label, n_labelers=n_labelers, n_instances=n_instances, n_values=n_classes
    )


def assert_equal(one, other, tolerance: float = TOLERANCE):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if np.asarray(a).dtype.kind in "fib":
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tolerance)
        else:
            assert np.all(a == b)


@pytest.mark.long
@pytest.mark.parametrize(
    ("n_instances", "n_labelers", "given"),
    [
        (15, 5, "labels"),
        pytest.param(120, 12, "labels", marks=pytest.mark.slow),
        pytest.param(700, 50, "labels", marks=pytest.mark.slow),
        *((120, 12, given) for given in ("features", "gold", "scores", "features and gold")),
    ],
)
def test_what_auto_says_of_two_classes_does_not_depend_on_room(x64, n_instances, n_labelers, given):
    rng, labels, more = np.random.default_rng(1), crowd(n_labelers, n_instances, n_labelers), {}
    if "gold" in given:
        gold = np.full(n_instances, -1, np.int8)
        gold[:30] = rng.integers(0, 2, 30)
        labels = dataclasses.replace(labels, gold=gold)
    if "features" in given:
        more["features"] = Features(rng.normal(size=(n_labelers, 2)), rng.normal(size=(n_instances, 1)))
    if given == "scores":
        more["scores"] = np.where(rng.random(n_instances) < 0.1, np.nan, rng.normal(size=n_instances))
    with_room, without = (integrated.answer(labels, room=room, **more) for room in (True, False))
    for part in ("instances", "positives"):
        assert_equal(getattr(with_room, part), getattr(without, part))
    assert_equal(with_room.labelers[:4], without.labelers[:4])
    assert (with_room.labelers.kind == without.labelers.kind).all()
    assert_equal(with_room.fit.parameters, without.fit.parameters)
    np.testing.assert_allclose(with_room.fit.objective, without.fit.objective, rtol=1e-9)
    assert_equal([m.weight for m in with_room.average.members], [m.weight for m in without.average.members])


@pytest.mark.long
@pytest.mark.parametrize(
    "make",
    [
        lambda: nominal(3),
        lambda: nominal(3, form="ordinal"),
        lambda: nominal(3, form="exchangeable"),
        lambda: Pool((nominal(3), DawidSkene())),
        lambda: IntegratedGlad(),
        lambda: IntegratedFactor(),
        lambda: IntegratedFactor(n_factors=2),
        lambda: DawidSkene(),
        lambda: ClassSkill(),
    ],
    ids=[
        "integrated",
        "ordinal",
        "exchangeable",
        "pool",
        "glad",
        "factor",
        "two factors",
        "dawid-skene",
        "class-skill",
    ],
)
def test_fits_of_three_classes_do_not_depend_on_room(x64, make):
    labels, model = crowd(2, 150, 14, n_classes=3), make()
    assert rooms.of(labels, model) is not None
    found, alone = spread.fit(labels, model), jax.tree.map(np.asarray, fit_jit(labels, model))
    assert found.n_steps == alone.n_steps
    np.testing.assert_allclose(found.objective, alone.objective, rtol=1e-9)
    assert_equal(found.params, alone.params)
    assert_equal(found.posterior, alone.posterior)
    if not isinstance(model, Pool):
        of_padded, padded = labeler_summary(labels, model, found), rooms.of(labels, model)
        assert len(of_padded.accuracy[0]) == 14 and padded.n_labelers == 14


def test_a_model_of_ones_own_is_left_as_it_is():
    class Own:
        pass

    assert rooms.of(crowd(0, 20, 5), Own()) is None


def test_room_costs_an_eighth_of_the_labels_at_most():
    for n in range(layout.COARSE_TO, 2**19, 977):
        assert n <= layout.bucket(n) <= 1.125 * n
    for n in range(1, layout.COARSE_TO):
        assert n <= layout.bucket(n) <= 1.5 * n


@pytest.mark.long
def test_tables_of_many_sizes_take_a_dozen_programs(monkeypatch):
    """Tables of 500 to 2000 labels: what the first compiles serves them all."""
    monkeypatch.setattr(memory, "MOST_OURS", 10**6)  # what other tests have compiled is of no account here
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **_: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )

    def fit(seed: int):
        n = int(np.random.default_rng(seed).integers(100, 400))
        labels = crowd(seed, n, 10 + seed % 20, per=5)
        table = {"labeler": labels.labeler, "instance": labels.instance, "label": labels.label}
        return crowdjax.fit(table, "auto")

    fit(0)
    compiled.clear()
    for seed in range(1, 6):
        fit(seed)
    assert not compiled
