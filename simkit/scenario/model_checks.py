"""Models of what is judged: which checks, what a search is expected to find, which marks it must hit.

The ids of checks are those of the invariants (`simkit.check.verdict`). Which marks there are is known for changes of
mode only; any other is the word of the system under test, and one that is misspelt shows as never hit.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Tag, WithJsonSchema

from simkit.check.verdict import INVARIANTS
from simkit.pool.events import CLOSED, CLOSING, READ, WRITE
from simkit.pool.metrics import MODE_TRANSITIONS
from simkit.scenario.model_base import Model, by_shape, describe, one_of, refuse
from simkit.scenario.model_faults import check_name

CHECK_IDS = tuple(INVARIANTS)
MODES = (CLOSED, READ, WRITE, CLOSING)
MARK_LENGTH_MAX = 80


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


_MARK = re.compile(r"[a-z0-9]([a-z0-9 >:_-]*[a-z0-9])?")
_MODE_MARK = re.compile(r"mode (\w+)->(\w+)")


def _mark(value: object) -> object:
    if not isinstance(value, str) or not _MARK.fullmatch(value) or len(value) > MARK_LENGTH_MAX:
        raise refuse(
            f"{describe(value)} is no mark: write lower-case words, such as 'mode closed->read' or 'lease dropped'"
        )
    if value.startswith("mode "):
        change = _MODE_MARK.fullmatch(value)
        if change is None:
            raise refuse(f"{describe(value)} is no change of mode: write for example 'mode closed->read'")
        before, after = (check_name("mode", mode, MODES) for mode in change.groups())
        if (before, after) not in MODE_TRANSITIONS:
            possible = ", ".join(f"{each}->{other}" for each, other in MODE_TRANSITIONS)
            raise refuse(f"no connection manager goes from {before} to {after}; there are {possible}")
    return value


def _marks(value: tuple[str, ...]) -> tuple[str, ...]:
    for mark in value:
        if value.count(mark) > 1:
            raise refuse(f"the mark {mark!r} is given twice: keep one")
    return value


Marks = Annotated[
    tuple[
        Annotated[str, BeforeValidator(_mark), WithJsonSchema({"type": "string", "pattern": f"^{_MARK.pattern}$"})], ...
    ],
    AfterValidator(_marks),
]

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
