"""The parts a run is built from, each replaceable by a class of the same shape.

Teams put their own system here, and defects (`simkit.defects`) their broken ones. The inspector that observes
states always uses simkit's own VFS.
"""

from __future__ import annotations

import importlib
import traceback
from dataclasses import dataclass

from simkit.depot.depot import Depot
from simkit.depot.storage import DirectStorage
from simkit.pool.manager import ConnectionManager
from simkit.pool.single import SingleConnection
from simkit.pool.system import SystemFactory
from simkit.pool.worker import SingleWorker
from simkit.vfs.database import Database
from simkit.vfs.filesystem import DepotVfs

SYSTEMS: dict[str, SystemFactory] = {"pool": ConnectionManager, "worker": SingleWorker, "single": SingleConnection}
"""Systems under test by the name a scenario uses."""


class SystemNotFound(Exception):
    """The scenario names a system that cannot be imported."""


@dataclass(frozen=True)
class Parts:
    """The classes that make up an instance and its storage."""

    system: SystemFactory
    depot: type[Depot] = Depot
    storage: type[DirectStorage] = DirectStorage
    database: type[Database] = Database
    vfs: type[DepotVfs] = DepotVfs


def parts_for(system: str) -> Parts:
    """The parts around a system: a built-in name, or `package.module:factory`. Raises `SystemNotFound`."""
    built_in = SYSTEMS.get(system)
    if built_in is not None:
        return Parts(system=built_in)
    module_name, _, attribute = system.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        if not isinstance(error, ImportError | AttributeError):
            raise SystemNotFound(f"system {system!r} cannot be loaded: {_where(error)}: {error!r}") from error
        raise SystemNotFound(
            f"system {system!r} cannot be loaded: {error}. Write it as package.module:factory and make sure that "
            f"python can import {module_name} here (for example with `pip install -e .` in its project)."
        ) from error
    if not callable(factory):
        raise SystemNotFound(f"system {system!r} is a {type(factory).__name__}, not something to call with an instance")
    return Parts(system=factory)


def _where(error: Exception) -> str:
    """The innermost line of code that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
