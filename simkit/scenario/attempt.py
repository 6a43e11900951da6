"""One try at a step of a client: asks the system under test in the way that the plan names, and records its answers.

It knows how a statement or a transaction goes through each part of a system's API (`execute`, leases, scopes), what
was under way when an error came up (`failed_at`), and from when on the step may be durable (`may_have_committed`).
What an error means, and when an operation begins and ends, is the client's (`simkit.scenario.client`). Nothing is
tried twice.

Between entering `run` and the system's own code there is no yield: who begins first also arrives first (PROG-1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import apsw

from simkit.check.events import StatementReturned
from simkit.kernel import Cancelled, TaskEndedEarly
from simkit.pool.result import Result
from simkit.scenario.outcomes import NotAResult, NotSupported, is_mistake
from simkit.scenario.parameters import INTEGER_MAX, INTEGER_MIN
from simkit.scenario.plan import Statement, Transaction

if TYPE_CHECKING:
    from simkit.scenario.instance import InstanceProcess

_PLAIN = frozenset({float, bytes, type(None)})
"""Types whose every value the history can hold."""
_ANSWERED = "the system under test answered with"
_READS = re.compile(r"\s*(SELECT|VALUES|WITH)\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
_HAS_ROWS = re.compile(r"\s*(SELECT|VALUES|PRAGMA|EXPLAIN)\b|.*\bRETURNING\b", re.IGNORECASE | re.DOTALL)


def _only_reads(sql: str) -> bool:
    """Whether it reads, for all that can be told without compiling it; False in doubt."""
    return bool(_READS.match(sql)) and not _WRITES.search(sql)


def _answered_whole(step: Statement) -> bool:
    """Whether the answer tells all that the statement did: `query` gives its rows only, `run` all but those."""
    match step.via:
        case "query":
            return _only_reads(step.sql)
        case "run":
            return not _only_reads(step.sql) and not _HAS_ROWS.match(step.sql)
        case _:
            return True


def _recordable(result: Result) -> tuple[tuple[Any, ...], ...]:
    """The rows as the history can hold them: an integer that SQLite has no room for becomes words, never its value.

    Raises `NotAResult` for a result of another shape than its type promises, and for what is no value of SQLite.
    """
    rows: Any = result.rows  # a system of somebody's own may give anything
    columns, changes, rowid = result.columns, result.changes, result.last_insert_rowid
    if type(rows) is not tuple or not all(type(row) is tuple for row in rows):
        raise NotAResult(f"{_ANSWERED} rows as {type(rows).__name__}: Result.rows is a tuple of tuples")
    if type(columns) is not tuple or not all(type(name) is str for name in columns):
        raise NotAResult(f"{_ANSWERED} columns {columns!r}: Result.columns is a tuple of names")
    if type(changes) is not int or type(rowid) not in (int, type(None)):
        raise NotAResult(f"{_ANSWERED} changes {changes!r} and last_insert_rowid {rowid!r}: both are integers")
    for row in rows:
        for value in row:
            kind = type(value)
            if not (
                (kind is int and INTEGER_MIN <= value <= INTEGER_MAX)
                or kind in _PLAIN
                or (kind is str and value.isascii())
            ):
                return tuple(tuple(_recordable_value(value) for value in row) for row in rows)
    return result.rows


def _recordable_value(value: object) -> object:
    match value:
        case None | float() | bytes():
            return value
        case int():
            fits = INTEGER_MIN <= value <= INTEGER_MAX
            return int(value) if fits else f"an integer of {value.bit_length()} bits"
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise NotAResult(f"{_ANSWERED} the text {value!r}, which is not Unicode") from None
            return value
    raise NotAResult(
        f"{_ANSWERED} a value of type {type(value).__name__}: a row of a Result holds None, int, float, str and bytes"
    )


class _RollBack(Exception):
    """Ends the system's transaction scope the way a caller does who does not want it any more."""


class Attempt:
    """One try at a step. Create it, call `run()` once in the task that performs the step.

    Attributes:
        may_have_committed: the request that could make it durable was sent.
        failed_at: index of the statement that is being run, -1 between statements.
        left: the transaction was left open, as the plan wants it.
    """

    def __init__(
        self, instance: InstanceProcess, step: Statement | Transaction, number: int, walk_off: Callable[[], None]
    ) -> None:
        assert instance.system is not None, "an instance serves only after it opened"
        self.may_have_committed = False
        self.failed_at = -1
        self.left = False
        self._kernel = instance.kernel
        self._instance = instance
        self._system = instance.system
        self._step = step
        self._number = number
        #: called where the end of a transaction would be that the plan leaves open
        self._walk_off = walk_off

    def run(self) -> None:
        """Raises what the system raises; `TimedOut` when the client gave up; `NotSupported`, `NotAResult`."""
        step = self._step
        if step.timeout_ns and step.via != "dropped_lease":
            with self._kernel.timeout(step.timeout_ns):
                self._ask()
        else:
            self._ask()

    def _ask(self) -> None:
        step = self._step
        if isinstance(step, Statement):
            self._run_statement(step)
        else:
            self._run_transaction(step)

    def _method(self, name: str) -> Callable[..., Any]:
        """A method of the system that goes beyond `execute` and `close`."""
        method = getattr(self._system, name, None)
        if not callable(method):
            step = self._step
            system = type(self._system).__name__
            raise NotSupported(
                f"operation {step.operation or 'of a script'} says `via: {step.via}`, and the system under test, "
                f"{system}, has no {name}(): give it one, take `via` out of the scenario, or choose `system: pool`"
            )
        return method  # type: ignore[no-any-return]

    def _answered(self, index: int, result: object, whole: bool = True) -> None:
        """Records an answer, if it is `whole`: there is nothing to compare a part with."""
        if not isinstance(result, Result):
            raise NotAResult(
                f"{self._asked()}() of the system under test returned {type(result).__name__}; it must return a "
                "simkit.pool.result.Result"
            )
        if not whole:
            return
        kernel = self._kernel
        kernel.record(
            StatementReturned(
                kernel.now,
                kernel.require_task("answer").name,
                self._number,
                index,
                result.columns,
                _recordable(result),
                result.changes,
                result.last_insert_rowid,
            )
        )

    def _asked(self) -> str:
        step = self._step
        return step.via if isinstance(step, Statement) and "lease" not in step.via else "execute"

    def chose_a_reader_for(self, failure: BaseException) -> bool:
        """Whether the client itself asked for a reader and was told that a reader may not do that: a right answer."""
        step = self._step
        through_reader = isinstance(step, Statement) and "lease" in step.via and _only_reads(step.sql)
        return through_reader and isinstance(failure, apsw.AuthError | apsw.ReadOnlyError)

    # Statements

    def _run_statement(self, step: Statement) -> None:
        self.may_have_committed = True
        self.failed_at = 0
        params = step.params or None
        match step.via:
            case "execute":
                result: object = self._system.execute(step.sql, params)
            case "lease":
                with self._lease(step.sql) as lease:
                    result = lease.execute(step.sql, params)
            case "dropped_lease":
                result = self._through_dropped_lease(step)
            case "execute_script" if params is None:
                result = self._method("execute_script")(step.sql)
            case method:
                result = self._method(method)(step.sql, params)
        self._answered(0, result, _answered_whole(step))

    @contextmanager
    def _lease(self, sql: str) -> Iterator[Any]:
        self.failed_at = -1
        with self._method("read_lease" if _only_reads(sql) else "write_lease")() as lease:
            self.failed_at = 0
            yield lease

    def _through_dropped_lease(self, step: Statement) -> object:
        """Another task runs the statement; the one that holds the lease lets go of it meanwhile."""
        kernel = self._kernel
        holder = kernel.require_task("hold a lease")
        with self._lease(step.sql) as lease:

            def work() -> object:
                kernel.wake(holder)  # goes on once this task yields, inside the system
                return lease.execute(step.sql, step.params or None)

            worker = kernel.spawn(work, name=f"{holder.name}.lease", supervised=True, group=self._instance.group)
            kernel.park("start", worker)
            if step.timeout_ns and not worker.ended:
                kernel.sleep(step.timeout_ns)
            lease.drop()
        try:
            return worker.join()
        except TaskEndedEarly:
            assert worker.error is not None
            raise worker.error from None

    # Transactions

    def _run_transaction(self, step: Transaction) -> None:
        match step.via:
            case "sql":
                self._by_sql(step)
            case "write_mode":
                with self._scope("write_mode"):
                    self._by_sql(step)
            case "transaction":
                self._by_scope(step)
            case _:
                self._migrate(step)

    @contextmanager
    def _scope(self, name: str) -> Iterator[Any]:
        """A context manager of the system. That of a transaction that was left open is never left either."""
        with ExitStack() as stack:
            yield stack.enter_context(self._method(name)())
            if self.left:
                self._instance.left_open.append(stack.pop_all())

    def _by_sql(self, step: Transaction) -> None:
        system = self._system
        system.execute(f"BEGIN {step.begin.upper()}")
        try:
            self._run_statements(step, system)
            if step.leave:
                self._leave()
            elif step.rollback:
                system.execute("ROLLBACK")
            else:
                self.may_have_committed = True
                system.execute("COMMIT")
        except (Exception, Cancelled):
            self._undo()
            raise

    def _by_scope(self, step: Transaction) -> None:
        try:
            with self._scope("transaction") as handle:
                self._run_statements(step, handle)
                if step.leave:
                    self._leave()
                elif step.rollback:
                    raise _RollBack
                else:
                    self.may_have_committed = True
        except _RollBack:
            return

    def _migrate(self, step: Transaction) -> None:
        if step.rollback or step.leave:
            raise NotSupported("`via: migrate` is one call: it can neither be rolled back nor left open by its caller")
        migrate = self._method("migrate")
        self._pause(step, 0)
        self.may_have_committed = True
        migrate([(statement.sql, statement.params or None) for statement in step.statements])

    def _run_statements(self, step: Transaction, system: Any) -> None:
        for index, statement in enumerate(step.statements):
            self._pause(step, index)
            self.failed_at = index
            self._answered(index, system.execute(statement.sql, statement.params or None))
            self.failed_at = -1
        self._pause(step, len(step.statements))

    def _pause(self, step: Transaction, index: int) -> None:
        if index < len(step.pauses_ns) and step.pauses_ns[index]:
            self._kernel.sleep(step.pauses_ns[index])

    def _leave(self) -> None:
        self.left = True
        self._walk_off()

    def _undo(self) -> None:
        # SQLite may have rolled back by itself; the first error is what counts.
        try:
            self._system.execute("ROLLBACK")
        except Exception as error:
            if is_mistake(error):
                raise
