"""The store against a naive model that keeps every version whole.

Many transactions are open at once over an image and an overlay; every read, every commit and every refusal must be what
the model says. The model is slow and obvious on purpose: full copies, full lists of what each commit wrote.
"""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from simkit.depot.kv import Conflict, KeyValueStore, Transaction, decode_counter, encode_counter, stamp_of

# Few keys, so that transactions meet: with many, refusals and hand-overs of old values are hardly ever reached.
NAMES = st.sampled_from([b"a", b"b", b"b1", b"c", b"e2"])
COUNTERS = st.just(b"x1")
SMALLEST = st.just(b"y1")
KEYS = st.one_of(NAMES, COUNTERS, SMALLEST)
EDGES = st.sampled_from([b"a", b"b", b"b1", b"c", b"d", b"z"])
VALUES = st.binary(min_size=1, max_size=2)
WHICH = st.integers(min_value=0, max_value=5)
OPEN_TRANSACTIONS_MAX = 5

Content = dict[bytes, bytes]
Effect = Callable[[Content, bytes], None]


class ModelTransaction:
    """One open transaction beside its model: the effects to replay and what was read."""

    def __init__(self, real: Transaction, read_version: int) -> None:
        self.real = real
        self.read_version = read_version
        self.effects: list[Effect] = []
        self.fixed: set[bytes] = set()
        self.cleared: list[tuple[bytes, bytes]] = []
        self.written: set[bytes] = set()
        self.read_keys: list[bytes] = []
        self.read_ranges: list[tuple[bytes, bytes]] = []

    def fixes(self, key: bytes) -> bool:
        return key in self.fixed or any(begin <= key < end for begin, end in self.cleared)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = KeyValueStore()
        self.contents: dict[int, Content] = {0: {}}
        self.commits: list[tuple[int, set[bytes], list[tuple[bytes, bytes]]]] = []
        self.open: list[ModelTransaction] = []

    @initialize(rows=st.dictionaries(NAMES, VALUES, max_size=12))
    def start_over_an_image(self, rows: Content) -> None:
        writer = self.store.begin()
        for key, value in rows.items():
            writer.set(key, value)
        version = writer.commit()
        self.store = KeyValueStore(self.store.image())
        self.contents = {version: dict(rows)}

    def pick(self, which: int) -> ModelTransaction:
        return self.open[which % len(self.open)]

    def seen_by(self, transaction: ModelTransaction) -> Content:
        content = dict(self.contents[transaction.read_version])
        for effect in transaction.effects:
            effect(content, stamp_of(0))
        return content

    @precondition(lambda self: len(self.open) < OPEN_TRANSACTIONS_MAX)
    @rule()
    def begin(self) -> None:
        real = self.store.begin()
        assert real.read_version == self.store.version
        self.open.append(ModelTransaction(real, self.store.version))

    @precondition(lambda self: self.open)
    @rule(which=WHICH, key=KEYS, snapshot=st.booleans())
    def get(self, which: int, key: bytes, snapshot: bool) -> None:
        transaction = self.pick(which)
        assert transaction.real.get(key, snapshot=snapshot) == self.seen_by(transaction).get(key)
        if not snapshot and not transaction.fixes(key):
            transaction.read_keys.append(key)

    @precondition(lambda self: self.open)
    @rule(
        which=WHICH,
        edges=st.tuples(EDGES, EDGES),
        snapshot=st.booleans(),
        limit=st.one_of(st.none(), st.integers(min_value=0, max_value=6)),
        reverse=st.booleans(),
    )
    def get_range(
        self, which: int, edges: tuple[bytes, bytes], snapshot: bool, limit: int | None, reverse: bool
    ) -> None:
        transaction = self.pick(which)
        begin, end = min(edges), max(edges)
        rows = transaction.real.get_range(begin, end, snapshot=snapshot, limit=limit, reverse=reverse)
        content = self.seen_by(transaction)
        expected = sorted((row for row in content.items() if begin <= row[0] < end), reverse=reverse)[:limit]
        assert rows == expected
        if snapshot or begin == end or limit == 0:
            return
        if limit is not None and len(rows) == limit:
            begin, end = (rows[-1][0], end) if reverse else (begin, rows[-1][0] + b"\x00")
        transaction.read_ranges.append((begin, end))

    @precondition(lambda self: self.open)
    @rule(which=WHICH, key=NAMES, value=VALUES)
    def set(self, which: int, key: bytes, value: bytes) -> None:
        transaction = self.pick(which)
        transaction.real.set(key, value)
        transaction.effects.append(lambda content, _: content.update({key: value}))
        transaction.fixed.add(key)
        transaction.written.add(key)

    @precondition(lambda self: self.open)
    @rule(which=WHICH, key=KEYS)
    def clear(self, which: int, key: bytes) -> None:
        transaction = self.pick(which)
        transaction.real.clear(key)

        def effect(content: Content, stamp: bytes) -> None:
            content.pop(key, None)

        transaction.effects.append(effect)
        transaction.fixed.add(key)
        transaction.written.add(key)

    @precondition(lambda self: self.open)
    @rule(which=WHICH, edges=st.tuples(EDGES, EDGES))
    def clear_range(self, which: int, edges: tuple[bytes, bytes]) -> None:
        transaction = self.pick(which)
        begin, end = min(edges), max(edges)
        transaction.real.clear_range(begin, end)
        if begin == end:
            return

        def effect(content: Content, stamp: bytes) -> None:
            for key in [key for key in content if begin <= key < end]:
                del content[key]

        transaction.effects.append(effect)
        transaction.cleared.append((begin, end))

    @precondition(lambda self: self.open)
    @rule(which=WHICH, key=COUNTERS, delta=st.sampled_from([1, -1, 5, 2**63 - 1, -(2**63)]))
    def add(self, which: int, key: bytes, delta: int) -> None:
        transaction = self.pick(which)
        transaction.real.add(key, delta)

        def effect(content: Content, stamp: bytes) -> None:
            content[key] = encode_counter(decode_counter(content.get(key)) + delta)

        transaction.effects.append(effect)
        transaction.written.add(key)

    @precondition(lambda self: self.open)
    @rule(which=WHICH, key=SMALLEST, value=VALUES)
    def byte_min(self, which: int, key: bytes, value: bytes) -> None:
        transaction = self.pick(which)
        transaction.real.byte_min(key, value)
        transaction.effects.append(lambda content, _: content.update({key: min(value, content.get(key, value))}))
        transaction.written.add(key)

    @rule(key=NAMES, edges=st.tuples(EDGES, EDGES), value=VALUES, kind=st.sampled_from(["set", "clear", "range"]))
    def change_under_the_open_transactions(
        self, key: bytes, edges: tuple[bytes, bytes], value: bytes, kind: str
    ) -> None:
        self.open.append(ModelTransaction(self.store.begin(), self.store.version))
        newest = len(self.open) - 1
        if kind == "set":
            self.set(newest, key, value)
        elif kind == "clear":
            self.clear(newest, key)
        else:
            self.clear_range(newest, edges)
        self.commit(newest, "none")

    @precondition(lambda self: self.open)
    @rule(which=WHICH, stamped=st.sampled_from(["key", "value", "none"]))
    def commit(self, which: int, stamped: str) -> None:
        transaction = self.open.pop(which % len(self.open))
        if stamped == "key":
            transaction.real.set_versionstamped_key(b"s/", b"!", b"stamped")
            transaction.effects.append(lambda content, stamp: content.update({b"s/" + stamp + b"!": b"stamped"}))
            transaction.written.add(b"s/" + stamp_of(self.store.version + 1) + b"!")
        elif stamped == "value":
            transaction.real.set_versionstamped_value(b"e2", b"<", b">")
            transaction.effects.append(lambda content, stamp: content.update({b"e2": b"<" + stamp + b">"}))
            transaction.written.add(b"e2")
        before = self.store.version
        if self.conflicts(transaction):
            with pytest.raises(Conflict) as caught:
                transaction.real.commit()
            assert caught.value.read_version == transaction.read_version
            assert transaction.read_version < caught.value.committed_version <= before
            assert self.store.version == before
            return
        version = transaction.real.commit()
        if not transaction.effects:
            assert version == transaction.read_version
            assert self.store.version == before
            return
        assert version == self.store.version == before + 1
        content = dict(self.contents[before])
        cleared_keys = {key for key in content if any(low <= key < high for low, high in transaction.cleared)}
        for effect in transaction.effects:
            effect(content, transaction.real.versionstamp)
        self.contents[version] = content
        self.commits.append((version, transaction.written | cleared_keys, transaction.cleared))

    def conflicts(self, transaction: ModelTransaction) -> bool:
        """Tell whether a later commit wrote what was read. Writes that a clear of their own undid do count."""
        if not transaction.effects:
            return False
        for version, keys, cleared in self.commits:
            if version <= transaction.read_version:
                continue
            for key in transaction.read_keys:
                if key in keys or any(begin <= key < end for begin, end in cleared):
                    return True
            for begin, end in transaction.read_ranges:
                if any(begin <= key < end for key in keys):
                    return True
                if any(low < end and begin < high for low, high in cleared):
                    return True
        return False

    @precondition(lambda self: self.open)
    @rule(which=WHICH)
    def abandon(self, which: int) -> None:
        self.open.pop(which % len(self.open)).real.abandon()

    @precondition(lambda self: not self.open)
    @rule()
    def restart_over_a_new_image(self) -> None:
        self.store = KeyValueStore(self.store.image())

    @invariant()
    def the_snapshot_is_the_newest_content(self) -> None:
        content = self.contents[self.store.version]
        assert self.store.snapshot().get_range(b"", b"\xff") == sorted(content.items())

    @invariant()
    def every_open_transaction_still_reads_its_version(self) -> None:
        for transaction in self.open:
            content = self.seen_by(transaction)
            assert transaction.real.get_range(b"", b"\xff", snapshot=True) == sorted(content.items())
            for key in (b"a", b"b", b"b1", b"x1"):
                assert transaction.real.get(key, snapshot=True) == content.get(key)

    @invariant()
    def the_image_is_the_newest_content(self) -> None:
        image = self.store.image()
        assert dict(image.content()) == self.contents[self.store.version]

    @invariant()
    def kept_values_are_bounded_by_readers_and_vanish_with_them(self) -> None:
        statistics = self.store.statistics()
        assert statistics.active_transactions == len(self.open)
        assert statistics.read_versions == len({transaction.read_version for transaction in self.open})
        if not self.open:
            assert statistics.kept_values == statistics.kept_ranges == 0


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=300, stateful_step_count=50, deadline=None, derandomize=True)
