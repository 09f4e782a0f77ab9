"""The whole web process in the test's own: the application as `nexus server` runs it, over a real database and Redis."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import REGISTRY

from nexus.catalog import imports
from nexus.catalog.importers import ImportedBook, ImportedComponent, ImportedModel, ImportedPrice, ImportedProvider
from nexus.entry.api import Application
from nexus.identity import service as identity
from nexus.identity.types import FirstStart
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import DatabaseUrls, open_database
from nexus.platform.settings import Settings

ADMIN, PASSWORD = "root@installation.example", "correct horse battery staple"
ORIGIN = "http://testserver"


def settings_of(urls: DatabaseUrls, redis_url: str, folder: Path, **more: Any) -> Settings:
    """Return settings that name a test's database and Redis as a production's environment would."""
    return Settings(
        data_dir=folder, database_url=urls.service, writer_url=urls.writer, system_url=urls.system,
        redis_url=redis_url, secret_key=secrets.token_urlsafe(32), **more,
    )  # fmt: skip


_MODELS = {"gpt-4o": "2.50", "gpt-4o-mini": "0.15"}
_BOOK = ImportedBook(
    "a list", "digest", [ImportedProvider("openai", "OpenAI")],
    [ImportedModel("openai", slug, {"equals": slug}) for slug in _MODELS],
    [
        ImportedPrice("openai", slug, tuple(ImportedComponent(unit, 0, Decimal(amount), 10**6) for unit in ("input", "output")))
        for slug, amount in _MODELS.items()
    ],
)  # fmt: skip


async def first_start(settings: Settings) -> FirstStart:
    """Make the first administrator, organization and key, and a catalog of two models in place of thousands."""
    async with open_database(settings) as database, database.as_system() as connection:
        await imports.apply(connection, _BOOK, now=SYSTEM_CLOCK.now(), actor_label="first start")
        made = await identity.first_start(connection, at=SYSTEM_CLOCK.now(), email=ADMIN, password=PASSWORD)
    assert made is not None
    return made


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Application]:
    """Run the application in this event loop for the length of the block."""
    # A process has one application and one registry of metrics; a test process has one after the other.
    before = set(REGISTRY._collector_to_names)
    application = Application(settings)
    try:
        await application.start()
        try:
            yield application
        finally:
            application.end_streams()
            await application.stop()
    finally:
        for collector in set(REGISTRY._collector_to_names) - before:
            REGISTRY.unregister(collector)


def client_of(application: Application, **options: Any) -> httpx.AsyncClient:
    """Return a client of the application. What escapes it is raised in the test."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url=ORIGIN, **options)  # type: ignore[arg-type]


async def sign_in(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> None:
    """Sign somebody in; the client keeps the cookie."""
    answer = await client.post("/api/identity/sign-in", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
