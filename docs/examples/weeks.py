"""# Monitor week by week

A classifier draws instances every week, more of those that it scores high, and people label them. The question of a
monitor is whether the share of positives rose, and whether somebody labels worse than before. Each week adds a file of
labels, scores and sampling weights to folders, and `crowdjax.monitoring.monitor` fits all weeks so far; with folders in
a store of objects and a scheduler it is [the same command](deployed.md). The labels are simulated: in the fourth week
positives become four times as likely, and bob starts to call negatives positive.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import crowdjax
from crowdjax.monitoring import Rules, monitor

people = np.array(["ann", "bob", "cat", "dan"])
store = Path(tempfile.mkdtemp())

# %% [markdown]
# A week is a file in each of three folders. An instance is drawn with a chance that grows with its score, and its
# weight is one over that chance, so that the estimate is of all 20 000 instances of the week and not of the 200 drawn.


# %%
def write_week(week):
    rng = np.random.default_rng([1, week])
    everyone = rng.beta(1, 5, 20_000)
    odds = np.exp(6 * everyone - 4) * (4 if week == 4 else 1)
    positive = rng.random(20_000) < odds / (1 + odds)
    chance = 200 * (0.1 + everyone) / (0.1 + everyone).sum()
    drawn = rng.choice(20_000, 200, replace=False, p=chance / chance.sum())
    truth, instance = positive[drawn], np.repeat(np.arange(200), 3)
    labeler = np.concatenate([rng.permutation(4)[:3] for _ in drawn])
    specificity = np.where((labeler == 1) & (week == 4), 0.7, 0.95)
    right = rng.random(600) < np.where(truth[instance], 0.85, specificity)
    names = np.array([f"w{week}-{k:03}" for k in range(200)])
    label = (truth[instance] == right).astype(int)
    tables = {
        "labels": {"labeler": people[labeler], "instance": names[instance], "label": label},
        "scores": {"instance": names, "score": everyone[drawn]},
        "weights": {"instance": names, "weight": 1 / chance[drawn]},
    }
    for name, table in tables.items():
        folder = store / name / f"week=2026-W{week:02}"
        folder.mkdir(parents=True)
        pd.DataFrame(table).to_parquet(folder / "part-0.parquet")
    return positive.mean()


truth = [write_week(week) for week in range(1, 4)]

# %% [markdown]
# The first run has three weeks. An alert names its rule, the period and how sure it is; status 3 says that there are
# alerts of the latest week, 0 that there are none. Lines for the prevalence by the score, and accuracies that do not
# depend on it, make the fit three times as fast as curves.


# %%
def run():
    outcome = monitor(
        *(store / name for name in ("labels", "scores")),
        weights=store / "weights",
        out=store / "monitoring",
        time="week",
        rules=Rules(limit=0.15),
        prevalence="linear",
        accuracy="constant",
        inference="laplace",
    )
    print("status", outcome.status, "(done before)" if outcome.done_before else "")
    for alert in outcome.document["alerts"]:
        print(f"{alert['severity']}: {alert['text']}")
    return outcome


outcome = run()

# %% [markdown]
# The same inputs again cost no fit: the run is found in the folder by a digest of inputs and settings.

# %%
again = run()

# %% [markdown]
# The fourth week comes, and all four are fitted together.

# %%
truth.append(write_week(4))
outcome = run()

# %% [markdown]
# The whole result of a run is in its folder. The prevalence of a week has an interval; the truth is known here, as the
# labels are simulated.

# %%
folder = Path(outcome.folder)
weeks = pd.read_parquet(folder / "metrics.parquet")
weeks["truth"] = truth
print(weeks[["period", "prevalence", "lower", "upper", "truth"]].round(3).to_string(index=False))

# %% [markdown]
# Labelers have an accuracy in each week, and bob's specificity falls.

# %%
result = crowdjax.load(folder / "result")
by_week = result.tables["labelers_by_period"].to_pandas()
print(by_week.pivot(index="labeler", columns="time", values="specificity").round(2).to_string())

# %% active="ipynb"
# from IPython.display import SVG
#
# SVG(folder / "result" / "figures" / "prevalence_over_time.svg")
