"""A process of the model: a generator that yields happenings and is resumed as each of them comes to pass.

Lighter than `simpy.Process`: it starts at once, runs without an event of its own, and costs nothing while it does not
wait. Depot handlers are written this way so that a fault point can hold a request up without a second code path.
Like `simpy.Process` it goes straight on from a happening that has come to pass already.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import simpy

from simkit.kernel.clock import Happening
from simkit.kernel.errors import MisuseError

if TYPE_CHECKING:
    from simkit.kernel.kernel import Kernel


class Process:
    """Drives one generator to its end."""

    __slots__ = ("_done", "_generator", "_kernel")

    def __init__(
        self,
        kernel: Kernel,
        generator: Generator[Happening, Any, Any],
        done: Callable[[Any, Exception | None], None] | None,
    ) -> None:
        self._kernel = kernel
        self._generator = generator
        self._done = done

    def start(self) -> None:
        self._advance(None)

    def _resume(self, event: simpy.Event) -> None:
        # The garbage collector ends generators of a closed kernel; what they let go of then must wake nobody.
        if not self._kernel._closed:
            self._advance(event._value)

    def _advance(self, value: Any) -> None:
        try:
            happening = self._generator.send(value)
            while happening.callbacks is None:
                self._require_happened(happening)
                happening = self._generator.send(happening._value)
            happening.callbacks.append(self._resume)
            return
        except StopIteration as stop:
            result, failure = stop.value, None
        except Exception as error:
            if self._done is None:
                raise
            result, failure = None, error
        if self._done is not None:
            self._done(result, failure)

    def _require_happened(self, happening: Happening) -> None:
        if happening.revoked:
            raise MisuseError(
                f"a process waits for {happening.operation} {happening.resource}, which was revoked and never happens"
            )
