"""Deletes bodies of calls that are over their organization's time, or were purged. Safe on several nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import asyncpg
import structlog
from prometheus_client import Counter

from nexus.contracts.bodies import MAX_KEEP_DAYS
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.metering import store
from nexus.platform.db import Database

BATCH = 2_000
_EMPTY_AFTER = timedelta(days=2)
"""A day that is empty goes when nothing can come into it any more."""

_log = structlog.get_logger("nexus.metering")
_DELETED = Counter("nexus_metering_deleted_bodies", "Bodies of calls deleted as over their time, or purged.")


async def delete_old_bodies(database: Database, now: datetime | None = None) -> int:
    """Delete what is over its time, in batches; returns how many bodies."""
    at = now or SYSTEM_CLOCK.now()
    async with database.as_system() as connection:
        limits = await store.body_limits(connection, at)
    total = 0
    for organization_id, before in limits:
        while True:
            async with database.as_system() as connection:
                gone = await store.delete_old_bodies(connection, organization_id, before, BATCH)
            total += gone
            if gone < BATCH:
                break
    if total:
        _DELETED.inc(total)
        _log.info("deleted bodies of calls", bodies=total)
    return total


async def drop_body_days(database: Database, now: datetime | None = None) -> int:
    """Drop days in which nothing is left, or that are older than any organization may keep bodies; returns how many."""
    at = now or SYSTEM_CLOCK.now()
    dropped = 0
    async with database.as_system() as connection:
        days = await store.old_body_days(connection, at - _EMPTY_AFTER)
    for low in days:
        try:
            async with database.as_system() as connection:
                left = await store.bodies_of_day(connection, low)
                # What is left so long belongs to an organization that is gone.
                if left and at - low < timedelta(days=MAX_KEEP_DAYS + 2):
                    continue
                await store.drop_month(connection, "metering.call_bodies", low)
        except asyncpg.LockNotAvailableError:
            # Somebody reads or writes the table for longer: the day goes another time.
            continue
        _log.info("dropped a day of bodies", day=low.date().isoformat(), bodies=left)
        dropped += 1
    return dropped


PERIODIC: list[tuple[str, float, Callable[[Database], Awaitable[object]]]] = [
    ("metering.delete_old_bodies", 30.0, delete_old_bodies),
    ("metering.drop_body_days", 3600.0, drop_body_days),
]
