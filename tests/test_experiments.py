"""The runner, the configs and the studies, in small."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from crowdjax import datasets, plots, simulate
from crowdjax.factor import PRESETS, Factors, Solver, build, fit_jit
from crowdjax.labels import InputError, Labels
from experiments import config as configs
from experiments import fig3, fig4, fitting, heldout, runner, specialist
from experiments.__main__ import main
from experiments.config import preset
from experiments.fitting import Draws, drop, fit_all
from experiments.table1 import models
from experiments.tables import select

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))
TINY = [
    "specialist.n_labelers=2",
    "specialist.n_instances=20",
    "specialist.n_repeats=2",
    "fig3.n_labelers=[4,8]",
    "fig3.n_instances=12",
    "fig3.n_repeats=3",
    "fig4.n_labelers=6",
    "fig4.n_instances=30",
    "fig4.n_draws=2",
    "table1.n_draws=2",
]


@pytest.fixture(autouse=True, scope="module")
def no_cache():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROWDJAX_CACHE", "off")
        yield


@pytest.fixture(scope="module")
def crowd():
    """A crowd of 12 on 60 instances, two draws that each drop some labels."""
    found = simulate.smiles(jax.random.key(0), 12, 60)
    cells = simulate.grid(12, 60)
    labels = Labels.from_arrays(cells.labeler, cells.instance, np.array(found.label))
    return labels, Draws(drop(0, np.asarray(labels.counts), 0.2, 2)), np.array(found.truth)


# Configs


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_resolves_and_a_setting_changes_its_folder(path):
    experiment = configs.load(path)
    json.dumps(experiment.resolved())
    key = "fig3.seed" if path.stem == "quickstart" else "seed"
    assert experiment.folder == configs.load(path).folder
    assert experiment.folder != configs.load(path, [f"{key}=1"]).folder


@pytest.mark.parametrize("study", [fig3, fig4], ids=["fig3", "fig4"])
def test_the_written_out_configs_are_the_studies_defaults(study):
    name = study.__name__.split(".")[-1]
    assert configs.load(next(p for p in CONFIGS if p.stem == name)).config == study.Config()


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ('study = "fig3"\nn_repeat = 1', [], ["n_repeat", "did you mean n_repeats?"]),
        ('study = "fig3"', ["models.GLAD.labler=[1,1]"], ["models: GLAD", "labler", "did you mean labeler?"]),
        ('study = "fig3"', ["models.GLAD.preset=gald"], ["preset", "'gald'", "did you mean glad?"]),
        ('study = "fig3"', ["n_repeats=2.5"], ["n_repeats", "2.5", "a whole number"]),
        ('study = "fig3"', ["n_repeats=true"], ["n_repeats", "True", "a whole number"]),
        ('study = "fig3"', ["n_labelers=4"], ["n_labelers", "a list of a whole number"]),
        ('study = "fig3"', ["models.GLAD.n_factors=0"], ["n_factors", "1 or more"]),
        ('study = "fig3"', ["models.GLAD.bias=[0,-1]"], ["bias", "-1", "0 (fixed) or more"]),
        ('study = "fig3"', ["models.GLAD.class_prior=lern"], ["class_prior", "'lern'", "learn"]),
        ('study = "fig3"', ["solver.method=lbgfs"], ["method", "did you mean lbfgs?"]),
        ('study = "fig3"', ["n_repeats"], ["override", "key=value"]),
        ('study = "table1"\ndata = "duchene"', [], ["duchene", "duchenne"]),
        ('study = "real"\nsets = ["dukcs"]', [], ["dukcs", "ducks"]),
        ('study = "fig5"', [], ["study", "fig5", "did you mean fig"]),
        ("seed = 1", [], ["study", "None", "quickstart"]),
        ('study = "fig3"\nname = "../x"', [], ["name", "../x"]),
        ("study = fig3", [], ["TOML"]),
    ],
)
def test_a_wrong_config_is_one_line_and_status_two(tmp_path, capsys, text, overrides, expected):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    assert main(["run", str(path), *overrides, "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and "Traceback" not in error
    assert all(part in error for part in expected)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("arguments", [["run", "no_such.toml"], ["run"], ["walk", "x.toml"], ["run", "--outt", "x"]])
def test_a_wrong_command_line_is_one_line_and_status_two(capsys, arguments):
    assert main(arguments) == 2
    assert "\n" not in capsys.readouterr().err.strip()


def test_check_prints_every_setting(capsys):
    assert main(["check", str(next(p for p in CONFIGS if p.stem == "fig3")), "n_repeats=7"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_repeats"] == 7 and found["models"]["proposed"]["config"]["labeler"] == [1.0, 0.5]
    assert found["solver"]["method"] == "lbfgs"


def test_list_names_every_config(capsys, tmp_path):
    assert main(["list", "--out", str(tmp_path)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [p.stem for p in CONFIGS]


# Runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a tiny run of all studies on a machine without data."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(datasets.VARIABLE, str(out / "nothing"))
        experiment = configs.load(next(p for p in CONFIGS if p.stem == "quickstart"), TINY)
        yield experiment, out, runner.run(experiment, out, command="python -m experiments run x")[0]


def test_a_run_has_its_files(finished):
    experiment, _, folder = finished
    assert folder.name == experiment.folder
    found = {p.name for p in folder.iterdir()}
    assert {"config.json", "environment.json", "metrics.parquet", "SUMMARY.md"} <= found
    assert {"fig3.svg", "fig3.png", "fig4.svg", "specialist.png"} <= found
    assert json.loads((folder / "config.json").read_text()) == json.loads(json.dumps(experiment.resolved()))
    environment = json.loads((folder / "environment.json").read_text())
    assert {"date", "device", "versions", "command", "seconds"} <= set(environment)


def test_metrics_have_one_row_per_model_repeat_metric_and_setting(finished):
    table = pq.read_table(finished[2] / "metrics.parquet")
    assert {"model", "repeat", "metric", "value", "n_labelers", "study"} <= set(table.column_names)
    keys = table.drop_columns(["value"]).to_pylist()
    assert len({tuple(row.items()) for row in keys}) == len(keys)
    assert len(select(table, study="fig3", model="GLAD", metric="mae", n_labelers=8)) == 3


def test_what_needs_data_and_finds_none_is_skipped_by_name(finished):
    text = (finished[2] / "SUMMARY.md").read_text()
    for part, name in (("table1", "duchenne"), ("real", "duchenne"), ("heldout", "ducks")):
        section = text.split(f"## {part}\n")[1].split("\n## ")[0]
        assert "**Skipped**" in section and name in section and datasets.VARIABLE in section
    assert "| proposed" not in text.split("## table1")[1] and "recovered" in text


def test_a_finished_run_is_found_and_force_runs_it_again(finished):
    experiment, out, folder = finished
    before = (folder / "environment.json").stat().st_mtime_ns
    assert runner.run(experiment, out) == (folder, True)
    assert (folder / "environment.json").stat().st_mtime_ns == before


def test_a_report_is_written_anew_from_the_tables_with_the_same_bytes(finished):
    experiment, out, folder = finished
    before = {name: (folder / name).read_bytes() for name in ("SUMMARY.md", "fig3.svg", "fig3.png", "fig4.svg")}
    for name in before:
        (folder / name).unlink()
    runner.report(experiment, out)
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_force_replaces_and_a_failed_run_leaves_nothing(tmp_path, monkeypatch):
    experiment = configs.load(
        next(p for p in CONFIGS if p.stem == "specialist"), ["n_labelers=2", "n_instances=20", "n_repeats=2"]
    )
    folder, _ = runner.run(experiment, tmp_path)
    (folder / "old").touch()
    assert runner.run(experiment, tmp_path, force=True) == (folder, False)
    assert not (folder / "old").exists()

    def fail(*_):
        raise RuntimeError("no figure today")

    monkeypatch.setattr(specialist, "report", fail)
    before = (folder / "metrics.parquet").stat().st_mtime_ns
    with pytest.raises(RuntimeError):
        runner.run(experiment, tmp_path, force=True)
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]
    assert (folder / "metrics.parquet").stat().st_mtime_ns == before


def test_a_report_without_a_run_is_refused(tmp_path, capsys):
    path = str(next(p for p in CONFIGS if p.stem == "fig3"))
    assert main(["report", path, "--out", str(tmp_path)]) == 2
    assert "run it first" in capsys.readouterr().err


# Studies


def test_the_table_of_specialists_is_printed_and_recovered(finished):
    metrics = pq.read_table(finished[2] / "metrics.parquet")
    for model in ("printed", "recovered"):
        assert select(metrics, study="specialist", model=model, metric="largest_error")[0] < 1e-3
    for a, labeler in enumerate(specialist.ROWS):
        for b, instance in enumerate(specialist.COLUMNS):
            where = {"model": "recovered", "metric": "p_correct", "labelers": labeler, "instances": instance}
            assert select(metrics, study="specialist", **where)[0] == pytest.approx(specialist.PAPER[a, b], abs=1e-3)


def test_models_that_differ_in_priors_share_a_program_and_end_at_the_best_of_what_they_do_alone(crowd):
    labels, draws, _ = crowd
    chosen = {**models(), "one coin": preset("one-coin")}
    linear = [m for name, m in chosen.items() if name not in ("majority vote", "GLAD")]
    assert len({fitting._structure(m) for m in linear}) == 1
    fitted = fit_all(labels, draws, chosen, Solver(restarts=2), 0)
    assert list(fitted) == list(chosen)
    for name in ("Dawid-Skene", "one coin", "GLAD", "2 factors"):
        model = build(chosen[name].config, labels)
        for r in range(2):
            dropped = labels.with_weight(jnp.asarray(draws.weight[r]))
            keys = [jax.random.fold_in(jax.random.fold_in(jax.random.key(0), r), k) for k in range(2)]
            alone = [fit_jit(dropped, model, key) for key in keys]
            best = max(alone, key=lambda fit: float(fit.objective))  # of the restarts
            assert fitted[name].fit.objective[r] == pytest.approx(float(best.objective), rel=1e-5)
            np.testing.assert_allclose(fitted[name].posterior[r], best.posterior, atol=5e-3)


def test_drops_are_exact_and_leave_padding_out():
    counts = np.array([1.0] * 50 + [0.0] * 14 + [2.0] * 50)
    weight = drop(3, counts, 0.2, 5)
    assert ((weight == 0) == (counts == 0)).sum(1).tolist() == [94] * 5  # 20 of 100 dropped
    assert ((weight == counts) | (weight == 0)).all()
    assert len({row.tobytes() for row in weight}) == 5
    np.testing.assert_array_equal(weight, drop(3, counts, 0.2, 5))


def test_held_out_labels_are_scored_by_their_predictive_probability():
    rng = np.random.default_rng(0)
    labels = Labels.from_arrays(rng.integers(0, 4, 30), rng.integers(0, 6, 30), rng.integers(0, 2, 30))
    alpha, beta, gamma = rng.normal(size=(1, 4, 2)), rng.normal(size=(1, 6, 2)), rng.normal(size=(1, 4))
    p, held = rng.uniform(size=(1, 6)), (rng.random((1, 30)) < 0.4).astype(float)
    found = heldout._score(labels, Factors(*(jnp.asarray(v) for v in (alpha, beta, gamma)), None), p, held)
    total = 0.0
    for n in np.flatnonzero(held[0]):
        i, j, y = labels.labeler[n], labels.instance[n], labels.label[n]
        s = alpha[0, i] @ beta[0, j]
        plus, minus = (1 / (1 + np.exp(-y * (z * s + gamma[0, i]))) for z in (+1, -1))
        total += np.log(p[0, j] * plus + (1 - p[0, j]) * minus)
    assert float(found[0]) == pytest.approx(total / held.sum(), rel=1e-5)


def test_a_better_model_of_the_crowd_predicts_held_out_labels_better(tmp_path, monkeypatch):
    """Two-coin labels, as a real set in a folder: Dawid-Skene must beat the one-coin model, on labels and on truth."""
    crowd = simulate.power_law(1, 1500, n_labelers=10, n_instances=100, exponent=0.0, ability=(0.8, 0.3), bias=1.5)
    (tmp_path / "ducks").mkdir()
    lines = ["labeler,instance,label"]
    for chunk in crowd.chunks():
        lines += [f"w{i},{j:04d},{(y + 1) // 2}" for i, j, y in zip(*chunk, strict=True)]
    (tmp_path / "ducks" / "labels.csv").write_text("\n".join(lines))
    truth = [f"{j:04d},{(z + 1) // 2}" for j, z in enumerate(crowd.truth)] + ["9999,1"]  # one that nobody judged
    (tmp_path / "ducks" / "truth.csv").write_text("\n".join(["instance,label", *truth]))
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path))
    assert datasets.available() == ("ducks",)
    np.testing.assert_array_equal(datasets.load("ducks").truth, crowd.truth)
    two = {"one coin": preset("one-coin"), "Dawid-Skene": preset("dawid-skene")}
    metrics = heldout.run(heldout.Config(n_folds=2, models=two))["metrics"]
    likelihood = {m: select(metrics, model=m, metric="log_likelihood").mean() for m in two}
    assert likelihood["Dawid-Skene"] > likelihood["one coin"] + 0.02


# Data and figures


def test_a_set_that_does_not_exist_or_is_not_here_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match="'swans'; allowed: duchenne"):
        datasets.load("swans")
    with pytest.raises(datasets.MissingData, match=f"ducks: not here.*{datasets.VARIABLE}"):
        datasets.load("ducks")


def test_figures_have_the_same_bytes_each_time(tmp_path):
    def draw(name):
        values = {"a": np.linspace(0, 1, 20), "b": np.linspace(0.2, 0.7, 20)}
        return [p.read_bytes() for p in plots.save(plots.spread(values, title="t", xlabel="x"), tmp_path / name)]

    assert draw("one") == draw("two")


def test_presets_named_in_models_exist():
    assert {m.config for m in models().values()} <= {
        *PRESETS.values(),
        *(preset("factor", n_factors=d).config for d in (2, 3)),
    }
