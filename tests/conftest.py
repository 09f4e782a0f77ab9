"""Fixtures that every test may use: a real PostgreSQL, a real Redis, fresh databases, organizations."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import redis as redis_client
from argon2 import PasswordHasher
from hypothesis import settings
from prometheus_client import REGISTRY

from nexus.identity import passwords
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from nexus.platform.db.embedded import EmbeddedPostgres, as_service_user, make_reachable, own
from tests.postgres import TestServer, start_server
from tests.postgres_apart import PostgresApart
from tests.races.prepared import prepare

# Assertions of modules that tests share are shown with their values.
pytest.register_assert_rewrite("tests.races.node", "tests.e2e.sight", "tests.sdk.programs")

# How many examples a property is tried on is said here alone; one whose examples are dear takes a share of them.
# A run that failed must fail again: examples follow from the test itself. `HYPOTHESIS_PROFILE=random` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("thorough", derandomize=True, deadline=None, max_examples=300)
settings.register_profile("random", derandomize=False, deadline=None, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# The tests start hundreds of processes: where nothing compiled may be kept, each compiles the whole product anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Logfire, one of the instrumentations under test, would else be imported wherever pydantic is.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# One line for each request would bury what a failed test has to say.
logging.getLogger("httpx").setLevel(logging.WARNING)


_COUNTED = "nexus_ingest_records_received"
_OWN_FOLDER = pytest.StashKey[Path]()
_ROOM_BYTES = 4 * 2**30
"""More than twice what a session leaves in its folder at once."""


def _in_memory() -> str | None:
    """Return the folder that is kept in memory; None where there is none to run programs in with room enough.

    Each database a test gets is 650 files to copy and to delete: on a disk that takes ten times the processor's time.
    """
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK | os.X_OK):
        return None
    mounted = os.statvfs(shared)
    may_run = not mounted.f_flag & os.ST_NOEXEC
    return str(shared) if may_run and mounted.f_bavail * mounted.f_frsize >= _ROOM_BYTES else None


def pytest_configure(config: pytest.Config) -> None:
    """Give each session a folder of its own: pytest's shared one is closed again to others by whichever session starts
    next, and PostgreSQL, which does not run as root, loses its files then."""
    if config.option.basetemp is None:
        config.stash[_OWN_FOLDER] = Path(tempfile.mkdtemp(prefix="nexus-tests-", dir=_in_memory()))
        config.option.basetemp = str(config.stash[_OWN_FOLDER] / "session")


_LONGEST = ("e2e", "races", "demo", "entry", "fuzz", "sdk", "isolation")
"""Folders of tests whose single files take a minute and more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin: workers to which files are given one by one then end together."""
    items.sort(key=lambda item: item.path.parent.name not in _LONGEST)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the session's folder away."""
    if _OWN_FOLDER in config.stash:
        shutil.rmtree(config.stash[_OWN_FOLDER], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def product_hasher() -> Iterator[PasswordHasher]:
    """Hash at the least cost in this process, as a hash is dear on purpose; the product's hasher, for tests of it."""
    products = passwords._HASHER
    passwords._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    yield products
    passwords._HASHER = products


@pytest.fixture(autouse=True)
def _no_metrics_left_behind() -> Iterator[None]:
    """A process has one set of counters: what a test leaves in the registry fails whichever application comes next."""
    before = _COUNTED in REGISTRY._names_to_collectors
    yield
    is_left = _COUNTED in REGISTRY._names_to_collectors and not before
    assert not is_left, "give what the test makes a CollectorRegistry of its own"


@dataclass(frozen=True)
class TestOrganization:
    """An organization that exists in the test's database."""

    __test__ = False

    id: UUID
    slug: str


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    """A running PostgreSQL with roles and template database."""
    server = start_server(tmp_path_factory.mktemp("pg"))
    yield server
    server.stop()


@pytest.fixture
async def database_name(postgres: TestServer) -> AsyncIterator[str]:
    """The name of a fresh database with the whole schema."""
    name = await postgres.create()
    yield name
    await postgres.drop(name)


@pytest.fixture
async def database(postgres: TestServer, database_name: str) -> AsyncIterator[Database]:
    """A fresh database, reached as the product's own roles."""
    handle = await Database.connect(postgres.urls(database_name), application_name="nexus-test", max_size=8)
    yield handle
    await handle.close()


@pytest.fixture
async def owner_connection(postgres: TestServer, database_name: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as nexus_owner: for arranging, never for acting."""
    connection = await asyncpg.connect(postgres.url("nexus_owner", database_name), statement_cache_size=0)
    yield connection
    await connection.close()


@pytest.fixture
async def admin_connection(postgres: TestServer, database_name: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as superuser: for looking behind the policies."""
    connection = await asyncpg.connect(postgres.url("postgres", database_name), statement_cache_size=0)
    yield connection
    await connection.close()


async def make_organization(database: Database, slug: str) -> TestOrganization:
    """Insert an organization with defaults."""
    made = TestOrganization(uuid7(), slug)
    async with database.as_system() as connection:
        await connection.execute(
            "INSERT INTO identity.organizations (id, name, slug) VALUES ($1, $2, $3)", made.id, slug.title(), slug
        )
    return made


@pytest.fixture
async def organization(database: Database) -> TestOrganization:
    """An organization."""
    return await make_organization(database, "acme")


@pytest.fixture
async def two_organizations(database: Database) -> tuple[TestOrganization, TestOrganization]:
    """Two organizations that must never see each other's rows."""
    return await make_organization(database, "acme"), await make_organization(database, "globex")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Redis; the URL of it."""
    from nexus.platform.redis.embedded import redis_binary

    folder: Path = tmp_path_factory.mktemp("redis")
    make_reachable(folder)
    own(folder)
    path = folder / "redis.sock"
    process = subprocess.Popen(
        [str(redis_binary()), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
        **as_service_user(),
    )
    client = redis_client.Redis(unix_socket_path=str(path))
    for _ in range(200):
        try:
            client.ping()
            break
        except redis_client.ConnectionError:
            time.sleep(0.05)
    yield f"unix://{path}"
    process.terminate()
    process.wait(10)


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of an empty Redis."""
    client = redis_client.Redis.from_url(redis_server)
    client.flushall()
    client.close()
    return redis_server


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that a node's own begins as a copy of, made once for all of a session's processes."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    made = folder / "prepared"
    with (folder / "prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            draft = folder / f"prepared.{os.getpid()}"
            asyncio.run(prepare(draft))
            draft.rename(made)
    return made


@pytest.fixture
async def postgres_apart(tmp_path: Path) -> AsyncIterator[PostgresApart]:
    server = PostgresApart(EmbeddedPostgres(tmp_path / "postgres"))
    await asyncio.to_thread(server.embedded.prepare)
    await server.start()
    yield server
    if server.process is not None and server.process.poll() is None:
        await asyncio.to_thread(server.stop)
