"""The facade of models for any number of classes: a registry of models, one fit, one result."""
