"""Snapshots: swapped in whole when their version changes, and cached for a start without PostgreSQL."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from nexus.contracts.keys import key_hash
from nexus.dataplane import store
from nexus.dataplane.freshness import Freshness
from nexus.dataplane.snapshots import KeySource, Snapshots
from nexus.kit.ids import uuid7
from nexus.platform.db import Connection, Database
from tests.conftest import TestOrganization

KEY = "nx_" + "k" * 40


async def insert_key(admin: asyncpg.Connection, organization_id: UUID, text: str = KEY) -> UUID:
    """Arrange an access key."""
    key_id = uuid7()
    await admin.execute(
        "INSERT INTO identity.access_keys (id, organization_id, name, prefix, key_hash, scopes, application)"
        " VALUES ($1, $2, 'test', 'nx_kkkkkkkk', $3, '{events:write}', 'shop')",
        key_id,
        organization_id,
        key_hash(text),
    )
    return key_id


@pytest.fixture
async def away(database: Database) -> AsyncIterator[Database]:
    """A database that does not answer."""
    nowhere = "postgresql://nobody@/none?host=/nonexistent"
    urls = dataclasses.replace(database.urls, service=nowhere, system=nowhere, writer=nowhere)
    handle = await Database.connect(urls, application_name="nexus-test")
    yield handle
    await handle.close()


async def test_keys_are_found_with_their_organization(
    database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    key_id = await insert_key(admin_connection, organization.id)
    snapshots = Snapshots(database)

    assert await snapshots.refresh()
    entry = snapshots.keys.find(KEY)

    assert entry is not None
    assert (entry.id, entry.organization_id, entry.application) == (key_id, organization.id, "shop")
    assert entry.allows("events:write") and not entry.allows("metrics:read")
    assert snapshots.keys.organizations[organization.id].slug == organization.slug
    assert snapshots.keys.find("nx_other") is None
    assert snapshots.is_loaded and snapshots.is_current


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE identity.access_keys SET revoked_at = now() WHERE organization_id = $1",
        "DELETE FROM identity.access_keys WHERE organization_id = $1",
        "UPDATE identity.organizations SET is_active = false WHERE id = $1",
    ],
)
async def test_revoked_key_is_gone_with_the_next_poll(
    database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection, statement: str
) -> None:
    await insert_key(admin_connection, organization.id)
    snapshots = Snapshots(database, poll_seconds=0.01)
    await snapshots.start()
    assert snapshots.keys.find(KEY) is not None
    changed = asyncio.Event()
    snapshots.on_change(changed.set)

    await admin_connection.execute(statement, organization.id)
    await asyncio.wait_for(changed.wait(), 10)
    await snapshots.stop()

    assert snapshots.keys.find(KEY) is None


async def test_nothing_is_read_again_while_versions_stand(database: Database, organization: TestOrganization) -> None:
    snapshots = Snapshots(database)
    await snapshots.refresh()
    keys, prices = snapshots.keys, snapshots.prices
    changes: list[None] = []
    snapshots.on_change(lambda: changes.append(None))

    await snapshots.refresh()

    assert snapshots.keys is keys and snapshots.prices is prices
    assert changes == []


async def test_what_was_read_earlier_is_never_swapped_in_later(
    database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    snapshots = Snapshots(database)
    read, goes_on, was_read = store.snapshot_keys, asyncio.Event(), asyncio.Event()

    async def slowly(connection: Connection) -> Any:
        rows = await read(connection)
        if not was_read.is_set():
            was_read.set()
            await goes_on.wait()
        return rows

    monkeypatch.setattr(store, "snapshot_keys", slowly)
    earlier = asyncio.create_task(snapshots.refresh())
    await was_read.wait()
    await insert_key(admin_connection, organization.id)
    later = asyncio.create_task(snapshots.refresh())
    # Long enough for the later one to end, unless it waits for the earlier.
    await asyncio.wait({later}, timeout=1)
    goes_on.set()

    assert await earlier and await later
    assert snapshots.keys.find(KEY) is not None


async def test_price_change_swaps_prices_only(database: Database, admin_connection: asyncpg.Connection) -> None:
    snapshots = Snapshots(database)
    await snapshots.refresh()
    keys, prices = snapshots.keys, snapshots.prices

    await admin_connection.execute("UPDATE platform.snapshot_versions SET version = version + 1 WHERE name = 'prices'")
    await snapshots.refresh()

    assert snapshots.keys is keys
    assert snapshots.prices is not prices


async def test_members_are_found_by_address_and_id(
    database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    user_id = uuid7()
    await admin_connection.execute("INSERT INTO identity.users (id, email) VALUES ($1, 'Zoe@Example.org')", user_id)
    await admin_connection.execute(
        "INSERT INTO identity.memberships (organization_id, user_id, role) VALUES ($1, $2, 'member')",
        organization.id,
        user_id,
    )
    snapshots = Snapshots(database)
    await snapshots.refresh()

    members = snapshots.keys.members[organization.id]
    assert members["zoe@example.org"] == members[str(user_id)] == user_id


async def test_process_starts_on_cached_snapshots_while_postgresql_is_away(
    database: Database,
    away: Database,
    organization: TestOrganization,
    admin_connection: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    await insert_key(admin_connection, organization.id)
    before = Snapshots(database, data_dir=tmp_path)
    await before.start()
    await before.stop()

    after = Snapshots(away, data_dir=tmp_path)
    await after.start()
    await after.stop()

    assert after.is_loaded and not after.is_current
    assert after.keys.find(KEY) == before.keys.find(KEY) is not None
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


async def test_cache_that_makes_no_sense_is_not_used(away: Database, tmp_path: Path) -> None:
    for name in ("keys", "prices"):
        (tmp_path / f"snapshot-{name}").write_bytes(b"\x93nonsense")
    snapshots = Snapshots(away, data_dir=tmp_path)
    await snapshots.start()
    await snapshots.stop()

    assert not snapshots.is_loaded


async def test_tables_stay_while_postgresql_is_away(
    database: Database, away: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    await insert_key(admin_connection, organization.id)
    snapshots = Snapshots(database)
    await snapshots.refresh()
    snapshots._database = away

    assert await snapshots.refresh() is False
    assert not snapshots.is_current
    assert snapshots.keys.find(KEY) is not None
    snapshots._database = database
    assert await snapshots.refresh()


async def test_tables_that_cannot_be_refreshed_are_told_with_their_age_and_the_reason(
    database: Database, away: Database
) -> None:
    now = [100.0]
    snapshots = Snapshots(database, freshness=Freshness(["keys", "prices"], monotonic=lambda: now[0]))
    await snapshots.refresh()
    now[0] += 3600
    await snapshots.refresh()
    assert snapshots.freshness.stale() == {}

    snapshots._database = away
    await snapshots.refresh()
    assert snapshots.freshness.stale() == {}, "a hiccup is no news"
    now[0] += 11
    await snapshots.refresh()
    stale = snapshots.freshness.stale()

    assert set(stale) == {"keys", "prices"}
    assert stale["keys"].startswith("not refreshed for 11 s (PostgreSQL does not answer")
    snapshots._database = database
    await snapshots.refresh()
    assert snapshots.freshness.stale() == {}


async def test_a_row_that_no_code_expected_stops_neither_the_poll_nor_the_serving(
    database: Database,
    organization: TestOrganization,
    admin_connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await insert_key(admin_connection, organization.id)
    now = [100.0]
    snapshots = Snapshots(
        database, poll_seconds=0.01, freshness=Freshness(["keys", "prices"], monotonic=lambda: now[0])
    )
    await snapshots.start()
    seen = asyncio.Event()

    def refuse(source: KeySource) -> None:
        seen.set()
        raise ZeroDivisionError

    monkeypatch.setattr("nexus.dataplane.snapshots.build_keys", refuse)
    await insert_key(admin_connection, organization.id, "nx_" + "j" * 40)
    await seen.wait()
    seen.clear()
    await seen.wait()
    now[0] += 11

    assert "ZeroDivisionError" in snapshots.freshness.stale()["keys"]
    assert snapshots.keys.find(KEY) is not None
    monkeypatch.undo()
    while snapshots.keys.find("nx_" + "j" * 40) is None:
        await asyncio.sleep(0.01)
    assert "keys" not in snapshots.freshness.stale()
    await snapshots.stop()
