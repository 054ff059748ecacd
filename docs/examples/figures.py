"""# Every figure of a fit

A result draws its figures itself, on axes of your own or on new ones. Here all eight are on one page. Twelve labelers,
two of whom guess and one of whom confuses the classes, say of 300 instances whether they are spam; a classifier's score
is known, so the fit is contextual, and it has a prevalence over the score as well. The crowd is simulated, so every
truth is known; the fit sees none of them, and the figures compare with all. The model takes nobody for worse than a
guess, so the one who confuses the classes (lee) passes for a guesser; the pairwise agreement shows what he is.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import crowdjax
from crowdjax import plots

rng = np.random.default_rng(0)
score = rng.beta(1.2, 1.8, 300)
spam = rng.random(300) < 1 / (1 + np.exp(5 - 9 * score))
right = np.r_[np.linspace(0.95, 0.7, 9), 0.5, 0.5, 0.2]  # of nine who try, two who guess, one who confuses
who = np.array(["ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal", "ida", "jan", "kim", "lee"])
people = np.stack([rng.choice(12, 6, replace=False) for _ in score])
said = np.where(rng.random(people.shape) < right[people], spam[:, None], ~spam[:, None])
words = np.array(["fine", "spam"])
labels = {
    "labeler": who[people.ravel()],
    "instance": np.repeat(np.arange(300), 6),
    "label": words[said.ravel().astype(int)],
}
truth = {"instance": np.arange(300), "label": words[spam.astype(int)]}

result = crowdjax.context(
    labels,
    {"instance": np.arange(300), "score": score},
    positive="spam",
    labelers="offset",
    accuracy="constant",
    inference="laplace",
)
print("figures:", ", ".join(dir(result.plot)))

with plt.rc_context(plots.STYLE):
    figure, axes = plt.subplots(3, 3, figsize=(12, 10.5))
result.plot.confusion(["ann", "jan", "lee"], ax=axes[0, 0])
result.plot.labelers(ax=axes[0, 1])
result.plot.agreement(ax=axes[0, 2])
result.plot.map(ax=axes[1, 0])
result.plot.instances(ax=axes[1, 1])
result.plot.prevalence(ax=axes[1, 2])
result.plot.reliability(truth, ax=axes[2, 0])
result.plot.labels_needed(truth, ax=axes[2, 1])
axes[2, 2].set_axis_off()
plots.save(figure, Path("figures"))

most = max(len(line.get_xdata()) for line in axes[2, 1].lines)
print(f"labels_needed compares {most} numbers of labels")
