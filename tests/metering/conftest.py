"""The meter's API over a real database, with keys of several permissions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from nexus.entry.control_plane import ControlPlane
from nexus.identity import access_keys
from nexus.kit.clock import FixedClock
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.conftest import TestOrganization

NOW = datetime(2026, 4, 3, 12, tzinfo=UTC)


async def make_key(database: Database, organization_id: UUID, scopes: list[str]) -> str:
    """Make an access key; returns its text."""
    async with database.as_system() as connection:
        made = await access_keys.create(connection, organization_id, name="test", scopes=scopes, at=NOW)
    return made.key


@dataclass
class Api:
    """A client that sends one key."""

    http: httpx.AsyncClient
    key: str

    async def get(self, path: str, headers: dict[str, str] | None = None, **parameters: Any) -> httpx.Response:
        named = {name.rstrip("_").replace("__", ":"): value for name, value in parameters.items()}
        return await self.http.get(
            f"/api/metering/{path}", params=named, headers={"authorization": f"Bearer {self.key}", **(headers or {})}
        )

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return await self.http.post(f"/api/metering/{path}", json=body, headers={"authorization": f"Bearer {self.key}"})


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = ControlPlane(WebState(database, Settings.from_environment({}), FixedClock(NOW)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


@pytest.fixture
async def api(database: Database, http: httpx.AsyncClient, organization: TestOrganization) -> Api:
    return Api(http, await make_key(database, organization.id, ["*"]))


@pytest.fixture
async def reader(database: Database, http: httpx.AsyncClient, organization: TestOrganization) -> Api:
    return Api(http, await make_key(database, organization.id, ["metrics:read"]))
