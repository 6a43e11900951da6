"""Marks: the names of things that a search should see at least once, and which system gives which.

What simkit's own systems give follows from the events that they record, so a mark of `sometimes` that none of them
ever gives is a mistake that can be told before anything runs. A system of one's own gives what it likes. Which event
hits which mark is known to `simkit.search.coverage`, which takes the words from here.

Works on words only: it sees no run, and upholds no invariant.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from simkit.depot.fault_points import FAULT_POINT_NAMES, FaultPoint
from simkit.pool.events import CLOSED, CLOSING, READ, WRITE
from simkit.pool.metrics import MODE_TRANSITIONS
from simkit.pool.transaction import ABANDONED, CANCELLED, CLOSE, DEADLINE
from simkit.scenario.model_base import describe, refuse
from simkit.scenario.model_faults import check_name

MARK_LENGTH_MAX = 80

LEASE_DROPPED = "lease dropped"
CLOSE_GAVE_UP = "close gave up"
CLOSES_RACING = "closes racing"
CLOSE_CANCELLED = "close cancelled"
ROUTE_READ = "route read"
ROUTE_WRITE_FALLBACK = "route write_fallback"


COMPACTION = "compaction"
"""What brings some marks about that no step of an operator does."""

FORKED = "depot fork"
INSTALLED = "depot installed"
JOB_FAILED = "depot job failed"
RECLAIMED = "depot reclaimed"
RESTORE_POINT_MADE = "depot restore point"
ROLLED_BACK = "depot rollback"
WAKE_LOST = "depot wake lost"


def fault_mark(point: str) -> str:
    """A fault acted at this point."""
    return f"fault {point}"


def network_mark(leg: str, what: str) -> str:
    """The network did this to a message; the words are those of `NetworkDisturbed`."""
    return f"network {leg} {what}"


def mode_mark(before: str, after: str) -> str:
    """The mode of a connection manager changed."""
    return f"mode {before}->{after}"


def lease_mark(how: str, while_: str) -> str:
    """A lease ended; the words are those of `LeaseEnded`."""
    return f"lease {how} {while_}"


def rolled_back_mark(cause: str) -> str:
    """A system rolled a transaction back for its owner."""
    return f"transaction rolled back: {cause}"


MODE_MARKS = tuple(mode_mark(before, after) for before, after in MODE_TRANSITIONS)
"""A mark for each change of mode that a connection manager can make."""

_PHASES = ("waiting", "opening", "running")
_LEASE_MARKS = (
    *(lease_mark(how, while_) for how in ("cancelled", "failed", "crashed", "refused") for while_ in _PHASES),
    *(lease_mark(how, "running") for how in ("released", "dropped", "expired")),
)
_CLOSE_MARKS = (CLOSES_RACING, CLOSE_CANCELLED)
_ROLLED_BACK_MARKS = tuple(rolled_back_mark(cause) for cause in (DEADLINE, CLOSE, ABANDONED, CANCELLED))

FAULT_MARKS = {fault_mark(point.value): point for point in FaultPoint}
"""A mark for each point at which a fault can act."""

NETWORK_MARKS = {
    network_mark("request", "lost"): ("lose", "partition"),
    network_mark("reply", "lost"): ("lose", "partition"),
    network_mark("request", "duplicated"): ("duplicate",),
    network_mark("request", "delayed"): ("reorder",),
    network_mark("reply", "delayed"): ("reorder",),
    network_mark("request", "held"): ("clog", "swizzle_clog"),
    network_mark("reply", "held"): ("clog", "swizzle_clog"),
    network_mark("request", "slow"): ("slow",),
    network_mark("reply", "refused"): ("duplicate",),
}
"""What can happen to messages, and the rules of which one is needed for it."""

DEPOT_MARKS = {
    RESTORE_POINT_MADE: "restore_point",
    FORKED: "fork",
    ROLLED_BACK: "rollback",
    INSTALLED: COMPACTION,
    RECLAIMED: COMPACTION,
    JOB_FAILED: COMPACTION,
    WAKE_LOST: COMPACTION,
}
"""What the depot does, and the step of an operator that is needed for it."""

VFS_MARKS = {
    "vfs read ahead": "prefetched_pages",
    "vfs range read": "range_reads",
    "vfs joined": "joined",
    "vfs preloaded": "preloaded_pages",
}
"""What the VFS does for its pages, and the counter that tells: pages were read ahead, asked for as a range, brought by
the request of another task, loaded at open beside page 1. Recorded at the end of a run that asks for them."""

MARKS_OF_DEPOT = (*FAULT_MARKS, *NETWORK_MARKS, *DEPOT_MARKS, *VFS_MARKS)
"""Every mark that a run may hit whatever its system is, given something in the file that brings it about."""

MARKS_OF = {
    "pool": (
        *MODE_MARKS,
        *_LEASE_MARKS,
        LEASE_DROPPED,
        *_ROLLED_BACK_MARKS,
        CLOSE_GAVE_UP,
        *_CLOSE_MARKS,
        ROUTE_READ,
        ROUTE_WRITE_FALLBACK,
    ),
    "worker": (*_ROLLED_BACK_MARKS, CLOSE_GAVE_UP, *_CLOSE_MARKS),
    "single": _CLOSE_MARKS,
}
"""Every mark that a system of simkit can give by itself."""

_MODES = (CLOSED, READ, WRITE, CLOSING)
_MARK = re.compile(r"[a-z0-9]([a-z0-9 .>:_-]*[a-z0-9])?")
_MODE_MARK = re.compile(r"mode (\w+)->(\w+)")


def never_given(system: object, mark: object) -> str | None:
    """Advice for a mark that no run of this system of simkit hits; None for one that may be hit, or is no mark."""
    known = MARKS_OF.get(system) if isinstance(system, str) else None
    if known is None or mark in known or mark in MARKS_OF_DEPOT:
        return None
    try:
        check_mark(mark)
    except PydanticCustomError:
        return None  # the model reports it
    close = difflib.get_close_matches(str(mark), (*known, *MARKS_OF_DEPOT), n=1)
    advice = "remove it: only a system of your own gives marks of its own"
    return f"did you mean {close[0]!r}?" if close else advice


def check_mark(value: object) -> object:
    """The value, if it is a mark that some system could give. Raises a validation error."""
    if not isinstance(value, str) or not _MARK.fullmatch(value) or len(value) > MARK_LENGTH_MAX:
        raise refuse(
            f"{describe(value)} is no mark: write lower-case words, such as 'mode closed->read' or 'lease dropped'"
        )
    if value.startswith(fault_mark("")):
        check_name("fault point", value.removeprefix(fault_mark("")), FAULT_POINT_NAMES)
    if value.startswith("mode "):
        change = _MODE_MARK.fullmatch(value)
        if change is None:
            raise refuse(f"{describe(value)} is no change of mode: write for example 'mode closed->read'")
        before, after = (check_name("mode", mode, _MODES) for mode in change.groups())
        if (before, after) not in MODE_TRANSITIONS:
            possible = ", ".join(f"{each}->{other}" for each, other in MODE_TRANSITIONS)
            raise refuse(f"no connection manager goes from {before} to {after}; there are {possible}")
    return value


def _each_once(value: tuple[str, ...]) -> tuple[str, ...]:
    for mark in value:
        if value.count(mark) > 1:
            raise refuse(f"the mark {mark!r} is given twice: keep one")
    return value


Marks = Annotated[
    tuple[
        Annotated[
            str, BeforeValidator(check_mark), WithJsonSchema({"type": "string", "pattern": f"^{_MARK.pattern}$"})
        ],
        ...,
    ],
    AfterValidator(_each_once),
]
