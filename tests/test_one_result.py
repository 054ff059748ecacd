"""Results of two classes are of one shape whatever the model, and do what results of more classes do."""

import numpy as np
import pytest

import crowdjax
from crowdjax import saving
from crowdjax.facade.fitted import Fitted

W, I = 9, 60
MODELS = ["majority", "one-coin", "dawid-skene", "glad", "glad-linear", "factor", "integrated", "auto"]
CLASSES = np.array(["no", "yes"])


def crowd(seed: int, able=0.8):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, I)
    right = rng.random((I, W)) < able
    label = np.where(right, truth[:, None], 1 - truth[:, None])
    table = {"labeler": np.tile(np.arange(W), I), "instance": np.repeat(np.arange(I), W)}
    return table | {"label": CLASSES[label.ravel()]}, truth


TABLE, TRUTH = crowd(0)


@pytest.fixture(scope="module")
def fits():
    found = {}
    return lambda name: found.setdefault(name, crowdjax.fit(TABLE, name))


@pytest.mark.parametrize("name", MODELS)
def test_tables_and_record_are_of_one_shape(fits, name):
    result, three = fits(name), crowdjax.fit(TABLE | {"label": TABLE["labeler"] % 3}, "one-coin")
    assert isinstance(result, Fitted) and isinstance(three, Fitted)
    assert result.tables["instances"].column_names[:4] == ["instance", "label", "confidence", "probability"]
    people = result.tables["labelers"]
    assert people.column_names[:9] == three.tables["labelers"].column_names
    assert result.tables["confusion"].schema.names == three.tables["confusion"].schema.names
    assert {*three.record} - {"kind", "class_shares", "settings", "solver"} <= {*result.record}
    assert result.record["classes"] == ["no", "yes"] and "words" not in result.record
    p = result.tables["instances"]["probability"].to_numpy()
    np.testing.assert_allclose(result.tables["instances"]["confidence"].to_numpy(), np.maximum(p, 1 - p))


@pytest.mark.parametrize("name", MODELS)
def test_confusion_is_sensitivity_and_specificity_and_intervals_hold_their_estimates(fits, name):
    people, cells = (fits(name).tables[kind] for kind in ("labelers", "confusion"))
    right = cells.filter(np.asarray(cells["truth"]) == np.asarray(cells["label"]))
    for k, measure in ((1, "sensitivity"), (0, "specificity")):
        of_class = right.filter(np.asarray(right["truth"]) == CLASSES[k])
        for end, column in zip(("", "_lower", "_upper"), ("probability", "lower", "upper"), strict=True):
            assert of_class[column].to_pylist() == people[measure + end].to_pylist()
    sums = np.asarray(cells["probability"]).reshape(W, 2, 2).sum(2)
    np.testing.assert_allclose(sums, 1, rtol=1e-6)
    for measure in ("sensitivity", "specificity", "informedness"):
        lower, mean, upper = (people[measure + end].to_numpy() for end in ("_lower", "", "_upper"))
        assert (lower < mean).all() and (mean < upper).all()
    informed = people["sensitivity"].to_numpy() + people["specificity"].to_numpy() - 1
    np.testing.assert_allclose(people["informedness"].to_numpy(), informed, atol=2e-6)


def test_more_labels_make_intervals_narrower_as_the_root_of_their_number():
    widths = []
    for table in (TABLE, TABLE | {"weight": np.full(W * I, 4)}):
        people = crowdjax.fit(table, "dawid-skene").tables["labelers"]
        widths.append(people["upper"].to_numpy() - people["lower"].to_numpy())
    assert np.mean(widths[1] / widths[0]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("name", ["one-coin", "dawid-skene"])
def test_intervals_of_labelers_cover_what_a_crowd_was_drawn_with(name):
    """Of 25 × 9 labelers; known truths, so that what is tested is the interval: .95 ± three standard errors."""
    inside = []
    for seed in range(25):
        table, truth = crowd(100 + seed)
        gold = {"instance": np.arange(I), "label": CLASSES[truth]}
        people = crowdjax.fit(table, name, gold=gold).tables["labelers"]
        lower, upper = (people[f"sensitivity_{end}"].to_numpy() for end in ("lower", "upper"))
        inside.append((lower <= 0.8) & (upper >= 0.8))
    assert abs(np.mean(inside) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / (25 * W)) + 0.01


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_checked_and_a_crowd_that_follows_it_is_left_in_peace(fits, name):
    found = fits(name).checks(TABLE, replicates=19)
    assert {"agreement", "vote counts"} <= {check["name"] for check in found.record["checks"]}
    assert name == "majority" or not any("share errors" in sentence for sentence in found.warnings)  # which learns none
    assert found.tables["labelers"]["kind"].to_pylist() == fits(name).tables["labelers"]["kind"].to_pylist()


def test_copies_of_a_labeler_fail_the_checks_of_a_preset():
    table = TABLE | {"label": TABLE["label"].copy()}
    label = table["label"].reshape(I, W)
    label[:, 1:5] = label[:, :1]
    found = crowdjax.fit(table, "dawid-skene").checks(table, replicates=39)
    assert any("share errors" in sentence for sentence in found.warnings)


@pytest.mark.parametrize("name", ["dawid-skene", "glad", "integrated", "auto"])
def test_a_fit_goes_on_from_an_earlier_one_of_some_of_its_labels(fits, name):
    rows = np.flatnonzero((TABLE["labeler"] < 7) & (TABLE["instance"] < 50))
    some = crowdjax.fit({key: values[rows] for key, values in TABLE.items()}, name)
    again = crowdjax.fit(TABLE, name, start=some)
    p, q = (of.tables["instances"]["probability"].to_numpy() for of in (again, fits(name)))
    np.testing.assert_allclose(p, q, atol=0.02)
    if name != "auto":  # which averages fits, of which the first alone begins there
        same = crowdjax.fit(TABLE, name, start=fits(name))
        assert same.record["n_iterations"] < fits(name).record["n_iterations"]


@pytest.mark.parametrize("name", ["integrated", "auto"])
def test_a_fit_that_gold_turned_is_as_good_a_start(name):
    gold = {"instance": np.arange(40), "label": CLASSES[1 - TRUTH[:40]]}
    turned = crowdjax.fit(TABLE, name, gold=gold)
    for given in ({"gold": gold}, {}):
        fresh, again = (crowdjax.fit(TABLE, name, **given, **start) for start in ({}, {"start": turned}))
        p, q = (of.tables["instances"]["probability"].to_numpy() for of in (fresh, again))
        np.testing.assert_allclose(q, p, atol=0.02)


@pytest.mark.parametrize(
    ("name", "start", "message"),
    [
        ("integrated", "auto", "start: a fit of another model; allowed: an earlier result of integrated"),
        ("integrated", "dawid-skene", "start: a fit of another model"),
        (
            "dawid-skene",
            "integrated",
            "start: a fit of integrated of 2 classes; allowed: an earlier result of dawid",
        ),
        ("dawid-skene", "one-coin", "start: a fit of another model"),
    ],
)
def test_a_start_of_another_kind_is_refused(fits, name, start, message):
    with pytest.raises(crowdjax.InputError, match=message):
        crowdjax.fit(TABLE, name, start=fits(start))


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_with_gold_comes_back_from_disk(name, tmp_path):
    gold = {"instance": np.arange(9), "label": CLASSES[TRUTH[:9]]}
    found = crowdjax.fit(TABLE, name, gold=gold)
    found.save(tmp_path / "out")
    p, q = (
        of.tables["instances"].sort_by("instance")["probability"].to_numpy()
        for of in (found, crowdjax.load(tmp_path / "out").predict(TABLE))
    )
    np.testing.assert_allclose(q[9:], p[9:], atol=5e-4)  # modes of instances are found anew, in 32 bits


@pytest.mark.parametrize("name", ["dawid-skene", "auto"])
def test_results_of_before_are_read_and_predict(fits, name, tmp_path):
    """They had words for classes, and no confusions."""
    result = fits(name)
    record = {key: value for key, value in result.record.items() if key not in ("classes", "values")}
    with saving.new_result(tmp_path / "old", record | {"words": ["no", "yes"]}) as folder:
        result.write_tables(folder)
        (folder / "confusion.parquet").unlink()
        saving.save_arrays(folder / "fit.npz", result.arrays())
    old = crowdjax.load(tmp_path / "old")
    assert old.predict(TABLE).tables["instances"].equals(result.predict(TABLE).tables["instances"])
