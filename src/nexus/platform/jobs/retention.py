"""Drops the months of tables that are past their retention."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

import asyncpg
import structlog

from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import Connection, Database
from nexus.platform.db.configuration import get_configuration

log = structlog.get_logger(__name__)


async def drop_past(
    database: Database,
    kept: Mapping[str, str],
    drop: Callable[[Connection, str, datetime], Awaitable[int]],
    *,
    now: datetime | None = None,
) -> int:
    """Drop what is past its retention, each table in a transaction of its own; returns how many months.

    `kept` names the setting that says for how many days a table is kept; `drop` drops a table's months that ended before an
    instant. A table that somebody reads or writes for longer is left for another time.
    """
    async with database.as_system() as connection:
        configuration = await get_configuration(connection)
    total = 0
    for table, key in kept.items():
        before = (now or SYSTEM_CLOCK.now()) - timedelta(days=configuration.integer(key))
        try:
            async with database.as_system() as connection:
                dropped = await drop(connection, table, before)
        except asyncpg.LockNotAvailableError:
            log.info("old months are in use", table=table)
            continue
        if dropped:
            log.info("dropped old months", table=table, months=dropped)
        total += dropped
    return total
