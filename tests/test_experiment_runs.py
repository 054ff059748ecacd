"""Runs cell by cell: shared by processes, gone on with after a stop, and what fails alone fails alone."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
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

from crowdjax import datasets
from crowdjax.cli import logs
from experiments import cells, estimate, real, runner, workers
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


def test_ctrl_c_stops_the_processes_too(here, capsys):
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


def test_a_run_is_repeated_and_compared(here, capsys):
    """The same values; a value that was changed is found; a run that cannot be repeated is refused."""
    assert main(["run", "mine.toml"]) == 0
    folder = next(Path("runs").glob("mine-*"))
    capsys.readouterr()
    assert main(["rerun", str(folder)]) == 0
    assert "values, to the last bit\n" in capsys.readouterr().out
    path = folder / "metrics.parquet"
    table = pq.read_table(path)
    value = np.asarray(table["value"]).copy()
    value[2] += 1e-9
    pq.write_table(table.set_column(table.schema.get_field_index("value"), "value", pa.array(value)), path)
    assert main(["rerun", str(folder)]) == 1
    assert "table metrics: value differs in 1 of" in capsys.readouterr().out
    source = folder / "config.toml"
    source.write_text("seed = 5\n" + source.read_text())
    assert main(["rerun", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "seed was 0 and is 5 today" in said.err
