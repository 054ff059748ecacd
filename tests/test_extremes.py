"""Crowds and features at the edge: every answer is a finite number, or the fit says what went wrong."""

import contextlib
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pytest

import crowdjax
from crowdjax import api, memory
from crowdjax.io import Scaling

RNG = np.random.default_rng(0)
N = 200
LABELER, INSTANCE, LABEL = RNG.integers(0, 8, N), RNG.integers(0, 40, N), RNG.integers(0, 2, N)
ONES, ZEROS = np.ones(N, int), np.zeros(N, int)
EVERYONE = np.arange(N)
CROWDS = {
    "one label": ([0], [0], [1], None),
    "one labeler": (ZEROS, EVERYONE, LABEL, None),
    "one instance": (EVERYONE, ZEROS, LABEL, None),
    "one labeler on one instance": (ZEROS, ZEROS, LABEL, None),
    "nobody shares an instance": (EVERYONE, EVERYONE, LABEL, None),
    "all say yes": (LABELER, INSTANCE, ONES, None),
    "all say no": (LABELER, INSTANCE, ZEROS, None),
    "weights of 1e-30": (LABELER, INSTANCE, LABEL, np.full(N, 1e-30)),
    "weights of 1e30": (LABELER, INSTANCE, LABEL, np.full(N, 1e30)),
    "weights from 1e-300 to 1e30": (LABELER, INSTANCE, LABEL, RNG.choice([1e-300, 1.0, 1e30], N)),
    "one labeler with 1e6 labels among labelers with one": (
        np.r_[np.zeros(10**6, int), 1 + EVERYONE], np.r_[np.arange(10**6), 7 * EVERYONE],
        RNG.integers(0, 2, 10**6 + N), None),
}  # fmt: skip
MAY_FAIL = ("weights of 1e30", "weights from 1e-300 to 1e30")  # then with a code, never with a number


def table(case: str, **changes) -> pa.Table:
    labeler, instance, label, weight = CROWDS[case]
    columns = dict(labeler=np.asarray(labeler), instance=np.asarray(instance), label=np.asarray(label))
    return pa.table((columns if weight is None else columns | {"weight": weight}) | changes)


def numbers(result) -> dict[str, np.ndarray]:
    """Every column of numbers of a result's tables."""
    tables = {"instances": result.instances, "labelers": result.labelers}
    columns = {f"{name}.{c}": np.asarray(t[c]) for name, t in tables.items() for c in t.column_names}
    return {c: v for c, v in columns.items() if v.dtype.kind == "f"}


def finite(result):
    for name, values in numbers(result).items():
        assert np.isfinite(values).all(), (name, values[~np.isfinite(values)][:3])
    for name in ("objective", "log_likelihood"):
        assert np.isfinite(result.record[name]), name
    p = np.asarray(result.instances["probability"])
    assert ((p >= 0) & (p <= 1)).all()


def pairs():
    """All crowds with all models; four of them are quick enough for every day."""
    for case in CROWDS:
        for model in ("auto", "majority", "dawid-skene", "glad", "factor"):
            daily = model == "auto" and case in ("one label", "all say yes", "weights from 1e-300 to 1e30")
            daily |= model == "majority" and case == "weights of 1e30"
            yield pytest.param(case, model, marks=() if daily else pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "model"), [p.values for p in pairs()])
def test_in_64_bits_too(x64, case, model):
    test_every_answer_is_finite_or_the_fit_says_that_it_failed(case, model)


@pytest.mark.parametrize(("case", "model"), list(pairs()))
def test_every_answer_is_finite_or_the_fit_says_that_it_failed(case, model):
    with contextlib.suppress(api.FitError) if case in MAY_FAIL else contextlib.nullcontext():
        finite(api.fit(table(case), model))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["one label", "all say yes", "weights of 1e-30", "one instance"])
@pytest.mark.parametrize("solver", ["lbfgs", "em-cg", "em-bound"])
def test_with_every_solver(case, solver):
    finite(api.fit(table(case), "factor", solver=solver, instances="map"))


@pytest.mark.slow
@pytest.mark.parametrize("prior", [1e-9, 1 - 1e-9])
@pytest.mark.parametrize("model", ["dawid-skene", "auto"])
def test_the_rarest_class_that_is_allowed(prior, model):
    finite(api.fit(table("all say yes"), model, class_prior=prior))


@pytest.mark.parametrize("prior", [0.0, 1.0, 1e-300, 1 - 1e-16, float("nan"), -1.0])
@pytest.mark.parametrize("model", ["dawid-skene", "integrated"])
def test_a_class_that_cannot_be_is_refused(prior, model):
    with pytest.raises(api.InputError, match=r"class_prior: got .*allowed: a number from 1e-09 to 1 - 1e-09"):
        api.fit(table("one label"), model, class_prior=prior)


@pytest.mark.parametrize("power", [-1000, -100, -30, 30, 100, 900])
def test_features_in_any_unit_are_the_same_features(power):
    """To the last bit where the unit is a power of two; neither squares that overflow nor such that vanish."""
    values = RNG.normal(3, 1, size=(50, 2))
    scaled = values * 2.0**power
    names = ("a", "b")
    np.testing.assert_array_equal(Scaling.of(names, scaled).apply(scaled), Scaling.of(names, values).apply(values))


def test_what_varies_by_rounding_only_is_constant():
    values = np.c_[1e15 + np.arange(4), [0.1 + 0.2, 0.3, 0.3, 0.3], [1.0, 2.0, 3.0, 4.0]]
    assert Scaling.of(("offset", "rounding", "real"), values).names == ("real",)


@pytest.mark.slow
def test_columns_of_all_sizes_some_constant_some_twice():
    varied = RNG.normal(size=(40, 60)) * 10.0 ** RNG.integers(-200, 200, 60)
    columns = {f"c{k}": v for k, v in enumerate(varied.T)} | {"same": np.ones(40), "again": varied[:, 0]}
    features = {"instance": np.arange(40), **columns}
    result = api.fit(table("weights of 1e-30", weight=ONES), "factor", instance_features=features)
    finite(result)
    assert any("Constant instance features were left out: same." in sentence for sentence in result.warnings)


@pytest.mark.slow
def test_ten_thousand_columns():
    columns = RNG.normal(size=(40, 10_000)) * 10.0 ** RNG.integers(-30, 30, 10_000)
    features = {"instance": np.arange(40)} | {f"c{k}": v for k, v in enumerate(columns.T)}
    finite(api.fit(table("weights of 1e-30", weight=ONES), "factor", instance_features=features))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="memory maps are limited on Linux")
@pytest.mark.parametrize(
    ("share", "ours", "kept"), [(0.0, 10**6, 0), (1.0, 10**6, 1), (1.0, -1, 0)], ids=["full", "room", "many of ours"]
)
def test_compiled_programs_are_forgotten_before_they_use_up_the_memory_maps(monkeypatch, share, ours, kept):
    monkeypatch.setattr(memory, "MOST_MAPS", share)
    monkeypatch.setattr(memory, "MOST_OURS", ours)
    program = jax.jit(lambda x: x + 1)
    program(1.0)
    memory.bounded(lambda: None)()
    assert program._cache_size() == kept


def test_only_maps_that_our_functions_add_count_as_ours(monkeypatch):
    held = iter([100, 130, 5000, 5010, 5010, 5005])  # before and after calls; somebody else's programs in between
    monkeypatch.setattr(memory, "_ours", {"maps": 0, "depth": 0})
    monkeypatch.setattr(memory, "memory_maps", lambda: next(held))
    memory.bounded(lambda: memory.bounded(lambda: None)())()
    assert memory._ours["maps"] == 30
    memory.bounded(lambda: None)()
    assert memory._ours["maps"] == 40
    memory.bounded(lambda: None)()
    assert memory._ours["maps"] == 35


@pytest.mark.parametrize("door", ["fit", "predict", "check"])
def test_every_door_asks_for_room(monkeypatch, door):
    table = {"labeler": list("abcabc"), "instance": [1, 1, 1, 2, 2, 2], "label": list("xxyzzz")}
    result, asked = crowdjax.fit(table, "majority"), []
    monkeypatch.setattr(memory, "_room", lambda: asked.append(door) or 0)
    calls = {
        "fit": lambda: crowdjax.fit(table, "class-skill"),  # the host fits majority and GLAD
        "predict": lambda: result.predict(table),
        "check": lambda: crowdjax.check(result, table, replicates=19),
    }
    calls[door]()
    assert asked == [door]
