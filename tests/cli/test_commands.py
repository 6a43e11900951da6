"""What a user sees: exit codes, messages, files; and that what is printed to be typed works when typed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from simkit.cli.app import app
from simkit.defects import DefectRow
from simkit.search.capsule import read_capsule, write_capsule

Simkit = Callable[..., Result]
SimkitJson = Callable[..., Any]

NO_VERDICT = [
    (["run", "missing.yaml"], "no such file"),
    (["run", "empty.yaml"], "empty"),
    (["run", "binary.yaml"], "UTF-8"),
    (["run", "folder"], "no scenario"),
    (["run", "bad.yaml"], "bad.yaml:3:"),
    (["run", "."], "bad.yaml:3:"),
    (["run", "sound.yaml", "--seed", "-1"], "--seed"),
    (["run", "sound.yaml", "--seed", "x"], "--seed"),
    (["run", "sound.yaml", "--io", "0"], "--io"),
    (["run", "sound.yaml", "--io", "1"], "no step is marked"),
    (["run", "every-io.yaml", "--io", "9999"], "storage operations"),
    (["run", "sound.yaml", "--events", "-1"], "--events"),
    (["run", "sound.yaml", "--capsule", "."], "cannot write"),
    (["run", "sound.yaml", "--capsule", "sound.yaml/x"], "cannot write"),
    (["run", "sound.yaml", "--defect", "fense-skipped"], "fence-skipped"),
    (["run", "importing.yaml"], ":9: system 'no_such_module:make'"),
    (["run", "planting.yaml"], ":9: there is no defect 'fense-skipped'; did you mean 'fence-skipped'?"),
    (["run", "sound.yaml", "--timeline", "run.png"], "name the file run.png.svg"),
    (["run", "sound.yaml", "--timeline", "sound.yaml/run.svg"], "cannot write"),
    (["run", "run.capsule.json"], "simkit replay"),
    (["fuzz"], "docs/scenario-file.md"),
    (["fuzz", "folder"], "no scenario"),
    (["fuzz", "bad.yaml"], "bad.yaml:3:"),
    (["fuzz", "sound.yaml", "--seeds", "0"], "--seeds"),
    (["fuzz", "sound.yaml", "--jobs", "0"], "--jobs"),
    (["fuzz", "sound.yaml", "--budget", "5"], "write 5s"),
    (["fuzz", "sound.yaml", "--hang-after", "x"], "--hang-after"),
    (["run", "sound.yaml", "--hang-after", "5"], "write 5s"),
    (["fuzz", "sound.yaml", "--budget", "0s"], "no time"),
    (["fuzz", "sound.yaml", "--budget", "-5s"], "--budget"),
    (["fuzz", "sound.yaml", "--budget", "5s", "--seeds", "5"], "not both"),
    (["fuzz", "sound.yaml", "--capsules", "sound.yaml"], "not a folder"),
    (["replay", "missing"], "no such file"),
    (["replay", "folder"], "Is a directory"),
    (["replay", "sound.yaml"], "--seed N"),
    (["replay", "run.capsule.json"], "damaged"),
    (["replay", "run.capsule.json", "--seed", "3"], "leave the options out"),
    (["replay", "binary.yaml", "--seed", "3"], "UTF-8"),
    (["check", "bad.yaml", "empty.yaml"], "empty.yaml:1:1"),
    (["check", "holds.yaml"], "holds.yaml"),
    (["schema", "--output", "folder"], "cannot write"),
    (["defects", "nothing"], "no defect 'nothing'"),
    (["defects", "fence-skipped", "--seeds", "0"], "--seeds"),
    (["no-such-command"], "no-such-command"),
]


@pytest.fixture(autouse=True)
def bad_files(place: Path) -> None:
    (place / "empty.yaml").write_text("")
    (place / "binary.yaml").write_bytes(bytes(range(255, 0, -1)))
    (place / "run.capsule.json").write_text('{"format": "simkit-caps')
    (place / "folder").mkdir()
    sound = (place / "sound.yaml").read_text()
    (place / "importing.yaml").write_text(sound + "system: 'no_such_module:make'\n")
    (place / "planting.yaml").write_text(sound + "defect: fense-skipped\n")
    (place / "holds.yaml").write_text(sound + "holds: [{sql: SELECT count(*) FROM counter, equals: 5}]\n")


@pytest.mark.parametrize(("arguments", "said"), NO_VERDICT, ids=lambda value: " ".join(value) if value else "")
def test_bad_input_is_exit_code_2_and_a_clear_message(simkit: Simkit, arguments: list[str], said: str) -> None:
    result = simkit(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("arguments", [["run", "bad.yaml"], ["check", "bad.yaml"], ["fuzz", "bad.yaml"]])
def test_json_of_a_wrong_scenario_lists_its_problems(simkit_json: SimkitJson, arguments: list[str]) -> None:
    answer = simkit_json(*arguments)
    assert answer["good"] is False
    assert answer["problems"][0]["line"] == 3


@pytest.mark.parametrize("arguments", [["run", "missing.yaml"], ["replay", "run.capsule.json"], ["defects", "nothing"]])
def test_json_of_bad_input_is_a_document_too(simkit_json: SimkitJson, arguments: list[str]) -> None:
    assert simkit_json(*arguments)["error"] == "bad input"


def test_run_without_violation_is_exit_code_0(simkit: Simkit) -> None:
    result = simkit("run", "sound.yaml", "--seed", "7")
    assert result.exit_code == 0
    assert "smallest, seed 7: no violations" in result.stdout


def test_run_with_violation_is_exit_code_1_and_tells_the_story(simkit: Simkit) -> None:
    result = simkit("run", "planted.yaml", "--seed", "3")
    assert result.exit_code == 1
    assert "DUR-1 violated  planted-fence-skipped, seed 3" in result.stdout
    assert "must hold: every acknowledged commit" in result.stdout
    assert "last events:" in result.stdout
    assert result.stdout.endswith("replay:  simkit replay planted.yaml --seed 3\n")


def test_events_shows_the_end_of_the_run(simkit: Simkit) -> None:
    result = simkit("run", "sound.yaml", "--events", "5")
    assert "RunEnded" in result.stdout
    assert len(result.stdout.split("\n\n")[0].splitlines()) == 5


def test_capsule_of_a_run_replays_to_the_byte(simkit: Simkit) -> None:
    made = simkit("run", "planted.yaml", "--seed", "3", "--capsule", "deep/er/c [1].capsule.json")
    assert "simkit replay 'deep/er/c [1].capsule.json'" in made.stdout
    again = simkit("replay", "deep/er/c [1].capsule.json")
    assert again.exit_code == 1
    assert "the recorded one, to the byte" in again.stdout


def test_capsule_replays_without_its_scenario_file(simkit: Simkit, place: Path) -> None:
    simkit("run", "sound.yaml", "--capsule", "c.capsule.json")
    (place / "sound.yaml").unlink()
    assert simkit("replay", "c.capsule.json").exit_code == 0


def test_replay_names_versions_that_differ(simkit: Simkit, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simkit.search.capsule.__version__", "0.0.1")
    simkit("run", "sound.yaml", "--capsule", "c.capsule.json")
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert "recorded with simkit 0.0.1 (here " in simkit("replay", "c.capsule.json").stdout


def test_json_of_a_run_names_the_command_that_repeats_it(simkit_json: SimkitJson) -> None:
    answer = simkit_json("run", "planted.yaml", "--seed", "3")
    assert answer["violations"][0]["invariant"] == "DUR-1"
    assert answer["replay"] == "simkit replay planted.yaml --seed 3"
    assert simkit_json(*answer["replay"].split()[1:])["digest"] == answer["digest"]


def test_replay_by_seed_is_the_run(simkit: Simkit) -> None:
    first = simkit("run", "every-io.yaml", "--seed", "2", "--io", "3").stdout
    assert simkit("replay", "every-io.yaml", "--seed", "2", "--io", "3").stdout == first


def test_fuzz_without_violation_is_exit_code_0_and_makes_no_folder(simkit: Simkit, place: Path) -> None:
    result = simkit("fuzz", "sound.yaml", "every-io.yaml", "--seeds", "20", "--jobs", "1")
    assert result.exit_code == 0
    assert "no violation in 20 runs" in result.stdout
    assert "exhausted: " in result.stdout
    assert not (place / "reports").exists()


def test_fuzz_that_finds_something_is_exit_code_1_and_its_commands_work(
    simkit: Simkit, place: Path, commands_in: Callable[[str], list[list[str]]]
) -> None:
    text = (place / "planted.yaml").read_text().replace("expect: {violation: DUR-1}\n", "")
    (place / "planted.yaml").write_text(text)
    result = simkit("fuzz", "planted.yaml", "--seeds", "20", "--jobs", "1")
    assert result.exit_code == 1
    commands = commands_in(result.stdout)
    assert len(commands) == 3
    for command in commands:
        assert simkit(*command).exit_code == 1


def test_fuzz_of_an_expected_violation_is_exit_code_0(simkit: Simkit) -> None:
    result = simkit("fuzz", "planted.yaml", "--seeds", "50", "--jobs", "1")
    assert result.exit_code == 0
    assert "as it must" in result.stdout


def test_fuzz_that_misses_the_expected_violation_is_exit_code_1(simkit: Simkit, place: Path) -> None:
    (place / "sound.yaml").write_text((place / "sound.yaml").read_text() + "expect: {violation: DUR-1}\n")
    result = simkit("fuzz", "sound.yaml", "--seeds", "3", "--jobs", "1")
    assert result.exit_code == 1
    assert "expected a violation of DUR-1, none in 3 runs" in result.stdout


def test_fuzz_searches_the_folder_scenarios(simkit_json: SimkitJson, place: Path) -> None:
    (place / "scenarios" / "deep" / "folder.yaml").mkdir(parents=True)
    (place / "sound.yaml").rename(place / "scenarios" / "deep" / "sound.yml")
    answer = simkit_json("fuzz", "--seeds", "2", "--jobs", "1")
    assert [scenario["file"] for scenario in answer["scenarios"]] == ["scenarios/deep/sound.yml"]


def test_fuzz_takes_a_file_that_is_named_twice_once(simkit_json: SimkitJson) -> None:
    assert len(simkit_json("fuzz", "sound.yaml", "sound.yaml", "--seeds", "2", "--jobs", "1")["scenarios"]) == 1


def test_fuzz_json_names_what_failed(simkit_json: SimkitJson, place: Path) -> None:
    answer = simkit_json("fuzz", "planted.yaml", "--seeds", "30", "--jobs", "1")
    (scenario,) = answer["scenarios"]
    assert scenario["violated"]["DUR-1"] == 1
    assert scenario["failing"] == [{"seed": scenario["failures"][0]["seed"], "io": None}]
    assert (place / scenario["failures"][0]["capsule"]).is_file()
    assert scenario["failures"][0]["replay"].startswith("simkit replay reports/runs/planted-fence-skipped-seed-")


def test_fuzz_warns_when_no_operation_succeeds(simkit: Simkit, place: Path) -> None:
    with (place / "sound.yaml").open("a") as file:
        file.write("faults: [{point: read.before_scope_resolve, when: {probability: 1}, action: fail}]\n")
        file.write("bounds: {time: 1s}\nchecks: [DUR-1]\n")
    assert "not one operation succeeded" in simkit("fuzz", "sound.yaml", "--seeds", "1", "--jobs", "1").stdout


def test_json_is_one_document_with_progress_beside_it(simkit: Simkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simkit.report.progress.PLAIN_LINE_EVERY_S", 0.0)
    result = simkit("fuzz", "sound.yaml", "--seeds", "40", "--jobs", "1", "--json")
    assert json.loads(result.stdout)["scenarios"][0]["runs"] == 40
    assert "40 runs" in result.stderr
    assert "s left" in result.stderr


SYSTEM = """
from simkit.pool.single import SingleConnection

class Breaks(SingleConnection):
    def __init__(self, instance):
        super().__init__(instance)
        self.kernel = instance.kernel
        instance.kernel.spawn(self.work, name="job", background=True, group=instance.group)

    def work(self):
        self.kernel.sleep(1_000_000)
        raise ZeroDivisionError("a bug of the pool")
"""


@pytest.fixture
def breaking(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "pool_that_breaks.py").write_text(SYSTEM)
    monkeypatch.syspath_prepend(place)
    (place / "breaks.yaml").write_text((place / "sound.yaml").read_text() + "system: 'pool_that_breaks:Breaks'\n")


@pytest.mark.usefixtures("breaking")
def test_broken_run_is_exit_code_3_with_the_place_and_the_command() -> None:
    result = CliRunner().invoke(app, ["fuzz", "breaks.yaml", "--seeds", "3", "--jobs", "1"])
    assert result.exit_code == 3
    assert "ZeroDivisionError('a bug of the pool')" in result.stdout
    assert "again:   simkit run breaks.yaml --seed 0" in result.stdout
    again = CliRunner().invoke(app, ["run", "breaks.yaml", "--seed", "0"])
    assert again.exit_code == 3
    assert "task job failed at" in again.stderr
    assert "no verdict" in again.stderr
    data = json.loads(CliRunner().invoke(app, ["run", "breaks.yaml", "--json"]).stdout)
    assert data["error"] == "broken run"


def test_exit_of_a_system_is_a_broken_run_and_not_its_code(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "pool_that_exits.py").write_text(SYSTEM.replace('ZeroDivisionError("a bug of the pool")', "SystemExit(0)"))
    monkeypatch.syspath_prepend(place)
    (place / "exits.yaml").write_text((place / "sound.yaml").read_text() + "system: 'pool_that_exits:Breaks'\n")
    for arguments in (["run", "exits.yaml"], ["fuzz", "exits.yaml", "--seeds", "2", "--jobs", "1"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 3
        assert "no verdict" in result.output


def test_module_that_fails_to_import_says_where(simkit: Simkit, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "pool_with_a_typo.py").write_text("x = 1\nx.y()\n")
    (place / "pool_that_raises.py").write_text("\nraise ValueError('not today')\n")
    monkeypatch.syspath_prepend(place)
    sound = (place / "sound.yaml").read_text()
    for name, said in (("pool_with_a_typo", "no attribute 'y'"), ("pool_that_raises", "pool_that_raises.py:2")):
        (place / "own.yaml").write_text(sound + f"system: '{name}:make'\n")
        result = simkit("run", "own.yaml")
        assert result.exit_code == 2
        assert said in result.stderr


def test_check_says_good_or_every_problem(simkit: Simkit) -> None:
    assert simkit("check", "sound.yaml", "planted.yaml").stdout == "sound.yaml: good\nplanted.yaml: good\n"


def test_schema_is_json_and_can_be_written(simkit: Simkit, simkit_json: SimkitJson, place: Path) -> None:
    printed = simkit("schema").stdout
    assert json.loads(printed)["properties"]["name"]
    assert simkit_json("schema", "-o", "s.json") == {"good": True, "written": "s.json"}
    assert (place / "s.json").read_text(encoding="utf-8") == printed
    assert simkit_json("schema") == json.loads(printed)


def test_doctor_finds_nothing_missing(simkit: Simkit, simkit_json: SimkitJson) -> None:
    result = simkit("doctor")
    assert result.exit_code == 0
    assert "nothing is missing" in result.stdout
    data = simkit_json("doctor")
    assert data["problems"] == []
    assert len(data["compile_options"]) > 10


def test_doctor_says_what_is_missing(simkit: Simkit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simkit.cli.doctor.LIBRARIES", ("apsw", "no-such-library"))
    result = simkit("doctor")
    assert result.exit_code == 2
    assert "pip install no-such-library" in result.stdout


def test_defects_lists_and_measures(simkit: Simkit, simkit_json: SimkitJson) -> None:
    assert "fence-skipped (DUR-1): " in simkit("defects", "--list").stdout
    result = simkit("defects", "fence-skipped", "--seeds", "2")
    assert result.exit_code == 0
    assert "2 of 2" in result.stdout
    (row,) = simkit_json("defects", "fence-skipped", "--seeds", "1")
    assert (row["id"], row["caught"]) == ("fence-skipped", 1)


@pytest.mark.parametrize(("caught", "false_alarms", "code"), [(2, 0, 0), (1, 0, 1), (2, 1, 1)])
def test_defects_that_survive_and_false_alarms_are_exit_code_1(
    simkit: Simkit, monkeypatch: pytest.MonkeyPatch, caught: int, false_alarms: int, code: int
) -> None:
    row = DefectRow("fence-skipped", "DUR-1", 2, caught, "durable-state", 1.0, 1, 0, {}, 9, false_alarms)
    monkeypatch.setattr("simkit.cli.defects.measure", lambda *_: row)
    assert simkit("defects", "fence-skipped").exit_code == code


@pytest.mark.parametrize("command", ["run", "fuzz", "replay", "check", "schema", "doctor", "defects"])
def test_help_explains_each_command(simkit: Simkit, command: str) -> None:
    result = simkit(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_nothing_given_is_help(simkit: Simkit) -> None:
    assert "Start with simkit fuzz" in simkit().output
    assert simkit("--version").stdout.startswith("simkit ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_missing_permissions_are_bad_input(simkit: Simkit, place: Path) -> None:
    (place / "sound.yaml").chmod(0)
    assert simkit("run", "sound.yaml").exit_code == 2
    place.chmod(0o500)
    assert "not writable" in simkit("fuzz", "every-io.yaml").stderr
    place.chmod(0o700)


def test_hand_changed_decision_shows_both_sides(simkit: Simkit, simkit_json: SimkitJson) -> None:
    simkit("run", "sound.yaml", "--capsule", "c.capsule.json")
    capsule = read_capsule(Path("c.capsule.json"))
    capsule.decisions[2] = ("elsewhere", 4, 1, "")
    write_capsule(capsule, Path("c.capsule.json"))
    result = simkit("replay", "c.capsule.json")
    assert result.exit_code == 2
    assert "recorded: elsewhere: option 1 of 4" in result.stderr
    assert "this run: " in result.stderr
    assert simkit_json("replay", "c.capsule.json")["error"] == "divergence"


POOLED = """\
name: pooled
attacks: Nothing.
system: pool
setup: [CREATE TABLE t(a INTEGER PRIMARY KEY)]
clients: [{name: one, script: [{sql: SELECT a FROM t}, {sql: INSERT INTO t VALUES(1)}]}]
"""


def test_run_shows_the_metrics_of_a_pool_and_draws_it(place: Path) -> None:
    (place / "pooled.yaml").write_text(POOLED)
    shown = CliRunner().invoke(app, ["run", "pooled.yaml", "--metrics", "--timeline", "pooled.svg"])
    assert shown.exit_code == 0, shown.output
    assert "sqlite_read_pool_routed_read_queries_total 1\n" in shown.stdout
    assert 'sqlite_read_pool_mode_transitions_total{from="read",to="write"} 1\n' in shown.stdout
    assert "mode read" in (place / "pooled.svg").read_text()
    data = json.loads(CliRunner().invoke(app, ["run", "pooled.yaml", "--json"]).stdout)
    assert data["metrics"]["instance-2"]["sqlite_read_pool_routed_read_queries_total"] == 1


def test_system_without_metrics_is_told_so(place: Path) -> None:
    shown = CliRunner().invoke(app, ["run", "sound.yaml", "--metrics"])
    assert "no metrics: the system has none" in shown.stdout
