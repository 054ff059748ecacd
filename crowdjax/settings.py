"""Settings that users give: whole numbers, words, seeds and keys, each checked and rejected in one line."""

from __future__ import annotations

import difflib
import enum
import math
import os
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from crowdjax.labels import InputError

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

LARGEST_SEED = 2**32 - 1


class Default(enum.Enum):
    """The placeholder of an argument that was not given, where None is a value."""

    DEFAULT = "default"

    def __repr__(self) -> str:
        return self.name


DEFAULT = Default.DEFAULT


def brief(value: Any) -> str:
    """Format a value for a message: on one line, and cut where it is long.

    Example:
        >>> brief(np.int64(3)), brief("a"), brief(np.zeros(1000))[:12]
        ('3', "'a'", 'ndarray of s')
    """
    if isinstance(value, np.generic) and value.shape == ():
        value = value.item()
    if getattr(value, "shape", ()):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def whole(name: str, value: Any, least: int = 1, most: int | None = None, or_else: str = "") -> int:
    """Check a whole number; NumPy's are whole numbers, true and false are not.

    Example:
        >>> whole("factors", np.int64(2))
        2
        >>> whole("factors", 0, or_else="auto")
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: factors: got 0; allowed: a whole number from 1, auto
    """
    found = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else least - 1
    if found < least or (most is not None and found > most):
        upto, rest = "" if most is None else f" to {most}", or_else and f", {or_else}"
        raise InputError(f"{name}: got {brief(value)}; allowed: a whole number from {least}{upto}{rest}")
    return found


def number(name: str, value: Any, least: float, allowed: str) -> float:
    """Check a finite number that is at least so large.

    Example:
        >>> number("rtol", np.float32(0.5), 0, "0 or more")
        0.5
    """
    fine = isinstance(value, Real | np.number) and not isinstance(value, bool | np.bool_)
    if not fine or not math.isfinite(value) or value < least:
        raise InputError(f"{name}: got {brief(value)}; allowed: {allowed}")
    return float(value)


def one_of(name: str, value: Any, allowed: tuple[str, ...], besides: str | None = None) -> None:
    """Check that a word is one of those allowed; the message names the nearest.

    Example:
        >>> one_of("repeats", "frist", ("count", "first"))
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: repeats: got 'frist' (did you mean first?); allowed: count, first
    """
    if isinstance(value, str) and value in allowed:
        return
    near = difflib.get_close_matches(value, allowed, 1) if isinstance(value, str) else []
    hint = f" (did you mean {near[0]}?)" if near else ""
    everything = ([besides] if besides else []) + list(allowed)
    raise InputError(f"{name}: got {brief(value)}{hint}; allowed: {', '.join(everything)}")


def flag(name: str, value: Any) -> bool:
    """Check true or false.

    Example:
        >>> flag("increasing", np.True_)
        True
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name}: got {brief(value)}; allowed: True or False")
    return bool(value)


def callback(progress: Any) -> None:
    """Check a progress callback, or None.

    Example:
        >>> callback(None)
    """
    if progress is not None and not callable(progress):
        raise InputError(f"progress: got {brief(progress)}; allowed: a function (crowdjax.drive.Progress), or None")


def path_of(name: str, value: Any, allowed: str = "a path") -> str:
    """Check a path.

    Example:
        >>> path_of("folder", "out")
        'out'
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name}: got {brief(value)}; allowed: {allowed}")
    found = os.fspath(value)
    return found if isinstance(found, str) else os.fsdecode(found)


def seed_of(value: Any) -> int:
    """Check a seed.

    Example:
        >>> seed_of(np.uint8(7))
        7
        >>> seed_of(None)
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: seed: got None; allowed: a whole number from 0 to 4294967295
    """
    return whole("seed", value, 0, LARGEST_SEED)


def randomness(seed: int | Default, key: PRNGKeyArray | None) -> tuple[int | None, PRNGKeyArray]:
    """Return (the seed, None where a key was given; the key): seed 0 where neither was given.

    Example:
        >>> import jax
        >>> randomness(DEFAULT, None)[0], randomness(3, None)[0], randomness(DEFAULT, jax.random.PRNGKey(1))[0]
        (0, 3, None)
    """
    import jax

    if key is None:
        seed = 0 if isinstance(seed, Default) else seed_of(seed)
        return seed, jax.random.key(seed)
    if not isinstance(seed, Default):
        raise InputError("seed: given with a key; allowed: one of them")
    return None, _typed(key)


def _typed(key: Any) -> PRNGKeyArray:
    """Return a key of ``jax.random.key``; one of ``jax.random.PRNGKey`` as such."""
    import jax
    import jax.numpy as jnp

    if isinstance(key, jax.Array | np.ndarray):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ():
            return key
        like = jax.random.key_data(jax.random.key(0))
        if (key.shape, key.dtype) == (like.shape, like.dtype):
            return jax.random.wrap_key_data(jnp.asarray(key))
    raise InputError(f"key: got {brief(key)}; allowed: one key of jax.random.key")


def prior_of(class_prior, n_classes: int) -> dict[str, Any]:
    """Return the setting ``class_prior`` of a model: a name, K numbers, or of two classes the chance of the second.

    Example:
        >>> prior_of(0.25, 2), prior_of(None, 3)
        ({'class_prior': (0.75, 0.25)}, {})
    """
    if class_prior is None:
        return {}
    if isinstance(class_prior, str):
        if class_prior not in ("learn", "free", "uniform", "logistic"):
            raise InputError(
                f"class_prior: got {class_prior!r}; allowed: learn, free, uniform, logistic, or a number for each class"
            )
        return {"class_prior": class_prior}
    try:
        given = np.asarray(class_prior, np.float64).reshape(-1)
    except (TypeError, ValueError):
        given = np.zeros(0)
    if given.size == 1 and np.ndim(class_prior) == 0 and n_classes == 2:
        given = np.array([1 - given[0], given[0]])
    if given.size != n_classes or not (given > 0).all() or abs(given.sum() - 1) > 1e-6:
        raise InputError(
            f"class_prior: got {brief(class_prior)}; allowed: {n_classes} positive numbers that add up to 1, in the "
            "order of the classes, or learn, free, uniform, logistic"
        )
    return {"class_prior": tuple((given / given.sum()).tolist())}
