"""The contextual model under the contract of ``crowdjax.observation``: two classes, and labels that depend on a score.

Its points are the classes. What a labeler says depends on the score of the instance besides, so that a row for every
label takes the place of a table, and the log prior is of each instance:

    rows[n, l, k] = log σ( L (z s_n + γ_n) )          log_points[j, k] = log σ( z r(x_j) )          L, z = -1, 1

Parameters are standard normals by site, the u of ``model.log_density``. The evidence goes by ``crowdjax.likelihood``,
the two-class form of the contract's pass; fits follow it (``inference``).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crowdjax.contextual.config import ContextualConfig
from crowdjax.contextual.data import Data
from crowdjax.contextual.functions import Basis
from crowdjax.contextual.model import (
    accuracy_bias,
    coefficients,
    log_likelihood,
    prevalence_logit,
    sites,
    split,
    tables,
    values,
)
from crowdjax.labels import Labels

Params = dict[str, Array]


class Contextual(eqx.Module):
    """The contextual model of given instances as an observation model.

    Attributes:
        config: settings of the functions (static under jit).
        basis, labeler_basis: prepared scores of the instances, from ``prepare_data``.
        n_instances: number of their rows that are instances.

    Example: the density that every method of inference works on
        >>> from crowdjax.contextual.model import log_density
        >>> from crowdjax.contextual.data import prepare_data
        >>> data = prepare_data(config, labels, found.scale(scores))
        >>> model, u = Contextual.of(config, data), jnp.asarray(found.unconstrained[0, 0])
        >>> params = model.params(labels, u)
        >>> bool(jnp.isclose(model.evidence(labels, params) + model.log_prior(params), log_density(config, data, u)))
        True
    """

    config: ContextualConfig = eqx.field(static=True)
    basis: Basis
    labeler_basis: Basis | None
    n_instances: int = eqx.field(static=True)

    @classmethod
    def of(cls, config: ContextualConfig, data: Data) -> Contextual:
        """Build the model from prepared data."""
        return cls(config, data.basis, data.labeler_basis, data.labels.n_instances)

    def params(self, labels: Labels, u: Float[Array, " P"]) -> Params:
        """Split the vector u into parameters by site."""
        return split(u, sites(self.config, labels.n_labelers, self.basis, self.labeler_basis))

    def start(self, labels: Labels, votes=None) -> Params:
        """Build parameters at the middle of the prior."""
        shapes = sites(self.config, labels.n_labelers, self.basis, self.labeler_basis)
        return {name: jnp.zeros(shape, self.basis.x.dtype) for name, shape in shapes.items()}

    def rows(self, params: Params, labels: Labels) -> Float[Array, "N 2 2"]:
        """Compute log P(label l | class k) of every stored triple, given its labeler and the score of its instance."""
        c, table = self._prepared(params)
        at = labels.labeler, labels.instance
        s, gamma = accuracy_bias(self.config, self.basis, self.labeler_basis, c, table, *map(jnp.asarray, at))
        t = gamma[:, None] + s[:, None] * jnp.array([-1.0, 1.0], s.dtype)  # the logit of the label 1, by class
        return jax.nn.log_sigmoid(jnp.stack([-t, t], 1))

    def log_points(self, params: Params) -> Float[Array, "I 2"]:
        """Compute the log prior of every instance's class."""
        r = prevalence_logit(self.config, self.basis, *self._prepared(params))[: self.n_instances]
        return jax.nn.log_sigmoid(jnp.stack([-r, r], 1))

    def class_of_point(self, params: Params) -> Float[Array, "2 2"]:
        """Build P(class | point): the identity, as points are classes."""
        return jnp.eye(2)

    def log_prior(self, params: Params) -> Float[Array, ""]:
        """Compute log p(params), up to a constant."""
        return -0.5 * sum((u**2).sum() for u in params.values())

    def specs(self, params: Params) -> dict[str, None]:
        """Give None for every array: no array has instances or labelers as its first axis."""
        return dict.fromkeys(params)

    def evidence(self, labels: Labels, params: Params) -> Float[Array, ""]:
        """Compute log p(labels | params) with the classes summed out, or fixed where gold is known."""
        data = Data(labels, self.basis, self.labeler_basis)
        return log_likelihood(self.config, data, values(self.config, params))

    def _prepared(self, params: Params):
        """Return the functions' coefficients and tables."""
        c = coefficients(self.config, self.basis, self.labeler_basis, values(self.config, params))
        return c, tables(self.config, self.basis, c)
