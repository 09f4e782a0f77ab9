"""Single sign-on with a real OpenID Connect provider in a process of its own, and everything that may be wrong with one."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import asyncpg
import httpx
import pyotp
import pytest

from nexus.entry.control_plane import ControlPlane
from nexus.identity.authentication import COOKIE
from nexus.identity.single_sign_on_routes import FLOW_COOKIE
from nexus.kit.clock import FixedClock
from tests.identity.openid_provider import CLIENT_ID, CLIENT_SECRET
from tests.identity.people import browser, problem, sign_in

PATH = "/api/identity/sign-in/providers"
ADMIN = "/api/identity/sign-in-providers"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "tests.identity.openid_provider", str(port)])
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            httpx.get(f"{url}/keys")
            break
        except httpx.TransportError:
            time.sleep(0.1)
    httpx.post(
        f"{url}/register", json={"redirect_uri": f"http://127.0.0.1:8420{PATH}/corp/callback"}
    ).raise_for_status()
    yield url
    process.terminate()
    process.wait(10)


@pytest.fixture(autouse=True)
def behaves(issuer: str) -> Iterator[None]:
    yield
    httpx.post(f"{issuer}/misbehave", json={"fault": ""})


@pytest.fixture
def clock() -> FixedClock:
    # The provider's tokens carry the time of its own clock.
    return FixedClock(datetime.now(UTC))


async def configure(client: httpx.AsyncClient, issuer: str, **changed: Any) -> httpx.Response:
    await sign_in(client)
    organization = (await client.get("/api/identity/organization")).json()["id"]
    body = {
        "slug": "corp", "name": "Corp", "issuer": issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
        "allowed_domains": ["corp.example", "example.com"], "default_organization": organization,
        "default_role": "member", "allows_private_addresses": True,
    }  # fmt: skip
    return await client.post(ADMIN, json={k: v for k, v in (body | changed).items() if v is not None})


async def at_provider(url: str, person: str) -> str:
    """Sign in at the provider, as a person does; returns the path it sends the browser back to."""
    async with httpx.AsyncClient() as elsewhere:
        assert (await elsewhere.get(url)).status_code == 200
        back = await elsewhere.post(url, data={"person": person})
    assert back.status_code == 303, back.text
    parts = urlsplit(back.headers["location"])
    return f"{parts.path}?{parts.query}"


async def enter(client: httpx.AsyncClient, person: str, next_path: str = "/") -> httpx.Response:
    away = await client.get(f"{PATH}/corp/start", params={"next": next_path})
    assert away.status_code == 303, away.text
    return await client.get(await at_provider(away.headers["location"], person))


async def test_a_new_person_of_an_allowed_domain_gets_an_account_and_comes_back_to_where_they_were(
    client: httpx.AsyncClient, app: ControlPlane, issuer: str
) -> None:
    await configure(client, issuer)
    async with browser(app) as grace:
        choices = (await grace.get(PATH)).json()["items"]
        first = await enter(grace, "grace", "/calls?range=1h")
        me = (await grace.get("/api/identity/me")).json()
        again = await enter(grace, "grace")
        same = (await grace.get("/api/identity/me")).json()
        sessions = (await grace.get("/api/identity/sessions")).json()["items"]

    assert choices == [{"slug": "corp", "name": "Corp"}]
    assert (first.status_code, first.headers["location"]) == (303, "/calls?range=1h")
    assert (me["user"]["email"], me["user"]["is_email_verified"]) == ("grace@corp.example", True)
    assert (me["organization"]["slug"], me["organization"]["role"]) == ("default", "member")
    assert again.status_code == 303 and same["user"]["id"] == me["user"]["id"]
    assert sessions[0]["login_method"] == "single_sign_on" and sessions[0]["is_mfa_verified"] is False


async def test_claims_that_are_not_in_the_token_are_asked_for(
    client: httpx.AsyncClient, app: ControlPlane, issuer: str
) -> None:
    await configure(client, issuer)
    async with browser(app) as quiet:
        await enter(quiet, "quiet")

        assert (await quiet.get("/api/identity/me")).json()["user"]["email"] == "quiet@corp.example"


async def test_what_left_carries_state_nonce_and_pkce_and_a_fixed_way_back(
    client: httpx.AsyncClient, issuer: str
) -> None:
    await configure(client, issuer)
    answers = [
        await client.get(f"{PATH}/corp/start", headers={"host": host}) for host in ("testserver", "evil.example")
    ]
    asked = [parse_qs(urlsplit(item.headers["location"]).query) for item in answers]

    assert {item["redirect_uri"][0] for item in asked} == {f"http://127.0.0.1:8420{PATH}/corp/callback"}
    assert asked[0]["code_challenge_method"] == ["S256"] and asked[0]["response_type"] == ["code"]
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name] and len(asked[0][name][0]) >= 43
    cookie = answers[0].headers["set-cookie"].lower()
    assert FLOW_COOKIE in cookie and "httponly" in cookie and "samesite=lax" in cookie


@pytest.mark.parametrize(
    "person", ["unverified", "stranger", "takeover"], ids=["unverified address", "other domain", "existing account"]
)
async def test_who_is_not_let_in_gets_no_session(
    client: httpx.AsyncClient, app: ControlPlane, issuer: str, person: str
) -> None:
    await configure(client, issuer)
    async with browser(app) as somebody:
        answer = await enter(somebody, person)

        expected = "link_first" if person == "takeover" else "not_allowed_here"
        assert answer.headers["location"] == f"/sign-in?problem={expected}"
        assert COOKIE not in somebody.cookies


@pytest.mark.parametrize(
    "fault",
    ["nonce", "audience", "expired", "old", "token_issuer", "azp", "none", "hmac", "signature"],
)
async def test_a_token_that_does_not_hold_lets_nobody_in(
    client: httpx.AsyncClient, app: ControlPlane, issuer: str, fault: str
) -> None:
    await configure(client, issuer)
    httpx.post(f"{issuer}/misbehave", json={"fault": fault})
    async with browser(app) as somebody:
        answer = await enter(somebody, "grace")

        assert answer.headers["location"] == "/sign-in?problem=provider_failed"
        assert COOKIE not in somebody.cookies


async def test_userinfo_of_somebody_else_is_not_believed(
    client: httpx.AsyncClient, app: ControlPlane, issuer: str
) -> None:
    await configure(client, issuer)
    httpx.post(f"{issuer}/misbehave", json={"fault": "userinfo"})
    async with browser(app) as somebody:
        assert (await enter(somebody, "quiet")).headers["location"] == "/sign-in?problem=provider_failed"


async def test_a_provider_that_calls_itself_otherwise_is_not_asked(client: httpx.AsyncClient, issuer: str) -> None:
    await configure(client, issuer)
    httpx.post(f"{issuer}/misbehave", json={"fault": "issuer"})

    answer = await client.get(f"{PATH}/corp/start")

    assert answer.headers["location"] == "/sign-in?problem=provider_failed"


async def test_a_new_key_of_the_provider_is_fetched(client: httpx.AsyncClient, app: ControlPlane, issuer: str) -> None:
    await configure(client, issuer)
    async with browser(app) as grace:
        await enter(grace, "grace")
        httpx.post(f"{issuer}/rotate")

        assert (await enter(grace, "grace")).headers["location"] == "/"


async def test_a_flow_comes_back_once_in_time_and_to_its_own_browser(
    client: httpx.AsyncClient, app: ControlPlane, issuer: str, clock: FixedClock
) -> None:
    await configure(client, issuer)
    ended = "/sign-in?problem=flow_ended"
    async with browser(app) as grace, browser(app) as mallory:
        away = (await mallory.get(f"{PATH}/corp/start")).headers["location"]
        foreign = await grace.get(await at_provider(away, "strong"))
        away = (await grace.get(f"{PATH}/corp/start")).headers["location"]
        back = await at_provider(away, "grace")
        first = await grace.get(back)
        again = await grace.get(back)
        away = (await grace.get(f"{PATH}/corp/start")).headers["location"]
        back = await at_provider(away, "grace")
        clock.advance(timedelta(minutes=10))
        late = await grace.get(back)
        made_up = await grace.get(f"{PATH}/corp/callback?{urlencode({'code': 'x', 'state': 'y'})}")
        refused = await grace.get(f"{PATH}/corp/callback?error=access_denied&state=y")

    assert [item.headers["location"] for item in (foreign, again, late, made_up, refused)] == [ended] * 5
    assert first.headers["location"] == "/"


async def test_an_answer_of_another_issuer_is_refused(
    client: httpx.AsyncClient, app: ControlPlane, issuer: str
) -> None:
    await configure(client, issuer)
    async with browser(app) as grace:
        away = (await grace.get(f"{PATH}/corp/start")).headers["location"]
        back = (await at_provider(away, "grace")).replace("127.0.0.1", "evil.example")

        assert (await grace.get(back)).headers["location"] == "/sign-in?problem=flow_ended"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
        "/a\\b", "/a\r\nset-cookie: x=y", "evil", "", "/" + "a" * 500,
    ],
)  # fmt: skip
async def test_nobody_is_sent_to_another_site(client: httpx.AsyncClient, issuer: str, elsewhere: str) -> None:
    # Open redirect: `next` is a path of this site or refused.
    await configure(client, issuer)

    answer = await client.get(f"{PATH}/corp/start", params={"next": elsewhere})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "next")


async def test_another_site_cannot_begin_a_sign_in(client: httpx.AsyncClient, issuer: str) -> None:
    await configure(client, issuer)

    answer = await client.get(f"{PATH}/corp/start", headers={"sec-fetch-site": "cross-site"})

    assert problem(answer) == (403, "cross_site_request") and FLOW_COOKIE not in client.cookies


async def test_a_person_links_a_provider_and_enters_by_it_then(
    client: httpx.AsyncClient, app: ControlPlane, issuer: str, clock: FixedClock
) -> None:
    clock.advance(timedelta(minutes=-16))
    await configure(client, issuer)
    clock.advance(timedelta(minutes=16))
    stale = await client.post("/api/identity/me/linked-identities/corp/start")
    await sign_in(client)
    url = (await client.post("/api/identity/me/linked-identities/corp/start")).json()["url"]
    back = await at_provider(url, "takeover")
    async with browser(app) as thief:
        thief.cookies.set(FLOW_COOKIE, client.cookies[FLOW_COOKIE])
        stolen = await thief.get(back)
    url = (await client.post("/api/identity/me/linked-identities/corp/start")).json()["url"]
    linked = await client.get(await at_provider(url, "takeover"))
    listed = (await client.get("/api/identity/me/linked-identities")).json()["items"]
    async with browser(app) as elsewhere:
        entered = await enter(elsewhere, "takeover")
        me = (await elsewhere.get("/api/identity/me")).json()["user"]["email"]
    unlinked = await client.delete("/api/identity/me/linked-identities/corp")
    async with browser(app) as elsewhere:
        after = await enter(elsewhere, "takeover")

    assert problem(stale) == (403, "reauthentication_required")
    assert stolen.headers["location"] == "/sign-in?problem=flow_ended"
    assert linked.headers["location"] == "/settings" and listed[0]["slug"] == "corp"
    assert entered.headers["location"] == "/" and me == "ada@example.com"
    assert unlinked.status_code == 204 and after.headers["location"] == "/sign-in?problem=link_first"


async def test_the_last_way_in_is_not_taken_away(client: httpx.AsyncClient, app: ControlPlane, issuer: str) -> None:
    await configure(client, issuer)
    async with browser(app) as grace:
        await enter(grace, "grace")

        assert problem(await grace.delete("/api/identity/me/linked-identities/corp")) == (409, "last_way_in")


async def test_a_second_factor_here_is_asked_for_unless_the_provider_had_one(
    client: httpx.AsyncClient, app: ControlPlane, issuer: str, clock: FixedClock
) -> None:
    await configure(client, issuer)
    for person in ("grace", "strong"):
        async with browser(app) as theirs:
            await enter(theirs, person)
            secret = (await theirs.post("/api/identity/me/second-factor")).json()["secret"]
            given = {"code": pyotp.TOTP(secret).at(clock.now())}
            assert (await theirs.post("/api/identity/me/second-factor/confirm", json=given)).status_code == 200
        async with browser(app) as elsewhere:
            answer = await enter(elsewhere, person, "/calls")
            if person == "strong":
                assert answer.headers["location"] == "/calls"
                continue
            location, _, challenge = answer.headers["location"].partition("#challenge=")
            assert location == "/sign-in?next=/calls" and COOKIE not in elsewhere.cookies
            code = pyotp.TOTP(secret).at(clock.now() + timedelta(seconds=30))
            done = await elsewhere.post(
                "/api/identity/sign-in/second-factor", json={"challenge": challenge, "code": code}
            )
            assert done.status_code == 200
            assert (await elsewhere.get("/api/identity/sessions")).json()["items"][0][
                "login_method"
            ] == "single_sign_on"


async def test_an_inactive_provider_lets_nobody_in(client: httpx.AsyncClient, app: ControlPlane, issuer: str) -> None:
    made = (await configure(client, issuer)).json()
    async with browser(app) as grace:
        away = (await grace.get(f"{PATH}/corp/start")).headers["location"]
        await client.patch(f"{ADMIN}/{made['id']}", json={"is_active": False})

        begun_before = await grace.get(await at_provider(away, "grace"))
        begun_after = await grace.get(f"{PATH}/corp/start")

        assert begun_before.headers["location"] == "/sign-in?problem=flow_ended"
        assert begun_after.headers["location"] == "/sign-in?problem=flow_ended"
        assert (await grace.get(PATH)).json()["items"] == []
        assert problem(await grace.get(f"{PATH}/nothing/start")) == (404, "unknown_provider")
    assert (await client.delete(f"{ADMIN}/{made['id']}")).status_code == 204


@pytest.mark.parametrize(
    "address",
    ["http://corp.example", "ftp://corp.example", "https://", "https://user@corp.example", "https://corp.example/#x"],
)
async def test_an_issuer_is_reached_by_https(client: httpx.AsyncClient, issuer: str, address: str) -> None:
    assert (await configure(client, address)).status_code == 422


@pytest.mark.parametrize(
    "address",
    ["https://169.254.169.254", "https://127.0.0.1:1", "https://[::1]", "https://localhost", "https://2130706433"],
)
async def test_a_provider_at_a_private_address_is_not_asked(
    client: httpx.AsyncClient, issuer: str, address: str
) -> None:
    await configure(client, address, allows_private_addresses=False)

    answer = await client.get(f"{PATH}/corp/start")

    assert answer.headers["location"] == "/sign-in?problem=provider_failed"


async def test_the_client_s_secret_is_shown_and_stored_nowhere(
    client: httpx.AsyncClient, issuer: str, admin_connection: asyncpg.Connection
) -> None:
    made = await configure(client, issuer)
    listed = await client.get(ADMIN)

    assert made.status_code == 201 and made.json()["has_client_secret"] is True
    assert CLIENT_SECRET not in made.text + listed.text
    for table in ("identity.sign_in_providers", "platform.audit_log"):
        text = await admin_connection.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} AS t")
        assert CLIENT_SECRET not in text and CLIENT_SECRET.encode().hex() not in text
