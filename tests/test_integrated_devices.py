"""The integrated model's fit on 1, 2 and 8 devices: the same but for rounding."""

from __future__ import annotations

import pytest

import crowdjax
from crowdjax import parallel


@pytest.mark.slow
def test_the_same_fit_on_1_2_and_8_devices(fresh_python):
    """With gold, weights, features and a learned class prior, which padding would move if it counted as instances."""
    fresh_python(
        """
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
from crowdjax import parallel, simulate
from crowdjax.integrated import Features, IntegratedConfig, fit_jit
from crowdjax.labels import Labels

rng = np.random.default_rng(5)
crowd = simulate.power_law(3, 12_000, n_labelers=30, n_instances=1000).labels()
real = crowd.real
gold = np.where(rng.random(1000) < 0.3, rng.random(1000) < 0.95, np.nan)
labels = Labels.from_arrays(
    crowd.labeler[real], crowd.instance[real], crowd.label[real], weight=rng.choice([0.5, 1, 2], real.sum()), gold=gold
)
features = Features(rng.normal(size=(30, 2)), rng.normal(size=(1000, 3)))
config = IntegratedConfig(class_prior="learn")
one = fit_jit(labels, config, 0.1, features)
assert abs(one.parameters.prior_logit) > 0.05
for n in (2, 8):
    found = parallel.fit_integrated(labels, config, 0.1, features, devices=n)
    assert found.n_steps == one.n_steps
    np.testing.assert_allclose(found.objective, one.objective, rtol=1e-9)
    np.testing.assert_allclose(found.instances.sum(), labels.n_instances, rtol=1e-9)
    for a, b in zip(jax.tree.leaves(found.parameters), jax.tree.leaves(one.parameters), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    np.testing.assert_allclose(found.covariance, one.covariance, atol=1e-8)
    np.testing.assert_allclose(found.counts, one.counts, rtol=1e-9)
""",
        devices=8,
    )


def test_the_facade_hands_its_devices_on(monkeypatch):
    class Asked(Exception):
        pass

    def fit_integrated(*_, devices, **__):
        raise Asked(devices)

    monkeypatch.setattr(parallel, "fit_integrated", fit_integrated)
    with pytest.raises(Asked, match="1"):
        crowdjax.fit({"labeler": [0, 1], "instance": [0, 0], "label": [1, 0]}, "auto", devices=1)
