"""`/api/admission/shared-capacities`: capacity that several organizations share, for whoever configures the installation."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, delete, get, patch, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from nexus.admission.capacity import service
from nexus.admission.capacity.types import CapacityChange, CapacityNew, MemberTerms, SharedCapacity
from nexus.identity.guards import actor_of, requires
from nexus.platform.web import Page, check_limit, id_of, page_of, web_state

AnyRequest = Request[Any, Any, Any]
Whose = Annotated[str, msgspec.Meta(max_length=63)]


@get("/shared-capacities", guards=[requires("system:monitor")])
async def list_capacities(
    request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
) -> Page[SharedCapacity]:
    """List shared capacities with their members, and what each has now."""
    check_limit(limit)
    state = web_state(request)
    async with state.database.as_system(actor_of(request), readonly=True) as db:
        found = await service.capacities(db, state.clock.now(), after=id_of(cursor), limit=limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


@post("/shared-capacities", guards=[requires("system:configure")])
async def create_capacity(request: AnyRequest, data: JSONBody[CapacityNew]) -> SharedCapacity:
    """Make a capacity that organizations share; each has its share within seconds."""
    state = web_state(request)
    async with state.database.as_system(actor_of(request)) as db:
        return await service.create(db, data, state.clock.now())


@get("/shared-capacities/{capacity_id:uuid}", guards=[requires("system:monitor")])
async def read_capacity(request: AnyRequest, capacity_id: FromPath[UUID]) -> SharedCapacity:
    """Show a shared capacity."""
    state = web_state(request)
    async with state.database.as_system(actor_of(request), readonly=True) as db:
        return await service.get(db, capacity_id, state.clock.now())


@patch("/shared-capacities/{capacity_id:uuid}", guards=[requires("system:configure")])
async def change_capacity(
    request: AnyRequest, capacity_id: FromPath[UUID], data: JSONBody[CapacityChange]
) -> SharedCapacity:
    """Change how much there is; what is lowered is given back within seconds."""
    state = web_state(request)
    async with state.database.as_system(actor_of(request)) as db:
        return await service.change(db, capacity_id, data, state.clock.now())


@delete("/shared-capacities/{capacity_id:uuid}", guards=[requires("system:configure")])
async def remove_capacity(request: AnyRequest, capacity_id: FromPath[UUID]) -> None:
    """End a shared capacity: it limits nobody any more."""
    async with web_state(request).database.as_system(actor_of(request)) as db:
        await service.remove(db, capacity_id)


@put("/shared-capacities/{capacity_id:uuid}/members/{organization:str}", guards=[requires("system:configure")])
async def put_member(
    request: AnyRequest, capacity_id: FromPath[UUID], organization: FromPath[Whose], data: JSONBody[MemberTerms]
) -> SharedCapacity:
    """Let an organization share a capacity, or change its terms; it is named by its short name or id."""
    state = web_state(request)
    async with state.database.as_system(actor_of(request)) as db:
        return await service.put_member(db, capacity_id, organization, data, state.clock.now())


@delete("/shared-capacities/{capacity_id:uuid}/members/{organization:str}", guards=[requires("system:configure")])
async def remove_member(request: AnyRequest, capacity_id: FromPath[UUID], organization: FromPath[Whose]) -> None:
    """Let an organization share a capacity no more: it limits that organization no longer, and others get its share."""
    async with web_state(request).database.as_system(actor_of(request)) as db:
        await service.remove_member(db, capacity_id, organization)


HANDLERS = [
    list_capacities,
    create_capacity,
    read_capacity,
    change_capacity,
    remove_capacity,
    put_member,
    remove_member,
]
