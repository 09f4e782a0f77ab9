"""Identifiers: a UUIDv7 made at the call is what makes a record one record, however often it is sent."""

from __future__ import annotations

import os
import time

RANDOM_BYTES = 8
"""That an id takes."""


def uuid7(at_ns: int | None = None, noise: bytes | None = None) -> str:
    """Make a UUIDv7 (RFC 9562) for an instant in nanoseconds since 1970; now, unless given.

    The 12 bits after the milliseconds hold a fraction of the millisecond. The other 62 are from the system's source of
    randomness, so processes that were forked never make the same id; whoever makes several at once asks it once, and gives
    each `noise` of its own.
    """
    milliseconds, rest = divmod(time.time_ns() if at_ns is None else at_ns, 1_000_000)
    value = (
        (milliseconds & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (rest * 4096 // 1_000_000) << 64
        | 0b10 << 62
        | int.from_bytes(os.urandom(RANDOM_BYTES) if noise is None else noise, "big") >> 2
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
