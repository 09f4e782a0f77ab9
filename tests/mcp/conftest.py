"""Records of MCP servers taken in as a node takes them, and the API that answers for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from nexus.contracts.prices import PriceBook
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.record_type import Caller
from nexus.dataplane.ingest.service import Ingest, Receipt
from nexus.dataplane.snapshots import PriceTable, Snapshots
from nexus.entry.control_plane import ControlPlane
from nexus.identity import access_keys
from nexus.kit.clock import FixedClock
from nexus.mcp import jobs
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.conftest import TestOrganization

NOW = datetime(2026, 4, 3, 12, tzinfo=UTC)


@dataclass
class Taker:
    """Takes records in and answers when they are committed."""

    ingest: Ingest

    async def __call__(self, organization_id: UUID, records: Sequence[dict[str, Any]]) -> Receipt:
        caller = Caller(organization_id, "USD")
        return await self.ingest.take(caller, msgspec.json.encode(list(records)), is_lines=False)


@pytest.fixture
async def take(tmp_path: Path, database: Database) -> AsyncIterator[Taker]:
    snapshots = Snapshots(database)
    snapshots.prices = PriceTable(1, PriceBook.from_documents([]))
    snapshots.is_loaded = True
    ingest = Ingest(
        database=database,
        settings=Settings(data_dir=tmp_path),
        snapshots=snapshots,
        clock=FixedClock(NOW),
        metrics=IngestMetrics(CollectorRegistry()),
    )
    ingest.writer.start()
    yield Taker(ingest)
    await ingest.stop()


async def fold(database: Database) -> int:
    """Fold all that waits."""
    total = 0
    while moved := await jobs.fold(database):
        total += moved
    return total


@dataclass
class Api:
    """A client that sends one key."""

    http: httpx.AsyncClient
    key: str

    async def get(self, path: str, **parameters: Any) -> httpx.Response:
        named = {name.rstrip("_"): value for name, value in parameters.items()}
        return await self.http.get(f"/api/mcp/{path}", params=named, headers={"authorization": f"Bearer {self.key}"})


@pytest.fixture
async def api(database: Database, organization: TestOrganization) -> AsyncIterator[Api]:
    async with database.as_system() as connection:
        made = await access_keys.create(
            connection, organization.id, name="test", scopes=["metrics:read", "events:write"], at=NOW
        )
    app = ControlPlane(WebState(database, Settings.from_environment({}), FixedClock(NOW)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield Api(client, made.key)
