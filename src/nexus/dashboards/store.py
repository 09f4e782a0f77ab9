"""The SQL of dashboards."""

from __future__ import annotations

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
