"""`/api/mcp`: tools, servers and clients by calls, failures and durations; calls and requests one by one."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, Router, get
from litestar.params import FromPath, QueryParameter

from nexus.identity.guards import actor_of, organization_of, requires
from nexus.mcp import service
from nexus.mcp.parameters import read_groups, read_rows, read_series, read_uncalled
from nexus.mcp.server_routes import HANDLERS as SERVER_HANDLERS
from nexus.mcp.types import OUTCOMES, REQUESTS, SORTS, TOOLS
from nexus.metering.cube import Cube
from nexus.metering.parameters import Parameters, read_call_instant
from nexus.platform.web import encode_cursor, web_state

AnyRequest = Request[Any, Any, Any]
Text = str | None
Texts = list[str] | None


def _text(name: str, description: str) -> Any:
    return QueryParameter(name=name, description=description)


From = Annotated[
    Text, _text("from", "Start of the range, RFC 3339; it belongs to the range. Default: a day before `to`.")
]
To = Annotated[Text, _text("to", "End of the range, RFC 3339; it no longer belongs to it. Default: now.")]
Server = Annotated[Texts, _text("server", "Only these servers; empty: calls that did not say.")]
Tool = Annotated[Texts, _text("tool", "Only these tools.")]
Method = Annotated[Texts, _text("method", "Only these methods of the protocol.")]
OutcomeText = Annotated[Texts, _text("outcome", f"Only these outcomes: {', '.join(OUTCOMES)}.")]
StatusCode = Annotated[Texts, _text("status_code", "Only these HTTP statuses.")]
Principal = Annotated[Texts, _text("principal", "Only what these principals called: a user, or `key:` and a key's id.")]
Client = Annotated[Texts, _text("client", "Only what came through these clients.")]
ClientVersion = Annotated[Texts, _text("client_version", "Only these versions of clients.")]
Sort = Annotated[Text, _text("sort", f"Order by one of {', '.join(SORTS)}; the largest first. Default: calls.")]
Limit = Annotated[Text, _text("limit", "Items on a page, 1 to 500. Default: 50.")]
Cursor = Annotated[Text, _text("cursor", "`next_cursor` of the page before.")]
IntervalText = Annotated[Text, _text("interval", "Length of a point: 1m, 5m, 15m, 1h, 1d, 1w or 1mo.")]
Tz = Annotated[Text, _text("tz", "Zone in which days begin, such as Europe/Berlin. Default: UTC.")]
Failed = Annotated[Text, _text("failed", "`true`: only what failed.")]
RowSort = Annotated[Text, _text("sort", "`-timestamp` (the default) or `-duration_ms`, which has one page.")]
TraceId = Annotated[Texts, _text("trace_id", "Only what belongs to these traces.")]
SessionId = Annotated[Texts, _text("session_id", "Only what belongs to these sessions of the protocol.")]
ErrorType = Annotated[Texts, _text("error_type", "Only errors of these classes.")]


def _parameters(request: AnyRequest) -> Parameters:
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(str(value))
    return found


async def _ranked(
    request: AnyRequest, cube: Cube, group_by: tuple[str, ...], distinct: tuple[str, ...] = ()
) -> Response[Any]:
    state = web_state(request)
    question, ranking = read_groups(_parameters(request), state.clock.now(), cube, group_by)
    organization_id = organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        answer, has_more = await service.groups(
            connection,
            organization_id,
            cube,
            question,
            sort=ranking.sort,
            limit=ranking.limit,
            skip=ranking.skip,
            distinct=distinct,
        )
    return Response(answer | {"next_cursor": encode_cursor(ranking.skip + ranking.limit) if has_more else None})


async def _series(request: AnyRequest, cube: Cube) -> Response[Any]:
    state = web_state(request)
    question = read_series(_parameters(request), state.clock.now(), cube)
    organization_id = organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        return Response(await service.series(connection, organization_id, cube, question))


async def _listed(request: AnyRequest, cube: Cube) -> Response[Any]:
    state = web_state(request)
    question = read_rows(_parameters(request), state.clock.now(), cube)
    organization_id = organization_of(request)
    read = service.tool_calls if cube is TOOLS else service.requests
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        items, last = await read(connection, organization_id, question)
    return Response({"items": items, "next_cursor": encode_cursor(*last) if last else None})


@get("/tools", guards=[requires("metrics:read")], summary="Tools by calls, failures and durations")
async def get_tools(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    sort: Sort = None,
    limit: Limit = None,
    cursor: Cursor = None,
    server: Server = None,
    tool: Tool = None,
    outcome: OutcomeText = None,
    principal: Principal = None,
    client: Client = None,
    client_version: ClientVersion = None,
) -> Response[Any]:
    """Return the figures of each tool of each server, and of all together.

    `tool_errors` are answers of tools that say they failed, `protocol_errors` calls that got no answer of the tool.
    Percentiles are within `duration_error_bound`; all else is exact.
    """
    return await _ranked(request, TOOLS, ("server", "name"), ("principals", "clients"))


@get("/tools/series", guards=[requires("metrics:read")], summary="Tool calls over time")
async def get_tools_series(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    interval: IntervalText = None,
    tz: Tz = None,
    server: Server = None,
    tool: Tool = None,
    outcome: OutcomeText = None,
    principal: Principal = None,
    client: Client = None,
    client_version: ClientVersion = None,
) -> Response[Any]:
    """Return the figures of the chosen tool calls at each point of time, and how their durations are distributed.

    One tool is chosen with `server` and `tool`. Points without calls are absent.
    """
    return await _series(request, TOOLS)


@get("/tools/uncalled", guards=[requires("metrics:read")], summary="Tools that nobody called")
async def get_uncalled_tools(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    server: Annotated[Text, _text("server", "Only of this server.")] = None,
) -> Response[Any]:
    """Return the tools that servers listed in the range (`tools/list`) and that nobody called in it: at most 500.

    A list is known where its request was recorded with the tools' names, as the gateway and the Python middleware do.
    """
    state = web_state(request)
    first, last, only = read_uncalled(_parameters(request), state.clock.now())
    organization_id = organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        items = await service.uncalled_tools(connection, organization_id, start=first, end=last, server=only)
    return Response({"items": items})


@get("/servers", guards=[requires("metrics:read")], summary="Servers by calls, failures and durations")
async def get_servers(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    sort: Sort = None,
    limit: Limit = None,
    cursor: Cursor = None,
    server: Server = None,
    principal: Principal = None,
    client: Client = None,
) -> Response[Any]:
    """Return the figures of the tool calls of each server."""
    return await _ranked(request, TOOLS, ("server",), ("principals", "clients"))


@get("/clients", guards=[requires("metrics:read")], summary="Clients by calls, failures and durations")
async def get_clients(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    sort: Sort = None,
    limit: Limit = None,
    cursor: Cursor = None,
    server: Server = None,
    principal: Principal = None,
    client: Client = None,
    client_version: ClientVersion = None,
) -> Response[Any]:
    """Return the figures of the tool calls that came through each client and version."""
    return await _ranked(request, TOOLS, ("client", "client_version"), ("principals",))


@get("/principals", guards=[requires("metrics:read")], summary="Principals by calls, failures and durations")
async def get_principals(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    sort: Sort = None,
    limit: Limit = None,
    cursor: Cursor = None,
    server: Server = None,
    principal: Principal = None,
    client: Client = None,
) -> Response[Any]:
    """Return the figures of the tool calls of each principal: a user, or `key:` and an access key's id."""
    return await _ranked(request, TOOLS, ("principal",), ("clients",))


@get("/tool-calls", guards=[requires("metrics:read")], summary="Tool calls, newest first")
async def get_tool_calls(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    limit: Limit = None,
    cursor: Cursor = None,
    sort: RowSort = None,
    failed: Failed = None,
    parameters: Annotated[
        Text,
        _text(
            "parameters",
            'JSON object that the parameters must hold, as {"path": "/etc"}; with it filter by server, tool or outcome only.',
        ),
    ] = None,
    server: Server = None,
    tool: Tool = None,
    outcome: OutcomeText = None,
    principal: Principal = None,
    client: Client = None,
    client_version: ClientVersion = None,
    trace_id: TraceId = None,
    session_id: SessionId = None,
    error_type: ErrorType = None,
) -> Response[Any]:
    """Return tool calls page by page, without their parameters and responses, which each call's own page holds."""
    return await _listed(request, TOOLS)


@get("/tool-calls/{call_id:uuid}", guards=[requires("metrics:read")], summary="One tool call")
async def get_tool_call(
    request: AnyRequest,
    call_id: FromPath[UUID],
    at: Annotated[
        Text, _text("at", "The call's timestamp. Needed where its id is no UUIDv7, which carries its time.")
    ] = None,
) -> Response[Any]:
    """Return a tool call with its masked parameters and response, and as `trace` the tool calls of its trace.

    `session` is the protocol's (`source`: `protocol`) or, where there is none, a window of activity of the same principal
    and client without a pause of more than half an hour (`source`: `derived`).
    """
    state = web_state(request)
    organization_id = organization_of(request)
    moment = read_call_instant(_parameters(request), state.clock.now())
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        return Response(await service.tool_call(connection, organization_id, call_id, at=moment))


@get("/requests", guards=[requires("metrics:read")], summary="Requests by method and status")
async def get_requests(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    sort: Sort = None,
    limit: Limit = None,
    cursor: Cursor = None,
    server: Server = None,
    method: Method = None,
    outcome: OutcomeText = None,
    status_code: StatusCode = None,
) -> Response[Any]:
    """Return the figures of each method and HTTP status; over stdio there is no status."""
    return await _ranked(request, REQUESTS, ("name", "status_code"))


@get("/requests/log", guards=[requires("metrics:read")], summary="Requests, newest first")
async def get_requests_log(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    limit: Limit = None,
    cursor: Cursor = None,
    sort: RowSort = None,
    failed: Failed = None,
    server: Server = None,
    method: Method = None,
    outcome: OutcomeText = None,
    status_code: StatusCode = None,
    principal: Principal = None,
    client: Client = None,
    client_version: ClientVersion = None,
    trace_id: TraceId = None,
    session_id: SessionId = None,
    error_type: ErrorType = None,
) -> Response[Any]:
    """Return requests page by page, without their bodies."""
    return await _listed(request, REQUESTS)


router = Router(
    "/api/mcp",
    route_handlers=[
        get_tools,
        get_tools_series,
        get_uncalled_tools,
        get_servers,
        get_clients,
        get_principals,
        get_tool_calls,
        get_tool_call,
        get_requests,
        get_requests_log,
        *SERVER_HANDLERS,
    ],
    tags=["mcp"],
)
