"""Looking inside: what is said of a crowd that follows the model, and of crowds that do not."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from scipy.special import expit
from scipy.stats import binom, norm

import crowdjax
from crowdjax import cli, integrated
from crowdjax.facade import checks
from crowdjax.integrated import IntegratedConfig, Interval, check, kinds, replicate, residuals, start
from crowdjax.integrated.kernels import draw_points
from crowdjax.labels import InputError, Labels

CONFIG = IntegratedConfig(spread=0.9)
N_LABELERS, N_INSTANCES, PER_INSTANCE = 30, 200, 8


def crowd(seed, second=None):
    """Labels of 30 labelers by the model; ``second``: each labeler's part in another factor of the instances."""
    rng = np.random.default_rng(seed)
    x = rng.choice([-1, 1], N_INSTANCES) + rng.normal(0, 0.9, N_INSTANCES)
    y, alpha, gamma = rng.normal(size=N_INSTANCES), rng.normal(1.2, 0.5, N_LABELERS), rng.normal(0, 0.5, N_LABELERS)
    instance = np.repeat(np.arange(N_INSTANCES), PER_INSTANCE)
    labeler = np.concatenate([rng.choice(N_LABELERS, PER_INSTANCE, replace=False) for _ in range(N_INSTANCES)])
    eta = alpha[labeler] * x[instance] + gamma[labeler]
    if second is not None:
        eta += second[labeler] * y[instance]
    label = (rng.random(len(eta)) < expit(eta)).astype(int)
    return Labels.from_arrays(labeler, instance, label, n_labelers=N_LABELERS, n_instances=N_INSTANCES)


def looked(seed, second=None, replicates=39):
    labels = crowd(seed, second)
    found = integrated.fit_jit(labels, CONFIG)
    return check(jax.random.key(seed), labels, found.parameters, CONFIG, replicates=replicates)


def test_residuals_are_those_of_a_dense_sum_over_the_points(x64):
    labels = crowd(0)
    rng = np.random.default_rng(1)
    parameters = start(CONFIG, N_LABELERS)._replace(labelers=jnp.asarray(rng.normal(1, 0.5, (N_LABELERS, 2))))
    w, x = np.asarray(parameters.labelers), CONFIG.nodes
    i, j, yes = (np.asarray(v) for v in (labels.labeler, labels.instance, labels.label > 0))
    real = np.asarray(labels.real)
    i, j, yes = i[real], j[real], yes[real]
    table = np.zeros((N_INSTANCES, len(x)))
    np.add.at(table, j, np.log(expit(np.where(yes, 1, -1)[:, None] * (w[i, :1] * x + w[i, 1:]))))
    prior = norm.pdf(x, 1, 0.9) + norm.pdf(x, -1, 0.9)
    q = prior * np.exp(table)
    mean = q @ x / q.sum(1)
    m = expit(w[i, 0] * mean[j] + w[i, 1])
    e, v = yes - m, m * (1 - m)
    found = residuals(labels, parameters, CONFIG)
    np.testing.assert_allclose(np.asarray(found.error)[real], e, atol=1e-9)
    np.testing.assert_allclose(found.surprise, np.bincount(j, -np.log(np.where(yes, m, 1 - m))), rtol=1e-9)
    same = (j[:, None] == j) & ~np.eye(len(j), dtype=bool)
    np.testing.assert_allclose(found.agreement, e @ same @ e / np.sqrt(v @ same @ v), rtol=1e-9)
    share = np.bincount(j, yes) / PER_INSTANCE
    np.testing.assert_array_equal(found.fifths, np.histogram(share, np.arange(6) / 5)[0])
    assert found.share_of_yes == pytest.approx(yes.mean())


def test_replicates_have_the_shares_of_yes_that_the_model_says():
    labels = crowd(0)
    parameters = start(CONFIG, N_LABELERS)._replace(labelers=jnp.tile(jnp.array([1.5, 0.4]), (N_LABELERS, 1)))
    draw = jax.jit(lambda k: (replicate(k, labels, parameters, CONFIG).label > 0).sum() / labels.real.sum())
    drawn = np.asarray(jax.lax.map(draw, jax.random.split(jax.random.key(0), 200)))
    x = CONFIG.nodes
    weight = norm.pdf(x, 1, 0.9) + norm.pdf(x, -1, 0.9)
    expected = weight @ expit(1.5 * x + 0.4) / weight.sum()
    assert abs(drawn.mean() - expected) < 4 * drawn.std() / np.sqrt(200)


def test_a_crowd_that_follows_the_model_is_left_in_peace():
    """Each of four checks fails by chance in at most 5 %; 12 crowds: at most 6 of 48 fail but once in 1000."""
    found = [looked(seed) for seed in range(12)]
    failed = sum(check.p <= 0.05 for each in found for check in each.checks)
    assert failed <= binom.isf(1e-3, 48, 0.05)
    assert sum(each.surprising.any() for each in found) <= binom.isf(1e-3, 12, 0.05)
    assert sum(len(each.schools) > 0 for each in found) <= binom.isf(1e-3, 12, 0.05)


def test_a_point_given_the_labels_is_drawn_from_its_posterior():
    """One instance with five yes of able labelers: the share of points right of 0 is the posterior's."""
    labels = Labels.from_arrays(np.arange(5), np.zeros(5, int), np.ones(5, int))
    parameters = start(CONFIG, 5)
    at = jnp.asarray(CONFIG.nodes)
    draw = jax.jit(lambda k: at[draw_points(k, labels, parameters, CONFIG)[0]] > 0.3)
    share = np.asarray(jax.lax.map(draw, jax.random.split(jax.random.key(0), 2000))).mean()
    x = CONFIG.nodes
    q = (norm.pdf(x, 1, 0.9) + norm.pdf(x, -1, 0.9)) * expit(x) ** 5
    expected = q[x > 0.3].sum() / q.sum()
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 2000)


def test_two_schools_of_thought_are_found():
    side = np.where(np.arange(N_LABELERS) < N_LABELERS // 2, 1.5, -1.5)
    for seed in range(4):
        found = looked(seed, side)
        assert found.schools, seed
        said = found.schools[0].side
        member = said != 0
        right = abs((said[member] == np.sign(side[member])).mean() - 0.5) + 0.5
        assert member.sum() >= 15
        assert right > 0.8, seed


def test_errors_that_a_part_of_the_crowd_shares_are_agreement_beyond_the_model():
    part = np.where(np.arange(N_LABELERS) < N_LABELERS // 2, 2.0, 0.0)
    failed = {check.name for seed in range(3) for check in looked(seed, part).checks if check.p <= 0.05}
    assert "schools" in failed or "agreement" in failed


@pytest.mark.slow
def test_an_instance_whose_labelers_all_go_against_their_habit_is_surprising():
    """Half of them like to say yes, half no; on the seventh instance the former say no and the latter yes."""
    habit = np.where(np.arange(N_LABELERS) % 2 == 0, 2.0, -2.0)
    labelers = jnp.stack([jnp.full(N_LABELERS, 1.5), jnp.asarray(habit)], axis=1)
    parameters = start(CONFIG, N_LABELERS)._replace(labelers=labelers)
    drawn = replicate(jax.random.key(0), crowd(3), parameters, CONFIG)
    against = (habit < 0)[np.asarray(drawn.labeler)].astype(int)
    odd = dataclasses.replace(drawn, label=np.where(np.asarray(drawn.instance) == 7, against, drawn.label))
    seen = check(jax.random.key(1), odd, parameters, CONFIG, replicates=39)
    assert np.flatnonzero(seen.surprising).tolist() == [7]


def test_kinds_of_labelers_are_told():
    """20 able, 10 guessing and 5 who mean the opposite, with 200 labels each."""
    rng = np.random.default_rng(0)
    z = np.where(rng.random(200) < 0.5, 1, -1)
    alpha = np.r_[np.full(20, 2.5), np.zeros(10), np.full(5, -2.0)]
    label = (rng.random((200, 35)) < expit(alpha * z[:, None])).astype(int)
    instance, labeler = (v.ravel() for v in np.mgrid[:200, :35])
    result = crowdjax.fit({"labeler": labeler, "instance": instance, "label": label.ravel()}, "auto")
    kind = result.labelers["kind"]
    assert np.isin(kind[:20], ("expert", "ordinary")).all()
    assert (kind[:20] == "expert").sum() >= 5  # the classes are softer in the model than here: J is .85, not all of it
    assert (kind[30:] == "adversary").all()
    assert np.isin(kind[20:30], ("spammer", "unknown")).sum() >= 8
    assert (kind[20:30] == "spammer").sum() >= 5


def test_kinds_follow_the_interval():
    lower, upper = np.array([0.7, 0.2, -0.1, -0.8, -0.4, -0.15]), np.array([0.9, 0.9, 0.1, -0.2, 0.5, -0.05])
    assert kinds(Interval((lower + upper) / 2, lower, upper)).tolist() == [
        "expert", "ordinary", "spammer", "adversary", "unknown", "spammer",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def table():
    labels = crowd(5, np.where(np.arange(N_LABELERS) < 15, 1.5, -1.5))
    real = np.asarray(labels.real)
    labeler = np.array([f"w {k}é" for k in range(N_LABELERS)])[np.asarray(labels.labeler)[real]]
    instance, label = (np.asarray(v)[real] for v in (labels.instance, labels.label))
    return {"labeler": labeler, "instance": 10 * instance, "label": label}


def test_the_facade_says_it_in_sentences_and_files(table, tmp_path):
    result = crowdjax.fit(table, "auto")
    found = crowdjax.check(result, table, replicates=39)
    assert found.labelers["labeler"].tolist() == result.labelers["labeler"].tolist()
    assert any("schools of thought" in sentence for sentence in found.warnings)
    again = crowdjax.check(result, table, replicates=39)
    assert again.record["checks"] == found.record["checks"]
    found.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "check.json").read_text())["schools"]
    sides = pa.parquet.read_table(tmp_path / "out" / "labelers.parquet")["school"].to_numpy()
    assert {1, -1} <= set(sides)


def test_of_many_labels_a_part_is_looked_at(table, monkeypatch):
    monkeypatch.setattr(checks, "MOST_LABELS", 800)
    found = crowdjax.check(crowdjax.fit(table, "auto"), table, replicates=19)
    assert found.record["n_looked_at"] == 100
    assert found.tables["instances"]["surprise"].null_count == found.tables["instances"]["surprising"].null_count == 100
    assert "100 of 200 instances" in found.warnings[-1]


def test_a_terminal_is_told_of_fits_predictions_and_looks(table, tmp_path, capsys, monkeypatch):
    result = crowdjax.fit(table, "auto")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for told in (result, result.predict(table), crowdjax.check(result, table, replicates=19)):
        cli.common.tell(told, tmp_path)
        assert "1,600 labels" in capsys.readouterr().out


def test_the_facade_refuses_what_is_not_of_the_fit(table):
    result = crowdjax.fit(table, "auto")
    other = table | {"instance": table["instance"] + 1}
    with pytest.raises(InputError, match="instances are not those of the fit"):
        crowdjax.check(result, other)
    with pytest.raises(InputError, match="replicates: got 5"):
        crowdjax.check(result, table, replicates=5)
    with pytest.raises(InputError, match="check: got "):
        crowdjax.check(table, table)
    with pytest.raises(InputError, match="instance features: given, but the fit used none"):
        crowdjax.check(result, table, instance_features={"instance": table["instance"], "f": table["instance"]})
