"""The clock: an own SimPy environment whose time is an integer number of nanoseconds since the start of the run.

SimPy breaks ties by insertion order; the kernel therefore lets every event of one instant happen before it asks the
strategy which of the tasks they woke runs first. Many timers of a run are revoked (a timeout whose block was quick):
they are passed over without moving time, and swept out when they are the greater part of the heap, so that neither time
nor memory depends on timers that no longer matter.

`after` and `step` do what `simpy.Environment.schedule` and `step` do, without the calls in between: they are the
hottest lines of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import cast

import simpy
from simpy.events import NORMAL

from simkit.kernel.errors import MisuseError

Callback = Callable[[simpy.Event], object]

#: fewer revoked timers than this are not worth a sweep
_SWEEP_MIN = 256


class Happening(simpy.Event):
    """Something that will happen by itself: a timer, or a stage of a request on its way.

    `name`, `operation` and `resource` describe it to a strategy when it is one of several possible next steps.
    """

    name = "timer"
    #: None once it has happened, or was revoked
    callbacks: list[Callback] | None  # type: ignore[assignment]
    #: where order is free, it lets everything else happen first
    patient = False
    #: nobody waits for it any more, and it will not happen
    revoked = False
    # Always a success without a value: these stand on the class and cost nothing per event.
    _ok = True
    _value = None

    def __init__(self, clock: Clock, callback: Callback | None, operation: str, resource: object) -> None:
        self.env = clock
        self.callbacks = [] if callback is None else [callback]
        self.operation = operation
        self.resource = resource

    def revoke(self) -> None:
        """It will not come to pass. Does nothing once it has."""
        if self.callbacks is not None:
            self.callbacks = None
            self.revoked = True
            cast("Clock", self.env).count_revoked()

    def happen(self) -> None:
        """Tells whoever waits for it; what SimPy's step does, for happenings that never were in its queue."""
        callbacks = self.callbacks
        if callbacks is None:
            if self.revoked:
                return
            raise MisuseError(f"{self.operation} {self.resource} happens a second time; a happening happens once")
        self.callbacks = None
        for callback in callbacks:
            callback(self)


class Clock(simpy.Environment):
    """Simulated time. `queue` is SimPy's heap of (time, priority, number, event)."""

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self.queue = cast("list[tuple[int, int, int, Happening]]", self._queue)
        self._next_number = self._eid.__next__
        self._revoked = 0

    @property
    def now_ns(self) -> int:
        return self._now  # type: ignore[return-value]

    def after(self, delay_ns: int, callback: Callback | None, operation: str, resource: object) -> Happening:
        """`callback` is called with the event `delay_ns` from now."""
        happening = Happening(self, callback, operation, resource)
        at: int = self._now + delay_ns  # type: ignore[assignment]
        heappush(self.queue, (at, NORMAL, self._next_number(), happening))
        return happening

    def step(self) -> None:
        """The next event comes to pass; time moves to it."""
        self._now, _, _, event = heappop(self.queue)
        callbacks = event.callbacks
        if callbacks is not None:
            event.callbacks = None
            for callback in callbacks:
                callback(event)
            if event._ok is False and not event.defused:
                raise cast(BaseException, event._value)  # a plain SimPy event that failed

    def skip_revoked(self) -> None:
        """Afterwards the head of the queue, if there is one, is something that will happen."""
        queue = self.queue
        while queue and queue[0][3].callbacks is None:
            heappop(queue)

    def count_revoked(self) -> None:
        """A timer was revoked; sweeps when most of the queue is of that kind."""
        self._revoked += 1
        if self._revoked > _SWEEP_MIN and self._revoked * 2 > len(self.queue):
            self._revoked = 0
            # In place: the kernel's loop holds on to the list.
            self.queue[:] = [entry for entry in self.queue if entry[3].callbacks is not None]
            heapify(self.queue)
