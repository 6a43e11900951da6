"""The baton: the slow, obviously correct second way to carry a task, kept as the reference for the first.

Each task is a real thread, and exactly one thread runs at a time: the one that holds the baton. Both carriers must give
the same trace digest (DET-1); where they differ, something in a run depends on the greenlet trick. Offers the part of
greenlet's interface that the kernel uses: `switch`, `throw`, `dead`, `gr_frame`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class BatonHub:
    """The kernel's own side: the thread that called `Kernel.run`."""

    def __init__(self) -> None:
        self._turn = threading.Semaphore(0)
        self._running: Baton | None = None

    def switch(self) -> Any:
        """Called on a task's thread: hands the baton to the hub and waits to get it back."""
        baton = self._running
        assert baton is not None
        self._turn.release()
        return baton.await_turn()

    def run_until_handed_back(self, baton: Baton) -> None:
        self._running = baton
        baton.hand_over()
        self._turn.acquire()

    def take_back(self) -> None:
        """The task's thread is about to end."""
        self._turn.release()


class Baton:
    """One task's thread."""

    def __init__(self, run: Callable[[], None], parent: BatonHub) -> None:
        self._hub = parent
        self._run = run
        self._turn = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self.dead = False

    def switch(self, value: Any = None) -> None:
        self._value = value
        self._hub.run_until_handed_back(self)

    def throw(self, error: BaseException) -> None:
        self._error = error
        self._hub.run_until_handed_back(self)

    def hand_over(self) -> None:
        if self._thread is None:
            # Daemon: a run that is abandoned after an internal error must not keep the process alive.
            self._thread = threading.Thread(target=self._main, daemon=True)
            self._thread.start()
        else:
            self._turn.release()

    def await_turn(self) -> Any:
        self._turn.acquire()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._value

    @property
    def gr_frame(self) -> FrameType | None:
        """The innermost frame of the suspended task, for reports."""
        thread = self._thread
        if thread is None or thread.ident is None or self.dead:
            return None
        return sys._current_frames().get(thread.ident)

    def _main(self) -> None:
        try:
            self._run()
        finally:
            self.dead = True
            self._hub.take_back()
