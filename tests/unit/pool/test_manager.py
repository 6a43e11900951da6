"""The connection manager: routes, modes, transactions, and what its calls give back."""

from typing import Any

import apsw
import pytest

from simkit.pool.events import ModeChanged

MS = 1_000_000


def test_first_statement_of_each_kind_makes_the_transitions_of_the_table(pool: Any) -> None:
    world = pool()

    def body() -> None:
        world.manager.execute("SELECT 1")
        world.manager.execute("INSERT INTO t VALUES (2, 2)")
        world.seen.append(world.manager.execute("SELECT * FROM t"))

    world.spawn("client", body)
    world.run()
    changes = [(event.before, event.after) for event in world.events(ModeChanged)]
    assert changes == [
        ("closed", "write"),
        ("write", "closed"),
        ("closed", "read"),
        ("read", "write"),
        ("write", "closed"),
        ("closed", "read"),
    ]
    assert world.seen[0].rows == ((1, 1), (2, 2))
    assert world.seen[0].route == "read"
    world.check_at_rest()
