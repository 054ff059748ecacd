"""What a fit found, as every solver gives it: pytrees of arrays, without JAX."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

from crowdjax.labels import Tree

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


class Linear(NamedTuple):
    """Weights, or their prior means or variances: of the dense columns [F, D] and of the identity part [n, D].

    Example: of two columns and one factor
        >>> import numpy as np
        >>> Linear(dense=np.ones((2, 1))).free is None
        True
    """

    dense: Float[Array, "F D"] | None = None
    free: Float[Array, "n D"] | None = None


class Weights(NamedTuple):
    """The weights of every part, or their prior means, or variances. ``bias`` is None in models without γ.

    Example:
        >>> import numpy as np
        >>> one, each = Linear(dense=np.ones((1, 1))), Linear(free=np.ones((3, 1)))
        >>> Weights(labeler=each, instance=one, bias=None, class_prior=one).labeler.free.shape
        (3, 1)
    """

    labeler: Linear
    instance: Linear
    bias: Linear | None
    class_prior: Linear


@dataclasses.dataclass(frozen=True, eq=False)
class FactorFit(Tree):
    """A fitted factor model: weights, posteriors and convergence. Holds no labels.

    Attributes:
        weights: weights at the largest objective.
        posterior: P(z_j = +1 | L, W).
        objective: log p(L | W) + log p(W).
        log_likelihood: log p(L | W).
        code: result code (``crowdjax.optimize.MEANING``).
        n_steps: number of passes over the labels, the start included; for ``em-cg`` rounds of EM.
        history: objective after each pass of the stage that was kept, NaN after the last.
        switched: whether the first optimum had the classes switched and the corrected one was better.

    Example: a fit without a result says why
        >>> import numpy as np
        >>> from crowdjax.stopping import MEANING, NONFINITE
        >>> weights, nan = Weights(None, None, None, None), np.array(np.nan)
        >>> fit = FactorFit(weights, nan, nan, nan, np.array(NONFINITE), np.array(1), nan, np.array(False))
        >>> MEANING[int(fit.code)].split(";")[0]
        'the objective is not finite'
    """

    weights: Weights
    posterior: Float[Array, " I"]
    objective: Float[Array, ""]
    log_likelihood: Float[Array, ""]
    code: Int[Array, ""]
    n_steps: Int[Array, ""]
    history: Float[Array, " T"]
    switched: Bool[Array, ""]


@dataclasses.dataclass(frozen=True, eq=False)
class ObservationFit(Tree):
    """A fitted observation model: parameters, posteriors and convergence. Holds no labels.

    Attributes:
        params: parameters of the model.
        posterior: P(z_j = k | labels).
        objective: evidence + log prior, at the end.
        log_likelihood: log evidence.
        code: result code (``crowdjax.optimize.MEANING``).
        n_steps: number of passes over the labels.
        history: the objective after each pass, NaN after the last.

    Example:
        >>> [field.name for field in dataclasses.fields(ObservationFit)][:2]
        ['params', 'posterior']
    """

    params: Any
    posterior: Float[Array, "I K"]
    objective: Float[Array, ""]
    log_likelihood: Float[Array, ""]
    code: Int[Array, ""]
    n_steps: Int[Array, ""]
    history: Float[Array, " max_steps"]
