"""# Language models as labelers

Two language models label 800 messages, two people check 160 of them, and an expert gives the truth of 120, drawn with
known probabilities. The aim is to estimate the share of the messages that violates a policy. The score is the
confidence of a third, smaller model: the confidence of `gpt` itself would repeat its label. `gpt` and `claude` misread
the same messages. Without gold the fit takes their shared errors for the truth, so the people seem to agree too much;
with gold it names the two models. The messages are simulated, so the truth is known.
"""

import numpy as np

import crowdjax

rng = np.random.default_rng(2)
n = 800
messages = np.array([f"m{j:03d}" for j in range(n)])
score = 1 / (1 + np.exp(-rng.normal(-1, 1.5, n)))
truth = rng.random(n) < 1 / (1 + np.exp(3.2 - 5 * score))
misread = rng.random(n) < 0.08  # both models get these wrong, at any score


def label(sensitivity, specificity):
    return np.where(rng.random(n) < np.where(truth, sensitivity, specificity), truth, ~truth).astype(int)


said = {"gpt": label(0.85, 0.97), "claude": label(0.8, 0.98), "ann": label(0.9, 0.96), "bob": label(0.88, 0.97)}
for name in ("gpt", "claude"):
    said[name][misread] = 1 - truth[misread]
checked = rng.choice(n, 160, replace=False)
rows = {"gpt": np.arange(n), "claude": np.arange(n), "ann": checked, "bob": checked}
labels = {
    "labeler": np.repeat(list(rows), [len(r) for r in rows.values()]),
    "instance": np.concatenate([messages[r] for r in rows.values()]),
    "label": np.concatenate([said[name][r] for name, r in rows.items()]),
}
scores = {"instance": messages, "score": score}
print(f"true share {truth.mean():.3f}; gpt says {said['gpt'].mean():.3f}, claude {said['claude'].mean():.3f}")

# %% [markdown]
# Without gold the estimate assumes that labelers err independently.

# %%
alone = crowdjax.context(labels, scores, inference="laplace")
print("without gold:", alone.prevalence["headline"])
for warning in alone.warnings:
    print("warning:", warning)

# %% [markdown]
# Gold: messages that a model calls a violation are more likely to be drawn; every probability is recorded.

# %%
some_yes = (said["gpt"] + said["claude"]) / 2 + 0.15
chance = 120 * some_yes / some_yes.sum()
drawn = rng.random(n) < chance
gold = {"instance": messages[drawn], "label": truth[drawn].astype(int), "chance": chance[drawn]}
result = crowdjax.context(labels, scores, gold=gold, inference="laplace")
print(f"with {drawn.sum()} gold labels:", result.prevalence["headline"])
for estimate in result.prevalence["estimates"]:
    interval = "" if estimate["lower"] is None else f"  [{estimate['lower']:.3f}, {estimate['upper']:.3f}]"
    print(f"  {estimate['method']:22}{estimate['mean']:.3f}{interval}")
print(result.prevalence["trust"])
for warning in result.warnings:
    print("warning:", warning)
