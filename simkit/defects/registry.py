"""The defects by their ids: what each breaks, where such a thing happened, and which invariant must catch it where.

A defect is one or two small subclasses put into `Parts`; the product has no switches for them. Every invariant that is
checked has a defect here that violates it, otherwise nobody would know whether its check works. The entries stand in
three modules: `storage_entries`, `compaction_entries` and `pool_entries`.
"""

from __future__ import annotations

from simkit.defects.compaction_entries import COMPACTION_DEFECTS
from simkit.defects.defect import Defect
from simkit.defects.pool_entries import POOL_DEFECTS
from simkit.defects.storage_entries import STORAGE_DEFECTS
from simkit.scenario.problems import suggest

__all__ = ["DEFECTS", "Defect", "DefectNotFound", "find_defect"]


class DefectNotFound(LookupError):
    """No defect has this id."""


def find_defect(name: str) -> Defect:
    """The defect with this id. Raises `DefectNotFound`, which names the closest one."""
    defect = DEFECTS.get(name)
    if defect is None:
        raise DefectNotFound(f"there is no defect {name!r}; {suggest(name, DEFECTS)}")
    return defect


DEFECTS: dict[str, Defect] = {defect.id: defect for defect in (*STORAGE_DEFECTS, *COMPACTION_DEFECTS, *POOL_DEFECTS)}
"""All defects by id."""
