"""The registry of defects says what is there, and the documentation says the same."""

import re
from pathlib import Path

import pytest

from simkit.check.verdict import INVARIANTS
from simkit.defects.registry import DEFECTS, Defect, DefectNotFound, find_defect
from simkit.scenario.parts import parts_for

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTATION = REPOSITORY / "docs" / "defects.md"


def documented_rows() -> dict[str, list[str]]:
    """The cells of each row of the table of defects, by id."""
    rows = {}
    for line in DOCUMENTATION.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = re.fullmatch(r"`([a-z-]+)`", cells[0])
        if name is not None and len(cells) > 3:
            rows[name.group(1)] = cells
    return rows


def test_every_invariant_has_a_defect_that_must_violate_it() -> None:
    assert {defect.invariant for defect in DEFECTS.values()} == set(INVARIANTS)


def test_defects_are_found_by_their_own_ids() -> None:
    assert [find_defect(name).id for name in DEFECTS] == list(DEFECTS)


def test_an_unknown_id_names_the_closest_defect() -> None:
    with pytest.raises(DefectNotFound, match="did you mean 'fence-skipped'"):
        find_defect("fence-skiped")


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_defect_replaces_at_least_one_part(defect: Defect) -> None:
    sound = parts_for("single")
    assert defect.parts(sound) != sound


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_defect_names_a_scenario_that_exists(defect: Defect) -> None:
    assert (REPOSITORY / "scenarios" / defect.scenario).is_file()


def test_the_documentation_lists_exactly_the_registered_defects() -> None:
    assert list(documented_rows()) == list(DEFECTS)


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS.keys())
def test_the_documentation_agrees_with_the_registry(defect: Defect) -> None:
    row = documented_rows()[defect.id]
    assert (row[1], row[2], row[3], row[4]) == (
        defect.breaks,
        defect.happened_in,
        f"`{defect.scenario}`",
        defect.invariant,
    )
