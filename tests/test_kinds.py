"""Several kinds of judgements with functions of their own and labelers in common (``kind=``)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import crowdjax
from crowdjax.contextual import ContextualConfig, Scale
from crowdjax.contextual.data import prepare_data
from crowdjax.contextual.expansion import expand
from crowdjax.contextual.functions import GP, LEVEL, evaluate, prepare
from crowdjax.contextual.model import block_values, coefficients_of, of_one, prior_draws, scales_of, size_of
from crowdjax.labels import InputError, Labels

SEPARATE = GP(n_basis=4, columns="separate")


def two_kinds(n=40, seed=0):
    """Scores [n, 2] of which every row has one, and which."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    x = np.full((n, 2), np.nan)
    x[np.arange(n), kind] = rng.uniform(-1, 1, n)
    return x, kind


def test_each_kind_has_the_function_that_it_would_have_alone(x64):
    config = ContextualConfig("gp", "gp", labelers="global", gp=SEPARATE)
    x, kind = two_kinds()
    basis = prepare(SEPARATE, x)
    draw = {k: v[0] for k, v in prior_draws(config, 1, basis, None, jax.random.key(1), 1).items()}
    for name, function in config.functions.items():
        together = evaluate(function, basis, of_one(name, function, basis, draw))
        for c in range(2):
            alone = prepare(GP(n_basis=4), x[kind == c, c : c + 1])
            own = {f"{name}_mean": draw[f"{name}_mean"] + LEVEL * draw[f"{name}_slope"][2 + c]}
            own |= {f"{name}_slope": draw[f"{name}_slope"][c : c + 1]}
            own |= {f"{name}_{k}": draw[f"{name}_{k}"][c : c + 1] for k in ("amplitude", "length", "weights")}
            expected = evaluate(function, alone, of_one(name, function, alone, own))
            np.testing.assert_allclose(together[kind == c], expected, atol=1e-12)


def test_the_expansion_with_kinds_is_automatic_differentiations(x64):
    rng, (x, _) = np.random.default_rng(0), two_kinds()
    labels = Labels.from_arrays(
        np.concatenate([rng.choice(4, 3, replace=False) for _ in x]),
        np.repeat(np.arange(40), 3),
        rng.integers(0, 2, 120),
    )
    config = ContextualConfig("gp", "linear", gp=SEPARATE)
    data = prepare_data(config, labels, x)
    k = scales_of(config, data)
    u = jnp.asarray(rng.normal(size=size_of(config, data)))
    theta, y = u[:k], coefficients_of(config, data, u[:k], u[k:])
    of = jax.jit(lambda y: block_values(config, data, theta, y).sum())
    at = jax.jit(lambda y: expand(config, data, theta, y))(y)
    np.testing.assert_allclose(at.values.sum(), of(y), rtol=1e-12)
    np.testing.assert_allclose(at.slope, jax.jit(jax.grad(of))(y), atol=1e-10)
    np.testing.assert_allclose(at.information, -jax.jit(jax.hessian(of))(y), atol=1e-9)


def test_the_scale_of_each_kind_is_its_own():
    raw = np.array([[0.0, np.nan], [np.nan, 10.0], [1.0, np.nan], [np.nan, 30.0]])
    x = Scale.learn(raw)(raw)
    np.testing.assert_allclose(x[~np.isnan(raw)], [-0.95, -0.95, 0.95, 0.95])
    np.testing.assert_array_equal(np.isnan(x), np.isnan(raw))
    with pytest.raises(crowdjax.labels.LabelError, match="finite"):
        Scale.learn(np.array([[0.0, np.nan], [np.nan, np.nan], [1.0, 2.0]]))


KINDS = ["hate", "spam"]


def posts(n=400, seed=0):
    """(labels, scores, truth): every post is judged for both kinds by three of six labelers, who differ."""
    rng = np.random.default_rng(seed)
    score = rng.beta(1.2, 2, (n, 2))
    truth = rng.random((n, 2)) < expit(np.array([-4.0, -1.5]) + np.array([5.0, 3.0]) * score)
    skill = np.random.default_rng(5).normal(0, 0.9, 6)
    instance = np.repeat(np.arange(2 * n), 3)
    who = np.concatenate([rng.permutation(6)[:3] for _ in range(2 * n)])
    z = truth.reshape(-1)[instance]
    said = np.where(rng.random(len(z)) < expit(1.8 + skill[who]), z, ~z)
    names = np.array([f"{post}/{kind}" for post in range(n) for kind in KINDS])
    labels = {"labeler": who, "instance": names[instance], "label": said.astype(int)}
    scores = {"instance": names, "score": score.reshape(-1), "violation": np.tile(KINDS, n)}
    return labels, scores, truth


@pytest.fixture(scope="module")
def judged():
    labels, scores, truth = posts()
    simple = dict(prevalence="linear", accuracy="constant", inference="laplace")
    return crowdjax.context(labels, scores, kind="violation", **simple), labels, scores, truth, simple


def test_each_kind_has_its_prevalence_and_labelers_are_common(judged):
    result, labels, scores, truth, simple = judged
    cells = result.tables["prevalence"].to_pandas().set_index("kind")
    assert list(cells.index) == KINDS and cells["n_items"].tolist() == [400, 400]
    for k, kind in enumerate(KINDS):
        assert cells["lower"][kind] < truth[:, k].mean() < cells["upper"][kind]
    at = result.instances
    hit = (np.asarray(at["label"]) == truth.reshape(-1)[[2 * int(i.split("/")[0]) + KINDS.index(i.split("/")[1])
           for i in at["instance"]]]).mean()  # fmt: skip
    assert hit > 0.9
    # Alone, labelers of one kind are known from half of their labels.
    mine = np.char.endswith(labels["instance"], "spam")
    own = np.char.endswith(scores["instance"], "spam")
    alone = crowdjax.context(
        {k: v[mine] for k, v in labels.items()}, {k: v[own] for k, v in scores.items() if k != "violation"}, **simple
    )
    width = lambda r: (r.labelers["specificity_upper"] - r.labelers["specificity_lower"]).mean()  # noqa: E731
    assert width(result) < width(alone)


def test_a_result_by_kind_comes_back_predicts_and_reports(judged, tmp_path):
    result, labels, scores, _, _ = judged
    result.save(tmp_path / "out", report=True)
    again = crowdjax.load(tmp_path / "out")
    for name in ("prevalence", "curves", "calibration"):
        assert again.tables[name].equals(result.tables[name])
        assert "kind" in result.tables[name].column_names
    found = again.predict(labels, scores)
    gap = np.asarray(found.instances["probability"]) - np.asarray(result.instances["probability"])
    assert np.abs(gap).max() < 1e-5
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Prevalence of hate" in page and "Prevalence of spam" in page
    assert (tmp_path / "out" / "figures" / "functions_2.svg").is_file()
    assert result.checks(labels).record is not None
    with pytest.raises(InputError, match="of a kind that is not in the fit"):
        again.predict(labels, scores | {"violation": np.full(800, "nudity")})


def test_a_population_by_kind(judged):
    _, labels, scores, truth, simple = judged
    people = {"score": scores["score"], "violation": scores["violation"]}
    result = crowdjax.context(labels, scores, population=people, kind="violation", **simple)
    cells = result.tables["prevalence"].to_pandas()
    assert set(cells["of"]) == {"the population"}
    assert ((cells["lower"] < truth.mean(0)) & (truth.mean(0) < cells["upper"])).all()


@pytest.mark.slow
def test_each_kind_has_the_estimate_of_its_own_gold(judged):
    """By chances given, of which those of one kind are too few for an interval."""
    _, labels, scores, truth, simple = judged
    rng, kind = np.random.default_rng(4), np.tile([0, 1], 400)
    chance = np.where(kind == 1, 0.3, 0.005)
    rows = np.flatnonzero(rng.random(800) < chance)
    gold = {"instance": scores["instance"][rows], "label": truth.reshape(-1)[rows].astype(int), "chance": chance[rows]}
    result = crowdjax.context(labels, scores, kind="violation", gold=gold, **simple)
    hate, spam = result.tables["prevalence"].to_pylist()
    assert [hate["n_gold"], spam["n_gold"]] == [int((kind[rows] == k).sum()) for k in (0, 1)]
    assert hate["assisted_mean"] is None and hate["n_gold_wanted"] > hate["n_gold"]
    assert spam["assisted_lower"] < truth[:, 1].mean() < spam["assisted_upper"]
    assert [("assisted by gold" in line) for line in result.headlines[1:]] == [False, True]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"time": "violation"}, "time: given with kind"),
        ({"combine": "tensor"}, "combine: given with kind"),
        ({"labelers": "function"}, "given with kind"),
        ({"kind": "score"}, "800 values; allowed: 2 to 20"),
        ({"kind": "colour"}, "colour"),
    ],
)
def test_what_has_no_sense_with_kinds_is_refused(settings, words):
    labels, scores, _ = posts()
    with pytest.raises(InputError, match=words):
        crowdjax.context(labels, scores, **{"kind": "violation"} | settings)
    constant = scores | {"score": np.where(scores["violation"] == "hate", 0.5, scores["score"])}
    with pytest.raises(InputError, match="kind 'hate' has the score"):
        crowdjax.context(labels, constant, kind="violation")
