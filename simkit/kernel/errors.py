"""What the kernel raises, and what it throws into tasks.

`Cancelled` and `Crashed` derive from BaseException: code under test that catches `Exception` must not be able to
swallow its own cancellation or death by accident. SimPy re-raises a failed event as `type(e)(*e.args)`, so every
exception here can be rebuilt from its `args`.
"""

from __future__ import annotations


class MisuseError(RuntimeError):
    """The caller broke the contract of a kernel object; the message says which rule and what to do instead."""


class Cancelled(BaseException):
    """Thrown at the yield point of a task that was cancelled. Clean up and let it pass."""


class Crashed(BaseException):
    """Thrown at the yield point of every task inside a group that crashed. No further yield succeeds."""


class TimedOut(Exception):
    """The block under `kernel.timeout(ns)` did not finish in its simulated time."""


class TaskFailed(RuntimeError):
    """A task ended with an exception that nobody waited for. The cause is chained."""


class TaskEndedEarly(RuntimeError):
    """`join()` on a task that was cancelled or crashed and therefore has no result."""


class Deadlock(RuntimeError):
    """Nothing can run any more and foreground tasks still wait. The message is the whole report."""


class BoundExceeded(RuntimeError):
    """The run used up its bound of steps or of simulated time before its tasks ended."""


class ReplayDivergence(RuntimeError):
    """A replayed run asked for another decision than the one recorded. Shows both sides."""
