"""An installation after its first start, made once, and a copy of it for each test."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from nexus.entry.api import Application
from nexus.platform.settings import Settings
from tests.application import first_start, running, settings_of
from tests.postgres import TestServer


@dataclasses.dataclass(frozen=True)
class Installation:
    """A database after the first start, and the key it showed."""

    template: str
    key: str
    settings: Settings


@pytest.fixture(scope="package")
def installation(
    postgres: TestServer, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    async def make() -> Installation:
        name = await postgres.create()
        settings = settings_of(postgres.urls(name), redis_server, tmp_path_factory.mktemp("installation"))
        return Installation(name, (await first_start(settings)).access_key, settings)

    made = asyncio.run(make())
    yield made
    asyncio.run(postgres.drop(made.template))


@pytest.fixture
def database_name(postgres: TestServer, installation: Installation) -> Iterator[str]:
    name = asyncio.run(postgres.create(template=installation.template))
    yield name
    asyncio.run(postgres.drop(name))


@pytest.fixture
def settings(
    postgres: TestServer, database_name: str, installation: Installation, redis_url: str, tmp_path: Path
) -> Settings:
    urls = postgres.urls(database_name)
    return dataclasses.replace(
        installation.settings, data_dir=tmp_path, database_url=urls.service, writer_url=urls.writer,
        system_url=urls.system, redis_url=redis_url,
    )  # fmt: skip


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    async with running(settings) as made:
        yield made
