"""The integrated model's fit on 1, 2 and 8 devices: the same but for rounding."""

from __future__ import annotations

X64 = 'import jax; jax.config.update("jax_enable_x64", True)\n'  # for a process of its own
SETUP = """
import dataclasses
import numpy as np
from crowdjax import parallel, simulate
from crowdjax.integrated import IntegratedConfig, fit_jit
from crowdjax.labels import Labels

rng = np.random.default_rng(5)
crowd = simulate.power_law(3, 12_000, n_labelers=30, n_instances=1000).labels()
real = crowd.label != 0
gold = np.where(rng.random(1000) < 0.02, rng.integers(0, 2, 1000), np.nan)
labels = Labels.from_arrays(
    crowd.labeler[real], crowd.instance[real], crowd.label[real], weight=rng.choice([0.5, 1, 2], real.sum()), gold=gold
)
"""


def test_the_same_fit_on_1_2_and_8_devices(fresh_python):
    """With gold, weights and a learned class prior, which padding would move if it counted as instances."""
    fresh_python(
        X64
        + SETUP
        + """
config = IntegratedConfig(class_prior="learn")
one = fit_jit(labels, config, 0.1)
for n in (2, 8):
    found = parallel.fit_integrated(labels, config, 0.1, devices=n)
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


def test_the_facade_gives_the_same_answers_on_8_devices_in_32_bits(fresh_python):
    fresh_python(
        SETUP
        + """
import crowdjax
table = {k: np.asarray(getattr(crowd, k))[real] for k in ("labeler", "instance", "label")}
one, eight = (crowdjax.fit(table, "auto", devices=n) for n in (1, 8))
np.testing.assert_allclose(eight.record["objective"], one.record["objective"], rtol=1e-5)
np.testing.assert_allclose(eight.instances["probability"], one.instances["probability"], atol=1e-3)
""",
        devices=8,
    )
