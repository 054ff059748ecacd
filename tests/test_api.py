"""The facade: one call from a table to answers, the same whatever holds the table, saved, loaded and continued."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import crowdjax
from crowdjax import api, factor, saving

W, I = 8, 30
INFORMED = [f"informedness{end}" for end in ("", "_lower", "_upper")]
CHANCES = [f"{name}{end}" for name in ("sensitivity", "specificity") for end in ("", "_lower", "_upper")]
LABELERS = ["labeler", "n_labels", "accuracy", "lower", "upper", "kind", *INFORMED, *CHANCES]


def simulated(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Every labeler judges every instance; labelers are right with chances .6 to .9."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, I)
    right = rng.random((W, I)) < np.linspace(0.6, 0.9, W)[:, None]
    labeler, instance = np.meshgrid(range(W), range(I), indexing="ij")
    label = np.where(right, truth, 1 - truth)
    names = [f"w{i}" for i in labeler.ravel()], [f"q{j:02d}" for j in instance.ravel()]
    return pd.DataFrame({"labeler": names[0], "instance": names[1], "label": label.ravel()}), truth


TABLE, TRUTH = simulated()
MODEL = dict(model="dawid-skene", class_prior=0.5)
FEATURES = pd.DataFrame({"labeler": [f"w{i}" for i in range(W + 1)], "years": np.arange(W + 1.0), "one": 1.0})


@pytest.fixture(scope="module")
def result() -> crowdjax.Aggregation:
    return crowdjax.fit(TABLE, **MODEL)


@pytest.fixture(scope="module")
def with_features() -> crowdjax.Aggregation:
    return crowdjax.fit(TABLE, "one-coin", class_prior=0.5, labeler_features=FEATURES)


def probabilities(result) -> dict:
    return dict(zip(*(result.tables["instances"][c].to_pylist() for c in ("instance", "probability")), strict=True))


def test_the_answers_are_tables_by_id(result):
    assert list(result.instances) == ["instance", "label", "confidence", "probability"]
    assert list(result.labelers) == LABELERS
    assert list(result.confusion) == ["labeler", "truth", "label", "probability", "lower", "upper"]
    assert result.instances["instance"].to_list() == sorted(TABLE["instance"].unique())
    assert (result.instances["label"].to_numpy() == TRUTH).mean() >= 0.9
    assert result.labelers["n_labels"].to_list() == [I] * W
    p, label = (result.instances[c].to_numpy() for c in ("probability", "label"))
    np.testing.assert_array_equal(label, p > 0.5)


def test_the_record_says_what_was_done(result):
    record = result.record
    assert (record["n_labels"], record["n_labelers"], record["n_instances"]) == (W * I, W, I)
    assert record["model"] == "dawid-skene"
    assert record["converged"] is True
    assert record["objective"] < record["log_likelihood"] < 0
    assert record["n_iterations"] > 0
    assert result.warnings == ()


def test_every_container_gives_the_same_answers(result, tmp_path):
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    tables = [pl.from_pandas(TABLE), pa.Table.from_pandas(TABLE), TABLE.to_dict("list"), tmp_path / "t.csv"]
    for table in tables:
        assert crowdjax.fit(table, **MODEL).tables["instances"].equals(result.tables["instances"])


def test_names_and_order_of_rows_change_nothing(result):
    renamed = TABLE.assign(
        labeler=[100 - int(w[1:]) for w in TABLE["labeler"]],
        instance=pd.to_datetime("2024-01-01") - pd.to_timedelta([int(q[1:]) for q in TABLE["instance"]], unit="D"),
    ).sample(frac=1, random_state=0)
    other = crowdjax.fit(renamed, **MODEL)
    np.testing.assert_allclose(
        other.instances["probability"].to_numpy()[::-1], result.instances["probability"], atol=1e-4
    )
    np.testing.assert_allclose(other.labelers["accuracy"].to_numpy()[::-1], result.labelers["accuracy"], atol=1e-4)
    assert other.record["objective"] == pytest.approx(result.record["objective"], rel=1e-6)


def test_majority_is_the_vote(tmp_path):
    result = crowdjax.fit(TABLE, "majority")
    votes = TABLE.groupby("instance")["label"].mean()
    for instance, p in probabilities(result).items():
        assert np.sign(p - 0.5) == np.sign(votes[instance] - 0.5), "a tie is exactly one half"
    ties = int((votes == 0.5).sum())
    assert ties > 0
    assert any(w.startswith(f"{ties} of {I} instances are undecided") for w in result.warnings)


def test_a_saved_fit_comes_back_whole(result, tmp_path):
    result.save(tmp_path / "out")
    back = crowdjax.load(tmp_path / "out")
    assert back.tables == result.tables
    assert back.record["objective"] == result.record["objective"]
    np.testing.assert_array_equal(back.fit.weights.labeler.free, result.fit.weights.labeler.free)
    new = TABLE[TABLE["instance"] < "q10"]
    assert back.predict(new).instances.equals(result.predict(new).instances)


def test_predicting_the_labels_of_the_fit_gives_the_fit_back(result):
    np.testing.assert_allclose(
        result.predict(TABLE).instances["probability"], result.instances["probability"], atol=1e-5
    )


def test_prediction_goes_by_labeler_not_by_position(result):
    """New labels of some labelers, in another order, on instances of other names."""
    new = TABLE[TABLE["labeler"].isin(["w7", "w2"])]
    moved = new.assign(instance="new " + new["instance"]).iloc[::-1]
    found = probabilities(result.predict(new))
    assert list(probabilities(result.predict(moved)).values()) == list(found.values())
    alpha = dict(zip(result.index.labelers, np.asarray(result.fit.weights.labeler.free)[:, 0], strict=True))
    gamma = dict(zip(result.index.labelers, np.asarray(result.fit.weights.bias.free)[:, 0], strict=True))
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    for instance, rows in new.groupby("instance"):
        plus = np.prod([sigmoid((2 * r.label - 1) * (gamma[r.labeler] + alpha[r.labeler])) for r in rows.itertuples()])
        minus = np.prod([sigmoid((2 * r.label - 1) * (gamma[r.labeler] - alpha[r.labeler])) for r in rows.itertuples()])
        assert found[instance] == pytest.approx(plus / (plus + minus), abs=1e-5)


def test_an_unseen_labeler_is_what_the_prior_says(result):
    prediction = result.predict({"labeler": ["new"], "instance": ["q"], "label": [1]})
    assert prediction.instances["probability"][0] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-6)
    assert "1 of 1 labelers are not in the fit" in prediction.warnings[-1]
    assert prediction.record["n_unseen_labelers"] == 1


def test_constant_features_are_left_out_with_a_warning(with_features):
    assert any("Constant labeler features were left out: one" in w for w in with_features.warnings)
    assert with_features.scaling["labeler"].names == ("years",)


def test_an_unseen_labeler_with_features_is_what_they_say(with_features, tmp_path):
    new = {"labeler": ["w8"], "instance": ["q"], "label": [1]}
    with_features.save(tmp_path / "out")
    p = crowdjax.load(tmp_path / "out").predict(new, labeler_features=FEATURES).instances["probability"][0]
    years = np.arange(W)
    constant, slope = np.asarray(with_features.fit.weights.labeler.dense)[:, 0]
    alpha = constant + slope * (8 - years.mean()) / years.std()
    assert p == pytest.approx(1 / (1 + np.exp(-alpha)), abs=1e-5)
    with pytest.raises(crowdjax.InputError, match=r"labeler features: none given.*years.*w8"):
        with_features.predict(new)


def test_features_of_no_use_are_refused_or_left_out(result):
    with pytest.raises(crowdjax.InputError, match="labeler features: given, but the fit used none"):
        result.predict(TABLE, labeler_features=FEATURES)
    instances = {"instance": TABLE["instance"].unique(), "x": np.arange(I)}
    fitted = crowdjax.fit(TABLE, **MODEL, instance_features=instances)
    assert any("instance features were left out: dawid-skene" in w for w in fitted.warnings)
    assert fitted.instances["label"].equals(result.instances["label"])
    of_jax, of_host = (probabilities(found) for found in (fitted, result))  # with features JAX fits, in 32 bits
    assert of_jax == pytest.approx(of_host, abs=1e-4)  # where a fit stops, a relative gain of 1e-6, moves by rounding


def test_gold_is_kept(result):
    wrong = {"instance": ["q00", "q01"], "label": [1 - TRUTH[0], 1 - TRUTH[1]]}
    p = probabilities(crowdjax.fit(TABLE, **MODEL, gold=wrong))
    assert [round(p["q00"]), round(p["q01"])] == wrong["label"]


def test_repeats_are_counted_and_their_treatment_is_said():
    twice = pd.concat([TABLE, TABLE.assign(label=1 - TABLE["label"]).head(5)])
    for repeats, words in (("first", "only the first was used"), ("count", "each counts as one more")):
        fitted = crowdjax.fit(twice, "majority", repeats=repeats)
        assert any(f"5 of {W * I + 5} labels repeat an earlier one" in w and words in w for w in fitted.warnings)
    assert probabilities(crowdjax.fit(twice, "majority", repeats="first")) == pytest.approx(
        probabilities(crowdjax.fit(TABLE, "majority"))
    )


def test_a_fit_continues_from_a_fit(result):
    further = crowdjax.fit(TABLE, **MODEL, start=result)
    assert further.record["objective"] == pytest.approx(result.record["objective"], rel=1e-5)
    assert further.record["n_iterations"] < result.record["n_iterations"]
    fewer = crowdjax.fit(TABLE[TABLE["instance"] != "q00"], **MODEL, start=result)
    assert fewer.record["n_iterations"] < result.record["n_iterations"]
    with pytest.raises(crowdjax.InputError, match="start: a fit of another model"):
        crowdjax.fit(TABLE, "glad", start=result)


def test_a_fit_that_stopped_early_says_so():
    short = crowdjax.fit(TABLE, **MODEL, solver=factor.Solver(max_steps=3))
    assert short.record["converged"] is False
    assert "did not converge" in short.warnings[0]


def test_a_fit_without_an_answer_raises():
    with pytest.raises(crowdjax.FitError, match="not finite"):
        crowdjax.fit(TABLE.assign(weight=1e30))


def test_a_configuration_of_ones_own(tmp_path):
    config = factor.FactorConfig(labeler=(1.0, np.inf), instance=(1.0, 0.0), bias=None)
    fitted = crowdjax.fit(TABLE, config)
    fitted.save(tmp_path / "out")
    back = crowdjax.load(tmp_path / "out")
    assert back.record["model"] == "custom"
    np.testing.assert_array_equal(back.model.variance.labeler.free, [[np.inf]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "automatic"}, "model: got 'automatic'.*allowed: majority, one-coin, dawid-skene, glad"),
        ({"model": "automatic", "truth": [0, 1]}, "allowed: majority.*graded.*integrated"),
        ({"model": "dawid_skene"}, r"did you mean dawid-skene\?"),
        ({"model": None}, "model: got None"),
        ({"model": "factor", "factors": 0}, "factors: got 0; allowed: a whole number from 1"),
        ({"model": "glad", "factors": "auto"}, "factors: got 'auto' with model glad; allowed: 1, or auto"),
        ({"model": "factor", "factors": 1.5}, "factors: got 1.5"),
        ({"model": "glad", "factors": 2}, "factors: given with model glad"),
        ({"model": "glad", "factors": 2, "instances": "map"}, "factors: got 2 with model glad"),
        ({"class_prior": 1.0}, "class_prior: got 1.0; allowed: a number from 1e-09 to 1 - 1e-09"),
        ({"class_prior": float("nan")}, "class_prior: got nan"),
        ({"class_prior": "lern"}, r"class_prior: got 'lern' \(did you mean learn\?\)"),
        ({"model": "dawid-skene", "class_prior": "logistic"}, "class_prior: logistic needs instance features"),
        ({"repeats": "all"}, "repeats: got 'all'; allowed: count, first, last, mean"),
        ({"solver": "sgd"}, "solver: got 'sgd'; allowed: auto, em, lbfgs, em-cg, em-bound"),
        ({"restarts": 0}, "restarts: got 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(crowdjax.InputError, match=message):
        crowdjax.fit(TABLE, **settings)


def test_a_tampered_fit_is_refused(result, tmp_path):
    out = tmp_path / "out"
    result.save(out)
    record = json.loads((out / "fit.json").read_text())
    (out / "fit.json").write_text(json.dumps({**record, "config": {"n_factors": 2}}))
    with pytest.raises(crowdjax.InputError, match="changed since it was written"):
        crowdjax.load(out)
    (out / "fit.json").write_text(json.dumps(saving.sealed({**record, "config": {"n_factors": 2}})))
    with pytest.raises(crowdjax.InputError, match=r"fit\.npz: array"):
        crowdjax.load(out)
    (out / "fit.json").write_text(json.dumps(saving.sealed({k: v for k, v in record.items() if k != "solver"})))
    with pytest.raises(crowdjax.InputError, match="not a fit of crowdjax"):
        crowdjax.load(out)
    result.predict(TABLE).save(tmp_path / "prediction")
    with pytest.raises(crowdjax.InputError, match=r"no fit\.json"):
        api.load(tmp_path / "prediction")


def test_importing_crowdjax_imports_no_jax(fresh_python):
    assert fresh_python("import sys, crowdjax; print('jax' in sys.modules, crowdjax.fit.__name__)") == "False fit\n"
