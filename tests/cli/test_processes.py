"""The command as a process: Ctrl-C, closed pipes, workers that die, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SIMKIT = [sys.executable, "-c", "from simkit.cli import main; main()"]
SIGNS_OF_LIFE = """
import os, pathlib
from simkit.pool.single import SingleConnection as make
pathlib.Path(__file__).with_name(f"alive-{os.getpid()}").touch()
"""
ROOT = Path(__file__).parents[2]


def start(*arguments: str, path: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SIMKIT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"},
    )


def members(group: int) -> list[int]:
    """Processes of a process group that still run."""
    listed = subprocess.run(["ps", "-eo", "pgid=,pid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return [int(pid) for pgid, pid, state in rows if int(pgid) == group and not state.startswith("Z")]


def wait_until_gone(group: int) -> list[int]:
    end = time.monotonic() + 10
    while members(group) and time.monotonic() < end:
        time.sleep(0.05)
    return members(group)


def wait_for(place: Path, name: str, count: int = 1) -> None:
    end = time.monotonic() + 30
    while len(list(place.rglob(name))) < count and time.monotonic() < end:
        time.sleep(0.02)


@pytest.fixture
def failing(place: Path) -> str:
    """A scenario that leaves capsules and never stops by itself."""
    text = (place / "planted.yaml").read_text().replace("expect: {violation: DUR-1}\n", "")
    (place / "failing.yaml").write_text(text)
    return "failing.yaml"


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_gives_the_summary_and_leaves_nothing_running(
    place: Path, failing: str, jobs: str, whole_group: bool
) -> None:
    process = start("fuzz", failing, "sound.yaml", "--jobs", jobs, "--budget", "60s")
    wait_for(place, "*.capsule.json")
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 1  # a violation had been found
    assert "interrupted after" in output
    assert "Traceback" not in output + errors
    assert wait_until_gone(process.pid) == []
    for path in place.rglob("reports/runs/*"):
        assert path.name.endswith(".capsule.json")
        json.loads(path.read_bytes())


def test_ctrl_c_without_a_finding_is_exit_code_130(place: Path) -> None:
    (place / "signs.py").write_text(SIGNS_OF_LIFE)
    (place / "own.yaml").write_text((place / "sound.yaml").read_text() + "system: 'signs:make'\n")
    process = start("fuzz", "own.yaml", "--jobs", "2", "--budget", "60s", "--json", path=str(place))
    wait_for(place, "alive-*", count=2)  # this process itself, and a worker
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(output)["interrupted"] is True


def test_killed_search_leaves_no_workers(place: Path, failing: str) -> None:
    process = start("fuzz", failing, "--jobs", "2", "--budget", "60s")
    wait_for(place, "*.capsule.json")
    process.kill()
    process.communicate(timeout=20)
    assert wait_until_gone(process.pid) == []


def test_worker_that_dies_is_exit_code_3_with_commands_to_find_it(place: Path) -> None:
    (place / "deadly.py").write_text("import os\n\ndef make(instance):\n    os._exit(9)\n")
    (place / "deadly.yaml").write_text((place / "sound.yaml").read_text() + "system: 'deadly:make'\n")
    process = start("fuzz", "deadly.yaml", "--jobs", "2", "--seeds", "50", path=str(place))
    output, errors = process.communicate(timeout=40)
    assert process.returncode == 3
    assert "a worker process died" in output
    assert "simkit fuzz deadly.yaml --first-seed" in output
    assert "Traceback" not in output + errors
    assert wait_until_gone(process.pid) == []


@pytest.mark.parametrize("command", [["run", "sound.yaml", "--events", "9000"], ["schema"]])
def test_closed_pipe_is_not_taken_for_a_violation(command: list[str]) -> None:
    process = start(*command)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=20) not in (1, 3)
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
