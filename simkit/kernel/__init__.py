"""Deterministic execution: tasks, simulated time, synchronisation, decisions.

The only package that knows SimPy and greenlet.
"""

from simkit.kernel.clock import Happening
from simkit.kernel.deadlock import Waiting
from simkit.kernel.decisions import Decision, Decisions, RecordedDecisions, stream_random
from simkit.kernel.errors import (
    BoundExceeded,
    Cancelled,
    Crashed,
    Deadlock,
    MisuseError,
    ReplayDivergence,
    TaskEndedEarly,
    TaskFailed,
    TimedOut,
)
from simkit.kernel.group import Group
from simkit.kernel.history import Record, digest
from simkit.kernel.kernel import Kernel
from simkit.kernel.queue import Queue, QueueEmpty, QueueFull
from simkit.kernel.strategy import STRATEGIES, Option, RandomWalk, Strategy
from simkit.kernel.sync import Condition, Event, Lock, Semaphore
from simkit.kernel.task import Task, TaskState

__all__ = [
    "STRATEGIES",
    "BoundExceeded",
    "Cancelled",
    "Condition",
    "Crashed",
    "Deadlock",
    "Decision",
    "Decisions",
    "Event",
    "Group",
    "Happening",
    "Kernel",
    "Lock",
    "MisuseError",
    "Option",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "RandomWalk",
    "Record",
    "RecordedDecisions",
    "ReplayDivergence",
    "Semaphore",
    "Strategy",
    "Task",
    "TaskEndedEarly",
    "TaskFailed",
    "TaskState",
    "TimedOut",
    "Waiting",
    "digest",
    "stream_random",
]
