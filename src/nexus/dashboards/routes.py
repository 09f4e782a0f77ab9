"""`/api/live`: a stream of server-sent events that says when calls of the organization were stored."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Router, get
from litestar.response import Stream

from nexus.dashboards import store
from nexus.dashboards.service import LiveHub
from nexus.identity.authentication import AuthenticationMiddleware
from nexus.identity.guards import organization_of, requires
from nexus.kit.errors import NexusError
from nexus.platform.web import WebState, web_state

AnyRequest = Request[Any, Any, Any]


def _hub(state: WebState) -> LiveHub:
    hub = state.parts.get("live")
    if hub is None:

        async def version() -> int:
            async with state.database.as_system(readonly=True) as connection:
                return await store.keys_version(connection)

        hub = state.parts["live"] = LiveHub(state.redis, version, state.clock)
    assert isinstance(hub, LiveHub)  # noqa: S101
    return hub


def _still_allowed(request: AnyRequest, organization_id: UUID) -> Callable[[], Awaitable[bool]]:
    """Return a function that authenticates the request anew: the key or session may have ended meanwhile."""
    middleware = AuthenticationMiddleware(request.app)

    async def check() -> bool:
        try:
            found = await middleware.authenticate_request(request)
        except NexusError:
            return False
        principal = getattr(found.user, "principal", None)
        return principal is not None and principal.organization_id == organization_id and principal.may("metrics:read")

    return check


async def _events(hub: LiveHub, organization_id: UUID, check: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    async for announcement in hub.watch(organization_id, check):
        if announcement is None:
            yield b": alive\n\n"
        else:
            yield b"event: calls\ndata: " + msgspec.json.encode(announcement) + b"\n\n"
    yield b"event: end\ndata: {}\n\n"


@get("/live", guards=[requires("metrics:read")], summary="Live announcements", media_type="text/event-stream")
async def get_live(request: AnyRequest) -> Stream:
    """Announce as server-sent events when calls of the organization are stored, four times a second at most.

    `event: calls` carries how many were stored since the last one; ask the meter for figures. A comment every 15 seconds
    shows that the stream lives. It ends with `event: end` when the key or the session does.
    """
    organization_id = organization_of(request)
    events = _events(_hub(web_state(request)), organization_id, _still_allowed(request, organization_id))
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return Stream(events, media_type="text/event-stream", headers=headers)


router = Router("/api", route_handlers=[get_live], tags=["dashboards"])
