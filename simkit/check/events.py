"""What the world around the system under test puts into the history: operations, instances, observed states, the end.

An operation is what a client asked for as one unit: a statement, or a transaction of several. Its number is unique in
the run and stands in the events that it causes further down.
"""

from __future__ import annotations

from typing import Any

import msgspec

from simkit.kernel import Record

# Outcomes of an operation, as its client knows them.
OK = "ok"
"""Acknowledged: everything in it took effect (nothing, when it was rolled back on purpose)."""
FAILED = "failed"
"""Refused for certain: nothing of it took effect."""
UNKNOWN = "unknown"
"""It failed in a way that does not tell: it took effect wholly or not at all."""


class OperationInvoked(Record, frozen=True, gc=False, tag=True):
    """A client begins an operation.

    Attributes:
        kind: "statement" or "transaction".
        statements: (sql, parameters) of each statement; BEGIN and COMMIT of a transaction are not listed.
        rollback: the client means to roll it back.
        effects: for each statement what it means to a checker that knows no SQL, as (kind, key, value), or None; empty
            when none means anything. Kinds are "append", "list", "write", "read".
        begins_writing: its BEGIN, if it has one, takes the right to write at once (immediate, exclusive).
        several: a text may hold several statements.
    """

    operation: int
    client: str
    instance: str
    name: str
    kind: str
    statements: tuple[tuple[str, dict[str, Any]], ...]
    rollback: bool
    effects: tuple[tuple[str, Any, Any] | None, ...] = ()
    begins_writing: bool = True
    several: bool = False


class StatementReturned(Record, frozen=True, gc=False, tag=True):
    """Statement `index` of an operation gave its answer to the client."""

    operation: int
    index: int
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    changes: int
    last_insert_rowid: int | None = None


class OperationEnded(Record, frozen=True, gc=False, tag=True):
    """The client knows the outcome of its operation.

    Attributes:
        error: what it was told, beginning with the class of the error; "" when it succeeded.
        failed_at: the index of the statement that raised it; -1 for BEGIN, COMMIT, and where it is not known.
    """

    operation: int
    outcome: str
    error: str
    failed_at: int = -1


class StatementStarted(Record, frozen=True, gc=False, tag=True):
    """SQLite began to run a statement, whoever gave it to it.

    Attributes:
        handle: the main-file handle of its connection.
        operation: the client operation that the task works for, -1 for none.
        in_transaction: the connection was in a transaction already.
        rollback: the statement is a ROLLBACK.
    """

    instance: str
    handle: int
    operation: int
    in_transaction: bool
    rollback: bool


class CloseInvoked(Record, frozen=True, gc=False, tag=True):
    """A task calls `close()` of an instance."""

    instance: str


class CloseReturned(Record, frozen=True, gc=False, tag=True):
    """That call is over. `error` is "" when it returned, else what it raised."""

    instance: str
    error: str


class NativeCloseStarted(Record, frozen=True, gc=False, tag=True):
    """The system gives the database up for good: no connection can be opened any more."""

    instance: str


class NativeCloseFinished(Record, frozen=True, gc=False, tag=True):
    """The native close is done."""

    instance: str


class MetricsRead(Record, frozen=True, gc=False, tag=True):
    """The metrics of a system at this instant: samples of Prometheus names, labels in the name as in its text format.

    Taken after the `close()` of its instance returned.
    """

    instance: str
    samples: tuple[tuple[str, float], ...]


class Sometimes(Record, frozen=True, gc=False, tag=True):
    """Something happened that a search should see at least once. `mark` names it."""

    mark: str


class InstanceOpened(Record, frozen=True, gc=False, tag=True):
    """An instance opened the database and takes operations."""

    instance: str
    generation: int


class InstanceCrashed(Record, frozen=True, gc=False, tag=True):
    """An instance stopped at this instant; nothing of it runs any more."""

    instance: str
    cause: str


class InstanceClosed(Record, frozen=True, gc=False, tag=True):
    """`close()` of an instance returned."""

    instance: str


class StateObserved(Record, frozen=True, gc=False, tag=True):
    """What a fresh instance finds: after a crash or takeover ("recovery"), or when all clients are done ("end").

    Attributes:
        state: the content, as `simkit.check.dump.read_state` gives it.
        integrity: rows of PRAGMA integrity_check.
        holds: the answers to the scenario's `holds` queries.
    """

    when: str
    generation: int
    state: tuple[tuple[str, str, tuple[tuple[Any, ...], ...]], ...]
    integrity: tuple[str, ...]
    holds: tuple[tuple[tuple[Any, ...], ...], ...]


class StateUnreadable(Record, frozen=True, gc=False, tag=True):
    """A fresh instance could not read the database."""

    when: str
    generation: int
    error: str


class StillWaiting(Record, frozen=True, gc=False, tag=True):
    """At quiescence or at a bound, a task still waits."""

    waiting: str
    operation: str
    resource: str
    held_by: tuple[str, ...]
    since_ns: int


class RunEnded(Record, frozen=True, gc=False, tag=True):
    """The run is over. `reason` is "done", "deadlock" or "bound"."""

    reason: str
    detail: str


class VersionRead(msgspec.Struct, frozen=True, gc=False):
    """What a sweep found at one readable version of a branch.

    Attributes:
        why: what keeps it readable, such as "head" or "restore_point ...".
        expected: checksum of the content that was committed; None when nobody knows it.
        found: checksum of what the depot gives; None when it gives an error.
        error: that error, or which pages differ; "" when all is well.
    """

    branch: int
    txid: int
    why: str
    expected: int | None
    found: int | None
    error: str = ""


class DepotSwept(Record, frozen=True, gc=False, tag=True):
    """The rows of the depot were scanned, and every version that must be readable was read.

    Attributes:
        when: the occasion.
        at_rest: compaction had nothing left to do.
        findings: (invariant, sentence) of each thing that is wrong with the rows.
        versions: those that were found wrong.
        kept: every version that must be readable, as "branch:txid:why", once for each that keeps it.
    """

    when: str
    at_rest: bool
    findings: tuple[tuple[str, str], ...]
    versions: tuple[VersionRead, ...]
    kept: tuple[str, ...] = ()
