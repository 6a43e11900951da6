"""DUR-1, DEPOT-13: restore points, forks and rollbacks are of the commit that was asked for, and are kept.

The sweeps derive what must be readable from the rows of the depot; a row that names the wrong commit, or that was never
written, looks right to them. This check takes it from what was asked and what was told instead. A restore point means
the commit that it was made of. The latest commit is not older than what was acknowledged, or what the database went
back to, before the command was received, and not newer than what was durable when it was carried out. A commit of a
time was sent by then, and where an interval of time kept a newer one of that branch all along, it is that one. A
rollback that keeps a way back has a restore point of the very head that it left. Every restore point that was made and
not deleted is among what a later sweep has to read.

Only commits of this run are known. What was there before it, and commands that nobody told of, are not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from simkit.check.events import DepotSwept
from simkit.check.watch import Handler, Watch
from simkit.depot.core import EPOCH_MS
from simkit.depot.events import (
    CommitAcknowledged,
    CommitApplied,
    CommitRequested,
    ControlReceived,
    DatabaseForked,
    DatabaseRolledBack,
    RestorePointDeleted,
    RestorePointMade,
)
from simkit.kernel import Record
from simkit.kernel.units import MILLISECOND

_Outcome = RestorePointMade | DatabaseForked | DatabaseRolledBack


class _Version(NamedTuple):
    branch: int
    txid: int

    def __str__(self) -> str:
        return f"commit {self.txid} of branch {self.branch}"


class _Past:
    """The versions that one database went through, in order; `floor` is the place of the newest that is certain."""

    def __init__(self) -> None:
        self.versions: list[_Version] = []
        self.floor = -1
        #: places of acknowledged commits
        self.acknowledged: set[int] = set()

    def derived(self, version: _Version) -> None:
        self.versions.append(version)
        self.floor = len(self.versions) - 1


class _Asked(NamedTuple):
    """A command as it was received, and the floor of its database then."""

    command: ControlReceived
    floor: int
    #: the intervals that the last sweep before it had to read
    intervals: frozenset[tuple[_Version, str]]


class Promises(Watch):
    """Follows commands and what became of them."""

    check = "promises"
    also_of_crashed = frozenset({CommitRequested, CommitApplied})

    def __init__(self) -> None:
        super().__init__()
        self._pasts: dict[str, _Past] = {}
        #: by request: its database and place there
        self._places: dict[int, tuple[str, int]] = {}
        self._sent_ns: dict[int, int] = {}
        #: by version: milliseconds since 1970 before and after which it was not made
        self._made_ms: dict[_Version, tuple[int, int]] = {}
        self._asked: dict[int, _Asked] = {}
        #: by database and name
        self._points: dict[tuple[str, str], _Version] = {}
        self._points_ever: dict[str, set[_Version]] = {}
        self._intervals: frozenset[tuple[_Version, str]] = frozenset()
        #: commands that went to a time, whose commit the next sweep may show to be too old
        self._went_back: list[tuple[_Outcome, _Asked, _Version, int]] = []
        self._forgotten: set[tuple[str, str]] = set()

    def handlers(self) -> Mapping[type[Record], Handler]:
        return {
            CommitRequested: self._requested,
            CommitApplied: self._applied,
            CommitAcknowledged: self._acknowledged,
            ControlReceived: self._received,
            RestorePointMade: self._made,
            RestorePointDeleted: self._deleted,
            DatabaseForked: self._forked,
            DatabaseRolledBack: self._rolled_back,
            DepotSwept: self._swept,
        }

    # What is known

    def _past(self, database: str) -> _Past:
        return self._pasts.setdefault(database, _Past())

    def _requested(self, _: int, event: CommitRequested) -> None:
        self._sent_ns[event.request] = event.at

    def _applied(self, _: int, event: CommitApplied) -> None:
        past, version = self._past(event.database), _Version(event.branch, event.txid)
        self._places.setdefault(event.request, (event.database, len(past.versions)))
        past.versions.append(version)
        sent_ns = self._sent_ns.get(event.request)
        if sent_ns is not None:
            self._made_ms[version] = _wall_clock_ms(sent_ns), _wall_clock_ms(event.at)

    def _acknowledged(self, _: int, event: CommitAcknowledged) -> None:
        place = self._places.get(event.request)
        if place is not None:
            past = self._past(place[0])
            past.acknowledged.add(place[1])
            past.floor = max(past.floor, place[1])

    def _received(self, _: int, event: ControlReceived) -> None:
        self._asked[event.request] = _Asked(event, self._past(event.database).floor, self._intervals)

    # What became of commands

    def _made(self, _: int, event: RestorePointMade) -> None:
        version = _Version(event.branch, event.txid)
        self._points[event.database, event.restore_point] = version
        self._points_ever.setdefault(event.restore_point, set()).add(version)
        asked = self._asked.get(event.request)
        if asked is not None and asked.command.command == "restore point":
            self._look(event, f"restore point {event.restore_point}", asked, version)

    def _deleted(self, _: int, event: RestorePointDeleted) -> None:
        self._points.pop((event.database, event.restore_point), None)

    def _forked(self, _: int, event: DatabaseForked) -> None:
        version = _Version(event.parent, event.txid)
        asked = self._asked.get(event.request)
        if asked is not None:
            self._look(event, f"the fork {event.database}", asked, version)
        self._past(event.database).derived(version)

    def _rolled_back(self, _: int, event: DatabaseRolledBack) -> None:
        version, past = _Version(event.parent, event.txid), self._past(event.database)
        asked = self._asked.get(event.request)
        if asked is not None:
            self._look(event, f"the rollback of {event.database}", asked, version)
            if asked.command.keep_undo:
                self._look_for_undo(event, past)
        past.derived(version)

    def _look_for_undo(self, event: DatabaseRolledBack, past: _Past) -> None:
        kept = self._points.get((event.database, event.undo))
        if not event.undo:
            self.report("DEPOT-13", f"the rollback of {event.database} left no restore point to undo it by", event)
        elif kept is not None and past.versions and kept != past.versions[-1]:
            self.report(
                "DEPOT-13",
                f"the rollback of {event.database} left restore point {event.undo} of {kept}, "
                f"and the head was {past.versions[-1]}",
                event,
            )

    def _look(self, event: _Outcome, what: str, asked: _Asked, version: _Version) -> None:
        match asked.command.target:
            case "latest":
                self._look_at_latest(event, what, asked, version)
            case "restore_point":
                self._look_at_restore_point(event, what, asked.command, version)
            case "time":
                made_ms = self._made_ms.get(version)
                if made_ms is not None and made_ms[0] > asked.command.ms:
                    self.report(
                        "DEPOT-13",
                        f"{what} is of {version}, which was not sent before {made_ms[0]} ms, "
                        f"and it was asked for as of {asked.command.ms} ms",
                        event,
                    )
                past = self._past(asked.command.database).versions
                newest = past[-1].txid if past and past[-1].branch == version.branch else 0
                self._went_back.append((event, asked, version, newest))

    def _look_at_latest(self, event: _Outcome, what: str, asked: _Asked, version: _Version) -> None:
        past, floor = self._past(asked.command.database), asked.floor
        if floor < 0 or version in past.versions[floor:]:
            return
        # What is no version of this run is older than all that are.
        since = past.versions.index(version) + 1 if version in past.versions else 0
        lost = any(since <= place <= floor for place in past.acknowledged)
        self.report(
            "DUR-1" if lost else "DEPOT-13",
            f"{what} is of {version}, but the latest was asked for, "
            f"and {past.versions[floor]} {'was acknowledged' if lost else 'was current'} before",
            event,
        )

    def _look_at_restore_point(self, event: _Outcome, what: str, command: ControlReceived, version: _Version) -> None:
        own = self._points.get((command.database, command.restore_point))
        known = {own} if own is not None else self._points_ever.get(command.restore_point, set())
        if known and version not in known:
            named = " or ".join(str(point) for point in sorted(known))
            self.report(
                "DEPOT-13", f"{what} is of {version}, and restore point {command.restore_point} of {named}", event
            )

    # What is kept

    def _swept(self, _: int, event: DepotSwept) -> None:
        if not event.kept:
            return
        kept = {_parse(text) for text in event.kept}
        for (database, name), version in self._points.items():
            if (version, f"restore_point {name}") not in kept and (database, name) not in self._forgotten:
                self._forgotten.add((database, name))
                self.report("DEPOT-13", f"{version} is not kept any more for restore point {name} of {database}", event)
        self._intervals = frozenset(entry for entry in kept if entry[1].startswith("interval "))
        for looked_back in self._went_back:
            self._look_for_newer(*looked_back)
        self._went_back.clear()

    def _look_for_newer(self, event: _Outcome, asked: _Asked, version: _Version, newest: int) -> None:
        """Whether an interval that was there before and after the command kept a newer commit that was meant.

        `newest` is the newest commit of that branch that belonged to the past of the database by then.
        """
        for entry in sorted(asked.intervals & self._intervals):
            other, why = entry
            made_ms = self._made_ms.get(other)
            fits = other.branch == version.branch and version.txid < other.txid <= newest
            if fits and made_ms is not None and made_ms[1] <= asked.command.ms:
                self.report(
                    "DEPOT-13",
                    f"{version} was taken for what was asked for as of {asked.command.ms} ms, "
                    f"and {why} kept {other} of before that time",
                    event,
                )
                return


def _wall_clock_ms(at_ns: int) -> int:
    return EPOCH_MS + at_ns // MILLISECOND


def _parse(text: str) -> tuple[_Version, str]:
    """An entry of `DepotSwept.kept`."""
    branch, txid, why = text.split(":", 2)
    return _Version(int(branch), int(txid)), why
