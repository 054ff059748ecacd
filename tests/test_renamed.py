"""An old name is the thing under its new name, and warns at the line that uses it."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import types
import warnings

import pytest
from typer.testing import CliRunner

import crowdjax
from crowdjax import renamed, simulate, watch
from crowdjax.cli import app

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


MOVED = [
    ("crowdjax.look", "crowdjax.check"),
    ("crowdjax.LookResult", "crowdjax.CheckResult"),
    ("crowdjax.integrated.look", "crowdjax.integrated.check"),
    ("crowdjax.integrated.Look", "crowdjax.integrated.Checks"),
    ("crowdjax.integrated.LabelerAnswers", "crowdjax.integrated.LabelerSummary"),
    ("crowdjax.integrated.InstanceAnswers", "crowdjax.integrated.InstanceSummary"),
    *((f"crowdjax.watch.{name}", f"crowdjax.drive.{name}") for name in watch.NAMES),
]


@pytest.mark.parametrize(("old", "new"), MOVED)
def test_names_of_version_0_1_work_and_warn(old, new):
    """Those that docs/policy.md promises, of ``crowdjax`` and of the modules in the reference: each warns once, at the
    line that uses it, since Python shows no such warning of another line.
    """
    (home, _, name), (place, _, other) = old.rpartition("."), new.rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"^{re.escape(old)} is now {re.escape(new)}; ") as told:
        found = getattr(importlib.import_module(home), name)
    assert [warning.filename for warning in told] == [__file__]
    assert found is getattr(importlib.import_module(place), other)


@pytest.mark.parametrize("module", [m.name for m in pkgutil.walk_packages(crowdjax.__path__, "crowdjax.")])
def test_every_name_that_a_module_exports_is_there(module):
    """A name in ``__all__`` that is not there breaks ``from module import *``."""
    if module.rpartition(".")[2] != "__main__":
        made = importlib.import_module(module)
        assert [name for name in getattr(made, "__all__", ()) if not hasattr(made, name)] == []


def test_the_command_of_version_0_1_works_and_warns():
    """``crowdjax look`` is ``crowdjax check``, and help shows only the new name."""
    done = CliRunner().invoke(app, ["look", "nowhere", "labels.csv", "--out", "seen"])
    assert done.exit_code == 2 and "crowdjax look is now crowdjax check" in done.stderr
    assert "look" not in CliRunner().invoke(app, ["--help"]).stdout.split()
