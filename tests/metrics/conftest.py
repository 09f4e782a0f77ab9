"""Points taken in as a node takes them, and the API that answers for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from nexus.entry.control_plane import ControlPlane
from nexus.identity import access_keys
from nexus.kit.clock import FixedClock
from nexus.metrics import jobs
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.conftest import TestOrganization
from tests.issues.conftest import Taker, make_ingest

NOW = datetime(2026, 4, 3, 12, tzinfo=UTC)


def point(name: str, kind: str, at: datetime, **fields: Any) -> dict[str, Any]:
    """A point of a series at a time."""
    return {"type": "metric", "name": name, "kind": kind, "timestamp": at.isoformat(), **fields}


async def fold(database: Database) -> int:
    """Count all that waits."""
    total = 0
    while moved := await jobs.fold(database):
        total += moved
    return total


@dataclass
class Api:
    """A client that sends one key."""

    http: httpx.AsyncClient
    key: str

    async def send(self, path: str = "", **parameters: Any) -> httpx.Response:
        """Ask, and return the answer. `from_` stands for `from`, `label__x` for `label.x`."""
        named = {name.rstrip("_").replace("label__", "label."): value for name, value in parameters.items()}
        headers = {"authorization": f"Bearer {self.key}"}
        return await self.http.get(f"/api/metrics{'/' if path else ''}{path}", params=named, headers=headers)

    async def __call__(self, path: str = "", **parameters: Any) -> Any:
        """Ask, and return the answer's content; whatever is no success fails."""
        answer = await self.send(path, **parameters)
        assert answer.is_success, answer.text
        return answer.json()

    async def groups(self, name: str, period: str, start: datetime, end: datetime, **more: Any) -> list[Any]:
        """Return the groups of a metric over time."""
        asked = {"name": name, "period": period, "from": start.isoformat(), "to": end.isoformat()}
        return list((await self("series", **asked, **more))["groups"])


async def api_of(database: Database, organization_id: UUID, http: httpx.AsyncClient) -> Api:
    """Make a key that may look."""
    async with database.as_system() as connection:
        made = await access_keys.create(connection, organization_id, name="test", scopes=["metrics:read"], at=NOW)
    return Api(http, made.key)


@pytest.fixture
async def take(tmp_path: Path, database: Database, organization: TestOrganization) -> AsyncIterator[Taker]:
    ingest = make_ingest(database, tmp_path)
    ingest.writer.start()
    yield Taker(ingest, organization.id)
    await ingest.stop()


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = ControlPlane(WebState(database, Settings.from_environment({}), FixedClock(NOW)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


@pytest.fixture
async def api(database: Database, organization: TestOrganization, http: httpx.AsyncClient) -> Api:
    return await api_of(database, organization.id, http)
