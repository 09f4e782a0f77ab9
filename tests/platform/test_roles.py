"""The roles and the platform's own tables keep to what is promised about tenants."""

from __future__ import annotations

import asyncpg
import pytest

from nexus.platform.db import Actor, Database
from nexus.platform.db.configuration import get_configuration, set_configuration


async def test_logins_neither_are_superusers_nor_bypass_policies(
    admin_connection: asyncpg.Connection,
) -> None:
    rows = await admin_connection.fetch(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname LIKE 'nexus\\_%'"
    )

    assert len(rows) == 6
    for row in rows:
        assert not row["rolsuper"] and not row["rolcreaterole"] and not row["rolcreatedb"]
        assert row["rolbypassrls"] == (row["rolname"] == "nexus_backup")


async def test_configuration_changes_are_audited_with_actor(database: Database) -> None:
    actor = Actor(label="ada@example.com", ip="192.0.2.1", user_agent="test", request_id="r-1")

    async with database.as_system(actor) as connection:
        await set_configuration(connection, "auth.max_login_attempts", 7, actor_label=actor.label)

    async with database.as_system() as connection:
        assert (await get_configuration(connection))["auth.max_login_attempts"] == 7
        row = await connection.fetchrow("SELECT * FROM platform.audit_log WHERE table_name = 'platform.configuration'")
    assert row["actor_label"] == "ada@example.com"
    assert row["ip_address"] == "192.0.2.1"
    assert row["request_id"] == "r-1"
    assert row["new_row"]["value"] == 7


async def test_service_cannot_change_the_audit_log(database: Database) -> None:
    pool = await database.pool("service")

    for statement in ("DELETE FROM platform.audit_log", "UPDATE platform.audit_log SET action = 'x'"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)
