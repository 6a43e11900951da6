"""A read on its way to the depot and back, when nothing but time can hold it up.

The hot path of a simulation. A run with fault rules, and every commit, goes the general way (`Depot.send`),
where a generator may wait at any point; this does the same stages in the same order with callbacks, at about
half the cost. A test runs both over the same plans and compares their histories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simkit.depot.errors import DepotError
from simkit.depot.request import Request

if TYPE_CHECKING:
    from simkit.depot.depot import Depot


class ReadFlight:
    """One read: arrive, wait for a place, be served, be answered. Times in nanoseconds."""

    __slots__ = ("_depot", "_reply_ns", "_request", "_service_ns")

    def __init__(self, depot: Depot, request: Request, service_ns: int, reply_ns: int) -> None:
        self._depot = depot
        self._request = request
        self._service_ns = service_ns
        self._reply_ns = reply_ns

    def send(self, arrival_ns: int) -> None:
        """Sets out. May be back before this returns, when nothing takes time."""
        depot = self._depot
        if arrival_ns or depot.any_order:
            depot.kernel.stage(arrival_ns, self._arrive, "arrive", self._request)
        else:
            depot.take_place(self._serve)

    def _arrive(self, _: object) -> None:
        self._depot.take_place(self._serve)

    def _serve(self) -> None:
        request = self._request
        if self._service_ns:
            self._depot.kernel.stage(self._service_ns, self._read, request.kind, request)
        else:
            self._read(None)

    def _read(self, _: object) -> None:
        depot, request = self._depot, self._request
        try:
            request.result = depot.reader.read(request)
        except DepotError as error:
            request.error = error
        depot.leave_place()
        if self._reply_ns or depot.any_order:
            depot.kernel.stage(self._reply_ns, self._deliver, "reply", request)
        else:
            self._deliver(None)

    def _deliver(self, _: object) -> None:
        request = self._request
        request.done = True
        if request.task is not None:
            self._depot.kernel.wake(request.task)
