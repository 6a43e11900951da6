"""Runs one of SQLite's Tcl scripts in this process: `python -m simkit.conformance.tcl_script ...`.

Tcl is Python's own (`tkinter.Tcl`), with SQLite's test commands loaded as a shared library, and APSW is linked to that
same library: both speak to one SQLite, so the VFS that is written in Python is the default VFS of the script, which
runs in a task of a kernel. When SQLite asks the VFS for a page in the middle of a Tcl command, that task is suspended
with all that is below it, and goes on when the depot's reply is there.

What the script prints goes to standard output. Lines that begin with `@simkit` are for `tcl_output`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import tkinter
import traceback
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw

from simkit.conformance.routing import RoutingVfs, ScriptFile
from simkit.conformance.subject import STEPS_MAX, Tally, depot_kernel
from simkit.depot.depot import Depot
from simkit.vfs.settings import PROFILES, VfsSettings, profile

MARK = "@simkit "
_EXIT = """
    namespace eval ::simkit {variable exited 0}
    proc exit {{code 0}} {set ::simkit::exited 1; return -code error "exit $code"}
    trace add execution source leave ::simkit::watch
    proc ::simkit::watch {args} {
      if {[info commands ::fail_test] eq ""} return
      trace remove execution source leave ::simkit::watch
      trace add execution ::fail_test enter {apply {{command args} {
        chan puts stdout "\\n@simkit failed [lindex $command 1]"; chan flush stdout
      }}}
    }
"""


class Commands:
    """The subcommands of `::simkit::depot`, for the prelude."""

    def __init__(self, vfs: RoutingVfs, exports: Path) -> None:
        self._vfs = vfs
        self._exports = exports
        self._exported = 0

    def call(self, subcommand: str, *arguments: str) -> Any:
        handler: Callable[..., Any] = getattr(self, f"_{subcommand}")
        return handler(*arguments)

    def _default(self) -> None:
        apsw.set_default_vfs(self._vfs.vfs_name)

    def _holds(self, path: str) -> bool:
        return self._vfs.holds(path)

    def _size(self, path: str) -> int:
        return self._vfs.size(path)

    def _delete(self, path: str) -> None:
        self._vfs.delete(path)

    def _copy(self, source: str, target: str) -> None:
        self._vfs.write(target, self._vfs.content(source))

    def _patch(self, path: str, offset: str, hexadecimal: str) -> bool:
        return self._vfs.patch(path, int(offset), bytes.fromhex(hexadecimal[: len(hexadecimal) // 2 * 2]))

    def _release(self, path: str) -> bool:
        return self._vfs.release(path)

    def _needs(self) -> tuple[str, ...]:
        needs = tuple(ScriptFile.needs)
        ScriptFile.needs.clear()
        return needs

    def _names(self) -> tuple[str, ...]:
        return tuple(self._vfs.names())

    def _export(self, path: str) -> str:
        """A copy of the file where Tcl can read it."""
        self._exported += 1
        copy = self._exports / f"{self._exported}-{Path(path).name}"
        copy.write_bytes(self._vfs.content(path))
        return str(copy)


def run_script(tcl: tkinter.Tk, script: Path, prelude: bool) -> None:
    """Sources the script as testfixture does; what ends it is said on standard output."""
    call: Callable[..., Any] = tcl.tk.call
    if prelude:
        tcl.tk.eval(resources.files("simkit.conformance").joinpath("prelude.tcl").read_text(encoding="utf-8"))
    else:
        tcl.tk.eval(_EXIT)
    call("set", "argv0", str(script))
    call("set", "argv", "")
    call("set", "argc", "0")
    failed = tcl.tk.eval("catch {source $argv0} message") == "1"
    if failed and tcl.tk.eval("set ::simkit::exited") == "0":
        for need in ScriptFile.needs:
            say("need", need)
        say("error", str(call("set", "message")))


def say(kind: str, text: str) -> None:
    """Says something to the process that reads standard output."""
    sys.stdout.write(f"\n{MARK}{kind} {' '.join(text.split())}\n")
    sys.stdout.flush()


def load(library: Path) -> tkinter.Tk:
    """A Tcl interpreter with SQLite's test commands."""
    tcl = tkinter.Tcl()
    tcl.tk.call("load", str(library), "Testfixture")
    if str(tcl.tk.eval("sqlite3 -sourceid")) != apsw.sqlite3_sourceid():
        raise SystemExit(f"APSW at {apsw.__file__} is linked to another SQLite than {library}: build both again")
    return tcl


def over_the_depot(library: Path, script: Path, page_size: int, settings: VfsSettings) -> None:
    """Runs the script with the depot's VFS as the default, in a task."""
    with depot_kernel(page_size) as (kernel, depot, tally), tempfile.TemporaryDirectory(prefix="simkit-") as exports:
        kernel.spawn(lambda: _in_task(library, script, depot, settings, tally, Path(exports)), name="script")
        kernel.run(max_steps=STEPS_MAX)


def _in_task(library: Path, script: Path, depot: Depot, settings: VfsSettings, tally: Tally, exports: Path) -> None:
    tcl = load(library)
    vfs = RoutingVfs(depot, settings)
    commands = Commands(vfs, exports)
    tcl.createcommand("::simkit::depot", commands.call)
    commands.call("default")
    try:
        run_script(tcl, script, prelude=True)
    except Exception:  # noqa: BLE001 - told to the process that reads this
        say("internal", traceback.format_exc())
    finally:
        ending = {"opened": vfs.opened, "commits": tally.commits, "atomic_commits": ScriptFile.atomic_commits}
        say("end", json.dumps(ending))
        # Handles that the script left open still need the VFS, and Tcl closes them only when the process ends.
        sys.stdout.flush()
        os._exit(0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Run one of SQLite's Tcl test scripts; see python -m simkit.conformance"
    )
    parser.add_argument("library", type=Path, help="testfixture as a shared library")
    parser.add_argument("script", type=Path)
    parser.add_argument("--vfs", choices=("depot", "sqlite"), default="depot")
    parser.add_argument("--page-size", type=int, default=1024)
    parser.add_argument("--profile", choices=[*PROFILES], default="default")
    parser.add_argument("--no-batch-atomic", action="store_true")
    options = parser.parse_args()
    sys.unraisablehook = _tell_unraisable
    script = options.script.resolve()
    if options.vfs == "depot":
        settings = profile(options.profile, {"batch_atomic": False} if options.no_batch_atomic else None)
        over_the_depot(options.library, script, options.page_size, settings)
    else:
        run_script(load(options.library), script, prelude=False)
        say("end", "{}")
        os._exit(0)


def _tell_unraisable(unraisable: Any) -> None:
    """An exception of a callback that SQLite was told of as an error code. Only what is no answer to SQLite is said."""
    error = unraisable.exc_value
    if not isinstance(error, apsw.Error):
        say("internal", " < ".join([repr(error), *_frames(unraisable.exc_traceback)]))


def _frames(trace: TracebackType | None) -> list[str]:
    """Where an exception came from, the innermost place first."""
    frames = reversed(traceback.extract_tb(trace))
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


if __name__ == "__main__":
    main()
