"""The command lines' manners: help that fits a screen, how much is said, how far a run is, and how it is stopped."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import crowdjax
from crowdjax import cli, contextual, simulate
from crowdjax.cli import logs
from crowdjax.cli import progress as bars
from crowdjax.contextual import PRESETS, Inference
from experiments.__main__ import app as experiments

ROOT = Path(__file__).resolve().parents[1]
APPS = {"crowdjax": cli.app, "python -m experiments": experiments}


def walk(command, words: tuple[str, ...]):
    """Every command and group of commands below one, with the words that call it."""
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*words, name))


COMMANDS = dict(item for name, app in APPS.items() for item in walk(typer.main.get_command(app), (name,)))


def help_of(words: tuple[str, ...]) -> list[str]:
    found = CliRunner().invoke(APPS[words[0]], [*words[1:], "--help"], prog_name=words[0])
    assert found.exit_code == 0
    return found.output.splitlines()


# Help


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_a_screen_and_says_everything(words):
    lines = help_of(words)
    assert len(lines) <= 40 and max(map(len, lines)) <= 80
    assert lines[0].startswith(f"Usage: {' '.join(words)} ")
    text = " ".join(" ".join(lines).split())
    for param in COMMANDS[words].params:
        assert all(option in text for option in param.opts if option.startswith("--")) or param.metavar in text
        assert (param.help or "").rstrip(".").split("; ")[0][:30] in text, param.name
    assert {"--verbose", "--quiet", "--help"} <= set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_example_of_a_help_is_a_command_line(words):
    (start,) = (n for n, line in enumerate(help_of(words)) if line.startswith("Example: "))
    example = help_of(words)[start].removeprefix("Example: ")
    program = next(name for name in APPS if example.startswith(name + " "))
    command, rest = COMMANDS[(program,)], shlex.split(example.removeprefix(program))
    if len(words) > 1:
        assert example.startswith(" ".join(words))
    context = None
    while getattr(command, "commands", None):
        context = typer.Context(command, parent=context, info_name=rest[0])
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(command.name, rest, parent=context)  # refuses what it cannot parse


LABELS = "labeler,instance,label\n" + "".join(f"w{i},q{j},{(i * j + j) % 2}\n" for i in range(4) for j in range(9))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with labels.csv and new.csv to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROWDJAX_CACHE", "off")
    for name in ("labels.csv", "new.csv"):
        (tmp_path / name).write_text(LABELS)
    return tmp_path


def call(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.mark.parametrize(
    "words",
    [
        ("crowdjax", "describe"),
        ("crowdjax", "convert"),
        ("python -m experiments", "list"),
        ("python -m experiments", "init"),
        pytest.param(("crowdjax", "predict"), marks=pytest.mark.slow),
        pytest.param(("crowdjax", "check"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_the_example_of_a_help_works(here, words):
    (here / "wide.csv").write_text("instance,ann,bob\nq1,1,0\nq2,,1\n")
    if words[-1] in ("predict", "check"):
        assert call("fit", "labels.csv", "--model", "auto", "--out", "result").exit_code == 0
    example = help_of(words)[-1].removeprefix(f"Example: {words[0]} ")
    found = CliRunner().invoke(APPS[words[0]], shlex.split(example))
    assert found.exit_code == 0, found.output


# How much is said

MAJORITY = ("fit", "labels.csv", "--model", "majority", "--out", "out")


def told_in(out: Path) -> list[str]:
    """The events in the log of a result, without those that are not of every run."""
    events = [json.loads(line)["event"] for line in (out / "log.jsonl").read_text().splitlines()]
    return [event for event in events if event not in ("compiled", "note")]


@pytest.mark.parametrize("words", [("-v", *MAJORITY), (*MAJORITY, "--verbose"), ("-v", *MAJORITY, "-v")])
def test_verbose_says_what_is_done_and_keeps_it_with_the_result(here, words):
    found = call(*words)
    assert found.exit_code == 0 and found.stdout == ""
    for part in ("read labels labels.csv: 36 rows, 4 labelers, 9 instances", "wrote", "majority: 36 labels"):
        assert part in found.stderr
    assert all(line.split()[1] == "s" and float(line.split()[0]) >= 0 for line in found.stderr.splitlines()), (
        found.stderr
    )
    assert told_in(here / "out") == ["read", "columns", "wrote", "done"]
    assert "log.jsonl" in json.loads((here / "out" / "fit.json").read_text())["files"]
    assert crowdjax.load(here / "out").record["n_labels"] == 36
    assert all(
        line.startswith(("crowdjax: note: ", "crowdjax: columns of ")) for line in call(*MAJORITY).stderr.splitlines()
    )
    assert not (here / "out" / "log.jsonl").exists()


@pytest.mark.slow
def test_verbose_says_on_what_devices_a_fit_by_jax_runs(here):
    call(*MAJORITY)  # without JAX
    found = call("-v", "fit", "labels.csv", "--model", "factor", "--out", "out")
    assert found.exit_code == 0 and f"{jax.device_count()} device(s): " in found.stderr
    assert told_in(here / "out") == ["ready", "read", "columns", "wrote", "done"]


@pytest.mark.parametrize("words", [("-q", *MAJORITY), (*MAJORITY, "--quiet")])
def test_quiet_says_errors_only(here, words):
    assert call(*words).output == ""
    found = call(*[word.replace("labels.csv", "absent.csv") for word in words])
    assert found.exit_code == 2 and found.stderr.count("\n") == 1


def test_verbose_and_quiet_at_once_are_refused(here):
    found = call("-q", *MAJORITY, "-v")
    assert found.exit_code == 0  # the nearer one counts
    found = call(*MAJORITY, "-v", "-q")
    assert found.exit_code == 2 and "given both" in found.stderr


def test_nobody_listens_after_a_command(here):
    call("-v", *MAJORITY)
    assert [log.handlers for log in logs.LOGGERS] == [[], []]


# How far a run is


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_shows_stage_rate_and_objective_to_who_is_looking_and_waits_two_seconds(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with bars.progress_bar() as progress:
        assert progress("nuts", 1, 4) is False
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(bars, "PATIENCE", 0.01)
    with bars.progress_bar() as progress:
        progress("fit", 1, 40)
        waited = time.monotonic()
        while progress._bar is None and time.monotonic() - waited < 30:
            time.sleep(0.01)
        progress("fit", 11, 40, objective=-123.5)
        time.sleep(0.3)
    shown = sys.stderr.getvalue()
    assert all(part in shown for part in ("fit", "11/40", "0:00:0", "/s", "objective -123.5"))
    assert "\x1b[?25h" in shown  # the cursor is back


@pytest.mark.parametrize("quiet", [False, True])
def test_a_bar_is_not_shown_to_who_is_not_looking(monkeypatch, quiet):
    monkeypatch.setattr(sys, "stderr", Terminal() if quiet else io.StringIO())
    monkeypatch.setattr(bars, "PATIENCE", 0.0)
    with logs.said(logs.QUIET if quiet else logs.NOTICE), bars.progress_bar() as progress:
        progress("fit", 1, 2)
        time.sleep(0.2)
    assert sys.stderr.getvalue() == ""


def test_stages_are_logged_with_their_end():
    told: list[str] = []
    with logs.heard(logs.JsonLines(told)), bars.progress_bar() as progress:
        for done in (1, 2, 7):
            progress("mode", done, 24)
        progress("nuts", 50, 60, objective=-2.0)
    found = [{k: json.loads(line).get(k) for k in ("event", "stage", "done", "objective")} for line in told]
    assert [tuple(event.values()) for event in found] == [("stage", "mode", 7, None), ("stage", "nuts", 50, -2.0)]


# How it is stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_asks_once_there_is_something_to_keep(number):
    before = [signal.getsignal(n) for n in bars.SIGNALS]
    with bars.progress_bar() as progress:
        assert not progress("fit", 1, 9)
        os.kill(os.getpid(), number)
        waited = time.monotonic()
        while not progress("fit", 2, 9) and time.monotonic() - waited < 30:
            time.sleep(0.01)
        assert progress("fit", 3, 9) and progress.stopped
    assert [signal.getsignal(n) for n in bars.SIGNALS] == before


@pytest.mark.parametrize(("keeps", "told"), [(True, False), (False, True)])
def test_where_there_is_nothing_to_keep_a_first_signal_ends_a_run(keeps, told):
    def run():
        with bars.progress_bar(keeps) as progress:
            if told:
                progress("cells", 1, 9)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run()
    assert time.monotonic() - began < 10


STUBBORN = """
import jax, sys
from crowdjax.cli.progress import progress_bar
with progress_bar() as progress:
    progress("fit", 1, 2)
    print("ready", flush=True)
    jax.block_until_ready(jax.jit(lambda x: jax.lax.while_loop(lambda x: x < 2, jax.numpy.sin, x))(1.0))
"""


def test_a_second_signal_ends_a_process_that_is_in_a_compiled_program():
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen([sys.executable, "-c", STUBBORN], env=env, stdout=-1, stderr=-1, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (1, "crowdjax: stopped\n")


def interrupted_when(told) -> threading.Thread:
    """A thread that sends SIGINT as soon as ``told`` is true."""

    def wait():
        while not told():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_stopped_fit_is_saved_and_is_status_1(here, monkeypatch):
    monkeypatch.setattr("crowdjax.parallel.WATCHED_FROM", 1)  # every fit is long,
    monkeypatch.setattr("crowdjax.drive.PERIOD", 0)  # and a host looks after each step
    crowd = simulate.power_law(3, 3000, n_labelers=30, n_instances=600)
    rows = (f"{i},{j},{y}\n" for chunk in crowd.chunks() for i, j, y in zip(*chunk, strict=True))
    (here / "labels.csv").write_text("labeler,instance,label\n" + "".join(rows))
    told: list[str] = []
    usual = bars.Progress.__call__
    monkeypatch.setattr(bars.Progress, "__call__", lambda *a, **k: told.append(a[1]) or usual(*a, **k))
    interrupted_when(lambda: len(told) > 1)
    found = call("fit", "labels.csv", "--model", "factor", "--out", "out")
    assert found.exit_code == 1
    assert found.stderr.splitlines()[-1] == "crowdjax: stopped before the fit converged; what it has is in out"
    record = json.loads((here / "out" / "fit.json").read_text())
    assert record["converged"] is False and "stopped" in record["result"]
    assert crowdjax.load(here / "out").instances.num_rows == record["n_instances"]


@pytest.mark.slow
def test_a_signal_before_anything_is_known_leaves_nothing(here, interruptible, monkeypatch):
    began: list[str] = []
    usual = bars.Progress.__init__
    monkeypatch.setattr(bars.Progress, "__init__", lambda *a: began.append("") or usual(*a))
    thread = interrupted_when(lambda: began)
    before = sorted(os.listdir())
    found = call("fit", "labels.csv", "--model", "factor", "--factors", "2", "--restarts", "50", "--out", "out")
    thread.join()
    assert (found.exit_code, found.stderr) == (1, "crowdjax: stopped\n")
    assert sorted(os.listdir()) == before


@pytest.mark.slow
def test_what_cannot_return_a_part_is_interrupted():
    labels = simulate.power_law(1, 60, n_labelers=4, n_instances=20).labels()
    score, told = np.linspace(0, 1, 20), []

    def progress(stage, done, total, *, objective=None):
        told.append(stage)
        return True

    with pytest.raises(KeyboardInterrupt):
        contextual.fit(labels, score, PRESETS["constant-constant"], None, Inference("laplace"), progress=progress)
    assert told == ["mode"]


def test_a_minibatch_fit_that_is_asked_to_stop_keeps_its_state(here):
    import pandas as pd

    (here / "labels").mkdir()
    pd.read_csv("labels.csv").to_parquet("labels/0.parquet")
    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        crowdjax.api.fit_large(
            "labels", "out", "one-coin", batch=20, progress=lambda stage, *_, **__: stage == "dealing"
        )
    assert (here / "out.state").is_dir() and not (here / "out").exists()
    assert json.loads((here / "out.state" / "settings.json").read_text())["batch"] == 20
