"""`/api/storage`: IOPS, bandwidth and latency by application, cluster and operation; windows one by one; limits beside them."""

from typing import Annotated, Any

from litestar import Request, Response, Router, get
from litestar.params import QueryParameter

from nexus.admission.view_routes import limits_in_force
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.metering.parameters import Parameters
from nexus.platform.web import encode_cursor, web_state
from nexus.storage import service
from nexus.storage.parameters import SORTS, read_range, read_series, read_summary, read_windows
from nexus.storage.types import DIMENSIONS

AnyRequest = Request[Any, Any, Any]
Text = str | None
Texts = list[str] | None


def _text(name: str, description: str) -> Any:
    return QueryParameter(name=name, description=description)


From = Annotated[
    Text, _text("from", "Start of the range, RFC 3339; it belongs to the range. Default: a day before `to`.")
]
To = Annotated[Text, _text("to", "End of the range, RFC 3339; it no longer belongs to it. Default: now.")]
GroupBy = Annotated[Texts, _text("group_by", f"Dimensions to keep apart: {', '.join(DIMENSIONS)}.")]
Application = Annotated[Texts, _text("application", "Only these applications; empty: windows that did not say.")]
Cluster = Annotated[Texts, _text("cluster", "Only these clusters.")]
Operation = Annotated[Texts, _text("operation", "Only these kinds of operations.")]
Sort = Annotated[Text, _text("sort", f"Order by one of {', '.join(SORTS)}; the largest first. Default: operations.")]
Limit = Annotated[Text, _text("limit", "Items on a page, 1 to 500. Default: 50.")]
Cursor = Annotated[Text, _text("cursor", "`next_cursor` of the page before.")]
IntervalText = Annotated[Text, _text("interval", "Length of a point: 1m, 5m, 15m, 1h, 1d, 1w or 1mo.")]
Tz = Annotated[Text, _text("tz", "Zone in which days begin, such as Europe/Berlin. Default: UTC.")]


def _parameters(request: AnyRequest) -> Parameters:
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(str(value))
    return found


@get("/summary", guards=[requires("metrics:read")], summary="IOPS, bandwidth and latency by application")
async def get_summary(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    group_by: GroupBy = None,
    sort: Sort = None,
    limit: Limit = None,
    cursor: Cursor = None,
    application: Application = None,
    cluster: Cluster = None,
    operation: Operation = None,
) -> Response[Any]:
    """Give each group's operations, bytes, mean rates, highest rates of single windows, and latency over the range."""
    state = web_state(request)
    question, ranking = read_summary(_parameters(request), state.clock.now())
    organization_id = organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        answer, has_more = await service.summary(
            connection, organization_id, question, sort=ranking.sort, limit=ranking.limit, skip=ranking.skip
        )
    return Response(answer | {"next_cursor": encode_cursor(ranking.skip + ranking.limit) if has_more else None})


@get("/series", guards=[requires("metrics:read")], summary="IOPS, bandwidth and latency over time")
async def get_series(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    interval: IntervalText = None,
    tz: Tz = None,
    group_by: GroupBy = None,
    application: Application = None,
    cluster: Cluster = None,
    operation: Operation = None,
) -> Response[Any]:
    """Give the figures at each point; rates are means over the point, as far as it is over."""
    state = web_state(request)
    question = read_series(_parameters(request), state.clock.now())
    organization_id = organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        return Response(await service.series(connection, organization_id, question))


@get("/windows", guards=[requires("metrics:read")], summary="Reported windows, newest first")
async def list_windows(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    limit: Limit = None,
    cursor: Cursor = None,
    application: Application = None,
    cluster: Cluster = None,
    operation: Operation = None,
) -> Response[Any]:
    """List the windows as they were reported."""
    state = web_state(request)
    question = read_windows(_parameters(request), state.clock.now())
    organization_id = organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        items, last = await service.windows(connection, organization_id, question)
    return Response({"items": items, "next_cursor": encode_cursor(*last) if last else None})


@get(
    "/limits", guards=[requires("quota:read")], summary="Limits on operations and bytes, and what was admitted of them"
)
async def get_limits(request: AnyRequest, start: From = None, end: To = None) -> Response[Any]:
    """Give applications' limits on operations and bytes in force now, and the units they were admitted in the range.

    Limits count units, by the weights of the cost rules, where windows count operations. A range beyond 31 days has no
    `admitted`.
    """
    state = web_state(request)
    begins, ends = read_range(_parameters(request), state.clock.now())
    organization_id = organization_of(request)
    known = limits_in_force(request).table().limits.get(organization_id, ())
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        return Response(await service.limits(connection, organization_id, known, start=begins, end=ends))


router = Router("/api/storage", route_handlers=[get_summary, get_series, list_windows, get_limits], tags=["storage"])
