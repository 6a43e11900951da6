"""The operator: requests like any other, with costs, a place in the queue and errors that are recorded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from simkit.depot.commands import AtRestorePoint, AtTime
from simkit.depot.errors import CompactionDisabled, RestorePointNotFound
from simkit.depot.events import HotInstalled, ManagerLooked, Reclaimed, RequestFailed
from simkit.depot.operator import Operator

MS = 1_000_000

Bench = Any


@pytest.fixture
def bench(new_bench: type[Bench]) -> Bench:
    return new_bench(lag_threshold=100)


def test_a_command_costs_a_round_trip_and_its_service(bench: Bench) -> None:
    def script() -> None:
        bench.commits(1)
        before_ns = bench.kernel.now
        Operator(bench.depot).make_restore_point()
        assert bench.kernel.now - before_ns == 3 * MS

    bench.run(script)


def test_an_error_is_raised_and_recorded_under_the_name_of_the_operator(bench: Bench) -> None:
    def script() -> None:
        bench.commits(1)
        with pytest.raises(RestorePointNotFound):
            Operator(bench.depot, name="night shift").delete_restore_point("0-0")

    bench.run(script)
    (event,) = bench.events(RequestFailed)
    assert (event.instance, event.kind, event.error) == ("night shift", "control", "restore_point_not_found")


def test_an_operator_takes_its_place_in_the_queue(new_bench: type[Bench]) -> None:
    bench = new_bench()
    settings = msgspec.structs.replace(bench.settings, concurrency=1)
    bench = new_bench(lag_threshold=100, settings=settings)
    ended_ns: list[int] = []

    def script() -> None:
        bench.commits(1)

        def make(name: str) -> None:
            Operator(bench.depot, name=name).make_restore_point()
            ended_ns.append(bench.kernel.now)

        tasks = [bench.kernel.spawn(make, name, name=name) for name in ("first", "second")]
        for task in tasks:
            task.join()

    bench.run(script)
    assert ended_ns[1] - ended_ns[0] == 1 * MS


def test_compaction_is_forced_below_the_threshold(bench: Bench) -> None:
    def script() -> None:
        bench.commits(3)
        Operator(bench.depot).force_compaction()
        bench.settle()
        assert bench.watermark == 3
        assert bench.wrong() == []

    bench.run(script)
    assert next(event.why for event in bench.events(ManagerLooked)) == "forced"
    assert len(bench.events(HotInstalled)) == 1
    assert len(bench.events(Reclaimed)) == 1


def test_forcing_is_refused_where_compaction_is_off(new_bench: type[Bench]) -> None:
    bench = new_bench(enabled=False)

    def script() -> None:
        bench.commits(1)
        with pytest.raises(CompactionDisabled, match=r"depot\.compaction\.enabled"):
            Operator(bench.depot).force_compaction()

    bench.run(script)


def test_what_a_restore_point_kept_goes_without_another_commit(bench: Bench) -> None:
    def script() -> None:
        operator = Operator(bench.depot)
        bench.commits(3)
        point = operator.make_restore_point()
        bench.commits(3)
        operator.force_compaction()
        bench.settle()
        kept = bench.rows(bench.keys.commits_range())
        operator.delete_restore_point(point.id)
        bench.settle()
        assert len(bench.rows(bench.keys.commits_range())) == len(kept) - 1
        assert bench.contents(6) == bench.model[6]

    bench.run(script)


def test_a_day_of_an_operator(bench: Bench) -> None:
    """Restore points, forks and rollbacks, with compaction and reclaim between all of them."""

    def script() -> None:
        operator = Operator(bench.depot)

        def compact() -> None:
            for database in ("main", "copy"):
                if bench.core.view(database).branch(bench.core.store.snapshot()) is not None:
                    Operator(bench.depot, database=database).force_compaction()
            bench.settle()

        bench.commits(4)
        point = operator.make_restore_point()
        kept = bench.model[4]
        bench.commits(4)
        compact()
        operator.fork("copy", AtRestorePoint(point.id))
        last_ms = bench.core.now_ms
        bench.sleep(bench.settings.pitr_interval_ms * MS)
        bench.commits(4)
        compact()
        snapshot = bench.core.store.snapshot()
        copy = bench.core.view("copy").branch(snapshot)
        assert bench.core.sources.contents(snapshot, copy, 4) == kept
        operator.delete_restore_point(point.id)
        compact()
        assert bench.core.sources.contents(bench.core.store.snapshot(), copy, 4) == kept
        operator.rollback(AtTime(last_ms))
        assert bench.contents(8) == bench.model[8]

    bench.run(script)
