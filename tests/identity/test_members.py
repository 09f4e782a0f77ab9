"""Invitations, memberships, granted roles with an end, keys of people who leave, links to set a password."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from nexus.entry.control_plane import ControlPlane
from nexus.identity import jobs
from nexus.identity.types import FirstStart
from nexus.kit.clock import FixedClock
from nexus.platform.db import Database
from tests.identity.people import NOW, PASSWORD, bearer, browser, member, problem, sign_in

INVITATIONS = "/api/identity/invitations"


async def invite(client: httpx.AsyncClient, email: str, role: str = "viewer") -> dict[str, Any]:
    made = await client.post(INVITATIONS, json={"email": email, "role": role})
    assert made.status_code == 201, made.text
    result: dict[str, Any] = made.json()
    return result


async def accept(client: httpx.AsyncClient, token: str, **more: Any) -> httpx.Response:
    return await client.post(f"{INVITATIONS}/accept", json={"token": token} | more)


async def roles(client: httpx.AsyncClient) -> dict[str, str]:
    return {item["name"]: item["id"] for item in (await client.get("/api/identity/roles")).json()["items"]}


async def test_an_invitation_link_keeps_its_token_from_every_log(client: httpx.AsyncClient) -> None:
    await sign_in(client)

    made = await invite(client, "new@example.com")

    assert made["url"].split("#token=")[1] == made["token"] and "?" not in made["url"]


async def test_a_holder_of_the_token_sees_what_it_offers_and_joins_once(
    client: httpx.AsyncClient, app: ControlPlane
) -> None:
    await sign_in(client)
    token = (await invite(client, "new@example.com", "member"))["token"]
    async with browser(app) as new:
        seen = (await new.post(f"{INVITATIONS}/look", json={"token": token})).json()
        without = await accept(new, token)
        joined = await accept(new, token, password=PASSWORD, name="New")
        again = await accept(new, token, password=PASSWORD)
        entered = await sign_in(new, "new@example.com")

    assert seen["needs_password"] is True and (seen["organization"], seen["role"]) == ("Default", "member")
    assert without.json()["errors"][0]["field"] == "password"
    assert (joined.status_code, again.status_code, entered.status_code) == (200, 422, 200)
    assert entered.json()["organization"]["role"] == "member"


async def test_of_two_acceptances_at_once_one_wins(client: httpx.AsyncClient, app: ControlPlane) -> None:
    await sign_in(client)
    token = (await invite(client, "new@example.com"))["token"]

    async def attempt() -> int:
        async with browser(app) as new:
            return (await accept(new, token, password=PASSWORD)).status_code

    assert sorted(await asyncio.gather(attempt(), attempt(), attempt())) == [200, 422, 422]


async def test_whoever_made_the_invitation_cannot_make_an_existing_person_join(
    client: httpx.AsyncClient, app: ControlPlane
) -> None:
    await sign_in(client)
    await client.post("/api/identity/organizations", json={"name": "Globex", "slug": "globex"})
    await member(client, "bob@example.com", "viewer")
    made = await client.post(INVITATIONS, json={"email": "BOB@example.com"}, headers={"x-nexus-organization": "globex"})
    token = made.json()["token"]
    async with browser(app) as inviter, browser(app) as bob:
        by_nobody = await accept(inviter, token, password="a password of mine")
        await sign_in(inviter)
        by_inviter = await accept(inviter, token)
        await sign_in(bob, "bob@example.com")
        by_bob = await accept(bob, token)
        entered = (await bob.get("/api/identity/me")).json()["organizations"]

    assert problem(by_nobody) == problem(by_inviter) == (403, "sign_in_to_accept")
    assert by_bob.status_code == 200 and {item["slug"] for item in entered} == {"default", "globex"}


async def test_invitations_are_withdrawn_replaced_and_expire(
    client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock
) -> None:
    await sign_in(client)
    withdrawn = await invite(client, "a@example.com")
    await client.delete(f"{INVITATIONS}/{withdrawn['invitation']['id']}")
    replaced = await invite(client, "b@example.com")
    newer = await invite(client, "B@example.com")
    items = (await client.get(INVITATIONS)).json()["items"]
    async with browser(app) as new:
        codes = [(await accept(new, item["token"], password=PASSWORD)).status_code for item in (withdrawn, replaced)]
        clock.advance(timedelta(days=7, seconds=1))
        late = await accept(new, newer["token"], password=PASSWORD)

    assert [item["email"] for item in items] == ["B@example.com"]
    assert codes == [422, 422] and late.status_code == 422


async def test_a_member_is_not_invited_again(client: httpx.AsyncClient) -> None:
    await member(client, "bob@example.com", "viewer")

    assert problem(await client.post(INVITATIONS, json={"email": "Bob@example.com"})) == (409, "already_taken")


async def test_invitations_end_with_the_rights_of_who_made_them(client: httpx.AsyncClient, app: ControlPlane) -> None:
    bob = await member(client, "bob@example.com", "admin")
    async with browser(app) as theirs:
        await sign_in(theirs, "bob@example.com")
        token = (await invite(theirs, "friend@example.com", "member"))["token"]

        await client.patch(f"/api/identity/members/{bob['user_id']}", json={"role": "viewer"})

        assert (await accept(theirs, token, password=PASSWORD)).status_code == 422


async def test_a_granted_role_is_listed_until_it_ends_and_the_worker_takes_it_back(
    client: httpx.AsyncClient, clock: FixedClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = await member(client, "bob@example.com", "viewer")
    auditor = (await roles(client))["auditor"]
    path = f"/api/identity/members/{bob['user_id']}/roles"
    past = await client.post(path, json={"role_id": auditor, "expires_at": (NOW - timedelta(hours=1)).isoformat()})
    until = NOW + timedelta(hours=1)
    await client.post(path, json={"role_id": auditor, "expires_at": until.isoformat()})
    granted = (await client.get("/api/identity/members")).json()["items"][1]["roles"]

    async def keys_version() -> int:
        async with database.as_system() as db:
            found: int = await db.fetchval("SELECT version FROM platform.snapshot_versions WHERE name = 'keys'")
            return found

    monkeypatch.setattr(jobs, "SYSTEM_CLOCK", clock)
    before = await keys_version()
    await jobs.end_expired_roles(database)
    nothing_due = await keys_version()
    clock.advance(timedelta(hours=1))
    listed_at_its_end = (await client.get("/api/identity/members")).json()["items"][1]["roles"]
    await jobs.end_expired_roles(database)

    assert past.status_code == 422 and past.json()["errors"][0]["field"] == "expires_at"
    assert granted == [{"role_id": auditor, "name": "auditor", "expires_at": "2026-03-01T13:00:00Z"}]
    assert listed_at_its_end == []
    assert nothing_due == before and await keys_version() == before + 1


async def test_a_role_that_ends_takes_the_scopes_of_the_person_s_keys_along(
    client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock, database: Database
) -> None:
    # The snapshot's function asks the database for the time.
    clock.advance(datetime.now(UTC) - NOW)
    bob = await member(client, "bob@example.com", "member")
    path = f"/api/identity/members/{bob['user_id']}"
    auditor = (await roles(client))["auditor"]
    until = clock.now() + timedelta(hours=1)
    await client.post(f"{path}/roles", json={"role_id": auditor, "expires_at": until.isoformat()})
    async with browser(app) as theirs:
        await sign_in(theirs, "bob@example.com")
        key = (
            await theirs.post("/api/identity/access-keys", json={"name": "k", "scopes": ["audit:read", "metrics:read"]})
        ).json()["key"]

        async def scopes() -> tuple[list[str], list[str]]:
            me = await theirs.get("/api/identity/me", headers=bearer(key))
            async with database.as_system() as db:
                rows = await db.fetch("SELECT scopes FROM identity.snapshot_keys_v1() WHERE user_id = $1", bob_id)
            return me.json().get("permissions", []), sorted(rows[0]["scopes"]) if rows else []

        bob_id = bob["user_id"]
        during = await scopes()
        clock.advance(timedelta(hours=1))
        after_http = (await scopes())[0]
        await client.delete(f"{path}/roles/{auditor}")
        after = await scopes()
        await client.delete(path)
        gone = await theirs.get("/api/identity/me", headers=bearer(key))
        snapshot = (await scopes())[1]

    assert during == (["audit:read", "metrics:read"],) * 2
    assert after_http == ["metrics:read"]
    assert after == (["metrics:read"],) * 2
    assert gone.status_code == 401 and snapshot == []


async def test_who_comes_back_holds_nothing_from_before(client: httpx.AsyncClient, app: ControlPlane) -> None:
    bob = await member(client, "bob@example.com", "viewer")
    path = f"/api/identity/members/{bob['user_id']}"
    await client.post(f"{path}/roles", json={"role_id": (await roles(client))["auditor"]})
    await client.delete(path)
    token = (await invite(client, "bob@example.com"))["token"]
    async with browser(app) as theirs:
        alone = await sign_in(theirs, "bob@example.com")
        await accept(theirs, token)

        permissions = (await theirs.get("/api/identity/me")).json()["permissions"]

    assert alone.json()["organization"] is None and alone.json()["permissions"] == []
    assert "audit:read" not in permissions and "metrics:read" in permissions


async def test_two_owners_who_leave_at_once_leave_one(client: httpx.AsyncClient, app: ControlPlane) -> None:
    bob = await member(client, "bob@example.com", "owner")
    me = (await client.get("/api/identity/me")).json()["user"]["id"]
    async with browser(app) as theirs:
        await sign_in(theirs, "bob@example.com")

        done = await asyncio.gather(
            client.delete(f"/api/identity/members/{me}"), theirs.delete(f"/api/identity/members/{bob['user_id']}")
        )

    assert sorted(item.status_code for item in done) == [204, 409]


async def test_an_owner_who_is_shut_out_does_not_count_as_the_last(
    client: httpx.AsyncClient, admin_connection: asyncpg.Connection
) -> None:
    await member(client, "bob@example.com", "owner")
    await admin_connection.execute("UPDATE identity.users SET is_active = false WHERE email = 'bob@example.com'")
    me = (await client.get("/api/identity/me")).json()["user"]["id"]

    assert problem(await client.delete(f"/api/identity/members/{me}")) == (409, "last_owner")


async def test_a_link_sets_a_password_once_and_ends_every_session(
    client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock
) -> None:
    bob = await member(client, "bob@example.com", "viewer")
    async with browser(app) as theirs:
        await sign_in(theirs, "bob@example.com")
        made = (await client.post(f"/api/identity/members/{bob['user_id']}/password-reset")).json()
        body = {"token": made["token"], "password": "a new fine phrase"}
        weak = await theirs.post("/api/identity/password-reset", json=body | {"password": "short"})
        used = await theirs.post("/api/identity/password-reset", json=body)
        again = await theirs.post("/api/identity/password-reset", json=body)
        session = await theirs.get("/api/identity/me")
        entered = await sign_in(theirs, "bob@example.com", "a new fine phrase")

    assert made["url"].endswith(f"/reset-password#token={made['token']}")
    assert weak.json()["errors"][0]["field"] == "password"
    assert (used.status_code, again.status_code, session.status_code, entered.status_code) == (204, 422, 401, 200)


async def test_a_link_ends_after_a_day_and_when_a_newer_one_is_made(
    client: httpx.AsyncClient, clock: FixedClock
) -> None:
    bob = await member(client, "bob@example.com", "viewer")
    path = f"/api/identity/members/{bob['user_id']}/password-reset"
    older = (await client.post(path)).json()["token"]
    newer = (await client.post(path)).json()["token"]
    body = {"password": "a new fine phrase"}

    replaced = await client.post("/api/identity/password-reset", json=body | {"token": older})
    clock.advance(timedelta(hours=24, seconds=1))
    late = await client.post("/api/identity/password-reset", json=body | {"token": newer})

    assert (replaced.status_code, late.status_code) == (422, 422)


async def test_a_link_is_the_way_back_in_for_whom_strangers_keep_locked(
    client: httpx.AsyncClient, app: ControlPlane
) -> None:
    bob = await member(client, "bob@example.com", "viewer")
    token = (await client.post(f"/api/identity/members/{bob['user_id']}/password-reset")).json()["token"]
    async with browser(app) as theirs:
        await theirs.post("/api/identity/password-reset", json={"token": token, "password": "a new fine phrase"})
        async with browser(app) as neighbour:
            guesses = [(await sign_in(neighbour, "bob@example.com", "no")).status_code for _ in range(6)]

        entered = await sign_in(theirs, "bob@example.com", "a new fine phrase")

    assert guesses[-1] == 429 and entered.status_code == 200


async def test_nobody_takes_over_an_account_that_can_do_more_than_theirs(
    client: httpx.AsyncClient, app: ControlPlane
) -> None:
    carol = await member(client, "carol@example.com", "admin")
    owner = await member(client, "olga@example.com", "owner")
    abroad = await member(client, "abe@example.com", "viewer")
    viewer = await member(client, "vera@example.com", "viewer")
    root = (await client.get("/api/identity/me")).json()["user"]["id"]
    await client.post("/api/identity/organizations", json={"name": "Globex", "slug": "globex"})
    made = await client.post(INVITATIONS, json={"email": "abe@example.com"}, headers={"x-nexus-organization": "globex"})
    async with browser(app) as abe:
        await sign_in(abe, "abe@example.com")
        await accept(abe, made.json()["token"])
    async with browser(app) as theirs:
        await sign_in(theirs, "carol@example.com")

        async def reset(user_id: str) -> httpx.Response:
            return await theirs.post(f"/api/identity/members/{user_id}/password-reset")

        refused = [await reset(user_id) for user_id in (owner["user_id"], abroad["user_id"], root)]
        factor = await theirs.delete(f"/api/identity/members/{owner['user_id']}/second-factor")
        allowed = [await reset(user_id) for user_id in (viewer["user_id"], carol["user_id"])]

    assert {problem(item) for item in [*refused, factor]} == {(403, "cannot_reset")}
    assert [item.status_code for item in allowed] == [201, 201]
    assert (await client.post(f"/api/identity/members/{abroad['user_id']}/password-reset")).status_code == 201


async def test_making_a_link_needs_a_person_with_a_fresh_proof(
    client: httpx.AsyncClient, first: FirstStart, clock: FixedClock
) -> None:
    bob = await member(client, "bob@example.com", "viewer")
    path = f"/api/identity/members/{bob['user_id']}/password-reset"
    by_key = await client.post(path, headers=bearer(first.access_key))
    clock.advance(timedelta(minutes=16))

    assert by_key.status_code == 403
    assert problem(await client.post(path)) == (403, "reauthentication_required")


async def test_an_ended_session_s_cookie_is_no_hindrance_to_signing_in(
    client: httpx.AsyncClient, clock: FixedClock
) -> None:
    await sign_in(client)
    clock.advance(timedelta(hours=25))

    assert problem(await client.get("/api/identity/me")) == (401, "session_ended")
    assert (await sign_in(client)).status_code == 200


async def test_an_administrator_ends_a_member_s_sessions(client: httpx.AsyncClient, app: ControlPlane) -> None:
    bob = await member(client, "bob@example.com", "viewer")
    carol = await member(client, "carol@example.com", "admin")
    root = (await client.get("/api/identity/me")).json()["user"]["id"]
    async with browser(app) as bobs, browser(app) as carols:
        await sign_in(bobs, "bob@example.com")
        await sign_in(carols, "carol@example.com")

        by_bob = await bobs.post(f"/api/identity/members/{carol['user_id']}/sign-out-everywhere")
        upwards = await carols.post(f"/api/identity/members/{root}/sign-out-everywhere")
        done = await carols.post(f"/api/identity/members/{bob['user_id']}/sign-out-everywhere")

        assert problem(by_bob) == (403, "missing_permission") and problem(upwards) == (403, "cannot_reset")
        assert done.json() == {"ended": 1}
        assert (await bobs.get("/api/identity/me")).status_code == 401
