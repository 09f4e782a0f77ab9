"""`/api/live`: a stream that says when calls were stored. `/api/dashboards`: the meter's answers, shared while they hold."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, get
from litestar.params import QueryParameter
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import HTTPResponseBodyEvent, Receive, Send

from nexus.contracts.keys import key_hash
from nexus.dashboards import store, usage_routes
from nexus.dashboards.cached import LAST, CachedMeter
from nexus.dashboards.service import LiveHub, Viewer
from nexus.identity import principals
from nexus.identity.authentication import COOKIE, ORGANIZATION_HEADER, AuthenticationMiddleware
from nexus.identity.guards import organization_of, requires
from nexus.kit.errors import NexusError
from nexus.platform.redis.cache import ReadCache
from nexus.platform.web import WebState, web_state

AnyRequest = Request[Any, Any, Any]
LIVE_PATH = "/api/live"
PERMISSION = "metrics:read"
Last = Annotated[
    str | None,
    QueryParameter(name="last", description=f"A range that ends now, in place of from and to: {', '.join(LAST)}."),
]


def live_hub(state: WebState) -> LiveHub:
    """Return what fans announcements out to the streams of this process."""

    async def version() -> int:
        async with state.database.as_system(readonly=True) as connection:
            return await store.keys_version(connection)

    async def confirm(organization_id: UUID, sessions: Collection[bytes]) -> Collection[bytes]:
        async with state.database.as_system(readonly=True) as connection:
            return await principals.sessions_that_may(
                connection, sessions, organization_id, PERMISSION, state.clock.now()
            )

    return state.part(LiveHub, lambda: LiveHub(state.redis, version, state.clock, confirm))


def _still_allowed(request: AnyRequest, organization_id: UUID) -> Callable[[], Awaitable[bool]]:
    """Return a function that authenticates the request anew: the key or session may have ended meanwhile."""
    middleware = AuthenticationMiddleware(request.app)

    async def check() -> bool:
        try:
            found = await middleware.authenticate_request(request)
        except NexusError:
            return False
        principal = getattr(found.user, "principal", None)
        return principal is not None and principal.organization_id == organization_id and principal.may(PERMISSION)

    return check


def _credential_of(request: AnyRequest) -> bytes:
    """Return what tells apart who asks: all that authentication looks at, unreadable."""
    asked = "authorization", "x-api-key", "cookie", ORGANIZATION_HEADER
    parts = [request.headers.get(name, "") for name in asked]
    return sha256("\0".join([*parts, request.url.query]).encode("utf-8", "surrogatepass")).digest()


async def _events(hub: LiveHub, viewer: Viewer) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    async for announcement in hub.watch(viewer):
        if announcement is None:
            yield b": alive\n\n"
        else:
            yield b"event: calls\ndata: " + msgspec.json.encode(announcement) + b"\n\n"
    if not viewer.is_gone:
        yield b"event: end\ndata: {}\n\n"


class _SentEvents(ASGIStreamingResponse):
    """Sends a viewer's events until it leaves. The framework's own answer holds a group of tasks for each stream."""

    def __init__(self, viewer: Viewer, **more: Any) -> None:
        super().__init__(**more)
        self._viewer = viewer

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send events until there are no more."""
        leaving = asyncio.create_task(self._until_left(receive), name="live.leaving")
        try:
            async for event in self.iterator:
                await send(_part(event))
            await send(_part(None))
        finally:
            leaving.cancel()

    async def _until_left(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._viewer.leave()


def _part(event: bytes | str | None) -> HTTPResponseBodyEvent:
    body = event.encode() if isinstance(event, str) else event or b""
    return {"type": "http.response.body", "body": body, "more_body": event is not None}


class _EventStream(Stream):
    """The answer that a viewer's events are sent in."""

    def __init__(self, events: AsyncIterator[bytes], viewer: Viewer) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._viewer = viewer

    def to_asgi_response(
        self, app: Any, request: AnyRequest, *, headers: dict[str, str] | None = None, **more: Any
    ) -> ASGIResponse:
        """Make what sends it."""
        given = {name: more[name] for name in ("background", "cookies", "encoded_headers") if name in more}
        return _SentEvents(
            self._viewer, iterator=self.iterator, headers={**(headers or {}), **self.headers}, media_type=self.media_type,
            status_code=200, content_length=0, **given,
        )  # fmt: skip


@get("/live", guards=[requires("metrics:read")], summary="Live announcements", media_type="text/event-stream")
async def get_live(request: AnyRequest) -> Stream:
    """Announce as server-sent events when calls of the organization are stored, four times a second at most.

    `event: calls` carries how many were stored since the last one; ask the meter for figures. A comment every 15 seconds
    shows that the stream lives. It ends with `event: end` when the key or the session does.
    """
    organization_id, hub = organization_of(request), live_hub(web_state(request))
    session = key_hash(request.cookies[COOKIE]) if request.auth == "session" else None
    check = _still_allowed(request, organization_id)
    viewer = hub.viewer(organization_id, check, _credential_of(request), session)
    return _EventStream(_events(hub, viewer), viewer)


def _meter(state: WebState) -> CachedMeter:
    return state.part(CachedMeter, lambda: CachedMeter(state.database, ReadCache(state.redis)))


async def _ask(request: AnyRequest, *, is_series: bool) -> Response[Any]:
    state = web_state(request)
    parameters: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        parameters.setdefault(name, []).append(str(value))
    kept = await _meter(state).ask(organization_of(request), parameters, state.clock.now(), is_series=is_series)
    headers = {"age": str(kept.age_seconds), "x-cache": "hit" if kept.is_hit else "miss", "cache-control": "no-store"}
    return Response(kept.content, media_type="application/json", headers=headers)


@get("/dashboards/summary", guards=[requires("metrics:read")], summary="Metrics over a range, shared")
async def get_summary(request: AnyRequest, last: Last = None) -> Response[Any]:
    """Return what `/api/metering/summary` does, as JSON, from the cache while nothing has changed.

    Takes the same parameters, and `last` in place of `from` and `to`. `as_of` in the answer and the header `age` tell
    how old it is: at most 30 seconds, 5 minutes or 30 minutes for ranges up to 6 hours, 7 days, and longer.
    """
    return await _ask(request, is_series=False)


@get("/dashboards/series", guards=[requires("metrics:read")], summary="Metrics over time, shared")
async def get_series(request: AnyRequest, last: Last = None) -> Response[Any]:
    """Return what `/api/metering/series` does, as JSON, from the cache while nothing has changed.

    Takes the same parameters, and `last` in place of `from` and `to`. At most 30 seconds old for points of minutes,
    5 minutes for hours, 30 minutes for days and longer.
    """
    return await _ask(request, is_series=True)


router = Router("/api", route_handlers=[get_live, get_summary, get_series, *usage_routes.HANDLERS], tags=["dashboards"])
