"""A contextual fit of more than two exclusive classes (``contextual.categories``, ``facade.categories``)."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crowdjax
from crowdjax.contextual import ContextualConfig, Scale, assisted, prepare_data
from crowdjax.contextual import categories as model
from crowdjax.contextual.categories_answers import confusions, shares
from crowdjax.contextual.categories_fit import CategoricalPosterior, fit_categories
from crowdjax.contextual.model import draw_at, log_likelihood, shapes_of, split
from crowdjax.labels import InputError, LabelError, Labels


def crowd(n_classes, n, n_labelers, each, seed):
    """(labels as arrays, scores, truth, true confusions): shares that follow a curve of the score, and labelers with
    confusion matrices of their own, which are none of the model's functions."""
    rng = np.random.default_rng(seed)
    score = rng.beta(1.2, 1.8, n)
    rest = rng.dirichlet(np.full(n_classes - 1, 3.0))
    shares = np.concatenate([score[:, None] ** 1.3, (1 - score[:, None] ** 1.3) * rest], 1)
    truth = (rng.random(n)[:, None] > shares.cumsum(1)).sum(1)
    rows = [np.where(np.arange(n_classes) == k, 9.0, 3.15 / (n_classes - 1)) for k in range(n_classes)]
    confusion = np.array([[rng.dirichlet(row) for row in rows] for _ in range(n_labelers)])
    who = np.concatenate([rng.choice(n_labelers, each, replace=False) for _ in range(n)])
    which = np.repeat(np.arange(n), each)
    label = (rng.random(n * each)[:, None] > confusion[who, truth[which]].cumsum(1)).sum(1)
    return (who, which, label), score, truth, confusion


def small(constraint="both", n_classes=3, gold=None):
    (who, which, label), score, *_ = crowd(n_classes, 12, 4, 2, 0)
    labels = Labels.from_arrays(who, which, label, n_values=n_classes, gold=gold, n_labelers=4)
    config = model.CategoricalConfig((0.0, -1.0, -1.0)[:n_classes], "linear", "linear", "linear", constraint=constraint)
    return labels, score, config, model.prepare_categories(config, labels, Scale.learn(score)(score))


@pytest.mark.parametrize("constraint", ["both", "ordered"])
def test_two_classes_are_the_model_of_two(constraint, x64):
    (who, which, label), score, *_ = crowd(2, 60, 4, 2, 1)
    labels, x = Labels.from_arrays(who, which, label), Scale.learn(score)(score)
    two = ContextualConfig("linear", "linear", "offset", constraint, prevalence_mean=(0.0, 2.5))
    data = prepare_data(two, labels, x)
    u = jax.random.normal(jax.random.key(0), (sum(int(np.prod(s)) for s in shapes_of(two, data).values()),))
    of_two = split(u, shapes_of(two, data))
    k = model.CategoricalConfig((0.0, 0.0), "linear", "linear", "linear", constraint=constraint)
    own = {"labeler_scale": of_two["labeler_scale"], "labeler_accuracy": of_two["labeler_offset"][0]}
    own |= {"labeler_bias": of_two["labeler_offset"][1][:, None]}
    own |= {name: value[None] for name, value in of_two.items() if name.endswith(("_mean", "_slope"))}
    of_k = model.prepare_categories(k, labels, x)
    flat = jnp.concatenate([own[name].ravel() for name in model.shapes_of(k, of_k)])
    expected = log_likelihood(two, data, draw_at(two, data, u))
    np.testing.assert_allclose(model.log_likelihood(k, of_k, flat), expected, rtol=1e-12)


@pytest.mark.parametrize("constraint", ["both", "ordered"])
def test_the_evidence_is_the_sum_over_all_truths(constraint, x64):
    """By the formulas in NumPy, one label after the other."""
    gold = np.full(12, np.nan)
    gold[3] = 2
    labels, _, config, data = small(constraint, gold=gold)
    shapes = model.shapes_of(config, data)
    u = jax.random.normal(jax.random.key(2), (sum(int(np.prod(s)) for s in shapes.values()),))
    v = {name: np.asarray(value) for name, value in model.values(config, split(u, shapes)).items()}
    q, x = model.contrasts(3), np.asarray(data.basis.x)[:, 0]
    line = lambda name: v[f"{name}_mean"] + x[:, None] * v[f"{name}_slope"][:, 0]  # noqa: E731
    r = np.array(config.log_shares) + line("prevalence") @ q.T
    log_pi = r - np.log(np.exp(r).sum(1, keepdims=True))
    off = lambda name: v[name] - v[name].mean(0)  # noqa: E731
    c = np.zeros((3, 3))
    c[~np.eye(3, dtype=bool)] = v["confusion_scale"] * v["confusion"].ravel()
    total = 0.0
    for j in range(12):
        h = log_pi[j].copy()
        for n in np.flatnonzero((np.asarray(labels.instance) == j) & (np.asarray(labels.label) >= 0)):
            i, said = int(labels.labeler[n]), int(labels.label[n])
            gamma = q @ (line("bias")[j] + v["labeler_scale"][1] * off("labeler_bias")[i])
            for z in range(3):
                a = line("accuracy")[j, 0] + v["labeler_scale"][0] * off("labeler_accuracy")[i]
                a += v["class_scale"] * off("labeler_class")[i, z]
                others = np.exp([gamma[k] + c[z, k] for k in range(3) if k != z])
                rise = gamma[z] - np.mean([gamma[k] for k in range(3) if k != z])
                margin = (
                    np.log1p(np.exp(a + rise)) - np.log(2)
                    if constraint == "both"
                    else gamma[z] + np.log1p(np.exp(a)) - np.log(others.sum())
                )
                right = 1 / (1 + np.exp(-margin))
                h[z] += np.log(right if said == z else (1 - right) * np.exp(gamma[said] + c[z, said]) / others.sum())
        total += h[2] if j == 3 else np.log(np.exp(h).sum())
    np.testing.assert_allclose(model.log_likelihood(config, data, u), total, rtol=1e-10)


def test_labels_of_a_class_add_up_to_one_and_every_class_is_recognised(x64):
    labels, _, config, data = small()
    shapes = model.shapes_of(config, data)
    for seed in range(5):
        u = 3 * jax.random.normal(jax.random.key(seed), (sum(int(np.prod(s)) for s in shapes.values()),))
        v = model.values(config, split(u, shapes))
        at = model.said(config, data.basis, v, labels.labeler, labels.instance)
        found = np.asarray(model.confusion_at(config, v, at))
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-9)
        assert (found[:, [0, 1, 2], [0, 1, 2]] > 1 / 3).all()


def test_the_expansion_is_that_of_finite_differences(x64):
    *_, config, data = small()
    at = CategoricalPosterior(config, data, 1)
    k = 4  # scales
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(k)
    size = sum(int(np.prod(s)) for s in model.shapes_of(config, data).values()) - k
    w, step = rng.standard_normal(size), 1e-5
    here = at(theta, w)
    for e in np.eye(size)[rng.choice(size, 6, replace=False)]:
        up, down = at(theta, w + step * e), at(theta, w - step * e)
        np.testing.assert_allclose((up.value - down.value) / (2 * step), here.slope @ e, atol=1e-5)
        np.testing.assert_allclose((up.slope - down.slope) / (2 * step), -here.precision @ e, atol=1e-5)
        np.testing.assert_allclose((up.level_slope - down.level_slope) / (2 * step), here.level_hessian @ e, atol=1e-6)


def test_labels_that_say_nothing_leave_shares_wide(x64):
    """Labels without a pattern, all classes alike: shares may be nearly anything, and are finite."""
    n = 30
    labels = Labels.from_arrays(np.tile([0, 1], n), np.repeat(np.arange(n), 2), np.resize([0, 1, 2], 2 * n), n_values=3)
    config = model.CategoricalConfig((-1.0, -1.0, -1.0), "linear", "constant", "constant", constraint="ordered")
    fit = fit_categories(labels, np.linspace(0, 1, n), config, jax.random.key(0), method="laplace")
    found = shares(fit, np.linspace(0, 1, n))
    assert np.isfinite(found).all() and (found.upper - found.lower > 0.3).all()


def test_values_that_are_no_classes_are_refused():
    labels = Labels.from_arrays([0, 1], [0, 0], [0, 2], n_values=3, n_classes=2)
    with pytest.raises(LabelError, match="allowed: labels that are the classes"):
        model.prepare_categories(model.CategoricalConfig((0.0, 0.0)), labels, np.zeros((1, 1)))


NAMES = np.array(["spam", "hate", "other"])


@pytest.fixture(scope="module")
def tables():
    (who, which, label), score, truth, _ = crowd(3, 400, 10, 3, 5)
    labels = {"worker": [f"w{i}" for i in who], "item": which, "label": NAMES[label]}
    known = np.random.default_rng(0).choice(400, 120, replace=False)
    gold = {"item": known, "label": NAMES[truth[known]]}
    return labels, {"item": np.arange(400), "score": score}, gold, NAMES[truth]


SIMPLE = dict(prevalence="linear", accuracy="constant", inference="laplace")


@pytest.fixture(scope="module")
def result(tables):
    labels, scores, gold, _ = tables
    return crowdjax.context(labels, scores, gold=gold, **SIMPLE)


def test_shares_hold_the_truth_and_answers_beat_the_vote(tables, result):
    """Of three classes: six 95 % intervals, of which four hold by chance less than once in five thousand times."""
    labels, _, _, truth = tables
    rows = [row for row in result.tables["prevalence"].to_pylist() if row["method"] in ("model", "assisted by gold")]
    held = [row["lower"] <= np.mean(truth == row["class"]) <= row["upper"] for row in rows]
    assert len(rows) == 6 and sum(held) >= 5
    assert result.prevalence["method"] == "assisted by gold"
    assert 0 < result.prevalence["n_gold_wanted"] <= result.record["n_gold"]
    assert "'assisted by gold' is right by that design" in result.prevalence["trust"]
    votes = np.zeros((400, 3))
    np.add.at(votes, (labels["item"], [list(NAMES).index(v) for v in labels["label"]]), 1)
    answers = result.tables["instances"].to_pandas()
    answers["truth"] = truth[answers["instance"].astype(int)]
    vote = (NAMES[votes.argmax(1)] == truth).mean()
    assert (answers["label"] == answers["truth"]).mean() > vote + 0.01
    p = answers[[f"p_{c}" for c in sorted(NAMES)]].to_numpy()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)


def test_a_result_comes_back_and_says_who_is_new(tables, result, tmp_path):
    labels, scores, *_ = tables
    result.save(tmp_path / "out", report=True)
    again = crowdjax.load(tmp_path / "out")
    assert again.prevalence == json.loads((tmp_path / "out" / "prevalence.json").read_text())
    assert "Shares of the classes" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    few = {name: np.asarray(values)[:30] for name, values in labels.items()}
    same = again.predict(few, scores)
    first = result.predict(few, scores)
    assert same.tables["instances"].equals(first.tables["instances"]) and not same.warnings
    few["worker"] = ["somebody"] * 30
    stranger = again.predict(few, scores)
    assert any("drawn from its crowd" in w for w in stranger.warnings)
    assert stranger.tables["instances"]["confidence"].to_numpy().mean() < (
        first.tables["instances"]["confidence"].to_numpy().mean()
    )
    assert again.next_labels(5).num_rows == 5


def test_gold_of_one_class_is_no_random_part_and_that_is_said(tables):
    labels, scores, _, truth = tables
    known = np.flatnonzero(truth == "spam")[:40]
    result = crowdjax.context(labels, scores, gold={"item": known, "label": truth[known]}, **SIMPLE)
    assert result.prevalence["method"] == "model"
    assert result.prevalence["n_gold_wanted"] is None and "only the model's estimates" in result.prevalence["trust"]
    assert any(w.startswith("Gold is no random part") for w in result.warnings)


def test_gold_that_contradicts_the_labels_is_said(tables):
    labels, scores, gold, _ = tables
    following = dict(zip(NAMES, np.roll(NAMES, 1), strict=True))
    wrong = gold | {"label": [following[c] for c in gold["label"]]}
    found = crowdjax.context(labels, scores, gold=wrong, **SIMPLE, labelers="global", constraint="ordered")
    right = crowdjax.context(labels, scores, gold=gold, **SIMPLE, labelers="global", constraint="ordered")
    assert any("gold labels contradict" in w for w in found.warnings), found.warnings
    assert not any("gold labels contradict" in w for w in right.warnings), right.warnings


def test_shares_by_gold_add_up_to_one_and_cover():
    """Of 400 crowds with predictions of little worth: one λ for all classes; each interval holds in 95 % (.011)."""
    rng, true, held, total = np.random.default_rng(0), np.array([0.5, 0.3, 0.2]), np.zeros(3), []
    for _ in range(400):
        truth = rng.choice(3, 500, p=true)
        f = rng.dirichlet(np.ones(3), 500) * 0.5 + 0.5 * np.eye(3)[np.where(rng.random(500) < 0.7, truth, 0)]
        gold = np.where((rng.random(500) < 0.3)[:, None], np.eye(3)[truth], np.nan)
        of = [assisted.Sample(gold[:, k], np.full(500, 0.3), np.ones(500), f[:, k]) for k in range(3)]
        alone, both = assisted.estimates_of_classes(of)
        total.append([sum(e.mean for e in both), sum(e.width for e in both) / sum(e.width for e in alone)])
        held += [e.lower <= p <= e.upper for e, p in zip(both, true, strict=True)]
    np.testing.assert_allclose(np.array(total)[:, 0], 1, atol=1e-9)
    assert np.mean(np.array(total)[:, 1]) < 0.95
    assert (held / 400 > 0.95 - 3 * 0.011).all()


def test_columns_of_classes_do_not_collide_and_keep_their_type(tables):
    """Classes named as parts of columns are, and integers."""
    labels, scores, *_ = tables
    short = dict(labelers="global", constraint="ordered", **SIMPLE)
    names = {"spam": "x", "hate": "x_lower", "other": "lower_x"}
    result = crowdjax.context(labels | {"label": [names[c] for c in labels["label"]]}, scores, **short)
    assert len(set(result.tables["labelers"].column_names)) == 5 + 3 * 3
    numbers = crowdjax.context(labels | {"label": [list(NAMES).index(c) for c in labels["label"]]}, scores, **short)
    types = {
        numbers.tables[t][c].type for t, c in (("prevalence", "class"), ("curves", "class"), ("instances", "label"))
    }
    assert len(types) == 1


def test_what_two_classes_alone_have_is_refused_in_words(tables):
    labels, scores, *_ = tables
    for setting in (dict(time="score"), dict(increasing=True), dict(labelers="function"), dict(inference="svi")):
        with pytest.raises(InputError, match="given with 3 classes"):
            crowdjax.context(labels, scores, **setting)


def test_checks_are_refused_and_say_what_is_allowed(tables, result):
    with pytest.raises(InputError, match="allowed: two classes, or a fit of crowdjax"):
        result.checks(tables[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_default_covers_shares_and_accuracies(seed):
    """Five classes, gp functions, two or three labels; of 20 intervals of shares at least 17 hold over the seeds."""
    (who, which, label), score, truth, confusion = crowd(5, 600, 12, 3, 20 + seed)
    labels = Labels.from_arrays(who, which, label, n_values=5, n_labelers=12)
    votes = np.bincount(label, minlength=5) / len(label)
    config = model.CategoricalConfig(tuple(np.round(np.log(votes)).tolist()))
    fit = fit_categories(labels, score, config, jax.random.key(seed))
    found, true = shares(fit, score), np.bincount(truth, minlength=5) / 600
    assert ((found.lower <= true) & (true <= found.upper)).sum() >= 4
    assert fit.checked
    _, _, accuracy = confusions(fit, score)
    lower, upper = np.quantile(accuracy, [0.025, 0.975], axis=0)
    own = np.einsum("wzz,z->w", confusion, true)
    assert ((lower <= own) & (own <= upper)).mean() >= 0.75


def test_contrasts_do_not_prefer_a_class():
    q = model.contrasts(5)
    for a, b in itertools.combinations(range(5), 2):
        assert np.isclose(((q[a] - q[b]) ** 2).sum(), 1)
