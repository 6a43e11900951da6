"""Terminal output: violations, summaries, tables. Plain text that stays readable without colour.

Verdicts never say more than was shown: `violated`, `no violation in N runs`, or `exhausted` for a scope that
was enumerated whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simkit.check.verdict import INVARIANTS, Violation
from simkit.kernel.units import SECOND
from simkit.search.coverage import COVERED
from simkit.search.fuzz import FuzzTotals, ScenarioTotals


def print_violation(console: Console, violation: Violation, events: Sequence[str], where: str) -> None:
    """The whole story of one violation, as far as one screen holds it."""
    console.print(f"[bold red]{violation.invariant} violated[/]  {escape(where)}")
    console.print(f"  {escape(violation.sentence)}", soft_wrap=True)
    console.print(f"  must hold: {INVARIANTS[violation.invariant]} [dim](check: {violation.check})[/]", soft_wrap=True)
    for line in violation.details:
        console.print(f"    {escape(line)}", soft_wrap=True)
    if events:
        console.print("  last events:")
        for line in events:
            console.print(f"  [dim]{escape(line)}[/]", soft_wrap=True)


def replay_command(scenario_file: str, seed: int, io: int | None, defect: str | None, capsule: str | None) -> str:
    """The exact command that runs a failing run again."""
    if capsule is not None:
        return f"simkit replay {capsule}"
    command = f"simkit replay {scenario_file} --seed {seed}"
    if io is not None:
        command += f" --io {io}"
    return command + (f" --defect {defect}" if defect is not None else "")


def verdict_of(scenario: ScenarioTotals) -> str:
    """What a search showed of one scenario."""
    if scenario.broken:
        return f"broken: {len(scenario.broken)} seeds failed inside simkit"
    if scenario.violating_runs:
        names = sorted({violation.invariant for failure in scenario.failures for violation in failure.violations})
        found = f"violated: {', '.join(names)} in {scenario.violating_runs:,} of {scenario.runs:,} runs"
        if scenario.expect_violation:
            return f"{found}, as it must" if scenario.found_expected else f"{found}, but not {scenario.expected_check}"
        return found
    if scenario.expect_violation:
        return f"expected a violation of {scenario.expected_check or 'any invariant'}, none in {scenario.runs:,} runs"
    if scenario.enumerates and scenario.crash_points:
        return f"exhausted: all {scenario.crash_points:,} crash points of {scenario.seeds:,} seeds, no violation"
    return f"no violation in {scenario.runs:,} runs" if scenario.runs else "not run"


def print_fuzz_summary(console: Console, totals: FuzzTotals) -> None:
    """The table of scenarios, what was covered, and each failure with the command that replays it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("scenario", no_wrap=True)
    for heading in ("seeds", "runs", "runs/s a core"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for scenario in totals.scenarios:
        pace = f"{scenario.runs / scenario.wall_s:,.0f}" if scenario.wall_s else "-"
        style = "green" if scenario.good and scenario.runs else "red" if not scenario.good else "yellow"
        table.add_row(
            scenario.name,
            f"{scenario.seeds:,}",
            f"{scenario.runs:,}",
            pace,
            f"[{style}]{escape(verdict_of(scenario))}[/]",
        )
    console.print(table)
    _print_coverage(console, totals)
    for scenario in totals.scenarios:
        _print_failures(console, scenario)
    console.print(_last_line(totals))


def _print_coverage(console: Console, totals: FuzzTotals) -> None:
    counts = {name: sum(scenario.coverage[name] for scenario in totals.scenarios) for name in COVERED}
    covered = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    simulated_h = sum(scenario.simulated_ns for scenario in totals.scenarios) / SECOND / 3600
    requests = sum(scenario.requests for scenario in totals.scenarios)
    twice = sum(scenario.run_twice for scenario in totals.scenarios)
    console.print(f"\ncovered: {covered}", soft_wrap=True)
    console.print(
        f"         {requests:,} storage requests, {simulated_h:,.1f} h of simulated time, "
        f"{twice:,} runs repeated from their record and compared",
        soft_wrap=True,
    )
    unfired = sum(scenario.unfired for scenario in totals.scenarios)
    if unfired:
        console.print(f"[yellow]in {unfired:,} runs a fault rule that was expected to fire did not[/]")


def _print_failures(console: Console, scenario: ScenarioTotals) -> None:
    source = scenario.source
    for failure in scenario.failures[:1] if scenario.expect_violation else scenario.failures:
        console.print()
        where = f"{scenario.name}, seed {failure.seed}" + (f", storage operation {failure.io}" if failure.io else "")
        print_violation(console, failure.violations[0], failure.events, where)
        for other in failure.violations[1:]:
            console.print(f"  also {other.invariant}: {escape(other.sentence)}", soft_wrap=True)
        command = replay_command(source.file_name, failure.seed, failure.io, source.defect, failure.capsule)
        if failure.capsule:
            console.print(f"  capsule: {escape(failure.capsule)}", soft_wrap=True)
        console.print(f"  replay:  {escape(command)}", soft_wrap=True)
    for broken in scenario.broken[:1]:
        console.print()
        console.print(
            f"[bold red]internal error[/]  {escape(scenario.name)}, seed {broken.seed}: {escape(broken.error)}"
        )
        console.print(f"[dim]{escape(broken.trace)}[/]", soft_wrap=True)
        console.print(f"  again:   simkit run {escape(source.file_name)} --seed {broken.seed}", soft_wrap=True)


def _last_line(totals: FuzzTotals) -> str:
    bad = [scenario.name for scenario in totals.scenarios if not scenario.good]
    ending = "interrupted; " if totals.interrupted else ""
    pace = totals.runs / totals.wall_s if totals.wall_s else 0.0
    summary = f"{ending}{totals.runs:,} runs in {totals.wall_s:,.1f} s ({pace:,.0f} runs/s)"
    if bad:
        return (
            f"\n[bold red]{summary}: {len(bad)} of {len(totals.scenarios)} scenarios did not come out as they must[/]"
        )
    return f"\n[bold green]{summary}: every scenario came out as it must[/]"
