"""`/api/metering`: summaries, series, raw calls, repricings; as JSON, CSV or Parquet."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, Router, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream

from nexus.identity.errors import MissingPermission
from nexus.identity.guards import actor_of, organization_of, principal_of, requires
from nexus.kit.errors import FieldFault
from nexus.metering import exports, repricing, service
from nexus.metering.errors import TooManyExports
from nexus.metering.parameters import Parameters, read_call_instant, read_calls_question, read_question
from nexus.metering.types import SORTS, CallsQuestion, Question, Repricing, RepricingNew
from nexus.platform.web import Page, WebState, decode_cursor, encode_cursor, web_state
from nexus.platform.web.pages import check_limit

AnyRequest = Request[Any, Any, Any]
Text = str | None
Texts = list[str] | None


def _text(name: str, description: str) -> Any:
    return QueryParameter(name=name, description=description)


From = Annotated[
    Text, _text("from", "Start of the range, RFC 3339; it belongs to the range. Default: a day before `to`.")
]
To = Annotated[Text, _text("to", "End of the range, RFC 3339; it no longer belongs to it. Default: now.")]
GroupBy = Annotated[
    Texts,
    _text(
        "group_by",
        "Dimensions, with commas or repeated: provider, model, endpoint, method, region, status_code, key, application,"
        " user, currency, tag:<name>.",
    ),
]
Metrics = Annotated[Texts, _text("metrics", "Metrics to answer, with commas or repeated. Default: all.")]
Exact = Annotated[Text, _text("exact", "`true`: percentiles from the raw calls; for 24 hours at most.")]
Format = Annotated[Text, _text("format", "json, csv or parquet. Default: what `Accept` asks for.")]
IntervalText = Annotated[Text, _text("interval", "Length of a point: 1m, 5m, 15m, 1h, 1d, 1w or 1mo.")]
Tz = Annotated[Text, _text("tz", "Zone in which days begin, such as Europe/Berlin. Default: UTC.")]
Provider = Annotated[Texts, _text("provider", "Only these providers.")]
Model = Annotated[Texts, _text("model", "Only these models.")]
Endpoint = Annotated[Texts, _text("endpoint", "Only these endpoints.")]
Method = Annotated[Texts, _text("method", "Only these methods.")]
Region = Annotated[Texts, _text("region", "Only these regions.")]
StatusCode = Annotated[Texts, _text("status_code", "Only these status codes; 0 is no answer.")]
KeyId = Annotated[Texts, _text("key", "Only these access keys, by id; empty: calls without a key.")]
ApplicationName = Annotated[Texts, _text("application", "Only these applications.")]
User = Annotated[Texts, _text("user", "Only these users.")]
Currency = Annotated[Texts, _text("currency", "Only calls priced in these currencies.")]


def _parameters(request: AnyRequest) -> Parameters:
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(str(value))
    return found


def _form(request: AnyRequest, asked: str | None) -> str:
    """Return json, csv or parquet; exports need a permission of their own."""
    form = asked
    if form is None:
        accepted = request.headers.get("accept", "")
        named = {"text/csv": "csv", exports.PARQUET_TYPE: "parquet"}
        form = next((name for media_type, name in named.items() if media_type in accepted), "json")
    if form != "json" and not principal_of(request).may("metrics:export"):
        raise MissingPermission(
            "this needs the permission metrics:export", faults=[FieldFault("permission", "metrics:export")]
        )
    return form


def _export_headers(name: str, form: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="nexus-{name}.{form}"', "x-content-type-options": "nosniff"}


def _media_type(form: str) -> str:
    return exports.CSV_TYPE if form == "csv" else exports.PARQUET_TYPE


async def _answer(request: AnyRequest, name: str, question: Question, asked: str | None) -> Response[Any]:
    form = _form(request, asked)
    organization_id = organization_of(request)
    database = web_state(request).database
    async with database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        if form == "json":
            answered = await (service.series if question.interval else service.summary)(
                connection, organization_id, question
            )
            return Response(answered)
        rows = (await service.count(connection, organization_id, question)).export_rows()
    columns = exports.answer_columns(question)
    content = exports.export(columns, list(exports.answer_rows(columns, rows)), form)
    return Response(content, media_type=_media_type(form), headers=_export_headers(name, form))


@get("/summary", guards=[requires("metrics:read")], summary="Metrics over a range")
async def get_summary(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    group_by: GroupBy = None,
    metrics: Metrics = None,
    exact: Exact = None,
    form: Format = None,
    provider: Provider = None,
    model: Model = None,
    endpoint: Endpoint = None,
    method: Method = None,
    region: Region = None,
    status_code: StatusCode = None,
    key: KeyId = None,
    application: ApplicationName = None,
    user: User = None,
    currency: Currency = None,
) -> Response[Any]:
    """Return requests, errors, cost, model tokens and latency of each group of calls, and of all together.

    Filter by a tag with `tag:<name>=<value>`. Figures hold every call that is committed at `as_of`.
    """
    question, asked = read_question(_parameters(request), web_state(request).clock.now(), is_series=False)
    return await _answer(request, "summary", question, asked)


@get("/series", guards=[requires("metrics:read")], summary="Metrics over time")
async def get_series(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    interval: IntervalText = None,
    tz: Tz = None,
    group_by: GroupBy = None,
    metrics: Metrics = None,
    exact: Exact = None,
    form: Format = None,
    provider: Provider = None,
    model: Model = None,
    endpoint: Endpoint = None,
    method: Method = None,
    region: Region = None,
    status_code: StatusCode = None,
    key: KeyId = None,
    application: ApplicationName = None,
    user: User = None,
    currency: Currency = None,
) -> Response[Any]:
    """Return the metrics of each group at each point of time. Points and groups without calls are absent.

    `at` is where the point begins, which may lie before the range's start: only calls of the range are counted.
    Distinct users and endpoints are counted when `metrics` names them.
    """
    question, asked = read_question(_parameters(request), web_state(request).clock.now(), is_series=True)
    return await _answer(request, "series", question, asked)


class ExportSlots(asyncio.Semaphore):
    """The places for exports: each holds a connection for as long as its reader takes, and others need some."""


def _export_slots(state: WebState) -> ExportSlots:
    return state.part(ExportSlots, lambda: ExportSlots(max(1, state.settings.database_pool_size // 2)))


async def _exported_calls(
    state: WebState, organization_id: UUID, question: CallsQuestion, form: str
) -> AsyncIterator[bytes]:
    async with (
        _export_slots(state),
        state.database.tenant(organization_id, readonly=True, snapshot=True) as connection,
    ):
        chunks = service.stream_calls(connection, organization_id, question)
        values = ([exports.call_values(*call) for call in calls] async for calls in chunks)
        async for part in exports.export_stream(exports.CALL_COLUMNS, values, form):
            if part:
                yield part


@get("/calls", guards=[requires("metrics:read")], summary="Raw calls")
async def get_calls(
    request: AnyRequest,
    start: From = None,
    end: To = None,
    limit: Annotated[
        Text, _text("limit", "Calls on a page, 1 to 500. Default: 50. Exports hold the whole range.")
    ] = None,
    cursor: Annotated[Text, _text("cursor", "`next_cursor` of the page before.")] = None,
    sort: Annotated[
        Text,
        _text(
            "sort",
            f"Order by {', '.join(SORTS)}; descending with `-` before it. Default: -timestamp. Calls without the value come"
            " last. Any order but that of time reads the whole range.",
        ),
    ] = None,
    errors: Annotated[Text, _text("errors", "`true`: only calls that failed.")] = None,
    unpriced: Annotated[Text, _text("unpriced", "`true`: only calls whose cost is not known.")] = None,
    refused: Annotated[
        Text, _text("refused", "`true`: only calls that a limit refused; `false`: only those that were made.")
    ] = None,
    request_id: Annotated[Text, _text("request_id", "Only the calls of one request: the attempts it took.")] = None,
    form: Format = None,
    provider: Provider = None,
    model: Model = None,
    endpoint: Endpoint = None,
    method: Method = None,
    region: Region = None,
    status_code: StatusCode = None,
    key: KeyId = None,
    application: ApplicationName = None,
    user: User = None,
    currency: Currency = None,
) -> Response[Any] | Stream:
    """Return the calls of a range page by page, newest first unless `sort` says otherwise.

    As CSV or Parquet the whole range is streamed.
    """
    state = web_state(request)
    question, asked = read_calls_question(_parameters(request), state.clock.now())
    form = _form(request, asked)
    organization_id = organization_of(request)
    if form != "json":
        if _export_slots(state).locked():
            raise TooManyExports(retry_after_seconds=10)
        chunks = _exported_calls(state, organization_id, question, form)
        return Stream(chunks, media_type=_media_type(form), headers=_export_headers("calls", form))
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        items, last = await service.calls(connection, organization_id, question)
    return Response({"items": items, "next_cursor": encode_cursor(*last) if last else None})


@get("/calls/{call_id:uuid}", guards=[requires("metrics:read")], summary="One call")
async def get_call(
    request: AnyRequest,
    call_id: FromPath[UUID],
    at: Annotated[
        Text, _text("at", "The call's timestamp. Needed where its id is no UUIDv7, which carries its time.")
    ] = None,
) -> Response[Any]:
    """Return a call, and as `attempts` all calls of its request, itself among them, the first one first.

    A gateway's request is one call for each attempt. `metadata.gateway` says which attempt it was, whether the usage is
    exact or estimated, whether the client left, and how long after the request came it began (`queue_ms`).
    """
    organization_id = organization_of(request)
    moment = read_call_instant(_parameters(request), web_state(request).clock.now())
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        return Response(await service.call(connection, organization_id, call_id, at=moment))


@post("/repricings", guards=[requires("metering:reprice")], status_code=202, summary="Reprice a range")
async def post_repricing(request: AnyRequest, data: JSONBody[RepricingNew]) -> Repricing:
    """Compute the cost of calls again from today's price book. It runs in the background and can be tried dry.

    Costs given by the caller stay unless `include_given`. Running it twice changes nothing more.
    """
    async with web_state(request).database.tenant(organization_of(request), actor_of(request)) as connection:
        return await repricing.start(connection, organization_of(request), data, at=web_state(request).clock.now())


@get("/repricings", guards=[requires("metrics:read")], summary="Repricings, newest first")
async def get_repricings(
    request: AnyRequest,
    limit: Annotated[int, QueryParameter(description="Items on a page, 1 to 500.")] = 50,
    cursor: Annotated[Text, _text("cursor", "`next_cursor` of the page before.")] = None,
) -> Page[Repricing]:
    """List the repricings of the organization with what they changed."""
    after = decode_cursor(cursor, tuple[UUID])[0] if cursor else None
    check_limit(limit)
    async with web_state(request).database.tenant(organization_of(request), readonly=True) as connection:
        items, last = await repricing.newest(connection, organization_of(request), limit=limit, after=after)
    return Page(items, encode_cursor(last) if last else None)


@get("/repricings/{repricing_id:uuid}", guards=[requires("metrics:read")], summary="One repricing")
async def get_repricing(request: AnyRequest, repricing_id: FromPath[UUID]) -> Repricing:
    """Return a repricing: how far it is, and totals before and after by provider and model."""
    async with web_state(request).database.tenant(organization_of(request), readonly=True) as connection:
        return await repricing.get(connection, organization_of(request), repricing_id)


router = Router(
    "/api/metering",
    route_handlers=[get_summary, get_series, get_calls, get_call, post_repricing, get_repricings, get_repricing],
    tags=["metering"],
)
