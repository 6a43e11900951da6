"""DET-1: the same decisions give the same history, however a run is carried and wherever it is repeated."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simkit.cli.subjects import plant
from simkit.kernel import Decisions
from simkit.search.capsule import capsule_of, read_capsule, write_capsule
from simkit.search.cases import Case, run_case
from simkit.search.execute import Run, execute
from simkit.search.replay import check_determinism, describe_difference
from simkit.search.subject import Subject, load_source, make_subject

ROOT = Path(__file__).parents[3]

REPLAY = """
import json, sys
from pathlib import Path
from simkit.cli.subjects import plant
from simkit.search.capsule import read_capsule
from simkit.search.replay import replay
from simkit.search.subject import make_subject
out = []
for name in sys.argv[1:]:
    capsule = read_capsule(Path(name))
    out.append([capsule.digest, replay(make_subject(capsule.source, plant), capsule).run.digest()])
print(json.dumps(out))
"""


def test_threads_give_the_same_run_as_greenlets(shipped_scenario: Path) -> None:
    subject = make_subject(load_source(str(shipped_scenario)), plant)
    for seed in (1, 2):
        plan = subject.prepared.plans.draw(seed)
        digests = [
            execute(subject.prepared, plan, Decisions(seed), subject.parts, carrier).digest()
            for carrier in ("greenlet", "thread")
        ]
        assert digests[0] == digests[1]


def test_seed_gives_the_same_run_again(shipped_scenario: Path) -> None:
    first, second = (make_subject(load_source(str(shipped_scenario)), plant) for _ in range(2))
    # Runs in between, to be sure that no run leaves anything behind that the next one sees.
    before = run_case(first, Case(5)).digest()
    run_case(second, Case(6))
    assert run_case(second, Case(5)).digest() == before


def interpreters() -> list[str]:
    found = [sys.executable]
    for minor in range(11, 16):
        path = shutil.which(f"python3.{minor}")
        if path is not None and minor != sys.version_info.minor:
            found.append(path)
    return found


@pytest.mark.parametrize("interpreter", interpreters(), ids=lambda path: Path(path).name)
def test_capsule_gives_the_same_run_in_another_process(interpreter: str, tmp_path: Path) -> None:
    can_import = "import apsw, simpy, greenlet, msgspec, pydantic, ruamel.yaml, sortedcontainers, typer, rich"
    tried = subprocess.run([interpreter, "-c", can_import], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"{interpreter} cannot import what simkit needs")
    paths: list[str] = []
    for name in ("smallest", "takeover/overlapping-instances", "any-order/money-transfers", "planted/fence-skipped"):
        subject = make_subject(load_source(str(ROOT / "scenarios" / f"{name}.yaml")), plant)
        path = tmp_path / f"{len(paths)}.capsule.json"
        write_capsule(capsule_of(subject.source, run_case(subject, Case(3))), path)
        paths.append(str(path))
    for hash_seed in ("1", "4294967295"):
        again = subprocess.run(
            [interpreter, "-c", REPLAY, *paths],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=False,
            text=True,
        )
        assert again.returncode == 0, again.stderr
        for recorded, replayed in json.loads(again.stdout):
            assert replayed == recorded


def test_sound_run_repeats(counter: Subject, counter_run: Run) -> None:
    assert check_determinism(counter, counter_run) is None


def test_leak_of_process_state_is_told_as_a_violation() -> None:
    source = load_source(str(ROOT / "scenarios" / "smallest.yaml"), "process-counter-leaks")
    subject = make_subject(source, plant)
    found = [check_determinism(subject, run_case(subject, Case(seed))) for seed in range(5)]
    assert any(violation is not None and violation.invariant == "DET-1" for violation in found)


def test_histories_that_differ_are_shown_side_by_side(counter: Subject) -> None:
    first, second = run_case(counter, Case(1)).history, run_case(counter, Case(2)).history
    violation = describe_difference(first, second)
    assert "differs" in violation.sentence
    assert violation.details[0].startswith("first run:")
    assert "events" in describe_difference(first, first[:-1]).sentence


def test_capsule_names_its_scenario(tmp_path: Path, counter: Subject, counter_run: Run) -> None:
    write_capsule(capsule_of(counter.source, counter_run), tmp_path / "c")
    assert read_capsule(tmp_path / "c").scenario_name == "counter"
