"""Background work of the meter: folding, repricing, days of a changed zone, retention. Safe on several nodes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import asyncpg
import structlog
from prometheus_client import Counter, Gauge

from nexus.catalog import service as catalog
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.metering import repricing, store
from nexus.platform.db import Database
from nexus.platform.db.configuration import get_configuration
from nexus.platform.jobs import Portion

FULL_JOURNAL_ROWS = 20_000
"""A journal of this length is folded at once."""
LONGEST_WAIT_SECONDS = 2.0
"""A shorter one waits this long, so that rows of the same groups meet in it."""
FOLD_ROWS = 100_000
"""Rows moved in one transaction, at most."""
REST_FACTOR = 2.0
"""After folding the folder rests this many times as long, so that it takes a third of a core at most from ingest."""
LONGEST_REST_SECONDS = 6.0
BACKLOG_ROWS = 400_000
"""From here on there is no rest: every answer reads the whole journal, and a longer one is dearer than slower ingest."""
SEEN_IDS_BATCH = 5_000
REPRICING_SECONDS = 5.0

_log = structlog.get_logger("nexus.metering")
_FOLDED = Counter("nexus_metering_folded_rows", "Journal rows moved into the rollups.")
_JOURNAL = Gauge(
    "nexus_metering_journal_rows",
    f"Journal rows that wait for folding, counted no further than {BACKLOG_ROWS}.",
    multiprocess_mode="livemostrecent",
)
_DROPPED = Counter("nexus_metering_dropped_rows", "Rows dropped by retention.", ("table",))


@dataclass
class Folder:
    """Decides when to fold: soon when much waits, a little later when little does, without a rest in a backlog only."""

    monotonic: Callable[[], float] = time.monotonic
    _idle_since: float = field(default=float("-inf"))
    _rest_until: float = field(default=float("-inf"))
    portion: Portion = field(default_factory=lambda: Portion(FOLD_ROWS))

    async def __call__(self, database: Database) -> int:
        """Fold if it is time; returns how many journal rows were moved."""
        now = self.monotonic()
        if now < self._rest_until:
            return 0
        async with database.as_system() as connection:
            waiting = await store.journal_size(connection, BACKLOG_ROWS)
        _JOURNAL.set(waiting)
        if waiting == 0 or (waiting < FULL_JOURNAL_ROWS and now - self._idle_since < LONGEST_WAIT_SECONDS):
            return 0
        moved = await self.portion.take(partial(_fold, database))
        _FOLDED.inc(moved)
        self._idle_since = self.monotonic()
        rest = 0.0 if waiting >= BACKLOG_ROWS else (self._idle_since - now) * REST_FACTOR
        self._rest_until = self._idle_since + min(rest, LONGEST_REST_SECONDS)
        return moved


async def _fold(database: Database, rows: int) -> int:
    async with database.as_system() as connection:
        return max(0, await store.fold(connection, rows))


async def forget_seen_ids(database: Database) -> int:
    """Forget ids, and who saw which call, past the horizon of exactly once, in batches; returns how many."""
    async with database.as_system() as connection:
        days = (await get_configuration(connection)).integer("retention.seen_ids_days")
    before = SYSTEM_CLOCK.now() - timedelta(days=days)
    total = 0
    for delete in (store.delete_old_seen_ids, store.delete_old_sightings):
        gone = SEEN_IDS_BATCH
        while gone == SEEN_IDS_BATCH:
            async with database.as_system() as connection:
                gone = await delete(connection, before, SEEN_IDS_BATCH)
            total += gone
    return total


@dataclass(frozen=True)
class _Kept:
    """A table that retention cuts by month."""

    table: str
    level: str
    key: str
    facts_query: str


_KEPT = (
    _Kept("metering.calls", "raw", "retention.raw_calls_days", "calls_of_month"),
    _Kept("metering.rollups_minute", "minute", "retention.rollup_minute_days", "minutes_of_month"),
    _Kept(
        "metering.rollups_quarter_hour", "quarter_hour", "retention.rollup_quarter_hour_days", "quarter_hours_of_month"
    ),
    _Kept("metering.rollups_hour", "hour", "retention.rollup_hour_days", "hours_of_month"),
)


async def drop_old_months(database: Database, now: datetime | None = None) -> int:
    """Drop months of raw calls and rollups that are past their retention; returns how many rows went.

    A month goes when its time, the last time in it and its last change are all old enough: what came late is kept as
    long as what came in time. What is lost is counted first, and questions learn from when on a level is whole.
    """
    async with database.as_system() as connection:
        configuration = await get_configuration(connection)
    lost = 0
    for kept in _KEPT:
        before = (now or SYSTEM_CLOCK.now()) - timedelta(days=configuration.integer(kept.key))
        async with database.as_system() as connection:
            months = await store.old_months(connection, kept.table, before)
        for low in months:
            try:
                lost += await _drop_month(database, kept, low, before)
            except asyncpg.LockNotAvailableError:
                # Somebody reads or writes the table for longer: the month goes another time.
                _log.info("an old month is in use", table=kept.table, month=low.date().isoformat())
    return lost


async def _drop_month(database: Database, kept: _Kept, low: datetime, before: datetime) -> int:
    high = (low + timedelta(days=32)).replace(day=1)
    async with database.as_system() as connection:
        if kept.level != "raw":
            await store.lock_rollups(connection)
        facts = await store.month_facts(connection, kept.facts_query, low, high)
        rows: int = facts["rows"]
        if rows and (facts["touched_at"] >= before or facts["last_at"] >= before):
            return 0
        await store.drop_month(connection, kept.table, low)
        if kept.level == "raw":
            await store.delete_limit_sets(connection, low)
        if rows:
            # A call may have occurred after the month of its key.
            whole_from = max(high, facts["last_at"] + timedelta(microseconds=1))
            await store.move_horizon(connection, kept.level, whole_from)
    _log.info("dropped an old month", table=kept.table, month=low.date().isoformat(), rows=rows)
    _DROPPED.labels(kept.table).inc(rows)
    return rows


async def rebuild_changed_days(database: Database) -> int:
    """Make the days of organizations again whose reporting zone has changed; returns how many organizations."""
    async with database.as_system() as connection:
        changed = await store.changed_zones(connection)
    for organization_id, zone in changed:
        async with database.as_system(organization_id=organization_id) as connection:
            rows = await store.rebuild_days(connection, organization_id, zone)
        _log.info("made days again", organization_id=str(organization_id), zone=zone, rows=rows)
    return len(changed)


async def notice_new_prices(database: Database) -> int:
    """Order repricings of calls without a price when the price book has changed; returns how many."""
    async with database.as_system() as connection:
        return await repricing.order_for_new_prices(connection)


async def reprice(database: Database) -> int:
    """Work on open repricings for some seconds; returns how many chunks were done."""
    async with database.as_system() as connection:
        if not await store.has_open_repricing(connection):
            return 0
        book = await catalog.price_book(connection)
    deadline = time.monotonic() + REPRICING_SECONDS
    chunks = 0
    while time.monotonic() < deadline:
        try:
            async with database.as_system() as connection:
                if not await repricing.work_chunk(connection, book):
                    break
        except asyncpg.DataError as error:
            # A call whose new cost cannot be stored: what was done stays, and the order says why it went no further.
            async with database.as_system() as connection:
                await repricing.fail_next(connection, str(error))
        chunks += 1
    return chunks


PERIODIC: list[tuple[str, float, Callable[[Database], Awaitable[object]]]] = [
    ("metering.fold", 0.5, Folder()),
    ("metering.reprice", 2.0, reprice),
    ("metering.notice_new_prices", 5.0, notice_new_prices),
    ("metering.rebuild_changed_days", 30.0, rebuild_changed_days),
    ("metering.forget_seen_ids", 300.0, forget_seen_ids),
    ("metering.drop_old_months", 3600.0, drop_old_months),
]
