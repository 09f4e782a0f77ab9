"""The audit log over HTTP, with keys of several permissions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest

from nexus.entry.control_plane import ControlPlane
from nexus.identity import access_keys
from nexus.kit.clock import FixedClock
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from nexus.platform.web import WebState

NOW = datetime(2026, 4, 3, 12, tzinfo=UTC)
Ask = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = ControlPlane(WebState(database, Settings.from_environment({}), FixedClock(NOW)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


async def key_of(database: Database, organization_id: UUID, *scopes: str) -> str:
    """Make a key of an organization; returns its text."""
    async with database.as_system() as connection:
        made = await access_keys.create(connection, organization_id, name="auditor", scopes=list(scopes), at=NOW)
    return made.key
