"""`/api/catalog/model-routes`: aliases of models, and where they lead."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Router, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, UnsetType

from nexus.catalog import model_routes as service
from nexus.catalog.model_routes import ModelRoute
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.platform.web import Page, check_limit, id_of, page_of, web_state

AnyRequest = Request[Any, Any, Any]
Alias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]
Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Number = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class RouteNew(msgspec.Struct, forbid_unknown_fields=True):
    """A way from an alias to a provider's model."""

    alias: Alias
    provider: Slug
    model: ModelName
    priority: Number = 0
    weight: Number = 1


class RouteChange(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed of a way; what is left out stays. The weight 0 turns it off."""

    alias: Alias | UnsetType = UNSET
    provider: Slug | UnsetType = UNSET
    model: ModelName | UnsetType = UNSET
    priority: Number | UnsetType = UNSET
    weight: Number | UnsetType = UNSET


@get("/", guards=[requires("catalog:read")])
async def list_routes(
    request: AnyRequest,
    alias: FromQuery[Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[^\x00]*$")] | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[ModelRoute]:
    """List the organization's aliases of models."""
    check_limit(limit)
    after = id_of(cursor)
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await service.list_routes(db, after=after, alias=alias, limit=limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


@post("/", guards=[requires("catalog:write")])
async def create_route(request: AnyRequest, data: JSONBody[RouteNew]) -> ModelRoute:
    """Add a way from an alias to a provider's model."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.create(db, organization_id, **msgspec.structs.asdict(data))


@patch("/{route_id:uuid}", guards=[requires("catalog:write")])
async def change_route(request: AnyRequest, route_id: FromPath[UUID], data: JSONBody[RouteChange]) -> ModelRoute:
    """Change a way; the gateway goes by it within a second."""
    organization_id = organization_of(request)
    changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await service.change(db, organization_id, route_id, **changes)


@delete("/{route_id:uuid}", guards=[requires("catalog:write")])
async def delete_route(request: AnyRequest, route_id: FromPath[UUID]) -> None:
    """Remove a way."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        await service.delete(db, organization_id, route_id)


router = Router("/model-routes", route_handlers=[list_routes, create_route, change_route, delete_route])
