"""How `run` and `replay` show one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from simkit.check.events import MetricsRead
from simkit.cli.exits import NOTHING_FOUND, VIOLATION, BadInput, report_hang
from simkit.cli.options import out
from simkit.depot.events import CommitApplied, HotInstalled, JobFailed, Reclaimed
from simkit.kernel import Record
from simkit.kernel.units import format_duration
from simkit.report.terminal import EVENT_HANG, print_violation, say
from simkit.report.timeline import timeline_svg
from simkit.scenario.events import DepotMeasured
from simkit.search.cases import Case
from simkit.search.execute import Run
from simkit.search.explain import last_events, render_event
from simkit.search.interruption import Interruption
from simkit.search.subject import Subject
from simkit.search.watchdog import ThreadWatch


@contextmanager
def watched(again: str, hang_after_s: float | None, json: bool) -> Iterator[None]:
    """Around one run: it ends the process when it is stuck, and at the second Ctrl-C whatever the system catches."""
    with Interruption(raising=True):
        if hang_after_s is None:
            yield
            return
        with ThreadWatch(hang_after_s, lambda seed, io: report_hang(again, hang_after_s, json)) as watch:
            watch.begin(0, None)
            yield


def draw_timeline(subject: Subject, case: Case, run: Run, path: Path) -> None:
    """Draws the run into an SVG file. Raises `BadInput` when that cannot be written."""
    if path.suffix.lower() != ".svg":
        raise BadInput(f"--timeline {path}: the picture is an SVG; name the file {path.name}.svg")
    try:
        path.write_text(timeline_svg(run.history, f"{subject.scenario.name}, {case}", run.violations), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from None


def show_metrics(run: Run) -> None:
    """Prints what the systems counted, in the text format of Prometheus."""
    read = [event for event in run.history if isinstance(event, MetricsRead)]
    if not read:
        out.print("no metrics: the system has none, or no instance was closed")
    for event in read:
        out.print(f"# {event.instance}, closed at {format_duration(event.at)}", soft_wrap=True, markup=False)
        for sample, value in event.samples:
            out.print(f"{sample} {value:.10g}", soft_wrap=True, markup=False)
    out.print()


def depot_figures(history: Sequence[Record]) -> str:
    """What commits and compaction made of the depot, in one line."""
    counts = Counter(type(event) for event in history)
    deleted = sum(event.deltas for event in history if isinstance(event, Reclaimed))
    watermarks = {event.branch: event.watermark for event in history if isinstance(event, HotInstalled)}
    told = [
        _count(counts[CommitApplied], "commit"),
        _count(counts[HotInstalled], "install")
        + "".join(f", branch {branch} up to commit {upto}" for branch, upto in sorted(watermarks.items())),
        f"{_count(counts[Reclaimed], 'reclaim')} of {_count(deleted, 'delta')}",
        _count(counts[JobFailed], "failed job"),
    ]
    measured = next((event for event in reversed(history) if isinstance(event, DepotMeasured)), None)
    if measured is not None:
        told.append(f"{_count(measured.rows, 'row')} and {_count(measured.stored_bytes, 'byte')} at the end")
    return f"depot: {'; '.join(told)}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def show_run(subject: Subject, case: Case, run: Run, events: int, metrics: bool = False) -> int:
    """Prints the run and returns the exit code that it deserves."""
    name = subject.scenario.name
    if metrics:
        show_metrics(run)
    if events:
        for event in run.history[-events:]:
            say(out, render_event(event), 0, EVENT_HANG)
        out.print()
    for violation in run.violations:
        shown = [] if events else last_events(run.history, violation)
        print_violation(out, violation, shown, f"{name}, {case}")
    for number in run.unfired:
        rule = run.plan.faults[number]
        out.print(f"[red]fault rule {number + 1} ({rule.point.value}) was expected to fire and did not[/]")
    say(
        out,
        f"{name}, {case}: {len(run.violations) or 'no'} violation{'' if len(run.violations) == 1 else 's'}; "
        f"{run.requests:,} storage requests, {run.steps:,} steps, {len(run.decisions):,} decisions, "
        f"{format_duration(run.simulated_ns)} of simulated time",
    )
    if run.plan.depot.compaction.enabled:
        say(out, depot_figures(run.history))
    out.print(f"trace digest {run.digest()}")
    return VIOLATION if run.violations or run.unfired else NOTHING_FOUND
