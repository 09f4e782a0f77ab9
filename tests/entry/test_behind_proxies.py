"""Behind reverse proxies: the client's address and scheme reach whatever is written down or decided by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from nexus.entry.api import Application
from nexus.platform.db import Database
from tests.application import ADMIN, ORIGIN, PASSWORD, first_start, running, settings_of

PROXY, CLIENT, OTHER = "10.0.0.1", "198.51.100.1", "203.0.113.7"


def browser(application: Application, peer: str, said: str, scheme: str = "https") -> httpx.AsyncClient:
    """A browser whose requests come from a peer that says whom it was called by."""
    transport = httpx.ASGITransport(application, client=(peer, 40_000))  # type: ignore[arg-type]
    headers = {"x-forwarded-for": said, "x-forwarded-proto": scheme, "forwarded": f"for={OTHER};proto=https"}
    return httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)


async def sign_in(client: httpx.AsyncClient, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/identity/sign-in", json={"email": ADMIN, "password": password})


async def seen(client: httpx.AsyncClient) -> tuple[Any, set[Any]]:
    """Return the address of the browser's session, and those of what it changed in the audit log."""
    [session] = [item for item in (await client.get("/api/identity/sessions")).json()["items"] if item["is_current"]]
    made = await client.post("/api/admission/clusters", json={"name": "a"})
    assert made.status_code == 201, made.text
    log = await client.get("/api/governance/audit-log", params={"row_id": made.json()["id"]})
    return session["ip_address"], {item["ip_address"] for item in log.json()["items"]}


async def test_a_trusted_proxy_is_believed_in_sessions_audit_log_and_cookies(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    settings = settings_of(database.urls, redis_url, tmp_path, trusted_proxies="10.0.0.0/8")
    await first_start(settings)
    async with running(settings) as application, browser(application, PROXY, f"{OTHER}, {CLIENT}, 10.0.0.2") as client:
        signed = await sign_in(client)
        # The client of the tests keeps a secure cookie to itself on http, as browsers do.
        cookie = signed.headers["set-cookie"].partition(";")[0]
        assert "secure" in signed.headers["set-cookie"].lower()
        client.headers["cookie"] = cookie

        assert await seen(client) == (CLIENT, {CLIENT})


async def test_nobody_elses_headers_are_believed(database: Database, redis_url: str, tmp_path: Path) -> None:
    settings = settings_of(database.urls, redis_url, tmp_path, trusted_proxies="10.0.0.0/8")
    await first_start(settings)
    async with running(settings) as application, browser(application, "192.0.2.9", CLIENT) as client:
        signed = await sign_in(client)
        assert "secure" not in signed.headers["set-cookie"].lower()

        assert await seen(client) == ("192.0.2.9", {"192.0.2.9"})


async def test_guesses_through_a_proxy_lock_out_the_guesser_alone_and_a_forged_header_is_no_way_around(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    settings = settings_of(database.urls, redis_url, tmp_path, trusted_proxies="10.0.0.0/8")
    await first_start(settings)
    async with running(settings) as application:
        statuses = []
        for number in range(6):
            # Another address each time, in what the client itself sends; the proxy appends the real one.
            async with browser(application, PROXY, f"192.0.2.{number}, {OTHER}") as guesser:
                statuses.append((await sign_in(guesser, "wrong")).status_code)
        async with browser(application, PROXY, CLIENT) as owner:
            signed = await sign_in(owner)

    assert statuses == [401, 401, 401, 401, 429, 429]
    assert signed.status_code == 200
