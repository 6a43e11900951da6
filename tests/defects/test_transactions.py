"""The transaction with a hole keeps what it is told to, and nothing else."""

from simkit.defects.transactions import HoldingBack, within
from simkit.depot.kv import KeyValueStore, encode_counter


def test_chosen_writes_are_kept_and_all_others_pass() -> None:
    store = KeyValueStore()
    with store.begin() as transaction:
        split = HoldingBack(transaction, within(b"b", b"c"))
        for key in (b"a", b"b1", b"b2", b"c"):
            split.set(key, b"value of " + key)
        split.commit()
    assert split.kept == [(b"b1", b"value of b1"), (b"b2", b"value of b2")]
    assert store.snapshot().get_range(b"", b"z") == [(b"a", b"value of a"), (b"c", b"value of c")]


def test_chosen_clears_and_additions_are_forgotten() -> None:
    store = KeyValueStore()
    with store.begin() as transaction:
        transaction.set(b"kept", b"1")
        transaction.set(b"gone", b"1")
        transaction.commit()
    with store.begin() as transaction:
        split = HoldingBack(transaction, lambda key: key.startswith(b"kept"))
        split.clear(b"kept")
        split.clear(b"gone")
        split.add(b"kept counter", 3)
        split.add(b"counter", 3)
        split.commit()
    assert store.snapshot().get_range(b"", b"z") == [(b"counter", encode_counter(3)), (b"kept", b"1")]
