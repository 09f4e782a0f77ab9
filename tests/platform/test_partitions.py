"""Partitions are made ahead, on demand, once, and nobody but the owner may touch them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from nexus.platform.db import Database
from nexus.platform.db.partitions import make_partitions

ENSURE = "SELECT platform.ensure_partition_v1('platform.audit_log', $1)"


async def partitions(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'platform.audit_log'::regclass"
    )
    return sorted(row["name"] for row in rows)


async def test_months_ahead_are_made_once(database: Database, admin_connection: asyncpg.Connection) -> None:
    first = await make_partitions(database)
    names = await partitions(admin_connection)
    second = await make_partitions(database)

    assert first > 0 and second == 0
    month = datetime.now(UTC).strftime("%Y%m")
    assert f"platform.audit_log_{month}" in names and len(names) >= 4


async def test_many_writers_at_once_make_one_partition(
    database: Database, admin_connection: asyncpg.Connection
) -> None:
    at = datetime(1999, 12, 31, 23, 59, tzinfo=UTC)

    async def ensure() -> bool:
        async with database.as_writer([]) as connection:
            return bool(await connection.fetchval(ENSURE, at))

    made = await asyncio.gather(*(ensure() for _ in range(6)))

    assert made.count(True) == 1
    assert (await partitions(admin_connection)).count("platform.audit_log_199912") == 1


@pytest.mark.parametrize("at", [datetime(1969, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)])
async def test_absurd_times_get_no_partition(database: Database, at: datetime) -> None:
    with pytest.raises(asyncpg.PostgresError):
        async with database.as_writer([]) as connection:
            await connection.fetchval(ENSURE, at)


async def test_only_registered_tables_are_cut(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with database.as_writer([]) as connection:
            await connection.fetchval("SELECT platform.ensure_partition_v1('identity.users', now())")


async def test_old_partitions_are_dropped_and_young_ones_are_not(
    database: Database, admin_connection: asyncpg.Connection
) -> None:
    old = datetime.now(UTC) - timedelta(days=400)
    async with database.as_system() as connection:
        await connection.fetchval(ENSURE, old)
    kept = await partitions(admin_connection)

    async with database.as_system() as connection:
        dropped = await connection.fetch(
            "SELECT * FROM platform.drop_partitions_v1('platform.audit_log', $1)",
            datetime.now(UTC) - timedelta(days=300),
        )

    assert [row["partition_name"] for row in dropped] == [f"platform.audit_log_{old:%Y%m}"]
    assert await partitions(admin_connection) == [name for name in kept if name != f"platform.audit_log_{old:%Y%m}"]
    with pytest.raises(asyncpg.PostgresError):
        async with database.as_system() as connection:
            await connection.fetch("SELECT * FROM platform.drop_partitions_v1('platform.audit_log', now())")


async def test_no_login_reads_or_writes_a_partition_by_name(
    database: Database, admin_connection: asyncpg.Connection
) -> None:
    name = (await partitions(admin_connection))[0]

    for role in ("service", "writer", "system"):
        pool = await database.pool(role)
        for statement in (f"SELECT * FROM {name}", f"DELETE FROM {name}", f"TRUNCATE {name}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)
