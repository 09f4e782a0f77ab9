"""Runs the meter's SQL: named statements from `sql/`, those that depend on the question from `statements.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from nexus.kit.errors import invalid
from nexus.metering.statements import IS_ERROR, Builder, Statement, filter_text
from nexus.metering.types import COLUMNS, INTERVALS, TAG_PREFIX, CallsQuestion, Question, RangeFacts
from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.metering")
Row = asyncpg.Record

CALL_FIELDS: tuple[str, ...] = (
    "id", "occurred_at", "received_at", "provider", "endpoint", "method", "status_code", "response_time_us", "ttfb_us",
    "request_bytes", "response_bytes", "model", "region", "key_id", "application", "user_ref", "end_user",
    "session_id", "request_id", "trace_id", "input_tokens", "output_tokens", "cached_input_tokens",
    "cache_write_tokens", "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "image_input_tokens",
    "image_output_tokens", "units", "service_variant", "cost", "currency", "price_source", "price_id",
    "unpriced_reason", "tags", "metadata", "error_type", "error_message", "user_agent", "ip_address",
    "request_headers", "response_headers",
)  # fmt: skip


async def range_facts(connection: Connection, organization_id: UUID, question: Question) -> tuple[RangeFacts, str]:
    """Return what planning a question needs, and the transaction's isolation."""
    unit = INTERVALS.get(question.interval or "")
    try:
        row = await connection.fetchrow(
            QUERIES["range_facts"],
            organization_id,
            question.start,
            question.end,
            question.tz,
            unit if isinstance(unit, str) else None,
        )
    except asyncpg.InvalidParameterValueError:
        # Python knows a zone that this PostgreSQL does not.
        raise invalid("tz", f"the database knows no time zone {question.tz!r}") from None
    assert row is not None  # noqa: S101
    whole_from = {name: datetime.fromisoformat(at) for name, at in (row["whole_from"] or {}).items()}
    facts = RangeFacts(
        currency=row["currency"],
        day_zone=row["day_zone"],
        as_of=row["as_of"],
        whole_from=whole_from,
        first_day=row["first_day"],
        last_day=row["last_day"],
        calendar=tuple(row["calendar"] or ()),
    )
    return facts, row["isolation"]


async def read_sums(connection: Connection, builder: Builder) -> list[Row]:
    """Return the summed rows of a question."""
    text = builder.sums()
    rows: list[Row] = await connection.fetch(text, *builder.statement.arguments)
    return rows


async def read_distinct(connection: Connection, builder: Builder, what: str) -> list[Row] | None:
    """Return counts of different users or endpoints; None where they are not kept with these dimensions."""
    text = builder.distinct(what)
    if text is None:
        return None
    rows: list[Row] = await connection.fetch(text, *builder.statement.arguments)
    return rows


async def read_percentiles(connection: Connection, builder: Builder) -> list[Row]:
    """Return exact percentiles from the raw rows."""
    text = builder.percentiles()
    rows: list[Row] = await connection.fetch(text, *builder.statement.arguments)
    return rows


def _calls_statement(organization_id: UUID, question: CallsQuestion, fields: Sequence[str]) -> tuple[str, Statement]:
    statement = Statement()
    bind = statement.bind
    parts = [
        f"organization_id = {bind(organization_id, 'uuid')}",
        f"occurred_at >= {bind(question.start, 'timestamptz')}",
        f"occurred_at < {bind(question.end, 'timestamptz')}",
    ]
    if question.after is not None:
        at, last = question.after
        parts.append(f"(occurred_at, id) < ({bind(at, 'timestamptz')}, {bind(last, 'uuid')})")
    if question.only_errors:
        parts.append(IS_ERROR)
    if question.only_unpriced:
        parts.append("cost IS NULL")
    for item in question.filters:
        name = item.dimension
        if name.startswith(TAG_PREFIX):
            value = f"tags ->> {bind(name.removeprefix(TAG_PREFIX), 'text')}"
        else:
            value = COLUMNS[name]
        parts.append(filter_text(statement, value, item))
    names = ", ".join(fields)
    text = f"SELECT {names} FROM metering.calls WHERE {' AND '.join(parts)}\nORDER BY occurred_at DESC, id DESC"
    return text, statement


async def read_calls(connection: Connection, organization_id: UUID, question: CallsQuestion) -> list[Row]:
    """Return one call more than the limit, newest first: the one more tells that there is a next page."""
    text, statement = _calls_statement(organization_id, question, CALL_FIELDS)
    limit = statement.bind(question.limit + 1, "integer")
    rows: list[Row] = await connection.fetch(f"{text} LIMIT {limit}", *statement.arguments)
    return rows


async def stream_calls(
    connection: Connection, organization_id: UUID, question: CallsQuestion, *, chunk: int
) -> AsyncIterator[list[Row]]:
    """Yield calls newest first in chunks, through a cursor of the server: memory does not grow with the range."""
    text, statement = _calls_statement(organization_id, question, CALL_FIELDS)
    cursor = await connection.cursor(text, *statement.arguments)
    while rows := await cursor.fetch(chunk):
        yield rows


async def fold(connection: Connection, max_rows: int) -> int:
    """Move journal rows into the rollups; returns how many, or -1 when another node is at it."""
    moved: int = await connection.fetchval(QUERIES["fold"], max_rows)
    return moved


async def journal_size(connection: Connection, at_most: int) -> int:
    """Count the journal's rows, but no further than `at_most`."""
    size: int = await connection.fetchval(QUERIES["journal_size"], at_most)
    return size
