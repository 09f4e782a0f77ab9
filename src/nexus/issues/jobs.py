"""Background work about issues: folding and retention. Safe on several nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from nexus.issues import store
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import Database
from nexus.platform.db.configuration import get_configuration
from nexus.platform.jobs import Portion
from nexus.platform.jobs.retention import drop_past

FOLD_ROWS = 20_000
"""Rows moved in one transaction, at most."""
DELETED_AT_ONCE = 5_000
_MONTHS = (
    ("issues.occurrences", "retention.raw_calls_days"),
    ("issues.hours", "retention.rollup_hour_days"),
    ("issues.totals", "retention.rollup_hour_days"),
)
"""Tables cut by month, and for how many days they are kept: as long as calls and their figures."""
_ROWS = ("delete_old_samples", "forget_old_people")

_portion = Portion(FOLD_ROWS)
_log = structlog.get_logger("nexus.issues")


async def fold(database: Database) -> int:
    """Move what waits in the journal into the figures; returns how many rows were moved."""

    async def move(rows: int) -> int:
        async with database.as_system() as connection:
            moved: int = await store.value(connection, "fold", rows)
        return max(0, moved)

    return await _portion.take(move)


async def drop_old(database: Database, now: datetime | None = None) -> int:
    """Drop what is past its retention; returns how many months and rows. Issues and their counts stay."""
    now = now or SYSTEM_CLOCK.now()
    total = await drop_past(database, dict(_MONTHS), store.drop_old_months, now=now)
    async with database.as_system() as connection:
        configuration = await get_configuration(connection)
    before = now - timedelta(days=configuration.integer("retention.raw_calls_days"))
    for query in _ROWS:
        deleted = DELETED_AT_ONCE
        while deleted == DELETED_AT_ONCE:
            async with database.as_system() as connection:
                deleted = await store.value(connection, query, before, DELETED_AT_ONCE)
            total += deleted
    return total


PERIODIC: list[tuple[str, float, Callable[[Database], Awaitable[object]]]] = [
    ("issues.fold", 1.0, fold),
    ("issues.drop_old", 3600.0, drop_old),
]
