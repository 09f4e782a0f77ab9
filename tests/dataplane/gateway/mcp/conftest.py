"""The gateway's node with MCP servers behind it, and the protocol's own client in front."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nexus.dataplane.gateway.mcp.asgi import McpApp
from nexus.dataplane.gateway.mcp.facade import Facade
from nexus.dataplane.gateway.mcp.programs import Programs
from nexus.dataplane.gateway.mcp.service import McpGateway
from nexus.identity.provider_credential_key_reach import KeyReach, put
from nexus.kit.ids import uuid7_text
from nexus.mcp import servers
from nexus.platform.sealing import Sealer
from tests.dataplane.gateway.conftest import SECRET_KEY, Node, free_port, served

FIVE = Path(__file__).with_name("five.py")
TABLES = {"tool_call": "mcp.tool_calls", "request": "mcp.requests", "api_call": "metering.calls"}


@dataclass
class Mcp:
    """A node's MCP gateway and where it listens."""

    node: Node
    url: str
    mcp: McpGateway
    facade: Facade

    async def add(self, name: str, **values: Any) -> servers.McpServer:
        """Offer a server, in force when this returns."""
        async with self.node.database.tenant(self.node.organization_id) as connection:
            made = await servers.create(
                connection, self.node.organization_id, Sealer([SECRET_KEY]), {"name": name, **values}, may_run=True,
                commands_are_on=True,
            )  # fmt: skip
        await self.node.snapshots.refresh()
        return made

    async def allow(self, **reach: Any) -> None:
        """Let the node's key use these only."""
        async with self.node.database.tenant(self.node.organization_id) as connection:
            await put(connection, self.node.organization_id, self.node.key_id, KeyReach(**reach))
        await self.node.snapshots.refresh()

    async def stored(self, kind: str, count: int, server: str = "", **equal: Any) -> list[dict[str, Any]]:
        """Wait until so many records of a type, of one server or all, and with these values, are stored; returns them by time."""
        rows: list[Any] = []
        for _ in range(1000):
            async with self.node.database.as_system() as connection:
                rows = await connection.fetch(f"SELECT * FROM {TABLES[kind]} ORDER BY occurred_at, id")
            if server:
                equal["server"] = server
            rows = [row for row in rows if all(row[name] == value for name, value in equal.items())]
            if len(rows) >= count:
                break
            await asyncio.sleep(0.02)
        assert len(rows) == count, f"{len(rows)} records of {kind}, not {count}: {[dict(row) for row in rows]}"
        return [dict(row) for row in rows]


@pytest.fixture
async def mcp(node: Node) -> AsyncIterator[Mcp]:
    gateway = McpGateway(node.gateway)
    programs = Programs(node.snapshots, node.data_dir / "mcp", are_allowed=True)
    facade = Facade(gateway, programs)
    inner = McpApp(gateway, facade, origins=["http://nexus.example"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["request_id"] = uuid7_text()
        await inner(scope, receive, send)

    async with served(app) as url:
        yield Mcp(node, url, gateway, facade)
    gateway.stop()
    await programs.stop()


@contextlib.contextmanager
def five_over_http(package: str, *spool: str) -> Iterator[str]:
    """Run the server of five tools; gives its endpoint."""
    port = free_port()
    program = [sys.executable, str(FIVE), package, "http", str(port), *spool]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        import socket

        for _ in range(6000):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()


def stdio(package: str, *spool: str) -> list[str]:
    """The command of the server of five tools."""
    return [sys.executable, str(FIVE), package, "stdio", "0", *spool]


@contextlib.asynccontextmanager
async def client(mcp: Mcp, path: str, *, mode: str = "auto", **headers: str) -> AsyncIterator[Any]:
    """The protocol's own client, at a path of the gateway."""
    import httpx2
    from mcp.client import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp_types import Implementation

    headers = {"authorization": f"Bearer {mcp.node.key}"} | headers
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(mcp.url + path, http_client=http)
        info = Implementation(name="driver", version="1.0")
        async with Client(transport, mode=mode, client_info=info) as found:  # type: ignore[arg-type]
            yield found
