"""Builds what SQLite's Tcl scripts need: testfixture as a shared library, and APSW linked to it.

SQLite's own makefile names the sources; only the link is replaced, so that it gives a library with `Testfixture_Init`
instead of a program. Batch-atomic writes are compiled in. The write-ahead log and memory-mapped files are compiled out:
the VFS has neither, and scripts ask for such things with `ifcapable` and leave out what is not there. APSW must be of
the same SQLite version. It is compiled by hand from its source distribution: its own build would fetch another SQLite.

Everything lands in one directory and is made once: a second build with the same sources finds it there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simkit.conformance.results import Unusable

FEATURES = ("-DSQLITE_ENABLE_BATCH_ATOMIC_WRITE", "-DSQLITE_OMIT_WAL", "-DSQLITE_MAX_MMAP_SIZE=0")
_CONFIGURE = ("--all", "--enable-fts3")
_SHIM = """
#include <tcl.h>
extern int Sqlite3_Init(Tcl_Interp*);
extern const char *sqlite3TestInit(Tcl_Interp*);
int Testfixture_Init(Tcl_Interp *interp){
  int rc = Sqlite3_Init(interp);
  if( rc==TCL_OK ) sqlite3TestInit(interp);
  return rc;
}
"""
_LIBRARY = "libtestfixture.so"
_TAIL_LINES = 15

# In the macros that end callbacks of a VFS and of its files.
_CALLBACK_END = re.compile(r"CHAIN_EXC_END;(?=\s*\\\n\s*PyGILState_Release\(gilstate\);)")
_CALLBACK_KINDS = 2
_REPORTED = "CHAIN_EXC_END; if (PyErr_Occurred()) PyErr_WriteUnraisable(NULL);"


@dataclass(frozen=True)
class Build:
    """What was built.

    Attributes:
        library: testfixture.
        python: a directory for the Python path, with an APSW that is linked to it.
        version: SQLite's version.
    """

    library: Path
    python: Path
    version: str


def is_source_tree(directory: Path) -> bool:
    """Whether this is a source tree of SQLite, with its tests."""
    return all((directory / name).exists() for name in ("VERSION", "configure", "main.mk", "src/tclsqlite.c", "test"))


def version_of(tree: Path) -> str:
    """The version of a source tree."""
    return (tree / "VERSION").read_text(encoding="utf-8").strip()


def build_all(tree: Path, directory: Path, apsw_source: Path | None) -> Build:
    """Builds what is not there yet. Raises `Unusable` with what to do."""
    tree, version = tree.resolve(), version_of(tree)
    directory = directory.resolve() / version
    library = directory / "lib" / _LIBRARY
    if not library.exists():
        _build_library(tree, directory / "work", library)
    tag = str(sysconfig.get_config_var("SOABI"))
    build = Build(library, directory / tag, version)
    extension = build.python / "apsw" / f"__init__{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not extension.exists():
        if apsw_source is None:
            raise Unusable(
                f"APSW has to be linked to this SQLite: get the source distribution apsw-{version}.N.tar.gz from PyPI "
                "and name it with --apsw FILE (docs/sql-surface.md says how)"
            )
        _build_apsw(apsw_source, version, directory, extension)
    return build


def _build_library(tree: Path, work: Path, library: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    shim = work / "testfixture_init.c"
    shim.write_text(_SHIM, encoding="utf-8")
    _run([str(tree / "configure"), *_CONFIGURE], work, "SQLite's configure", "Tcl's headers are Debian's tcl-dev")
    link = f"$(T.cc.sqlite) -shared -Wl,-Bsymbolic -Wl,-soname,{_LIBRARY} {shim}"
    options = " ".join(["-DTCLSH_MAIN=simkit_tclsh", *FEATURES])
    _run(
        ["make", "testfixture.so", "T.exe=.so", f"T.link={link}", f"OPTS={options}", "CFLAGS=-O1 -fPIC"],
        work,
        "building testfixture",
        "it needs make, a C compiler, Tcl's and zlib's headers (Debian: build-essential tcl-dev zlib1g-dev)",
    )
    library.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(work / "sqlite3.h", library.parent)
    shutil.copy2(work / "testfixture.so", library)


def _build_apsw(source: Path, version: str, directory: Path, extension: Path) -> None:
    if source.is_file():
        unpacked = directory / "apsw-source"
        shutil.rmtree(unpacked, ignore_errors=True)
        with tarfile.open(source) as archive:
            archive.extractall(unpacked, filter="data")
        (source,) = unpacked.iterdir()
    if not (source / "src" / "apsw.c").exists():
        raise Unusable(f"{source} is no source distribution of APSW: it has no src/apsw.c")
    header = (source / "src" / "apswversion.h").read_text(encoding="utf-8")
    if f'"{version}.' not in header:
        raise Unusable(f"{source} is APSW for another SQLite than {version}; the first three numbers must be the same")
    compiled = directory / "apsw-compiled"
    shutil.rmtree(compiled, ignore_errors=True)
    shutil.copytree(source / "src", compiled)
    _report_exceptions(compiled / "vfs.c")
    shutil.copytree(source / "apsw", extension.parent, dirs_exist_ok=True)
    library = directory / "lib"
    command = [
        *("cc", "-shared", "-fPIC", "-O1", "-DNDEBUG", str(compiled / "apsw.c"), "-o", str(extension)),
        *(f"-I{library}", f"-I{sysconfig.get_path('include')}"),
        *(str(library / _LIBRARY), f"-Wl,-rpath,{library}"),
    ]
    _run(command, directory, "building APSW", "it needs a C compiler and Python's headers (Debian: python3-dev)")


def _report_exceptions(vfs: Path) -> None:
    """Has exceptions of VFS callbacks reported as unraisable once SQLite was told of them as an error code.

    APSW leaves them set, for the Python call that SQLite returns to. Here SQLite returns to Tcl, and an exception that
    is left set breaks whatever Python code runs next.
    """
    text, count = _CALLBACK_END.subn(_REPORTED, vfs.read_text(encoding="utf-8"))
    if count != _CALLBACK_KINDS:
        raise Unusable(f"{vfs} ends VFS callbacks in a way that is not known; another version of APSW may do")
    vfs.write_text(text, encoding="utf-8")


def _run(command: Sequence[str], directory: Path, what: str, hint: str) -> None:
    print(f"{what} in {directory} ...", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)  # noqa: S603 - the tree's own build
    except FileNotFoundError as error:
        raise Unusable(f"{what} failed: {error}; {hint}") from None
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-_TAIL_LINES:])
        raise Unusable(f"{what} failed ({' '.join(command[:3])} ...); {hint}\n{tail}")
