"""Log output of a command on stderr, and the same as JSON lines.

The library and the experiments log what was read, compiled, fitted and written by ``logging``, with numbers in
``extra={"fields": {...}}``. Handlers here print notices; with ``-v`` everything, with ``-q`` errors only.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

LOGGERS = [logging.getLogger(name) for name in ("crowdjax", "experiments")]
VERBOSE, NOTICE, QUIET = logging.INFO, 25, logging.ERROR


class Spoken(logging.Handler):
    """Handler that prints each event to stderr; with ``-v`` it begins with the seconds since the command began."""

    def __init__(self, level: int):
        super().__init__(level)
        self.began = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        clock = f"{time.monotonic() - self.began:7.1f} s  " if self.level == VERBOSE else ""
        sys.stderr.write(f"{clock}{record.getMessage()}\n")
        sys.stderr.flush()


class JsonLines(logging.Handler):
    """Handler that writes a JSON object for each event as it happens, to a file or a list."""

    def __init__(self, to: Path | list[str]):
        super().__init__()
        self.to = to

    def emit(self, record: logging.LogRecord) -> None:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": at, **getattr(record, "fields", {}), "text": record.getMessage()}) + "\n"
        if isinstance(self.to, list):
            self.to.append(line)
        else:
            with self.to.open("a", encoding="utf-8") as file:
                file.write(line)


@contextlib.contextmanager
def heard(handler: logging.Handler) -> Iterator[None]:
    """Pass every log record emitted inside the block to the handler."""
    before = [log.level for log in LOGGERS]
    for log in LOGGERS:
        log.setLevel(VERBOSE)
        log.addHandler(handler)
    try:
        yield
    finally:
        for log, level in zip(LOGGERS, before, strict=True):
            log.removeHandler(handler)
            log.setLevel(level)


@contextlib.contextmanager
def said(level: int) -> Iterator[None]:
    """Print the log records emitted inside the block to stderr, by level; with ``-v`` record them as well."""
    with heard(Spoken(level)), heard(JsonLines([])) if level == VERBOSE else contextlib.nullcontext():
        yield


def recorded() -> str:
    """Collect the JSON lines that :func:`said` has recorded so far; empty without ``-v``."""
    lists = [h.to for h in LOGGERS[0].handlers if isinstance(h, JsonLines) and isinstance(h.to, list)]
    return "".join(sum(lists, []))


def is_quiet() -> bool:
    """Test whether only errors are printed."""
    return any(isinstance(handler, Spoken) and handler.level == QUIET for handler in LOGGERS[0].handlers)
