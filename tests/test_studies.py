"""The studies of features, detectors, tricky instances and specialists, in small: generators and measures."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from crowdjax import integrated, simulate
from crowdjax.integrated import IntegratedConfig
from experiments import detector, fig3, interactions
from experiments.config import preset
from experiments.fitting import Draws
from experiments.integrating import fit_integrated
from experiments.tables import names, select

# Figure 3


def test_a_repeats_crowd_does_not_depend_on_how_many_repeats_there_are():
    few, many = (fig3._crowds(0, jnp.tile(jnp.array([4, 8]), n), n, 8, 10, 0.4) for n in (2, 5))
    for a, b in zip(few[:3], many[:3], strict=True):
        np.testing.assert_array_equal(a, b[:4])
    assert not (np.asarray(few.label[0]) == np.asarray(few.label[2])).all()  # the next repeat is another crowd


def test_marginal_priors_are_those_of_the_generators_factors():
    """α over many crowds: mean 1, variance ½; the standard error of a variance is √2 times it over √n."""
    crowds = jax.vmap(lambda key: simulate.section4(key, 2, 2))(jax.random.split(jax.random.key(0), 4000))
    first = np.asarray(crowds.factors.alpha[:, 0, 0], float)
    assert first.mean() == pytest.approx(1, abs=4 * fig3.MARGINAL / 4000**0.5)
    kurtosis = ((first - first.mean()) ** 4).mean() / first.var() ** 2
    assert first.var() == pytest.approx(fig3.MARGINAL**2, abs=4 * first.var() * ((kurtosis - 1) / 4000) ** 0.5)


# The integrated model on many draws


def test_chances_of_the_integrated_model_are_its_posteriors_expectations():
    """Against a sum over the points in NumPy, at the parameters that the fit ends at."""
    rng, config = np.random.default_rng(0), IntegratedConfig(spread=0.9)
    grid = simulate.grid(5, 12)
    label = rng.integers(0, 2, (2, 60)).astype(np.int8)
    weight = (rng.random((2, 60)) < 0.8).astype(np.float32)
    found = fit_integrated(grid, Draws(weight, label), config)
    for r in range(2):
        drawn = dataclasses.replace(grid, label=jnp.asarray(label[r])).with_weight(jnp.asarray(weight[r]))
        parameters = jax.tree.map(lambda v: np.asarray(v, float), integrated.fit_jit(drawn, config).parameters)
        alpha, gamma = parameters.labelers.T
        x, rho = config.nodes, float(parameters.spread)
        log_class = -0.5 * ((x[:, None] - np.array([-1, 1])) / rho) ** 2  # [G, 2], up to a constant
        eta = alpha * x[:, None] + gamma  # [G, W]
        sign, on = 2.0 * label[r].reshape(12, 5) - 1, weight[r].reshape(12, 5)
        log_label = (on[:, None] * np.log(expit(sign[:, None] * eta))).sum(2)  # [I, G]
        q = np.exp(log_label[:, :, None] + log_class)
        q /= q.sum((1, 2), keepdims=True)
        flipped = -alpha * x[:, None] + gamma
        one = np.einsum("jg,gi->ij", q[..., 1], expit(eta)) + np.einsum("jg,gi->ij", q[..., 0], expit(flipped))
        zero = np.einsum("jg,gi->ij", q[..., 0], expit(-eta)) + np.einsum("jg,gi->ij", q[..., 1], expit(-flipped))
        np.testing.assert_allclose(found.posterior[r], q[..., 1].sum(1), atol=2e-4)
        np.testing.assert_allclose(found.correctness[r], np.stack([one, zero]), atol=2e-4)
        np.testing.assert_allclose(found.yes[r], np.einsum("jgz,gi->ij", q, expit(eta)), atol=2e-4)


# Detectors


@pytest.mark.parametrize("kind", detector.KINDS)
def test_a_detector_has_the_correlation_it_is_said_to_have_and_labels_their_chances(kind):
    n = 20_000
    drawn = detector.crowd(0, kind, 0, n_labelers=5, n_instances=n)
    for r in (0.0, 0.8, 1.0):
        error = 4 * (1 - r**2) / n**0.5 + 1e-12
        assert np.corrcoef(drawn.detector(r), drawn.measured)[0, 1] == pytest.approx(r, abs=error)
    right = drawn.label == drawn.truth[:, None]
    assert right.mean() == pytest.approx(drawn.right.mean(), abs=4 * 0.5 / right.size**0.5)
    assert drawn.truth.mean() == pytest.approx(detector.POSITIVES, abs=4 * 0.48 / n**0.5)


def test_two_experts_agree_on_four_fifths_and_no_reading_of_the_image_agrees_with_one_on_more_than_86_percent():
    """Two normals of correlation ρ agree in sign with probability ½ + asin(ρ)/π; at the cut of 36 % within .02."""
    n, shared = 200_000, np.sin(np.pi * 0.3)
    assert 0.5 + np.arcsin(shared) / np.pi == pytest.approx(detector.AGREEMENT)
    drawn = detector.crowd(0, "experts", 0, n_labelers=1, n_instances=n)
    best = ((drawn.measured > detector.CUT / shared**0.5) == drawn.truth).mean()
    assert best == pytest.approx(0.5 + np.arcsin(shared**0.5) / np.pi, abs=0.02)
    other = np.sqrt(shared) * drawn.measured + np.sqrt(1 - shared) * np.random.default_rng(1).standard_normal(n)
    assert ((other > detector.CUT) == drawn.truth).mean() == pytest.approx(detector.AGREEMENT, abs=0.02)


def test_the_study_of_detectors_has_a_row_of_every_model_and_detector_and_both_panels_of_figure_4():
    told = preset("factor", "instance", deviation=0.0, features=1.0)
    config = detector.Config(
        kinds=("boundaries, smile",),
        n_labelers=6,
        n_instances=30,
        n_draws=2,
        n_crowds=2,
        correlations=(0.0, 0.8),
        models={"majority vote": preset("majority"), "1 factor": told},
        baseline="majority vote",
    )
    tables = detector.run_cell(config, "boundaries, smile")
    metrics = tables["metrics"]
    for over in ("draws", "crowds"):
        for model, r in (("majority vote", None), ("integrated", None), ("1 factor", 0.0), ("1 factor", 0.8)):
            where = {} if r is None else {"detector": r}
            assert len(select(metrics, model=model, metric="nll", over=over, **where)) == 2
    assert tables["factor"].num_rows == 30 and tables["weights"].num_rows == 8
    report = detector.report(config, tables)
    assert set(report.figures) == {"detector", "detector_factor"} and "r = 0.8" in report.text


# Tricky instances and specialists


def test_on_tricky_instances_the_able_are_worse_and_specialists_are_better_on_their_own():
    misled, overthought = (interactions.crowd(0, kind, 0, 400, 20) for kind in ("misled", "overthought"))
    for drawn in (misled, overthought):
        plain = drawn.right[~drawn.special].mean(0)
        assert np.corrcoef(drawn.differ, plain)[0, 1] > 0.9
    right = misled.right[misled.special].mean(0)
    middle, experts = abs(misled.differ - 0.4) < 0.1, misled.differ > 0.9
    assert right[middle].max() < 0.3 < right[misled.differ < 0.02].min() < 0.51 < right[experts].min()
    right = overthought.right[overthought.special].mean(0)
    assert (np.diff(right[np.argsort(overthought.differ)]) <= 0).all()
    specialists = interactions.crowd(0, "specialists", 0, 400, 400)
    known = (specialists.right[specialists.special] == interactions.KNOWN).mean(0)
    best = known - (specialists.right[~specialists.special] == interactions.KNOWN).mean(0)
    np.testing.assert_allclose(best, specialists.differ, atol=1e-9)  # every species has as many instances
    assert specialists.special.mean() == 0.5


def test_directions_find_the_blocks_of_a_table_and_leave_out_what_is_not_known():
    rng = np.random.default_rng(0)
    who, which = np.repeat([1.0, -1.0], [12, 28]), np.repeat([1.0, -1.0], [50, 150])
    table = 0.7 + 0.1 * rng.standard_normal(40) + 0.1 * rng.standard_normal((200, 1)) + 0.2 * which[:, None] * who
    for hole in (0.0, 0.3):
        holed = np.where(rng.random(table.shape) < hole, np.nan, table)
        u, v = interactions.directions(holed)
        assert np.corrcoef(u, who)[0, 1] * np.corrcoef(v, which)[0, 1] > 0.9


def test_a_model_that_takes_all_special_instances_for_the_other_class_still_says_who_and_which():
    drawn = interactions.crowd(0, "misled", 1)
    yes = np.where(drawn.truth[:, None] > 0, drawn.right, 1 - drawn.right)
    asked = np.random.default_rng(0).random(yes.shape) < 0.8
    named = np.where(drawn.truth > 0, 0.9, 0.1)
    wrong = np.where(drawn.special, 1 - named, named)
    for p, accuracy in ((named, 1.0), (wrong, 1 - drawn.special.mean())):
        found = interactions.judge(drawn, p, asked, yes)
        assert found["accuracy"] == pytest.approx(accuracy)
        assert min(found["who"], found["which"], found["chances"]) > 0.95


def test_two_factors_find_specialists_and_their_instances_where_one_ability_does_not():
    models = {"GLAD": preset("glad"), "2 factors": preset("factor", n_factors=2)}
    config = interactions.Config(
        kinds=("specialists",), n_repeats=2, models=models, integrated=False, shown=("GLAD", "2 factors")
    )
    tables = interactions.run_cell(config, "specialists")
    metrics = tables["metrics"]
    mean = lambda model, metric: select(metrics, model=model, metric=metric).mean()  # noqa: E731
    assert mean("2 factors", "which") > 0.9 > 0.75 > mean("GLAD", "which")
    assert mean("2 factors", "who") > 0.85 > 0.6 > mean("GLAD", "who")
    assert names(metrics, "kind") == ["specialists"]
    report = interactions.report(config, tables)
    assert {"who", "which", "chances_specialists"} == set(report.figures)
