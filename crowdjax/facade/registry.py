"""The registry of models: what each model is and what it can be used for.

MODELS.add("graded", Graded, kinds={"ordinal"}, rectangular=True)       # registers your own model under a name
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from crowdjax.labels import InputError
from crowdjax.observation import Observation
from crowdjax.priors import Kind
from crowdjax.settings import one_of


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model's entry in the registry.

    Attributes:
        name: the name that users give.
        make: (labels=, classes=, features=, settings of the user) -> the model.
        model: the model's class.
        kinds: kinds of classes that the model supports.
        rectangular: whether labels may have other values than the classes.
        settings: names of the settings of ``crowdjax.fit`` that the model takes in addition to those of all models.
        plan: (``models.Numbers``, kind of classes) -> (what to make, which becomes the setting ``plan`` and is kept in
            the record; why, in sentences); None where there is nothing to choose.
    """

    name: str
    make: Callable[..., Observation]
    model: type | None = None
    kinds: frozenset[Kind] = frozenset({"nominal"})
    rectangular: bool = False
    settings: frozenset[str] = frozenset()
    plan: Callable[..., tuple[dict[str, Any], tuple[str, ...]]] | None = None


class Registry(Mapping[str, Entry]):
    """The registered models by name.

    Example:
        >>> from crowdjax.observation import Majority
        >>> models = Registry()
        >>> models.add("votes", Majority)
        >>> list(models), models["votes"].kinds
        (['votes'], frozenset({'nominal'}))
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def add(
        self,
        name: str,
        make: Callable[..., Observation],  # pyright: ignore[reportRedeclaration]
        *,
        kinds=("nominal",),
        rectangular=False,
        settings=(),
        plan=None,
        model: type | None = None,
    ) -> None:
        """Add a model, or replace the one with its name.

        Args:
            make: the model's class, whose fields are the settings, or a function as ``Entry.make``.

        Raises:
            InputError: an unknown kind of classes.
        """
        for kind in kinds:
            one_of("kinds", kind, get_args(Kind))
        if isinstance(make, type):
            model = make

            def make(*, labels, classes, features, **settings):  # pyright: ignore[reportRedeclaration]
                refuse_features(name, features)
                return model(**settings)

        self._entries[name] = Entry(name, make, model, frozenset(kinds), rectangular, frozenset(settings), plan)

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def name_of(self, model: Any) -> str:
        """Find the name of a model that the user built: that of its entry, or of its class."""
        return next((e.name for e in self._entries.values() if e.model is type(model)), type(model).__name__)

    def with_setting(self, name: str) -> list[str]:
        """List the models that take a setting."""
        return [entry.name for entry in self._entries.values() if name in entry.settings]

    def refuse_kind(self, name: str, kind: Kind) -> None:
        """Reject a model that does not support classes of this kind, naming those that do."""
        if name in self and kind not in self[name].kinds:
            models = ", ".join(e.name for e in self._entries.values() if kind in e.kinds)
            own = min(self[name].kinds)
            raise InputError(
                f"classes: got {kind!r} with model {name}, which is for {own} ones (classes={own!r}, --classes {own}); "
                f"allowed with models {models}"
            )


def refuse_features(name: str, features: Mapping[str, Any], allowed: str = "models glad, factor") -> None:
    """Reject features of labelers or instances that a model does not use.

    Example:
        >>> refuse_features("graded", {"labeler": [[1.0]]})
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: labeler features: given with model graded, which does not use them; allowed \
with models glad, factor
    """
    if features:
        side = min(features, key=lambda side: side != "labeler")
        raise InputError(f"{side} features: given with model {name}, which does not use them; allowed with {allowed}")
