"""Uses an installed crowdjax as its users do, and says in JSON what was measured; an exception where something fails.

    python -I tests/smoke.py core|extras FOLDER

Standard library and crowdjax alone, for any environment: no checkout is imported. FOLDER holds README.md and receives
what the commands write. ``core`` needs no extra, ``extras`` needs ``crowdjax[experiments]``.
"""

from __future__ import annotations

import csv
import doctest
import json
import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

ACCURACY = 0.9, 0.8, 0.7, 0.85, 0.2  # of the labelers of a crowd; the last one contradicts
N = 400  # instances


def crowd():
    """(labeler, instance, label) of every labeler and instance, the truth, and a score that goes up with its class."""
    import numpy as np

    rng = np.random.default_rng(7)
    score = rng.random(N)
    truth = (rng.random(N) < score).astype(int)
    right = rng.random((len(ACCURACY), N)) < np.array(ACCURACY)[:, None]
    labels = np.where(right, truth, 1 - truth)
    labeler, instance = (index.ravel() for index in np.indices(labels.shape))
    return (labeler, instance, labels.ravel()), truth, score


def core(folder: Path) -> dict[str, float]:
    """A fit on arrays, with the core's packages alone."""
    import jax

    import crowdjax
    from crowdjax import factor
    from crowdjax.labels import Labels

    assert Path(crowdjax.__file__).is_relative_to(sys.prefix), crowdjax.__file__
    links = re.findall(r"\]\((?!#)([^)\s]+)\)", metadata("crowdjax")["Description"] or "")
    assert links and all(link.startswith("https://") for link in links), "links of README.md that an index page breaks"
    triples, truth, _ = crowd()
    labels = Labels.from_arrays(*triples)
    fit = factor.fit_jit(labels, factor.build(factor.PRESETS["dawid-skene"], labels), jax.random.key(0))
    accuracy = float(((fit.posterior > 0.5) == truth).mean())
    assert accuracy > max(ACCURACY), accuracy
    return {"accuracy": accuracy}


def extras(folder: Path) -> dict[str, float]:
    """README.md's first example, a fit and a prevalence by commands, and a study."""
    found = {"doctests": _first_example((folder / "README.md").read_text(encoding="utf-8"))}
    (labeler, instance, label), truth, score = crowd()
    _write(folder / "labels.csv", ["labeler", "instance", "label"], zip(labeler, instance, label, strict=True))
    _write(folder / "scores.csv", ["instance", "score"], enumerate(score))
    _run(folder, "crowdjax", "fit", "labels.csv", "--report", "--out", "answers")
    _run(folder, "crowdjax", "context", "labels.csv", "--scores", "scores.csv", "--out", "prevalence")
    answers = zip(*_columns(folder / "answers" / "instances.parquet", "instance", "label"), strict=True)
    found["accuracy"] = sum(int(truth[int(j)] == z) for j, z in answers) / N
    assert found["accuracy"] > max(ACCURACY), found
    prevalence = json.loads((folder / "prevalence" / "prevalence.json").read_text(encoding="utf-8"))
    found |= {name: prevalence[name] for name in ("mean", "lower", "upper")}
    assert found["lower"] < truth.mean() < found["upper"], found
    study = ("crowdjax.experiments", "run", "specialist", "n_labelers=4", "n_instances=40", "n_repeats=2")
    _run(folder, *study, "--out", "runs")
    (run,) = (folder / "runs").iterdir()
    assert (run / "environment.json").is_file() and (run / "report.html").is_file()
    return found


def _first_example(text: str) -> int:
    """Runs README.md's first example; returns how many statements it has."""
    example = re.search(r"```python\n(>>> .*?)```", text, re.DOTALL)[1]
    test = doctest.DocTestParser().get_doctest(example, {}, "README.md", "README.md", 0)
    result = doctest.DocTestRunner().run(test)
    assert result.attempted > 0 == result.failed, result
    return result.attempted


def _run(folder: Path, module: str, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{module} {' '.join(words)}: exit status {done.returncode}\n{done.stderr}"


def _write(path: Path, names: list[str], rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


def _columns(path: Path, *names: str) -> list[list]:
    import pyarrow.parquet as pq

    return [pq.read_table(path)[name].to_pylist() for name in names]


if __name__ == "__main__":
    print(json.dumps({"core": core, "extras": extras}[sys.argv[1]](Path(sys.argv[2]))))
