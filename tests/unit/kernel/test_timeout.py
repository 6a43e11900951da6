"""Timeouts: what they cut short, what they leave alone, and how they meet other interruptions."""

import pytest

from simkit.kernel import Cancelled, Event, Group, Kernel, Lock, MisuseError, TaskState, TimedOut


def test_block_that_takes_too_long_is_cut_short(kernel: Kernel) -> None:
    def body() -> None:
        with pytest.raises(TimedOut, match="client: not done within 10ns"), kernel.timeout(10):
            kernel.sleep(100)
        assert kernel.now == 10

    kernel.spawn(body, name="client")
    kernel.run()


def test_block_that_is_quick_is_left_alone(kernel: Kernel) -> None:
    def body() -> None:
        with kernel.timeout(10):
            kernel.sleep(9)
        kernel.sleep(100)

    kernel.spawn(body)
    kernel.run()
    assert kernel.now == 109


@pytest.mark.parametrize(("outer_ns", "inner_ns", "cut"), [(10, 20, "outer"), (20, 10, "inner"), (10, 10, "outer")])
def test_of_nested_timeouts_the_earlier_cuts(kernel: Kernel, outer_ns: int, inner_ns: int, cut: str) -> None:
    seen: list[str] = []

    def body() -> None:
        try:
            with kernel.timeout(outer_ns):
                try:
                    with kernel.timeout(inner_ns):
                        kernel.sleep(100)
                except TimedOut:
                    seen.append("inner")
        except TimedOut:
            seen.append("outer")

    kernel.spawn(body)
    kernel.run()
    assert seen == [cut]


def test_both_timeouts_cut_when_the_code_between_them_goes_on(kernel: Kernel) -> None:
    seen: list[tuple[str, int]] = []

    def body() -> None:
        try:
            with kernel.timeout(20):
                try:
                    with kernel.timeout(10):
                        kernel.sleep(100)
                except TimedOut:
                    seen.append(("inner", kernel.now))
                kernel.sleep(100)
        except TimedOut:
            seen.append(("outer", kernel.now))

    kernel.spawn(body)
    kernel.run()
    assert seen == [("inner", 10), ("outer", 20)]


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_cancellation_at_the_instant_of_a_timeout_is_not_lost(kernel: Kernel, cancelled_first: bool) -> None:
    seen: list[str] = []

    def body() -> None:
        try:
            with kernel.timeout(10):
                if not cancelled_first:
                    kernel.timer(10, lambda _: task.cancel(), "cancel")
                kernel.sleep(100)
        except TimedOut:
            seen.append("timed out")
        kernel.sleep(100)
        seen.append("not reached")

    task = kernel.spawn(body)
    if cancelled_first:
        kernel.timer(10, lambda _: task.cancel(), "cancel")
    kernel.timer(10, lambda _: None, "both come in one batch")
    kernel.run()
    assert task.state is TaskState.CANCELLED
    assert "not reached" not in seen


def test_outer_timeout_that_is_overtaken_does_not_swallow_a_cancellation(kernel: Kernel) -> None:
    """The timeout expires in a shield, then comes a cancel, then the block ends by itself."""
    seen: list[str] = []

    def body() -> None:
        with kernel.timeout(10), kernel.shield():
            kernel.sleep(30)
        seen.append("block ended")
        kernel.checkpoint("next")
        seen.append("not reached")

    task = kernel.spawn(body)
    kernel.timer(20, lambda _: task.cancel(), "cancel")
    kernel.run()
    assert seen == ["block ended"]
    assert task.state is TaskState.CANCELLED


def test_cancellation_passes_through_a_timeout(kernel: Kernel) -> None:
    def body() -> None:
        with pytest.raises(Cancelled), kernel.timeout(100):
            kernel.sleep(50)

    task = kernel.spawn(body)
    kernel.timer(10, lambda _: task.cancel(), "cancel")
    kernel.run()
    assert kernel.now == 10


def test_timeout_that_expires_as_its_block_ends_does_not_hit_later_code(kernel: Kernel) -> None:
    def body() -> None:
        with kernel.shield(), kernel.timeout(10):
            kernel.sleep(10)
        kernel.sleep(50)

    kernel.spawn(body)
    kernel.run()
    assert kernel.now == 60


def test_timeout_at_the_instant_of_the_wake_passes_the_grant_on(kernel: Kernel) -> None:
    lock = Lock(kernel)
    seen: list[object] = []

    def hold() -> None:
        with lock:
            kernel.sleep(10)

    def impatient() -> None:
        kernel.sleep(1)
        try:
            with kernel.timeout(9), lock:
                seen.append("impatient")
        except TimedOut:
            seen.append("timed out")

    def patient() -> None:
        kernel.sleep(2)
        with lock:
            seen.append("patient")

    for body in (hold, impatient, patient):
        kernel.spawn(body)
    kernel.run()
    assert seen[-1] == "patient"
    assert len(seen) == 2
    assert not lock.locked


def test_timeout_of_zero_lets_go_at_the_first_wait(kernel: Kernel) -> None:
    def body() -> None:
        with pytest.raises(TimedOut), kernel.timeout(0):
            Event(kernel).wait()

    kernel.spawn(body)
    kernel.run()
    assert kernel.now == 0


def test_timeout_is_used_once(kernel: Kernel) -> None:
    def body() -> None:
        timeout = kernel.timeout(5)
        with timeout:
            pass
        with pytest.raises(MisuseError, match="used once"), timeout:
            pass

    kernel.spawn(body)
    kernel.run()


@pytest.mark.parametrize("duration", [-1, 1.5])
def test_timeout_wants_whole_nanoseconds(kernel: Kernel, duration: float) -> None:
    with pytest.raises(MisuseError, match="duration"):
        kernel.timeout(duration)  # type: ignore[arg-type]


def test_timeout_outlives_a_crash_inside_its_block(kernel: Kernel) -> None:
    """The instance dies at the instant of the timeout; the client survives, and its own timeout still counts."""
    seen: list[str] = []
    instance = Group(kernel, "instance")

    def client() -> None:
        try:
            with kernel.timeout(10):
                try:
                    with instance:
                        kernel.sleep(100)
                except BaseException as error:  # noqa: BLE001
                    seen.append(type(error).__name__)
                kernel.sleep(100)
        except TimedOut:
            seen.append("timed out")

    kernel.spawn(client)
    kernel.timer(10, lambda _: instance.crash(), "crash")
    kernel.run()
    assert seen == ["Crashed", "timed out"]
    assert kernel.now == 10


def test_revoked_timeouts_do_not_delay_a_deadlock_report(kernel: Kernel) -> None:
    def body() -> None:
        with kernel.timeout(1_000_000):
            kernel.sleep(5)
        Event(kernel, "never").wait()

    kernel.spawn(body)
    with pytest.raises(Exception, match="nothing can run at 5ns"):
        kernel.run(until_ns=100)


def test_revoked_timeouts_are_swept_out(kernel: Kernel) -> None:
    lengths: list[int] = []

    def body() -> None:
        for _ in range(5_000):
            with kernel.timeout(1_000_000_000):
                kernel.sleep(1)
            lengths.append(len(kernel.clock.queue))

    kernel.spawn(body)
    kernel.run()
    assert max(lengths) < 1_000
