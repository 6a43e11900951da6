"""What a client makes of an error: refused for certain, unknown, or no answer at all.

An error is an answer when it tells something about the operation: refused (constraint, syntax, busy, closed, too many
wait), or unknown (I/O error, cancellation, timeout, crash). A mistake in the code of the system, such as a TypeError,
tells nothing about storage: it ends the run. Knows nothing of instances and crashes; those are the client's.
"""

from __future__ import annotations

import apsw

from simkit.check.events import FAILED, UNKNOWN
from simkit.kernel import MisuseError, ReplayDivergence
from simkit.pool.system import DatabaseClosed, Overloaded, TransactionExpired

_REFUSED = (
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.AuthError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.ReadOnlyError,
    apsw.TooBigError,
    apsw.RangeError,
    apsw.BindingsError,
    DatabaseClosed,
    Overloaded,
    TransactionExpired,
)
"""Errors after which an operation has certainly not taken effect, whatever was asked: COMMIT too."""

_REFUSED_RESULTS = (apsw.SQLITE_FULL, apsw.SQLITE_TOOBIG)
"""The same by SQLite's result, whatever class the error has: a depot that is full, or takes no commit of that size."""

_MISTAKES = (
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ZeroDivisionError,
)
"""Errors that Python raises of a mistake in the code: what a client is told of them says nothing about storage."""


class NotAResult(TypeError):
    """The system under test answered with something else than a `Result`: a mistake in the system, and no outcome."""


class NotSupported(TypeError):
    """The plan asks for something that the system under test does not have: the scenario does not fit the system."""


def ends_the_run(error: BaseException) -> bool:
    """Whether an error is no answer of the system to its client."""
    return isinstance(error, NotAResult | NotSupported | ReplayDivergence) or is_mistake(error)


def is_mistake(error: BaseException) -> bool:
    """Whether it is a mistake in code. A class of the system's own is an answer, whatever its bases.

    Neither are errors of SQLite mistakes, simkit's storage errors among them: those are `apsw.Error`s.
    """
    return isinstance(error, MisuseError) or (isinstance(error, _MISTAKES) and type(error).__module__ == "builtins")


def outcome_of(error: BaseException, may_have_committed: bool) -> str:
    """FAILED or UNKNOWN, of an error that is an answer."""
    if isinstance(error, _REFUSED) or getattr(error, "result", None) in _REFUSED_RESULTS:
        return FAILED
    return UNKNOWN if may_have_committed else FAILED


def error_text(error: BaseException) -> str:
    """How an error stands in the history: its class, and what it says."""
    return f"{type(error).__name__}: {error}"
