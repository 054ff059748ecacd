"""The posterior of one batch as the prior of the next: as good as both at once, and refused where it has no sense."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

import crowdjax
from crowdjax.contextual.earlier import carried, shrunk
from crowdjax.contextual.model import DRIFT, sites, split, values
from crowdjax.labels import InputError

SIMPLE = {"prevalence": "linear", "accuracy": "constant", "inference": "laplace"}


def batch(seed, people, n, per_item=3, level=-2.5):
    """Labels, scores and truth; labeler i is alike in every batch."""
    rng, crowd = np.random.default_rng(seed), np.random.default_rng(99)
    accuracy, bias = crowd.normal(1.6, 0.6, 40), crowd.normal(-0.3, 0.5, 40)
    x = rng.beta(1.2, 2, n)
    truth = rng.random(n) < expit(level + 4 * x)
    instance = np.repeat(np.arange(n), per_item)
    who = np.concatenate([rng.choice(people, per_item, replace=False) for _ in range(n)])
    s = np.logaddexp(0, accuracy[who])
    said = rng.random(len(who)) < expit(bias[who] + np.where(truth[instance], s, -s))
    names = np.char.add(f"b{seed}-", instance.astype(str))
    labels = {"labeler": np.char.add("p", who.astype(str)), "instance": names, "label": said.astype(int)}
    return (
        labels,
        {"instance": np.unique(names), "score": x[np.char.replace(np.unique(names), f"b{seed}-", "").astype(int)]},
        truth,
    )


def together(*tables):
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


@pytest.fixture(scope="module")
def two():
    """(the first batch's result, the second batch, its result alone, as an update, and of both at once)."""
    first, second = batch(1, np.arange(10), 700), batch(2, np.arange(4, 14), 250)
    earlier = crowdjax.context(*first[:2], **SIMPLE)
    alone = crowdjax.context(*second[:2], **SIMPLE)
    updated = crowdjax.context(*second[:2], previous=earlier, **SIMPLE)
    labels, scores = (together(first[i], second[i]) for i in (0, 1))
    joint = crowdjax.context(labels, scores, **SIMPLE)
    return earlier, second, alone, updated, joint


def of_labelers(result, name):
    table = result.tables["labelers"].to_pandas().set_index("labeler")
    return table[name], table[f"{name}_upper"] - table[f"{name}_lower"]


def test_labelers_of_both_batches_are_known_as_if_fitted_at_once(two):
    """Within a third of a joint interval; nearer to its width than to that of the batch alone, since labelers may have
    drifted in between."""
    _, _, alone, updated, joint = two
    for name in ("sensitivity", "specificity"):
        (mean, width), (_, wide), (whole, narrow) = (of_labelers(r, name) for r in (updated, alone, joint))
        shared = mean.index.intersection([f"p{i}" for i in range(4, 10)])
        assert len(shared) == 6
        assert (np.abs(mean - whole)[shared] < narrow[shared] / 3).all()
        assert width[shared].mean() < (narrow[shared].mean() + wide[shared].mean()) / 2


def test_the_prevalence_of_the_next_batch_is_surer_and_right(two):
    _, (_, _, truth), alone, updated, _ = two
    width = lambda r: r.prevalence["upper"] - r.prevalence["lower"]  # noqa: E731
    assert width(updated) < width(alone)
    assert updated.prevalence["lower"] < truth.mean() < updated.prevalence["upper"]
    assert updated.record["previous"]["known_labelers"] == 6


def test_a_prevalence_that_jumped_between_batches_is_found():
    """From 10 to 50 %, five steps of the prior: the labels of the next batch outweigh it."""
    first, second = batch(1, np.arange(10), 500, level=-4.0), batch(2, np.arange(10), 400, level=-1.0)
    earlier = crowdjax.context(*first[:2], **SIMPLE)
    updated = crowdjax.context(*second[:2], previous=earlier, **SIMPLE)
    assert updated.prevalence["lower"] < second[2].mean() < updated.prevalence["upper"]


def test_an_update_comes_back_and_goes_on(two, tmp_path):
    _, second, _, updated, _ = two
    updated.save(tmp_path / "out")
    again = crowdjax.load(tmp_path / "out")
    for ours, theirs in ((again.fit, updated.fit), (again.weaker, updated.weaker)):
        np.testing.assert_array_equal(ours.unconstrained, theirs.unconstrained)
        np.testing.assert_array_equal(ours.prior.root, theirs.prior.root)
    found = again.predict(second[0], second[1])
    gap = np.asarray(found.instances["probability"]) - np.asarray(updated.instances["probability"])
    assert np.abs(gap).max() < 1e-5
    third = batch(3, np.arange(4, 14), 250)
    result = crowdjax.context(*third[:2], previous=tmp_path / "out", **SIMPLE)
    assert result.prevalence["lower"] < third[2].mean() < result.prevalence["upper"]
    alone = crowdjax.context(*third[:2], **SIMPLE)
    assert of_labelers(result, "specificity")[1].mean() < of_labelers(alone, "specificity")[1].mean()


@pytest.mark.parametrize("step", [0.0, 0.3])
def test_the_prior_says_of_known_labelers_what_the_draws_said(two, step):
    """Each labeler's level, in the crowd's function plus offset: the same mean in another crowd, and the same variance
    but for drift, whichever labelers are new."""
    fit = two[0].fit
    known = np.array([3, -1, 0, 7, -1])
    prior = carried(fit, known, step)
    basis, own = fit.bases_of_inputs()
    shapes = sites(fit.config, len(known), basis, own)
    v = np.random.default_rng(0).normal(size=(4000, len(prior.mean)))
    w = prior.mean + v @ prior.root.T
    theta = values(fit.config, split(np.float32(np.r_[prior.theta, prior.mean]), shapes))
    tau = np.asarray(theta["labeler_scale"])
    ends = np.cumsum([int(np.prod(s)) for s in shapes.values()])
    at = {name: np.arange(end - int(np.prod(s)), end) - len(prior.theta)
          for (name, s), end in zip(shapes.items(), ends, strict=True)}  # fmt: skip
    for side, name in enumerate(("accuracy", "bias")):
        mean, deviation = getattr(fit.config, f"{name}_mean")
        offset = w[:, at["labeler_offset"].reshape(2, -1)[side]]
        now = mean + deviation * w[:, at[f"{name}_mean"]] + tau[side] * (offset - offset.mean(1, keepdims=True))
        old = fit.draws["labeler_offset"][:, side]
        old = fit.draws[f"{name}_mean"][:, None] + fit.draws["labeler_scale"][:, [side]] * (
            old - old.mean(1, keepdims=True)
        )
        for i, row in enumerate(known):
            if row >= 0:
                variance = float(old[:, row].var() + DRIFT**2)
                assert now[:, i].mean() == pytest.approx(old[:, row].mean(), abs=5 * np.sqrt(variance / 500))
                assert now[:, i].var() == pytest.approx(variance, rel=0.3)
    level = w[:, at["prevalence_mean"]][:, 0] * fit.config.prevalence_mean[1]
    assert level.var() == pytest.approx(fit.draws["prevalence_mean"].var() + step**2, rel=0.3)


def test_a_covariance_of_few_draws_is_shrunk_towards_the_truth():
    """Of a Wishart with a few strong directions the shrunk one is nearer to the truth than the sample's own."""
    rng = np.random.default_rng(0)
    truth = np.eye(60) + 5 * np.outer(*[np.r_[np.ones(3), np.zeros(57)] / np.sqrt(3)] * 2)
    z = stats.multivariate_normal(np.zeros(60), truth).rvs(200, random_state=rng)
    off = [np.linalg.norm(np.linalg.slogdet(m)[1] - np.linalg.slogdet(truth)[1]) for m in (shrunk(z), z.T @ z / 200)]
    assert off[0] < off[1] / 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accuracy": "linear"}, "accuracy 'constant'; got 'linear'"),
        ({"transform": "logit"}, "transform"),
        ({"time": "score"}, "time: given with previous"),
        ({"n_basis": 8}, "n_basis: given with"),
        ({"previous": 3}, "previous"),
    ],
)
def test_what_cannot_go_on_is_refused(two, change, words):
    earlier, second, *_ = two
    with pytest.raises(InputError, match=words):
        crowdjax.context(*second[:2], **SIMPLE | {"previous": earlier} | change)


def test_the_same_labels_do_not_count_twice(two):
    earlier, second, *_ = two
    first = batch(1, np.arange(10), 700)
    with pytest.raises(InputError, match="of the same labels"):
        crowdjax.context(*first[:2], previous=earlier, **SIMPLE)
    renamed = {**second[1], "other": second[1]["score"]}
    with pytest.raises(InputError, match="with scores score"):
        crowdjax.context(second[0], renamed, columns={"scores.score": "other"}, previous=earlier, **SIMPLE)
