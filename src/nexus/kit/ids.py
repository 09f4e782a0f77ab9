"""Identifiers: UUIDv7 for what Nexus makes, UUIDv8 for what is derived from somebody else's names."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# An id of version 7 from before this instant carries no believable time: it is treated as opaque.
_EARLIEST_V7_MS = 1_262_304_000_000  # 2010-01-01T00:00:00Z
_SEQUENCE_BITS = 12

_lock = threading.Lock()
_last = 0
# Random bytes are asked of the system for many ids at once: a system call for each would cost more than the rest of it.
_RANDOM_BYTES = 8
_POOL_BYTES = 512 * _RANDOM_BYTES
_pool = b""
_taken = 0


def _forget_pool() -> None:
    global _pool
    _pool = b""


# A child must not hand out what its parent does.
os.register_at_fork(after_in_child=_forget_pool)


def uuid7(at: datetime | None = None) -> UUID:
    """Make a UUIDv7 (RFC 9562) that sorts after every one this process made before.

    `at` gives the time to carry instead of now; such ids are not kept in order with the others. The 12 bits after
    the time hold a fraction of the millisecond, and are counted up when two ids fall together.
    """
    return UUID(int=_number(at))


def uuid7_text() -> str:
    """Make a UUIDv7 as `str(uuid7())` does, for a fraction of the time: most ids are only ever written down."""
    digits = f"{_number():032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _number(at: datetime | None = None) -> int:
    global _last, _pool, _taken
    if at is not None:
        micros = (at - _EPOCH) // timedelta(microseconds=1)
        stamp = (micros // 1000) << _SEQUENCE_BITS | (micros % 1000) * 4
    else:
        nanos = time.time_ns()
        stamp = (nanos // 1_000_000) << _SEQUENCE_BITS | (nanos % 1_000_000) * 4096 // 1_000_000
    with _lock:
        if at is None:
            stamp = max(stamp, _last + 1)
            _last = stamp
        if _taken >= len(_pool):
            _pool, _taken = os.urandom(_POOL_BYTES), 0
        random = int.from_bytes(_pool[_taken : _taken + _RANDOM_BYTES], "big") >> 2
        _taken += _RANDOM_BYTES
    milliseconds, sequence = stamp >> _SEQUENCE_BITS, stamp & 0xFFF
    return (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | sequence << 64 | 0b10 << 62 | random


def uuid7_time(value: UUID) -> datetime | None:
    """Return the instant a UUIDv7 carries, to the millisecond; None for ids that carry no believable time."""
    number = value.int
    if (number >> 76) & 0xF != 7 or (number >> 62) & 0b11 != 0b10:
        return None
    milliseconds = number >> 80
    if not _EARLIEST_V7_MS <= milliseconds < 253_402_300_800_000:
        return None
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _uuid8(digest: bytes) -> UUID:
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0b11 << 62) | 0b10 << 62
    return UUID(int=number)


def opaque_uuid(text: str) -> UUID:
    """Turn any name into a UUIDv8 made from its SHA-256: the same name always gives the same id."""
    return hashed_uuid(text.encode("utf-8", "surrogatepass"))


def hashed_uuid(data: bytes) -> UUID:
    """Turn any bytes into a UUIDv8 made from their SHA-256: the same bytes always give the same id."""
    return _uuid8(hashlib.sha256(data).digest())


def positional_uuid(organization_id: UUID, key: str, position: int) -> UUID:
    """Derive the id of the record at `position` of a batch that was sent under an idempotency key."""
    text = key.encode("utf-8", "surrogatepass")
    return _uuid8(hashlib.sha256(organization_id.bytes + position.to_bytes(8, "big") + text).digest())
