"""The vocabulary of scenario models: frozen base, durations, distributions, ranges, names.

Every model refuses unknown keys and cannot change after loading. Where a key takes several shapes (`20ms`,
`[1ms, 5ms]`, a mapping) the shape is told apart before validation, so that a wrong value gives one message
about the shape that was meant and not one per alternative. Knows no key of the file itself. Upholds DET-1: a
loaded model is plain data.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from simkit.depot.distribution import Distribution, constant, empirical, lognormal, mixture, uniform
from simkit.kernel.units import DURATION_PATTERN, MILLISECOND, format_duration, parse_duration
from simkit.scenario.positions import PositionedMapping
from simkit.scenario.problems import suggest

SAMPLES_MAX = 1_000_000


class Model(BaseModel):
    """A mapping of the scenario file."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _note_allowed_keys(cls, value: Any) -> Any:
        if isinstance(value, PositionedMapping):
            value.allowed = tuple(cls.model_fields)
        elif not isinstance(value, dict | BaseModel):
            raise refuse(f"expected a mapping with the keys {', '.join(cls.model_fields)}, not {describe(value)}")
        return value


def refuse(message: str) -> PydanticCustomError:
    """A validation error whose whole text is `message`."""
    return PydanticCustomError("scenario", "{message}", {"message": message})


def describe(value: object) -> str:
    """A value as a short piece of a message."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return f"a mapping with the keys {', '.join(map(str, value))}" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def shape(value: object) -> str | None:
    """The tag of a value by its outer form; used where a key takes text, a list or a mapping."""
    if isinstance(value, str):
        return "<text>"
    if isinstance(value, list | tuple):
        return "<list>"
    if isinstance(value, dict | BaseModel):
        return "<mapping>"
    return None


def by_shape(expected: str) -> Discriminator:
    """A union told apart by `shape`; `expected` completes the sentence "expected ..."."""
    return Discriminator(shape, custom_error_type="scenario", custom_error_message=f"expected {expected}")


def one_of(what: str, allowed: Sequence[str], also: str = "") -> tuple[BeforeValidator, WithJsonSchema]:
    """Text that must be one of `allowed`; the error names the closest one, and the other forms in `also`."""

    def check(value: object) -> object:
        if isinstance(value, str) and value in allowed:
            return value
        raise refuse(f"{describe(value)} is no {what}; {suggest(value, allowed)}{also}")

    return BeforeValidator(check), WithJsonSchema({"type": "string", "enum": list(allowed)})


def keyed(what: str, tags: Sequence[str]) -> Callable[[object], str]:
    """A discriminator for mappings told apart by which key they have; refuses a mapping that has none of `tags`."""

    def tag_of(value: object) -> str:
        if isinstance(value, BaseModel):
            return f"<{next(iter(type(value).model_fields))}>"
        assert isinstance(value, dict)
        for tag in tags:
            if tag in value:
                return f"<{tag}>"
        key = next(iter(value), None)
        raise refuse(f"{describe(value)} is no {what}; {suggest(key, tags)}")

    return tag_of


def refuse_unkeyed(what: str, tags: Sequence[str]) -> BeforeValidator:
    """Raises for a mapping with none of the keys `tags`, before the union is tried."""
    tag_of = keyed(what, tags)

    def check(value: object) -> object:
        if isinstance(value, dict):
            tag_of(value)
        return value

    return BeforeValidator(check)


def value_or_list(kind: Any) -> Any:
    """The annotation of a setting: one value, or a list of which every run draws one; a tuple in the model."""
    return Annotated[
        Annotated[kind, Tag("<value>")] | Annotated[tuple[kind, ...], Field(min_length=1), Tag("<list>")],
        Discriminator(lambda value: "<list>" if isinstance(value, list | tuple) else "<value>"),
        AfterValidator(lambda value: value if isinstance(value, tuple) else (value,)),
    ]


def _duration(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise refuse(f"{describe(value)} is no duration: write for example 5ms")
    if isinstance(value, int | float):
        raise refuse(f"the duration {value} has no unit: write {value}ms (units are ns, us, ms, s, min)")
    try:
        return parse_duration(value)
    except ValueError as error:
        raise refuse(str(error)) from None


_DURATION_SCHEMA = {
    "type": "string",
    "pattern": DURATION_PATTERN,
    "description": "A duration with its unit: ns, us, ms, s or min.",
    "examples": ["5ms", "2.5s", "800us"],
}

DurationNs = Annotated[int, BeforeValidator(_duration), WithJsonSchema(_DURATION_SCHEMA)]
"""A duration in the file, nanoseconds in the model."""

Integer = Annotated[int, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]


def _finite_weight(value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise refuse(f"a weight must be above zero and finite, not {value}: leave out what must never be drawn")
    return value


def _probability(value: float) -> float:
    if not 0 < value <= 1:
        raise refuse(f"a probability must be above 0 and at most 1, not {value}")
    return value


Weight = Annotated[
    float, Strict(), AfterValidator(_finite_weight), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})
]
Probability = Annotated[
    float,
    Strict(),
    AfterValidator(_probability),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
]


def ascending(value: tuple[Any, Any]) -> tuple[Any, Any]:
    """A range whose low end is not above its high end."""
    if value[0] > value[1]:
        raise refuse(f"the range is empty: {value[0]} is more than {value[1]}; write the smaller one first")
    return value


def _pair(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(value)
    raise refuse(f"expected a range [low, high], not {describe(value)}")


def _count_range(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    if isinstance(value, list | tuple):
        return _pair(value)
    raise refuse(f"expected a whole number or a range [low, high], not {describe(value)}")


CountRange = Annotated[
    tuple[Count, Count],
    BeforeValidator(_count_range),
    AfterValidator(ascending),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "integer", "minimum": 1},
                {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2},
            ]
        }
    ),
]
"""A whole number, or [low, high] from which one is drawn; in the model always (low, high)."""


def _ascending_durations(value: tuple[int, int]) -> tuple[int, int]:
    low, high = map(format_duration, value)
    if value[0] > value[1]:
        raise refuse(f"the range is empty: {low} is more than {high}; write [{high}, {low}]")
    return value


DurationRange = Annotated[tuple[DurationNs, DurationNs], BeforeValidator(_pair), AfterValidator(_ascending_durations)]


class LognormalSpec(Model):
    """Lognormal by its median and 99th percentile."""

    p50: DurationNs
    """The median."""
    p99: DurationNs
    """The 99th percentile; at least p50."""


class MixturePart(Model):
    """One part of a mixture: a weight with `value`, with `range`, or with `p50` and `p99`."""

    weight: Weight
    """How often this part is drawn, relative to the other weights."""
    value: DurationNs | None = None
    """A constant duration."""
    range: DurationRange | None = None
    """A uniform range [low, high]."""
    p50: DurationNs | None = None
    """The median of a lognormal part."""
    p99: DurationNs | None = None
    """The 99th percentile of a lognormal part."""

    def build(self) -> Distribution:
        """The distribution of this part."""
        match (self.value, self.range, self.p50, self.p99):
            case (int() as value, None, None, None):
                return constant(value)
            case (None, (low, high), None, None):
                return uniform(low, high)
            case (None, None, int() as p50, int() as p99):
                return lognormal(p50, p99)
        raise ValueError("a part of a mixture has a weight and one of: value; range; p50 and p99")


class MixtureSpec(Model):
    """Draws from one of several parts by weight."""

    mixture: Annotated[tuple[MixturePart, ...], Field(min_length=1)]
    """The parts."""


class SamplesSpec(Model):
    """Measured durations, each equally likely."""

    samples: Annotated[tuple[DurationNs, ...], Field(min_length=1)]
    """The durations."""


class FileSpec(Model):
    """Measured durations from a file: milliseconds, one a line or in the first column of a CSV file."""

    file: Annotated[str, Field(min_length=1)]
    """Path relative to the scenario file."""


_MAPPING_TAGS = ("p50", "p99", "mixture", "samples", "file")
_WHAT = "distribution of durations"


def _distribution_tag(value: object) -> str | None:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return "<constant>"
    if isinstance(value, list | tuple):
        return "<range>"
    if isinstance(value, dict | BaseModel):
        tag = keyed(_WHAT, _MAPPING_TAGS)(value)
        return "<p50>" if tag == "<p99>" else tag
    return None


def read_attachment(name: str, directory: Path, attachments: dict[str, str], sealed: bool) -> str:
    """The text of a file that a scenario names. `attachments` remembers it; when `sealed`, it is the only place
    to look.

    Raises `ValueError` that names the file.
    """
    if name not in attachments:
        if sealed:
            raise ValueError(f"the file {name!r} is not among the files that came with this scenario")
        try:
            attachments[name] = (directory / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ValueError(f"cannot read the file {name!r}: {reason}; the path is relative to the scenario") from None
    return attachments[name]


def parse_samples(text: str, name: str) -> list[int]:
    """Nanoseconds from a text of milliseconds: the first column; a header line that is no number is skipped.

    Raises `ValueError` that names the file and line.
    """
    samples: list[int] = []
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        cell = row[0].strip() if row else ""
        if not cell:
            continue
        try:
            milliseconds = float(cell)
        except ValueError:
            if number == 1:
                continue
            raise ValueError(f"{name}:{number}: {cell!r} is no number of milliseconds") from None
        if not 0 <= milliseconds < 1e9:
            raise ValueError(f"{name}:{number}: {cell} ms is no possible duration")
        samples.append(round(milliseconds * MILLISECOND))
    if not 1 <= len(samples) <= SAMPLES_MAX:
        raise ValueError(f"{name} has {len(samples)} samples: give 1 to {SAMPLES_MAX}")
    return samples


def _build_distribution(value: Any, info: ValidationInfo) -> Distribution:
    try:
        match value:
            case int():
                return constant(value)
            case (low, high):
                return uniform(low, high)
            case LognormalSpec():
                return lognormal(value.p50, value.p99)
            case MixtureSpec():
                return mixture([(part.weight, part.build()) for part in value.mixture])
            case SamplesSpec():
                return empirical(value.samples)
            case FileSpec():
                context = info.context or {}
                directory = Path(context.get("directory", "."))
                text = read_attachment(
                    value.file, directory, context.get("attachments", {}), context.get("sealed", False)
                )
                return empirical(parse_samples(text, value.file))
    except ValueError as error:
        raise refuse(str(error)) from None
    raise AssertionError(f"a distribution of unknown form: {value!r}")


if TYPE_CHECKING:
    DurationDistribution = Distribution
else:
    DurationDistribution = Annotated[
        Annotated[DurationNs, Tag("<constant>")]
        | Annotated[DurationRange, Tag("<range>")]
        | Annotated[LognormalSpec, Tag("<p50>")]
        | Annotated[MixtureSpec, Tag("<mixture>")]
        | Annotated[SamplesSpec, Tag("<samples>")]
        | Annotated[FileSpec, Tag("<file>")],
        Discriminator(
            _distribution_tag,
            custom_error_type="scenario",
            custom_error_message="expected a duration 5ms, a range [1ms, 5ms], or a mapping {p50: 1ms, p99: 9ms}",
        ),
        AfterValidator(_build_distribution),
        refuse_unkeyed(_WHAT, _MAPPING_TAGS),
    ]
"""In the file a duration, a range or a mapping; in the model a `Distribution`."""
