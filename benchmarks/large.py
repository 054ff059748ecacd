"""Fits of the default models from 1e5 labels on, on all cores: does the time of a step grow as the labels do?

    python -m benchmarks large --sizes 1e5,1e6,1e7 --out benchmarks/results/cpu-large

Crowds are those of ``simulate.power_law``, with ten labels an instance, a labeler for every thousand labels, and their
truth known. Every fit runs once before it is timed, so that nothing is compiled while the clock runs. It starts from
labels on the host and ends with answers there, so laying them out for the devices counts. CPU counts all threads.
``slope`` is that of log(time of a step) over log(labels): 1 where a step of ten times the labels takes ten times as
long. ``auto`` is timed as a whole, intervals of labelers included, and so is its slope.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.report import slope
from benchmarks.timing import Row, power_law
from crowdjax import integrated, parallel, simulate, spread
from crowdjax.factor import PRESETS, Solver, build
from crowdjax.host import two
from crowdjax.labels import Labels
from crowdjax.observation.integrated_factors import IntegratedFactor, IntegratedGlad

SHORT = 1_000_000  # labels up to which a fit is timed several times; a longer one is timed once
REPEATS = 5, 1


class Found(NamedTuple):
    """P(z_j = 1) of every instance, and passes over the labels; None where they are not most of what is timed."""

    probability: np.ndarray
    steps: int | None


class Took(NamedTuple):
    """Seconds of the clock and of all threads."""

    clock: float
    cpu: float


def run(sizes: list[int]) -> Iterator[Row]:
    each: dict[str, list[tuple[int, float, float]]] = {}
    for n in sizes:
        labels, truth = power_law(n), simulate.power_law(0, n).truth > 0
        for name, fit in MODELS.items():
            found, took = timed(partial(fit, labels), REPEATS[n > SHORT])
            steps, of = (1, "a label") if found.steps is None else (found.steps, "a label and step")
            each.setdefault(name, []).append((n, took.clock / steps, took.cpu / steps))
            p = np.clip(np.where(truth, found.probability, 1 - found.probability), 1e-7, 1)
            yield Row("large", name, n, took.clock, "s")
            yield Row("large", name, n, 1e9 * took.cpu / steps / n, f"ns of CPU {of}")
            if found.steps is not None:
                yield Row("large", name, n, found.steps, "steps")
            yield Row("large", name, n, float(((found.probability > 0.5) == truth).mean()), "accuracy")
            yield Row("large", name, n, float(-np.log(p).mean()), "NLL")
    for name, of in each.items():
        if len(of) > 1:
            n, clock, cpu = zip(*of, strict=True)
            yield Row("large", name, 0, slope(n, clock), "slope, clock")
            yield Row("large", name, 0, slope(n, cpu), "slope, CPU")


def timed(fit: Callable[[], Found], repeats: int) -> tuple[Found, Took]:
    """What a fit finds, and the medians of what it takes; once before, to compile."""
    fit()
    took = []
    for _ in range(repeats):
        clock, cpu = time.perf_counter(), time.process_time()
        found = fit()
        took.append((time.perf_counter() - clock, time.process_time() - cpu))
    return found, Took(*np.median(took, axis=0).tolist())


def by_observation(model: IntegratedFactor, labels: Labels) -> Found:
    """A factor model of any number of classes with the instances integrated out."""
    found = spread.fit(labels, model, devices=jax.device_count())
    return Found(np.asarray(found.posterior)[:, 1], int(found.n_steps))


def by_integrated(labels: Labels) -> Found:
    """The integrated model of two classes: fit, boundary and probabilities."""
    config, boundary, *_ = integrated.plan(labels)
    found = parallel.fit_integrated(labels, config, devices=jax.device_count())
    placed = integrated.place(boundary, found.parameters.labelers, found.counts)
    answers = integrated.of_instances(labels, found.parameters, config, placed)
    return Found(np.asarray(answers.probability), int(found.n_steps))


def by_auto(labels: Labels) -> Found:
    """What ``crowdjax.fit(table, "auto")`` does between reading and writing, labelers' intervals included."""
    n = jax.device_count()
    found = integrated.answer(labels, fit=partial(parallel.fit_integrated, devices=n), room=n == 1)
    return Found(np.asarray(found.instances.probability), None)


def by_jax(labels: Labels) -> Found:
    """Dawid and Skene's model as a program of JAX."""
    model = build(PRESETS["dawid-skene"], labels)
    found = parallel.fit(labels, model, jax.random.key(0), Solver(), devices=jax.device_count())
    return Found(np.asarray(found.posterior), int(found.n_steps))


def by_host(labels: Labels) -> Found:
    """Dawid and Skene's model on the host, as ``crowdjax.fit`` takes it up to 1e7 labels."""
    found = two.fit(labels, PRESETS["dawid-skene"], Solver()).fit
    return Found(found.posterior, int(found.n_steps))


MODELS: dict[str, Callable[[Labels], Found]] = {
    "dawid-skene, host": by_host,
    "dawid-skene, JAX": by_jax,
    "glad, integrated out": partial(by_observation, IntegratedGlad()),
    "factor D=1, integrated out": partial(by_observation, IntegratedFactor()),
    "integrated": by_integrated,
    "auto": by_auto,
}
