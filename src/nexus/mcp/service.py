"""Questions about MCP servers: figures exact at the moment they are asked, and the calls they are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from nexus.kit.errors import FieldFault
from nexus.kit.ids import uuid7_time
from nexus.kit.latency import decode, quantile, representative_us
from nexus.mcp import store
from nexus.mcp.answers import ERROR_BOUND, Tally, row_shown, timestamp
from nexus.mcp.errors import ToolCallNotFound, TooManyTools
from nexus.mcp.types import RANKED, REQUESTS, SKETCHES, TOOLS, RowsQuestion
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
_SLOWEST_STEP = 250
"""Groups whose sketches are read first to find those with the highest p95."""
_SLOWEST_BIN = "metering.latency_bin_v1(max(duration_max_us))"
"""Bin of a group's slowest call."""
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


async def _count(connection: Connection, organization_id: UUID, cube: Cube, question: Question) -> Counted:
    """Answer a question, each group's outcomes together. The transaction must be one snapshot."""
    counted = await _planned(connection, cube, question)
    await _add_up(connection, organization_id, cube, counted)
    for tally in counted.tallies.values():
        counted.total.include(tally)
    return counted


async def _planned(connection: Connection, cube: Cube, question: Question) -> Counted:
    """Plan from where a question is answered, whose outcomes are kept apart."""
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
    return Counted(question, facts, pieces, points)


async def _add_up(
    connection: Connection,
    organization_id: UUID,
    cube: Cube,
    counted: Counted,
    among: Mapping[str, list[str]] = MappingProxyType({}),
) -> None:
    """Add up the figures of each group, or of some groups only."""
    question = counted.question
    builder = Builder(organization_id, _with_outcome(question), counted.pieces, counted.points, cube, among)
    rows = await store.read_sums(connection, builder, MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        raise _too_many()
    size = len(question.group_by)
    for row in rows:
        key = (_values(row, size), row["point"])
        counted.tallies.setdefault(key, Tally()).add(row, row[size])


def _too_many() -> TooManyTools:
    message = f"more than {MAX_ROWS} groups: ask for one server, a shorter range or a longer interval"
    return TooManyTools(message, faults=[FieldFault("server", message)])


def _with_outcome(question: Question) -> Question:
    return replace(question, group_by=(*question.group_by, "outcome"))


async def _count_distinct(
    connection: Connection,
    organization_id: UUID,
    cube: Cube,
    counted: Counted,
    what: str,
    among: Mapping[str, list[str]],
) -> None:
    """Count principals or clients: those of some groups, and those of all from where no group is kept apart."""
    question = counted.question
    total = Builder(organization_id, replace(question, group_by=()), counted.pieces, (), cube)
    whole = await store.read_distinct(connection, total, what)
    counted.total.distinct[what] = None if whole is None else sum(row["found"] for row in whole)
    if not counted.tallies:
        return
    builder = Builder(organization_id, question, counted.pieces, counted.points, cube, among)
    rows = await store.read_distinct(connection, builder, what)
    for tally in counted.tallies.values():
        tally.distinct[what] = None if rows is None else 0
    size = len(question.group_by)
    for row in rows or ():
        # A group whose calls were all taken back has no tally.
        tally_or_none = counted.tallies.get((_values(row, size), row["point"]))
        if tally_or_none is not None:
            tally_or_none.distinct[what] = row["found"]


async def _ranked(
    connection: Connection, organization_id: UUID, cube: Cube, counted: Counted, *, sort: str, limit: int, skip: int
) -> tuple[list[tuple[Any, ...]], int]:
    """Return the groups of a page in order, and how many groups there are."""
    question = counted.question
    size = len(question.group_by)
    builder = Builder(organization_id, _with_outcome(question), counted.pieces, counted.points, cube)
    if sort != "duration_p95_ms":
        value = RANKED[sort].format(outcome=f"g{size}")
        rows = await store.read_ranking(connection, builder, size, value, limit=limit, skip=skip)
        if not rows and skip:
            # Behind the last group: how many there are is still to be said.
            first = await store.read_ranking(connection, builder, size, value, limit=1, skip=0)
            return [], first[0]["groups"] if first else 0
        return [_values(row, size) for row in rows], rows[0]["groups"] if rows else 0
    slowest, groups = await _slowest(connection, organization_id, cube, counted, skip + limit)
    return slowest[skip : skip + limit], groups


async def _slowest(
    connection: Connection, organization_id: UUID, cube: Cube, counted: Counted, most: int
) -> tuple[list[tuple[Any, ...]], int]:
    """Return the groups with the highest p95, so many at most, and how many groups there are.

    A percentile is never above the bin of the slowest call. So sketches are read by that order, and only until none of the
    groups behind can come before those that were found.
    """
    question = _with_outcome(counted.question)
    names = counted.question.group_by
    found: dict[tuple[Any, ...], float] = {}
    rows: list[store.Row] = []
    done, step = 0, _SLOWEST_STEP

    def builder(among: Mapping[str, list[str]] = MappingProxyType({})) -> Builder:
        return Builder(organization_id, question, counted.pieces, counted.points, cube, among)

    while not rows or done < rows[0]["groups"]:
        if done >= len(rows):
            # Those of the first step nearly always suffice: all others are read only when they do not.
            at_most = 8 * step if not rows else MAX_ROWS + 1
            rows = await store.read_ranking(connection, builder(), len(names), _SLOWEST_BIN, limit=at_most, skip=0)
            if not rows:
                break
            if rows[0]["groups"] > MAX_ROWS:
                raise _too_many()
        best = sorted(found.items(), key=_by_p95)[:most]
        following = rows[done]
        if len(best) == most and _by_p95(best[-1]) < _by_p95((_values(following, len(names)), _at_most(following))):
            break
        page = [_values(row, len(names)) for row in rows[done : done + step]]
        among = _among(names, page)
        sketches = await store.read_ranking(
            connection, builder(among), len(names), SKETCHES, limit=MAX_ROWS + 1, skip=0
        )
        # Beside the event loop: it may be thousands of sketches.
        found |= await asyncio.to_thread(_p95_of, sketches, len(names))
        done, step = done + len(page), 2 * step
    ranked = [values for values, _ in sorted(found.items(), key=_by_p95)[:most]]
    return ranked, rows[0]["groups"] if rows else 0


def _by_p95(group: tuple[tuple[Any, ...], float]) -> tuple[float, tuple[str, ...]]:
    """Return where a group comes: the highest first, equal ones by their names, as the database orders them."""
    values, p95 = group
    return -p95, tuple(map(str, values))


def _values(row: store.Row, size: int) -> tuple[Any, ...]:
    return tuple(row[index] for index in range(size))


def _at_most(row: store.Row) -> float:
    """Return the duration that no percentile of a group is above, in µs; -1 of one whose calls took no known time."""
    return -1.0 if row["value"] is None else representative_us(row["value"])


def _p95_of(rows: list[store.Row], size: int) -> dict[tuple[Any, ...], float]:
    found: dict[tuple[Any, ...], float] = {}
    for row in rows:
        p95 = quantile(decode(row["value"]), 0.95)
        found[_values(row, size)] = -1.0 if p95 is None else p95
    return found


def _among(names: tuple[str, ...], page: list[tuple[Any, ...]]) -> dict[str, list[str]]:
    # A status may be missing, and then nothing equals it: what it is chosen by besides is enough.
    return {name: [str(values[place]) for values in page] for place, name in enumerate(names) if name != "status_code"}


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
    """Return the figures of each group over the whole range, in order, and of all together; and whether there are more.

    Which groups are on the page is found out first; sketches and different callers, which are most of the work, are
    read of these alone, and of all together from rollups that keep no group apart.
    """
    counted = await _planned(connection, cube, question)
    page, count = await _ranked(connection, organization_id, cube, counted, sort=sort, limit=limit, skip=skip)
    names = question.group_by
    # Where the page is all there is, nothing needs to be chosen.
    among = _among(names, page) if len(page) < count else {}
    if page:
        await _add_up(connection, organization_id, cube, counted, among)
    whole = replace(counted, question=replace(question, group_by=()), tallies={}, total=Tally())
    await _add_up(connection, organization_id, cube, whole)
    for tally in whole.tallies.values():
        counted.total.include(tally)
    for what in distinct:
        await _count_distinct(connection, organization_id, cube, counted, what, among)
    items = [{**_named(names, values, cube), **counted.tallies[values, 1].metrics()} for values in page]
    answer = {**counted.head(), "groups": count, "total": counted.total.metrics(), "items": items}
    return answer, count > skip + limit


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
        "has_more": window["has_more"],
    }
