"""The command line: ``crowdjax fit``, ``predict``, ``check``, ``context``, ``monitor`` and ``plan``; ``convert``,
``describe`` and ``data``.

Exit status: 0 done, 1 the run failed or was stopped, 2 the input is wrong; the last two with one line on stderr and
nothing half-written. ``monitor`` has two more: 3 done, and alerts were raised; 75 an input or store does not respond
now (EX_TEMPFAIL of sysexits.h). The commands need the extra ``cli`` and are imported when one is called.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from typing import TYPE_CHECKING

from crowdjax import extras

if TYPE_CHECKING:
    from crowdjax.cli.commands import app
    from crowdjax.programs import cache_folder

__all__ = ["app", "cache_folder", "main"]


RARELY = 100_000, 20, 100  # objects and generations after which cycles are looked for; by default 700, 10, 10


def main() -> None:
    """Run the console script.

    A command imports thousands of objects that stay to its end. Python would search them for cycles a hundred
    times in between, and once more at the end, which takes longer than a small fit.
    """
    gc.set_threshold(*RARELY)
    atexit.register(gc.freeze)
    try:
        from crowdjax.cli.commands import app
    except ImportError as error:
        line = extras.missing(error)
        if line is None:
            raise
        sys.exit(_status(line))
    try:
        app()
    except SystemExit as end:
        if end.code == 1 and "jax" in sys.modules:
            # A run that was stopped may leave threads of XLA that compile; they crash when Python takes itself apart.
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(1)
        raise


def _status(line: str) -> int:
    sys.stderr.write(f"crowdjax: {line}\n")
    return 2


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module 'crowdjax.cli' has no attribute {name!r}")
    with extras.needed("crowdjax.cli"):
        from crowdjax import programs
        from crowdjax.cli import commands
    return commands.app if name == "app" else programs.cache_folder
