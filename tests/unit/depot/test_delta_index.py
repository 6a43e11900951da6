"""Which commit wrote a page last: the index says what a look into every delta says, to old readers, too."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.depot.blobs import Blobs
from simkit.depot.delta_index import DeltaIndex
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import KeyValueStore
from simkit.depot.ltx import encode_ltx

KEYS = BranchKeys((1).to_bytes(16, "big"))
PAGE = 512


class Deltas:
    """The deltas of one branch, and who asks for them."""

    def __init__(self) -> None:
        self.store = KeyValueStore()
        self.blobs = CountedBlobs()
        self.index = DeltaIndex(self.blobs)
        self.head = 0

    def commit(self, *numbers: int, lost: bool = False) -> None:
        self.head += 1
        blob = encode_ltx(self.head, 9, PAGE, {number: bytes(PAGE) for number in sorted(set(numbers))})
        self.write(self.head, None if lost else blob)

    def write(self, txid: int, blob: bytes | None) -> None:
        with self.store.begin() as transaction:
            key = KEYS.delta(txid, 0)
            transaction.clear(key) if blob is None else transaction.set(key, blob)
            transaction.set(b"\xf0", b"%d" % txid)
            transaction.commit()

    def newest(self, number: int, watermark: int = 0, cap: int | None = None, reader: Any = None) -> int | None:
        readable = self.store.snapshot() if reader is None else reader
        return self.index.newest(readable, KEYS, number, watermark, self.head if cap is None else cap)

    def by_looking(self, reader: Any, number: int, watermark: int, cap: int) -> int | None:
        for txid in range(cap, watermark, -1):
            pages = Blobs().delta(reader, KEYS, txid)
            if pages is None or number in pages:
                return txid
        return None


class CountedBlobs(Blobs):
    looks = 0

    def delta(self, readable: Any, keys: BranchKeys, txid: int) -> Any:
        self.looks += 1
        return super().delta(readable, keys, txid)


@pytest.fixture
def deltas() -> Deltas:
    return Deltas()


def test_the_newest_commit_with_the_page_up_to_the_cap(deltas: Deltas) -> None:
    for numbers in ((1, 2), (2,), (3,), (2, 3)):
        deltas.commit(*numbers)
    assert [deltas.newest(number) for number in (1, 2, 3, 4)] == [1, 4, 4, None]
    assert [deltas.newest(number, cap=3) for number in (1, 2, 3)] == [1, 2, 3]
    assert [deltas.newest(number, watermark=2, cap=3) for number in (1, 2, 3)] == [None, None, 3]
    assert deltas.newest(1, watermark=4) is None


def test_each_delta_is_looked_into_once(deltas: Deltas) -> None:
    for txid in range(1, 51):
        deltas.commit(1)
        for number in range(1, 9):
            deltas.newest(number, watermark=txid // 2)
    assert deltas.blobs.looks == 50


@pytest.mark.parametrize("content", [None, b"damaged"])
def test_a_lost_delta_may_have_had_the_page(deltas: Deltas, content: bytes | None) -> None:
    deltas.commit(1)
    deltas.commit(2)
    deltas.write(2, content)
    deltas.commit(3)
    assert [deltas.newest(number) for number in (1, 2, 3)] == [2, 2, 3]
    assert deltas.newest(1, cap=1) == 1
    assert [deltas.newest(number, watermark=2) for number in (1, 2, 3)] == [None, None, 3]


def test_a_transaction_from_before_the_watermark_moved(deltas: Deltas) -> None:
    deltas.commit(1)
    deltas.commit(2)
    before = deltas.store.begin()
    deltas.commit(3)
    assert deltas.newest(1, watermark=2) is None
    deltas.write(1, None)
    assert deltas.newest(1, cap=2, reader=before) == 1
    assert deltas.newest(3, watermark=2) == 3


def test_a_watermark_far_beyond_what_was_asked_about(deltas: Deltas) -> None:
    deltas.commit(1)
    assert deltas.newest(1) == 1
    for _ in range(3):
        deltas.commit(1)
    for txid in (1, 2, 3):
        deltas.write(txid, None)
    assert deltas.newest(1, watermark=3) == 4
    assert deltas.newest(2, watermark=3) is None


STEP = st.one_of(
    st.tuples(st.just("commit"), st.sets(st.integers(1, 6), min_size=1), st.sampled_from([False] * 5 + [True])),
    st.tuples(st.just("fold"), st.integers(0, 9), st.booleans()),
    st.tuples(st.just("ask"), st.integers(0, 9), st.integers(0, 9)),
)


@given(st.lists(STEP, max_size=30))
def test_it_says_what_a_look_into_every_delta_says(steps: list[tuple[str, Any, Any]]) -> None:
    deltas, watermark = Deltas(), 0
    #: transactions with the watermark and the head that they see
    readers = [(deltas.store.begin(), 0, 0)]
    for kind, first, second in steps:
        if kind == "commit":
            deltas.commit(*first, lost=second)
        elif kind == "fold":
            old, watermark = watermark, min(watermark + first, deltas.head)
            for txid in range(old + 1, watermark + 1) if second else ():
                deltas.write(txid, None)
        else:
            reader, floor, head = readers[-1 - first % min(len(readers), 4)]
            cap = max(head - second, 0)
            for number in range(1, 7):
                expected = deltas.by_looking(reader, number, floor, cap)
                assert deltas.newest(number, floor, cap, reader) == expected
        readers.append((deltas.store.begin(), watermark, deltas.head))
