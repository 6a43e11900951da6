"""What Tcl scripts print, judged: cases, needs, groups, and ends of all kinds."""

from simkit.conformance.results import Failure
from simkit.conformance.tcl_output import group_of, read_output

END = '@simkit end {"opened": 3, "commits": 7, "atomic_commits": 2}\n'


def test_cases_that_passed_are_counted() -> None:
    output = read_output("one.test", f"one-1.1... Ok\none-1.2... Ok\n0 errors out of 3 tests on host\n{END}")
    assert output.result.passed == 2
    assert (output.reported, output.failed) == (0, 0)
    assert (output.result.depot_files, output.result.commits, output.result.atomic_commits) == (3, 7, 2)


def test_a_failure_carries_what_was_expected_and_got() -> None:
    text = "one-1.1...\n! one-1.1 expected: [1]\n! one-1.1 got:      [2\n3]\n\n@simkit failed one-1.1\none-1.2... Ok\n"
    output = read_output("one.test", text)
    assert output.result.failures == [Failure("one-1.1", "! one-1.1 expected: [1] ! one-1.1 got:      [2 3]")]
    assert output.result.passed == 1
    assert output.failed == 1


def test_an_error_in_a_case_is_its_reason() -> None:
    output = read_output("one.test", "one-1.1...\nError: no such table: t\n\n@simkit failed one-1.1\n")
    assert output.result.failures == [Failure("one-1.1", "Error: no such table: t")]


def test_a_failure_in_a_group_that_met_with_a_need_is_not_judged() -> None:
    text = "two-1.1...\n@simkit need a second process\n\n@simkit failed two-1.1\ntwo-1.2...\n\n@simkit failed two-1.2\n"
    output = read_output("two.test", text + "two-1.3... Ok\n")
    assert output.result.failures == []
    assert dict(output.result.skipped) == {"needs a second process": 2}
    assert output.result.passed == 1


def test_the_next_group_is_judged_again() -> None:
    text = "\n@simkit need a second process\ntwo-1.1... Ok\ntwo-2.1...\n\n@simkit failed two-2.1\n"
    assert [failure.case for failure in read_output("two.test", text).result.failures] == ["two-2.1"]


def test_an_error_that_ends_the_script_is_a_failure() -> None:
    output = read_output("one.test", f'one-1.1... Ok\n\n@simkit error invalid command name "x"\n{END}')
    (failure,) = output.result.failures
    assert failure.case == "the script"
    assert "after one-1.1: invalid command name" in failure.why


def test_an_error_right_after_a_need_is_not_judged() -> None:
    text = "one-1.1... Ok\n\n@simkit need another program\n\n@simkit error no such program\n"
    assert dict(read_output("one.test", text).result.skipped) == {"needs another program": 1}


def test_a_mistake_in_the_vfs_is_a_failure() -> None:
    output = read_output("one.test", "one-1.1... Ok\n\n@simkit internal TypeError('x')\n")
    assert output.result.failures == [Failure("the VFS", "TypeError('x')")]


def test_a_process_that_died_has_no_ending() -> None:
    assert read_output("one.test", "one-1.1... Ok\none-1.2...").ending is None
    assert read_output("one.test", "one-1.1... Ok\none-1.2...").last == "one-1.2"


def test_groups_end_at_the_first_dot() -> None:
    assert group_of("pager1-3.1.2") == "pager1-3"
    assert group_of("trans-8") == "trans-8"
