"""Two results, compared."""

from collections.abc import Callable

import msgspec

from simkit.bench.cold.compare import compare
from simkit.bench.cold.results import Results
from simkit.bench.cold.run import Measurement
from simkit.vfs.settings import profile

Measured = Callable[..., Measurement]
ResultsOf = Callable[..., Results]


def test_the_same_results_have_no_changes(measured: Measured, results_of: ResultsOf) -> None:
    results = results_of(measured("chat-log-sum", get_pages=10, wall_ms=1.0))
    other = results_of(measured("chat-log-sum", get_pages=10, wall_ms=9.0))
    found = compare(results, other)
    assert (found.changes, found.unmatched, found.compared) == ((), (), 1)


def test_a_changed_figure_has_its_difference_and_ratio(measured: Measured, results_of: ResultsOf) -> None:
    found = compare(
        results_of(measured("chat-log-sum", get_pages=10)), results_of(measured("chat-log-sum", get_pages=15))
    )
    assert [str(figure) for figure in found.changes[0].figures] == ["get_pages 10 -> 15 (+5, 1.50 times)"]


def test_a_figure_that_was_zero_has_no_ratio(measured: Measured, results_of: ResultsOf) -> None:
    found = compare(results_of(measured("chat-log-sum")), results_of(measured("chat-log-sum", joined=2)))
    assert str(found.changes[0].figures[0]) == "joined 0 -> 2 (+2)"


def test_the_largest_change_comes_first_in_either_direction(measured: Measured, results_of: ResultsOf) -> None:
    before = results_of(measured("chat-log-sum", get_pages=100), measured("chat-log-count", get_pages=100))
    after = results_of(measured("chat-log-sum", get_pages=120), measured("chat-log-count", get_pages=10))
    assert [change.workload for change in compare(before, after).changes] == ["chat-log-count", "chat-log-sum"]


def test_another_answer_comes_before_everything(measured: Measured, results_of: ResultsOf) -> None:
    before = results_of(measured("chat-log-sum", answer="a"), measured("chat-log-count", get_pages=1))
    after = results_of(measured("chat-log-sum", answer="b"), measured("chat-log-count", get_pages=99))
    first = compare(before, after).changes[0]
    assert (first.workload, first.remark) == ("chat-log-sum", "the rows that were read differ")


def test_a_new_failure_and_one_that_is_gone_are_changes(measured: Measured, results_of: ResultsOf) -> None:
    sound, broken = measured("chat-log-sum"), measured("chat-log-sum", error="no such table")
    assert compare(results_of(sound), results_of(broken)).changes[0].remark == "fails now: no such table"
    assert compare(results_of(broken), results_of(sound)).changes[0].remark == "failed, and works now"
    assert compare(results_of(broken), results_of(broken)).changes == ()


def test_a_workload_that_only_one_has_is_said(measured: Measured, results_of: ResultsOf) -> None:
    found = compare(results_of(measured("chat-log-sum")), results_of(measured("chat-log-count")))
    assert found.compared == 0
    assert len(found.unmatched) == 2
    assert "only in the first" in found.unmatched[0]


def test_two_single_runs_are_compared_whatever_they_are_called(measured: Measured, results_of: ResultsOf) -> None:
    before = results_of(measured("chat-log-sum", get_pages=1), name="one")
    after = results_of(
        measured("chat-log-sum", get_pages=2), name="two", vfs=profile("merge", {"read_ahead": "bounded"})
    )
    found = compare(before, after)
    assert found.changes[0].run == "one @ instant -> two @ instant"
    assert found.different_settings == ("one @ instant -> two @ instant: read_ahead adaptive -> bounded",)


def test_runs_of_a_matrix_are_matched_by_their_names(measured: Measured, results_of: ResultsOf) -> None:
    first = results_of(measured("chat-log-sum", get_pages=1)).runs[0]
    second = results_of(measured("chat-log-sum", get_pages=2), name="all-off").runs[0]
    third = results_of(name="no-preload").runs[0]
    before = msgspec.structs.replace(results_of(), runs=(first, second))
    after = msgspec.structs.replace(results_of(), runs=(third, second, first))
    found = compare(before, after)
    assert (found.changes, found.compared) == ((), 2)
    assert found.unmatched == ("no-preload @ instant: only in the second",)
