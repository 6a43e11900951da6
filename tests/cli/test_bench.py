"""`simkit bench`: what it shows and writes, and what it says to options that make no sense."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from simkit.bench.cold import plots, sweep
from simkit.bench.cold.results import load
from simkit.bench.cold.run import Measurement
from simkit.bench.cold.run import measure as real_measure
from simkit.cli import bench_measuring

Simkit = Callable[..., Result]
SimkitJson = Callable[..., Any]

ONE = ("--only", "small-schema-read", "--jobs", "1")
FAST = (*ONE, "--latency", "instant")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes one workload fail."""

    def measure(workload: Any, chosen: Any, cache: Any) -> Measurement:
        found = real_measure(workload, chosen, cache)
        if workload.name != "small-rowid-point":
            return found
        return Measurement(
            workload=workload.name, number=1, category="canary", size_class="small", target_bytes=0, error="gone"
        )

    monkeypatch.setattr(sweep, "measure", measure)


def test_a_workload_is_shown_with_its_counts_and_what_was_measured(simkit: Simkit) -> None:
    result = simkit("bench", *ONE)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split()[:2] == ["2", "small-schema-read"]
    assert "schema merge, sizes smoke" in result.stdout
    assert "latency local-debug" in result.stdout


def test_the_released_engine_is_measured_as_it_was_measured(simkit_json: SimkitJson) -> None:
    settings = simkit_json("bench", *ONE, "--vfs", "released")["runs"][0]["settings"]
    assert (settings["preset"], settings["schema"], settings["latency"], settings["vfs"]["preload_first_pages"]) == (
        "released",
        "released",
        "loopback-fitted",
        128,
    )


def test_a_setting_can_be_changed(simkit_json: SimkitJson) -> None:
    settings = simkit_json("bench", *FAST, "--vfs", "default", "--set", "read_ahead=none", "--set", "max_readers=1")
    assert settings["runs"][0]["settings"]["vfs"]["read_ahead"] == "none"
    assert settings["runs"][0]["settings"]["pool"]["max_readers"] == 1


def test_results_are_written_as_json_and_markdown(simkit: Simkit, place: Path) -> None:
    assert "written: out" in simkit("bench", *FAST, "-o", "out").stdout
    assert sorted(path.name for path in (place / "out").iterdir()) == ["results.json", "summary.md"]
    assert load(place / "out" / "results.json").workloads == ("small-schema-read",)
    assert "| small-schema-read |" in (place / "out" / "summary.md").read_text()


def test_json_is_the_document_that_is_written(simkit_json: SimkitJson, place: Path) -> None:
    shown = simkit_json("bench", *FAST, "-o", "out")
    assert shown == json.loads((place / "out" / "results.json").read_text())


def test_a_matrix_stands_side_by_side_and_says_what_has_no_effect(simkit: Simkit) -> None:
    shown = simkit("bench", *FAST, "--matrix", "full-impact").stdout
    assert "15  no-read-pool" in shown
    assert shown.count("\nsmall-schema-read ") == 2
    assert "no-storage-read-cache: the cache of decoded blobs: not modelled" in shown


def test_each_latency_is_a_run_of_its_own(simkit: Simkit, place: Path) -> None:
    (place / "mine.yaml").write_text("name: mine\nsource: a guess\nbase: instant\n")
    shown = simkit("bench", *ONE, "--latency", "loopback", "--latency", "mine.yaml").stdout
    assert " 1  defaults @ loopback" in shown
    assert " 2  defaults @ mine" in shown


def test_the_sensitivity_is_simulated_at_each_round_trip(simkit_json: SimkitJson) -> None:
    runs = simkit_json("bench", *FAST, "--sensitivity")["sensitivity"]
    times = [run["measurements"][0]["simulated_ms"] for run in runs]
    assert [run["rtt_ms"] for run in runs] == [0, 2.9, 10, 20, 50]
    assert times == [pytest.approx(run["rtt_ms"]) for run in runs]


def test_pictures_are_drawn_into_the_folder(simkit: Simkit, place: Path) -> None:
    pytest.importorskip("vl_convert")
    assert simkit("bench", *FAST, "-o", "out", "--plots").exit_code == 0
    assert {path.name for path in (place / "out").glob("*.svg")} == {
        "bars-get-pages.svg",
        "bars-fetched-pages.svg",
        "bars-simulated-ms.svg",
        "sensitivity.svg",
    }


def test_without_the_extra_nothing_is_measured_for_pictures(simkit: Simkit, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise plots.PlotsMissing("pictures need the extra `plots`")

    monkeypatch.setattr(plots, "require", missing)
    result = simkit("bench", *FAST, "-o", "out", "--plots")
    assert (result.exit_code, "need the extra `plots`" in result.stderr) == (2, True)


@pytest.mark.usefixtures("failing")
def test_a_workload_that_fails_ends_with_code_1_and_the_others_are_kept(simkit: Simkit, place: Path) -> None:
    result = simkit("bench", *FAST, "--only", "small-rowid-point", "-o", "out")
    assert result.exit_code == 1
    assert "small-rowid-point (defaults) failed: gone" in result.stdout
    (run,) = load(place / "out" / "results.json").runs
    assert [(each.workload, each.error) for each in run.measurements] == [
        ("small-rowid-point", "gone"),
        ("small-schema-read", None),
    ]


def test_an_interruption_writes_what_was_measured(simkit: Simkit, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pressed:
        requested = False

        def __enter__(self) -> "Pressed":
            return self

        def __exit__(self, *rest: object) -> None: ...

    pressed = Pressed()

    def measure(workload: Any, chosen: Any, cache: Any) -> Measurement:
        pressed.requested = True
        return real_measure(workload, chosen, cache)

    monkeypatch.setattr(sweep, "measure", measure)
    monkeypatch.setattr(bench_measuring, "Interruption", lambda: pressed)
    result = simkit("bench", *FAST, "--only", "small-rowid-point", "-o", "out")
    assert (result.exit_code, "interrupted" in result.stdout) == (130, True)
    written = load(place / "out" / "results.json")
    assert (written.complete, written.workloads) == (False, ("small-rowid-point",))


def test_when_a_process_dies_the_code_is_3_and_what_was_measured_is_kept(
    simkit: Simkit, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(workload: Any, chosen: Any, cache: Any) -> Measurement:
        if workload.name == "small-schema-read":
            raise sweep.ProcessDied("a process died while it measured small-schema-read")
        return real_measure(workload, chosen, cache)

    monkeypatch.setattr(sweep, "measure", measure)
    result = simkit("bench", *FAST, "--only", "small-rowid-point", "-o", "out")
    assert (result.exit_code, "a process died while it measured" in result.stderr) == (3, True)
    assert load(place / "out" / "results.json").workloads == ("small-rowid-point",)


def test_set_ups_are_kept_for_the_next_time(simkit: Simkit, place: Path) -> None:
    simkit("bench", *FAST, "--cache", "kept")
    (kept,) = (place / "kept").iterdir()
    written = kept.stat().st_mtime_ns
    simkit("bench", *FAST, "--cache", "kept")
    assert [each.stat().st_mtime_ns for each in (place / "kept").iterdir()] == [written]


def test_the_list_has_workloads_scenarios_profiles_and_settings(simkit: Simkit, simkit_json: SimkitJson) -> None:
    shown = simkit("bench", "--list").stdout
    assert all(word in shown for word in ("chat-tool-script", "no-range-reads", "network-20ms", "read_ahead=adaptive"))
    listed = simkit_json("bench", "--list")
    assert (len(listed["workloads"]), len(listed["scenarios"])) == (32, 15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "chat-log-sums"], "--only: there is no workload named 'chat-log-sums': did you mean chat-log-sum"),
        (["--set", "read_ahead=sideways"], "--set: read_ahead is 'sideways'"),
        (["--set", "sqlite_cache_kib=-5"], "--set: sqlite_cache_kib is -5"),
        (["--only", ""], "there is no workload named '': the names are small-rowid-point"),
        (["--cache", "sound.yaml"], "or give --no-cache"),
        (["--cache", "kept", "--no-cache"], "give one of them"),
        (["--set", "nothing=1"], "--set: there is no setting 'nothing'"),
        (["--latency", "nowhere"], "--latency nowhere: no profile and no file"),
        (["--plots"], "name it with -o DIR"),
        (["--vfs", "released", "--schema", "april"], "the released system has tables of its own"),
        (["-o", "sound.yaml"], "-o sound.yaml"),
        (["--against", "nothing.json"], "rows that come with simkit: published, released"),
        (["--against", "bad.yaml"], "is not JSON"),
        (["--against", "published", "--latency", "instant", "--latency", "loopback"], "one --latency at most"),
        (
            ["--against", "published", "--set", "read_ahead=none", "--seed", "1"],
            "--against does not go with --set, --seed",
        ),
        (["--list", "--only", "chat-log-sum"], "--list does not go with --only"),
        (["--fail-on-change"], "does not go with --fail-on-change"),
        (["--seed", "1", "compare", "a", "b"], "give options after the name of the command"),
        (["--write-reference"], "change to a clone of the repository"),
        (["compare", "sound.yaml", "bad.yaml"], "sound.yaml is no result of simkit bench"),
    ],
)
def test_what_makes_no_sense_ends_with_code_2(simkit: Simkit, options: list[str], message: str) -> None:
    result = simkit("bench", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_latency_file_that_is_wrong_is_answered_with_its_lines(simkit: Simkit, place: Path) -> None:
    (place / "mine.yaml").write_text("name: mine\nsource: a guess\nbase: instant\nget_pages: {rtt: 5}\n")
    result = simkit("bench", *ONE, "--latency", "mine.yaml")
    assert (result.exit_code, "mine.yaml:4:" in result.stderr) == (2, True)


def test_two_results_are_compared(simkit: Simkit, simkit_json: SimkitJson) -> None:
    simkit("bench", "--only", "rowid-range-forward", "--jobs", "1", "-o", "one")
    simkit("bench", "--only", "rowid-range-forward", "--jobs", "1", "-o", "two", "--set", "read_ahead=none")
    files = ("one/results.json", "two/results.json")
    result = simkit("bench", "compare", *files)
    assert result.exit_code == 0
    assert "read_ahead adaptive -> none" in result.stdout
    assert "1 compared: 1 changed, 0 the same" in result.stdout
    assert simkit("bench", "compare", *files, "--fail-on-change").exit_code == 1
    assert simkit("bench", "compare", files[0], files[0], "--fail-on-change").exit_code == 0
    assert simkit_json("bench", "compare", *files)["changes"][0]["workload"] == "rowid-range-forward"


ROW = {"version": "2.3.19", "scenario": "defaults", "workload": "small-range-scan"}


def test_published_rows_stand_beside_simulated_ones(simkit: Simkit, simkit_json: SimkitJson, place: Path) -> None:
    rows = [{**ROW, "get_pages": [0, 100_000], "commits": [0, 0], "server_ms_median": 4.5}]
    (place / "rows.json").write_text(json.dumps(rows))
    shown = simkit("bench", "--against", "rows.json").stdout
    assert "small-range-scan  2.3.19, defaults  in range" in shown
    assert [line.split()[0] for line in shown.splitlines()[2:5]] == ["published", "simulated", "deviation"]
    assert "1 row: 0 exact, 1 in range, 0 off; simulated by published time" in shown
    document = simkit_json("bench", "--against", "rows.json")
    assert document["rows"][0]["figures"][1] == {
        "figure": "commits",
        "low": 0,
        "high": 0,
        "simulated": 0,
        "off_by": 0,
        "verdict": "exact",
    }


def test_a_row_that_is_off_fails_only_when_asked_to(simkit: Simkit, place: Path) -> None:
    (place / "rows.json").write_text(json.dumps([{**ROW, "commits": [7, 9]}]))
    assert simkit("bench", "--against", "rows.json").exit_code == 0
    assert simkit("bench", "--against", "rows.json", "--fail-on-change").exit_code == 1


def test_the_help_teaches_by_examples(simkit: Simkit) -> None:
    assert "simkit bench --against published" in " ".join(simkit("bench", "--help").stdout.split())
