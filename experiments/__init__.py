"""Experiments: ``python -m experiments run configs/NAME.toml`` fits, measures and writes runs/NAME-HASH/.

A study is a module with a frozen ``Config`` (its defaults are the full study), ``run(config) -> tables`` that computes
and ``report(config, tables) -> Report`` that only reads what was computed; ``data(config)`` names its real sets.
"""
