"""Every routine task of the project, each in an environment of its own.

`nox -l` lists the sessions; `nox -s NAME -- ARGUMENTS` runs one. Environments are made with uv where uv
is found and with virtualenv and pip otherwise: a machine with nothing but Python needs only nox. They are
kept between runs, and the install step brings them up to date; `nox -r` is never needed, `rm -rf .nox`
starts afresh.
"""

import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import nox

PYTHON_MINIMUM = (3, 11)
PYTHONS = ["3.11", "3.12", "3.13"]
PROJECT = nox.project.load_toml("pyproject.toml")
FUZZ_BUDGET = "60s"

if sys.version_info < PYTHON_MINIMUM:
    raise SystemExit(
        f"simkit needs Python 3.11 or newer, but nox runs on {sys.version.split()[0]} ({sys.executable}).\n"
        "Make the environment with a newer one, for example: python3.12 -m venv --clear .venv"
    )

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests"]


def trust_system_certificates() -> None:
    """Let uv trust the machine's own certificate authorities, as current pip does without being asked.

    Behind a proxy that re-signs TLS, uv otherwise fails where pip works. Where the machine has no
    store of its own, or the user has chosen, nothing is changed.
    """
    paths = ssl.get_default_verify_paths()
    if sys.platform in {"darwin", "win32"} or paths.cafile or paths.capath:
        os.environ.setdefault("UV_SYSTEM_CERTS", "1")


trust_system_certificates()


def install(session: nox.Session, *groups: str) -> None:
    """Install the checkout, editable, with its dependencies and those of the named groups."""
    session.install("--quiet", "--editable", ".", *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def fuzz(session: nox.Session) -> None:
    """Search for violations: `nox -s fuzz -- scenarios/money.yaml --budget 5m`."""
    install(session)
    session.run("simkit", "fuzz", *(session.posargs or ["scenarios", "--budget", FUZZ_BUDGET]))


@nox.session
def replay(session: nox.Session) -> None:
    """Replay one recorded run, whatever its verdict: `nox -s replay -- path/to/capsule`."""
    if not session.posargs:
        session.error("name the capsule to replay: nox -s replay -- path/to/capsule")
    install(session)
    session.run("simkit", "replay", *session.posargs, success_codes=[0, 1])


def find_python(version: str) -> str | None:
    """The interpreter of a version such as 3.12 that can make environments: from the PATH, or one of pyenv's."""
    name = f"python{version}"
    home = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates = [shutil.which(name), *map(str, sorted(home.glob(f"versions/{version}.*/bin/{name}")))]
    for command in filter(None, candidates):
        if not subprocess.run([command, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode:
            return command
    return None


def other_pythons(session: nox.Session) -> list[str]:
    """The folders of the other installed Pythons, each with what simkit needs: runs are compared across them."""
    folders = []
    for version in PYTHONS:
        command = find_python(version)
        if command is None or version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            continue
        environment = Path(".nox") / f"python-{version}"
        folder = environment / ("Scripts" if sys.platform == "win32" else "bin")
        if not (folder / f"python{version}").exists():
            session.run(command, "-m", "venv", str(environment), external=True)
        session.run(str(folder / "python"), "-m", "pip", "install", "--quiet", "--editable", ".", external=True)
        folders.append(str(folder.resolve()))
    return folders


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on every core: `nox -s tests -- tests/unit -k distribution`."""
    install(session, "test")
    path = os.pathsep.join([*other_pythons(session), os.environ.get("PATH", "")])
    session.run("pytest", "-n", "auto", *session.posargs, env={"PATH": os.pathsep.join([session.bin, path])})


@nox.session(python=PYTHONS)
def tests_all(session: nox.Session) -> None:
    """Run the tests on each supported Python that is installed: `nox -s tests_all`."""
    install(session, "test")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and layers: `nox -s lint` (mend with `nox -s lint -- --fix`)."""
    session.install("--quiet", *nox.project.dependency_groups(PROJECT, "lint"))
    if session.posargs == ["--fix"]:
        session.run("ruff", "check", "--fix", ".")
        session.run("ruff", "format", ".")
    else:
        session.run("ruff", "check", *session.posargs, ".")
        session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy --strict: `nox -s types -- simkit/kernel` for a part."""
    install(session, "types")
    for version in PYTHONS:
        session.run("mypy", "--python-version", version, *(session.posargs or ["simkit", "tests", "noxfile.py"]))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure cold reads: `nox -s bench -- --matrix impact -o DIR --plots` (the picture library comes along)."""
    session.install("--quiet", "--editable", ".[plots]")
    session.run("simkit", "bench", *session.posargs)


@nox.session
def speed(session: nox.Session) -> None:
    """Measure what the simulator itself costs: `nox -s speed -- page-read`."""
    install(session)
    session.run("python", "-m", "simkit.bench", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run many commits with compaction and scan what they leave: `nox -s soak -- --commits 1000000`."""
    install(session)
    session.run("python", "-m", "simkit.bench.soak", *session.posargs)


@nox.session
def sqltests(session: nox.Session) -> None:
    """Run sqllogictest files or SQLite's own test scripts over the VFS: `nox -s sqltests -- DIRECTORY`."""
    install(session)
    session.run("python", "-m", "simkit.conformance", *(session.posargs or ["--help"]))


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel into dist/, then try the wheel in a fresh environment: `nox -s build`."""
    session.install("--quiet", *nox.project.dependency_groups(PROJECT, "build"))
    distributions = Path("dist")
    shutil.rmtree(distributions, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(distributions))
    (wheel,) = distributions.resolve().glob("*.whl")

    scratch = Path(session.create_tmp()).resolve()
    environment = scratch / "wheel"
    session.run("python", "-m", "venv", "--clear", str(environment))
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    # Away from the checkout, so that only what the wheel carries can be imported.
    with session.chdir(scratch):
        session.run(str(scripts / "python"), "-m", "pip", "install", "--quiet", str(wheel), external=True)
        session.run(str(scripts / "simkit"), "--version", external=True)
        session.run(str(scripts / "simkit"), "doctor", external=True)
