"""# A model of your own

People rate "is it safe?" from 1 to 5, each with their own thresholds. A model of these labels is one class; fits, gold,
weights, devices, prediction, intervals and files come with the contract (`crowdjax.observation.Observation`).

    P(grade <= m | class k) = σ(e^{s_i} c_m + b_i - a_i z_k)      z = -1/2, +1/2      c_0 < c_1 < ... common to all
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, log_softmax, softplus

import crowdjax


@dataclasses.dataclass(frozen=True)
class Thresholds:
    def start(self, labels, votes):
        cuts = jnp.linspace(-1.0, 1.0, labels.n_values - 1)
        common = {"first": cuts[0], "gaps": jnp.log(jnp.expm1(jnp.diff(cuts))), "classes": jnp.zeros(2)}
        return common | {name: jnp.zeros(labels.n_labelers) for name in ("a", "b", "s")}

    def table(self, params):  # [labelers, grades, classes]
        cuts = params["first"] + jnp.pad(jnp.cumsum(softplus(params["gaps"])), (1, 0))
        cuts = jnp.exp(params["s"])[:, None] * cuts + params["b"][:, None]
        cuts = jnp.pad(cuts, ((0, 0), (1, 1)), constant_values=((0, 0), (-40, 40)))
        eta = cuts[:, :, None] - (2 + params["a"][:, None, None]) * jnp.array([-0.5, 0.5])
        return log_sigmoid(eta[:, 1:]) + log_sigmoid(-eta[:, :-1]) + jnp.log(-jnp.expm1(-jnp.diff(eta, axis=1)))

    def log_points(self, params):
        return log_softmax(params["classes"])

    def class_of_point(self, params):
        return jnp.eye(2)

    def log_prior(self, params):
        return -sum(params[name] @ params[name] for name in ("a", "b", "s", "gaps")) / 2 + self.log_points(params).sum()

    def specs(self, params):
        return {name: "labeler" if name in ("a", "b", "s") else None for name in params}


# %% [markdown]
# 40 people whose thresholds do not follow the model; some use hardly any grades but 1 and 5.

# %%
rng = np.random.default_rng(0)
safe = rng.random(800) < 0.4
ends = np.where(rng.random((40, 1)) < 0.25, 0.1, 1.0)
cuts = np.sort(ends * np.linspace(-1.2, 1.2, 4) + rng.normal(0, 0.4, (40, 1)) + rng.normal(0, 0.2, (40, 4)))
instance, who = np.repeat(np.arange(800), 5), np.concatenate([rng.permutation(40)[:5] for _ in safe])
felt = np.where(safe, 0.8, -0.8)[instance] + rng.uniform(0.6, 1.6, 40)[who] * rng.normal(size=4000)
grade = 1 + (felt[:, None] > cuts[who]).sum(1)
table = {"labeler": who, "instance": instance, "label": grade}

# %%
fits = {"thresholds": crowdjax.fit(table, model=Thresholds(), truth=[False, True])}
for middle in (2.5, 3.5):  # without such a model: cut the scale in the middle
    cut = table | {"label": (grade > middle) + 0}
    fits[f"above {middle}"] = crowdjax.fit(cut, model="dawid-skene", class_prior="learn")
for name, fit in fits.items():
    print(f"{name}: {np.mean(np.asarray(fit.instances['label']) == safe):.3f} right")
