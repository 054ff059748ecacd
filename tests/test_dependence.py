"""Labelers who repeat one another: pairs counted, power where some copy, no alarm where none do, one voice in a fit."""

import itertools

import numpy as np
import pytest
from typer.testing import CliRunner

import crowdjax
from crowdjax import dependence
from crowdjax.cli import app
from crowdjax.labels import InputError, Labels


def crowd(seed, skill, n, *, k=2, per=None, copies=0, source="coin", rate=1.0, misread=0.0, prior=None):
    """(truth, labels) of labelers who are right with their skill; the first ``copies`` repeat one another at a rate.

    Args:
        skill: of each labeler; of 1 / k they guess, and of None they always say the same.
        per: labelers of each instance, by default all.
        source: what is copied: a coin, or the first labeler.
        misread: the share of instances that look like another class to everybody.
    """
    rng = np.random.default_rng(seed)
    truth = rng.choice(k, n, p=prior)
    other = lambda classes: (classes + rng.integers(1, k, np.shape(classes))) % k  # noqa: E731
    looks = np.where(rng.random(n) < misread, other(truth), truth)
    shown = np.broadcast_to(looks, (len(skill), n))
    chance = np.array([1.0 if s is None else s for s in skill])
    label = np.where(rng.random(shown.shape) < chance[:, None], shown, other(shown))
    label[[s is None for s in skill]] = 0
    hidden = rng.integers(0, k, n) if source == "coin" else label[0].copy()
    label[:copies] = np.where(rng.random((copies, n)) < rate, hidden, label[:copies])
    labeler = np.argsort(rng.random((n, len(skill))), axis=1)[:, :per].ravel()
    instance = np.repeat(np.arange(n), labeler.size // n)
    sizes = dict(n_labelers=len(skill), n_instances=n, n_values=k)
    return truth, Labels.from_arrays(labeler, instance, label[labeler, instance], **sizes)


def spread(seed, low, high, n):
    return np.random.default_rng(1000 + seed).uniform(low, high, n).tolist()


@pytest.mark.parametrize(("n_labelers", "per"), [(6, 6), (300, 4)], ids=["dense", "sparse"])
def test_pairs_are_counted_as_one_by_one(monkeypatch, n_labelers, per):
    monkeypatch.setattr(dependence, "LEAST", 1)
    _, labels = crowd(0, [0.7] * n_labelers, 120, k=3, per=per)
    who, cells = dependence.cells_of(labels)
    common, differ = dependence.pairs(cells)
    said: dict[int, dict[int, int]] = {int(w): {} for w in who}
    for w, j, value in zip(labels.labeler, labels.instance, labels.label, strict=True):
        said[int(w)][int(j)] = int(value)
    for a, b in itertools.combinations(range(len(who)), 2):
        one, two = said[int(who[a])], said[int(who[b])]
        both = one.keys() & two.keys()
        assert (common[a, b], differ[a, b]) == (len(both), sum(one[j] != two[j] for j in both))


@pytest.mark.parametrize(("n_labelers", "work"), [(8, 90), (120, 8000)], ids=["table", "label by label"])
def test_pairs_of_some_instances_are_counted_whatever_their_numbers_of_labels(monkeypatch, n_labelers, work):
    """Every so many instances, in small parts: labels in shares where a labeler repeats himself."""
    for name, value in {"LEAST": 1, "WORK": work, "PAIRS": 2**9, "AT_ONCE": 40}.items():
        monkeypatch.setattr(dependence, name, value)
    rng = np.random.default_rng(0)
    n, labeler = 1200, lambda n: rng.integers(0, n_labelers, n)
    instance = (100 * rng.random(n) ** 2).astype(int)
    cells = dependence.cells_of(Labels.from_arrays(labeler(n), instance, rng.integers(0, 3, n), n_values=3))[1]
    each = np.diff(cells.ends).astype(float)
    every = int(np.ceil(min((each**2).sum(), len(each) * n_labelers**2 * 3 / 100) / work))
    assert every > 1 and len(np.unique(each)) > 10
    share = np.zeros((len(each), n_labelers, 3))
    share.reshape(len(each), -1)[np.repeat(np.arange(len(each)), each.astype(int)), cells.column] = cells.share
    some = share[::every]
    judged, agreed = some.sum(2).T @ some.sum(2), np.einsum("iwl,ivl->wv", some, some)
    off = 1 - np.eye(n_labelers)
    common, differ = dependence.pairs(cells)
    np.testing.assert_allclose(common, judged * off, atol=1e-4)
    np.testing.assert_allclose(differ, (judged - agreed) * off, atol=1e-4)


def test_repeated_labels_share_the_weight_of_one():
    twice = Labels.from_arrays(np.repeat([0, 1, 2], 40), np.tile(np.repeat(np.arange(20), 2), 3), np.tile([0, 1], 60))
    common, differ = dependence.pairs(dependence.cells_of(twice)[1])
    np.testing.assert_allclose(common[0], [0, 20, 20])
    np.testing.assert_allclose(differ[0], [0, 10, 10])


def test_expected_disagreements_are_those_of_the_formula():
    _, labels = crowd(1, [0.6, 0.8, 0.9], 60, k=3, per=2)
    table = dependence.cells_of(labels)[1].table()
    p = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    counts = np.full((3, 3, 3), dependence.FLOOR)  # labeler, truth, label
    for w, j, value in zip(labels.labeler, labels.instance, labels.label, strict=True):
        counts[w, :, value] += p[j]
    v = counts / counts.sum(2, keepdims=True)
    asked = {j: labels.labeler[labels.instance == j] for j in range(60)}
    for a, b in itertools.combinations(range(3), 2):
        both = [j for j, who in asked.items() if {a, b} <= set(who.tolist())]
        expected = sum(p[j, k] * (1 - v[a, k] @ v[b, k]) for j in both for k in range(3))
        np.testing.assert_allclose(dependence.expectation(table, p)[a, b], expected, rtol=1e-6)


def test_the_likelihood_of_an_answer_of_its_own_is_no_less_than_without():
    """Where the answer is the truth the two are the same model."""
    for seed in range(5):
        _, labels = crowd(seed, spread(seed, 0.6, 0.9, 4), 100)
        table = dependence.cells_of(labels)[1].table()
        p = np.full((100, 2), 0.5)
        _, q = dependence.consensus(table)
        assert dependence.latent(table, p, q, True) > dependence.latent(table, p, q, False) - 0.5


COPYING = {
    "5 of 12 copy a coin": dict(shape=(12, 150), copies=5),
    "10 of 30 copy one": dict(shape=(30, 200), copies=10, source="first"),
    "10 of 30 copy one, 10 labels each": dict(shape=(30, 200), copies=10, source="first", per=10),
    "5 of 12 copy one, 5 classes, 6 labels each": dict(shape=(12, 150), copies=5, source="first", per=6, k=5),
    "2 of 12 copy a coin": dict(shape=(12, 150), copies=2),
}


@pytest.mark.parametrize("name", COPYING)
def test_copiers_are_named(name):
    """In at least 18 of 20 crowds, all of them and hardly anybody else."""
    (n_labelers, n), *_ = (COPYING[name]["shape"],)
    settings = {key: value for key, value in COPYING[name].items() if key != "shape"}
    named, wrong = 0, 0
    for seed in range(20):
        _, labels = crowd(seed, spread(seed, 0.65, 0.9, n_labelers), n, **settings)
        found = {i for group in dependence.groups(labels) for i in group.labelers}
        named += found >= set(range(settings["copies"]))
        wrong += len(found - set(range(settings["copies"])))
    assert named >= 18 and wrong <= 2


HONEST = {
    "varied": lambda s: crowd(s, spread(s, 0.55, 0.99, 30), 200, per=10),
    "able": lambda s: crowd(s, spread(s, 0.9, 0.99, 12), 150),
    "few labels": lambda s: crowd(s, spread(s, 0.6, 0.99, 30), 200, per=3),
    "rare": lambda s: crowd(s, spread(s, 0.85, 0.99, 12), 150, prior=[0.98, 0.02]),
    "misread": lambda s: crowd(s, spread(s, 0.6, 0.99, 12), 150, misread=0.3),
    "experts among guessers": lambda s: crowd(s, [0.5] * 9 + spread(s, 0.85, 0.99, 3), 150),
    "experts among guessers of three classes": lambda s: crowd(s, [1 / 3] * 9 + spread(s, 0.9, 0.99, 3), 150, k=3),
    "always the same": lambda s: crowd(s, [None] * 4 + spread(s, 0.65, 0.95, 8), 150),
    "five classes": lambda s: crowd(s, spread(s, 0.4, 0.99, 30), 300, k=5, per=6),
}


def test_honest_crowds_raise_no_alarm():
    """In 135 crowds of nine kinds, where 2 % would be nearly three."""
    alarms = {(name, seed) for name, make in HONEST.items() for seed in range(15) if dependence.groups(make(seed)[1])}
    assert len(alarms) <= 1, alarms


@pytest.mark.parametrize("name", ["bluebirds", "duchenne", "ducks", "d_possent", "sp_amt", "zencrowd"])
def test_real_sets_raise_no_alarm(real_set, name):
    assert dependence.groups(real_set(name).labels) == ()


def test_a_group_has_one_voice_on_each_instance():
    _, labels = crowd(0, [0.7] * 9, 50, per=5)
    once = dependence.once(labels, [(0, 1, 2), (5, 7)])
    for members in ((0, 1, 2), (5, 7)):
        own = np.isin(labels.labeler, members)
        total = np.bincount(labels.instance[own], np.asarray(once.weight)[own], 50)
        assert set(np.round(total, 9)) <= {0.0, 1.0}
    assert np.all(np.asarray(once.weight)[~np.isin(labels.labeler, (0, 1, 2, 5, 7))] == 1)


def as_table(labels, names=None):
    labeler = np.asarray(labels.labeler) if names is None else np.asarray(names)[labels.labeler]
    return {"labeler": labeler, "instance": np.asarray(labels.instance), "label": np.asarray(labels.label)}


NAMES = [f"w{i:02}" for i in range(12)]


@pytest.mark.parametrize("model", ["majority", "dawid-skene", "auto"])
def test_copies_that_count_once_do_not_lead_the_fit(model):
    truth, labels = crowd(3, spread(3, 0.65, 0.9, 12), 150, copies=5)
    told = crowdjax.fit(as_table(labels, NAMES), model)
    once = crowdjax.fit(as_table(labels, NAMES), model, copies="once")
    right = lambda result: float((np.asarray(result.instances["label"]) == truth).mean())  # noqa: E731
    assert right(told) < 0.75 and right(once) >= 0.88
    said = "5 labelers seem to repeat one another: w00, w01, w02, w03, w04."
    assert sum(w.startswith(said) and "copies='once'" in w for w in told.warnings) == 1
    assert sum(w.startswith(said) and "They count as one labeler." in w for w in once.warnings) == 1
    assert once.record["copies"]["groups"][0]["names"] == NAMES[:5]
    again = once.predict(as_table(labels, NAMES))
    assert np.mean(np.asarray(again.instances["label"]) == np.asarray(once.instances["label"])) > 0.98


def test_copies_count_once_among_three_classes_and_after_loading(tmp_path):
    truth, labels = crowd(4, spread(4, 0.65, 0.9, 12), 150, k=3, copies=5)
    once = crowdjax.fit(as_table(labels), "dawid-skene", copies="once")
    assert (np.asarray(once.instances["label"]) == truth).mean() >= 0.88
    once.save(tmp_path / "out")
    loaded = crowdjax.load(tmp_path / "out")
    assert loaded.record["copies"] == once.record["copies"]
    answers = [np.asarray(r.predict(as_table(labels)).instances["confidence"]) for r in (once, loaded)]
    np.testing.assert_array_equal(*answers)


def test_an_honest_crowd_is_fitted_alike_either_way():
    _, labels = crowd(5, spread(5, 0.65, 0.9, 8), 60)
    warn, once = (crowdjax.fit(as_table(labels), copies=copies) for copies in ("warn", "once"))
    assert warn.record["objective"] == once.record["objective"]
    assert not any("repeat one another" in w for w in (*warn.warnings, *once.warnings))


def test_what_is_refused():
    table = as_table(crowd(6, [0.8] * 3, 30)[1])
    with pytest.raises(InputError, match=r"copies: got 'twice'; allowed: warn, once"):
        crowdjax.fit(table, copies="twice")
    counts = {"instance": ["a", "b"], "0": [3, 1], "1": [0, 2]}
    with pytest.raises(InputError, match="copies: got 'once' with counts, whose labelers are unknown"):
        crowdjax.fit(counts, "majority", form="counts", copies="once")


def test_the_command_takes_copies_but_not_in_pieces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROWDJAX_CACHE", "off")
    table = as_table(crowd(3, spread(3, 0.65, 0.9, 12), 150, copies=5)[1], NAMES)
    rows = zip(*table.values(), strict=True)
    (tmp_path / "labels.csv").write_text("labeler,instance,label\n" + "".join(f"{w},{j},{v}\n" for w, j, v in rows))
    done = CliRunner().invoke(app, ["fit", "labels.csv", "--copies", "once", "--out", "out"])
    assert done.exit_code == 0 and "They count as one labeler." in " ".join(done.stderr.split())
    pieces = CliRunner().invoke(app, ["fit", "labels.csv", "--copies", "once", "--minibatch", "9", "--out", "two"])
    assert pieces.exit_code == 2 and "--copies: got once with --minibatch" in pieces.stderr
