"""A caller that is cancelled or crashes at any of its yields leaves nothing behind, whatever it was doing."""

from collections.abc import Callable
from functools import partial
from typing import Any

import apsw
import pytest

from simkit.kernel import Cancelled, Crashed
from simkit.kernel.task import Task
from simkit.vfs.errors import InstanceDead

MS = 1_000_000
YIELDS_MAX = 400


def one_read(manager: Any) -> None:
    manager.execute("SELECT * FROM t")
    manager.execute("SELECT * FROM t")


def one_write(manager: Any) -> None:
    manager.execute("INSERT INTO t(x) VALUES (7)")
    manager.execute("INSERT INTO t(x) VALUES (7)")


def raw_transaction(manager: Any) -> None:
    manager.execute("BEGIN")
    manager.execute("SELECT count(*) FROM t")
    manager.execute("INSERT INTO t(x) VALUES (7)")
    manager.execute("COMMIT")


def transaction_block(manager: Any) -> None:
    with manager.transaction():
        manager.execute("INSERT INTO t(x) VALUES (7)")
        manager.execute("SELECT count(*) FROM t")


def write_mode(manager: Any) -> None:
    with manager.write_mode(), manager.write_mode():
        manager.execute("INSERT INTO t(x) VALUES (7)")
        manager.execute("BEGIN")
        manager.execute("DELETE FROM t WHERE x = 7")
        manager.execute("COMMIT")


def read_lease(manager: Any) -> None:
    with manager.read_lease() as lease:
        lease.execute("SELECT * FROM t")
        manager.execute("SELECT * FROM other")


def write_lease(manager: Any) -> None:
    with manager.write_lease() as lease:
        lease.execute("BEGIN")
        lease.execute("INSERT INTO t(x) VALUES (7)")
        lease.execute("COMMIT")


def several(manager: Any) -> None:
    manager.execute_script("INSERT INTO t(x) VALUES (7); CREATE TABLE IF NOT EXISTS s(y); SELECT * FROM s")
    manager.migrate(["INSERT INTO t(x) VALUES (8)", ("INSERT INTO t(x) VALUES (?)", (9,))])


PROGRAMS = [
    one_read,
    one_write,
    raw_transaction,
    transaction_block,
    write_mode,
    read_lease,
    write_lease,
    several,
]


class Scene:
    """A victim among others; `strike` is called with the number of each of the victim's steps, and of each tick."""

    def __init__(self, pool: Callable[..., Any], program: Callable[[Any], None], **settings: Any) -> None:
        self.world = pool(**settings)
        world = self.world
        self.own = world.kernel.group("own")
        self.dead = False
        self.outcome = ""
        for number in range(2):
            world.spawn(f"reader-{number}", lambda: self.tried("SELECT count(*) FROM t"), number)
            world.spawn(f"writer-{number}", lambda: self.write("INSERT INTO other(x) VALUES (1)"), number)
        self.victim = world.spawn("victim", lambda: self.run_victim(program), 0.5)

    def write(self, sql: str) -> None:
        for _ in range(2):
            try:
                self.world.manager.execute(sql)
            except InstanceDead:
                self.dead = True

    def run_victim(self, program: Callable[[Any], None]) -> None:
        try:
            with self.own:
                program(self.world.manager)
        except Crashed:
            self.outcome = "crashed"
        except Cancelled:
            self.outcome = "cancelled"
        except InstanceDead:
            self.dead = True

    def finish(self) -> None:
        """The database still serves everybody, and closes."""
        world = self.world
        world.run()
        if self.dead or not world.instance.alive:
            assert self.outcome == "crashed"  # in the middle of a commit, whose reply nobody heard: the fence
            self.dead = True
        world.check_at_rest()
        world.spawn("reader", lambda: world.seen.append(self.tried("SELECT count(*) FROM other")))
        world.spawn("writer", lambda: self.write("INSERT INTO t(x) VALUES (2)"))
        world.run()
        world.check_at_rest()
        world.spawn("close-1", world.manager.close)
        world.spawn("close-2", world.manager.close)
        world.run()
        world.check_at_rest()
        assert world.manager.snapshot().closed
        assert world.instance.closed
        assert world.open_handles() == []

    def tried(self, sql: str) -> Any:
        try:
            return self.world.manager.execute(sql)
        except apsw.IOError:
            assert not self.world.instance.alive


def strike(scene: Scene, how: str) -> None:
    if how == "cancel":
        scene.victim.cancel()
    else:
        scene.own.crash()


def strike_at_step(scene: Scene, number: int) -> Callable[[], bool]:
    """Cancels the victim as it resumes from its yield of this number: what it waited for has come to pass."""
    steps = 0

    def on_step(task: Task) -> None:
        nonlocal steps
        if task is scene.victim:
            steps += 1
            if steps == number:
                task.cancel()

    scene.world.kernel.on_step = on_step
    return lambda: steps >= number


@pytest.mark.parametrize("settings", [{"order": "timed"}, {"order": "any"}, {"max_readers": 1}, {"max_readers": 0}])
@pytest.mark.parametrize("program", PROGRAMS)
def test_cancelled_at_the_end_of_any_yield(pool: Any, program: Any, settings: dict[str, Any]) -> None:
    if program is read_lease and settings.get("max_readers") == 0:
        return
    for number in range(1, YIELDS_MAX):
        scene = Scene(pool, program, **settings)
        struck = strike_at_step(scene, number)
        scene.finish()
        if not struck():
            assert number > 5
            return
        scene.world.dispose()
    raise AssertionError("the program has more yields than expected")


@pytest.mark.parametrize("settings", [{"order": "timed"}, {"max_readers": 1}, {"max_readers": 0}])
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("how", ["cancel", "crash"])
def test_struck_at_any_time(pool: Any, program: Any, settings: dict[str, Any], how: str) -> None:
    if program is read_lease and settings.get("max_readers") == 0:
        return
    for number in range(1, YIELDS_MAX):
        scene = Scene(pool, program, **settings)
        scene.world.spawn("striker", partial(strike, scene, how), number * 0.5 + 0.25)
        scene.finish()
        if not scene.outcome and scene.victim.ended:
            return
        scene.world.dispose()
    raise AssertionError("the program takes longer than expected")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("how", ["cancel", "crash"])
def test_struck_in_any_order_of_events(pool: Any, program: Any, how: str) -> None:
    for seed in range(30):
        scene = Scene(pool, program, order="any", seed=seed)
        scene.world.spawn("striker", partial(strike, scene, how), seed % 10 + 0.75)
        scene.finish()
        scene.world.dispose()
