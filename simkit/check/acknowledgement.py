"""DUR-3: xSync returns only after the depot acknowledged the commit, seen from the events of VFS and depot."""

from __future__ import annotations

from collections.abc import Sequence

from simkit.check.verdict import Violation
from simkit.depot.events import CommitAcknowledged
from simkit.kernel import Record
from simkit.vfs.events import SyncReturned, SyncStarted

CHECK = "acknowledged-sync"


def check_acknowledgement(history: Sequence[Record]) -> list[Violation]:
    """One violation for each xSync with pages to store that returned without an acknowledgement since it began."""
    violations = []
    unacknowledged: dict[tuple[str, str], SyncStarted] = {}
    for event in history:
        kind = event.__class__
        if kind is SyncStarted:
            assert isinstance(event, SyncStarted)
            unacknowledged[event.instance, event.task] = event
        elif kind is CommitAcknowledged:
            assert isinstance(event, CommitAcknowledged)
            unacknowledged.pop((event.instance, event.task), None)
        elif kind is SyncReturned:
            assert isinstance(event, SyncReturned)
            started = unacknowledged.pop((event.instance, event.task), None)
            if started is not None:
                violations.append(
                    Violation(
                        "DUR-3",
                        CHECK,
                        f"xSync of {event.instance} returned with {started.pages} pages "
                        "that the depot had not acknowledged",
                        event.at,
                        (event.task,),
                        (event.operation,) if event.operation >= 0 else (),
                    )
                )
    return violations
