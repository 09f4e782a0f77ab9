"""A gateway as a node runs it: real server, real PostgreSQL, real clients; only the provider is a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from nexus.catalog import service as catalog
from nexus.catalog.types import PriceComponent
from nexus.dataplane.gateway.asgi import GatewayApp
from nexus.dataplane.gateway.metrics import GatewayMetrics
from nexus.dataplane.gateway.service import Gateway
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.service import Ingest
from nexus.dataplane.snapshots import Snapshots
from nexus.identity import access_keys, provider_credentials
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import Database
from nexus.platform.sealing import Sealer
from nexus.platform.settings import Settings
from nexus.platform.web.server import HttpServer
from nexus.sandbox.app import Sandbox
from tests.conftest import TestOrganization
from tests.dataplane.decide.test_engine import Node as Engine
from tests.dataplane.gateway.echo import Echo
from tests.dataplane.gateway.limited import Limited

SECRET = "sk-provider-secret-0123456789"
SECRET_KEY = "a key for the tests, long enough"
Sent = Callable[[dict[str, Any]], Awaitable[None]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def served(app: Any, *, websockets: bool = False) -> AsyncIterator[str]:
    """Serve an ASGI application as the product does; gives its address."""
    port = free_port()
    server = HttpServer(app, host="127.0.0.1", port=port, websockets=websockets)
    serving = asyncio.create_task(server.serve())
    for _ in range(200):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
        # Streams that a test left open would go on for a while: nobody waits for them.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(serving, 1)


@dataclass
class Node:
    """A running gateway and what its test needs to know."""

    url: str
    key: str
    gateway: Gateway
    ingest: Ingest
    snapshots: Snapshots
    database: Database
    organization_id: UUID
    sandbox: Sandbox
    sandbox_url: str
    data_dir: Path
    key_id: UUID
    stops: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    async def calls(self, count: int = 1, *, within_seconds: float = 10) -> list[dict[str, Any]]:
        """Wait until so many calls are stored; returns them in the order of their ids."""
        rows: list[Any] = []
        for _ in range(int(within_seconds / 0.02)):
            async with self.database.as_system() as connection:
                rows = await connection.fetch("SELECT * FROM metering.calls ORDER BY id")
            if len(rows) >= count:
                break
            await asyncio.sleep(0.02)
        assert len(rows) == count, f"{len(rows)} calls are stored, not {count}"
        return [dict(row) for row in rows]

    async def add_credential(self, provider: str, base_url: str, **more: Any) -> UUID:
        """Keep a credential, in force when this returns."""
        async with self.database.tenant(self.organization_id) as connection:
            made = await provider_credentials.create(
                connection, self.organization_id, Sealer([SECRET_KEY]), provider=provider, name="test",
                secret=more.pop("secret", SECRET), base_url=base_url, at=SYSTEM_CLOCK.now(), **more,
            )  # fmt: skip
        await self.snapshots.refresh()
        return made.id


async def price(database: Database, organization_id: UUID, provider: str, model: str, **amounts: str) -> None:
    """Add a price for a million of each unit."""
    async with database.tenant(organization_id) as connection:
        components = [PriceComponent(unit, amount, 1_000_000) for unit, amount in amounts.items()]
        await catalog.create_price(connection, organization_id, provider=provider, model=model, components=components)


def settings_for(data_dir: Path) -> Settings:
    return Settings(
        data_dir=data_dir, secret_key=SECRET_KEY, gateway_allow="127.0.0.0/8", database_url="postgresql://unused"
    )


@pytest.fixture
async def sandbox() -> AsyncIterator[tuple[Sandbox, str]]:
    app = Sandbox()
    app.keeps = True
    async with served(app) as url:
        yield app, url


@pytest.fixture
async def node(
    database: Database, organization: TestOrganization, sandbox: tuple[Sandbox, str], tmp_path: Path
) -> AsyncIterator[Node]:
    app, sandbox_url = sandbox
    async with database.as_system() as connection:
        made = await access_keys.create(
            connection, organization.id, name="test", scopes=["gateway:call"], at=SYSTEM_CLOCK.now()
        )
    for provider in ("openai", "anthropic"):
        await price(
            database, organization.id, provider, "sandbox-1",
            input="2", output="10", cached_input="0.5", cache_write="2.5", reasoning="12",
        )  # fmt: skip
    settings = settings_for(tmp_path)
    snapshots = Snapshots(database, data_dir=tmp_path, sealer=Sealer([SECRET_KEY]))
    registry = CollectorRegistry()
    ingest = Ingest(database=database, settings=settings, snapshots=snapshots, metrics=IngestMetrics(registry))
    gateway = Gateway(ingest=ingest, settings=settings, metrics=GatewayMetrics(registry))
    await snapshots.start()
    await ingest.start()
    await gateway.start()
    async with served(GatewayApp(gateway)) as url:
        found = Node(
            url, made.key, gateway, ingest, snapshots, database, organization.id, app, sandbox_url, tmp_path,
            made.access_key.id,
        )  # fmt: skip
        for provider in ("openai", "anthropic"):
            await found.add_credential(provider, sandbox_url)
        yield found
    await gateway.stop()
    await ingest.stop()
    await snapshots.stop()


@pytest.fixture
async def limited(node: Node, redis_url: str) -> AsyncIterator[Limited]:
    """The node with limits, asked in a real Redis."""
    engine = Engine(redis_url)
    yield Limited(node, engine)
    assert node.gateway.gate is not None
    await node.gateway.gate.stop()
    node.gateway.gate = None
    await engine.close()


@pytest.fixture
async def echo(node: Node) -> AsyncIterator[Echo]:
    app = Echo()
    async with served(app) as url:
        async with node.database.as_system() as connection:
            await connection.execute(
                "INSERT INTO catalog.providers (id, organization_id, slug, name, base_url, auth_types)"
                " VALUES (gen_random_uuid(), $1, 'echo', 'Echo', $2, '{bearer}')",
                node.organization_id, url + "/base",
            )  # fmt: skip
        await node.add_credential("echo", url + "/base")
        yield app


def bearer(node: Node) -> dict[str, str]:
    return {"authorization": f"Bearer {node.key}"}
