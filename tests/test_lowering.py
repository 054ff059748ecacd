"""What every kernel asks of a GPU, seen without one: the plain jaxlib lowers a program for CUDA, shapes only.

A scan over all labels, or a table of them that is known beforehand, keeps XLA busy for minutes while it compiles. It
is not seen on a CPU, where blocks are taken one by one. The same kernels run here with all blocks at once, as on a GPU,
and give what they give block by block.
"""

import collections
import dataclasses
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crowdjax import integrated, likelihood, segments
from crowdjax import labels as labels_module
from crowdjax.contextual import PRESETS, prepare_data
from crowdjax.contextual.model import log_density, size_of
from crowdjax.factor import (
    Factors,
    curvature_pass,
    data_pass,
    e_step,
    evidence,
    expected_complete,
    label_log_likelihood,
    majority,
)
from crowdjax.factor.em import bound_curvature
from crowdjax.factor.kernels import discrimination, folded_curvature, folded_pass, tally
from crowdjax.factor.predict import labeler_sums
from crowdjax.integrated.kernels import missing_information
from crowdjax.labels import Labels
from crowdjax.observation import table_pass
from crowdjax.observation import tally as table_tally
from crowdjax.observation.table import evidence as table_evidence
from crowdjax.observation.table import vote_shares
from crowdjax.observation.voted import first_votes, top_classes, vote_counts, voted_pass

W, I, INPUTS = 37, 1000, 300  # labelers, instances, distinct scores
LARGE = {W: 1000, I: 100_000}
CONFIG, CONTEXT = integrated.IntegratedConfig(spread=0.9), PRESETS["theodon"]
TWO = dataclasses.replace(CONFIG, factors=2)
X = np.asarray(CONFIG.nodes)


class Given(NamedTuple):
    """What kernels take; factors of a model of one factor, of three, and of one without bias."""

    labels: Labels
    one: Factors
    three: Factors
    unbiased: Factors
    p: Any
    counts: Any
    parameters: integrated.Parameters
    two: integrated.Parameters
    center: Any
    data: Any
    u: Any
    key: Any
    classes: Labels
    table: Any
    prior: Any
    first: Any


def s_and_gamma(x: Given, f: Factors):
    return f.alpha[x.labels.labeler, 0] * f.beta[x.labels.instance, 0], f.gamma[x.labels.labeler]


# Each kernel, and how many operations it may have.
KERNELS = {
    "data_pass, D = 1": (lambda x: data_pass(x.labels, x.one), dict(scatter=4, gather=4)),
    "data_pass, D = 3": (lambda x: data_pass(x.labels, x.three), dict(scatter=8, gather=8)),
    "data_pass without bias": (lambda x: data_pass(x.labels, x.unbiased), dict(scatter=3, gather=3)),
    "data_pass at p": (lambda x: data_pass(x.labels, x.one, x.p), dict(scatter=4, gather=4)),
    "e_step": (lambda x: e_step(x.labels, x.one), dict(scatter=1, gather=3)),
    "evidence": (lambda x: evidence(x.labels, x.one), dict(scatter=1, gather=3)),
    "gradient of evidence": (
        lambda x: jax.grad(lambda f: evidence(x.labels, f))(x.three),
        dict(scatter=8, gather=8),
    ),
    "expected_complete": (lambda x: expected_complete(x.labels, x.one, x.p), dict(scatter=1, gather=3)),
    "curvature_pass": (lambda x: curvature_pass(x.labels, x.three), dict(scatter=7, gather=7)),
    "folded_pass": (lambda x: folded_pass(x.labels, x.counts, x.one), dict(scatter=2, gather=2)),
    "folded_curvature": (lambda x: folded_curvature(x.counts, x.one), {}),
    "tally": (lambda x: tally(x.labels), dict(scatter=1)),
    "tally at p": (lambda x: tally(x.labels, x.p), dict(scatter=1, gather=1)),
    "majority": (lambda x: majority(x.labels), dict(scatter=2)),
    "discrimination": (lambda x: discrimination(x.labels, x.three), dict(gather=6)),
    "labeler_sums": (lambda x: labeler_sums(x.labels, x.three, x.p), dict(scatter=4, gather=8)),
    "bound_curvature": (lambda x: bound_curvature(x.labels, x.one, x.p), dict(scatter=3, gather=5)),
    "label_log_likelihood": (lambda x: label_log_likelihood(x.labels, x.one, x.p), dict(gather=4)),
    "likelihood.evidence and gradient": (
        lambda x: jax.value_and_grad(lambda f: likelihood.evidence(x.labels, *s_and_gamma(x, f), 0.0))(x.one),
        dict(scatter=5, gather=5),
    ),
    "grid_pass": (lambda x: integrated.grid_pass(x.labels, x.parameters, CONFIG), dict(scatter=2, gather=2)),
    "grid_pass, two factors": (lambda x: integrated.grid_pass(x.labels, x.two, TWO), dict(scatter=2, gather=2)),
    "grid_pass with features": (
        lambda x: integrated.grid_pass(x.labels, x.parameters, CONFIG, center=x.center),
        dict(scatter=2, gather=2),
    ),
    "grid_pass at votes": (
        lambda x: integrated.grid_pass(x.labels, x.parameters, CONFIG, votes=x.p),
        dict(scatter=1, gather=1),
    ),
    "expectations": (
        lambda x: integrated.expectations(x.labels, x.parameters, CONFIG, X[:, None]),
        dict(scatter=1, gather=1),
    ),
    "positives": (
        lambda x: integrated.positives(x.labels, x.parameters, CONFIG, jnp.zeros(3)),
        dict(scatter=1, gather=1),
    ),
    "axis_information": (
        lambda x: integrated.axis_information(x.labels, x.parameters, CONFIG),
        dict(scatter=1, gather=2),
    ),
    "missing_information": (
        lambda x: missing_information(x.labels, x.parameters, CONFIG),
        dict(scatter=2, gather=8),
    ),
    "residuals": (lambda x: integrated.residuals(x.labels, x.parameters, CONFIG), dict(scatter=9, gather=5)),
    "replicate": (
        lambda x: integrated.replicate(x.key, x.labels, x.parameters, CONFIG),
        # a cumulative sum over the points of x
        dict(scatter=1, gather=3, reduce_window=1),
    ),
    "contextual density": (lambda x: log_density(CONTEXT, x.data, x.u), dict(scatter=2, gather=12)),
    "contextual gradient": (
        lambda x: jax.value_and_grad(lambda u: log_density(CONTEXT, x.data, u))(x.u),
        dict(scatter=11, gather=26),
    ),
}


def voted(x: Given):
    return voted_pass(x.classes, x.table[:, 0, 0], x.table[:, 0, 1], jax.nn.log_softmax(x.prior[0]), x.first)


N_CLASSES, EYE = 5, np.eye(5)
KERNELS |= {
    "table_pass": (lambda x: table_pass(x.classes, x.table, x.prior[0], EYE), dict(scatter=2, gather=2)),
    "table_pass, a prior of each": (lambda x: table_pass(x.classes, x.table, x.prior, EYE), dict(scatter=2, gather=2)),
    "gradient of the table's evidence": (
        lambda x: jax.grad(table_evidence, (1, 2))(x.classes, x.table, x.prior, EYE),
        dict(scatter=2, gather=2),
    ),
    "tally of a table": (lambda x: table_tally(x.classes, x.prior), dict(scatter=1, gather=1)),
    "vote_shares": (lambda x: vote_shares(x.classes), dict(scatter=1, gather=1)),
    # places of each instance: a cumulative sum over the instances; attempts: a loop whose turns are of all labels
    "first_votes": (lambda x: first_votes(x.classes), dict(scatter=2, gather=5, reduce_window=1, **{"while": 1})),
    "voted_pass": (lambda x: voted(x), dict(scatter=8, gather=10)),
    # the classes by their prior, the likeliest one after the other, those without a vote until none moves
    "top_classes": (
        lambda x: top_classes(x.classes, voted(x), x.prior[0], x.first),
        dict(scatter=9, gather=12, sort=2, **{"while": 2}),
    ),
    "vote_counts": (lambda x: vote_counts(x.classes, x.first), dict(scatter=4, gather=3)),
}
COUNTED = ("scatter", "gather", "reduce_window", "while", "sort", "custom_call")


@pytest.fixture
def given(monkeypatch) -> Given:
    """A small crowd in blocks."""
    monkeypatch.setattr(labels_module, "FLAT_BELOW", 64)
    monkeypatch.setattr(labels_module, "LABELS_PER_BLOCK", 640)
    rng = np.random.default_rng(0)
    n = 10 * I
    popular = 1 / np.arange(1, W + 1)
    labeler = rng.choice(W, n, p=popular / popular.sum())
    instance = np.repeat(np.arange(I), 10)
    labels = Labels.from_arrays(labeler, instance, rng.integers(0, 2, n), n_labelers=W, n_instances=I)
    assert labels.n_blocks > 4
    sizes = dict(n_labelers=W, n_instances=I, n_values=N_CLASSES)
    classes = Labels.from_arrays(labeler, instance, rng.integers(0, N_CLASSES, n), **sizes)

    def factors(d, bias=True):
        alpha, beta = rng.normal(1, 1, (W, d)), rng.normal(1, 1, (I, d))
        gamma = jnp.asarray(rng.normal(size=W)) if bias else None
        return Factors(jnp.asarray(alpha), jnp.asarray(beta), gamma, jnp.zeros(I))

    def at_random(config):
        parameters = integrated.start(config, W)
        return parameters._replace(labelers=jnp.asarray(rng.normal(0.5, 1, parameters.labelers.shape)))

    data = prepare_data(CONTEXT, labels, rng.choice(np.linspace(-1, 1, INPUTS), (I, 1)))
    return Given(
        labels, factors(1), factors(3), factors(1, bias=False), jnp.asarray(rng.uniform(0.1, 0.9, I)), tally(labels),
        at_random(CONFIG), at_random(TWO), jnp.asarray(rng.normal(1, 0.1, I)), data,
        0.3 * jnp.asarray(rng.normal(size=size_of(CONTEXT, data))), jax.random.key(0),
        classes, jnp.asarray(rng.normal(size=(W, N_CLASSES, N_CLASSES))), jnp.asarray(rng.normal(size=(I, N_CLASSES))),
        first_votes(classes),
    )  # fmt: skip


@pytest.fixture
def gpu(monkeypatch):
    """What is traced is traced for a GPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def shapes(small: Given) -> Given:
    """The shapes of a crowd of a million labels, in blocks as they are then."""
    per, labels = 1024, small.labels
    n_blocks = -(-LARGE[I] // per)
    sizes = LARGE | {len(labels.label): 10 * per * n_blocks, labels.n_blocks * labels.block_instances: per * n_blocks}

    def enlarged(v):
        if jax.dtypes.issubdtype(v.dtype, jax.dtypes.prng_key):
            return v
        return jax.ShapeDtypeStruct(tuple(sizes.get(d, d) for d in v.shape), jax.dtypes.canonicalize_dtype(v.dtype))

    large = dict(n_labelers=LARGE[W], n_instances=LARGE[I], n_blocks=n_blocks, block_instances=per)
    grown = jax.tree.map(enlarged, small)
    of_labels, of_classes, of_data = (
        dataclasses.replace(v, **large) for v in (grown.labels, grown.classes, grown.data.labels)
    )
    data = dataclasses.replace(grown.data, labels=of_data)
    u = jax.ShapeDtypeStruct((size_of(CONTEXT, data),), grown.u.dtype)
    return grown._replace(labels=of_labels, classes=of_classes, data=data, u=u)


def operations(kernel, x) -> collections.Counter:
    """How many of each the program for CUDA has, and the bytes of its longest table of constants."""
    text = jax.jit(kernel).trace(x).lower(lowering_platforms=("cuda",)).as_text()
    found = collections.Counter(re.findall(r"(?<!#)(?:stablehlo|chlo|mhlo)\.(\w+)", text))
    found["constant bytes"] = max((len(v) // 2 for v in re.findall(r'dense<"0x(\w*)">', text)), default=0)
    return found


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_asks_a_gpu_for_no_scan_over_the_labels(given, gpu, name):
    kernel, most = KERNELS[name]
    found = operations(kernel, shapes(given))
    assert {k: found[k] for k in COUNTED if found[k] > most.get(k, 0)} == {}
    assert found["constant bytes"] < 100_000


def test_the_count_finds_a_scan_over_the_labels(given, gpu):
    """As there was one: the number of each label's block, repeated for all its labels."""

    def scan(x):
        part = jnp.repeat(jnp.arange(10), x.labels.label.shape[0] // 10, total_repeat_length=x.labels.label.shape[0])
        return part + x.labels.labeler

    assert operations(scan, shapes(given))["reduce_window"] > 0
    table = np.random.default_rng(0).random(20_000)
    assert operations(lambda x: x.labels.labeler.sum() + jnp.asarray(table), shapes(given))["constant bytes"] == 80_000


@pytest.mark.long
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_gives_the_same_with_all_blocks_at_once(x64, given, monkeypatch, name):
    kernel, _ = KERNELS[name]
    wide = jax.tree.map(lambda v: np.asarray(v, np.float64) if v.dtype == np.float32 else v, given)
    block_by_block = jax.jit(lambda x: kernel(x))(wide)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert segments.n_tables(len(given.labels.label), W) > 8  # sums by labeler do go into several tables
    at_once = jax.jit(lambda x: kernel(x))(wide)

    def same(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * max(1.0, float(np.abs(a).max(initial=0))))

    jax.tree.map(same, block_by_block, at_once)
