"""Published rows beside simulated ones: how a row is read, what is assumed, what the verdicts are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simkit.bench.cold.against import (
    COMES_ALONG,
    MANY_REQUESTS,
    TIME_SEEDS,
    TIME_SEEDS_OF_MANY,
    FigureAgainst,
    against,
    configuration_of,
    load_rows,
    row_against,
)
from simkit.bench.cold.results import ResultsInvalid
from simkit.bench.cold.run import Configuration, Measurement
from simkit.bench.cold.workloads import Workload

Measured = Callable[..., Measurement]
Rows = Callable[..., Any]

PUBLISHED = {"run": "impact-20260429-smoke", "scenario": "defaults", "workload": "chat-log-sum", "profile": "smoke"}
RELEASED = {"version": "2.3.19", "scenario": "no-read-ahead", "workload": "chat-log-sum"}


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """Reads rows from a file."""

    def read(*found: dict[str, Any], **more: Any) -> Any:
        path = tmp_path / "rows.json"
        path.write_text(json.dumps([{**row, **more} for row in found]))
        return load_rows(path)[1]

    return read


@pytest.mark.parametrize("name", COMES_ALONG)
def test_the_rows_that_come_along_can_be_read_and_name_their_source(name: str) -> None:
    source, found = load_rows(COMES_ALONG[name])
    assert len(found) >= 10
    assert "2026" in source


def test_a_published_row_is_one_connection_under_the_merge(rows: Rows) -> None:
    chosen, assumed = configuration_of(rows(PUBLISHED)[0], "april")
    assert (chosen.preset, chosen.system, chosen.schema, chosen.latency.name) == (
        "merge",
        "worker",
        "april",
        "local-debug",
    )
    assert assumed == ()


def test_a_published_row_with_readers_goes_through_the_pool(rows: Rows) -> None:
    chosen, _ = configuration_of(rows(PUBLISHED, reader_opens=4)[0], "merge")
    assert chosen.system == "pool"


def test_a_disabled_run_has_everything_off(rows: Rows) -> None:
    chosen, _ = configuration_of(rows(PUBLISHED, run="disabled-full-latest", scenario="disabled")[0], "april")
    assert (chosen.name, chosen.vfs.cache_mode, chosen.vfs.read_ahead) == ("all-off", "off", "legacy")


def test_a_released_row_follows_its_scenario(rows: Rows) -> None:
    chosen, _ = configuration_of(rows(RELEASED)[0], "released")
    assert (chosen.preset, chosen.name, chosen.vfs.read_ahead, chosen.latency.name) == (
        "released",
        "no-read-ahead",
        "legacy",
        "loopback-fitted",
    )


def test_what_the_merged_code_ignores_is_left_out_and_said(rows: Rows) -> None:
    chosen, assumed = configuration_of(rows(PUBLISHED, scenario="target-cache-only")[0], "april")
    assert (chosen.name, chosen.vfs.cache_mode) == ("target-cache-only", "all")
    assert assumed == ("the merged code ignores cache_mode; so does the simulation",)


def test_the_released_engine_ignores_nothing_of_a_scenario(rows: Rows) -> None:
    chosen, assumed = configuration_of(rows(RELEASED, scenario="target-cache-only")[0], "released")
    assert (chosen.vfs.cache_mode, assumed) == ("target", ())


def test_a_row_can_name_settings_besides_its_scenario(rows: Rows) -> None:
    chosen, _ = configuration_of(rows(RELEASED, settings={"train_on_hits": False, "staging_ns": "0s"})[0], "released")
    assert (chosen.vfs.read_ahead, chosen.vfs.train_on_hits, chosen.vfs.staging_ns) == ("legacy", False, 0)


@pytest.mark.parametrize(
    ("changes", "assumption"),
    [
        ({"scenario": "new-moon"}, "new-moon is no scenario of the matrix; taken as the defaults"),
        ({"run": "another-run"}, "another-run is no run that is known here; taken as one of April"),
    ],
)
def test_what_is_not_known_is_assumed_and_said(rows: Rows, changes: dict[str, str], assumption: str) -> None:
    _, assumed = configuration_of(rows(PUBLISHED, **changes)[0], "april")
    assert assumed == (assumption,)


@pytest.mark.parametrize(
    ("low", "high", "simulated", "verdict", "off_by"),
    [
        (10, 10, 10, "exact", 0),
        (10, 12, 11, "in range", 0),
        (10, 12, 12, "in range", 0),
        (10, 12, 15, "off", 3),
        (10, 10, 4, "off", -6),
    ],
)
def test_a_figure_is_exact_in_range_or_off(low: int, high: int, simulated: int, verdict: str, off_by: int) -> None:
    figure = FigureAgainst("get_pages", low, high, simulated)
    assert (figure.verdict, figure.off_by) == (verdict, off_by)


def test_the_verdict_of_a_row_is_that_of_its_worst_figure(rows: Rows, measured: Measured) -> None:
    (row,) = rows(RELEASED, get_pages=[10, 12], commits=[0, 0], cache_hits=[5, 5])

    def found(**figures: int) -> str:
        return row_against(row, lambda workload, chosen: measured(workload, **figures)).verdict

    assert found(get_pages=11, cache_hits=5) == "in range"
    assert found(get_pages=11, cache_hits=4) == "off"


def test_a_row_without_figures_agrees_with_nothing(rows: Rows, measured: Measured) -> None:
    found = against("rows.json", "", rows(RELEASED, get_pages=None), lambda workload, chosen: measured(workload))
    assert found.rows[0].verdict == "not compared"
    assert found.summary == "1 row: 0 exact, 0 in range, 0 off, 1 without figures"


def test_the_time_is_a_factor_and_no_verdict(rows: Rows, measured: Measured) -> None:
    (row,) = rows(RELEASED, get_pages=[1, 1], server_ms_median=20.0)
    found = row_against(row, lambda workload, chosen: measured(workload, get_pages=1, simulated_ms=50.0))
    assert (found.factor, found.verdict) == (2.5, "exact")


def test_the_time_is_the_median_over_several_seeds(rows: Rows, measured: Measured) -> None:
    (row,) = rows(RELEASED, server_ms_median=1.0)
    found = row_against(row, lambda workload, chosen: measured(workload, simulated_ms=float(chosen.seed**2)))
    assert found.simulated_ms == (TIME_SEEDS // 2) ** 2


def test_many_requests_even_out_in_fewer_runs(rows: Rows, measured: Measured) -> None:
    (row,) = rows(RELEASED, server_ms_median=1.0)
    seeds: list[int] = []

    def measure(workload: Workload, chosen: Configuration) -> Measurement:
        seeds.append(chosen.seed)
        return measured(workload, get_pages=MANY_REQUESTS)

    row_against(row, measure)
    assert seeds == list(range(TIME_SEEDS_OF_MANY))


def test_the_schema_is_the_one_that_gives_the_size_after_the_set_up(rows: Rows, measured: Measured) -> None:
    sizes = {"april": 100, "chat": 102, "merge": 114}
    (row,) = rows(PUBLISHED, setup_pages=114)
    found = row_against(row, lambda workload, chosen: measured(workload, setup_pages=sizes[chosen.schema]))
    assert "schema merge" in found.configuration
    assert found.assumed == ("schema merge, since it gives the 114 pages after the set-up",)


def test_when_no_schema_gives_the_size_the_likeliest_is_taken_and_all_are_named(rows: Rows, measured: Measured) -> None:
    (row,) = rows(PUBLISHED, setup_pages=7)
    found = row_against(row, lambda workload, chosen: measured(workload, setup_pages=9))
    assert found.verdict == "off"
    assert found.assumed[-1] == "no schema gives its pages after the set-up (april 9, chat 9, merge 9)"


def test_a_run_that_left_out_the_hits_of_opening_is_recognised_by_its_sum(rows: Rows, measured: Measured) -> None:
    (row,) = rows(PUBLISHED, run="latest", cache_hits=-3, cache_misses=8)
    found = row_against(row, lambda workload, chosen: measured(workload, cache_hits=0, cache_misses=8))
    assert found.verdict == "exact"
    assert "left out the 3 hits of opening" in found.assumed[-1]


def test_a_workload_that_fails_is_a_row_that_is_off(rows: Rows, measured: Measured) -> None:
    (row,) = rows(PUBLISHED, get_pages=0, server_ms=1.0)
    found = row_against(row, lambda workload, chosen: measured(workload, error="no such table"))
    assert (found.verdict, found.error, found.factor) == ("off", "no such table", None)


def test_rows_of_one_configuration_are_simulated_once(rows: Rows, measured: Measured) -> None:
    asked: list[tuple[str, Configuration]] = []

    def measure(workload: Workload, chosen: Configuration) -> Measurement:
        asked.append((workload.name, chosen))
        return measured(workload, get_pages=3)

    found = against("rows.json", "", rows(PUBLISHED, PUBLISHED, get_pages=3), measure)
    assert (len(asked), len(found.rows), found.complete) == (1, 2, True)
    assert found.summary == "2 rows: 2 exact, 0 in range, 0 off"


def test_the_summary_names_what_is_off_and_how_well_time_is_told(rows: Rows, measured: Measured) -> None:
    found = against(
        "rows.json",
        "",
        rows(PUBLISHED, {**PUBLISHED, "workload": "chat-log-count"}, get_pages=3, server_ms=10.0),
        lambda workload, chosen: measured(workload, get_pages=len(workload.name) - 9, simulated_ms=5.0),
    )
    assert found.summary == (
        "2 rows: 1 exact, 0 in range, 1 off (chat-log-count); "
        "simulated by published time 0.50 to 0.50, median 0.50: within a factor of 2.00"
    )


def test_an_interruption_keeps_the_rows_that_are_done(rows: Rows, measured: Measured) -> None:
    ends = iter([False, True])
    found = against(
        "rows.json",
        "",
        rows(PUBLISHED, PUBLISHED),
        lambda workload, chosen: measured(workload),
        interrupted=lambda: next(ends),
    )
    assert (len(found.rows), found.complete) == (1, False)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ('"profile": "big"', "row 1: profile is 'big'; it is smoke or standard"),
        ('"get_pages": true', "row 1: get_pages is True; it is a whole number"),
        ('"get_pages": 2.5', "row 1: get_pages is 2.5; it is a whole number"),
        ('"server_ms": []', r"row 1: server_ms is \[\]; it is a number of milliseconds"),
        ('"server_ms_median": "fast"', "row 1: server_ms_median is 'fast'; it is a number of milliseconds"),
        ('"settings": {"reed_ahead": "none"}', "row 1: there is no setting 'reed_ahead'; did you mean read_ahead"),
        ('"settings": {"max_readers": 65}', "row 1: max_readers is 65"),
        ('"settings": []', r"row 1: settings is \[\]; it is an object"),
        ('"workload": ["a"]', r"row 1: workload is \['a'\]; it is a name"),
    ],
)
def test_a_row_with_a_field_that_means_nothing_is_refused(tmp_path: Path, field: str, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(f'[{{"run": "latest", "scenario": "default", "workload": "chat-log-sum", {field}}}]')
    with pytest.raises(ResultsInvalid, match=message):
        load_rows(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "has no published rows"),
        ("7", "has no published rows"),
        ('[{"workload": "chat-log-sum"}]', r"row 1: it has neither run .* nor version"),
        ('[{"run": "latest", "workload": "chat-log-sum"}]', "row 1: scenario is missing"),
        ('[{"run": "latest", "scenario": "default", "workload": "chat-log"}]', "row 1: there is no workload"),
        (
            '[{"run": "latest", "scenario": "default", "workload": "chat-log-sum", "get_pages": [3, 1]}]',
            r"row 1: get_pages is \[3, 1\]",
        ),
    ],
)
def test_a_file_that_has_no_such_rows_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ResultsInvalid, match=message):
        load_rows(path)
