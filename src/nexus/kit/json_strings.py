"""Finds the values in a text of JSON, whole or cut off anywhere, so that they can be replaced where they stand.

No tree is built and nothing is refused: what is no JSON gives few values or none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
MAX_DEPTH = 200


@dataclass(slots=True, eq=False)
class Frame:
    """An object or list that is open while the text is read."""

    is_object: bool
    name: str = ""
    """In an object, the field whose value is being read."""
    tags: tuple[tuple[str, str], ...] = ()
    """Fields that tell which of several this is, such as `index`."""


@dataclass(slots=True, eq=False)
class Value:
    """A string, number or word in a text of JSON."""

    start: int
    end: int
    """Where it stands, quotes included."""
    is_string: bool
    is_key: bool
    names: tuple[str, ...]
    """The fields it stands in, the outermost first; lists add nothing."""
    frames: tuple[Frame, ...]

    @property
    def path(self) -> tuple[object, ...]:
        """What tells values of the same meaning in several events of a stream from others: names, and tags such as `index`."""
        return (self.names, *(frame.tags for frame in self.frames))


def values(text: str, start: int, end: int, *, tags: frozenset[str] = frozenset()) -> Iterator[Value]:
    """Give out the values between two places, in their order. Where nesting is absurdly deep it stops."""
    stack: list[Frame] = []
    names: tuple[str, ...] = ()
    frames: tuple[Frame, ...] = ()
    held: Value | None = None
    for found in _TOKEN.finditer(text, start, end):
        first = text[found.start()]
        if held is not None:
            # Only what follows tells a field's name from a value.
            if first == ":" and held.is_string and stack and stack[-1].is_object:
                held.is_key = True
                stack[-1].name = decoded(text, held)
                names = _names(stack)
            yield held
            held = None
        if first in "{[":
            if len(stack) >= MAX_DEPTH:
                return
            stack.append(Frame(first == "{"))
            names, frames = _names(stack), tuple(stack)
        elif first in "}]":
            if stack:
                stack.pop()
            names, frames = _names(stack), tuple(stack)
        elif first == ",":
            if stack:
                stack[-1].name = ""
        elif first != ":":
            held = Value(*found.span(), first == '"', False, names, frames)
            if tags and stack and stack[-1].name in tags:
                stack[-1].tags += ((stack[-1].name, found[0]),)
    if held is not None:
        yield held


def _names(stack: list[Frame]) -> tuple[str, ...]:
    return tuple(frame.name for frame in stack if frame.is_object)


def decoded(text: str, value: Value) -> str:
    """Return what a value says: a string without quotes and escapes, anything else as it stands."""
    if not value.is_string:
        return text[value.start : value.end]
    is_whole = value.end - value.start > 1 and text[value.end - 1] == '"'
    inner = text[value.start + 1 : value.end - is_whole]
    if "\\" not in inner:
        return inner
    if not is_whole:
        inner = _CUT_ESCAPE.sub("", inner)
    try:
        said = json.loads(f'"{inner}"', strict=False)
    except ValueError:
        return inner
    return str(said)


def encoded(said: str) -> str:
    """Return a string as JSON writes it, quotes included."""
    text = json.dumps(said, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, as streams cut them.
        return json.dumps(said)
    return text
