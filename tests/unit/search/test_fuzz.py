"""Searches: exactly the seeds asked for, the same totals however many processes, and an end when it is time."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from simkit.cli.subjects import plant
from simkit.kernel import Kernel
from simkit.pool.single import SingleConnection
from simkit.pool.system import Instance
from simkit.scenario.parts import Parts
from simkit.search.cases import Case, NoSuchCase, run_case, run_named_case
from simkit.search.fuzz import fuzz
from simkit.search.subject import Source, Subject, make_subject
from simkit.search.totals import FuzzSettings, FuzzTotals, ScenarioTotals
from simkit.search.worker import Assignment, Slice, run_slice

ENUMERATING = """\
name: every-io
attacks: A statement is cut off everywhere.
setup: [CREATE TABLE t(a INTEGER PRIMARY KEY)]
clients: [{name: one, script: [{sql: INSERT INTO t VALUES(1), marked: true}]}]
crash: {at: every io}
"""


def search(subjects: list[Subject], **settings: object) -> FuzzTotals:
    return fuzz(subjects, FuzzSettings(**settings), plant, lambda totals: None)  # type: ignore[arg-type]


def shown(scenario: ScenarioTotals) -> tuple[object, ...]:
    """All that must not depend on the number of processes."""
    return (
        scenario.seeds,
        scenario.runs,
        scenario.run_twice,
        scenario.crash_points,
        scenario.requests,
        scenario.steps,
        scenario.simulated_ns,
        scenario.violating_runs,
        dict(scenario.violated),
        scenario.failing,
        scenario.failures,
        dict(scenario.coverage),
        dict(scenario.marks),
    )


def planted_without_expectation(subject_of: Callable[..., Subject], planted: Subject) -> Subject:
    text = planted.source.text.replace("expect: {violation: DUR-1}\n", "").replace("defect: fence-skipped\n", "")
    return subject_of(text, "fence-skipped")


def test_number_of_processes_changes_no_result(
    subject_of: Callable[..., Subject], counter: Subject, planted: Subject, tmp_path: Path
) -> None:
    subjects = [counter, planted_without_expectation(subject_of, planted), planted, subject_of(ENUMERATING)]
    one, two = (search(subjects, seeds=45, jobs=jobs, capsule_dir=tmp_path) for jobs in (1, 2))
    assert [shown(scenario) for scenario in one.scenarios] == [shown(scenario) for scenario in two.scenarios]
    assert one.scenarios[1].violating_runs > 3
    assert all(Path(failure.capsule or "").is_file() for failure in one.scenarios[1].failures)


@pytest.mark.parametrize("seeds", [1, 7, 60])
def test_each_scenario_runs_exactly_the_seeds_asked_for(
    subject_of: Callable[..., Subject], counter: Subject, seeds: int
) -> None:
    totals = search([counter, subject_of(ENUMERATING)], seeds=seeds, first_seed=1000)
    assert [scenario.seeds for scenario in totals.scenarios] == [seeds, seeds]
    assert totals.scenarios[0].runs == seeds
    every_io = totals.scenarios[1]
    assert every_io.runs == seeds + every_io.crash_points
    assert every_io.exhausted


def test_one_run_in_twenty_is_run_twice(counter: Subject) -> None:
    assert search([counter], seeds=100).scenarios[0].run_twice == 5


def test_budget_is_kept(counter: Subject, subject_of: Callable[..., Subject]) -> None:
    begun = time.monotonic()
    totals = search([counter, subject_of(ENUMERATING)], budget_s=0.6)
    assert 0.6 <= time.monotonic() - begun < 1.6
    assert all(scenario.runs for scenario in totals.scenarios)


def test_every_scenario_gets_a_run_however_small_the_budget(subject_of: Callable[..., Subject]) -> None:
    subjects = [subject_of(ENUMERATING.replace("every-io", f"every-io-{number}")) for number in range(5)]
    totals = search(subjects, budget_s=0.001)
    assert all(scenario.runs for scenario in totals.scenarios)


def test_seed_that_the_deadline_cuts_is_not_called_exhausted(subject_of: Callable[..., Subject]) -> None:
    part = run_slice(subject_of(ENUMERATING), Assignment(0, 1, 9.0, deadline=0.0))
    assert (part.seeds, part.runs, part.crash_points) == (0, 1, 0)
    totals = search([subject_of(ENUMERATING)], budget_s=0.0001)
    assert not totals.scenarios[0].exhausted


def test_slow_slice_gives_seeds_back(counter: Subject) -> None:
    part = run_slice(counter, Assignment(10, 1000, 0.0))
    assert (part.first_seed, part.seeds) == (10, 1)


def test_interrupted_slice_stops_before_the_next_run(subject_of: Callable[..., Subject]) -> None:
    asked = iter([False, False, False, True])
    part = run_slice(subject_of(ENUMERATING), Assignment(0, 5, 9.0), lambda: next(asked, True))
    assert (part.seeds, part.runs) == (0, 3)


def test_scenario_that_expects_a_violation_stops_at_the_first(planted: Subject) -> None:
    totals = search([planted], seeds=500)
    (scenario,) = totals.scenarios
    assert scenario.found_expected
    assert scenario.seeds < 100
    assert scenario.failing[-1][0] == scenario.seeds - 1
    assert totals.good


def test_other_violation_than_the_expected_one_neither_stops_nor_satisfies(
    subject_of: Callable[..., Subject], planted: Subject
) -> None:
    text = planted.source.text.replace("violation: DUR-1", "violation: VAL-1")
    (scenario,) = search([subject_of(text)], seeds=30).scenarios
    assert scenario.seeds == 30
    assert scenario.violating_runs
    assert not scenario.good


def test_expectation_that_is_not_met_is_bad(subject_of: Callable[..., Subject], counter_text: str) -> None:
    (scenario,) = search([subject_of(counter_text + "expect: violation\n")], seeds=3).scenarios
    assert not scenario.good


def test_stop_ends_at_the_first_violation(subject_of: Callable[..., Subject], planted: Subject) -> None:
    subject = planted_without_expectation(subject_of, planted)
    (scenario,) = search([subject], seeds=200, stop_at_violation=True).scenarios
    assert (scenario.violating_runs, len(scenario.failing)) == (1, 1)
    assert scenario.seeds < 200


def test_capsules_of_scenarios_with_one_name_do_not_meet(
    subject_of: Callable[..., Subject], planted: Subject, tmp_path: Path
) -> None:
    first = planted_without_expectation(subject_of, planted)
    second = subject_of(first.source.text.replace("count: 4", "count: 5"), "fence-skipped", "other.yaml")
    totals = search([first, second], seeds=20, capsule_dir=tmp_path)
    paths = [failure.capsule for scenario in totals.scenarios for failure in scenario.failures]
    assert len(paths) == len(set(paths)) == len(list(tmp_path.iterdir())) > 2
    assert [scenario.label for scenario in totals.scenarios] == [
        "planted-fence-skipped (counter.yaml)",
        "planted-fence-skipped (other.yaml)",
    ]


def test_capsule_that_cannot_be_written_is_said_and_costs_no_verdict(planted: Subject, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (scenario,) = search([planted], seeds=30, capsule_dir=tmp_path / "file").scenarios
    assert scenario.good
    assert scenario.failures[0].capsule is None
    assert "cannot write" in scenario.failures[0].capsule_error


class FailsInTheBackground(SingleConnection):
    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        kernel: Kernel = instance.kernel

        def job() -> None:
            kernel.sleep(3_000_000)
            raise ZeroDivisionError("a bug of the pool")

        kernel.spawn(job, name="job", background=True, group=instance.group)


def test_broken_run_is_reported_with_its_seed_and_does_not_stop_the_others(counter: Subject) -> None:
    subject = Subject(counter.source, counter.prepared, Parts(FailsInTheBackground))
    (scenario,) = search([subject], seeds=4).scenarios
    assert (scenario.seeds, scenario.broken_runs, scenario.runs) == (4, 4, 0)
    assert "ZeroDivisionError('a bug of the pool')" in scenario.broken[0].error
    assert "in job" in scenario.broken[0].trace
    assert not scenario.good


def test_slices_are_counted_in_the_order_of_their_seeds() -> None:
    totals = ScenarioTotals(Source("f", ""), "f", "f", False, None, False, first_seed=10)
    totals.add(Slice(13, seeds=2, runs=2))
    assert totals.seeds == 0
    totals.add(Slice(10, seeds=3, runs=3))
    assert totals.seeds == 5


def test_processes_that_disagree_about_one_run_violate_det_1() -> None:
    totals = ScenarioTotals(Source("f", ""), "f", "f", False, None, False, first_seed=0)
    totals.add(Slice(0, reference="one", seeds=5, runs=5))
    totals.add(Slice(5, reference="one", seeds=5, runs=5))
    assert totals.failures == []
    totals.add(Slice(10, reference="another", seeds=5, runs=5))
    assert totals.violating_runs == 1
    assert [violation.invariant for violation in totals.failures[0].violations] == ["DET-1"]


def test_what_lies_behind_the_run_to_stop_at_does_not_count() -> None:
    totals = ScenarioTotals(Source("f", ""), "f", "f", False, None, False, first_seed=0)
    totals.add(Slice(5, seeds=5, runs=5, violating_runs=5))
    totals.add(Slice(0, seeds=2, runs=2, violating_runs=1, found=True))
    totals.settle()
    assert (totals.seeds, totals.violating_runs) == (2, 1)


def test_gap_of_an_interruption_loses_nothing() -> None:
    totals = ScenarioTotals(Source("f", ""), "f", "f", False, None, False, first_seed=0)
    totals.add(Slice(5, seeds=5, runs=5))
    totals.settle()
    assert totals.runs == 5


def test_case_beyond_the_marked_step_says_how_many_there_are(subject_of: Callable[..., Subject]) -> None:
    subject = subject_of(ENUMERATING)
    last = run_case(subject, Case(0)).marked_io
    assert run_named_case(subject, Case(0, last)).violations == []
    with pytest.raises(NoSuchCase, match=f"has {last} storage operations"):
        run_named_case(subject, Case(0, last + 1))


def test_case_without_a_marked_step_says_what_to_do(counter: Subject) -> None:
    with pytest.raises(NoSuchCase, match="mark one step"):
        run_named_case(counter, Case(0, 1))


def test_source_remakes_its_subject(counter: Subject) -> None:
    again = make_subject(counter.source, plant)
    assert run_case(again, Case(9)).digest() == run_case(counter, Case(9)).digest()
