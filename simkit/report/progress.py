"""Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from simkit.search.totals import FuzzTotals

PLAIN_LINE_EVERY_S = 5.0
_BAR_WIDTH = 16


@contextmanager
def fuzz_progress(console: Console) -> Iterator[Callable[[FuzzTotals], None]]:
    """A function to call with the totals as they grow."""
    if console.is_terminal:
        with Progress(
            BarColumn(_BAR_WIDTH),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            transient=True,
        ) as bar:
            task = bar.add_task("fuzzing", total=1.0, numbers="starting")
            yield lambda totals: bar.update(task, completed=_share(totals), numbers=_numbers(totals))
    else:
        last = time.monotonic()

        def plain(totals: FuzzTotals) -> None:
            nonlocal last
            if time.monotonic() - last >= PLAIN_LINE_EVERY_S:
                last = time.monotonic()
                console.print(f"{totals.wall_s:,.0f} s  {_numbers(totals)}", soft_wrap=True)

        yield plain


@contextmanager
def steps_progress(console: Console, what: str) -> Iterator[Callable[[int, int, str], None]]:
    """A function to call with steps done, steps in all, and the name of the latest one."""
    if console.is_terminal:
        with Progress(
            BarColumn(_BAR_WIDTH),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            transient=True,
        ) as bar:
            task = bar.add_task(what, total=None, numbers="starting")
            yield lambda done, total, name: bar.update(
                task, completed=done, total=total, numbers=f"{done}/{total} {what}, latest {name}"
            )
    else:
        begun = last = time.monotonic()

        def plain(done: int, total: int, name: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PLAIN_LINE_EVERY_S:
                last = now
                console.print(f"{now - begun:,.0f} s  {done}/{total} {what}, latest {name}", soft_wrap=True)

        yield plain


def _share(totals: FuzzTotals) -> float:
    """How much of the work is done, 0 to 1."""
    settings = totals.settings
    if settings.budget_s is not None:
        return min(1.0, totals.wall_s / settings.budget_s)
    assert settings.seeds is not None
    wanted = settings.seeds * len(totals.scenarios)
    done = sum(settings.seeds if scenario.found else scenario.seeds for scenario in totals.scenarios)
    return min(1.0, done / wanted) if wanted else 1.0


def _numbers(totals: FuzzTotals) -> str:
    share, wall_s = _share(totals), totals.wall_s
    left = f"{wall_s * (1 - share) / share:,.0f} s left" if share > 0 else "starting"
    pace = totals.runs / wall_s if wall_s else 0.0
    return f"{totals.runs:,} runs  {pace:,.0f} runs/s  {totals.violating_runs:,} violations  {left}"
