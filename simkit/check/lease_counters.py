"""LEASE-1: what a pool counts is what there is.

The counters that a system tells with each grant and end of a lease are compared with the leases and with the files
that SQLite has open: readers that run are active or opening, and no reader is open that is not counted. There are
never more readers than the pool says it may have. When a `close()` has returned, nothing is left, and the metrics taken
then must add up to what happened.

Does not judge systems that tell of no leases, nor connections that unwind after a close gave them up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simkit.check.events import CloseReturned, MetricsRead
from simkit.check.leases import Holdings, Leases
from simkit.check.verdict import Violation
from simkit.check.watch import Handler, follow
from simkit.kernel import Record
from simkit.pool.events import CLOSED, LeaseDropped, LeaseEnded, LeaseGranted, ModeChanged
from simkit.vfs.events import FileOpened

CHECK = "lease-counters"

_POOL = "sqlite_read_pool_"
_OPENS = f"{_POOL}reader_opens_total"
_CLOSES = f"{_POOL}reader_closes_total"
_GAUGES = (f"{_POOL}active_readers", f"{_POOL}idle_readers")
_DROPS = f"{_POOL}leases_dropped_total"
_TRANSITIONS = f"{_POOL}mode_transitions_total"


def check_counters(history: Sequence[Record]) -> list[Violation]:
    """Counters and metrics that differ from reality."""
    return follow(history, LeaseCounters())


class LeaseCounters(Leases):
    """Compares the counters of a pool with its leases, its files and its modes."""

    check = CHECK

    def __init__(self) -> None:
        super().__init__()
        self._modes: dict[str, str] = {}
        self._dropped: dict[str, int] = {}
        #: how often the mode of an instance changed, by (from, to)
        self._transitions: dict[str, dict[tuple[str, str], int]] = {}

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            **super().handlers(),
            ModeChanged: self._mode_changed,
            LeaseDropped: self._dropped_one,
            MetricsRead: self._metrics_read,
        }

    def _granted(self, index: int, event: LeaseGranted) -> None:
        super()._granted(index, event)
        self._compare(event, "granted")

    def _ended(self, index: int, event: LeaseEnded) -> None:
        super()._ended(index, event)
        self._compare(event, "ended")

    def _file_opened(self, index: int, event: FileOpened) -> None:
        super()._file_opened(index, event)
        instance = self.of(event.instance)
        there, readers_max = len(instance.readers), instance.readers_max
        if not event.writable and readers_max is not None and there > readers_max:
            self.report(
                "LEASE-1",
                f"{event.instance} opened a reader (handle {event.handle}), and has {there} open; its pool may have "
                f"{readers_max} at once",
                event,
            )

    def _compare(self, event: LeaseGranted | LeaseEnded, verb: str) -> None:
        instance = self.of(event.instance)
        active, idle, opening = event.active_readers, event.idle_readers, event.opening_readers
        there = len(instance.readers)
        if min(active, idle, opening) < 0:
            wrong = "one is negative"
        elif active + opening != instance.reading:
            wrong = f"{instance.reading} leases for reading run"
        elif not active + idle <= there <= active + idle + opening and not instance.gave_up:
            wrong = f"{there} reader connections are open"
        else:
            return
        self.report(
            "LEASE-1",
            f"when lease {event.lease} of {event.instance} was {verb}, the pool counted {active} active, {idle} idle "
            f"and {opening} opening readers, and {wrong}",
            event,
        )

    def _close_returned(self, index: int, event: CloseReturned) -> None:
        super()._close_returned(index, event)
        instance = self.of(event.instance)
        left = [lease for lease in instance.leases.values() if lease.granted]
        if left and not event.error and not instance.gave_up:
            self.report(
                "LEASE-1",
                f"close() of {event.instance} returned while lease(s) {', '.join(str(lease.number) for lease in left)} "
                "were granted and had not ended",
                event,
                *(lease.operation for lease in left),
            )

    def _mode_changed(self, _: int, event: ModeChanged) -> None:
        self.of(event.instance).tells = True
        mode, self._modes[event.instance] = self._modes.get(event.instance, CLOSED), event.after
        if event.before != mode:
            self.report(
                "LEASE-1",
                f"{event.instance} went from mode {event.before} to {event.after}, and the last one that it told of "
                f"was {mode}: it did not tell of the change in between",
                event,
            )
        transitions = self._transitions.setdefault(event.instance, {})
        transitions[event.before, event.after] = transitions.get((event.before, event.after), 0) + 1

    def _dropped_one(self, _: int, event: LeaseDropped) -> None:
        self._dropped[event.instance] = self._dropped.get(event.instance, 0) + 1

    def _metrics_read(self, _: int, event: MetricsRead) -> None:
        instance = self.of(event.instance)
        if not instance.tells:
            return
        samples, transitions = dict(event.samples), self._transitions.get(event.instance, {})
        for wrong in (*_wrong_readers(instance, samples), *_wrong_transitions(transitions, samples)):
            self.report("LEASE-1", f"the metrics of {event.instance} say {wrong}", event)
        drops, dropped = samples.get(_DROPS), self._dropped.get(event.instance, 0)
        if drops is not None and drops != dropped:
            self.report(
                "LEASE-1", f"the metrics of {event.instance} say {_DROPS} {drops:g}: {dropped} were told", event
            )


def _wrong_readers(instance: Holdings, samples: dict[str, float]) -> list[str]:
    """What is wrong with the metrics of readers, in words."""
    wrong = []
    opens, closes = samples.get(_OPENS), samples.get(_CLOSES)
    given, opened = len(instance.configured), instance.opened
    if opens is not None and not given <= opens <= opened:
        wrong.append(f"{_OPENS} {opens:g}: {opened} readers were opened, and {given} of them were given to a lease")
    finished = instance.over and not instance.gave_up
    if opens is not None and closes is not None and (closes > opens or (finished and closes != opens)):
        wrong.append(f"{_CLOSES} {closes:g} and {_OPENS} {opens:g}")
    if finished:
        wrong.extend(f"{name} {samples[name]:g} after the close" for name in _GAUGES if samples.get(name))
    return wrong


def _wrong_transitions(transitions: dict[tuple[str, str], int], samples: dict[str, float]) -> list[str]:
    counted = {name: value for name, value in samples.items() if name.startswith(_TRANSITIONS + "{")}
    if not counted:
        return []
    told = {f'{_TRANSITIONS}{{from="{before}",to="{after}"}}': times for (before, after), times in transitions.items()}
    return [
        f"{name} {counted.get(name, 0):g}, and the mode changed so {told.get(name, 0)} time(s)"
        for name in dict.fromkeys([*told, *counted])
        if counted.get(name, 0) != told.get(name, 0)
    ]
