"""Named models: configurations of the one factor model, without code of their own.

Source: Ruvolo, Whitehill, Movellan (2013), section 2.3.

| preset | α | β | γ |
|---|---|---|---|
| majority | 1, fixed | 1, fixed | – |
| one-coin | per labeler | 1, fixed | – |
| dawid-skene | per labeler | 1, fixed | per labeler (exactly the two-coin model: sens = σ(α+γ), spec = σ(α-γ)) |
| glad | per labeler, N(1, 1) | exp(b), b ~ N(1, 1) per instance | – |
| glad-linear | per labeler | per instance, unconstrained (their reading of GLAD) | – |
| factor | per labeler, D of them | per instance, D of them | per labeler |
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from crowdjax.factor.features import Features, Linear
from crowdjax.factor.model import FactorModel, Weights
from crowdjax.labels import InputError, Labels
from crowdjax.priors import BETA, PRESETS, PRIORS, RAREST, FactorConfig

__all__ = ["PRESETS", "PRIORS", "RAREST", "FactorConfig", "build"]


def build(
    config: FactorConfig,
    labels: Labels,
    *,
    labeler_features=None,
    instance_features=None,
) -> FactorModel:
    """Build the model of a configuration for the labelers and instances of ``labels``.

    Args:
        labeler_features, instance_features: standardised columns, shape [W, F] and [I, F']; a constant is added here.

    Raises:
        InputError: a feature table has another shape, or holds anything but finite numbers; a logistic class prior
            without instance features.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1])
        >>> build(PRESETS["dawid-skene"], labels).mean.labeler.free.tolist()
        [[1.0]]
    """
    labeler_features = _table(labeler_features, labels.n_labelers, "labeler_features")
    instance_features = _table(instance_features, labels.n_instances, "instance_features")
    d = config.n_factors
    first = np.arange(d) == 0

    def side(n, columns, gaussian):
        mean, sd = gaussian
        mean = np.where(first, mean, 0.0)[None]
        sd = np.where(first, sd, config.further if sd > 0 else 0.0)[None]
        return _side(n, columns, mean, sd, config)

    labeler, a_mean, a_sd = side(labels.n_labelers, labeler_features, config.labeler)
    instance, b_mean, b_sd = side(labels.n_instances, instance_features, config.instance)
    bias, g_mean, g_sd = (None, None, None)
    if config.bias is not None:
        mean, sd = (np.full((1, 1), v) for v in config.bias)
        bias, g_mean, g_sd = _side(labels.n_labelers, labeler_features, mean, sd, config)
    prior, p_mean, p_sd, beta = _class_prior(config, labels, instance_features)
    dtype = jnp.result_type(float)
    numbers = lambda tree: jax.tree.map(lambda v: jnp.asarray(v, dtype), tree)  # noqa: E731
    return FactorModel(
        labeler=labeler,
        instance=instance,
        bias=bias,
        class_prior=prior,
        mean=numbers(Weights(a_mean, b_mean, g_mean, p_mean)),
        variance=numbers(jax.tree.map(np.square, Weights(a_sd, b_sd, g_sd, p_sd))),
        beta=numbers(beta),
        n_factors=d,
        link=config.link,
    )


def _table(columns, n: int, name: str) -> np.ndarray | None:
    """Read feature columns as finite numbers [n, F]."""
    if columns is None:
        return None
    columns = np.asarray(columns)
    if columns.dtype.kind not in "biuf":
        raise InputError(f"{name}: values of type {columns.dtype}; allowed: numbers")
    if columns.ndim != 2 or len(columns) != n:
        raise InputError(f"{name}: shape {columns.shape}; allowed: ({n}, F), one row each")
    bad = np.argwhere(~np.isfinite(columns))
    if bad.size:
        row, column = bad[0]
        raise InputError(f"{name}: got {columns[row, column]} at row {row}, column {column}; allowed: finite numbers")
    return columns.astype(np.float64)


def _side(n, columns, mean, sd, config):
    """Return features and priors of one side: where the standard deviation is 0, a constant alone, whatever the columns
    (in ``dawid-skene`` instance features serve the class prior only); else a free weight each; or constant, columns and
    a deviation each."""
    if (sd == 0).all():
        return Features.constant(n, fixed=True), Linear(mean, None), Linear(sd, None)
    if columns is None:
        return Features.free(n), Linear(None, mean), Linear(None, sd)
    features = Features.columns(np.c_[np.ones(n), columns], identity=config.deviation > 0)
    zeros = np.zeros((columns.shape[1], mean.shape[1]))
    free = config.deviation > 0
    return (
        features,
        Linear(np.r_[mean, zeros], np.zeros_like(mean) if free else None),
        Linear(np.r_[sd, zeros + config.features], np.full_like(sd, config.deviation) if free else None),
    )


def _class_prior(config, labels, columns):
    """Return Φπ, means, standard deviations and Beta of the class prior.

    Gold of one class was chosen by its class: it says nothing of how frequent the class is. Its rows are 0.
    """
    n, zero = labels.n_instances, np.zeros((1, 1))
    counts = _counting(labels)[:, None]
    if config.class_prior == "learn":
        return Features.columns(counts), Linear(zero), Linear(zero + np.inf), np.array(BETA)
    if config.class_prior == "logistic":
        if columns is None:
            raise InputError("class_prior: logistic needs instance features; allowed without: a number, learn")
        features = Features.columns(counts * np.c_[np.ones(n), columns])
        rows = np.zeros((features.n_columns, 1))
        return features, Linear(rows), Linear(rows + 1.0), None
    logit = np.log(config.class_prior) - np.log1p(-config.class_prior)
    return Features.constant(n), Linear(zero + logit), Linear(zero), None


def _counting(labels: Labels) -> np.ndarray:
    """Return 1 for the instances that the class prior is learned from, 0 for others."""
    n = np.ones(labels.n_instances)
    if labels.gold is None or isinstance(labels.gold, jax.core.Tracer):
        return n
    gold = np.asarray(labels.gold)
    return np.where(gold >= 0, 0.0, n) if len(set(gold[gold >= 0].tolist())) == 1 else n
