"""Predictor, planner and what comes of both: runs, chains, scans up and down, page classes."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.vfs.planner import Direction, Planner
from simkit.vfs.predictor import Predictor
from simkit.vfs.read_ahead import ReadAhead, is_btree
from simkit.vfs.settings import PROFILES, VfsSettings

MERGE = PROFILES["merge"]
SIZE = 1_230


def trained(*pages: int) -> Predictor:
    predictor = Predictor()
    for page in pages:
        predictor.record(page)
    return predictor


def test_nothing_is_predicted_from_one_page() -> None:
    assert trained(7).predict(7, 64, SIZE) == []
    assert trained().predict(7, 64, SIZE) == []


def test_first_step_alone_is_no_run() -> None:
    assert trained(7, 8).predict(8, 64, SIZE) == []


def test_run_of_equal_steps_goes_on() -> None:
    assert trained(7, 8, 9).predict(9, 3, SIZE) == [10, 11, 12]
    assert trained(10, 14, 18).predict(18, 3, SIZE) == [22, 26, 30]


def test_run_ends_with_the_database() -> None:
    assert trained(7, 8, 9).predict(9, 64, 12) == [10, 11, 12]


def test_chain_follows_the_most_frequent_successor() -> None:
    # +1 +10 +1 +10 ...: after +1 comes +10, after +10 comes +1
    assert trained(1, 2, 12, 13, 23, 24).predict(24, 4, SIZE) == [34, 35, 45, 46]


def test_equally_frequent_successors_give_the_smaller_step() -> None:
    # +1 was followed by +5 once and by +3 once
    assert trained(1, 2, 7, 8, 11, 12).predict(12, 1, SIZE) == [15]
    assert trained(1, 2, 5, 6, 11, 12).predict(12, 1, SIZE) == [15]


def test_descending_steps_go_through_the_chain_only() -> None:
    assert trained(100, 99, 98).predict(98, 3, SIZE) == [97, 96, 95]
    assert trained(100, 99, 98).predict(98, 3, SIZE, ascending_only=True) == []


def test_chain_ends_at_the_border_and_where_nothing_is_known() -> None:
    assert trained(30, 20, 10).predict(10, 3, SIZE) == []
    assert trained(1, 2, 12).predict(12, 3, SIZE) == []


def test_same_page_again_is_a_step_of_nothing() -> None:
    assert trained(5, 5, 5).predict(5, 3, SIZE) == [5]


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 40), st.integers(0, 70))
def test_predictions_are_pages_without_repetition(pages: list[int], size: int, depth: int) -> None:
    seed = pages[-1] if pages else 1
    predicted = trained(*pages).predict(seed, depth, size)
    assert len(predicted) <= depth
    assert len(set(predicted)) == len(predicted)
    assert all(1 <= page <= size for page in predicted)


@given(st.lists(st.integers(1, 12), min_size=3, max_size=60))
def test_best_successor_is_that_of_counting(pages: list[int]) -> None:
    steps = [after - before for before, after in itertools.pairwise(pages)]
    follows = [after for before, after in itertools.pairwise(steps) if before == steps[-1]]
    if not follows:
        return
    expected = min(set(follows), key=lambda step: (-follows.count(step), step))
    assert trained(*pages)._best[steps[-1]] == expected


def planned(planner: Planner, *pages: int) -> tuple[Direction, int, int]:
    for page in pages[:-1]:
        planner.record(page)
    plan = planner.plan((pages[-1],))
    return plan.direction, plan.depth, plan.seed


def test_scan_is_recognised_after_three_steps_and_sure_after_five() -> None:
    planner = Planner(64, adaptive=True, backward=False)
    assert planned(planner, 10, 11, 12) == (Direction.NONE, 64, 12)
    assert planned(planner, 13) == (Direction.FORWARD, 128, 13)
    assert planned(planner, 14) == (Direction.FORWARD, 128, 14)
    assert planned(planner, 15) == (Direction.FORWARD, 256, 15)


def test_steps_of_more_than_eight_pages_are_no_scan() -> None:
    assert planned(Planner(64, adaptive=True, backward=False), *range(10, 100, 9)) == (Direction.NONE, 64, 91)
    assert planned(Planner(64, adaptive=True, backward=False), *range(10, 100, 8))[0] is Direction.FORWARD


def test_leaf_and_overflow_pages_in_turn_are_no_scan() -> None:
    pages = [page for leaf in range(2, 40) for page in (leaf, leaf + 18)]
    assert planned(Planner(64, adaptive=True, backward=False), *pages)[0] is Direction.NONE


def test_scan_survives_a_look_elsewhere() -> None:
    planner = Planner(64, adaptive=True, backward=False)
    for page in (*range(10, 20), 900):
        planner.record(page)
    assert planned(planner, 20) == (Direction.FORWARD, 256, 20)


def test_backward_scan_only_if_asked_for() -> None:
    assert planned(Planner(64, adaptive=True, backward=True), *range(100, 90, -1)) == (Direction.BACKWARD, 256, 91)
    assert planned(Planner(64, adaptive=True, backward=False), *range(100, 90, -1)) == (Direction.NONE, 64, 91)


def test_bounded_never_scans() -> None:
    assert planned(Planner(64, adaptive=False, backward=True), *range(10, 60)) == (Direction.NONE, 64, 59)


def fetches(settings: VfsSettings, *misses: int, size: int = SIZE) -> list[int]:
    """Pages that each miss fetches, itself included."""
    read_ahead = ReadAhead(settings, 4_096)
    return [1 + len(read_ahead.predict((page,), 1, size).pages) for page in misses]


def test_forward_range_fetches_more_and_more() -> None:
    # The end of the published `rowid-range-forward`: 17, 18, 19, 83, 339, 595, 851, 1108.
    read_ahead = ReadAhead(MERGE, 4_096)
    fetched = []
    page = 17
    while page <= SIZE:
        fetched.append((page, 1 + len(read_ahead.predict((page,), 1, SIZE).pages)))
        last = page + fetched[-1][1] - 1
        read_ahead.train(range(page + 1, last + 1))
        page = last + 1
    assert fetched == [(17, 1), (18, 1), (19, 64), (83, 256), (339, 256), (595, 256), (851, 256), (1_107, 124)]


def test_backward_scan_takes_the_pages_right_below() -> None:
    read_ahead = ReadAhead(MERGE, 4_096)
    read_ahead.train(range(600, 500, -1))
    prediction = read_ahead.predict((500,), 1, SIZE)
    assert prediction.scan
    assert list(prediction.pages) == list(range(499, 244, -1))


def test_large_pages_make_the_budget_small() -> None:
    read_ahead = ReadAhead(MERGE, 65_536)
    read_ahead.train(range(1, 50))
    assert len(read_ahead.predict((50,), 1, SIZE).pages) == 15  # 1 MiB in all


def test_read_ahead_modes_differ_in_depth() -> None:
    lengths = {
        mode: fetches(replace(MERGE, read_ahead=mode), *range(10, 22))[-1]
        for mode in ("none", "legacy", "bounded", "adaptive")
    }
    assert lengths == {"none": 1, "legacy": 17, "bounded": 64, "adaptive": 256}


def test_page_classes_are_followed_apart() -> None:
    trace = [page for leaf in range(2, 40) for page in (leaf, -(leaf + 400))]
    apart = ReadAhead(replace(MERGE, page_classes=True), 4_096)
    apart.train(trace)
    assert list(apart.predict((40,), 1, SIZE).pages)[:3] == [41, 42, 43]
    mixed = ReadAhead(MERGE, 4_096)
    mixed.train(trace)
    assert not mixed.predict((40,), 1, SIZE).scan


@pytest.mark.parametrize("kind", [2, 5, 10, 13])
def test_btree_pages_are_told_by_their_first_byte(kind: int) -> None:
    assert is_btree(7, bytes([kind, 0]))
    assert not is_btree(7, bytes([0, kind]))
    assert is_btree(1, b"SQLite format 3")
