"""# Aggregate your own labels

The input is a table with three columns: labeler, instance and label. The result has the class of every instance with
its probability, the kind of every labeler, and warnings about what not to trust. Here the table is simulated, so that
the truth is known: 80 photos, five labels each by 14 people. One of them guesses, and one says the opposite.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import crowdjax

rng = np.random.default_rng(0)
truth = rng.random(80) < 0.4
chance = {"rnd": 0.5, "opp": 0.1} | {f"p{k:02}": p for k, p in enumerate(rng.uniform(0.65, 0.95, 12))}
rows = [
    {"worker": who, "task": f"photo {photo:02}", "label": int(truth[photo] == (rng.random() < chance[who]))}
    for photo in range(80)
    for who in rng.choice(list(chance), 5, replace=False)
]
folder = Path(tempfile.mkdtemp())
pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)

# %% [markdown]
# One call; `auto` uses the integrated model wherever the labels allow it. The same from the shell:
#
#     crowdjax fit labels.csv --model auto --out result

# %%
result = crowdjax.fit(folder / "labels.csv", "auto")
result.save(folder / "result")

# %%
photos = pd.read_parquet(folder / "result" / "instances.parquet")
print(photos.round(3).head().to_string(index=False), "\n")

# %%
people = pd.read_parquet(folder / "result" / "labelers.parquet").sort_values("informedness")
columns = ["labeler", "n_labels", "accuracy", "informedness_lower", "informedness_upper", "kind"]
print(people[columns].round(2).to_string(index=False), "\n")

# %%
for warning in result.warnings:
    print("warning:", warning)

# %% [markdown]
# The truth is known here, so the labels of the fit can be compared with those of the majority.

# %%
share = pd.DataFrame(rows).groupby("task")["label"].mean().to_numpy()
accuracy = {
    "majority vote": np.where(share == 0.5, 0.5, (share > 0.5) == truth).mean(),
    "auto": (photos["label"] == truth).mean(),
}
print("accuracy:", {name: round(float(value), 3) for name, value in accuracy.items()})

# %% [markdown]
# The fit judges new photos by what it learned about the people: two of them against the one who says the opposite.

# %%
new = pd.DataFrame({"worker": ["p00", "p01", "opp"], "task": "photo 80", "label": [1, 1, 0]})
later = crowdjax.load(folder / "result").predict(new)
print("photo 80:", np.asarray(later.instances["probability"]).round(2))
