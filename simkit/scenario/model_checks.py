"""Models of what is judged: which checks, and what a search is expected to find.

The ids of checks are those of the invariants (`simkit.check.verdict`). What must be judged because it is expected is
a rule between keys (`cross_check`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Tag, WithJsonSchema

from simkit.check.verdict import INVARIANTS
from simkit.scenario.model_base import Model, by_shape, one_of, refuse
from simkit.scenario.model_faults import check_name

CHECK_IDS = tuple(INVARIANTS)


class Expectation(Model):
    """What the search is expected to find."""

    violation: Annotated[str, *one_of("check", CHECK_IDS)] | None = None
    """The check that must be violated."""


class Expect(Model):
    """The normalised `expect` key: whether a violation is expected, and of which check (None: of any)."""

    violated: bool = False
    check: str | None = None


_EXPECT_WORDS = ("no violation", "violation")


def _expect_word(value: object) -> object:
    return check_name("expectation", value, _EXPECT_WORDS)


def _build_expect(value: Any) -> Expect:
    if isinstance(value, str):
        return Expect(violated=value == "violation")
    assert isinstance(value, Expectation)
    return Expect(violated=True, check=value.violation)


def _check_item(value: object) -> object:
    return check_name("check", value, CHECK_IDS)


_CheckId = Annotated[str, BeforeValidator(_check_item), WithJsonSchema({"type": "string", "enum": list(CHECK_IDS)})]


class ChecksWithout(Model):
    """Every check but some."""

    without: Annotated[tuple[_CheckId, ...], Field(min_length=1)]
    """The checks to leave out."""


def _build_checks(value: Any) -> tuple[str, ...]:
    if not isinstance(value, ChecksWithout):
        return CHECK_IDS if value == "all" else tuple(value)
    kept = tuple(check for check in CHECK_IDS if check not in value.without)
    if not kept:
        raise refuse("no check is left: leave out fewer")
    return kept


if TYPE_CHECKING:
    Checks = tuple[str, ...]
    ExpectField = Expect
else:
    Checks = Annotated[
        Annotated[str, *one_of("set of checks", ("all",)), Tag("<text>")]
        | Annotated[tuple[_CheckId, ...], Field(min_length=1), Tag("<list>")]
        | Annotated[ChecksWithout, Tag("<mapping>")],
        by_shape("'all', a list of check ids, or a mapping {without: [...]}"),
        AfterValidator(_build_checks),
    ]
    ExpectField = Annotated[
        Annotated[str, *one_of("expectation", _EXPECT_WORDS), Tag("<text>")] | Annotated[Expectation, Tag("<mapping>")],
        by_shape("'no violation', 'violation' or {violation: <check id>}"),
        AfterValidator(_build_expect),
    ]
