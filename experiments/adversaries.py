"""Adversaries: labelers who answer the opposite of what they see. At which share of them each model's answers flip, who
warns, and what gold mends, over the size of the crowd and how able labelers are.

Crowds are those of ``experiments.troubles`` (labelers' own and common confusions, instances that differ): none is a
crowd of a model that is fitted. Labels alone cannot tell a crowd with a share s of adversaries from one with 1 - s
whose classes have changed names, so that beyond one half everything that learns from labels must flip.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pyarrow as pa

import crowdjax
from crowdjax import plots
from experiments import peers
from experiments.cells import Cell, Size, Tables, say
from experiments.peers import Crowd, Said
from experiments.stress import BASELINE, TOLERATED, Method, kind_of, score
from experiments.tables import Report, markdown, names, rows, select, standard_error
from experiments.troubles import Trouble, draw

SHOWN = ("vote", "dawid-skene", "glad", "auto", "iBCC", "dawid-skene, 50 gold", "auto, 50 gold")  # in the figure
FLIPPED = 0.5  # accuracy below which a crowd's inferred classes are inverted


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of crowd.

    Attributes:
        n_labelers: its size.
        ability: mean over labelers of the log odds of being right, adversaries of being wrong.
    """

    n_labelers: int = 30
    ability: float = 1.3


@dataclasses.dataclass(frozen=True)
class Config:
    """Crowds and methods.

    Attributes:
        kinds: kinds of crowds by name.
        shares: of the labelers who are adversaries.
        n_instances: of every crowd.
        per_instance: labels of each.
        methods: crowdjax's models and their peers, crowd-kit's where it is installed.
        with_gold: models that are given gold labels too.
        n_gold: how many, of instances at random.
        n_crowds: crowds of each kind and share.
        restarts: of EBCC and of crowd-kit's MACE.
        seed: draws crowds and starts.
    """

    kinds: dict[str, Kind] = dataclasses.field(
        default_factory=lambda: {
            "10 labelers": Kind(10),
            "30 labelers": Kind(30),
            "90 labelers": Kind(90),
            "30, less able": Kind(30, 0.7),
        }
    )
    shares: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    n_instances: int = 200
    per_instance: int = 5
    methods: tuple[Method, ...] = ("vote", "one-coin", "dawid-skene", "glad", "factor", "auto", "iBCC", "EBCC")
    with_gold: tuple[Method, ...] = ("dawid-skene", "auto")
    n_gold: tuple[int, ...] = (10, 50)
    n_crowds: int = 6
    restarts: int = 2
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [(name,) for name in config.kinds]


def size(config: Config, name: str) -> Size:
    n_labels = config.per_instance * config.n_instances
    n_fits = len(config.shares) * config.n_crowds * len(_methods(config))
    return Size(n_labels, config.kinds[name].n_labelers, config.n_instances, n_fits, None, "fits")


def _methods(config: Config) -> dict[str, tuple[str, int]]:
    """Methods and how many gold labels they have, by name."""
    found = {m: (m, 0) for m in peers.here(config.methods)}
    return found | {f"{m}, {n} gold": (m, n) for m in config.with_gold for n in config.n_gold}


def run_cell(config: Config, name: str) -> Tables:
    found, warned = [], []
    drawn = {share: crowds(config, name, share) for share in config.shares}
    for title, (method, n_gold) in _methods(config).items():
        began = time.perf_counter()
        for share, of in drawn.items():
            for r, crowd in enumerate(of):
                known = order_of_gold(config, name, r)[:n_gold]
                if n_gold:
                    said = with_gold(crowd, method, known)
                else:
                    said = peers.answer(crowd, method, config.restarts, config.seed)
                judged = np.delete(np.arange(len(crowd.truth)), known)
                values = score(said.posterior[judged], crowd.truth[judged])
                values["flipped"] = [float(values["accuracy"][0] < FLIPPED)]
                found += rows(title, values, start=r, kind=name, share=share)
                for text in dict.fromkeys(map(kind_of, said.warnings)):
                    warned.append({"model": title, "kind": name, "share": share, "repeat": r, "warning": text})
        seconds, n = time.perf_counter() - began, len(drawn) * config.n_crowds
        say(f"adversaries, {name}: {title}: {seconds:.1f} s", event="fitted", fits=n, seconds=seconds)
    of = {
        "model": pa.string(),
        "kind": pa.string(),
        "share": pa.float64(),
        "repeat": pa.int64(),
        "warning": pa.string(),
    }
    return {"metrics": pa.Table.from_pylist(found), "warnings": pa.Table.from_pylist(warned, pa.schema(of))}


def crowds(config: Config, name: str, share: float) -> list[Crowd]:
    """Draw the crowds of a kind; each has a seed of its own, whatever others there are."""
    kind = config.kinds[name]
    trouble = Trouble(
        n_labelers=kind.n_labelers,
        n_instances=config.n_instances,
        per_instance=config.per_instance,
        ability=(kind.ability, 0.5),
        adversaries=share,
    )
    seed = [config.seed, *name.encode()]
    return [draw(np.random.default_rng([*seed, r]), trouble) for r in range(config.n_crowds)]


def order_of_gold(config: Config, name: str, repeat: int) -> np.ndarray:
    """Draw an order in which instances get gold: fewer are the first of more."""
    return np.random.default_rng([config.seed, *name.encode(), repeat, 1]).permutation(config.n_instances)


def with_gold(crowd: Crowd, model: str, known: np.ndarray) -> Said:
    """Answer with a model that is given the truth of some instances."""
    gold = {"instance": known, "label": crowd.truth[known]}
    result = crowdjax.fit(crowd.table, model, gold=gold, order=[0, 1])
    p = np.full(len(crowd.truth), 0.5)
    p[np.asarray(result.instances["instance"], int)] = np.asarray(result.instances["probability"], float)
    return Said(np.stack([1 - p, p], 1), tuple(result.warnings))


def report(config: Config, tables) -> Report:
    found, warned = tables["metrics"], tables["warnings"]
    methods, kinds = names(found, "model"), names(found, "kind")
    get = lambda m, k, kind, share: select(found, model=m, metric=k, kind=kind, share=share)  # noqa: E731
    both = lambda m, *at: "/".join(f"{get(m, k, *at).mean():.3f}" for k in ("accuracy", "nll"))  # noqa: E731
    parts = [
        f"{config.n_crowds} crowds of each kind and share, {config.n_instances} instances, {config.per_instance} "
        "labels each. Adversaries are as able as others and say the opposite. With gold, so many instances at random "
        "are known, and accuracy is of the others."
    ]
    for kind in kinds:
        body = [[f"{share:.0%}", *(both(m, kind, share) for m in methods)] for share in config.shares]
        parts.append(f"**{kind}: accuracy/NLL by the share of adversaries**\n\n" + markdown(["share", *methods], body))
        body = [[f"{s:.0%}", *(f"{get(m, 'flipped', kind, s).mean():.0%}" for m in methods)] for s in config.shares]
        parts.append(
            f"**{kind}: crowds whose answers flip** (accuracy below ½)\n\n" + markdown(["share", *methods], body)
        )
    parts.append(_flips(config, get, methods, kinds))
    parts.append(_warnings(config, warned, get, methods, kinds))
    shown = [m for m in methods if m in SHOWN]
    panels = {
        kind: {
            m: (np.array([get(m, "accuracy", kind, s).mean() for s in config.shares]),
                np.array([standard_error(get(m, "accuracy", kind, s)) for s in config.shares]))
            for m in shown
        }
        for kind in kinds
    }  # fmt: skip
    xlabel = "share of adversaries"
    figure = plots.curves(np.array(config.shares), panels, xlabel=xlabel, ylabel="accuracy")
    return Report("\n\n".join(parts) + "\n", {"adversaries": figure})


def _flips(config: Config, get, methods, kinds) -> str:
    """The smallest share at which at least half of the crowds flip, and at which answers are worse than the vote's."""

    def first(holds) -> str:
        return next((f"{share:.0%}" for share in config.shares if holds(share)), "never")

    def lines(kind):
        own = lambda m, s: get(m, "accuracy", kind, s)  # noqa: E731
        vote = lambda m, s: get(BASELINE, "accuracy", kind, s)  # noqa: E731
        flips = [first(lambda s, m=m: get(m, "flipped", kind, s).mean() >= 0.5) for m in methods]
        below = [
            first(lambda s, m=m: (own(m, s) - vote(m, s)).mean() < -TOLERATED) if BASELINE in methods else ""
            for m in methods
        ]
        return [[f"{kind}: half of the crowds flip", *flips], [f"{kind}: {TOLERATED} below the vote", *below]]

    body = [line for kind in kinds for line in lines(kind)]
    return "**From which share on**\n\n" + markdown(["", *methods], body)


def _warnings(config: Config, warned: pa.Table, get, methods, kinds) -> str:
    """Who warned of what: the share of the crowds of all kinds, by the share of adversaries."""
    counts: dict[tuple[str, str], dict[float, int]] = {}
    for row in warned.to_pylist():
        of = counts.setdefault((row["model"], row["warning"]), {})
        of[row["share"]] = of.get(row["share"], 0) + 1
    n = {m: sum(len(get(m, "accuracy", kind, config.shares[0])) for kind in kinds) for m in methods}
    body = [
        [m, text.replace("|", "\\|"), *(f"{of.get(s, 0) / n[m]:.0%}" for s in config.shares)]
        for (m, text), of in sorted(counts.items(), key=lambda pair: methods.index(pair[0][0]))
    ]
    silent = [m for m in methods if m not in {m for m, _ in counts}]
    text = "**Who warns**: the share of the crowds, by the share of adversaries. Of " + (", ".join(silent) or "none")
    head = ["method", "warning", *(f"{s:.0%}" for s in config.shares)]
    return text + " there is no warning.\n\n" + (markdown(head, body) if body else "")
