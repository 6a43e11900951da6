"""Broken compaction: managers, hot compacters and installers, each with one mistake that some real one has made.

They break COMP-1, COMP-2 and DEPOT-6 to DEPOT-9 and 17 on purpose. Most change one thing of a job's plan and let sound
code carry it out, so that nothing else is wrong with what is stored.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from msgspec.structs import replace

from simkit.depot.compaction import Compaction
from simkit.depot.content import read_head
from simkit.depot.depot import Depot
from simkit.depot.events import CompactionRested
from simkit.depot.hot_install import HotInstaller
from simkit.depot.hot_plan import BranchState, HotPlan, VersionReads
from simkit.depot.hot_stage import HotStager, Staged, groups_of
from simkit.depot.job import Job
from simkit.depot.keys import BranchKeys
from simkit.depot.kv import Transaction
from simkit.depot.manager import Manager
from simkit.depot.reclaim import Reclaimer
from simkit.kernel import Happening


def depot_with(
    manager: type[Manager] = Manager,
    stager: type[HotStager] = HotStager,
    installer: type[HotInstaller] = HotInstaller,
    reclaimer: type[Reclaimer] = Reclaimer,
) -> type[Depot]:
    """A depot whose compaction is made of these parts."""

    class OfTheseParts(Compaction):
        def make_manager(self, keys: BranchKeys) -> Manager:
            return manager(self._core, keys, self)

        def make_stager(self) -> HotStager:
            return stager(self._core, self.stepped)

        def make_installer(self) -> HotInstaller:
            return installer(self._core, self.stepped)

        def make_reclaimer(self) -> Reclaimer:
            return reclaimer(self._core)

    class WithThatCompaction(Depot):
        def make_compaction(self) -> Compaction:
            return OfTheseParts(self.core)

    return WithThatCompaction


# Managers


class DeafManager(Manager):
    """Looks at its branch when it is woken, and never by itself."""

    def watch(self) -> None:
        """Does not."""


class BlindlyClearingManager(Manager):
    """Clears the dirty marker without a look at what it says by then."""

    def _clear_marker(self, job: Job, seen: BranchState) -> Generator[Happening, Any, None]:
        keys, kernel = self.keys, self._kernel

        def body(transaction: Transaction) -> Generator[Happening, Any, None]:
            yield kernel.stage(self._settings.job_service_ns, None, "clear marker", job)
            transaction.clear(keys.dirty)

        yield from self._core.transact(job, "clear marker", body)
        self._unsettled = False
        kernel.record(CompactionRested(kernel.now, job.task_name, keys.number, seen.head, seen.watermark))
        self._compaction.stepped("marker cleared")


# Folding and staging


class HeadStager(HotStager):
    """Cuts the input at the limit of a batch and aims the watermark at the head all the same."""

    def plan(self, transaction: Transaction, keys: BranchKeys) -> HotPlan | None:
        plan = super().plan(transaction, keys)
        head = read_head(VersionReads(transaction), keys)
        return replace(plan, target=head.txid) if plan is not None and head is not None else None


class BackwardStager(HotStager):
    """Goes through the commits of a batch the wrong way round, so that the oldest content of a page wins."""

    def plan(self, transaction: Transaction, keys: BranchKeys) -> HotPlan | None:
        plan = super().plan(transaction, keys)
        if plan is None:
            return None
        return replace(plan, touched_by={shard: txids[::-1] for shard, txids in plan.touched_by.items()})


class GrowingStager(HotStager):
    """Takes a database for at least as large as it was when the batch began."""

    def plan(self, transaction: Transaction, keys: BranchKeys) -> HotPlan | None:
        plan = super().plan(transaction, keys)
        if plan is None:
            return None
        before = self._core.sources.page_count_at(VersionReads(transaction), keys, plan.base)
        return replace(plan, page_counts=tuple(max(before, size) for size in plan.page_counts))


class LeasingStager(HotStager):
    """Takes a lease on the branch, in a row that nobody else knows of."""

    def _fold(self, transaction: Transaction, job: Job, keys: BranchKeys) -> Generator[Happening, Any, Any]:
        transaction.set(keys.root.removesuffix(b"root") + b"lease", job.ordinal.to_bytes(8, "big"))
        return (yield from super()._fold(transaction, job, keys))


# Installing


class IndexFirstInstaller(HotInstaller):
    """Clears the index and moves the watermark first, and publishes the shards afterwards."""

    def install(self, job: Job, keys: BranchKeys, staged: Staged) -> Generator[Happening, Any, None]:
        plan = staged.plan
        yield from super().install(job, keys, Staged(plan, ()))
        moved = replace(plan, base=plan.target, manifest_generation=plan.manifest_generation + 1)
        for group in groups_of(staged.shards, self._core.settings.compaction.staged_bytes):
            yield from self._publish_group(job, keys, moved, group)


class TrustingInstaller(HotInstaller):
    """Takes what was staged for the state of the branch as it is by now."""

    def _finish(
        self, transaction: Transaction, job: Job, keys: BranchKeys, staged: Staged
    ) -> Generator[Happening, Any, int]:
        plan, reads = staged.plan, VersionReads(transaction)
        head = read_head(reads, keys)
        assert head is not None
        present = ((number, reads.get(keys.pidx(number))) for number, _ in plan.owners)
        owners = tuple((number, owner) for number, owner in present if owner is not None)
        plan = replace(plan, target=head.txid, owners=owners)
        return (yield from super()._finish(transaction, job, keys, Staged(plan, staged.shards)))


class BlindlyClearingInstaller(HotInstaller):
    """Clears the index rows of the pages that it folded, whatever they say by then."""

    def _clear_index(
        self, transaction: Transaction, job: Job, keys: BranchKeys, plan: HotPlan
    ) -> Generator[Happening, Any, int]:
        yield from ()
        for number, _ in plan.owners:
            transaction.clear(keys.pidx(number))
        return len(plan.owners)


DroppedWake = depot_with(manager=DeafManager)
MarkerClearedBlindly = depot_with(manager=BlindlyClearingManager)
WatermarkAhead = depot_with(stager=HeadStager)
FoldTakesOldest = depot_with(stager=BackwardStager)
FoldKeepsCutPages = depot_with(stager=GrowingStager)
LeaseRowLeftBehind = depot_with(stager=LeasingStager)
IndexClearedBeforePublish = depot_with(installer=IndexFirstInstaller)
InstallTrustsStaleStage = depot_with(installer=TrustingInstaller)
IndexClearedBlindly = depot_with(installer=BlindlyClearingInstaller)
