"""Tells the depot which pages are worth loading at the next open: now and then, and at the end.

A flush is a request like any other, made by a background task of the instance, and nobody's error: it may fail or take
too long, and then the next one tells more. Not even a fence ends the instance here, whose next request finds out
(only a fence says that a flush is pointless from now on). What the depot has already is not told again.

No timer runs. The first access that is recorded 30 s after the opening, or after the last flush, starts one: an
instance that does nothing causes no events and keeps no run from coming to rest, and nothing is left to stop when it
crashes. Pages found in memory are recorded late, so an instance that fetches nothing may tell at its end only.

At the end most instances have nothing to tell that is worth a request: of those that lived for less than 30 s only one
that read 64 different pages flushes, and waits for it no longer than closing may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simkit.depot.errors import DepotError
from simkit.depot.records import PreloadHints
from simkit.kernel import Group, Task, TimedOut
from simkit.kernel.units import SECOND
from simkit.vfs.connection import DROP_FLUSH_NS
from simkit.vfs.errors import StorageFailed
from simkit.vfs.events import HintFlushEnded
from simkit.vfs.recent_pages import RecentPages

if TYPE_CHECKING:
    from simkit.vfs.database import Database

FLUSH_EVERY_NS = 30 * SECOND
FLUSH_TIMEOUT_NS = 5 * SECOND
WORTH_PAGES = 64


class HintFlush:
    """Flushes of one instance, whose tasks run in `group`."""

    def __init__(self, database: Database, recent: RecentPages, group: Group) -> None:
        self._database = database
        self._recent = recent
        self._group = group
        self._kernel = database.kernel
        self._name = f"{database.storage.instance}-hints"
        #: what the depot has
        self._stored = PreloadHints()
        self._opened_ns = self._due_ns = 0
        self._task: Task | None = None
        self._stopped = False

    def begin(self, stored: PreloadHints) -> None:
        """The database is open; `stored` is what the depot has."""
        if not self._stopped:
            self._stored = stored
            self._opened_ns = self._kernel.now
            self._due_ns = self._opened_ns + FLUSH_EVERY_NS
            self._recent.on_news = self._news

    def stop(self) -> None:
        """No flush begins from now on. One that is under way ends by itself."""
        self._stopped = True
        self._recent.on_news = None

    def close(self) -> None:
        """Stops, and tells the depot what is worth it. Waits for that, 250 ms at most, and never fails."""
        kernel = self._kernel
        under_way = self._task
        if self._stopped:
            return
        self.stop()
        with kernel.shield():
            if under_way is not None:
                under_way.cancel(f"{self._name}: the instance is closed")
                kernel.wait_for_end(under_way)
            if self._database.death is not None or not self._worth_it():
                return
            hints = self._database.hints()
            if hints and hints != self._stored:
                kernel.wait_for_end(self._spawn(hints, DROP_FLUSH_NS))

    def _worth_it(self) -> bool:
        if self._kernel.now - self._opened_ns >= FLUSH_EVERY_NS:
            return True
        self._database.note_accesses()
        return self._recent.distinct_pages >= WORTH_PAGES

    def _news(self) -> None:
        """Accesses were recorded, by a task that may belong to anybody."""
        kernel = self._kernel
        if kernel.now < self._due_ns or self._task is not None or self._group.crashed or kernel.closed:
            return
        self._due_ns = kernel.now + FLUSH_EVERY_NS
        hints = self._recent.snapshot()
        if hints and hints != self._stored:
            self._task = self._spawn(hints, FLUSH_TIMEOUT_NS)

    def _spawn(self, hints: PreloadHints, timeout_ns: int) -> Task:
        return self._kernel.spawn(self._flush, hints, timeout_ns, name=self._name, background=True, group=self._group)

    def _flush(self, hints: PreloadHints, timeout_ns: int) -> None:
        kernel, storage = self._kernel, self._database.storage
        task = kernel.require_task("tell the depot which pages are worth loading")
        outcome = "cut short"
        try:
            with kernel.timeout(timeout_ns):
                storage.store_hints(hints)
            outcome = "stored"
            self._stored = hints
        except TimedOut:
            outcome = "timed out"
        except DepotError as error:
            outcome = error.code
            if error.fatal:
                self.stop()
        except StorageFailed:
            pass  # cut off from the storage while it waited
        finally:
            self._task = None
            self._due_ns = kernel.now + FLUSH_EVERY_NS
            kernel.record(HintFlushEnded(kernel.now, task.name, storage.instance, outcome))
