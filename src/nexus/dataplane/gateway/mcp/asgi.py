"""`/mcp/{server}` and `/mcp` as a bare ASGI application: authenticates, checks the message, and sends it where it belongs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import structlog

from nexus.contracts.keys import KeyEntry
from nexus.contracts.mcp_servers import STDIO, McpServerEntry
from nexus.dataplane.gateway.callers import caller_of
from nexus.dataplane.gateway.client_key import admitted, find_key
from nexus.dataplane.gateway.errors import RecordsWait
from nexus.dataplane.gateway.mcp.errors import (
    BadOrigin,
    InvalidMessage,
    UnknownMethod,
    UnknownServer,
    UnknownTool,
    error_body,
    error_headers,
)
from nexus.dataplane.gateway.mcp.facade import Asking, Facade
from nexus.dataplane.gateway.mcp.http_way import HttpWay, LeftError
from nexus.dataplane.gateway.mcp.messages import MODERN, Message, check_headers, read_message
from nexus.dataplane.gateway.mcp.service import McpGateway, session_at_server, session_for_client
from nexus.dataplane.http import (
    JSON,
    Answer,
    HungUpError,
    OnUse,
    Receive,
    Scope,
    Send,
    encode_json,
    ignore_use,
    read_body,
    read_headers,
    send_answer,
)
from nexus.kit.errors import NexusError
from nexus.kit.ids import uuid7_text
from nexus.platform.web.problems import InternalError, MethodNotAllowed

PATH = "/mcp"
MAX_BODY_BYTES = 16 * 2**20
_MAX_NEWS = 100
"""Notifications that wait for a slow client; of more, the oldest are forgotten, as they only tell of progress."""
_METHODS = "POST, GET, DELETE"
_KEEP_OPEN_SECONDS = 15.0

log = structlog.get_logger(__name__)


class McpApp:
    """The ASGI application. Give it requests for `PATH` and what lies below it."""

    def __init__(
        self, mcp: McpGateway, facade: Facade, *, origins: Iterable[str] = (), on_use: OnUse = ignore_use
    ) -> None:
        """`origins` are the addresses of Nexus itself: pages of no other may call."""
        self._mcp = mcp
        self._facade = facade
        self._http = HttpWay(mcp)
        self._origins = frozenset(f"{part.scheme}://{part.netloc}" for part in map(urlsplit, origins))
        self._on_use = on_use

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = _Request(scope)
        started = False

        async def respond(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._serve(request, receive, respond)
        except (HungUpError, LeftError):
            return
        except ConnectionAbortedError:
            # Not finishing the answer is how the client learns that it is not whole.
            return
        except NexusError as error:
            self._mcp.gateway.metrics.refused_calls.labels(error.code).inc()
            if not started:
                await self._refuse(error, request, send)
        except Exception:
            # The process's edge: a fault of ours is told as one, never as the caller's.
            log.exception("the MCP gateway failed", request_id=request.request_id)
            if started:
                # Not finishing the answer is how the client learns that it is not whole.
                raise
            await self._refuse(InternalError(), request, send)

    async def _serve(self, request: _Request, receive: Receive, send: Send) -> None:
        scope, headers = request.scope, request.headers
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in self._origins:
            raise BadOrigin(f"pages of {origin[:100]} may not call MCP servers here")
        method = scope["method"]
        if method not in {"POST", "GET", "DELETE"}:
            raise MethodNotAllowed(f"MCP endpoints take {_METHODS}", allow=_METHODS)
        key = self._authenticate(request)
        if "/" in request.server:
            raise UnknownServer(f"there is nothing at {scope['path'][:200]}")
        server = self._mcp.server(key, request.server) if request.server else None
        is_proxied = server is not None and server.transport != STDIO
        if method != "POST":
            if server is None or not is_proxied:
                raise MethodNotAllowed(
                    "there is no session here that could be listened to or ended: POST", allow="POST"
                )
            is_allowed = (lambda: self._may_stay(request, key)) if method == "GET" else None
            await self._http.plain(server, method, None, scope, receive, send, is_allowed)
            return
        body = await read_body(headers, receive, limit=MAX_BODY_BYTES)
        message = request.message = read_message(body)
        check_headers(message, scope["headers"])
        if not message.is_request and message.method and not message.method.startswith("notifications/"):
            # What nobody waits for would be done without being admitted or recorded.
            raise InvalidMessage(f"{message.method} needs an `id`: only notifications have none")
        if server is not None and is_proxied:
            await self._proxy(request, key, server, message, receive, send)
        elif not message.is_request:
            await send_answer(scope, send, Answer(202, b""), request.request_id)
        else:
            await self._answer(request, key, server, message, len(body), receive, send)

    async def _proxy(
        self, request: _Request, key: KeyEntry, server: McpServerEntry, message: Message, receive: Receive, send: Send
    ) -> None:
        scope = request.scope
        if not message.is_request:
            await self._http.plain(server, "POST", encode_json(message.fields), scope, receive, send)
            return
        if self._mcp.gateway.recorder.is_full:
            raise RecordsWait(retry_after_seconds=2)
        caller = caller_of(key, scope, request.headers, request.request_id, came=request.came)
        session, client = session_at_server(request.headers.get(b"mcp-session-id", b"").decode("latin-1"))
        sent = encode_json(message.fields)
        call = self._mcp.call(caller, server, message, client=client, size=len(sent))
        call.session_id = session or None
        await self._http.request(
            call, message.traced(call.trace_context), scope, receive, send, lambda: self._may_stay(request, key)
        )

    async def _answer(
        self,
        request: _Request,
        key: KeyEntry,
        server: McpServerEntry | None,
        message: Message,
        size: int,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer a request in our own name: as one document, or as a stream where there is news to tell on the way."""
        if self._mcp.gateway.recorder.is_full:
            raise RecordsWait(retry_after_seconds=2)
        caller = caller_of(key, request.scope, request.headers, request.request_id, came=request.came)
        news: asyncio.Queue[bytes] = asyncio.Queue()

        def notify(text: bytes) -> None:
            if news.qsize() >= _MAX_NEWS:
                news.get_nowait()
            news.put_nowait(text)

        session, client = session_at_server(request.headers.get(b"mcp-session-id", b"").decode("latin-1"))
        asking = Asking(caller, message, size, notify, client, session or None)
        work = self._facade.of_all(asking) if server is None else self._facade.of_one(asking, server)
        answering = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_until_left(receive))
        takes_stream = b"text/event-stream" in request.headers.get(b"accept", b"") and "progressToken" in message.meta
        try:
            if not takes_stream:
                either: list[asyncio.Future[Any]] = [answering, leaving]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    raise LeftError
                content = answering.result()
                headers = []
                if message.method == "initialize":
                    # It holds nothing but who the client is, as later requests do not say it.
                    headers = [(b"mcp-session-id", session_for_client(uuid7_text(), message.client()).encode())]
                answer = Answer(200, content, JSON, headers)
                await send_answer(request.scope, send, answer, request.request_id)
            else:
                await self._stream(request, message, answering, leaving, news, send)
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _stream(
        self,
        request: _Request,
        message: Message,
        answering: asyncio.Future[bytes],
        leaving: asyncio.Future[None],
        news: asyncio.Queue[bytes],
        send: Send,
    ) -> None:
        start = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        started = False
        while True:
            told = asyncio.ensure_future(news.get())
            waiting: list[asyncio.Future[Any]] = [told, answering, leaving]
            await asyncio.wait(waiting, timeout=_KEEP_OPEN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                told.cancel()
                raise LeftError
            if told.done():
                part = b"event: message\ndata: " + told.result() + b"\n\n"
            elif answering.done():
                told.cancel()
                break
            else:
                told.cancel()
                part = b": still at it\n\n"
            if not started:
                started = True
                await send({"type": "http.response.start", "status": 200, "headers": start})
            await send({"type": "http.response.body", "body": part, "more_body": True})
        try:
            text = answering.result()
        except NexusError as error:
            if not started:
                raise
            text = error_body(error, message.id, path=request.scope["path"], request_id=request.request_id)
        if not started:
            await send_answer(request.scope, send, Answer(200, text, JSON), request.request_id)
            return
        await send({"type": "http.response.body", "body": b"event: message\ndata: " + text + b"\n\n"})

    def _authenticate(self, request: _Request) -> KeyEntry:
        gateway = self._mcp.gateway
        # Never in the query: addresses are logged, and the protocol forbids it.
        key = admitted(find_key(request.headers, b""), gateway.snapshots, gateway.clock.now())
        self._on_use(key)
        return key

    def _may_stay(self, request: _Request, key: KeyEntry) -> bool:
        """Tell whether a stream that goes on may still: the key is valid, and may use the server."""
        with contextlib.suppress(NexusError):
            if self._authenticate(request).id == key.id:
                self._mcp.server(key, request.server)
                return True
        return False

    async def _refuse(self, error: NexusError, request: _Request, send: Send) -> None:
        message = request.message
        path = request.scope["path"]
        message_id = message.id if message is not None else b""
        content = error_body(error, message_id, path=path, request_id=request.request_id)
        headers = error_headers(error, request_id=request.request_id)
        await send_answer(request.scope, send, Answer(_status(error, message), content, JSON, headers))


def _status(error: NexusError, message: Message | None) -> int:
    """Return the HTTP status of an error: what a server of the client's revision would answer with."""
    if not isinstance(error, (UnknownTool, UnknownMethod)):
        return error.status
    if message is None or message.revision not in MODERN:
        return 200
    return 400 if isinstance(error, UnknownTool) else 404


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Request:
    """One HTTP request."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.headers = read_headers(scope)
        self.request_id: str = scope["state"]["request_id"]
        self.came = time.perf_counter()
        self.message: Message | None = None
        self.server = scope["path"][len(PATH) :].strip("/")
        """Its name; empty for all of them together."""
