"""The warning that labels agree no more than chance would have it: where it comes, and where not."""

import functools
import operator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import crowdjax
from crowdjax import datasets
from crowdjax.api import fit_large
from crowdjax.cautions import about_chance, about_comparison
from crowdjax.chance import PRETENDED, compare
from crowdjax.labels import Labels


def crowd(seed, n_classes=2, right=0.0, n_labelers=10, n_items=100, per_item=5, prior=None):
    """Draw labels that are the truth's with a probability, else drawn from the prior, whatever the instance."""
    rng = np.random.default_rng(seed)
    z = rng.choice(n_classes, n_items, p=prior)
    i = np.concatenate([rng.choice(n_labelers, per_item, replace=False) for _ in range(n_items)])
    j = np.repeat(np.arange(n_items), per_item)
    label = np.where(rng.random(len(i)) < right, z[j], rng.choice(n_classes, len(i), p=prior))
    return z, i, j, label


def warned(i, j, label, **more):
    return bool(about_chance(Labels.from_arrays(i, j, label, n_values=max(2, int(label.max()) + 1)), **more))


@pytest.mark.parametrize(("n_classes", "prior"), [(2, None), (3, None), (5, None), (2, [0.9, 0.1])])
def test_it_comes_for_labelers_who_do_not_look(n_classes, prior):
    """Scores exceed what chance exceeds in 1.1 %: of forty crowds, three or more in 1 of 100 runs."""
    assert sum(warned(*crowd(seed, n_classes, prior=prior)[1:]) for seed in range(40)) >= 37


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_it_does_not_come_for_labelers_who_know_a_little(n_classes):
    assert sum(warned(*crowd(seed, n_classes, right=0.45)[1:]) for seed in range(20)) == 0


@pytest.mark.parametrize("n_classes", [200, 1000])
def test_nor_where_classes_are_many(n_classes):
    """A part of the table is compared; once it was two instances of a thousand classes, and the warning came."""
    assert not any(warned(*crowd(seed, n_classes, 0.3, 50, 1000)[1:]) for seed in range(5))
    assert sum(warned(*crowd(seed, n_classes, 0.0, 50, 1000)[1:]) for seed in range(10)) >= 9


@pytest.mark.parametrize("most", [10_000_000, 1])
def test_the_variance_is_that_of_labels_of_chance(monkeypatch, most):
    """Labels drawn again from the shares, of each labeler; and the formula by matrices, whole and from some pairs."""
    monkeypatch.setattr("crowdjax.chance.MOST_PAIRED", most)
    _, i, j, label = crowd(5, 3, 0.2, per_item=8, n_items=2000)
    share = np.array([np.bincount(label[i == k], minlength=3) for k in range(10)]).astype(float)
    share += PRETENDED * (share / share.sum(1, keepdims=True)).mean(0)
    share /= share.sum(1, keepdims=True)
    c = np.array([np.diag(p) - np.outer(p, p) for p in share])
    together = np.zeros((10, 10))
    for k in range(2000):
        together[np.ix_(i[j == k], i[j == k])] += 1
    np.fill_diagonal(together, 0)
    exact = 2 * (together * np.einsum("ikl,jlk->ij", c, c)).sum()
    found = compare(Labels.from_arrays(i, j, label, n_values=3))
    assert found.variance == pytest.approx(exact, rel=1e-9 if most > 1 else 0.01)
    rng = np.random.default_rng(0)
    cuts = share.cumsum(1)
    x = [np.eye(3)[(rng.random(len(i))[:, None] > cuts[i, :2]).sum(1)] - share[i] for _ in range(400)]
    sums = [np.array([np.bincount(j, v[:, l]) for l in range(3)]) for v in x]
    more = [(s**2).sum() - (v**2).sum() for s, v in zip(sums, x, strict=True)]
    assert np.var(more) == pytest.approx(exact, rel=0.25)  # 3.5 standard errors of a variance of 400


def test_it_does_not_come_where_few_instances_are_of_a_class():
    """Eight of 400, on which nine labels of ten are right, as on all others."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        z, j = rng.random(400) < 0.02, np.repeat(np.arange(400), 5)
        i = np.concatenate([rng.choice(30, 5, replace=False) for _ in range(400)])
        label = np.where(rng.random(2000) < 0.9, z[j], ~z[j]).astype(int)
        assert z.sum() < 3 or not warned(i, j, label)


def test_labels_that_a_labeler_repeats_are_no_agreement():
    _, i, j, label = crowd(6)
    assert warned(*(np.repeat(v, 3) for v in (i, j, label)))


def test_it_does_not_come_where_half_the_crowd_says_the_opposite():
    """Over all pairs they agree as coins do."""
    for seed in range(10):
        _, i, j, label = crowd(seed, right=0.7, n_labelers=20, n_items=150, per_item=6)
        assert not warned(i, j, np.where(i % 2 == 0, label, 1 - label))


@pytest.mark.parametrize("share", [0.4, 0.5])
def test_it_does_not_come_where_many_labelers_of_few_labels_are_adversaries(share):
    """Ninety labelers share some ten instances with each other one: no pair of them says much."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        z, j = rng.random(300) < 0.5, np.repeat(np.arange(300), 5)
        i = np.concatenate([rng.choice(90, 5, replace=False) for _ in range(300)])
        right = np.where(i < share * 90, 0.2, 0.8)
        assert not warned(i, j, np.where(rng.random(1500) < right, z[j], ~z[j]).astype(int))


def test_nor_where_each_labeler_has_one_label():
    _, i, j, label = crowd(0, right=0.7)
    assert not warned(np.arange(len(i)), j, label)
    assert warned(np.arange(len(i)), j, crowd(1)[3])


def test_nor_of_few_labels_nor_with_gold_nor_where_all_are_alike():
    _, i, j, label = crowd(2)
    assert not warned(i[:40], j[:40], label[:40])
    assert not warned(i, j, label, gold=np.r_[1.0, np.full(99, np.nan)])
    assert not warned(i, j, np.ones_like(label))


def test_a_large_table_is_judged_by_a_part_of_it(monkeypatch):
    _, i, j, label = crowd(3, n_items=400)
    monkeypatch.setattr("crowdjax.chance.MOST_COMPARED", 750)
    monkeypatch.setattr("crowdjax.chance.MOST_SHUFFLED", 300)
    assert warned(i, j, label)
    _, i, j, label = crowd(3, right=0.7, n_items=400)
    assert not warned(i, j, label)


def scored(seed, n_items=1000, prevalence=0.03, useful=True, right=0.8):
    """Draw rare classes, two labels of each instance, and a score that may or may not tell them."""
    rng = np.random.default_rng(seed)
    z, j = rng.random(n_items) < prevalence, np.repeat(np.arange(n_items), 2)
    i = np.concatenate([rng.choice(10, 2, replace=False) for _ in range(n_items)])
    label = np.where(rng.random(2 * n_items) < right, z[j], ~z[j]).astype(int)
    return i, j, label, (2.5 * useful * z + rng.normal(size=n_items))[:, None]


def test_labels_that_follow_a_score_know_something():
    """Where positives are rare, two labels of each instance hardly show it by themselves."""
    crowds = [scored(seed) for seed in range(40)]
    assert sum(warned(i, j, label) for i, j, label, _ in crowds) > 20
    assert sum(warned(i, j, label, scores=score) for i, j, label, score in crowds) <= 4
    both = [np.c_[score, np.full(len(score), np.nan)] for *_, score in crowds]
    assert sum(warned(*crowd[:3], scores=score) for crowd, score in zip(crowds, both, strict=True)) <= 4


def ends(seed, right, per=10, n_labelers=40, n_items=400):
    """Draw labels of labelers who each see one half of a score; nobody looks where ``right`` is None."""
    rng = np.random.default_rng(seed)
    score = rng.random(n_items)
    low, high = np.flatnonzero(score < 0.5), np.flatnonzero(score >= 0.5)
    i = np.repeat(np.arange(n_labelers), per)
    j = np.concatenate([rng.choice(low if w % 2 else high, per, replace=False) for w in range(n_labelers)])
    label = rng.random(len(i)) < np.where(i % 2, 0.2, 0.8)
    if right is not None:
        label = np.where(rng.random(len(i)) < right, score[j] > 0.75, score[j] <= 0.75)
    return i, j, label.astype(int), score[:, None]


def test_a_bias_that_follows_the_score_is_not_knowledge():
    """Labelers of the high end say 1 in .8, those of the low end in .2, whatever the instance."""
    assert (
        sum(warned(i, j, label, scores=score) for i, j, label, score in (ends(seed, None) for seed in range(40))) >= 36
    )
    assert not any(warned(i, j, label, scores=score) for i, j, label, score in (ends(seed, 0.9) for seed in range(10)))


def casual(seed, busy, others, per=5):
    """Draw two labelers who see all of 300 instances and forty who see five, none of whom looks."""
    rng = np.random.default_rng(seed)
    i = np.r_[np.repeat([0, 1], 300), np.repeat(np.arange(2, 42), per)]
    j = np.r_[np.tile(np.arange(300), 2), np.concatenate([rng.choice(300, per, replace=False) for _ in range(40)])]
    label = rng.random(len(i)) < np.where(i < 2, busy, others)
    return i, j, label.astype(int), (rng.random(300) < 0.05).astype(float)[:, None]


@pytest.mark.parametrize(("busy", "others"), [(0.9, 0.1), (0.8, 0.3)])
def test_casual_labelers_who_differ_from_busy_ones_are_no_agreement(busy, others):
    """A flag of twenty instances is a score whose ranks have ties."""
    crowds = [casual(seed, busy, others) for seed in range(40)]
    assert sum(warned(i, j, label) for i, j, label, _ in crowds) >= 36
    assert sum(warned(i, j, label, scores=score) for i, j, label, score in crowds) >= 36


def test_labels_of_both_ends_of_a_score_follow_it():
    rng = np.random.default_rng(0)
    i, j, _, score = scored(0, right=0.5)
    label = (rng.random(len(i)) < 0.2 + 0.6 * (abs(score[j, 0]) > 1)).astype(int)
    assert not warned(i, j, label, scores=score)


@pytest.mark.parametrize("useful", [True, False])
def test_labels_of_chance_follow_no_score(useful):
    crowds = [scored(seed, useful=useful, right=0.5) for seed in range(40)]
    assert sum(warned(i, j, label, scores=score) for i, j, label, score in crowds) >= 36


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_model_with_a_score_says_it(n_classes):
    _, i, j, label = crowd(5, n_classes)
    score = np.random.default_rng(5).normal(size=100)
    told = []
    for said in (label, np.where(score[j] > 0, n_classes - 1, label)):
        scores = {"instance": np.arange(100), "score": score}
        simple = dict(labelers="global", inference="laplace", prevalence="linear", accuracy="constant")
        table = {"labeler": i, "instance": j, "label": said}
        told.append(crowdjax.context(table, scores, **simple).warnings)
    assert [any("no more than chance would have it" in said for said in all_) for all_ in told] == [True, False]


@pytest.mark.parametrize(("model", "n_classes"), [("dawid-skene", 2), ("dawid-skene", 3)])
def test_a_fit_in_parts_says_it(model, n_classes, tmp_path):
    for seed, right in ((5, 0.0), (5, 0.8)):
        _, i, j, label = crowd(seed, n_classes, right=right, n_items=400)
        table = pa.table({"labeler": i, "instance": j, "label": label})
        pq.write_table(table, tmp_path / "labels.parquet")
        told = fit_large(tmp_path / "labels.parquet", tmp_path / f"{right}", model, batch=1000).warnings
        assert any(said.startswith("Labels agree no more than chance") for said in told) == (right == 0)


def test_parts_together_say_what_the_whole_says():
    """Each has too few pairs to see what labelers know who are right in .65."""
    rng = np.random.default_rng(0)
    z, j = rng.random(1500) < 0.5, np.repeat(np.arange(1500), 3)
    i = np.concatenate([rng.choice(30, 3, replace=False) for _ in range(1500)])
    label = np.where(rng.random(4500) < 0.65, z[j], ~z[j]).astype(int)
    of_parts = [compare(Labels.from_arrays(i[j % 15 == k], j[j % 15 == k], label[j % 15 == k])) for k in range(15)]
    assert sum(found.beyond for found in of_parts) < 15
    together = functools.reduce(operator.add, of_parts)
    assert together.beyond and together.pairs == 4500 and not about_comparison(together)


def test_anonymous_votes_are_of_as_many_labelers():
    rng, instance = np.random.default_rng(0), np.arange(300)
    for chance, said in ((np.full(300, 0.5), True), (np.where(instance % 2, 0.35, 0.65), False)):
        n = rng.binomial(10, chance)
        votes = {"instance": instance, "no": 10 - n, "yes": n}
        assert told(crowdjax.fit(votes, "majority", form="counts").warnings) == said


def told(warnings):
    return any(said.startswith("Labels agree no more than chance") for said in warnings)


@pytest.mark.parametrize("model", ["auto", "dawid-skene", "majority"])
def test_every_model_says_it(model):
    _, i, j, label = crowd(4)
    told = crowdjax.fit({"labeler": i, "instance": j, "label": label}, model).warnings
    assert sum(said.startswith("Labels agree no more than chance") for said in told) == 1


def test_no_real_set_has_it(data_dir, monkeypatch):
    monkeypatch.setenv(datasets.VARIABLE, str(data_dir))
    for name in datasets.BINARY:
        assert not about_chance(datasets.load(name).labels), name


@pytest.mark.parametrize("weight", [1.0, 2000.0, 1e20])
def test_votes_of_some_instances_alone_and_of_one_with_many_are_compared(weight):
    """An instance without votes between others, and one whose votes are more than are compared."""
    j = np.repeat([0, 2, 5], 20)
    votes = Labels.from_arrays(np.arange(60), j, np.arange(60) % 20, n_values=20, weight=np.full(60, weight))
    found = compare(votes, anonymous=True)
    assert found.pairs > 0 and np.isfinite([found.more, found.variance]).all()
