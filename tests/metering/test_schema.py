"""The meter's SQL says what the Python says, and lets each role do what it needs and no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus.contracts.calls import CALL_COLUMN_TYPES
from nexus.kit import latency
from nexus.metering import exports, store
from nexus.metering.types import Question
from nexus.platform.db import Database
from nexus.platform.db.schema import all_queries
from tests.conftest import TestOrganization
from tests.metering.records import ask, fold, record, store_batch, store_limit_set
from tests.postgres import TestServer

AT = datetime(2026, 4, 2, 10, 15, 30, tzinfo=UTC)
TENANT_TABLES = [
    "calls", "rollup_journal", "rollups_minute", "rollups_quarter_hour", "rollups_hour", "rollups_day", "day_zones",
    "limit_sets",
]  # fmt: skip


async def test_bins_are_those_of_the_kit(database: Database) -> None:
    values = sorted({0, 1, 2, *(b + d for b in latency.BOUNDS for d in (-1, 0, 1) if b + d >= 0), -5, 2**62})

    async with database.as_system() as connection:
        found = await connection.fetch(
            "SELECT us, metering.latency_bin_v1(us) AS bin FROM unnest($1::bigint[]) AS us", values
        )

    assert {row["us"]: row["bin"] for row in found} == {us: latency.bin_of(us) for us in values}


async def test_no_duration_has_no_bin(database: Database) -> None:
    async with database.as_system() as connection:
        assert await connection.fetchval("SELECT metering.latency_bin_v1(NULL)") is None


@settings(
    max_examples=settings.default.max_examples // 3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(entries=st.lists(st.tuples(st.integers(0, 295), st.integers(-(10**12), 10**12)), max_size=60))
async def test_merging_a_sketch_in_sql_equals_the_kit(database: Database, entries: list[tuple[int, int]]) -> None:
    joined = b"".join(latency.encode({number: count}) for number, count in entries)

    async with database.as_system() as connection:
        merged = await connection.fetchval("SELECT metering.merge_bins_v1($1)", joined)

    assert merged == latency.encode({n: c for n, c in latency.decode(joined).items() if c})


async def test_the_staging_table_has_the_columns_of_the_contract(database: Database) -> None:
    async with database.as_writer([]) as connection:
        await connection.execute("SELECT metering.stage_calls_v1()")
        rows = await connection.fetch(
            "SELECT attname, atttypid::regtype::text AS type FROM pg_attribute"
            " WHERE attrelid = 'pg_temp.staged_calls'::regclass AND attnum > 0 ORDER BY attnum"
        )

    names = {
        "integer": "int4",
        "smallint": "int2",
        "bigint": "int8",
        "boolean": "bool",
        "timestamp with time zone": "timestamptz",
    }
    assert {row["attname"]: names.get(row["type"], row["type"]) for row in rows} == dict(CALL_COLUMN_TYPES)
    assert [row["attname"] for row in rows] == list(CALL_COLUMN_TYPES)


def test_exports_take_their_columns_in_the_order_in_which_calls_are_read() -> None:
    renamed = {
        "occurred_at": "timestamp", "response_time_us": "response_time_ms", "ttfb_us": "time_to_first_byte_ms",
        "request_bytes": "request_size_bytes", "response_bytes": "response_size_bytes", "key_id": "key", "user_ref": "user",
    }  # fmt: skip
    expected = [
        f"tokens_{name.removesuffix('_tokens')}" if name.endswith("_tokens") else renamed.get(name, name)
        for name in store.CALL_FIELDS
    ]

    assert [column.name for column in exports.CALL_COLUMNS] == expected


async def test_every_statement_can_be_prepared_by_its_role(postgres: TestServer, database_name: str) -> None:
    queries = [query for query in all_queries() if query.package == "nexus.metering"]

    assert len(queries) > 15
    for role in {query.role for query in queries}:
        connection = await asyncpg.connect(postgres.url(role, database_name), statement_cache_size=0)
        try:
            for query in queries:
                if query.role == role:
                    await connection.prepare(query.sql)
        finally:
            await connection.close()


async def test_nobody_sees_or_changes_another_organizations_rows(
    postgres: TestServer,
    database: Database,
    database_name: str,
    two_organizations: tuple[TestOrganization, TestOrganization],
) -> None:
    mine, _ = two_organizations
    for owner in two_organizations:
        await store_batch(database, owner.id, [record(AT, model="m", user_ref="u", cost_nanos=5)])
        await store_limit_set(database, owner.id, AT)
    await fold(database)
    for owner in two_organizations:
        await store_batch(database, owner.id, [record(AT + timedelta(seconds=1), cost_nanos=7)])

    for role in ("nexus_service", "nexus_readonly"):
        connection = await asyncpg.connect(postgres.url(role, database_name), statement_cache_size=0)
        try:
            for table in TENANT_TABLES:
                sql = f"SELECT count(*), count(*) FILTER (WHERE organization_id <> $1) FROM metering.{table}"
                assert tuple(await connection.fetchrow(sql, mine.id)) == (0, 0), f"{role} {table} without organization"
                async with connection.transaction():
                    await connection.execute("SELECT set_config('app.organization_id', $1, true)", str(mine.id))
                    seen, foreign = await connection.fetchrow(sql, mine.id)
                assert seen > 0 and foreign == 0, f"{role} {table}"
                for change in ("DELETE FROM", "TRUNCATE"):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await connection.execute(f"{change} metering.{table}")
            for function in (
                "fold_journal_v1(1)", "store_calls_v1()", "stage_calls_v1()", "store_limit_sets_v1()", "stage_limit_sets_v1()",
            ):  # fmt: skip
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"SELECT metering.{function}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("SELECT * FROM metering.seen_ids")
        finally:
            await connection.close()
    assert (await ask(database, mine.id, Question(start=AT, end=AT + timedelta(hours=1))))["total"]["requests"] == 2


async def test_the_writer_stores_for_the_organizations_it_named_only(
    database: Database, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    mine, other = two_organizations
    await store_batch(database, other.id, [record(AT)])

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.as_writer([mine.id]) as connection:
            await connection.execute("SELECT metering.stage_calls_v1()")
            await connection.execute(
                "INSERT INTO pg_temp.staged_calls SELECT * FROM jsonb_populate_recordset(NULL::pg_temp.staged_calls, $1::jsonb)",
                msgspec.to_builtins([record(AT) | {"organization_id": other.id, "ordinal": 0}]),
            )
            await connection.fetchval("SELECT metering.store_calls_v1()")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await store_limit_set(database, other.id, AT, writing_for=mine.id)
    for named in ([], [mine.id]):
        async with database.as_writer(named) as connection:
            for table in ("calls", "rollup_journal", "seen_ids"):
                assert await connection.fetchval(f"SELECT count(*) FROM metering.{table}") == 0
    pool = await database.pool("writer")
    for statement in (
        "UPDATE metering.calls SET cost = 0",
        "DELETE FROM metering.calls",
        "DELETE FROM metering.rollup_journal",
        "DELETE FROM metering.seen_ids",
        "SELECT * FROM metering.limit_sets",
        "UPDATE metering.limit_sets SET limits = '[]'",
        "DELETE FROM metering.limit_sets",
        "SELECT * FROM metering.rollups_day",
        "SELECT metering.fold_journal_v1(1)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)


async def test_partitions_can_be_named_by_nobody(
    postgres: TestServer, database: Database, database_name: str, organization: TestOrganization
) -> None:
    await store_batch(database, organization.id, [record(AT)])
    await fold(database)

    for role in ("nexus_service", "nexus_writer", "nexus_readonly", "nexus_system"):
        connection = await asyncpg.connect(postgres.url(role, database_name), statement_cache_size=0)
        try:
            for table in ("calls", "rollups_minute", "rollups_quarter_hour", "rollups_hour"):
                for statement in ("SELECT * FROM", "DELETE FROM", "TRUNCATE", "DROP TABLE"):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await connection.execute(f"{statement} metering.{table}_202604")
        finally:
            await connection.close()


async def test_rollup_partitions_leave_room_on_their_pages(
    database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    await store_batch(database, organization.id, [record(AT)])
    await fold(database)

    options = await admin_connection.fetchval(
        "SELECT reloptions FROM pg_class WHERE oid = 'metering.rollups_minute_202604'::regclass"
    )
    assert "fillfactor=70" in options


async def test_a_zone_that_is_gone_stops_no_folding(
    database: Database, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    broken, well = two_organizations
    async with database.as_system() as connection:
        await connection.execute(
            "UPDATE identity.organizations SET reporting_zone = 'Mars/Olympus' WHERE id = $1", broken.id
        )
    for owner in (broken, well):
        await store_batch(database, owner.id, [record(AT)])

    assert await fold(database) == 2
    answer = await ask(database, broken.id, Question(start=AT - timedelta(days=2), end=AT + timedelta(days=2)))
    assert answer["total"]["requests"] == 1
