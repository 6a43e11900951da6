"""The command line of the test scripts: finds out what a directory holds, runs it, and says what came out.

Exit codes are those of `simkit`: 0 nothing failed, 1 something did, 2 the input cannot be used, 3 simkit's own error.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import apsw
import msgspec

from simkit.conformance.build import Build, build_all, is_source_tree
from simkit.conformance.logic_reader import looks_like_logic
from simkit.conformance.logic_runner import run_logic
from simkit.conformance.results import FileResult, Totals, Unusable
from simkit.conformance.tcl_suite import PAGE_SIZE, TIMEOUT_S, ScriptOptions, run_script, scripts_of
from simkit.vfs.settings import PROFILES

NOTHING_FAILED, FAILED, BAD_INPUT, INTERNAL_ERROR, INTERRUPTED = 0, 1, 2, 3, 130
SCHEMA_VERSION = 1
BUILD_DIRECTORY = Path("build/sqltests")

_FAILURES_SHOWN = 5
_DESCRIPTION = """\
Run test scripts of others over simkit's VFS, with a simulated depot below it, and say what passed, failed, and why.

DIRECTORY is one of two things, and the command finds out which:
  files of sqllogictest   *.test, also in folders below. Each runs on an empty database of its own; at the end the
                          instance crashes, and a new one must find a sound database with what was committed.
  a source tree of SQLite The scripts in its test/ run in-process, each in a process and directory of its own. SQLite
                          and APSW are built once for that; the tree needs configure, src/ and test/.
"""
_EXAMPLES = """\
examples:
  python -m simkit.conformance tests/unit/conformance/sample
  python -m simkit.conformance sqllogictest/test --only 'select*.test' --json result.json
  python -m simkit.conformance sqlite-3.53.4 --apsw apsw-3.53.4.0.tar.gz --only 'trans*' --only 'vacuum*'
  python -m simkit.conformance sqlite-3.53.4 --only pager1.test --vfs sqlite    the same on SQLite's own files

Exit code 0: nothing failed. 1: something failed. 2: the input cannot be used. 3: an error of simkit itself.
docs/sql-surface.md says where to get the sources, and what a result means.
"""


@dataclass(frozen=True)
class Job:
    """One file to run: the name that is shown, and how."""

    name: str
    run: Callable[[], FileResult]


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m simkit.conformance",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("directory", type=Path, metavar="DIRECTORY", help="sqllogictest files or SQLite's source tree")
    options.add_argument("--only", action="append", metavar="GLOB", help="only files of such a name; may be repeated")
    options.add_argument("--skip", action="append", metavar="GLOB", help="no files of such a name; may be repeated")
    options.add_argument("--list", action="store_true", help="show what would be run, and run nothing")
    options.add_argument("--json", type=Path, metavar="FILE", help="write all results as JSON as well")
    options.add_argument(
        "--vfs", choices=("depot", "sqlite"), default="depot", help="sqlite: on SQLite's own files, to compare with"
    )
    options.add_argument("--jobs", type=int, default=1, metavar="N", help="Tcl scripts at the same time (1)")
    scripts = options.add_argument_group("for a source tree of SQLite")
    scripts.add_argument(
        "--apsw", type=Path, metavar="FILE", help="APSW's source distribution of the same version; needed once"
    )
    scripts.add_argument(
        "--build",
        type=Path,
        default=BUILD_DIRECTORY,
        metavar="DIR",
        help=f"for what is built ({BUILD_DIRECTORY})",
    )
    scripts.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, metavar="S", help=f"seconds for one script ({TIMEOUT_S:g})"
    )
    scripts.add_argument(
        "--page-size", type=int, default=PAGE_SIZE, metavar="BYTES", help=f"the depot's pages ({PAGE_SIZE})"
    )
    scripts.add_argument("--profile", choices=[*PROFILES], default="default", help="the settings of the VFS (default)")
    scripts.add_argument("--no-batch-atomic", action="store_true", help="commit with a journal, as other builds do")
    scripts.add_argument(
        "--no-compare", action="store_true", help="do not run scripts with failures on SQLite's own files as well"
    )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; the exit code."""
    options = parser().parse_args(arguments)
    try:
        return _run(options)
    except Unusable as error:
        print(f"simkit: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("simkit: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last word of a process is an exit code
        print(f"{traceback.format_exc()}simkit: internal error: {error!r}", file=sys.stderr)
        return INTERNAL_ERROR


def _run(options: argparse.Namespace) -> int:
    directory: Path = options.directory
    if not directory.is_dir():
        raise Unusable(f"{directory} is no directory; give one with sqllogictest files or SQLite's source tree")
    if options.jobs < 1 or options.timeout <= 0:
        raise Unusable("--jobs and --timeout are above 0")
    is_tree = is_source_tree(directory)
    files = scripts_of(directory) if is_tree else logic_files(directory)
    files = [file for file in files if _chosen(file.name, options.only, options.skip)]
    if not files:
        raise Unusable(_nothing_in(directory, is_tree, options.only))
    if options.list:
        print("\n".join(file.relative_to(directory).as_posix() for file in files))
        return NOTHING_FAILED
    if is_tree:
        build = build_all(directory, options.build, options.apsw)
        jobs, version = _script_jobs(build, files, options), build.version
    else:
        version = apsw.sqlite_lib_version()
        jobs = [
            Job(name, lambda file=file, name=name: run_logic(file, name, options.vfs))  # type: ignore[misc] # bound now
            for file in files
            for name in [file.relative_to(directory).as_posix()]
        ]
    print(f"SQLite {version}, VFS: {options.vfs}, {len(jobs)} files", file=sys.stderr)
    results = run_all(jobs, options.jobs if is_tree else 1)
    if options.json is not None:
        _write(options.json, results, version, options.vfs)
    print(summary(results))
    return FAILED if any(result.failures for result in results) else NOTHING_FAILED


def logic_files(directory: Path) -> list[Path]:
    """The sqllogictest files of a directory and of those below."""
    return [
        path
        for path in sorted(directory.rglob("*.test"))
        if looks_like_logic(path.read_text(encoding="utf-8", errors="replace"))
    ]


def _chosen(name: str, only: list[str] | None, skip: list[str] | None) -> bool:
    return not any(fnmatch(name, glob) for glob in skip or ()) and (
        not only or any(fnmatch(name, glob) for glob in only)
    )


def _nothing_in(directory: Path, is_tree: bool, only: list[str] | None) -> str:
    if only:
        return f"no file in {directory} matches --only {' or '.join(only)}; --list shows what there is without --only"
    what = "test scripts in test/" if is_tree else "sqllogictest files (*.test), and it is no source tree of SQLite"
    return f"{directory} has no {what}"


def _script_jobs(build: Build, files: list[Path], options: argparse.Namespace) -> list[Job]:
    how = ScriptOptions(
        vfs=options.vfs,
        page_size=options.page_size,
        profile=options.profile,
        batch_atomic=not options.no_batch_atomic,
        timeout_s=options.timeout,
        compare=not options.no_compare,
    )
    return [Job(file.name, lambda file=file: run_script(build, file, how)) for file in files]  # type: ignore[misc] # bound now


def run_all(jobs: list[Job], at_once: int) -> list[FileResult]:
    """Runs the jobs and tells of each as it ends; results in the order of the jobs."""
    results: list[FileResult] = []
    width = max(len(job.name) for job in jobs)

    def told(outcomes: Iterable[FileResult]) -> None:
        for number, result in enumerate(outcomes, 1):
            results.append(result)
            print(f"{number:>4}/{len(jobs)} {line_of(result, width)}", file=sys.stderr, flush=True)

    if at_once == 1:
        told(job.run() for job in jobs)
    else:
        with ThreadPoolExecutor(at_once) as threads:
            told(threads.map(lambda job: job.run(), jobs))
    return results


def line_of(result: FileResult, width: int) -> str:
    """A file's result in one line."""
    counts = [f"{result.passed:,} passed"]
    if result.failures:
        counts.append(f"{len(result.failures):,} failed")
    if result.skipped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in result.skipped.most_common())
        counts.append(f"skipped: {reasons}")
    return f"{result.file:<{width}}  {result.outcome:<7}  {'; '.join(counts)}  ({result.wall_s:.1f} s)"


def summary(results: list[FileResult]) -> str:
    """What failed and why, and the sums."""
    lines: list[str] = []
    for result in results:
        if not result.failures:
            continue
        lines.append(f"{result.file}: {len(result.failures)} failed")
        lines.extend(f"  {failure.case}: {failure.why}" for failure in result.failures[:_FAILURES_SHOWN])
        if len(result.failures) > _FAILURES_SHOWN:
            lines.append(f"  and {len(result.failures) - _FAILURES_SHOWN} more (--json FILE has them all)")
    totals = Totals.of(results)
    files = ", ".join(f"{totals.files[outcome]:,} {outcome}" for outcome in ("passed", "failed", "skipped"))
    lines.append(f"files: {files}")
    lines.append(f"cases: {totals.passed:,} passed, {totals.failed:,} failed, {totals.skipped.total():,} skipped")
    lines.extend(f"  {count:>6,}  {reason}" for reason, count in totals.skipped.most_common())
    return "\n".join(lines)


def _write(path: Path, results: list[FileResult], version: str, vfs: str) -> None:
    totals = Totals.of(results)
    data = {
        "schema_version": SCHEMA_VERSION,
        "sqlite_version": version,
        "vfs": vfs,
        "passed": totals.passed,
        "failed": totals.failed,
        "skipped": dict(totals.skipped),
        "files": [result.as_data() for result in results],
    }
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")
    except OSError as error:
        raise Unusable(f"{path} cannot be written: {error.strerror}") from None
