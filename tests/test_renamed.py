"""An old name is the thing under its new name, and warns at the line that uses it."""

from __future__ import annotations

import importlib
import sys
import types
import warnings

import pytest

from crowdjax import renamed, simulate

OLD = {"draw_labels": "labels_of", "pictures": "crowdjax.simulate.smiles"}


@pytest.fixture
def module(monkeypatch):
    """A module in which ``draw_labels`` was renamed, and from which ``pictures`` has moved."""
    made = types.ModuleType("crowd_of_old")
    made.labels_of = lambda: "labels"
    made.__getattr__ = renamed.renamed("crowd_of_old", OLD, gone="0.4")
    monkeypatch.setitem(sys.modules, "crowd_of_old", made)
    return made


@pytest.mark.parametrize(("old", "new"), [("draw_labels", "crowd_of_old.labels_of"), ("pictures", OLD["pictures"])])
def test_an_old_name_warns_and_is_the_same_thing(module, old, new):
    home, _, name = new.rpartition(".")
    text = f"^crowd_of_old.{old} is now {new}; the old name is gone in crowdjax 0.4$"
    with pytest.warns(DeprecationWarning, match=text) as told:
        assert getattr(module, old) is getattr(importlib.import_module(home), name)
    (warning,) = told
    assert warning.filename == __file__


def test_an_import_of_an_old_name_warns_at_the_line_that_imports():
    """``from ... import`` goes through frames of importlib, which are no line of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate, "__getattr__", renamed.renamed(simulate.__name__, OLD, gone="0.4"), raising=False)
        with pytest.warns(DeprecationWarning, match="is now crowdjax.simulate.smiles;") as told:
            from crowdjax.simulate import pictures
    assert pictures is simulate.smiles
    assert {warning.filename for warning in told} == {__file__}


def test_new_names_do_not_warn_and_unknown_ones_are_unknown(module):
    with warnings.catch_warnings(action="error"):
        assert module.labels_of() == "labels"
        with pytest.raises(AttributeError, match="module 'crowd_of_old' has no attribute 'nothing'"):
            module.nothing  # noqa: B018
        assert not hasattr(module, "__path__")  # which importlib asks of every module
