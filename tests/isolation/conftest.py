"""A database with two organizations in it, made once, and a copy of it for each test."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from nexus.entry.api import Application
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from tests.application import first_start, running, settings_of
from tests.isolation.inspection import ROLES
from tests.isolation.world import World, build
from tests.postgres import TestServer


@dataclasses.dataclass(frozen=True)
class Built:
    """The database that is copied, and what is in it."""

    template: str
    world: World
    settings: Settings


@pytest.fixture(scope="package")
def built(postgres: TestServer, redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp("isolation")

    async def make() -> Built:
        name = await postgres.create()
        urls = postgres.urls(name)
        settings = settings_of(urls, redis_server, folder)
        await first_start(settings)
        database = await Database.connect(urls, application_name="nexus-test")
        admin = await asyncpg.connect(postgres.url("postgres", name, direct=True), statement_cache_size=0)
        try:
            async with running(settings) as application:
                world = await build(application, database, admin)
            await admin.execute("ANALYZE")
        finally:
            await admin.close()
            await database.close()
        return Built(name, world, settings)

    made = asyncio.run(make())
    yield made
    asyncio.run(postgres.drop(made.template))


@pytest.fixture
def world(built: Built) -> World:
    return copy.deepcopy(built.world)


@pytest.fixture
async def database_name(postgres: TestServer, built: Built) -> AsyncIterator[str]:
    name = await postgres.create(template=built.template)
    yield name
    await postgres.drop(name)


@pytest.fixture(params=ROLES)
def role(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def login(postgres: TestServer, database_name: str, role: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as one of the logins that must keep organizations apart."""
    connection = await asyncpg.connect(postgres.url(role, database_name, direct=True), statement_cache_size=0)
    yield connection
    await connection.close()


@pytest.fixture
async def application(
    postgres: TestServer, database_name: str, built: Built, redis_url: str, tmp_path: Path
) -> AsyncIterator[Application]:
    urls = postgres.urls(database_name)
    settings = dataclasses.replace(
        built.settings, data_dir=tmp_path, database_url=urls.service, writer_url=urls.writer, system_url=urls.system,
        redis_url=redis_url,
    )  # fmt: skip
    async with running(settings) as made:
        yield made
