"""The measurements run, are written with their machine, and are not taken where known answers come out wrong."""

import json

import jax
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import (
    batches,
    classes,
    fits,
    inference,
    minibatch,
    passes,
    processes,
    reductions,
    report,
    selftest,
    timing,
    whole,
)
from benchmarks.timing import Row
from crowdjax.factor import Factors, Solver, kernels
from crowdjax.labels import Labels
from crowdjax.observation import table_pass

of_the_peer = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # crowd-kit's use of pandas
ROWS = [Row("passes", "pass D=1", n, 10.0, "ns/label") for n in (10_000, 100_000, 1_000_000)]


def test_the_self_test_passes_here():
    selftest.run()


def test_the_self_test_refuses_a_kernel_that_is_wrong(monkeypatch):
    right = kernels.data_pass

    def wrong(labels, factors):
        out = right(labels, factors)
        return out._replace(gradient=out.gradient._replace(alpha=1.01 * out.gradient.alpha))

    monkeypatch.setattr(kernels, "data_pass", wrong)
    with pytest.raises(AssertionError):
        selftest.passes_are_dense_tables()


def test_passes_are_measured_against_both_yardsticks(monkeypatch):
    monkeypatch.setattr(passes, "copy_bandwidth", lambda: 9e9)
    rows = {row.name: row for row in passes.run([2000])}
    # 9 bytes a label; 5 labelers and 200 instances: α, β, γ, logit π in and out, posterior and value out; at 9 GB/s
    moved = 9 * 2000 + 4 * (2 * (2 * 5 + 2 * 200) + 200 + 1)
    assert rows["streaming bound D=1"].value == pytest.approx(moved / 9 / 2000)
    assert {"NumPy step", "pass D=1", "pass D=3", "pass Dawid-Skene, folded", "E-step D=1"} <= set(rows)
    assert all(row.value > 0 for row in rows.values())


def test_the_pass_on_all_devices_is_that_on_one(fresh_python):
    """The same factors, those of instances at the places that they have in the shards."""
    fresh_python(
        """
import jax
import numpy as np
from benchmarks.passes import on_all_devices
from crowdjax import layout, simulate
from crowdjax.factor import Factors, data_pass

host = simulate.power_law(3, 40_000, n_instances=900).labels()
run = on_all_devices(host, 2)
found, factors = run(), run.args[1]
_, place = layout.cut(host, layout.plan(*layout.plan_of(host, 2)))
alpha, beta, gamma, prior_logit = map(np.asarray, factors)
factors = Factors(alpha[: host.n_labelers], beta[place], gamma[: host.n_labelers], prior_logit[place])
one = jax.jit(data_pass)(host, factors)
np.testing.assert_allclose(found.value, one.value, rtol=1e-5)
np.testing.assert_allclose(found.posterior[place], one.posterior, atol=1e-4)
np.testing.assert_allclose(found.gradient.alpha[: host.n_labelers], one.gradient.alpha, rtol=1e-3, atol=0.05)
np.testing.assert_allclose(found.gradient.beta[place], one.gradient.beta, rtol=1e-3, atol=1e-3)
""",
        devices=2,
    )


@of_the_peer
def test_fits_are_scored_on_the_objective_of_their_peer(monkeypatch):
    """crowd-kit's Dawid-Skene has no prior on labelers: its likelihood is at least ours, and not by much."""
    monkeypatch.setattr(fits, "MODELS", {"dawid-skene": ("dawid-skene", 1, Solver())})
    rows = {(row.name, row.unit): row.value for row in fits.run([5000])}
    ours, theirs = (rows[name, "log-likelihood"] for name in ("dawid-skene", "crowd-kit dawid-skene"))
    assert theirs == pytest.approx(ours, rel=2e-3)
    assert rows["dawid-skene", "passes"] <= 12


@pytest.mark.slow
@of_the_peer
def test_crowd_kits_glad_is_scored_with_its_own_abilities_and_difficulties():
    """Labels drawn from GLAD: what it learnt must explain them better than a crowd of equals does."""
    rng = np.random.default_rng(0)
    w, i = 20, 300
    labeler, instance = np.tile(np.arange(w), i), np.repeat(np.arange(i), w)
    truth, skill = rng.choice([-1, 1], i), rng.normal(1, 1, w)
    y = np.where(rng.random(w * i) < 1 / (1 + np.exp(-truth[instance] * skill[labeler])), 1, -1)
    labels = Labels.from_arrays(labeler, instance, y)
    _, score = fits.crowd_kit("glad", labels, timing.on_device(labels))
    equals = Factors(np.ones((w, 1), "f4"), np.ones((i, 1), "f4"), None, np.zeros(i, "f4"))
    assert score > fits.evidence(labels, equals) + 100


@pytest.mark.slow
def test_batches_are_one_program_of_all_members(monkeypatch):
    monkeypatch.setattr(batches, "N_REPEATS", 2)
    rows = {(row.name, row.unit): row.value for row in batches.run([])}
    assert rows["20 fits", "s"] < rows["20 fits", "s with compiling"]


@pytest.mark.parametrize("ordered", [False, True])
def test_all_reductions_are_bincounts(ordered):
    rng = np.random.default_rng(0)
    index, values = rng.integers(0, 7, 500).astype(np.int32), rng.random(500).astype(np.float32)
    index = np.where(index == 3, 4, index)  # an empty slot
    index = np.sort(index) if ordered else index
    for name, way in reductions.of(ordered, index, 9).items():
        found = np.asarray(way(values, index))
        found = found[:, 1] if found.ndim > 1 else found
        np.testing.assert_allclose(found, np.bincount(index, values, 9), rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.slow
@of_the_peer
def test_processes_and_calls_are_timed_in_turns_and_scored(monkeypatch):
    monkeypatch.setattr(whole, "CLASSES", (3,))
    monkeypatch.setattr(whole, "REPEATS", {"dawid-skene": 1})
    rows = {(row.name, row.unit): row.value for row in whole.run([3000])}
    ours, theirs = (rows[f"{name}, K=3", "accuracy"] for name in ("dawid-skene, warm", "crowd-kit dawid-skene"))
    assert min(ours, theirs) > 0.9
    nll = "nats of NLL an instance"
    assert rows["dawid-skene, warm, K=3", nll] < rows["crowd-kit dawid-skene, K=3", nll] + 0.1
    for name in ("dawid-skene, cold", "dawid-skene, warm", "dawid-skene, first call", "dawid-skene, second call"):
        assert rows[f"{name}, K=3", "s of CPU"] > 0
    assert rows["dawid-skene, second call, K=3", "s of CPU"] < rows["dawid-skene, first call, K=3", "s of CPU"]


@of_the_peer
def test_whole_processes_run_from_a_csv_to_results(tmp_path):
    processes.write(tmp_path / "labels.csv", 3000)
    took = dict(processes.whole(tmp_path / "labels.csv", "dawid-skene", "DawidSkene"))
    assert list(took) == ["dawid-skene, cold", "dawid-skene, warm", "crowd-kit dawid-skene"]
    ours = pq.read_table(tmp_path / "out" / "instances.parquet").to_pandas().set_index("instance")["label"]
    theirs = pd.read_csv(tmp_path / "out.csv", index_col=0).iloc[:, 0]
    assert len(ours) == len(theirs) and (ours == theirs[ours.index.astype(int)].to_numpy()).mean() > 0.9


def test_two_processes_share_a_fit():
    assert processes.shared(3000, 2) > 0


@pytest.mark.slow
def test_minibatches_are_nearly_as_right_as_the_true_labelers():
    rows = {(row.name, row.unit): row.value for row in minibatch.run([40_000])}
    assert rows["dawid-skene", "GiB at most"] < 2
    assert rows["dawid-skene", "accuracy"] > rows["the true labelers", "accuracy"] - 0.005 > 0.9


def test_times_are_medians_of_runs_in_turns():
    calls = []
    found = timing.seconds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert calls == ["a", "b"] * 3  # one round to warm up
    assert set(found) == {"a", "b"} and min(found.values()) > 0


def test_the_numpy_step_sums_votes_and_posteriors():
    labels = Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, -1, 1])
    votes, sums = timing.numpy_step(labels)()
    rng = np.random.default_rng(0)
    alpha, p = rng.normal(size=2), rng.random(2)
    np.testing.assert_allclose(votes, [alpha.sum(), alpha[0]])
    np.testing.assert_allclose(sums, [p.sum(), p[0]])


def test_results_are_a_record_a_table_and_a_figure(tmp_path):
    report.write(tmp_path, {"date": "2026-01-01", "cores": 2}, ROWS)
    record = json.loads((tmp_path / "results.json").read_text())
    assert record["machine"]["cores"] == 2 and record["rows"][0]["labels"] == 10_000
    table = (tmp_path / "results.md").read_text()
    assert "| pass D=1 | 10 | 10 | 10 | ns/label |" in table and "date 2026-01-01" in table
    assert "<svg" in (tmp_path / "passes.svg").read_text() and not (tmp_path / "fits.svg").exists()


def test_the_slope_is_that_of_the_large_sizes():
    n = np.array([1e4, 1e5, 1e6, 1e7])
    assert report.slope(n, 1e-3 + 1e-8 * n) < 0.99  # a fixed cost shows even from 1e5 on
    assert report.slope(n, np.where(n < 1e5, 1.0, 1e-8 * n)) == pytest.approx(1)
    assert report.slope([10, 100], [1, 100]) == pytest.approx(2)


@pytest.mark.parametrize("arguments", [["walks"], ["passes", "--sizes", "many"]])
def test_a_wrong_command_says_what_is_allowed(arguments, monkeypatch):
    monkeypatch.setattr(selftest, "run", lambda: pytest.fail("nothing may run"))
    app = command.typer.Typer()
    app.command()(command.main)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "allowed" in result.output


def test_the_machine_is_named():
    found = timing.machine()
    assert found["jax"] == jax.__version__ and found["cores"] >= 1 and "date" in found


@pytest.mark.slow
def test_inference_is_timed_with_what_it_says_of_itself(monkeypatch):
    monkeypatch.setitem(inference.PRESETS, "theodon", inference.PRESETS["constant-constant"])
    rows = {row.unit: row.value for row in inference.one("laplace", 60, 3, 5, 0)}
    assert {"s", "GiB at most", "least ESS", "k-hat"} == set(rows)
    assert rows["s"] > 0 and 0 < rows["GiB at most"] < 50


@pytest.mark.slow
def test_chains_are_timed_in_threads_and_vmapped():
    labels, score = inference.crowd(60, 3, 5, 0)
    rows = list(inference.chains(inference.PRESETS["constant-constant"], labels, score, n=2))
    assert [row.name.split()[-1] for row in rows] == ["threads", "vmapped"]
    assert all(row.value > 0 for row in rows)


def test_passes_of_classes_are_measured_beside_scipy(monkeypatch):
    """And SciPy's step gives what the pass gives."""
    monkeypatch.setattr(classes, "TABLES", {3: 3, 4: 8})
    monkeypatch.setattr(classes, "MANY", 50)
    rows = {(row.name, row.unit): row.value for row in classes.run([3000])}
    for name in ("K=3", "K=4, 8 points"):
        ours, theirs = (rows[f"{kind} {name}", "ns of CPU/label"] for kind in ("pass", "SciPy"))
        assert rows[f"pass {name}", "x as fast as SciPy"] == pytest.approx(theirs / ours)
    assert rows["fit of one-coin, K=50", "passes"] > 1
    labels = classes.crowd(3000, 4)
    table, prior, of_point = classes.numbers(labels, 8)
    found, (value, counts, points) = (
        table_pass(labels, table, prior, of_point),
        classes.sparse_step(labels, table, prior)(),
    )
    np.testing.assert_allclose(found.value, value, rtol=1e-5)
    np.testing.assert_allclose(found.counts.reshape(counts.shape), counts, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.points, points, rtol=1e-4)
