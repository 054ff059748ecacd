"""Three classes and more: what ``crowdjax.fit`` answers by every model, on real sets and simulated crowds, with peers.

Linked sets count once: a group's figure is the mean over its sets. Of repeated judgements the first is kept.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import warnings
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pyarrow as pa

import crowdjax
from crowdjax import datasets, metrics, plots
from crowdjax.datasets import MissingData
from crowdjax.simulate_classes import CROWDS, nominal
from experiments.cells import Cell, Size, Tables
from experiments.tables import Report, markdown, names, rows, select

GROUPS = {
    "web": ("web",),
    "music_genre": ("music_genre",),
    "labelme": ("labelme",),
    "fact_eval": ("fact_eval",),
    "adult": ("adult",),
    "cf": ("cf", "cf_amt"),
    "valence": ("valence5", "valence7"),
    "hcb": ("hcb graded",),
    "wsd": ("wsd",),
    "dog": ("dog",),
}
SETS = tuple(name for group in GROUPS.values() for name in group)
ORDERED = ("adult", "valence5", "valence7", "hcb graded")  # whose classes are grades
MODELS = ("majority", "one-coin", "biased-coin", "class-skill", "dawid-skene", "glad", "integrated", "auto")
GRADES = ("graded", "auto")  # with classes="ordinal"
PEERS = {"crowd-kit Dawid-Skene": "DawidSkene", "crowd-kit MACE": "MACE"}
MEASURES = {"accuracy": "Accuracy", "nll": "NLL"}
EPS = 1e-6  # probabilities are cut off at, in NLL


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets, the models and the simulated crowds.

    Attributes:
        sets: real sets of three classes and more; those that are here are used.
        models: of ``crowdjax.fit``, by name.
        grades: models that know the order of classes, for sets whose classes are grades.
        peers: whether crowd-kit's are run too, where it is installed.
        crowds: simulated ones (``crowdjax.simulate_classes.CROWDS``).
        repeats: draws of each crowd.
        seed: draws the crowds.
    """

    sets: tuple[str, ...] = SETS
    models: tuple[str, ...] = MODELS
    grades: tuple[str, ...] = GRADES
    peers: bool = True
    crowds: tuple[str, ...] = tuple(CROWDS)
    repeats: int = 3
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return config.sets


def cells(config: Config) -> list[Cell]:
    here = [("real", name) for name in config.sets if home(name).is_dir()]
    if not here and config.sets:
        raise MissingData(f"none of {', '.join(config.sets)} is in {datasets.folder()}")
    return here + [("simulated", name) for name in config.crowds]


def size(config: Config, kind: str, name: str) -> Size:
    table, _ = _crowds(config, name)[0] if kind == "simulated" else read(name)
    n = {column: table[column].nunique() for column in ("labeler", "instance")}
    return Size(len(table), n["labeler"], n["instance"], len(config.models), None, "fits of crowdjax.fit")


def run_cell(config: Config, kind: str, name: str) -> Tables:
    crowds = _crowds(config, name) if kind == "simulated" else [read(name)]
    found = []
    for r, (table, truth) in enumerate(crowds):
        classes = sorted(set(table["label"]) | set(truth))
        methods = {m: partial(_ours, table, m, classes) for m in config.models}
        if name in ORDERED:
            methods |= {f"{m}, in order": partial(_ours, table, m, classes, "ordinal") for m in config.grades}
        if config.peers and importlib.util.find_spec("crowdkit"):
            methods |= {m: partial(_peer, table, peer, classes) for m, peer in PEERS.items()}
        at = truth.index
        z = np.searchsorted(classes, truth.to_numpy())
        for method, posterior in methods.items():
            p = posterior().reindex(at).to_numpy()
            sure = float(p.max(1).mean())
            values = {"accuracy": [metrics.accuracy(p, z)], "nll": [metrics.nll(p, z, EPS)], "confidence": [sure]}
            found += rows(method, values, start=r, kind=kind, set=name)
    return {"metrics": pa.Table.from_pylist(found)}


def report(config: Config, tables) -> Report:
    found = tables["metrics"]
    everything, sets = names(found, "model"), names(found.filter(pa.compute.equal(found["kind"], "real")), "set")
    methods = [m for m in everything if not m.endswith(", in order")]
    mean = lambda of, m, k: float(np.mean([select(found, model=m, set=s, metric=k).mean() for s in of]))  # noqa: E731
    parts, figures = [], {}
    if sets:
        groups = {g: [s for s in of if s in sets] for g, of in GROUPS.items()}
        groups = {g: of for g, of in groups.items() if of}
        values = {k: np.array([[mean(of, m, k) for of in groups.values()] for m in methods]) for k in MEASURES}
        per_set = np.array([[mean([s], m, "accuracy") for s in sets] for m in methods])
        worst = (per_set - per_set[methods.index("majority")]).min(1) if "majority" in methods else per_set.min(1) * 0
        head = ["method", "accuracy", "NLL", "worst set against majority", *groups]
        body = [
            [m, float(values["accuracy"][i].mean()), float(values["nll"][i].mean()), float(worst[i])]
            + [f"{a:.3f}/{n:.2f}" for a, n in zip(values["accuracy"][i], values["nll"][i], strict=True)]
            for i, m in enumerate(methods)
        ]
        parts.append(f"**Real sets, {len(groups)} groups: accuracy/NLL**\n\n{markdown(head, body)}")
        figures["classes"] = plots.dots(
            values["accuracy"].T, list(groups), methods, title="Sets of K classes", xlabel="accuracy"
        )
        over = lambda s, m: f"{mean([s], m, 'confidence') - mean([s], m, 'accuracy'):+.2f}"  # noqa: E731
        body = [[m, *(over(s, m) for s in sets)] for m in methods]
        text = "**How sure**: the mean probability of the inferred class less the share of right ones"
        parts.append(f"{text}\n\n{markdown(['method', *sets], body)}")
    ordered = [s for s in sets if s in ORDERED]
    if ordered and len(everything) > len(methods):
        cell = lambda m, s: f"{mean([s], m, 'accuracy'):.3f}/{mean([s], m, 'nll'):.2f}"  # noqa: E731
        of = ["majority", "auto", *(m for m in everything if m not in methods)]
        body = [[m, *(cell(m, s) for s in ordered)] for m in of if m in everything]
        parts.append(f"**Classes that are grades: accuracy/NLL**\n\n{markdown(['method', *ordered], body)}")
    if config.crowds:
        cell = lambda m, c: f"{mean([c], m, 'accuracy'):.3f}/{mean([c], m, 'nll'):.2f}"  # noqa: E731
        body = [[m, *(cell(m, c) for c in config.crowds)] for m in methods]
        over = lambda c, m: f"{mean([c], m, 'confidence') - mean([c], m, 'accuracy'):+.2f}"  # noqa: E731
        sure = [[m, *(over(c, m) for c in config.crowds)] for m in methods]
        parts.append(
            f"**Simulated crowds, {config.repeats} draws each: accuracy/NLL**\n\n"
            + markdown(["method", *config.crowds], body)
            + "\n\n**How sure on these**\n\n"
            + markdown(["method", *config.crowds], sure)
        )
    missing = [s for s in config.sets if s not in sets]
    text = (
        "What `crowdjax.fit(table, model)` answers. Of repeated judgements the first is kept; NLL cut off at 1e-6. "
        + (f"Not here, so skipped: {', '.join(missing)}. " if missing else "")
        + "Linked sets count once: cf and cf_amt, valence5 and valence7.\n\n"
        + "\n\n".join(parts)
        + "\n"
    )
    return Report(text, figures)


def _ours(table: pd.DataFrame, model: str, classes: list, kind="nominal") -> pd.DataFrame:
    """P(class) of every instance."""
    found = crowdjax.fit(table, model, classes=kind, order=classes).instances.set_index("instance")
    return pd.DataFrame({c: found[f"p_{c}"] for c in classes})


def _peer(table: pd.DataFrame, name: str, classes: list) -> pd.DataFrame:
    from crowdkit import aggregation

    renamed = table.rename(columns={"labeler": "worker", "instance": "task"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = getattr(aggregation, name)().fit(renamed)
    return fitted.probas_.reindex(columns=classes).fillna(0.0)


def home(name: str) -> Path:
    """The folder of a set."""
    return datasets.folder() / name.split()[0]


def read(name: str) -> tuple[pd.DataFrame, pd.Series]:
    """(labels, the truth of the instances that have labels), all as text."""
    folder, text = home(name), dict(dtype=str, keep_default_na=False)
    if name.endswith("graded"):
        with gzip.open(folder / "labels_all_graded.csv.gz") as file:
            table = pd.read_csv(file, **text).rename(columns={"grade": "label"})
        truth = pd.read_csv(folder / "truth_graded.csv", **text).rename(columns={"grade": "label"})
        table = table[(table["label"] != "-2") & table["instance"].isin(truth["instance"])]
    elif (folder / "labels.parquet").is_file():
        table = pd.read_parquet(folder / "labels.parquet").astype(str)
        truth = pd.read_csv(folder / "truth.csv", **text)
    else:
        table, truth = (pd.read_csv(folder / f"{part}.csv", **text) for part in ("labels", "truth"))
    table = table[["labeler", "instance", "label"]].drop_duplicates(["labeler", "instance"]).reset_index(drop=True)
    truth = truth.drop_duplicates("instance").set_index("instance")["label"]
    truth = truth[truth.index.isin(table["instance"]) & (truth != "")]
    return table, truth


def _crowds(config: Config, name: str) -> list[tuple[pd.DataFrame, pd.Series]]:
    out = []
    for r in range(config.repeats):
        key = jax.random.fold_in(jax.random.key(config.seed), 1000 * list(CROWDS).index(name) + r)
        crowd = nominal(key, **CROWDS[name])
        letters = np.array(list("abcdefghij"))
        table = pd.DataFrame({"labeler": np.asarray(crowd.labeler), "instance": np.asarray(crowd.instance)})
        table["label"] = letters[np.asarray(crowd.label)]
        out.append((table, pd.Series(letters[np.asarray(crowd.truth)])))
    return out
