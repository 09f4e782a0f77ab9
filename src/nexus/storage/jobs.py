"""Background work about storage: folding and retention. Safe on several nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from nexus.platform.db import Connection, Database
from nexus.platform.jobs import Portion
from nexus.platform.jobs.retention import drop_past
from nexus.storage import store

FOLD_ROWS = 50_000
"""Rows moved in one transaction, at most."""
_KEPT = (
    ("storage.windows", "raw", "retention.raw_calls_days"),
    ("storage.rollups_minute", "minute", "retention.rollup_minute_days"),
    ("storage.rollups_quarter_hour", "quarter_hour", "retention.rollup_quarter_hour_days"),
    ("storage.rollups_hour", "hour", "retention.rollup_hour_days"),
)
"""Tables cut by month, the level of figures they hold, and for how many days: as long as those of API calls."""

_LEVELS = {table: level for table, level, _ in _KEPT}
_portion = Portion(FOLD_ROWS)


async def fold(database: Database) -> int:
    """Move what waits in the journal into the rollups; returns how many rows were moved."""

    async def move(rows: int) -> int:
        async with database.as_system() as connection:
            return max(0, await store.fold(connection, rows))

    return await _portion.take(move)


async def drop_old_months(database: Database, now: datetime | None = None) -> int:
    """Drop months that are past their retention; returns how many. Questions learn from when on a level is whole."""

    async def drop(connection: Connection, table: str, before: datetime) -> int:
        return await store.drop_old_months(connection, table, _LEVELS[table], before)

    return await drop_past(database, {table: key for table, _, key in _KEPT}, drop, now=now)


PERIODIC: list[tuple[str, float, Callable[[Database], Awaitable[object]]]] = [
    ("storage.fold", 2.0, fold),
    ("storage.drop_old_months", 3600.0, drop_old_months),
]
