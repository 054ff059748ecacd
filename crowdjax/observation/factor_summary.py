"""What a fit of factors says of each labeler: confusion and accuracy, on average over the instances, with intervals."""

from __future__ import annotations

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from crowdjax.labelers import LEVEL, Summary, corrected
from crowdjax.labels import Labels
from crowdjax.observation.bilinear import curvature_pass
from crowdjax.observation.factors import Factor, mean_table
from crowdjax.observation.fit import Fit


def factor_summary(labels: Labels, model: Factor, fit: Fit, level: float = LEVEL) -> Summary:
    """Summarise how good each labeler is on the instances that it labeled.

    Intervals are Laplace's in the labeler's own factors and biases, at the mean instance, by the delta method on the
    logit; the instances' factors and classes are taken for known.

    Example: the first of three agrees with one other on each instance, the third with nobody
        >>> from crowdjax.observation import fit_jit
        >>> from crowdjax.observation.factors import Glad
        >>> label = [0, 0, 1, 1, 1, 2, 2, 2, 0] * 2
        >>> labels = Labels.from_arrays([0, 1, 2] * 6, np.repeat(np.arange(6), 3), label, n_values=3)
        >>> about = factor_summary(labels, Glad(), fit_jit(labels, Glad()))
        >>> bool(about.accuracy[0][2] < about.accuracy[1][0]), about.confusion[0].shape
        (True, (3, 3, 3))
    """
    from scipy import special  # slow to import

    arrays, static = eqx.partition(model, eqx.is_array)
    mean, variance, share = (
        np.asarray(v, np.float64) for v in _cells(static, arrays, labels, fit.params, fit.posterior)
    )
    z = special.ndtri((1 + level) / 2)
    logit, sd = special.logit(np.clip(mean, 1e-7, 1 - 1e-7)), np.sqrt(variance)
    confusion = tuple(special.expit(logit + move * sd).swapaxes(1, 2) for move in (0, -z, z))
    right = [np.diagonal(cells, axis1=1, axis2=2) for cells in confusion]
    accuracy, balanced = (
        tuple(end @ weights for end in right) for weights in (share, np.full(len(share), 1 / len(share)))
    )
    return Summary(accuracy, confusion, corrected(balanced, len(share)))


@partial(jax.jit, static_argnums=0)
def _cells(static, arrays, labels, params, posterior):
    """Return P(label | class) [W, L, K], the variance of its logit, and the shares of the classes."""
    model = eqx.combine(arrays, static)
    factors = model.factors(params)
    curved = curvature_pass(labels, factors)
    precision = model.precision(params)

    def of(name, curved):
        own = precision[name].get("own", 0.0)
        return 1 / jnp.maximum(curved + own, 1e-6)

    of_skill = (of("alpha", curved.alpha) * factors.beta.mean(0) ** 2).sum(1)[:, None, None]
    of_bias = 0.0
    if factors.gamma is not None:
        of_bias = of("gamma", curved.gamma)[:, :, None] * jnp.ones((1, 1, labels.n_classes))
    share = posterior.mean(0)
    return mean_table(labels, model, params, posterior), of_skill + of_bias, share / share.sum()
