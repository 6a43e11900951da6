"""Terminal output: violations, summaries, tables. Plain text that stays readable without colour.

On a terminal, lines are wrapped to its width with the continuation indented; in a pipe or a file every line stays
whole, for whatever reads it. Commands and paths are never wrapped: they are there to be copied.

Verdicts never say more than was shown: `violated`, `no violation in N runs`, or `exhausted` for a scope that
was enumerated whole.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from simkit.check.verdict import INVARIANTS, Violation
from simkit.kernel.units import SECOND
from simkit.search.coverage import COVERED, COVERED_IF_ANY
from simkit.search.totals import FuzzTotals, ScenarioTotals

_WIDTH_MIN = 40
EVENT_HANG = 18
_TABLE_WIDTH_MAX = 500


def say(console: Console, text: str, indent: int = 0, hang: int | None = None, style: str = "") -> None:
    """One paragraph; its continuation lines are indented by `hang` (default: two more than `indent`)."""
    lines = [" " * indent + text]
    if console.is_terminal:
        lines = textwrap.wrap(
            text,
            max(console.width, _WIDTH_MIN),
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + 2 if hang is None else hang),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    for line in lines:
        console.print(Text(line, style), soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """A table, as wide as the terminal; elsewhere as wide as it needs to be."""
    if console.is_terminal:
        console.print(table)
    else:
        options = console.options.update(max_width=_TABLE_WIDTH_MAX)
        needed = Measurement.get(console, options, table).maximum
        # Of the same kind: what it does about a closed pipe is the caller's choice.
        type(console)(file=console.file, width=needed, color_system=None).print(table)


def print_violation(console: Console, violation: Violation, events: Sequence[str], where: str) -> None:
    """The whole story of one violation, as far as one screen holds it."""
    console.print(f"[bold red]{violation.invariant} violated[/]  {escape(where)}", soft_wrap=True)
    say(console, violation.sentence, 2)
    say(console, f"must hold: {INVARIANTS[violation.invariant]} (check: {violation.check})", 2)
    for line in violation.details:
        say(console, line, 4, 8)
    if events:
        console.print("  last events:")
        for line in events:
            say(console, line, 0, EVENT_HANG, "dim")


def replay_command(scenario_file: str, seed: int, io: int | None, defect: str | None, capsule: str | None) -> str:
    """The exact command that runs a failing run again."""
    if capsule is not None:
        return f"simkit replay {shlex.quote(capsule)}"
    return case_command("replay", scenario_file, seed, io, defect)


def case_command(command: str, scenario_file: str, seed: int, io: int | None, defect: str | None) -> str:
    """The command that runs one case of a scenario file."""
    line = f"simkit {command} {shlex.quote(scenario_file)} --seed {seed}"
    if io is not None:
        line += f" --io {io}"
    return line + (f" --defect {shlex.quote(defect)}" if defect is not None else "")


def verdict_of(scenario: ScenarioTotals) -> str:
    """What a search showed of one scenario."""
    runs = f"{scenario.runs:,} run{'' if scenario.runs == 1 else 's'}"
    if scenario.broken_runs:
        return f"broken: {scenario.broken_runs:,} runs did not come to an end"
    if scenario.violating_runs:
        found = f"violated: {', '.join(sorted(scenario.violated))} in {scenario.violating_runs:,} of {runs}"
        if scenario.expect_violation:
            return f"{found}, as it must" if scenario.found_expected else f"{found}, but not {scenario.expected_check}"
        return found
    if not scenario.runs:
        return "not run"
    if scenario.expect_violation:
        return f"expected a violation of {scenario.expected_check or 'any invariant'}, none in {runs}"
    if scenario.exhausted:
        found = f"exhausted: {scenario.crash_points:,} crash points of {scenario.seeds:,} seeds, no violation"
    else:
        found = f"no violation in {runs}"
    if scenario.unfired:
        return f"{found}, but in {scenario.unfired:,} an expected fault did not fire"
    if scenario.misses:
        return f"{found}, but {len(scenario.never_hit)} of {len(scenario.sometimes)} marks never hit"
    return found


def print_fuzz_summary(console: Console, totals: FuzzTotals) -> None:
    """The table of scenarios, what was covered, and each failure with the command that replays it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("scenario", no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    table.add_column("runs/s\na core", justify="right", no_wrap=True)
    table.add_column("verdict")
    for scenario in totals.scenarios:
        pace = f"{scenario.runs / scenario.wall_s:,.0f}" if scenario.wall_s else "-"
        style = "red" if not scenario.good else "green" if scenario.runs else "yellow"
        table.add_row(
            escape(scenario.label), f"{scenario.seeds:,}", pace, f"[{style}]{escape(verdict_of(scenario))}[/]"
        )
    print_table(console, table)
    _print_coverage(console, totals)
    _print_marks(console, totals)
    for scenario in totals.scenarios:
        _print_failures(console, scenario)
        _print_broken(console, scenario)
    if totals.died:
        console.print()
        console.print(Text(totals.died, "red"), soft_wrap=True)
    console.print()
    say(console, *_last_line(totals))


def _span(seconds: float) -> str:
    """A span of time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _print_coverage(console: Console, totals: FuzzTotals) -> None:
    counts = {name: sum(scenario.coverage[name] for scenario in totals.scenarios) for name in COVERED}
    simulated_s = sum(scenario.simulated_ns for scenario in totals.scenarios) / SECOND
    requests = sum(scenario.requests for scenario in totals.scenarios)
    twice = sum(scenario.run_twice for scenario in totals.scenarios)
    console.print()
    shown = [f"{count:,} {name}" for name, count in counts.items() if count or name not in COVERED_IF_ANY]
    say(console, "covered: " + ", ".join(shown), 0, 9)
    say(
        console,
        f"{requests:,} storage requests, {_span(simulated_s)} of simulated time, "
        f"{twice:,} runs repeated from their record and compared",
        9,
        9,
    )
    for scenario in totals.scenarios:
        if scenario.unfired:
            seed, io = scenario.unfired_at[0]
            command = case_command("run", scenario.source.file_name, seed, io, scenario.source.defect)
            say(
                console,
                f"{scenario.label}: in {scenario.unfired:,} of {scenario.runs:,} runs a fault that is `expected` "
                f"did not fire; to see which: {command}",
                0,
                style="yellow" if scenario.expect_violation else "red",
            )
        if scenario.runs and not scenario.coverage["operations acknowledged"]:
            command = case_command("run", scenario.source.file_name, scenario.first_seed, None, scenario.source.defect)
            say(
                console,
                f"{scenario.label}: not one operation succeeded, so this shows nothing; to see why: "
                f"{command} --events 40",
                0,
                style="yellow",
            )


def _print_marks(console: Console, totals: FuzzTotals) -> None:
    """How much of what scenarios expect to see was seen, and what was not. Nothing where nobody expects anything."""
    expecting = [scenario for scenario in totals.scenarios if scenario.sometimes and scenario.runs]
    expected = sum(len(scenario.sometimes) for scenario in expecting)
    if expected:
        hit = expected - sum(len(scenario.never_hit) for scenario in expecting)
        say(console, f"marks:   {hit:,} of {expected:,} that scenarios ask for were hit", 0, 9)
    if totals.mode_runs:
        counts = ", ".join(f"{mark.removeprefix('mode ')} {runs:,}" for mark, runs in totals.modes_hit.items() if runs)
        say(console, f"modes:   of {totals.mode_runs:,} runs of the pool, changed mode in: {counts or 'none'}", 0, 9)
    for scenario in expecting:
        if scenario.never_hit:
            _print_never_hit(console, scenario.label, scenario.runs, scenario.never_hit, scenario.misses)
    if totals.modes_never_hit and totals.settings.modes_expected:
        _print_never_hit(console, "the pool", totals.mode_runs, totals.modes_never_hit, totals.misses_modes)


def _print_never_hit(console: Console, who: str, runs: int, marks: tuple[str, ...], bad: bool) -> None:
    """`bad`: there were runs enough, and this is what is wrong."""
    never = "never hit" if bad else "not hit yet"
    text = f"{who}: {never} in {runs:,} run{'' if runs == 1 else 's'}: {', '.join(marks)}"
    say(console, text, 0, style="red" if bad else "yellow")


def _print_failures(console: Console, scenario: ScenarioTotals) -> None:
    source = scenario.source
    if scenario.good:
        _print_expected(console, scenario)
        return
    for failure in scenario.failures:
        console.print()
        where = f"{scenario.label}, seed {failure.seed}" + (f", storage operation {failure.io}" if failure.io else "")
        print_violation(console, failure.violations[0], failure.events, where)
        for other in failure.violations[1:]:
            say(console, f"also {other.invariant}: {other.sentence}", 2)
        command = replay_command(source.file_name, failure.seed, failure.io, source.defect, failure.capsule)
        if failure.capsule:
            console.print(f"  capsule: {escape(failure.capsule)}", soft_wrap=True)
        elif failure.capsule_error:
            console.print(f"  [yellow]no capsule: {escape(failure.capsule_error)}[/]", soft_wrap=True)
        console.print(f"  replay:  {escape(command)}", soft_wrap=True)
    more = scenario.violating_runs - len(scenario.failures)
    if more > 0:
        say(console, f"{scenario.label}: {more:,} more violating runs (--json names them)")


def _print_expected(console: Console, scenario: ScenarioTotals) -> None:
    """A violation that the scenario is there to show: where to look at it, without an alarm."""
    source = scenario.source
    for failure in scenario.failures[:1]:
        console.print()
        say(console, f"{scenario.label}, seed {failure.seed}: {failure.violations[0].invariant} violated, as it must")
        command = replay_command(source.file_name, failure.seed, failure.io, source.defect, failure.capsule)
        console.print(f"  to see it: {escape(command)}", soft_wrap=True)


def _print_broken(console: Console, scenario: ScenarioTotals) -> None:
    source = scenario.source
    for broken in scenario.broken[:1]:
        again = case_command("run", source.file_name, broken.seed, broken.io, source.defect)
        console.print()
        console.print(
            f"[bold red]broken run[/]  {escape(scenario.label)}, seed {broken.seed}: {escape(broken.error)}",
            soft_wrap=True,
        )
        say(
            console,
            "the system under test failed in a way that is no answer to a client, or simkit did; this is no verdict",
            2,
        )
        console.print(Text(textwrap.indent(broken.trace.rstrip(), "  "), "dim"), soft_wrap=True)
        console.print(f"  again:   {escape(again)}", soft_wrap=True)


def _last_line(totals: FuzzTotals) -> tuple[str, int, int, str]:
    """The last line with its indents and style."""
    bad = [scenario for scenario in totals.scenarios if not scenario.good]
    missing = [scenario for scenario in totals.scenarios if scenario.good and not scenario.runs]
    pace = totals.runs / totals.wall_s if totals.wall_s else 0.0
    summary = (
        f"{sum(scenario.runs for scenario in totals.scenarios):,} runs in {totals.wall_s:,.1f} s ({pace:,.0f} runs/s)"
    )
    if totals.interrupted:
        summary = f"interrupted after {summary}"
    count = len(totals.scenarios)
    if bad:
        return f"{summary}: {len(bad)} of {count} scenarios did not come out as they must", 0, 2, "bold red"
    if totals.misses_modes:
        never = len(totals.modes_never_hit)
        return f"{summary}: {never} mode change{'' if never == 1 else 's'} of the pool never hit", 0, 2, "bold red"
    if missing:
        return f"{summary}: {len(missing)} of {count} scenarios were not run", 0, 2, "bold yellow"
    if totals.interrupted or totals.died:
        return f"{summary}: nothing found so far", 0, 2, "bold yellow"
    return f"{summary}: every scenario came out as it must", 0, 2, "bold green"
