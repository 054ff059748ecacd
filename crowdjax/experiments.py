"""Run the studies of an installed crowdjax: ``python -m crowdjax.experiments list`` and ``run quickstart``.

A wheel holds the folders ``experiments`` and ``configs`` in ``crowdjax/studies``, a checkout beside ``crowdjax``. They
are importable only in this program: packages of such common names may be a user's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from crowdjax import extras

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the command line of the studies; return its exit status, 2 where a package is missing."""
    inside = HERE / "studies"
    sys.path.insert(0, str(inside if inside.is_dir() else HERE.parent))
    try:
        from experiments.__main__ import main
    except ImportError as error:
        line = extras.missing(error)
        if line is None:
            raise
        sys.stderr.write(f"crowdjax: {line}\n")
        return 2
    return main(prog_name="python -m crowdjax.experiments")


if __name__ == "__main__":
    sys.exit(main())
