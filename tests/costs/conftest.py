"""Costs' API over a real database and Redis, with a key that may do everything in its organization."""

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

from nexus.contracts.limits import Call
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.tables import LimitSnapshots
from nexus.entry.control_plane import ControlPlane
from nexus.kit.clock import FixedClock
from nexus.kit.money import NANOS
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.admission.conftest import make_key
from tests.conftest import TestOrganization
from tests.metering.records import record, store_batch

HOLD = 60.0
"""Seconds for which calls are held."""


@dataclass
class Api:
    """A client that sends one key, and the limits as a process has them."""

    http: httpx.AsyncClient
    key: str
    database: Database
    organization_id: UUID
    limits: LimitSnapshots
    clock: FixedClock
    redis: redis.asyncio.Redis

    async def get(self, path: str, **parameters: Any) -> httpx.Response:
        return await self._send("GET", path, params=parameters)

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return await self._send("POST", path, json=body)

    async def patch(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return await self._send("PATCH", path, json=body)

    async def make(self, name: str = "all", amount: str = "100", **more: Any) -> dict[str, Any]:
        """Make a budget; returns it."""
        answer = await self.post("budgets", {"name": name, "amount": amount, "reason": "first", **more})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def spend(self, *costs: int | None, at: datetime | None = None, **more: Any) -> None:
        """Store calls of such costs in nanos, as the writer does."""
        when = at or self.clock.now()
        await store_batch(
            self.database, self.organization_id, [record(when, cost_nanos=cost, **more) for cost in costs]
        )

    async def detail(self, budget: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        """Return what a budget's page shows."""
        answer = await self.get(f"budgets/{budget['id']}", **parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        path = path if path.startswith("/") else f"/api/costs/{path}"
        return await self.http.request(method, path, headers={"authorization": f"Bearer {self.key}"}, **more)


@asynccontextmanager
async def opened(
    database: Database, organization: TestOrganization, redis_url: str, clock: FixedClock
) -> AsyncIterator[Api]:
    """Give the API as the organization's key sees it."""
    client = redis.asyncio.Redis.from_url(redis_url)
    limits = LimitSnapshots(database, clock=clock)
    app = ControlPlane(WebState(database, Settings.from_environment({}), clock, redis=client))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
        key = await make_key(database, organization.id, "*")
        yield Api(http, key, database, organization.id, limits, clock, client)
    await client.aclose()


@pytest.fixture
async def api(database: Database, organization: TestOrganization, redis_url: str) -> AsyncIterator[Api]:
    """The API as the organization's key sees it, in the middle of a November."""
    clock = FixedClock(datetime(2026, 11, 12, 10, 30, tzinfo=UTC))
    async with opened(database, organization, redis_url, clock) as made:
        yield made


@pytest.fixture
async def engines(api: Api) -> AsyncIterator[list[Admission]]:
    """Two deciding processes of one installation. Budgets are windows of Redis's clock: the API's goes by the same."""
    now = datetime.now(UTC)
    api.clock.advance(now - api.clock.now())
    made = [
        Admission(
            api.redis, lambda: api.limits.table, restore=api.limits.history, spent=api.limits.spent, report_seconds=0.2,
            timeout_seconds=2.0,
        )
        for _ in range(2)
    ]  # fmt: skip
    yield made
    for engine in made:
        await engine.stop()


def call_of(api: Api, price: int = NANOS, **more: Any) -> Call:
    return Call(organization_id=api.organization_id, money=price, currency=more.pop("currency", "USD"), **more)


async def admitted(engine: Admission, call: Call, most: int = 50) -> int:
    """Ask until it is refused; returns how often it was not."""
    for number in range(most):
        if not (await engine.decide(call, hold_seconds=HOLD)).is_admitted:
            return number
    return most
