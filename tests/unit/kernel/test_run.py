"""The run: time, stages, processes, any-order mode, bounds, deadlocks."""

from collections.abc import Callable, Generator

import pytest

from simkit.kernel import BoundExceeded, Deadlock, Event, Happening, Kernel, Lock, MisuseError, TimedOut


def test_things_of_one_instant_happen_before_the_next_task_is_chosen(kernel: Kernel) -> None:
    seen: list[str] = []

    def body() -> None:
        kernel.sleep(5)
        seen.append("task")

    task = kernel.spawn(body)
    kernel.timer(5, lambda _: seen.append("timer"), "x")
    kernel.run()
    assert seen == ["timer", "task"]
    assert task.ended


def test_process_runs_from_happening_to_happening(kernel: Kernel) -> None:
    times: list[object] = []

    def model() -> Generator[Happening, None, str]:
        for _ in range(3):
            yield kernel.stage(10, None, "work", "x")
            times.append(kernel.now)
        return "done"

    kernel.process(model(), lambda result, error: times.append((result, error)))
    kernel.spawn(kernel.sleep, 100)
    kernel.run()
    assert times == [10, 20, 30, ("done", None)]


def test_error_of_a_process_goes_to_whoever_asked(kernel: Kernel) -> None:
    seen: list[object] = []

    def model() -> Generator[Happening, None, None]:
        yield kernel.stage(10, None, "work", "x")
        raise ValueError("no")

    kernel.process(model(), lambda result, error: seen.append(repr(error)))
    kernel.spawn(kernel.sleep, 20)
    kernel.run()
    assert seen == ["ValueError('no')"]


def test_error_of_a_process_that_nobody_asked_for_ends_the_run(kernel: Kernel) -> None:
    def model() -> Generator[Happening, None, None]:
        yield kernel.stage(10, None, "work", "x")
        raise ValueError("no")

    kernel.process(model())
    kernel.spawn(kernel.sleep, 20)
    with pytest.raises(ValueError, match="no"):
        kernel.run()


def test_process_goes_straight_on_from_what_has_happened(kernel: Kernel) -> None:
    seen: list[str] = []
    gate = kernel.gate("open", "x")
    gate.happen()

    def model() -> Generator[Happening, None, None]:
        yield gate
        seen.append("on")

    kernel.process(model())
    assert seen == ["on"]


def test_gate_happens_once(kernel: Kernel) -> None:
    gate = kernel.gate("open", "door")
    gate.happen()
    with pytest.raises(MisuseError, match="open door happens a second time"):
        gate.happen()


def test_process_that_waits_for_what_was_revoked_is_told(kernel: Kernel) -> None:
    gate = kernel.gate("open", "door")
    gate.revoke()
    gate.happen()

    def model() -> Generator[Happening, None, None]:
        yield gate

    with pytest.raises(MisuseError, match="open door, which was revoked"):
        kernel.process(model())


def test_any_order_reaches_every_order_of_replies(make_kernel: object) -> None:
    orders = set()
    for seed in range(60):
        kernel = make_kernel(seed, order="any")  # type: ignore[operator]
        order: list[str] = []
        for name in "abc":
            kernel.stage(ord(name), lambda _, name=name, order=order: order.append(name), "reply", name)
        kernel.spawn(lambda kernel=kernel, order=order: [kernel.checkpoint("x") for _ in range(200) if len(order) < 3])
        kernel.run()
        orders.add("".join(order))
    assert len(orders) == 6


def test_any_order_keeps_timers_in_order(make_kernel: object) -> None:
    for seed in range(20):
        kernel = make_kernel(seed, order="any")  # type: ignore[operator]
        seen: list[int] = []
        for duration in (30, 10, 20):
            kernel.timer(duration, lambda _, ns=duration, seen=seen: seen.append(ns), "t")
        kernel.spawn(kernel.sleep, 40)
        kernel.run()
        assert seen == [10, 20, 30]


def test_patient_timer_fires_at_its_time_in_timed_order(kernel: Kernel) -> None:
    fired: list[int] = []
    kernel.timer(5, lambda _: fired.append(kernel.now), "deadline", patient=True)
    kernel.spawn(kernel.sleep, 10)
    kernel.run()
    assert fired == [5]


@pytest.mark.parametrize("patient", [True, False])
def test_patient_timer_lets_every_reply_happen_first_in_any_order(
    make_kernel: Callable[..., Kernel], patient: bool
) -> None:
    early = 0
    for seed in range(30):
        kernel = make_kernel(seed, order="any")
        happened: list[str] = []
        note = happened.append

        def body(kernel: Kernel = kernel, note: Callable[[str], None] = note) -> None:
            kernel.timer(1, lambda _: note("deadline"), "deadline", patient=patient)
            for number in range(3):
                kernel.stage(1_000, lambda _: note("reply"), "reply", number)
            kernel.sleep(10)

        kernel.spawn(body)
        kernel.run()
        assert "deadline" in happened
        early += happened[-1] != "deadline"
    assert bool(early) is not patient


def test_patient_timer_fires_in_any_order_when_all_that_is_left_is_to_wait(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel(order="any")
    event = Event(kernel)
    kernel.timer(50, lambda _: event.set(), "deadline", patient=True)
    kernel.spawn(event.wait)
    kernel.run()
    assert kernel.now == 50


def test_patient_timer_that_was_revoked_keeps_nobody_waiting(make_kernel: Callable[..., Kernel]) -> None:
    kernel = make_kernel(order="any")
    kernel.timer(50, lambda _: None, "deadline", patient=True).revoke()
    kernel.spawn(kernel.sleep, 70)
    kernel.run()
    assert kernel.now == 70


def test_model_that_goes_round_for_ever_is_bounded_in_any_order(make_kernel: object) -> None:
    kernel = make_kernel(order="any")  # type: ignore[operator]

    def model() -> Generator[Happening, None, None]:
        while True:
            yield kernel.stage(1, None, "turn", "wheel")

    kernel.process(model())
    kernel.spawn(Event(kernel).wait)
    with pytest.raises(BoundExceeded, match="within 100 steps; the next was turn: turn wheel"):
        kernel.run(max_steps=100)


def test_run_goes_on_after_a_bound_was_reached(kernel: Kernel) -> None:
    def body() -> None:
        for _ in range(50):
            kernel.checkpoint("x")

    kernel.spawn(body, name="worker")
    kernel.spawn(kernel.sleep, 100)
    with pytest.raises(BoundExceeded, match="within 10 steps; the next was"):
        kernel.run(max_steps=10)
    with pytest.raises(BoundExceeded, match="within 50ns of simulated time"):
        kernel.run(until_ns=50)
    kernel.run(until_ns=100)
    assert kernel.now == 100


def test_deadlock_says_who_waits_for_what_held_by_whom_and_where(kernel: Kernel) -> None:
    first, second = Lock(kernel, "first"), Lock(kernel, "second")

    def cross(one: Lock, other: Lock) -> None:
        with one:
            kernel.sleep(5)
            with other:
                pass

    kernel.spawn(cross, first, second, name="left")
    kernel.spawn(cross, second, first, name="right")
    kernel.spawn(Event(kernel, "idle").wait, name="idler", background=True)
    with pytest.raises(Deadlock) as caught:
        kernel.run()
    report = str(caught.value)
    assert "nothing can run at 5ns and 2 task(s) still wait" in report
    assert "left waits to acquire second, held by right, since 5ns" in report
    assert "right waits to acquire first, held by left, since 5ns" in report
    assert "idler (background) waits to wait idle" in report
    assert "they wait in a circle: left -> right -> left" in report
    assert "with other:" in report
    assert "simkit/kernel/kernel.py" not in report


@pytest.mark.parametrize("carrier", ["greenlet", "thread"])
def test_waiting_shows_the_stack_of_the_task_alone(make_kernel: object, carrier: str) -> None:
    kernel = make_kernel(carrier=carrier)  # type: ignore[operator]
    event = Event(kernel)

    def inner() -> None:
        event.wait()

    kernel.spawn(inner)
    with pytest.raises(Deadlock):
        kernel.run()
    (waiting,) = kernel.waiting()
    assert "in inner" in waiting.stack
    assert "threading" not in waiting.stack
    assert len(waiting.stack.splitlines()) == 2


def test_timed_out_wait_is_not_a_deadlock(kernel: Kernel) -> None:
    def body() -> None:
        with pytest.raises(TimedOut), kernel.timeout(50):
            Event(kernel).wait()

    kernel.spawn(body)
    kernel.run()
