"""Background work about MCP servers: folding. Safe on several nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nexus.mcp import store
from nexus.platform.db import Database

FOLD_ROWS = 50_000
"""Rows moved in one transaction."""


async def fold(database: Database) -> int:
    """Move what waits in the journal into the rollups; returns how many rows were moved."""
    async with database.as_system() as connection:
        return max(0, await store.fold(connection, FOLD_ROWS))


PERIODIC: list[tuple[str, float, Callable[[Database], Awaitable[object]]]] = [("mcp.fold", 2.0, fold)]
