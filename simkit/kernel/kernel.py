"""The kernel: runs tasks over simulated time and takes every choice through `Decisions`.

Upholds DET-1 (same decisions, same history) and finds what breaks PROG-2 (at quiescence somebody still waits).

A task is a greenlet and SimPy is its clock: SQLite calls back into Python, the callback starts a request and switches
to the hub, and when SimPy delivers the reply the hub switches back into the middle of SQLite. One loop, `run`, owns
the turn: it lets all events of the present instant happen, asks the strategy which ready task goes next, and
switches to it. Threads would cost ten times as much per switch and hand scheduling to the operating system;
async functions could not be suspended inside SQLite.

The yield contract. A task can lose the turn only at a yield, and every yield names what the task is about to do:
`yield_point` (stays ready) or `park` (waits to be woken). An interruption (`Cancelled`, `Crashed`) is thrown there.
When nobody else could run, `yield_point` goes on without a switch: the outcome is the same and costs a tenth.

Not here: threads, wall-clock time, I/O. The model below (`simkit.depot`) drives itself with generators (`process`)
over the same clock.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal

import greenlet

from simkit.kernel.baton import Baton, BatonHub
from simkit.kernel.clock import Callback, Clock, Happening
from simkit.kernel.deadlock import Waiting, describe_waiting, waiting_tasks
from simkit.kernel.decisions import Decisions
from simkit.kernel.errors import BoundExceeded, Cancelled, Crashed, Deadlock, MisuseError, TaskFailed
from simkit.kernel.group import Group
from simkit.kernel.history import Record
from simkit.kernel.names import Names
from simkit.kernel.process import Process
from simkit.kernel.strategy import Option, RandomWalk, Strategy
from simkit.kernel.task import Task, TaskState
from simkit.kernel.timeout import Timeout
from simkit.kernel.units import format_duration, require_duration

Order = Literal["timed", "any"]
CarrierKind = Literal["greenlet", "thread"]

_READY = TaskState.READY
_RUNNING = TaskState.RUNNING
_WAITING = TaskState.WAITING
_NEVER = 1 << 62

#: end the run as what they are, whoever joins the task that was running
_NOT_OURS = (KeyboardInterrupt, SystemExit)

DEFAULT_MAX_STEPS = 10_000_000


class Kernel:
    """One run's scheduler, clock and history.

    Parameters
    ----------
    decisions: where choices come from; a fresh `Decisions(seed)` or a recorded log.
    strategy: picks among possible steps; the random walk by default.
    order: "timed": replies arrive when their latency says. "any": every outstanding reply may be the next to arrive,
        and the next timer may fire before all of them; timers keep their order among themselves.
    carrier: "greenlet", or "thread" for the slow reference.
    """

    def __init__(
        self,
        decisions: Decisions,
        strategy: Strategy | None = None,
        order: Order = "timed",
        carrier: CarrierKind = "greenlet",
    ) -> None:
        self.decisions = decisions
        self.clock = Clock()
        self.history: list[Record] = []
        #: appends one event to the history
        self.record: Callable[[Record], None] = self.history.append
        self.current: Task | None = None
        self.steps = 0
        #: called with each task as it takes a step, when set: for traces and explanations
        self.on_step: Callable[[Task], None] | None = None
        self.order = order
        self._any_order = order == "any"
        self._pick = decisions.scheduler(strategy or RandomWalk())
        self._ready: list[Task] = []
        self._outstanding: list[Happening] = []
        #: tasks that must be thrown into before anything else runs; READY, but not in `_ready`
        self._urgent: dict[Task, None] = {}
        self._failure: Task | None = None
        #: the loop must look at something rarer than the next step: a crash, a failure, the end
        self._attention = True
        self._foreground = 0
        self._max_steps = DEFAULT_MAX_STEPS
        self._tasks: dict[Task, None] = {}
        self._spawned = 0
        self._names = Names()
        self._in_run = False
        self._closed = False
        self._hub: greenlet.greenlet | None = None
        self._new_carrier: Callable[[Callable[[], None]], Any]
        if carrier == "greenlet":
            hub = self._hub = greenlet.getcurrent()
            self._switch_to_hub: Callable[[], Any] = hub.switch
            self._new_carrier = lambda run: greenlet.greenlet(run, parent=hub)
        else:
            baton_hub = BatonHub()
            self._switch_to_hub = baton_hub.switch
            self._new_carrier = lambda run: Baton(run, baton_hub)

    # Time

    @property
    def now(self) -> int:
        """Simulated time in nanoseconds since the start of the run."""
        return self.clock._now  # type: ignore[return-value]

    def sleep(self, duration_ns: int) -> None:
        """Suspends the task for a span of simulated time; 0 only lets others run."""
        task = self.current
        if task is None or duration_ns.__class__ is not int or duration_ns < 0:
            require_duration("sleep", duration_ns)
            task = self.require_task("sleep")
        timer = self.clock.after(duration_ns, task.wake, "sleep", "")
        try:
            self.park("sleep", "")
        except BaseException:
            timer.revoke()
            raise

    def timeout(self, duration_ns: int) -> Timeout:
        """A context manager: raises `TimedOut` when its block takes longer than `duration_ns` of simulated time."""
        return Timeout(self, duration_ns)

    def timer(self, delay_ns: int, callback: Callback, label: str, patient: bool = False) -> Happening:
        """Calls `callback` on the kernel's own turn after `delay_ns`; timers keep their order in every mode.

        A patient one, such as a deadline far away, fires in any-order mode only when nothing else can happen.
        """
        happening = self.clock.after(delay_ns, callback, "timer", label)
        happening.patient = patient
        return happening

    def stage(
        self,
        delay_ns: int,
        callback: Callback | None,
        operation: str,
        resource: object,
    ) -> Happening:
        """A stage of a request: happens after `delay_ns` in timed mode, at any time from now in any-order mode."""
        if self._any_order:
            happening = Happening(self.clock, callback, operation, resource)
            happening.name = operation
            self._outstanding.append(happening)
            return happening
        return self.clock.after(delay_ns, callback, operation, resource)

    def gate(self, operation: str, resource: object) -> Happening:
        """Something that happens when somebody calls `happen()` on it, once. A generator may yield it after, too."""
        return Happening(self.clock, None, operation, resource)

    def process(
        self,
        generator: Generator[Happening, Any, Any],
        done: Callable[[Any, Exception | None], None] | None = None,
    ) -> None:
        """Runs a generator of the model now, up to the first happening that it yields, and on from each.

        `done(result, error)` is called at its end; without it an error ends the run.
        """
        Process(self, generator, done).start()

    # Tasks

    def spawn(
        self,
        function: Callable[..., Any],
        *args: Any,
        name: str = "",
        background: bool = False,
        supervised: bool = False,
        group: Group | None = None,
    ) -> Task:
        """Starts a task that runs `function(*args)`.

        A background task does not keep the run alive. An exception of a task ends the run with `TaskFailed`, unless
        somebody is joining it, or it is `supervised`: then it is kept for a later `join()`.
        It works for whomever the spawning task works for (`working_for`), unless it is a background task.
        Names are unique in a run: a second `reader` becomes `reader-2`. A task that crashed can start nothing any more.
        """
        if self._closed:
            raise MisuseError(f"cannot start {name or 'a task'}: the kernel is closed; make one for each run")
        parent = self.current
        if parent is not None and parent._crashed_by is not None:
            raise Crashed(parent._crashed_by.name)
        self._spawned += 1
        run = (lambda: function(*args)) if args else function
        task = Task(self, self._spawned, self._names.unique(name or "task"), run, background, supervised)
        task.since_ns = self.now
        if parent is not None and not background:
            task.context = parent.context
        if group is not None:
            group.add(task)
        self._tasks[task] = None
        if not background:
            self._foreground += 1
        self._ready.append(task)
        return task

    def group(self, name: str) -> Group:
        """A new crash group."""
        return Group(self, name)

    @property
    def tasks(self) -> list[Task]:
        """The tasks that have not ended, in the order of their start."""
        return list(self._tasks)

    def checkpoint(self, label: str) -> None:
        """Lets other tasks run; for code under test that wants to be interleaved here."""
        self.yield_point("checkpoint", label)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Within the block the task is not cancelled; a cancellation that came waits for the next yield after it."""
        task = self.require_task("shield")
        task._shields += 1
        try:
            yield
        finally:
            task._shields -= 1

    @contextmanager
    def working_for(self, context: Any) -> Iterator[None]:
        """What the running task does within the block counts as done for `context`, the `Task.context` of another task.

        A system that runs a client's statement in a task of its own says so with this; by it the depot's commits are
        attributed to operations.
        """
        task = self.require_task("work for another task")
        before, task.context = task.context, context
        try:
            yield
        finally:
            task.context = before

    def require_task(self, doing: str) -> Task:
        """The running task; an error that says so when there is none."""
        task = self.current
        if task is None:
            raise MisuseError(f"cannot {doing}: only a task of this kernel can, and none is running")
        return task

    # Yields

    def yield_point(self, operation: str, resource: object) -> None:
        """The task is about to do `operation` on `resource`; others may run first. No-op outside tasks."""
        task = self.current
        if task is None:
            return
        if task._crashed_by is not None:
            raise Crashed(task._crashed_by.name)
        if task._pending and not task._shields:
            self._raise_pending(task)
        task.operation = operation
        task.resource = resource
        if self._alone():
            self.steps += 1
            if self.on_step is not None:
                self.on_step(task)
            return
        task.state = _READY
        self._ready.append(task)
        self._switch_to_hub()

    def yield_after(self, operation: str, resource: object) -> None:
        """The task has just given something back; others may run. A cancellation waits: giving back cannot fail.

        Neither can it in a task that unwinds after a crash: there this does nothing.
        """
        task = self.current
        if task is not None and task._crashed_by is None:
            task._shields += 1
            try:
                self.yield_point(operation, resource)
            finally:
                task._shields -= 1

    def park(self, operation: str, resource: object) -> Any:
        """Suspends the task until `wake(task, value)`, and returns that value.

        Whoever parks a task must forget it again when `park` raises: it was interrupted.
        """
        task = self.current
        if task is None:
            raise MisuseError(f"cannot wait ({operation} {resource}): no task of this kernel is running")
        if task._crashed_by is not None:
            raise Crashed(task._crashed_by.name)
        if task._pending and not task._shields:
            self._raise_pending(task)
        task.operation = operation
        task.resource = resource
        task.since_ns = self.clock._now  # type: ignore[assignment]
        task.state = _WAITING
        return self._switch_to_hub()

    def wake(self, task: Task, value: Any = None) -> None:
        """A parked task may go on; `park` returns `value` to it. Waking a task that no longer waits does nothing."""
        if task.state is _WAITING:
            task._inbox = value
            task.state = _READY
            self._ready.append(task)

    def interrupt(self, task: Task, error: BaseException) -> None:
        """Throws `error` at the task's yield point, or at its next one if it runs, is shielded or gets another already.

        No interruption is lost, except that a task which is being cancelled is not cancelled a second time.
        """
        if task.ended:
            return
        if type(error) is Cancelled and Cancelled in map(type, (task._throw, *task._pending)):
            return
        if task._shields or task.state is _RUNNING or task._throw is not None or task._crashed_by is not None:
            task._pending += (error,)
            return
        if task.state is _WAITING:
            task.state = _READY
            self._ready.append(task)
        task._throw = error

    def postpone(self, task: Task, error: BaseException) -> None:
        """What the task waited for had come to pass when `error` was thrown: it is raised at the next yield instead."""
        task._pending = (error, *task._pending)

    def retract(self, task: Task, error: BaseException) -> None:
        """An interruption that has not been raised yet never will be."""
        task._pending = tuple(other for other in task._pending if other is not error)

    def throw_now(self, task: Task, error: BaseException) -> None:
        """The task gets `error` before any other task takes a step; nothing holds it back."""
        if task.ended or task in self._urgent:
            return
        if task.state is _RUNNING:
            raise MisuseError(f"cannot throw {error!r} into {task.name} from itself; raise it")
        if task.state is _READY:
            self._ready.remove(task)
        if task._throw is not None:
            self.postpone(task, task._throw)
        # Ready, so that no wake that is on its way makes it run twice.
        task.state = _READY
        task._throw = error
        self._urgent[task] = None
        self._attention = True

    def wait_for_end(self, task: Task) -> None:
        """Suspends the caller until `task` has ended.

        Cancelled when the task has just ended, it returns all the same and the cancellation comes at the next yield:
        an error of the task is not lost.
        """
        caller = self.require_task(f"join {task.name}")
        if caller is task:
            raise MisuseError(f"task {task.name} joins itself: it would wait for ever")
        self.yield_point("join", task)
        if not task.ended:
            task._joiners.append(caller)
            try:
                self.park("join", task)
            except BaseException as error:
                if caller in task._joiners:
                    task._joiners.remove(caller)
                    raise
                if isinstance(error, Crashed):
                    raise
                self.postpone(caller, error)

    # The run

    def run(self, *, max_steps: int = DEFAULT_MAX_STEPS, until_ns: int | None = None) -> None:
        """Runs until every foreground task has ended.

        Raises `Deadlock` when foreground tasks wait and nothing can happen any more, `BoundExceeded` past `max_steps`
        or `until_ns`, `TaskFailed` when a task ends with an exception that nobody awaits. A step is one turn of a task;
        in any-order mode a reply that arrives or a timer that fires is one as well.
        """
        self._require_hub("run")
        self._max_steps = max_steps
        bound_ns = _NEVER if until_ns is None else until_ns
        self._attention = True
        self._in_run = True
        try:
            if self._any_order:
                self._run_any_order(bound_ns)
            else:
                self._run_timed(bound_ns)
        finally:
            self._in_run = False
            self.current = None

    def close(self) -> None:
        """Ends all tasks that are left, in the order of their start. Nothing they do on the way out can wait.

        Nothing happens in this kernel afterwards, and its history stays as it is, whatever the garbage collector still
        finishes.
        """
        if self._closed:
            return
        self._require_hub("close")
        self._closed = True
        over = Group(self, "the run is over")
        over.crashed = True
        while self._tasks:
            task = next(iter(self._tasks))
            task._crashed_by = over
            task._throw = Crashed(over.name)
            self._resume(task, counted=False)
            assert task.ended, f"{task.name} did not end when its kernel was closed"
        self._ready.clear()
        self._urgent.clear()
        self._outstanding.clear()
        self.record = _forget
        self.clock.queue.clear()

    @property
    def closed(self) -> bool:
        return self._closed

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def waiting(self) -> list[Waiting]:
        """Who waits for what, held by whom, since when; with the stack of each."""
        return waiting_tasks(self._tasks)

    def _run_timed(self, bound_ns: int) -> None:
        ready, clock, pick, resume = self._ready, self.clock, self._pick, self._resume
        queue, step = clock.queue, clock.step
        while True:
            if self._attention and self._attend():
                return
            while queue and queue[0][0] == clock._now:
                step()
            if self._attention:
                continue  # one of these events crashed somebody, who comes before everybody else
            count = len(ready)
            if count:
                index = pick(ready) if count > 1 else 0
                task = ready[index]
                ready[index] = ready[-1]
                ready.pop()
                resume(task)
            else:
                # Asked here first, because a call for each event would be felt.
                if not queue or queue[0][0] > bound_ns or queue[0][3].callbacks is None:
                    self._require_next_event(bound_ns)
                step()

    def _run_any_order(self, bound_ns: int) -> None:
        ready, outstanding, clock = self._ready, self._outstanding, self.clock
        queue = clock.queue
        while True:
            if self._attention and self._attend():
                return
            clock.skip_revoked()
            options: list[Any] = [*ready, *outstanding]
            if queue and not (options and queue[0][3].patient):
                options.append(queue[0][3])
            if not options:
                self._require_next_event(bound_ns)
            index = self._pick(options) if len(options) > 1 else 0
            if index < len(ready):
                self._resume(ready.pop(index))
                continue
            # Time need not pass here, so only a bound on steps ends a model that goes round in a circle.
            if self.steps >= self._max_steps:
                raise self._too_many_steps(options[index])
            if index < len(ready) + len(outstanding):
                outstanding.pop(index - len(ready)).happen()
            else:
                self._require_next_event(bound_ns)
                clock.step()
            self.steps += 1

    def _require_next_event(self, bound_ns: int) -> None:
        queue = self.clock.queue
        if queue and queue[0][3].callbacks is None:
            self.clock.skip_revoked()
        if not queue:
            raise Deadlock(describe_waiting(self.waiting(), self.now))
        if queue[0][0] > bound_ns:
            raise BoundExceeded(
                f"the run did not end within {format_duration(bound_ns)} of simulated time: "
                + describe_waiting(self.waiting(), self.now)
            )

    def _too_many_steps(self, option: Option) -> BoundExceeded:
        return BoundExceeded(
            f"the run did not end within {self._max_steps} steps; the next was {option.name}: "
            f"{option.operation} {option.resource} at {format_duration(self.now)}"
        )

    def _resume(self, task: Task, counted: bool = True) -> None:
        if counted:
            if self.steps >= self._max_steps:
                self._ready.append(task)
                raise self._too_many_steps(task)
            self.steps += 1
            if self.on_step is not None:
                self.on_step(task)
        error = task._throw
        carrier = task.carrier
        if carrier is None:
            if error is not None:
                task._throw = None
                task.end_with(error)
                return
            carrier = task.carrier = self._new_carrier(task.run)
            self.current = task
            task.state = _RUNNING
            carrier.switch()
        elif error is None:
            self.current = task
            task.state = _RUNNING
            value, task._inbox = task._inbox, None
            carrier.switch(value)
        else:
            task._throw = task._inbox = None
            self.current = task
            task.state = _RUNNING
            carrier.throw(error)
        self.current = None

    def _alone(self) -> bool:
        """Whether the hub could do nothing but switch straight back."""
        if self._ready or self._attention or self.steps >= self._max_steps:
            return False
        queue = self.clock.queue
        if self._any_order:
            return not queue and not self._outstanding
        return not queue or queue[0][0] > self.clock._now

    def _attend(self) -> bool:
        """Deals with what is rarer than a step. True when the run is over."""
        while self._urgent:
            task = next(iter(self._urgent))
            del self._urgent[task]
            self._resume(task, counted=False)
        if self._failure is not None:
            task, self._failure = self._failure, None
            if isinstance(task.error, _NOT_OURS):
                raise task.error
            raise TaskFailed(f"task {task.name} failed at {format_duration(self.now)}: {task.error!r}") from task.error
        self._attention = False
        return self._foreground == 0

    def task_ended(self, task: Task, state: TaskState) -> None:
        """Called by the task itself as its last act."""
        task.state = state
        task.carrier = None
        del self._tasks[task]
        if not task.background:
            self._foreground -= 1
            if self._foreground == 0:
                self._attention = True
        for group in list(task._groups):
            group.remove(task)
        if state is TaskState.FAILED and self._failure is None:
            kept = task._joiners or task._supervised
            if not kept or isinstance(task.error, _NOT_OURS):
                self._failure = task
                self._attention = True
        if task._at_end:
            self.current = None  # whoever is told can give back, and cannot wait
            for callback in list(task._at_end):
                callback()
        joiners, task._joiners = task._joiners, []
        for joiner in joiners:
            self.wake(joiner)

    def _raise_pending(self, task: Task) -> None:
        error, *rest = task._pending
        task._pending = tuple(rest)
        raise error

    def _require_hub(self, doing: str) -> None:
        if self.current is not None or self._in_run:
            raise MisuseError(f"cannot {doing} the kernel from inside its own run")
        if self._hub is not None and greenlet.getcurrent() is not self._hub:
            raise MisuseError(f"cannot {doing} the kernel here: a greenlet kernel belongs to the thread that made it")


def _forget(_: Record) -> None:
    """What a closed kernel does with records."""
