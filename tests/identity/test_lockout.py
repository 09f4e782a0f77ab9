"""Guessing is slowed down, nobody can lock somebody else out for good, and the answer tells nothing about accounts."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import httpx
import pytest

from nexus.entry.control_plane import ControlPlane
from nexus.identity import lockout, passwords
from nexus.kit.clock import FixedClock
from tests.identity.people import PASSWORD, browser, member, problem, sign_in


async def exhaust(app: ControlPlane, address: str, email: str = "ada@example.com", times: int = 6) -> list[int]:
    async with browser(app, address) as attacker:
        return [(await sign_in(attacker, email, f"guess {n}")).status_code for n in range(times)]


async def test_an_attacker_locks_only_their_own_address(client: httpx.AsyncClient, app: ControlPlane) -> None:
    guesses = await exhaust(app, "198.51.100.7")
    async with browser(app, "198.51.100.7") as attacker:
        right_but_locked = await sign_in(attacker)

    owner = await sign_in(client)

    assert guesses == [401, 401, 401, 401, 429, 429]
    assert problem(right_but_locked) == (429, "account_locked")
    assert owner.status_code == 200


async def test_addresses_of_one_ipv6_network_share_a_lane(app: ControlPlane, client: httpx.AsyncClient) -> None:
    await exhaust(app, "2001:db8:1:1::1", times=4)

    assert await exhaust(app, "2001:db8:1:1:ffff::2", times=1) == [429]
    assert await exhaust(app, "2001:db8:1:2::1", times=1) == [401]


async def test_guesses_from_very_many_addresses_close_the_account_to_strangers_but_not_to_a_known_browser(
    client: httpx.AsyncClient, app: ControlPlane, clock: FixedClock
) -> None:
    await sign_in(client)
    await client.post("/api/identity/sign-out")
    allowed = 5 * lockout.WIDE_FACTOR

    codes = [code for n in range(allowed // 4) for code in await exhaust(app, f"203.0.113.{n + 1}", times=4)]
    async with browser(app, "192.0.2.99") as stranger:
        from_elsewhere = await sign_in(stranger)
    at_home = await sign_in(client)
    clock.advance(timedelta(minutes=15, seconds=1))
    async with browser(app, "192.0.2.99") as stranger:
        later = await sign_in(stranger)

    assert codes == [401] * (allowed - 1) + [429]
    assert problem(from_elsewhere) == (429, "account_locked")
    assert at_home.status_code == 200
    assert later.status_code == 200


async def test_one_address_alone_cannot_close_the_account_to_others(
    app: ControlPlane, client: httpx.AsyncClient
) -> None:
    await exhaust(app, "198.51.100.7", times=5 * lockout.WIDE_FACTOR + 10)

    async with browser(app, "192.0.2.99") as stranger:
        assert (await sign_in(stranger)).status_code == 200


async def test_a_known_browser_is_slowed_down_too(client: httpx.AsyncClient) -> None:
    await sign_in(client)
    await client.post("/api/identity/sign-out")

    codes = [(await sign_in(client, password=f"guess {n}")).status_code for n in range(5)]

    assert codes == [401, 401, 401, 401, 429]
    assert (await sign_in(client)).status_code == 429


async def test_a_device_cookie_of_one_person_is_worth_nothing_for_another(
    client: httpx.AsyncClient, app: ControlPlane
) -> None:
    await member(client, "mallory@example.com", "viewer")
    async with browser(app, "198.51.100.7") as mallory:
        await sign_in(mallory, "mallory@example.com")
        codes = [(await sign_in(mallory, password=f"guess {n}")).status_code for n in range(5)]
        own = await sign_in(mallory, "mallory@example.com")

    assert codes[-1] == 429 and own.status_code == 200
    assert (await sign_in(client)).status_code == 200


async def test_a_password_that_is_right_in_between_begins_the_count_anew(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        assert [(await sign_in(client, password="wrong")).status_code for _ in range(4)] == [401] * 4
        assert (await sign_in(client)).status_code == 200


async def test_accounts_that_do_not_exist_answer_and_lock_like_those_that_do(
    app: ControlPlane, client: httpx.AsyncClient, admin_connection: asyncpg.Connection
) -> None:
    await member(client, "gone@example.com", "viewer")
    await admin_connection.execute("UPDATE identity.users SET is_active = false WHERE email = 'gone@example.com'")
    answers: dict[str, list[tuple[int, dict[str, object], list[str]]]] = {}
    for index, email in enumerate(("ada@example.com", "nobody@example.com", "gone@example.com")):
        async with browser(app, f"198.51.100.{index + 1}") as attacker:
            given = [await sign_in(attacker, email, "a wrong password") for _ in range(6)]
        answers[email] = [
            (item.status_code, {k: v for k, v in item.json().items() if k != "request_id"}, sorted(item.headers))
            for item in given
        ]

    assert answers["nobody@example.com"] == answers["ada@example.com"] == answers["gone@example.com"]


async def test_the_same_work_is_done_whoever_is_unknown(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Counted, not timed: one hash is verified for each attempt, whether or not there is such an account.
    verified: list[bool] = []
    verify = passwords._verify

    def counted(stored: str | None, password: str) -> bool:
        verified.append(stored is not None)
        return verify(stored, password)

    monkeypatch.setattr(passwords, "_verify", counted)
    await sign_in(client, "ada@example.com", "wrong")
    await sign_in(client, "nobody@example.com", "wrong")

    assert verified == [True, False]


async def test_another_password_lifts_the_locks(client: httpx.AsyncClient, app: ControlPlane) -> None:
    await sign_in(client)
    await exhaust(app, "198.51.100.7")

    await client.post("/api/identity/me/password", json={"current_password": PASSWORD, "new_password": "a new phrase!"})

    async with browser(app, "198.51.100.7") as anywhere:
        assert (await sign_in(anywhere, password="a new phrase!")).status_code == 200


async def test_a_failed_attempt_is_in_the_security_log_without_the_password(
    client: httpx.AsyncClient, admin_connection: asyncpg.Connection
) -> None:
    await sign_in(client, password="my secret guess")

    row = await admin_connection.fetchrow("SELECT * FROM identity.security_log ORDER BY id DESC LIMIT 1")

    assert (row["event_type"], row["severity"]) == ("sign_in_failed", "MEDIUM")
    assert "guess" not in str(dict(row))
