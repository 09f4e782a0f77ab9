"""The database keeps to the rules of roles, whatever table or function is added."""

from __future__ import annotations

import asyncpg
import pytest

from nexus.platform.db import Database
from nexus.platform.db.schema import all_queries
from tests.postgres import TestServer

OURS = "pg_get_userbyid(n.nspowner) = 'nexus_owner'"
# Only the owner of a table can attach, detach and drop its partitions.
OWNED_BY_OWNER = {"platform.ensure_partition_v1", "platform.drop_partition_v1", "platform.drop_partitions_v1"}


async def test_every_query_prepares_as_the_role_that_runs_it(postgres: TestServer, database_name: str) -> None:
    failures: list[str] = []
    connections: dict[str, asyncpg.Connection] = {}
    try:
        for query in all_queries():
            connection = connections.get(query.role)
            if connection is None:
                url = postgres.url(query.role, database_name, direct=True)
                connection = connections[query.role] = await asyncpg.connect(url, statement_cache_size=0)
                if query.role == "nexus_writer":
                    # The staging tables live for a transaction; the writer's queries name them.
                    await connection.execute("BEGIN")
                    await connection.execute(
                        "SELECT metering.stage_calls_v1(), mcp.stage_tool_calls_v1(), mcp.stage_requests_v1(),"
                        " issues.stage_errors_v1(), metrics.stage_points_v1(), storage.stage_windows_v1()"
                    )
            try:
                await connection.prepare(query.sql)
            except asyncpg.PostgresError as error:
                failures.append(f"{query.package}.{query.name} ({query.role}): {error}")
                if connection.is_in_transaction():
                    await connection.execute("ROLLBACK")
    finally:
        for connection in connections.values():
            await connection.close()

    assert failures == []


async def test_every_tenant_table_forces_row_level_security_and_has_a_policy(
    admin_connection: asyncpg.Connection,
) -> None:
    rows = await admin_connection.fetch(
        f"""
        SELECT c.oid::regclass::text AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
               (SELECT count(*) FROM pg_policy AS p WHERE p.polrelid = c.oid) AS policies
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE {OURS} AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'organization_id')
        """
    )

    assert len(rows) > 15
    assert [row["name"] for row in rows if not row["forced"] or not row["policies"]] == []


async def test_tables_belong_to_the_owner_and_nothing_is_granted_to_public_or_on_partitions(
    admin_connection: asyncpg.Connection,
) -> None:
    wrong = await admin_connection.fetch(
        f"""
        SELECT c.oid::regclass::text AS name, pg_get_userbyid(c.relowner) AS owner, c.relacl::text AS acl
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE {OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
          AND (pg_get_userbyid(c.relowner) <> 'nexus_owner'
               OR EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee = 0)
               OR (c.relispartition AND EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner)))
        """
    )

    assert [dict(row) for row in wrong] == []


async def test_functions_are_closed_to_public_and_definers_have_a_fixed_path(
    admin_connection: asyncpg.Connection,
) -> None:
    rows = await admin_connection.fetch(
        f"""
        SELECT n.nspname || '.' || p.proname AS name, p.prosecdef AS definer, pg_get_userbyid(p.proowner) AS owner,
               coalesce(p.proconfig::text, '') AS config,
               p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0) AS open
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE {OURS} AND NOT EXISTS (SELECT FROM pg_range AS r WHERE r.rngtypid = p.prorettype)
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'i')
        """
    )

    assert len(rows) > 10
    assert [row["name"] for row in rows if row["open"]] == []
    for row in rows:
        if row["definer"]:
            assert "search_path" in row["config"], row["name"]
            expected = "nexus_owner" if row["name"] in OWNED_BY_OWNER else "nexus_system"
            assert row["owner"] == expected, row["name"]


async def test_views_are_security_invoker(admin_connection: asyncpg.Connection) -> None:
    wrong = await admin_connection.fetch(
        f"""
        SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE {OURS} AND c.relkind IN ('v', 'm') AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)
        """
    )

    assert wrong == []


async def test_times_have_a_zone_and_constraints_carry_their_table_s_name(admin_connection: asyncpg.Connection) -> None:
    naive = await admin_connection.fetch(
        f"""
        SELECT c.oid::regclass::text, a.attname
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE {OURS} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND a.atttypid = 'timestamp'::regtype
        """
    )
    strange = await admin_connection.fetch(
        f"""
        SELECT c.relname, k.conname
        FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE {OURS} AND NOT c.relispartition AND NOT starts_with(k.conname, c.relname || '_')
        """
    )

    assert naive == [] and strange == []


async def test_foreign_keys_between_tenant_tables_carry_the_organization(admin_connection: asyncpg.Connection) -> None:
    # Foreign keys ignore row-level security: one without the organization would tie two tenants' rows together.
    rows = await admin_connection.fetch(
        f"""
        SELECT c.oid::regclass::text || ' -> ' || f.oid::regclass::text AS name
        FROM pg_constraint AS k
        JOIN pg_class AS c ON c.oid = k.conrelid
        JOIN pg_class AS f ON f.oid = k.confrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE {OURS} AND k.contype = 'f' AND k.conparentid = 0
          AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'organization_id')
          AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = f.oid AND a.attname = 'organization_id')
          AND NOT EXISTS (
              SELECT FROM unnest(k.conkey) AS key JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = key
              WHERE a.attname = 'organization_id')
        """
    )

    # Shared rows (built-in roles, the shipped catalog) belong to no organization, so these cannot carry one.
    shared = {
        "identity.role_permissions -> identity.roles",
        "identity.user_roles -> identity.roles",
        "catalog.price_components -> catalog.prices",
    }
    assert {row["name"] for row in rows} <= shared


@pytest.mark.parametrize("role", ["service", "writer"])
async def test_logins_cannot_become_another(database: Database, role: str) -> None:
    pool = await database.pool(role)

    for other in ("nexus_owner", "nexus_system", "postgres"):
        with pytest.raises(asyncpg.PostgresError):
            await pool.execute(f"SET ROLE {other}")
