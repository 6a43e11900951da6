"""The committed tables are what the workloads count today."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import apsw
import pytest

from simkit.bench.cold.reference import (
    COMMAND,
    PRESETS,
    Preset,
    Reference,
    drifted,
    file_of,
    load_reference,
    make_reference,
    reference_configuration,
    reference_table,
    write_reference,
)
from simkit.bench.cold.results import ResultsInvalid
from simkit.bench.cold.run import Measurement, measure
from simkit.bench.cold.setup import SetupCache
from simkit.bench.cold.workloads import WORKLOADS, Workload

FOLDER = Path(__file__).parents[3] / "reports" / "cold-read"

Measured = Callable[..., Measurement]


@cache
def committed(preset: Preset) -> Reference:
    return load_reference(file_of(preset, FOLDER))


@pytest.fixture(scope="module")
def setups() -> SetupCache:
    return SetupCache()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_counts_are_those_of_the_committed_table(workload: Workload, preset: Preset, setups: SetupCache) -> None:
    reference = committed(preset)
    (row,) = [row for row in reference.rows if row.workload == workload.name]
    changes = drifted(row, measure(workload, reference_configuration(preset), setups))
    here = apsw.sqlite_lib_version()
    other = "" if here == reference.sqlite else f" (the table is from SQLite {reference.sqlite}, this is {here})"
    assert not changes, (
        f"{workload.name}, preset {preset}: {'; '.join(changes)}{other}. If that is meant, write the tables anew "
        f"with `{COMMAND}` in a clone of the repository, and say in the commit why the counts changed."
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_the_table_to_read_is_that_of_the_document(preset: Preset) -> None:
    assert file_of(preset, FOLDER).with_suffix(".md").read_text(encoding="utf-8") == reference_table(committed(preset))


def test_a_table_comes_back_as_it_was_written(measured: Measured, tmp_path: Path) -> None:
    measurements = [measured(workload, get_pages=workload.number, answer="a") for workload in reversed(WORKLOADS)]
    reference = make_reference(reference_configuration("released"), measurements)
    path, _ = write_reference(reference, tmp_path)
    assert load_reference(path) == reference
    assert reference.rows[0].workload == "small-rowid-point"


def test_there_is_no_table_with_a_workload_that_failed(measured: Measured) -> None:
    with pytest.raises(ValueError, match="chat-log-sum failed: gone"):
        make_reference(reference_configuration("merge"), [measured("chat-log-sum", error="gone")])


def test_a_count_and_an_answer_that_drifted_are_named(measured: Measured) -> None:
    then = measured("chat-log-sum", get_pages=10, answer="a")
    (row,) = make_reference(reference_configuration("merge"), [then]).rows
    assert drifted(row, then) == []
    assert drifted(row, measured("chat-log-sum", get_pages=12, answer="b")) == [
        "get_pages 10 -> 12",
        "the rows that were read differ",
    ]
    assert drifted(row, measured("chat-log-sum", error="gone")) == ["failed: gone"]


def test_a_missing_table_is_answered_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ResultsInvalid, match="simkit bench --write-reference makes it"):
        load_reference(file_of("merge", tmp_path))
