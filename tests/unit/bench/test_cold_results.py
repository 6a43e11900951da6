"""Results as a document: what comes back, what is refused, and how they read."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from simkit.bench.cold.markdown import summary
from simkit.bench.cold.results import (
    COUNTS,
    SCHEMA_VERSION,
    Results,
    ResultsInvalid,
    Run,
    decode,
    encode,
    load,
    ordered,
    save,
)
from simkit.bench.cold.run import Measurement

Measured = Callable[..., Measurement]
ResultsOf = Callable[..., Results]


def test_what_is_written_comes_back(measured: Measured, results_of: ResultsOf, tmp_path: Path) -> None:
    results = results_of(measured("chat-log-sum", get_pages=10), measured("chat-log-count", error="no such table"))
    save(results, tmp_path / "results.json")
    assert load(tmp_path / "results.json") == results
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_the_document_says_its_version_and_the_versions_behind_the_counts(results_of: ResultsOf) -> None:
    plain = msgspec.json.decode(encode(results_of()))
    assert plain["schemaVersion"] == SCHEMA_VERSION
    assert {"simkit", "sqlite", "apsw", "python"} < set(plain["environment"])
    assert plain["runs"][0]["settings"]["vfs"]["read_ahead"] == "adaptive"


def test_a_field_that_is_not_known_is_passed_over(results_of: ResultsOf) -> None:
    plain = msgspec.json.decode(encode(results_of()))
    assert decode(msgspec.json.encode({**plain, "mood": "good"}), "results.json") == results_of()


def test_a_figure_that_an_earlier_simkit_did_not_write_has_its_default(
    measured: Measured, results_of: ResultsOf
) -> None:
    plain = msgspec.json.decode(encode(results_of(measured("chat-log-sum", joined=3))))
    del plain["runs"][0]["measurements"][0]["joined"]
    assert decode(msgspec.json.encode(plain), "results.json").runs[0].measurements[0].joined == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is no result of simkit bench"),
        (b"\xff\xfe", "is no result of simkit bench"),
        (b"[1, 2]", "is no result of simkit bench"),
        (b'{"rows": []}', "missing required field `schemaVersion`"),
        (b'{"schemaVersion": 99}', "reads up to 1: read it with the newer simkit"),
        (b'{"schemaVersion": 0}', "versions count from 1"),
        (b'{"schemaVersion": 1, "runs": 7}', "does not have its form"),
    ],
)
def test_what_is_no_result_is_refused_with_a_reason(text: bytes, message: str) -> None:
    with pytest.raises(ResultsInvalid, match=message):
        decode(text, "results.json")


def test_a_folder_is_answered_with_the_file_in_it(tmp_path: Path) -> None:
    with pytest.raises(ResultsInvalid, match=r"is a folder; give .*results\.json"):
        load(tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsInvalid, match=r"cannot read .*absent\.json"):
        load(tmp_path / "absent.json")


def test_every_count_is_a_figure_of_a_measurement(measured: Measured) -> None:
    assert all(isinstance(getattr(measured("chat-log-sum"), name), int) for name in COUNTS)


def test_measurements_are_put_in_the_order_of_the_workloads(measured: Measured) -> None:
    found = ordered([measured("chat-log-sum"), measured("small-rowid-point")])
    assert [each.workload for each in found] == ["small-rowid-point", "chat-log-sum"]


def test_a_failed_measurement_is_no_figure(measured: Measured, results_of: ResultsOf) -> None:
    results = results_of(measured("chat-log-sum", error="gone"))
    assert results.runs[0].of("chat-log-sum") is None
    assert [each.workload for _, each in results.failures] == ["chat-log-sum"]


def test_the_summary_has_a_row_for_each_workload(measured: Measured, results_of: ResultsOf) -> None:
    text = summary(results_of(measured("chat-log-sum", get_pages=1234, simulated_ms=5.25)))
    assert "| 22 | chat-log-sum | read/large | 0 | 0 | 1,234 |" in text
    assert "5.2 |" in text


def test_the_summary_without_times_has_none(measured: Measured, results_of: ResultsOf) -> None:
    assert " ms" not in summary(results_of(measured("chat-log-sum")), times=False)


def test_the_summary_names_what_failed_and_that_it_was_interrupted(measured: Measured, results_of: ResultsOf) -> None:
    results = msgspec.structs.replace(results_of(measured("chat-log-sum", error="no\nway")), complete=False)
    assert "- chat-log-sum (defaults): no way" in summary(results)
    assert "Interrupted" in summary(results)


def test_several_runs_stand_side_by_side_and_a_gap_is_a_dash(measured: Measured, results_of: ResultsOf) -> None:
    first = results_of(measured("chat-log-sum", get_pages=10)).runs[0]
    second = results_of(name="all-off", notes=("x: no effect",)).runs[0]
    text = summary(msgspec.structs.replace(results_of(), runs=(first, second)))
    assert "| workload | defaults | all-off |" in text
    assert "| chat-log-sum | 10 | - |" in text
    assert "- x: no effect" in text


def test_runs_of_several_latencies_are_told_apart(results_of: ResultsOf) -> None:
    first = results_of().runs[0]
    settings = msgspec.structs.replace(first.settings, latency="loopback")
    results = msgspec.structs.replace(results_of(), runs=(first, Run(settings)))
    assert [results.label(run) for run in results.runs] == ["defaults @ instant", "defaults @ loopback"]


def test_readers_have_a_table_where_there_were_any(measured: Measured, results_of: ResultsOf) -> None:
    with_readers = results_of(measured("parallel-read-aggregates", reader_opens=4, routed_reads=5))
    assert "| parallel-read-aggregates | 5 | 0 | 0 | 4 | 0 |" in summary(with_readers)
    assert "reader opens" not in summary(results_of(measured("chat-log-sum")))
