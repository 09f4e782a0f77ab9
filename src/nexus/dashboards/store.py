"""The SQL of dashboards."""

from __future__ import annotations

from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.dashboards")


async def keys_version(connection: Connection) -> int:
    """Return the version of keys, memberships and organizations."""
    version: int | None = await connection.fetchval(QUERIES["keys_version"])
    return version or 0
