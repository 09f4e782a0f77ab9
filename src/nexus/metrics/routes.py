"""`/api/metrics`: metrics that programs send, their labels, what they come to over time, and their newest values."""

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, get
from litestar.params import QueryParameter

from nexus.contracts.metric_records import KINDS
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.metering.parameters import Parameters
from nexus.metrics import exposition, service
from nexus.metrics.parameters import read_exposition, read_labels, read_metrics, read_series
from nexus.metrics.types import OWN_LABELS, PERIODS, LabelValues, Metric, SeriesUsage
from nexus.platform.web import Page, encode_cursor, web_state

AnyRequest = Request[Any, Any, Any]
Text = str | None
Texts = list[str] | None


def _text(name: str, description: str) -> Any:
    return QueryParameter(name=name, description=description)


Name = Annotated[Text, _text("name", "The metric's name. Required.")]
Kind = Annotated[Text, _text("kind", f"The metric's kind, where its name has several: {', '.join(KINDS)}.")]
Unit = Annotated[Text, _text("unit", "The metric's unit, where its name has several; empty for none.")]
Service = Annotated[Texts, _text("service", "Only series of these services. `label.…` filters by other labels.")]
Environment = Annotated[Texts, _text("environment", "Only series of these environments.")]
OfApplication = Annotated[Texts, _text("application", "Only series of these applications.")]
Instance = Annotated[Texts, _text("instance", "Only series of these copies of a program.")]


def _parameters(request: AnyRequest) -> Parameters:
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(str(value))
    return found


@get("/", guards=[requires("metrics:read")], summary="Metrics that programs send")
async def list_metrics(
    request: AnyRequest,
    q: Annotated[Text, _text("q", "Part of the name.")] = None,
    kind: Annotated[Text, _text("kind", f"Only these: {', '.join(KINDS)}.")] = None,
    limit: Annotated[Text, _text("limit", "Items on a page, 1 to 500. Default: 50.")] = None,
    cursor: Annotated[Text, _text("cursor", "`next_cursor` of the page before.")] = None,
) -> Page[Metric]:
    """List metrics by name, each with its kind, unit, how many series it has and when the newest point was."""
    state, organization_id = web_state(request), organization_of(request)
    question = read_metrics(_parameters(request), state.clock.now())
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        items, last = await service.find_metrics(connection, organization_id, question)
    return Page(items, encode_cursor(*last) if last else None)


@get("/usage", guards=[requires("metrics:read")], summary="Active series, and how many may be")
async def get_usage(request: AnyRequest) -> SeriesUsage:
    """Return how many series of the organization's metrics are active, of how many that may be, and what was refused.

    A series is active from its first point on until it had none for a day (`limits.metric_series_idle_hours`).
    """
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        return await service.series_usage(connection, organization_id)


@get("/labels", guards=[requires("metrics:read")], summary="Labels of a metric, and their values")
async def get_labels(
    request: AnyRequest,
    name: Name = None,
    kind: Kind = None,
    unit: Unit = None,
    service_name: Service = None,
    environment: Environment = None,
    application: OfApplication = None,
    instance: Instance = None,
) -> list[LabelValues]:
    """Return by what a metric can be filtered and grouped: the labels of its series, 200 values of each at most."""
    state, organization_id = web_state(request), organization_of(request)
    metric, filters = read_labels(_parameters(request), state.clock.now())
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        return await service.labels(connection, organization_id, metric, filters)


@get("/series", guards=[requires("metrics:read")], summary="A metric over time")
async def get_series(
    request: AnyRequest,
    name: Name = None,
    kind: Kind = None,
    unit: Unit = None,
    start: Annotated[
        Text, _text("from", "Start of the range, RFC 3339, widened to a whole period. Default: a day before `to`.")
    ] = None,
    end: Annotated[Text, _text("to", "End of the range, RFC 3339, widened to a whole period. Default: now.")] = None,
    period: Annotated[
        Text, _text("period", f"Length of a point in UTC: {', '.join(PERIODS)}; weeks begin on Monday. Default: 1m.")
    ] = None,
    group_by: Annotated[
        Text, _text("group_by", f"Figures apart by labels: {', '.join(OWN_LABELS)} and `label.…`, four at most.")
    ] = None,
    aggregations: Annotated[
        Text, _text("aggregations", "Only these, such as `p50,p95` or `rate`. Default: all that the kind has.")
    ] = None,
    service_name: Service = None,
    environment: Environment = None,
    application: OfApplication = None,
    instance: Instance = None,
) -> Response[Any]:
    """Return what a metric's series come to in each period, added up by group; periods without a point are absent.

    A counter has `increase` and `rate` (a second); a gauge `avg`, `min`, `max`, `last` and `sum` (of the newest value of
    each series); a histogram `count`, `rate`, `sum`, `avg`, `min`, `max` and percentiles, with `within` telling between
    what the percentile of the single values lies: the ends of its bucket; a summary `count`, `rate`, `sum`, `avg` and,
    of one series alone, its newest `quantiles`. The 50 largest groups are given. Figures are exact at this moment.
    """
    state, organization_id = web_state(request), organization_of(request)
    now = state.clock.now()
    question = read_series(_parameters(request), now)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        answer = await service.series(connection, organization_id, question, now)
    # Written beside the event loop too: there may be tens of thousands of points.
    return Response(await asyncio.to_thread(msgspec.json.encode, answer), media_type="application/json")


@get("/prometheus", guards=[requires("metrics:read")], media_type="text/plain", summary="Newest values for Prometheus")
async def get_exposition(
    request: AnyRequest,
    name: Annotated[Texts, _text("name", "Only metrics of these names. Default: all.")] = None,
    within_seconds: Annotated[
        Text, _text("within_seconds", "Series without a point for so long are left out. Default: 3600.")
    ] = None,
) -> Response[bytes]:
    """Return the newest values of the organization's metrics in Prometheus's text format, or as OpenMetrics.

    OpenMetrics is for who asks for it with `Accept: application/openmetrics-text`.
    """
    state, organization_id = web_state(request), organization_of(request)
    question = read_exposition(_parameters(request), state.clock.now())
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        families = await exposition.exposed(connection, organization_id, question)
    is_openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
    return Response(
        await asyncio.to_thread(exposition.write, families, is_openmetrics=is_openmetrics),
        media_type=exposition.OPENMETRICS if is_openmetrics else exposition.TEXT,
    )


router = Router(
    "/api/metrics", route_handlers=[list_metrics, get_usage, get_labels, get_series, get_exposition], tags=["metrics"]
)
