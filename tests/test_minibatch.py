"""Fits part by part end where the whole fit ends, in any order of rows, also after being stopped at any stage."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import ROOT
from crowdjax import api, minibatch, simulate
from crowdjax.factor import FactorConfig, Solver
from crowdjax.labels import InputError
from crowdjax.scan import scan

N, W, I = 12_000, 37, 1200  # 37 labelers: their tables get padded
BATCH = 3000
SHORT = dict(batch=BATCH, max_rounds=3)


def crowd(n=N, n_labelers=W, n_instances=I, seed=3) -> tuple[pa.Table, np.ndarray]:
    """Rows in random order with text ids, and the truth in the order of instances' ids."""
    made = simulate.power_law(seed, n, n_labelers=n_labelers, n_instances=n_instances)
    labeler, instance, label = (np.concatenate(parts) for parts in zip(*made.chunks(), strict=True))
    order = np.random.default_rng(seed).permutation(n)
    names = lambda letter, v: pa.array([f"{letter}{k:07d}" for k in v[order]])  # noqa: E731
    table = {"worker": names("w", labeler), "task": names("t", instance), "label": (label[order] > 0).astype(np.int8)}
    return pa.table(table), made.truth


def write(folder, table: pa.Table, n_files: int = 3):
    folder.mkdir()
    edges = np.linspace(0, len(table), n_files + 1).astype(int)
    for k in range(n_files):
        pq.write_table(table.slice(edges[k], edges[k + 1] - edges[k]), folder / f"part-{k}.parquet")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("minibatch") / "labels", crowd()[0])


def by_instance(table: pa.Table) -> dict:
    return dict(zip(table["instance"].to_pylist(), table["probability"].to_pylist(), strict=True))


def same_file(a, b, name: str):
    assert pq.read_table(a / name).equals(pq.read_table(b / name)), name


# Where it ends.


@pytest.mark.parametrize(
    ("model", "prior"),
    [
        ("dawid-skene", None),
        ("glad", None),
        pytest.param("one-coin", "learn", marks=pytest.mark.slow),
        pytest.param("majority", None, marks=pytest.mark.slow),
    ],
)
def test_it_ends_where_the_whole_fit_ends(model, prior, folder, tmp_path):
    """The same maximum (to the rounding of float32), the same answers, the same report on labelers."""
    settings = dict(class_prior=prior, instances="map" if model == "glad" else None)
    written = api.fit_large(
        folder, tmp_path / "out", model, batch=BATCH, max_rounds=40, rtol=1e-7, solver=Solver(rtol=1e-7), **settings
    )
    whole = api.fit(folder, model, solver=Solver(rtol=1e-8), **settings)
    np.testing.assert_allclose(written.record["objective"], whole.record["objective"], rtol=2e-5)
    np.testing.assert_allclose(written.record["log_likelihood"], whole.record["log_likelihood"], rtol=1e-4)
    loaded = api.load(tmp_path / "out")
    parts, all_ = by_instance(loaded.instances), by_instance(whole.instances)
    assert parts.keys() == all_.keys()
    difference = np.array([parts[k] - all_[k] for k in all_])
    assert abs(difference).mean() < 2e-3 and abs(difference).max() < 0.05
    for name in ("n_labels", "sensitivity", "specificity", "accuracy"):
        np.testing.assert_allclose(loaded.labelers[name], whole.labelers[name], atol=0.01, err_msg=name)
    assert loaded.labelers["labeler"].to_pylist() == whole.labelers["labeler"].to_pylist()
    for size in ("n_labels", "n_labelers", "n_instances"):
        assert written.record[size] == whole.record[size]
    assert not (tmp_path / "out.state").exists()


@pytest.mark.slow
def test_a_written_fit_predicts_new_instances(folder, tmp_path):
    api.fit_large(folder, tmp_path / "out", "glad", instances="map", **SHORT)
    new = {"labeler": ["w0000000", "w0000001"], "instance": ["new", "new"], "label": [1, 1]}
    (p,) = api.load(tmp_path / "out").predict(new).instances["probability"]
    assert 0.6 < p < 1


@pytest.mark.slow
def test_one_round_is_within_half_a_percent_of_the_whole_fits_accuracy(folder, tmp_path):
    truth = crowd()[1] > 0
    right = lambda table: np.mean([(p > 0.5) == truth[int(k[1:])] for k, p in by_instance(table).items()])  # noqa: E731
    for model, settings in (("dawid-skene", {}), ("factor", {"factors": 2, "instances": "map"})):
        api.fit_large(folder, tmp_path / model, model, batch=BATCH, max_rounds=1, **settings)
        whole = api.fit(folder, model, **settings)
        assert right(pq.read_table(tmp_path / model / "instances.parquet")) > right(whole.instances) - 0.005


@pytest.mark.slow
def test_the_curvature_is_no_less_than_that_of_the_labels(x64):
    """What keeps the rounds from overshooting: h as a diagonal matrix minus the Hessian of -log p(L) is positive."""
    from crowdjax.factor import Factors, data_pass
    from crowdjax.factor.model import Weights
    from crowdjax.labels import Labels

    rng = np.random.default_rng(2)
    w, i, d = 4, 30, 2
    labels = Labels.from_arrays(rng.integers(0, w, 150), rng.integers(0, i, 150), rng.integers(0, 2, 150),
                                n_labelers=w, n_instances=i)  # fmt: skip
    model = minibatch.build(FactorConfig(n_factors=d, class_prior="learn"), labels)
    alpha, beta, gamma = rng.normal(size=(w, d)), rng.normal(size=(i, d)), rng.normal(size=w)

    def loss(v):
        ones = jax.numpy.ones(i)
        factors = Factors(v[: w * d].reshape(w, d), jax.numpy.asarray(beta), v[w * d : -1], v[-1] * ones)
        return -data_pass(labels, factors).value

    at = jax.numpy.r_[alpha.ravel(), gamma, 0.3]
    factors = Factors(jax.numpy.asarray(alpha), jax.numpy.asarray(beta), jax.numpy.asarray(gamma), 0.3 + np.zeros(i))
    h = minibatch._curvature(labels, model, factors, data_pass(labels, factors).posterior)
    assert isinstance(h, Weights)
    hessian = finite_differences(jax.grad(loss), at)
    assert np.linalg.eigvalsh(np.diag(minibatch._flat(h)) - hessian).min() > -1e-5


def finite_differences(gradient, at, step=1e-5):
    rows = [(gradient(at + step * e) - gradient(at - step * e)) / (2 * step) for e in np.eye(len(at))]
    return np.array(rows)


# Being stopped.


class Stopped(Exception):
    pass


SELDOM = [pytest.param(stage, marks=pytest.mark.slow) for stage in ("reading", "dealing", "round 2")]


@pytest.mark.parametrize("stage", ["round 1", "answers", *SELDOM])
def test_a_fit_that_was_stopped_ends_with_the_same_bits(stage, folder, tmp_path):
    def stop(at, done, total, *, objective=None):
        if at == stage and (done >= 2 or done == total):
            raise Stopped

    api.fit_large(folder, tmp_path / "whole", "glad", instances="map", **SHORT)
    with pytest.raises(Stopped):
        api.fit_large(folder, tmp_path / "out", "glad", instances="map", **SHORT, progress=stop)
    assert not (tmp_path / "out").exists() and (tmp_path / "out.state").is_dir()
    api.fit_large(folder, tmp_path / "out", "glad", instances="map", **SHORT)
    for name in ("instances.parquet", "labelers.parquet"):
        same_file(tmp_path / "whole", tmp_path / "out", name)
    with np.load(tmp_path / "whole" / "fit.npz") as a, np.load(tmp_path / "out" / "fit.npz") as b:
        assert set(a) == set(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.slow
def test_a_killed_process_goes_on_where_it_was(folder, tmp_path):
    command = [sys.executable, "-m", "crowdjax.cli", "fit", str(folder), "--minibatch", str(BATCH), "--out", "out"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "CROWDJAX_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(command, cwd=tmp_path, env=env)
    state = tmp_path / "out.state" / "rounds" / "state.npz"
    waited = time.monotonic()
    while not state.exists() and process.poll() is None and time.monotonic() - waited < 200:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists() and not (tmp_path / "out").exists()
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    api.fit_large(folder, tmp_path / "whole", batch=BATCH)
    found, whole = (json.loads((tmp_path / n / "fit.json").read_text()) for n in ("out", "whole"))
    np.testing.assert_allclose(found["objective"], whole["objective"], rtol=1e-6)
    assert found["n_iterations"] == whole["n_iterations"]
    a, b = (by_instance(pq.read_table(tmp_path / n / "instances.parquet")) for n in ("out", "whole"))
    np.testing.assert_allclose([a[k] for k in b], list(b.values()), atol=1e-4)


def test_the_state_of_another_fit_is_refused(folder, tmp_path):
    def stop(*_):
        raise Stopped

    with pytest.raises(Stopped):
        api.fit_large(folder, tmp_path / "out", **SHORT, progress=stop)
    with pytest.raises(InputError, match=r"out\.state: not the state .* remove it"):
        api.fit_large(folder, tmp_path / "out", "one-coin", **SHORT)


# The door.


def test_parts_hold_every_row_once_and_whole_instances(folder, tmp_path):
    parts = minibatch.deal(scan(folder, batch=700), tmp_path / "parts", BATCH)
    rows, ids = [], []
    for k in range(len(parts)):
        labels, instances = parts.labels(k), parts.instances(k).to_pylist()
        rows += zip(parts.labelers[labels.labeler].tolist(), np.array(instances)[labels.instance].tolist(),
                    (labels.label > 0).astype(int).tolist(), strict=True)  # fmt: skip
        ids += instances
    table, _ = crowd()
    assert sorted(rows) == sorted(zip(*(table[c].to_pylist() for c in ("worker", "task", "label")), strict=True))
    assert len(parts) == 4 and len(ids) == len(set(ids)) == I == sum(parts.n_instances)


@pytest.mark.slow
def test_weights_and_repeats_count_as_in_the_whole_fit(tmp_path):
    rng = np.random.default_rng(1)
    n = 2000
    table = pa.table({"labeler": rng.integers(0, 9, n), "instance": rng.integers(0, 150, n),
                      "label": rng.integers(0, 2, n), "weight": rng.choice([0.5, 1.0, 2.0], n)})  # fmt: skip
    folder = write(tmp_path / "labels", table)
    options = dict(repeats="first", solver=Solver(rtol=1e-7))
    written = api.fit_large(folder, tmp_path / "out", "one-coin", batch=700, max_rounds=30, rtol=1e-7, **options)
    whole = api.fit(folder, "one-coin", **options)
    assert written.record["n_labels"] == whole.record["n_labels"] < n
    np.testing.assert_allclose(written.record["objective"], whole.record["objective"], rtol=1e-4)


def test_a_url_is_read_like_a_path(folder, tmp_path):
    there = scan(f"file://{folder}")
    assert there.n_rows == N
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.makedirs("/crowdjax")
    memory.put(str(folder / "part-0.parquet"), "/crowdjax/part-0.parquet")
    rows = list(scan("memory://crowdjax", batch=1000).rows())
    assert sum(len(r.label) for r in rows) == N // 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(label=pa.array(["1", "x"] * 50)), r"column 'label', row 2: got 'x'"),
        (dict(label=pa.array([0, -1] * 50)), r"0 .* -1|-1 .* 0|0/1 throughout"),
        (dict(instance=pa.array([None, "b"] * 50)), r"column 'instance', row 1: got nothing"),
        (dict(weight=pa.array([1.0, -1.0] * 50)), r"column 'weight', row 2: got -1"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_left(change, message, tmp_path):
    table = {"labeler": ["a", "b"] * 50, "instance": ["x", "y"] * 50, "label": [0, 1] * 50}
    folder = write(tmp_path / "labels", pa.table(table | change))
    with pytest.raises(InputError, match=message):
        api.fit_large(folder, tmp_path / "out", batch=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels"]


def test_labels_of_both_alphabets_in_different_pieces_are_refused(tmp_path):
    table = pa.table({"labeler": ["a"] * 20, "instance": ["x"] * 20, "label": [0] * 10 + [-1] * 10})
    with pytest.raises(InputError, match="column 'label', row 11: got -1; allowed: 0/1 throughout"):
        list(scan(write(tmp_path / "labels", table, 1), batch=10).rows())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(batch=1), r"minibatch: got 1; allowed: at least 24, for 12000 labels"),
        (dict(batch=0), "minibatch: got 0"),
        (dict(batch=BATCH, class_prior="logistic"), "logistic needs instance features"),
        (dict(batch=BATCH, devices=99), "devices: got 99"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_left(settings, message, folder, tmp_path):
    with pytest.raises(InputError, match=message):
        api.fit_large(folder, tmp_path / "out", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_ten_million_labels_fit_into_two_gigabytes(tmp_path):
    """Within 0.5 % of the accuracy that the labels' own simulation allows, measured in a process of its own."""
    folder = tmp_path / "labels"
    folder.mkdir()
    made = simulate.power_law(0, 10_000_000)
    for k, (labeler, instance, label) in enumerate(made.chunks()):
        pq.write_table(pa.table({"labeler": labeler, "instance": instance, "label": label}), folder / f"{k}.parquet")
    code = f"""
from crowdjax import api, memory
api.fit_large({str(folder)!r}, {str(tmp_path / "out")!r}, batch=1_000_000, max_rounds=3)
print(memory.peak() / 2**30)
"""
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2
    found = pq.read_table(tmp_path / "out" / "instances.parquet")
    right = (found["probability"].to_numpy() > 0.5) == (made.truth[found["instance"].to_numpy()] > 0)
    assert right.mean() > 0.94
