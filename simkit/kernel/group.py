"""A group: the tasks that die together, as the threads of one process do.

Tasks belong to it from their `spawn`, or for as long as they are inside `with group:` (a client that calls into an
instance). `crash()` throws `Crashed` into each of them at its yield point, before any other task runs. While a task
unwinds, no yield of it suspends: taking, waiting and spawning raise `Crashed` again and only giving back works, so that
a dead process does nothing more but lets go of what it shared with the living.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from simkit.kernel.errors import Crashed

if TYPE_CHECKING:
    from simkit.kernel.kernel import Kernel
    from simkit.kernel.task import Task


class Group:
    """Tasks that crash together."""

    __slots__ = ("_kernel", "_members", "crashed", "name")

    def __init__(self, kernel: Kernel, name: str) -> None:
        self._kernel = kernel
        self.name = name
        self.crashed = False
        self._members: dict[Task, int] = {}

    @property
    def members(self) -> list[Task]:
        """The tasks inside, in the order in which they came."""
        return list(self._members)

    def add(self, task: Task) -> None:
        if self.crashed:
            raise Crashed(self.name)
        self._members[task] = self._members.get(task, 0) + 1
        task._groups.append(self)

    def remove(self, task: Task) -> None:
        depth = self._members.get(task, 0)
        if depth > 1:
            self._members[task] = depth - 1
        elif depth == 1:
            del self._members[task]
        if self in task._groups:
            task._groups.remove(self)

    def __enter__(self) -> Group:
        self.add(self._kernel.require_task("enter a crash group"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = self._kernel.require_task("leave a crash group")
        self.remove(task)
        if task._crashed_by is self and self not in task._groups:
            # It may be inside another group that crashed as well; then it goes on dying.
            task._crashed_by = next((group for group in task._groups if group.crashed), None)

    def crash(self) -> None:
        """Every task inside gets `Crashed` at its yield point; later entries are refused the same way.

        Raises `Crashed` itself when the calling task is inside. A second crash does nothing.
        """
        if self.crashed:
            return
        self.crashed = True
        kernel = self._kernel
        caller = kernel.current
        for task in self.members:
            if task._crashed_by is None:
                task._crashed_by = self
            if task is not caller:
                kernel.throw_now(task, Crashed(self.name))
        if caller is not None and caller in self._members:
            raise Crashed(self.name)
