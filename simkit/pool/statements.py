"""Statements: what each of them is, who runs it, and running it.

Upholds ROLE-1 (a reader only gets what SQLite says that readers may do; its four belts judge again) and its share of
PROG-1 (a statement that has to be looked at keeps the place of its arrival).

A text that nobody has seen is classified on a reader (`simkit.pool.classify`): what a reader may run it runs there and
then, everything else goes on to the writer. Where a reader cannot answer a text that is eligible, such as a
table-valued pragma that looks elsewhere than the compiled statement says, the writer does. Neither has run anything
before: a statement is never run twice with effects.

A reader also cannot roll back a journal that a failed rollback left behind. Opening the writer does, so the first
statement that finds one goes there.

What is remembered of texts is one cache for all connections of the pool, which are configured alike. It is forgotten
when the schema changes, when such a change is undone, and when temporary or attached databases come and go. An entry
that is out of date costs a detour and cannot give a wrong answer.
"""

from __future__ import annotations

import apsw

from simkit.kernel import Cancelled, Crashed, Task
from simkit.pool.classify import Classification, ClassificationCache, NulInStatement, classify
from simkit.pool.holding import Holding, Work
from simkit.pool.lease import READ_KIND, UNKNOWN_KIND, WRITE_KIND, Lease, how_ended
from simkit.pool.leasing import Leasing
from simkit.pool.metrics import PoolMetrics
from simkit.pool.result import Parameters, Result
from simkit.pool.single import TrailingStatement, run_statement

_REFUSALS = ("not authorized", "prohibited", "no such ")
"""How SQLite begins or ends what it says when a connection lacks something that another may have."""


class Statements:
    """Runs single statements. `known` is what is remembered of their texts."""

    def __init__(self, leasing: Leasing, holding: Holding, metrics: PoolMetrics, known: ClassificationCache) -> None:
        self._leasing = leasing
        self._holding = holding
        self._metrics = metrics
        self._known = known
        self._has_readers = leasing.settings.readers_max > 0

    def execute(self, task: Task, sql: str, params: Parameters) -> Result:
        """Runs a statement of a task that holds no lease."""
        known = None
        kind = WRITE_KIND
        if self._has_readers:
            known = self._known.known(sql)
            if known is None:
                kind = UNKNOWN_KIND
            elif _for_reader(known):
                kind = READ_KIND
        lease = self._leasing.request(task, kind)
        if kind is WRITE_KIND:
            self.admit(lease)
        else:
            result = self._read(lease, sql, params, known)
            if result is not None:
                return result
        return self._holding.run(lease, task, self.on_writer(lease, sql, params), sql)

    def admit(self, lease: Lease) -> None:
        """Waits for the turn of the lease and for its connection, and ends it when that fails."""
        try:
            self._leasing.wait(lease)
            self._leasing.connection(lease)
        except BaseException as error:
            self._leasing.end(lease, how_ended(error))
            raise

    def _read(self, lease: Lease, sql: str, params: Parameters, known: Classification | None) -> Result | None:
        """Runs a statement on a reader and ends the lease. None: the lease has become the writer instead."""
        leasing = self._leasing
        try:
            leasing.wait(lease)
            result = self._ask_reader(lease, sql, params, known)
            if result is None:
                leasing.turn_into_writer(lease)
                leasing.wait(lease)
                leasing.connection(lease)
                return None
        except BaseException as error:
            lease.failed = lease.failed or spoils(error)
            leasing.end(lease, how_ended(error))
            raise
        leasing.end(lease, "released")
        self._metrics.routed_read()
        return result

    def _ask_reader(self, lease: Lease, sql: str, params: Parameters, known: Classification | None) -> Result | None:
        """The answer of a reader; None when it is for the writer to give one."""
        leasing = self._leasing
        try:
            if known is None:
                known = self._known.known(sql)  # others may have brought the same text meanwhile
            if known is None:
                known = self._known.classify(leasing.connection(lease), sql)
            if not _for_reader(known):
                return None
            if lease.kind is UNKNOWN_KIND:
                leasing.classified(lease)
            return self._run_on_reader(leasing.connection(lease), sql, params)
        except (NulInStatement, TrailingStatement):
            raise
        except apsw.Error as error:
            # Text that does not compile here may be right after a write that came before it.
            if self._told_off(error) or (known is None and isinstance(error, apsw.SQLError)):
                return None
            raise

    def _run_on_reader(self, connection: apsw.Connection, sql: str, params: Parameters) -> Result:
        try:
            return run_statement(connection, sql, params, self._known, "read")
        except apsw.AuthError:
            # A virtual table such as an R*Tree prepares its own writes when a connection meets it first. Classifying
            # meets it without the reader's authorizer; after that the statement is judged for what it does itself.
            if not classify(connection, sql).reader_eligible:
                raise
            return run_statement(connection, sql, params, self._known, "read")

    def _told_off(self, error: apsw.Error) -> bool:
        """Whether SQLite refused because of the connection; counts what would have changed something."""
        if isinstance(error, apsw.AuthError | apsw.ReadOnlyError):
            if not left_to_writer(error):
                self._metrics.rejected_reader_mutation()
            return True
        return isinstance(error, apsw.SQLError) and any(words in str(error) for words in _REFUSALS)

    def in_reader(self, lease: Lease, task: Task, sql: str, params: Parameters) -> Result:
        """Runs a statement on a reader that is held. What readers may not do is refused, whatever it is."""
        assert lease.pooled is not None, f"LEASE-2: {lease} runs a statement and has no connection"
        holding = self._holding
        holding.require_idle(lease)
        lease.running = task
        try:
            result = self._run_on_reader(lease.pooled.connection, sql, params)
        except BaseException as error:
            lease.running = None
            if isinstance(error, apsw.Error) and self._told_off(error):
                error.add_note(f"{lease} of {lease.task.name} is for reading; it was acquired at {lease.place}")
            lease.failed = lease.failed or spoils(error)
            if isinstance(error, Crashed):
                holding.end_reader(lease, "crashed")
            elif lease.ending is not None:
                holding.end_reader(lease, lease.ending)
            raise
        lease.running = None
        self._metrics.routed_read()
        if lease.ending is not None:
            holding.end_reader(lease, lease.ending)
        return result

    def on_writer(self, lease: Lease, sql: str, params: Parameters) -> Work:
        """A statement, to be run on the connection of the writer."""

        def work(connection: apsw.Connection) -> Result:
            known = self._known.classify(connection, sql)
            lease.schema_touched = lease.schema_touched or known.touches_schema
            if not known.only_reads:
                return run_statement(connection, sql, params, self._known)
            result = run_statement(connection, sql, params, self._known, "write_fallback")
            self._metrics.write_fallback()
            return result

        return work

    def on_writer_by_choice(self, lease: Lease, sql: str, params: Parameters) -> Work:
        """The same for a caller who wants the writer, whatever the statement is."""

        def work(connection: apsw.Connection) -> Result:
            touches_schema = self._known.classify(connection, sql).touches_schema
            lease.schema_touched = lease.schema_touched or touches_schema
            return run_statement(connection, sql, params, self._known)

        return work


def _for_reader(known: Classification) -> bool:
    """Whether a reader runs it, or can tell that there is nothing to run: no statement, or more than one."""
    return known.reader_eligible or not known.has_statement or known.tail is not None


def left_to_writer(error: apsw.Error) -> bool:
    """Whether a reader found a journal that only a writer may roll back: one whose rollback had failed."""
    # The stubs do not know the attribute, which every error that comes from SQLite has.
    extended = getattr(error, "extendedresult", None)
    return isinstance(error, apsw.ReadOnlyError) and extended == apsw.SQLITE_READONLY_ROLLBACK


def spoils(error: BaseException) -> bool:
    """Whether a reader on which this happened is better closed: it was interrupted, or could not reach storage."""
    return isinstance(error, apsw.IOError | apsw.CorruptError | Cancelled | Crashed)
