"""`/api/mcp/gateway-servers`: MCP servers that the organization offers under `/mcp`. No secret ever comes out."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, UnsetType

from nexus.identity.guards import actor_of, organization_of, principal_of, requires, sealer_of
from nexus.mcp import servers as service
from nexus.mcp.server_check import Check, ServerDesk
from nexus.mcp.servers import McpServer
from nexus.platform.web import Page, check_limit, page_of, web_state
from nexus.platform.web.pages import decode_cursor

AnyRequest = Request[Any, Any, Any]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"^[^\x00]*$")]
Text = Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00]*$")]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
Command = Annotated[list[Text], msgspec.Meta(max_length=50)]
Secret = Annotated[str, msgspec.Meta(max_length=service.MAX_SECRET_CHARS)]
Environment = dict[str, Secret]
Form = Annotated[str, msgspec.Meta(max_length=20)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=3600)]
Price = Annotated[str, msgspec.Meta(max_length=30)]


class ServerNew(msgspec.Struct, forbid_unknown_fields=True):
    """A server to offer: over HTTP with `url`, or as a program on this machine with `command`."""

    name: Name
    transport: Annotated[str, msgspec.Meta(max_length=20)] = "streamable_http"
    description: Text = ""
    url: Url | None = None
    command: Command | None = None
    auth_form: Form | None = None
    secret: Secret | None = None
    environment: Environment | None = None
    timeout_seconds: Seconds = 300
    price: Price | None = None
    tool_prices: dict[str, Price] | None = None
    is_enabled: bool = True


class ServerChange(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed of a server; what is left out stays."""

    name: Name | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    command: Command | UnsetType = UNSET
    auth_form: Form | UnsetType = UNSET
    secret: Secret | UnsetType | None = UNSET
    environment: Environment | UnsetType | None = UNSET
    timeout_seconds: Seconds | UnsetType = UNSET
    price: Price | UnsetType | None = UNSET
    tool_prices: dict[str, Price] | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET


def _powers(request: AnyRequest) -> dict[str, bool]:
    return {
        "may_run": principal_of(request).may("mcp_server:run"),
        "commands_are_on": web_state(request).settings.mcp_commands_are_on,
    }


@get("/gateway-servers", guards=[requires("mcp_server:read")], summary="MCP servers behind the gateway")
async def list_servers(
    request: AnyRequest,
    cursor: FromQuery[Annotated[str, msgspec.Meta(max_length=400)] | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[McpServer]:
    """List the MCP servers that the organization offers under `/mcp/{name}`, by name."""
    check_limit(limit)
    after = None if cursor is None else decode_cursor(cursor, tuple[str])[0]
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        found = await service.list_all(db, organization_id, after=after, limit=limit + 1)
    return page_of(found, limit, lambda item: (item.name,))


@post("/gateway-servers", guards=[requires("mcp_server:manage")], summary="Offer an MCP server")
async def create_server(request: AnyRequest, data: JSONBody[ServerNew]) -> McpServer:
    """Offer a server under `/mcp/{name}`, within a second.

    A server with a `command` is a program that Nexus starts on its machine: that needs the permission `mcp_server:run` and the
    setting NEXUS_MCP_COMMANDS.
    """
    state, organization_id = web_state(request), organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request)) as db:
        return await service.create(
            db, organization_id, sealer_of(request), msgspec.structs.asdict(data), **_powers(request),
            created_by=principal_of(request).user_id,
        )  # fmt: skip


@get("/gateway-servers/{server_id:uuid}", guards=[requires("mcp_server:read")], summary="One MCP server")
async def read_server(request: AnyRequest, server_id: FromPath[UUID]) -> McpServer:
    """Show one server."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        return await service.get(db, organization_id, server_id)


@patch("/gateway-servers/{server_id:uuid}", guards=[requires("mcp_server:manage")], summary="Change an MCP server")
async def change_server(request: AnyRequest, server_id: FromPath[UUID], data: JSONBody[ServerChange]) -> McpServer:
    """Change a server, its secret too; within a second."""
    state, organization_id = web_state(request), organization_of(request)
    changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    async with state.database.tenant(organization_id, actor_of(request)) as db:
        return await service.change(db, organization_id, sealer_of(request), server_id, changes, **_powers(request))


@delete("/gateway-servers/{server_id:uuid}", guards=[requires("mcp_server:manage")], summary="Remove an MCP server")
async def delete_server(request: AnyRequest, server_id: FromPath[UUID]) -> None:
    """Offer a server no longer, within a second. What was recorded of it stays."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        await service.delete(db, organization_id, server_id)


@post("/gateway-servers/{server_id:uuid}/test", guards=[requires("mcp_server:manage")], status_code=200,
      summary="Ask an MCP server for its tools")  # fmt: skip
async def test_server(request: AnyRequest, server_id: FromPath[UUID]) -> Check:
    """Ask a server, as it is now, who it is and which tools it has. No tool is called."""
    state, organization_id = web_state(request), organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as db:
        server = await service.get(db, organization_id, server_id)
    return await state.part(ServerDesk, ServerDesk).check(organization_id, server)


HANDLERS = [list_servers, create_server, read_server, change_server, delete_server, test_server]
