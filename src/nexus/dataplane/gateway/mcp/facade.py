"""Offers servers that the gateway asks on its own behalf, in every revision: one program, or all servers of a key together.

Where several are offered together, a tool is called `server__tool`; who calls it is told by the name, and the record says
which server and tool it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import structlog

import nexus
from nexus.contracts.keys import KeyEntry
from nexus.contracts.mcp_servers import SEPARATOR, STDIO, McpServerEntry
from nexus.dataplane.gateway.exchange import Caller
from nexus.dataplane.gateway.mcp.backends import Backend, HttpBackend, Notify
from nexus.dataplane.gateway.mcp.calls import Answered
from nexus.dataplane.gateway.mcp.errors import CommandsOff, UnknownMethod, UnknownTool
from nexus.dataplane.gateway.mcp.messages import HANDSHAKE, MODERN, REVISIONS, Message, text_of
from nexus.dataplane.gateway.mcp.programs import Programs
from nexus.dataplane.gateway.mcp.service import McpGateway, name_of
from nexus.kit.errors import NexusError

MAX_PAGES = 50
"""Of a server's list of tools."""
_LIST = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_CACHE = {"ttlMs": 0, "cacheScope": "private"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that is answered in our own name, and who asks."""

    caller: Caller
    message: Message
    size: int
    """Of the request, in bytes."""
    notify: Notify | None = None
    client: tuple[str, str] = ("", "")
    """Name and version, where the session tells them and the message does not."""
    session: str | None = None


class Facade:
    """What one process offers in its own name."""

    def __init__(self, mcp: McpGateway, programs: Programs) -> None:
        self._mcp = mcp
        self._programs = programs
        self._backends: dict[Any, HttpBackend] = {}

    def backend(self, server: McpServerEntry) -> Backend:
        """Return the way to a server. `CommandsOff` for a program where this machine starts none."""
        if server.transport == STDIO:
            if not self._programs.are_allowed:
                raise CommandsOff
            return self._programs.of(server)
        known = self._backends.get(server.id)
        if known is None or known.server != server:
            known = self._backends[server.id] = HttpBackend(server, self._mcp.gateway.upstream)
        return known

    async def of_one(self, asking: Asking, server: McpServerEntry) -> bytes:
        """Answer a request to one server; returns the JSON-RPC answer. Raises what the client is told."""
        backend, message = self.backend(server), asking.message
        match message.method:
            case "initialize" | "server/discover":
                greeting = await backend.greet()
                capabilities: dict[str, Any] = {
                    name: {}
                    for name in ("tools", "resources", "prompts", "completions")
                    if name in greeting.capabilities
                }
                return self._introduction(message, server.name, capabilities, greeting.instructions)
            case "ping":
                return _answer(message, b"{}")
        answered = await self._asked(asking, server)
        if answered.error is None and message.method == "tools/list":
            return _answer(message, _encode(self._listed(asking.caller.key, server, answered.result)))
        return _whole(message, answered)

    async def of_all(self, asking: Asking) -> bytes:
        """Answer a request to all servers that a key may use; returns the JSON-RPC answer."""
        message = asking.message
        servers = self._mcp.servers(asking.caller.key)
        match message.method:
            case "initialize" | "server/discover":
                return self._introduction(message, "nexus", {"tools": {}}, "")
            case "ping":
                return _answer(message, b"{}")
            case "tools/list":
                lists = await asyncio.gather(*(self._tools(asking, server) for server in servers))
                tools = [tool for found in lists for tool in found]
                return _answer(message, _encode(_stamped(message, {"tools": tools})))
            case "tools/call":
                server, tool = self._named(servers, message.target)
                params = {**message.params, "name": msgspec.Raw(_encode(tool))}
                inner = Message(message.fields, message.method, message.id, params, message.meta, message.revision)
                return _whole(message, await self._asked(replace(asking, message=inner), server))
        raise UnknownMethod(f"{message.method} is not offered for all servers together: use /mcp/{{server}}")

    def _named(self, servers: Sequence[McpServerEntry], name: str) -> tuple[McpServerEntry, str]:
        prefix, separator, tool = name.partition(SEPARATOR)
        server = next((entry for entry in servers if entry.name == prefix), None)
        if server is None or not separator or not tool:
            raise UnknownTool(f"there is no tool {name[:200]!r} that this access key may call")
        return server, tool

    async def _asked(self, asking: Asking, server: McpServerEntry) -> Answered:
        """Ask a server, and record it."""
        backend, message = self.backend(server), asking.message
        call = self._mcp.call(asking.caller, server, message, client=asking.client, size=asking.size)
        call.session_id = asking.session
        await self._mcp.begin(call)
        try:
            meta = message.traced_meta(call.trace_context)
            call.was_sent = True
            answered = await backend.ask(message.method, message.params, meta, notify=asking.notify)
            call.status_code = 200
            call.answered(answered, len(bytes(answered.result)))
            return answered
        except NexusError as error:
            call.failed_by(error)
            raise
        except asyncio.CancelledError:
            call.failed("client_left", "the client left before the answer ended")
            raise
        finally:
            self._mcp.end(call)

    def _listed(self, key: KeyEntry, server: McpServerEntry, result: msgspec.Raw) -> dict[str, Any]:
        fields = _LIST.decode(result)
        tools = msgspec.json.decode(fields.get("tools") or b"[]", type=list[msgspec.Raw])
        return {**fields, "tools": self._mcp.allowed_tools(key, server, tools)}

    async def _tools(self, asking: Asking, server: McpServerEntry) -> list[msgspec.Raw]:
        """Return the tools of a server that the key may call, their names prefixed. A server that fails has none now."""
        found: list[msgspec.Raw] = []
        params: dict[str, msgspec.Raw] = {}
        message = asking.message
        try:
            for _ in range(MAX_PAGES):
                page = Message(message.fields, "tools/list", message.id, params, message.meta, message.revision)
                answered = await self._asked(replace(asking, message=page, notify=None), server)
                if answered.error is not None:
                    break
                listed = self._listed(asking.caller.key, server, answered.result)
                found += [_prefixed(server, tool) for tool in listed["tools"]]
                cursor = listed.get("nextCursor")
                if cursor is None or not text_of(cursor):
                    break
                params = {"cursor": cursor}
        except (NexusError, msgspec.MsgspecError) as error:
            log.warning("a server's tools cannot be listed", server=server.name, error=str(error))
        return found

    def _introduction(self, message: Message, name: str, capabilities: dict[str, Any], instructions: str) -> bytes:
        info = {"name": name, "version": nexus.__version__}
        told: dict[str, Any] = {"capabilities": capabilities}
        if instructions:
            told["instructions"] = instructions
        if message.method == "initialize":
            asked = text_of(message.params.get("protocolVersion"))
            told |= {"protocolVersion": asked if asked in HANDSHAKE else HANDSHAKE[-1], "serverInfo": info}
            return _answer(message, _encode(told))
        told |= {"supportedVersions": list(REVISIONS), "_meta": {"io.modelcontextprotocol/serverInfo": info}}
        return _answer(message, _encode(_stamped(message, told)))


def _stamped(message: Message, result: dict[str, Any]) -> dict[str, Any]:
    """Add what a modern revision wants with a result of ours."""
    return {**result, "resultType": "complete", **_CACHE} if message.revision in MODERN else result


def _prefixed(server: McpServerEntry, tool: msgspec.Raw) -> msgspec.Raw:
    fields = _LIST.decode(tool)
    return msgspec.Raw(_encode({**fields, "name": f"{server.name}{SEPARATOR}{name_of(tool)}"}))


def _answer(message: Message, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + message.id + b',"result":' + result + b"}"


def _whole(message: Message, answered: Answered) -> bytes:
    """Return a server's answer under the client's own id."""
    if answered.error is None:
        return _answer(message, _fit(message, bytes(answered.result)))
    return b'{"jsonrpc":"2.0","id":' + message.id + b',"error":' + _encode(answered.error) + b"}"


def _fit(message: Message, result: bytes) -> bytes:
    """Give a result of a handshake server what a client of a modern revision requires."""
    if message.revision not in MODERN:
        return result
    fields = _LIST.decode(result)
    extra: dict[str, Any] = {} if "resultType" in fields else {"resultType": "complete"}
    if message.method.endswith("/list") or message.method == "resources/read":
        extra |= {name: value for name, value in _CACHE.items() if name not in fields}
    return _encode({**fields, **extra}) if extra else result
