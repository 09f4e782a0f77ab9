"""Writes records as tuples of PostgreSQL's binary COPY format, piece by piece, without a list of Python values between.

A row here is the tuple without its column count and first column: the writer puts `(columns, ordinal)` before it when
it knows the ordinal. Pieces that repeat (provider, model, key, …) are encoded once and kept by the resolver. What
this saves against asyncpg's `copy_records_to_table` is measured in `docs/explanation/ingest.md`.
Format: PostgreSQL manual, COPY, "Binary Format".
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
PG_EPOCH_US = 946_684_800_000_000
"""Microseconds from 1970 to 2000, PostgreSQL's epoch."""

_LENGTH = struct.Struct(">i")
_PREFIX = struct.Struct(">hii")
_INT2 = struct.Struct(">ih")
_INT8 = struct.Struct(">iq")
_FLOAT8 = struct.Struct(">id")
_TRUE, _FALSE = b"\x00\x00\x00\x01\x01", b"\x00\x00\x00\x01\x00"
# organization_id, id, key_at, is_opaque, occurred_at, received_at
pack_identity = struct.Struct(">i16si16siqi?iqiq").pack
# status_code, response_time_us, ttfb_us, request_bytes, response_bytes: one form for each pattern of NULLs
pack_answer = struct.Struct(">ihiqiqiqiq").pack
pack_answer_no_ttfb = struct.Struct(">ihiqiiqiq").pack
pack_answer_no_time = struct.Struct(">ihiiqiqiq").pack
pack_answer_neither = struct.Struct(">ihiiiqiq").pack
pack_tokens = struct.Struct(">iqiqiqiqiqiqiqiqiq").pack
NO_TOKENS = pack_tokens(*(8, 0) * 9)

_PREFIXES: dict[int, list[bytes]] = {}


class UnstorableTextError(ValueError):
    """A text holds what PostgreSQL cannot store: the character NUL or half of a surrogate pair."""


def text(value: str) -> bytes:
    """Encode a text; `UnstorableTextError` for NUL and lone surrogates."""
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise UnstorableTextError from None
    if b"\x00" in raw:
        raise UnstorableTextError
    return _LENGTH.pack(len(raw)) + raw


def optional_text(value: str | None) -> bytes:
    """Encode a text, or NULL."""
    return NULL if value is None else text(value)


def int2(value: int | None) -> bytes:
    """Encode a 2-byte integer, or NULL."""
    return NULL if value is None else _INT2.pack(2, value)


def int8(value: int | None) -> bytes:
    """Encode an 8-byte integer, or NULL."""
    return NULL if value is None else _INT8.pack(8, value)


def float8(value: float | None) -> bytes:
    """Encode a double, or NULL."""
    return NULL if value is None else _FLOAT8.pack(8, value)


def boolean(value: bool | None) -> bytes:
    """Encode a truth value, or NULL."""
    return NULL if value is None else _TRUE if value else _FALSE


def uuid_bytes(value: bytes | None) -> bytes:
    """Encode the 16 bytes of a UUID, or NULL."""
    return NULL if value is None else b"\x00\x00\x00\x10" + value


def bytea(value: bytes | None) -> bytes:
    """Encode bytes, or NULL."""
    return NULL if value is None else _LENGTH.pack(len(value)) + value


def compact(value: Any) -> bytes:
    """Write a value as JSON without spaces; `UnstorableTextError` for half a surrogate pair."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise UnstorableTextError from None


def jsonb(written: str) -> bytes:
    """Encode JSON that is written already as jsonb."""
    raw = written.encode()
    return _LENGTH.pack(len(raw) + 1) + b"\x01" + raw


def json(value: Any) -> bytes:
    """Encode a value as jsonb; `UnstorableTextError` where a text in it cannot be stored."""
    raw = compact(value)
    # An escaped backslash before "u0000" looks alike, so a hit is looked at closely.
    if b"\\u0000" in raw and holds_nul(value):
        raise UnstorableTextError
    return _LENGTH.pack(len(raw) + 1) + b"\x01" + raw


def holds_nul(value: Any) -> bool:
    """Tell whether a text anywhere in a decoded JSON value holds NUL."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, Mapping):
        return any(holds_nul(key) or holds_nul(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return any(holds_nul(item) for item in value)
    return False


@lru_cache(maxsize=8192)
def inet(value: str) -> bytes:
    """Encode an IPv4 or IPv6 address; `ValueError` for anything else."""
    address = ipaddress.ip_address(value)
    # An address with a zone (fe80::1%eth0) has no form in PostgreSQL; the zone means nothing to another machine.
    packed = address.packed
    family = 2 if address.version == 4 else 3
    body = bytes((family, address.max_prefixlen, 0, len(packed))) + packed
    return _LENGTH.pack(len(body)) + body


def _prefixes(columns: int, count: int) -> list[bytes]:
    prefixes = _PREFIXES.setdefault(columns, [])
    prefixes.extend(_PREFIX.pack(columns, 4, ordinal) for ordinal in range(len(prefixes), count))
    return prefixes


def copy_stream(rows: Sequence[bytes], columns: int) -> bytes:
    """Join rows of so many columns, the ordinal counted, to one COPY stream; row `i` gets the ordinal `i`."""
    body = b"".join(chain.from_iterable(zip(_prefixes(columns, len(rows)), rows, strict=False)))
    return COPY_HEADER + body + COPY_TRAILER


def split_fields(row: bytes) -> list[bytes | None]:
    """Take a row apart into its fields as COPY writes them; the ordinal, which is not in it, is left out."""
    fields: list[bytes | None] = []
    at, end = 0, len(row)
    while at < end:
        (length,) = _LENGTH.unpack_from(row, at)
        at += 4
        if length < 0:
            fields.append(None)
            continue
        if at + length > end:
            raise ValueError("a field is longer than its row")
        fields.append(row[at : at + length])
        at += length
    return fields


_EMPTY_VALUES = {
    "text": b"",
    "bool": b"\x00",
    "int2": bytes(2),
    "int4": bytes(4),
    "int8": bytes(8),
    "float8": bytes(8),
}


def rearrange(
    rows: Iterable[bytes], columns: Sequence[str], today: Mapping[str, str], not_null: frozenset[str]
) -> Iterator[bytes]:
    """Rewrite rows spooled under other columns (before an upgrade) for today's: by name, the new ones NULL or empty.

    `today` gives today's columns, the ordinal first, with their types.
    """
    places = {name: place for place, name in enumerate(columns[1:])}
    names = tuple(today)[1:]
    missing = {name: _EMPTY_VALUES[today[name]] if name in not_null else None for name in names if name not in places}
    for row in rows:
        fields = split_fields(row)
        if len(fields) != len(places):
            raise ValueError("a row has not the columns its segment names")
        parts: list[bytes] = []
        for name in names:
            value = missing[name] if name in missing else fields[places[name]]
            parts.append(NULL if value is None else _LENGTH.pack(len(value)) + value)
        yield b"".join(parts)
