"""Provider credentials: sealed at rest, never shown, rotated, one tenant's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from nexus.contracts.learned import LearnedLimit, LearnedLimits
from nexus.contracts.redis_keys import learned_limits
from nexus.entry.control_plane import ControlPlane
from nexus.identity import provider_credentials
from nexus.identity.types import FirstStart
from nexus.kit.clock import FixedClock
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from nexus.platform.sealing import CannotOpen, Sealer
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.conftest import TestOrganization

SECRET = "sk-live-0123456789abcdefghij"
URL = "/api/identity/provider-credentials"
NEW: dict[str, Any] = {"provider": "openai", "name": "main", "secret": SECRET}


@pytest.fixture
def signed(client: httpx.AsyncClient, first: FirstStart) -> httpx.AsyncClient:
    client.headers["authorization"] = f"Bearer {first.access_key}"
    return client


async def test_a_secret_goes_in_and_never_comes_out(
    signed: httpx.AsyncClient, admin_connection: asyncpg.Connection
) -> None:
    made = await signed.post(URL, json=NEW | {"base_url": "https://eu.example/v2", "weight": 3})
    shown = await signed.get(f"{URL}/{made.json()['id']}")
    listed = await signed.get(URL, params={"provider": "openai"})

    assert made.status_code == 201 and shown.json() == made.json() == listed.json()["items"][0]
    assert made.json()["prefix"] == "sk-live-" and len(made.json()["secret_hash"]) == 16
    assert SECRET not in made.text + shown.text + listed.text
    row = await admin_connection.fetchrow("SELECT * FROM identity.provider_credentials")
    assert SECRET.encode() not in bytes(row["sealed"]) and row["base_url"] == "https://eu.example/v2"
    audited = await admin_connection.fetch(
        "SELECT * FROM platform.audit_log WHERE table_name LIKE '%provider_credentials'"
    )
    assert len(audited) == 1 and '"sealed": "[masked]"' in str(dict(audited[0]))


async def test_limits_are_those_the_provider_told(
    signed: httpx.AsyncClient,
    database: Database,
    settings: Settings,
    clock: FixedClock,
    first: FirstStart,
    redis_url: str,
) -> None:
    made = (await signed.post(URL, json=NEW)).json()
    where = f"{URL}/{made['id']}/limits"
    async with Redis.from_url(redis_url) as redis:
        app = ControlPlane(WebState(database, settings, clock, redis=redis))
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        client = httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=signed.headers)
        untold, unknown = await client.get(where), await client.get(f"{URL}/{uuid7()}/limits")
        told = LearnedLimits(clock.now(), 429, [LearnedLimit("tokens", 90_000, 0, 1.5)], 2.0)
        await redis.set(learned_limits(first.organization_id, UUID(made["id"])), msgspec.json.encode(told))
        found = (await client.get(where)).json()
        await client.aclose()

    assert untold.json() == {"at": None, "status_code": None, "limits": [], "retry_after_seconds": None}
    assert (unknown.status_code, unknown.json()["type"].rpartition(":")[2]) == (404, "unknown_provider_credential")
    assert found["limits"] == [{"kind": "tokens", "limit": 90_000, "remaining": 0, "resets_in_seconds": 1.5}]
    assert (found["status_code"], found["retry_after_seconds"]) == (429, 2.0)


async def test_the_service_cannot_read_what_is_sealed(database: Database, organization: TestOrganization) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.tenant(organization.id) as connection:
            await connection.fetch("SELECT sealed FROM identity.provider_credentials")


async def test_it_is_changed_and_removed(signed: httpx.AsyncClient, admin_connection: asyncpg.Connection) -> None:
    made = (await signed.post(URL, json=NEW)).json()
    before = await admin_connection.fetchval("SELECT sealed FROM identity.provider_credentials")

    changed = await signed.patch(f"{URL}/{made['id']}", json={"secret": "another-secret-of-it", "is_active": False})
    named = await signed.patch(f"{URL}/{made['id']}", json={"name": "second"})
    after = await admin_connection.fetchval("SELECT sealed FROM identity.provider_credentials")
    removed = await signed.delete(f"{URL}/{made['id']}")
    gone = await signed.get(f"{URL}/{made['id']}")

    assert changed.status_code == 200 and changed.json()["prefix"] == "another-"[:6] and not changed.json()["is_active"]
    assert named.json()["name"] == "second" and named.json()["secret_hash"] == changed.json()["secret_hash"]
    assert before != after and removed.status_code == 204 and gone.status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"provider": "Open AI"}, "provider"),
        ({"secret": "abc"}, "secret"),
        ({"secret": "schlüssel-größer"}, "secret"),
        ({"auth_form": "basic", "secret": "no-colon-in-it"}, "secret"),
        ({"base_url": "ftp://x"}, "base_url"),
        ({"base_url": "https://user:pass@x"}, "base_url"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"color": "red"}, "color"),
        ({"weight": -1}, "weight"),
    ],
)
async def test_bad_input_names_the_field(signed: httpx.AsyncClient, change: dict[str, Any], field: str) -> None:
    answer = await signed.post(URL, json=NEW | change)

    assert answer.status_code == 422 and field in {item["field"] for item in answer.json()["errors"]}
    assert "schlüssel" not in answer.text


async def test_nobody_without_the_permission_sees_or_changes_them(
    signed: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    weak = await signed.post("/api/identity/access-keys", json={"name": "weak", "scopes": ["events:write"]})
    headers = {"authorization": f"Bearer {weak.json()['key']}"}

    assert (await client.get(URL, headers=headers)).status_code == 403
    assert (await client.post(URL, json=NEW, headers=headers)).status_code == 403


async def test_another_tenant_s_are_not_there(
    signed: httpx.AsyncClient, database: Database, organization: TestOrganization, clock: FixedClock
) -> None:
    async with database.tenant(organization.id) as connection:
        other = await provider_credentials.create(
            connection, organization.id, Sealer(["k"]), provider="openai", name="theirs", secret=SECRET, at=clock.now()
        )

    assert (await signed.get(URL)).json()["items"] == []
    for answer in (
        await signed.get(f"{URL}/{other.id}"),
        await signed.patch(f"{URL}/{other.id}", json={"name": "mine"}),
        await signed.delete(f"{URL}/{other.id}"),
    ):
        assert answer.status_code == 404


async def test_rotation_seals_all_again_and_the_old_key_can_go(
    database: Database, organization: TestOrganization, clock: FixedClock
) -> None:
    async with database.tenant(organization.id) as connection:
        for number in range(3):
            await provider_credentials.create(
                connection, organization.id, Sealer(["old"]), provider="openai", name=str(number), secret=SECRET,
                at=clock.now(), expires_at=clock.now() + timedelta(days=1),
            )  # fmt: skip

    async with database.as_system() as connection:
        first = await provider_credentials.reseal(connection, Sealer(["new", "old"]))
        again = await provider_credentials.reseal(connection, Sealer(["new", "old"]))
        without_old = await provider_credentials.reseal(connection, Sealer(["newest", "new"]))
        lost = await provider_credentials.reseal(connection, Sealer(["other"]))

    assert (first, again, without_old, lost) == ((3, 0), (0, 0), (3, 0), (0, 3))


def test_a_sealed_secret_opens_in_its_own_place_only() -> None:
    sealer = Sealer(["new", "old"])
    sealed = Sealer(["old"]).seal(b"secret", b"row 1")

    assert sealer.open(sealed, b"row 1") == b"secret" and not sealer.is_current(sealed)
    for damaged, context in (
        (sealed, b"row 2"),
        (sealed[:-1] + b"x", b"row 1"),
        (b"", b"row 1"),
        (b"\x02" + sealed[1:], b"row 1"),
    ):
        with pytest.raises(CannotOpen):
            sealer.open(damaged, context)
    with pytest.raises(CannotOpen):
        Sealer(["other"]).open(sealed, b"row 1")
    assert sealer.seal(b"secret", b"row 1") != sealer.seal(b"secret", b"row 1")


async def test_the_reach_of_a_key_is_set_and_shown(signed: httpx.AsyncClient) -> None:
    key = (await signed.post("/api/identity/access-keys", json={"name": "k", "scopes": ["events:write"]})).json()
    url = f"/api/identity/access-keys/{key['access_key']['id']}/gateway-reach"

    before = await signed.get(url)
    made = await signed.put(url, json={"providers": ["openai"], "models": ["gpt-*"]})
    empty = await signed.put(url, json={"providers": []})
    nowhere = await signed.put(url.replace(key["access_key"]["id"], str(uuid7())), json={})

    assert before.json() == dict.fromkeys(("providers", "models", "endpoints", "mcp_servers", "mcp_tools"))
    assert (
        made.json() == (await signed.get(url)).json() == before.json() | {"providers": ["openai"], "models": ["gpt-*"]}
    )
    assert empty.status_code == 422 and nowhere.status_code == 404
