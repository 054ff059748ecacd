"""Observation models: how labels depend on the truth, and the passes over the labels that every model shares."""
