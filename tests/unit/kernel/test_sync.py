"""Lock, Event, Condition, Semaphore and Queue: what each promises, and what it says when it is misused."""

import pytest

from simkit.kernel import (
    Cancelled,
    Condition,
    Decisions,
    Event,
    Kernel,
    Lock,
    MisuseError,
    Queue,
    QueueEmpty,
    QueueFull,
    Semaphore,
    TaskState,
    TimedOut,
)


def test_lock_is_handed_over_in_the_order_of_arrival(kernel: Kernel) -> None:
    lock = Lock(kernel)
    order: list[int] = []

    def want(number: int) -> None:
        kernel.sleep(number)
        with lock:
            kernel.sleep(100)
            order.append(number)

    for number in range(5):
        kernel.spawn(want, number)
    kernel.run()
    assert order == [0, 1, 2, 3, 4]
    assert lock.statistics().acquired_total == 5
    assert lock.statistics().contended_total == 4


@pytest.mark.parametrize("seed", range(20))
def test_place_in_line_for_a_lock_is_that_of_the_call(seed: int) -> None:
    kernel = Kernel(Decisions(seed))
    lock = Lock(kernel)
    called: list[int] = []
    served: list[int] = []

    def want(number: int) -> None:
        called.append(number)
        with lock:
            kernel.checkpoint("inside")
            served.append(number)

    for number in range(6):
        kernel.spawn(want, number)
    kernel.run()
    assert served == called


def test_cancelled_right_after_it_got_a_free_lock_gives_it_back(kernel: Kernel) -> None:
    lock = Lock(kernel)

    def want() -> None:
        with lock:
            raise AssertionError("it was cancelled before")

    def cancel() -> None:
        kernel.require_task("cancel").cancel()
        want()

    task = kernel.spawn(cancel)
    kernel.run()
    assert task.state is TaskState.CANCELLED
    assert not lock.locked
    assert lock.statistics().acquired_total == 0


def test_lock_names_owner_and_waiters(kernel: Kernel) -> None:
    lock = Lock(kernel, "gate")

    def hold() -> None:
        with lock:
            kernel.sleep(10)
            assert lock.statistics().owner == "holder"
            assert lock.statistics().waiting == ("waiter",)

    kernel.spawn(hold, name="holder")
    kernel.timer(5, lambda _: kernel.spawn(lock.acquire, name="waiter"), "start")
    kernel.run()


def test_misuse_of_a_lock_says_what_was_done(kernel: Kernel) -> None:
    lock = Lock(kernel, "gate")

    def body() -> None:
        with pytest.raises(MisuseError, match="me releases gate, which is free; only its owner may release a Lock"):
            lock.release()
        with lock, pytest.raises(MisuseError, match="me acquires gate, which it already holds"):
            lock.acquire()
        kernel.spawn(lock.acquire, name="other").join()
        with pytest.raises(MisuseError, match="held by other"):
            lock.release()

    kernel.spawn(body, name="me")
    kernel.run()


def test_try_acquire_takes_only_a_free_lock(kernel: Kernel) -> None:
    lock = Lock(kernel)
    taken = [kernel.spawn(lock.try_acquire) for _ in range(2)]
    kernel.run()
    assert sorted(task.result for task in taken) == [False, True]


def test_release_is_not_cancelled(kernel: Kernel) -> None:
    lock = Lock(kernel)

    def body() -> None:
        lock.acquire()
        task.cancel()
        lock.release()
        with pytest.raises(Cancelled):
            kernel.checkpoint("next")

    task = kernel.spawn(body)
    kernel.run()
    assert not lock.locked


def test_event_wakes_everybody_and_stays_set(kernel: Kernel) -> None:
    event = Event(kernel)
    waiters = [kernel.spawn(event.wait) for _ in range(3)]

    def set_it() -> None:
        kernel.sleep(5)
        assert len(event.statistics().waiting) == 3
        event.set()
        event.wait()

    kernel.spawn(set_it)
    kernel.run()
    assert all(task.state is TaskState.DONE for task in waiters)
    assert event.is_set


def test_event_that_was_cleared_makes_wait_again(kernel: Kernel) -> None:
    event = Event(kernel)
    event.set()
    event.clear()

    def body() -> None:
        with pytest.raises(TimedOut), kernel.timeout(5):
            event.wait()
        assert event.statistics().waiting == ()

    kernel.spawn(body)
    kernel.run()


@pytest.mark.parametrize("notified", [0, 1, 2, 5])
def test_notify_wakes_so_many_and_no_more(kernel: Kernel, notified: int) -> None:
    condition = Condition(kernel)
    woken: list[int] = []

    def wait(number: int) -> None:
        kernel.sleep(number)
        with condition:
            condition.wait()
            woken.append(number)

    def notify() -> None:
        kernel.sleep(10)
        with condition:
            condition.notify(notified)
        kernel.sleep(10)

    for number in range(3):
        kernel.spawn(wait, number, background=True)
    kernel.spawn(notify)
    kernel.run()
    assert sorted(woken) == list(range(min(notified, 3)))
    assert condition.statistics().notified_total == len(woken)


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_notification_of_one_who_is_cancelled_goes_to_the_next(kernel: Kernel, cancelled_first: bool) -> None:
    condition = Condition(kernel)
    woken: list[int] = []

    def wait(number: int) -> None:
        kernel.sleep(number)
        with condition:
            condition.wait()
            woken.append(number)

    def notify() -> None:
        kernel.sleep(10)
        with condition:
            waiters[0].cancel() if cancelled_first else condition._pass_on()
            condition._pass_on() if cancelled_first else waiters[0].cancel()

    waiters = [kernel.spawn(wait, number) for number in range(2)]
    kernel.spawn(notify)
    kernel.run()
    assert woken == [1]


def test_cancelled_wait_holds_the_lock_as_it_goes_up(kernel: Kernel) -> None:
    condition = Condition(kernel)
    held: list[bool] = []

    def wait() -> None:
        with condition:
            try:
                condition.wait()
            finally:
                held.append(condition.lock.owner is kernel.current)

    def hold() -> None:
        kernel.sleep(5)
        with condition:
            task.cancel()
            kernel.sleep(50)
            task.cancel()

    task = kernel.spawn(wait)
    kernel.spawn(hold)
    kernel.run()
    assert held == [True]
    assert task.state is TaskState.CANCELLED
    assert not condition.lock.locked


def test_cancellation_while_the_lock_is_taken_back_waits(kernel: Kernel) -> None:
    condition = Condition(kernel)
    seen: list[str] = []

    def wait() -> None:
        with condition:
            condition.wait()
            seen.append("notified")
            kernel.checkpoint("next")
            seen.append("not reached")

    def notify() -> None:
        kernel.sleep(5)
        with condition:
            condition.notify()
            kernel.sleep(5)
            task.cancel()

    task = kernel.spawn(wait)
    kernel.spawn(notify)
    kernel.run()
    assert seen == ["notified"]
    assert task.state is TaskState.CANCELLED


def test_condition_without_its_lock_says_so(kernel: Kernel) -> None:
    condition = Condition(kernel, name="ready")

    def body() -> None:
        for act, verb in ((condition.wait, "waits on"), (condition.notify, "notifies")):
            with pytest.raises(MisuseError, match=f"me {verb} ready without holding ready.lock; acquire it first"):
                act()
        with condition, pytest.raises(MisuseError, match="cannot notify -1 tasks"):
            condition.notify(-1)

    kernel.spawn(body, name="me")
    kernel.run()


def test_semaphore_admits_as_many_as_it_has_permits(kernel: Kernel) -> None:
    semaphore = Semaphore(kernel, 2)
    inside: list[int] = []
    most: list[int] = []

    def body(number: int) -> None:
        with semaphore:
            inside.append(number)
            most.append(len(inside))
            kernel.sleep(10)
            inside.remove(number)

    for number in range(6):
        kernel.spawn(body, number)
    kernel.run()
    assert max(most) == 2
    assert semaphore.permits == 2
    assert kernel.now == 30
    assert semaphore.statistics().acquired_total == 6


def test_permit_granted_to_one_who_is_cancelled_goes_to_the_next(kernel: Kernel) -> None:
    semaphore = Semaphore(kernel, 0)
    waiters = [kernel.spawn(semaphore.acquire) for _ in range(3)]

    def release(_: object) -> None:
        first = next(task for task in waiters if task.name == semaphore.statistics().waiting[0])
        semaphore.release()
        first.cancel()
        semaphore.release()

    kernel.timer(5, release, "release")
    kernel.run()
    assert [task.state for task in waiters].count(TaskState.DONE) == 2
    assert semaphore.permits == 0


def test_misuse_of_a_semaphore_says_what_was_done(kernel: Kernel) -> None:
    with pytest.raises(MisuseError, match="0 <= permits <= maximum"):
        Semaphore(kernel, -1)
    with pytest.raises(MisuseError, match="0 <= permits <= maximum"):
        Semaphore(kernel, 3, maximum=2)
    with pytest.raises(MisuseError, match="readers is released more often than acquired"):
        Semaphore(kernel, 2, "readers", maximum=2).release()


def test_queue_is_first_in_first_out_and_bounded(kernel: Kernel) -> None:
    queue: Queue[int] = Queue(kernel, 2)
    got: list[int] = []

    def put() -> None:
        for item in range(20):
            queue.put(item)
            assert len(queue) <= 2

    def get() -> None:
        got.extend(queue.get() for _ in range(20))

    kernel.spawn(put)
    kernel.spawn(get)
    kernel.run()
    assert got == list(range(20))


def test_items_handed_to_getters_who_are_cancelled_keep_their_order(make_kernel: object) -> None:
    for seed in range(20):
        kernel = make_kernel(seed)  # type: ignore[operator]
        queue: Queue[int] = Queue(kernel, 5)
        getters = [kernel.spawn(queue.get) for _ in range(3)]

        def put(_: object, kernel: Kernel = kernel, queue: Queue[int] = queue, getters: list[object] = getters) -> None:
            for item in range(5):
                queue.put_nowait(item)
            for getter in getters:
                getter.cancel()  # type: ignore[attr-defined]

        kernel.timer(5, put, "put")
        kernel.run()
        assert [queue.get_nowait() for _ in range(5)] == [0, 1, 2, 3, 4]


def test_put_that_is_interrupted_before_its_item_was_accepted_leaves_nothing(kernel: Kernel) -> None:
    queue: Queue[str] = Queue(kernel, 1)
    queue.put_nowait("first")

    def put() -> None:
        with pytest.raises(TimedOut), kernel.timeout(5):
            queue.put("second")
        assert queue.statistics().putting == ()

    kernel.spawn(put)
    kernel.run()
    assert queue.get_nowait() == "first"
    with pytest.raises(QueueEmpty):
        queue.get_nowait()


def test_put_whose_item_was_accepted_is_not_undone_by_a_late_timeout(kernel: Kernel) -> None:
    queue: Queue[str] = Queue(kernel, 1)
    queue.put_nowait("first")
    seen: list[str] = []

    def put() -> None:
        with kernel.timeout(5):
            queue.put("second")
        kernel.checkpoint("next")
        seen.append("put")

    kernel.timer(5, lambda _: seen.append(queue.get_nowait()), "get")
    kernel.spawn(put)
    kernel.run()
    assert seen == ["first", "put"]
    assert queue.get_nowait() == "second"


def test_misuse_of_a_queue_says_what_was_done(kernel: Kernel) -> None:
    with pytest.raises(MisuseError, match="jobs: capacity 0; a queue holds at least one item"):
        Queue(kernel, 0, "jobs")
    queue: Queue[int] = Queue(kernel, 1, "jobs")
    queue.put_nowait(1)
    with pytest.raises(QueueFull, match="jobs holds 1 items"):
        queue.put_nowait(2)
    assert queue.statistics().put_total == 1
