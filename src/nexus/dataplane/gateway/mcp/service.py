"""The MCP gateway of one process: who may use what, what a call is charged, and that it is recorded once.

It is a part of the gateway and has no journal, limits or HTTP client of its own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

import msgspec
import structlog

from nexus.contracts.gateway import Reach
from nexus.contracts.keys import KeyEntry
from nexus.contracts.limits import Dimension
from nexus.contracts.mcp_servers import McpServerEntry
from nexus.dataplane.decide.asgi import refusal
from nexus.dataplane.gateway.exchange import Caller
from nexus.dataplane.gateway.mcp.calls import McpCall
from nexus.dataplane.gateway.mcp.errors import UnknownServer, UnknownTool
from nexus.dataplane.gateway.mcp.messages import Message
from nexus.dataplane.gateway.service import Gateway

_SETTLING_SECONDS = 60
"""How much longer than the call may last its hold lives."""
_JOINT = ".nx-"
_ENCODE = msgspec.json.Encoder().encode

log = structlog.get_logger(__name__)


class McpGateway:
    """What one process knows of the MCP requests it serves."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._open: set[McpCall] = set()

    def stop(self) -> None:
        """End: requests that still run are recorded as interrupted. Before the gateway's own `stop`."""
        for call in list(self._open):
            call.failed("interrupted", "the process was stopped before the answer ended")
            self.end(call)

    def server(self, key: KeyEntry, name: str) -> McpServerEntry:
        """Return a server that a key may use; `UnknownServer` for all others, whether they exist or not."""
        found = self.gateway.snapshots.gateway.mcp_servers.get((key.organization_id, name))
        reach = self.gateway.reach(key)
        if found is None or (reach is not None and not reach.allows_server(name)):
            raise UnknownServer(f"there is no MCP server {name[:64]!r} that this access key may use")
        return found

    def servers(self, key: KeyEntry) -> list[McpServerEntry]:
        """Return all servers that a key may use, by name."""
        reach = self.gateway.reach(key)
        return sorted(
            (
                entry
                for (organization_id, name), entry in self.gateway.snapshots.gateway.mcp_servers.items()
                if organization_id == key.organization_id and (reach is None or reach.allows_server(name))
            ),
            key=lambda entry: entry.name,
        )

    def reach(self, key: KeyEntry) -> Reach | None:
        """Return what a key may use; None is everything."""
        return self.gateway.reach(key)

    def hides_tools(self, key: KeyEntry) -> bool:
        """Tell whether a key may see and call certain tools only."""
        reach = self.gateway.reach(key)
        return reach is not None and reach.names_tools

    def call(
        self, caller: Caller, server: McpServerEntry, message: Message, *, client: tuple[str, str] = ("", ""), size: int
    ) -> McpCall:
        """Make the call of a request. `UnknownTool` where the key may not call the tool, as if there were none."""
        reach = self.gateway.reach(caller.key)
        if message.method == "tools/call" and reach is not None and not reach.allows_tool(server.name, message.target):
            raise UnknownTool(f"there is no tool {message.target[:200]!r} that this access key may call")
        told = message.client()
        name, version = told if told[0] else client
        found = McpCall(caller, server, message, name, version, request_bytes=size)
        if found.is_tool_call:
            found.price_nanos = server.price_of(found.tool)
            rule = self.gateway.snapshots.gateway.bodies.get(caller.key.organization_id)
            found.keeps_response = rule is not None and not rule.only_failed
        return found

    async def begin(self, call: McpCall) -> None:
        """Admit a tool call and note that the request is sent; raises what the client is told when a limit refuses it."""
        gateway = self.gateway
        if call.is_tool_call and gateway.gate is not None and gateway.gate.concerns(call.caller.key):
            ticket = await gateway.gate.ask(
                call.caller.key, provider=call.server.name, endpoint=call.tool, method=call.message.method,
                tags=call.caller.tags, request_bytes=call.request_bytes, cost_nanos=call.price_nanos or 0,
                hold_seconds=call.server.timeout_seconds + _SETTLING_SECONDS,
            )  # fmt: skip
            if ticket is not None and not ticket.decision.is_admitted:
                raise refusal(ticket.decision)
            call.ticket = ticket
        try:
            call.open_call = gateway.journal.begin(call.begin_mark())
        except OSError as error:
            gateway.metrics.unjournaled.inc()
            log.error("the gateway's journal cannot be written", error=repr(error))
        self._open.add(call)

    def end(self, call: McpCall) -> None:
        """Note the records of a request in the journal; an admitted call is settled to what it took."""
        if call.is_recorded:
            return
        call.is_recorded = True
        self._open.discard(call)
        if call.outcome is None:
            call.failed("no_answer", "the server ended its answer before it gave one")
        gateway = self.gateway
        if gateway.gate is not None and call.ticket is not None:
            if call.was_sent:
                actual: dict[Dimension, int] = gateway.gate.actual(
                    call.ticket, tokens=0, cost_nanos=call.cost_nanos or 0,
                    size_bytes=call.request_bytes + call.response_bytes,
                )  # fmt: skip
                gateway.gate.settle_to(call.ticket, actual)
            else:
                gateway.gate.release(call.ticket)
        mark = call.end_mark()
        try:
            gateway.journal.end(call.open_call, mark)
        except OSError as error:
            gateway.metrics.unjournaled.inc()
            log.error("the gateway's journal cannot be written", error=repr(error))
            gateway.recorder.add_unjournaled(mark)
        gateway.metrics.ended(f"mcp:{call.server.name}", call.status_code)

    def allowed_tools(self, key: KeyEntry, server: McpServerEntry, tools: Iterable[msgspec.Raw]) -> list[msgspec.Raw]:
        """Return the tools of a list that a key may call, as they are."""
        reach = self.gateway.reach(key)
        if reach is None:
            return list(tools)
        return [tool for tool in tools if reach.allows_tool(server.name, name_of(tool))]


class _Named(msgspec.Struct):
    name: str = ""


_NAMED = msgspec.json.Decoder(_Named)


def name_of(tool: msgspec.Raw) -> str:
    """Return the name of a tool in a list; empty where it has none."""
    try:
        return _NAMED.decode(tool).name
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def session_for_client(session: str, client: tuple[str, str]) -> str:
    """Return the id that a client is told of its session: the server's, and who the client said it was when it began.

    Revisions up to 2025-11-25 tell the client's name in `initialize` only. So it need not be remembered here, where the next
    request may come to another process.
    """
    if not client[0]:
        return session
    told = base64.urlsafe_b64encode(_ENCODE([part[:100] for part in client])).decode().rstrip("=")
    return f"{session}{_JOINT}{told}"


def session_at_server(session: str) -> tuple[str, tuple[str, str]]:
    """Return the id as the server knows it, and the client's name and version."""
    own, joint, told = session.rpartition(_JOINT)
    if not joint:
        return session, ("", "")
    try:
        name, version = msgspec.json.decode(
            base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)), type=tuple[str, str]
        )
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return session, ("", "")
    return own, (name, version)
