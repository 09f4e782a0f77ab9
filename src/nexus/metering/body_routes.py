"""`/api/metering/body-settings` and the bodies of calls."""

from typing import Any
from uuid import UUID

from litestar import Request, Router, delete, get, put
from litestar.params import FromPath, JSONBody

from nexus.identity.guards import actor_of, organization_of, requires, sealer_of
from nexus.metering import bodies
from nexus.metering.bodies import BodySettings, BodySettingsInForce, CallBodies
from nexus.platform.web import web_state

AnyRequest = Request[Any, Any, Any]


@get("/body-settings", guards=[requires("bodies:manage")], summary="What is kept of bodies")
async def get_body_settings(request: AnyRequest) -> BodySettingsInForce:
    """Return what is kept of the bodies of gateway calls: nothing, unless it was turned on."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as connection:
        return await bodies.settings(connection, organization_id)


@put("/body-settings", guards=[requires("bodies:manage")], summary="Change what is kept of bodies")
async def put_body_settings(request: AnyRequest, data: JSONBody[BodySettings]) -> BodySettingsInForce:
    """Say which bodies are kept, how much of them, how long, and what is masked; in force within a second.

    Fields that are left out take their defaults: turned off, all calls, 65,536 bytes, 7 days, every mask on. `masks` says
    what is masked beside secrets, which always are; `fields` are names of JSON or form fields whose values are masked;
    `words` are masked wherever they stand, in capitals or not.
    """
    state = web_state(request)
    organization_id = organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request)) as connection:
        return await bodies.put_settings(connection, organization_id, data, at=state.clock.now())


@delete("/bodies", guards=[requires("bodies:manage")], summary="Delete all bodies")
async def delete_bodies(request: AnyRequest) -> None:
    """Delete all bodies that are kept so far. Nobody can read them any more; the worker deletes them within a minute."""
    state = web_state(request)
    organization_id = organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request)) as connection:
        await bodies.purge(connection, organization_id, at=state.clock.now())


@get("/calls/{call_id:uuid}/bodies", guards=[requires("bodies:read")], summary="Bodies of a call")
async def get_call_bodies(request: AnyRequest, call_id: FromPath[UUID]) -> CallBodies:
    """Return the masked bodies of a gateway call, or in `why` for what reason there are none.

    Each reading of bodies is written to the audit log.
    """
    state = web_state(request)
    organization_id = organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request)) as connection:
        return await bodies.read(connection, organization_id, call_id, sealer_of(request), at=state.clock.now())


router = Router(
    "/api/metering",
    route_handlers=[get_body_settings, put_body_settings, delete_bodies, get_call_bodies],
    tags=["metering"],
)
