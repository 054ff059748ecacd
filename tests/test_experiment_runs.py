"""Runs cell by cell: shared by processes, gone on with after a stop, and what fails alone fails alone."""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tasks

from crowdjax import datasets, disk
from crowdjax.cli import logs
from experiments import cells, estimate, published, real, repeat, runner, workers
from experiments import config as configs
from experiments.__main__ import main
from experiments.tables import rows

SETS = ("duchenne", "bluebirds", "ducks")
CONFIG = """study = "real"
[models.vote]
preset = "majority"
"""
FITTED = ["models.Dawid-Skene.preset=dawid-skene"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with three small sets, a config of a study of them, and nothing else."""
    rng = np.random.default_rng(0)
    for name in SETS:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        truth = rng.integers(0, 2, 12)
        labels = [(i, j, truth[j] ^ (rng.random() < 0.2)) for i in range(5) for j in range(12)]
        (folder / "labels.csv").write_text(
            "labeler,instance,label\n" + "".join(f"w{i},q{j},{y}\n" for i, j, y in labels)
        )
        (folder / "truth.csv").write_text("instance,label\n" + "".join(f"q{j},{t}\n" for j, t in enumerate(truth)))
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv("CROWDJAX_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(CONFIG)
    return tmp_path


def experiment(*overrides: str) -> configs.Experiment:
    return configs.load(Path("mine.toml"), overrides)


def events(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def begun(folder) -> list[str]:
    return [event["cell"] for event in events(folder) if event.get("event") == "began"]


def test_processes_share_the_cells_and_find_what_one_finds(here, monkeypatch):
    monkeypatch.setenv("CROWDJAX_CACHE", str(here / "cache"))
    alone, shared = (runner.run(experiment(*FITTED), here / f"{n}", jobs=n) for n in (1, 2))
    assert alone.failed == shared.failed == {}
    assert (alone.folder / "metrics.parquet").read_bytes() == (shared.folder / "metrics.parquet").read_bytes()
    for folder in (alone.folder, shared.folder):
        assert sorted(begun(folder)) == sorted(SETS)
        found = {e["cell"]: e for e in events(folder) if e.get("event") == "fitted"}
        assert set(found) == set(SETS) and all(e["objective"]["Dawid-Skene"] < 0 for e in found.values())
        assert {"time", "event", "cell", "seconds"} < set(found["ducks"])
        files = set(os.listdir(folder))
        assert {"SUMMARY.md", "config.json", "config.toml", "environment.json", "metrics.parquet", "real.svg"} < files
        assert not {".lock", "cells"} & files


def test_a_stopped_run_goes_on_with_the_cells_that_are_missing(here, monkeypatch, capsys):
    whole = runner.run(experiment(), here / "whole").folder
    usual = real.run_cell

    def stop(config, name):
        if name == "bluebirds":
            raise KeyboardInterrupt
        return usual(config, name)

    monkeypatch.setattr(real, "run_cell", stop)
    assert main(["run", "mine.toml"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "crowdjax: stopped: 1 of 3 cells are done; the same command goes on from there"
    assert main(["list", "."]) == 0
    assert "1 of 3 cells" in capsys.readouterr().out
    assert main(["report", "mine.toml"]) == 2
    (folder,) = (here / "runs").iterdir()
    left = folder / "cells" / ".001-bluebirds.999"
    left.mkdir()
    monkeypatch.setattr(real, "run_cell", usual)
    assert main(["run", "mine.toml"]) == 0
    assert begun(folder) == ["duchenne", "bluebirds", "bluebirds", "ducks"]
    assert (folder / "metrics.parquet").read_bytes() == (whole / "metrics.parquet").read_bytes()
    assert not (folder / "cells").exists()
    capsys.readouterr()
    assert main(["list", "."]) == 0
    assert capsys.readouterr().out.split() == ["mine", "real", str(folder.relative_to(here))]


def test_a_cell_that_is_out_of_memory_leaves_the_others_and_says_what_needs_less(here, monkeypatch, capsys):
    usual = real.run_cell

    def full(config, name, *rest):
        if name == "bluebirds":
            jnp.zeros(10**13).block_until_ready()
        return usual(config, name, *rest)

    monkeypatch.setattr(real, "run_cell", full)
    assert main(["run", "mine.toml", "-q"]) == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "bluebirds: out of memory (JaxRuntimeError: RESOURCE_EXHAUSTED" in err
    assert "smaller batches" in err and "32-bit" in err
    assert "| ducks | " in out
    monkeypatch.setattr(real, "run_cell", usual)
    assert main(["run", "mine.toml", "-q"]) == 0
    (folder,) = (here / "runs").iterdir()
    assert begun(folder) == [*SETS, "bluebirds"]


def test_a_cell_that_fails_fails_alone(here, capsys):
    labels = here / "data" / "bluebirds" / "labels.csv"
    good = labels.read_text()
    labels.write_text("labeler,instance\na,b\n")
    assert main(["run", "mine.toml", "-q"]) == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "1 cells failed; bluebirds: InputError" in err and "no column 'label'" in err
    assert "**Not whole.**" in out and "| bluebirds | InputError" in out and "| ducks | " in out
    (folder,) = (here / "runs").iterdir()
    (failed,) = (e for e in events(folder) if e.get("event") == "failed")
    assert failed["cell"] == "bluebirds" and "Traceback" in failed["traceback"]
    labels.write_text(good)
    assert main(["run", "mine.toml", "-q"]) == 0
    assert begun(folder) == [*SETS, "bluebirds"]
    assert "Not whole" not in (folder / "SUMMARY.md").read_text()


def test_ctrl_c_stops_the_processes_too(here, interruptible, capsys):
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    assert main(["run", "mine.toml", "--jobs", "2"]) == 1
    assert capsys.readouterr().err == "crowdjax: stopped: 0 of 3 cells are done; the same command goes on from there\n"
    assert multiprocessing.active_children() == []


def test_a_run_is_made_by_one_process_at_a_time(here, capsys):
    folder = here / "runs" / experiment().folder
    folder.mkdir(parents=True)
    with runner._alone(folder):
        assert main(["run", "mine.toml"]) == 2
    assert "another process is making this run" in capsys.readouterr().err


def test_a_process_that_ends_is_one_outcome_and_the_other_tasks_go_on():
    told: list[str] = []
    with logs.heard(logs.JsonLines(told)):
        found = dict(workers.each(tasks.square, range(4), 2))
    share = workers.n_cores() / 2
    assert found[1] == workers.Died(3)
    assert {task: found[task][0] for task in (0, 2, 3)} == {0: 0, 2: 4, 3: 9}
    assert all(max(1, share - 0.5) <= found[task][1] <= max(1, share + 0.5) for task in (0, 2, 3))
    assert sorted(json.loads(line)["text"] for line in told) == [f"task {k}" for k in range(4)]


def test_a_task_that_takes_too_long_is_ended():
    assert workers.within(tasks.slow, 0, math.inf) == "done"
    assert workers.within(tasks.slow, 60, time.monotonic() + 0.1) == workers.Died(-signal.SIGKILL)


def test_cells_of_repeats_become_the_table_of_all():
    rng = np.random.default_rng(0)
    values = {model: {metric: rng.random(25) for metric in ("a", "b")} for model in ("one", "two")}
    whole = [row for model, v in values.items() for row in rows(model, v, shape="x")]
    parts = []
    for start, end in cells.in_tens(25):
        part = {model: {k: x[start:end] for k, x in v.items()} for model, v in values.items()}
        found = [row for model, v in part.items() for row in rows(model, v, start=start, shape="x")]
        parts.append({"metrics": pa.Table.from_pylist(found)})
    assert cells.gathered(parts)["metrics"].equals(pa.Table.from_pylist(whole).combine_chunks())
    parts.append({"metrics": parts[0]["metrics"].drop_columns(["shape"]), "more": pa.table({"x": [1]})})
    assert set(cells.gathered(parts)) == {"metrics", "more"}


def test_check_says_how_large_a_run_is_and_what_it_will_take(here, capsys):
    assert main(["check", "mine.toml"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text.partition("\n\n")[0])["models"]["vote"]["config"]["n_factors"] == 1
    assert "3 cells, 0 fits; 0 cells are done" in text and "| ducks | 60 | 5 | 12 | 0 |" in text
    assert "no programs" in text and "Time: unknown" in text
    assert not (here / "runs").exists()
    seconds = {"duchenne": 4.0, "bluebirds": 1.0}
    earlier = here / "runs" / "real-earlier"
    earlier.mkdir(parents=True)
    (earlier / "config.json").write_text('{"study": "real"}')
    done = [{"event": "done", "cell": c, "seconds": s, "labels": 60, "fits": 1} for c, s in seconds.items()]
    (earlier / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in done))
    config = experiment(*FITTED).config
    sizes = {cell: real.size(config, *cell) for cell in real.cells(config)}
    known = list(estimate.timed("real", here / "runs"))
    assert [cell.seconds for cell in known] == [4.0, 1.0]
    assert "about 8 s for all cells" in estimate._time(sizes, known)  # 4 + 1 + their median, 2.5


def test_a_program_is_compiled_and_measured_without_running(here):
    found = estimate.compile_largest((experiment(*FITTED), ("ducks",)))
    assert found.needs["arguments"] > 60 * 4 and found.needs["results"] > 12 * 4
    assert found.compiled > 0 and found.process > 1e7 and not found.cached


def test_runs_without_any_data_are_refused_before_anything_is_written(here, monkeypatch, capsys):
    monkeypatch.setenv(datasets.VARIABLE, str(here / "nothing"))
    for command in ("run", "check"):
        assert main([command, "mine.toml"]) == 2
        assert "duchenne: not here" in capsys.readouterr().err
    assert main(["list", "."]) == 0
    assert "no data" in capsys.readouterr().out
    assert sorted(os.listdir()) == ["data", "mine.toml"]


# Repeating a run.


def changed(path: Path, row: int, by: float) -> None:
    """Changes one value of a table."""
    table = pq.read_table(path)
    value = table["value"].to_numpy().copy()
    value[row] += by
    pq.write_table(table.set_column(table.column_names.index("value"), "value", pa.array(value)), path)


def elsewhere(folder: Path) -> None:
    """The run was made on another machine."""
    path = folder / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor": "another (family 1, model 2)"}))


def test_a_run_is_repeated_and_compared(here, capsys):
    """The same values; one that was changed is named, with how far it is off; what cannot be repeated is refused."""
    assert main(["run", "mine.toml"]) == 0
    folder = next(Path("runs").glob("mine-*"))
    n = pq.read_metadata(folder / "metrics.parquet").num_rows
    capsys.readouterr()
    assert main(["rerun", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"{n} values: {n} the same to the last bit, 0 beyond" in out and "every digit the same" in out
    first = pq.read_table(folder / "metrics.parquet").to_pylist()[0]
    changed(folder / "metrics.parquet", 0, 0.25)
    assert main(["rerun", str(folder)]) == 1
    out = capsys.readouterr().out
    named = f"{first['metric']} (model vote, repeat 0, set duchenne): {first['value'] + 0.25:.6g}, and now "
    assert f"| {first['metric']} | 3 | 1 | 0.25 | 1e-06 | 1 beyond, 0 allowed |" in out and named in out
    assert f"{n} values: {n - 1} the same to the last bit, 1 beyond" in out
    source = folder / "config.toml"
    source.write_text("seed = 5\n" + source.read_text())
    assert main(["rerun", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "seed was 0 and is 5 today" in said.err


@pytest.mark.parametrize(("off", "status"), [(0.009, 0), (0.011, 1)])
def test_on_another_machine_a_value_may_be_off_as_far_as_its_config_says(here, capsys, off, status):
    with open("mine.toml", "a") as file:
        file.write("[rerun]\ntolerance = { accuracy = 0.01 }\n")
    assert main(["run", "mine.toml"]) == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name == experiment("rerun={}").folder  # not a setting of the run
    rows = pq.read_table(folder / "metrics.parquet").to_pylist()
    changed(folder / "metrics.parquet", [row["metric"] for row in rows].index("accuracy"), off)
    capsys.readouterr()
    assert main(["rerun", str(folder)]) == 1
    assert f"| accuracy | 3 | 1 | {off:.2g} | 1e-06 | 1 beyond, 0 allowed |" in capsys.readouterr().out
    elsewhere(folder)
    assert main(["rerun", str(folder)]) == status
    assert (
        f"| accuracy | 3 | 1 | {off:.2g} | 0.01 | {'1 beyond, 0 allowed' if status else 'within'} |"
        in capsys.readouterr().out
    )


def test_a_second_run_says_which_tolerances_it_calls_for(here, capsys):
    """Twice .009 rounded up; with them, and not without, the same run on another machine passes."""
    assert main(["run", "mine.toml"]) == 0
    (folder,) = Path("runs").iterdir()
    rows = pq.read_table(folder / "metrics.parquet").to_pylist()
    changed(folder / "metrics.parquet", [row["metric"] for row in rows].index("accuracy"), 0.009)
    elsewhere(folder)
    capsys.readouterr()
    assert main(["rerun", str(folder), "--tolerances"]) == 1
    section = capsys.readouterr().out[-len('[rerun.tolerance]\n"accuracy" = 0.02\n') :]
    assert section == '[rerun.tolerance]\n"accuracy" = 0.02\n'
    with (folder / "config.toml").open("a") as file:
        file.write(section)
    assert main(["rerun", str(folder)]) == 0


@pytest.mark.parametrize(
    ("off", "switched", "tolerance"),
    [
        ([0.0, 3e-7], 0.0, None),  # rounding
        ([0.0, 0.003], 0.0, 0.01),
        ([0.0] * 98 + [0.001, 0.7], 0.02, 0.002),  # one of the two that may be off by more is aside
        ([0.0] * 99 + [0.7], 0.0, 2.0),
        ([float("inf")], 0.0, float("inf")),
    ],
)
def test_tolerances_are_twice_the_differences_that_are_not_aside(off, switched, tolerance):
    one = {("metrics", "nll", (("repeat", n),)): 0.0 for n in range(len(off))}
    other = dict(zip(one, off, strict=True))
    assert repeat.needed(one, other, switched) == ({} if tolerance is None else {"nll": tolerance})


@pytest.mark.parametrize(("switched", "status"), [(0.3, 1), (0.4, 0)])
def test_a_share_of_the_values_may_be_those_of_another_optimum(here, capsys, switched, status):
    """Three sets, so that one value is a third of them."""
    with open("mine.toml", "a") as file:
        file.write(f"[rerun]\nswitched = {switched}\n")
    assert main(["run", "mine.toml"]) == 0
    (folder,) = Path("runs").iterdir()
    changed(folder / "metrics.parquet", 0, 0.2)
    elsewhere(folder)
    capsys.readouterr()
    assert main(["rerun", str(folder)]) == status
    assert f"| {'1 beyond, 0 allowed' if status else 'within, 1 beyond'} |" in capsys.readouterr().out


def test_a_summary_with_other_digits_fails_where_nothing_has_changed(here, capsys):
    assert main(["run", "mine.toml"]) == 0
    (folder,) = Path("runs").iterdir()
    summary = folder / "SUMMARY.md"
    summary.write_text(summary.read_text().replace("0.", "9."))
    capsys.readouterr()
    assert main(["rerun", str(folder)]) == 1
    assert "lines differ" in capsys.readouterr().out
    elsewhere(folder)
    assert main(["rerun", str(folder)]) == 0


def test_processes_that_share_the_cores_are_another_machine(here, capsys):
    assert main(["run", "mine.toml"]) == 0
    (folder,) = Path("runs").iterdir()
    capsys.readouterr()
    assert main(["rerun", str(folder), "--jobs", "2"]) == 0
    assert "jobs was 1 and is 2" in capsys.readouterr().out


def test_a_value_that_is_not_a_number_is_no_other_optimum(here, capsys):
    with open("mine.toml", "a") as file:
        file.write("[rerun]\nswitched = 0.9\n")
    assert main(["run", "mine.toml"]) == 0
    (folder,) = Path("runs").iterdir()
    changed(folder / "metrics.parquet", 0, float("nan"))
    elsewhere(folder)
    capsys.readouterr()
    assert main(["rerun", str(folder), "--tolerances"]) == 1
    assert "| not a number, or infinite, once and a finite number once |" in capsys.readouterr().out


@pytest.mark.parametrize("lacking", ["SUMMARY.md", "seconds"])
def test_a_run_without_its_record_is_refused_before_anything_is_computed(here, capsys, lacking):
    assert main(["run", "mine.toml"]) == 0
    (folder,) = Path("runs").iterdir()
    if lacking == "seconds":
        path = folder / "environment.json"
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != lacking}))
    else:
        (folder / lacking).unlink()
    capsys.readouterr()
    assert main(["rerun", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and f"no {lacking} of the run is recorded" in said.err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("tolerance = { nll = -1.0 }", "rerun.tolerance: got -1.0 for nll"),
        ("switched = 1.0", "rerun.switched: got 1.0"),
        ('cells = "ducks"', "rerun.cells: got 'ducks'"),
        ("tolerences = {}", "rerun: unknown key 'tolerences'"),
        ('cells = ["dukcs"]', "rerun.cells: no cell 'dukcs'; allowed: duchenne, bluebirds, ducks"),
    ],
)
def test_what_is_wrong_about_a_rerun_is_told(here, capsys, settings, words):
    assert main(["run", "mine.toml"]) == 0
    (folder,) = Path("runs").iterdir()
    with (folder / "config.toml").open("a") as file:
        file.write(f"[rerun]\n{settings}\n")
    assert main(["rerun", str(folder)]) == 2
    assert words in capsys.readouterr().err


def test_rows_that_are_gone_or_new_are_differences(here, capsys):
    assert main(["run", "mine.toml"]) == 0
    (folder,) = Path("runs").iterdir()
    table = pq.read_table(folder / "metrics.parquet")
    capsys.readouterr()
    more = pa.Table.from_pylist([table.to_pylist()[0] | {"metric": "other"}], table.schema)
    for other, words in ((table[1:], ": none, and now "), (pa.concat_tables([table, more]), ", and now none")):
        pq.write_table(other, folder / "metrics.parquet")
        assert main(["rerun", str(folder)]) == 1
        assert words in capsys.readouterr().out


def test_the_cells_that_a_config_names_are_enough(here, capsys):
    """Other cells are not computed, and their data are not needed; ``--whole`` computes all."""
    with open("mine.toml", "a") as file:
        file.write('[rerun]\ncells = ["bluebirds"]\n')
    assert main(["run", "mine.toml"]) == 0
    (folder,) = Path("runs").iterdir()
    rows = pq.read_table(folder / "metrics.parquet").to_pylist()
    n = len(rows) // 3
    changed(folder / "metrics.parquet", 0, 0.1)
    assert [row["set"] for row in rows[::n]] == list(SETS)
    capsys.readouterr()
    assert main(["rerun", str(folder), "--whole"]) == 1
    assert "3 of 3 cells" in capsys.readouterr().out
    (here / "data" / "ducks").rename(here / "ducks")
    assert main(["rerun", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 cells" in out and f"{n} values: {n} the same" in out
    assert main(["rerun", str(folder), "--whole"]) == 2
    assert "of its real sets ducks are not in" in capsys.readouterr().err
    (here / "data" / "bluebirds").rename(here / "bluebirds")
    assert main(["rerun", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "no cell 'bluebirds'; of its real sets bluebirds, ducks are not in" in said.err


# Committed results.


@pytest.fixture
def committed(here, monkeypatch):
    """A finished run, made from a known commit."""
    monkeypatch.setattr(runner, "source", lambda: {"commit": "a" * 40, "changed": False})
    assert main(["run", "mine.toml"]) == 0
    return next(Path("runs").iterdir())


def test_results_are_published_with_all_that_makes_them_again(here, committed, capsys):
    capsys.readouterr()
    assert main(["publish", "mine.toml", "--to", "results/mine"]) == 0
    assert capsys.readouterr().out == "results/mine\n"
    files = {"SUMMARY.md", "config.json", "config.toml", "environment.json", "metrics.parquet", "real.svg"}
    assert set(os.listdir("results/mine")) == files and os.listdir("results") == ["mine"]
    environment = json.loads(Path("results/mine/environment.json").read_text())
    assert environment["commit"] == "a" * 40 and environment["bits"] == published.BITS[0]
    assert environment["command"] == "python -m experiments run mine.toml"
    assert main(["rerun", "results/mine"]) == 0
    assert "every digit the same" in capsys.readouterr().out
    size = sum(f.stat().st_size for f in Path("results/mine").glob("*.parquet"))
    assert size < (committed / "metrics.parquet").stat().st_size


def test_large_tables_keep_fewer_bits_and_still_come_back(here, committed, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    table = pa.Table.from_pylist(rows("vote", {"x": rng.normal(size=500)}))
    sizes = {}
    for bits in published.BITS:
        monkeypatch.setattr(published, "BITS", (bits,))
        folder = here / f"{bits}"
        folder.mkdir()
        published._write_tables({"metrics": table}, folder)
        kept = pq.read_table(folder / "metrics.parquet")["value"].to_numpy()
        assert (abs(kept / table["value"].to_numpy() - 1) <= 2.0 ** -(bits + 1)).all()
        sizes[bits] = (folder / "metrics.parquet").stat().st_size
    assert sorted(sizes.values(), reverse=True) == list(sizes.values())
    monkeypatch.setattr(published, "BITS", tuple(sizes))
    monkeypatch.setattr(published, "LIMIT", list(sizes.values())[1])
    assert published._write_tables({"metrics": table}, folder) == list(sizes)[1]
    monkeypatch.setattr(published, "BITS", (11,))
    monkeypatch.setattr(published, "LIMIT", 10**6)
    assert main(["publish", "mine.toml", "--to", "mine"]) == 0
    capsys.readouterr()
    assert main(["rerun", "mine"]) == 0
    assert "0 beyond" in capsys.readouterr().out
    monkeypatch.setattr(published, "LIMIT", 100)
    assert main(["publish", "mine.toml", "--to", "mine"]) == 2
    assert "allowed: 100 together" in capsys.readouterr().err


def test_results_are_replaced_as_a_whole_or_not_at_all(here, committed, monkeypatch, capsys):
    assert main(["publish", "mine.toml", "--to", "results/mine"]) == 0
    old = Path("results/mine/old.svg")
    old.write_text("of an earlier version")
    before = {f.name: f.read_bytes() for f in Path("results/mine").iterdir()}
    usual = real.report

    def full(config, tables):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(real, "report", full)
    assert main(["publish", "mine.toml", "--to", "results/mine"]) == 2
    assert {f.name: f.read_bytes() for f in Path("results/mine").iterdir()} == before
    assert os.listdir("results") == ["mine"]
    monkeypatch.setattr(real, "report", usual)
    move = disk.move

    def stopped(source, place):
        if source.name == "new":
            raise KeyboardInterrupt
        move(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "move", stopped)
        assert main(["publish", "mine.toml", "--to", "results/mine"]) == 1
    assert {f.name: f.read_bytes() for f in Path("results/mine").iterdir()} == before
    assert os.listdir("results") == ["mine"]
    assert main(["publish", "mine.toml", "--to", "results/mine"]) == 0
    assert not old.exists() and os.listdir("results") == ["mine"]


def test_words_and_figures_of_committed_results_are_made_anew_from_their_tables(here, committed, monkeypatch, capsys):
    assert main(["publish", "mine.toml", "--to", "results/mine"]) == 0
    kept = {f.name: f.read_bytes() for f in Path("results/mine").iterdir()}
    usual = real.report
    shutil.rmtree("runs")
    monkeypatch.setattr(
        real, "report", lambda *a: dataclasses.replace(found := usual(*a), text=found.text + "Other words.\n")
    )
    assert main(["report", "results/mine"]) == 0
    now = {f.name: f.read_bytes() for f in Path("results/mine").iterdir()}
    assert {name for name in kept.keys() | now.keys() if kept.get(name) != now.get(name)} == {"SUMMARY.md"}
    assert b"Other words." in now["SUMMARY.md"] and os.listdir("results") == ["mine"]


def test_what_is_no_committed_result_is_refused(here, committed, capsys):
    (here / "other").mkdir()
    (here / "other" / "thesis.tex").write_text("years of work")
    path = committed / "environment.json"
    known, unknown = json.loads(path.read_text()), {"commit": "unknown"}
    for arguments, environment, words in (
        (["seed=5", "--to", "new"], known, "no finished run of this config"),
        (["--to", "new"], known | unknown, "the commit that it was made from is not known"),
        (["--to", "other"], known, "other: holds no SUMMARY.md"),
    ):
        path.write_text(json.dumps(environment))
        assert main(["publish", "mine.toml", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert os.listdir("other") == ["thesis.tex"] and not Path("new").exists()
