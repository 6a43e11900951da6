"""Tasks: their life, their errors, their cancellation."""

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from simkit.kernel import (
    Cancelled,
    Event,
    Kernel,
    Lock,
    MisuseError,
    Semaphore,
    TaskEndedEarly,
    TaskFailed,
    TaskState,
    TimedOut,
)


def test_join_returns_the_result(kernel: Kernel) -> None:
    results: list[int] = []
    worker = kernel.spawn(lambda a, b: a + b, 2, 3)
    kernel.spawn(lambda: results.append(worker.join()))
    kernel.run()
    assert results == [5]


def test_join_raises_what_the_task_raised(kernel: Kernel) -> None:
    def fail() -> None:
        kernel.sleep(5)
        raise ValueError("no")

    def join() -> None:
        with pytest.raises(ValueError, match="no"):
            worker.join()

    worker = kernel.spawn(fail)
    kernel.spawn(join)
    kernel.run()
    assert worker.state is TaskState.FAILED


def test_join_of_a_cancelled_task_says_that_it_has_no_result(kernel: Kernel) -> None:
    def join() -> None:
        worker.cancel()
        with pytest.raises(TaskEndedEarly, match="worker has no result: it was cancelled"):
            worker.join()

    worker = kernel.spawn(kernel.sleep, 10, name="worker")
    kernel.spawn(join)
    kernel.run()


def test_task_cannot_join_itself(kernel: Kernel) -> None:
    def body() -> None:
        with pytest.raises(MisuseError, match="me joins itself"):
            me.join()

    me = kernel.spawn(body, name="me")
    kernel.run()


def test_error_that_nobody_awaits_ends_the_run(kernel: Kernel) -> None:
    def fail() -> None:
        kernel.sleep(7)
        raise ValueError("no")

    kernel.spawn(fail, name="worker")
    kernel.spawn(kernel.sleep, 100)
    with pytest.raises(TaskFailed, match=r"worker failed at 7ns: ValueError\('no'\)") as caught:
        kernel.run()
    assert isinstance(caught.value.__cause__, ValueError)
    assert kernel.now == 7


def test_error_of_a_supervised_task_is_kept_for_a_later_join(kernel: Kernel) -> None:
    def fail() -> None:
        raise ValueError("no")

    def join() -> None:
        kernel.sleep(10)
        with pytest.raises(ValueError, match="no"):
            worker.join()

    worker = kernel.spawn(fail, supervised=True)
    kernel.spawn(join)
    kernel.run()


def test_error_is_not_lost_when_its_joiner_is_cancelled_at_the_same_instant(kernel: Kernel) -> None:
    seen: list[str] = []

    def fail() -> None:
        kernel.sleep(5)
        joiner.cancel()
        raise ValueError("no")

    def join() -> None:
        try:
            worker.join()
        except ValueError:
            seen.append("error")
        kernel.checkpoint("next")

    worker = kernel.spawn(fail)
    joiner = kernel.spawn(join)
    kernel.run()
    assert seen == ["error"]
    assert joiner.state is TaskState.CANCELLED


def test_join_that_succeeded_is_not_undone_by_a_late_cancellation(kernel: Kernel) -> None:
    seen: list[str] = []

    def work() -> str:
        kernel.sleep(5)
        joiner.cancel()
        return "result"

    def join() -> None:
        seen.append(worker.join())
        kernel.checkpoint("next")
        seen.append("not reached")

    worker = kernel.spawn(work)
    joiner = kernel.spawn(join)
    kernel.run()
    assert seen == ["result"]
    assert joiner.state is TaskState.CANCELLED


def test_error_of_a_task_whose_joiner_left_ends_the_run(kernel: Kernel) -> None:
    def fail() -> None:
        kernel.sleep(5)
        raise ValueError("no")

    def join() -> None:
        with pytest.raises(TimedOut), kernel.timeout(3):
            worker.join()

    worker = kernel.spawn(fail)
    kernel.spawn(join)
    with pytest.raises(TaskFailed):
        kernel.run()


def test_background_task_does_not_keep_the_run_alive(kernel: Kernel) -> None:
    def tick() -> None:
        while True:
            kernel.sleep(10)

    ticker = kernel.spawn(tick, background=True)
    kernel.spawn(kernel.sleep, 35)
    kernel.run()
    assert kernel.now == 35
    assert kernel.tasks == [ticker]


def test_run_without_foreground_tasks_is_over_at_once(kernel: Kernel) -> None:
    kernel.spawn(kernel.sleep, 10, background=True)
    kernel.run()
    assert kernel.steps == 0


def test_names_are_unique(kernel: Kernel) -> None:
    wanted = ["a", "a", "a-2", "a-3", "a", "a-07", "b-2", "b", "b", "-2", ""]
    names = [kernel.spawn(int, name=name).name for name in wanted]
    assert names == ["a", "a-2", "a-2-2", "a-3", "a-4", "a-07", "b-2", "b", "b-3", "-2", "task"]


def test_cancel_is_thrown_at_the_yield_point(kernel: Kernel) -> None:
    seen: list[int] = []

    def body() -> None:
        try:
            kernel.sleep(1_000)
        finally:
            seen.append(kernel.now)

    sleeper = kernel.spawn(body)
    kernel.timer(10, lambda _: sleeper.cancel("enough"), "cancel")
    kernel.run()
    assert seen == [10]
    assert sleeper.state is TaskState.CANCELLED
    assert str(sleeper.error) == "enough"


def test_cancel_before_the_first_step_runs_nothing(kernel: Kernel) -> None:
    ran: list[int] = []
    task = kernel.spawn(lambda: ran.append(1))
    task.cancel()
    kernel.run()
    assert ran == []
    assert task.state is TaskState.CANCELLED
    assert isinstance(task.error, Cancelled)


def test_task_that_cancels_itself_goes_on_to_its_next_yield(kernel: Kernel) -> None:
    seen: list[str] = []

    def body() -> None:
        task.cancel()
        seen.append("still here")
        kernel.checkpoint("next")
        seen.append("not reached")

    task = kernel.spawn(body)
    kernel.run()
    assert seen == ["still here"]
    assert task.state is TaskState.CANCELLED


def test_cancelling_an_ended_task_does_nothing(kernel: Kernel) -> None:
    task = kernel.spawn(lambda: 5)
    kernel.run()
    task.cancel()
    assert task.state is TaskState.DONE
    assert task.result == 5


def test_cancelling_twice_leaves_the_clean_up_alone(kernel: Kernel) -> None:
    seen: list[str] = []

    def body() -> None:
        try:
            kernel.sleep(100)
        finally:
            kernel.sleep(5)
            seen.append("clean")

    def cancel() -> None:
        kernel.sleep(1)
        task.cancel()
        task.cancel()

    task = kernel.spawn(body)
    kernel.spawn(cancel)
    kernel.run()
    assert seen == ["clean"]


def ends_by_itself(kernel: Kernel) -> None:
    kernel.sleep(5)


def fails(kernel: Kernel) -> None:
    kernel.sleep(5)
    raise ValueError("no")


def cancels_itself(kernel: Kernel) -> None:
    assert kernel.current is not None
    kernel.current.cancel()
    kernel.sleep(5)


def crashes(kernel: Kernel) -> None:
    group = kernel.group("process")
    with group:
        group.crash()


@pytest.mark.parametrize("ending", [ends_by_itself, fails, cancels_itself, crashes])
@pytest.mark.parametrize("carrier", ["greenlet", "thread"])
def test_end_of_a_task_is_told_however_it_ends(
    make_kernel: Callable[..., Kernel], carrier: str, ending: Callable[[Kernel], None]
) -> None:
    kernel = make_kernel(carrier=carrier)
    told: list[tuple[bool, object]] = []
    task = kernel.spawn(ending, kernel, supervised=True)
    task.at_end(lambda: told.append((task.ended, kernel.current)))
    kernel.run()
    assert told == [(True, None)]


def test_end_is_told_before_whoever_joins_goes_on(kernel: Kernel) -> None:
    told: list[str] = []

    def join() -> None:
        task.join()
        told.append("joined")

    task = kernel.spawn(kernel.sleep, 5)
    task.at_end(lambda: told.append("ended"))
    kernel.spawn(join)
    kernel.run()
    assert told == ["ended", "joined"]


def test_end_of_a_task_that_never_ran_is_told(kernel: Kernel) -> None:
    told: list[str] = []
    task = kernel.spawn(told.append, "ran")
    task.at_end(lambda: told.append("ended"))
    task.cancel()
    kernel.run()
    assert told == ["ended"]


def test_callback_given_twice_is_called_once_and_one_taken_back_never(kernel: Kernel) -> None:
    told: list[str] = []

    def twice() -> None:
        told.append("twice")

    def never() -> None:
        told.append("never")

    task = kernel.spawn(kernel.sleep, 5)
    for callback in (twice, never, twice):
        task.at_end(callback)
    task.not_at_end(never)
    task.not_at_end(never)
    kernel.run()
    assert told == ["twice"]


def test_callback_at_the_end_can_give_back_and_wake(kernel: Kernel) -> None:
    """What a pool does for a holder that walked off: the next one gets what it held."""
    places = Semaphore(kernel, 1)
    for _ in range(2):
        kernel.spawn(places.acquire).at_end(places.release)
    kernel.run()
    assert places.statistics().acquired_total == 2


def test_shield_holds_a_cancellation_back_until_the_next_yield(kernel: Kernel) -> None:
    seen: list[object] = []

    def body() -> None:
        with kernel.shield():
            kernel.sleep(100)
            seen.append(kernel.now)
        seen.append("after")
        kernel.checkpoint("next")
        seen.append("not reached")

    task = kernel.spawn(body)
    kernel.timer(10, lambda _: task.cancel(), "cancel")
    kernel.run()
    assert seen == [100, "after"]
    assert task.state is TaskState.CANCELLED


def test_cancel_reaches_a_task_that_has_been_woken_with_a_value(kernel: Kernel) -> None:
    seen: list[object] = []

    def body() -> None:
        try:
            seen.append(kernel.park("wait", "x"))
        except Cancelled:
            seen.append("cancelled")
        seen.append(kernel.park("wait again", "x"))

    def wake() -> None:
        kernel.sleep(1)
        kernel.wake(task, "lost")
        task.cancel()
        kernel.sleep(1)
        kernel.wake(task, "second")

    task = kernel.spawn(body)
    kernel.spawn(wake)
    kernel.run()
    assert seen == ["cancelled", "second"]


def test_waking_a_task_that_does_not_wait_does_nothing(kernel: Kernel) -> None:
    task = kernel.spawn(kernel.checkpoint, "here")
    kernel.wake(task, "value")
    kernel.run()
    kernel.wake(task, "value")
    assert task.state is TaskState.DONE


def test_interruption_with_another_error_before_the_first_step_fails_the_task(kernel: Kernel) -> None:
    task = kernel.spawn(kernel.sleep, 5)
    kernel.interrupt(task, ValueError("no"))
    with pytest.raises(TaskFailed, match="no"):
        kernel.run()


@pytest.mark.parametrize("duration", [-1, 0.5, True, "5"])
def test_sleep_wants_whole_nanoseconds(kernel: Kernel, duration: object) -> None:
    def body() -> None:
        with pytest.raises(MisuseError, match="duration"):
            kernel.sleep(duration)  # type: ignore[arg-type]

    kernel.spawn(body)
    kernel.run()


def test_waiting_outside_a_task_says_so(kernel: Kernel) -> None:
    lock, event = Lock(kernel, "gate"), Event(kernel, "flag")
    for act in (lambda: kernel.sleep(5), lock.acquire, lock.release, event.wait, lambda: kernel.park("wait", "x")):
        with pytest.raises(MisuseError, match=r"no task of this kernel|only a task of this kernel"):
            act()


def test_yielding_outside_a_task_does_nothing(kernel: Kernel) -> None:
    kernel.checkpoint("setup")
    assert kernel.steps == 0


def test_run_inside_its_own_run_says_so(kernel: Kernel) -> None:
    def body() -> None:
        with pytest.raises(MisuseError, match="from inside its own run"):
            kernel.run()
        with pytest.raises(MisuseError, match="from inside its own run"):
            kernel.close()

    kernel.spawn(body)
    kernel.run()


def test_kernel_within_a_task_of_another_kernel_works(kernel: Kernel, make_kernel: object) -> None:
    results: list[int] = []

    def outer() -> None:
        inner = make_kernel()  # type: ignore[operator]
        inner.spawn(inner.sleep, 50)
        inner.run()
        results.append(inner.now)
        inner.close()
        kernel.sleep(7)
        results.append(kernel.now)

    kernel.spawn(outer)
    kernel.run()
    assert results == [50, 7]


def test_interrupt_from_the_keyboard_is_not_taken_for_a_failure_of_the_task(kernel: Kernel) -> None:
    def body() -> None:
        raise KeyboardInterrupt

    task = kernel.spawn(body)
    kernel.spawn(task.join)
    with pytest.raises(KeyboardInterrupt):
        kernel.run()


def test_close_ends_tasks_in_every_state(kernel: Kernel) -> None:
    lock = Lock(kernel)
    ended: list[str] = []

    def hold() -> None:
        try:
            with lock:
                kernel.sleep(10_000)
        finally:
            ended.append("holder")

    def want() -> None:
        kernel.sleep(1)
        try:
            with lock:
                ended.append("never")
        finally:
            ended.append("waiter")

    def stubborn() -> None:
        while True:
            try:
                kernel.sleep(10_000)
            finally:
                ended.append("stubborn")
                kernel.sleep(5)

    def spawning() -> None:
        try:
            kernel.sleep(10_000)
        finally:
            with pytest.raises(MisuseError, match="closed"):
                kernel.spawn(int)

    tasks = [kernel.spawn(body) for body in (hold, want, stubborn, spawning)]
    kernel.spawn(kernel.sleep, 5)
    with pytest.raises(Exception, match="did not end within"):
        kernel.run(until_ns=50)
    tasks.append(kernel.spawn(int))
    tasks.append(kernel.spawn(int))
    tasks[-1].cancel()
    kernel.close()
    assert ended == ["holder", "waiter", "stubborn"]
    assert {task.state for task in tasks} <= {TaskState.CRASHED, TaskState.CANCELLED}
    assert kernel.tasks == []


def test_closed_kernel_keeps_its_history(kernel: Kernel) -> None:
    def model() -> object:
        try:
            yield kernel.stage(5, None, "never", "x")
        finally:
            kernel.record(object())  # type: ignore[arg-type]

    with kernel:
        kernel.process(model())  # type: ignore[arg-type]
    gc.collect()
    assert kernel.history == []
    assert kernel.closed


def test_ended_tasks_leave_nothing_behind(make_kernel: object) -> None:
    kernel = make_kernel()  # type: ignore[operator]
    sizes: list[int] = []

    def short() -> None:
        with kernel.timeout(1_000_000_000):
            kernel.sleep(3)

    def many(count: int) -> None:
        for _ in range(count):
            kernel.spawn(short, name="short").join()

    def body() -> None:
        many(1_000)
        for _ in range(2):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
            many(10_000)
            kernel.decisions.log.clear()

    kernel.spawn(body)
    tracemalloc.start()
    try:
        kernel.run()
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 100_000
