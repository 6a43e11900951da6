"""Decisions: streams, the record, strict replay, and that nothing but them reaches a run (DET-1)."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from simkit.kernel import Decision, Decisions, Kernel, MisuseError, Option, Record, RecordedDecisions, ReplayDivergence
from simkit.kernel import digest as digest_of

REPOSITORY = Path(__file__).resolve().parents[3]
OLDEST = (3, 11)


def test_draws_of_one_stream_move_no_other() -> None:
    alone, mixed = Decisions(7), Decisions(7)
    expected = [alone.choose("a", 1_000) for _ in range(20)]
    actual = []
    for _ in range(20):
        mixed.choose("b", 10)
        actual.append(mixed.choose("a", 1_000))
    assert actual == expected


def test_choice_among_one_is_no_decision() -> None:
    decisions = Decisions(0)
    assert decisions.choose("a", 1) == 0
    assert decisions.log == []


def test_choice_among_none_says_so() -> None:
    with pytest.raises(MisuseError, match="among 0 options was asked of stream 'a'"):
        Decisions(0).choose("a", 0)


def test_streams_give_the_same_numbers_everywhere() -> None:
    assert [Decisions(1).choose(name, 1_000_000) for name in ("schedule", "latency/get_pages")] == [732617, 310122]


def play(kernel: Kernel, names: Sequence[str] = ("a", "b", "c")) -> None:
    def body(latency: str) -> None:
        for _ in range(3):
            kernel.sleep(kernel.decisions.choose(f"latency/{latency}", 10))

    for name in names:
        kernel.spawn(body, name, name=name)
    with kernel:
        kernel.run()
        kernel.decisions.finish()


@pytest.fixture
def log() -> list[Decision]:
    kernel = Kernel(Decisions(3))
    play(kernel)
    return kernel.decisions.log


def test_replay_takes_the_recorded_decisions(log: list[Decision]) -> None:
    kernel = Kernel(RecordedDecisions(99, log))
    play(kernel)
    assert kernel.decisions.log == log


def test_replay_stops_at_the_first_difference_and_shows_both_sides(log: list[Decision]) -> None:
    with pytest.raises(ReplayDivergence) as caught:
        play(Kernel(RecordedDecisions(3, log)), ("a", "b"))
    stream, options, value, what = log[0]
    assert "at decision 0" in str(caught.value)
    assert f"recorded: {stream}: option {value} of {options} ({what})" in str(caught.value)
    assert "this run: schedule: a choice among 2 (a: start, b: start)" in str(caught.value)


def test_replay_stops_when_another_task_stands_at_the_recorded_place(log: list[Decision]) -> None:
    with pytest.raises(ReplayDivergence, match="at decision 0"):
        play(Kernel(RecordedDecisions(3, log)), ("x", "y", "z"))


def test_replay_stops_when_the_record_is_too_short(log: list[Decision]) -> None:
    with pytest.raises(ReplayDivergence, match="recorded: nothing: the record ends after 2 decisions"):
        play(Kernel(RecordedDecisions(3, log[:2])))


def test_replay_stops_when_the_record_goes_on(log: list[Decision]) -> None:
    with pytest.raises(ReplayDivergence, match="recorded next: schedule: option 1 of 2"):
        play(Kernel(RecordedDecisions(3, [*log, ("schedule", 2, 1, "a")])))


def test_damaged_record_is_told_from_a_difference(log: list[Decision]) -> None:
    stream, options, _, what = log[0]
    with pytest.raises(MisuseError, match="recorded decision 0 is damaged"):
        play(Kernel(RecordedDecisions(3, [(stream, options, options, what), *log[1:]])))


def test_strategy_sees_what_every_option_is_about_to_do() -> None:
    seen: list[list[tuple[str, str, str]]] = []

    class Last:
        name = "last"

        def start(self, draw: object) -> None:
            pass

        def pick(self, options: Sequence[Option]) -> int:
            seen.append([(option.name, option.operation, str(option.resource)) for option in options])
            return len(options) - 1

    with Kernel(Decisions(0), strategy=Last()) as kernel:
        kernel.spawn(kernel.checkpoint, "here", name="a")
        kernel.spawn(kernel.checkpoint, "there", name="b")
        kernel.run()
    assert seen[0] == [("a", "start", ""), ("b", "start", "")]
    assert seen[1] == [("a", "start", ""), ("b", "checkpoint", "there")]


def test_digest_tells_runs_apart() -> None:
    decisions = [("schedule", 2, 1, "a")]
    record = Record(at=1, task="a")
    digests = [
        digest_of([], []),
        digest_of([record], []),
        digest_of([], decisions),
        digest_of([record], decisions),
        digest_of([Record(at=2, task="a")], decisions),
    ]
    assert len(set(digests)) == len(digests)


PROGRAM = """
from simkit.kernel import Decisions, Event, Kernel, Lock, Queue, Record, TimedOut, digest

class Did(Record):
    what: str

total = []
for seed in range(10):
    for order in ("timed", "any"):
        with Kernel(Decisions(seed), order=order) as kernel:
            lock, queue, group = Lock(kernel), Queue(kernel, 2), kernel.group("group")

            def note(what):
                kernel.record(Did(at=kernel.now, task=kernel.current.name, what=what))

            def model(number):
                yield kernel.stage(kernel.decisions.choose("latency", 50), None, "work", number)

            def body(number):
                for turn in range(5):
                    with lock:
                        kernel.sleep(number)
                    kernel.process(model(number))
                    try:
                        with kernel.timeout(30):
                            queue.put(number)
                            note(f"got {queue.get()}")
                    except TimedOut as error:
                        note(str(error))

            for number in range(6):
                kernel.spawn(body, number, name=f"client-{number}", group=group if number == 5 else None)
            kernel.timer(60, lambda _: group.crash(), "crash")
            kernel.run()
            total.append(digest(kernel.history, kernel.decisions.log))
print(" ".join(total))
"""


def digests_of(python: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(REPOSITORY)}
    command = [python, "-c", PROGRAM]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def other_pythons() -> list[str]:
    """Every other CPython from 3.11 on the PATH and of pyenv, by the path of its executable."""
    directories = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    home = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    directories += sorted(home.glob("versions/*/bin"))
    names = [f"python3.{minor}" for minor in range(OLDEST[1], OLDEST[1] + 9)]
    found = {str(directory / name) for directory in directories for name in names if (directory / name).is_file()}
    return sorted(path for path in found if "shims" not in path)


def version_of(python: str) -> tuple[int, ...] | None:
    """The version of a CPython that can import what the kernel needs."""
    code = "import sys, greenlet, simpy, msgspec; print(sys.implementation.name, *sys.version_info[:3])"
    try:
        result = subprocess.run([python, "-c", code], capture_output=True, check=False, text=True)
    except OSError:
        return None
    name, *version = result.stdout.split() or [""]
    return tuple(map(int, version)) if result.returncode == 0 and name == "cpython" else None


def test_run_is_the_same_in_a_process_with_other_hashes() -> None:
    first = digests_of(sys.executable, "1")
    assert len(first.split()) == 20
    assert first == digests_of(sys.executable, "2")


def test_run_is_the_same_under_every_python_that_is_installed() -> None:
    versions = {version_of(python): python for python in other_pythons()}
    others = {version: python for version, python in versions.items() if version and version != sys.version_info[:3]}
    if not others:
        pytest.skip("no other CPython from 3.11 with simpy, greenlet and msgspec is installed")
    expected = digests_of(sys.executable, "0")
    assert {version: digests_of(python, "3") for version, python in others.items()} == dict.fromkeys(others, expected)
