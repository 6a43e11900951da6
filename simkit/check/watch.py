"""How the checks of connections, leases and closes go through a history: together, in one pass.

A `Watch` names the events that it wants, and follows the instances through them. What an instance does after it
crashed is nobody's doing any more, and its events are not passed on, except to a watch that says so: what the depot
does for an instance that has crashed meanwhile is done all the same. Whatever comes after the end of the run is the
dismantling of the world, and is not looked at.

Each watch keeps the first findings only: what follows them in the same run mostly follows from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from simkit.check.events import InstanceCrashed, OperationInvoked, RunEnded
from simkit.check.verdict import Violation
from simkit.depot.events import FaultFired
from simkit.kernel import Record
from simkit.vfs.events import VfsRegistered, VfsUnregistered

Handler = Callable[[int, Any], None]
"""Takes the index of an event in the history, and the event."""

REPORTED_MAX = 10

_PASSED_ON_ALWAYS = frozenset({FaultFired, InstanceCrashed, OperationInvoked, VfsRegistered, VfsUnregistered})


class Cast:
    """Who is who: the operations that were invoked so far, by number."""

    def __init__(self) -> None:
        self.invoked: dict[int, OperationInvoked] = {}

    def caller(self, operation: int) -> str | None:
        """The task that invoked an operation; None for the system's own business and for what nobody invoked."""
        invoked = self.invoked.get(operation)
        return invoked.task if invoked is not None else None

    def title(self, operation: int) -> str:
        """The operation, its name and its client in words."""
        invoked = self.invoked.get(operation)
        if invoked is None:
            return f"operation {operation}" if operation >= 0 else "work of the system's own"
        return f"operation {operation} ({invoked.name} of {invoked.client})"


class Watch:
    """One check on its way through a history. Subclasses fill `handlers` and call `report`."""

    check = ""
    also_of_crashed: frozenset[type[Record]] = frozenset()
    """Events that it wants of instances that have crashed, too."""

    def __init__(self) -> None:
        self.cast = Cast()
        self.violations: list[Violation] = []
        self._more = 0

    def handlers(self) -> Mapping[type[Record], Handler]:
        """What to do with which event."""
        raise NotImplementedError

    def finish(self, end: RunEnded | None) -> None:
        """Called once, after the last event; `end` is None when the history breaks off."""

    def report(self, invariant: str, sentence: str, event: Record, *operations: int) -> None:
        """Reports what `event` shows. Tasks are those of the event and of the operations."""
        self.report_at(invariant, sentence, event.at, (event.task,), operations)

    def report_at(
        self, invariant: str, sentence: str, at: int, tasks: tuple[str, ...], operations: tuple[int, ...] = ()
    ) -> None:
        """The same for a moment that no single event stands for."""
        if len(self.violations) >= REPORTED_MAX:
            self._more += 1
            return
        known = tuple(dict.fromkeys(number for number in operations if number in self.cast.invoked))
        everybody = (*tasks, *(self.cast.invoked[number].task for number in known))
        named = tuple(dict.fromkeys(task for task in everybody if task))
        self.violations.append(Violation(invariant, self.check, sentence, at, named, known))

    def found(self) -> list[Violation]:
        """What was reported; the last one says how many more there were."""
        if not self._more:
            return self.violations
        last = msgspec.structs.replace(self.violations[-1], details=(f"and {self._more} more of check {self.check}",))
        return [*self.violations[:-1], last]


def follow(history: Sequence[Record], *watches: Watch) -> list[Violation]:
    """Takes every watch through the history once. Returns what they found, watch by watch."""
    cast, crashed = Cast(), set[str]()
    handlers: Sequence[Handler] | None
    table: dict[type[Record], list[Handler]] = {OperationInvoked: [], InstanceCrashed: [], RunEnded: []}
    of_crashed: dict[type[Record], list[Handler]] = {}
    for watch in watches:
        watch.cast = cast
        for wanted, handler in watch.handlers().items():
            table.setdefault(wanted, []).append(handler)
            if wanted in watch.also_of_crashed:
                of_crashed.setdefault(wanted, []).append(handler)
    end = None
    for index, event in enumerate(history):
        kind = event.__class__
        handlers = table.get(kind)
        if handlers is None:
            continue
        if kind is OperationInvoked:
            assert isinstance(event, OperationInvoked)
            cast.invoked[event.operation] = event
        if crashed and kind not in _PASSED_ON_ALWAYS and getattr(event, "instance", None) in crashed:
            handlers = of_crashed.get(kind, ())
        for handler in handlers:
            handler(index, event)
        if kind is InstanceCrashed:
            assert isinstance(event, InstanceCrashed)
            crashed.add(event.instance)
        elif kind is RunEnded:
            assert isinstance(event, RunEnded)
            end = event
            break
    for watch in watches:
        watch.finish(end)
    return [violation for watch in watches for violation in watch.found()]
