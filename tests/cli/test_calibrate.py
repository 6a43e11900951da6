"""`simkit calibrate`: what it prints and writes, and what it says to a bad file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from simkit.depot.profile_file import parse_profile

Simkit = Callable[..., Result]
SimkitJson = Callable[..., Any]

SAMPLE = Path(__file__).parents[1] / "unit" / "depot" / "round_trips.csv"
SCENARIO = """\
name: calibrated
attacks: Nothing; it shows that a profile from a file is used.
setup: [CREATE TABLE t(a INTEGER PRIMARY KEY)]
clients: [{name: one, script: [{sql: INSERT INTO t VALUES(1)}]}]
latency: latency/mine.yaml
"""


@pytest.fixture
def trips(place: Path) -> Path:
    file = place / "Trips of May.csv"
    file.write_text(SAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    return file


def test_measured_and_fitted_quantiles_stand_side_by_side(simkit: Simkit, trips: Path) -> None:
    lines = simkit("calibrate", str(trips)).stdout.splitlines()
    header = next(index for index, line in enumerate(lines) if line.split()[-5:] == ["p10", "p50", "p90", "p99", "max"])
    assert [line.split()[0] for line in lines[header + 1 : header + 3]] == ["measured", "fitted"]


@pytest.mark.parametrize("shown", ["KS 0.", "Wasserstein 0.", "left out: 4 ping", "pages from the column pages"])
def test_the_output_tells_how_good_the_fit_is(simkit: Simkit, trips: Path, shown: str) -> None:
    assert shown in simkit("calibrate", str(trips)).stdout


def test_without_a_file_to_write_the_profile_is_printed(simkit: Simkit, trips: Path) -> None:
    shown = simkit("calibrate", str(trips)).stdout
    assert parse_profile(shown[shown.index("name: ") :], "shown").name == "trips-of-may"


def test_the_written_profile_names_its_source(simkit: Simkit, trips: Path, place: Path) -> None:
    result = simkit("calibrate", str(trips), "-o", "mine.yaml", "--name", "mine", "--base", "instant")
    profile = parse_profile((place / "mine.yaml").read_text(encoding="utf-8"), "mine.yaml")
    assert result.exit_code == 0
    assert profile.name == "mine"
    assert "Trips of May.csv: 150 get_pages, 90 commit" in profile.source


def test_a_scenario_runs_with_the_written_profile(simkit: Simkit, trips: Path, place: Path) -> None:
    (place / "latency").mkdir()
    simkit("calibrate", str(trips), "-o", "latency/mine.yaml")
    (place / "calibrated.yaml").write_text(SCENARIO)
    assert simkit("run", "calibrated.yaml").exit_code == 0


def test_json_has_the_profile_and_the_distances(simkit_json: SimkitJson, trips: Path) -> None:
    document = simkit_json("calibrate", str(trips))
    assert parse_profile(document["profile"], "mine.yaml").name == document["name"]
    assert [fit["kind"] for fit in document["fits"]] == ["get_pages", "commit"]
    assert all(0 <= fit["candidates"][0]["ks"] <= 1 for fit in document["fits"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind,milliseconds\nopen,1\nopen,soon\n", "bad.csv:3: milliseconds is 'soon'"),
        ("kind,ms\nopen,1\n", "bad.csv:1: there is no column milliseconds"),
        ("kind,milliseconds\nping,1\n", "no row is of a kind"),
    ],
)
def test_a_bad_file_ends_with_code_2_and_writes_nothing(simkit: Simkit, place: Path, text: str, message: str) -> None:
    (place / "bad.csv").write_text(text)
    result = simkit("calibrate", "bad.csv", "-o", "mine.yaml")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (place / "mine.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "cannot read missing.csv"),
        (["trips.csv", "--name", "My Depot"], "'My Depot' is no name of a profile"),
        (["trips.csv", "--base", "loopbak"], "no such profile; there are"),
        (["trips.csv", "--page-size", "1000"], "powers of two"),
        (["trips.csv", "--rtt", "5"], "write 5ms"),
        (["trips.csv", "--rtt", "1s"], "give a smaller --rtt"),
        (["trips.csv", "-o", "nowhere/mine.yaml"], "cannot write nowhere/mine.yaml"),
        (["latin.csv"], "is not UTF-8"),
    ],
)
def test_a_bad_argument_ends_with_code_2(simkit: Simkit, place: Path, arguments: list[str], message: str) -> None:
    (place / "trips.csv").write_text(SAMPLE.read_text(encoding="utf-8"))
    (place / "latin.csv").write_bytes(b"kind,milliseconds\nopen\xe4,1\n")
    result = simkit("calibrate", *arguments)
    assert (result.exit_code, message in " ".join(result.stderr.split())) == (2, True), result.stderr


def test_the_help_has_an_example(simkit: Simkit) -> None:
    assert "get_pages,16,112,65700,1.42" in simkit("calibrate", "--help").stdout
