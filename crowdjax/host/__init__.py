"""The smallest models without a compiler: EM on the host, by sums of NumPy and SciPy, in 64-bit floats.

A fit of Dawid and Skene's model takes some ten passes over the labels, each of which is a sum by instance and one by
labeler: on a CPU that is over before JAX is imported. Formulas, start values and stopping rules are those of the
programs of JAX (``crowdjax.priors``, ``crowdjax.stopping``), whose fits these equal up to rounding.

    crowdjax.factor, majority, one-coin and dawid-skene of two classes      ``two``
    crowdjax.observation, majority, coins and dawid-skene of K classes      ``classes``
    crowdjax.observation, glad of K classes, instances integrated out       ``glad``
"""
