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


HANGING = """
import pathlib, threading, time
from simkit.pool.single import SingleConnection

class Hangs(SingleConnection):
    def execute(self, sql, params=None):
        pathlib.Path(__file__).with_name("hanging").touch()
        HANG
"""
HANGS = {
    "lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "loop": "while True: pass",
    "swallow": """while True:
            try:
                time.sleep(0.01)
            except BaseException:
                pass""",
}


@pytest.fixture(params=HANGS)
def hanging(place: Path, request: pytest.FixtureRequest) -> str:
    """A scenario whose first statement never returns."""
    (place / "stuck.py").write_text(HANGING.replace("HANG\n", HANGS[request.param] + "\n"))
    (place / "stuck.yaml").write_text((place / "sound.yaml").read_text() + "system: 'stuck:Hangs'\n")
    return "stuck.yaml"


@pytest.mark.parametrize("command", ["fuzz --jobs 2", "fuzz --jobs 1", "run", "replay --seed 0"])
def test_run_that_hangs_ends_with_its_stack_and_exit_code_3(place: Path, hanging: str, command: str) -> None:
    name, *options = command.split()
    process = start(name, hanging, *options, "--hang-after", "500ms", path=str(place))
    output, errors = process.communicate(timeout=40)
    assert process.returncode == 3
    assert "stuck.py" in errors
    if options == ["--jobs", "2"]:
        assert "stuck for 0.5 s" in output
        assert "simkit fuzz stuck.yaml --first-seed" in output
    else:
        assert f"again:   simkit {'replay' if name == 'replay' else 'run'} stuck.yaml --seed 0" in errors
    assert wait_until_gone(process.pid) == []


def test_json_of_a_run_that_hangs_is_a_document(place: Path, hanging: str) -> None:
    process = start("run", hanging, "--hang-after", "300ms", "--json", path=str(place))
    output, _ = process.communicate(timeout=40)
    assert json.loads(output)["error"] == "stuck run"


@pytest.mark.parametrize("command", ["fuzz --jobs 2", "fuzz --jobs 1", "run"])
def test_second_ctrl_c_ends_even_a_run_that_hangs(place: Path, hanging: str, command: str) -> None:
    name, *options = command.split()
    process = start(name, hanging, *options, path=str(place))
    wait_for(place, "hanging")
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    if name == "fuzz":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert ("press Ctrl-C again to stop now" in errors) == (name == "fuzz")
    assert "Traceback" not in errors
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
