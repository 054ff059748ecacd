"""# Specialists and tricky instances

Fifty-three people judged whether 240 pictures show a duck (Welinder et al. (2010)). Geese and grebes are not ducks, but
many of the people take them for ducks: there are schools of labelers, and tricky pictures. The model of Dawid and
Skene, in which all pictures of a class are equally clear, does worse than majority vote here. The integrated model
gives every picture a position of its own, and a posterior predictive check finds the schools. The set is read from a
local folder (`CROWDJAX_DATA`); without one, a similar crowd is simulated.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import crowdjax
from crowdjax import datasets, plots

if "ducks" in datasets.available():
    name, folder = "ducks", datasets.folder() / "ducks"
    table, truth = (pd.read_csv(folder / f"{part}.csv", dtype={"instance": str}) for part in ("labels", "truth"))
    truth = truth.sort_values("instance")["label"].to_numpy()
else:
    name, rng = "a simulated crowd", np.random.default_rng(0)
    kind = rng.choice(["duck", "goose", "other"], 200, p=[0.4, 0.3, 0.3])
    yes = {"duck": (0.85, 0.9), "goose": (0.7, 0.1), "other": (0.1, 0.05)}  # people who take geese for ducks, others
    chance = np.array([yes[k] for k in kind]).repeat([30, 10], axis=1)
    instance, labeler = np.divmod(np.arange(chance.size), 40)
    label = (rng.random(chance.size) < chance.ravel()).astype(int)
    table, truth = pd.DataFrame(dict(labeler=labeler, instance=instance, label=label)), (kind == "duck").astype(int)
print(f"{name}: {len(table)} labels")

share = (table.assign(yes=table["label"] > 0)).groupby("instance")["yes"].mean().to_numpy()
accuracy = {"majority vote": float(np.where(share == 0.5, 0.5, (share > 0.5) == truth).mean())}
fits = {model: crowdjax.fit(table, model) for model in ("dawid-skene", "auto")}
for model, fit in fits.items():
    accuracy[model] = float((np.asarray(fit.instances["label"]) == truth).mean())
print("accuracy:", {model: round(value, 3) for model, value in accuracy.items()})

# Posterior predictive checks: compare the labels with labels drawn from the fitted model, and find the schools.
auto = fits["auto"]
found = crowdjax.check(auto, table, replicates=39)
for sentence in found.warnings:
    print("check:", sentence)
school = np.asarray(found.labelers["school"])
print("schools:", {int(side): int((school == side).sum()) for side in np.unique(school)})
print("surprising instances:", found.record["n_surprising"])

# Each line is one labeler's probability of a yes at x; blue and orange: the two sides of the first school; grey:
# distribution of the instances; dashed: decision boundary.
alpha, gamma = np.asarray(auto.fit.parameters.labelers).T
x, colour = np.linspace(-3, 4, 141), {1: plots.COLOURS[0], -1: plots.COLOURS[1]}
plt.rcParams.update(plots.STYLE)
figure, axes = plt.subplots(figsize=(6, 3.2))
for a, g, side in zip(alpha, gamma, school, strict=True):
    axes.plot(x, 1 / (1 + np.exp(-a * x - g)), color=colour.get(int(side), "0.6"), lw=1)
items = np.asarray(auto.fit.instances)
axes.fill_between(auto.config.nodes, items / items.max() * 0.3, color="0.85", zorder=0)
axes.axvline(float(auto.boundary.center), color="k", ls="--", lw=1)
axes.set(xlim=(-3, 4), ylim=(0, 1), xlabel="position of the instance, x", ylabel="chance of saying yes")
plots.save(figure, Path("specialists"))
