"""`/api/errors`: issues, their trend and samples, and what is decided about them."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from nexus.identity.guards import actor_of, organization_of, principal_of, requires
from nexus.issues import service
from nexus.issues.parameters import read_issues, read_samples, read_series
from nexus.issues.types import GROUPS, MAX_BULK, MAX_NOTE_CHARS, SORTS, STATUSES, Issue, IssuePage
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.metering.parameters import Parameters
from nexus.platform.web import Page, encode_cursor, web_state

AnyRequest = Request[Any, Any, Any]
Text = str | None
Texts = list[str] | None
Note = Annotated[str, msgspec.Meta(max_length=MAX_NOTE_CHARS, pattern=r"^[^\x00]*$")]
Ids = Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=MAX_BULK)]


def _text(name: str, description: str) -> Any:
    return QueryParameter(name=name, description=description)


From = Annotated[
    Text, _text("from", "Start of the range, RFC 3339; it belongs to the range. Default: a day before `to`.")
]
To = Annotated[Text, _text("to", "End of the range, RFC 3339; it no longer belongs to it. Default: now.")]
Interval = Annotated[Text, _text("interval", "Length of a point in UTC: `1h` (the default) or `1d`.")]
GroupBy = Annotated[Text, _text("group_by", f"Counts apart by one of {', '.join(GROUPS)}.")]
Limit = Annotated[Text, _text("limit", "Items on a page, 1 to 500. Default: 50.")]
Cursor = Annotated[Text, _text("cursor", "`next_cursor` of the page before.")]


class IssueChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to become of an issue; what is left out stays. `assignee_id` null: nobody's."""

    status: Literal["resolved", "ignored", "open"] | None = None
    assignee_id: UUID | msgspec.UnsetType | None = msgspec.UNSET
    notes: Note = ""
    """Why, where the status changes."""


class IssuesChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to become of several issues."""

    ids: Ids
    status: Literal["resolved", "ignored", "open"] | None = None
    assignee_id: UUID | msgspec.UnsetType | None = msgspec.UNSET
    notes: Note = ""


class Merge(msgspec.Struct, forbid_unknown_fields=True):
    """Issues to merge into the one of the path."""

    ids: Ids


class Split(msgspec.Struct, forbid_unknown_fields=True):
    """Causes that are to be an issue of their own."""

    fingerprints: Ids


class NewNote(msgspec.Struct, forbid_unknown_fields=True):
    """A note."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NOTE_CHARS, pattern=r"^[^\x00]*\S[^\x00]*$")]


def _parameters(request: AnyRequest) -> Parameters:
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(str(value))
    return found


@get("/", guards=[requires("error:read")], summary="Issues, one per cause")
async def list_issues(
    request: AnyRequest,
    status: Annotated[Texts, _text("status", f"Only these: {', '.join(STATUSES)}, or unresolved for two.")] = None,
    level: Annotated[Texts, _text("level", "Only these levels of the newest error.")] = None,
    category: Annotated[Texts, _text("category", "Only these categories.")] = None,
    severity: Annotated[Texts, _text("severity", "Only these severities, 1 to 5.")] = None,
    environment: Annotated[Texts, _text("environment", "Only what was seen in these environments.")] = None,
    service_name: Annotated[Texts, _text("service", "Only what was seen in these services.")] = None,
    service_version: Annotated[Texts, _text("service_version", "Only what was seen in these versions.")] = None,
    application: Annotated[Texts, _text("application", "Only what concerned these applications.")] = None,
    assignee: Annotated[Texts, _text("assignee", "Only whose issues: ids of members, `me` or `none`.")] = None,
    q: Annotated[
        Text, _text("q", 'Words of message, class or place, as in a web search: `refused -timeout "no route"`.')
    ] = None,
    start: Annotated[Text, _text("from", "Only what was last seen at or after this instant.")] = None,
    end: Annotated[Text, _text("to", "Only what was last seen before this instant.")] = None,
    sort: Annotated[Text, _text("sort", f"One of {', '.join(SORTS)}. Default: -last_seen.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Page[Issue]:
    """List issues, each with its count, first and last error, and the last day by hour.

    Counts are exact at this moment. The order is that of folded figures, a second or so behind.
    """
    state, organization_id = web_state(request), organization_of(request)
    now = state.clock.now()
    question = read_issues(_parameters(request), now, principal_of(request).user_id)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        items, last = await service.find_issues(connection, organization_id, question, now)
    return Page(items, encode_cursor(*last) if last else None)


@get("/values", guards=[requires("error:read")], summary="What issues can be filtered by")
async def get_values(request: AnyRequest) -> dict[str, list[str]]:
    """Return the environments, services, versions, applications and categories there are."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        return await service.values(connection, organization_id)


@get("/series", guards=[requires("error:read")], summary="Errors over time")
async def get_series(
    request: AnyRequest, start: From = None, end: To = None, interval: Interval = None, group_by: GroupBy = None
) -> Response[Any]:
    """Return how many errors there were in each hour or day of UTC; those without any are absent."""
    state, organization_id = web_state(request), organization_of(request)
    question = read_series(_parameters(request), state.clock.now())
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        return Response({"points": await service.series(connection, organization_id, question)})


@patch("/", guards=[requires("error:manage")], summary="Change several issues")
async def change_issues(request: AnyRequest, data: JSONBody[IssuesChange]) -> list[Issue]:
    """Resolve, ignore, open or assign issues, all or none."""
    ids = list(dict.fromkeys(data.ids))
    return await _change(request, ids, data.status, data.assignee_id, data.notes)


@get("/{issue_id:uuid}", guards=[requires("error:read")], summary="One issue")
async def get_issue(request: AnyRequest, issue_id: FromPath[UUID]) -> IssuePage:
    """Return an issue with its causes (why errors are grouped), where it was seen, and what happened to it.

    An issue that was merged says so in `merged_into`.
    """
    state, organization_id = web_state(request), organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        return await service.get_page(connection, organization_id, issue_id, state.clock.now())


@patch("/{issue_id:uuid}", guards=[requires("error:manage")], summary="Change an issue")
async def change_issue(request: AnyRequest, issue_id: FromPath[UUID], data: JSONBody[IssueChange]) -> Issue:
    """Resolve, ignore, open or assign an issue. A resolved one regresses when an error comes that happened later."""
    return (await _change(request, [issue_id], data.status, data.assignee_id, data.notes))[0]


async def _change(
    request: AnyRequest,
    ids: list[UUID],
    status: Literal["resolved", "ignored", "open"] | None,
    assignee_id: UUID | msgspec.UnsetType | None,
    notes: str,
) -> list[Issue]:
    if status is None and assignee_id is msgspec.UNSET:
        message = "say what is to change: status, assignee_id"
        raise InvalidRequest(message, faults=[FieldFault("status", message)])
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    now = state.clock.now()
    async with state.database.tenant(organization_id, actor) as connection:
        if status is not None:
            await service.set_status(connection, organization_id, ids, status, notes=notes, actor=actor, now=now)
        if not isinstance(assignee_id, msgspec.UnsetType):
            await service.assign(connection, organization_id, ids, assignee_id, actor=actor, now=now)
        return [await service.get_issue(connection, organization_id, one, now) for one in ids]


@get("/{issue_id:uuid}/samples", guards=[requires("error:read")], summary="Samples of an issue, newest first")
async def get_samples(
    request: AnyRequest, issue_id: FromPath[UUID], limit: Limit = None, cursor: Cursor = None
) -> Response[Any]:
    """Return some of the issue's errors: the first ones and the newest ones of each cause are kept, masked."""
    state, organization_id = web_state(request), organization_of(request)
    size, after = read_samples(_parameters(request), state.clock.now())
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        items, last = await service.samples(connection, organization_id, issue_id, after, size)
    return Response({"items": items, "next_cursor": encode_cursor(*last) if last else None})


@get("/{issue_id:uuid}/series", guards=[requires("error:read")], summary="Errors of an issue over time")
async def get_issue_series(
    request: AnyRequest,
    issue_id: FromPath[UUID],
    start: From = None,
    end: To = None,
    interval: Interval = None,
    group_by: Annotated[Text, _text("group_by", "Counts apart by level or environment.")] = None,
) -> Response[Any]:
    """Return how many of the issue's errors there were in each hour or day of UTC; those without any are absent."""
    state, organization_id = web_state(request), organization_of(request)
    question = read_series(_parameters(request), state.clock.now(), issue_id)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as connection:
        return Response({"points": await service.series(connection, organization_id, question)})


@post("/{issue_id:uuid}/merge", guards=[requires("error:manage")], status_code=200, summary="Merge issues")
async def merge(request: AnyRequest, issue_id: FromPath[UUID], data: JSONBody[Merge]) -> IssuePage:
    """Merge other issues into this one: their causes, counts and histories become its own."""
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    now = state.clock.now()
    async with state.database.tenant(organization_id, actor) as connection:
        await service.merge(connection, organization_id, issue_id, data.ids, actor=actor, now=now)
        return await service.get_page(connection, organization_id, issue_id, now)


@post("/{issue_id:uuid}/split", guards=[requires("error:manage")], summary="Split an issue")
async def split(request: AnyRequest, issue_id: FromPath[UUID], data: JSONBody[Split]) -> IssuePage:
    """Make an issue of its own of some causes, and return it; errors of these causes go to it from now on."""
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    now = state.clock.now()
    async with state.database.tenant(organization_id, actor) as connection:
        made = await service.split(connection, organization_id, issue_id, data.fingerprints, actor=actor, now=now)
        return await service.get_page(connection, organization_id, made, now)


@post("/{issue_id:uuid}/notes", guards=[requires("error:manage")], summary="Note something about an issue")
async def add_note(request: AnyRequest, issue_id: FromPath[UUID], data: JSONBody[NewNote]) -> IssuePage:
    """Add a note to an issue's history."""
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    now = state.clock.now()
    async with state.database.tenant(organization_id, actor) as connection:
        await service.note(connection, organization_id, issue_id, data.text, actor=actor, now=now)
        return await service.get_page(connection, organization_id, issue_id, now)


router = Router(
    "/api/errors",
    route_handlers=[
        list_issues, get_values, get_series, change_issues, get_issue, change_issue, get_samples, get_issue_series,
        merge, split, add_note,
    ],
    tags=["errors"],
)  # fmt: skip
