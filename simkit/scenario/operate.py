"""The operator of a run: makes restore points and forks, rolls back and asks for compaction, as the plan says.

One task does one step after the other, beside the clients. What the depot refuses is recorded and ends nothing. It
keeps the ids that restore points were given under the names of the scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simkit.depot.commands import AtRestorePoint, AtTime, Latest, Target
from simkit.depot.core import EPOCH_MS
from simkit.depot.depot import Depot
from simkit.depot.errors import DepotError
from simkit.depot.events import RestorePointMade
from simkit.depot.operator import Operator
from simkit.kernel import Kernel
from simkit.kernel.units import MILLISECOND
from simkit.scenario.events import OperatorFailed
from simkit.scenario.plan import PlannedStep

OPERATOR = "operator"
"""The name of the task, and under which the depot knows its requests."""


class _NotMade(Exception):
    """A step means a restore point that no step before it made."""


class OperatorWork:
    """What the operator of one run does. Spawn `run`.

    `rolled_back` is called after each rollback that the depot acknowledged: what the live instance knows is past.
    """

    def __init__(self, depot: Depot, steps: Sequence[PlannedStep], rolled_back: Callable[[], None]) -> None:
        self._kernel: Kernel = depot.kernel
        self._operator = Operator(depot, OPERATOR)
        self._steps = steps
        self._rolled_back = rolled_back
        #: ids of restore points by the names of the scenario
        self._ids: dict[str, str] = {}

    def run(self) -> None:
        """Does the steps, each after its pause."""
        kernel = self._kernel
        for number, step in enumerate(self._steps):
            kernel.sleep(step.after_ns)
            try:
                self._do(step)
            except DepotError as error:
                self._failed(number, step, error.code, str(error))
            except _NotMade as error:
                self._failed(number, step, "restore_point_not_made", str(error))

    def _do(self, step: PlannedStep) -> None:
        match step.action:
            case "restore_point":
                self._ids[step.name] = self._operator.make_restore_point(self._target(step)).id
            case "fork":
                self._operator.fork(step.name, self._target(step))
            case "rollback":
                self._roll_back(self._target(step))
            case "delete":
                self._operator.delete_restore_point(self._id(step.name))
                del self._ids[step.name]
            case "compact":
                self._operator.force_compaction()

    def _roll_back(self, target: Target) -> None:
        history = self._kernel.history
        asked = len(history)
        self._ids.pop("undo", None)
        self._operator.rollback(target)
        for event in history[asked:]:
            if isinstance(event, RestorePointMade) and event.task == OPERATOR:
                self._ids["undo"] = event.restore_point
        self._rolled_back()

    def _target(self, step: PlannedStep) -> Target:
        if step.before_ns is not None:
            return AtTime(EPOCH_MS + (self._kernel.now - step.before_ns) // MILLISECOND)
        return Latest() if step.at == "latest" else AtRestorePoint(self._id(step.at))

    def _id(self, name: str) -> str:
        try:
            return self._ids[name]
        except KeyError:
            raise _NotMade(f"no restore point {name!r} was made, or it was deleted") from None

    def _failed(self, number: int, step: PlannedStep, error: str, message: str) -> None:
        kernel = self._kernel
        kernel.record(OperatorFailed(kernel.now, OPERATOR, number, step.action, step.name, error, message))
