"""The runner, the configs and the studies, in small."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from crowdjax import datasets, plots, simulate
from crowdjax.factor import PRESETS, Solver, build, fit_jit
from crowdjax.labels import InputError, Labels
from experiments import config as configs
from experiments import (
    fig3,
    fig4,
    fitting,
    headline,
    heldout,
    maps,
    rare,
    runner,
    sbc,
    sparse,
    specialist,
    theodon_public,
    theodon_sim,
)
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
    "theodon_sim.n_instances=[50]",
    "theodon_sim.per_instance=[1,3]",
    "theodon_sim.n_repeats=2",
    'theodon_sim.models=["constant-constant"]',
    'theodon_sim.shown=["constant-constant"]',
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
        ('study = "fig3"', ["models.GLAD.labler=[1,1]"], ["models.GLAD", "labler", "did you mean labeler?"]),
        ('study = "fig3"', ["models.GLAD.preset=gald"], ["preset", "'gald'", "did you mean glad?"]),
        ('study = "fig3"', ["n_repeats=2.5"], ["n_repeats", "2.5", "a whole number"]),
        ('study = "fig3"', ["n_repeats=true"], ["n_repeats", "True", "a whole number"]),
        ('study = "fig3"', ["n_labelers=4"], ["n_labelers", "a list of whole numbers"]),
        ('study = "fig3"', ["models.GLAD.n_factors=0"], ["n_factors", "1 or more"]),
        ('study = "fig3"', ["models.GLAD.bias=[0,-1]"], ["bias", "-1", "0 (fixed) or more"]),
        ('study = "fig3"', ["models.GLAD.class_prior=lern"], ["class_prior", "'lern'", "learn"]),
        ('study = "fig3"', ["solver.method=lbgfs"], ["method", "did you mean lbfgs?"]),
        ('study = "fig3"', ["n_repeats"], ["override", "key=value"]),
        ('study = "table1"\ndata = "duchene"', [], ["duchene", "duchenne"]),
        ('study = "real"\nsets = ["dukcs"]', [], ["dukcs", "ducks"]),
        ('study = "theodon_sim"\nmodels = ["theodn"]', [], ["models", "'theodn'", "theodon"]),
        ('study = "theodon_sim"\nshapes = ["concav"]', [], ["shapes[0]", "did you mean concave?"]),
        ('study = "rare"', ["inference.method=mcmc"], ["inference.method", "'mcmc'", "nuts"]),
        ('study = "theodon_public"\nsets = ["ducks"]', [], ["sets", "'ducks'", "zencrowd"]),
        ('study = "sbc"\nn_ranked = 100', [], ["n_ranked", "100", "multiple"]),
        ('study = "fig5"', [], ["study", "fig5", "did you mean fig"]),
        ("seed = 1", [], ["study", "None", "quickstart"]),
        ('study = "fig3"\nname = "../x"', [], ["name", "../x"]),
        ("study = fig3", [], ["TOML"]),
        ('study = "real"\nsets = 3', [], [":2: sets", "a list of duchenne"]),
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


def test_every_setting_is_resolved():
    found = configs.load(next(p for p in CONFIGS if p.stem == "fig3"), ["n_repeats=7"]).resolved()
    assert found["n_repeats"] == 7 and found["models"]["features and priors"]["config"]["labeler"] == (1.0, 0.5)
    assert found["solver"]["method"] == "auto"


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
    assert {"config.json", "environment.json", "metrics.parquet", "SUMMARY.md", "report.html"} <= found
    assert {"fig3.svg", "fig3.png", "fig4.svg", "specialist.png"} <= found
    assert json.loads((folder / "config.json").read_text()) == json.loads(json.dumps(experiment.resolved()))
    environment = json.loads((folder / "environment.json").read_text())
    assert {"date", "device", "versions", "command", "seconds"} <= set(environment)


def test_sizes_of_cells_are_those_of_the_fits_that_were_made(finished):
    events = [json.loads(line) for line in (finished[2] / "log.jsonl").read_text().splitlines()]
    told = {e["cell"]: e["fits"] for e in events if e.get("event") == "done"}
    made = dict.fromkeys(told, 0)
    for event in events:
        if event.get("event") == "fitted":
            made[event["cell"]] += event["fits"]
    assert {"specialist", "fig3", "fig4", "skipped"} < set(told)
    assert all(made[part] == told[part] for part in ("specialist", "fig3", "fig4")) and made["fig3"] > 0
    assert told["theodon_sim, 50, constant-constant, concave"] == 4


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
    assert "| priors alone" not in text.split("## table1")[1] and "recovered" in text


def test_a_finished_run_is_found_and_force_runs_it_again(finished):
    experiment, out, folder = finished
    before = (folder / "environment.json").stat().st_mtime_ns
    assert runner.run(experiment, out) == (folder, True, {})
    assert (folder / "environment.json").stat().st_mtime_ns == before


def test_a_report_is_written_anew_from_the_tables_with_the_same_bytes(finished, capsys, monkeypatch):
    """By the command that its users have: a config and settings; it prints where the summary is."""
    _, out, folder = finished
    monkeypatch.setenv(datasets.VARIABLE, str(out / "nothing"))
    names = ("SUMMARY.md", "report.html", "fig3.svg", "fig3.png", "fig4.svg")
    before = {name: (folder / name).read_bytes() for name in names}
    for name in before:
        (folder / name).unlink()
    config = next(p for p in CONFIGS if p.stem == "quickstart")
    assert main(["report", str(config), *TINY, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{folder / 'SUMMARY.md'}\n"
    assert {name: (folder / name).read_bytes() for name in before} == before


@pytest.fixture(scope="module")
def one_study(tmp_path_factory):
    """A tiny run of one study: (the experiment, where it was asked to be, its folder)."""
    out, settings = tmp_path_factory.mktemp("one"), [s.removeprefix("specialist.") for s in TINY[:3]]
    experiment = configs.load(next(p for p in CONFIGS if p.stem == "specialist"), settings)
    return experiment, out, runner.run(experiment, out)[0]


@pytest.mark.long
def test_force_runs_again_and_without_a_report_a_run_is_not_done(one_study, tmp_path, monkeypatch):
    experiment, out, _ = one_study
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    folder, again, _ = runner.run(experiment, tmp_path)
    assert again
    (folder / "old").touch()

    def fail(*_):
        raise RuntimeError("no figure today")

    with monkeypatch.context() as patch:
        patch.setattr(specialist, "report", fail)
        with pytest.raises(RuntimeError):
            runner.run(experiment, tmp_path, force=True)
    assert not (folder / "old").exists() and not runner.is_done(folder)
    monkeypatch.setattr(specialist, "run_cell", fail)  # the cell is there
    assert runner.run(experiment, tmp_path) == (folder, False, {}) and runner.is_done(folder)


def test_a_report_without_a_run_is_refused(tmp_path, capsys):
    path = str(next(p for p in CONFIGS if p.stem == "fig3"))
    assert main(["report", path, "--out", str(tmp_path)]) == 2
    assert "run it first" in capsys.readouterr().err


# Studies


@pytest.mark.long
def test_the_table_of_specialists_is_printed_and_recovered(one_study):
    metrics = pq.read_table(one_study[2] / "metrics.parquet")
    for model in ("printed", "recovered"):
        assert select(metrics, model=model, metric="largest_error")[0] < 1e-3
    for a, labeler in enumerate(specialist.ROWS):
        for b, instance in enumerate(specialist.COLUMNS):
            where = {"model": "recovered", "metric": "p_correct", "labelers": labeler, "instances": instance}
            assert select(metrics, **where)[0] == pytest.approx(specialist.PAPER[a, b], abs=1e-3)


@pytest.mark.slow
def test_models_that_differ_in_priors_share_a_program_and_end_at_the_best_of_what_they_do_alone(crowd):
    labels, draws, _ = crowd
    chosen = {**models(), "one coin": preset("one-coin")}
    linear = [m for name, m in chosen.items() if name not in ("majority vote", "GLAD")]
    assert len({fitting._structure(m) for m in linear}) == 1
    exact = Solver(rtol=1e-8)
    fitted = fit_all(labels, draws, chosen, dataclasses.replace(exact, restarts=2), 0)
    assert list(fitted) == list(chosen)
    for name in ("Dawid-Skene", "one coin", "GLAD", "2 factors"):
        model = build(chosen[name].config, labels)
        for r in range(2):
            dropped = labels.with_weight(jnp.asarray(draws.weight[r]))
            keys = [jax.random.fold_in(jax.random.fold_in(jax.random.key(0), r), k) for k in range(2)]
            alone = [fit_jit(dropped, model, key, exact) for key in keys]
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


def test_a_better_model_of_the_crowd_predicts_held_out_labels_better(tmp_path, monkeypatch):
    """Two-coin labels, as a real set in a folder: Dawid-Skene must beat the one-coin model, on labels and on truth."""
    crowd = simulate.power_law(1, 1500, n_labelers=10, n_instances=100, exponent=0.0, ability=(0.8, 0.3), bias=1.5)
    (tmp_path / "ducks").mkdir()
    lines = ["labeler,instance,label"]
    for chunk in crowd.chunks():
        lines += [f"w{i},{j:04d},{y}" for i, j, y in zip(*chunk, strict=True)]
    (tmp_path / "ducks" / "labels.csv").write_text("\n".join(lines))
    truth = [f"{j:04d},{z}" for j, z in enumerate(crowd.truth)] + ["9999,1"]  # one that nobody judged
    (tmp_path / "ducks" / "truth.csv").write_text("\n".join(["instance,label", *truth]))
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path))
    assert datasets.available() == ("ducks",)
    np.testing.assert_array_equal(datasets.load("ducks").truth, 2 * crowd.truth - 1)
    two = {"one coin": preset("one-coin"), "Dawid-Skene": preset("dawid-skene")}
    metrics = heldout.run_cell(heldout.Config(n_folds=2, models=two), "ducks")["metrics"]
    likelihood = {m: select(metrics, model=m, metric="log_likelihood").mean() for m in two}
    assert likelihood["Dawid-Skene"] > likelihood["one coin"] + 0.02


# Studies of the contextual model


def test_fewer_labels_of_an_item_are_the_first_of_the_same_ones():
    crowd = theodon_sim.crowds(0, 2, 30, 3, 6)[1]
    full, two = (theodon_sim.first(crowd, 6, keep) for keep in (3, 2))
    np.testing.assert_array_equal(full.label, two.label)
    np.testing.assert_array_equal(np.bincount(two.instance, two.counts), np.full(30, 2))
    asked = {(i, j) for i, j, c in zip(two.labeler, two.instance, two.counts, strict=True) if c}
    assert asked == set(zip(*(v.reshape(30, 3)[:, :2].ravel() for v in (crowd.labeler, crowd.instance)), strict=True))


def test_intervals_of_exact_posteriors_cover_at_their_level():
    """Truth and draws from one normal distribution: coverage is the level, the mean's error a tenth of it."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=4000)
    found = theodon_sim.judged(rng.normal(size=(1000, 4000)), true, "f")
    for level in (0.5, 0.8, 0.95):
        error = np.sqrt(level * (1 - level) / 4000)
        assert found[f"coverage{level * 100:.0f}_f"] == pytest.approx(level, abs=4 * error + 0.002)
    assert found["rmse_f"] == pytest.approx(1, abs=4 * 0.5**0.5 / 4000**0.5)
    assert found["width95_f"] == pytest.approx(2 * 1.96, abs=0.05)


def test_platt_and_isotonic_calibration_are_scikit_learns():
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    score = rng.random(300).round(2)  # with ties
    vote = rng.choice([0, 0.5, 1], 300, p=[0.5, 0.1, 0.4]) * (rng.random(300) < score)
    new = np.linspace(score.min(), score.max(), 50)
    found = maps.learned(score, vote, new)
    twice, y = np.r_[score, score], np.r_[np.ones(300), np.zeros(300)]
    weight = np.r_[vote, 1 - vote]
    platt = LogisticRegression(C=1e9, tol=1e-8).fit(twice[:, None], y, sample_weight=weight)
    np.testing.assert_allclose(found["Platt"], platt.predict_proba(new[:, None])[:, 1], atol=1e-4)
    isotonic = IsotonicRegression().fit(twice, y, sample_weight=weight)
    np.testing.assert_allclose(found["isotonic"], isotonic.predict(new), atol=1e-7)


def test_weights_of_calibration_are_scikit_learns_and_the_beta_map_bends_both_ways():
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    score = rng.beta(0.8, 2, 20_000)
    true = expit(-0.4 + 1.5 * np.log(score) - 0.4 * np.log1p(-score))  # a map of the family
    target, weight = (rng.random(len(score)) < true) * 1.0, rng.choice([1.0, 5.0], len(score))
    new = np.linspace(0.05, 0.95, 19)
    found = maps.learned(score, target, new, weight)
    platt = LogisticRegression(C=1e9, tol=1e-8).fit(score[:, None], target, sample_weight=weight)
    np.testing.assert_allclose(found["Platt"], platt.predict_proba(new[:, None])[:, 1], atol=1e-4)
    expected = expit(-0.4 + 1.5 * np.log(new) - 0.4 * np.log1p(-new))
    assert abs(found["beta"] - expected).max() < 0.03 < abs(found["Platt"] - expected).max()
    falling = maps.learned(score, (rng.random(len(score)) < 1 - score) * 1.0, new)["beta"]
    assert np.ptp(falling) < 1e-6  # it never falls


def test_an_even_vote_is_one_half():
    crowd = theodon_sim.crowds(0, 1, 200, 2, 4)[0]
    pairs = crowd.label.reshape(200, 2).sum(1)
    np.testing.assert_array_equal(maps.votes(crowd), pairs / 2)


def test_a_populations_table_has_its_prevalence_and_the_votes_are_mostly_error():
    crowd = theodon_sim.crowds(0, 1, 2000, 3, 10, rare=True, population=50_000)[0]
    scores, counts = rare.table(crowd.population, 500)
    exact, short = (np.asarray(simulate.theodon_functions(s, rare=True)[0]) for s in (crowd.population, scores))
    assert counts.sum() == 50_000
    assert counts @ short / counts.sum() == pytest.approx(exact.mean(), rel=0.02)
    assert 5e-4 < exact.mean() < 2e-3
    assert 0.03 < rare.votes(crowd, 3) < 0.1


def test_ranks_are_called_uniform_only_if_they_are():
    assert sbc.uniform(np.arange(200) % 100, 99, 10) == 1
    assert sbc.uniform(np.random.default_rng(0).binomial(99, 0.5, 200), 99, 10) < 1e-10


@pytest.fixture
def scored_set(tmp_path, monkeypatch):
    """A set in a folder: five labels of each of 40 items, one of them without a score; labels and scores say the truth
    nine times in ten."""
    rng = np.random.default_rng(0)
    truth = rng.random(40) < 0.5
    (tmp_path / "sp_amt").mkdir()
    noisy = lambda j: int(truth[j] ^ (rng.random() < 0.1))  # noqa: E731
    tables = {
        "labels": ["labeler,instance,label", *(f"w{i},{j:03d},{noisy(j)}" for j in range(40) for i in range(5))],
        "truth": ["instance,label", *(f"{j:03d},{int(truth[j])}" for j in range(40))],
        "scores": ["instance,score", *(f"{j:03d},{0.2 + 0.6 * truth[j] + rng.random() / 10:f}" for j in range(1, 40))],
    }
    for name, lines in tables.items():
        (tmp_path / "sp_amt" / f"{name}.csv").write_text("\n".join(lines))
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path))
    return truth


def test_every_draw_keeps_two_or_three_labels_of_an_item_in_one_shape(scored_set):
    scored = theodon_public.load("sp_amt")
    assert len(scored.score) == 39 and scored.labeler.shape == (39 * 5,)
    np.testing.assert_array_equal(scored.truth > 0, scored_set[1:])
    assert ((scored.score > 0.5) == scored_set[1:]).all()
    rng = np.random.default_rng(0)
    draws = [theodon_public.kept(scored, (2, 3), rng) for _ in range(20)]
    numbers = np.array([np.bincount(scored.instance[at], weight, 39) for at, weight in draws])
    assert {at.shape for at, _ in draws} == {(39 * 3,)}
    assert set(np.unique(numbers)) == {2, 3} and abs((numbers == 3).mean() - 0.5) < 4 * 0.5 / np.sqrt(39 * 20)
    often = np.bincount(np.concatenate([at[weight > 0] for at, weight in draws]), minlength=39 * 5) / 20
    assert abs(often.mean() - 0.5) < 0.02 and often.min() > 0


@pytest.mark.slow
def test_a_small_run_of_the_calibration_of_three_classes_ends_in_a_report(tmp_path):
    small = ["n_instances=20", "n_labelers=2", "n_repeats=2", "n_ranked=9", "inference.n_draws=20"]
    experiment = configs.load(next(p for p in CONFIGS if p.stem == "sbc_classes"), small)
    folder = runner.run(experiment, tmp_path).folder
    ranks = pq.read_table(folder / "metrics.parquet").to_pandas().query("metric == 'rank'")
    assert (
        set(ranks["quantity"]) >= {"share of 2 at 0.9", "accuracy of labeler 1"} and ranks["value"].between(0, 9).all()
    )
    assert "3 classes" in (folder / "SUMMARY.md").read_text() and (folder / "sbc.svg").is_file()


@pytest.mark.slow
def test_small_runs_of_the_contextual_studies_end_in_a_report(tmp_path, scored_set):
    laplace = ["inference.method=laplace", "inference.n_draws=50"]
    short = ["inference.n_warmup=20", "inference.n_draws=20"]
    tiny = {
        "theodon_public": ['contextual=["lr-lr"]', "n_draws=2", 'sets=["sp_amt"]', *laplace],
        "rare": ["n_instances=60", "population=2000", "n_repeats=2", 'models=["lr-lr"]', *laplace],
        "sbc": ["model=lr-lr", "n_instances=20", "n_repeats=3", "n_ranked=9", *short],
    }
    for name, overrides in tiny.items():
        experiment = configs.load(next(p for p in CONFIGS if p.stem == name), overrides)
        folder = runner.run(experiment, tmp_path).folder
        table = pq.read_table(folder / "metrics.parquet")
        assert np.isfinite(table["value"].to_numpy()).all()
        assert "lr-lr" in (folder / "SUMMARY.md").read_text() and list(folder.glob("*.svg"))


def test_crowds_of_the_sparse_study_have_its_functions():
    config = sparse.Config(n_instances=20_000, per_instance=2)
    for truth in config.truths:
        labels, scores = sparse.crowd(config, truth, 0)
        at = {name: values[labels.instance] for name, values in sparse.functions(truth, scores).items()}
        expected = at["prevalence"] * at["sensitivity"] + (1 - at["prevalence"]) * (1 - at["specificity"])
        assert abs((labels.label > 0).mean() - expected.mean()) < 4 * 0.5 / np.sqrt(20_000)
        assert all(len(set(labels.labeler[labels.instance == k])) == 2 for k in range(5))


@pytest.mark.slow
def test_a_small_run_of_the_sparse_study_ends_in_a_report(tmp_path):
    small = ["n_instances=60", "n_repeats=2", "n_grid=20", 'truths=["interaction"]', "inference.n_draws=20"]
    experiment = configs.load(next(p for p in CONFIGS if p.stem == "sparse"), [*small, "two.tensor-hsgp-12.n_basis=3"])
    folder = runner.run(experiment, tmp_path).folder
    assert np.isfinite(pq.read_table(folder / "metrics.parquet")["value"].to_numpy()).all()
    assert "tensor-inducing-32" in (folder / "SUMMARY.md").read_text() and list(folder.glob("*.svg"))


@pytest.mark.slow
def test_a_small_run_of_the_headline_study_ends_in_a_report(tmp_path):
    small = ["n_instances=120", "n_repeats=1", "n_gold=[40]", 'scenarios=["plain"]']
    experiment = configs.load(next(p for p in CONFIGS if p.stem == "headline"), small)
    folder = runner.run(experiment, tmp_path).folder
    table = pq.read_table(folder / "metrics.parquet").to_pandas().set_index(["model", "metric"])["value"]
    found = table[headline.OURS]
    assert 0 < found["lower"] < found["mean"] < found["upper"] < 1 and found["accuracy"] > 0.8
    assert {"Platt on votes", "beta on gold", "isotonic on gold", "raw score"} < {
        m for m, k in table.index if k == "ece"
    }
    assert "| plain | 2 | 40 |" in (folder / "SUMMARY.md").read_text() and (folder / "headline.svg").is_file()


@pytest.mark.slow
def test_a_small_run_of_the_shares_study_ends_in_a_report(tmp_path):
    small = ["n_instances=150", "n_labelers=8", "n_repeats=1", "in_cell=1", "n_gold=[100]", 'crowds=["benign"]']
    experiment = configs.load(next(p for p in CONFIGS if p.stem == "shares"), small)
    folder = runner.run(experiment, tmp_path).folder
    found = pq.read_table(folder / "metrics.parquet").to_pandas().set_index(["model", "metric"])["value"]
    assert found["default", "accuracy"] > 0.8 and 0 < found["default", "width"] < 0.4
    assert "| benign | 100 | dawid-skene |" in (folder / "SUMMARY.md").read_text()


@pytest.mark.slow
def test_a_small_run_of_the_machines_study_ends_in_a_report(tmp_path):
    small = ["n_instances=200", "n_seen=60", "n_gold=80", "n_repeats=1", "rates=[0.2]", 'dependence=["cut"]']
    experiment = configs.load(next(p for p in CONFIGS if p.stem == "machines"), small)
    folder = runner.run(experiment, tmp_path).folder
    found = pq.read_table(folder / "metrics.parquet").to_pandas()
    assert found[found["metric"] == "cut said"]["value"].eq(1).all()
    assert found[(found["metric"] == "by gold") & (found["gold"] != "none")]["value"].eq(1).all()
    summary = (folder / "SUMMARY.md").read_text()
    assert "| 0.200 | cut | chosen | PPI++ |" in summary and (folder / "machines_1.svg").is_file()


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
