"""Labels: what is accepted, what is refused and how, and that no layout changes the data."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdjax import labels as module
from crowdjax.labels import LabelError, Labels


def table(labels: Labels) -> list[tuple]:
    """The judgements that count, as sorted tuples (instance, labeler, label, weight)."""
    counts = np.asarray(labels.counts, float)
    rows = zip(labels.instance, labels.labeler, labels.label, counts, strict=True)
    return sorted((int(j), int(i), int(y), float(c)) for j, i, y, c in rows if c > 0)


@pytest.mark.parametrize(
    "label",
    [[1, 0, 1, 0], [1, -1, 1, -1], [True, False, True, False], [1.0, 0.0, 1.0, 0.0], [1.0, -1.0, 1.0, -1.0],
     np.array([1, 0, 1, 0], np.uint8), np.array([1, -1, 1, -1], np.int8)],
    ids=["0/1", "-1/+1", "bool", "float 0/1", "float -1/+1", "uint8", "int8"],
)  # fmt: skip
def test_every_alphabet_means_the_same(label):
    found = Labels.from_arrays([0, 1, 2, 0], [0, 0, 0, 1], label)
    assert table(found) == [(0, 0, 1, 1.0), (0, 1, 0, 1.0), (0, 2, 1, 1.0), (1, 0, 0, 1.0)]
    assert (found.n_labelers, found.n_instances, found.n_blocks) == (3, 2, 1)


def test_all_zeros_are_negatives_and_all_ones_positives():
    assert table(Labels.from_arrays([0, 1], [0, 0], [0, 0])) == [(0, 0, 0, 1.0), (0, 1, 0, 1.0)]
    assert table(Labels.from_arrays([0, 1], [0, 0], [1, 1])) == [(0, 0, 1, 1.0), (0, 1, 1, 1.0)]


REPEATED = dict(labeler=[1, 0, 1, 1, 0], instance=[0, 0, 0, 0, 1], label=[1, 1, 0, 0, 1])  # labeler 1 said 1, 0, 0


@pytest.mark.parametrize(
    ("repeats", "expected"),
    [
        ("count", [(0, 0, 1, 1), (0, 1, 0, 1), (0, 1, 0, 1), (0, 1, 1, 1), (1, 0, 1, 1)]),
        ("first", [(0, 0, 1, 1), (0, 1, 1, 1), (1, 0, 1, 1)]),
        ("last", [(0, 0, 1, 1), (0, 1, 0, 1), (1, 0, 1, 1)]),
        ("mean", [(0, 0, 1, 1), (0, 1, 0, 1 / 3), (0, 1, 0, 1 / 3), (0, 1, 1, 1 / 3), (1, 0, 1, 1)]),
    ],
)
def test_rules_for_repeated_judgements(repeats, expected):
    assert table(Labels.from_arrays(**REPEATED, repeats=repeats)) == expected


def test_weights_follow_their_judgements_through_every_rule():
    weight = [2.0, 3.0, 4.0, 6.0, 5.0]
    found = {
        r: table(Labels.from_arrays(**REPEATED, weight=weight, repeats=r)) for r in ("count", "first", "last", "mean")
    }
    assert found["count"] == [(0, 0, 1, 3), (0, 1, 0, 4), (0, 1, 0, 6), (0, 1, 1, 2), (1, 0, 1, 5)]
    assert found["first"] == [(0, 0, 1, 3), (0, 1, 1, 2), (1, 0, 1, 5)]
    assert found["last"] == [(0, 0, 1, 3), (0, 1, 0, 6), (1, 0, 1, 5)]
    assert found["mean"] == [(0, 0, 1, 3), (0, 1, 0, 4 / 3), (0, 1, 0, 2), (0, 1, 1, 2 / 3), (1, 0, 1, 5)]


@pytest.mark.parametrize("repeats", ["count", "first", "last", "mean"])
def test_zero_weight_rows_change_nothing(repeats):
    rng = np.random.default_rng(3)
    data = dict(labeler=rng.integers(0, 4, 30), instance=rng.integers(0, 5, 30), label=rng.integers(0, 2, 30))
    weight = rng.choice([0.0, 1.0, 2.0], 30)
    kept = weight > 0
    sizes = dict(n_labelers=4, n_instances=5, repeats=repeats)
    with_them = Labels.from_arrays(**data, weight=weight, **sizes)
    without = Labels.from_arrays(**{k: v[kept] for k, v in data.items()}, weight=weight[kept], **sizes)
    assert table(with_them) == table(without)


@given(st.randoms(use_true_random=False), st.sampled_from(["count", "mean"]))
@settings(max_examples=30, deadline=None)
def test_row_order_is_irrelevant(random, repeats):
    rng = np.random.default_rng(random.randrange(2**32))
    n = 40
    data = np.c_[rng.integers(0, 5, n), rng.integers(0, 6, n), rng.integers(0, 2, n)]
    weight = rng.integers(1, 4, n) / 2
    shuffled = rng.permutation(n)
    make = lambda order: Labels.from_arrays(*data[order].T, weight=weight[order], repeats=repeats)  # noqa: E731
    assert table(make(np.arange(n))) == table(make(shuffled))


@pytest.mark.parametrize("repeats", ["first", "last"])
def test_row_order_of_other_pairs_is_irrelevant_to_first_and_last(repeats):
    """Only the order within one (labeler, instance) pair may matter."""
    rng = np.random.default_rng(4)
    pair, label = rng.integers(0, 12, 60), rng.integers(0, 2, 60)
    make = lambda order: table(Labels.from_arrays(pair[order] % 3, pair[order] // 3, label[order], repeats=repeats))  # noqa: E731
    by_pair = np.argsort(pair, kind="stable")
    assert make(np.arange(60)) == make(by_pair)


@pytest.mark.parametrize("n_labelers", [5, 2**20], ids=["32 bits", "64 bits"])
def test_triples_are_in_the_order_of_instances_labelers_and_labels(n_labelers):
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, high, 500) for high in (2**14, n_labelers, 3)])
    rows[:, :250] = rows[:, 250:]  # each twice
    instance, labeler, label = rows
    found = Labels.from_arrays(labeler, instance, label, n_values=3, n_labelers=n_labelers, n_instances=2**14)
    real = np.asarray(found.label) >= 0
    expected = rows[:, np.lexsort(rows[::-1])]
    for values, of in zip((found.instance, found.labeler, found.label), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(values)[real], of)


def degrees(kind: str) -> np.ndarray:
    """Labels per instance; the last instance always has some, so that sizes agree."""
    rng = np.random.default_rng(5)
    if kind == "even":
        return np.full(300, 6)
    if kind == "power-law":
        return np.minimum(np.round(2 * (1 - rng.random(300)) ** -0.7).astype(int), 60)
    if kind == "many empty":
        d = np.zeros(2000, int)
        d[rng.choice(2000, 250, replace=False)] = 5
        d[-1] = 3
        return d
    d = np.ones(300, int)
    d[100] = 2000
    return d


@pytest.mark.parametrize("kind", ["even", "power-law", "many empty", "one giant instance"])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocked_layout_holds_the_same_data_as_flat(monkeypatch, kind, weighted):
    monkeypatch.setattr(module, "FLAT_BELOW", 64)
    monkeypatch.setattr(module, "LABELS_PER_BLOCK", 400)
    rng = np.random.default_rng(6)
    instance = np.repeat(np.arange(len(degrees(kind))), degrees(kind))
    rng.shuffle(instance)
    data = dict(labeler=rng.integers(0, 50, len(instance)), instance=instance, label=rng.integers(0, 2, len(instance)))
    weight = rng.random(len(instance)) if weighted else None
    blocked = Labels.from_arrays(**data, weight=weight)
    flat = Labels.from_arrays(**data, weight=weight, blocks=False)
    assert (flat.n_blocks, len(flat.label)) == (1, len(instance))
    assert (blocked.n_blocks > 1) == (kind != "one giant instance")
    assert table(blocked) == table(flat)

    # What the kernels count on: equal blocks, sorted instances, each in its block, padding without label and weight.
    width = len(blocked.label) // blocked.n_blocks
    assert width * blocked.n_blocks == len(blocked.label) <= module.MAX_PADDING * len(instance)
    assert blocked.n_blocks * blocked.block_instances >= blocked.n_instances
    assert (np.diff(blocked.instance) >= 0).all()
    assert (blocked.instance >= 0).all() and (blocked.instance < blocked.n_instances).all()
    assert (blocked.labeler >= 0).all() and (blocked.labeler < blocked.n_labelers).all()
    np.testing.assert_array_equal(blocked.instance // blocked.block_instances, np.arange(len(blocked.label)) // width)
    np.testing.assert_array_equal(np.asarray(blocked.counts)[blocked.label == -1], 0)
    assert blocked.real.sum() == len(instance)


def test_other_weights_never_wake_the_padding(monkeypatch):
    monkeypatch.setattr(module, "FLAT_BELOW", 64)
    monkeypatch.setattr(module, "LABELS_PER_BLOCK", 400)
    instance = np.repeat(np.arange(300), degrees("power-law"))
    labels = Labels.from_arrays(np.zeros_like(instance), instance, np.ones_like(instance))
    assert not labels.real.all()
    doubled = labels.with_weight(np.full(labels.label.shape, 2.0))
    np.testing.assert_array_equal(doubled.counts, np.where(labels.real, 2.0, 0.0))


def test_gold_is_a_code_and_minus_one_where_unknown():
    nan = float("nan")
    for gold in ([1, nan, 0], [1, nan, -1], np.array([1, nan, 0], np.float32)):
        found = Labels.from_arrays([0, 0, 0], [0, 1, 2], [1, 1, 1], gold=gold)
        np.testing.assert_array_equal(found.gold, [1, -1, 0])
    assert Labels.from_arrays([0, 0], [0, 1], [1, 1], gold=[nan, nan]).gold.tolist() == [-1, -1]
    assert Labels.from_arrays([0], [0], [1]).gold is None


def test_labels_are_a_pytree_with_static_sizes():
    labels = Labels.from_arrays([0, 1], [0, 1], [1, 0], weight=[1, 2], n_labelers=5, n_instances=7)
    leaves, tree = jax.tree.flatten(labels)
    assert len(leaves) == 4  # labeler, instance, label, weight; no gold
    again = jax.tree.unflatten(tree, leaves)
    assert (again.n_labelers, again.n_instances) == (5, 7)
    assert (labels.labeler.dtype, labels.instance.dtype, labels.label.dtype) == (np.int32, np.int32, np.int8)
    assert jax.jit(lambda x: x.counts.sum())(labels) == 3


OK = dict(labeler=[0, 1], instance=[0, 0], label=[1, 0])


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (dict(label=[1, 2]), ["label", "2", "row 1", "0/1", "-1/+1"]),
        (dict(label=[1, 0.5]), ["label", "0.5", "row 1", "0/1"]),
        (dict(label=[1, np.nan]), ["label", "nan", "row 1", "0/1"]),
        (dict(label=[0, -1]), ["label", "-1 at row 1", "0 at row 0", "either"]),
        (dict(label=["a", "b"]), ["label", "type", "true/false"]),
        (dict(label=[None, 1]), ["label", "type"]),
        (dict(labeler=[0, -1]), ["labeler", "-1", "row 1", "0 to"]),
        (dict(labeler=[0, 3], n_labelers=2), ["labeler", "3", "row 1", "0 to 1"]),
        (dict(instance=[0, 9], n_instances=9), ["instance", "9", "row 1", "0 to 8"]),
        (dict(labeler=["x", "y"]), ["labeler", "type", "integers from 0"]),
        (dict(instance=[0.0, 1.0]), ["instance", "float64", "integers from 0"]),
        (dict(labeler=[0]), ["lengths differ", "labeler 1", "instance 2", "label 2"]),
        (dict(instance=[0, 0, 0]), ["lengths differ", "instance 3"]),
        (dict(weight=[1.0]), ["lengths differ", "weight 1"]),
        (dict(weight=[1.0, -0.5]), ["weight", "-0.5", "row 1", "0 to 1e+30"]),
        (dict(weight=[np.nan, 1.0]), ["weight", "nan", "row 0", "0 to 1e+30"]),
        (dict(weight=[1.0, np.inf]), ["weight", "inf", "row 1", "0 to 1e+30"]),
        (dict(labeler=[], instance=[], label=[]), ["no labels"]),
        (dict(repeats="median"), ["repeats", "'median'", "count, first, last, mean"]),
        (dict(gold=[1, 0]), ["gold", "2 entries", "1 instances"]),
        (dict(gold=[3]), ["gold", "3", "row 0"]),
        (dict(instance=[0, 2], gold=[np.nan, np.nan, 5]), ["gold", "5", "row 2"]),
        (dict(instance=[0, 2], gold=[np.nan, 0, -1]), ["gold", "-1 at row 2", "0 at row 1"]),
    ],
)
def test_refusals_name_the_value_the_place_and_what_is_allowed(change, names):
    with pytest.raises(LabelError) as caught:
        Labels.from_arrays(**{**OK, **change})
    message = str(caught.value)
    assert all(name in message for name in names), message
    assert "\n" not in message


def test_a_table_whose_weights_are_all_zero_has_no_labels():
    with pytest.raises(LabelError, match="no labels"):
        Labels.from_arrays(**OK, weight=[0.0, 0.0])
