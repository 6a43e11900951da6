"""Ctrl-C, made gentle: the first one asks for an end, the second one takes it.

A run that is cut in the middle of SQLite is worth nothing and hard to clean up after, and it takes a millisecond; so a
search finishes the runs under way, and still has everything for its summary. A request to terminate is treated alike.
The second one asks nobody, since a system under test may catch whatever is raised: workers are killed and the process
ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED_EXIT_CODE = 130
FINISHING = "finishing the runs under way; press Ctrl-C again to stop now"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STDERR = 2
SHOW_CURSOR = b"\x1b[?25h"
"""A progress bar hides it, and a process that ends at once gives it back nowhere else."""


class Interruption:
    """A context manager; within it `requested` tells whether an end was asked for. Of use in the main thread only.

    `raising`: the first signal also raises `KeyboardInterrupt`, for a single run that need not be finished.
    """

    def __init__(self, raising: bool = False) -> None:
        self.requested = False
        self._raising = raising
        self._previous: dict[int, Any] = {}
        self._others: set[int | None] = set()

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._others = {process.pid for process in multiprocessing.active_children()}
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self._end()
        self.requested = True
        if self._raising:
            raise KeyboardInterrupt
        _tell(f"{FINISHING}\n".encode())

    def _end(self) -> None:
        try:
            for process in multiprocessing.active_children():
                if process.pid not in self._others:
                    process.kill()
            _tell(b"")
        finally:
            os._exit(INTERRUPTED_EXIT_CODE)


def _tell(line: bytes) -> None:
    """Straight to the terminal: a handler may have come in the middle of a write to `sys.stderr`."""
    with suppress(OSError):
        if os.isatty(_STDERR):
            line = b"\n" + line if line else SHOW_CURSOR + b"\n"
        os.write(_STDERR, line)
