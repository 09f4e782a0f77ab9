"""When an access key was last used is told, whichever way its calls come in."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import asyncpg
import httpx

from nexus.contracts.keys import KeyEntry
from nexus.dataplane.key_use import APART, KeyUse
from nexus.identity import access_keys
from nexus.kit.clock import SYSTEM_CLOCK, FixedClock
from nexus.platform.db import Database
from tests.application import ADMIN, client_of, first_start, running, settings_of, sign_in
from tests.conftest import TestOrganization
from tests.postgres import TestServer

NOW = SYSTEM_CLOCK.now().replace(microsecond=0)
WAYS = {"/v1/events": "events:write", "/v1/admit": "calls:admit", "/gw/nobody/v1/models": "gateway:call"}


async def test_every_way_in_tells_which_key_was_used(
    postgres: TestServer, database_name: str, redis_url: str, tmp_path: Path
) -> None:
    settings = settings_of(postgres.urls(database_name), redis_url, tmp_path)
    await first_start(settings)
    async with running(settings) as application, client_of(application) as client:
        await sign_in(client, ADMIN)
        for scope in [*WAYS.values(), "metrics:read"]:
            made = await client.post("/api/identity/access-keys", json={"name": scope, "scopes": [scope]})
            assert made.status_code == 201, made.text
            way = {of: path for path, of in WAYS.items()}.get(scope, "/v1/events")
            await application.snapshots.refresh()
            answer = await client.post(way, json=[], headers={"authorization": f"Bearer {made.json()['key']}"})
            assert (answer.status_code == 403) == (scope == "metrics:read"), answer.text
        before = await _used(client)
        await application.key_use.tell()
        after = await _used(client)

    assert before == dict.fromkeys(before, False)
    assert {name for name, is_used in after.items() if is_used} == set(WAYS.values()), "a refused call is no use"


async def _used(client: httpx.AsyncClient) -> dict[str, bool]:
    items = (await client.get("/api/identity/access-keys")).json()["items"]
    return {item["name"]: item["last_used_at"] is not None for item in items}


async def _made(database: Database, organization: TestOrganization, count: int) -> list[KeyEntry]:
    entries: list[KeyEntry] = []
    for number in range(count):
        async with database.as_system() as connection:
            made = await access_keys.create(
                connection, organization.id, name=f"key {number}", scopes=["events:write"], at=NOW
            )
        entries.append(KeyEntry(made.access_key.id, organization.id, frozenset({"events:write"})))
    return entries


async def test_the_latest_use_is_kept_and_what_was_told_a_moment_ago_is_not_told_again(
    database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    (key,) = await _made(database, organization, 1)
    clock = FixedClock(NOW)
    use = KeyUse(database, clock=clock)
    told = []
    for moved in (timedelta(0), APART, timedelta(seconds=1), -timedelta(hours=1)):
        clock.advance(moved)
        use.note(key)
        await use.tell()
        told.append(await admin_connection.fetchval("SELECT last_used_at FROM identity.access_keys"))

    assert told == [NOW, NOW, NOW + APART + timedelta(seconds=1), NOW + APART + timedelta(seconds=1)]
    versions = await admin_connection.fetchval(
        "SELECT count(*) FROM platform.audit_log WHERE table_name LIKE '%access_keys' AND action = 'update'"
    )
    assert versions == 0, "a use is no change of the key"


async def test_processes_that_tell_of_the_same_keys_do_not_lock_each_other_out(
    database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    keys = await _made(database, organization, 20)
    clock = FixedClock(NOW)
    uses = [KeyUse(database, clock=clock) for _ in range(4)]
    for _ in range(10):
        clock.advance(APART * 2)
        for number, use in enumerate(uses):
            for key in keys if number % 2 else reversed(keys):
                use.note(key)
        await asyncio.gather(*(use.tell() for use in uses))
        found = await admin_connection.fetch("SELECT DISTINCT last_used_at FROM identity.access_keys")
        assert [row[0] for row in found] == [clock.now()]
        assert not any(use._used for use in uses), "nothing is left to be told again: no one was a victim of a deadlock"


async def test_uses_wait_while_postgres_is_away(
    database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    (key,) = await _made(database, organization, 1)
    use = KeyUse(database, clock=FixedClock(NOW))
    await admin_connection.execute("ALTER TABLE identity.access_keys RENAME TO away")
    use.note(key)
    await use.tell()
    await admin_connection.execute("ALTER TABLE identity.away RENAME TO access_keys")
    await use.tell()

    assert await admin_connection.fetchval("SELECT last_used_at FROM identity.access_keys") == NOW
