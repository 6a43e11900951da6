"""Models of what a statement means: appending to a list, reading it, writing a register, reading it.

A checker that knows no SQL judges isolation (ISO-1) from these meanings and the values that come back. It can do so
only when every value it follows stands for one write, so appended and written values come from a generator that never
repeats. Shapes and names only; `cross_check_operations` compares them with the parameters, `sql_check` with the SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Tag, WithJsonSchema

from simkit.scenario.model_base import Model, describe, keyed, refuse, refuse_unkeyed, shape
from simkit.scenario.parameters import INTEGER_MAX, INTEGER_MIN

EFFECT_KINDS = ("append", "list", "write", "read")

Kind = Literal["append", "list", "write", "read"]


def _name_or_literal(value: object) -> object:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and INTEGER_MIN <= value <= INTEGER_MAX:
        return value
    raise refuse(f"{describe(value)} is no key: name a parameter, or write a whole number or text")


def _key_and_value(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(value)
    raise refuse(f"expected [key, value], the names of two parameters, not {describe(value)}")


Key = Annotated[int | str, BeforeValidator(_name_or_literal), WithJsonSchema({"type": ["integer", "string"]})]
"""The name of a parameter; any other text, and a number, stand for themselves."""
KeyAndValue = Annotated[
    tuple[Key, Annotated[str, WithJsonSchema({"type": "string"})]],
    BeforeValidator(_key_and_value),
    WithJsonSchema(
        {
            "type": "array",
            "prefixItems": [{"type": ["integer", "string"]}, {"type": "string"}],
            "minItems": 2,
            "maxItems": 2,
        }
    ),
]


class AppendEffect(Model):
    """Puts a value at the end of a list."""

    append: KeyAndValue
    """[key of the list, parameter with the value]"""

    @property
    def kind(self) -> Kind:
        return "append"

    @property
    def names(self) -> tuple[int | str, str | None]:
        """The key and the parameter with the value, as written."""
        return self.append


class ListEffect(Model):
    """Reads a whole list: the first column of the rows, in their order."""

    list: Key
    """The key of the list."""

    @property
    def kind(self) -> Kind:
        return "list"

    @property
    def names(self) -> tuple[int | str, str | None]:
        """The key as written, and None: it has no value."""
        return self.list, None


class WriteEffect(Model):
    """Puts a value into a register, in place of the one before."""

    write: KeyAndValue
    """[key of the register, parameter with the value]"""

    @property
    def kind(self) -> Kind:
        return "write"

    @property
    def names(self) -> tuple[int | str, str | None]:
        """The key and the parameter with the value, as written."""
        return self.write


class ReadEffect(Model):
    """Reads a register: the first column of the first row."""

    read: Key
    """The key of the register."""

    @property
    def kind(self) -> Kind:
        return "read"

    @property
    def names(self) -> tuple[int | str, str | None]:
        """The key as written, and None: it has no value."""
        return self.read, None


_WHAT = "effect"


def _effect_tag(value: object) -> str | None:
    if value is None:
        return "<nothing>"
    return keyed(_WHAT, EFFECT_KINDS)(value) if shape(value) == "<mapping>" else None


EffectSpec = AppendEffect | ListEffect | WriteEffect | ReadEffect

if TYPE_CHECKING:
    OptionalEffect = EffectSpec | None
else:
    OptionalEffect = Annotated[
        Annotated[AppendEffect, Tag("<append>")]
        | Annotated[ListEffect, Tag("<list>")]
        | Annotated[WriteEffect, Tag("<write>")]
        | Annotated[ReadEffect, Tag("<read>")]
        | Annotated[None, Tag("<nothing>")],
        Discriminator(
            _effect_tag,
            custom_error_type="scenario",
            custom_error_message=(
                "expected an effect: {append: [key, value]}, {list: key}, {write: [key, value]} or {read: key}"
            ),
        ),
        refuse_unkeyed(_WHAT, EFFECT_KINDS),
    ]
