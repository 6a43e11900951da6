"""Generated programs over everything the kernel offers.

Each program is data: lists of operations, one list a task, over two locks, a semaphore, an event, a condition, a queue
and two crash groups. Whatever happens to it (cancellation, timeout, crash, misuse, deadlock), it must

- keep the promises of the primitives while it runs, and at rest leave nobody waiting whose condition holds;
- give the same history, decisions and steps on greenlets and on threads, with the fast path of a yield and without it,
  and again from its recorded decisions.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from simkit.kernel import (
    BoundExceeded,
    Condition,
    Crashed,
    Deadlock,
    Decision,
    Decisions,
    Event,
    Group,
    Happening,
    Kernel,
    Lock,
    MisuseError,
    Queue,
    QueueEmpty,
    QueueFull,
    Record,
    RecordedDecisions,
    Semaphore,
    Task,
    TaskEndedEarly,
    TaskState,
    TimedOut,
    digest,
)

PERMITS = 2
CAPACITY = 2
MAX_STEPS = 400

Operation = tuple[object, ...]
Program = list[list[Operation]]

WHICH = st.integers(0, 4)
SHORT_NS = st.integers(0, 4)
SIMPLE = st.one_of(
    st.tuples(st.just("sleep"), SHORT_NS),
    st.tuples(
        st.sampled_from(["checkpoint", "put", "get", "put_nowait", "get_nowait", "wait", "set", "clear", "notify"])
    ),
    st.tuples(st.sampled_from(["notify_all", "release_unowned", "request", "try_lock"])),
    st.tuples(st.sampled_from(["cancel", "join"]), WHICH),
    st.tuples(st.just("crash"), st.integers(0, 1)),
)


def nested(operations: st.SearchStrategy[Operation]) -> st.SearchStrategy[Operation]:
    body = st.lists(operations, min_size=1, max_size=4)
    return st.one_of(
        st.tuples(st.just("timeout"), SHORT_NS, body),
        st.tuples(st.just("lock"), st.integers(0, 1), body),
        st.tuples(st.just("group"), st.integers(0, 1), body),
        st.tuples(st.sampled_from(["permit", "shield", "condition_wait", "spawn"]), body),
        st.tuples(st.just("finally"), body, body),
    )


OPERATIONS = st.recursive(SIMPLE, nested, max_leaves=8)
PROGRAMS = st.lists(st.lists(OPERATIONS, min_size=1, max_size=5), min_size=2, max_size=5)


class Did(Record, frozen=True, gc=False):
    what: str


class Walker(Kernel):
    """Every yield goes through the hub."""

    def _alone(self) -> bool:
        return False


class World:
    """One run of a program."""

    def __init__(self, program: Program, kernel: Kernel) -> None:
        self.kernel = kernel
        self.locks = [Lock(kernel, f"lock-{number}") for number in range(2)]
        self.inside: list[Task | None] = [None, None]
        self.semaphore = Semaphore(kernel, PERMITS)
        self.held = 0
        self.event = Event(kernel)
        self.condition = Condition(kernel)
        self.queue: Queue[int] = Queue(kernel, CAPACITY)
        self.put: list[int] = []
        self.maybe_put: list[int] = []
        self.got: list[int] = []
        self.items = 0
        self.groups = [Group(kernel, f"group-{number}") for number in range(2)]
        self.steps: list[tuple[str, str, str, int]] = []
        kernel.on_step = lambda task: self.steps.append((task.name, task.operation, str(task.resource), kernel.now))
        self.tasks = [kernel.spawn(self.run_list, body, name=f"task-{n}") for n, body in enumerate(program)]
        self.outcome = ""
        self.digest = ""

    def note(self, what: str) -> None:
        task = self.kernel.current
        self.kernel.record(Did(at=self.kernel.now, task=task.name if task is not None else "", what=what))

    def run_list(self, operations: list[Operation]) -> None:
        for operation in operations:
            self.note(str(operation[0]))
            try:
                self.do(operation)
            except (TimedOut, MisuseError, QueueFull, QueueEmpty, TaskEndedEarly) as error:
                self.note(f"{operation[0]}: {error!r}")
            except BaseException as error:
                self.note(f"{operation[0]}: {type(error).__name__}")
                raise
            self.check()

    def do(self, operation: Operation) -> None:
        kernel = self.kernel
        match operation:
            case ("sleep", int(duration)):
                kernel.sleep(duration)
            case ("checkpoint",):
                kernel.checkpoint("here")
            case ("put" | "put_nowait" as how,):
                self.do_put(how)
            case ("get",):
                self.got.append(self.queue.get())
            case ("get_nowait",):
                self.got.append(self.queue.get_nowait())
            case ("wait",):
                self.event.wait()
            case ("set",):
                self.event.set()
            case ("clear",):
                self.event.clear()
            case ("notify",):
                with self.condition:
                    self.condition.notify()
            case ("notify_all",):
                with self.condition:
                    self.condition.notify_all()
            case ("release_unowned",):
                if self.inside[0] is not kernel.current:
                    self.locks[0].release()
            case ("request",):
                self.request()
            case ("try_lock",):
                if self.locks[1].try_acquire():
                    with self.owning(1):
                        kernel.sleep(1)
            case ("cancel", int(which)):
                self.tasks[which % len(self.tasks)].cancel()
            case ("join", int(which)):
                self.tasks[which % len(self.tasks)].join()
            case ("crash", int(which)):
                self.groups[which].crash()
            case _:
                self.do_block(operation)

    def do_block(self, operation: Operation) -> None:
        kernel = self.kernel
        match operation:
            case ("timeout", int(duration), list(body)):
                with kernel.timeout(duration):
                    self.run_list(body)
            case ("lock", int(which), list(body)):
                self.locks[which].acquire()
                with self.owning(which):
                    self.run_list(body)
            case ("group", int(which), list(body)):
                try:
                    with self.groups[which]:
                        self.run_list(body)
                except Crashed:
                    self.note("survived")
            case ("permit", list(body)):
                self.permit(body)
            case ("shield", list(body)):
                with kernel.shield():
                    self.run_list(body)
            case ("condition_wait", list(body)):
                with self.condition:
                    self.condition.wait()
                    assert self.condition.lock.owner is kernel.current
                    self.run_list(body)
            case ("spawn", list(body)):
                if len(self.tasks) < 8:
                    self.tasks.append(kernel.spawn(self.run_list, body, group=self.groups[0], background=True))
            case ("finally", list(body), list(last)):
                try:
                    self.run_list(body)
                finally:
                    self.run_list(last)
            case _:
                raise AssertionError(operation)

    @contextmanager
    def owning(self, which: int) -> Iterator[None]:
        assert self.inside[which] is None, f"two tasks are inside {self.locks[which]}"
        self.inside[which] = self.kernel.current
        try:
            yield
        finally:
            self.inside[which] = None
            self.locks[which].release()

    def permit(self, body: list[Operation]) -> None:
        self.semaphore.acquire()
        self.held += 1
        try:
            self.run_list(body)
        finally:
            self.held -= 1
            self.semaphore.release()

    def do_put(self, how: str) -> None:
        self.items += 1
        item = self.items
        try:
            if how == "put":
                self.queue.put(item)
            else:
                self.queue.put_nowait(item)
        except Crashed:
            self.maybe_put.append(item)
            raise
        self.put.append(item)

    def request(self) -> None:
        """A request to a model that answers in two stages."""
        kernel, task = self.kernel, self.kernel.require_task("ask")

        def serve() -> Generator[Happening, None, str]:
            yield kernel.stage(2, None, "arrive", "model")
            yield kernel.stage(1, None, "serve", "model")
            return "reply"

        waiting = [True]

        def answer(result: object, _: Exception | None) -> None:
            if waiting[0]:
                kernel.wake(task, result)

        kernel.process(serve(), answer)
        try:
            assert kernel.park("ask", "model") == "reply"
        finally:
            waiting[0] = False

    def check(self) -> None:
        semaphore, queue = self.semaphore, self.queue
        assert semaphore.permits + self.held + len(semaphore._granted) <= PERMITS
        assert len(queue) <= CAPACITY
        assert len(set(self.got)) == len(self.got), "an item came out twice"

    def check_at_rest(self) -> None:
        semaphore, queue = self.semaphore, self.queue
        for lock in [*self.locks, self.condition.lock]:
            assert lock.locked or not lock.statistics().waiting, f"{lock} is free and somebody waits for it"
            assert lock.owner is None or not lock.owner.ended, f"{lock} was lost by {lock.owner}"
        assert semaphore.permits + self.held == PERMITS, "a permit was lost"
        assert not semaphore._granted
        assert not (semaphore.permits and semaphore.statistics().waiting)
        assert not (self.event.is_set and self.event.statistics().waiting)
        statistics = queue.statistics()
        assert not (statistics.length and statistics.getting), "an item and a getter wait for each other"
        assert not (statistics.length < CAPACITY and statistics.putting), "a slot and a putter wait for each other"
        left = [item for _, item in queue._items]
        assert not queue._handed
        assert set(self.put) <= {*self.got, *left}, "an item was lost"
        assert {*self.got, *left} <= {*self.put, *self.maybe_put}, "an item came from nowhere"

    def go(self) -> "World":
        kernel = self.kernel
        quiet = True
        try:
            kernel.run(max_steps=MAX_STEPS)
            self.outcome = "done"
            # Background tasks may be in the middle of something: that is not rest.
            quiet = not any(task.state is TaskState.READY for task in kernel.tasks) and not kernel.clock.queue
        except Deadlock:
            self.outcome = "deadlock"
        except BoundExceeded:
            self.outcome, quiet = "bound", False
        self.digest = digest(kernel.history, kernel.decisions.log)
        if quiet and not kernel._outstanding:
            self.check_at_rest()
        return self


def run(
    program: Program,
    seed: int,
    order: str = "timed",
    carrier: str = "greenlet",
    kind: type[Kernel] = Kernel,
    recorded: list[Decision] | None = None,
) -> World:
    decisions = Decisions(seed) if recorded is None else RecordedDecisions(seed, recorded)
    with kind(decisions, order=order, carrier=carrier) as kernel:  # type: ignore[arg-type]
        world = World(program, kernel).go()
        if recorded is not None:
            decisions.finish()
    assert kernel.tasks == []
    assert all(not lock.locked for lock in world.locks), "a lock outlived all tasks"
    assert world.semaphore.permits == PERMITS, "a permit outlived all tasks"
    return world


def same(first: World, second: World) -> None:
    assert first.outcome == second.outcome
    assert first.steps == second.steps
    assert first.kernel.history == second.kernel.history
    assert first.digest == second.digest


ORDERS = st.sampled_from(["timed", "any"])
SEEDS = st.integers(0, 1_000)


@settings(max_examples=400)
@given(program=PROGRAMS, seed=SEEDS, order=ORDERS)
def test_primitives_keep_their_promises_in_every_program(program: Program, seed: int, order: str) -> None:
    run(program, seed, order)


@settings(max_examples=40)
@given(program=PROGRAMS, seed=SEEDS, order=ORDERS)
def test_threads_and_greenlets_give_the_same_run(program: Program, seed: int, order: str) -> None:
    same(run(program, seed, order), run(program, seed, order, carrier="thread"))


@settings(max_examples=150)
@given(program=PROGRAMS, seed=SEEDS, order=ORDERS)
def test_fast_path_changes_no_outcome(program: Program, seed: int, order: str) -> None:
    same(run(program, seed, order), run(program, seed, order, kind=Walker))


@settings(max_examples=150)
@given(program=PROGRAMS, seed=SEEDS, order=ORDERS)
def test_recorded_decisions_replay_the_run(program: Program, seed: int, order: str) -> None:
    first = run(program, seed, order)
    same(first, run(program, -1, order, recorded=list(first.kernel.decisions.log)))
