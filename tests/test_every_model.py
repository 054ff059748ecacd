"""What is true of every model of the registry, through the one facade: a table over models."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import crowdjax
from crowdjax import spread
from crowdjax.api import fit_large
from crowdjax.facade.models import MODELS
from crowdjax.labels import InputError
from crowdjax.observation import Majority, OneCoin

NOMINAL = [name for name, entry in MODELS.items() if "nominal" in entry.kinds]
WORDS = np.array(["ant", "bee", "cat"])
TOLERANCE = 2e-3  # of probabilities, where the same maximum is reached in float32 by another way


def crowd(seed: int = 0, n: int = 60, labelers: int = 9, each: int = 5):
    """(labels as a table, the truth), in words: labelers of various skill with a taste for one class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    instance = np.repeat(np.arange(n), each)
    labeler = np.concatenate([rng.choice(labelers, each, replace=False) for _ in range(n)])
    right = rng.random(len(instance)) < np.linspace(0.45, 0.95, labelers)[labeler]
    wrong = np.where(rng.random(len(instance)) < 0.5, labeler % 3, rng.integers(0, 3, len(instance)))
    label = np.where(right, truth[instance], wrong)
    return {"labeler": labeler, "instance": instance, "label": WORDS[label]}, truth


TABLE, TRUTH = crowd()


@pytest.fixture(scope="module")
def fits():
    """The fit of every model, made once."""
    made = {}

    def fit(name):
        if name not in made:
            made[name] = crowdjax.fit(TABLE, name)
        return made[name]

    return fit


def probabilities(result) -> np.ndarray:
    """P(class) of the instances in the order of their ids, classes by name."""
    table = result.tables["instances"].sort_by("instance")
    return np.stack([table[f"p_{word}"].to_numpy() for word in WORDS], 1)


@pytest.mark.parametrize("name", NOMINAL)
def test_answers_are_probabilities_and_beat_the_labels_alone(fits, name):
    result = fits(name)
    p = probabilities(result)
    assert p.sum(1) == pytest.approx(1, abs=1e-5)
    chosen = WORDS[(p > p.max(1, keepdims=True) - 1e-5).argmax(1)]  # of a tie the first
    assert (result.tables["instances"].sort_by("instance")["label"].to_numpy() == chosen).all()
    assert (chosen == WORDS[TRUTH]).mean() > (TABLE["label"] == WORDS[TRUTH][TABLE["instance"]]).mean()


@pytest.mark.parametrize("name", NOMINAL)
def test_the_objective_never_falls(fits, name):
    history = np.asarray(fits(name).fit.history)
    history = history[np.isfinite(history)]
    assert (np.diff(history) >= -1e-4 * (1 + abs(history[:-1]))).all()


@pytest.mark.parametrize("name", NOMINAL)
def test_the_order_of_rows_and_the_names_of_classes_change_no_answer(fits, name):
    rows = np.random.default_rng(1).permutation(len(TABLE["label"]))
    shuffled = {key: values[rows] for key, values in TABLE.items()}
    again = crowdjax.fit(shuffled, name, order=["cat", "ant", "bee"])
    assert abs(probabilities(again) - probabilities(fits(name))).max() < TOLERANCE


NUMBERS = np.random.default_rng(4).normal(size=(len(TRUTH), 2))
OF_LABELERS = {"labeler": np.arange(9), "age": np.linspace(0, 1, 9) ** 2}
OF_INSTANCES = {"instance": np.arange(len(TRUTH)), "size": NUMBERS[:, 0] + TRUTH, "noise": NUMBERS[:, 1]}
SETTINGS = {
    "glad": {"labeler_features": OF_LABELERS, "instance_features": OF_INSTANCES, "class_prior": "learn"},
    "factor": {"instance_features": OF_INSTANCES, "class_prior": "logistic"},
    "dawid-skene": {"instance_features": OF_INSTANCES, "class_prior": "logistic"},
    "one-coin": {"class_prior": (0.2, 0.3, 0.5)},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_with_features_and_a_class_prior_too_and_ids_change_none_either(name, tmp_path):
    """Ids are renamed so that their order turns round. The fit comes back from disk too."""
    settings, turned = SETTINGS[name], dict(SETTINGS[name])
    for side in ("labeler", "instance"):
        if f"{side}_features" in settings:
            rows = settings[f"{side}_features"]
            turned[f"{side}_features"] = rows | {side: 1000 - rows[side]}
    if name == "one-coin":
        turned["class_prior"] = (0.5, 0.2, 0.3)
    table = TABLE | {side: 1000 - TABLE[side] for side in ("labeler", "instance")}
    fitted = crowdjax.fit(TABLE, name, **settings)
    fitted.save(tmp_path / "out")
    given = {key: rows for key, rows in settings.items() if key.endswith("instance_features")}
    p = probabilities(fitted)
    assert abs(probabilities(crowdjax.load(tmp_path / "out").predict(TABLE, **given)) - p).max() < TOLERANCE
    q = probabilities(crowdjax.fit(table, name, order=["cat", "ant", "bee"], **turned))[::-1]
    assert abs(p - q).max() < TOLERANCE


@pytest.mark.parametrize("model", [OneCoin(class_prior="uniform", population="fixed"), Majority()])
def test_crowds_that_share_nobody_are_two_fits_where_nothing_is_learned_of_all(model):
    other = {key: values + 100 if key != "label" else values for key, values in crowd(5)[0].items()}
    both = {key: np.r_[TABLE[key], other[key]] for key in TABLE}
    apart = [probabilities(crowdjax.fit(table, model)) for table in (TABLE, other)]
    assert abs(probabilities(crowdjax.fit(both, model)) - np.concatenate(apart)).max() < TOLERANCE


@pytest.mark.parametrize("name", NOMINAL)
def test_a_weight_is_so_many_copies(name):
    """One label of each instance is left out and another one is there twice: no program is compiled for the copies."""
    row = np.arange(len(TABLE["label"]))
    kept = row[row % 5 > 0]
    twice = {key: np.r_[values[kept], values[row % 5 == 1]] for key, values in TABLE.items()}
    weighted = {key: values[kept] for key, values in TABLE.items()} | {"weight": np.where(kept % 5 == 1, 2.0, 1.0)}
    of_copies, of_weights = crowdjax.fit(twice, name), crowdjax.fit(weighted, name)
    assert abs(probabilities(of_copies) - probabilities(of_weights)).max() < TOLERANCE


@pytest.mark.parametrize("name", NOMINAL)
def test_it_comes_back_from_disk_and_predicts_its_own_labels(fits, name, tmp_path):
    result = fits(name)
    result.save(tmp_path / "out", report=True)
    loaded = crowdjax.load(tmp_path / "out")
    assert loaded.record["objective"] == result.record["objective"] and loaded.tables.keys() == result.tables.keys()
    assert all(loaded.tables[key].equals(table) for key, table in result.tables.items())
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert abs(probabilities(loaded.predict(TABLE)) - probabilities(result)).max() < TOLERANCE


@pytest.mark.parametrize("name", NOMINAL)
def test_new_labelers_are_as_the_model_says_of_anybody(fits, name):
    new = {"labeler": ["new", "new"], "instance": [1, 2], "label": ["cat", "bee"]}
    found = fits(name).predict(new | {"labeler": [99, 99]})
    assert found.record["n_unseen_labelers"] == 1
    assert found.tables["instances"]["label"].to_pylist() == ["cat", "bee"]


@pytest.mark.parametrize("name", NOMINAL)
def test_a_fit_goes_on_from_an_earlier_one(fits, name):
    again = crowdjax.fit(TABLE, name, start=fits(name))
    slack = 1e-4 * abs(fits(name).record["objective"])  # Laplace's objective falls by a little now and then
    assert again.record["objective"] >= fits(name).record["objective"] - slack
    assert abs(probabilities(again) - probabilities(fits(name))).max() < 0.02


@pytest.mark.parametrize("name", NOMINAL)
def test_gold_is_answered_and_the_fit_comes_back(name, tmp_path):
    gold = {"instance": np.arange(6), "label": WORDS[(TRUTH[:6] + 1) % 3]}
    found = crowdjax.fit(TABLE, name, gold=gold)
    assert found.tables["instances"].sort_by("instance")["label"].to_pylist()[:6] == gold["label"].tolist()
    found.save(tmp_path / "out")
    loaded = crowdjax.load(tmp_path / "out")
    assert abs(probabilities(loaded.predict(TABLE)) - probabilities(found))[6:].max() < TOLERANCE


@pytest.mark.parametrize("name", NOMINAL)
def test_labelers_have_confusions_that_add_up_and_intervals_that_hold_them(fits, name):
    table = fits(name).tables["confusion"].to_pandas()
    assert table.groupby(["labeler", "truth"])["probability"].sum().to_numpy() == pytest.approx(1, abs=1e-3)
    assert ((table["lower"] <= table["probability"] + 1e-6) & (table["probability"] <= table["upper"] + 1e-6)).all()
    labelers = fits(name).tables["labelers"].to_pandas()
    assert ((labelers["lower"] <= labelers["accuracy"]) & (labelers["accuracy"] <= labelers["upper"])).all()
    if name != "majority":
        assert np.corrcoef(labelers["accuracy"], np.arange(len(labelers)))[0, 1] > 0.5


@pytest.mark.parametrize("name", NOMINAL)
def test_it_can_be_looked_into(fits, name):
    found = crowdjax.check(fits(name), TABLE, replicates=19)
    assert len(found.record["checks"]) == 3 and found.tables["instances"].num_rows == len(TRUTH)


@pytest.mark.parametrize("name", NOMINAL)
def test_parts_are_the_whole(fits, name, tmp_path):
    pa.parquet.write_table(pa.table(TABLE), tmp_path / "labels.parquet")
    written = fit_large(tmp_path / "labels.parquet", tmp_path / "out", name, batch=120, max_rounds=100, rtol=1e-7)
    whole = fits(name)
    assert written.record["objective"] == pytest.approx(whole.record["objective"], rel=1e-4)
    assert abs(probabilities(crowdjax.load(tmp_path / "out")) - probabilities(whole)).max() < 0.02


SOME = ["dawid-skene", "factor"]  # of a table and of factors; the others are long


@pytest.mark.parametrize("names", [SOME, [name for name in NOMINAL if name not in SOME]], ids=["some", "others"])
def test_many_devices_are_one(fits, fresh_python, tmp_path, names):
    fresh_python(
        f"""
import numpy as np, sys
sys.path.insert(0, "tests")
import crowdjax
from test_every_model import TABLE, probabilities
for name in {names}:
    many = crowdjax.fit(TABLE, name, devices=8)
    np.savez({str(tmp_path)!r} + f"/{{name}}.npz", p=probabilities(many), objective=many.record["objective"])
""",
        devices=8,
    )
    for name in names:
        many = np.load(tmp_path / f"{name}.npz")
        assert abs(probabilities(fits(name)) - many["p"]).max() < TOLERANCE, name
        assert many["objective"] == pytest.approx(fits(name).record["objective"], rel=1e-4), name


@pytest.mark.parametrize("name", NOMINAL)
def test_a_setting_is_used_or_refused_by_name(name):
    with pytest.raises(InputError, match="boundary: given with model"):
        crowdjax.fit(TABLE, name, boundary="gap")


def test_several_factors_are_the_best_of_their_starts(tmp_path):
    one, best = (crowdjax.fit(TABLE, "factor", factors=2, seed=3, restarts=n) for n in (1, 3))
    labels = crowdjax.io.read_triples(TABLE).labels()
    each = [spread.fit(labels, model, devices=1) for model in best.model.starts()]
    assert each[0].objective == one.record["objective"]
    assert best.record["objective"] == max(float(fit.objective) for fit in each)
    assert best.record["n_iterations"] == sum(int(fit.n_steps) for fit in each)
    best.save(tmp_path / "out")
    assert abs(probabilities(crowdjax.load(tmp_path / "out").predict(TABLE)) - probabilities(best)).max() < TOLERANCE


@pytest.mark.parametrize(
    "given", [{"seed": 1}, {"restarts": 2}, {"factors": 2, "seed": 1, "start": True}, {"factors": 2, "restarts": 0}]
)
def test_draws_are_refused_where_there_are_none(fits, given):
    given = {name: fits("factor") if name == "start" else value for name, value in given.items()}
    with pytest.raises(InputError, match=r"seed|restarts"):
        crowdjax.fit(TABLE, "factor", **given)


@pytest.mark.parametrize("name", [n for n, e in MODELS.items() if "exchangeable" in e.kinds])
def test_exchangeable_classes_may_change_names_in_every_instance(name):
    rng = np.random.default_rng(2)
    turn = np.array([rng.permutation(3) for _ in TRUTH])
    code = np.searchsorted(WORDS, TABLE["label"])
    turned = TABLE | {"label": WORDS[turn[TABLE["instance"], code]]}
    p, q = (probabilities(crowdjax.fit(t, name, classes="exchangeable")) for t in (TABLE, turned))
    assert abs(np.take_along_axis(q, turn, 1) - p).max() < TOLERANCE


@pytest.mark.parametrize("name", [n for n, e in MODELS.items() if "nominal" not in e.kinds])
def test_models_of_other_classes_say_so(name):
    with pytest.raises(InputError, match="classes: got 'nominal' with model"):
        crowdjax.fit(TABLE, name)


@pytest.mark.parametrize("name", ["graded", *(name for name in NOMINAL if name not in ("glad", "factor"))])
def test_features_that_a_model_has_no_use_for_are_refused(name):
    grades = {"classes": "ordinal", "order": WORDS.tolist()} if name == "graded" else {}
    with pytest.raises(InputError, match=f"labeler features: given with model {name}"):
        crowdjax.fit(TABLE, name, labeler_features=OF_LABELERS, **grades)


@pytest.mark.parametrize("prior", [["a", "b", "c"], [0.5, 0.5], [0.5, 0.6, -0.1], 0.5])
def test_a_class_prior_that_is_none_is_refused(prior):
    with pytest.raises(InputError, match=r"class_prior: got .*allowed: 3 positive numbers"):
        crowdjax.fit(TABLE, "biased-coin", class_prior=prior)


@pytest.mark.parametrize("name", ["majority", "one-coin", "dawid-skene", "biased-coin"])
def test_a_free_class_prior_can_be_had(name):
    assert crowdjax.fit(TABLE, name, class_prior="free").record["config"]["class_prior"] == "free"


def test_a_model_made_by_hand_is_for_its_classes_alone():
    with pytest.raises(InputError, match="classes: got 'ordinal' with model one-coin"):
        crowdjax.fit(TABLE, OneCoin(), classes="ordinal", order=WORDS.tolist())


def test_checks_take_the_labels_that_were_fitted(fits):
    fewer = {key: values[:-1] for key, values in TABLE.items()}
    with pytest.raises(InputError, match=r"labels: \d+ of labeler \d, and the fit had \d+"):
        crowdjax.check(fits("one-coin"), fewer, replicates=19)


def test_minibatches_refuse_what_they_do_not_use(tmp_path):
    pa.parquet.write_table(pa.table(TABLE), tmp_path / "labels.parquet")
    for name, value in (("solver", "em"), ("devices", 2)):
        with pytest.raises(InputError, match=f"{name}: "):
            fit_large(tmp_path / "labels.parquet", tmp_path / "out", "one-coin", batch=120, **{name: value})


@pytest.mark.parametrize("name", ["integrated", "auto"])
def test_models_of_a_plan_are_fitted_by_em_alone(name):
    with pytest.raises(InputError, match=f"solver: got 'lbfgs' with model {name}; allowed: auto, em"):
        crowdjax.fit(TABLE, name, solver="lbfgs")


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("table", lambda right: right[:, :2]),
        ("log_points", lambda right: right[:2]),
        ("class_of_point", lambda right: right[:, :2]),
        ("class_of_point", lambda right: [1.0]),
        ("log_prior", lambda right: right + np.zeros(2)),
        ("specs", lambda right: right | {"more": None}),
        ("specs", lambda right: dict.fromkeys(right, "labelers")),
        ("log_prior", lambda right: np.asarray(right)),
    ],
)
def test_a_model_of_ones_own_whose_arrays_have_wrong_shapes_is_refused(monkeypatch, method, wrong):
    right = getattr(OneCoin, method)
    monkeypatch.setattr(OneCoin, method, lambda self, params: wrong(right(self, params)))
    with pytest.raises(InputError, match=rf"OneCoin\.{method}: .*; allowed: "):
        crowdjax.fit(TABLE, OneCoin())


def test_a_start_is_of_as_many_classes(fits):
    two = TABLE | {"label": (TABLE["label"] == "cat").astype(int)}
    with pytest.raises(InputError, match=r"start: a fit of one-coin of 3 classes; allowed: .* of two classes"):
        crowdjax.fit(two, "one-coin", start=fits("one-coin"))


@pytest.mark.parametrize("kind", ["Prediction", "CheckResult"])
def test_what_infers_nothing_new_is_no_start(fits, kind):
    """A prediction or a check has its fit's model in its record, and no parameters."""
    fit = fits("dawid-skene")
    other = fit.predict(TABLE) if kind == "Prediction" else fit.checks(TABLE, replicates=19)
    with pytest.raises(InputError, match=f"^start: got {kind}; allowed: a fit, of crowdjax.fit or crowdjax.load$"):
        crowdjax.fit(TABLE, "dawid-skene", start=other)


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [
        ("majority", {"class_prior": "learn"}, {"class_prior": "uniform"}),
        ("glad", {"class_prior": "learn"}, {"class_prior": "uniform"}),
        ("majority", {}, {"class_prior": "logistic", "instance_features": OF_INSTANCES}),
        ("factor", {"factors": 1}, {"factors": 2}),
    ],
)
def test_a_start_has_the_settings_of_the_fit(name, before, now):
    """Its parameters hold what the settings made of them: a learned class prior went on as a fixed one."""
    earlier = crowdjax.fit(TABLE, name, **before)
    with pytest.raises(InputError, match=r"start: a fit (with|of another form)"):
        crowdjax.fit(TABLE, name, start=earlier, **now)


def test_a_class_prior_may_be_an_array():
    prior = np.array([0.2, 0.3, 0.5])
    result, like = (crowdjax.fit(TABLE, "one-coin", class_prior=of) for of in (prior, tuple(prior)))
    assert (probabilities(result) == probabilities(like)).all()
    assert abs(probabilities(result.predict(TABLE)) - probabilities(result)).max() < TOLERANCE
    by_hand = crowdjax.fit(TABLE, OneCoin(class_prior=[0.2, 0.3, 0.5]))
    assert abs(probabilities(by_hand) - probabilities(result)).max() < TOLERANCE


def test_a_model_without_a_part_of_the_contract_is_refused():
    class Half:
        def start(self, labels, votes):
            return {}

    with pytest.raises(InputError, match="model: got Half without table, log_points, class_of_point"):
        crowdjax.fit(TABLE, Half())


def test_checks_of_a_fit_by_minibatches_say_why_not(tmp_path):
    pa.parquet.write_table(pa.table(TABLE), tmp_path / "labels.parquet")
    fit_large(tmp_path / "labels.parquet", tmp_path / "out", "majority", batch=120)
    with pytest.raises(InputError, match="checks: of a fit by minibatches"):
        crowdjax.check(crowdjax.load(tmp_path / "out"), TABLE, replicates=19)
