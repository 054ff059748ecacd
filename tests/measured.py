"""Writes tests/durations.txt from what pytest prints with --durations=0; ``make durations`` calls it."""

from __future__ import annotations

import collections
import re
import sys
from pathlib import Path

LEAST = 3  # seconds


def main() -> None:
    seconds: dict[str, float] = collections.defaultdict(float)
    for line in sys.stdin:
        found = re.match(r"([\d.]+)s (?:call|setup|teardown)\s+(\S.*?)\s*$", line)
        if found:
            seconds[found[2]] += float(found[1])
    path = Path(__file__).with_name("durations.txt")
    about = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    rows = sorted(((v, name) for name, v in seconds.items() if v >= LEAST), reverse=True)
    path.write_text("\n".join([*about, *(f"{v:.0f} {name}" for v, name in rows)]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
