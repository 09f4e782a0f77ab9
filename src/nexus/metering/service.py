"""The meter's questions: summaries, series and raw calls, exact at the moment they are asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from nexus.contracts.limit_sets import asked_of, expand
from nexus.kit.errors import FieldFault
from nexus.kit.ids import uuid7_time
from nexus.metering import store
from nexus.metering.answers import Key, Tally, call_shown, error_bound, group_names, timestamp
from nexus.metering.errors import CallNotFound, TooManyGroups
from nexus.metering.plan import cover, covering_set, point_starts, raw_only
from nexus.metering.statements import Builder
from nexus.metering.types import SORTS, CallsQuestion, Piece, Question, RangeFacts
from nexus.platform.db import Connection

MAX_ROWS = 100_000
"""Groups times points that one answer may hold."""
EXPORT_CHUNK = 5_000
"""Calls that an export holds in memory."""
MAX_ATTEMPTS = 100
"""Calls of one request that are shown with one of them."""
ExplainedCall = tuple[asyncpg.Record, Mapping[str, Any] | None]


@dataclass
class Counted:
    """The figures of a question before they are written out."""

    question: Question
    facts: RangeFacts
    pieces: list[Piece]
    points: list[datetime]
    tallies: dict[Key, Tally] = field(default_factory=dict)
    total: Tally = field(default_factory=Tally)
    is_exact: bool = False

    def currency_of(self, values: tuple[Any, ...]) -> str:
        """Return the currency a group's cost is given in: the organization's, unless the group is of another."""
        if "currency" in self.question.group_by:
            return str(values[self.question.group_by.index("currency")])
        return self.facts.currency

    def rows(self) -> list[dict[str, Any]]:
        """Return the groups as dictionaries: dimensions, then metrics; points before them in a series.

        Points in their order, in each the groups with most requests first.
        """
        wanted = self.question.metrics
        order = sorted(self.tallies.items(), key=lambda item: (item[0][1], -item[1].sums["requests"], str(item[0][0])))
        found = []
        for (values, point), tally in order:
            at = {"at": timestamp(self.points[point - 1])} if self.points else {}
            names = group_names(self.question, values)
            found.append({**at, **names, **tally.metrics(wanted, self.currency_of(values))})
        return found

    def export_rows(self) -> list[dict[str, Any]]:
        """Return the rows of an export: the groups, or all together where nothing is grouped."""
        if self.question.group_by or self.points:
            return self.rows()
        return [self.total.metrics(self.question.metrics, self.facts.currency)]


async def count(connection: Connection, organization_id: UUID, question: Question) -> Counted:
    """Answer a question. The transaction must be one snapshot (repeatable read), so that its parts agree.

    `RangeTooLong` when it could only be counted from more than a day of raw calls, `RangeNoLongerKept` when retention
    has taken what the ends of the range need, `TooManyPoints` and `TooManyGroups` when the answer would be too large.
    """
    facts, isolation = await store.range_facts(connection, organization_id, question)
    if isolation != "repeatable read":
        raise RuntimeError("questions need a transaction that is one snapshot: database.tenant(…, snapshot=True)")
    points = point_starts(question, facts.calendar) if question.interval else []
    is_exact = question.exact
    if is_exact:
        pieces = raw_only(question, facts, why="exact percentiles come from the raw calls", field="exact")
    elif covering_set(question.dimensions) is None:
        names = ", ".join(sorted(question.dimensions))
        pieces = raw_only(question, facts, why=f"{names} are not kept together", field="group_by")
    else:
        pieces = cover(question, facts, points[1:])
    counted = Counted(question, facts, pieces, points, is_exact=is_exact)
    await _fill(connection, organization_id, counted)
    return counted


def _builder(organization_id: UUID, counted: Counted) -> Builder:
    return Builder(organization_id, counted.question, counted.pieces, counted.points)


async def _fill(connection: Connection, organization_id: UUID, counted: Counted) -> None:
    question = counted.question
    size = len(question.group_by)
    rows = await store.read_sums(connection, _builder(organization_id, counted), MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        message = f"more than {MAX_ROWS} groups: ask for fewer dimensions, a filter or a longer interval"
        raise TooManyGroups(message, faults=[FieldFault("group_by", message)])
    for row in rows:
        key = (tuple(row[index] for index in range(size)), row["point"])
        tally = counted.tallies.get(key)
        if tally is None:
            tally = counted.tallies[key] = Tally()
        tally.add(row)
    for tally in counted.tallies.values():
        counted.total.include(tally)
    if counted.is_exact:
        await _take_percentiles(connection, organization_id, counted, size)
    for metric, what in (("distinct_endpoints", "endpoint"), ("distinct_users", "user")):
        if metric in question.metrics:
            await _count_distinct(connection, organization_id, counted, metric, what)


async def _take_percentiles(connection: Connection, organization_id: UUID, counted: Counted, size: int) -> None:
    for row in await store.read_percentiles(connection, _builder(organization_id, counted)):
        tally = counted.total if row["whole"] else counted.tallies[tuple(row[i] for i in range(size)), row["point"]]
        tally.percentiles_us = row["found"]


async def _count_distinct(
    connection: Connection, organization_id: UUID, counted: Counted, metric: str, what: str
) -> None:
    rows = await store.read_distinct(connection, _builder(organization_id, counted), what)
    missing = None if rows is None else 0
    for tally in (*counted.tallies.values(), counted.total):
        tally.distinct[metric] = missing
    size = len(counted.question.group_by)
    for row in rows or ():
        if row["whole"]:
            counted.total.distinct[metric] = row["found"]
            continue
        # A group whose calls were all corrected away has no tally.
        tally_or_none = counted.tallies.get((tuple(row[index] for index in range(size)), row["point"]))
        if tally_or_none is not None:
            tally_or_none.distinct[metric] = row["found"]


def _head(counted: Counted) -> dict[str, Any]:
    question = counted.question
    return {
        "from": timestamp(question.start),
        "to": timestamp(question.end),
        "as_of": timestamp(counted.facts.as_of),
        "currency": counted.facts.currency,
        "group_by": list(question.group_by),
        "latency_error_bound": error_bound(counted.is_exact),
    }


async def summary(connection: Connection, organization_id: UUID, question: Question) -> Mapping[str, Any]:
    """Return the metrics of each group over the whole range, and of all groups together."""
    counted = await count(connection, organization_id, question)
    total = counted.total.metrics(question.metrics, counted.facts.currency)
    return {**_head(counted), "groups": counted.rows() if question.group_by else [], "total": total}


async def series(connection: Connection, organization_id: UUID, question: Question) -> Mapping[str, Any]:
    """Return the metrics of each group at each point of time; points and groups with nothing are absent."""
    counted = await count(connection, organization_id, question)
    head = _head(counted)
    return {**head, "interval": question.interval, "tz": question.tz, "points": counted.rows()}


async def calls(
    connection: Connection, organization_id: UUID, question: CallsQuestion
) -> tuple[list[dict[str, Any]], tuple[object, ...] | None]:
    """Return a page of raw calls, and the last one's place in their order when there are more."""
    rows = await store.read_calls(connection, organization_id, question)
    shown = rows[: question.limit]
    more = len(rows) > question.limit
    items = [call_shown(row, metadata) for row, metadata in await _explained(connection, organization_id, shown)]
    if not more:
        return items, None
    last = shown[-1]
    place = (last["occurred_at"], last["id"])
    is_by_time = SORTS[question.sort] is None
    return items, place if is_by_time else (*place, last["sorted_by"])


async def call(
    connection: Connection, organization_id: UUID, call_id: UUID, *, at: datetime | None = None
) -> dict[str, Any]:
    """Return one call, with `attempts`: all calls of its request, itself among them, the first one first.

    `at` is the call's timestamp; an id that is no UUIDv7 is found by it only.
    """
    key_at = uuid7_time(call_id) or at
    found = None if key_at is None else await store.read_call(connection, organization_id, call_id, key_at)
    if found is None:
        raise CallNotFound
    attempts = [found]
    if found["request_id"]:
        attempts = await store.read_request(connection, organization_id, found["request_id"], MAX_ATTEMPTS)
        if all(row["id"] != call_id for row in attempts):
            attempts = [*attempts[:-1], found]
    explained = await _explained(connection, organization_id, [found, *attempts])
    shown, *others = [call_shown(row, metadata) for row, metadata in explained]
    return {**shown, "attempts": others}


async def stream_calls(
    connection: Connection, organization_id: UUID, question: CallsQuestion
) -> AsyncIterator[list[ExplainedCall]]:
    """Yield all calls of a range in their order, a few thousand at a time, each with its metadata as they are told."""
    async for rows in store.stream_calls(connection, organization_id, question, chunk=EXPORT_CHUNK):
        yield await _explained(connection, organization_id, rows)


async def _explained(
    connection: Connection, organization_id: UUID, rows: Sequence[asyncpg.Record]
) -> list[ExplainedCall]:
    """Return calls with their metadata, in which the limits that a call names are written out."""
    asked = [asked_of(row["metadata"]) for row in rows]
    ids = {item.id for item in asked if item is not None}
    sets = await store.read_limit_sets(connection, organization_id, list(ids)) if ids else {}
    return [
        (row, row["metadata"] if item is None else expand(row["metadata"], item, sets.get(item.id, ())))
        for row, item in zip(rows, asked, strict=True)
    ]
