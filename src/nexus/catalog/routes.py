"""`/api/catalog`: providers, endpoints, models, prices, conflicts and estimates."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from nexus.catalog import service, store
from nexus.catalog.model_route_routes import router as model_route_router
from nexus.catalog.price_import_routes import import_prices
from nexus.catalog.provider_health_routes import read_health
from nexus.catalog.types import Endpoint, Import, Model, Price, PriceComponent, PriceConflict, Provider
from nexus.contracts.cost_lines import CostLine
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.money import format_nanos
from nexus.platform.web import Page, check_limit, decode_cursor, id_of, page_of, web_state

AnyRequest = Request[Any, Any, Any]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=300, pattern=r"^[^\x00]+$")]
Short = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*$")]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class PriceNew(msgspec.Struct, forbid_unknown_fields=True):
    """A price of the organization's own: what it really pays."""

    provider: Short
    components: Annotated[list[PriceComponent], msgspec.Meta(min_length=1, max_length=100)]
    model: Text | None = None
    endpoint: Text | None = None
    method: Short | None = None
    tier: Literal["standard", "enterprise", "academic"] = "standard"
    region: Short = ""
    currency: Short = "USD"
    variant: dict[Short, Short] = {}
    valid_from: Instant | None = None
    valid_to: Instant | None = None


class PriceEnd(msgspec.Struct, forbid_unknown_fields=True):
    """When a price ends; now, unless an instant is given."""

    at: Instant | None = None


class ConflictResolution(msgspec.Struct, forbid_unknown_fields=True):
    """Keep the price in force, or take the other source's from now on."""

    take: bool


class EstimateQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """A call to price without making it."""

    provider: Short
    model: Text | None = None
    endpoint: Text | None = None
    method: Short | None = None
    region: Short | None = None
    tier: Literal["standard", "enterprise", "academic"] = "standard"
    at: Instant | None = None
    usage: dict[Short, Count] = {}
    variant: dict[Short, Short] = {}


class CostQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """What a call used, as it is stored."""

    usage: dict[Short, Count] = {}
    is_failure: bool = False


class CostSum(msgspec.Struct):
    """The sum that a price makes of it, line by line; `cost` is what a call would be charged."""

    lines: list[CostLine]
    cost: str | None
    currency: str
    reason: str | None


class Estimate(msgspec.Struct):
    """What it would cost, or why that cannot be told."""

    cost: str | None
    currency: str
    price_id: UUID | None
    reason: str | None


def _plain(value: str | None, field: str) -> str | None:
    if value is not None and ("\x00" in value or len(value) > 300):
        raise InvalidRequest(
            f"{field}: give at most 300 characters, without NUL", faults=[FieldFault(field, "shorten it")]
        )
    return value


@get("/providers", guards=[requires("catalog:read")])
async def list_providers(
    request: AnyRequest,
    category: FromQuery[str | None] = None,
    slug: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[Provider]:
    """List providers: the shipped ones and the organization's own."""
    check_limit(limit)
    after = decode_cursor(cursor, tuple[str, UUID]) if cursor is not None else None
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.list_providers(db, after, _plain(category, "category"), _plain(slug, "slug"), limit + 1)
    return page_of(found, limit, lambda item: (item.slug, item.id))


@get("/endpoints", guards=[requires("catalog:read")])
async def list_endpoints(
    request: AnyRequest,
    provider: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[Endpoint]:
    """List the endpoints that calls' paths are matched to."""
    check_limit(limit)
    after = id_of(cursor)
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.list_endpoints(db, after, _plain(provider, "provider"), limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


@get("/models", guards=[requires("catalog:read")])
async def list_models(
    request: AnyRequest,
    provider: FromQuery[str | None] = None,
    search: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[Model]:
    """List models; `search` finds them by a part of the name."""
    check_limit(limit)
    after = decode_cursor(cursor, tuple[str, str, UUID]) if cursor is not None else None
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.list_models(db, after, _plain(provider, "provider"), _plain(search, "search"), limit + 1)
    return page_of(found, limit, lambda item: (item.provider, item.slug, item.id))


@get("/prices", guards=[requires("catalog:read")])
async def list_prices(
    request: AnyRequest,
    provider: FromQuery[str | None] = None,
    model: FromQuery[str | None] = None,
    at: FromQuery[datetime | None] = None,
    superseded: FromQuery[bool] = False,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[Price]:
    """List prices; `at` keeps those in force at an instant."""
    check_limit(limit)
    if at is not None and at.tzinfo is None:
        raise InvalidRequest(
            "at: give an offset, such as 2026-01-31T12:00:00Z", faults=[FieldFault("at", "give an offset")]
        )
    after = id_of(cursor)
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.list_prices(
            db, after=after, provider=_plain(provider, "provider"), model=_plain(model, "model"), at=at,
            with_superseded=superseded, limit=limit + 1,
        )  # fmt: skip
    return page_of(found, limit, lambda item: (item.id,))


@get("/prices/{price_id:uuid}", guards=[requires("catalog:read")])
async def read_price(request: AnyRequest, price_id: FromPath[UUID]) -> Price:
    """Show one price, as calls name it, superseded ones included."""
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        return await service.get_price(db, price_id)


@post("/prices/{price_id:uuid}/sum", guards=[requires("catalog:read")], status_code=200)
async def sum_of_price(request: AnyRequest, price_id: FromPath[UUID], data: JSONBody[CostQuestion]) -> CostSum:
    """Show how this price alone, superseded ones included, makes the cost of a call: each unit, its count, its amount."""
    usage = {name: count for name, count in data.usage.items() if count} | {"requests": 1}
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        lines, priced = await service.explain(db, price_id, usage, is_failure=data.is_failure)
    cost = None if priced.cost_nanos is None else format_nanos(priced.cost_nanos)
    return CostSum(lines, cost, priced.currency, priced.reason)


@post("/prices", guards=[requires("catalog:write")])
async def create_price(request: AnyRequest, data: JSONBody[PriceNew]) -> Price:
    """Add a price of the organization's own; it stands before the shared ones."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.create_price(db, organization_id, **msgspec.structs.asdict(data))


@post("/prices/{price_id:uuid}/end", guards=[requires("catalog:write")], status_code=200)
async def end_price(request: AnyRequest, price_id: FromPath[UUID], data: JSONBody[PriceEnd]) -> Price:
    """End a price of the organization's own."""
    state = web_state(request)
    async with state.database.tenant(organization_of(request), actor_of(request)) as db:
        return await service.end_price(db, price_id, data.at or state.clock.now())


@get("/price-conflicts", guards=[requires("catalog:read")])
async def list_conflicts(
    request: AnyRequest,
    provider: FromQuery[str | None] = None,
    resolved: FromQuery[bool] = False,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[PriceConflict]:
    """List where sources say different things."""
    check_limit(limit)
    after = id_of(cursor)
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.list_conflicts(db, after, resolved, _plain(provider, "provider"), limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


@post("/price-conflicts/{conflict_id:uuid}/resolve", guards=[requires("system:configure")], status_code=204)
async def resolve_conflict(
    request: AnyRequest, conflict_id: FromPath[UUID], data: JSONBody[ConflictResolution]
) -> None:
    """Decide a conflict, for all of this installation."""
    state, actor = web_state(request), actor_of(request)
    async with state.database.as_system(actor) as db:
        await service.resolve_conflict(db, conflict_id, take=data.take, at=state.clock.now(), actor_label=actor.label)


@get("/imports", guards=[requires("catalog:read")])
async def list_imports(
    request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
) -> Page[Import]:
    """List the imports that changed something, newest first."""
    check_limit(limit)
    before = id_of(cursor)
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.list_imports(db, before, limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


@post("/estimate", guards=[requires("catalog:read")], status_code=200)
async def estimate(request: AnyRequest, data: JSONBody[EstimateQuestion]) -> Estimate:
    """Price a call without making it, by the book as it is now."""
    state, organization_id = web_state(request), organization_of(request)
    usage = {name: count for name, count in data.usage.items() if count} | {"requests": 1}
    async with state.database.as_system(actor_of(request), organization_id, readonly=True) as db:
        priced = await service.estimate(
            db, organization_id=organization_id, tier=data.tier, provider=data.provider, model=data.model,
            endpoint=data.endpoint, method=data.method, region=data.region, at=data.at or state.clock.now(),
            usage=usage, variant=data.variant,
        )  # fmt: skip
    cost = None if priced.cost_nanos is None else format_nanos(priced.cost_nanos)
    return Estimate(cost, priced.currency, priced.price_id, priced.reason)


router = Router(
    "/api/catalog",
    route_handlers=[
        list_providers, list_endpoints, list_models, list_prices, read_price, sum_of_price, create_price, end_price,
        list_conflicts, resolve_conflict, list_imports, import_prices, estimate, read_health, model_route_router,
    ],
    tags=["catalog"],
)  # fmt: skip
