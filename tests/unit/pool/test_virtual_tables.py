"""Virtual tables run statements of their own on the reader that meets them: these are not held against who reads."""

from typing import Any

import apsw
import pytest

SETUP = """
CREATE VIRTUAL TABLE words USING fts5(a); INSERT INTO words VALUES ('hello world');
CREATE VIRTUAL TABLE boxes USING rtree(id, low, high); INSERT INTO boxes VALUES (1, 2, 3);
"""
READS = [
    "SELECT a FROM words WHERE words MATCH 'hello'",
    "SELECT count(*) FROM words",
    "SELECT id FROM boxes WHERE low > 1",
    "SELECT count(*) FROM words, boxes",
    "PRAGMA integrity_check",
]


@pytest.mark.parametrize("sql", READS)
def test_virtual_table_is_read_through_a_reader(pool: Any, sql: str) -> None:
    world = pool()

    def body() -> None:
        world.manager.execute_script(SETUP)
        for _ in range(2):  # looked at; and known already when a fresh reader meets the table
            world.seen.append(world.manager.execute(sql).route)
            world.manager.execute("UPDATE t SET x = x + 1")
            with world.manager.read_lease() as lease:
                world.seen.append(lease.execute(sql).route)
            world.manager.execute("UPDATE t SET x = x + 1")

    world.spawn("client", body)
    world.run()
    assert world.seen == ["read"] * 4
    assert world.manager.metrics.rejected_reader_mutations_total == 0
    world.check_at_rest()


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO words VALUES ('more')",
        "INSERT INTO words(words) VALUES ('optimize')",
        "INSERT INTO boxes VALUES (2, 3, 4)",
        "DELETE FROM boxes_node",
        "DELETE FROM words_data",
    ],
)
def test_virtual_table_is_written_by_the_writer_only(pool: Any, sql: str) -> None:
    world = pool()

    def body() -> None:
        world.manager.execute_script(SETUP)
        with world.manager.read_lease() as lease:
            lease.execute(READS[3])
            with pytest.raises(apsw.AuthError):
                lease.execute(sql)
        world.seen.append(world.manager.execute(sql).route)

    world.spawn("client", body)
    world.run()
    assert world.seen == ["write"]
    assert world.manager.metrics.rejected_reader_mutations_total == 1


def test_index_sees_what_was_written_since(pool: Any) -> None:
    world = pool()

    def body() -> None:
        world.manager.execute_script(SETUP)
        for number in range(3):
            world.manager.execute("INSERT INTO words VALUES ('hello')")
            found = world.manager.execute("SELECT count(*) FROM words WHERE words MATCH 'hello'")
            assert (found.rows, found.route) == (((number + 2,),), "read")

    world.spawn("client", body)
    world.run()
