"""Sign-in, lockout, access keys and grants, through the HTTP routes and a real database."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import httpx
import pytest

from nexus.identity import access_keys, passwords, service
from nexus.identity.errors import AccountLocked, WrongCredentials
from nexus.identity.routes import router
from nexus.identity.sign_in import sign_in as sign_in_with_password
from nexus.identity.types import FirstStart
from nexus.kit.clock import FixedClock
from nexus.platform.db import SYSTEM_ACTOR, Database
from tests.identity.people import NOW, PASSWORD, bearer, member, sign_in


async def test_first_start_happens_once(database: Database, first: FirstStart) -> None:
    async with database.as_system() as connection:
        assert await service.first_start(connection, at=NOW) is None


async def test_signing_in_opens_a_session_and_signing_out_ends_it(client: httpx.AsyncClient) -> None:
    answer = await sign_in(client, "ADA@example.com")
    me = await client.get("/api/identity/me")
    out = await client.post("/api/identity/sign-out")

    assert answer.status_code == 200 and me.json()["user"]["email"] == "ada@example.com"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    assert me.json()["organization"]["slug"] == "default" and "*" in me.json()["permissions"]
    assert out.status_code == 204
    assert (await client.get("/api/identity/me")).status_code == 401


async def test_a_session_ends_after_its_time(client: httpx.AsyncClient, clock: FixedClock) -> None:
    await sign_in(client)
    clock.advance(timedelta(hours=24))

    assert (await client.get("/api/identity/me")).status_code == 401


@pytest.mark.parametrize(
    ("email", "password"), [("ada@example.com", "wrong"), ("nobody@example.com", PASSWORD), ("\x00", "")]
)
async def test_wrong_credentials_say_the_same_whoever_is_unknown(
    client: httpx.AsyncClient, email: str, password: str
) -> None:
    answer = await client.post("/api/identity/sign-in", json={"email": email, "password": password})

    if "\x00" in email:
        assert answer.status_code == 422
    else:
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:nexus:problem:wrong_credentials")


async def test_five_failures_lock_and_time_unlocks(client: httpx.AsyncClient, clock: FixedClock) -> None:
    codes = [(await sign_in(client, password="wrong")).status_code for _ in range(5)]
    locked = await sign_in(client)
    clock.advance(timedelta(minutes=15, seconds=1))
    later = await sign_in(client)

    assert codes == [401, 401, 401, 401, 429]
    assert locked.status_code == 429 and int(locked.headers["retry-after"]) == 900
    assert later.status_code == 200


async def test_of_attempts_at_once_no_more_are_tried_than_may_fail(
    database: Database, first: FirstStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    verify = passwords._verify

    def counted(stored: str | None, password: str) -> bool:
        tried.append(password)
        return verify(stored, password)

    monkeypatch.setattr(passwords, "_verify", counted)

    async def attempt(number: int) -> None:
        with pytest.raises((WrongCredentials, AccountLocked)):
            await sign_in_with_password(
                database, login="ada@example.com", password=f"no {number}", actor=SYSTEM_ACTOR, at=NOW
            )

    await asyncio.gather(*(attempt(number) for number in range(12)))

    assert len(tried) == 5


async def test_a_cookie_does_not_count_from_another_site(client: httpx.AsyncClient) -> None:
    await sign_in(client)

    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = await client.post("/api/identity/sessions/sign-out-everywhere", headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:nexus:problem:cross_site_request")
    assert (await client.get("/api/identity/me")).status_code == 200


async def test_a_key_is_shown_once_and_kept_as_its_hash(
    client: httpx.AsyncClient, first: FirstStart, admin_connection: asyncpg.Connection
) -> None:
    made = (
        await client.post(
            "/api/identity/access-keys",
            json={"name": "ci", "scopes": ["metrics:read"]},
            headers=bearer(first.access_key),
        )
    ).json()
    listed = await client.get("/api/identity/access-keys", headers=bearer(first.access_key))

    assert made["key"].startswith("nx_") and len(made["key"]) >= 40
    assert made["access_key"]["prefix"] == made["key"][:11]
    assert made["key"] not in listed.text
    for table in ("identity.access_keys", "platform.audit_log", "identity.users"):
        text = await admin_connection.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} AS t")
        assert made["key"] not in text and PASSWORD not in text
    audit = await admin_connection.fetchval(
        "SELECT string_agg(new_row::text, ' ') FROM platform.audit_log WHERE table_name = 'identity.access_keys'"
    )
    assert '"key_hash": "[masked]"' in audit


async def test_rotation_overlaps_and_then_ends(client: httpx.AsyncClient, first: FirstStart, clock: FixedClock) -> None:
    keys = (await client.get("/api/identity/access-keys", headers=bearer(first.access_key))).json()["items"]
    new = (
        await client.post(
            f"/api/identity/access-keys/{keys[0]['id']}/rotate",
            json={"overlap_seconds": 60},
            headers=bearer(first.access_key),
        )
    ).json()["key"]

    both = [(await client.get("/api/identity/me", headers=bearer(key))).status_code for key in (first.access_key, new)]
    clock.advance(timedelta(seconds=61))
    after = [(await client.get("/api/identity/me", headers=bearer(key))).status_code for key in (first.access_key, new)]

    assert both == [200, 200] and after == [401, 200]


async def test_a_revoked_key_is_out_of_the_snapshot_and_refused(
    client: httpx.AsyncClient, first: FirstStart, database: Database
) -> None:
    async def snapshot() -> tuple[int, int]:
        async with database.as_system() as connection:
            version = await connection.fetchval("SELECT version FROM platform.snapshot_versions WHERE name = 'keys'")
            return version, len(await connection.fetch("SELECT * FROM identity.snapshot_keys_v1()"))

    before = await snapshot()
    key_id = (await client.get("/api/identity/access-keys", headers=bearer(first.access_key))).json()["items"][0]["id"]
    await client.post(f"/api/identity/access-keys/{key_id}/revoke", headers=bearer(first.access_key))
    after = await snapshot()

    assert (await client.get("/api/identity/me", headers=bearer(first.access_key))).status_code == 401
    assert before[1] == 1 and after[1] == 0 and after[0] > before[0]


async def test_nobody_grants_what_they_do_not_hold(client: httpx.AsyncClient) -> None:
    await member(client, "bob@example.com", "member")
    carol = await member(client, "carol@example.com", "admin")
    roles = {item["name"]: item["id"] for item in (await client.get("/api/identity/roles")).json()["items"]}

    await sign_in(client, "bob@example.com")
    key = await client.post("/api/identity/access-keys", json={"name": "x", "scopes": ["*"]})
    own = await client.post("/api/identity/access-keys", json={"name": "x", "scopes": ["metrics:read"]})
    invited = await client.post("/api/identity/invitations", json={"email": "x@y.z"})
    await sign_in(client, "carol@example.com")
    owner = await client.patch(f"/api/identity/members/{carol['user_id']}", json={"role": "owner"})
    extra = await client.patch(
        f"/api/identity/members/{carol['user_id']}", json={"extra_permissions": ["audit:export"]}
    )
    new_owner = await client.post(
        "/api/identity/users", json={"email": "e@example.com", "password": PASSWORD, "role": "owner"}
    )

    assert (key.status_code, own.status_code, invited.status_code) == (403, 201, 403)
    assert (owner.status_code, extra.status_code, new_owner.status_code) == (403, 403, 403)
    await sign_in(client)
    granted = await client.post(
        f"/api/identity/members/{carol['user_id']}/roles", json={"role_id": roles["system_admin"]}
    )
    assert granted.status_code == 204


async def test_a_granted_role_ends_with_its_time(client: httpx.AsyncClient, clock: FixedClock) -> None:
    dan = await member(client, "dan@example.com", "viewer")
    roles = {item["name"]: item["id"] for item in (await client.get("/api/identity/roles")).json()["items"]}
    until = (NOW + timedelta(hours=1)).isoformat()
    await client.post(
        f"/api/identity/members/{dan['user_id']}/roles", json={"role_id": roles["auditor"], "expires_at": until}
    )

    await sign_in(client, "dan@example.com")
    during = (await client.get("/api/identity/me")).json()["permissions"]
    clock.advance(timedelta(hours=1))
    after = (await client.get("/api/identity/me")).json()["permissions"]

    assert "audit:export" in during and "audit:export" not in after


async def test_the_last_owner_stays(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    me = (await client.get("/api/identity/me")).json()["user"]["id"]

    removed = await client.delete(f"/api/identity/members/{me}")
    lowered = await client.patch(f"/api/identity/members/{me}", json={"role": "viewer"})

    assert (removed.status_code, lowered.status_code) == (409, 409)


async def test_a_person_enters_only_their_own_organizations(client: httpx.AsyncClient) -> None:
    await member(client, "eve@example.com", "owner")
    other = await client.post("/api/identity/organizations", json={"name": "Globex", "slug": "globex"})
    await sign_in(client, "eve@example.com")

    entered = await client.get("/api/identity/members", headers={"x-nexus-organization": "globex"})

    assert other.status_code == 201 and (entered.status_code, entered.json()["status"]) == (404, 404)


async def test_an_invitation_is_accepted_once(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    token = (
        await client.post("/api/identity/invitations", json={"email": "new@example.com", "role": "viewer"})
    ).json()["token"]

    joined = await client.post("/api/identity/invitations/accept", json={"token": token, "password": PASSWORD})
    again = await client.post("/api/identity/invitations/accept", json={"token": token, "password": PASSWORD})

    assert (joined.status_code, again.status_code) == (200, 422)
    assert (await sign_in(client, "new@example.com")).status_code == 200


async def test_changing_the_password_ends_the_other_sessions(client: httpx.AsyncClient, database: Database) -> None:
    await sign_in_with_password(database, login="ada@example.com", password=PASSWORD, actor=SYSTEM_ACTOR, at=NOW)
    await sign_in(client)

    weak = await client.post("/api/identity/me/password", json={"current_password": PASSWORD, "new_password": "short"})
    changed = await client.post(
        "/api/identity/me/password", json={"current_password": PASSWORD, "new_password": "another fine phrase"}
    )

    assert (weak.status_code, weak.json()["errors"][0]["field"]) == (422, "password")
    assert changed.json() == {"ended": 1}
    assert (await client.get("/api/identity/me")).status_code == 200
    assert (await sign_in(client)).status_code == 401


async def test_every_route_declares_its_permission() -> None:
    for route in router.routes:
        for handler in route.route_handlers:
            if handler.http_methods == {"OPTIONS"}:
                continue  # the framework's own, added when an application is built
            guards = handler.guards or ()
            assert guards and all(hasattr(guard, "permission") for guard in guards), handler


async def test_tables_of_one_organization_are_empty_for_the_other(
    database: Database, first: FirstStart, owner_connection: asyncpg.Connection
) -> None:
    async with database.as_system() as connection:
        other = await service.create_organization(connection, name="Globex", slug="globex")
        await access_keys.create(connection, other.id, name="theirs", scopes=["metrics:read"], at=NOW)

    async with database.tenant(first.organization_id) as connection:
        keys = await connection.fetch("SELECT organization_id FROM identity.access_keys")
        organizations = await connection.fetch("SELECT id FROM identity.organizations")
    async with database.tenant(other.id) as connection:
        users = await connection.fetch("SELECT id FROM identity.users")
    pool = await database.pool("service")

    assert {row[0] for row in keys} == {first.organization_id} and [row[0] for row in organizations] == [
        first.organization_id
    ]
    assert users == []
    for table in ("organizations", "users", "memberships", "invitations", "roles", "user_roles", "access_keys"):
        assert await pool.fetchval(f"SELECT count(*) FROM (SELECT 1 FROM identity.{table}) AS t") == 0, table
    for table in ("passwords", "sessions"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.fetchval(f"SELECT count(*) FROM identity.{table}")
