"""`/api/costs`: budgets, how they stand, who spends them, their events; exchange rates."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Router, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from nexus.costs import service, store
from nexus.costs.counters import read_held
from nexus.costs.rate_routes import import_rates, list_rates
from nexus.costs.types import (
    Breakdown,
    Budget,
    BudgetChange,
    BudgetDetail,
    BudgetEvent,
    BudgetNew,
    BudgetStanding,
    Preview,
)
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.metering.types import COLUMNS, TAG_PREFIX
from nexus.platform.web import Page, WebState, check_limit, decode_cursor, id_of, page_of, web_state

AnyRequest = Request[Any, Any, Any]
At = Annotated[
    str | None, QueryParameter(name="at", description="An instant of the period that is asked for. Default: now.")
]
OfSubject = Annotated[
    str | None,
    QueryParameter(name="subject", description="Of a budget for each of a scope: whose. Default: who has spent most."),
]
_DIMENSIONS = tuple(name for name in COLUMNS if name != "currency")


class ChangeTried(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A budget that is not made yet, or a change that is not: give one of the two."""

    new: BudgetNew | None = None
    change: BudgetChange | None = None
    budget_id: UUID | None = None
    """Which budget the change is of."""


def _instant(text: str | None, state: WebState) -> datetime:
    if text is None:
        return state.clock.now()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or not 1980 <= at.year < 2200:
        message = "give an instant such as 2026-11-01T00:00:00Z"
        raise InvalidRequest(f"at: {message}", faults=[FieldFault("at", message)])
    return at


def _subject(text: str | None) -> str | None:
    if text is not None and ("\x00" in text or len(text) > 500):
        raise InvalidRequest("subject: no such", faults=[FieldFault("subject", "give at most 500 characters, no NUL")])
    return text


@get("/budgets", guards=[requires("budget:read")])
async def list_budgets(
    request: AnyRequest,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
    inactive: FromQuery[bool] = False,
) -> Page[BudgetStanding]:
    """List budgets and how they stand now; with `inactive` also those that are switched off."""
    check_limit(limit)
    after, state, organization_id = id_of(cursor), web_state(request), organization_of(request)
    now = state.clock.now()
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as db:
        found = await store.many(db, Budget, "list_budgets", None, after, limit + 1, inactive)
        page = page_of(found, limit, lambda item: (item.id,))
        held = await read_held(state.redis, organization_id, page.items, now)
        return Page(await service.standings(db, organization_id, page.items, now, held), page.next_cursor)


@post("/budgets", guards=[requires("budget:write")])
async def create_budget(request: AnyRequest, data: JSONBody[BudgetNew]) -> Budget:
    """Make a budget. One that pauses is in force in every process within a second, from what was spent already."""
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    async with state.database.tenant(organization_id, actor) as db:
        return await service.create(db, organization_id, data, author=actor.label, at=state.clock.now())


@post("/budgets/preview", guards=[requires("budget:write")], status_code=200)
async def preview_budget(request: AnyRequest, data: JSONBody[ChangeTried]) -> Preview:
    """Check a budget or a change and say what it would be, without making it."""
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    now = state.clock.now()
    async with state.database.tenant(organization_id, actor, readonly=True, snapshot=True) as db:
        if data.new is not None and data.change is None:
            made = await service.draft(db, organization_id, data.new, author=actor.label, at=now)
            return await service.preview(db, organization_id, None, made, now)
        if data.change is not None and data.new is None and data.budget_id is not None:
            before = await service.get_budget(db, data.budget_id)
            after = await service.changed(db, organization_id, before, data.change, author=actor.label, at=now)
            return await service.preview(db, organization_id, before, after, now)
    message = "give `new`, or `change` and `budget_id`"
    raise InvalidRequest(message, faults=[FieldFault("new", message)])


@get("/budgets/{budget_id:uuid}", guards=[requires("budget:read")])
async def read_budget(
    request: AnyRequest, budget_id: FromPath[UUID], at: At = None, subject: OfSubject = None
) -> BudgetDetail:
    """Show a budget: spend by day, what is held, what it will come to."""
    state, organization_id = web_state(request), organization_of(request)
    now, asked = state.clock.now(), _instant(at, state)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as db:
        budget = await service.get_budget(db, budget_id)
        held = (await read_held(state.redis, organization_id, [budget], now)).get(budget_id)
        return await service.detail(
            db, organization_id, budget, subject=_subject(subject), at=asked, now=now, held=held
        )


@patch("/budgets/{budget_id:uuid}", guards=[requires("budget:write")])
async def update_budget(request: AnyRequest, budget_id: FromPath[UUID], data: JSONBody[BudgetChange]) -> Budget:
    """Change a budget. Another amount keeps what was spent in the period that runs."""
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    async with state.database.tenant(organization_id, actor) as db:
        return await service.update(db, organization_id, budget_id, data, author=actor.label, at=state.clock.now())


@get("/budgets/{budget_id:uuid}/breakdown", guards=[requires("budget:read")])
async def read_breakdown(
    request: AnyRequest,
    budget_id: FromPath[UUID],
    by: FromQuery[str] = "provider",
    at: At = None,
    subject: OfSubject = None,
) -> Breakdown:
    """Show who spends a budget: by provider, model, application, user, key or `tag:<name>`."""
    name = by.removeprefix(TAG_PREFIX)
    if by not in _DIMENSIONS and (name == by or not 0 < len(name) <= 64 or "\x00" in name):
        message = f"give one of {', '.join(_DIMENSIONS)} or tag:<name>"
        raise InvalidRequest(f"by: {message}", faults=[FieldFault("by", message)])
    state, organization_id = web_state(request), organization_of(request)
    asked = _instant(at, state)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True, snapshot=True) as db:
        budget = await service.get_budget(db, budget_id)
        return await service.breakdown(db, organization_id, budget, by=by, subject=_subject(subject), at=asked)


@get("/budgets/{budget_id:uuid}/events", guards=[requires("budget:read")])
async def list_events(
    request: AnyRequest, budget_id: FromPath[UUID], cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
) -> Page[BudgetEvent]:
    """List what happened to a budget, newest first: thresholds that were crossed, pauses."""
    check_limit(limit)
    before = decode_cursor(cursor, tuple[datetime, UUID]) if cursor else None
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await service.events(db, budget_id, before, limit + 1)
    return page_of(found, limit, lambda item: (item.occurred_at, item.id))


router = Router(
    "/api/costs",
    route_handlers=[
        list_budgets, create_budget, preview_budget, read_budget, update_budget, read_breakdown, list_events, list_rates,
        import_rates,
    ],
    tags=["costs"],
)  # fmt: skip
