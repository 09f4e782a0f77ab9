"""Runs the SQL about storage: named statements from `sql/`, those that depend on the question written here."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import asyncpg

from nexus.contracts.storage_records import STORAGE_COLUMN_TYPES
from nexus.kit.errors import invalid
from nexus.metering.statements import Builder, Statement, filter_text
from nexus.metering.types import INTERVALS, Question, RangeFacts
from nexus.platform.db import Connection, load_queries
from nexus.storage.types import FOLDED, WINDOWS, WindowsQuestion

QUERIES = load_queries("nexus.storage")
Row = asyncpg.Record
WINDOW_FIELDS = tuple(
    name for name in STORAGE_COLUMN_TYPES if name not in {"ordinal", "organization_id", "is_opaque", "key_at"}
)


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


async def read_windows(connection: Connection, organization_id: UUID, question: WindowsQuestion) -> list[Row]:
    """Return one window more than the limit, newest first: the one more tells that there is a next page."""
    statement = Statement()
    bind = statement.bind
    parts = [
        f"organization_id = {bind(organization_id, 'uuid')}",
        f"occurred_at >= {bind(question.start, 'timestamptz')}",
        f"occurred_at < {bind(question.end, 'timestamptz')}",
        *(filter_text(statement, WINDOWS.column("raw", item.dimension), item) for item in question.filters),
    ]
    if question.after is not None:
        at, window_id = question.after
        parts.append(f"(occurred_at, id) < ({bind(at, 'timestamptz')}, {bind(window_id, 'uuid')})")
    rows: list[Row] = await connection.fetch(
        f"SELECT {', '.join(WINDOW_FIELDS)} FROM storage.windows WHERE {' AND '.join(parts)}\n"
        f"ORDER BY occurred_at DESC, id DESC LIMIT {bind(question.limit + 1, 'integer')}",
        *statement.arguments,
    )
    return rows


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
