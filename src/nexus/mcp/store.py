"""Runs the SQL about MCP servers: named statements from `sql/`, those that depend on the question written here."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import asyncpg

from nexus.contracts.mcp_requests import MCP_REQUEST_COLUMN_TYPES
from nexus.contracts.tool_calls import TOOL_CALL_COLUMN_TYPES
from nexus.kit.errors import invalid
from nexus.mcp.types import FOLDED, OUTCOMES, RowsQuestion
from nexus.metering.cube import Cube
from nexus.metering.statements import Builder, Statement, filter_text
from nexus.metering.types import INTERVALS, Question, RangeFacts
from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.mcp")
Row = asyncpg.Record
_NOT_SHOWN = {"ordinal", "organization_id", "is_opaque", "key_at"}
TOOL_CALL_FIELDS = tuple(name for name in TOOL_CALL_COLUMN_TYPES if name not in _NOT_SHOWN)
REQUEST_FIELDS = tuple(name for name in MCP_REQUEST_COLUMN_TYPES if name not in _NOT_SHOWN)
_LONG = {"parameters", "response", "error_stack", "request_body", "response_body", "metadata"}
"""What a list leaves out: one row's page shows it."""
TOOL_CALL_LIST_FIELDS = tuple(name for name in TOOL_CALL_FIELDS if name not in _LONG)
REQUEST_LIST_FIELDS = tuple(name for name in REQUEST_FIELDS if name not in _LONG)

MOST_BESIDE = 5_000
"""Calls before and after one that are looked at for the window of activity they belong to."""


async def range_facts(connection: Connection, question: Question) -> tuple[RangeFacts, str]:
    """Return what planning a question needs, and the transaction's isolation."""
    unit = INTERVALS.get(question.interval or "")
    try:
        row = await connection.fetchrow(
            QUERIES["range_facts"], question.start, question.end, question.tz, unit if isinstance(unit, str) else None
        )
    except asyncpg.InvalidParameterValueError:
        # Python knows a zone that this PostgreSQL does not.
        raise invalid("tz", f"the database knows no time zone {question.tz!r}") from None
    assert row is not None
    facts = RangeFacts(
        currency="",
        day_zone="UTC",
        as_of=row["as_of"],
        whole_from={name: datetime.fromisoformat(at) for name, at in (row["whole_from"] or {}).items()},
        first_day=row["first_day"],
        last_day=row["last_day"],
        calendar=tuple(row["calendar"] or ()),
    )
    return facts, row["isolation"]


async def read_sums(connection: Connection, builder: Builder, at_most: int) -> list[Row]:
    """Return the summed rows of a question, but no more than `at_most`."""
    text = builder.sums(at_most)
    rows: list[Row] = await connection.fetch(text, *builder.statement.arguments)
    return rows


async def read_ranking(
    connection: Connection, builder: Builder, groups: int, value: str, *, limit: int, skip: int
) -> list[Row]:
    """Return the groups with most of a value, each with the value and with how many groups there are."""
    text = builder.ranking(groups, value, limit=limit, skip=skip)
    rows: list[Row] = await connection.fetch(text, *builder.statement.arguments)
    return rows


async def read_distinct(connection: Connection, builder: Builder, what: str) -> list[Row] | None:
    """Return each group's count of different principals or clients; None where they are not kept with these dimensions."""
    text = builder.distinct(what, with_whole=False)
    if text is None:
        return None
    rows: list[Row] = await connection.fetch(text, *builder.statement.arguments)
    return rows


async def read_rows(
    connection: Connection, organization_id: UUID, cube: Cube, question: RowsQuestion, fields: tuple[str, ...]
) -> list[Row]:
    """Return one row more than the limit, in the question's order: the one more tells that there is a next page."""
    statement = Statement()
    bind = statement.bind
    parts = [
        f"organization_id = {bind(organization_id, 'uuid')}",
        f"occurred_at >= {bind(question.start, 'timestamptz')}",
        f"occurred_at < {bind(question.end, 'timestamptz')}",
    ]
    if question.only_failed:
        parts.append("outcome <> 'ok'")
    parts += [filter_text(statement, _column(cube, item.dimension), item) for item in question.filters]
    if question.after is not None:
        parts.append(
            f"(occurred_at, id) < ({bind(question.after[0], 'timestamptz')}, {bind(question.after[1], 'uuid')})"
        )
    newest = "occurred_at DESC, id DESC"
    order = f"duration_us DESC NULLS LAST, {newest}" if question.slowest_first else newest
    rows: list[Row] = await connection.fetch(
        f"SELECT {', '.join(fields)} FROM {cube.raw} WHERE {' AND '.join(parts)}\n"
        f"ORDER BY {order} LIMIT {bind(question.limit + 1, 'integer')}",
        *statement.arguments,
    )
    return rows


async def find_tool_calls(connection: Connection, organization_id: UUID, question: RowsQuestion) -> list[Row]:
    """Return tool calls by their parameters, as `read_rows` does."""
    values = {item.dimension: [value for value in item.values if value is not None] for item in question.filters}
    outcomes = values.get("outcome")
    if question.only_failed:
        outcomes = [one for one in outcomes or OUTCOMES if one != "ok"]
    after_at, after_id = question.after or (None, None)
    rows: list[Row] = await connection.fetch(
        f"SELECT {', '.join(TOOL_CALL_LIST_FIELDS)} FROM mcp.tool_calls AS c\n"
        "JOIN mcp.find_tool_calls_v2($2, $3, $4, $5, $6, $7, $8, $9, $10) AS f ON f.found_at = c.key_at AND f.found_id = c.id\n"
        "WHERE c.organization_id = $1 ORDER BY c.occurred_at DESC, c.id DESC",
        organization_id,
        dict(question.parameters or {}),
        values.get("server"),
        values.get("name"),
        outcomes,
        question.start,
        question.end,
        after_at,
        after_id,
        question.limit + 1,
    )
    return rows


async def read_tool_call(connection: Connection, organization_id: UUID, call_id: UUID, key_at: datetime) -> Row | None:
    """Return one tool call by its key."""
    row: Row | None = await connection.fetchrow(
        f"SELECT {', '.join(TOOL_CALL_FIELDS)} FROM mcp.tool_calls WHERE organization_id = $1 AND key_at = $2 AND id = $3",
        organization_id,
        key_at,
        call_id,
    )
    return row


async def read_trace(connection: Connection, organization_id: UUID, trace_id: str, at_most: int) -> list[Row]:
    """Return the tool calls of a trace, the first one first."""
    rows: list[Row] = await connection.fetch(
        f"SELECT {', '.join(TOOL_CALL_LIST_FIELDS)} FROM mcp.tool_calls WHERE organization_id = $1 AND trace_id = $2\n"
        "ORDER BY occurred_at, id LIMIT $3",
        organization_id,
        trace_id,
        at_most,
    )
    return rows


async def read_window(
    connection: Connection, organization_id: UUID, principal: str, client: str, at: datetime
) -> Row | None:
    """Return the window of activity that holds a call: when it began and ended, and the calls in it."""
    row: Row | None = await connection.fetchrow(
        QUERIES["activity_window"], organization_id, principal, client, at, MOST_BESIDE
    )
    return row


async def uncalled_tools(
    connection: Connection,
    organization_id: UUID,
    *,
    start: datetime,
    end: datetime,
    server: str | None,
    at_most: int,
    lists: int,
) -> list[Row]:
    """Return tools that the range's newest `lists` name and that nobody called in it."""
    rows: list[Row] = await connection.fetch(
        QUERIES["uncalled_tools"], organization_id, start, end, server, at_most, lists
    )
    return rows


async def requests_to_export(connection: Connection, limit: int) -> list[Row]:
    """Return the gateway's requests that wait for export, oldest first, locked for the transaction."""
    return list(await connection.fetch(QUERIES["requests_to_export"], limit))


async def fold(connection: Connection, max_rows: int) -> int:
    """Move journal rows into the rollups; returns how many, or -1 when another node is at it."""
    moved: int = await connection.fetchval(QUERIES["fold"], dict(FOLDED), max_rows)
    return moved


async def drop_old_months(connection: Connection, table: str, level: str, before: datetime) -> int:
    """Drop a table's months that ended before an instant, and remember that its level is whole from then on only."""
    await connection.execute("SET LOCAL lock_timeout = '2s'")
    await connection.execute(QUERIES["lock_rollups"])
    dropped: int = await connection.fetchval(QUERIES["drop_old_months"], table, before)
    if dropped:
        await connection.execute(QUERIES["move_horizon"], level, before)
    return dropped


def _column(cube: Cube, dimension: str) -> str:
    return dimension if dimension in {"trace_id", "session_id", "error_type"} else cube.column("raw", dimension)
