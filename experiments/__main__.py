"""``python -m experiments run|check|report|publish CONFIG [--out runs] [key=value ...]``, ``rerun FOLDER``,
``init STUDY`` and ``list``.

Exit status: 0 done, 1 the run failed or was stopped, 2 the config or the input is wrong, with one line that says which
value, where, and what is allowed.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from crowdjax.cli.common import App, errors, fail
from crowdjax.labels import InputError
from experiments import CONFIGS

HELP = """Experiments from TOML configs, into a folder of data, figures and a summary.

Example: python -m experiments run configs/specialist.toml
"""
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file, or a name that list prints: quickstart")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Settings to change")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where the folders of runs are")]
BEGAN, PATIENCE = time.monotonic(), 13.0  # seconds for a check

app = App(help=HELP)


@app.command()
def run(
    config: Config,
    overrides: Overrides = None,
    out: Out = Path("runs"),
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Processes that share the cells")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Run again what has been run")] = False,
) -> None:
    """Run a config into DIR/NAME-HASH, and print its summary. What has been run is not run again; a run that was
    stopped goes on with the cells that are missing.

    Example: python -m experiments run configs/fig3.toml n_repeats=10 --jobs 2
    """
    with errors():
        from experiments import config as configs
        from experiments import runner
        from experiments.cells import say

        words = ["python", "-m", "experiments", "run", str(config), *(overrides or [])]
        experiment = configs.load(config, overrides or [])
        folder, found, failed = runner.run(experiment, out, force=force, command=shlex.join(words), jobs=jobs)
        print((folder / "SUMMARY.md").read_text(encoding="utf-8"))
        if failed:
            cell, why = next(iter(failed.items()))
            raise typer.Exit(fail(f"{folder}: {len(failed)} cells failed; {cell}: {why}", 1))
        say(f"{folder}: {'has been run before (--force runs it again)' if found else 'done'}")


@app.command()
def init(
    study: Annotated[str, typer.Argument(metavar="[STUDY]", help="Which study")] = "quickstart",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A new file; default: the terminal")] = None,
) -> None:
    """Write a config of a study with every key, its default, what is allowed and what it means.

    Example: python -m experiments init fig3 --out mine.toml
    """
    with errors():
        from experiments import config as configs
        from experiments.template import template

        text = template(configs.study_of(study))
        if out is None:
            print(text, end="")
        else:
            configs.write_new(out, text)


@app.command()
def check(config: Config, overrides: Overrides = None, out: Out = Path("runs")) -> None:
    """Check a config; print every setting it resolves to, and how large the run is: sizes, memory, compiling, time.

    Example: python -m experiments check configs/fig3.toml n_repeats=10
    """
    with errors():
        from experiments import config as configs
        from experiments.estimate import estimate

        experiment = configs.load(config, overrides or [])
        print(json.dumps(experiment.resolved(), indent=2), flush=True)
        print(f"\n{estimate(experiment, out, BEGAN + PATIENCE)}")


@app.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Of configs")] = CONFIGS, out: Out = Path("runs")
) -> None:
    """List the configs, their studies, and how far their runs are.

    Example: python -m experiments list
    """
    with errors():
        from experiments import config as configs
        from experiments import runner

        for path in sorted(folder.glob("*.toml")):
            experiment = configs.load(path)
            print(f"{path.stem:<20} {experiment.study:<15} {runner.state(experiment, out)}")


@app.command()
def report(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="CONFIG ...", help="Configs or folders of runs, and settings to change"),
    ],
    out: Out = Path("runs"),
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page that compares; default: DIR/comparison.html")
    ] = None,
) -> None:
    """Write summary, figures and report.html of a finished run anew; of several runs, one page that compares them.

    Example: python -m experiments report configs/fig3.toml n_repeats=10
    """
    with errors():
        from experiments import config as configs
        from experiments import published, runner

        overrides = [word for word in runs if "=" in word and not Path(word).exists()]
        paths = [Path(word) for word in runs if word not in overrides]
        if not paths:
            raise InputError(f"report: got {' '.join(runs)}; allowed: a config or the folder of a run, at least one")
        if len(paths) > 1:
            folders = [path if path.is_dir() else out / configs.load(path, overrides).folder for path in paths]
            print(runner.compare(folders, page or out / "comparison.html"))
            return
        if page is not None:
            raise InputError(f"--page: got {page} with one run; allowed: with several")
        run = paths[0]
        if not run.is_dir():
            done = runner.report(configs.load(run, overrides), out)
        else:
            done = published.renew(run) if published.is_committed(run) else runner.report_folder(run)
        print(done / "SUMMARY.md")


@app.command()
def rerun(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of committed results, or of a finished run")],
    whole: Annotated[bool, typer.Option("--whole", help="Every cell, also where the config names a part")] = False,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Processes that share the cells")] = 1,
    tolerances: Annotated[
        bool, typer.Option("--tolerances", help="End with the tolerances that the differences call for")
    ] = False,
) -> None:
    """Make results again from what their folder records, and compare every value: to 1e-6 with the packages, machine
    and jobs that it records, with the tolerances of the config where one of these is another. Exit status 0: enough
    values are within, and with nothing changed each digit of the summary is the same; 1: not; 2: it cannot be repeated.

    Example: python -m experiments rerun docs/results/specialist
    """
    with errors():
        from experiments import repeat

        found = repeat.repeat(folder, whole=whole, jobs=jobs, tolerances=tolerances)
        print(found.text)
        if not found.same:
            raise typer.Exit(fail(f"{folder}: the second run differs", 1))


@app.command()
def publish(
    config: Config,
    overrides: Overrides = None,
    out: Out = Path("runs"),
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the results; default: docs/results/NAME")
    ] = None,
) -> None:
    """Write a finished run as committed results: summary, figures, config, compact tables, commit, versions, machine.
    Earlier ones are replaced as a whole or not at all.

    Example: python -m experiments publish configs/fig3.toml
    """
    with errors():
        from experiments import config as configs
        from experiments import published

        experiment = configs.load(config, overrides or [])
        print(published.publish(experiment, out, to or published.PLACE / experiment.name, config))


def main(arguments: list[str] | None = None, prog_name: str = "python -m experiments") -> int:
    """Runs a command line; returns the exit status."""
    try:
        typer.main.get_command(app).main(arguments, prog_name=prog_name)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
