"""# Measuring prevalence with up-sampling

How common is something rare? A random sample holds hardly any positives, so instances with a high classifier score are
sampled more often. The people who label them err: here they miss most positives with low scores, and high scores
mislead them. Most of the positive labels are then false alarms, even if they are weighted back to the population. The
contextual model learns the prevalence and the labelers' accuracy as functions of the score, and averages the
prevalence over the population. An expert's gold on 200 of the instances gives an estimate that is valid even if the
model is wrong. The crowd is simulated, so the truth is known.
"""

from pathlib import Path

import numpy as np

import crowdjax
from crowdjax import plots

rng = np.random.default_rng(1)
population = rng.beta(1, 5, 50_000)
positive = rng.random(50_000) < 1 / (1 + np.exp(5 - 8 * population))
drawn = rng.choice(50_000, 1500, replace=False, p=(0.03 + population) / (0.03 + population).sum())
score, truth = population[drawn], positive[drawn]
sensitivity, specificity = 0.55 + 0.42 * score**0.5, 0.98 - 0.35 * score
right = rng.random((1500, 3)) < np.where(truth, sensitivity, specificity)[:, None]
labels = {
    "labeler": np.tile(["ann", "bob", "cat"], 1500),
    "instance": np.repeat(np.arange(1500), 3),
    "label": np.where(right, truth[:, None], ~truth[:, None]).astype(int).ravel(),
}
known = rng.choice(1500, 200, replace=False)
print(f"true prevalence {positive.mean():.4f}; among the 1500 sampled {truth.mean():.4f}")

# %% [markdown]
# The population's scores say what the prevalence is averaged over, and gold of instances drawn at random assists the
# estimate.

# %%
result = crowdjax.context(
    labels,
    {"instance": np.arange(1500), "score": score},
    population={"score": population},
    weights={"instance": np.arange(1500), "weight": 1 / (0.03 + score)},
    gold={"instance": known, "label": truth[known].astype(int)},
    labelers="global",
    inference="laplace",
)
for estimate in result.prevalence["estimates"]:
    interval = "" if estimate["lower"] is None else f"  [{estimate['lower']:.4f}, {estimate['upper']:.4f}]"
    print(f"{estimate['method']:20}{estimate['mean']:.4f}{interval}")
for warning in result.warnings:
    print("warning:", warning)

# %% [markdown]
# Prevalence, sensitivity and specificity over the score, with bands of 95 %.

# %%
figure, _ = plots.save(result.figures()["functions"], Path("prevalence"))

# %% active="ipynb"
# from IPython.display import SVG
#
# SVG(figure)
