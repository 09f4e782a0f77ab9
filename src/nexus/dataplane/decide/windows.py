"""Calendar windows in a zone: where the minute, hour, … year that holds an instant begins and ends.

Days and longer follow the zone's wall clock, so that a day of 23 or 25 hours is one window. Minutes and hours are cut in
absolute time, aligned by the zone's offset on the first day of 2000, so none is skipped or counted twice when clocks change.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from nexus.contracts.limits import Period

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SHORT = {"minute": 60 * 10**6, "hour": 3600 * 10**6}


def to_us(at: datetime) -> int:
    """Return an aware instant as microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def _first_day(day: date, period: Period) -> date:
    if period == "day":
        return day
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "month":
        return day.replace(day=1)
    if period == "quarter":
        return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
    return day.replace(month=1, day=1)


def _next_day(first: date, period: Period) -> date:
    days = {"day": 1, "week": 7, "month": 32, "quarter": 95, "year": 370}[period]
    return _first_day(first + timedelta(days=days), period)


def _midnight(day: date, zone: ZoneInfo) -> int:
    # A midnight that a change of clocks skips is read with the offset before it, which is the instant of the change.
    return to_us(datetime(day.year, day.month, day.day, tzinfo=zone))


@lru_cache(maxsize=1024)
def _alignment(zone: str) -> int:
    # Of one fixed day, so that hours are a partition even where the offset changes by a part of an hour.
    return (datetime(2000, 1, 1, tzinfo=ZoneInfo(zone)).utcoffset() or timedelta()) // _MICROSECOND


def window(at_us: int, period: Period, zone: str) -> tuple[int, int]:
    """Return the first microsecond of the window that holds an instant, and the first one after it."""
    length = _SHORT.get(period)
    if length is not None:
        offset = _alignment(zone)
        start = (at_us + offset) // length * length - offset
        return start, start + length
    known = ZoneInfo(zone)
    first = _first_day((_EPOCH + timedelta(microseconds=at_us)).astimezone(known).date(), period)
    return _midnight(first, known), _midnight(_next_day(first, period), known)


@lru_cache(maxsize=4096)
def _after(end: int, period: Period, zone: str) -> int:
    return window(end, period, zone)[1]


def boundaries(at_us: int, period: Period, zone: str) -> tuple[int, int, int]:
    """Return three consecutive boundaries: of the window that holds an instant, and of the one after it."""
    start, end = window(at_us, period, zone)
    return start, end, _after(end, period, zone)
