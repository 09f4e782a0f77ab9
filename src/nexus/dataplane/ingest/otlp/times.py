"""Times of telemetry as records hold them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nexus.contracts.calls import MAX_DURATION_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(nanoseconds: int) -> datetime:
    """Return the instant so many ns after 1970, to the microsecond; `ValueError` for none, or one beyond all calendars."""
    if not nanoseconds:
        raise ValueError("it has no time")
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        raise ValueError("its time is outside of the calendar") from None


def duration_ms(start_ns: int, end_ns: int) -> float | None:
    """Return the milliseconds between two times; None where the second is missing or before the first."""
    milliseconds = (end_ns - start_ns) / 1_000_000
    return milliseconds if 0 <= milliseconds <= MAX_DURATION_MS and end_ns else None
