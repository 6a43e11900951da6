"""The report at quiescence: who waits for what, held by whom, since when, and where in its code (PROG-2)."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from simkit.kernel.task import Task, TaskState
from simkit.kernel.units import format_duration

_STACK_FRAMES_MAX = 12
_KERNEL = Path(__file__).parent


@dataclass(frozen=True)
class Waiting:
    """One task that waits. `held_by` are the names of the tasks that hold the resource, if it knows them."""

    task: str
    background: bool
    operation: str
    resource: str
    held_by: tuple[str, ...]
    since_ns: int
    stack: str


def waiting_tasks(tasks: Iterable[Task]) -> list[Waiting]:
    """Every task that waits, in the order of their start."""
    return [_waiting(task) for task in tasks if task.state is TaskState.WAITING]


def describe_waiting(waiting: list[Waiting], now_ns: int) -> str:
    """The report as text."""
    foreground = [entry for entry in waiting if not entry.background]
    lines = [f"nothing can run at {format_duration(now_ns)} and {len(foreground)} task(s) still wait:"]
    for entry in waiting:
        kind = " (background)" if entry.background else ""
        held = f", held by {', '.join(entry.held_by)}" if entry.held_by else ""
        lines.append(
            f"  {entry.task}{kind} waits to {entry.operation} {entry.resource}{held}, "
            f"since {format_duration(entry.since_ns)}"
        )
        lines.extend(f"      {line}" for line in entry.stack.splitlines())
    cycle = find_cycle(waiting)
    if cycle:
        lines.append("  they wait in a circle: " + " -> ".join(cycle))
    return "\n".join(lines)


def find_cycle(waiting: list[Waiting]) -> list[str]:
    """The names along a circle of tasks that wait for each other, the first again at the end; empty without one."""
    holders = {entry.task: entry.held_by for entry in waiting}
    for start in holders:
        path: list[str] = []
        here: str | None = start
        while here is not None and here in holders and here not in path:
            path.append(here)
            here = next((holder for holder in holders[here] if holder in holders), None)
        if here is not None and here in path:
            return [*path[path.index(here) :], here]
    return []


def _waiting(task: Task) -> Waiting:
    holders = getattr(task.resource, "holders", ())
    return Waiting(
        task=task.name,
        background=task.background,
        operation=task.operation,
        resource=str(task.resource),
        held_by=tuple(holder.name for holder in holders),
        since_ns=task.since_ns,
        stack=_stack(task),
    )


def _stack(task: Task) -> str:
    """The task's own code: without what carries it outside, and without the kernel inside."""
    frame = getattr(task.carrier, "gr_frame", None)
    frames = traceback.extract_stack(frame) if frame is not None else []
    # The outermost frame of the kernel is the task's start, the innermost its yield; beyond them is what carries it.
    kernels = [index for index, entry in enumerate(frames) if Path(entry.filename).parent == _KERNEL]
    inner = frames[kernels[0] : kernels[-1]] if kernels else frames
    own = [entry for entry in inner if Path(entry.filename).parent != _KERNEL]
    return "".join(traceback.format_list(own[-_STACK_FRAMES_MAX:])).rstrip()
