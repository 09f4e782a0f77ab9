"""The periods of a budget: from which instant to which, and their days or hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from nexus.costs.types import Budget
from nexus.dataplane.decide.windows import from_us, to_us, window


def period_of(budget: Budget, at: datetime) -> tuple[datetime, datetime]:
    """Return the half-open period that holds an instant: the window that the budget's limit has, too."""
    starts, ends = window(to_us(at), budget.period, budget.zone, budget.begins_on)
    return from_us(starts), from_us(ends)


def step_of(budget: Budget) -> Literal["day", "hour"]:
    """Return what a period is drawn by: the hours of a day, the days of anything longer."""
    return "hour" if budget.period == "day" else "day"


def steps(budget: Budget, starts: datetime, ends: datetime) -> Iterator[tuple[datetime, datetime, datetime]]:
    """Give each day or hour of a period: its local name as the database writes it, where it begins and where it ends.

    Hours have the name of the local clock: the one that comes twice when clocks go back is one step of two hours.
    """
    zone = ZoneInfo(budget.zone)
    if step_of(budget) == "day":
        first = starts
        while first < ends:
            day = first.astimezone(zone).date()
            after = from_us(window(to_us(first), "day", budget.zone)[1])
            yield _midnight(day), first, min(after, ends)
            first = after
        return
    begun, name = starts, _clock_hour(starts, zone)
    at = starts
    while at < ends:
        at += timedelta(minutes=15)
        now = _clock_hour(at, zone)
        if now != name or at >= ends:
            yield name, begun, min(at, ends)
            begun, name = at, now


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001  # a local name, not an instant


def _clock_hour(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
