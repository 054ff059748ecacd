"""Experiments: ``python -m experiments run configs/NAME.toml`` fits, measures and writes runs/NAME-HASH/.

A study is a module with

    Config                          frozen; its defaults are the full study, its ``Attributes:`` say what each key means
    data(config)                    the names of its real sets
    cells(config)                   what it is made of, each computed and kept on its own (``experiments.cells``)
    run_cell(config, *cell)         the tables of one: metrics, and others by name
    size(config, *cell)             how large that one is, without computing it
    report(config, tables)          text and figures, from the tables of all cells

A study that is one vmapped program is one cell, ``()``.
"""

from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
