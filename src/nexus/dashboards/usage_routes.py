"""`/api/dashboards/usage`: how Nexus's own pages are used."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import JSONBody, QueryParameter

from nexus.dashboards import usage
from nexus.dashboards.usage import LONGEST_MS, Event, Page, Usage
from nexus.identity.guards import organization_of, principal_of, requires, signed_in
from nexus.kit.errors import Forbidden
from nexus.platform.db.secrets import secret_keys
from nexus.platform.web import web_state

AnyRequest = Request[Any, Any, Any]


class UsageEvent(msgspec.Struct, forbid_unknown_fields=True):
    """Something a person did on a page, and how long it took."""

    event: Event
    page: Page
    duration_ms: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_MS)] = 0


class UsageEvents(msgspec.Struct, forbid_unknown_fields=True):
    """What a page saw since it last told."""

    events: Annotated[list[UsageEvent], msgspec.Meta(min_length=1, max_length=200)]


class VisitorSecret(str):
    """What hides who a visitor is, read once for each process."""

    __slots__ = ()


@post("/dashboards/usage", guards=[signed_in], status_code=204)
async def count_usage(request: AnyRequest, data: JSONBody[UsageEvents]) -> Response[None]:
    """Count what a person did. While analytics are off nothing is kept, and the answer is the same."""
    principal, state = principal_of(request), web_state(request)
    if principal.user_id is None or principal.kind != "user":
        raise Forbidden("only the use by people is counted")
    organization_id = organization_of(request)
    secret = state.part(VisitorSecret, lambda: VisitorSecret(secret_keys(state.settings)[0]))
    visitor = usage.visitor_of(secret, organization_id, principal.user_id, state.clock.now())
    events = [(item.event, item.page, item.duration_ms) for item in data.events]
    async with state.database.tenant(organization_id) as connection:
        await usage.count(connection, organization_id, visitor, events)
    return Response(None, status_code=204)


@get("/dashboards/usage", guards=[requires("organization:update")])
async def read_usage(
    request: AnyRequest,
    days: Annotated[int, QueryParameter(description="How many days back, 1 to 365.", ge=1, le=365)] = 30,
) -> Usage:
    """Tell how the organization uses Nexus: events and visitors per day and page, and what was made."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, readonly=True) as connection:
        return await usage.report(connection, organization_id, days)


HANDLERS = [count_usage, read_usage]
