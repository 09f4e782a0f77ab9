"""Runs the meter's SQL: named statements from `sql/`, those that depend on the question from `statements.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from nexus.contracts.limit_sets import DescribedLimit
from nexus.kit.errors import invalid
from nexus.metering.cube import IS_ERROR, IS_MADE
from nexus.metering.statements import Builder, Statement, filter_text
from nexus.metering.types import (
    COLUMNS,
    INTERVALS,
    SORTS,
    TAG_PREFIX,
    CallsQuestion,
    Question,
    RangeFacts,
    RepricingNew,
)
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
    "request_headers", "response_headers", "refused_by",
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
    assert row is not None
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


async def read_sums(connection: Connection, builder: Builder, at_most: int) -> list[Row]:
    """Return the summed rows of a question, but no more than `at_most`."""
    text = builder.sums(at_most)
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
    value, order = _order(question)
    if question.after is not None:
        parts.append(_is_after(statement, question, question.after, value))
    if question.only_errors:
        parts += [IS_ERROR, IS_MADE]
    if question.refused is not None:
        parts.append(f"refused_by IS {'NOT ' if question.refused else ''}NULL")
    if question.only_unpriced:
        parts.append("cost IS NULL")
    if question.request_id is not None:
        parts.append(f"request_id = {bind(question.request_id, 'text')}")
    for item in question.filters:
        name = item.dimension
        is_tag = name.startswith(TAG_PREFIX)
        column = f"tags ->> {bind(name.removeprefix(TAG_PREFIX), 'text')}" if is_tag else COLUMNS[name]
        parts.append(filter_text(statement, column, item))
    names = ", ".join(fields) + (f", {value} AS sorted_by" if value else "")
    text = f"SELECT {names} FROM metering.calls WHERE {' AND '.join(parts)}\nORDER BY {order}"
    return text, statement


def _order(question: CallsQuestion) -> tuple[str | None, str]:
    """Return the number that calls are sorted by beside their time, and the ORDER BY."""
    value = SORTS[question.sort]
    direction = "ASC" if question.is_ascending else "DESC"
    if value is None:
        return None, f"occurred_at {direction}, id {direction}"
    return value, f"{value} {direction} NULLS LAST, occurred_at DESC, id DESC"


def _is_after(statement: Statement, question: CallsQuestion, after: tuple[datetime, UUID], value: str | None) -> str:
    """Return the condition that a call comes after the last one seen, in the question's order."""
    sign = ">" if question.is_ascending else "<"
    place = f"({statement.bind(after[0], 'timestamptz')}, {statement.bind(after[1], 'uuid')})"
    if value is None:
        return f"(occurred_at, id) {sign} {place}"
    is_older = f"(occurred_at, id) < {place}"
    if question.after_value is None:
        return f"{value} IS NULL AND {is_older}"
    last = statement.bind(question.after_value, "numeric")
    return f"({value} {sign} {last} OR {value} = {last} AND {is_older} OR {value} IS NULL)"


async def read_call(connection: Connection, organization_id: UUID, call_id: UUID, key_at: datetime) -> Row | None:
    """Return one call by its key."""
    row: Row | None = await connection.fetchrow(
        f"SELECT {', '.join(CALL_FIELDS)} FROM metering.calls WHERE organization_id = $1 AND key_at = $2 AND id = $3",
        organization_id,
        key_at,
        call_id,
    )
    return row


async def read_request(connection: Connection, organization_id: UUID, request_id: str, at_most: int) -> list[Row]:
    """Return the calls of one request, the first one first."""
    rows: list[Row] = await connection.fetch(
        f"SELECT {', '.join(CALL_FIELDS)} FROM metering.calls WHERE organization_id = $1 AND request_id = $2\n"
        "ORDER BY occurred_at, id LIMIT $3",
        organization_id,
        request_id,
        at_most,
    )
    return rows


async def read_calls(connection: Connection, organization_id: UUID, question: CallsQuestion) -> list[Row]:
    """Return one call more than the limit, in the question's order: the one more tells that there is a next page."""
    text, statement = _calls_statement(organization_id, question, CALL_FIELDS)
    limit = statement.bind(question.limit + 1, "integer")
    rows: list[Row] = await connection.fetch(f"{text} LIMIT {limit}", *statement.arguments)
    return rows


async def stream_calls(
    connection: Connection, organization_id: UUID, question: CallsQuestion, *, chunk: int
) -> AsyncIterator[list[Row]]:
    """Yield calls in their order in chunks, through a cursor of the server: memory does not grow with the range."""
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


async def insert_repricing(
    connection: Connection, organization_id: UUID, repricing_id: UUID, new: RepricingNew, at: datetime
) -> Row:
    """Write an order to price calls again."""
    row: Row | None = await connection.fetchrow(
        QUERIES["insert_repricing"],
        organization_id,
        repricing_id,
        new.start,
        new.end,
        new.provider,
        new.model,
        new.dry_run,
        new.only_unpriced,
        new.include_given,
        at,
    )
    assert row is not None
    return row


async def repricing(connection: Connection, organization_id: UUID, repricing_id: UUID) -> Row | None:
    """Return one order."""
    row: Row | None = await connection.fetchrow(QUERIES["repricing"], organization_id, repricing_id)
    return row


async def repricings(connection: Connection, organization_id: UUID, after: UUID | None, limit: int) -> list[Row]:
    """Return orders, newest first."""
    rows: list[Row] = await connection.fetch(QUERIES["repricings"], organization_id, after, limit)
    return rows


async def next_repricing(connection: Connection) -> Row | None:
    """Take the oldest open order that no other worker holds; held until the transaction ends."""
    row: Row | None = await connection.fetchrow(QUERIES["next_repricing"])
    return row


async def has_open_repricing(connection: Connection) -> bool:
    """Tell whether any order is open."""
    is_open: bool = await connection.fetchval(QUERIES["has_open_repricing"])
    return is_open


async def calls_to_price(connection: Connection, order: Row, limit: int) -> list[Row]:
    """Return the next calls of an order, locked, in the order in which they are gone through."""
    rows: list[Row] = await connection.fetch(
        QUERIES["unpriced_calls_to_price" if order["only_unpriced"] else "calls_to_price"],
        order["organization_id"],
        order["starts_at"],
        order["ends_at"],
        order["reached_at"],
        order["reached_id"],
        order["provider"],
        order["model"],
        order["include_given"],
        limit,
    )
    return rows


async def apply_prices(connection: Connection, organization_id: UUID, prices: Sequence[tuple[Any, ...]]) -> None:
    """Write new prices of calls, and the differences they make into the journal."""
    columns = [list(column) for column in zip(*prices, strict=True)]
    await connection.fetchrow(QUERIES["apply_prices"], organization_id, *columns)


async def advance_repricing(
    connection: Connection,
    order: Row,
    *,
    state: str,
    examined: int,
    changed: int,
    totals: Sequence[Any],
    reached: tuple[datetime | None, UUID | None],
    error: str | None = None,
) -> None:
    """Write how far an order is."""
    await connection.execute(
        QUERIES["advance_repricing"],
        order["organization_id"],
        order["id"],
        state,
        examined,
        changed,
        totals,
        *reached,
        error,
    )


async def prices_version(connection: Connection) -> tuple[int | None, int]:
    """Return the version of the price book, and the one that was noticed last."""
    row = await connection.fetchrow(QUERIES["prices_version"])
    assert row is not None
    return row["current"], row["noticed"]


async def notice_prices(connection: Connection, version: int) -> bool:
    """Remember a version as noticed; tells whether nobody did before."""
    return await connection.fetchval(QUERIES["notice_prices"], version) is not None


async def order_unpriced(connection: Connection) -> int:
    """Order repricings of calls without a price; returns how many."""
    return len(await connection.fetch(QUERIES["order_unpriced"]))


async def delete_old_seen_ids(connection: Connection, before: datetime, limit: int) -> int:
    """Forget up to so many ids received before an instant; returns how many."""
    gone: int = await connection.fetchval(QUERIES["delete_old_seen_ids"], before, limit)
    return gone


async def delete_old_sightings(connection: Connection, before: datetime, limit: int) -> int:
    """Forget up to so many sightings received before an instant; returns how many."""
    gone: int = await connection.fetchval(QUERIES["delete_old_sightings"], before, limit)
    return gone


async def delete_limit_sets(connection: Connection, low: datetime) -> None:
    """Delete what the calls of a month name; that month of calls is gone, or goes in the same transaction."""
    await connection.execute(QUERIES["delete_limit_sets"], low)


async def read_limit_sets(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, list[DescribedLimit]]:
    """Return sets of limits that calls name, by id."""
    rows = await connection.fetch(QUERIES["limit_sets"], organization_id, ids)
    return {row["id"]: msgspec.convert(row["limits"], list[DescribedLimit]) for row in rows}


async def old_months(connection: Connection, table: str, before: datetime) -> list[datetime]:
    """Return the beginnings of a table's partitions that end at or before an instant."""
    return [row["low"] for row in await connection.fetch(QUERIES["old_partitions"], table, before)]


async def month_facts(connection: Connection, query: str, low: datetime, high: datetime) -> Row:
    """Count a month's rows, with the last time in them and when they were last touched."""
    # A month may hold many rows, and nobody waits for this.
    row: Row | None = await connection.fetchrow(QUERIES[query], low, high, timeout=3600)
    assert row is not None
    return row


async def drop_month(connection: Connection, table: str, low: datetime) -> bool:
    """Drop one partition; gives up after two seconds rather than hold up writers and readers."""
    await connection.execute("SET LOCAL lock_timeout = '2s'")
    dropped: bool = await connection.fetchval(QUERIES["drop_month"], table, low)
    return dropped


async def lock_rollups(connection: Connection) -> None:
    """Keep folding away until the transaction ends."""
    await connection.execute(QUERIES["lock_rollups"])


async def move_horizon(connection: Connection, level: str, whole_from: datetime) -> None:
    """Remember from when on a level is whole."""
    await connection.execute(QUERIES["move_horizon"], level, whole_from)


async def changed_zones(connection: Connection) -> list[tuple[UUID, str]]:
    """Return organizations whose days have to be made again, with their zone."""
    return [(row["id"], row["reporting_zone"]) for row in await connection.fetch(QUERIES["changed_zones"])]


async def rebuild_days(connection: Connection, organization_id: UUID, zone: str) -> int:
    """Make an organization's day rollups again for a zone; returns how many rows."""
    made: int = await connection.fetchval(QUERIES["rebuild_days"], organization_id, zone, timeout=3600)
    return made


async def organization_by_slug(connection: Connection, slug: str) -> UUID | None:
    """Return the id of an organization, as nexus_system."""
    found: UUID | None = await connection.fetchval(QUERIES["organization_by_slug"], slug)
    return found


async def body_settings(connection: Connection, organization_id: UUID) -> Row | None:
    """Return what an organization wants kept of bodies; None where it never said."""
    row: Row | None = await connection.fetchrow(QUERIES["body_settings"], organization_id)
    return row


async def put_body_settings(
    connection: Connection, organization_id: UUID, values: Sequence[Any], changed_at: datetime
) -> None:
    """Write what an organization wants kept of bodies; the values in the order of `BodySettings`."""
    await connection.execute(QUERIES["put_body_settings"], organization_id, *values, changed_at)


async def purge_bodies(connection: Connection, organization_id: UUID, before: datetime) -> None:
    """Hide all bodies of calls made before an instant, until they are deleted."""
    await connection.execute(QUERIES["purge_bodies"], organization_id, before)


async def bodies_of_call(connection: Connection, organization_id: UUID, call_id: UUID, key_at: datetime) -> list[Row]:
    """Return what is stored of a call's bodies."""
    rows: list[Row] = await connection.fetch(QUERIES["bodies_of_call"], organization_id, key_at, call_id)
    return rows


async def call_of_bodies(connection: Connection, organization_id: UUID, call_id: UUID, key_at: datetime) -> Row | None:
    """Return what of a call tells why its bodies are not kept."""
    row: Row | None = await connection.fetchrow(QUERIES["call_of_bodies"], organization_id, key_at, call_id)
    return row


async def record_bodies_read(connection: Connection, call_id: UUID, sides: Sequence[str]) -> None:
    """Write to the audit log that somebody read a call's bodies."""
    await connection.execute(QUERIES["record_bodies_read"], str(call_id), {"sides": list(sides)})


async def body_limits(connection: Connection, at: datetime) -> list[tuple[UUID, datetime]]:
    """Return before which instant each organization's bodies are over."""
    return [(row["organization_id"], row["before"]) for row in await connection.fetch(QUERIES["body_limits"], at)]


async def delete_old_bodies(connection: Connection, organization_id: UUID, before: datetime, limit: int) -> int:
    """Delete up to so many bodies of an organization from before an instant; returns how many."""
    gone: int = await connection.fetchval(QUERIES["delete_old_bodies"], organization_id, before, limit)
    return gone


async def old_body_days(connection: Connection, before: datetime) -> list[datetime]:
    """Return the beginnings of days of bodies that ended before an instant."""
    return [row["low"] for row in await connection.fetch(QUERIES["old_body_days"], before)]


async def bodies_of_day(connection: Connection, low: datetime) -> int:
    """Tell whether anything is left of a day: 1, or 0."""
    left: int = await connection.fetchval(QUERIES["bodies_of_day"], low, low + timedelta(days=1), 1)
    return left


async def begin_call_export(connection: Connection, at: datetime) -> None:
    """Have the gateway's calls noted for export from now on."""
    await connection.execute(QUERIES["begin_call_export"], at)


async def end_call_export(connection: Connection) -> None:
    """Have no call noted any more, and forget those that were."""
    await connection.execute(QUERIES["end_call_export"])
    await connection.execute(QUERIES["forget_all_to_export"])


async def forget_calls_to_export(connection: Connection, record_type: str, kept: int) -> int:
    """Forget the oldest records of a type that wait for export, beyond about so many; returns how many."""
    return int((await connection.execute(QUERIES["forget_calls_to_export"], record_type, kept)).rpartition(" ")[2])


async def calls_to_export(connection: Connection, limit: int) -> list[Row]:
    """Return calls that wait for export, oldest first, locked for the transaction."""
    return list(await connection.fetch(QUERIES["calls_to_export"], limit))


async def delete_calls_to_export(connection: Connection, record_type: str, calls: Sequence[Row]) -> None:
    """Forget records that were exported."""
    columns = [[call[name] for call in calls] for name in ("organization_id", "key_at", "call_id")]
    await connection.execute(QUERIES["delete_calls_to_export"], record_type, *columns)
