"""Reads the parameters of questions about storage; all faults are reported at once, each with its field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from nexus.metering.parameters import Parameters, Reader, is_zone
from nexus.metering.types import INTERVALS, Question
from nexus.platform.web.pages import MAX_LIMIT, decode_cursor
from nexus.storage.types import DIMENSIONS, LATENCY_METRICS, WINDOWS, WindowsQuestion

SORTS = (
    "operations",
    "bytes_per_second",
    "peak_iops",
    "peak_bytes_per_second",
    "latency_avg_ms",
    "error_count",
    "name",
)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Which part of the groups is asked for, and in which order."""

    sort: str
    limit: int
    skip: int


def _reader(parameters: Parameters, now: datetime) -> Reader:
    return Reader(parameters, now, columns=WINDOWS.columns)


def _limit(reader: Reader) -> int:
    text = reader.one("limit")
    if text is None:
        return 50
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MAX_LIMIT:
        return int(text[:6])
    reader.fault("limit", f"give a whole number from 1 to {MAX_LIMIT}")
    return 50


def read_summary(parameters: Parameters, now: datetime) -> tuple[Question, Ranking]:
    """Read the parameters of figures by group; by application where nothing else is asked for."""
    reader = _reader(parameters, now)
    start, end = reader.range()
    group_by = reader.names("group_by", DIMENSIONS) or ["application"]
    sort = reader.choice("sort", SORTS) or "operations"
    limit = _limit(reader)
    cursor = reader.one("cursor")
    filters = reader.filters()
    reader.finish()
    skip = max(0, min(decode_cursor(cursor, tuple[int])[0], 10**6)) if cursor else 0
    question = Question(start=start, end=end, group_by=tuple(group_by), filters=filters, metrics=LATENCY_METRICS)
    return question, Ranking(sort=sort, limit=limit, skip=skip)


def read_series(parameters: Parameters, now: datetime) -> Question:
    """Read the parameters of figures over time; all together where no dimension is asked for."""
    reader = _reader(parameters, now)
    start, end = reader.range()
    group_by = reader.names("group_by", DIMENSIONS)
    interval = reader.choice("interval", tuple(INTERVALS))
    if interval is None and not reader.parameters.get("interval"):
        reader.fault("interval", f"give one of {', '.join(INTERVALS)}")
    tz = reader.one("tz") or "UTC"
    if not is_zone(tz):
        reader.fault("tz", "give the name of a time zone, such as Europe/Berlin")
    filters = reader.filters()
    reader.finish()
    return Question(
        start=start,
        end=end,
        group_by=tuple(group_by),
        filters=filters,
        metrics=LATENCY_METRICS,
        interval=interval,
        tz=tz,
    )


def read_windows(parameters: Parameters, now: datetime) -> WindowsQuestion:
    """Read the parameters of a list of windows."""
    reader = _reader(parameters, now)
    start, end = reader.range()
    limit = _limit(reader)
    cursor = reader.one("cursor")
    filters = reader.filters()
    reader.finish()
    after = decode_cursor(cursor, tuple[datetime, UUID]) if cursor else None
    return WindowsQuestion(start=start, end=end, filters=filters, after=after, limit=limit)


def read_range(parameters: Parameters, now: datetime) -> tuple[datetime, datetime]:
    """Read a range alone."""
    reader = Reader(parameters, now)
    start, end = reader.range()
    reader.finish()
    return start, end
