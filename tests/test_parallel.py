"""The same fit on any number of devices and processes, whatever the model, and one program for sizes that are alike."""

import os
import re
import socket
import subprocess
import sys

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import ROOT
from crowdjax import api, layout, parallel, simulate
from crowdjax.factor import PRESETS, Solver, build, fit_jit
from crowdjax.labels import InputError, Labels

X64 = 'import jax; jax.config.update("jax_enable_x64", True)\n'  # for a process of its own
SETUP = """
import dataclasses, json, sys
import jax, numpy as np
from crowdjax import layout, parallel, simulate
from crowdjax.factor import PRESETS, FactorConfig, Solver, build, fit_jit
from crowdjax.labels import Labels

rng = np.random.default_rng(5)
crowd = simulate.power_law(3, 12_000, n_labelers=30, n_instances=1000).labels()
real = crowd.real
gold = np.where(rng.random(1000) < 0.02, rng.integers(0, 2, 1000), np.nan)
labels = Labels.from_arrays(
    crowd.labeler[real], crowd.instance[real], crowd.label[real], weight=rng.choice([0.5, 1, 2], real.sum()), gold=gold
)
LABELERS, INSTANCES = rng.normal(size=(30, 2)), rng.normal(size=(1000, 2))
learned = dict(class_prior="learn")
MODELS = {
    "dawid-skene": (PRESETS["dawid-skene"], {}),
    "learned": (dataclasses.replace(PRESETS["dawid-skene"], **learned), {}),
    "glad": (PRESETS["glad"], {}),
    "features": (FactorConfig(class_prior="logistic"), dict(labeler_features=LABELERS, instance_features=INSTANCES)),
    "three": (FactorConfig(n_factors=3), {}),
}
SOLVERS = {
    "auto": Solver(rtol=1e-10, max_steps=300),
    "em-cg": Solver(method="em-cg", rtol=1e-9, max_steps=40),
    "em-bound": Solver(method="em-bound", rtol=1e-9, max_steps=200),
}
def model_of(name, labels):
    config, features = MODELS[name]
    return build(config, labels, **features)
"""


def test_shards_hold_every_label_once_and_count_from_zero():
    labels = simulate.power_law(0, 60_000).labels()
    real = labels.real
    for n in (1, 2, 3, 7):
        plan = layout.plan(*layout.plan_of(labels, n))
        parts, place = layout.cut(labels, plan)
        instance = parts.instance.reshape(n, -1)
        assert (np.diff(instance) >= 0).all() and instance.max() < plan.shard_instances == parts.n_instances
        here = parts.real
        rows = parts.shard.rows[(instance + np.arange(n)[:, None] * plan.shard_instances).ravel()[here]]
        np.testing.assert_array_equal(rows, labels.instance[real])
        np.testing.assert_array_equal(parts.labeler[here], labels.labeler[real])
        np.testing.assert_array_equal(parts.label[here], labels.label[real])
        np.testing.assert_array_equal(parts.shard.rows[place], np.arange(labels.n_instances))
        assert len(parts.label) < 1.6 * real.sum()


def test_every_shard_gets_an_instance_even_where_one_has_all_labels():
    labels = Labels.from_arrays(np.zeros(50, int), [0] * 47 + [1, 2, 3], np.ones(50, int))
    edges, _ = layout.plan_of(labels, 4)
    np.testing.assert_array_equal(edges, [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("name", "solver"),
    [("dawid-skene", "auto"), pytest.param("learned", "auto", marks=pytest.mark.slow), ("features", "auto")],
)
def test_one_padded_shard_gives_the_plain_fit(x64, name, solver):
    scope = {}
    exec(SETUP, scope)
    labels, model = scope["labels"], scope["model_of"](name, scope["labels"])
    plain = fit_jit(labels, model, jax.random.key(1), scope["SOLVERS"][solver])
    padded = parallel.fit(labels, model, jax.random.key(1), scope["SOLVERS"][solver], devices=1)
    same(padded, plain)


def same(a, b, atol=1e-4):
    np.testing.assert_allclose(a.objective, b.objective, rtol=1e-7)
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(a.posterior, b.posterior, atol=atol)
    for x, y in zip(jax.tree.leaves(a.weights), jax.tree.leaves(b.weights), strict=True):
        assert np.shape(x) == np.shape(y)
        np.testing.assert_allclose(x, y, atol=100 * atol)


@pytest.mark.parametrize(
    "cases",
    [
        [("dawid-skene", "auto", (2, 8)), ("features", "auto", (8,))],
        pytest.param([("learned", "auto", (8,)), ("three", "auto", (8,))], marks=pytest.mark.slow),
        pytest.param([("learned", "em-cg", (8,)), ("features", "em-bound", (8,))], marks=pytest.mark.slow),
    ],
    ids=["default", "others", "other solvers"],
)
def test_the_same_fit_on_1_2_and_8_devices(cases, fresh_python):
    """Gold, weights, features, class priors, several factors and every solver; objectives to 1e-5 (here far better)."""
    fresh_python(
        X64
        + SETUP
        + f"cases = {cases}"
        + """
for name, solver, devices in cases:
    model, key, solver = model_of(name, labels), jax.random.key(1), SOLVERS[solver]
    one = fit_jit(labels, model, key, solver)
    for n in devices:
        found = parallel.fit(labels, model, key, solver, devices=n)
        print(name, solver.method, n, int(one.n_steps), int(found.n_steps), float(found.objective / one.objective - 1),
              float(abs(found.posterior - one.posterior).max()), flush=True)
        np.testing.assert_allclose(found.objective, one.objective, rtol=1e-5 if name == "three" else 1e-7)
        np.testing.assert_allclose(found.posterior, one.posterior, atol=1 if name == "three" else 1e-3)
again = parallel.fit(labels, model, key, solver, found.weights, devices=8)
assert again.objective >= found.objective - 1e-9 * abs(found.objective)
""",
        devices=8,
    )


def test_a_sweep_on_several_devices_equals_its_members_alone(fresh_python):
    """Five members on three devices: the order comes back, and what fills the last row is left out."""
    fresh_python(
        X64
        + SETUP
        + """
from crowdjax.factor import sweep

def member(shared, member):
    labels, model = shared
    return labels.with_weight(member["weight"]), model.with_factors(member["n"]), member["key"]

small = Labels.from_arrays(*(np.asarray(v)[real][:600] for v in (crowd.labeler, crowd.instance, crowd.label)))
model, n = build(FactorConfig(n_factors=2), small), 5
members = {"weight": rng.integers(0, 3, (n, 600)).astype(float), "n": np.array([1, 2, 1, 2, 1]),
           "key": jax.random.split(jax.random.key(0), n)}
members["weight"][3, 0] = np.nan
found = sweep(member, (small, model), members, Solver(max_steps=60))
assert found.posterior.shape == (n, small.n_instances) and len(jax.local_devices()) == 3
for k in range(n):
    alone = fit_jit(*member((small, model), jax.tree.map(lambda v: v[k], members)), Solver(max_steps=60))
    np.testing.assert_allclose(found.objective[k], alone.objective, rtol=1e-9)
    assert found.code[k] == alone.code
""",
        devices=3,
    )


def test_labels_of_nearly_the_same_size_share_a_program(monkeypatch):
    traces = []
    fit_one = parallel.fit_one
    monkeypatch.setattr(parallel, "fit_one", lambda *args: traces.append(1) or fit_one(*args))
    solver = Solver(max_steps=9)  # no other test has it, so nothing is compiled yet
    for n, w, i, expected in [(4000, 50, 400, 1), (3990, 49, 399, 1), (3975, 50, 397, 1), (8000, 50, 400, 2)]:
        labels = simulate.power_law(1, n, n_labelers=w, n_instances=i).labels()
        found = parallel.fit(labels, build(PRESETS["dawid-skene"], labels), jax.random.key(0), solver, devices=1)
        assert found.posterior.shape == (i,) and found.weights.bias.free.shape == (w, 1)
        assert len(traces) == expected


def test_more_devices_than_there_are_is_refused():
    assert parallel.n_devices(100) == parallel.n_devices(10**9, 1) == 1
    with pytest.raises(InputError, match="devices: got 1000; allowed: 1 to "):
        parallel.n_devices(100, 1000)


def script_of_the_docs() -> str:
    text = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    return re.search(r'```python\n("""python cluster.py.*?)```', text, re.S)[1]


@pytest.mark.slow
def test_two_processes_that_read_their_own_files_give_the_fit_of_one(tmp_path):
    """The worked example of docs/clusters.md. Neither process has all labelers, and one has more instances."""
    crowd = simulate.power_law(1, 6000, n_labelers=40, n_instances=500)
    labeler, instance, label = (np.concatenate(parts) for parts in zip(*crowd.chunks(), strict=True))
    names = np.array([f"w{k:03d}" for k in range(40)])
    folder = tmp_path / "labels"
    folder.mkdir()
    absent = (labeler == 39) & (instance < 300)
    for k, part in enumerate((instance < 300, instance >= 300)):
        rows = part & ~absent
        table = {"labeler": names[labeler[rows]], "instance": instance[rows], "label": label[rows]}
        pq.write_table(pa.table(table), folder / f"{k}.parquet")
    (tmp_path / "cluster.py").write_text(script_of_the_docs(), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "cluster.py", "labels", "out", address, "2", str(k)], cwd=tmp_path, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for k in range(2)
    ]  # fmt: skip
    printed = []
    try:
        for process in processes:
            printed.append(process.communicate(timeout=200)[0])
    finally:
        for process in processes:
            process.kill()
    assert [p.returncode for p in processes] == [0, 0], printed

    whole = api.fit(folder, "dawid-skene", class_prior=0.5)  # the kernels learn no share of the classes
    objective = float(re.search(r"(-[\d.]+) after \d+ passes, on 2 devices", printed[0])[1])
    np.testing.assert_allclose(objective, whole.record["objective"], rtol=1e-5)
    found = pa.concat_tables([pq.read_table(tmp_path / "out" / f"instances-{k:04d}.parquet") for k in (0, 1)])
    assert found["instance"].to_pylist() == whole.instances["instance"].to_pylist()
    np.testing.assert_allclose(found["probability"], whole.instances["probability"], atol=2e-3)
    assert pq.read_table(tmp_path / "out" / "labelers.parquet")["labeler"].to_pylist() == list(names)
