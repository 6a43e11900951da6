"""The world: wires kernel, depot, instances and clients together and runs one plan.

It plays the parts that are not under test: the engine that hands the database to instances and replaces those that die
or are closed, the clock that crashes them, and the inspector that looks at the state a fresh instance finds, each time
before the new instance serves anybody, and at the end, when compaction has come to rest. After a rollback a later
instance takes over, since what the present one knows is past. From the moment at which a `close()` returned, its
instance serves nobody (CLOSE-2). All that happened is in `kernel.history`; judging it is not done here.
"""

from __future__ import annotations

from functools import partial

import apsw

from simkit.check.dump import read_state
from simkit.check.events import (
    InstanceOpened,
    RunEnded,
    Sometimes,
    StateObserved,
    StateUnreadable,
    StillWaiting,
)
from simkit.check.giving_up import LOST
from simkit.depot.faults import Faults
from simkit.depot.network import Network
from simkit.depot.request import Request
from simkit.kernel import (
    STRATEGIES,
    BoundExceeded,
    Crashed,
    Deadlock,
    Decisions,
    Event,
    Kernel,
    Queue,
    Task,
    TimedOut,
)
from simkit.kernel.kernel import CarrierKind
from simkit.kernel.units import MILLISECOND, SECOND
from simkit.scenario.client import Client
from simkit.scenario.depot_watch import DepotWatch
from simkit.scenario.image import Prepared
from simkit.scenario.inspection import inspected, integrity_of
from simkit.scenario.instance import InstanceProcess
from simkit.scenario.model_marks import VFS_MARKS
from simkit.scenario.operate import OPERATOR, OperatorWork
from simkit.scenario.parts import Parts
from simkit.scenario.plan import Plan
from simkit.vfs.filesystem import seed_sqlite

END_OF_RUN = "end of the run"
"""Why the instances that are left crash in the end."""
INSPECTOR = "inspector"
"""The name under which a fresh instance looks at the state."""

_REPLACEMENTS_MAX = 1000
_RETRY_MIN_NS = 1 * MILLISECOND
_RETRY_MAX_NS = 1 * SECOND
_RETRY_DOUBLINGS_MAX = 20
"""How a database that cannot be opened is tried again: a loop without these would reach the bounds by brute force."""
_TIME_IN_ANY_ORDER = 64
"""How much more simulated time a run may take in any order."""
_NO_OPERATION = 0
"""Operations are counted from 1, and tasks that work for none have -1."""


class World:
    """One run of a plan. Create it, call `run()` once, read `kernel.history`."""

    def __init__(
        self,
        prepared: Prepared,
        plan: Plan,
        decisions: Decisions,
        parts: Parts,
        carrier: CarrierKind = "greenlet",
    ) -> None:
        scenario = prepared.scenario
        self.plan = plan
        self.marked_io = 0
        self._prepared = prepared
        self._scenario = scenario
        self._parts = parts
        self.kernel = Kernel(
            decisions,
            STRATEGIES[scenario.strategy.name](),
            "any" if scenario.strategy.order == "any" else "timed",
            carrier,
        )
        self.faults = self._plan_faults()
        self.depot = parts.depot(
            self.kernel,
            scenario.latency,
            prepared.depot_image,
            plan.depot,
            self.faults,
            Network(self.kernel, plan.network) if plan.network else None,
        )
        self._watch = self._watch_depot()
        self._instances: list[InstanceProcess] = []
        self._current: InstanceProcess | None = None
        self._opening: InstanceProcess | None = None
        self._ready = self._not_ready()
        self._replacements: Queue[str] = Queue(self.kernel, _REPLACEMENTS_MAX, "replacements")
        self._operations = 0
        self._marked_operation = _NO_OPERATION
        self._io_crashes = sorted((crash.io, crash.marked) for crash in plan.crashes if crash.io is not None)
        self._vfs_marks = [mark for mark in scenario.sometimes if mark in VFS_MARKS]
        self._watching = bool(self._io_crashes) or plan.marked_step is not None

    def _plan_faults(self) -> Faults | None:
        planned = self.plan.faults
        return Faults(self.kernel, [rule.rule() for rule in planned], self._crash_by_fault) if planned else None

    def _watch_depot(self) -> DepotWatch:
        depot = self.depot
        often = depot.compaction is not None or depot.network is not None or bool(self.plan.operator)
        return DepotWatch(depot, self.faults, often, INSPECTOR)

    # The run

    def run(self) -> None:
        """Runs the plan to its end, deadlock or bound; the last event of the history says which."""
        kernel, bounds = self.kernel, self._scenario.bounds
        seed_sqlite(kernel.decisions.seed)
        try:
            for crash in self.plan.crashes:
                if crash.at_ns is not None:
                    kernel.timer(crash.at_ns, lambda _: self._crash_current("planned"), "planned crash")
            for takeover in self.plan.takeovers:
                kernel.timer(takeover.at_ns, lambda _: self._replacements.put_at_once("takeover"), "planned takeover")
            if self._watching:
                self._watch_commits()
            if self.faults is not None and self.faults.may_pause_until_rest:
                kernel.on_step = self._release_overdue
            kernel.spawn(self._direct, name="director")
            reason, detail = "done", ""
            try:
                # In any order time jumps to whatever timer fires, such as a deadline far away, and says little.
                until_ns = bounds.time * (_TIME_IN_ANY_ORDER if kernel.order == "any" else 1)
                while not self._run_to_rest(bounds.steps, until_ns):
                    pass
            except Deadlock:
                reason = "deadlock"
            except BoundExceeded as error:
                reason, detail = "bound", str(error).splitlines()[0]
            if reason != "done":
                self._watch.cut_short()
                self._record_waiting()
            self._record_vfs_marks()
            kernel.record(RunEnded(kernel.now, "", reason, detail))
        finally:
            self._dispose()

    def _run_to_rest(self, steps_max: int, time_ns_max: int) -> bool:
        """Runs until nothing can happen any more. False: there is more to run, because a paused request was let go on.

        A timer beyond the bound of time, such as the deadline of a transaction, is no more than nothing.
        """
        try:
            self.kernel.run(max_steps=steps_max, until_ns=time_ns_max)
        except (Deadlock, BoundExceeded):
            if self.faults is None or not self.faults.pausing:
                raise
            self.faults.release("rest")
            return False
        return True

    def _release_overdue(self, _: Task) -> None:
        assert self.faults is not None
        self.faults.release_overdue()

    def _direct(self) -> None:
        """Opens the first instance, lets the clients run, closes, and looks at what is left."""
        kernel = self.kernel
        self._open_instance(first=True)
        kernel.spawn(self._supervise, name="supervisor", background=True)
        clients = [kernel.spawn(Client(self, plan).run, name=plan.name) for plan in self.plan.clients]
        if self.plan.operator:
            work = OperatorWork(self.depot, self.plan.operator, self._rolled_back)
            clients.append(kernel.spawn(work.run, name=OPERATOR))
        for client in clients:
            client.join()
        if self._current is not None and self._current.alive:
            self._current.close()
        self._current = None
        for instance in self._instances:
            instance.crash(END_OF_RUN)
        generation = self.depot.allocate()  # before anything else: what is under way comes too late from now on
        self._watch.finish()
        if self.depot.generation != generation:
            generation = self.depot.allocate()
        self._observe("end", generation)

    # What clients ask of the world

    def wait_for_instance(self) -> InstanceProcess:
        """The live instance; waits while there is none."""
        while self._current is None:
            self._ready.wait()
        return self._current

    def begin_operation(self, marked: bool) -> int:
        """The number of the next operation."""
        self._operations += 1
        if marked:
            self._marked_operation = self._operations
        return self._operations

    def operation_over(self, number: int) -> None:
        """The operation has ended; storage operations from here on are not its own."""
        if number == self._marked_operation:
            self._marked_operation = _NO_OPERATION

    def instance_lost(self, instance: InstanceProcess) -> None:
        """An instance turned out to be dead; unless that is known already, it is replaced.

        While it is being closed it is left to that: a close that gives up makes it look just so.
        """
        if instance is self._current and not instance.closes:
            self._retire(instance)
            instance.crash(LOST)
            self._replacements.put_at_once("restart")

    def close(self, instance: InstanceProcess, timeout_ns: int = 0) -> None:
        """Closes the database on behalf of a client; a new instance opens it again after the time of a restart.

        With `timeout_ns` above 0 the first try is cut short after that time, and the next one follows at once.
        """
        failure = instance.close(timeout_ns)
        if isinstance(failure, TimedOut):
            failure = instance.close()
        if instance is not self._current or (failure is not None and instance.closes):
            return  # it was replaced meanwhile, or another close of it is still under way
        self._retire(instance)
        if failure is not None:
            instance.crash(f"it could not close the database: {failure}")
        self._replacements.put_at_once("restart")

    def _rolled_back(self) -> None:
        """The database goes on from an earlier state: whoever serves it knows another one, and is replaced."""
        self._replacements.put_at_once("takeover")

    def _retire(self, instance: InstanceProcess) -> None:
        assert instance is self._current, f"{instance.name} does not serve"
        self._current = None
        self._ready = self._not_ready()

    # Instances

    def _not_ready(self) -> Event:
        """An event for the next live instance. A new one each time: clearing one would let others run in between."""
        return Event(self.kernel, "a live instance")

    def _supervise(self) -> None:
        while True:
            if self._replacements.get() == "restart":
                if self._current is not None:
                    continue  # a takeover came in between: the database is served again
                self._pause_before_opening(0)
            self._open_instance(first=False)

    def _pause_before_opening(self, failed: int) -> None:
        """The pause of a restart; after `failed` openings without success, longer each time."""
        restart_after = self._scenario.instances.restart_after
        pause_ns = restart_after.draw(self.kernel.decisions.stream("restart"))
        if failed > 1:
            pause_ns = min(max(pause_ns, _RETRY_MIN_NS) << min(failed - 1, _RETRY_DOUBLINGS_MAX), _RETRY_MAX_NS)
        self.kernel.sleep(pause_ns)

    def _open_instance(self, first: bool) -> None:
        """Hands the database to a new instance, looks at what it finds, and puts it into service."""
        failed = 0
        while True:
            generation = self.depot.allocate()
            if not first:
                if self.faults is not None:
                    self.faults.release("takeover")
                self._watch.recovered()
                self._observe("recovery", generation)
            instance = self._new_instance(generation)
            if self._open(instance):
                self.kernel.record(InstanceOpened(self.kernel.now, "", instance.name, generation))
                self._current = instance
                self._ready.set()
                return
            failed += 1
            self._pause_before_opening(failed)
            # Whatever ran in it has unwound by now. Kept, thousands of them would slow SQLite's list of VFSs down.
            self._instances.remove(instance)
            instance.dispose()

    def _new_instance(self, generation: int) -> InstanceProcess:
        instance = InstanceProcess(
            self.kernel,
            self.depot,
            generation,
            self._parts,
            self.plan.vfs,
            self._scenario.instances.sqlite_cache_kib,
            self.plan.pool,
            self._scenario.instances.close_takes.draw(self.kernel.decisions.stream("close")),
        )
        self._instances.append(instance)
        if self._watching:
            instance.watch_io(partial(self._storage_operation, instance))
        return instance

    def _open(self, instance: InstanceProcess) -> bool:
        """Whether it opened the database; it is dead when it did not."""
        self._opening = instance
        try:
            with instance.group:
                instance.open()
        except Crashed:
            if not instance.group.crashed:
                raise  # the run itself is over
            return False
        except apsw.Error as error:
            instance.crash(f"it could not open the database: {error}")
            return False
        finally:
            self._opening = None
        return True

    def _observe(self, when: str, generation: int) -> None:
        """Records what a fresh instance of this generation finds, at this instant."""
        kernel = self.kernel
        try:
            with inspected(self.depot, INSPECTOR, generation) as connection:
                integrity = integrity_of(connection)
                state = read_state(connection)
                holds = tuple(tuple(connection.execute(sql).fetchall()) for sql, _ in self._prepared.holds)
        except apsw.Error as error:
            kernel.record(StateUnreadable(kernel.now, INSPECTOR, when, generation, str(error)))
        else:
            kernel.record(StateObserved(kernel.now, INSPECTOR, when, generation, state, integrity, holds))

    # Crashes

    def _crash_current(self, cause: str) -> None:
        """Crashes the live instance, or else the one that is about to be; without either nothing happens."""
        for instance in (self._current, self._opening):
            if instance is not None and instance.alive:
                self._crash(instance, cause)
                return

    def _crash_by_fault(self, name: str) -> None:
        for instance in self._instances:
            if instance.name == name and instance.alive and not instance.closed:
                self._crash(instance, "fault")
                return

    def _crash(self, instance: InstanceProcess, cause: str) -> None:
        if instance is self._current:
            self._retire(instance)
            self._replacements.put_at_once("restart")
        try:
            instance.crash(cause)
        finally:
            # Also when the caller dies of it. A request that waited for the crash goes on after it.
            if self.faults is not None:
                self.faults.release("crash")

    def _watch_commits(self) -> None:
        told = self.depot.on_applied

        def applied(request: Request) -> None:
            if told is not None:
                told(request)
            self._commit_applied(request)

        self.depot.on_applied = applied

    def _commit_applied(self, request: Request) -> None:
        for instance in self._instances:
            if instance.name == request.instance and instance.alive:
                self._count_io(instance, request.operation)

    def _storage_operation(self, instance: InstanceProcess, name: str) -> None:
        task = self.kernel.current
        operation = task.operation_number if task is not None else -1
        self._count_io(instance, operation)

    def _count_io(self, instance: InstanceProcess, operation: int) -> None:
        instance.io_seen += 1
        marked = operation == self._marked_operation
        if marked:
            self.marked_io += 1
        superseded = instance is not self._current and instance is not self._opening
        for crash in self._io_crashes:
            io, of_marked = crash
            if (marked and io == self.marked_io) if of_marked else (not superseded and io == instance.io_seen):
                self._io_crashes.remove(crash)
                if instance.alive:
                    self._crash(instance, f"storage operation {io}")
                return

    # The end

    def _record_waiting(self) -> None:
        kernel = self.kernel
        for entry in kernel.waiting():
            if not entry.background:
                kernel.record(
                    StillWaiting(
                        kernel.now, "", entry.task, entry.operation, entry.resource, entry.held_by, entry.since_ns
                    )
                )

    def _record_vfs_marks(self) -> None:
        for mark in self._vfs_marks:
            name = VFS_MARKS[mark]
            for instance in self._instances:
                usual = 1 if name == "preloaded_pages" else 0
                if getattr(instance.database.counters, name) > usual:
                    self.kernel.record(Sometimes(self.kernel.now, "", mark))
                    break

    def _dispose(self) -> None:
        for instance in self._instances:
            instance.watch_io(None)
            instance.database.die("the run is over")
        try:
            self.kernel.close()
        finally:
            for instance in self._instances:
                instance.dispose()
