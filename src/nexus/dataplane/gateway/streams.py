"""Cuts streamed answers into their events, however the bytes are chunked: server-sent events, lines, AWS frames."""

from __future__ import annotations

import re
import struct
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from zlib import crc32

import msgspec

MAX_EVENT_BYTES = 8 * 2**20
# A blank line: two line ends, each CRLF, LF or CR.
_BLANK = re.compile(rb"\r\n(?:\r\n|\n|\r)|\n(?:\r\n|\n|\r)|\r(?!\n)(?:\r\n|\r)")
_PRELUDE = struct.Struct(">III")


class TooLongEventError(Exception):
    """An event has more bytes than any provider sends: the stream is not read any further."""


class EventSplitter:
    """Splits server-sent events. What it gives out, joined, is what came in."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._searched = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take bytes; give out each whole event with the blank line that ends it."""
        pending = self._pending
        pending += chunk
        start = 0
        position = max(0, self._searched - 3)
        while True:
            found = _BLANK.search(pending, position)
            if found is None:
                break
            yield bytes(pending[start : found.end()])
            start = position = found.end()
        if start:
            del pending[:start]
        self._searched = len(pending)
        if len(pending) > MAX_EVENT_BYTES:
            raise TooLongEventError

    def rest(self) -> bytes:
        """Return what came after the last whole event."""
        return bytes(self._pending)


def event_data(event: bytes) -> bytes:
    """Return the data of one server-sent event: its data lines, joined."""
    lines: list[bytes] = []
    for line in event.splitlines():
        if line.startswith(b"data:"):
            value = line[5:]
            lines.append(value[1:] if value[:1] == b" " else value)
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


class LineSplitter:
    """Splits lines, as of newline-delimited JSON."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take bytes; give out each whole line."""
        self._pending += chunk
        if b"\n" not in chunk:
            if len(self._pending) > MAX_EVENT_BYTES:
                raise TooLongEventError
            return
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending = bytearray(rest)
        yield from lines

    def rest(self) -> bytes:
        """Return what came after the last line end."""
        return bytes(self._pending)


class FrameSplitter:
    """Splits `application/vnd.amazon.eventstream` into the payloads of its messages.

    A message is total length, length of the headers, CRC of these two, headers, payload, CRC of all before.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take bytes; give out each payload. A damaged message ends the reading, never the stream."""
        pending = self._pending
        pending += chunk
        while len(pending) >= _PRELUDE.size:
            total, headers, check = _PRELUDE.unpack_from(pending)
            if total < 16 + headers or total > MAX_EVENT_BYTES or crc32(pending[:8]) != check:
                raise TooLongEventError
            if len(pending) < total:
                return
            payload = bytes(pending[_PRELUDE.size + headers : total - 4])
            del pending[:total]
            yield unwrap(payload)

    def rest(self) -> bytes:
        """Return what is left of a message that was cut off; nothing in it can be read."""
        return b""


class _Wrapped(msgspec.Struct):
    bytes: str


_WRAPPED = msgspec.json.Decoder(_Wrapped)


def unwrap(payload: bytes) -> bytes:
    """Return the model's own JSON from a payload that wraps it in base64."""
    if payload.startswith(b'{"bytes"'):
        try:
            return b64decode(_WRAPPED.decode(payload).bytes, validate=True)
        except (msgspec.MsgspecError, Base64Error, ValueError):
            return payload
    return payload
