"""CLOSE-1 and CLOSE-2: a close means that the database is closed, and nothing comes in behind it.

CLOSE-1: when a `close()` returns, no connection is open and the native close is behind it, which happens once, and
begins when nothing of what was let in before is under way any more.
CLOSE-2: what is asked for after a close began is not done. After the native close began, or a close returned, SQLite
opens no file and runs no statement for a client.

A close that failed or was cancelled closed nothing as far as its caller knows: what was let in behind it is not held
against it. Once a close gave its work up and cut the instance off, the connections that unwind are not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simkit.check.events import (
    OK,
    CloseInvoked,
    CloseReturned,
    InstanceCrashed,
    NativeCloseFinished,
    NativeCloseStarted,
    OperationEnded,
    OperationInvoked,
    RunEnded,
    StatementStarted,
)
from simkit.check.verdict import Violation
from simkit.check.watch import Handler, Watch, follow
from simkit.kernel import Record
from simkit.pool.events import (
    CLOSING,
    CloseGaveUp,
    LeaseClassified,
    LeaseEnded,
    LeaseGranted,
    LeaseRequested,
    ModeChanged,
)
from simkit.vfs.events import FileClosed, FileOpened, TransactionBegan, TransactionEnded

CHECK = "closing"


@dataclass(eq=False, slots=True)
class _Close:
    """One call of `close()`. `over`: it returned, or failed."""

    task: str
    failed: bool = False
    over: bool = False


@dataclass(slots=True)
class _Instance:
    """What a check of closing knows of an instance.

    Attributes:
        closes: calls that did not fail, in order; the first of them is when closing began.
        over: since when nothing may come in, in words; "" while it may.
        late_leases: those requested after the mode became closing.
        requested, leases: those that were asked for, and those that are granted, with their operation.
        transactions: the operation of the transaction that a handle is in.
        native_task: the task that does the native close.
    """

    handles: set[int] = field(default_factory=set)
    requested: dict[int, int] = field(default_factory=dict)
    leases: dict[int, int] = field(default_factory=dict)
    transactions: dict[int, int] = field(default_factory=dict)
    crashed: bool = False
    closes: list[_Close] = field(default_factory=list)
    closing: bool = False
    late_leases: set[int] = field(default_factory=set)
    gave_up: bool = False
    native_started: bool = False
    native_task: str = ""
    native_finished: bool = False
    returned_to: str = ""
    over: str = ""


def check_closing(history: Sequence[Record]) -> list[Violation]:
    """Closes that returned too early, native closes too many, and work that was let in behind them."""
    return follow(history, Closing())


class Closing(Watch):
    """Follows the closes of each instance, and what is let in behind them."""

    check = CHECK

    def __init__(self) -> None:
        super().__init__()
        self._instances: dict[str, _Instance] = {}
        #: operations invoked after closing began, with the close that they came after
        self._late: dict[int, tuple[str, _Close]] = {}
        self._admitted: list[tuple[OperationEnded, str, _Close]] = []

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            FileOpened: self._file_opened,
            FileClosed: self._file_closed,
            StatementStarted: self._statement,
            TransactionBegan: self._began,
            TransactionEnded: self._transaction_ended,
            OperationInvoked: self._invoked,
            OperationEnded: self._ended,
            CloseInvoked: self._close_invoked,
            CloseReturned: self._close_returned,
            NativeCloseStarted: self._native_started,
            NativeCloseFinished: self._native_finished,
            CloseGaveUp: self._gave_up,
            ModeChanged: self._mode_changed,
            LeaseRequested: self._lease_requested,
            LeaseGranted: self._lease_granted,
            LeaseClassified: self._lease_classified,
            LeaseEnded: self._lease_ended,
            InstanceCrashed: self._crashed,
        }

    def finish(self, end: RunEnded | None) -> None:
        for event, instance, close in self._admitted:
            if not close.failed:
                self.report(
                    "CLOSE-2",
                    f"{self.cast.title(event.operation)} was invoked after {close.task} had called close() of "
                    f"{instance}, and was acknowledged",
                    event,
                    event.operation,
                )

    def _of(self, name: str) -> _Instance:
        instance = self._instances.get(name)
        if instance is None:
            instance = self._instances[name] = _Instance()
        return instance

    # CLOSE-1

    def _close_invoked(self, _: int, event: CloseInvoked) -> None:
        self._of(event.instance).closes.append(_Close(event.task))

    def _close_returned(self, _: int, event: CloseReturned) -> None:
        instance = self._of(event.instance)
        close = next((each for each in reversed(instance.closes) if each.task == event.task and not each.over), None)
        if close is not None:
            close.over = True
        if event.error:
            if close is not None:
                close.failed = True
                instance.closes.remove(close)
            return
        said = f"close() of {event.instance} returned to {event.task}"
        if instance.handles and not instance.gave_up:
            handles = ", ".join(map(str, sorted(instance.handles)))
            self._report_early(instance, f"{said} while handle(s) {handles} were open", event.at, event.task)
        if instance.native_started and not instance.native_finished:
            self._report_early(instance, f"{said} before the native close finished", event.at, event.task)
        instance.returned_to = instance.returned_to or event.task
        instance.over = instance.over or f"after its close() had returned to {event.task}"

    def _report_early(self, instance: _Instance, sentence: str, at: int, *tasks: str) -> None:
        """A close returned too early; those that are still under way belong to the story."""
        others = tuple(dict.fromkeys(close.task for close in instance.closes if not close.over))
        if others:
            sentence = f"{sentence}; still under way: the close() of {', '.join(others)}"
        self.report_at("CLOSE-1", sentence, at, (*tasks, *others, instance.native_task))

    def _native_started(self, _: int, event: NativeCloseStarted) -> None:
        instance = self._of(event.instance)
        if instance.native_started:
            self.report("CLOSE-1", f"the native close of {event.instance} began a second time", event)
        elif instance.returned_to:
            said = f"close() of {event.instance} had returned to {instance.returned_to} when the native close began"
            self._report_early(instance, said, event.at, instance.returned_to, event.task)
        elif not instance.gave_up:
            self._look_for_work(instance, event)
        instance.native_started = True
        instance.native_task = event.task
        instance.over = instance.over or "after its native close had begun"

    def _look_for_work(self, instance: _Instance, event: NativeCloseStarted) -> None:
        under_way = {
            **{operation: f"had lease {lease}" for lease, operation in instance.leases.items()},
            **{
                operation: f"was in a transaction on handle {handle}"
                for handle, operation in instance.transactions.items()
            },
        }
        for operation, how in under_way.items():
            self.report(
                "CLOSE-1",
                f"the native close of {event.instance} began while {self.cast.title(operation)} {how}",
                event,
                operation,
            )
        idle = sorted(instance.handles - instance.transactions.keys())
        if idle:
            handles = f"handle {idle[0]} was" if len(idle) == 1 else f"handles {', '.join(map(str, idle))} were"
            self.report("CLOSE-1", f"the native close of {event.instance} began while {handles} open", event)

    def _began(self, _: int, event: TransactionBegan) -> None:
        self._of(event.instance).transactions[event.handle] = event.operation

    def _transaction_ended(self, _: int, event: TransactionEnded) -> None:
        self._of(event.instance).transactions.pop(event.handle, None)

    def _native_finished(self, _: int, event: NativeCloseFinished) -> None:
        self._of(event.instance).native_finished = True

    def _gave_up(self, _: int, event: CloseGaveUp) -> None:
        self._of(event.instance).gave_up = True

    # CLOSE-2

    def _invoked(self, _: int, event: OperationInvoked) -> None:
        instance = self._instances.get(event.instance)
        if instance is not None and instance.closes and not instance.crashed:
            self._late[event.operation] = event.instance, instance.closes[0]

    def _ended(self, _: int, event: OperationEnded) -> None:
        late = self._late.pop(event.operation, None)
        if late is not None and event.outcome == OK:
            self._admitted.append((event, *late))

    def _file_opened(self, _: int, event: FileOpened) -> None:
        instance = self._of(event.instance)
        instance.handles.add(event.handle)
        if instance.over:
            self.report("CLOSE-2", f"{event.instance} opened handle {event.handle} {instance.over}", event)

    def _file_closed(self, _: int, event: FileClosed) -> None:
        instance = self._of(event.instance)
        instance.handles.discard(event.handle)
        instance.transactions.pop(event.handle, None)

    def _statement(self, _: int, event: StatementStarted) -> None:
        instance = self._instances.get(event.instance)
        if instance is None or not instance.over or event.operation < 0 or event.rollback or instance.gave_up:
            return
        self.report(
            "CLOSE-2",
            f"{event.instance} began a statement of {self.cast.title(event.operation)} {instance.over}",
            event,
            event.operation,
        )

    def _mode_changed(self, _: int, event: ModeChanged) -> None:
        if event.after == CLOSING:
            self._of(event.instance).closing = True

    def _lease_requested(self, _: int, event: LeaseRequested) -> None:
        instance = self._of(event.instance)
        instance.requested[event.lease] = event.operation
        if instance.closing:
            instance.late_leases.add(event.lease)

    def _lease_granted(self, _: int, event: LeaseGranted) -> None:
        instance = self._of(event.instance)
        instance.leases[event.lease] = instance.requested.get(event.lease, -1)
        if event.lease in instance.late_leases:
            when = "it was requested after closing began"
        elif instance.over:
            when = instance.over
        else:
            return
        self.report("CLOSE-2", f"{event.instance} granted lease {event.lease}: {when}", event)

    def _lease_classified(self, _: int, event: LeaseClassified) -> None:
        if event.kind == "write":
            self._of(event.instance).leases.pop(event.lease, None)  # it gave its reader back

    def _lease_ended(self, _: int, event: LeaseEnded) -> None:
        instance = self._of(event.instance)
        instance.requested.pop(event.lease, None)
        instance.leases.pop(event.lease, None)
        instance.late_leases.discard(event.lease)

    def _crashed(self, _: int, event: InstanceCrashed) -> None:
        self._of(event.instance).crashed = True
