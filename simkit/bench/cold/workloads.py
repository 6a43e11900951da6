"""The 32 workloads, in the order and under the names of the published tables.

A workload is a seed that fills the database, and a body that runs after it has woken with nothing cached. Only the
body is measured.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from simkit.bench.cold import changes, reads
from simkit.bench.cold.seeds import Seed
from simkit.bench.cold.session import Answer, Session
from simkit.bench.cold.sizes import SizeClass

__all__ = ["WORKLOADS", "Answer", "Body", "Category", "Session", "UnknownWorkload", "Workload", "workload_named"]

Body = Callable[[Session, int], Answer]
"""Runs over a session; the number is the rows that the seed gave its main table."""


class Category(StrEnum):
    """What a workload is a case of."""

    CANARY = "canary"
    READ = "read"
    WRITE = "write"
    MIGRATION = "migration"


@dataclass(frozen=True)
class Workload:
    """One row of the benchmark.

    `parallel` says that the body runs statements together; `in_matrix` that the optimisation matrix runs it
    unless told otherwise. Without a seed there is nothing to set up but to remove leftovers.
    """

    number: int
    name: str
    seed: Seed | None
    category: Category
    size: SizeClass
    body: Body
    parallel: bool = False
    in_matrix: bool = False


class UnknownWorkload(ValueError):
    """No workload has this name."""


_COMMERCE, _DOCS, _CHAT = Seed.COMMERCE, Seed.DOCS, Seed.CHAT_LOG
_CANARY, _READ, _WRITE, _MIGRATION = Category.CANARY, Category.READ, Category.WRITE, Category.MIGRATION
_NONE, _SMALL, _MEDIUM, _LARGE = SizeClass.NONE, SizeClass.SMALL, SizeClass.MEDIUM, SizeClass.LARGE
_FIT, _OVERFLOW = SizeClass.CACHE_FIT, SizeClass.CACHE_OVERFLOW

_ROWS: Final[tuple[tuple[str, Seed | None, Category, SizeClass, Body], ...]] = (
    ("small-rowid-point", _COMMERCE, _CANARY, _SMALL, reads.rowid_point),
    ("small-schema-read", _COMMERCE, _CANARY, _SMALL, reads.schema_read),
    ("small-range-scan", _COMMERCE, _CANARY, _SMALL, reads.range_scan),
    ("rowid-range-forward", _COMMERCE, _READ, _LARGE, reads.range_scan),
    ("rowid-range-backward", _COMMERCE, _READ, _LARGE, reads.range_scan_backward),
    ("secondary-index-covering-range", _DOCS, _READ, _LARGE, reads.docs_covering),
    ("secondary-index-scattered-table", _DOCS, _READ, _LARGE, reads.docs_scattered),
    ("aggregate-status", _COMMERCE, _READ, _LARGE, reads.aggregate_status),
    ("aggregate-time-bucket", _COMMERCE, _READ, _LARGE, reads.aggregate_time_bucket),
    ("aggregate-tenant-time-range", _COMMERCE, _READ, _FIT, reads.aggregate_tenant),
    ("parallel-read-aggregates", _COMMERCE, _READ, _LARGE, reads.parallel_aggregates),
    ("parallel-read-write-transition", _COMMERCE, _WRITE, _MEDIUM, changes.read_write_transition),
    ("feed-order-by-limit", _COMMERCE, _READ, _MEDIUM, reads.feed),
    ("feed-pagination-adjacent", _COMMERCE, _READ, _MEDIUM, reads.feed_pages),
    ("join-order-items", _COMMERCE, _READ, _LARGE, reads.join_items),
    ("random-point-lookups", _COMMERCE, _READ, _LARGE, reads.random_points),
    ("hot-index-cold-table", _DOCS, _READ, _OVERFLOW, reads.hot_index),
    ("ledger-without-rowid-range", Seed.LEDGER, _READ, _LARGE, reads.ledger_range),
    ("chat-log-select-limit", _CHAT, _READ, _LARGE, reads.chat_select_limit),
    ("chat-log-select-indexed", _CHAT, _READ, _LARGE, reads.chat_select_indexed),
    ("chat-log-count", _CHAT, _READ, _LARGE, reads.chat_count),
    ("chat-log-sum", _CHAT, _READ, _LARGE, reads.chat_sum),
    ("chat-tool-read-fanout", _CHAT, _READ, _LARGE, reads.chat_fanout),
    ("chat-tool-script", Seed.SQL_RUSH, _READ, _LARGE, reads.tool_script),
    ("write-batch-after-wake", _COMMERCE, _WRITE, _MEDIUM, changes.insert_batch),
    ("update-hot-partition", _COMMERCE, _WRITE, _MEDIUM, changes.update_hot),
    ("delete-churn-range-read", _COMMERCE, _WRITE, _MEDIUM, changes.delete_churn),
    ("migration-create-indexes-large", Seed.MIGRATION, _MIGRATION, _LARGE, changes.create_indexes),
    ("migration-create-indexes-skewed-large", Seed.MIGRATION_SKEWED, _MIGRATION, _LARGE, changes.create_indexes_skewed),
    ("migration-table-rebuild-large", Seed.MIGRATION, _MIGRATION, _LARGE, changes.rebuild_table),
    ("migration-add-column-large", Seed.MIGRATION, _MIGRATION, _LARGE, changes.add_column),
    ("migration-ddl-small", None, _CANARY, _NONE, changes.small_definitions),
)
_PARALLEL: Final = frozenset({11, 12, 23, 24})
_IN_MATRIX: Final = frozenset({2, 4, 5, 7, 8, 11, 12, 16, 20, 22, 23, 24, 25, 28})

WORKLOADS: Final = tuple(
    Workload(number, name, seed, category, size, body, parallel=number in _PARALLEL, in_matrix=number in _IN_MATRIX)
    for number, (name, seed, category, size, body) in enumerate(_ROWS, start=1)
)
_BY_NAME: Final = {workload.name: workload for workload in WORKLOADS}


def workload_named(name: str) -> Workload:
    """The workload of that name.

    Raises UnknownWorkload, with the names that look like it.
    """
    found = _BY_NAME.get(name)
    if found is None:
        near = difflib.get_close_matches(name, _BY_NAME, n=4, cutoff=0.4)
        near = near or [each for each in _BY_NAME if name and name in each]
        meant = f"did you mean {', '.join(near)}?" if near else f"the names are {', '.join(_BY_NAME)}."
        raise UnknownWorkload(f"there is no workload named {name!r}: {meant}")
    return found
