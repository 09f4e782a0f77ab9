"""Sign-in sessions: which there are, how they end, when a proof of who one is must be fresh, and what people prefer."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import httpx
import pytest

from nexus.entry.control_plane import ControlPlane
from nexus.identity.authentication import COOKIE
from nexus.kit.clock import FixedClock
from tests.identity.people import PASSWORD, browser, member, problem, sign_in


async def test_the_list_says_which_session_is_this_one(client: httpx.AsyncClient, app: ControlPlane) -> None:
    await sign_in(client)
    async with browser(app) as other:
        await sign_in(other)

        items = (await other.get("/api/identity/sessions")).json()["items"]

    assert [item["is_current"] for item in items] == [True, False]
    assert items[0]["ip_address"] == "192.0.2.1" and "token" not in str(items)


async def test_a_session_is_ended_from_another_one(client: httpx.AsyncClient, app: ControlPlane) -> None:
    await sign_in(client)
    async with browser(app) as other:
        await sign_in(other)
        victim = (await other.get("/api/identity/sessions")).json()["items"][1]["id"]

        ended = await other.delete(f"/api/identity/sessions/{victim}")

    assert ended.status_code == 204
    assert (await client.get("/api/identity/me")).status_code == 401


async def test_nobody_ends_another_person_s_session(client: httpx.AsyncClient, app: ControlPlane) -> None:
    await member(client, "bob@example.com", "viewer")
    mine = (await client.get("/api/identity/sessions")).json()["items"][0]["id"]
    async with browser(app) as bob:
        await sign_in(bob, "bob@example.com")

        answer = await bob.delete(f"/api/identity/sessions/{mine}")

    assert answer.status_code == 404
    assert (await client.get("/api/identity/me")).status_code == 200


@pytest.mark.parametrize("keep", [True, False])
async def test_sign_out_everywhere_may_keep_this_session(
    client: httpx.AsyncClient, app: ControlPlane, keep: bool
) -> None:
    await sign_in(client)
    async with browser(app) as other:
        await sign_in(other)

        ended = await other.post("/api/identity/sessions/sign-out-everywhere", json={"keep_current": keep})
        here = await other.get("/api/identity/me")

    assert ended.json() == {"ended": 1 if keep else 2}
    assert here.status_code == (200 if keep else 401)
    assert (await client.get("/api/identity/me")).status_code == 401


async def test_sensitive_changes_need_a_fresh_proof(client: httpx.AsyncClient, clock: FixedClock) -> None:
    await sign_in(client)
    clock.advance(timedelta(minutes=15, seconds=1))

    refused = await client.post("/api/identity/sessions/sign-out-everywhere")
    wrong = await client.post("/api/identity/me/confirm", json={"password": "wrong"})
    confirmed = await client.post("/api/identity/me/confirm", json={"password": PASSWORD})
    done = await client.post("/api/identity/sessions/sign-out-everywhere")

    assert problem(refused) == (403, "reauthentication_required")
    assert wrong.status_code == 422 and wrong.json()["errors"][0]["field"] == "password"
    assert confirmed.json() == {"until": "2026-03-01T12:30:01Z"}
    assert done.status_code == 200


async def test_a_proof_gives_the_session_a_new_token(client: httpx.AsyncClient, app: ControlPlane) -> None:
    await sign_in(client)
    old = client.cookies[COOKIE]
    await client.post("/api/identity/me/confirm", json={"password": PASSWORD})

    async with browser(app) as thief:
        thief.cookies.set(COOKIE, old)
        stolen = await thief.get("/api/identity/me")

    assert client.cookies[COOKIE] != old
    assert problem(stolen) == (401, "session_ended")
    assert (await client.get("/api/identity/me")).status_code == 200


async def test_an_open_session_is_no_place_to_guess_the_password(client: httpx.AsyncClient) -> None:
    await sign_in(client)

    wrong = [
        (await client.post("/api/identity/me/confirm", json={"password": f"guess {n}"})).status_code for n in range(5)
    ]
    right = await client.post("/api/identity/me/confirm", json={"password": PASSWORD})

    assert wrong == [422, 422, 422, 422, 429]
    assert problem(right) == (429, "account_locked")


async def test_a_session_that_lies_idle_ends(client: httpx.AsyncClient, clock: FixedClock) -> None:
    await sign_in(client)
    clock.advance(timedelta(hours=11))
    used = await client.get("/api/identity/me")
    clock.advance(timedelta(hours=12, seconds=1))

    assert used.status_code == 200
    assert problem(await client.get("/api/identity/me")) == (401, "session_ended")


async def test_a_planted_session_is_not_the_one_signed_in_to(client: httpx.AsyncClient, app: ControlPlane) -> None:
    # Session fixation: the attacker's own session, or a made-up one, is in the victim's browser before sign-in.
    await member(client, "mallory@example.com", "viewer")
    async with browser(app) as mallory, browser(app) as victim:
        await sign_in(mallory, "mallory@example.com")
        planted = mallory.cookies[COOKIE]
        victim.cookies.set(COOKIE, planted)

        answer = await sign_in(victim)
        given = answer.headers["set-cookie"].split(f"{COOKIE}=")[1].split(";")[0]

        assert given != planted
        assert (await mallory.get("/api/identity/me")).status_code == 401


async def test_the_password_changes_and_other_sessions_and_the_old_token_end(
    client: httpx.AsyncClient, app: ControlPlane
) -> None:
    await sign_in(client)
    old = client.cookies[COOKIE]

    changed = await client.post(
        "/api/identity/me/password", json={"current_password": PASSWORD, "new_password": "another fine phrase"}
    )

    assert changed.status_code == 200 and client.cookies[COOKIE] != old
    async with browser(app) as thief:
        thief.cookies.set(COOKIE, old)
        assert (await thief.get("/api/identity/me")).status_code == 401


async def test_preferences_are_checked_merged_and_taken_back(client: httpx.AsyncClient) -> None:
    await sign_in(client)

    first = await client.patch(
        "/api/identity/me",
        json={"timezone": "Asia/Tokyo", "locale": "ja", "preferences": {"theme": "dark", "currency": "JPY"}},
    )
    second = await client.patch("/api/identity/me", json={"preferences": {"currency": None, "region": "ap"}})

    assert first.status_code == 200 and first.json()["timezone"] == "Asia/Tokyo"
    assert first.json()["preferences"] == {"theme": "dark", "currency": "JPY"}
    assert second.json()["preferences"] == {"theme": "dark", "region": "ap"}


@pytest.mark.parametrize(
    ("preferences", "field"),
    [
        ({"theme": "pink"}, "preferences.theme"),
        ({"unheard_of": 1}, "preferences.unheard_of"),
        ({"currency": "euro"}, "preferences.currency"),
        ({"default_organization": "globex"}, "preferences.default_organization"),
        ({"display": {"x": "a\x00b"}}, "preferences.display"),
    ],
)
async def test_a_faulty_preference_is_named(client: httpx.AsyncClient, preferences: object, field: str) -> None:
    await sign_in(client)

    answer = await client.patch("/api/identity/me", json={"preferences": preferences})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(field)


async def test_a_person_enters_the_organization_they_prefer(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    await client.post("/api/identity/organizations", json={"name": "Globex", "slug": "globex"})
    before = (await client.get("/api/identity/me")).json()["organization"]["slug"]

    await client.patch("/api/identity/me", json={"preferences": {"default_organization": "globex"}})
    entered = await sign_in(client)

    assert before == "default"
    assert entered.json()["organization"]["slug"] == "globex"
    assert (await client.get("/api/identity/me")).json()["organization"]["slug"] == "globex"


async def test_no_token_is_stored_as_it_is(client: httpx.AsyncClient, admin_connection: asyncpg.Connection) -> None:
    await sign_in(client)
    tokens = [client.cookies[COOKIE], client.cookies["nexus_device"]]

    for table in ("sessions", "known_devices", "sign_in_attempts", "security_log"):
        text = await admin_connection.fetchval(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM identity.{table} t")
        assert all(token not in text for token in tokens), table
