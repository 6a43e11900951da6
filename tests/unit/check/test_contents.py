"""The contents of versions, told from commits: each version has the checksum of its pages, whatever came later."""

from __future__ import annotations

import random

import pytest

from simkit.check.contents import Contents, checksum_of, page_hash

Model = dict[int, dict[int, bytes]]


def grown(seed: int, contents: Contents, commits: int) -> Model:
    """Random commits on branch 1, that grow and shrink it, and what the database is after each."""
    draw = random.Random(seed)
    model: Model = {0: {}}
    for txid in range(1, commits + 1):
        old = model[txid - 1]
        size = draw.randint(1, 9)
        wanted = {draw.randint(1, size) for _ in range(2)} | set(range(len(old) + 1, size + 1))
        pages = {number: draw.randbytes(8) for number in sorted(wanted)}
        model[txid] = {number: page for number, page in {**old, **pages}.items() if number <= size}
        contents.commit(1, txid, size, pages)
    return model


@pytest.mark.parametrize("seed", range(10))
def test_every_version_has_the_checksum_of_its_pages(seed: int) -> None:
    contents = Contents()
    model = grown(seed, contents, 20)
    assert all(contents.checksum(1, txid) == checksum_of(model[txid]) for txid in range(1, 21))
    assert contents.is_latest(1, 20, model[20])


@pytest.mark.parametrize("seed", range(10))
def test_pages_that_differ_are_named(seed: int) -> None:
    contents = Contents()
    model = grown(seed, contents, 20)
    assert all(contents.differing(1, txid, model[txid]) == [] for txid in range(1, 21))
    wrong = {**model[10], 1: b"another", 50: b"beyond"}
    last = max(model[10])
    if last > 1:
        del wrong[last]
        assert contents.differing(1, 10, wrong) == [1, last, 50]


@pytest.mark.parametrize("start", [3, 12, 20])
def test_derived_branch_begins_with_what_its_parent_had(start: int) -> None:
    contents = Contents()
    model = grown(5, contents, 20)
    contents.derive(2, 1, start)
    assert contents.checksum(2, start) == checksum_of(model[start])
    size = len(model[start])
    contents.commit(2, start + 1, size, {1: b"own"})
    assert contents.checksum(2, start + 1) == checksum_of({**model[start], 1: b"own"})
    assert contents.checksum(1, 20) == checksum_of(model[20])


def test_copy_goes_its_own_way() -> None:
    contents = Contents()
    contents.commit(1, 1, 2, {1: b"a", 2: b"b"})
    known = contents.checksum(1, 1)
    twin = contents.copy()
    twin.commit(1, 2, 2, {1: b"c"})
    contents.commit(1, 2, 1, {1: b"d"})
    assert twin.checksum(1, 2) == checksum_of({1: b"c", 2: b"b"})
    assert contents.checksum(1, 2) == checksum_of({1: b"d"})
    assert twin.checksum(1, 1) == contents.checksum(1, 1) == known


def test_versions_that_are_forgotten_are_unknown_and_the_others_stay() -> None:
    contents = Contents()
    model = grown(3, contents, 200)
    contents.forget(1, [150, 170])
    assert contents.checksum(1, 149) is None
    assert all(contents.checksum(1, txid) == checksum_of(model[txid]) for txid in range(150, 201))
    assert contents.differing(1, 150, model[150]) == []


def test_page_of_another_number_is_another_page() -> None:
    assert page_hash(1, b"same") != page_hash(2, b"same")
    assert checksum_of({1: b"a", 2: b"b"}) != checksum_of({1: b"b", 2: b"a"})


def test_nothing_is_known_of_a_branch_that_was_never_seen() -> None:
    contents = Contents()
    assert contents.checksum(7, 1) is None
    assert contents.shard_problem(7, 1, {1: b"x"}) is None


def test_shard_is_compared_page_by_page() -> None:
    contents = Contents()
    contents.commit(1, 1, 2, {1: b"a", 2: b"b"})
    contents.commit(1, 2, 2, {2: b"c"})
    assert contents.shard_problem(1, 1, {1: b"a", 2: b"b"}) == ""
    assert contents.shard_problem(1, 2, {1: b"a", 2: b"b"}) == "page 2 (of 1) is not what was committed"


@pytest.mark.parametrize("parent", [1, 7])
def test_branch_derived_from_what_was_forgotten_stays_unknown(parent: int) -> None:
    contents = Contents()
    grown(3, contents, 200)
    contents.forget(1, [150, 170])
    contents.derive(2, parent, 20)
    assert 2 in contents
    contents.commit(2, 21, 3, {2: b"own"})
    for known in (contents, contents.copy()):
        assert known.checksum(2, 21) is None
        assert not known.is_latest(2, 21, {2: b"own"})
        assert known.shard_problem(2, 21, {1: b"x", 2: b"own"}) is None
    contents.derive(3, 2, 21)
    contents.commit(3, 22, 3, {2: b"later"})
    assert contents.checksum(3, 22) is None
