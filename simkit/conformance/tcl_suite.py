"""Runs SQLite's Tcl scripts, each in a process and a directory of its own, and judges what they print.

Scripts end their process, some crash it, and SQLite's global settings stay changed: nothing of one may reach the next.
A script with failures is run once more on SQLite's own files by the same build in the same way. What fails there too
says nothing about the VFS and is not judged.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import simkit
from simkit.conformance.build import Build
from simkit.conformance.results import FileResult
from simkit.conformance.subject import VfsKind
from simkit.conformance.tcl_output import ScriptOutput, read_output

TIMEOUT_S = 120.0
PAGE_SIZE = 1024
"""testfixture's default; scripts count pages and bytes by it."""

_STARTS_OTHERS = re.compile(
    r"permutations|all|quick|veryquick|main|full|extraquick|soak|valgrind|corrupt\w*fuzz|testrunner"
)
_NEEDS_BY_SOURCE: Mapping[str, re.Pattern[str]] = {
    f"needs {need}": re.compile(pattern, re.MULTILINE)
    for need, pattern in {
        "a write-ahead log": r"^\s*(?:if\s*\{\s*!\s*\[wal_is_capable|source \$testdir/wal_common)",
        "SQLite's simulated crashes of its own file layer": r"^\s*ifcapable !crashtest",
        "several threads": r"run_thread_tests|sqlthread spawn",
    }.items()
}
_KEPT_MAX = 800


@dataclass(frozen=True)
class ScriptOptions:
    """How scripts are run.

    Attributes:
        vfs: on a depot, or on SQLite's own files.
        page_size: bytes of a page of the depot.
        profile: the settings of the VFS, by name.
        batch_atomic: commits are batch-atomic writes; if not, SQLite uses its journal as the wheels of APSW do.
        timeout_s: seconds for one script.
        compare: run scripts with failures on SQLite's own files as well.
    """

    vfs: VfsKind = "depot"
    page_size: int = PAGE_SIZE
    profile: str = "default"
    batch_atomic: bool = True
    timeout_s: float = TIMEOUT_S
    compare: bool = True


def scripts_of(tree: Path) -> list[Path]:
    """The test scripts of a source tree, without those that only start others."""
    return [path for path in sorted((tree / "test").glob("*.test")) if not _STARTS_OTHERS.fullmatch(path.stem)]


def run_script(build: Build, script: Path, options: ScriptOptions) -> FileResult:
    """Runs one script and judges it."""
    started = time.perf_counter()
    need = _need_of(script) if options.vfs == "depot" else None
    if need is not None:
        return FileResult(script.name, skipped=Counter({need: 1}))
    result = _run(build, script, options, options.vfs).result
    if result.failures and options.vfs == "depot" and options.compare:
        _set_aside(result, _run(build, script, options, "sqlite").result)
    result.wall_s = time.perf_counter() - started
    return result


def _need_of(script: Path) -> str | None:
    """What the script says itself that it needs and cannot do without."""
    source = script.read_text(encoding="latin-1")
    return next((need for need, pattern in _NEEDS_BY_SOURCE.items() if pattern.search(source)), None)


def _set_aside(result: FileResult, reference: FileResult) -> None:
    """Takes the failures away that SQLite's own files have as well."""
    elsewhere = {failure.case for failure in reference.failures}
    common = [failure for failure in result.failures if failure.case in elsewhere]
    result.failures = [failure for failure in result.failures if failure.case not in elsewhere]
    if common:
        result.skipped["fails on SQLite's own files as well"] += len(common)


def _run(build: Build, script: Path, options: ScriptOptions, vfs: VfsKind) -> ScriptOutput:
    command = [
        *(sys.executable, "-m", "simkit.conformance.tcl_script", str(build.library), str(script), "--vfs", vfs),
        *("--page-size", str(options.page_size), "--profile", options.profile),
    ]
    if not options.batch_atomic:
        command.append("--no-batch-atomic")
    package = str(Path(simkit.__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(build.python), package])}
    with tempfile.TemporaryDirectory(prefix="simkit-", ignore_cleanup_errors=True) as directory:
        printed = Path(directory) / "printed.txt"
        with printed.open("wb") as stream:
            process = subprocess.Popen(  # noqa: S603 - this interpreter, with paths that were checked
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            ended = _wait(process, options.timeout_s)
        text = printed.read_text(encoding="utf-8", errors="replace")
    output = read_output(script.name, text)
    _judge_end(output, process.returncode if ended else None, text, options.timeout_s)
    return output


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Whether the process ended in time; with what it started, it has ended afterwards in any case."""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return True


def _judge_end(output: ScriptOutput, returncode: int | None, text: str, timeout_s: float) -> None:
    result = output.result
    after = f"after {output.last or 'its start'}"
    if returncode is None:
        output.fail("the script's time", f"no end within {timeout_s:g} s, {after} (--timeout allows more)")
    elif output.ending is None:
        what = f"signal {signal.Signals(-returncode).name}" if returncode < 0 else f"exit code {returncode}"
        output.fail("the script's process", f"its process ended with {what} {after}: {text[-_KEPT_MAX:].strip()}")
    elif output.reported is not None and output.reported != output.failed:
        output.fail("the script", f"testfixture counted {output.reported} errors, {output.failed} were found")
    elif not result.passed and not result.failures and not result.skipped:
        result.skipped["the script says that this build has nothing for it to test"] += 1
