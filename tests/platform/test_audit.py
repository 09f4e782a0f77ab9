"""The audit log tells what changed and who did it, and holds no secret."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import pytest

from nexus.kit.ids import uuid7
from nexus.platform.db import Actor, Database

ONE, OTHER = uuid7(), uuid7()

TABLE = """
CREATE TABLE platform.sample (
    id uuid PRIMARY KEY, organization_id uuid NOT NULL, name text, secret_hash bytea
);
GRANT SELECT, INSERT, UPDATE, DELETE ON platform.sample TO nexus_service;
CREATE TRIGGER sample_audit AFTER INSERT OR UPDATE OR DELETE ON platform.sample
    FOR EACH ROW EXECUTE FUNCTION platform.audit_row_v1('secret_hash');
"""


@pytest.fixture
async def sample(owner_connection: asyncpg.Connection) -> None:
    await owner_connection.execute(TABLE)


async def test_each_change_is_kept_with_actor_and_masked_secrets(database: Database, sample: None) -> None:
    actor = Actor(user_id=uuid7(), label="ada", ip="192.0.2.7", user_agent="curl/8", request_id="abc")
    row_id: UUID = uuid7()

    async with database.tenant(ONE, actor) as connection:
        await connection.execute("INSERT INTO platform.sample VALUES ($1, $2, 'first', '\\xdeadbeef')", row_id, ONE)
        await connection.execute(
            "UPDATE platform.sample SET name = 'second', secret_hash = '\\xcafe' WHERE id = $1", row_id
        )
        await connection.execute("UPDATE platform.sample SET name = 'second' WHERE id = $1", row_id)
        await connection.execute("DELETE FROM platform.sample WHERE id = $1", row_id)

    async with database.tenant(ONE) as connection:
        rows = await connection.fetch(
            "SELECT * FROM platform.audit_log WHERE table_name = 'platform.sample' ORDER BY occurred_at"
        )
    assert [row["action"] for row in rows] == ["insert", "update", "delete"]
    assert rows[1]["old_row"] == {"name": "first", "secret_hash": "[masked]"}
    assert rows[1]["new_row"] == {"name": "second", "secret_hash": "[masked]"}
    assert "deadbeef" not in str([dict(row) for row in rows]) and "cafe" not in str([dict(row) for row in rows])
    for row in rows:
        assert (row["actor_user_id"], row["actor_label"], row["ip_address"]) == (actor.user_id, "ada", "192.0.2.7")
        assert (row["user_agent"], row["request_id"], row["row_id"]) == ("curl/8", "abc", str(row_id))


async def test_a_rolled_back_change_leaves_no_trace(database: Database, sample: None) -> None:
    with pytest.raises(RuntimeError):
        async with database.tenant(ONE) as connection:
            await connection.execute("INSERT INTO platform.sample (id, organization_id) VALUES ($1, $2)", uuid7(), ONE)
            raise RuntimeError

    async with database.tenant(ONE) as connection:
        count = await connection.fetchval(
            "SELECT count(*) FROM platform.audit_log WHERE table_name = 'platform.sample'"
        )
    assert count == 0


async def test_one_organization_does_not_read_the_others_log(database: Database) -> None:
    async with database.tenant(ONE) as connection:
        await connection.execute("SELECT platform.record_action_v1('sign_in', 'x', '{}')")

    async with database.tenant(OTHER) as connection:
        seen = await connection.fetchval("SELECT count(*) FROM platform.audit_log WHERE action = 'sign_in'")
    pool = await database.pool("service")
    without = await pool.fetchval("SELECT count(*) FROM platform.audit_log")

    assert seen == 0 and without == 0
