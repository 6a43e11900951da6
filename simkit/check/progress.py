"""PROG-2 and PROG-3: nobody waits for ever, and every run ends.

When nothing can happen any more, whoever still waits will wait for ever: somebody forgot to wake it, or they wait in a
circle. A run that reaches its bounds has not ended; it may be stuck in a loop, and is reported as such.
"""

from __future__ import annotations

from collections.abc import Sequence

from simkit.check.events import RunEnded, StillWaiting
from simkit.check.verdict import Violation
from simkit.kernel import Record
from simkit.kernel.units import format_duration

CHECK = "end-of-run"

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
