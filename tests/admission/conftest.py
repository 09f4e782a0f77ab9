"""Admission's API over a real database and Redis, with a key that may do everything in its organization."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis.asyncio

from nexus.admission.view_routes import LimitsInForce
from nexus.dataplane.decide.tables import LimitSnapshots
from nexus.entry.control_plane import ControlPlane
from nexus.identity import access_keys
from nexus.kit.clock import FixedClock
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.conftest import TestOrganization


async def make_key(database: Database, organization_id: UUID, *scopes: str, **more: Any) -> str:
    """Make an access key; returns its text."""
    async with database.as_system() as connection:
        made = await access_keys.create(
            connection, organization_id, name="test", scopes=list(scopes), at=datetime.now(UTC), **more
        )
    return made.key


@dataclass
class Api:
    """A client that sends one key, and the limits as a process has them."""

    http: httpx.AsyncClient
    key: str
    limits: LimitSnapshots
    clock: FixedClock
    redis: redis.asyncio.Redis

    async def get(self, path: str, **parameters: Any) -> httpx.Response:
        return await self.http.get(
            f"/api/admission/{path}", params=parameters, headers={"authorization": f"Bearer {self.key}"}
        )

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return await self.http.post(
            f"/api/admission/{path}", json=body, headers={"authorization": f"Bearer {self.key}"}
        )

    async def patch(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return await self.http.patch(
            f"/api/admission/{path}", json=body, headers={"authorization": f"Bearer {self.key}"}
        )


@asynccontextmanager
async def opened(database: Database, organization: TestOrganization, redis_url: str) -> AsyncIterator[Api]:
    """Give the API as the organization's key sees it."""
    clock = FixedClock(datetime.now(UTC))
    client = redis.asyncio.Redis.from_url(redis_url)
    limits = LimitSnapshots(database, clock=clock)
    state = WebState(database, Settings.from_environment({}), clock, redis=client)
    state.put(LimitsInForce(lambda: limits.table))
    app = ControlPlane(state)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
        yield Api(http, await make_key(database, organization.id, "*"), limits, clock, client)
    await client.aclose()


@pytest.fixture
async def api(database: Database, organization: TestOrganization, redis_url: str) -> AsyncIterator[Api]:
    """The API as the organization's key sees it."""
    async with opened(database, organization, redis_url) as made:
        yield made
