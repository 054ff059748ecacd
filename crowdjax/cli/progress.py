"""Progress of a long run on a terminal and in the log, and its stop by Ctrl-C or SIGTERM.

The first signal requests a stop. If the run can return a partial result, the next call of its callback returns True
(``crowdjax.drive.Progress``); if there is nothing to keep yet, the run ends at once. The second signal ends the
process immediately.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

from crowdjax.cli import logs

LOG = logging.getLogger("crowdjax")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 2.0  # seconds before anything is shown


class Progress:
    """Progress callback that shows and logs each block, and returns True once a signal asked to stop.

    Attributes:
        keeps: whether the run can return what it has; else the first signal is a KeyboardInterrupt.
        stopped: whether True was returned.
    """

    def __init__(self, show: bool, keeps: bool):
        self.keeps, self.stopped, self._asked = keeps, False, 0
        self._began = time.monotonic()
        self._stage, self._since, self._from, self._done, self._total = "", self._began, 0, 0, 0
        self._objective: float | None = None
        self._bar = self._task = None
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True
        if show:
            self._timer.start()

    def __call__(self, stage: str, done: int, total: int, *, objective: float | None = None) -> bool:
        if stage != self._stage:
            self._log()
            self._stage, self._since, self._from = stage, time.monotonic(), done
        self._done, self._total, self._objective = done, total, objective
        self._draw()
        self.stopped = self.keeps and self._asked > 0
        return self.stopped

    def close(self) -> None:
        """Stop showing progress."""
        self._timer.cancel()
        if self._timer.is_alive():
            self._timer.join(1.0)  # it may be about to show the bar
        if self._bar is not None:
            self._bar.stop()

    def _log(self) -> None:
        """Log the end of a stage."""
        if self._stage:
            seconds = time.monotonic() - self._since
            fields = {"event": "stage", "stage": self._stage, "done": self._done, "seconds": round(seconds, 3)}
            found = ""
            if self._objective is not None:
                fields["objective"] = self._objective
                found = f", objective {self._objective:.8g}"
            LOG.info("%s: %d in %.1f s%s", self._stage, self._done, seconds, found, extra={"fields": fields})

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[note]}")
        bar = Bar(TextColumn("{task.description}"), *columns, console=Console(stderr=True), transient=True)
        self._task = bar.add_task("working", total=None, note="")
        bar.tasks[0].start_time = self._began
        bar.start()
        self._bar = bar
        self._draw()

    def _draw(self) -> None:
        if self._bar is None or not self._stage:
            return
        rate = (self._done - self._from) / max(time.monotonic() - self._since, 1e-9)
        notes = [f"{self._done}/{self._total}"] + ([f"{rate:.1f}/s"] if rate else [])
        if self._objective is not None:
            notes.append(f"objective {self._objective:.8g}")
        if self._asked:
            notes.append("stopping")
        self._bar.update(
            self._task, description=self._stage, completed=self._done, total=self._total, note="  ".join(notes)
        )

    def _first(self, *_) -> None:
        """Handle a signal as soon as Python gets to it."""
        if not (self.keeps and self._stage):
            raise KeyboardInterrupt

    def _listen(self, signals: socket.socket) -> None:
        """Count signals, in a thread of its own: a compiled program may keep Python waiting."""
        with signals:  # a socket of the thread's own: nobody closes it while the thread waits
            while number := signals.recv(1):
                self._asked += number[0] in SIGNALS
                if self._asked > 1:
                    self.close()
                    sys.stderr.write("crowdjax: stopped\n")
                    os._exit(1)
                self._draw()


@contextlib.contextmanager
def progress_bar(keeps: bool = True) -> Iterator[Progress]:
    """Yield a progress callback, shown on a terminal from the third second on."""
    progress = Progress(sys.stderr.isatty() and not logs.is_quiet(), keeps)
    try:
        with _listening(progress):
            yield progress
        progress._log()
    finally:
        progress.close()


@contextlib.contextmanager
def _listening(progress: Progress) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    receiver, sender = socket.socketpair()
    with sender:  # its end is the thread's, wherever a signal interrupts this
        sender.setblocking(False)
        thread = threading.Thread(target=progress._listen, args=(receiver,), daemon=True)
        thread.start()
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        wakeup = signal.set_wakeup_fd(-1)
        try:
            signal.set_wakeup_fd(sender.fileno())
            for number in SIGNALS:
                signal.signal(number, progress._first)
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            sender.close()
            thread.join()
