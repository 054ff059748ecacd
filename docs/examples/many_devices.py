"""# Many devices

One fit runs on several devices: labels are cut by instance, each device passes over its share, and the sums by labeler
are added up over the devices. The result is that of one device, except for rounding. Four devices that share this
machine's CPU stand in for four GPUs, so nothing gets faster here; with real GPUs, leave out `use_cores`.
"""

import jax
import numpy as np

from crowdjax import factor, parallel, simulate

parallel.use_cores(4)
every = jax.device_count()
print(f"{every} devices of kind {jax.devices()[0].device_kind}")

crowd = simulate.power_law(0, 100_000)
labels = crowd.labels()
model = factor.build(factor.PRESETS["dawid-skene"], labels)
fits = {n: parallel.fit(labels, model, jax.random.key(0), devices=n) for n in (1, every)}
for n, fit in fits.items():
    share = np.mean((fit.posterior > 0.5) == (crowd.truth > 0))
    print(f"on {n}: log posterior {float(fit.objective):.1f} after {int(fit.n_steps)} passes, {share:.4f} right")
apart = np.abs(fits[1].posterior - fits[every].posterior).max()
print(f"largest difference of a probability: {apart:.0e}")

# Many small fits share the devices without being cut: each device fits some members of a sweep.


def make(shared, member):
    labels, model = shared
    return labels.with_weight(member["weight"]), model, jax.random.key(0)


small = simulate.power_law(1, 1000).labels()
weights = np.random.default_rng(0).poisson(1.0, (8, small.label.size)).astype(np.float32)
resampled = factor.sweep(make, (small, factor.build(factor.PRESETS["dawid-skene"], small)), {"weight": weights})
able = resampled.weights.labeler.free[:, :, 0]
print("bootstrap standard error of abilities:", np.asarray(able.std(0), float).round(2).tolist())
print("on devices:", sorted({str(d.id) for d in resampled.posterior.sharding.device_set}))
