"""`/api/admission`: how limits stand and what they did, to be looked at."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.params import FromPath, FromQuery, QueryParameter

from nexus.admission import buckets, holds, store, views
from nexus.admission.errors import UnknownHold
from nexus.admission.view_types import (
    ActiveLimit,
    AdmissionStanding,
    ApplicationSummary,
    Hold,
    LowTokenEvent,
    TokenUsage,
)
from nexus.contracts.limits import Limit, LimitTable
from nexus.identity.guards import actor_of, organization_of, principal_of, requires, signed_in
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.platform.web import Page, check_limit, id_of, page_of, web_state

AnyRequest = Request[Any, Any, Any]
_HOLD_ID = re.compile(r"[A-Za-z0-9._:\-]{1,100}")
Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class LimitsInForce:
    """The limits that this process decides by; one without a data plane has none."""

    def __init__(
        self, table: Callable[[], LimitTable] = LimitTable, is_degraded: Callable[[], bool] = lambda: False
    ) -> None:
        self.table = table
        self.is_degraded = is_degraded


def limits_in_force(request: AnyRequest) -> LimitsInForce:
    """Return the limits of the process that serves this request."""
    return web_state(request).part(LimitsInForce, LimitsInForce)


@get("/standing", guards=[signed_in])
async def show_standing(request: AnyRequest) -> AdmissionStanding:
    """Tell whether limits are decided without Redis now, and how many hold by which failure policy then."""
    limits, organization_id = limits_in_force(request), principal_of(request).organization_id
    known = limits.table().limits.get(organization_id, ()) if organization_id is not None else ()
    return views.standing(known, is_degraded=limits.is_degraded())


def _limits_of(request: AnyRequest, organization_id: UUID) -> Sequence[Limit]:
    return limits_in_force(request).table().limits.get(organization_id, ())


@get("/active-limits", guards=[requires("quota:read")])
async def list_active_limits(request: AnyRequest) -> list[ActiveLimit]:
    """List the limits in force now, those of access keys too, in the order of their names."""
    organization_id = organization_of(request)
    limits = _limits_of(request, organization_id)
    await buckets.see_shares(web_state(request).redis, organization_id, limits)
    return views.active(limits)


@get("/token-usage", guards=[requires("quota:read")])
async def show_token_usage(
    request: AnyRequest,
    begins: Annotated[datetime | None, QueryParameter(name="from")] = None,
    ends: Annotated[datetime | None, QueryParameter(name="to")] = None,
    period: FromQuery[views.Period] = "day",
    bucket: FromQuery[str | None] = None,
) -> list[TokenUsage]:
    """Show what was taken from each bucket by day or hour (UTC), newest first: of the last week, or of a span.

    A span has at most 31 days by day and 7 days by hour.
    """
    organization_id, state = organization_of(request), web_state(request)
    for field, given in (("from", begins), ("to", ends)):
        if given is not None and given.tzinfo is None:
            raise InvalidRequest(
                f"{field}: give a time zone", faults=[FieldFault(field, "give a time zone, such as Z")]
            )
    if bucket is not None and ("\x00" in bucket or len(bucket) > 600):
        raise InvalidRequest("bucket: there is no such name", faults=[FieldFault("bucket", "see the list of buckets")])
    upto = ends or state.clock.now()
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as db:
        return await views.usage(
            db, organization_id, _limits_of(request, organization_id),
            begins=begins or upto - timedelta(days=7), ends=upto, period=period, bucket=bucket,
        )  # fmt: skip


@get("/holds/{hold_id:str}", guards=[requires("quota:read")])
async def show_hold(request: AnyRequest, hold_id: FromPath[str]) -> Hold:
    """Tell what became of a call that was held: what each limit had, was charged, and got back.

    The hold's id is what `/v1/admit` answered, or was given. The trail is read, which is up to a second behind.
    """
    if not _HOLD_ID.fullmatch(hold_id):
        # Nothing that admits calls takes such a name.
        raise UnknownHold("a hold's id has 1 to 100 letters, digits and . _ : -")
    organization_id, state = organization_of(request), web_state(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as db:
        return await holds.explain(db, state.redis, organization_id, _limits_of(request, organization_id), hold_id)


@get("/application-summaries", guards=[requires("quota:read")])
async def summarise_applications(request: AnyRequest) -> list[ApplicationSummary]:
    """Show what each application took of its own limits in the last 24 hours."""
    organization_id, state = organization_of(request), web_state(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as db:
        return await views.day_of_applications(
            db, organization_id, _limits_of(request, organization_id), state.clock.now()
        )


@get("/low-token-events", guards=[requires("quota:read")])
async def list_low_token_events(
    request: AnyRequest,
    is_open: Annotated[bool, QueryParameter(name="open")] = False,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[LowTokenEvent]:
    """List the times in which buckets were low, newest first; with `open`, those that are."""
    check_limit(limit)
    before = id_of(cursor)
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.many(db, LowTokenEvent, "list_low_token_events", before, is_open, limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


HANDLERS = [
    show_standing,
    list_active_limits,
    show_token_usage,
    show_hold,
    summarise_applications,
    list_low_token_events,
]
