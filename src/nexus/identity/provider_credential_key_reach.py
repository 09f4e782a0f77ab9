"""What an access key may use through the gateway: providers and MCP servers by name; models, endpoints, tools by pattern."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec

from nexus.identity.errors import UnknownAccessKey
from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.identity")
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Patterns = Annotated[list[Pattern], msgspec.Meta(min_length=1, max_length=100)]


class KeyReach(msgspec.Struct, forbid_unknown_fields=True):
    """What a key may use; what is null is not limited. In patterns `*` stands for anything."""

    providers: Patterns | None = None
    models: Patterns | None = None
    endpoints: Patterns | None = None
    mcp_servers: Patterns | None = None
    mcp_tools: Patterns | None = None
    """Patterns of `server/tool`."""


async def get(connection: Connection, organization_id: UUID, key_id: UUID) -> KeyReach:
    """Return what a key may use, as set for itself."""
    record = await connection.fetchrow(QUERIES["key_reach"], organization_id, key_id)
    if record is None:
        raise UnknownAccessKey
    return KeyReach(
        record["providers"], record["models"], record["endpoints"], record["mcp_servers"], record["mcp_tools"]
    )


async def put(connection: Connection, organization_id: UUID, key_id: UUID, reach: KeyReach) -> KeyReach:
    """Set what a key, and the keys it is rotated to, may use. In force within a second."""
    await get(connection, organization_id, key_id)
    await connection.execute(
        QUERIES["set_key_reach"],
        organization_id,
        key_id,
        reach.providers,
        reach.models,
        reach.endpoints,
        reach.mcp_servers,
        reach.mcp_tools,
    )
    return await get(connection, organization_id, key_id)
