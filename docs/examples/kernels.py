"""# Compose the kernels

The facade is built from plain functions of arrays: un-jitted, differentiable, without data of their own. This script
uses them in jitted code of its own. A sweep fits many members in one program, and a gradient goes through the E-step.
A few lines choose which labeler to ask next, for which no facade has a function. The crowd judges smiles; what makes a
smile hard to judge changes with the output of a detector, which is given as a feature.
"""

import jax
import jax.numpy as jnp
import numpy as np

from crowdjax import factor, likelihood, simulate

W, I = 20, 160
crowd = simulate.smiles(jax.random.key(0), W, I)
labels = crowd.on(simulate.grid(W, I))
bumps = factor.rbf_basis(crowd.instance_features[:, 0], constant=False)
config = factor.FactorConfig(n_factors=3, features=1.0, deviation=0.0)
model = factor.build(config, labels, instance_features=bumps)

# %% [markdown]
# A sweep: one to three factors, three starts each, in one program. Labels and model are arguments, never closed over.


# %%
def make(shared, member):
    labels, model = shared
    return labels, model.with_factors(member["factors"]), member["key"]


members = {"factors": jnp.repeat(jnp.arange(1, 4), 3), "key": jax.random.split(jax.random.key(1), 9)}
fits = factor.sweep(make, (labels, model), members, factor.Solver(method="lbfgs", max_steps=200))
right = np.asarray(((fits.posterior > 0.5) == (crowd.truth > 0)).mean(1), float).reshape(3, 3)
best = np.asarray(fits.objective).reshape(3, 3).argmax(1)  # the best start of each number of factors
for n in range(3):
    print(f"factors: {n + 1}; accuracy {right[n, best[n]]:.3f} at the best start, {right[n].min():.3f} at the worst")

# %% [markdown]
# A gradient through the E-step: how the result for an instance depends on how able each labeler is.

# %%
three = jax.tree.map(lambda leaf: leaf[6 + best[2]], fits)
factors = model.factors(three.weights)


@jax.jit
def probability(alpha, instance):
    return factor.e_step(labels, factors._replace(alpha=alpha))[instance]


doubtful = int(jnp.abs(three.posterior - 0.5).argmin())
slope = np.asarray(jax.grad(probability)(factors.alpha, doubtful))
chance = float(three.posterior[doubtful])
print(f"instance {doubtful}: P(smile) = {chance:.2f}; most sensitive to labeler", end=" ")
print(f"{np.abs(slope[:, 0]).argmax()}: {slope[:, 0][np.abs(slope[:, 0]).argmax()]:+.2f} for one unit of ability")

# %% [markdown]
# Which label to ask for next: the expected information of one more label, for every pair of labeler and instance.


# %%
def entropy(p):
    p = jnp.clip(p, 1e-6, 1 - 1e-6)
    return -(p * jnp.log(p) + (1 - p) * jnp.log1p(-p))


@jax.jit
def information(factors, p):
    def of_pair(alpha, gamma, beta, p):
        sensitivity, specificity = likelihood.sensitivity_specificity(alpha @ beta, gamma)
        yes = p * sensitivity + (1 - p) * (1 - specificity)
        return entropy(yes) - p * entropy(sensitivity) - (1 - p) * entropy(specificity)

    by_instance = jax.vmap(of_pair, (None, None, 0, 0))
    return jax.vmap(by_instance, (0, 0, None, None))(factors.alpha, factors.gamma, factors.beta, p)


gain = np.asarray(information(factors, three.posterior))
labeler, instance = np.unravel_index(gain.argmax(), gain.shape)
print(f"ask labeler {labeler} about instance {instance}: the label gives {gain[labeler, instance]:.2f} of its", end=" ")
print(f"{float(entropy(three.posterior)[instance]):.2f} nats; a label drawn at random gives {gain.mean():.3f}")
