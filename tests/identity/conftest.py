"""An installation with an administrator, reached over HTTP as the product serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from nexus.entry.control_plane import ControlPlane
from nexus.identity import service
from nexus.identity.types import FirstStart
from nexus.kit.clock import FixedClock
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.identity.people import NOW, PASSWORD


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
async def first(database: Database) -> FirstStart:
    async with database.as_system() as connection:
        made = await service.first_start(connection, at=NOW, email="ada@example.com", password=PASSWORD)
    assert made is not None
    return made


@pytest.fixture
def settings() -> Settings:
    return Settings.from_environment({"NEXUS_SECRET_KEY": "a key for tests, long enough to be one"})


@pytest.fixture
def app(database: Database, clock: FixedClock, first: FirstStart, settings: Settings) -> ControlPlane:
    return ControlPlane(WebState(database, settings, clock))


@pytest.fixture
async def client(app: ControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as test_client:
        yield test_client
