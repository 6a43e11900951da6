"""Overflow chains, found in the pages of real SQLite."""

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.depot.overflow import chains_from, next_in_chain


def pages_of(page_size: int, *statements: str) -> tuple[list[bytes], list[int]]:
    """The pages of a database and the numbers of those that SQLite says are overflow pages."""
    connection = apsw.Connection(":memory:")
    connection.execute(f"PRAGMA page_size = {page_size}").fetchall()
    for statement in statements:
        connection.execute(statement).fetchall()
    content = connection.serialize("main")
    overflow = [row[0] for row in connection.execute("SELECT pageno FROM dbstat WHERE pagetype = 'overflow'")]
    return [content[at : at + page_size] for at in range(0, len(content), page_size)], sorted(overflow)


def followed(pages: list[bytes]) -> list[int]:
    found = []
    for place, page in enumerate(pages):
        for first in chains_from(page, place == 0):
            number = first
            while number:
                found.append(number)
                number = next_in_chain(pages[number - 1])
    return sorted(found)


@pytest.mark.parametrize("page_size", [512, 1024, 4096, 65536])
@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, x)",),
        ("CREATE TABLE t(x PRIMARY KEY) WITHOUT ROWID",),
        ("CREATE TABLE t(x)", "CREATE INDEX i ON t(x)"),
    ],
)
def test_every_overflow_page_is_found_and_no_other(page_size: int, statements: tuple[str, ...]) -> None:
    sizes = [3, page_size // 9, page_size // 4, page_size - 40, page_size, page_size * 3, page_size * 7 + 11]
    rows = "".join(f", ({place} || hex(zeroblob({size // 2})))" for place, size in enumerate(sizes * 4))
    insert = f"INSERT INTO t(x) VALUES {rows[2:]}"
    pages, overflow = pages_of(page_size, *statements, insert)
    # A page of an index or table that was reused may name old chains in its free space; cells alone count.
    assert overflow
    assert followed(pages) == overflow


def test_schema_on_page_1_may_overflow() -> None:
    columns = ", ".join(f"a_long_name_of_a_column_{place}" for place in range(60))
    pages, overflow = pages_of(512, f"CREATE TABLE t({columns})")
    assert overflow
    assert followed(pages) == overflow


@given(st.binary(min_size=512, max_size=512), st.sampled_from([0, 2, 5, 10, 13]), st.booleans())
def test_any_bytes_are_taken(page: bytes, kind: int, first: bool) -> None:
    header = 100 if first else 0
    page = page[:header] + bytes([kind]) + page[header + 1 :]
    assert all(isinstance(number, int) for number in chains_from(page, first))
