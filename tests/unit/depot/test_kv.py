"""The key-value store, rule by rule: what fires and what stays silent."""

import pickle

import pytest

from simkit.depot.kv import (
    Conflict,
    KeyTooLarge,
    KeyValueStore,
    NotACounter,
    StaleSnapshot,
    StampUnknown,
    StampUnreadable,
    StoreError,
    StoreLimits,
    Transaction,
    TransactionEnded,
    TransactionTooLarge,
    ValueTooLarge,
    decode_counter,
    encode_counter,
    stamp_of,
)


def put(store: KeyValueStore, **rows: bytes) -> int:
    transaction = store.begin()
    for key, value in rows.items():
        transaction.set(key.encode(), value)
    return transaction.commit()


def read(store: KeyValueStore, key: bytes) -> bytes | None:
    return store.snapshot().get(key)


def store_of(**rows: bytes) -> KeyValueStore:
    store = KeyValueStore()
    put(store, **rows)
    return store


def over_image(**rows: bytes) -> KeyValueStore:
    return KeyValueStore(store_of(**rows).image())


# Versions and images


def test_a_new_store_is_at_version_0() -> None:
    assert KeyValueStore().version == 0


def test_a_commit_returns_the_next_version() -> None:
    assert put(KeyValueStore(), a=b"1") == 1


def test_a_commit_advances_the_store_version() -> None:
    assert store_of(a=b"1").version == 1


def test_a_read_only_commit_does_not_advance_the_version() -> None:
    store = store_of(a=b"1")
    transaction = store.begin()
    transaction.get(b"a")
    assert (transaction.commit(), store.version) == (1, 1)


def test_a_store_over_an_image_starts_at_its_version() -> None:
    assert over_image(a=b"1").version == 1


def test_a_store_over_an_image_reads_its_rows() -> None:
    assert read(over_image(a=b"1"), b"a") == b"1"


def test_an_overlay_value_hides_the_image_value() -> None:
    store = over_image(a=b"1")
    put(store, a=b"2")
    assert read(store, b"a") == b"2"


def test_a_clear_hides_the_image_value() -> None:
    store = over_image(a=b"1")
    with store.begin() as transaction:
        transaction.clear(b"a")
        transaction.commit()
    assert read(store, b"a") is None


def test_a_commit_over_an_image_leaves_the_image_unchanged() -> None:
    image = store_of(a=b"1").image()
    put(KeyValueStore(image), a=b"2")
    assert image.get(b"a") == b"1"


def test_two_stores_over_one_image_do_not_see_each_other() -> None:
    image = store_of(a=b"1").image()
    put(KeyValueStore(image), a=b"2")
    assert read(KeyValueStore(image), b"a") == b"1"


def test_an_image_of_an_untouched_overlay_is_the_base_itself() -> None:
    image = store_of(a=b"1").image()
    assert KeyValueStore(image).image() is image


def test_an_image_leaves_cleared_rows_out() -> None:
    store = over_image(a=b"1", b=b"2")
    with store.begin() as transaction:
        transaction.clear(b"a")
        transaction.commit()
    assert store.image().content() == {b"b": b"2"}


def test_an_image_ignores_uncommitted_writes() -> None:
    store = store_of(a=b"1")
    with store.begin() as transaction:
        transaction.set(b"a", b"2")
        assert store.image().get(b"a") == b"1"


def test_an_image_counts_its_rows() -> None:
    assert len(store_of(a=b"1", b=b"2").image()) == 2


# Reads


def test_a_missing_key_reads_none() -> None:
    assert KeyValueStore().begin().get(b"a") is None


def test_a_transaction_sees_its_own_set() -> None:
    transaction = KeyValueStore().begin()
    transaction.set(b"a", b"1")
    assert transaction.get(b"a") == b"1"


def test_a_transaction_sees_its_own_clear() -> None:
    transaction = store_of(a=b"1").begin()
    transaction.clear(b"a")
    assert transaction.get(b"a") is None


def test_a_transaction_sees_its_own_range_clear() -> None:
    transaction = store_of(a=b"1").begin()
    transaction.clear_range(b"a", b"b")
    assert transaction.get(b"a") is None


def test_a_set_after_a_range_clear_stands() -> None:
    transaction = store_of(a=b"1").begin()
    transaction.clear_range(b"a", b"b")
    transaction.set(b"a", b"2")
    assert transaction.get(b"a") == b"2"


def test_a_range_clear_after_a_set_removes_it() -> None:
    store = KeyValueStore()
    transaction = store.begin()
    transaction.set(b"a", b"1")
    transaction.clear_range(b"a", b"b")
    transaction.commit()
    assert read(store, b"a") is None


def test_a_transaction_sees_its_own_add_over_the_stored_counter() -> None:
    transaction = store_of(n=encode_counter(5)).begin()
    transaction.add(b"n", 2)
    assert decode_counter(transaction.get(b"n")) == 7


def test_a_transaction_does_not_see_a_later_commit() -> None:
    store = store_of(a=b"1")
    transaction = store.begin()
    put(store, a=b"2")
    assert transaction.get(b"a") == b"1"


def test_a_snapshot_read_does_not_see_a_later_commit() -> None:
    store = store_of(a=b"1")
    transaction = store.begin()
    put(store, a=b"2")
    assert transaction.get(b"a", snapshot=True) == b"1"


def test_a_range_read_does_not_see_a_later_commit() -> None:
    store = store_of(a=b"1", c=b"3")
    transaction = store.begin()
    put(store, a=b"9", b=b"2")
    assert transaction.get_range(b"a", b"z") == [(b"a", b"1"), (b"c", b"3")]


def test_a_range_read_sees_a_row_that_a_later_commit_cleared() -> None:
    store = store_of(a=b"1")
    transaction = store.begin()
    with store.begin() as other:
        other.clear(b"a")
        other.commit()
    assert transaction.get_range(b"a", b"z") == [(b"a", b"1")]


def test_each_of_several_readers_sees_its_own_version() -> None:
    store = store_of(a=b"1")
    readers = []
    for value in (b"2", b"3", b"4"):
        readers.append(store.begin())
        put(store, a=value)
    assert [reader.get(b"a") for reader in readers] == [b"1", b"2", b"3"]


def test_an_older_reader_keeps_its_value_when_a_newer_reader_ends() -> None:
    store = store_of(a=b"1")
    older = store.begin()
    put(store, b=b"2")
    newer = store.begin()
    put(store, a=b"3")
    newer.abandon()
    assert older.get(b"a") == b"1"


def test_an_older_reader_keeps_its_own_value_when_a_newer_one_hands_over() -> None:
    store = store_of(a=b"1")
    older = store.begin()
    put(store, a=b"2")
    newer = store.begin()
    put(store, a=b"3")
    newer.abandon()
    assert older.get(b"a") == b"1"


def test_the_read_version_is_the_version_at_begin() -> None:
    store = store_of(a=b"1")
    transaction = store.begin()
    put(store, a=b"2")
    assert transaction.read_version == 1


# Range scans


def test_a_range_is_half_open() -> None:
    assert store_of(a=b"1", b=b"2").begin().get_range(b"a", b"b") == [(b"a", b"1")]


def test_a_range_merges_image_and_overlay_in_key_order() -> None:
    store = over_image(a=b"1", c=b"3", e=b"5")
    put(store, b=b"2", c=b"9", f=b"6")
    rows = store.begin().get_range(b"", b"z")
    assert rows == [(b"a", b"1"), (b"b", b"2"), (b"c", b"9"), (b"e", b"5"), (b"f", b"6")]


def test_a_reverse_range_runs_against_key_order() -> None:
    store = over_image(a=b"1", c=b"3")
    put(store, b=b"2")
    assert [key for key, _ in store.begin().get_range(b"", b"z", reverse=True)] == [b"c", b"b", b"a"]


def test_a_limited_range_stops_at_the_limit() -> None:
    store = over_image(a=b"1", c=b"3")
    put(store, b=b"2")
    assert [key for key, _ in store.begin().get_range(b"", b"z", limit=2)] == [b"a", b"b"]


def test_a_limited_reverse_range_takes_the_last_rows() -> None:
    store = over_image(a=b"1", c=b"3")
    put(store, b=b"2")
    assert [key for key, _ in store.begin().get_range(b"", b"z", limit=2, reverse=True)] == [b"c", b"b"]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("changed", [b"a0", b"b0", b"c0", b"d0", b"0"])
def test_a_limit_may_fall_between_changed_rows(changed: bytes, reverse: bool) -> None:
    store = over_image(a=b"1", b=b"2", c=b"3", d=b"4")
    with store.begin() as transaction:
        transaction.set(changed, b"9")
        transaction.commit()
    every = sorted([b"a", b"b", b"c", b"d", changed], reverse=reverse)
    rows = store.snapshot().get_range(b"", b"z", limit=2, reverse=reverse)
    assert [key for key, _ in rows] == every[:2]


def test_a_limit_does_not_count_cleared_rows() -> None:
    store = over_image(a=b"1", b=b"2", c=b"3")
    transaction = store.begin()
    transaction.clear(b"a")
    assert transaction.get_range(b"", b"z", limit=1) == [(b"b", b"2")]


def test_a_range_merges_own_writes() -> None:
    transaction = over_image(a=b"1", c=b"3").begin()
    transaction.set(b"b", b"2")
    transaction.clear(b"c")
    transaction.add(b"n", 1)
    assert transaction.get_range(b"", b"z") == [(b"a", b"1"), (b"b", b"2"), (b"n", encode_counter(1))]


def test_a_scan_stays_right_when_commits_follow_an_earlier_scan() -> None:
    store = over_image(a=b"1")
    put(store, b=b"2")
    store.snapshot().get_range(b"", b"z")
    put(store, c=b"3")
    with store.begin() as transaction:
        transaction.clear(b"b")
        transaction.commit()
    assert [key for key, _ in store.snapshot().get_range(b"", b"z")] == [b"a", b"c"]


def test_an_empty_range_has_no_rows() -> None:
    assert store_of(a=b"1").begin().get_range(b"a", b"a") == []


def test_an_inverted_range_is_refused() -> None:
    with pytest.raises(ValueError, match="swap them"):
        KeyValueStore().begin().get_range(b"b", b"a")


def test_an_inverted_range_clear_is_refused() -> None:
    with pytest.raises(ValueError, match="swap them"):
        KeyValueStore().begin().clear_range(b"b", b"a")


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="limit is -1"):
        KeyValueStore().begin().get_range(b"a", b"b", limit=-1)


# Conflicts


def begin_with_write(store: KeyValueStore) -> Transaction:
    transaction = store.begin()
    transaction.set(b"own", b"1")
    return transaction


def test_a_key_read_and_then_written_elsewhere_conflicts() -> None:
    store = store_of(a=b"1")
    transaction = begin_with_write(store)
    transaction.get(b"a")
    put(store, a=b"2")
    with pytest.raises(Conflict):
        transaction.commit()


def test_a_missing_key_read_and_then_created_elsewhere_conflicts() -> None:
    store = KeyValueStore()
    transaction = begin_with_write(store)
    transaction.get(b"a")
    put(store, a=b"2")
    with pytest.raises(Conflict):
        transaction.commit()


def test_a_key_read_and_then_cleared_by_range_elsewhere_conflicts_even_when_missing() -> None:
    store = KeyValueStore()
    transaction = begin_with_write(store)
    transaction.get(b"a")
    with store.begin() as other:
        other.clear_range(b"a", b"b")
        other.commit()
    with pytest.raises(Conflict):
        transaction.commit()


def test_a_write_before_the_read_version_does_not_conflict() -> None:
    store = store_of(a=b"1")
    other = store.begin()
    put(store, a=b"2")
    transaction = begin_with_write(store)
    transaction.get(b"a")
    assert transaction.commit() == 3
    other.abandon()


def test_a_write_to_another_key_does_not_conflict() -> None:
    store = store_of(a=b"1")
    transaction = begin_with_write(store)
    transaction.get(b"a")
    put(store, b=b"2")
    assert transaction.commit() == 3


def test_a_snapshot_read_does_not_conflict() -> None:
    store = store_of(a=b"1")
    transaction = begin_with_write(store)
    transaction.get(b"a", snapshot=True)
    put(store, a=b"2")
    assert transaction.commit() == 3


def test_a_snapshot_range_read_does_not_conflict() -> None:
    store = store_of(a=b"1")
    transaction = begin_with_write(store)
    transaction.get_range(b"a", b"z", snapshot=True)
    put(store, a=b"2")
    assert transaction.commit() == 3


def test_a_row_inserted_into_a_range_that_was_read_conflicts() -> None:
    store = store_of(a=b"1")
    transaction = begin_with_write(store)
    transaction.get_range(b"a", b"c")
    put(store, b=b"2")
    with pytest.raises(Conflict):
        transaction.commit()


def test_a_range_clear_over_an_empty_range_that_was_read_conflicts() -> None:
    store = KeyValueStore()
    transaction = begin_with_write(store)
    transaction.get_range(b"a", b"c")
    with store.begin() as other:
        other.clear_range(b"b", b"d")
        other.commit()
    with pytest.raises(Conflict):
        transaction.commit()


def test_a_write_at_the_end_of_a_range_that_was_read_does_not_conflict() -> None:
    store = KeyValueStore()
    transaction = begin_with_write(store)
    transaction.get_range(b"a", b"b")
    put(store, b=b"2")
    assert transaction.commit() == 2


def test_a_write_past_the_last_row_of_a_limited_range_does_not_conflict() -> None:
    store = store_of(a=b"1", c=b"3")
    transaction = begin_with_write(store)
    transaction.get_range(b"", b"z", limit=1)
    put(store, b=b"2")
    assert transaction.commit() == 3


def test_a_write_before_the_first_row_of_a_limited_reverse_range_does_not_conflict() -> None:
    store = store_of(a=b"1", c=b"3")
    transaction = begin_with_write(store)
    transaction.get_range(b"", b"z", limit=1, reverse=True)
    put(store, b=b"2")
    assert transaction.commit() == 3


def test_a_write_to_the_last_row_of_a_limited_range_conflicts() -> None:
    store = store_of(a=b"1", c=b"3")
    transaction = begin_with_write(store)
    transaction.get_range(b"", b"z", limit=1)
    put(store, a=b"2")
    with pytest.raises(Conflict):
        transaction.commit()


def test_blind_writes_to_one_key_do_not_conflict() -> None:
    store = KeyValueStore()
    transaction = store.begin()
    transaction.set(b"a", b"1")
    put(store, a=b"2")
    assert transaction.commit() == 2


def test_reading_an_own_set_does_not_conflict() -> None:
    store = KeyValueStore()
    transaction = store.begin()
    transaction.set(b"a", b"1")
    transaction.get(b"a")
    put(store, a=b"2")
    assert transaction.commit() == 2


def test_reading_an_own_add_conflicts() -> None:
    store = KeyValueStore()
    transaction = store.begin()
    transaction.add(b"n", 1)
    transaction.get(b"n")
    put(store, n=encode_counter(1))
    with pytest.raises(Conflict):
        transaction.commit()


def test_a_read_only_commit_does_not_conflict() -> None:
    store = store_of(a=b"1")
    transaction = store.begin()
    transaction.get(b"a")
    put(store, a=b"2")
    assert transaction.commit() == 1


def test_a_refused_commit_applies_nothing() -> None:
    store = store_of(a=b"1")
    transaction = begin_with_write(store)
    transaction.get(b"a")
    put(store, a=b"2")
    with pytest.raises(Conflict):
        transaction.commit()
    assert (read(store, b"own"), store.version) == (None, 2)


def test_a_conflict_names_key_and_both_versions() -> None:
    store = store_of(a=b"1")
    transaction = begin_with_write(store)
    transaction.get(b"a")
    put(store, a=b"2")
    with pytest.raises(Conflict, match=r"key b'a' was read at version 1 and written at version 2"):
        transaction.commit()


def test_a_conflict_names_the_range() -> None:
    store = KeyValueStore()
    transaction = begin_with_write(store)
    transaction.get_range(b"a", b"c")
    put(store, b=b"2")
    with pytest.raises(Conflict, match=r"range \[b'a', b'c'\) was read at version 0 and written at version 1"):
        transaction.commit()


# Atomic operations


def test_an_add_to_a_missing_key_counts_from_0() -> None:
    store = KeyValueStore()
    with store.begin() as transaction:
        transaction.add(b"n", -3)
        transaction.commit()
    assert decode_counter(read(store, b"n")) == -3


def test_a_counter_is_little_endian() -> None:
    assert encode_counter(1) == b"\x01" + bytes(7)


def test_an_add_wraps_around() -> None:
    transaction = store_of(n=encode_counter(2**63 - 1)).begin()
    transaction.add(b"n", 1)
    assert decode_counter(transaction.get(b"n")) == -(2**63)


def test_two_concurrent_blind_adds_both_count() -> None:
    store = KeyValueStore()
    first, second = store.begin(), store.begin()
    first.add(b"n", 1)
    second.add(b"n", 2)
    first.commit()
    second.commit()
    assert decode_counter(read(store, b"n")) == 3


def test_adds_in_one_transaction_accumulate() -> None:
    transaction = KeyValueStore().begin()
    transaction.add(b"n", 1)
    transaction.add(b"n", 2)
    assert decode_counter(transaction.get(b"n")) == 3


def test_an_add_after_an_own_clear_counts_from_0() -> None:
    transaction = store_of(n=encode_counter(5)).begin()
    transaction.clear_range(b"n", b"o")
    transaction.add(b"n", 1)
    assert decode_counter(transaction.get(b"n")) == 1


def test_an_add_beyond_64_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="signed 64-bit"):
        KeyValueStore().begin().add(b"n", 2**63)


def test_an_add_to_a_value_that_is_no_counter_fails_the_commit() -> None:
    store = store_of(n=b"text")
    transaction = store.begin()
    transaction.add(b"n", 1)
    with pytest.raises(NotACounter, match="not 8"):
        transaction.commit()


def test_a_commit_failed_by_a_bad_counter_applies_nothing() -> None:
    store = store_of(n=b"text")
    transaction = begin_with_write(store)
    transaction.add(b"n", 1)
    with pytest.raises(NotACounter):
        transaction.commit()
    assert read(store, b"own") is None


def test_decoding_a_counter_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="has 3"):
        decode_counter(b"abc")


@pytest.mark.parametrize(("operand", "kept"), [(b"a", b"a"), (b"z", b"m")])
def test_byte_min_keeps_the_smaller_value(operand: bytes, kept: bytes) -> None:
    store = store_of(p=b"m")
    with store.begin() as transaction:
        transaction.byte_min(b"p", operand)
        transaction.commit()
    assert read(store, b"p") == kept


def test_byte_min_on_a_missing_key_writes_its_operand() -> None:
    transaction = KeyValueStore().begin()
    transaction.byte_min(b"p", b"z")
    assert transaction.get(b"p") == b"z"


# Commit stamps


def test_a_stamped_key_is_written_at_the_stamp() -> None:
    store = KeyValueStore()
    transaction = store.begin()
    transaction.set_versionstamped_key(b"v/", b"!", b"1")
    transaction.commit()
    assert read(store, b"v/" + transaction.versionstamp + b"!") == b"1"


def test_a_stamped_value_holds_the_stamp() -> None:
    store = KeyValueStore()
    transaction = store.begin()
    transaction.set_versionstamped_value(b"a", b"<", b">")
    transaction.commit()
    assert read(store, b"a") == b"<" + transaction.versionstamp + b">"


def test_a_stamp_has_ten_bytes() -> None:
    assert len(stamp_of(1)) == 10


def test_stamps_grow_with_versions() -> None:
    stamps = [stamp_of(version) for version in (1, 2, 255, 256, 65_536)]
    assert stamps == sorted(set(stamps))


def test_a_committed_transaction_has_the_stamp_of_its_version() -> None:
    transaction = begin_with_write(KeyValueStore())
    assert stamp_of(transaction.commit()) == transaction.versionstamp


def test_an_open_transaction_has_no_stamp() -> None:
    with pytest.raises(StampUnknown, match="is still open"):
        _ = KeyValueStore().begin().versionstamp


def test_a_read_only_commit_has_no_stamp() -> None:
    transaction = KeyValueStore().begin()
    transaction.commit()
    with pytest.raises(StampUnknown, match="without writes"):
        _ = transaction.versionstamp


def test_a_range_clear_after_a_stamped_key_removes_it() -> None:
    store = KeyValueStore()
    transaction = store.begin()
    transaction.set_versionstamped_key(b"v/", b"", b"1")
    transaction.clear_range(b"v/", b"v0")
    transaction.commit()
    assert store.image().content() == {}


def test_a_range_clear_before_a_stamped_key_leaves_it() -> None:
    store = KeyValueStore()
    transaction = store.begin()
    transaction.clear_range(b"v/", b"v0")
    transaction.set_versionstamped_key(b"v/", b"", b"1")
    transaction.commit()
    assert len(store.image()) == 1


def test_reading_an_own_stamped_value_is_refused() -> None:
    transaction = KeyValueStore().begin()
    transaction.set_versionstamped_value(b"a", b"", b"")
    with pytest.raises(StampUnreadable, match="b'a'"):
        transaction.get(b"a")


def test_scanning_over_an_own_stamped_value_is_refused() -> None:
    transaction = KeyValueStore().begin()
    transaction.set_versionstamped_value(b"a", b"", b"")
    with pytest.raises(StampUnreadable, match="range"):
        transaction.get_range(b"a", b"b")


def test_scanning_where_an_own_stamped_key_may_land_is_refused() -> None:
    transaction = KeyValueStore().begin()
    transaction.set_versionstamped_key(b"v/", b"", b"1")
    with pytest.raises(StampUnreadable):
        transaction.get_range(b"v", b"w")


def test_scanning_beside_an_own_stamped_key_is_allowed() -> None:
    transaction = store_of(a=b"1").begin()
    transaction.set_versionstamped_key(b"v/", b"", b"1")
    assert transaction.get_range(b"a", b"b") == [(b"a", b"1")]


def test_adding_to_an_own_stamped_value_is_refused() -> None:
    transaction = KeyValueStore().begin()
    transaction.set_versionstamped_value(b"a", b"", b"")
    with pytest.raises(StampUnreadable):
        transaction.add(b"a", 1)


# Limits

SMALL = StoreLimits(transaction_bytes=20, value_bytes=4, key_bytes=3)


def test_the_default_limits_are_those_of_foundationdb() -> None:
    assert StoreLimits() == StoreLimits(transaction_bytes=10_000_000, value_bytes=100_000, key_bytes=10_000)


def test_a_key_at_the_limit_is_allowed() -> None:
    KeyValueStore(limits=SMALL).begin().set(b"abc", b"")


@pytest.mark.parametrize(
    "mutate",
    [
        lambda transaction: transaction.set(b"abcd", b""),
        lambda transaction: transaction.clear(b"abcd"),
        lambda transaction: transaction.clear_range(b"a", b"bcde"),
        lambda transaction: transaction.add(b"abcd", 1),
        lambda transaction: transaction.byte_min(b"abcd", b""),
        lambda transaction: transaction.set_versionstamped_key(b"", b"", b""),
        lambda transaction: transaction.set_versionstamped_value(b"abcd", b"", b""),
    ],
    ids=["set", "clear", "clear_range", "add", "byte_min", "stamped_key", "stamped_value"],
)
def test_a_longer_key_is_refused_by_every_mutation(mutate: object) -> None:
    transaction = KeyValueStore(limits=StoreLimits(value_bytes=20, key_bytes=3)).begin()
    assert callable(mutate)
    with pytest.raises(KeyTooLarge, match="limit of 3"):
        mutate(transaction)


def test_a_value_at_the_limit_is_allowed() -> None:
    KeyValueStore(limits=SMALL).begin().set(b"a", b"1234")


@pytest.mark.parametrize(
    "mutate",
    [
        lambda transaction: transaction.set(b"a", b"12345"),
        lambda transaction: transaction.byte_min(b"a", b"12345"),
        lambda transaction: transaction.set_versionstamped_value(b"a", b"", b""),
    ],
    ids=["set", "byte_min", "stamped_value"],
)
def test_a_longer_value_is_refused_by_every_mutation(mutate: object) -> None:
    transaction = KeyValueStore(limits=SMALL).begin()
    assert callable(mutate)
    with pytest.raises(ValueTooLarge, match="limit of 4"):
        mutate(transaction)


def test_a_refused_mutation_leaves_the_transaction_usable() -> None:
    transaction = KeyValueStore(limits=SMALL).begin()
    with pytest.raises(ValueTooLarge):
        transaction.set(b"a", b"12345")
    transaction.set(b"a", b"1")
    assert transaction.commit() == 1


def fill(store: KeyValueStore, rows: int) -> Transaction:
    transaction = store.begin()
    for index in range(rows):
        transaction.set(bytes([index]), b"1234")
    return transaction


def test_a_transaction_at_the_limit_commits() -> None:
    assert fill(KeyValueStore(limits=SMALL), 4).commit() == 1


def test_a_larger_transaction_is_refused_at_commit() -> None:
    with pytest.raises(TransactionTooLarge, match="25 bytes, above the limit of 20"):
        fill(KeyValueStore(limits=SMALL), 5).commit()


def test_a_transaction_that_is_too_large_applies_nothing() -> None:
    store = KeyValueStore(limits=SMALL)
    with pytest.raises(TransactionTooLarge):
        fill(store, 5).commit()
    assert len(store.image()) == 0


def test_a_limit_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="key_bytes is 0"):
        StoreLimits(key_bytes=0)


def test_a_mutable_value_is_refused() -> None:
    with pytest.raises(TypeError, match="not bytearray"):
        KeyValueStore().begin().set(b"a", bytearray(b"1"))  # type: ignore[arg-type]


# The end of a transaction


@pytest.mark.parametrize(
    "use",
    [
        lambda transaction: transaction.get(b"a"),
        lambda transaction: transaction.get_range(b"a", b"b"),
        lambda transaction: transaction.set(b"a", b"1"),
        lambda transaction: transaction.clear(b"a"),
        lambda transaction: transaction.clear_range(b"a", b"b"),
        lambda transaction: transaction.add(b"a", 1),
        lambda transaction: transaction.byte_min(b"a", b"1"),
        lambda transaction: transaction.set_versionstamped_key(b"a", b"", b"1"),
        lambda transaction: transaction.set_versionstamped_value(b"a", b"", b""),
        lambda transaction: transaction.commit(),
    ],
)
@pytest.mark.parametrize(("ending", "message"), [("commit", "already committed"), ("abandon", "was abandoned")])
def test_every_use_after_the_end_is_refused(use: object, ending: str, message: str) -> None:
    transaction = begin_with_write(KeyValueStore())
    getattr(transaction, ending)()
    assert callable(use)
    with pytest.raises(TransactionEnded, match=message):
        use(transaction)


def test_using_a_refused_transaction_says_that_it_failed() -> None:
    store = store_of(a=b"1")
    transaction = begin_with_write(store)
    transaction.get(b"a")
    put(store, a=b"2")
    with pytest.raises(Conflict):
        transaction.commit()
    with pytest.raises(TransactionEnded, match="failed to commit"):
        transaction.commit()


def test_abandoning_an_ended_transaction_is_harmless() -> None:
    store = KeyValueStore()
    transaction = begin_with_write(store)
    transaction.commit()
    transaction.abandon()
    assert read(store, b"own") == b"1"


def test_an_abandoned_transaction_applies_nothing() -> None:
    store = KeyValueStore()
    begin_with_write(store).abandon()
    assert store.version == 0


def test_leaving_the_context_abandons_an_open_transaction() -> None:
    store = KeyValueStore()
    with pytest.raises(KeyboardInterrupt), store.begin():
        raise KeyboardInterrupt
    assert store.statistics().active_transactions == 0


# Bounded memory


def test_without_readers_no_old_value_is_kept() -> None:
    store = KeyValueStore()
    for _ in range(100):
        put(store, a=b"1")
    assert store.statistics().kept_values == 0


def test_one_long_reader_keeps_one_value_a_key_however_many_commits_follow() -> None:
    store = store_of(a=b"0", b=b"0")
    with store.begin():
        for _ in range(100):
            put(store, a=b"1", b=b"2")
        assert store.statistics().kept_values == 2


def test_short_readers_beside_a_long_one_leave_nothing_behind() -> None:
    store = store_of(a=b"0")
    with store.begin():
        for _ in range(100):
            short = store.begin()
            put(store, a=b"1")
            short.abandon()
        assert store.statistics().kept_values == 1


def test_repeated_range_clears_beside_a_long_reader_keep_one_range() -> None:
    store = KeyValueStore()
    with store.begin():
        for _ in range(100):
            other = store.begin()
            other.clear_range(b"a", b"z")
            other.commit()
        assert store.statistics().kept_ranges == 1


@pytest.mark.parametrize("ending", ["commit", "abandon"])
def test_the_end_of_the_last_reader_drops_every_old_value(ending: str) -> None:
    store = store_of(a=b"0")
    reader = store.begin()
    put(store, a=b"1")
    getattr(reader, ending)()
    assert store.statistics().kept_values == 0


def test_a_refused_commit_drops_every_old_value() -> None:
    store = store_of(a=b"0")
    transaction = begin_with_write(store)
    transaction.get(b"a")
    put(store, a=b"1")
    with pytest.raises(Conflict):
        transaction.commit()
    assert store.statistics().kept_values == 0


def test_keys_created_and_cleared_leave_no_tombstones() -> None:
    store = over_image(a=b"1")
    for _ in range(100):
        put(store, b=b"2")
        with store.begin() as transaction:
            transaction.clear(b"b")
            transaction.commit()
    assert store.statistics().overlay_rows == 0


# Snapshots


def test_a_snapshot_reads_the_newest_commit() -> None:
    assert store_of(a=b"1").snapshot().get(b"a") == b"1"


def test_a_snapshot_knows_its_version() -> None:
    assert store_of(a=b"1").snapshot().version == 1


def test_a_snapshot_scans_a_range() -> None:
    assert store_of(a=b"1", b=b"2").snapshot().get_range(b"a", b"z", limit=1, reverse=True) == [(b"b", b"2")]


def test_a_snapshot_survives_a_read_only_commit() -> None:
    store = store_of(a=b"1")
    snapshot = store.snapshot()
    store.begin().commit()
    assert snapshot.get(b"a") == b"1"


@pytest.mark.parametrize("key", [b"a", b"missing"])
def test_a_snapshot_get_after_a_later_commit_is_refused(key: bytes) -> None:
    store = store_of(a=b"1")
    snapshot = store.snapshot()
    put(store, b=b"2")
    with pytest.raises(StaleSnapshot, match="snapshot of version 1 was used after commit 2"):
        snapshot.get(key)


def test_a_snapshot_scan_after_a_later_commit_is_refused() -> None:
    store = store_of(a=b"1")
    snapshot = store.snapshot()
    put(store, b=b"2")
    with pytest.raises(StaleSnapshot):
        snapshot.get_range(b"a", b"z")


def test_a_snapshot_refuses_an_inverted_range() -> None:
    with pytest.raises(ValueError, match="swap them"):
        KeyValueStore().snapshot().get_range(b"b", b"a")


# Errors


@pytest.mark.parametrize(
    "error",
    [
        Conflict(b"a", None, 1, 2),
        Conflict(b"a", b"b", 1, 2),
        KeyTooLarge(b"a" * 100, 3),
        ValueTooLarge(b"a", 5, 4),
        TransactionTooLarge(25, 20),
        TransactionEnded("get", "was abandoned"),
        StampUnreadable(b"a", None),
        StampUnknown("is still open"),
        StaleSnapshot(1, 2),
        NotACounter(b"a", 3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_rebuilds_from_its_args(error: StoreError) -> None:
    assert str(pickle.loads(pickle.dumps(error))) == str(type(error)(*error.args)) == str(error)
