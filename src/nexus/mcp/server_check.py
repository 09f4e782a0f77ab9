"""Asks an MCP server who it is and which tools it has, for a person who has just said how it is reached."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import msgspec

from nexus.dataplane.gateway.mcp.backends import result_of
from nexus.dataplane.gateway.mcp.facade import Facade
from nexus.dataplane.snapshots import Snapshots
from nexus.kit.errors import NexusError, Unavailable
from nexus.mcp.servers import McpServer

MAX_TOOLS = 500


class GatewayAway(Unavailable):
    """This process has no gateway: ask one that serves."""

    code = "gateway_away"


class Check(msgspec.Struct):
    """What a server answered. `error` says why it could not be used; the rest is empty then."""

    is_ok: bool
    error: str = ""
    revision: str = ""
    tools: list[str] = []
    duration_ms: float = 0.0


class ServerDesk:
    """The gateway's side of a check; a process without a data plane has none."""

    def __init__(self, facade: Facade | None = None, snapshots: Snapshots | None = None) -> None:
        self._facade = facade
        self._snapshots = snapshots

    async def check(self, organization_id: UUID, server: McpServer) -> Check:
        """Ask a server as the gateway would. What goes wrong with it is an answer, not an error."""
        if self._facade is None or self._snapshots is None:
            raise GatewayAway
        # What was just changed may not have come here yet.
        await self._snapshots.refresh()
        entry = self._snapshots.gateway.mcp_servers.get((organization_id, server.name))
        if entry is None:
            return Check(False, "the server is disabled, or its secret cannot be opened")
        began = time.perf_counter()
        try:
            backend = self._facade.backend(entry)
            greeting = await backend.greet()
            found: dict[str, Any] = {}
            if "tools" in greeting.capabilities:
                found = result_of(await backend.ask("tools/list", {}, {}))
        except NexusError as error:
            return Check(False, error.detail, duration_ms=_since(began))
        tools = found.get("tools")
        names = [str(tool.get("name")) for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
        return Check(True, "", greeting.revision, names[:MAX_TOOLS], _since(began))


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
