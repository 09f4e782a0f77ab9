"""Questions about MCP servers: figures exact at the moment they are asked, and the calls they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus.kit.errors import FieldFault
from nexus.kit.ids import uuid7_time
from nexus.mcp import store
from nexus.mcp.answers import ERROR_BOUND, Tally, row_shown, timestamp
from nexus.mcp.errors import ToolCallNotFound, TooManyTools
from nexus.mcp.types import REQUESTS, TOOLS, RowsQuestion
from nexus.metering.cube import Cube
from nexus.metering.plan import cover, covering_set, point_starts, raw_only
from nexus.metering.statements import Builder
from nexus.metering.types import Piece, Question, RangeFacts
from nexus.platform.db import Connection

MAX_ROWS = 100_000
"""Groups times points times outcomes that one answer may hold."""
MAX_TRACE = 100
"""Tool calls of one trace that are shown with one of them."""
MAX_UNCALLED = 500
"""Tools that nobody called which one answer names."""
MAX_LISTS = 2_000
"""Newest lists of tools that are looked at; servers send the same list to every client."""
Key = tuple[tuple[Any, ...], int]


@dataclass
class Counted:
    """The figures of a question before they are written out."""

    question: Question
    facts: RangeFacts
    pieces: list[Piece]
    points: list[datetime]
    tallies: dict[Key, Tally] = field(default_factory=dict)
    total: Tally = field(default_factory=Tally)

    def head(self) -> dict[str, Any]:
        """Return what every answer begins with."""
        return {
            "from": timestamp(self.question.start),
            "to": timestamp(self.question.end),
            "as_of": timestamp(self.facts.as_of),
            "duration_error_bound": ERROR_BOUND,
        }


async def _count(
    connection: Connection, organization_id: UUID, cube: Cube, question: Question, *distinct: str
) -> Counted:
    """Answer a question, each group's outcomes together. The transaction must be one snapshot."""
    facts, isolation = await store.range_facts(connection, question)
    if isolation != "repeatable read":
        raise RuntimeError("questions need a transaction that is one snapshot: database.tenant(…, snapshot=True)")
    points = point_starts(question, facts.calendar) if question.interval else []
    by_outcome = _with_outcome(question)
    if covering_set(by_outcome.dimensions, cube.sets) is None:
        names = ", ".join(sorted(question.dimensions))
        pieces = raw_only(by_outcome, facts, why=f"{names} are not kept together", field="group_by")
    else:
        pieces = cover(by_outcome, facts, points[1:])
    counted = Counted(question, facts, pieces, points)
    rows = await store.read_sums(connection, Builder(organization_id, by_outcome, pieces, points, cube), MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        message = f"more than {MAX_ROWS} groups: ask for one server, a shorter range or a longer interval"
        raise TooManyTools(message, faults=[FieldFault("server", message)])
    size = len(question.group_by)
    for row in rows:
        key = (tuple(row[index] for index in range(size)), row["point"])
        tally = counted.tallies.setdefault(key, Tally())
        tally.add(row, row[size])
    for tally in counted.tallies.values():
        counted.total.include(tally)
    for what in distinct:
        await _count_distinct(connection, organization_id, cube, counted, what)
    return counted


def _with_outcome(question: Question) -> Question:
    return Question(
        start=question.start,
        end=question.end,
        group_by=(*question.group_by, "outcome"),
        filters=question.filters,
        metrics=question.metrics,
        interval=question.interval,
        tz=question.tz,
    )


async def _count_distinct(
    connection: Connection, organization_id: UUID, cube: Cube, counted: Counted, what: str
) -> None:
    question = counted.question
    size = len(question.group_by)
    builder = Builder(organization_id, question, counted.pieces, counted.points, cube)
    rows = await store.read_distinct(connection, builder, what)
    missing = None if rows is None else 0
    for tally in (*counted.tallies.values(), counted.total):
        tally.distinct[what] = missing
    for row in rows or ():
        key = (tuple(row[index] for index in range(size)), row["point"])
        tally = counted.total if row["whole"] else counted.tallies[key]
        tally.distinct[what] = row["found"]


def _sort_value(tally: Tally, sort: str) -> Any:
    if sort == "duration_p95_ms":
        return tally.percentile_us(0.95) or -1
    if sort == "duration_avg_ms":
        return tally.average_us or -1
    return getattr(tally, sort)


async def groups(
    connection: Connection,
    organization_id: UUID,
    cube: Cube,
    question: Question,
    *,
    sort: str = "calls",
    limit: int = 50,
    skip: int = 0,
    distinct: tuple[str, ...] = (),
) -> tuple[dict[str, Any], bool]:
    """Return the figures of each group over the whole range, in order, and of all together; and whether there are more."""
    counted = await _count(connection, organization_id, cube, question, *distinct)
    found = [(values, tally) for (values, _), tally in counted.tallies.items()]
    found.sort(key=lambda item: tuple(str(value) for value in item[0]))
    if sort != "name":
        found.sort(key=lambda item: _sort_value(item[1], sort), reverse=True)
    page = found[skip : skip + limit]
    names = question.group_by
    items = [{**_named(names, values, cube), **tally.metrics()} for values, tally in page]
    answer = {**counted.head(), "groups": len(found), "total": counted.total.metrics(), "items": items}
    return answer, len(found) > skip + limit


def _named(names: tuple[str, ...], values: tuple[Any, ...], cube: Cube) -> dict[str, Any]:
    renamed = {"name": "tool" if cube is TOOLS else "method"}
    return {renamed.get(name, name): None if value == "" else value for name, value in zip(names, values, strict=True)}


async def series(connection: Connection, organization_id: UUID, cube: Cube, question: Question) -> Mapping[str, Any]:
    """Return the figures at each point of time, points without calls left out, and the distribution over the range."""
    counted = await _count(connection, organization_id, cube, question)
    points = [
        {"at": timestamp(counted.points[point - 1]), **_named(question.group_by, values, cube), **tally.metrics()}
        for (values, point), tally in sorted(counted.tallies.items(), key=lambda item: (item[0][1], str(item[0][0])))
    ]
    return {
        **counted.head(),
        "interval": question.interval,
        "tz": question.tz,
        "total": counted.total.metrics(),
        "histogram": counted.total.histogram(),
        "points": points,
    }


async def uncalled_tools(
    connection: Connection, organization_id: UUID, *, start: datetime, end: datetime, server: str | None
) -> list[dict[str, Any]]:
    """Return the tools that servers listed in a range, and that nobody called in it."""
    rows = await store.uncalled_tools(
        connection, organization_id, start=start, end=end, server=server, at_most=MAX_UNCALLED, lists=MAX_LISTS
    )
    return [
        {"server": row["server"] or None, "tool": row["tool"], "listed_at": timestamp(row["listed_at"])} for row in rows
    ]


async def tool_calls(
    connection: Connection, organization_id: UUID, question: RowsQuestion
) -> tuple[list[dict[str, Any]], tuple[object, ...] | None]:
    """Return a page of tool calls, and the last one's place in their order when there are more."""
    if question.parameters is not None:
        rows = await store.find_tool_calls(connection, organization_id, question)
    else:
        rows = await store.read_rows(connection, organization_id, TOOLS, question, store.TOOL_CALL_LIST_FIELDS)
    return _page(rows, question, store.TOOL_CALL_LIST_FIELDS)


async def requests(
    connection: Connection, organization_id: UUID, question: RowsQuestion
) -> tuple[list[dict[str, Any]], tuple[object, ...] | None]:
    """Return a page of requests, and the last one's place in their order when there are more."""
    rows = await store.read_rows(connection, organization_id, REQUESTS, question, store.REQUEST_LIST_FIELDS)
    return _page(rows, question, store.REQUEST_LIST_FIELDS)


def _page(
    rows: list[store.Row], question: RowsQuestion, fields: tuple[str, ...]
) -> tuple[list[dict[str, Any]], tuple[object, ...] | None]:
    shown = rows[: question.limit]
    has_more = len(rows) > question.limit and not question.slowest_first
    last = (shown[-1]["occurred_at"], shown[-1]["id"]) if has_more else None
    return [row_shown(row, fields) for row in shown], last


async def tool_call(
    connection: Connection, organization_id: UUID, call_id: UUID, *, at: datetime | None = None
) -> dict[str, Any]:
    """Return one tool call, with the tool calls of its trace and the session or window of activity it belongs to.

    `at` is the call's timestamp; an id that is no UUIDv7 is found by it only.
    """
    key_at = uuid7_time(call_id) or at
    row = None if key_at is None else await store.read_tool_call(connection, organization_id, call_id, key_at)
    if row is None:
        raise ToolCallNotFound
    trace = await store.read_trace(connection, organization_id, row["trace_id"], MAX_TRACE) if row["trace_id"] else []
    return {
        **row_shown(row, store.TOOL_CALL_FIELDS),
        "session": await _session(connection, organization_id, row),
        "trace": [row_shown(one, store.TOOL_CALL_LIST_FIELDS) for one in trace],
    }


async def _session(connection: Connection, organization_id: UUID, row: store.Row) -> dict[str, Any] | None:
    """Return the protocol's session where there is one, else the window of activity, labelled as derived."""
    if row["session_id"]:
        return {"source": "protocol", "id": row["session_id"]}
    window = await store.read_window(
        connection, organization_id, row["principal"], row["client_name"], row["occurred_at"]
    )
    if window is None or window["began_at"] is None:
        return None
    return {
        "source": "derived",
        "began_at": timestamp(window["began_at"]),
        "ended_at": timestamp(window["ended_at"]),
        "calls": window["calls"],
    }
