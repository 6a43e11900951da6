"""Broken reclaim: what is deleted although it is needed, in part only, or never, and what the books say of it.

They break DEPOT-4, 5, 12, 15, 16, 18 and 19 on purpose: each changes what of a plan is carried out, or who counts as
kept. Sound code does the deleting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from msgspec.structs import replace

from simkit.defects.compaction_defects import depot_with
from simkit.defects.transactions import HoldingBack
from simkit.depot.blobs import Readable
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import Transaction
from simkit.depot.reclaim import Reclaimer
from simkit.depot.reclaim_plan import Doomed, ReclaimPlan, plan_reclaim
from simkit.depot.records import Pin, decode_row

IsRunning = Callable[[int], bool]


class _Replanning(Reclaimer):
    """Changes a sound plan before it is carried out, or asked for."""

    def plan(self, readable: Readable, keys: BranchKeys, is_running: IsRunning | None = None) -> ReclaimPlan:
        plan = super().plan(readable, keys, is_running)
        history = [changed for item in plan.history for changed in self._change(item, keys, plan)]
        cleanup = [changed for item in plan.cleanup for changed in self._change(item, keys, plan)]
        return replace(plan, history=tuple(history), cleanup=tuple(cleanup))

    def _change(self, item: Doomed, keys: BranchKeys, plan: ReclaimPlan) -> list[Doomed]:
        """What becomes of one entry of the plan."""
        raise NotImplementedError


class VersionstampForgettingReclaimer(_Replanning):
    """Deletes the row of a commit and not the one that its versionstamp leads back by."""

    def _change(self, item: Doomed, keys: BranchKeys, plan: ReclaimPlan) -> list[Doomed]:
        return [replace(item, rows=item.rows[:1])] if item.kind == "commit" else [item]


class FirstChunkReclaimer(_Replanning):
    """Takes a delta for one row, and deletes that."""

    def _change(self, item: Doomed, keys: BranchKeys, plan: ReclaimPlan) -> list[Doomed]:
        return [replace(item, rows=item.rows[:1])] if item.kind == "delta" else [item]


class StageSparingReclaimer(_Replanning):
    """Leaves to each job what it has staged, also to those that are no more."""

    def _change(self, item: Doomed, keys: BranchKeys, plan: ReclaimPlan) -> list[Doomed]:
        return [] if item.kind == "stage" else [item]


class OffByOneReclaimer(_Replanning):
    """Deletes the deltas below the watermark, and never the one at it."""

    def _change(self, item: Doomed, keys: BranchKeys, plan: ReclaimPlan) -> list[Doomed]:
        is_newest = item.kind == "delta" and keys.parse_delta(item.rows[0][0])[0] == plan.watermark
        return [] if is_newest else [item]


class NewestShardReclaimer(Reclaimer):
    """Keeps the newest version of each shard, and of older ones none that a restore point needs."""

    def plan(self, readable: Readable, keys: BranchKeys, is_running: IsRunning | None = None) -> ReclaimPlan:
        plan = super().plan(readable, keys, is_running)
        bare = plan_reclaim(self._core, readable, keys, plan.watermark, frozenset(), is_running)
        others = [item for item in plan.history if item.kind != "shard"]
        return replace(plan, history=(*others, *(item for item in bare.history if item.kind == "shard")))


class PinsOnlyReclaimer(Reclaimer):
    """Knows of pins, and of no intervals of time."""

    def kept(self, readable: Readable, keys: BranchKeys, watermark: int) -> frozenset[int]:
        pinned = (decode_row(Pin, raw).txid for _, raw in readable.get_range(*keys.pins_range()))
        return frozenset(txid for txid in pinned if txid <= watermark)


class UncreditingReclaimer(Reclaimer):
    """Deletes rows and leaves the quota as it is."""

    def _clear(self, transaction: Transaction, keys: BranchKeys, item: Doomed, is_running: IsRunning) -> bool:
        without_quota = HoldingBack(transaction, lambda key: key == keys.quota)
        return super()._clear(cast(Transaction, without_quota), keys, item, is_running)


ReclaimForgetsVersionstamps = depot_with(reclaimer=VersionstampForgettingReclaimer)
ReclaimDeletesFirstChunk = depot_with(reclaimer=FirstChunkReclaimer)
StageLeftBehind = depot_with(reclaimer=StageSparingReclaimer)
LastDeltaNeverReclaimed = depot_with(reclaimer=OffByOneReclaimer)
ReclaimKeepsNewestShardOnly = depot_with(reclaimer=NewestShardReclaimer)
IntervalsNotKept = depot_with(reclaimer=PinsOnlyReclaimer)
QuotaNeverCredited = depot_with(reclaimer=UncreditingReclaimer)
