"""What `simkit bench` does instead of measuring: list, compare with published rows, write the reference tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from simkit.bench.cold.against import COMES_ALONG, Against, against, load_rows
from simkit.bench.cold.benchmark import plan
from simkit.bench.cold.matrix import SCENARIOS
from simkit.bench.cold.overrides import SETTINGS, setting_of
from simkit.bench.cold.reference import FOLDER, PRESETS, make_reference, reference_configuration, write_reference
from simkit.bench.cold.results import ResultsInvalid
from simkit.bench.cold.run import configuration, measure
from simkit.bench.cold.setup import SetupCache
from simkit.bench.cold.workloads import WORKLOADS
from simkit.cli.bench_measuring import latency_profile, make_set_ups_folder, measured, shown_progress
from simkit.cli.exits import INTERRUPTED, NOTHING_FOUND, VIOLATION, BadInput
from simkit.cli.options import out, print_json
from simkit.depot.latency import LATENCY_PROFILES
from simkit.report.benchmark import print_against
from simkit.report.terminal import say
from simkit.search.interruption import Interruption


def against_rows(name: str, latencies: Sequence[str], cache: Path | None, json: bool, fail_on_change: bool) -> int:
    """Rows of a file, or of those that come along, beside what is simulated; the exit code. Raises `BadInput`."""
    if len(latencies) > 1:
        raise BadInput("--against: give one --latency at most")
    path = COMES_ALONG.get(name, Path(name))
    try:
        source, rows = load_rows(path)
    except ResultsInvalid as error:
        advice = "" if path.exists() else f" (rows that come with simkit: {', '.join(COMES_ALONG)})"
        raise BadInput(f"{error}{advice}") from None
    make_set_ups_folder(cache)
    kept = SetupCache(cache)
    latency = latency_profile(latencies[0]) if latencies else None
    with shown_progress("rows") as progress, Interruption() as interruption:
        found = against(
            name,
            source,
            rows,
            lambda workload, chosen: measure(workload, chosen, kept),
            latency,
            progress=progress,
            interrupted=lambda: interruption.requested,
        )
    if json:
        print_json({**_plain(found), "summary": found.summary})
    else:
        print_against(out, found)
    if not found.complete:
        return INTERRUPTED
    failed = any(row.error is not None for row in found.rows)
    return VIOLATION if failed or (fail_on_change and found.counted("off")) else NOTHING_FOUND


def _plain(found: Against) -> dict[str, Any]:
    """A comparison with the verdicts, which follow from its figures."""
    plain: dict[str, Any] = msgspec.to_builtins(found)
    for row, shown in zip(found.rows, plain["rows"], strict=True):
        shown["verdict"] = row.verdict
        for figure, beside in zip(row.figures, shown["figures"], strict=True):
            beside.update(off_by=figure.off_by, verdict=figure.verdict)
    return plain


def write_reference_tables(jobs: int, cache: Path | None) -> int:
    """Measures every workload with both presets and writes the tables; the exit code. Raises `BadInput`."""
    if not FOLDER.is_dir():
        raise BadInput(f"there is no folder {FOLDER} here: change to a clone of the repository")
    for preset in PRESETS:
        chosen = reference_configuration(preset)
        results = measured(plan(WORKLOADS, chosen, [chosen.latency]), jobs, cache, None)
        if not results.complete:
            return INTERRUPTED
        try:
            paths = write_reference(make_reference(chosen, results.runs[0].measurements), FOLDER)
        except ValueError as error:
            raise BadInput(f"no table without all workloads: {error}") from None
        for path in paths:
            say(out, f"written: {path}")
    return NOTHING_FOUND


def show_list(json: bool) -> int:
    """Workloads, scenarios, latency profiles and settings; the exit code."""
    base = configuration("merge")
    settings = {name: setting_of(base, name) for name in SETTINGS}
    if json:
        workloads = [
            {
                "number": each.number,
                "name": each.name,
                "category": each.category,
                "size_class": each.size,
                "parallel": each.parallel,
                "in_matrix": each.in_matrix,
            }
            for each in WORKLOADS
        ]
        scenarios = [
            {"name": each.name, "in_impact": each.in_impact, "settings": dict(each.settings)} for each in SCENARIOS
        ]
        print_json(
            {"workloads": workloads, "scenarios": scenarios, "latencies": list(LATENCY_PROFILES), "settings": settings}
        )
        return NOTHING_FOUND
    out.print("[bold]workloads[/] (* in the matrix)")
    for each in WORKLOADS:
        mark = "*" if each.in_matrix else " "
        out.print(f"  {each.number:>2} {mark} {each.name:<40} {each.category}, {each.size}", markup=False)
    out.print("\n[bold]scenarios of the matrix[/] (* in impact; all in full-impact)")
    for scenario in SCENARIOS:
        changes = (
            ", ".join(f"{name}={value}" for name, value in scenario.settings.items()) or "nothing that is modelled"
        )
        mark = "*" if scenario.in_impact else " "
        say(out, f"{mark} {scenario.name:<28} {changes if scenario.name != 'defaults' else '-'}", 2, 33)
    out.print("\n[bold]latency profiles[/]")
    say(out, ", ".join(LATENCY_PROFILES), 2)
    out.print("\n[bold]settings[/], with what the merge has")
    for name, value in settings.items():
        out.print(f"  {name}={value}", markup=False)
    return NOTHING_FOUND
