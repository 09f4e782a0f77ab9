"""What tests of identity do again and again: sign in, make a member, come from another address."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx

from nexus.entry.control_plane import ControlPlane

PASSWORD = "correct horse battery"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def browser(app: ControlPlane, address: str = "192.0.2.1") -> httpx.AsyncClient:
    """Another browser, with no cookies yet, at another address."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 40_000))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://testserver")


async def sign_in(client: httpx.AsyncClient, email: str = "ada@example.com", password: str = PASSWORD) -> Any:
    return await client.post("/api/identity/sign-in", json={"email": email, "password": password})


async def member(client: httpx.AsyncClient, email: str, role: str) -> dict[str, Any]:
    """Make a member of the administrator's organization; the client is the administrator's afterwards."""
    await sign_in(client)
    made = await client.post("/api/identity/users", json={"email": email, "password": PASSWORD, "role": role})
    assert made.status_code == 201, made.text
    result: dict[str, Any] = made.json()
    return result


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and the name of a problem."""
    return answer.status_code, answer.json()["type"].removeprefix("urn:nexus:problem:")
