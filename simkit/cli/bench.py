"""`simkit bench`: the cold-read benchmark, compared with itself and with published figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from simkit.bench.cold import plots
from simkit.bench.cold.benchmark import DEFAULT_LATENCIES, chosen_workloads, plan
from simkit.bench.cold.compare import compare
from simkit.bench.cold.markdown import summary
from simkit.bench.cold.overrides import BadOverride, changed, parse_override
from simkit.bench.cold.results import Results, ResultsInvalid, load, save
from simkit.bench.cold.run import Configuration, Preset, configuration
from simkit.bench.cold.sizes import Profile
from simkit.bench.cold.workloads import UnknownWorkload
from simkit.cli import bench_options as given
from simkit.cli.app import app
from simkit.cli.bench_measuring import latency_profile, measured, set_ups_in
from simkit.cli.bench_modes import against_rows, show_list, write_reference_tables
from simkit.cli.exits import INTERRUPTED, NOTHING_FOUND, VIOLATION, BadInput, exit_codes
from simkit.cli.options import JsonOption, out, print_json
from simkit.depot.latency import LATENCY_PROFILES
from simkit.report.benchmark import print_comparison, print_results
from simkit.report.terminal import say
from simkit.search.processes import cores
from simkit.vfs.settings import profile

_TAKEN: dict[str, set[str]] = {
    "list_all": {"list_all", "json"},
    "against_file": {"against_file", "latency", "cache", "no_cache", "fail_on_change", "json"},
    "write_tables": {"write_tables", "jobs", "cache", "no_cache"},
}
"""What goes together with an option that makes another command of this one."""
_NAMED = {"list_all": "--list", "against_file": "--against", "write_tables": "--write-reference"}
_NOT_ALONE = {"fail_on_change"}

bench_app = typer.Typer(invoke_without_command=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
app.add_typer(bench_app, name="bench")


@bench_app.callback()
def bench(
    context: typer.Context,
    only: given.OnlyOption = None,
    matrix: given.MatrixOption = "none",
    sizes: given.ProfileOption = "smoke",
    latency: given.LatencyOption = None,
    vfs: given.VfsOption = "merge",
    settings: given.SetOption = None,
    schema: given.SchemaOption = None,
    system: given.SystemOption = None,
    output: given.OutputOption = None,
    draw: given.PlotsOption = False,
    sensitivity: given.SensitivityOption = False,
    seed: given.SeedOption = 0,
    jobs: given.JobsOption = None,
    cache: given.CacheOption = None,
    no_cache: given.NoCacheOption = False,
    list_all: given.ListOption = False,
    against_file: given.AgainstOption = None,
    fail_on_change: given.FailOnChangeOption = False,
    write_tables: given.ReferenceOption = False,
    json: JsonOption = False,
) -> None:
    """Measure cold reads: 32 workloads, each on a database that has just woken with nothing cached.

    For each workload it counts requests for pages (get_pages), pages fetched and read ahead, cache hits and misses,
    commits, and the simulated time under a latency profile. Counts are the same on every machine. Try an optimisation:

    `simkit bench -o before`, change the VFS or give `--set read_ahead=bounded`, `simkit bench -o after`, then
    `simkit bench compare before/results.json after/results.json`.

    Examples: `simkit bench --only 'chat-*' --latency network-20ms`, `simkit bench --matrix impact -o DIR --plots`,
    `simkit bench --vfs released --set preload_first_pages=1`, `simkit bench --against published`

    Ctrl-C keeps what was measured. A workload that fails loses no other; the exit code is 1 then.
    """
    with exit_codes(json):
        _require_options_of(context)
        if context.invoked_subcommand is not None:
            return
        if list_all:
            raise typer.Exit(show_list(json))
        folder = set_ups_in(cache, kept=not no_cache)
        if against_file is not None:
            raise typer.Exit(against_rows(against_file, latency or [], folder, json, fail_on_change))
        if write_tables:
            raise typer.Exit(write_reference_tables(jobs or cores(), folder))
        if draw:
            _require_plots(output)
        base = _base(vfs, sizes, seed, schema, system, settings or [])
        try:
            workloads = chosen_workloads([name for each in only or [] for name in each.split(",")], matrix)
        except UnknownWorkload as error:
            raise BadInput(f"--only: {error}") from None
        latencies = [latency_profile(name) for name in latency or []] or [base.latency]
        planned = plan(workloads, base, latencies, matrix, sensitivity=sensitivity)
        results = measured(planned, jobs or cores(), folder, output)
        if output is not None:
            _write(results, output, draw)
        if json:
            print_json(results)
        else:
            print_results(out, results)
            if output is not None:
                say(out, f"written: {output}")
        raise typer.Exit(_code(results))


@bench_app.command(name="compare")
def compare_command(
    before: Annotated[Path, typer.Argument(metavar="A", help="A results.json, from before.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one, from after.")],
    fail_on_change: given.FailOnChangeOption = False,
    json: JsonOption = False,
) -> None:
    """Show what differs between two results, the largest change first.

    Runs are matched by scenario and latency; where each file has one run, those two are compared. Wall times are left
    out: they compare machines. The exit code is 0, or with --fail-on-change 1 when anything differs.

    Example: `simkit bench compare before/results.json after/results.json --fail-on-change`
    """
    with exit_codes(json):
        try:
            found = compare(load(before), load(after))
        except ResultsInvalid as error:
            raise BadInput(str(error)) from None
        if json:
            print_json(found)
        else:
            print_comparison(out, found)
        differs = bool(found.changes or found.unmatched)
        raise typer.Exit(VIOLATION if fail_on_change and differs else NOTHING_FOUND)


def _require_options_of(context: typer.Context) -> None:
    """An option that would be passed over in silence is refused."""
    given_here = {
        name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    if context.invoked_subcommand is not None:
        what, taken = f"bench {context.invoked_subcommand}", set[str]()
    else:
        mode = next((name for name in _TAKEN if name in given_here), "")
        what, taken = (_NAMED[mode], _TAKEN[mode]) if mode else ("the benchmark itself", {*context.params} - _NOT_ALONE)
    strange = [_option(context, name) for name in context.params if name in given_here - taken]
    if strange:
        where = "; give options after the name of the command" if context.invoked_subcommand else ""
        raise BadInput(f"{what} does not go with {', '.join(strange)}{where}")


def _option(context: typer.Context, name: str) -> str:
    return next(parameter.opts[-1] for parameter in context.command.params if parameter.name == name)


def _base(
    vfs: str, sizes: str, seed: int, schema: str | None, system: str | None, settings: Sequence[str]
) -> Configuration:
    preset: Preset = "released" if vfs == "released" else "merge"
    latency = LATENCY_PROFILES[DEFAULT_LATENCIES[preset]]
    more: dict[str, Any] = {"sizes": Profile(sizes), "seed": seed, "latency": latency}
    if schema is not None:
        more["schema"] = schema
    if system is not None:
        more["system"] = system
    if vfs == "default":
        more["vfs"] = profile("default")
    try:
        base = configuration(preset, **more)
    except ValueError as error:
        raise BadInput(str(error)) from None
    try:
        return changed(base, dict(map(parse_override, settings)))
    except BadOverride as error:
        raise BadInput(f"--set: {error}") from None


def _require_plots(output: Path | None) -> None:
    if output is None:
        raise BadInput("--plots draws into a folder: name it with -o DIR")
    try:
        plots.require()
    except plots.PlotsMissing as error:
        raise BadInput(f"--plots: {error}") from None


def _write(results: Results, folder: Path, draw: bool) -> None:
    try:
        save(results, folder / "results.json")
        (folder / "summary.md").write_text(summary(results), encoding="utf-8")
        if draw:
            for name, spec in _pictures(results).items():
                (folder / f"{name}.svg").write_bytes(plots.render(spec, "svg"))
                (folder / f"{name}.png").write_bytes(plots.render(spec, "png"))
    except OSError as error:
        raise BadInput(f"cannot write to {folder}: {error.strerror}") from None


def _pictures(results: Results) -> dict[str, plots.Spec]:
    pictures = {f"bars-{figure.replace('_', '-')}": plots.bars(results, figure) for figure in plots.FIGURES}
    curves = plots.sensitivity if results.sensitivity else plots.computed_sensitivity
    pictures["sensitivity"] = curves(results)
    return pictures


def _code(results: Results) -> int:
    if not results.complete:
        return INTERRUPTED
    return VIOLATION if results.failures else NOTHING_FOUND
