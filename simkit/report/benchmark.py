"""The cold-read benchmark on the terminal: measurements, the matrix, a comparison, and rows beside published ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simkit.bench.cold.against import Against, FigureAgainst, RowAgainst
from simkit.bench.cold.compare import Comparison
from simkit.bench.cold.markdown import describe
from simkit.bench.cold.results import READER_FIGURES, Results, Run
from simkit.bench.cold.run import Measurement
from simkit.report.terminal import print_table, say

_HEADS = {
    "get_pages": "get_pages",
    "fetched_pages": "fetched",
    "prefetch_pages": "prefetched",
    "cache_hits": "hits",
    "cache_misses": "misses",
    "commits": "commits",
    "page_count": "pages",
    "setup_pages": "setup pages",
    "rows": "rows",
    **{name: name.replace("_", " ") for name in READER_FIGURES},
}
_FIGURES_SHOWN_MAX = 6
_STYLES = {"exact": "green", "in range": "green", "off": "red", "not compared": "yellow"}


def print_results(console: Console, results: Results) -> None:
    """Measurements of a single run in full; of several runs side by side."""
    if len(results.runs) == 1:
        _print_run(console, results, results.runs[0])
    else:
        _print_side_by_side(console, results)
    for note, names in _noted(results).items():
        say(console, f"{', '.join(names)}: {note}", style="dim")
    for run, each in results.failures:
        say(console, f"{each.workload} ({results.label(run)}) failed: {each.error}", style="red")
    if not results.complete:
        say(console, "interrupted: these are the measurements that were made until then", style="yellow")


def _noted(results: Results) -> dict[str, list[str]]:
    """What has no effect, with the names of the runs it is said of; most scenarios share their notes."""
    noted: dict[str, list[str]] = {}
    for run in results.runs:
        for note in run.notes:
            noted.setdefault(note, []).append(results.label(run))
    return noted


def _print_run(console: Console, results: Results, run: Run) -> None:
    table = _table("#", "workload", texts=2)
    columns: list[tuple[str, Callable[[Measurement], str]]] = [
        ("get_pages", lambda each: f"{each.get_pages:,}"),
        ("fetched", lambda each: f"{each.fetched_pages:,}"),
        ("prefetched", lambda each: f"{each.prefetch_pages:,}"),
        ("hits", lambda each: f"{each.cache_hits:,}"),
        ("misses", lambda each: f"{each.cache_misses:,}"),
        ("commits", lambda each: f"{each.commits:,}"),
        ("simulated ms", lambda each: f"{each.simulated_ms:,.1f}"),
        ("wall ms", lambda each: f"{each.wall_ms:,.0f}"),
    ]
    for name, _ in columns:
        table.add_column(name, justify="right")
    for each in run.measurements:
        cells = ["failed"] if each.error is not None else [cell(each) for _, cell in columns]
        table.add_row(str(each.number), each.workload, *cells)
    print_table(console, table)
    say(console, describe(run.settings), style="dim")
    parallel = [each for each in run.measurements if any(getattr(each, name) for name in READER_FIGURES)]
    if parallel:
        console.print()
        readers = _table("workload", texts=1)
        for name in READER_FIGURES:
            readers.add_column(name.replace("_", " "), justify="right")
        for each in parallel:
            readers.add_row(each.workload, *(f"{getattr(each, name):,}" for name in READER_FIGURES))
        print_table(console, readers)


def _print_side_by_side(console: Console, results: Results) -> None:
    for place, run in enumerate(results.runs, start=1):
        say(console, f"{place:>2}  {results.label(run)}")
    for figure, what, form in (("get_pages", "get_pages", "{:,}"), ("simulated_ms", "simulated ms", "{:,.0f}")):
        console.print(f"\n[bold]{what}[/]")
        table = _table("workload", texts=1)
        for place in range(1, len(results.runs) + 1):
            table.add_column(str(place), justify="right")
        for name in results.workloads:
            found = [run.of(name) for run in results.runs]
            table.add_row(name, *("-" if each is None else form.format(getattr(each, figure)) for each in found))
        print_table(console, table)
    console.print()
    say(console, describe(results.runs[0].settings), style="dim")


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Workloads that changed, the most first."""
    for line in comparison.different_settings:
        say(console, f"settings, {line}", style="dim")
    for change in comparison.changes:
        console.print(f"[bold]{escape(change.workload)}[/]  [dim]{escape(change.run)}[/]", soft_wrap=True)
        if change.remark:
            say(console, change.remark, 2, style="red")
        for figure in change.figures[:_FIGURES_SHOWN_MAX]:
            say(console, str(figure), 2)
        left = len(change.figures) - _FIGURES_SHOWN_MAX
        if left > 0:
            say(console, f"and {left} more that changed less", 2, style="dim")
    for line in comparison.unmatched:
        say(console, line, style="yellow")
    same = comparison.compared - len(comparison.changes)
    say(console, f"{comparison.compared} compared: {len(comparison.changes)} changed, {same} the same")


def print_against(console: Console, found: Against) -> None:
    """Each row: what was published, what was simulated, and the difference, in aligned columns."""
    widths = _widths(found.rows)
    for row in found.rows:
        heading = f"{row.workload}  {row.origin}, {row.scenario}"
        style = _STYLES[row.verdict]
        console.print(f"[bold]{escape(heading)}[/]  [{style}]{row.verdict}[/]", soft_wrap=True)
        if row.error is not None:
            say(console, f"failed: {row.error}", 2, style="red")
        else:
            for line in _figure_lines(row, widths):
                console.print(line, soft_wrap=True, markup=False)
        say(console, f"simulated with {row.configuration}", 2, style="dim")
        for each in row.assumed:
            say(console, f"assumed: {each}", 2, style="dim")
        console.print()
    if found.source:
        say(console, found.source, style="dim")
    if not found.complete:
        say(console, "interrupted: these are the rows that were simulated until then", style="yellow")
    say(console, found.summary)


def _figure_lines(row: RowAgainst, widths: dict[str, int]) -> list[str]:
    figures = {each.figure: each for each in row.figures}
    lines = [f"  {'':<10}", f"  {'published':<10}", f"  {'simulated':<10}", f"  {'deviation':<10}"]
    for name, width in widths.items():
        if name == "ms":
            cells = _time_cells(row)
        elif name in figures:
            cells = (_HEADS[name], *_figure_cells(figures[name]))
        else:
            cells = (_HEADS[name], "-", "", "")
        lines = [f"{line}  {cell:>{width}}" for line, cell in zip(lines, cells, strict=True)]
    return [line.rstrip() for line in lines]


def _figure_cells(figure: FigureAgainst) -> tuple[str, str, str]:
    if figure.off_by:
        percent = 100 * figure.off_by / max(1, figure.high if figure.off_by > 0 else figure.low)
        deviation = f"{figure.off_by:+,} ({percent:+.1f} %)" if abs(percent) < 1000 else f"{figure.off_by:+,}"
    else:
        deviation = "=" if figure.verdict == "exact" else "in range"
    return _band(figure), f"{figure.simulated:,}", deviation


def _band(figure: FigureAgainst) -> str:
    return f"{figure.low:,}" if figure.low == figure.high else f"{figure.low:,}..{figure.high:,}"


def _time_cells(row: RowAgainst) -> tuple[str, str, str, str]:
    published = "-" if row.published_ms is None else f"{row.published_ms:,.1f}"
    factor = "" if row.factor is None else f"{row.factor:.2f} times"
    return "server ms", published, f"{row.simulated_ms:,.1f}", factor


def _widths(rows: Sequence[RowAgainst]) -> dict[str, int]:
    """The width of each column that any row has a figure for."""
    widths: dict[str, int] = {}
    for name, head in _HEADS.items():
        cells = [cell for row in rows for each in row.figures if each.figure == name for cell in _figure_cells(each)]
        if cells:
            widths[name] = max(len(head), *map(len, cells))
    widths["ms"] = max([len("server ms"), *(len(cell) for row in rows for cell in _time_cells(row))])
    return widths


def _table(*heads: str, texts: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < texts and head != "#" else "right", no_wrap=True)
    return table
