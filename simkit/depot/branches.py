"""Restore points, forks and rollbacks."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from simkit.depot.core import Core
from simkit.depot.request import Reply, Request
from simkit.kernel import Happening


class Branches:
    """Answers control requests."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def handle(self, request: Request, service_ns: int) -> Generator[Happening, Any, Reply]:
        """Carries out `request.command`. Raises the depot's errors."""
        yield self._core.kernel.stage(service_ns, None, "control", request)
        raise NotImplementedError
