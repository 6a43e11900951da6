"""What a search says at its end: never more than was shown, and readable on a terminal and in a pipe."""

import io
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from simkit.check.verdict import Violation
from simkit.report.progress import fuzz_progress
from simkit.report.structured import fuzz_data
from simkit.report.terminal import print_fuzz_summary, replay_command, say, verdict_of
from simkit.search.subject import Source
from simkit.search.tally import Broken, Failure
from simkit.search.totals import FuzzSettings, FuzzTotals, ScenarioTotals


def scenario(**changes: object) -> ScenarioTotals:
    told = {
        "source": Source("scenarios/money.yaml", ""),
        "name": "money",
        "label": "money",
        "expect_violation": False,
        "expected_check": None,
        "enumerates": False,
        "first_seed": 0,
        **changes,
    }
    return ScenarioTotals(**told)  # type: ignore[arg-type]


def violating(**changes: object) -> ScenarioTotals:
    violation = Violation("DUR-1", "durable-state", "it is gone [red]", 5, ("one",), (), ("- t|1",))
    failure = Failure(7, None, (violation,), ("  1ms  one  Event",), "reports/a b.capsule.json")
    return scenario(
        seeds=9, runs=9, violating_runs=4, violated=Counter({"DUR-1": 4, "ISO-1": 1}), failures=[failure], **changes
    )


def totals(*scenarios: ScenarioTotals, **changes: object) -> FuzzTotals:
    return FuzzTotals(list(scenarios), FuzzSettings(seeds=9), 0.0, 2.0, **changes)  # type: ignore[arg-type]


def printed(what: FuzzTotals, terminal: bool = False, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False)
    print_fuzz_summary(console, what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (scenario(), "not run"),
        (scenario(seeds=1, runs=1), "no violation in 1 run"),
        (scenario(seeds=1200, runs=1200), "no violation in 1,200 runs"),
        (scenario(runs=99, sometimes=("lease dropped",)), "no violation in 99 runs"),
        (
            scenario(runs=1200, sometimes=("lease dropped", "closes racing"), marks=Counter({"closes racing": 3})),
            "no violation in 1,200 runs, but 1 of 2 marks never hit",
        ),
        (violating(), "violated: DUR-1, ISO-1 in 4 of 9 runs"),
        (violating(expect_violation=True), "violated: DUR-1, ISO-1 in 4 of 9 runs, as it must"),
        (
            violating(expect_violation=True, expected_check="VAL-1"),
            "violated: DUR-1, ISO-1 in 4 of 9 runs, but not VAL-1",
        ),
        (
            scenario(seeds=2, runs=2, expect_violation=True, expected_check="DUR-1"),
            "expected a violation of DUR-1, none in 2 runs",
        ),
        (
            scenario(enumerates=True, seeds=2, runs=12, crash_points=10),
            "exhausted: 10 crash points of 2 seeds, no violation",
        ),
        (scenario(enumerates=True, seeds=1, runs=12, crash_points=10), "no violation in 12 runs"),
        (
            scenario(enumerates=True, seeds=2, runs=11, crash_points=9, broken_runs=1),
            "broken: 1 runs did not come to an end",
        ),
    ],
)
def test_verdict_says_what_was_shown(told: ScenarioTotals, verdict: str) -> None:
    assert verdict_of(told) == verdict


MARKED = {"sometimes": ("lease dropped", "closes racing"), "marks": Counter({"closes racing": 3})}


def test_mark_that_was_never_hit_has_a_line_of_its_own() -> None:
    text = printed(totals(scenario(seeds=1200, runs=1200, **MARKED)))
    assert "\nmarks:   1 of 2 that scenarios ask for were hit\n" in text
    assert "\nmoney: never hit in 1,200 runs: lease dropped\n" in text
    assert "1 of 1 scenarios did not come out as they must" in text


def test_mark_that_may_still_be_hit_is_no_alarm() -> None:
    text = printed(totals(scenario(seeds=9, runs=9, **MARKED)))
    assert "\nmoney: not hit yet in 9 runs: lease dropped\n" in text
    assert text.rstrip().endswith("every scenario came out as it must")


def test_search_that_expects_no_marks_says_nothing_of_them() -> None:
    text = printed(totals(scenario(seeds=9, runs=9)))
    assert "marks:" not in text
    assert "modes:" not in text


def pool(**changes: object) -> FuzzTotals:
    told = scenario(**{"runs": 2000, "system": "pool", "marks": Counter({"mode closed->read": 1500})} | changes)
    return FuzzTotals([told], FuzzSettings(seeds=9, modes_expected=True), 0.0, 2.0)


def test_mode_changes_of_the_pool_are_one_line() -> None:
    assert "\nmodes:   of 2,000 runs of the pool, changed mode in: closed->read 1,500\n" in printed(pool())


def test_mode_change_that_may_still_be_hit_is_no_alarm() -> None:
    text = printed(pool(runs=999))
    assert "\nthe pool: not hit yet in 999 runs: mode closed->write, " in text
    assert text.rstrip().endswith("every scenario came out as it must")


def test_mode_changes_that_nobody_expects_are_not_missed() -> None:
    told = pool()
    assert "the pool:" not in printed(replace(told, settings=FuzzSettings(seeds=9)))


def test_mode_change_that_all_scenarios_miss_is_the_verdict() -> None:
    text = printed(pool())
    assert "\nthe pool: never hit in 2,000 runs: mode closed->write, " in text
    assert text.rstrip().endswith("mode changes of the pool never hit")
    assert not fuzz_data(pool())["good"]


def test_data_names_marks_hit_and_missed() -> None:
    data = fuzz_data(totals(scenario(seeds=1200, runs=1200, **MARKED)))
    (told,) = data["scenarios"]
    assert (told["marks"], told["never_hit"], told["good"]) == ({"closes racing": 3}, ["lease dropped"], False)
    assert data["modes"]["runs"] == 0


@pytest.mark.parametrize(
    ("what", "last"),
    [
        (totals(scenario(seeds=9, runs=9)), "9 runs in 2.0 s (4 runs/s): every scenario came out as it must"),
        (totals(violating()), "1 of 1 scenarios did not come out as they must"),
        (totals(scenario()), "1 of 1 scenarios were not run"),
        (
            totals(scenario(seeds=9, runs=9), interrupted=True),
            "interrupted after 9 runs in 2.0 s (4 runs/s): nothing found so far",
        ),
        (totals(violating(), interrupted=True), "1 of 1 scenarios did not come out as they must"),
        (
            totals(scenario(seeds=1, runs=1, expect_violation=True, cut_short=True), interrupted=True),
            "nothing found so far",
        ),
    ],
)
def test_last_line_never_claims_more(what: FuzzTotals, last: str) -> None:
    assert printed(what).rstrip().endswith(last)


def test_violation_is_told_with_the_command_to_copy() -> None:
    text = printed(totals(violating()))
    assert "DUR-1 violated  money, seed 7\n  it is gone [red]\n" in text
    assert "  replay:  simkit replay 'reports/a b.capsule.json'\n" in text
    assert "money: 3 more violating runs" in text


def test_terminal_lines_keep_to_the_width_and_commands_stay_whole() -> None:
    text = printed(totals(violating(label="a-rather-long-name-of-a-scenario")), terminal=True)
    assert all(len(line) <= 80 for line in text.splitlines() if "replay" not in line)


def test_piped_table_keeps_a_scenario_on_one_line() -> None:
    text = printed(totals(violating(expect_violation=True, label="x" * 60)))
    row = next(line for line in text.splitlines() if line.startswith("x" * 60))
    assert row.split()[1:3] == ["9", "-"]
    assert row.endswith("violated: DUR-1, ISO-1 in 4 of 9 runs, as it must")


def test_broken_run_is_shown_with_its_command() -> None:
    broken = Broken(3, 2, "ValueError: [x]", "Traceback ...\nValueError: [x]\n")
    text = printed(totals(scenario(seeds=4, runs=3, broken_runs=1, broken=[broken])))
    assert "again:   simkit run scenarios/money.yaml --seed 3 --io 2\n" in text
    assert "ValueError: [x]" in text


def test_replay_command_without_a_capsule_names_the_case() -> None:
    assert (
        replay_command("a b.yaml", 3, 4, "fence-skipped", None)
        == "simkit replay 'a b.yaml' --seed 3 --io 4 --defect fence-skipped"
    )


def test_paragraph_is_wrapped_on_a_terminal_only() -> None:
    def said(terminal: bool) -> str:
        console = Console(file=io.StringIO(), width=40, force_terminal=terminal, color_system=None)
        say(console, "word " * 20, 2)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    assert len(said(terminal=False).splitlines()) == 1
    assert all(line.startswith("  ") and len(line) <= 40 for line in said(terminal=True).splitlines())


def test_progress_says_runs_violations_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simkit.report.progress.PLAIN_LINE_EVERY_S", 0.0)
    console = Console(file=io.StringIO(), width=80)
    with fuzz_progress(console) as progress:
        progress(totals(scenario(seeds=3, runs=3), violating(expect_violation=True)))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "2 s  12 runs  6 runs/s  0 violations  1 s left\n"


def test_data_has_what_the_terminal_shows() -> None:
    data = fuzz_data(totals(violating()))
    assert data["good"] is False
    assert data["scenarios"][0]["failures"][0]["replay"] == "simkit replay 'reports/a b.capsule.json'"
    assert data["scenarios"][0]["violated"] == {"DUR-1": 4, "ISO-1": 1}
