"""Background work about metrics: folding and retention. Safe on several nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from nexus.metrics import store
from nexus.metrics.aggregate import Aggregate, add, changes
from nexus.metrics.store import TOTALS, SumKey
from nexus.metrics.types import ROLLUPS, Rollup, begin
from nexus.platform.db import Connection, Database
from nexus.platform.db.configuration import get_configuration
from nexus.platform.jobs.retention import drop_past

FOLD_POINTS = 5_000
"""Points counted in one transaction; more where one series has more of them."""
_KEPT = (
    ("points", "retention.raw_calls_days"),
    ("minutes", "retention.rollup_minute_days"),
    ("quarter_hours", "retention.rollup_quarter_hour_days"),
    ("hours", "retention.rollup_hour_days"),
)
"""Tables cut by month, and for how many days they are kept: as long as calls and their figures. Days and totals stay."""

_log = structlog.get_logger("nexus.metrics")


async def fold(database: Database) -> int:
    """Count what waits in the journal in the sums; returns how many points were counted.

    What is counted and what waits are read and written in one snapshot: whoever reads both in one sees each point once.
    """
    try:
        async with database.as_system(snapshot=True) as connection:
            if not await store.value(connection, "begin_folding"):
                return 0
            taken = await store.rows(connection, "take_waiting", FOLD_POINTS)
            if taken:
                await _count(connection, taken)
            return len(taken)
    except asyncpg.SerializationError:
        # Another node took the same points just before this one's lock: they are counted.
        return 0


async def _count(connection: Connection, taken: list[store.Row]) -> None:
    added: dict[Rollup, dict[SumKey, Aggregate]] = {table: {} for table in (*ROLLUPS, TOTALS)}
    for key, (kind, points) in store.points_of(await store.points_around(connection, taken)).items():
        for change in changes(kind, points):
            for table, sums in added.items():
                bucket = None if table == TOTALS else begin(change.at, ROLLUPS[table])
                place = SumKey(*key, change.layout, bucket)
                known = sums.get(place)
                sums[place] = change.added if known is None else add(known, change.added)
    for table, sums in added.items():
        if not sums:
            continue
        months = {_month(place.bucket) for place in sums if place.bucket is not None}
        for month in sorted(months):
            await store.value(connection, "ensure_partition", f"metrics.{table}", month)
        known_sums = await store.read_sums(connection, table, list(sums))
        whole = {place: add(known_sums[place], more) if place in known_sums else more for place, more in sums.items()}
        await store.write_sums(connection, table, whole)


def _month(at: datetime) -> datetime:
    return datetime(at.year, at.month, 1, tzinfo=UTC)


async def drop_old(database: Database, now: datetime | None = None) -> int:
    """Drop what is past its retention; returns how many months. Series, days and totals stay."""

    async def drop(connection: Connection, table: str, before: datetime) -> int:
        return await store.drop_old_months(connection, f"metrics.{table}", before)

    return await drop_past(database, dict(_KEPT), drop, now=now)


async def retire_series(database: Database, now: datetime | None = None) -> int:
    """Let series that are idle count no more against the limit; returns how many. Their figures stay."""
    async with database.as_system() as connection:
        configuration = await get_configuration(connection)
        organizations = await store.rows(connection, "organizations_with_series")
    idle = timedelta(hours=configuration.integer("limits.metric_series_idle_hours"))
    retired = 0
    for row in organizations:
        # Each in a transaction of its own: whoever begins a series waits for one organization at most.
        async with database.as_system() as connection:
            await store.value(connection, "lock_usage", row["organization_id"])
            before = (now or datetime.now(UTC)) - idle
            retired += await store.value(connection, "retire_series", row["organization_id"], before)
    return retired


PERIODIC: list[tuple[str, float, Callable[[Database], Awaitable[object]]]] = [
    ("metrics.fold", 1.0, fold),
    ("metrics.drop_old", 3600.0, drop_old),
    ("metrics.retire_series", 900.0, retire_series),
]
