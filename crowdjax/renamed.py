"""Old names of what was renamed: each still works for a while, and warns (docs/policy.md)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping


def renamed(module: str, names: Mapping[str, str], gone: str, stacklevel: int = 2) -> Callable[[str], object]:
    """Make a module's ``__getattr__``, which finds old names under their new ones with a ``DeprecationWarning``.

    Args:
        module: the module's ``__name__``.
        names: new name by old name; the full name, ``package.module.name``, where it lies in another module now.
        gone: the version in which the old names no longer work.
        stacklevel: as of ``warnings.warn``, so that the warning names the line that uses an old name: 2 (the default)
            where the function is the module's ``__getattr__``, 3 where a ``__getattr__`` calls it.

    Returns:
        a function of an attribute's name. It raises ``AttributeError`` for every name that is neither old nor there.

    Example: at the end of ``crowdjax/factor/__init__.py``
        >>> __getattr__ = renamed("crowdjax.factor", {"vote": "majority"}, gone="0.4")
        >>> with warnings.catch_warnings(record=True, action="always") as told:
        ...     print(__getattr__("vote").__name__, "|", told[0].message)
        majority | crowdjax.factor.vote is now crowdjax.factor.majority; the old name is gone in crowdjax 0.4
    """

    def find(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(".")
        home = home or module
        text = f"{module}.{name} is now {home}.{new}; the old name is gone in crowdjax {gone}"
        warnings.warn(text, DeprecationWarning, stacklevel=stacklevel)
        return getattr(importlib.import_module(home), new)

    return find
