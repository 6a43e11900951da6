"""A client: performs the steps of its plan on whichever instance is live, and records what it asked and was told.

It judges an error by what it tells about the operation (`simkit.scenario.outcomes`): refused for certain, or unknown.
It never retries: what happened to an operation must stay visible in the history.

With several operations in flight each has a task of its own, and the next one begins when the one before it is inside
the system: the order in which a client begins is the order in which it asks (PROG-1). A transaction that the plan
leaves open has a task of its own too, which ends, or lives on, with the transaction open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from simkit.check.events import FAILED, OK, UNKNOWN, OperationEnded, OperationInvoked
from simkit.kernel import Cancelled, Crashed, Event, Semaphore, Task
from simkit.scenario.attempt import Attempt
from simkit.scenario.outcomes import ends_the_run, error_text, outcome_of
from simkit.scenario.plan import BoundSql, ClientPlan, Close, Effect, Sleep, Statement, Step, Transaction

if TYPE_CHECKING:
    from simkit.scenario.instance import InstanceProcess
    from simkit.scenario.world import World

LEFT_OPEN = "the client walked off and left the transaction open"
"""The error of an operation that its plan never ends."""

_Call = Callable[[], None]


def _nothing() -> None:
    """Nobody waits for it."""


class Client:
    """Runs one client's plan as a task."""

    def __init__(self, world: World, plan: ClientPlan) -> None:
        self._world = world
        self._kernel = world.kernel
        self._plan = plan

    def run(self) -> None:
        if self._plan.in_flight > 1:
            self._run_overlapping()
            return
        for step in self._plan.steps:
            self._rest(step)
            self._take(step, _nothing)

    def _run_overlapping(self) -> None:
        kernel, plan = self._kernel, self._plan
        client = kernel.require_task("run a client")
        places = Semaphore(kernel, plan.in_flight, f"{plan.name}.in-flight")
        under_way: list[Task] = []

        def perform(step: Step) -> None:
            try:
                # Woken now, the client runs when this task yields: then it is inside the system.
                self._take(step, lambda: kernel.wake(client))
            finally:
                places.release()

        for number, step in enumerate(plan.steps, 1):
            self._rest(step)
            if not isinstance(step, Sleep):
                places.acquire()
                under_way.append(kernel.spawn(perform, step, name=f"{plan.name}.{number}"))
                kernel.park("begin", under_way[-1])
        for task in under_way:
            task.join()

    def _rest(self, step: Step) -> None:
        """The pause before a step."""
        duration_ns = step.duration_ns if isinstance(step, Sleep) else step.think_ns
        if duration_ns or isinstance(step, Sleep):
            self._kernel.sleep(duration_ns)

    def _take(self, step: Step, begun: _Call) -> None:
        """Performs a step. Calls `begun` when it is about to enter the system, with no yield in between."""
        match step:
            case Sleep():
                pass  # a pause, and that is over
            case Close():
                instance = self._world.wait_for_instance()
                begun()
                self._world.close(instance, step.timeout_ns)
            case Transaction(leave="end"):
                self._kernel.spawn(self._perform, step, begun, _nothing, name=self._name_apart()).join()
            case Transaction(leave="linger"):
                self._perform_lingering(step, begun)
            case Statement() | Transaction():
                self._perform(step, begun, _nothing)
            case _:
                assert_never(step)

    def _perform_lingering(self, step: Transaction, begun: _Call) -> None:
        """Goes on when the transaction was left, or failed; the task that left it stays for ever."""
        over = Event(self._kernel, "the end of what a client does")

        def work() -> None:
            try:
                self._perform(step, begun, over.set)
            finally:
                over.set()

        self._kernel.spawn(work, name=self._name_apart(), background=True)
        over.wait()

    def _name_apart(self) -> str:
        return f"{self._kernel.require_task('begin a transaction').name}.apart"

    def _perform(self, step: Statement | Transaction, begun: _Call, lingering: _Call) -> None:
        world, kernel = self._world, self._kernel
        task = kernel.require_task("perform a step")
        instance = world.wait_for_instance()
        number = world.begin_operation(step.marked)

        def walk_off() -> None:
            self._end(number, FAILED, LEFT_OPEN, -1)
            if isinstance(step, Transaction) and step.leave == "linger":
                lingering()
                with kernel.shield():
                    kernel.park("linger", "with an open transaction")

        attempt = Attempt(instance, step, number, walk_off)
        outcome, error, failed_at = OK, "", -1
        self._record_invoked(step, number, instance, task)
        task.context = number
        begun()
        try:
            with instance.group:
                attempt.run()
        except Crashed:
            if not instance.group.crashed:
                raise  # the run itself is over
            outcome, error = UNKNOWN if attempt.may_have_committed else FAILED, "the instance crashed"
        except (Exception, Cancelled) as failure:
            if ends_the_run(failure):
                raise
            outcome, error = outcome_of(failure, attempt.may_have_committed), error_text(failure)
            failed_at = -1 if attempt.chose_a_reader_for(failure) else attempt.failed_at
        if not attempt.left:
            self._end(number, outcome, error, failed_at)
        if not instance.alive:
            world.instance_lost(instance)

    def _end(self, number: int, outcome: str, error: str, failed_at: int) -> None:
        kernel = self._kernel
        task = kernel.require_task("end an operation")
        task.context = None
        kernel.record(OperationEnded(kernel.now, task.name, number, outcome, error, failed_at))
        self._world.operation_over(number)

    def _record_invoked(
        self, step: Statement | Transaction, number: int, instance: InstanceProcess, task: Task
    ) -> None:
        kernel = self._kernel
        parts: tuple[Statement | BoundSql, ...]
        if isinstance(step, Statement):
            kind, rollback, writing, several = "statement", False, True, step.several
            parts = (step,)
        else:
            kind, rollback, several = "transaction", step.rollback or bool(step.leave), False
            writing = step.via != "sql" or step.begin != "deferred"
            parts = step.statements
        kernel.record(
            OperationInvoked(
                kernel.now,
                task.name,
                number,
                self._plan.name,
                instance.name,
                step.operation or "script",
                kind,
                tuple((part.sql, part.params) for part in parts),
                rollback,
                _effects(parts),
                writing,
                several,
            )
        )


def _effects(parts: tuple[Statement | BoundSql, ...]) -> tuple[tuple[str, object, object] | None, ...]:
    """What each statement means; empty when none means anything."""
    if all(part.effect is None for part in parts):
        return ()
    return tuple(_effect(part.effect) for part in parts)


def _effect(effect: Effect | None) -> tuple[str, object, object] | None:
    return None if effect is None else (effect.kind, effect.key, effect.value)
