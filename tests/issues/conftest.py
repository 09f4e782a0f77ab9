"""Errors taken in as a node takes them, and the API that answers for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
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
from nexus.issues import jobs
from nexus.kit.clock import FixedClock
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.conftest import TestOrganization

NOW = datetime(2026, 4, 3, 12, tzinfo=UTC)


def error(at: datetime, message: str = "it broke", **fields: Any) -> dict[str, Any]:
    """An error that happened then."""
    return {"type": "error", "id": str(uuid7(at)), "timestamp": at.isoformat(), "message": message, **fields}


@dataclass
class Taker:
    """Takes records in for one organization and answers when they are committed."""

    ingest: Ingest
    organization_id: UUID

    async def __call__(self, *records: dict[str, Any]) -> Receipt:
        body = msgspec.json.encode(list(records))
        return await self.ingest.take(Caller(self.organization_id, "USD"), body, is_lines=False)


def make_ingest(database: Database, folder: Path) -> Ingest:
    """Make what a node has to take records in."""
    snapshots = Snapshots(database)
    snapshots.prices = PriceTable(1, PriceBook.from_documents([]))
    snapshots.is_loaded = True
    return Ingest(
        database=database,
        settings=Settings(data_dir=folder),
        snapshots=snapshots,
        clock=FixedClock(NOW),
        metrics=IngestMetrics(CollectorRegistry()),
    )


@pytest.fixture
async def take(tmp_path: Path, database: Database, organization: TestOrganization) -> AsyncIterator[Taker]:
    ingest = make_ingest(database, tmp_path)
    ingest.writer.start()
    yield Taker(ingest, organization.id)
    await ingest.stop()


async def fold(database: Database) -> int:
    """Fold all that waits."""
    total = 0
    while moved := await jobs.fold(database):
        total += moved
    return total


async def recounted(admin: asyncpg.Connection) -> dict[UUID, tuple[int, datetime, datetime]]:
    """Count the stored errors of each issue again."""
    rows = await admin.fetch(
        "SELECT c.issue_id, count(*) AS n, min(o.occurred_at) AS first, max(o.occurred_at) AS last"
        " FROM issues.occurrences AS o JOIN issues.causes AS c USING (organization_id, fingerprint) GROUP BY 1"
    )
    return {row["issue_id"]: (row["n"], row["first"], row["last"]) for row in rows}


@dataclass
class Api:
    """A client that sends one key."""

    http: httpx.AsyncClient
    key: str

    async def __call__(self, method: str, path: str = "", body: Any = None, **parameters: Any) -> Any:
        """Ask, and return the answer's content; whatever is no success fails."""
        answer = await self.send(method, path, body, **parameters)
        assert answer.is_success, answer.text
        return answer.json()

    async def send(self, method: str, path: str = "", body: Any = None, **parameters: Any) -> httpx.Response:
        """Ask, and return the answer."""
        named = {name.rstrip("_"): value for name, value in parameters.items()}
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"/api/errors{'/' if path else ''}{path}"
        return await self.http.request(method, url, params=named, headers=headers, json=body)

    async def issues(self, **parameters: Any) -> list[dict[str, Any]]:
        """Return the issues of one page."""
        return list((await self("GET", **parameters))["items"])


async def api_of(database: Database, organization_id: UUID, http: httpx.AsyncClient, *scopes: str) -> Api:
    """Make a key that may do so much."""
    async with database.as_system() as connection:
        made = await access_keys.create(connection, organization_id, name="test", scopes=list(scopes), at=NOW)
    return Api(http, made.key)


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = ControlPlane(WebState(database, Settings.from_environment({}), FixedClock(NOW)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


@pytest.fixture
async def api(database: Database, organization: TestOrganization, http: httpx.AsyncClient) -> Api:
    return await api_of(database, organization.id, http, "error:read", "error:manage")
