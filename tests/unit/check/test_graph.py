"""The graph of what comes before what: its knots, and the shortest way round."""

import random

import pytest

from simkit.check.graph import Graph


def graph(transactions: int, *edges: tuple[int, int], between: int = 0) -> Graph[str]:
    made: Graph[str] = Graph(transactions)
    for _ in range(between):
        made.add_node()
    for source, target in edges:
        made.add_edge(source, target, f"{source}-{target}" if source < transactions else None)
    return made


def test_order_without_a_cycle_has_no_knots() -> None:
    assert graph(4, (0, 1), (1, 2), (0, 3), (3, 2)).knots() == []


def test_each_knot_is_told_once() -> None:
    assert graph(6, (0, 1), (1, 0), (1, 2), (2, 3), (3, 4), (4, 2), (4, 5)).knots() == [[0, 1], [2, 3, 4]]


def test_shortest_cycle_has_the_fewest_transactions() -> None:
    made = graph(5, (0, 1), (1, 2), (2, 3), (3, 0), (2, 4), (4, 2))
    assert made.shortest_cycle([0, 1, 2, 3, 4]) == [(2, "2-4"), (4, "4-2")]


def test_nodes_between_cost_nothing_and_pass_the_reason_on() -> None:
    made = graph(3, (0, 3), (3, 4), (4, 5), (5, 1), (1, 0), (1, 2), (2, 0), between=3)
    assert made.shortest_cycle([0, 1, 2, 3, 4, 5]) == [(0, "0-3"), (1, "1-0")]


def test_nothing_comes_before_itself() -> None:
    with pytest.raises(AssertionError, match="before itself"):
        graph(1, (0, 0))


def test_long_chain_needs_no_stack() -> None:
    length = 20_000
    made = graph(length, *((node, node + 1) for node in range(length - 1)), (length - 1, 0))
    (knot,) = made.knots()
    assert len(knot) == length
    assert len(made.shortest_cycle(knot)) == length


def reaches(edges: set[tuple[int, int]], source: int, target: int) -> bool:
    found, todo = set(), [source]
    while todo:
        node = todo.pop()
        for first, second in sorted(edges):
            if first == node and second not in found:
                found.add(second)
                todo.append(second)
    return target in found


@pytest.mark.parametrize("seed", range(40))
def test_knots_are_what_reaches_each_other(seed: int) -> None:
    numbers = random.Random(seed)
    pairs = [(numbers.randrange(8), numbers.randrange(8)) for _ in range(numbers.randint(3, 16))]
    edges = {(first, second) for first, second in pairs if first != second}
    knots = graph(8, *sorted(edges)).knots()
    expected = {
        frozenset(
            other
            for other in range(8)
            if other == node or (reaches(edges, node, other) and reaches(edges, other, node))
        )
        for node in range(8)
    }
    assert {frozenset(knot) for knot in knots} == {members for members in expected if len(members) > 1}
