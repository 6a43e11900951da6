"""The last events before a violation, of the tasks that are involved: one line each, for people."""

from __future__ import annotations

from collections.abc import Sequence

from simkit.check.events import InstanceCrashed, RunEnded
from simkit.check.verdict import Violation
from simkit.depot.events import PagesRead
from simkit.kernel import Record
from simkit.kernel.units import format_duration
from simkit.scenario.world import END_OF_RUN, INSPECTOR

EVENTS_SHOWN = 12
_VALUE_CHARACTERS_MAX = 60


def last_events(history: Sequence[Record], violation: Violation, count: int = EVENTS_SHOWN) -> list[str]:
    """The last `count` events of the involved tasks and operations, and of the model, up to the violation."""
    tasks, operations = set(violation.tasks), set(violation.operations)
    chosen: list[Record] = []
    for event in reversed(history):
        if event.at > violation.at:
            continue
        related = (
            not tasks or event.task in tasks or event.task == "" or getattr(event, "operation", None) in operations
        )
        if related and not _says_nothing(event):
            chosen.append(event)
            if len(chosen) == count:
                break
    return [render_event(event) for event in reversed(chosen)]


def _says_nothing(event: Record) -> bool:
    """What the world does at the end and to look at a state, in every run alike."""
    if isinstance(event, InstanceCrashed):
        return event.cause == END_OF_RUN
    if isinstance(event, PagesRead):
        return event.instance == INSPECTOR
    return isinstance(event, RunEnded)


def render_event(event: Record) -> str:
    """One event on one line: time, task, what, and its fields."""
    fields = []
    for name in event.__struct_fields__:
        if name in ("at", "task"):
            continue
        text = repr(getattr(event, name))
        if len(text) > _VALUE_CHARACTERS_MAX:
            text = f"{text[: _VALUE_CHARACTERS_MAX - 1]}…"
        fields.append(f"{name}={text}")
    return f"{format_duration(event.at):>14}  {event.task or '-':<12} {type(event).__name__:<18} {' '.join(fields)}"
