"""MCP servers behind the gateway as the data plane sees them: small immutable entries of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

AUTH_FORMS = ("bearer", "x-api-key", "api-key", "basic", "none")
"""How the secret is sent to a server over HTTP: `basic` takes `user:password`, `none` sends nothing."""
HTTP, STDIO = "streamable_http", "stdio"
TRANSPORTS = (HTTP, STDIO)
SEPARATOR = "__"
"""Between a server's name and a tool's in the list of all servers' tools. No server's name holds it."""

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NO_PRICES: Mapping[str, int] = MappingProxyType({})


def server_context(organization_id: UUID, server_id: UUID) -> bytes:
    """Return what a sealed secret of a server is bound to, so that it opens in its own row only."""
    return b"mcp server" + organization_id.bytes + server_id.bytes


@dataclass(frozen=True, slots=True)
class McpServerEntry:
    """What the gateway knows of an MCP server."""

    id: UUID
    organization_id: UUID
    name: str
    transport: str
    """One of `TRANSPORTS`."""
    url: str = ""
    """Of the server's endpoint, over HTTP."""
    command: tuple[str, ...] = ()
    """Program and arguments, over stdio."""
    auth_form: str = "none"
    secret: str = field(default="", repr=False)
    environment: Mapping[str, str] = field(default_factory=lambda: _NOTHING, repr=False)
    """Variables of the program, over stdio; they are secrets too."""
    timeout_seconds: int = 300
    price_nanos: int | None = None
    """What a tool call costs where the tool has no price of its own, in nanos of the
    organization's currency; None: nothing is said."""
    tool_prices: Mapping[str, int] = field(default_factory=lambda: _NO_PRICES)
    """Nanos by tool."""

    def price_of(self, tool: str) -> int | None:
        """Return what one call of a tool costs, in nanos of its organization's currency; None where nobody set a price."""
        return self.tool_prices.get(tool, self.price_nanos)
