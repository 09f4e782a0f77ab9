"""Background work of dashboards: the retention of product analytics."""

from __future__ import annotations

from datetime import timedelta

import structlog

from nexus.dashboards import store
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import Database
from nexus.platform.db.configuration import get_configuration

_log = structlog.get_logger("nexus.dashboards")


async def forget_old_usage(database: Database) -> int:
    """Drop the months of product analytics that are wholly past their time; returns how many rows were in them.

    Counted first, as nexus_system, which sees all tenants: whoever drops sees no rows. Safe on several nodes.
    """
    async with database.as_system() as connection:
        days = (await get_configuration(connection)).integer("retention.product_analytics_days")
        before = SYSTEM_CLOCK.now() - timedelta(days=days)
        month = before.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        rows = await store.count_old_usage(connection, month)
        dropped = await store.drop_old_usage(connection, month)
    if dropped:
        _log.info("product analytics past their time dropped", partitions=dropped, rows=rows)
    return rows


PERIODIC = [("dashboards.forget_old_usage", 3600.0, forget_old_usage)]
