"""Compaction: the managers of the branches, and what they share.

Upholds COMP-1 and COMP-2 through its parts: a signaler that carries wakes (`signaler.py`), one manager for each branch
that was ever heard of (`manager.py`), stager and installer of hot jobs (`hot_stage.py`, `hot_install.py`), and the
reclaimer (`reclaim.py`). Each is made by a method that a subclass may replace.

Nobody calls compaction to have work done but an operator who forces it. A depot that starts from an image looks first
at the branches that are dirty in it, or where jobs that ended have left staged rows.
"""

from __future__ import annotations

from collections.abc import Callable

from simkit.depot.core import Core
from simkit.depot.hot_install import HotInstaller
from simkit.depot.hot_stage import HotStager
from simkit.depot.keys import BranchKeys, branch_record_range, dirty_range, parse_branch_record_key, parse_dirty_key
from simkit.depot.manager import Manager
from simkit.depot.reclaim import Reclaimer
from simkit.depot.signaler import WakeMessages


class Compaction:
    """The compaction processes of one depot.

    Attributes:
        signaler: what commits wake it by.
        on_step: called right after each key-value commit of a job, with a label, when set.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._managers: dict[int, Manager] = {}
        self._jobs = 0
        self._stopped = False
        self.on_step: Callable[[str], None] | None = None
        self.stager = self.make_stager()
        self.installer = self.make_installer()
        self.reclaimer = self.make_reclaimer()
        self.reclaimer.on_step = self.stepped
        self.signaler = self.make_signaler()
        self._start_from_image()

    # What a defect or another compaction may replace

    def make_signaler(self) -> WakeMessages:
        return WakeMessages(self._core.kernel, self._heard, self._watch)

    def make_manager(self, keys: BranchKeys) -> Manager:
        return Manager(self._core, keys, self)

    def make_stager(self) -> HotStager:
        return HotStager(self._core, self.stepped)

    def make_installer(self) -> HotInstaller:
        return HotInstaller(self._core, self.stepped)

    def make_reclaimer(self) -> Reclaimer:
        return Reclaimer(self._core)

    # From outside

    def force(self, keys: BranchKeys) -> None:
        """Folds a branch up to its present head however little there is to fold, then reclaims. Returns at once."""
        if not self._stopped:
            self._manager(keys).force()

    @property
    def idle(self) -> bool:
        """Whether no job runs, nothing waits for its time, no wake is under way and no branch is marked dirty."""
        if self.signaler.under_way or not all(manager.idle for manager in self._managers.values()):
            return False
        return not self._core.store.snapshot().get_range(*dirty_range(), limit=1)

    def stop(self) -> None:
        """Ends everything, for good. What jobs had staged stays in the store."""
        self._stopped = True
        self.signaler.forget()
        for manager in self._managers.values():
            manager.stop()

    # From its parts

    def new_job_number(self, keys: BranchKeys) -> int:
        """A number under which nothing is staged in the branch."""
        while True:
            self._jobs += 1
            if not self._core.store.snapshot().get_range(*keys.stage_range(self._jobs), limit=1):
                return self._jobs

    def _start_from_image(self) -> None:
        """Looks at the branches of the image that are dirty, or where a job of the past has left something."""
        snapshot = self._core.store.snapshot()
        dirty = [parse_dirty_key(key) for key, _ in snapshot.get_range(*dirty_range())]
        branches = [parse_branch_record_key(key) for key, _ in snapshot.get_range(*branch_record_range())]
        left = [branch for branch in branches if snapshot.get_range(*BranchKeys(branch).stage_range(), limit=1)]
        for branch in sorted(dict.fromkeys(dirty + left)):
            self._manager(BranchKeys(branch)).start_later(0)

    def _manager(self, keys: BranchKeys) -> Manager:
        manager = self._managers.get(keys.number)
        if manager is None:
            manager = self._managers[keys.number] = self.make_manager(keys)
        return manager

    def _heard(self, keys: BranchKeys) -> None:
        if not self._stopped:
            self._manager(keys).look("wake")

    def _watch(self, keys: BranchKeys) -> None:
        if not self._stopped:
            self._manager(keys).watch()

    def stepped(self, label: str) -> None:
        """A key-value transaction of a job has just been committed."""
        if self.on_step is not None:
            self.on_step(label)
