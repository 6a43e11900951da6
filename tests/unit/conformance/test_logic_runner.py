"""Running sqllogictest files: over the VFS as on SQLite's own files, each record judged."""

import hashlib
from pathlib import Path

import pytest

from simkit.conformance.logic_runner import as_integer, as_real, hash_values, render_value, run_logic
from simkit.conformance.results import FileResult
from simkit.conformance.subject import VfsKind

SAMPLE = Path(__file__).parent / "sample"


def ran(folder: Path, text: str, kind: VfsKind = "depot") -> FileResult:
    file = folder / "given.test"
    file.write_text(text, encoding="utf-8")
    return run_logic(file, "given.test", kind)


def failed_cases(result: FileResult) -> dict[str, str]:
    return {failure.case: failure.why for failure in result.failures}


@pytest.mark.parametrize("kind", ["depot", "sqlite"])
@pytest.mark.parametrize("name", ["money", "growth", "open-transaction"])
def test_the_sample_passes(name: str, kind: VfsKind) -> None:
    result = run_logic(SAMPLE / f"{name}.test", name, kind)
    assert result.failures == []
    assert result.passed >= 8
    assert (result.commits > 0) == (kind == "depot")


def test_what_the_file_skips_is_counted_by_reason() -> None:
    result = run_logic(SAMPLE / "money.test", "money", "depot")
    assert dict(result.skipped) == {"the file says skipif sqlite": 1, "the file says onlyif mysql": 1}
    assert run_logic(SAMPLE / "growth.test", "growth", "depot").skipped["the file says halt before"] == 1


def test_a_wrong_value_fails_with_both(tmp_path: Path) -> None:
    result = ran(tmp_path, "query I\nSELECT 1 UNION ALL SELECT 2\n----\n1\n3\n")
    assert failed_cases(result) == {"line 1": "expected [1, 3], got [1, 2]"}
    assert result.outcome == "failed"


def test_a_wrong_hash_fails(tmp_path: Path) -> None:
    result = ran(tmp_path, f"query I\nSELECT 1\n----\n1 values hashing to {'0' * 32}\n")
    assert "hashing to" in failed_cases(result)["line 1"]


def test_a_statement_that_has_to_succeed_fails_with_its_error(tmp_path: Path) -> None:
    result = ran(tmp_path, "statement ok\nINSERT INTO missing VALUES(1)\n")
    assert "no such table: missing" in failed_cases(result)["line 1"]


def test_a_statement_that_has_to_fail_and_does_not_is_a_failure(tmp_path: Path) -> None:
    result = ran(tmp_path, "statement error\nSELECT 1\n")
    assert failed_cases(result) == {"line 1": "has to fail, and succeeded"}


def test_the_message_of_an_error_is_compared(tmp_path: Path) -> None:
    result = ran(tmp_path, "statement error\nSELECT * FROM missing\n----\nno such column\n")
    assert "no such table" in failed_cases(result)["line 1"]


def test_another_number_of_columns_is_a_failure(tmp_path: Path) -> None:
    result = ran(tmp_path, "query I\nSELECT 1, 2\n----\n1\n2\n")
    assert failed_cases(result) == {"line 1": "has to give 1 columns (I), gave 2"}


def test_queries_of_one_label_give_the_same(tmp_path: Path) -> None:
    result = ran(tmp_path, "query I nosort one\nSELECT 1\n\nquery I nosort one\nSELECT 2\n")
    assert failed_cases(result) == {"line 4": "gave other values than line 1 of the same label one"}


@pytest.mark.parametrize("sql", ["SELECT 1", "SELECT sum(a) FROM (SELECT 1 << 62 AS a UNION ALL SELECT 3 << 61)"])
def test_a_query_without_values_to_compare_with_is_not_judged(tmp_path: Path, sql: str) -> None:
    result = ran(tmp_path, f"query I\n{sql}\n----\n\nquery I\nSELECT 1 WHERE 0\n----\n")
    assert result.failures == []
    assert dict(result.skipped) == {"the file gives no values to compare with": 1}
    assert result.passed == 3


def test_rows_and_values_are_sorted_where_the_record_says_so(tmp_path: Path) -> None:
    rows = "SELECT 2, 'a' UNION ALL SELECT 1, 'b'"
    text = f"query IT rowsort\n{rows}\n----\n1\nb\n2\na\n\nquery IT valuesort\n{rows}\n----\n1\n2\na\nb\n"
    assert ran(tmp_path, text).failures == []


def test_an_empty_line_ends_the_values(tmp_path: Path) -> None:
    assert ran(tmp_path, "query T\nSELECT ''\n----\n(empty)\n\nstatement ok\nSELECT 1\n").passed == 4


@pytest.mark.parametrize(
    ("value", "column_type", "text"),
    [
        (None, "I", "NULL"),
        (7, "I", "7"),
        (7.9, "I", "7"),
        (" 12abc", "I", "12"),
        ("abc", "I", "0"),
        (1, "R", "1.000"),
        ("2.5x", "R", "2.500"),
        ("", "T", "(empty)"),
        ("a\nb\u00e9", "T", "a@b@@"),
        (b"\x00ab", "T", "@ab"),
        (1.5, "T", "1.5"),
    ],
)
def test_values_are_rendered_by_the_letter_of_their_column(value: object, column_type: str, text: str) -> None:
    assert render_value(value, column_type) == text


def test_numbers_are_converted_as_sqlite_does() -> None:
    assert as_integer(1e300) == 2**63 - 1
    assert as_integer("99999999999999999999") == 2**63 - 1
    assert as_real("no number") == 0.0


def test_the_hash_has_an_end_of_line_after_each_value() -> None:
    assert hash_values(["a", "b"]) == hashlib.md5(b"a\nb\n").hexdigest()
