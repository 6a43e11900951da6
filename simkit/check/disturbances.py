"""What keeps the work of a run up, so that a bound of simulated time counts from the last of it.

A disturbance is a fault, a message that the network disturbed, a crash, a database that changes hands or is closed, a
close that gave up, a transaction that reached its deadline. A request that a fault or the network holds up, or of which
a message is lost, disturbs for as long as it is not answered. Of reads the history does not say when that is, so they
count until their task is seen to do something else. A job of the depot that is held up keeps no client's work up: it is
a disturbance when that happens, and no longer.
"""

from __future__ import annotations

from collections.abc import Mapping

from simkit.check.events import (
    CloseReturned,
    InstanceCrashed,
    InstanceOpened,
    NativeCloseFinished,
    NativeCloseStarted,
    OperationEnded,
)
from simkit.check.watch import Handler, Watch
from simkit.depot.events import CommitAcknowledged, FaultFired, InstanceAllocated, NetworkDisturbed, RequestFailed
from simkit.kernel import Record
from simkit.pool.events import CloseGaveUp, TransactionRolledBack
from simkit.vfs.events import HintFlushEnded

_HOLDING = frozenset({"delay", "pause"})
_HOLDING_BY_NETWORK = frozenset({"lost", "delayed", "held", "slow"})


class Disturbances(Watch):
    """Reports nothing. It has to go through a history before the watches that ask it."""

    def __init__(self) -> None:
        super().__init__()
        self._last_ns = -1
        #: (task, instance) of each request that is held up, by its number
        self._held: dict[int, tuple[str, str]] = {}

    def since_ns(self, beginning_ns: int, now_ns: int) -> int:
        """From when on a bound counts for what began at `beginning_ns` and is looked at now."""
        return now_ns if self._held else max(beginning_ns, self._last_ns)

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            FaultFired: self._fault,
            NetworkDisturbed: self._network,
            CommitAcknowledged: self._answered,
            RequestFailed: self._answered,
            OperationEnded: self._task_goes_on,
            HintFlushEnded: self._task_goes_on,
            CloseReturned: self._task_goes_on,
            InstanceCrashed: self._crashed,
            InstanceAllocated: self._disturbed,
            InstanceOpened: self._disturbed,
            NativeCloseStarted: self._disturbed,
            NativeCloseFinished: self._disturbed,
            CloseGaveUp: self._disturbed,
            TransactionRolledBack: self._rolled_back,
        }

    def _fault(self, _: int, event: FaultFired) -> None:
        self._last_ns = event.at
        if event.action in _HOLDING and event.request >= 0:
            self._held[event.request] = event.task, event.instance

    def _network(self, _: int, event: NetworkDisturbed) -> None:
        self._last_ns = event.at
        if event.what in _HOLDING_BY_NETWORK:
            self._held[event.request] = event.task, event.instance

    def _answered(self, _: int, event: CommitAcknowledged | RequestFailed) -> None:
        if event.request in self._held:
            self._let_go([event.request], event.at)

    def _task_goes_on(self, _: int, event: OperationEnded | CloseReturned | HintFlushEnded) -> None:
        if self._held:
            self._let_go([number for number, (task, _) in self._held.items() if task == event.task], event.at)

    def _crashed(self, _: int, event: InstanceCrashed) -> None:
        self._let_go([number for number, (_, name) in self._held.items() if name == event.instance], event.at)
        self._last_ns = event.at

    def _disturbed(self, _: int, event: Record) -> None:
        self._last_ns = event.at

    def _rolled_back(self, _: int, event: TransactionRolledBack) -> None:
        if event.cause == "deadline":
            self._last_ns = event.at

    def _let_go(self, requests: list[int], at_ns: int) -> None:
        for number in requests:
            del self._held[number]
            self._last_ns = at_ns
