"""``python -m experiments run|check|report CONFIG [--out runs] [key=value ...]`` and ``python -m experiments list``.

Exit status: 0 done, 1 the run failed, 2 the config or the input is wrong, with one line that says which value, where,
and what is allowed.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from crowdjax.labels import InputError

app = typer.Typer(help="Experiments from TOML configs.", add_completion=False, pretty_exceptions_enable=False)
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file, for instance configs/quickstart.toml.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[key=value ...]", help="Settings to change.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where the folders of runs are.")]
CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@app.command()
def run(
    config: Config,
    overrides: Overrides = None,
    out: Out = Path("runs"),
    force: Annotated[bool, typer.Option(help="Run again what has been run.")] = False,
) -> None:
    """Run a config into OUT/NAME-HASH, unless it has been run, and print its summary."""
    from experiments import config as configs
    from experiments import runner

    words = ["python", "-m", "experiments", "run", str(config), *(overrides or [])]
    experiment = configs.load(config, overrides or [])
    folder, found = runner.run(experiment, out, force=force, command=shlex.join(words))
    print((folder / "SUMMARY.md").read_text(encoding="utf-8"))
    runner.say(f"{folder}: {'has been run before (--force runs it again)' if found else 'done'}")


@app.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Of configs.")] = CONFIGS, out: Out = Path("runs")
) -> None:
    """The configs, their studies, and where their runs are."""
    from experiments import config as configs

    for path in sorted(folder.glob("*.toml")):
        experiment = configs.load(path)
        done = out / experiment.folder
        print(f"{path.stem:<16} {experiment.study:<12} {done if done.is_dir() else 'not run'}")


@app.command()
def check(config: Config, overrides: Overrides = None) -> None:
    """Check a config and print every setting it resolves to."""
    from experiments import config as configs

    experiment = configs.load(config, overrides or [])
    print(json.dumps(experiment.resolved(), indent=2))


@app.command()
def report(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="CONFIG", help="Configs or folders of runs, and key=value: settings to change."),
    ],
    out: Out = Path("runs"),
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page that compares several; default: OUT/comparison.html.")
    ] = None,
) -> None:
    """Write summary, figures and report.html of a finished run anew; of several runs, one page that compares them."""
    from experiments import config as configs
    from experiments import runner

    overrides = [word for word in runs if "=" in word and not Path(word).exists()]
    paths = [Path(word) for word in runs if word not in overrides]
    if not paths:
        raise InputError(f"report: got {' '.join(runs)}; allowed: a config or the folder of a run, at least one")
    if len(paths) == 1:
        if page is not None:
            raise InputError(f"--page: got {page} with one run; allowed: with several")
        done = (
            runner.report_folder(paths[0])
            if paths[0].is_dir()
            else runner.report(configs.load(paths[0], overrides), out)
        )
        print(done / "SUMMARY.md")
    else:
        folders = [path if path.is_dir() else out / configs.load(path, overrides).folder for path in paths]
        print(runner.compare(folders, page or out / "comparison.html"))


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns the exit status."""
    command = typer.main.get_command(app)
    try:
        return command.main(arguments, prog_name="python -m experiments", standalone_mode=False) or 0
    except InputError as error:
        return _fail(str(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("stopped", 1)
    except Exception as error:
        if not hasattr(error, "format_message"):  # the usage errors' own class is private in new versions of typer
            raise
        return _fail(error.format_message(), 2)


def _fail(text: str, status: int) -> int:
    print("error: " + " ".join(text.split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
