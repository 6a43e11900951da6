"""Small scenarios, ready to run, and where the shipped ones are."""

from collections.abc import Callable
from pathlib import Path

import pytest

from simkit.cli.subjects import plant
from simkit.scenario.load import parse_scenario
from simkit.search.cases import Case, run_case
from simkit.search.execute import Run
from simkit.search.subject import Source, Subject, make_subject, source_of

SCENARIOS = Path(__file__).parents[3] / "scenarios"

COUNTER = """\
name: counter
attacks: Two clients count while the instance crashes.
setup:
  - CREATE TABLE counter(id INTEGER PRIMARY KEY, value INTEGER NOT NULL)
  - INSERT INTO counter VALUES(1, 0)
operations:
  count: {sql: UPDATE counter SET value = value + 1 WHERE id = 1}
  look: {sql: SELECT value FROM counter}
clients:
  - {name: client, count: 2, operations: 3, think: [0ms, 2ms], mix: {count: 2, look: 1}}
crash: {at: {time: [1ms, 40ms]}}
"""


@pytest.fixture
def counter_text() -> str:
    return COUNTER


@pytest.fixture
def subject_of() -> Callable[..., Subject]:
    def make(text: str = COUNTER, defect: str | None = None, file_name: str = "counter.yaml") -> Subject:
        return make_subject(source_of(parse_scenario(text, file_name), defect), plant)

    return make


@pytest.fixture
def counter(subject_of: Callable[..., Subject]) -> Subject:
    return subject_of()


@pytest.fixture
def counter_run(counter: Subject) -> Run:
    return run_case(counter, Case(7))


@pytest.fixture
def planted() -> Subject:
    """The shipped scenario whose every few seeds show DUR-1."""
    path = SCENARIOS / "planted" / "fence-skipped.yaml"
    return make_subject(Source(str(path), path.read_text(encoding="utf-8"), {}, "fence-skipped"), plant)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "shipped_scenario" in metafunc.fixturenames:
        files = sorted(SCENARIOS.rglob("*.yaml"))
        metafunc.parametrize("shipped_scenario", files, ids=[str(file.relative_to(SCENARIOS)) for file in files])
