"""Background work of admission: the trail into PostgreSQL, holds that nobody settles, old transactions.

Safe on several nodes: an entry's stream id is its key, so it is stored once whoever drains it, and trimmed only after that is
committed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis

from nexus.admission import service, store
from nexus.admission.buckets import read_states
from nexus.admission.capacity import jobs as capacity_jobs
from nexus.admission.loans import jobs as loan_jobs
from nexus.admission.low_tokens import LowTokens, Severity
from nexus.dataplane.decide.cells import CELLS
from nexus.dataplane.decide.scripts import POSTING, Keys, Scripts, TrailEntry
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from nexus.platform.db.configuration import get_configuration

_AT_ONCE = 200
_MOST_WATCHED = 2_000
"""Buckets of an organization that are looked at for being low: the emptiest stand first."""
ENTRIES = 500
"""Entries of the stream moved in one transaction."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DRAINED = Counter("nexus_admission_transactions", "Token transactions moved from the trail into PostgreSQL.")
_REAPED = Counter("nexus_admission_reaped_holds", "Holds that expired before they were settled.")

log = structlog.get_logger("nexus.admission")

Entry = tuple[bytes, dict[bytes, bytes]]


def columns(entries: Sequence[Entry]) -> list[list[Any]]:
    """Take entries of a trail apart into columns of `admission.token_transactions`, one row a leg."""
    rows: list[tuple[Any, ...]] = []
    for stream_id, fields in entries:
        milliseconds, _, sequence = stream_id.decode().partition("-")
        at = _EPOCH + timedelta(milliseconds=int(milliseconds))
        entry = TrailEntry.read(fields)
        occurred_at = _EPOCH + timedelta(microseconds=entry.at_us)
        for leg, (name, data) in enumerate(entry.postings):
            opened, *numbers = (int(value) for value in POSTING.unpack(data))
            rows.append(
                (at, int(sequence), leg, entry.kind, entry.reference, name, occurred_at, bool(opened), *numbers, "liquid")
            )  # fmt: skip
        for leg, item in enumerate(entry.accounts, len(entry.postings)):
            rows.append(
                (
                    at, int(sequence), leg, entry.kind, entry.reference, item.bucket, occurred_at, item.is_opened, 0, 0,
                    item.changed, item.balance, 0, entry.at_us, 0, 0, item.account,
                )
            )  # fmt: skip
    return [list(column) for column in zip(*rows, strict=True)]


async def drain_cell(database: Database, redis: Redis, organization_id: UUID) -> int:
    """Move what a cell's trail holds into PostgreSQL; returns how many entries."""
    trail = Keys(organization_id.hex).trail
    total = 0
    while True:
        entries = cast("list[Entry]", await redis.xrange(trail, count=ENTRIES))
        if not entries:
            return total
        parts = columns(entries)
        async with database.as_system(organization_id=organization_id) as connection:
            # The trail of an organization that is gone is nobody's.
            if parts and await store.value(connection, "known_organization", organization_id):
                for month in {at.replace(day=1, hour=0, minute=0, second=0, microsecond=0) for at in parts[0]}:
                    await store.value(connection, "ensure_transactions_partition", month)
                await store.run(connection, "insert_transactions", organization_id, *parts)
        # Committed: now, and not before, it may go.
        milliseconds, _, sequence = entries[-1][0].decode().partition("-")
        await redis.xtrim(trail, minid=f"{milliseconds}-{int(sequence) + 1}", approximate=False)
        total += len(entries)
        _DRAINED.inc(len(parts[0]) if parts else 0)
        if len(entries) < ENTRIES:
            return total


async def cells(redis: Redis) -> list[UUID]:
    """Return the organizations that have state in Redis."""
    return [UUID(hex=cast("bytes", name).decode()) for name in await redis.smembers(CELLS)]


def drain(redis: Redis) -> Callable[[Database], Awaitable[object]]:
    """Make the job that drains all trails."""

    async def job(database: Database) -> int:
        moved = 0
        for organization_id in await cells(redis):
            moved += await drain_cell(database, redis, organization_id)

        return moved

    return job


async def reap_cell(scripts: Scripts, organization_id: UUID) -> int:
    """End the expired holds of an organization and forget its buckets that are as new; returns how many holds."""
    total = 0
    while True:
        _, ended, _, buckets, _ = await scripts.reap(Keys(organization_id.hex), _AT_ONCE)
        total += ended
        if max(ended, buckets) < _AT_ONCE:
            return total


def reap(redis: Redis) -> Callable[[Database], Awaitable[object]]:
    """Make the job that ends expired holds, also those of processes that died."""
    scripts = Scripts(redis)

    async def job(_: Database) -> int:
        ended = 0
        for organization_id in await cells(redis):
            ended += await reap_cell(scripts, organization_id)
        _REAPED.inc(ended)
        return ended

    return job


async def drop_old_transactions(database: Database, now: datetime | None = None) -> int:
    """Drop months of transactions that are past their retention; returns how many."""
    async with database.as_system() as connection:
        days = (await get_configuration(connection)).integer("retention.token_transactions_days")
    before = (now or SYSTEM_CLOCK.now()) - timedelta(days=days)
    async with database.as_system() as connection:
        await store.run(connection, "drop_old_low_token_events", before)
        return int(await store.value(connection, "drop_old_transactions", before))


async def watch_cell(
    database: Database, redis: Redis, watch: LowTokens, organization_id: UUID, at: datetime, lasting: timedelta
) -> None:
    """Note which buckets of an organization have been low for a while, and which are not any more."""
    now_us = (at - _EPOCH) // timedelta(microseconds=1)
    states = await read_states(redis, organization_id, _MOST_WATCHED)
    fills = {name: service.fill_of(state, now_us) for name, state in states.items()}
    async with database.as_system(organization_id=organization_id) as connection:
        rows = await store.rows(connection, "open_low_token_events", organization_id)
        opened: set[tuple[str, Severity]] = {(row["bucket"], row["severity"]) for row in rows}
        begun, ended = watch.look(organization_id, fills, opened, at, lasting)
        for low in begun:
            await store.run(
                connection, "note_low_tokens", organization_id, uuid7(), low.bucket, low.severity, round(low.fill, 4),
                low.began_at, at,
            )  # fmt: skip
        for bucket, severity in ended:
            await store.run(connection, "end_low_tokens", organization_id, bucket, severity, at)


def watch_buckets(redis: Redis) -> Callable[[Database], Awaitable[object]]:
    """Make the job that notes buckets that have been low for a while."""
    watch = LowTokens()

    async def job(database: Database) -> None:
        async with database.as_system(readonly=True) as connection:
            lasting = timedelta(seconds=(await get_configuration(connection)).integer("admission.low_tokens_seconds"))
        for organization_id in await cells(redis):
            await watch_cell(database, redis, watch, organization_id, SYSTEM_CLOCK.now(), lasting)

    return job


async def drop_old_refusals(database: Database, now: datetime | None = None) -> int:
    """Drop months of counts of refused calls that are past their retention; returns how many."""
    async with database.as_system() as connection:
        days = (await get_configuration(connection)).integer("retention.refusals_days")
    before = (now or SYSTEM_CLOCK.now()) - timedelta(days=days)
    async with database.as_system() as connection:
        return int(await store.value(connection, "drop_old_refusals", before))


def periodic(redis: Redis) -> list[tuple[str, float, Callable[[Database], Awaitable[object]]]]:
    """Return admission's background work."""
    return [
        ("admission.drain", 1.0, drain(redis)),
        ("admission.reap", 1.0, reap(redis)),
        ("admission.loans", 1.0, loan_jobs.serve(redis)),
        ("admission.shared_capacities", 1.0, capacity_jobs.rebalance(redis)),
        ("admission.delete_old_loans", 3600.0, loan_jobs.delete_old),
        ("admission.watch_buckets", 5.0, watch_buckets(redis)),
        ("admission.drop_old_transactions", 3600.0, drop_old_transactions),
        ("admission.drop_old_refusals", 3600.0, drop_old_refusals),
    ]
