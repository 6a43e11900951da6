"""What a file says of its judging: what it expects is checked, and what it waits for can come."""

from collections.abc import Callable

import pytest

from simkit.scenario.model import SYSTEM_NAMES, Scenario
from simkit.scenario.model_marks import MARKS_OF, MODE_MARKS
from simkit.scenario.problems import Problem

Load = Callable[..., Scenario]
OnlyProblem = Callable[..., Problem]


@pytest.mark.parametrize("checks", ["{without: [DUR-2, CLOSE-1]}", "[DUR-1, DUR-2]"])
def test_expected_violation_that_no_check_looks_for_is_refused(problem: OnlyProblem, checks: str) -> None:
    found = problem(checks=f"checks: {checks}", expect="expect: {violation: CLOSE-1}")
    assert found.message == "CLOSE-1 can never be found violated: it is not among the checks of line 8"
    assert (found.line, found.column) == (9, 21)


@pytest.mark.parametrize("checks", ["all", "[CLOSE-1]", "{without: [DUR-1]}"])
def test_expected_violation_that_a_check_looks_for_is_fine(loaded: Load, checks: str) -> None:
    assert loaded(checks=f"checks: {checks}", expect="expect: {violation: CLOSE-1}").expect.check == "CLOSE-1"


def test_expected_violation_of_any_invariant_goes_with_any_checks(loaded: Load) -> None:
    assert loaded(checks="checks: [DUR-1]", expect="expect: violation").expect.violated


def test_marks_are_known_of_every_system_that_has_a_name() -> None:
    assert tuple(MARKS_OF) == SYSTEM_NAMES


@pytest.mark.parametrize("system", SYSTEM_NAMES)
def test_every_mark_of_a_system_can_be_asked_for(loaded: Load, system: str) -> None:
    marks = MARKS_OF[system]
    text = ", ".join(f"'{mark}'" for mark in marks)
    assert loaded(system=f"system: {system}", sometimes=f"sometimes: [{text}]").sometimes == marks


@pytest.mark.parametrize(
    ("system", "mark", "hint"),
    [
        ("pool", "close gave upp", "did you mean 'close gave up'?"),
        ("pool", "lease released waiting", "did you mean 'lease"),
        ("pool", "queue full", "remove it: only a system of your own gives marks of its own"),
        ("worker", "lease dropped", "remove it"),
        ("worker", MODE_MARKS[0], "remove it"),
        ("single", "closes race", "did you mean 'closes racing'?"),
        ("single", "close gave up", "remove it"),
    ],
)
def test_mark_that_a_system_never_gives_is_refused(problem: OnlyProblem, system: str, mark: str, hint: str) -> None:
    found = problem(system=f"system: {system}", sometimes=f"sometimes: [closes racing, {mark}]")
    assert found.message == f"the system {system} never gives the mark {mark!r}"
    assert hint in found.hint
    assert (found.line, found.column) == (9, 28)


def test_system_of_ones_own_may_give_any_mark(loaded: Load) -> None:
    scenario = loaded(system="system: my.module:factory", sometimes="sometimes: [close gave upp, queue full]")
    assert scenario.sometimes == ("close gave upp", "queue full")
