"""Values of SQL parameters: literals, and generators that are drawn when a run is planned.

Each generator is a mapping with one key. `compile_parameter` turns it into a function that draws one value;
this happens once per scenario, so planning a run costs one call a value. Upholds VAL-1 by offering the values
that storage layers damage (`edge`), and DET-1 by drawing only from the stream it is given. Values are what
SQLite stores: NULL, 64-bit integers, doubles, text, blobs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from simkit.kernel.decisions import stream_random
from simkit.scenario.model_base import (
    Integer,
    Model,
    Number,
    ascending,
    describe,
    keyed,
    one_of,
    refuse,
    refuse_unkeyed,
)

Value = int | float | str | bytes | None

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1
LENGTH_MAX = 1_000_000

_EDGE_KINDS = ("int", "real", "text", "blob", "any")


class Stream:
    """What a parameter draws from: a random stream, the client it is for, and the counters of one run."""

    __slots__ = ("client", "counters", "getrandbits", "offset", "random", "stride")

    def __init__(
        self, random: Callable[[], float], getrandbits: Callable[[int], int], client: str, offset: int, stride: int
    ) -> None:
        self.random = random
        self.getrandbits = getrandbits
        self.client = client
        self.offset = offset
        self.stride = stride
        self.counters: dict[int | str, int] = {}


Draw = Callable[[Stream], Value]


def _sqlite_integer(value: int) -> int:
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise refuse(f"{value} does not fit in 64 bits: SQLite integers are {INTEGER_MIN} to {INTEGER_MAX}")
    return value


SqliteInteger = Annotated[Integer, AfterValidator(_sqlite_integer)]


def _real_end(value: float) -> float:
    if not math.isfinite(value):
        raise refuse(f"the end of a range must be finite, not {value}; use {{edge: real}} for infinities")
    return value


def _length(value: int) -> int:
    if not 0 <= value <= LENGTH_MAX:
        raise refuse(f"a length must be 0 to {LENGTH_MAX}, not {value}")
    return value


def _range(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(value)
    raise refuse(f"expected a range [low, high], not {describe(value)}")


_Lengths = Annotated[
    tuple[Annotated[Integer, AfterValidator(_length)], Annotated[Integer, AfterValidator(_length)]],
    BeforeValidator(_range),
    AfterValidator(ascending),
]
_RealEnd = Annotated[Number, AfterValidator(_real_end)]


class IntegerRange(Model):
    """A whole number from a range, both ends included."""

    int: Annotated[tuple[SqliteInteger, SqliteInteger], BeforeValidator(_range), AfterValidator(ascending)]
    """[low, high]"""


class RealRange(Model):
    """A floating-point number from a range."""

    real: Annotated[tuple[_RealEnd, _RealEnd], BeforeValidator(_range), AfterValidator(ascending)]
    """[low, high]"""


def _literal(value: object) -> object:
    if value is None or isinstance(value, bool | float | str):
        return int(value) if isinstance(value, bool) else value
    if isinstance(value, int):
        return _sqlite_integer(value)
    raise refuse(f"{describe(value)} is no SQL value: expected null, a number or text")


_LITERAL_SCHEMA: dict[str, Any] = {"type": ["null", "boolean", "integer", "number", "string"]}
SqlLiteral = Annotated[int | float | str | None, BeforeValidator(_literal), WithJsonSchema(_LITERAL_SCHEMA)]


class Choice(Model):
    """One of the values listed, each equally likely."""

    choice: Annotated[tuple[SqlLiteral, ...], Field(min_length=1)]
    """The values."""


class TextLength(Model):
    """Random text of letters and digits."""

    text: _Lengths
    """[shortest, longest] in characters"""


class BlobLength(Model):
    """Random bytes."""

    blob: _Lengths
    """[shortest, longest] in bytes"""


class Sequence(Model):
    """Whole numbers that never repeat in a run and grow for each client; sequences with one start share them."""

    sequence: SqliteInteger
    """The first number."""


class Unique(Model):
    """Text that never repeats in a run: prefix-client-number."""

    unique: Annotated[str, Field(min_length=1)]
    """The prefix."""


class Edge(Model):
    """One of the values at a boundary of a type, or at a limit of the page size."""

    edge: Annotated[str, *one_of("kind of edge value", _EDGE_KINDS)]
    """Which type: int, real, text, blob, or any of them."""


class ClientName(Model):
    """The name of the client that runs the operation."""

    client: Literal[True]
    """Always true."""


GENERATORS: Mapping[str, type[Model]] = {
    "int": IntegerRange,
    "real": RealRange,
    "choice": Choice,
    "text": TextLength,
    "blob": BlobLength,
    "sequence": Sequence,
    "unique": Unique,
    "edge": Edge,
    "client": ClientName,
}

_WHAT = "parameter generator"


def _parameter_tag(value: object) -> str:
    return keyed(_WHAT, tuple(GENERATORS))(value) if isinstance(value, dict | BaseModel) else "<literal>"


Parameter = Annotated[
    Annotated[SqlLiteral, Tag("<literal>")]
    | Annotated[IntegerRange, Tag("<int>")]
    | Annotated[RealRange, Tag("<real>")]
    | Annotated[Choice, Tag("<choice>")]
    | Annotated[TextLength, Tag("<text>")]
    | Annotated[BlobLength, Tag("<blob>")]
    | Annotated[Sequence, Tag("<sequence>")]
    | Annotated[Unique, Tag("<unique>")]
    | Annotated[Edge, Tag("<edge>")]
    | Annotated[ClientName, Tag("<client>")],
    Discriminator(_parameter_tag),
    refuse_unkeyed(_WHAT, tuple(GENERATORS)),
]


_PARAMS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Parameter])


def edge_values(kind: str, page_size: int) -> tuple[Value, ...]:
    """The boundary values of a type; text and blobs reach around the page size in bytes."""
    integers: tuple[Value, ...] = (
        *(0, 1, -1, 127, 128, -128, -129, 32_767, 32_768, 2**23 - 1, 2**23, 2**31 - 1, 2**31, -(2**31)),
        *(2**47 - 1, 2**47, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, INTEGER_MAX, INTEGER_MIN),
    )
    reals: tuple[Value, ...] = (
        *(0.0, -0.0, 0.1, 1.5, -1.5, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308),
        *(9007199254740993.0, 9.223372036854775807e18, math.inf, -math.inf),
    )
    texts: tuple[Value, ...] = (
        *("", " ", "a\0b", "\0", "'", '"', "it's", "\\", "\r\n", "é", "e\u0301", "\ufeff", "\U0001f600", "\U0010ffff"),
        *("NULL", "123", "1e5", "x" * (page_size - 1), "x" * page_size, "é" * page_size),
    )
    blobs: tuple[Value, ...] = (
        *(b"", b"\0", b"\0" * 16, b"\xff", b"a\0b", b"SQLite format 3\0"),
        *(bytes(page_size - 1), b"\xa5" * page_size, b"\x5a" * (page_size + 1)),
    )
    match kind:
        case "int":
            return integers
        case "real":
            return reals
        case "text":
            return texts
        case "blob":
            return blobs
        case "any":
            return (None, *integers, *reals, *texts, *blobs)
    raise ValueError(f"no edge values of kind {kind!r}: there are {', '.join(_EDGE_KINDS)}")


_LETTERS = bytes(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[index % 64] for index in range(256)
)


def compile_parameter(spec: Any, page_size: int) -> Draw:
    """The function that draws values of `spec`, a validated `Parameter`."""
    match spec:
        case IntegerRange():
            return _compile_integer(*spec.int)
        case RealRange():
            low, high = spec.real
            return lambda stream: _real_between(low, high, stream.random())
        case Choice():
            return _compile_choice(spec.choice)
        case TextLength():
            shortest, longest = spec.text
            return lambda stream: _bytes(stream, shortest, longest).translate(_LETTERS).decode("ascii")
        case BlobLength():
            shortest, longest = spec.blob
            return lambda stream: _bytes(stream, shortest, longest)
        case Sequence():
            return _compile_sequence(spec.sequence)
        case Unique():
            return _compile_unique(spec.unique)
        case Edge():
            return _compile_choice(edge_values(spec.edge, page_size))
        case ClientName():
            return lambda stream: stream.client
    assert spec is None or isinstance(spec, int | float | str), f"not a parameter: {spec!r}"
    return lambda _: spec


def _compile_integer(low: int, high: int) -> Draw:
    width = high - low + 1
    if width <= 2**32:  # small enough that a 53-bit fraction favours no number noticeably
        return lambda stream: low + int(stream.random() * width)
    return lambda stream: low + stream.getrandbits(128) % width


def _real_between(low: float, high: float, fraction: float) -> float:
    """A point of the range; computed so that the width of an enormous range cannot overflow."""
    return min(high, max(low, low * (1.0 - fraction) + high * fraction))


def _compile_choice(values: tuple[Value, ...]) -> Draw:
    count = len(values)
    return lambda stream: values[int(stream.random() * count)]


def _bytes(stream: Stream, shortest: int, longest: int) -> bytes:
    length = shortest + int(stream.random() * (longest - shortest + 1))
    return stream.getrandbits(8 * length).to_bytes(length, "little") if length else b""


def _compile_sequence(start: int) -> Draw:
    def draw(stream: Stream) -> Value:
        taken = stream.counters.get(start, 0)
        stream.counters[start] = taken + 1
        return start + stream.offset + taken * stream.stride

    return draw


def _compile_unique(prefix: str) -> Draw:
    def draw(stream: Stream) -> Value:
        taken = stream.counters.get(prefix, 0) + 1
        stream.counters[prefix] = taken
        return f"{prefix}-{stream.client}-{taken}"

    return draw


def setup_bindings(params: Mapping[str, Any], count: int, page_size: int, index: int) -> Iterator[dict[str, Value]]:
    """The values of each of `count` repetitions of setup statement `index`; the same for every seed."""
    random = stream_random(0, f"setup/{index}")
    stream = Stream(random.random, random.getrandbits, "setup", 0, 1)
    draws = tuple((name, compile_parameter(spec, page_size)) for name, spec in params.items())
    for _ in range(count):
        yield {name: draw(stream) for name, draw in draws}


def parse_params(params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The parameter specifications of a raw mapping, or None when one is wrong."""
    try:
        return _PARAMS.validate_python(params)
    except ValidationError:
        return None
