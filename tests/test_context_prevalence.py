"""The headline of the prevalence: which estimate comes first, and what is said of it."""

import numpy as np
import pytest

import crowdjax
from crowdjax.contextual import ContextualConfig
from crowdjax.facade.design import importance_of, scaled
from crowdjax.labels import Labels
from crowdjax.simulate import prevalence_crowd

SIMPLE = dict(prevalence="linear", accuracy="constant", labelers="global", inference="laplace")
SHY = prevalence_crowd("shy", 0, n_instances=500)
IDS = np.array([f"q{i}" for i in range(500)])


def tables(rows=None, chance=None):
    """(labels, scores, further arguments) of the crowd that misses most positives at low scores."""
    crowd = SHY.crowd
    labels = {"labeler": crowd.labeler, "instance": IDS[crowd.instance], "label": crowd.label}
    more = {} if rows is None else {"gold": {"instance": IDS[rows], "label": crowd.truth[rows]}}
    if chance is not None:
        more["gold"]["chance"] = chance
    return labels, {"instance": IDS, "score": crowd.score}, more


@pytest.fixture(scope="module")
def without_gold():
    labels, scores, _ = tables()
    return crowdjax.context(labels, scores, **SIMPLE | {"accuracy": "linear"})


def test_labels_alone_do_not_decide(without_gold):
    """Half of the positives at low scores are missed: the weaker constraint holds the rate, and the two disagree."""
    found = without_gold.prevalence
    weaker = next(e for e in found["estimates"] if e["method"] == "weaker constraint")
    assert weaker["lower"] <= SHY.rate <= weaker["upper"]
    assert found["constraints_agree"] is False and found["reach"] > 0.4
    (said,) = (w for w in without_gold.warnings if w.startswith("Labels alone do not decide"))
    assert "better than chance" in said and "--gold" in said
    assert found["headline"].startswith(f"{100 * found['mean']:.3g} % of the labelled sample (")


def test_a_sample_without_design_is_said_to_be_one(without_gold):
    assert any("neither weights nor a population" in w for w in without_gold.warnings)
    labels, scores, _ = tables()
    weights = {"instance": IDS, "weight": np.ones(500)}
    given = crowdjax.context(labels, scores, weights=weights, **SIMPLE)
    assert given.prevalence["of"] == "the population"
    assert not any("neither weights nor" in w for w in given.warnings)


def test_gold_at_random_comes_first_and_is_right():
    rows = np.random.default_rng(0).choice(500, 150, replace=False)
    labels, scores, more = tables(rows)
    found = crowdjax.context(labels, scores, **more, **SIMPLE)
    first = found.prevalence
    assert first["method"] == first["estimates"][0]["method"] == "assisted by gold"
    assert first["lower"] <= SHY.crowd.truth.mean() <= first["upper"]
    assert not any("do not decide" in w for w in found.warnings)


def test_picked_gold_does_not_come_first():
    """Gold of the highest scores says nothing of the others by its own share; with its chances it may."""
    rows = np.argsort(SHY.crowd.score)[-150:]
    labels, scores, more = tables(rows)
    found = crowdjax.context(labels, scores, **more, **SIMPLE)
    assert found.prevalence["method"] == "labelled instances"
    assert any("no random part" in w and "chance" in w for w in found.warnings)


def test_priors_follow_the_design():
    """One positive label in fifty: a level below its logit; the same labels with the classes exchanged: mirrored."""
    label = np.r_[1, np.zeros(49, int)]
    of = lambda label: scaled(  # noqa: E731
        ContextualConfig(), Labels.from_arrays(np.zeros(50, int), np.arange(50), label), None
    )
    rare, frequent, even = of(label), of(1 - label), of(np.arange(50) % 2)
    assert rare.prevalence_mean == (-5.0, 2.5) and frequent.prevalence_mean == (5.0, 2.5)
    assert rare.bias_mean[0] == -frequent.bias_mean[0] == -0.5
    assert even.prevalence_mean[0] == even.bias_mean[0] == 0


def test_instances_stand_for_the_population_that_is_nearest():
    people = np.array([0.0, 0.1, 0.4, 0.9, 1.0])[:, None], np.array([1.0, 2, 3, 4, 5])
    found = importance_of(np.array([[0.0], [0.5], [0.5], [1.0]]), None, people)
    np.testing.assert_allclose(found, [3, 1.5, 1.5, 9])
