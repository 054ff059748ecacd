"""# Measuring prevalence with up-sampling

How common is something rare? A random sample holds hardly any of it, so items that a classifier scores high are
sampled more often, and labelled by people who err. The share of positive labels, even weighted back to the
population, is then mostly the labelers' false alarms. The contextual model learns the prevalence as a function of the
score, and how accurate the labelers are, and averages the first over the population. The crowd is simulated, so the
truth is known.
"""

from pathlib import Path

import numpy as np

import crowdjax
from crowdjax import plots

rng = np.random.default_rng(1)
population = rng.beta(1, 5, 50_000)
positive = rng.random(50_000) < 1 / (1 + np.exp(6 - 8 * population))
drawn = rng.choice(50_000, 600, replace=False, p=(0.03 + population) / (0.03 + population).sum())
truth = positive[drawn]
right = rng.random((600, 3)) < np.where(truth, 0.8, 0.93)[:, None]
labels = {
    "labeler": np.tile(["ann", "bob", "cat"], 600),
    "instance": np.repeat(np.arange(600), 3),
    "label": np.where(right, truth[:, None], ~truth[:, None]).astype(int).ravel(),
}
print(f"true prevalence {positive.mean():.4f}; among the 600 sampled {truth.mean():.4f}")

result = crowdjax.context(
    labels,
    {"instance": np.arange(600), "score": population[drawn]},
    population={"score": population},
    weights={"instance": np.arange(600), "weight": 1 / (0.03 + population[drawn])},
    prevalence="linear",
    accuracy="constant",
    labelers="global",
    inference="laplace",
)
for estimate in result.prevalence["estimates"]:
    interval = "" if estimate["lower"] is None else f"  [{estimate['lower']:.4f}, {estimate['upper']:.4f}]"
    print(f"{estimate['method']:20}{estimate['mean']:.4f}{interval}")
for warning in result.warnings:
    print("warning:", warning)

plots.save(result.figures()["functions"], Path("prevalence"))
