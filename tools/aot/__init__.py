"""Compiles crowdjax for an H100 or H200 on a machine without one, and counts what comes out.

    python3.12 -m venv .aot
    .aot/bin/pip install --no-deps jax==0.11.2 jaxlib==0.11.2 jax-cuda13-plugin==0.11.2 jax-cuda13-pjrt==0.11.2
    .aot/bin/pip install numpy scipy ml_dtypes opt_einsum equinox optax jaxtyping numpyro
    .aot/bin/python -m tools.aot passes 1e8                    every pass
    .aot/bin/python -m tools.aot integrated 1e6                the integrated passes, one and two factors
    .aot/bin/python -m tools.aot fits 1e6 glad                 whole fits: kernels per turn of the loop

From the root of the checkout; no CUDA toolkit, no driver; .8 GB installed. ``--chip h200`` compiles for the other chip,
``--all`` prints a line per kernel.

It tells how many kernels are launched, and how many of them inside a loop; bytes of temporaries; which additions by
index became atomic instructions and which loops of compare-and-swap; scans; and XLA's own estimate of the time, which
has not been compared with a device. It does not tell how atomics on one address wait for each other, gaps between
launches, or what random access costs.
"""
