"""Which record a record is: the id and the times that every type has in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from nexus.contracts.calls import EARLIEST_YEAR, LATEST_AHEAD_SECONDS
from nexus.dataplane.ingest import rows
from nexus.kit.errors import FieldFault
from nexus.kit.ids import opaque_uuid, positional_uuid, uuid7_time

PG_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
EARLIEST_US = (datetime(EARLIEST_YEAR, 1, 1, tzinfo=UTC) - PG_EPOCH) // timedelta(microseconds=1)
LATEST_AHEAD_US = LATEST_AHEAD_SECONDS * 1_000_000
# As kit.ids.uuid7_time: an id of version 7 from before 2010 carries no believable time.
_EARLIEST_V7_MS = 1_262_304_000_000
_END_V7_MS = 253_402_300_800_000
_EARLIEST = datetime(EARLIEST_YEAR, 1, 1, tzinfo=UTC)
_LATEST_AHEAD = timedelta(seconds=LATEST_AHEAD_SECONDS)
COLUMN_TYPES = {
    "ordinal": "int4",
    "organization_id": "uuid",
    "id": "uuid",
    "key_at": "timestamptz",
    "is_opaque": "bool",
    "occurred_at": "timestamptz",
    "received_at": "timestamptz",
}
"""The columns every staging table begins with."""


class Record(Protocol):
    """What every type of record has."""

    id: str | None
    timestamp: datetime | None


def microseconds(at: datetime) -> int:
    """Return an instant in µs since 2000, as PostgreSQL counts."""
    return (at - PG_EPOCH) // timedelta(microseconds=1)


def id_and_time(text: str) -> tuple[bytes, int | None]:
    """Return the 16 bytes of an id and, when it is a UUIDv7 of a believable time, that time in µs since 2000."""
    raw = None
    if len(text) == 36 and text[8] == text[13] == text[18] == text[23] == "-":
        raw = _from_hex(text.replace("-", ""))
    elif len(text) == 32:
        raw = _from_hex(text)
    if raw is None:
        rows.text(text)
        return opaque_uuid(text).bytes, None
    if raw[6] >> 4 == 7 and raw[8] >> 6 == 2:
        milliseconds = int.from_bytes(raw[:6], "big")
        if _EARLIEST_V7_MS <= milliseconds < _END_V7_MS:
            return raw, milliseconds * 1000 - rows.PG_EPOCH_US
    return raw, None


def _from_hex(digits: str) -> bytes | None:
    # bytes.fromhex skips spaces, so the length of what it read is looked at too.
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        return None
    return raw if len(raw) == 16 and len(digits) == 32 else None


def identify(
    record: Record, organization_id: UUID, *, received_us: int, idempotency_key: str | None, position: int
) -> tuple[bytes, int]:
    """Return the columns every row begins with, and the time of the row's key in µs since 2000.

    `ValueError` for a record without id, and for times that no clock can have given.
    """
    key_us = None
    if record.id is not None:
        id_bytes, key_us = id_and_time(record.id)
    elif idempotency_key is not None:
        id_bytes = positional_uuid(organization_id, idempotency_key, position).bytes
    else:
        raise ValueError("a record without id")
    default_us = received_us if key_us is None else key_us
    occurred_us = default_us if record.timestamp is None else microseconds(record.timestamp)
    is_opaque = key_us is None
    if key_us is None:
        key_us = occurred_us
    latest_us = received_us + LATEST_AHEAD_US
    if key_us > latest_us or not EARLIEST_US <= occurred_us <= latest_us:
        raise ValueError("out of time")
    packed = rows.pack_identity(
        16, organization_id.bytes, 16, id_bytes, 8, key_us, 1, is_opaque, 8, occurred_us, 8, received_us
    )
    return packed, key_us


def identity_faults(record: Record, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
    """Return what is wrong with a record's id and time."""
    faults: list[FieldFault] = []
    latest = received_at + _LATEST_AHEAD
    if record.id is None:
        if not has_idempotency_key:
            faults.append(
                FieldFault(
                    "id",
                    "is missing: give each record an id (a UUIDv7 is best), or the request an `Idempotency-Key` header",
                )
            )
    elif (at := _time_in(record.id)) is not None and at > latest:
        faults.append(
            FieldFault(
                "id",
                f"is a UUIDv7 of {at.isoformat()}, more than a day from now: check the clock that makes the ids",
            )
        )
    if record.timestamp is not None:
        if record.timestamp < _EARLIEST:
            faults.append(
                FieldFault("timestamp", f"is before {EARLIEST_YEAR}: check the clock, and that the unit is right")
            )
        elif record.timestamp > latest:
            faults.append(FieldFault("timestamp", "is more than a day from now: check the clock, and the zone"))
    return faults


def _time_in(text: str) -> datetime | None:
    try:
        return uuid7_time(UUID(text)) if len(text) in {32, 36} else None
    except ValueError:
        return None
