"""Models of K classes on the host: ``crowdjax.observation.nominal`` in NumPy, formula by formula the same.

    class prior         exponent, logits of its own, or known
    majority            the same P(right) for all
    one-coin, biased-coin   w_i ~ N(m_i, v_i) of a population that is learned
    dawid-skene         columns of confusions ~ Dirichlet of pseudo-counts that are learned

Each has the table log p(label | labeler, class) [W, L, K] at its parameters, their log prior, the M-step, and what is
said of labelers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crowdjax.host.cells import expit
from crowdjax.labelers import LEVEL, Ends, Summary, corrected, in_sd, summary_of_betas
from crowdjax.priors import (
    EXPONENT,
    EXPONENT_STEPS,
    LONGEST,
    MANY,
    MOST,
    NEWTON_STEPS,
    PRETENDED,
    STEP_PARTS,
    BiasedCoin,
    Coins,
    DawidSkene,
    Glad,
    Majority,
    Nominal,
    OneCoin,
)

if TYPE_CHECKING:
    from jaxtyping import Float

Params = dict[str, np.ndarray]
TRIED = np.array(STEP_PARTS)[:, None, None]


def log_softmax(x, axis: int = -1):
    """Return x - log Σ exp x.

    Example:
        >>> np.exp(log_softmax(np.array([1.0, 1.0]))).tolist()
        [0.5, 0.5]
    """
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


class Prior:
    """The prior of classes: π ∝ (share of votes)^e, π free, or π known."""

    def __init__(self, model: Nominal, n_classes: int):
        self.model, self.n = model, n_classes
        self.by_exponent = model.class_prior == "learn" and (n_classes > 2 or isinstance(model, Glad))
        self.free = model.class_prior in ("learn", "free") and not self.by_exponent
        self.range = EXPONENT[0], MOST if n_classes <= MANY else EXPONENT[0]

    def start(self, votes: Float[np.ndarray, " K"]) -> Params:
        """Return the parameters to start from.

        Args:
            votes: for each class, summed over instances.
        """
        if self.by_exponent:
            shares = votes + 0.5
            return {"classes": np.log(shares / shares.sum()), "exponent": np.array(EXPONENT[0])}
        known = isinstance(self.model.class_prior, tuple)
        return {"classes": np.log(self.model.class_prior) if known else np.zeros(self.n)}

    def log_p(self, params: Params) -> Float[np.ndarray, " K"]:
        """Return log π."""
        return log_softmax(np.clip(params.get("exponent", 1.0), *self.range) * params["classes"]
                           if self.by_exponent else params["classes"])  # fmt: skip

    def log_prior(self, params: Params) -> float:
        """Return the log prior density."""
        if self.by_exponent:
            return -0.5 * float(((params["exponent"] - EXPONENT[0]) / EXPONENT[1]) ** 2)
        return float(self.log_p(params).sum()) if self.free else 0.0

    def step(self, params: Params, points: Float[np.ndarray, " K"]) -> Params:
        """Return the M-step from the expected instances of each class."""
        if self.by_exponent:
            return {"exponent": self._exponent(params, points)}
        return {"classes": np.log((points + 1) / (points + 1).sum())} if self.free else {}

    def _exponent(self, params: Params, items) -> np.ndarray:
        (mean, sd), shares = EXPONENT, params["classes"]

        def q(e):
            return items @ log_softmax(e * shares) - 0.5 * ((e - mean) / sd) ** 2

        e = np.clip(params["exponent"], *self.range)
        for _ in range(EXPONENT_STEPS):
            pi = np.exp(log_softmax(e * shares))
            first = pi @ shares
            gradient = items @ (shares - first) - (e - mean) / sd**2
            curvature = items.sum() * (pi @ (shares - first) ** 2) + 1 / sd**2
            new = np.clip(e + gradient / curvature, *self.range)
            tried = (e, (new + e) / 2, new)
            e = tried[int(np.argmax([q(v) for v in tried]))]
        return np.asarray(e)


class OfMajority:
    """Labelers of majority vote, of which nothing is learnt."""

    of_labeler = ("skill",)

    def __init__(self, model: Majority, n_labelers: int, n_classes: int):
        self.model, self.n_labelers, self.n = model, n_labelers, n_classes

    def start(self) -> Params:
        return {"skill": np.full(self.n_labelers, float(self.model.skill))}

    def table(self, params: Params) -> Float[np.ndarray, "W L K"]:
        skill = params["skill"]
        right, wrong = -np.log1p(np.exp(-skill)), -np.log1p(np.exp(skill)) - np.log(self.n - 1.0)
        return coin_table(right, wrong, self.n)

    def log_prior(self, params: Params) -> float:
        return 0.0

    def step(self, params: Params, counts: Float[np.ndarray, "W L K"]) -> Params:
        return {}

    def summary(self, params: Params, counts, points, level: float = LEVEL) -> Summary:
        return summary_of_betas((counts + np.exp(self.table(params))).swapaxes(1, 2), points / points.sum(), level)


def coin_table(right: Float[np.ndarray, " W"], wrong: Float[np.ndarray, " W"], n: int) -> Float[np.ndarray, "W K K"]:
    """Return log P(label | class) of coins, from the logs of P(right) and of P(any one wrong label).

    Example:
        >>> np.exp(coin_table(np.log([0.75]), np.log([0.125]), 3))[0, :, 0].round(3).tolist()
        [0.75, 0.125, 0.125]
    """
    return np.where(np.eye(n, dtype=bool), right[:, None, None], wrong[:, None, None])


class OfCoins:
    """Coins whose population is learned; logits η = offset + x w of labels l and classes k."""

    of_labeler = ("w", "spread")

    def __init__(self, model: Coins, n_labelers: int, n_classes: int):
        self.n_labelers, self.n = n_labelers, n_classes
        self.one = isinstance(model, OneCoin)
        x, self.offset, _ = model.logits(n_classes)
        self.shape = x.shape
        self.x = x.reshape(-1, x.shape[2])  # [L K, P]
        self.pairs = (self.x[:, :, None] * self.x[:, None]).reshape(len(x.reshape(-1, x.shape[2])), -1)
        self.first_mean, self.first_variance, self.group = model.first(n_classes)

    def start(self) -> Params:
        variance = np.log(self.first_variance)
        tiled = lambda v: np.tile(v, (self.n_labelers, 1))  # noqa: E731
        return {
            "w": tiled(self.first_mean), "spread": tiled(variance[self.group]), "mean": self.first_mean * 1.0,
            "variance": variance,
        }  # fmt: skip

    def _log_p(self, w) -> Float[np.ndarray, "W L K"]:
        return log_softmax((w @ self.x.T).reshape(-1, *self.shape[:2]) + self.offset, axis=1)

    def _mean(self, p, x) -> Float[np.ndarray, "W K P"]:
        """Return E x over the labels, at each class."""
        return np.matmul(p.transpose(2, 0, 1), x.reshape(self.shape).transpose(1, 0, 2)).transpose(1, 0, 2)

    def _curvature(self, p) -> Float[np.ndarray, "W K P"]:
        """Return -∂² log p / ∂w_p² at class k: the variance of x over labels."""
        return self._mean(p, self.x**2) - self._mean(p, self.x) ** 2

    def _expected(self, w, v) -> Float[np.ndarray, "W L K"]:
        """Return E log p where w ~ N(w, v), to second order."""
        log_p = self._log_p(w)
        return log_p - 0.5 * (self._curvature(np.exp(log_p)) @ v[:, :, None]).swapaxes(1, 2)

    def table(self, params: Params) -> Float[np.ndarray, "W L K"]:
        table = self._expected(params["w"], np.exp(params["spread"]))
        return coin_table(table[:, 0, 0], table[:, 1, 0] - np.log(self.n - 1.0), self.n) if self.one else table

    def log_prior(self, params: Params) -> float:
        mean, variance = params["mean"], np.exp(params["variance"])[self.group]
        v, first_variance = np.exp(params["spread"]), self.first_variance[self.group]
        kl = ((params["w"] - mean) ** 2 + v) / variance - np.log(v / variance) - 1
        pretended = ((mean - self.first_mean) ** 2 + first_variance) / variance + np.log(variance)
        return -float(kl.sum() + PRETENDED * pretended.sum()) / 2

    def _own(self, counts) -> np.ndarray:
        """Return the counts by the labels and classes of the logits."""
        if not self.one:
            return counts
        right, total = np.trace(counts, axis1=1, axis2=2), counts.sum((1, 2))
        return np.stack([right, total - right], axis=1)[:, :, None]

    def _slopes(self, counts, p, v):
        """Return (the slope of Σ counts E log p in w [W, P], what curves in it beside p [W, L, K], E x at each
        class)."""
        n, mean = counts.sum(1), self._mean(p, self.x)
        square = (v @ (self.x**2).T).reshape(p.shape)
        across = np.matmul((v[:, None] * mean).transpose(1, 0, 2), self.x.reshape(self.shape).transpose(1, 2, 0))
        g = square - 2 * across.transpose(1, 2, 0)
        g = g - (p * g).sum(1, keepdims=True)
        residual = counts - n[:, None] * p * (1 + 0.5 * g)
        return residual.reshape(len(p), -1) @ self.x, g, mean

    def _second(self, weight, mean, n) -> Float[np.ndarray, "W P P"]:
        """Return Σ_lk weight (x - mean)(x - mean)ᵀ where Σ_l weight_lk is n_k, and Σ_l weight_lk x_lk is n_k mean_k."""
        size = self.shape[2]
        square = (weight.reshape(len(weight), -1) @ self.pairs).reshape(-1, size, size)
        return square - np.matmul((n[:, :, None] * mean).swapaxes(1, 2), mean)

    def step(self, params: Params, counts: Float[np.ndarray, "W L K"]) -> Params:
        """Take Newton's steps in w_i (none that lowers Q), the v_i that is best there, then the population that is."""
        counts = self._own(counts)
        mean, variance = params["mean"], np.exp(params["variance"])[self.group]
        w, v, n = params["w"], np.exp(params["spread"]), counts.sum(1)

        def q(w):
            return (counts * self._expected(w, v)).sum((1, 2)) - ((w - mean) ** 2 / variance).sum(1) / 2

        for _ in range(NEWTON_STEPS):
            p = np.exp(self._log_p(w))
            slope, _, of_class = self._slopes(counts, p, v)
            hessian = self._second(n[:, None] * p, of_class, n) + np.diag(1 / variance)
            step = np.linalg.solve(hessian, (slope - (w - mean) / variance)[..., None])[..., 0]
            step *= np.minimum(1, LONGEST / np.maximum(np.abs(step).max(1, keepdims=True), LONGEST))
            tried = w + TRIED * step
            best = np.argmax([q(w) for w in tried], axis=0)
            w = tried[best, np.arange(len(w))]
            curvature = self._curvature(np.exp(self._log_p(w)))
            v = 1 / ((n[:, None] @ curvature)[:, 0] + 1 / variance)
        size, first = len(w) + PRETENDED, self.first_mean
        mean = (w.sum(0) + PRETENDED * first) / size
        each = ((w - mean) ** 2 + v).sum(0) + PRETENDED * ((mean - first) ** 2 + self.first_variance[self.group])
        of_group = np.eye(len(self.first_variance))[self.group]
        variance = each @ of_group / (size * of_group.sum(0))
        return {"w": w, "spread": np.log(v), "mean": mean, "variance": np.log(variance)}

    def summary(self, params: Params, counts, points, level: float = LEVEL) -> Summary:
        """Summarise labelers by the curvature of Q in a labeler's own w and log v, and the delta method on the
        logit."""
        p = np.exp(self._log_p(params["w"]))
        covariance = self._covariance(params, self._own(counts), p)
        move = p[..., None] * (self.x.reshape(self.shape) - self._mean(p, self.x)[:, None])  # ∂p / ∂w, [W, L, K, P]
        if self.one:
            place = np.where(np.eye(self.n, dtype=bool), 0, 1)
            share = np.where(place, 1 / (self.n - 1.0), 1.0)
            p, move = p[:, place, 0] * share, move[:, place, 0] * share[..., None]
        k = np.arange(self.n)
        right, of_right = p[:, k, k], move[:, k, k]
        shares = points / points.sum()
        chance = np.stack([right @ shares, right.mean(1), *p.transpose(2, 1, 0).reshape(-1, len(p))], 1)
        chance = np.clip(chance, np.finfo(float).eps, 1 - np.finfo(float).eps)  # of labels of enormous weights
        slopes = np.concatenate(
            [np.stack([shares @ of_right, of_right.mean(1)], 1), move.swapaxes(1, 2).reshape(len(p), self.n**2, -1)], 1
        )
        slopes = slopes / (chance * (1 - chance))[..., None]
        sd = np.sqrt(((slopes @ covariance) * slopes).sum(2))
        logit, z = np.log(chance) - np.log1p(-chance), in_sd(level)
        cells: list[Any] = [expit(logit + move * sd) for move in (0, -z, z)]
        accuracy, balanced = (tuple(cell[:, n] for cell in cells) for n in (0, 1))
        confusion: Ends = tuple(cell[:, 2:].reshape(-1, self.n, self.n) for cell in cells)  # pyright: ignore
        return Summary(accuracy, confusion, corrected(balanced, self.n))  # pyright: ignore[reportArgumentType]

    def _covariance(self, params: Params, counts, p) -> Float[np.ndarray, "W P P"]:
        """Of w, where log v is as uncertain as Q says: the block of the inverse of -∂²Q, no eigenvalue below 1e-6."""
        variance, v, n = np.exp(params["variance"])[self.group], np.exp(params["spread"]), counts.sum(1)
        _, g, mean = self._slopes(counts, p, v)
        size = self.shape[2]
        x = self.x.reshape(self.shape)
        out = np.zeros((len(v), 2 * size, 2 * size))
        covariances = [self._second_at(p[:, :, k], x[:, k], mean[:, k]) for k in range(self.shape[1])]
        for k, covariance in enumerate(covariances):
            third = self._second_at(p[:, :, k] * g[:, :, k], x[:, k], mean[:, k])
            around = third - 2 * (covariance * v[:, None]) @ covariance
            out[:, :size, :size] += n[:, k, None, None] * (covariance + around / 2)
            of_variance = np.einsum(
                "wl,wlp,wlq->wpq", p[:, :, k], (x[:, k] - mean[:, None, k]) ** 2, x[:, k] - mean[:, None, k]
            )  # ∂(variance of x_p) / ∂w_q
            out[:, size:, :size] += n[:, k, None, None] * v[:, :, None] * of_variance / 2
            diagonal = np.diagonal(covariance, axis1=1, axis2=2) * v * n[:, k, None] / 2
            out[:, size + np.arange(size), size + np.arange(size)] += diagonal
        out[:, :size, size:] = out[:, size:, :size].swapaxes(1, 2)
        at = np.arange(size)
        out[:, at, at] += 1 / variance
        out[:, size + at, size + at] += v / variance / 2
        values, vectors = np.linalg.eigh(out)
        own = vectors[:, :size]
        return (own / np.maximum(values, 1e-6)[:, None]) @ own.swapaxes(1, 2)

    @staticmethod
    def _second_at(weight: Float[np.ndarray, "W L"], x: Float[np.ndarray, "L P"], mean) -> Float[np.ndarray, "W P P"]:
        """Return Σ_l weight_l (x_l - mean)(x_l - mean)ᵀ."""
        centred = x - mean[:, None]
        return np.matmul((centred * weight[..., None]).swapaxes(1, 2), centred)


class OfDawidSkene:
    """Confusions whose columns have pseudo-counts b in common, which are learned."""

    of_labeler = ("rows", "n")

    def __init__(self, model: DawidSkene, n_labelers: int, n_classes: int):
        self.n_labelers = n_labelers
        self.middle = model.first(n_classes, n_classes)

    def start(self) -> Params:
        b = np.log(self.middle)
        n = np.zeros((self.n_labelers, b.shape[1]))  # the first M-step knows it
        return {"rows": np.tile(b, (self.n_labelers, 1, 1)), "b": b, "n": n, "middle": self.middle}

    def table(self, params: Params) -> Float[np.ndarray, "W L K"]:
        return log_softmax(params["rows"], axis=1)

    def log_prior(self, params: Params) -> float:
        log_b = params["b"]
        of_columns = (np.exp(log_b) * (self.table(params).sum(0) - self.n_labelers * log_softmax(log_b, axis=0))).sum()
        return float(of_columns + self._about_b(log_b, params["n"]).sum())

    def _about_b(self, log_b: Float[np.ndarray, "L K"], n: Float[np.ndarray, "W K"]) -> Float[np.ndarray, " K"]:
        """Return the objective's terms in b alone, by class."""
        prior = PRETENDED * (self.middle * log_b - np.exp(log_b)).sum(0)
        return prior - (len(log_b) - 1) / 2 * np.log1p(n / np.exp(log_b).sum(0)).sum(0)

    def step(self, params: Params, counts: Float[np.ndarray, "W L K"]) -> Params:
        n, log_b = params["n"] if params["n"].any() else counts.sum(1), params["b"]
        for _ in range(NEWTON_STEPS):
            log_b = self._newton(log_b, counts, n)
        return {"rows": np.log(counts + np.exp(log_b)), "b": log_b, "n": n}

    def _newton(self, log_b, counts, n) -> Float[np.ndarray, "L K"]:
        """Return a step in log b that does not lower Q at the best V; its Hessian is a diagonal and c b bᵀ, for each
        class."""
        total = counts.sum(1)

        def parts(log_b):
            b = np.exp(log_b)
            own = counts + b
            log_v = np.log(own) - np.log(total + b.sum(0))[:, None]
            return b, own, log_v

        def q(log_b):
            b, own, log_v = parts(log_b)
            return (
                (own * log_v).sum((0, 1)) - len(counts) * (b * log_softmax(log_b, 0)).sum(0) + self._about_b(log_b, n)
            )

        b, own, log_v = parts(log_b)
        whole = b.sum(0)
        # The best V is stationary in Q: the slope is that of b where V stands still.
        kl = log_v.sum(0) - len(counts) * log_softmax(log_b, 0)
        about = PRETENDED * (self.middle - b) + (len(log_b) - 1) / 2 * b * (n / (whole * (whole + n))).sum(0)
        slope = b * kl + about
        diagonal = (b * counts / own).sum(0) + PRETENDED * self.middle + np.maximum(-slope, 0)
        occam = (len(log_b) - 1) / 2 * (1 / (whole + n) ** 2 - 1 / whole**2)
        c = (total / (whole * (total + whole)) + occam).sum(0)
        share = np.minimum(c * (b**2 / diagonal).sum(0), 0.9)
        step = (slope + b * c * (b * slope / diagonal).sum(0) / (1 - share)) / diagonal
        tried = log_b + TRIED * np.clip(step, -LONGEST, LONGEST)
        best = np.argmax([q(log_b) for log_b in tried], axis=0)
        return tried[best, :, np.arange(len(best))].T

    def summary(self, params: Params, counts, points, level: float = LEVEL) -> Summary:
        return summary_of_betas((counts + np.exp(params["b"])).swapaxes(1, 2), points / points.sum(), level)


OF = {Majority: OfMajority, OneCoin: OfCoins, BiasedCoin: OfCoins, DawidSkene: OfDawidSkene}
