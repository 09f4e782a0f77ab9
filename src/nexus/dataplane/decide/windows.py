"""Calendar windows in a zone: where the minute, hour, … year that holds an instant begins and ends.

Days and longer follow the zone's wall clock, so that a day of 23 or 25 hours is one window. Minutes and hours are cut in
absolute time, aligned by the zone's offset on the first day of 2000, so none is skipped or counted twice when clocks change.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from zoneinfo import ZoneInfo

from nexus.contracts.limits import Period

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SHORT = {"minute": 60 * 10**6, "hour": 3600 * 10**6}
_DAYS: Mapping[str, int] = MappingProxyType({"day": 1, "week": 7})
_MONTHS: Mapping[str, int] = MappingProxyType({"month": 1, "quarter": 3, "year": 12})
CALENDAR = date(2001, 1, 1)
"""A Monday on which a month, a quarter and a year began: windows counted from it are the calendar's."""


def to_us(at: datetime) -> int:
    """Return an aware instant as microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def from_us(at_us: int) -> datetime:
    """Return microseconds since 1970 as an instant in UTC."""
    return _EPOCH + timedelta(microseconds=at_us)


def _month_day(months: int, day: int) -> date:
    """Return a day of the month that lies so many months after the beginning of year 0; its last where it has no such day."""
    year, month = divmod(months, 12)
    return date(year, month + 1, min(day, monthrange(year, month + 1)[1]))


def first_day(day: date, period: Period, begins_on: date = CALENDAR) -> date:
    """Return the first day of the period that holds a day."""
    if period in {"day", "week"}:
        return day - timedelta(days=(day - begins_on).days % _DAYS[period])
    length = _MONTHS[period]
    anchor = begins_on.year * 12 + begins_on.month - 1
    months = day.year * 12 + day.month - 1
    months -= (months - anchor) % length
    first = _month_day(months, begins_on.day)
    return first if first <= day else _month_day(months - length, begins_on.day)


def next_day(first: date, period: Period, begins_on: date = CALENDAR) -> date:
    """Return the first day of the period after the one that begins on a day."""
    if period in {"day", "week"}:
        return first + timedelta(days=_DAYS[period])
    return _month_day(first.year * 12 + first.month - 1 + _MONTHS[period], begins_on.day)


def _midnight(day: date, zone: ZoneInfo) -> int:
    # A midnight that a change of clocks skips is read with the offset before it, which is the instant of the change.
    return to_us(datetime(day.year, day.month, day.day, tzinfo=zone))


@lru_cache(maxsize=1024)
def _alignment(zone: str) -> int:
    # Of one fixed day, so that hours are a partition even where the offset changes by a part of an hour.
    return (datetime(2000, 1, 1, tzinfo=ZoneInfo(zone)).utcoffset() or timedelta()) // _MICROSECOND


def window(at_us: int, period: Period, zone: str, begins_on: date | None = None) -> tuple[int, int]:
    """Return the first microsecond of the window that holds an instant, and the first one after it.

    `begins_on` is a day on which a window of days or longer begins: the 15th for months from the 15th, a Sunday for weeks from
    Sunday, the first of April for a fiscal year. A month that lacks the day begins on its last.
    """
    length = _SHORT.get(period)
    if length is not None:
        offset = _alignment(zone)
        start = (at_us + offset) // length * length - offset
        return start, start + length
    known = ZoneInfo(zone)
    anchor = begins_on or CALENDAR
    today = from_us(at_us).astimezone(known).date()
    first = first_day(today, period, anchor)
    return _midnight(first, known), _midnight(next_day(first, period, anchor), known)


@lru_cache(maxsize=4096)
def _after(end: int, period: Period, zone: str, begins_on: date | None) -> int:
    return window(end, period, zone, begins_on)[1]


def boundaries(at_us: int, period: Period, zone: str, begins_on: date | None = None) -> tuple[int, int, int]:
    """Return three consecutive boundaries: of the window that holds an instant, and of the one after it."""
    start, end = window(at_us, period, zone, begins_on)
    return start, end, _after(end, period, zone, begins_on)
