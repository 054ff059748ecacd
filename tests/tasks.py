"""Tasks for the tests of ``experiments.workers``: what they import is all that their processes import."""

from __future__ import annotations

import logging
import os
import time


def square(task: int) -> tuple[int, int]:
    """A task's square, and how many cores it had; at 1 its process ends."""
    from experiments.workers import n_cores

    logging.getLogger("experiments").info("task %d", task)
    if task == 1:
        os._exit(3)
    return task**2, n_cores()


def slow(task: float) -> str:
    time.sleep(task)
    return "done"
