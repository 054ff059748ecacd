"""``crowdjax.load`` reads every saved result, and what it reads is what was saved; no NaN is in a file of a result."""

from __future__ import annotations

import json

import numpy as np
import pytest

import crowdjax
from crowdjax import api, contextual

SIMPLE = dict(prevalence="linear", accuracy="constant", labelers="offset", inference="laplace", draws=50)


def crowd(seed: int = 0, n: int = 60, labelers: str = "abc"):
    """Labels of n instances by each labeler, and the instances' scores."""
    rng = np.random.default_rng(seed)
    score, k = rng.random(n), len(labelers)
    label = (np.repeat(rng.random(n) < score, k) == (rng.random(n * k) < 0.9)).astype(int)
    table = {"labeler": np.tile(list(labelers), n), "instance": np.repeat(np.arange(n), k), "label": label}
    return table, {"instance": np.arange(n), "score": score}


LABELS, SCORES = crowd()
MORE = {
    "population": {"score": np.linspace(0.01, 0.99, 40), "count": np.full(40, 10.0)},
    "weights": {"instance": np.arange(60), "weight": np.linspace(1, 3, 60)},
    "gold": {"instance": [0, 1], "label": [1, 0]},
}


@pytest.fixture(scope="module", params=["plain", "all that can be given"])
def result(request):
    return crowdjax.context(LABELS, SCORES, **SIMPLE, **(MORE if request.param != "plain" else {}))


def test_a_contextual_fit_comes_back_whole(result, tmp_path):
    result.save(tmp_path / "out")
    back = crowdjax.load(tmp_path / "out")
    assert isinstance(back, crowdjax.ContextualResult) and back.prevalence == result.prevalence
    for name, table in result.tables.items():
        assert back.tables[name].equals(table), name
    assert back.warnings == result.warnings and back.record["n_gold"] == result.record["n_gold"]
    np.testing.assert_array_equal(back.index.labelers, result.index.labelers)
    p = contextual.calibrate(back.fit, [0.2, 0.8]).mean
    np.testing.assert_array_equal(p, contextual.calibrate(result.fit, [0.2, 0.8]).mean)
    one, other = (r.page() for r in (result, back))
    assert (one.lead, one.numbers, one.title) == (other.lead, other.numbers, other.title)
    assert [s.title for s in one.sections] == [s.title for s in other.sections]
    back.save(tmp_path / "again", report=True)
    for name in ("prevalence.json", "curves.parquet", "inputs.npz", "contextual.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_draws_of_a_loaded_contextual_fit_go_to_arviz_as_before(result, tmp_path):
    pytest.importorskip("arviz_base")
    result.save(tmp_path / "out")
    one, other = (r.to_arviz(LABELS) for r in (result, crowdjax.load(tmp_path / "out")))
    for group in ("posterior", "log_likelihood"):
        for name, values in one[group].items():
            np.testing.assert_array_equal(values, other[group][name], err_msg=name)


def test_a_contextual_fit_that_was_changed_is_refused(result, tmp_path):
    out = tmp_path / "out"
    result.save(out)
    with pytest.raises(crowdjax.InputError, match="a contextual fit; allowed: a fit of majority"):
        api.load(out)
    (out / "inputs.npz").write_bytes(b"")
    with pytest.raises(crowdjax.InputError, match="changed since"):
        crowdjax.load(out)


def test_predictions_and_looks_come_back(tmp_path):
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 2, 30), 8)
    table = {"labeler": np.tile(np.arange(8), 30), "instance": np.repeat(np.arange(30), 8)}
    table["label"] = (truth ^ (rng.random(240) < 0.2)).astype(int)
    fitted = crowdjax.fit(table, "auto")
    found = {"prediction": fitted.predict(table), "checks": crowdjax.check(fitted, table, replicates=19)}
    for name, saved in found.items():
        saved.save(tmp_path / name)
        back = crowdjax.load(tmp_path / name)
        assert type(back) is type(saved) and back.warnings == saved.warnings
        for part, values in saved.tables.items():
            assert back.tables[part].equals(values), part
    assert back.page().lead == saved.page().lead
    with pytest.raises(crowdjax.InputError, match=r"no fit\.json of crowdjax"):
        crowdjax.load(tmp_path)


def test_an_instance_without_a_label_that_counts_is_left_out_of_the_vote_share(tmp_path):
    table = {**LABELS, "weight": np.r_[[0] * 3, np.ones(177)]}
    found = crowdjax.context(table, SCORES, **SIMPLE)
    found.save(tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "prevalence.json").read_text(), parse_constant=pytest.fail)
    votes = next(e for e in kept["estimates"] if e["method"] == "vote share")
    assert votes["mean"] == pytest.approx(LABELS["label"][3:].mean(), abs=1e-12)
    assert any("1 of 60 instances have no label that counts" in sentence for sentence in found.warnings)


@pytest.mark.parametrize("model", ["majority", "dawid-skene", "auto"])
def test_labels_of_weight_zero_leave_no_nan(model, tmp_path):
    """Those of one labeler, and those of one instance."""
    weight = np.where((LABELS["labeler"] == "a") | (LABELS["instance"] == 0), 0.0, 1.0)
    crowdjax.fit({**LABELS, "weight": weight}, model).save(tmp_path / "out")
    for name, table in crowdjax.load(tmp_path / "out").tables.items():
        for column in table.column_names:
            values = table[column].to_pylist()
            assert not any(isinstance(v, float) and np.isnan(v) for v in values), (name, column)
    json.loads((tmp_path / "out" / "fit.json").read_text(), parse_constant=pytest.fail)
