"""Compare factor models with GLAD and the vote on stand-ins for the smile study, with labels from none of these models.

The detector's outputs of the smile study of Ruvolo, Whitehill, Movellan (2013), section 5, were never published.
Here are one crowd of 20 labelers and 160 images for each kind of labels, a detector that measures some quantity of
an image, and 100 draws of 80 % of the labels, as in that study:

    boundaries    An image has two quantities, how broad the smile is and how much the eyes take part, with
                  correlation .4: smiles of enjoyment tend to be broader. The truth is whether the eyes' is above
                  the quantile that 36 % are above (the share of the real study). Labelers mix both up to a degree
                  of their own, bend the line between the classes a little, put it where they will, and see with
                  noise:

                      L_ij = +1 where cos θ_i eyes_j + sin θ_i smile_j + κ_i (smile_j² - 1) + ε_ij > c_i
                      θ_i ~ U(0, 90°)    κ_i ~ N(0, .2²)    c_i ~ N(.36, .5²)    ε_ij ~ N(0, 1)

                  The detector measures the smile, as that of the smile study did, or the eyes, the truth's own axis.

    guessing      Item response with guessing: a labeler knows the truth with probability σ(1.7 a_i (θ_i - b_j)), or
                  else says yes with a probability of their own. θ_i, b_j ~ N(0, 1), log a_i ~ N(0, .3²), the latter
                  ~ Beta(4, 4). The detector measures the difficulty b_j.

    experts       Enjoyment u_j ~ N(0, 1) is graded, and the truth is one expert's reading of it. Readings have
                  correlation sin .3π, with which two experts agree on 80 % of the images. Labelers read the same
                  with more noise: L_ij = +1 where u_j + s_i ε_ij > c_i, log s_i ~ N(0, .5²), c_i as above. The
                  detector measures u_j. Who knows u_j agrees with the expert on about 86 %: no answer can be much
                  better.

A detector's output is r·quantity + √(1-r²)·noise, both with mean 0 and variance 1, r from 0 (useless) to 1
(perfect). The settings above were written down before anything was fitted and are the only ones that were tried.
Draws of one crowd share most labels, so the study also fits other crowds of every kind, one draw of each: how much
a single crowd can say.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from scipy.special import expit, logit
from scipy.stats import norm

from crowdjax import plots, simulate
from crowdjax.factor import Solver, rbf_basis
from crowdjax.integrated import IntegratedConfig
from crowdjax.metrics import paired
from experiments.cells import Cell, Size, Tables
from experiments.config import Model, preset
from experiments.fitting import Draws, drop, fit_all, size_of
from experiments.integrating import fit_integrated
from experiments.tables import Report, markdown, names, scored, select

Kind = Literal["boundaries, smile", "boundaries, eyes", "guessing", "experts"]
KINDS: tuple[Kind, ...] = ("boundaries, smile", "boundaries, eyes", "guessing", "experts")
POSITIVES = 0.36  # of the real study's images
CUT = norm.isf(POSITIVES)
AGREEMENT = 0.8  # of two experts
VOTE, INTEGRATED = "majority vote", "integrated"
WIDTH = 0.3  # of the kernel that smooths the true log odds of the figure, in standard deviations of the output


@dataclasses.dataclass(frozen=True)
class Config:
    """The crowds, the detectors and the models.

    Attributes:
        kinds: how labels come about, and what the detector measures.
        correlations: r of the detector's output with what it measures.
        n_labelers, n_instances: of every crowd.
        n_draws: subsets of the first crowd's labels.
        dropped: the share of the labels that each goes without.
        n_crowds: other crowds of every kind, each with one subset.
        n_basis: radial basis functions of the detector's output.
        models: the factor models by name; those with instance features are given the detector.
        baseline: the model that others are compared with.
        drawn: the kind, and the model whose factor is in the figure.
        drawn_at: the correlation of the detector there.
        good: the least correlation of a detector that is called good.
        target: the share of draws in which the model with the most factors should be ahead of the baseline.
        seed: draws the crowds, the subsets and starts.
        solver: how to fit.
    """

    kinds: tuple[Kind, ...] = KINDS
    correlations: tuple[float, ...] = (0.0, 0.5, 0.8, 1.0)
    n_labelers: int = 20
    n_instances: int = 160
    n_draws: int = 100
    dropped: float = 0.2
    n_crowds: int = 40
    n_basis: int = 8
    models: dict[str, Model] = dataclasses.field(
        default_factory=lambda: {
            "majority vote": preset("majority"),
            "Dawid-Skene": preset("dawid-skene"),
            "GLAD": preset("glad"),
            **{
                f"{d} factor{'s' * (d > 1)}": preset("factor", "instance", n_factors=d, deviation=0.0, features=1.0)
                for d in (1, 2, 3)
            },
        }
    )
    baseline: str = "GLAD"
    drawn: tuple[Kind, str] = ("boundaries, smile", "1 factor")
    drawn_at: float = 0.8
    good: float = 0.8
    target: float = 0.85
    seed: int = 0
    solver: Solver = Solver(restarts=4, rtol=1e-5)


class Crowd(NamedTuple):
    """One crowd: labels 0 or 1, the truth, what the detector measures, its noise, and the chances of a right label."""

    label: Int[np.ndarray, "I W"]
    truth: Int[np.ndarray, " I"]
    measured: Float[np.ndarray, " I"]
    noise: Float[np.ndarray, " I"]
    right: Float[np.ndarray, "I W"]

    def detector(self, correlation: float) -> Float[np.ndarray, " I"]:
        """Outputs of a detector with this correlation to what it measures."""
        return correlation * self.measured + np.sqrt(1 - correlation**2) * self.noise


def crowd(seed: int, kind: Kind, number: int, n_labelers: int = 20, n_instances: int = 160) -> Crowd:
    """Draw a crowd of a kind; those of ``boundaries`` differ in what is measured alone.

    Example:
        >>> smile, eyes = (crowd(0, kind, 3) for kind in KINDS[:2])
        >>> bool((smile.label == eyes.label).all()), bool((smile.measured == eyes.measured).all())
        (True, False)
    """
    family, _, what = kind.partition(", ")
    rng = np.random.default_rng([seed, *family.encode(), number])
    per_image, per_labeler = (lambda: rng.standard_normal((n_instances, 1))), (lambda: rng.standard_normal(n_labelers))
    noise = rng.standard_normal(n_instances)
    if family == "boundaries":
        eyes = per_image()
        smile = 0.4 * eyes + np.sqrt(1 - 0.4**2) * per_image()
        angle = rng.uniform(0, np.pi / 2, n_labelers)
        seen = np.cos(angle) * eyes + np.sin(angle) * smile + 0.2 * per_labeler() * (smile**2 - 1)
        yes = norm.cdf(seen - CUT - 0.5 * per_labeler())
        truth, measured = eyes > CUT, smile if what == "smile" else eyes
    elif family == "guessing":
        truth, measured = rng.random((n_instances, 1)) < POSITIVES, per_image()
        ability, slope = per_labeler(), np.exp(0.3 * per_labeler())
        knows = expit(1.7 * slope * (ability - measured))
        yes = knows * truth + (1 - knows) * rng.beta(4, 4, n_labelers)
    else:
        measured, shared = per_image(), np.sin(np.pi * (AGREEMENT - 0.5))
        truth = np.sqrt(shared) * measured + np.sqrt(1 - shared) * per_image() > CUT
        yes = norm.cdf((measured - CUT - 0.5 * per_labeler()) / np.exp(0.5 * per_labeler()))
    label = rng.random(yes.shape) < yes
    right = np.where(truth, yes, 1 - yes)
    return Crowd(label.astype(np.int8), truth[:, 0].astype(int), measured[:, 0], noise, right)


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [(kind,) for kind in config.kinds]


def size(config: Config, kind: Kind) -> Size:
    n, m = config.n_labelers, config.n_instances
    blank = Draws(*(v and np.ones((config.n_draws, *v)) for v in ((n * m,), (n * m,), None, (m, config.n_basis))))
    plain, told = _apart(config)
    found = size_of(simulate.grid(n, m), blank, told or plain, config.solver)
    restarts = sum(config.solver.restarts if m.config.n_factors > 1 else 1 for m in told.values())
    n_plain = sum(name != VOTE for name in plain) + 1
    n_fits = (config.n_draws + config.n_crowds) * (n_plain + len(config.correlations) * restarts)
    return found._replace(fits=n_fits)


def run_cell(config: Config, kind: Kind) -> Tables:
    one = crowd(config.seed, kind, 0, config.n_labelers, config.n_instances)
    others = [crowd(config.seed, kind, 1 + k, config.n_labelers, config.n_instances) for k in range(config.n_crowds)]
    found, drawn = _measured(config, kind, [one] * config.n_draws, "draws", config.seed)
    if others:
        found += _measured(config, kind, others, "crowds", config.seed + 1)[0]
    return {"metrics": pa.Table.from_pylist(found), **drawn}


def _apart(config: Config) -> tuple[dict[str, Model], dict[str, Model]]:
    """Models without the detector, and with it."""
    plain = {name: m for name, m in config.models.items() if "instance" not in m.covariates}
    return plain, {name: m for name, m in config.models.items() if name not in plain}


def _measured(config: Config, kind: Kind, crowds: list[Crowd], over: str, seed: int) -> tuple[list[dict], Tables]:
    """Rows of all models on a subset of each crowd's labels; the tables of the figure, if they are of this kind."""
    grid = simulate.grid(config.n_labelers, config.n_instances)
    weight = drop(seed, np.ones(len(grid.label)), config.dropped, len(crowds))
    draws = Draws(weight, np.stack([c.label.ravel() for c in crowds]))
    truth = np.stack([c.truth for c in crowds])
    plain, told = _apart(config)
    where = {"kind": kind, "over": over}
    fitted = fit_all(grid, draws, plain, config.solver, config.seed, f"detector, {kind}, {over}")
    rows = [row for name, fit in fitted.items() for row in scored(name, fit.posterior, truth, detector=None, **where)]
    name = f"detector, {kind}, {over}, {INTEGRATED}"
    posterior = fit_integrated(grid, draws, IntegratedConfig(), name).posterior
    rows += scored(INTEGRATED, posterior, truth, detector=None, **where)
    tables: Tables = {}
    for r in config.correlations:
        output = np.stack([c.detector(r) for c in crowds])
        given = draws._replace(instance_features=np.stack([_basis(config)(x) for x in output]))
        fitted = fit_all(grid, given, told, config.solver, config.seed, f"detector, {kind}, {over}, r = {r}")
        for name, fit in fitted.items():
            rows += scored(name, fit.posterior, truth, detector=r, **where)
            if (kind, name) == config.drawn and r == config.drawn_at and over == "draws":
                tables = _drawn(crowds[0], output[0], fit)
    return rows, tables


def _drawn(crowd: Crowd, output: Float[np.ndarray, " I"], fit) -> Tables:
    """The first factor of the first draw, in units of the average labeler's log odds, and what it is in truth."""
    scale = np.asarray(fit.factors.alpha[0, :, 0], float).mean()  # α and β share a scale: give it to β
    away = (output[:, None] - output) / WIDTH
    kernel = np.exp(-0.5 * away**2)
    true = logit(kernel @ crowd.right.mean(1) / kernel.sum(1))
    factor = {"detector": output, "factor": scale * np.asarray(fit.factors.beta[0, :, 0], float), "true": true}
    weights = scale * np.asarray(fit.fit.weights.instance.dense[0, 1:, 0], float)
    return {"factor": pa.table(factor), "weights": pa.table({"weight": weights})}


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    kinds = names(metrics, "kind")
    parts = [f"**{kind}**\n\n" + _table(config, metrics, kind) for kind in kinds]
    figures = {"detector": _curves(config, metrics, kinds)}
    if "factor" in tables:
        figures["detector_factor"] = _factor(config, tables)
    text = (
        f"Ruvolo, Whitehill, Movellan (2013), section 5, on stand-ins (`experiments/detector.py`): labels of "
        f"{config.n_labelers} labelers on {config.n_instances} images, from generators that are none of the models. "
        f"Accuracy, A0 (area under the ROC curve) and NLL are means over {config.n_draws} draws of "
        f"{1 - config.dropped:.0%} of the labels of one crowd; sd is over these draws, which share most of their "
        f"labels. *Ahead* is the share in which a model is more accurate than {config.baseline}, a tie counting half: "
        f"of the draws, and of {config.n_crowds} other crowds of the same kind. Instance factors are linear in "
        f"{config.n_basis} radial basis functions of the detector's output and a constant; labelers' are free."
        + _about_prior(config)
        + "\n\n"
        + _verdict(config, metrics, kinds)
        + "\n\n"
        + _gains(config, metrics, kinds)
        + "\n\n"
        + "\n\n".join(parts)
        + "\n"
    )
    return Report(text, figures)


def _about_prior(config: Config) -> str:
    """Say which models have the detector in the prior of the class."""
    of_class = [name for name, model in _apart(config)[1].items() if model.config.class_prior == "logistic"]
    if not of_class:
        return ""
    named = " and ".join(f"*{name}*" for name in of_class)
    return f" In {named} the log odds of the class prior are linear in the same functions."


def _ahead(config: Config, metrics, model: str, **where) -> float:
    own = {k: v for k, v in where.items() if k != "detector"}
    values = select(metrics, model=model, metric="accuracy", **where)
    against = select(metrics, model=config.baseline, metric="accuracy", **own)
    return paired(values, against).wins if len(values) else np.nan


def _settings(config: Config, metrics, kind: Kind) -> list[tuple[str, dict[str, float]]]:
    """(model, its detector) in the order of the tables."""
    told = _apart(config)[1]
    plain = [(name, {}) for name in names(metrics, "model") if name not in told]
    return plain + [(name, {"detector": r}) for name in told for r in config.correlations]


def _table(config: Config, metrics, kind: Kind) -> str:
    body = []
    for model, at in _settings(config, metrics, kind):
        draws, others = ({"kind": kind, "over": over, **at} for over in ("draws", "crowds"))
        of = lambda metric, model=model, draws=draws: select(metrics, model=model, metric=metric, **draws)  # noqa: E731
        accuracy = of("accuracy")
        elsewhere = select(metrics, model=model, metric="accuracy", **others)
        ahead = [np.nan if model == config.baseline else _ahead(config, metrics, model, **w) for w in (draws, others)]
        body.append(
            [
                model,
                f"r = {at['detector']:g}" if at else "none",
                float(accuracy.mean()),
                float(accuracy.std(ddof=1)) if len(accuracy) > 1 else np.nan,
                float(of("auc_roc").mean()),
                float(of("nll").mean()),
                ahead[0],
                int((accuracy < 0.5).sum()),
                float(elsewhere.mean()) if len(elsewhere) else np.nan,
                ahead[1],
            ]
        )
    ahead = f"ahead of {config.baseline}"
    header = ["model", "detector", "accuracy", "sd", "A0", "NLL", ahead, "draws below ½"]
    return markdown([*header, "accuracy, other crowds", f"{ahead}, other crowds"], body)


def _verdict(config: Config, metrics, kinds) -> str:
    """Where the most factors are ahead of the baseline often enough, at a good detector."""
    told = _apart(config)[1]
    most = max(told, key=lambda name: told[name].config.n_factors, default="")
    verb = "is" if most and told[most].config.n_factors == 1 else "are"
    reached, missed = [], []
    for kind in kinds:
        for r in (r for r in config.correlations if r >= config.good):
            shares = [_ahead(config, metrics, most, kind=kind, over=over, detector=r) for over in ("draws", "crowds")]
            said = f"{kind}, r = {r:g} ({shares[0]:.0%} of the draws, {shares[1]:.0%} of the other crowds)"
            (reached if shares[0] >= config.target else missed).append(said)
    return (
        f"With a good detector (r ≥ {config.good:g}) {most} {verb} ahead of {config.baseline} in at least "
        f"{config.target:.0%} of the draws on: {'; '.join(reached) or 'none'}. Not on: {'; '.join(missed) or 'none'}."
    )


def _gain(metrics, model: str, against: str, over: str, kind: Kind, at: dict[str, float]) -> tuple[float, float]:
    """Mean difference in accuracy of two models on the same crowds, and its standard error."""
    own, other = (
        select(metrics, model=name, metric="accuracy", kind=kind, over=over, **where)
        for name, where in ((model, at), (against, {}))
    )
    return paired(own, other)[:2] if len(own) else (np.nan, np.nan)


def _gains(config: Config, metrics, kinds) -> str:
    """Differences over other crowds, by kind, model and detector."""
    over, body = names(metrics, "over")[-1], []
    against = [name for name in (config.baseline, VOTE) if name in config.models]
    for kind in kinds:
        for model in _apart(config)[1]:
            line = [kind, model]
            for name in against:
                for r in config.correlations:
                    mean, error = _gain(metrics, model, name, over, kind, {"detector": r})
                    line.append(f"{mean:+.3f} ± {error:.3f}")
            body.append(line)
    header = ["kind", "model", *(f"less {name}, r = {r:g}" for name in against for r in config.correlations)]
    return "**Accuracy less that of others on the same crowds**, mean ± standard error\n\n" + markdown(header, body)


def _curves(config: Config, metrics, kinds):
    """Accuracy less the baseline's over the detector's correlation; models without a detector are level."""
    over, told = names(metrics, "over")[-1], _apart(config)[1]
    settings = {m: [{"detector": r} for r in config.correlations] for m in told}
    settings |= {m: [{}] * len(config.correlations) for m in (config.baseline, VOTE) if m in config.models}
    panels = {
        kind: {
            model: tuple(np.array([_gain(metrics, model, config.baseline, over, kind, at) for at in ats]).T)
            for model, ats in settings.items()
        }
        for kind in kinds
    }
    x, ylabel = np.array(config.correlations), f"accuracy less {config.baseline}'s"
    return plots.curves(x, panels, xlabel="correlation of the detector", ylabel=ylabel, ylim=(None, None))


def _factor(config: Config, tables):
    factor = tables["factor"].sort_by("detector")
    detector, true = factor["detector"].to_numpy(), factor["true"].to_numpy()
    return plots.factor_over_feature(
        detector,
        factor["factor"].to_numpy(),
        _basis(config),
        tables["weights"]["weight"].to_numpy(),
        true=lambda x: np.interp(x, detector, true),
        label="detector output (standard deviations)",
    )


def _basis(config: Config):
    """The same functions for all crowds: centers evenly over the outputs' central 95 %, as wide as they are apart."""
    centers = np.linspace(-2, 2, config.n_basis)
    width = 4 / max(config.n_basis - 1, 1)
    return lambda x: rbf_basis(x, centers=centers, width=width, constant=False)
