"""A fit that is watched is the fit that is not; it says how far it is and stops where it is asked to."""

import dataclasses

import jax
import numpy as np
import pytest
from test_parallel import SETUP, X64

from crowdjax import api, drive, integrated, parallel, simulate
from crowdjax.factor import PRESETS, Solver, build, fit_jit
from crowdjax.optimize import CONVERGED, STOPPED

CROWD = simulate.power_law(3, 6000, n_labelers=30, n_instances=600)


@pytest.fixture
def watched(monkeypatch):
    """Every fit is long, and a host looks after each step."""
    monkeypatch.setattr(parallel, "WATCHED_FROM", 1)
    monkeypatch.setattr("crowdjax.drive.PERIOD", 0)


class Looks:
    """Remembers what it is told, and asks to stop after so many looks."""

    def __init__(self, patience=10**9):
        self.told, self.patience = [], patience

    def __call__(self, stage, done, total, *, objective=None):
        self.told.append((stage, done, total, objective))
        return len(self.told) >= self.patience


@pytest.mark.parametrize("case", ["glad", "restarts"])
def test_a_watched_fit_is_the_fit(x64, watched, case):
    labels, looks, key = CROWD.labels(), Looks(), jax.random.key(2)
    config = dataclasses.replace(PRESETS["factor"], n_factors=2) if case == "restarts" else PRESETS["glad"]
    model, solver = build(config, labels), Solver(rtol=1e-6, restarts=2 if case == "restarts" else 1, max_steps=60)
    alone = fit_jit(labels, model, key, solver)
    found = parallel.fit(labels, model, key, solver, devices=1, progress=looks)
    assert (found.code, found.n_steps, found.switched) == (alone.code, alone.n_steps, alone.switched)
    np.testing.assert_allclose(found.objective, alone.objective, rtol=1e-12)
    np.testing.assert_allclose(found.posterior, alone.posterior, atol=1e-9)
    objectives = [objective for *_, objective in looks.told]
    assert len(looks.told) > 5 and max(objectives) == pytest.approx(float(found.objective), rel=1e-9)
    assert {stage for stage, *_ in looks.told} == (
        {"fit, start 1 of 2", "fit, start 2 of 2"} if case == "restarts" else {"fit"}
    )


def test_the_integrated_fit_too(x64, watched):
    labels, looks = CROWD.labels(), Looks()
    config = integrated.IntegratedConfig(max_steps=40)
    alone = integrated.fit_jit(labels, config)
    found = parallel.fit_integrated(labels, config, devices=1, progress=looks)
    assert (found.code, found.n_steps) == (alone.code, alone.n_steps) and len(looks.told) > len(config.spreads)
    np.testing.assert_allclose(found.objective, alone.objective, rtol=1e-12)
    np.testing.assert_allclose(found.parameters.labelers, alone.parameters.labelers, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, alone.covariance, rtol=1e-6)


@pytest.mark.parametrize("case", ["factor", "restarts", "integrated"])
def test_labels_go_to_the_device_once(watched, monkeypatch, case):
    """Every part of the fit gets the arrays that the first one got, however often a host looks."""
    seen, piece = [], drive._piece
    monkeypatch.setattr(drive, "_piece", lambda *args, **more: seen.append(args[3]) or piece(*args, **more))
    monkeypatch.setattr("crowdjax.layout.EXACT_FROM", 1)
    monkeypatch.setattr(parallel, "EXACT_FROM", 1)  # uncut, as a large set is
    labels = CROWD.labels()
    if case == "integrated":
        parallel.fit_integrated(labels, integrated.IntegratedConfig(max_steps=4), devices=1)
    else:
        config = dataclasses.replace(PRESETS["factor"], n_factors=2)
        solver = Solver(max_steps=4, start_steps=2, restarts=2 if case == "restarts" else 1)
        parallel.fit(labels, build(config, labels), jax.random.key(0), solver, devices=1)
    assert len(seen) > 5
    arrays = {name: {id(getattr(args[0], name)) for args in seen} for name in ("labeler", "instance", "label")}
    assert all(len(v) == 1 for v in arrays.values())
    assert all(isinstance(v, jax.Array) for args in seen for v in jax.tree.leaves(args))


SELDOM = [pytest.param(model, marks=pytest.mark.slow) for model in ("factor", "integrated")]


@pytest.mark.parametrize("model", ["glad", *SELDOM])
def test_a_stopped_fit_has_answers_and_says_that_it_was_stopped(watched, model):
    labels = CROWD.labels()
    table = {"labeler": labels.labeler, "instance": labels.instance, "label": labels.label > 0}
    settings = {} if model == "integrated" else {"factors": 2 if model == "factor" else 1, "instances": "map"}
    looks = Looks(patience=3)
    result = api.fit(table, model, **settings, devices=1, progress=looks)
    assert len(looks.told) <= 5 and not result.record["converged"]
    assert any("stopped on request" in sentence for sentence in result.warnings)
    whole = api.fit(table, model, **settings, devices=1)
    assert whole.record["objective"] > result.record["objective"]
    right = np.asarray(result.instances["label"]) == (CROWD.truth > 0)
    assert right.mean() > 0.8


@pytest.mark.slow
def test_on_two_devices(fresh_python):
    fresh_python(
        X64
        + SETUP
        + """
from crowdjax import integrated
from crowdjax.optimize import STOPPED
config = integrated.IntegratedConfig(max_steps=20)
model = model_of("glad", labels)
found = []
for parallel.WATCHED_FROM in (10**9, 1):
    found.append((parallel.fit(labels, model, jax.random.key(1), devices=2),
                  parallel.fit_integrated(labels, config, devices=2)))
for a, b in zip(*found):
    assert (a.code, a.n_steps) == (b.code, b.n_steps)
    np.testing.assert_allclose(a.objective, b.objective, rtol=1e-12)
np.testing.assert_allclose(found[0][0].posterior, found[1][0].posterior, atol=1e-9)
stopped = parallel.fit(labels, model, jax.random.key(1), devices=2, progress=lambda *a, **k: True)
assert stopped.code == STOPPED and stopped.n_steps < 5
""",
        devices=2,
    )


def test_a_fit_that_has_ended_was_not_stopped(watched):
    labels = CROWD.labels()
    model = build(PRESETS["glad"], labels)
    looks = Looks()
    assert parallel.fit(labels, model, jax.random.key(0), devices=1, progress=looks).code == CONVERGED
    late = Looks(patience=len(looks.told))
    assert parallel.fit(labels, model, jax.random.key(0), devices=1, progress=late).code == CONVERGED
    early = Looks(patience=1)
    assert parallel.fit(labels, model, jax.random.key(0), devices=1, progress=early).code == STOPPED
