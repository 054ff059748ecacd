"""Tasks in several processes, each with its share of the machine: cores of the CPU, and GPUs where there are any.

What imports JAX comes later: a process takes its share before that.
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

from crowdjax.cli import logs


class Died(NamedTuple):
    """The outcome of a task whose process ended before it."""

    status: int | None


def each(do: Callable[[Any], Any], tasks: Sequence[Any], jobs: int) -> Iterator[tuple[Any, Any]]:
    """(task, do(task)) of every task, as they end; at most ``jobs`` at a time, which are told of as if they ran here.

    Args:
        do: at module level; what it raises ends its process.
    """
    waiting, workers = list(tasks), {}
    try:
        for number in range(min(jobs, len(waiting))):
            worker = _Worker(number, jobs, do)
            workers[worker.pipe] = worker.give(waiting.pop(0))
        while workers:
            for pipe in connection.wait(list(workers)):
                worker = workers[pipe]
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    message = Died(worker.process.exitcode)
                    del workers[pipe]
                    if waiting:
                        other = _Worker(worker.number, jobs, do)
                        workers[other.pipe] = other.give(waiting.pop(0))
                if isinstance(message, logging.LogRecord):
                    logging.getLogger(message.name).handle(message)
                    continue
                task = worker.task
                if pipe in workers:
                    if waiting:
                        worker.give(waiting.pop(0))
                    else:
                        del workers[pipe]
                        worker.end()
                yield task, message
    finally:
        for worker in workers.values():
            worker.process.kill()
            worker.process.join()


def within(do: Callable[[Any], Any], task: Any, seconds: float) -> Any:
    """``do(task)`` in a process of its own; ``Died`` where that ends before it, or is ended because it takes longer."""
    worker, end = _Worker(0, 1, do).give(task), time.monotonic() + seconds
    try:
        while worker.pipe.poll(max(0, end - time.monotonic())):
            message = worker.pipe.recv()
            if not isinstance(message, logging.LogRecord):
                return message
    except EOFError:
        pass
    finally:
        worker.process.kill()
        worker.process.join()
    return Died(worker.process.exitcode)


class _Worker:
    """A process and the task that it has."""

    def __init__(self, number: int, jobs: int, do: Callable[[Any], Any]):
        context = multiprocessing.get_context("spawn")
        self.number, self.task = number, None
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, number, jobs), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.send(do)

    def give(self, task) -> _Worker:
        self.task = task
        self.pipe.send(task)
        return self

    def end(self) -> None:
        self.pipe.close()
        self.process.join()


class _Pipe(NamedTuple):
    """The queue of a ``QueueHandler``."""

    pipe: connection.Connection

    def put_nowait(self, record: logging.LogRecord) -> None:
        self.pipe.send(record)


def _serve(pipe: connection.Connection, number: int, jobs: int) -> None:
    """What a process does: tasks, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; who gave the tasks decides
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    _take_share(number, jobs)
    handler = logging.handlers.QueueHandler(_Pipe(pipe))
    try:
        do = pipe.recv()
        with logs.heard(handler):
            while True:
                found = do(pipe.recv())
                with handler.lock:  # threads may be telling
                    pipe.send(found)
    except (EOFError, OSError):  # nobody waits any more
        return


def _end_with(parent) -> None:
    connection.wait([parent.sentinel])
    os._exit(1)


def _take_share(number: int, jobs: int) -> None:
    """Every so manyth core, and GPU; where there are more processes than GPUs they share one and its memory."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number % len(cores) :: jobs])
    gpus = _gpus()
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[number % len(gpus) :: jobs])
        together = -(-jobs // len(gpus))
        if together > 1:
            os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / together:.2f}")


def n_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> list[str]:
    """The names of the GPUs that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    known = Path("/proc/driver/nvidia/gpus")
    return [str(n) for n in range(len(list(known.iterdir())))] if known.is_dir() else []
