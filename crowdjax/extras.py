"""Packages beyond the core: which extra of crowdjax brings each, and one line where one is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

EXTRAS = {
    "narwhals": "io",
    "pyarrow": "io",
    "typer": "cli",
    "rich": "cli",
    "matplotlib": "plots",
    "jinja2": "report",
    "markupsafe": "report",
    "arviz_base": "arviz",
    "xarray": "arviz",
    "pooch": "download",
    "requests": "download",
    "yaml": "download",
    "fsspec": "remote",
    "openpyxl": "excel",
    "cattrs": "experiments",
    "markdown_it": "experiments",
}
ALONE = ("pandas",)  # in no extra: who has a frame has it


def missing(error: BaseException, what: str = "", package: str | None = None) -> str | None:
    """Return the line about an import that failed; None where it is no package of ours.

    Args:
        error: the ImportError.
        what: what needs the package.
        package: its name, where the error does not say it.

    Example:
        >>> missing(ModuleNotFoundError(name="pyarrow.parquet"), "crowdjax.fit")
        "crowdjax.fit: pyarrow is not installed; type: pip install 'crowdjax[io]'"
    """
    if not isinstance(error, ImportError):
        return None
    package = (error.name or package or "").partition(".")[0]
    if package not in EXTRAS and package not in ALONE:
        return None
    command = f"'crowdjax[{EXTRAS[package]}]'" if package in EXTRAS else package
    return f"{what}{': ' if what else ''}{package.replace('_', '-')} is not installed; type: pip install {command}"


@contextlib.contextmanager
def needed(what: str, package: str | None = None) -> Iterator[None]:
    """Raise ``InputError`` where a package that is imported in the block is not installed.

    Example:
        >>> with needed("figures"):
        ...     import math
    """
    try:
        yield
    except ImportError as error:
        line = missing(error, what, package)
        if line is None:
            raise
        from crowdjax.labels import InputError

        raise InputError(line) from None
