"""Planning a prevalence measurement: how many instances, labels and gold, and which scores to sample.

``worlds`` draws crowds, ``designs`` fits them and finds the widths between, ``choice`` chooses.
"""

from crowdjax.planning.choice import Plan, following, plan

__all__ = ["Plan", "following", "plan"]
