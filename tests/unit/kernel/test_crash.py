"""Crash groups: who dies, when, and what the dead can still do."""

from collections.abc import Callable

import pytest

from simkit.kernel import (
    Cancelled,
    Condition,
    Crashed,
    Event,
    Group,
    Kernel,
    Lock,
    Queue,
    Semaphore,
    TaskState,
)


@pytest.fixture
def instance(kernel: Kernel) -> Group:
    return kernel.group("instance")


def test_crash_ends_every_task_of_the_group_and_no_other(kernel: Kernel, instance: Group) -> None:
    inside = [kernel.spawn(kernel.sleep, 100, group=instance) for _ in range(3)]
    outside = kernel.spawn(kernel.sleep, 50)
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.run()
    assert [task.state for task in inside] == [TaskState.CRASHED] * 3
    assert outside.state is TaskState.DONE
    assert kernel.now == 50


def test_crash_comes_before_any_other_step(kernel: Kernel, instance: Group) -> None:
    seen: list[str] = []

    def victim() -> None:
        try:
            kernel.sleep(100)
        finally:
            seen.append("died")

    def other() -> None:
        kernel.sleep(10)
        seen.append("other")

    kernel.spawn(victim, group=instance)
    kernel.spawn(other)
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.run()
    assert seen == ["died", "other"]


def test_crash_from_inside_raises_in_the_caller(kernel: Kernel, instance: Group) -> None:
    seen: list[str] = []

    def body() -> None:
        try:
            instance.crash()
        finally:
            seen.append("unwound")

    task = kernel.spawn(body, group=instance)
    kernel.run()
    assert seen == ["unwound"]
    assert task.state is TaskState.CRASHED


def test_task_of_the_group_that_never_ran_does_not_run(kernel: Kernel, instance: Group) -> None:
    ran: list[int] = []
    task = kernel.spawn(lambda: ran.append(1), group=instance)
    instance.crash()
    kernel.run()
    assert ran == []
    assert task.state is TaskState.CRASHED


def test_client_survives_the_crash_of_the_instance_that_it_called(kernel: Kernel, instance: Group) -> None:
    seen: list[int] = []

    def client() -> None:
        try:
            with instance:
                kernel.sleep(100)
        except Crashed:
            seen.append(kernel.now)
        kernel.sleep(5)
        seen.append(kernel.now)

    kernel.spawn(client)
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.run()
    assert seen == [10, 15]
    assert instance.members == []


def test_crashed_group_refuses_entry_and_tasks(kernel: Kernel, instance: Group) -> None:
    instance.crash()
    instance.crash()

    def client() -> None:
        with pytest.raises(Crashed), instance:
            pass
        with pytest.raises(Crashed):
            kernel.spawn(int, group=instance)

    kernel.spawn(client)
    kernel.run()


def test_entering_twice_leaves_once_for_each(kernel: Kernel, instance: Group) -> None:
    seen: list[str] = []

    def client() -> None:
        try:
            with instance:
                with instance:
                    pass
                assert len(instance.members) == 1
                kernel.sleep(100)
        except Crashed:
            seen.append("crashed")

    kernel.spawn(client)
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.run()
    assert seen == ["crashed"]


@pytest.mark.parametrize("outer_first", [True, False])
def test_task_in_two_groups_that_crash_together_dies_with_the_outer(kernel: Kernel, outer_first: bool) -> None:
    outer, inner = kernel.group("outer"), kernel.group("inner")
    seen: list[str] = []

    def body() -> None:
        try:
            with inner:
                kernel.sleep(100)
        except Crashed:
            seen.append("inner left")
        kernel.sleep(1)
        seen.append("not reached")

    def crash(_: object) -> None:
        for group in (outer, inner) if outer_first else (inner, outer):
            group.crash()

    task = kernel.spawn(body, group=outer)
    kernel.timer(10, crash, "crash")
    kernel.run()
    assert seen == ["inner left"]
    assert task.state is TaskState.CRASHED


def test_inner_crash_leaves_the_outer_group_alive(kernel: Kernel) -> None:
    outer, inner = kernel.group("outer"), kernel.group("inner")

    def body() -> None:
        with pytest.raises(Crashed), inner:
            kernel.sleep(100)
        kernel.sleep(5)

    task = kernel.spawn(body, group=outer)
    kernel.timer(10, lambda _: inner.crash(), "crash")
    kernel.run()
    assert task.state is TaskState.DONE


def test_wake_at_the_instant_of_the_crash_does_not_run_the_dead(kernel: Kernel, instance: Group) -> None:
    steps: list[str] = []
    victim = kernel.spawn(kernel.sleep, 10, group=instance, name="victim")
    kernel.spawn(kernel.sleep, 20)
    kernel.timer(5, lambda _: None, "before")
    kernel.timer(10, lambda _: None, "first")
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.timer(10, lambda _: kernel.wake(victim), "late wake")
    kernel.on_step = lambda task: steps.append(task.name)
    kernel.run()
    assert steps.count("victim") == 1
    assert victim.state is TaskState.CRASHED


def test_lock_released_by_the_dying_passes_over_the_dead(kernel: Kernel, instance: Group) -> None:
    lock = Lock(kernel)
    order: list[str] = []

    def want(name: str, delay_ns: int) -> None:
        kernel.sleep(delay_ns)
        with lock:
            order.append(name)
            kernel.sleep(100)

    dead = [kernel.spawn(want, "first", 0, group=instance), kernel.spawn(want, "second", 1, group=instance)]
    kernel.spawn(want, "outsider", 2)
    kernel.timer(50, lambda _: instance.crash(), "crash")
    kernel.run()
    assert order == ["first", "outsider"]
    assert [task.state for task in dead] == [TaskState.CRASHED] * 2
    assert not lock.locked
    assert kernel.now == 150


def taking(kernel: Kernel) -> dict[str, Callable[[], object]]:
    lock, event, semaphore = Lock(kernel), Event(kernel), Semaphore(kernel, 1)
    queue: Queue[int] = Queue(kernel, 5)
    queue._accept(1)
    other = kernel.spawn(int)
    return {
        "sleep": lambda: kernel.sleep(0),
        "checkpoint": lambda: kernel.checkpoint("x"),
        "acquire": lock.acquire,
        "try_acquire": lock.try_acquire,
        "wait": event.wait,
        "permit": semaphore.acquire,
        "put": lambda: queue.put(5),
        "put_nowait": lambda: queue.put_nowait(5),
        "get": queue.get,
        "get_nowait": queue.get_nowait,
        "join": other.join,
        "spawn": lambda: kernel.spawn(int),
    }


TAKING = ["sleep", "checkpoint", "acquire", "try_acquire", "wait", "permit", "put", "put_nowait", "get", "get_nowait"]


@pytest.mark.parametrize("act", [*TAKING, "join", "spawn"])
def test_dead_task_cannot_take(kernel: Kernel, instance: Group, act: str) -> None:
    refused: list[str] = []
    acts = taking(kernel)

    def victim() -> None:
        try:
            kernel.sleep(100)
        finally:
            with pytest.raises(Crashed):
                acts[act]()
            refused.append(act)

    task = kernel.spawn(victim, group=instance)
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.run()
    assert refused == [act]
    assert task.state is TaskState.CRASHED


def test_dead_task_gives_back_what_it_held(kernel: Kernel, instance: Group) -> None:
    lock, semaphore, event = Lock(kernel), Semaphore(kernel, 0), Event(kernel)
    condition = Condition(kernel)
    seen: list[str] = []

    def victim() -> None:
        lock.acquire()
        condition.lock.acquire()
        try:
            kernel.sleep(100)
        finally:
            condition.notify_all()
            condition.lock.release()
            lock.release()
            semaphore.release()
            event.set()

    def outsider() -> None:
        with condition:
            condition.wait()
        with lock:
            semaphore.acquire()
            event.wait()
        seen.append("went on")

    waiter = kernel.spawn(outsider)
    kernel.timer(5, lambda _: kernel.spawn(victim, group=instance), "start")
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.run()
    assert seen == ["went on"]
    assert waiter.state is TaskState.DONE


def test_crash_in_condition_wait_leaves_the_lock_to_the_living(kernel: Kernel, instance: Group) -> None:
    condition = Condition(kernel)

    def with_block() -> None:
        with condition:
            condition.wait()

    def try_finally() -> None:
        condition.lock.acquire()
        try:
            condition.wait()
        finally:
            condition.lock.release()

    def around_the_group() -> None:
        with condition, instance:
            condition.wait()

    dead = [kernel.spawn(body, group=instance) for body in (with_block, try_finally)]
    dead.append(kernel.spawn(around_the_group))
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.run()
    assert [task.state for task in dead] == [TaskState.CRASHED] * 3
    assert not condition.lock.locked


def test_notification_of_one_who_dies_taking_the_lock_back_goes_to_the_next(kernel: Kernel, instance: Group) -> None:
    condition = Condition(kernel)
    seen: list[str] = []

    def wait(name: str) -> None:
        with condition:
            condition.wait()
            seen.append(name)

    def notify() -> None:
        kernel.sleep(5)
        with condition:
            condition.notify()
            kernel.sleep(5)
            instance.crash()
            kernel.sleep(5)

    kernel.spawn(wait, "victim", group=instance)
    kernel.timer(2, lambda _: kernel.spawn(wait, "survivor"), "start")
    kernel.spawn(notify)
    kernel.run()
    assert seen == ["survivor"]


def test_cancellation_of_a_client_in_a_crashed_instance_is_not_lost(kernel: Kernel, instance: Group) -> None:
    seen: list[str] = []

    def client() -> None:
        try:
            with instance:
                kernel.sleep(100)
        except Crashed:
            seen.append("crashed")
        try:
            kernel.sleep(100)
        except Cancelled:
            seen.append("cancelled")
            raise

    def end(_: object) -> None:
        task.cancel()
        instance.crash()

    def end_the_other_way_round(_: object) -> None:
        other_instance.crash()
        other.cancel()

    task = kernel.spawn(client)
    kernel.timer(10, end, "end")
    kernel.run()
    assert seen == ["crashed", "cancelled"]

    other_instance = instance = kernel.group("other")
    seen.clear()
    other = kernel.spawn(client)
    kernel.timer(10, end_the_other_way_round, "end")
    kernel.run()
    assert seen == ["crashed", "cancelled"]


def test_shield_does_not_hold_a_crash_back(kernel: Kernel, instance: Group) -> None:
    def body() -> None:
        with kernel.shield():
            kernel.sleep(100)

    task = kernel.spawn(body, group=instance)
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.run()
    assert task.state is TaskState.CRASHED
    assert kernel.now == 10


def test_crash_of_a_ready_task_takes_it_off_the_list(kernel: Kernel, instance: Group) -> None:
    steps: list[str] = []

    def crash() -> None:
        kernel.checkpoint("x")
        if not instance.crashed:
            instance.crash()

    def work() -> None:
        for _ in range(50):
            kernel.checkpoint("y")

    for _ in range(3):
        kernel.spawn(work, group=instance)
    kernel.spawn(crash)
    kernel.on_step = lambda task: steps.append(task.name)
    kernel.run()
    assert kernel.tasks == []


def test_dying_task_can_crash_another_group(kernel: Kernel, instance: Group) -> None:
    second = kernel.group("second")

    def body() -> None:
        try:
            kernel.sleep(100)
        finally:
            second.crash()

    kernel.spawn(body, group=instance)
    other = kernel.spawn(kernel.sleep, 100, group=second)
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.run()
    assert other.state is TaskState.CRASHED
    assert kernel.now == 10
