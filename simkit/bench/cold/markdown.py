"""Results as Markdown: one table for each run, and the matrix side by side.

The tables are for reading; the JSON document beside them has everything. Wall times can be left out, and with them
everything that depends on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from simkit.bench.cold.results import READER_FIGURES, Results, Run, Settings
from simkit.bench.cold.run import Measurement

_COLUMNS: tuple[tuple[str, Callable[[Measurement], str]], ...] = (
    ("rows", lambda each: f"{each.rows:,}"),
    ("pages", lambda each: f"{each.page_count:,}"),
    ("get_pages", lambda each: f"{each.get_pages:,}"),
    ("fetched", lambda each: f"{each.fetched_pages:,}"),
    ("prefetched", lambda each: f"{each.prefetch_pages:,}"),
    ("hits", lambda each: f"{each.cache_hits:,}"),
    ("misses", lambda each: f"{each.cache_misses:,}"),
    ("joined", lambda each: f"{each.joined:,}"),
    ("commits", lambda each: f"{each.commits:,}"),
)


def summary(results: Results, *, times: bool = True) -> str:
    """The whole document. `times`: with simulated and wall times."""
    environment = results.environment
    versions = (
        f"simkit {environment.simkit}, SQLite {environment.sqlite}, APSW {environment.apsw}, "
        f"Python {environment.python}, {environment.machine}."
    )
    parts = [
        "# Cold-read benchmark",
        versions,
    ]
    if not results.complete:
        parts.append("**Interrupted: these are the measurements that were made until then.**")
    if results.failures:
        parts.append(_failures(results))
    if len(results.runs) > 1:
        parts.append("## The runs side by side")
        parts.append(f"get_pages (requests for pages):\n\n{side_by_side(results, 'get_pages')}")
        parts.append(f"Fetched pages:\n\n{side_by_side(results, 'fetched_pages')}")
        if times:
            parts.append(f"Simulated time in ms:\n\n{side_by_side(results, 'simulated_ms')}")
    for run in results.runs:
        parts += [f"## {results.label(run)}", describe(run.settings)]
        if run.notes:
            parts.append("\n".join(f"- {note}" for note in run.notes))
        parts.append(run_table(run, times=times))
        readers = reader_table(run)
        if readers:
            parts.append(readers)
    return "\n\n".join(parts) + "\n"


def describe(settings: Settings) -> str:
    """One paragraph: what was measured."""
    return (
        f"Preset {settings.preset}, schema {settings.schema}, sizes {settings.sizes}, system {settings.system}, "
        f"latency {settings.latency}, seed {settings.seed}, SQLite cache {settings.sqlite_cache_kib:,} KiB."
    )


def run_table(run: Run, *, times: bool = True) -> str:
    """The measurements of one run, a row for each workload."""
    columns = list(_COLUMNS)
    if times:
        columns.append(("simulated ms", lambda each: f"{each.simulated_ms:,.1f}"))
        columns.append(("wall ms", lambda each: f"{each.wall_ms:,.0f}"))
    rows = []
    for each in run.measurements:
        start = (str(each.number), each.workload, f"{each.category}/{each.size_class}")
        cells = ("failed", *[""] * (len(columns) - 1)) if each.error else tuple(cell(each) for _, cell in columns)
        rows.append((*start, *cells))
    return table(("#", "workload", "category/size", *(name for name, _ in columns)), rows, texts=3)


def reader_table(run: Run) -> str:
    """Readers and modes of the workloads that had any; nothing when there are none."""
    rows = [
        (each.workload, *(f"{getattr(each, name):,}" for name in READER_FIGURES))
        for each in run.measurements
        if each.error is None and any(getattr(each, name) for name in READER_FIGURES)
    ]
    if not rows:
        return ""
    heads = (name.replace("_", " ") for name in READER_FIGURES)
    return table(("workload", *heads), rows, texts=1)


def side_by_side(results: Results, figure: str) -> str:
    """One figure, workloads down and runs across."""
    form = "{:,.1f}" if figure.endswith("_ms") else "{:,}"
    rows = []
    for name in results.workloads:
        found = [run.of(name) for run in results.runs]
        rows.append((name, *("-" if each is None else form.format(getattr(each, figure)) for each in found)))
    return table(("workload", *(results.label(run) for run in results.runs)), rows, texts=1)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> str:
    """A table whose first `texts` columns are text, the others numbers."""
    marks = ("---" if place < texts else "--:" for place in range(len(heads)))
    lines = [_line(heads), f"|{'|'.join(marks)}|", *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _failures(results: Results) -> str:
    lines = [
        f"- {each.workload} ({results.label(run)}): {' '.join((each.error or '').split())}"
        for run, each in results.failures
    ]
    return "**Failed:**\n\n" + "\n".join(lines)
