"""Start-up sees every way in which a database would not keep tenants apart, and says the remedy."""

from __future__ import annotations

import asyncpg
import pytest

from nexus.platform.db import Database
from nexus.platform.db.checks import UnsafeDatabase, database_faults, refuse_unsafe, role_faults
from tests.postgres import TestServer


async def test_a_fresh_database_is_safe(database: Database) -> None:
    assert await database_faults(database) == []
    await refuse_unsafe(database)


async def test_a_tenant_table_without_force_is_refused(
    database: Database, owner_connection: asyncpg.Connection
) -> None:
    await owner_connection.execute("ALTER TABLE platform.audit_log NO FORCE ROW LEVEL SECURITY")

    with pytest.raises(UnsafeDatabase, match="platform.audit_log does not force row-level security"):
        await refuse_unsafe(database)


async def test_a_tenant_table_without_policies_is_refused(
    database: Database, owner_connection: asyncpg.Connection
) -> None:
    await owner_connection.execute("CREATE TABLE platform.forgotten (organization_id uuid)")
    await owner_connection.execute("ALTER TABLE platform.forgotten ENABLE ROW LEVEL SECURITY")
    await owner_connection.execute("ALTER TABLE platform.forgotten FORCE ROW LEVEL SECURITY")

    faults = await database_faults(database)

    assert [fault.what for fault in faults] == ["platform.forgotten has no policy"]


async def test_a_grant_on_a_partition_is_refused(database: Database, owner_connection: asyncpg.Connection) -> None:
    name = await owner_connection.fetchval(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'platform.audit_log'::regclass LIMIT 1"
    )
    await owner_connection.execute(f"GRANT SELECT ON {name} TO nexus_readonly")

    faults = await database_faults(database)

    assert len(faults) == 1 and faults[0].remedy == f"REVOKE ALL ON {name} FROM nexus_readonly"


async def test_superuser_and_owner_are_refused_as_service(postgres: TestServer, database_name: str) -> None:
    for role, words in (("postgres", "is a superuser"), ("nexus_owner", "owns")):
        connection = await asyncpg.connect(postgres.url(role, database_name), statement_cache_size=0)
        try:
            assert any(words in fault.what for fault in await role_faults(connection))
        finally:
            await connection.close()
