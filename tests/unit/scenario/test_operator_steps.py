"""`operator`: steps are drawn into the plan in their order, and names must have been given before."""

from collections.abc import Callable

import pytest

from simkit.kernel.units import MILLISECOND
from simkit.scenario.generate import PlanGenerator, draw_plan
from simkit.scenario.model import Scenario
from simkit.scenario.plan import PlannedStep, plan_from_json, plan_to_json
from simkit.scenario.problems import Problem

Load = Callable[..., Scenario]
OnlyProblem = Callable[..., Problem]

COMPACTED = "depot: {compaction: true}"


def test_without_the_key_there_is_no_operator(loaded: Load) -> None:
    assert draw_plan(loaded(), 1).operator == ()


def test_steps_are_planned_in_their_order(loaded: Load) -> None:
    text = """\
operator:
  - {restore_point: before, after: 2ms}
  - {fork: copy, at: before}
  - {fork: old, at: {before: 7ms}}
  - {rollback: before, after: 1ms}
  - {rollback: undo}
  - {delete: before}
  - {compact: true}
"""
    assert draw_plan(loaded(operator=text, depot=COMPACTED), 1).operator == (
        PlannedStep(action="restore_point", name="before", after_ns=2 * MILLISECOND),
        PlannedStep(action="fork", name="copy", at="before"),
        PlannedStep(action="fork", name="old", at="", before_ns=7 * MILLISECOND),
        PlannedStep(action="rollback", at="before", after_ns=1 * MILLISECOND),
        PlannedStep(action="rollback", at="undo"),
        PlannedStep(action="delete", name="before"),
        PlannedStep(action="compact"),
    )


def test_pause_is_drawn_for_each_repetition(loaded: Load) -> None:
    text = "operator: [{restore_point: mark, after: [1ms, 90ms], count: 3}]"
    pauses = [step.after_ns for step in draw_plan(loaded(operator=text), 1).operator]
    assert len(set(pauses)) == 3


def test_number_of_repetitions_is_drawn(loaded: Load) -> None:
    generator = PlanGenerator(loaded(operator="operator: [{compact: true, count: [1, 3]}]", depot=COMPACTED))
    assert {len(generator.draw(seed).operator) for seed in range(40)} == {1, 2, 3}


def test_repeated_forks_have_numbers(loaded: Load) -> None:
    planned = draw_plan(loaded(operator="operator: [{fork: copy, count: 2}]"), 1).operator
    assert [step.name for step in planned] == ["copy-1", "copy-2"]


def test_step_with_a_probability_is_in_some_runs(loaded: Load) -> None:
    generator = PlanGenerator(loaded(operator="operator: [{compact: true, probability: 0.5}]", depot=COMPACTED))
    assert {len(generator.draw(seed).operator) for seed in range(40)} == {0, 1}


def test_operator_moves_no_client(loaded: Load) -> None:
    clients = "clients: [{name: c, operations: [1, 9], mix: {read: 1}}]"
    plain = draw_plan(loaded(clients=clients), 3)
    beside = draw_plan(loaded(clients=clients, operator="operator: [{fork: f, after: [1ms, 9ms]}]"), 3)
    assert beside.clients == plain.clients


def test_steps_survive_json(loaded: Load) -> None:
    text = "operator: [{restore_point: a}, {rollback: a}, {fork: f, at: {before: [1ms, 5ms]}}]"
    plan = draw_plan(loaded(operator=text), 1)
    assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("[{rollback: before}]", "no earlier step makes the restore point 'before'; make one first"),
        (
            "[{restore_point: before}, {fork: f, at: befor}]",
            "no earlier step makes the restore point 'befor'; did you mean 'before'?",
        ),
        ("[{delete: latest}]", "'latest' is no restore point that has a name"),
        ("[{rollback: undo}]", "there is no earlier rollback to undo"),
        ("[{restore_point: undo}]", "'undo' means a state already"),
        ("[{fork: main}]", "'main' is the database that the clients use"),
        ("[{fork: f}, {fork: f}]", "the database 'f' is made at line"),
        ("[{fork: Copy}]", "'Copy' is no valid name"),
        ("[{compact: true}]", "compaction is off, so nobody can be asked for it; add depot: {compaction: true}"),
        ("[{compact: false}]", "write compact: true"),
        ("[{forks: f}]", "did you mean 'fork'?"),
        ("[compact]", "expected a step of the operator"),
        ("[{compact: true, after: 5}]", "has no unit"),
        ("[{compact: true, when: 5ms}]", "unknown key 'when'"),
        ("[{restore_point: a}, {rollback: {after: 5ms}}]", "the key 'before' is missing"),
        ("[{rollback: [a]}]", "expected the name of a restore point, latest, undo, or"),
        ("{compact: true}", "expected a list"),
    ],
)
def test_what_makes_no_sense_is_refused(problems: Callable[[str], list[Problem]], steps: str, message: str) -> None:
    text = (
        "name: example\nattacks: Nothing in particular.\noperations: {read: {sql: SELECT 1}}\n"
        f"clients: [{{name: one, mix: {{read: 1}}}}]\noperator: {steps}\n"
    )
    found = [f"{each.message}; {each.hint}" for each in problems(text)]
    assert any(message in each for each in found), found
