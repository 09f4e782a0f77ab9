"""Questions about storage: figures exact at the moment they are asked, the windows behind them, the limits beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus.admission import views
from nexus.contracts.limits import Limit
from nexus.kit.errors import FieldFault
from nexus.metering.plan import cover, point_starts
from nexus.metering.statements import Builder
from nexus.metering.types import Question, RangeFacts
from nexus.platform.db import Connection
from nexus.storage import store
from nexus.storage.answers import ERROR_BOUND, Tally, timestamp, window_shown
from nexus.storage.errors import TooManyGroups
from nexus.storage.types import WINDOWS, WindowsQuestion

MAX_ROWS = 100_000
"""Groups times points that one answer may hold."""
MAX_BUCKETS = 100_000
"""Buckets times hours, or days, whose admitted units are summed."""
MICRO = 1_000_000
LIMITED = ("operations", "bytes")
"""Dimensions of limits that storage is about."""
Key = tuple[tuple[Any, ...], int]


@dataclass
class _Counted:
    """The figures of a question before they are written out."""

    question: Question
    facts: RangeFacts
    points: list[datetime]
    tallies: dict[Key, Tally] = field(default_factory=dict)
    total: Tally = field(default_factory=Tally)

    def head(self) -> dict[str, Any]:
        """Return what every answer begins with."""
        return {
            "from": timestamp(self.question.start),
            "to": timestamp(self.question.end),
            "as_of": timestamp(self.facts.as_of),
            "latency_error_bound": ERROR_BOUND,
        }

    def seconds(self, point: int | None = None) -> float:
        """Return how much of the range, or of a point in it, is over: what rates are means of."""
        start, end = self.question.start, self.question.end
        if point is not None:
            start = max(start, self.points[point - 1])
            end = min(end, self.points[point]) if point < len(self.points) else end
        return (min(end, max(self.facts.as_of, start)) - start).total_seconds()


async def _count(connection: Connection, organization_id: UUID, question: Question) -> _Counted:
    """Answer a question. The transaction must be one snapshot."""
    facts, isolation = await store.range_facts(connection, question)
    if isolation != "repeatable read":
        raise RuntimeError("questions need a transaction that is one snapshot: database.tenant(…, snapshot=True)")
    points = point_starts(question, facts.calendar) if question.interval else []
    pieces = cover(question, facts, points[1:])
    counted = _Counted(question, facts, points)
    rows = await store.read_sums(connection, Builder(organization_id, question, pieces, points, WINDOWS), MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        message = f"more than {MAX_ROWS} groups: ask for one application, a shorter range or a longer interval"
        raise TooManyGroups(message, faults=[FieldFault("application", message)])
    for row in rows:
        tally = Tally.of_row(row)
        counted.tallies[(tuple(row[index] for index in range(len(question.group_by))), row["point"])] = tally
        counted.total.include(tally)
    return counted


def _named(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {name: None if value == "" else value for name, value in zip(names, values, strict=True)}


async def summary(
    connection: Connection, organization_id: UUID, question: Question, *, sort: str, limit: int, skip: int
) -> tuple[dict[str, Any], bool]:
    """Return the figures of each group over the range, in order, and of all together; and whether there are more."""
    counted = await _count(connection, organization_id, question)
    seconds = counted.seconds()
    found = [
        {**_named(question.group_by, values), **tally.metrics(seconds)}
        for (values, _), tally in sorted(counted.tallies.items(), key=lambda item: tuple(map(str, item[0][0])))
    ]
    if sort != "name":
        found.sort(key=lambda item: -1.0 if item[sort] is None else item[sort], reverse=True)
    answer = {
        **counted.head(),
        "seconds": seconds,
        "groups": len(found),
        "total": counted.total.metrics(seconds),
        "items": found[skip : skip + limit],
    }
    return answer, len(found) > skip + limit


async def series(connection: Connection, organization_id: UUID, question: Question) -> dict[str, Any]:
    """Return the figures at each point of time, points without a window left out."""
    counted = await _count(connection, organization_id, question)
    points = [
        {
            "at": timestamp(counted.points[point - 1]),
            **_named(question.group_by, values),
            **tally.metrics(counted.seconds(point)),
        }
        for (values, point), tally in sorted(
            counted.tallies.items(), key=lambda item: (item[0][1], tuple(map(str, item[0][0])))
        )
    ]
    return {
        **counted.head(),
        "interval": question.interval,
        "tz": question.tz,
        "total": counted.total.metrics(counted.seconds()),
        "points": points,
    }


async def windows(
    connection: Connection, organization_id: UUID, question: WindowsQuestion
) -> tuple[list[dict[str, Any]], tuple[object, ...] | None]:
    """Return a page of windows, and the last one's place in their order when there are more."""
    rows = await store.read_windows(connection, organization_id, question)
    shown = rows[: question.limit]
    last = (shown[-1]["occurred_at"], shown[-1]["id"]) if len(rows) > question.limit else None
    return [window_shown(row, store.WINDOW_FIELDS) for row in shown], last


async def limits(
    connection: Connection, organization_id: UUID, known: Sequence[Limit], *, start: datetime, end: datetime
) -> dict[str, Any]:
    """Return the limits on operations and bytes that applications have now, and what they were admitted of each in a range.

    A limit without an application gives each application a bucket of its own. Of several buckets of one dimension each was
    charged the same call: the busiest says how much it was. `admitted` is null for a range longer than the trail is summed over.
    """
    of_storage = [limit for limit in known if limit.scope == "application" and limit.dimension in LIMITED]
    parts = {limit.id.hex: _parts(limit) for limit in of_storage}
    admitted: list[dict[str, Any]] | None = None
    if end - start <= views.LONGEST["day"]:
        used = await views.usage(
            connection, organization_id, of_storage, begins=start, ends=end, period="day", most=MAX_BUCKETS
        )
        sums: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for item in used:
            limit_id = item.bucket.partition(":")[0]
            if limit_id in parts:
                sums[item.subject, item.dimension][item.bucket] += item.consumed / parts[limit_id]
        seconds = (end - start).total_seconds()
        admitted = [
            {
                "application": application,
                "dimension": dimension,
                "units": max(of_bucket.values()),
                "units_per_second": round(max(of_bucket.values()) / seconds, 6),
            }
            for (application, dimension), of_bucket in sorted(sums.items())
        ]
    return {
        "from": timestamp(start),
        "to": timestamp(end),
        "limits": [
            {
                "id": str(limit.id),
                "name": limit.name,
                "application": limit.subject or None,
                "dimension": limit.dimension,
                "method": limit.method,
                "burst": limit.capacity / _parts(limit),
                "per_second": _per_second(limit),
                "is_shadow": limit.is_shadow,
            }
            for limit in of_storage
        ],
        "admitted": admitted,
    }


def _parts(limit: Limit) -> int:
    """Return how many of a limit's integers make one operation or byte."""
    return MICRO if limit.dimension == "operations" else 1


def _per_second(limit: Limit) -> float | None:
    if limit.rate is None:
        return None
    return limit.rate.numerator * 1e6 / limit.rate.denominator / _parts(limit)
