"""Watchdogs: a run that never gives control back ends the process instead of holding the search for ever.

Bounds on steps and on simulated time end a run that goes on asking the kernel; a loop or a lock of the system under
test asks nothing. Only the wall clock can tell then, and nothing can be saved: the stacks are printed and the process
ends. A worker is watched from outside of Python, which also ends native code; the process of the command is watched by
a thread, which can say which run it was.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from simkit.search.interruption import SHOW_CURSOR

HANG_AFTER_S = 120.0
HANG_EXIT_CODE = 3

_ARM_EVERY_S = 1.0
_STDERR = 2


class Watch(Protocol):
    """What a search tells its watchdog."""

    def begin(self, seed: int, io: int | None) -> None:
        """A run begins; the one before is over."""

    def rest(self) -> None:
        """Nothing runs until the next `begin`."""


class Unwatched:
    """For callers that wait as long as it takes."""

    def begin(self, seed: int, io: int | None) -> None:
        pass

    def rest(self) -> None:
        pass


class WorkerWatch:
    """Prints the stacks and ends this process, a worker, `hang_after_s` (and at most a second) after a run began."""

    def __init__(self, hang_after_s: float) -> None:
        self._hang_after_s = hang_after_s
        self._armed_at: float | None = None

    def begin(self, seed: int, io: int | None) -> None:
        # Arming starts a thread of the C library: too dear for each of a thousand runs a second.
        now = time.monotonic()
        if self._armed_at is None or now - self._armed_at >= _ARM_EVERY_S:
            self._armed_at = now
            faulthandler.dump_traceback_later(self._hang_after_s + _ARM_EVERY_S, file=_STDERR, exit=True)

    def rest(self) -> None:
        self._armed_at = None
        faulthandler.cancel_dump_traceback_later()


class ThreadWatch:
    """A context manager; within it a run that takes `hang_after_s` is reported with its stacks and ends the process.

    `report(seed, io)` runs in another thread than the run, right before the end.
    """

    def __init__(self, hang_after_s: float, report: Callable[[int, int | None], None]) -> None:
        self._hang_after_s = hang_after_s
        self._report = report
        self._over = threading.Event()
        self._under_way: tuple[float, int, int | None] | None = None

    def __enter__(self) -> ThreadWatch:
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def begin(self, seed: int, io: int | None) -> None:
        self._under_way = time.monotonic(), seed, io

    def rest(self) -> None:
        self._under_way = None

    def _watch(self) -> None:
        while not self._over.wait(min(_ARM_EVERY_S, self._hang_after_s / 4)):
            under_way = self._under_way
            if under_way is not None and time.monotonic() - under_way[0] >= self._hang_after_s:
                try:
                    cursor = SHOW_CURSOR if os.isatty(_STDERR) else b""
                    os.write(_STDERR, cursor + b"\n" + _stacks().encode(errors="replace"))
                    self._report(*under_way[1:])
                finally:
                    os._exit(HANG_EXIT_CODE)


def _stacks() -> str:
    """Where every thread is, except the one that asks."""
    frames = sys._current_frames()
    lines = []
    for thread in threading.enumerate():
        if thread.ident in frames and thread is not threading.current_thread():
            lines.append(f"Stack of {thread.name} (most recent call last):\n")
            lines.extend(traceback.format_stack(frames[thread.ident]))
    return "".join(lines)
