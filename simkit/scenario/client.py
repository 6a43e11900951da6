"""A client: performs the steps of its plan on whichever instance is live, and records what it asked and was told.

It judges an error by what it tells about the operation: refused for certain (constraint, syntax, busy, or no
COMMIT was ever sent), or unknown (I/O error, cancellation, crash). A mistake in the code of the system, such as a
TypeError, is no answer: it ends the run. It never retries: what happened to an operation
must stay visible in the history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw

from simkit.check.events import FAILED, OK, UNKNOWN, OperationEnded, OperationInvoked, StatementReturned
from simkit.kernel import Cancelled, Crashed, MisuseError, ReplayDivergence
from simkit.pool.result import Result
from simkit.pool.system import DatabaseClosed, System
from simkit.scenario.plan import ClientPlan, Sleep, Statement, Transaction, Value

if TYPE_CHECKING:
    from simkit.scenario.instance import InstanceProcess
    from simkit.scenario.world import World

_REFUSED = (
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.AuthError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ReadOnlyError,
    apsw.TooBigError,
    apsw.RangeError,
    apsw.BindingsError,
    DatabaseClosed,
)
"""Errors after which an operation has certainly not taken effect."""


_MISTAKES = (
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ZeroDivisionError,
)
"""Errors that Python raises of a mistake in the code: what a client is told of them says nothing about storage."""


def is_mistake(error: BaseException) -> bool:
    """Whether it ends the run instead of being an answer. A class of the system's own is an answer, whatever its bases.

    Neither are errors of SQLite mistakes, simkit's storage errors among them: those are `apsw.Error`s.
    """
    return isinstance(error, MisuseError) or (isinstance(error, _MISTAKES) and type(error).__module__ == "builtins")


class NotAResult(TypeError):
    """The system under test answered with something else than a `Result`: a mistake in the system, and no outcome."""


class Client:
    """Runs one client's plan as a task."""

    def __init__(self, world: World, plan: ClientPlan) -> None:
        self._world = world
        self._kernel = world.kernel
        self._plan = plan

    def run(self) -> None:
        kernel = self._kernel
        for step in self._plan.steps:
            match step:
                case Sleep():
                    kernel.sleep(step.duration_ns)
                case _:
                    if step.think_ns:
                        kernel.sleep(step.think_ns)
                    self._perform(step)

    def _perform(self, step: Statement | Transaction) -> None:
        world, kernel = self._world, self._kernel
        task = kernel.require_task("perform a step")
        instance = world.wait_for_instance()
        number = world.begin_operation(step.marked)
        self._record_invoked(step, number, instance)
        task.context = number
        attempt = _Attempt(self, number, step)
        outcome, error = OK, ""
        try:
            with instance.group:
                assert instance.system is not None
                attempt.run(instance.system)
        except Crashed:
            if not instance.group.crashed:
                raise  # the run itself is over
            outcome, error = UNKNOWN if attempt.may_have_committed else FAILED, "the instance crashed"
        except _REFUSED as refusal:
            outcome, error = FAILED, f"{type(refusal).__name__}: {refusal}"
        except (NotAResult, ReplayDivergence):
            raise  # no answer of the system, but the end of the run
        except (Exception, Cancelled) as failure:
            if is_mistake(failure):
                raise
            outcome = UNKNOWN if attempt.may_have_committed else FAILED
            error = f"{type(failure).__name__}: {failure}"
        task.context = None
        kernel.record(OperationEnded(kernel.now, task.name, number, outcome, error))
        world.operation_over(number)
        if not instance.alive:
            world.instance_lost(instance)

    def _record_invoked(self, step: Statement | Transaction, number: int, instance: InstanceProcess) -> None:
        kernel, name = self._kernel, self._plan.name
        if isinstance(step, Statement):
            kind, rollback = "statement", False
            statements: tuple[tuple[str, dict[str, Value]], ...] = ((step.sql, step.params),)
        else:
            kind, rollback = "transaction", step.rollback
            statements = tuple((statement.sql, statement.params) for statement in step.statements)
        kernel.record(
            OperationInvoked(
                kernel.now, name, number, name, instance.name, step.operation or "script", kind, statements, rollback
            )
        )

    def record_answer(self, number: int, index: int, system: System, sql: str, params: dict[str, Value]) -> None:
        result: object = system.execute(sql, params or None)
        if not isinstance(result, Result):
            raise NotAResult(
                f"execute() of the system under test returned {type(result).__name__}; it must return a "
                "simkit.pool.result.Result"
            )
        kernel = self._kernel
        kernel.record(
            StatementReturned(
                kernel.now,
                self._plan.name,
                number,
                index,
                result.columns,
                result.rows,
                result.changes,
                result.last_insert_rowid,
            )
        )


class _Attempt:
    """One try at a step. `may_have_committed` turns true when the request that could make it durable is sent."""

    def __init__(self, client: Client, number: int, step: Statement | Transaction) -> None:
        self._client = client
        self._number = number
        self._step = step
        self.may_have_committed = False

    def run(self, system: System) -> None:
        step = self._step
        if isinstance(step, Statement):
            self.may_have_committed = True
            self._client.record_answer(self._number, 0, system, step.sql, step.params)
            return
        system.execute(f"BEGIN {step.begin.upper()}")
        try:
            for index, statement in enumerate(step.statements):
                self._client.record_answer(self._number, index, system, statement.sql, statement.params)
            if step.rollback:
                system.execute("ROLLBACK")
            else:
                self.may_have_committed = True
                system.execute("COMMIT")
        except (Exception, Cancelled):
            self._undo(system)
            raise

    def _undo(self, system: System) -> None:
        # SQLite may have rolled back by itself; the first error is what counts.
        try:
            system.execute("ROLLBACK")
        except Exception as error:
            if is_mistake(error):
                raise
