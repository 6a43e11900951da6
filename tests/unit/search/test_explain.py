"""The last events before a violation: those that matter, one line each."""

from collections import Counter

from simkit.check.verdict import Violation
from simkit.search.cases import Case, run_case
from simkit.search.coverage import COVERED, count_coverage
from simkit.search.execute import Run
from simkit.search.explain import last_events, render_event
from simkit.search.subject import Subject


def test_events_of_others_and_later_ones_are_left_out(planted: Subject) -> None:
    run = run_case(planted, Case(3))
    violation = run.violations[0]
    lines = last_events(run.history, violation, 1000)
    number = violation.operations[0]
    others = [line for line in lines if line.split()[1] not in (*violation.tasks, "-")]
    assert all(f"operation={number} " in line for line in others)
    related = [event for event in run.history if event.at > violation.at]
    assert related
    assert render_event(related[-1]) not in lines


def test_count_of_events_is_kept(planted: Subject) -> None:
    run = run_case(planted, Case(3))
    assert len(last_events(run.history, run.violations[0], 5)) == 5


def test_end_of_the_run_and_the_inspector_s_reads_say_nothing(counter_run: Run) -> None:
    violation = Violation("DUR-1", "durable-state", "made up", counter_run.simulated_ns)
    lines = "\n".join(last_events(counter_run.history, violation, 1000))
    assert "end of the run" not in lines
    assert "RunEnded" not in lines
    assert "instance='inspector'" not in lines
    assert "StateObserved" in lines


def test_long_values_are_cut(counter_run: Run) -> None:
    assert all(len(line) < 600 for line in map(render_event, counter_run.history))


def test_coverage_counts_what_happened(counter_run: Run) -> None:
    counted: Counter[str] = Counter()
    count_coverage(counter_run.history, counted)
    assert set(counted) <= set(COVERED)
    assert sum(counted[f"operations {outcome}"] for outcome in ("acknowledged", "refused", "unknown")) == 6
    assert counted["crashes"] == 1
    assert counted["instances opened"] >= 1
