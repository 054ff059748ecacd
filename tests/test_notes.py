"""Warnings reach the reader: on stderr of every command, piped or not, each in full and once; silenced by -q alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crowdjax import api
from crowdjax.cli import app, logs
from crowdjax.cli import progress as bars

ROOT = Path(__file__).resolve().parents[1]
W, I = 8, 30


def frame(label: np.ndarray) -> pd.DataFrame:
    """The labels [W, I] of labelers who each judged every instance."""
    labeler, instance = np.indices(label.shape)
    names = [f"w{i}" for i in labeler.T.ravel()], [f"q{j:02d}" for j in instance.T.ravel()]
    return pd.DataFrame({"labeler": names[0], "instance": names[1], "label": label.T.ravel()})


def crowd(n_labelers: int = W) -> pd.DataFrame:
    """Labelers who are right with chance .8."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, I)
    return frame(truth ^ (rng.random((I, n_labelers)) < 0.2).T)


def alike() -> pd.DataFrame:
    """Half of the labelers share their errors, which the model takes for independent."""
    rng = np.random.default_rng(10)
    truth, shared = rng.integers(0, 2, I), rng.random(I) < 0.4
    wrong = np.where(rng.random((W, I)) < 0.95, shared, rng.random((W, I)) < 0.15)
    wrong[: W // 2] = rng.random((W // 2, I)) < 0.25
    return frame(truth ^ wrong)


def plus(table: pd.DataFrame, *rows: tuple[str, str, int]) -> pd.DataFrame:
    return pd.concat([table, pd.DataFrame(rows, columns=table.columns)])


VISITOR = ("visitor", "q00", 1)
TABLE = crowd()
ALONE = pd.DataFrame({"labeler": [f"w{j}" for j in range(I)], "instance": TABLE["instance"].unique(), "label": 1})
FEATURES = pd.DataFrame({"labeler": [f"w{i}" for i in range(W)], "years": np.arange(W), "one": 1})
ABOUT = pd.DataFrame({"instance": TABLE["instance"].unique(), "x": np.arange(I) % 7})
SCORES = pd.DataFrame({"instance": TABLE["instance"].unique(), "score": np.linspace(0.1, 0.9, I)})
ANSWERS = [{"from_name": "q", "type": "choices", "value": {"choices": [word]}} for word in ("yes", "no")]
EXPORT = [
    {"id": task, "data": {}, "annotations": [{"completed_by": who, "result": ANSWERS[k : k + 1]} for who, k in votes]}
    for task, votes in ((1, ((1, 0), (2, 1), (3, 2))), (2, ((1, 1), (2, 1), (3, 0))))
]  # the third labeler's answer to the first task is empty


class Step(NamedTuple):
    """A command, the record that it writes, and words of warnings that it gives."""

    command: str
    record: str | None
    words: tuple[str, ...]


MAJORITY = "fit labels.csv --model majority --out out"
AUTO = Step("fit labels.csv --model auto --out out", "out/fit.json", ())
FREE = "--prevalence linear --accuracy constant --labelers global --constraint free --inference laplace --draws 50"
LEFT_OUT = ("Annotations without an answer",)

# name: (files besides or instead of labels.csv, commands in order)
SCENES: dict[str, tuple[dict[str, pd.DataFrame | list], tuple[Step, ...]]] = {
    "votes": (
        {"labels.csv": plus(TABLE[:-1], *TABLE[:5].itertuples(index=False), VISITOR), "new.csv": plus(TABLE, VISITOR)},
        (
            Step(MAJORITY, "out/fit.json", ("5 of 245 labels repeat", "1 of 9 labelers gave one", "are undecided")),
            Step("predict out new.csv --out new", "new/predict.json", ("instances are undecided",)),
            Step("predict out alone.csv --out new", "new/predict.json", ("22 of 30 labelers are not in the fit",)),
        ),
    ),
    "features": (
        {"of_labelers.csv": FEATURES, "of_instances.csv": ABOUT},
        (
            Step(
                "fit labels.csv --model one-coin --labeler-features of_labelers.csv --instance-features "
                "of_instances.csv --out out",
                "out/fit.json",
                ("Constant labeler features were left out: one", "The instance features were left out"),
            ),
        ),
    ),
    "few labelers": (
        {"labels.csv": crowd(2), "scores.csv": SCORES},
        (
            AUTO._replace(
                command=f"{AUTO.command} --scores scores.csv",
                words=("2 labelers are too few", "The scores were left out"),
            ),
        ),
    ),
    "few labels": (
        {"labels.csv": ALONE},
        (AUTO._replace(words=("1.00 labels per instance cannot tell", "fall into 30 connected components")),),
    ),
    "an integrated fit": (
        {},
        (
            AUTO._replace(words=("would change under another plausible decision boundary",)),
            Step("predict out alone.csv --out new", "new/predict.json", ("22 of 30 labelers are not in the fit",)),
        ),
    ),
    "what a fit misses": (
        {"labels.csv": alike()},
        (
            AUTO,
            Step(
                "check out labels.csv --replicates 19 --out seen",
                "seen/check.json",
                ("Labelers agree more than the instances' classes explain", "there are schools of thought"),
            ),
        ),
    ),
    "two factors": (
        {},
        (
            Step(
                "fit labels.csv --model integrated --factors 2 --out out",
                "out/fit.json",
                ("which of two factors is the class",),
            ),
        ),
    ),
    "a number of factors": (
        {},
        (
            Step(
                "fit labels.csv --model factor --factors auto --restarts 1 --out out",
                "out/fit.json",
                ("Held-out labels chose",),
            ),
        ),
    ),
    "more labels than memory holds": (
        {"labels.parquet": plus(TABLE, VISITOR)},
        (
            Step(
                "fit labels.parquet --model one-coin --minibatch 500 --out out",
                "out/fit.json",
                ("1 of 9 labelers gave one label",),
            ),
        ),
    ),
    "an export": (
        {"labels.json": EXPORT},
        (
            Step("fit labels.json --model majority --positive yes --out out", "out/fit.json", LEFT_OUT),
            Step("convert labels.json tidy.csv --positive yes", None, LEFT_OUT),
            Step("describe labels.json --positive yes", None, LEFT_OUT),
            Step("describe labels.json --positive yes --json", None, LEFT_OUT),
        ),
    ),
    "functions of scores": (
        {"labels.csv": ALONE.assign(label=[0, 1] * 15), "scores.csv": SCORES.assign(length=np.arange(I) ** 2)},
        (
            Step(
                f"context labels.csv --scores scores.csv --score-columns score,length {FREE} --out out",
                "out/fit.json",
                ("every instance has one label", "constraint 'free'", "Curves are along score", "Labelers are assumed"),
            ),
        ),
    ),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROWDJAX_CACHE", "off")
    monkeypatch.setattr("crowdjax.plots.save", lambda *_: None)  # figures take longest, and warn of nothing
    return tmp_path


def write(files: dict[str, pd.DataFrame | list]) -> None:
    for name, made in ({"labels.csv": TABLE, "alone.csv": ALONE} | files).items():
        if isinstance(made, list):
            Path(name).write_text(json.dumps(made))
        elif name.endswith(".parquet"):
            made.to_parquet(name)
        else:
            made.to_csv(name, index=False)


def call(arguments: str, *more: str):
    return CliRunner().invoke(app, [*arguments.split(), *more])


def notes(stderr: str) -> list[str]:
    start = "crowdjax: note: "
    return [line.removeprefix(start) for line in stderr.splitlines() if line.startswith(start)]


def warnings_of(record: str) -> list[str]:
    return json.loads(Path(record).read_text())["warnings"]


def test_the_scenes_are_situations_enough():
    assert len({words for _, steps in SCENES.values() for step in steps for words in step.words}) >= 15


@pytest.mark.parametrize("name", SCENES)
def test_every_warning_is_on_stderr_once_and_quiet_silences_it(name, here):
    files, steps = SCENES[name]
    write(files)
    for command, record, words in steps:
        found = call(command)
        assert found.exit_code == 0, found.output
        told = notes(found.stderr)
        for part in words:
            assert any(part in sentence for sentence in told), found.stderr
            assert part not in found.stdout or "--json" in command
        assert len(set(told)) == len(told)
        assert record is None or told == warnings_of(record)
        (here / "tidy.csv").unlink(missing_ok=True)
        quiet = call(command, "-q")
        assert (quiet.exit_code, quiet.stderr) == (0, "")
        assert record is None or warnings_of(record) == told


def test_a_fit_that_is_stopped_says_so_before_its_last_line(here, monkeypatch):
    write({"labels.csv": plus(TABLE, VISITOR)})
    monkeypatch.setattr("crowdjax.parallel.WATCHED_FROM", 1)  # every fit is long,
    monkeypatch.setattr("crowdjax.drive.PERIOD", 0)  # and a host looks after each step
    usual = bars.Progress.__call__

    def asked(progress, *now, **more):
        progress._asked = 1
        return usual(progress, *now, **more)

    monkeypatch.setattr(bars.Progress, "__call__", asked)
    for quiet in ((), ("-q",)):
        found = call("fit labels.csv --model factor --out out", *quiet)
        assert found.exit_code == 1
        told = warnings_of("out/fit.json")
        assert len(told) >= 2 and "did not converge: stopped" in told[0]
        assert notes(found.stderr) == ([] if quiet else told)
        assert found.stderr.splitlines()[-1] == "crowdjax: stopped before the fit converged; what it has is in out"


def test_a_warning_stays_on_its_line_whatever_a_name_holds(here):
    write({"x.csv": FEATURES.rename(columns={"one": "a\x1b[31m\nb"})})
    found = call("fit labels.csv --model one-coin --labeler-features x.csv --out out")
    assert "Constant labeler features were left out: a [31m b." in notes(found.stderr)
    assert "\x1b" not in found.stderr


def test_a_terminal_has_the_warnings_on_stderr_and_nothing_of_them_on_stdout(here, monkeypatch):
    write({})
    monkeypatch.setattr("crowdjax.cli.common.at_a_terminal", lambda: True)
    found = call(MAJORITY)
    assert notes(found.stderr) == warnings_of("out/fit.json") != []
    assert found.stdout.splitlines()[-1] == "written to out" and "undecided" not in found.stdout


def test_what_libraries_warn_of_is_said_with_verbose(here, monkeypatch):
    usual = api.fit

    def warns(*given, **settings):
        warnings.warn("of old", DeprecationWarning, stacklevel=2)
        return usual(*given, **settings)

    monkeypatch.setattr(api, "fit", warns)
    write({})
    assert "of old" not in call(MAJORITY).stderr
    assert "DeprecationWarning: of old" in call(MAJORITY, "-v").stderr


def test_a_logged_warning_is_an_event_of_its_own(here):
    write({})
    call(MAJORITY, "-v")
    events = [json.loads(line) for line in Path("out/log.jsonl").read_text().splitlines()]
    assert [e["text"] for e in events if e["event"] == "note"] == [
        f"crowdjax: note: {sentence}" for sentence in warnings_of("out/fit.json")
    ]
    assert [log.handlers for log in logs.LOGGERS] == [[], []]


PIPED = """
crowdjax() { "$PYTHON" -m crowdjax "$@"; }
crowdjax fit labels.csv --model majority --out out > fit.out 2> fit.log; echo $?
crowdjax predict out new.csv --out answers > predict.out 2> predict.log; echo $?
crowdjax convert labels.json tidy.csv --positive yes > convert.out 2> convert.log; echo $?
crowdjax fit labels.csv --model majority --out quiet -q > quiet.out 2> quiet.log; echo $?
"""


def test_real_processes_write_them_to_a_log(here):
    write(
        {
            "labels.csv": plus(TABLE, *TABLE[:5].itertuples(index=False)),
            "new.csv": plus(TABLE, VISITOR),
            "labels.json": EXPORT,
        }
    )
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(["sh", "-c", PIPED], cwd=here, env=env, capture_output=True, text=True, timeout=300)
    assert (done.stdout.split(), done.stderr) == (["0"] * 4, "")
    assert notes(Path("fit.log").read_text()) == warnings_of("out/fit.json") != []
    assert notes(Path("predict.log").read_text()) == warnings_of("answers/predict.json") != []
    assert len(notes(Path("convert.log").read_text())) == 1
    assert Path("quiet.log").read_text() == "" and warnings_of("quiet/fit.json") == warnings_of("out/fit.json")
    assert [path.read_text() for path in here.glob("*.out")] == [""] * 4
