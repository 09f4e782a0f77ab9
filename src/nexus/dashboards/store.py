"""The SQL of dashboards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.dashboards")


async def keys_version(connection: Connection) -> int:
    """Return the version of keys, memberships and organizations."""
    version: int | None = await connection.fetchval(QUERIES["keys_version"])
    return version or 0


async def prices_version(connection: Connection, organization_id: UUID) -> str:
    """Return a text that is another once prices have changed or stored calls were priced again."""
    found: str = await connection.fetchval(QUERIES["prices_version"], organization_id)
    return found


async def count_usage(
    connection: Connection, organization_id: UUID, visitor: bytes, events: Sequence[tuple[str, str, int]]
) -> None:
    """Add events (name, page, milliseconds) to today's counts."""
    names, pages, durations = ([item[place] for item in events] for place in range(3))
    await connection.execute(
        QUERIES["count_usage"], organization_id, visitor, names, pages, [1] * len(events), durations
    )


async def usage(connection: Connection, organization_id: UUID, days: int) -> list[dict[str, Any]]:
    """Return the counts of the last days."""
    return [dict(row) for row in await connection.fetch(QUERIES["usage"], organization_id, days)]


async def made(connection: Connection, organization_id: UUID, days: int) -> list[dict[str, Any]]:
    """Return what was made in the last days."""
    return [dict(row) for row in await connection.fetch(QUERIES["made"], organization_id, days)]


async def count_old_usage(connection: Connection, before: datetime) -> int:
    """Return how many rows of product analytics are from before an instant."""
    found: int = await connection.fetchval(QUERIES["count_old_usage"], before)
    return found


async def drop_old_usage(connection: Connection, before: datetime) -> list[str]:
    """Drop the partitions that end at or before an instant; returns their names."""
    return [row[0] for row in await connection.fetch(QUERIES["drop_old_usage"], before)]
