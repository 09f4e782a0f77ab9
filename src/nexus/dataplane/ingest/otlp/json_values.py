"""What all of OTLP's JSON shares: how values, attributes, integers and enums are written."""

from __future__ import annotations

import base64
import binascii
from typing import Any, TypeVar

import msgspec

from nexus.kit.errors import MalformedRequest

_MAX_INT_DIGITS = 20
_LARGEST = 2**64
T = TypeVar("T")


class Form(msgspec.Struct, rename="camel", gc=False):
    """What all share: names in lowerCamelCase."""


class AnyValue(Form):
    """A value of an attribute."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: ArrayValue | None = None
    kvlist_value: KeyValueList | None = None


class ArrayValue(Form):
    """A list of values."""

    values: list[AnyValue] | None = None


class KeyValue(Form):
    """An attribute."""

    key: str = ""
    value: AnyValue | None = None


class KeyValueList(Form):
    """A mapping."""

    values: list[KeyValue] | None = None


class Resource(Form):
    """What the telemetry is about."""

    attributes: list[KeyValue] | None = None


class Scope(Form):
    """The instrumentation."""

    name: str | None = None
    version: str | None = None


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body; `MalformedRequest` says what is wrong with it, and where."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MalformedRequest(f"the body is no OTLP in JSON: {error}") from error


def integer(value: int | str | None) -> int:
    """Read an unsigned 64-bit integer, which JSON holds as a text; `MalformedRequest` for what is none."""
    if isinstance(value, str):
        if not value.isascii() or not value.isdecimal() or len(value) > _MAX_INT_DIGITS:
            raise MalformedRequest("an integer of 64 bits is written as its decimal digits")
        value = int(value)
    if value is None:
        return 0
    if not 0 <= value < _LARGEST:
        raise MalformedRequest("an integer is outside of 64 bits")
    return value


def enum(value: int | str | None, prefix: str, names: Any) -> int:
    """Read an enum; `MalformedRequest` for a name that is none."""
    # Numbers are the rule; some exporters write the names that protobuf's own mapping would.
    if isinstance(value, str):
        name = value.removeprefix(prefix)
        try:
            return int(names[name])
        except KeyError:
            raise MalformedRequest(f"{value[:80]!r} is no value of an enum: send its number") from None
    return value or 0


def attributes(items: list[KeyValue] | None) -> dict[str, Any]:
    """Read attributes into plain values."""
    return {item.key: value_of(item.value) for item in items or ()}


def value_of(value: AnyValue | None) -> Any:
    """Read a value into a plain one."""
    if value is None:
        return None
    for plain in (value.string_value, value.bool_value):
        if plain is not None:
            return plain
    if value.int_value is not None:
        return signed(value.int_value)
    if value.double_value is not None:
        return number(value.double_value)
    if value.bytes_value is not None:
        try:
            return base64.b64decode(value.bytes_value)
        except (binascii.Error, ValueError):
            return None
    if value.array_value is not None:
        return [value_of(item) for item in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return attributes(value.kvlist_value.values)
    return None


def signed(value: int | str) -> int:
    """Read a signed 64-bit integer, which JSON holds as a text."""
    if isinstance(value, str) and value.startswith("-"):
        return -integer(value[1:])
    return integer(value) if isinstance(value, str) else value


def number(value: float | str) -> float:
    """Read a double, which JSON holds as a text where it is not finite; `MalformedRequest` for what is none."""
    try:
        return float(value)
    except ValueError:
        raise MalformedRequest(f"{str(value)[:80]!r} is no number") from None
