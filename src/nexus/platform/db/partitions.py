"""Keeps partitions ahead of time; writers make the ones that are still missing themselves."""

from __future__ import annotations

from nexus.platform.db.pool import Database
from nexus.platform.db.schema import load_queries

_SQL = load_queries("nexus.platform.db")


async def make_partitions(database: Database) -> int:
    """Make the partitions that are missing for now and the months ahead; returns how many. One node at a time."""
    async with database.as_system() as connection:
        if not await connection.fetchval(_SQL["try_lock"], "make_partitions"):
            return 0
        made: int = await connection.fetchval(_SQL["make_partitions"])
        return made
