"""Reading sqllogictest files: every kind of record, and clear errors with file and line."""

from pathlib import Path

import pytest

from simkit.conformance.logic_reader import (
    Conditions,
    Halt,
    HashThreshold,
    Query,
    ReadError,
    Statement,
    looks_like_logic,
    read_logic,
)


def written(folder: Path, text: str) -> Path:
    file = folder / "given.test"
    file.write_text(text, encoding="utf-8")
    return file


def test_statements_say_how_they_end(tmp_path: Path) -> None:
    text = "# comment\n\nstatement ok\nCREATE TABLE t(a,\n  b)\n\nstatement error\nSELECT\n----\nincomplete\ninput\n"
    first, second = read_logic(written(tmp_path, text))
    assert first == Statement(3, Conditions(), "CREATE TABLE t(a,\n  b)", fails=False)
    assert second == Statement(7, Conditions(), "SELECT", fails=True, message="incomplete\ninput")


def test_queries_have_types_order_label_and_values(tmp_path: Path) -> None:
    (query,) = read_logic(written(tmp_path, "query IT rowsort some-label\nSELECT 1, 'a'\n----\n1\na\n"))
    assert query == Query(1, Conditions(), "SELECT 1, 'a'", "IT", "rowsort", "some-label", ("1", "a"), None)


def test_the_order_may_be_left_out(tmp_path: Path) -> None:
    (query,) = read_logic(written(tmp_path, "query I only-a-label\nSELECT 1\n----\n1\n"))
    assert isinstance(query, Query)
    assert (query.sort, query.label) == ("nosort", "only-a-label")


def test_values_may_be_a_hash(tmp_path: Path) -> None:
    digest = "3c13dee48d9356ae19af2515e05e6b54"
    (query,) = read_logic(written(tmp_path, f"query I\nSELECT 1\n----\n30 values hashing to {digest}\n"))
    assert isinstance(query, Query)
    assert (query.expected, query.hashed) == (None, (30, digest))


def test_a_query_may_give_no_rows_or_anything(tmp_path: Path) -> None:
    none, anything = read_logic(written(tmp_path, "query I\nSELECT 1\n----\n\nquery I\nSELECT 1\n"))
    assert isinstance(none, Query)
    assert isinstance(anything, Query)
    assert (none.expected, anything.expected) == ((), None)


def test_conditions_belong_to_the_next_record(tmp_path: Path) -> None:
    text = "skipif mysql # why\nonlyif sqlite\nstatement ok\nSELECT 1\n\nstatement ok\nSELECT 2\n"
    first, second = read_logic(written(tmp_path, text))
    assert first.conditions == Conditions(("mysql",), ("sqlite",))
    assert second.conditions == Conditions()


def test_threshold_and_halt_need_no_empty_line(tmp_path: Path) -> None:
    records = read_logic(written(tmp_path, "hash-threshold 8\nhalt\nstatement ok\nSELECT 1\n"))
    assert [type(record) for record in records] == [HashThreshold, Halt, Statement]


def test_a_value_may_look_like_a_comment(tmp_path: Path) -> None:
    text = "# one\n# two\nonlyif sqlite\n# three\nquery T\nSELECT '#1'\n----\n#1\n\n# only a comment\n"
    (query,) = read_logic(written(tmp_path, text))
    assert isinstance(query, Query)
    assert (query.line, query.conditions.only, query.expected) == (5, ("sqlite",), ("#1",))


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    file = tmp_path / "given.test"
    file.write_bytes(b"query T\r\nSELECT 'a'\r\n----\r\na\r\n\r\nstatement ok\r\nSELECT 1\r\n")
    query, statement = read_logic(file)
    assert isinstance(query, Query)
    assert query.expected == ("a",)
    assert isinstance(statement, Statement)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("\nstatment ok\nSELECT 1\n", 2, "`statment ok` opens no record"),
        ("statement maybe\nSELECT 1\n", 1, "opens no record"),
        ("statement ok\n", 1, "a statement without SQL"),
        ("statement ok\nSELECT 1\n----\n1\n", 4, "use `query`"),
        ("query X\nSELECT 1\n----\n1\n", 1, "column type 'X' is none of I, R, T"),
        ("query I sorted label\nSELECT 1\n----\n1\n", 1, "`sorted` is no sort mode"),
        ("query I\n----\n1\n", 1, "a query without SQL"),
        ("query II\nSELECT 1, 2\n----\n1\n2\n3\n", 1, "3 values do not fill rows of 2 columns"),
        ("hash-threshold many\n", 1, "opens no record"),
        ("statement ok\nSELECT 1\n\nskipif mysql\n", 4, "stands before nothing"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ReadError) as error:
        read_logic(file)
    assert str(error.value).startswith(f"{file}:{line}: ")
    assert message in str(error.value)


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "given.test"
    file.write_bytes(b"statement ok\nSELECT '\xff'\n")
    with pytest.raises(ReadError, match="UTF-8"):
        read_logic(file)


def test_files_of_the_format_are_told_from_others() -> None:
    assert looks_like_logic("# a comment\n\nhash-threshold 8\n")
    assert not looks_like_logic("# a comment\nset testdir [file dirname $argv0]\n")
    assert not looks_like_logic("")
