"""The interface of observation models: what a model of labels defines, and what one pass over the labels returns.

A model gives, for every labeler i, a table of the log-probabilities of labels l at latent points g, and a log prior of
the points. Points are classes (majority, coins, Dawid and Skene), or classes times a grid (integrated models):

    T[i,l,g] = log p(l | i, g)      v[g] or v[j,g]      class_of_point[g,k] = P(z = k | g)

Everything else, a pass, its gradients, fits, devices, prediction, saving, follows from these three: see
``crowdjax.observation.table`` and ``crowdjax.observation.fit``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float

from crowdjax.labels import InputError, Labels

Params = Any  # a pytree of arrays


@runtime_checkable
class Observation(Protocol):
    """Protocol of observation models: frozen dataclasses (static under jit) or ``equinox.Module`` (arrays are data).

    A model may add ``m_step(params, counts, points) -> params``, the exact maximum of

        Q(params) = Σ counts · table + Σ points · log_points + log_prior

    in closed form or by Newton steps; a fit then runs accelerated EM, and otherwise follows the gradient. Further
    optional members are

        answer(labels, posterior) -> posterior    the posterior to report, where it is not the model's own
        rescaled(params, labels) -> labels        corrects the numbers of labels by which parameters are scaled
        rtol                                      gain below which results no longer change
        neutral                                   the model masks padding by ``labels.counts`` and ``labels.shard``; if
                                                  true, labelers without labels change neither the fit nor its
                                                  objective, and fits share programs (``observation.room``)

    In place of a table a model may have ``factors(params)`` (``bilinear.Factors``) or, where labels depend on more than
    the labeler and the point, ``rows(params, labels)``, [N, L, G]: log p(label l | triple n, point g). Such a model has
    a pass of its own.

    Example: a coin that is right three times in four, which nothing is learnt of
        >>> import dataclasses, jax.numpy as jnp
        >>> @dataclasses.dataclass(frozen=True)
        ... class Coin:
        ...     def start(self, labels, votes): return {"a": jnp.full(labels.n_labelers, 0.75)}
        ...     def table(self, params): return jnp.log(jnp.where(jnp.eye(2), params["a"][:, None, None], 0.25))
        ...     def log_points(self, params): return jnp.log(jnp.full(2, 0.5))
        ...     def class_of_point(self, params): return jnp.eye(2)
        ...     def log_prior(self, params): return jnp.array(0.0)
        ...     def specs(self, params): return {"a": "labeler"}
        >>> isinstance(Coin(), Observation)
        True
    """

    def start(self, labels: Labels, votes: Float[Array, "I K"]) -> Params:
        """Build initial parameters with their final shapes.

        Args:
            votes: share of each class in the votes of each instance (``crowdjax.observation.table.vote_shares``).
        """
        ...

    def table(self, params: Params) -> Float[Array, "W L G"]:
        """Compute log p(label l | labeler i, point g)."""
        ...

    def log_points(self, params: Params) -> Float[Array, " G"] | Float[Array, "I G"]:
        """Compute the log prior of the points, shared by all instances or one for each."""
        ...

    def class_of_point(self, params: Params) -> Float[Array, "G K"]:
        """Compute P(class k | point g): the identity where points are classes."""
        ...

    def log_prior(self, params: Params) -> Float[Array, ""]:
        """Compute log p(params), up to a constant."""
        ...

    def specs(self, params: Params) -> Any:
        """Name what the first axis of each array runs over: ``"labeler"``, ``"instance"`` or None."""
        ...


def refuse_faulty(labels: Labels, model: Observation) -> None:
    """Reject a user's model whose arrays do not have the shapes that these labels need; evaluates shapes only.

    Raises:
        InputError: names the array, its shape, and the shape it should have.

    Example:
        >>> from crowdjax.observation import Majority
        >>> class Short(Majority):
        ...     def table(self, params): return super().table(params)[:1]
        >>> refuse_faulty(Labels.from_arrays([0, 1], [0, 0], [1, 2], n_values=3), Short())
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: Short.table: got shape (1, 3, 3); allowed: (2, 3, 3), that is [labelers, values of \
labels, points]
    """
    n_instances, n_classes = labels.n_instances, labels.n_classes
    votes = jax.ShapeDtypeStruct((n_instances, n_classes), jax.dtypes.canonicalize_dtype(float))

    def refuse(name: str, got: Any, allowed: str):
        raise InputError(f"{type(model).__name__}.{name}: got {got}; allowed: {allowed}")

    def traced(name: str, *given: Any) -> Any:
        try:
            return jax.eval_shape(getattr(model, name), *given)
        except jax.errors.JAXTypeError as error:
            what = str(error).splitlines()[0][:80]
            raise InputError(f"{type(model).__name__}.{name}: {what}; allowed: what JAX can trace: jax.numpy in place "
                             "of numpy and of if") from None  # fmt: skip
        except (TypeError, ValueError) as error:
            sizes = f"{labels.n_labelers} labelers, {labels.n_values} values of labels, {n_classes} classes"
            refuse(name, str(error).splitlines()[0][:80], f"what fits {sizes}")

    def shape(name: str, *more: Any) -> tuple[int, ...]:
        found = traced(name, params, *more)
        return found.shape if hasattr(found, "shape") else refuse(name, type(found).__name__, "an array")

    if not dataclasses.is_dataclass(model):
        raise InputError(f"model: got {type(model).__name__}, a plain class; allowed: a frozen dataclass, or an "
                         "equinox.Module")  # fmt: skip
    for side, n in (("labeler", labels.n_labelers), ("instance", n_instances)):
        rows = getattr(model, f"{side}_features", None)
        if rows is not None and (rows.ndim != 2 or len(rows) != n):
            refuse(f"{side}_features", f"shape {rows.shape}", f"({n}, F), that is [{side}s, features]")
    params = jax.eval_shape(lambda votes: traced("start", labels, votes), votes)
    if not jax.tree.leaves(params):
        refuse("start", "no arrays", "one at least")
    if hasattr(model, "factors"):
        found = traced("factors", params)
        for name, n, whose in (("alpha", labels.n_labelers, "labelers"), ("beta", n_instances, "instances")):
            if (got := getattr(found, name).shape)[0] != n:
                refuse(f"factors.{name}", f"shape {got}", f"({n}, D), that is [{whose}, factors]")
        return
    of_point = shape("class_of_point")
    if len(of_point) != 2 or of_point[1] != n_classes:
        refuse("class_of_point", f"shape {of_point}", f"(points, {n_classes}), that is [points, classes]")
    n = of_point[0]
    if (found := shape("log_points")) not in ((n,), (n_instances, n)):
        refuse("log_points", f"shape {found}", f"({n},), that is [points], or {(n_instances, n)}, [instances, points]")
    table = labels.n_labelers, labels.n_values, n
    if hasattr(model, "rows"):
        rows = labels.label.shape[0], labels.n_values, n
        if (found := shape("rows", labels)) != rows:
            refuse("rows", f"shape {found}", f"{rows}, that is [labels, values of labels, points]")
    elif (found := shape("table")) != table:
        refuse("table", f"shape {found}", f"{table}, that is [labelers, values of labels, points]")
    if (found := shape("log_prior")) != ():
        refuse("log_prior", f"shape {found}", "a number, shape ()")
    specs = model.specs(params)
    if isinstance(specs, dict) and isinstance(params, dict) and specs.keys() != params.keys():
        refuse("specs", f"keys {sorted(specs)}", f"those of start, {sorted(params)}")
    for spec in jax.tree.leaves(specs, is_leaf=lambda spec: spec is None):
        if spec not in ("labeler", "instance", None):
            refuse("specs", repr(spec), "'labeler', 'instance', None")


def answers(model: Any, labels: Labels, posterior: Any) -> Any:
    """Apply a model's ``answer`` to the posterior of instances; without one, return the posterior.

    Example:
        >>> from crowdjax.observation import Majority
        >>> answers(Majority(), Labels.from_arrays([0], [0], [1]), [[0.25, 0.75]])
        [[0.25, 0.75]]
    """
    return model.answer(labels, posterior) if hasattr(model, "answer") else posterior


def leading(model: Any, fit: Any) -> tuple[Any, Any]:
    """Select the model that describes labelers, and its fit: of a pool (``integrated.pool``) the first member.

    Example:
        >>> leading("model", "fit")
        ('model', 'fit')
    """
    return model.leading(fit) if hasattr(model, "leading") else (model, fit)


class Pass(NamedTuple):
    """The result of one pass over the labels: sums over the instances of this shard.

    Attributes:
        value: Σ_j log Σ_g exp h_jg, the evidence.
        posterior: P(z_j = k | labels).
        counts: n[i,l,g] = Σ_j c_ij [L_ij = l] q_jg, the sufficient statistic of the labelers.
        points: Σ_j q_jg, or q itself where the prior is of each instance.

    Example:
        >>> Pass._fields
        ('value', 'posterior', 'counts', 'points')
    """

    value: Float[Array, ""]
    posterior: Float[Array, "I K"]
    counts: Float[Array, "W L G"]
    points: Float[Array, " G"] | Float[Array, "I G"]
