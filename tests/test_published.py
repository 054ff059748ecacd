"""Committed results (docs/results) are whole, of the configs as they are, and what their tables and code give."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crowdjax import datasets
from experiments import config as configs
from experiments import fig3, fig4, fitting, intervals, published, runner, sbc, specialist, theodon_sim
from experiments.__main__ import main
from experiments.cells import name_of

ROOT = runner.ROOT
RESULTS = sorted(path.parent for path in published.PLACE.glob("*/SUMMARY.md"))
FILES = {"SUMMARY.md", "config.json", "config.toml", "environment.json", "metrics.parquet"}
QUICK = {"specialist"}  # 15 s of CPU on a new machine, 8 where programs are kept


def each(folders=RESULTS):
    return pytest.mark.parametrize("folder", folders, ids=lambda path: path.stem)


def experiment_of(folder: Path, path: Path) -> configs.Experiment:
    """A file's experiment with the name and the overrides of a folder's."""
    overrides = json.loads((folder / "environment.json").read_text())["overrides"]
    name = json.loads((folder / "config.json").read_text())["name"]
    return dataclasses.replace(configs.load(path, overrides), name=name)


def test_every_result_carries_what_makes_it_again():
    assert not {path.name: missing for path in RESULTS if (missing := FILES - {f.name for f in path.iterdir()})}


@each()
def test_a_result_says_how_it_was_made(folder):
    environment = json.loads((folder / "environment.json").read_text())
    commits = environment["commit"].split(", ")  # a run that was stopped may go on with later code
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in commits) and environment["changed"] is False
    assert environment["command"].startswith("python -m experiments run configs/")
    assert {"device", "processor", "cores", "system", "python", "x64", "seconds", "date"} < set(environment)
    assert {"crowdjax", "jax", "jaxlib", "numpy"} < set(environment["versions"])
    assert all(commit[:10] in (folder / "SUMMARY.md").read_text() for commit in commits)
    assert sum(f.stat().st_size for f in folder.glob("*.parquet")) <= published.LIMIT


@each()
def test_a_result_is_of_its_config_as_it_is(folder):
    """All settings, defaults of the study included; the real sets of this machine are not settings."""
    kept = json.loads((folder / "config.json").read_text())
    today = experiment_of(folder, ROOT / "configs" / f"{kept['name']}.toml")
    settings = json.loads(json.dumps(today.resolved()))
    assert settings | {"data": kept["data"]} == kept, f"stale: make and publish configs/{kept['name']}.toml anew"
    assert today.rerun == experiment_of(folder, folder / "config.toml").rerun


@each()
def test_a_summary_is_what_its_tables_give(folder):
    experiment = experiment_of(folder, folder / "config.toml")
    text = experiment.module.report(experiment.config, runner.read_tables(folder)).text
    assert text in (folder / "SUMMARY.md").read_text()


@each()
def test_a_figure_is_there_for_every_one_that_a_summary_shows(folder):
    shown = re.findall(r"^!\[.*\]\((.*)\)$", (folder / "SUMMARY.md").read_text(), re.M)
    assert set(shown) == {f.name for f in folder.glob("*.svg")}


def test_settings_are_not_rounded():
    """A summary looks them up; 1/3 is kept with eleven bits, .3 is a setting."""
    share, third = np.array([0.1, 0.3]), np.array([1 / 3, 0.1])
    tables = {"metrics": pa.table({"share": share, "value": third}), "seen": pa.table({"share": share, "p": third})}
    found = published.rounded(tables, 11)
    for name, column in (("metrics", "value"), ("seen", "p")):
        assert (found[name]["share"].to_numpy() == share).all()
        assert (found[name][column].to_numpy() != third).all()


@each()
def test_settings_of_every_table_are_those_of_the_metrics(folder):
    known = pq.read_table(folder / "metrics.parquet")
    for path in set(folder.glob("*.parquet")) - {folder / "metrics.parquet"}:
        table = pq.read_table(path)
        for column in {*table.column_names} & {*known.column_names} - {"value"}:
            if pa.types.is_floating(table[column].type):
                near, exact = (np.unique(v[column].to_numpy()) for v in (table, known))
                off = abs(near[:, None] - exact).min(1)
                assert not ((off > 0) & (off < 1e-6)).any(), f"{path.name}: {column}"


def test_stale_numbers_and_settings_are_seen(tmp_path):
    folder = tmp_path / "specialist"
    shutil.copytree(published.PLACE / "specialist", folder)
    table = pq.read_table(folder / "metrics.parquet")
    value = table["value"].to_numpy() + 0.001
    pq.write_table(
        table.set_column(table.column_names.index("value"), "value", pa.array(value)), folder / "metrics.parquet"
    )
    with pytest.raises(AssertionError):
        test_a_summary_is_what_its_tables_give(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_repeats": 19}))
    with pytest.raises(AssertionError, match="stale"):
        test_a_result_is_of_its_config_as_it_is(folder)


@each(sorted((ROOT / "configs").glob("*.toml")))
def test_cells_that_are_enough_for_a_rerun_are_cells_of_the_study(folder, data_dir, monkeypatch):
    monkeypatch.setenv(datasets.VARIABLE, str(data_dir))
    experiment = configs.load(folder)
    names = [name_of(cell) for cell in experiment.cells]
    assert set(experiment.rerun.cells) <= set(names) and len(set(names)) == len(names)


@pytest.mark.long
@pytest.mark.parametrize(
    "folder",
    [pytest.param(f, marks=() if f.name in QUICK else pytest.mark.slow, id=f.name) for f in RESULTS],
)
def test_a_result_comes_back(folder, request, capsys):
    if json.loads((folder / "config.json").read_text())["data"]:
        request.getfixturevalue("data_dir")
    assert main(["rerun", str(folder), "-q"]) == 0, capsys.readouterr().out


# The repeats of a study are the same whatever number of them follows.


def draws_of_fig3(n: int):
    config = fig3.Config(n_labelers=(4, 8), n_instances=6, n_repeats=n)
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fig3, "fit_all", lambda cells, draws, *rest: drawn.append(draws) or {})
        fig3.run_cell(config)
    return [np.asarray(v).reshape(n, 2, -1) for v in drawn[0]]


def draws_of_specialist(n: int):
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specialist, "fit_all", lambda cells, draws, *rest: drawn.append(draws) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            specialist._learned(specialist.Config(n_labelers=2, n_instances=6, n_repeats=n))
    return drawn[0]


def draws_of_intervals(n: int):
    config = intervals.Config(n_labelers=4, n_instances=6, n_repeats=n)
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "judged", lambda crowd, *rest: drawn.append(crowd) or {})
        intervals.run_cell(config, 0.7, "known")
    return [np.stack(v) for v in zip(*(jax.tree.leaves(crowd) for crowd in drawn), strict=True)]


def draws_of_rare(n: int):
    drawn = theodon_sim.crowds(0, n, 30, 3, 4, shape="linear", rare=True, population=200)
    return [np.stack(v) for v in zip(*(jax.tree.leaves(crowd) for crowd in drawn), strict=True)]


def draws_of_sbc(n: int):
    config = sbc.Config(n_instances=10, n_labelers=2, n_repeats=n)
    drawn = []
    usual = sbc.prior_draws
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sbc, "prior_draws", lambda *rest: drawn.append(usual(*rest)) or drawn[-1])
        sbc._of_two(config, 0, 0)
    return jax.tree.leaves(drawn[0])


DRAWS = {
    "fig3": draws_of_fig3,
    "specialist": draws_of_specialist,
    "fig4": lambda n: jax.tree.leaves(fig4._crowds(fig4.Config(n_labelers=3, n_instances=6, n_draws=n))),
    "dropped labels": lambda n: [fitting.drop(0, np.ones(50), 0.2, n)],
    "intervals": draws_of_intervals,
    "rare, theodon_sim": draws_of_rare,
    "sbc": draws_of_sbc,
}


@pytest.mark.long
@pytest.mark.parametrize("draws", DRAWS.values(), ids=DRAWS)
def test_the_draws_of_a_repeat_do_not_depend_on_how_many_follow(draws):
    """A longer study begins with the crowds of a shorter one."""
    few, many = ([np.asarray(v) for v in draws(n) if v is not None] for n in (2, 5))
    assert few
    for a, b in zip(few, many, strict=True):
        assert len(a) == 2 and len(b) == 5
        np.testing.assert_allclose(b[:2], a, rtol=1e-5, atol=1e-6)  # programs of other shapes round otherwise
    assert any(np.ptp(b, axis=0).any() for b in many)
