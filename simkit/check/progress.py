"""PROG-2 and PROG-3: nobody waits for ever, every run ends, and so does everything in it, within its bound.

When nothing can happen any more, whoever still waits will wait for ever: somebody forgot to wake it, or they wait in a
circle. A run that reaches its bounds has not ended; it may be stuck in a loop, and is reported as such.

The bound of an operation or close counts from its beginning, or from the last disturbance before its end
(`simkit.check.disturbances`). The `close()` of a system that tells of its modes has a deadline of its own, so nothing
extends its bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simkit.check.disturbances import Disturbances
from simkit.check.events import (
    CloseInvoked,
    CloseReturned,
    InstanceCrashed,
    OperationEnded,
    OperationInvoked,
    RunEnded,
    StillWaiting,
)
from simkit.check.verdict import Violation
from simkit.check.watch import Handler, Watch, follow
from simkit.kernel import Record
from simkit.kernel.units import format_duration
from simkit.pool.events import ModeChanged

CHECK = "end-of-run"
BOUNDS = "bounds"

_REPORT = ": nothing can run "
"""What follows in the message of a bound is a report, which `StillWaiting` events hold as well."""


def check_progress(history: Sequence[Record]) -> list[Violation]:
    """A violation when the run ended in a deadlock or at a bound."""
    end = next((event for event in reversed(history) if isinstance(event, RunEnded)), None)
    if end is None or end.reason == "done":
        return []
    waiting = [event for event in history if isinstance(event, StillWaiting)]
    tasks = tuple(event.waiting for event in waiting)
    details = tuple(
        f"{event.waiting} waits to {event.operation} {event.resource}"
        + (f", held by {', '.join(event.held_by)}" if event.held_by else "")
        + f", since {format_duration(event.since_ns)}"
        for event in waiting
    )
    if end.reason == "deadlock":
        sentence = f"nothing can happen any more and {len(tasks)} task(s) still wait: {', '.join(tasks)}"
        return [Violation("PROG-2", CHECK, sentence, end.at, tasks, (), details)]
    sentence = end.detail.partition(_REPORT)[0] or "the run did not end within its bounds"
    if tasks:
        sentence += f"; {len(tasks)} task(s) still wait: {', '.join(tasks)}"
    return [Violation("PROG-3", CHECK, sentence, end.at, tasks, (), details)]


def check_bounds(history: Sequence[Record], bound_ns: int) -> list[Violation]:
    """Operations and closes that took longer than `bound_ns` although nothing disturbed them."""
    disturbances = Disturbances()
    return follow(history, disturbances, Bounds(disturbances, bound_ns))


class Bounds(Watch):
    """PROG-3 for what happens within a run. `disturbances` goes through the history before it."""

    check = BOUNDS

    def __init__(self, disturbances: Disturbances, bound_ns: int) -> None:
        super().__init__()
        assert bound_ns > 0, "PROG-3: a bound is a span of simulated time above 0"
        self._bound_ns = bound_ns
        self._disturbances = disturbances
        self._running: dict[int, OperationInvoked] = {}
        self._closes: dict[tuple[str, str], CloseInvoked] = {}
        self._telling: set[str] = set()

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            OperationInvoked: self._invoked,
            OperationEnded: self._ended,
            CloseInvoked: self._close_invoked,
            CloseReturned: self._close_returned,
            ModeChanged: self._mode_changed,
            InstanceCrashed: self._crashed,
        }

    def finish(self, end: RunEnded | None) -> None:
        if end is None or end.reason != "done":
            return  # who still waits is reported by the end of the run
        for invoked in self._running.values():
            took_ns = end.at - self._disturbances.since_ns(invoked.at, end.at)
            if took_ns > self._bound_ns:
                self._report(f"{self.cast.title(invoked.operation)} has not ended", took_ns, end, invoked.operation)
        for (instance, task), close in self._closes.items():
            took_ns = end.at - self._close_counts_from(close, end.at)
            if took_ns > self._bound_ns:
                self._report(f"close() of {instance}, called by {task}, has not returned", took_ns, end)

    def _invoked(self, _: int, event: OperationInvoked) -> None:
        self._running[event.operation] = event

    def _ended(self, _: int, event: OperationEnded) -> None:
        invoked = self._running.pop(event.operation, None)
        if invoked is None:
            return
        took_ns = event.at - self._disturbances.since_ns(invoked.at, event.at)
        if took_ns > self._bound_ns:
            self._report(f"{self.cast.title(event.operation)} did not end", took_ns, event, event.operation)

    def _mode_changed(self, _: int, event: ModeChanged) -> None:
        self._telling.add(event.instance)

    def _close_invoked(self, _: int, event: CloseInvoked) -> None:
        self._closes[event.instance, event.task] = event

    def _close_returned(self, _: int, event: CloseReturned) -> None:
        close = self._closes.pop((event.instance, event.task), None)
        if close is None:
            return
        took_ns = event.at - self._close_counts_from(close, event.at)
        if took_ns > self._bound_ns:
            self._report(f"close() of {event.instance}, called by {event.task}, did not return", took_ns, event)

    def _close_counts_from(self, close: CloseInvoked, now_ns: int) -> int:
        return close.at if close.instance in self._telling else self._disturbances.since_ns(close.at, now_ns)

    def _crashed(self, _: int, event: InstanceCrashed) -> None:
        for key in [key for key in self._closes if key[0] == event.instance]:
            del self._closes[key]

    def _report(self, what: str, took_ns: int, event: Record, *operations: int) -> None:
        self.report(
            "PROG-3",
            f"{what} within {format_duration(self._bound_ns)}: it took {format_duration(took_ns)} since it began or "
            "was last disturbed",
            event,
            *operations,
        )
