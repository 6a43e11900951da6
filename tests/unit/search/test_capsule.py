"""Capsules: what they carry, that damage is told from difference, and that a replay is the run to the byte."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.cli.subjects import plant
from simkit.kernel import ReplayDivergence
from simkit.scenario.plan import Statement
from simkit.search.capsule import Capsule, CapsuleError, _checksum, capsule_of, read_capsule, write_capsule
from simkit.search.cases import Case, run_case
from simkit.search.execute import Run
from simkit.search.replay import replay
from simkit.search.subject import Subject, load_source, make_subject

VALUES: dict[str, int | float | str | bytes | None] = {
    "nan": math.nan,
    "inf": math.inf,
    "minus_inf": -math.inf,
    "minus_zero": -0.0,
    "subnormal": 5e-324,
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "past_double": 2**53 + 1,
    "nul": "a\0b",
    "beyond_plane": "\U0001f600",
    "blob": bytes(range(256)),
    "nothing": None,
}


@pytest.fixture
def path(tmp_path: Path, counter: Subject, counter_run: Run) -> Path:
    file = tmp_path / "run.capsule.json"
    write_capsule(capsule_of(counter.source, counter_run), file)
    return file


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes a capsule by hand, and its checksum along with it."""
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    body = {key: value for key, value in document.items() if key not in ("format", "format_version", "checksum")}
    document["checksum"] = _checksum(body)
    path.write_text(json.dumps(document), encoding="utf-8")


def with_decisions(path: Path, change: Callable[[list[Any]], None]) -> Capsule:
    capsule = read_capsule(path)
    decisions = list(capsule.decisions)
    change(decisions)
    write_capsule(msgspec.structs.replace(capsule, decisions=decisions), path)
    return read_capsule(path)


def test_what_is_read_is_what_was_written(path: Path, counter: Subject, counter_run: Run) -> None:
    assert read_capsule(path) == capsule_of(counter.source, counter_run)


def test_replay_is_the_run_to_the_byte(path: Path, counter_run: Run) -> None:
    capsule = read_capsule(path)
    again = replay(make_subject(capsule.source, plant), capsule)
    assert again.faithful
    assert again.run.history == counter_run.history


def test_violations_travel_along(tmp_path: Path, planted: Subject) -> None:
    run = run_case(planted, Case(3))
    assert run.violations
    write_capsule(capsule_of(planted.source, run), tmp_path / "planted")
    capsule = read_capsule(tmp_path / "planted")
    assert capsule.violations == run.violations
    again = replay(make_subject(capsule.source, plant), capsule)
    assert again.faithful
    assert again.run.violations == run.violations


def test_every_value_that_sqlite_stores_survives(path: Path) -> None:
    capsule = read_capsule(path)
    step = Statement(operation="", sql="SELECT 1", params=VALUES)
    plan = msgspec.structs.replace(
        capsule.plan, clients=(msgspec.structs.replace(capsule.plan.clients[0], steps=(step,)),)
    )
    write_capsule(msgspec.structs.replace(capsule, plan=plan), path)
    (read,) = read_capsule(path).plan.clients[0].steps
    assert isinstance(read, Statement)
    assert repr(read.params) == repr(VALUES)


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 + 1, 10**30 + 7])
def test_seed_of_any_size_survives(path: Path, seed: int) -> None:
    write_capsule(msgspec.structs.replace(read_capsule(path), seed=seed), path)
    assert read_capsule(path).seed == seed


def test_attached_file_travels_along(tmp_path: Path, counter_text: str) -> None:
    (tmp_path / "round-trips.csv").write_text("milliseconds\n1.5\n2.25\n", encoding="utf-8")
    file = tmp_path / "counter.yaml"
    file.write_text(counter_text + "latency: {commit: {rtt: {file: round-trips.csv}}}\n", encoding="utf-8")
    subject = make_subject(load_source(str(file)), plant)
    write_capsule(capsule_of(subject.source, run_case(subject, Case(1))), tmp_path / "run.capsule.json")
    (tmp_path / "round-trips.csv").unlink()
    file.unlink()
    capsule = read_capsule(tmp_path / "run.capsule.json")
    assert replay(make_subject(capsule.source, plant), capsule).faithful


def test_large_capsule_survives(path: Path) -> None:
    capsule = with_decisions(path, lambda decisions: decisions.extend([("schedule", 7, 3, "x" * 50)] * 500_000))
    assert len(capsule.decisions) > 500_000


@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_flipped_byte_is_damage_or_changes_nothing(damage_path: Path, where: float, flip: int) -> None:
    whole = damage_path.read_bytes()
    at = int(where * len(whole))
    damaged = damage_path.with_name("flipped.capsule.json")
    damaged.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
    try:
        read = read_capsule(damaged)
    except CapsuleError:
        return
    assert read == read_capsule(damage_path)  # white space, for example


@given(where=st.floats(0, 1, exclude_max=True))
def test_cut_file_is_damage_or_changes_nothing(damage_path: Path, where: float) -> None:
    whole = damage_path.read_bytes().rstrip()
    damaged = damage_path.with_name("cut.capsule.json")
    damaged.write_bytes(whole[: int(where * len(whole))])
    with pytest.raises(CapsuleError):
        read_capsule(damaged)


@pytest.fixture(scope="module")
def damage_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = load_source(str(Path(__file__).parents[3] / "scenarios" / "smallest.yaml"))
    file = tmp_path_factory.mktemp("capsules") / "run.capsule.json"
    write_capsule(capsule_of(source, run_case(make_subject(source, plant), Case(1))), file)
    return file


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\xff\xfe",
        b"null",
        b"[]",
        b"3",
        b"{}",
        b'{"format": "simkit-capsule"}',
        b"[" * 100_000,
        b"NaN",
        b'"\xff"',
    ],
)
def test_what_is_no_capsule_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "no").write_bytes(content)
    with pytest.raises(CapsuleError):
        read_capsule(tmp_path / "no")


def test_folder_and_missing_file_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CapsuleError, match="cannot read"):
            read_capsule(path)


def test_other_format_version_says_which_simkit_wrote_it(path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["format_version"] = 99
        document["versions"]["simkit"] = "9.9.9"

    edit(path, change)
    with pytest.raises(CapsuleError, match=r"format 99.*written by simkit 9\.9\.9"):
        read_capsule(path)


def test_field_of_a_later_version_is_passed_over(path: Path) -> None:
    expected = read_capsule(path)

    def change(document: dict[str, Any]) -> None:
        document["mood"] = "good"
        document["source"]["colour"] = "blue"

    edit(path, change)
    assert read_capsule(path) == expected


@pytest.mark.parametrize("key", ["source", "seed", "plan", "decisions", "violations", "digest", "versions"])
@pytest.mark.parametrize("value", [None, -1.5, [[1]]])
def test_field_of_another_kind_is_refused(path: Path, key: str, value: object) -> None:
    edit(path, lambda document: document.__setitem__(key, value))
    with pytest.raises(CapsuleError):
        read_capsule(path)


@pytest.mark.parametrize("decision", [("schedule", 2, 2, "x"), ("schedule", 2, -1, "x"), ("schedule", 0, 0, "x")])
def test_decision_that_cannot_be_is_refused(path: Path, decision: tuple[str, int, int, str]) -> None:
    with pytest.raises(CapsuleError, match="decision 3 is none"):
        with_decisions(path, lambda decisions: decisions.__setitem__(3, decision))


def test_decisions_that_are_too_few_stop_the_replay_where_they_end(path: Path, counter: Subject) -> None:
    capsule = with_decisions(path, lambda decisions: decisions.pop())
    with pytest.raises(ReplayDivergence, match="the record ends after"):
        replay(counter, capsule)


def test_decisions_that_are_too_many_stop_the_replay(path: Path, counter: Subject) -> None:
    capsule = with_decisions(path, lambda decisions: decisions.append(("schedule", 2, 1, "nobody")))
    with pytest.raises(ReplayDivergence, match="nobody"):
        replay(counter, capsule)


def test_decision_of_another_stream_shows_both_sides(path: Path, counter: Subject) -> None:
    capsule = with_decisions(path, lambda decisions: decisions.__setitem__(5, ("elsewhere", 9, 4, "somebody")))
    with pytest.raises(ReplayDivergence) as caught:
        replay(counter, capsule)
    message = str(caught.value)
    assert "decision 5" in message
    assert "recorded: elsewhere: option 4 of 9 (somebody)" in message
    assert "this run: " in message


def test_decision_changed_by_hand_is_never_taken_for_the_recorded_run(path: Path, counter: Subject) -> None:
    recorded = read_capsule(path).decisions
    changed = 0
    for at, (stream, options, value, name) in enumerate(recorded):
        other = (value + 1) % options
        write = list(recorded)
        write[at] = (stream, options, other, name)
        capsule = msgspec.structs.replace(read_capsule(path), decisions=write)
        try:
            assert not replay(counter, capsule).faithful
        except ReplayDivergence:
            changed += 1
    assert changed


def test_failed_write_leaves_nothing_behind(tmp_path: Path, counter: Subject, counter_run: Run) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_capsule(capsule_of(counter.source, counter_run), tmp_path / "taken")
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]
