"""The second factor: enrolled with a fresh proof, asked for at sign-in, each code taken once, guesses counted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pyotp
import pytest

from nexus.entry.control_plane import ControlPlane
from nexus.identity.second_factor import step_of_code
from nexus.kit.clock import FixedClock
from tests.identity.people import NOW, PASSWORD, browser, problem, sign_in

PATH = "/api/identity/me/second-factor"


def code(secret: str, clock: FixedClock) -> str:
    return pyotp.TOTP(secret).at(clock.now())


async def enrol(client: httpx.AsyncClient, clock: FixedClock) -> tuple[str, list[str]]:
    """Enrol the administrator; returns the secret and the recovery codes."""
    await sign_in(client)
    secret = (await client.post(PATH)).json()["secret"]
    confirmed = await client.post(f"{PATH}/confirm", json={"code": code(secret, clock)})
    assert confirmed.status_code == 200, confirmed.text
    clock.advance(timedelta(seconds=30))
    return secret, confirmed.json()["recovery_codes"]


async def second_step(client: httpx.AsyncClient, given: str, **changed: Any) -> httpx.Response:
    challenge = (await sign_in(client)).json()["challenge"]
    return await client.post(
        "/api/identity/sign-in/second-factor", json={"challenge": challenge, "code": given} | changed
    )


async def test_enrolment_gives_what_an_app_needs(client: httpx.AsyncClient, clock: FixedClock) -> None:
    await sign_in(client)

    made = (await client.post(PATH)).json()
    pending = (await client.get(PATH)).json()
    wrong = await client.post(f"{PATH}/confirm", json={"code": "000000"})
    confirmed = await client.post(f"{PATH}/confirm", json={"code": code(made["secret"], clock)})

    uri = urlsplit(made["otpauth_uri"])
    assert (uri.scheme, uri.netloc, parse_qs(uri.query)["secret"]) == ("otpauth", "totp", [made["secret"]])
    assert len(made["secret"]) == 32 and parse_qs(uri.query)["issuer"] == ["Nexus"]
    assert pending == {"is_enrolled": False, "confirmed_at": None, "recovery_codes_left": 0}
    assert wrong.status_code == 422 and wrong.json()["errors"][0]["field"] == "code"
    assert len(set(confirmed.json()["recovery_codes"])) == 10
    assert (await client.get(PATH)).json()["is_enrolled"] is True
    assert problem(await client.post(PATH)) == (409, "already_enrolled")


async def test_a_pending_factor_changes_nothing_at_sign_in(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    await client.post(PATH)

    assert (await sign_in(client)).status_code == 200


async def test_sign_in_has_two_steps_then(client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock) -> None:
    secret, _ = await enrol(client, clock)
    async with browser(app) as other:
        first = await sign_in(other)
        before = await other.get("/api/identity/me")
        entered = await second_step(other, code(secret, clock))
        sessions = (await other.get("/api/identity/sessions")).json()["items"]

    assert first.status_code == 202 and set(first.json()) == {"challenge", "expires_at", "methods"}
    assert "nexus_session" not in first.headers.get("set-cookie", "") and before.status_code == 401
    assert entered.status_code == 200 and entered.json()["user"]["email"] == "ada@example.com"
    assert sessions[0]["is_mfa_verified"] is True and sessions[0]["is_current"] is True


async def test_enrolling_ends_the_sessions_that_were_opened_without_it(
    client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock
) -> None:
    async with browser(app) as other:
        await sign_in(other)
        await enrol(client, clock)

        assert (await other.get("/api/identity/me")).status_code == 401
    assert (await client.get("/api/identity/me")).status_code == 200


async def test_a_code_is_never_accepted_twice(client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock) -> None:
    secret, _ = await enrol(client, clock)
    given = code(secret, clock)
    async with browser(app) as other:
        first = await second_step(other, given)
        again = await second_step(other, given)
        older = await second_step(other, pyotp.TOTP(secret).at(clock.now() - timedelta(seconds=30)))

    assert first.status_code == 200
    assert problem(again) == problem(older) == (401, "wrong_code")


async def test_of_many_answers_at_once_with_one_code_one_is_taken(
    client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock
) -> None:
    secret, _ = await enrol(client, clock)
    given = code(secret, clock)

    async def attempt(address: str) -> int:
        async with browser(app, address) as other:
            return (await second_step(other, given)).status_code

    codes = await asyncio.gather(*(attempt(f"192.0.2.{n + 10}") for n in range(5)))

    assert min(codes) == 200 and codes.count(200) == 1


async def test_a_challenge_is_answered_once_and_ends(client: httpx.AsyncClient, clock: FixedClock) -> None:
    secret, _ = await enrol(client, clock)
    challenge = (await sign_in(client)).json()["challenge"]
    body = {"challenge": challenge, "code": code(secret, clock)}

    first = await client.post("/api/identity/sign-in/second-factor", json=body)
    clock.advance(timedelta(seconds=30))
    again = await client.post("/api/identity/sign-in/second-factor", json=body | {"code": code(secret, clock)})
    late = (await sign_in(client)).json()["challenge"]
    clock.advance(timedelta(minutes=5))
    too_late = await client.post(
        "/api/identity/sign-in/second-factor", json={"challenge": late, "code": code(secret, clock)}
    )

    assert first.status_code == 200
    assert problem(again) == problem(too_late) == (401, "challenge_ended")


async def test_another_password_ends_a_sign_in_that_is_half_done(
    client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock
) -> None:
    secret, _ = await enrol(client, clock)
    async with browser(app) as thief:
        challenge = (await sign_in(thief)).json()["challenge"]
        await client.post(
            "/api/identity/me/password", json={"current_password": PASSWORD, "new_password": "another fine phrase"}
        )
        answer = await thief.post(
            "/api/identity/sign-in/second-factor", json={"challenge": challenge, "code": code(secret, clock)}
        )

    assert problem(answer) == (401, "challenge_ended")


async def test_a_recovery_code_is_taken_once(client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock) -> None:
    _, codes = await enrol(client, clock)
    async with browser(app) as other:
        first = await second_step(other, f" {codes[0].lower()} ")
        left = (await other.get(PATH)).json()["recovery_codes_left"]
        again = await second_step(other, codes[0])

    assert first.status_code == 200 and left == 9
    assert problem(again) == (401, "wrong_code")


async def test_new_recovery_codes_replace_the_old(
    client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock
) -> None:
    _, old = await enrol(client, clock)
    new = (await client.post(f"{PATH}/recovery-codes")).json()["recovery_codes"]
    async with browser(app) as other:
        refused = await second_step(other, old[0])
        taken = await second_step(other, new[0])

    assert (refused.status_code, taken.status_code) == (401, 200)


async def test_guesses_of_the_code_add_up_over_addresses_and_challenges(
    client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock
) -> None:
    secret, _ = await enrol(client, clock)
    outcomes = []
    for n in range(6):
        async with browser(app, f"198.51.100.{n + 1}") as attacker:
            outcomes.append((await second_step(attacker, "000000")).status_code)
    async with browser(app, "198.51.100.200") as stranger:
        right_but_locked = await second_step(stranger, code(secret, clock))
    owner = await second_step(client, code(secret, clock))

    assert outcomes == [401, 401, 401, 401, 429, 429]
    assert right_but_locked.status_code == 429
    assert owner.status_code == 200, "the owner's browser is known: strangers' failures do not lock it out"


async def test_taking_it_away_needs_a_fresh_proof_with_a_code(client: httpx.AsyncClient, clock: FixedClock) -> None:
    secret, _ = await enrol(client, clock)
    clock.advance(timedelta(minutes=16))

    stale = await client.delete(PATH)
    without = await client.post("/api/identity/me/confirm", json={"password": PASSWORD})
    wrong = await client.post("/api/identity/me/confirm", json={"password": PASSWORD, "code": "000000"})
    proof = await client.post("/api/identity/me/confirm", json={"password": PASSWORD, "code": code(secret, clock)})
    gone = await client.delete(PATH)

    assert problem(stale) == (403, "reauthentication_required")
    assert without.json()["errors"][0]["field"] == wrong.json()["errors"][0]["field"] == "code"
    assert (proof.status_code, gone.status_code) == (200, 204)
    assert (await sign_in(client)).status_code == 200


async def test_secrets_and_codes_are_stored_unreadable(
    client: httpx.AsyncClient, clock: FixedClock, admin_connection: asyncpg.Connection
) -> None:
    secret, codes = await enrol(client, clock)

    for table in ("identity.second_factors", "identity.recovery_codes", "platform.audit_log", "identity.security_log"):
        text = await admin_connection.fetchval(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} AS t")
        assert secret not in text and secret.encode().hex() not in text
        assert all(item not in text and item.replace("-", "") not in text for item in codes)


@pytest.mark.parametrize(("offset", "taken"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_phone_s_clock_may_be_one_step_off(offset: int, taken: bool) -> None:
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    shown = pyotp.TOTP(secret).at(NOW + timedelta(seconds=offset))

    assert (step_of_code(secret, shown, NOW) is not None) is taken


@pytest.mark.parametrize("given", ["", "12345", "１２３４５６", "123456\x00", "x" * 65])
async def test_what_is_no_code_is_refused(client: httpx.AsyncClient, clock: FixedClock, given: str) -> None:
    await enrol(client, clock)

    assert (await second_step(client, given)).status_code in {401, 422}
