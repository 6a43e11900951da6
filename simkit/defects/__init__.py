"""Deliberate, named breakages that the checks must catch: the registry, and how soon each is caught.

A check that has never been seen to fire proves nothing by its silence. `DEFECTS` holds what each check is tried on,
`measure` tells how many runs it takes.
"""

from simkit.defects.measure import DefectRow, measure
from simkit.defects.registry import DEFECTS, Defect, DefectNotFound, find_defect

__all__ = ["DEFECTS", "Defect", "DefectNotFound", "DefectRow", "find_defect", "measure"]
