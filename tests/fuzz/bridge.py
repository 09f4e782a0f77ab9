"""The application in an event loop of its own, for tools that send requests from ordinary code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from nexus.dashboards.routes import LIVE_PATH
from nexus.entry.api import Application
from nexus.platform.settings import Settings
from tests.application import ORIGIN, running

_SECONDS = 60


class Adapter(BaseAdapter):
    """Answers the requests of a `requests.Session` from an ASGI application, without a socket between them."""

    def __init__(self, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._application = application
        self._loop = loop

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Answer one request."""
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result(_SECONDS)

    def close(self) -> None:
        """There is nothing to close."""

    async def _answer(self, request: requests.PreparedRequest) -> requests.Response:
        parts = urlsplit(str(request.url))
        body = request.body or b""
        content = body.encode() if isinstance(body, str) else bytes(body)
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request.method,
            "path": unquote_to_bytes(parts.path).decode("utf-8", "replace"), "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(), "root_path": "", "scheme": "http", "client": ("127.0.0.1", 1),
            "server": ("testserver", 80), "state": {},
            "headers": [(b"host", b"testserver"), *((_bytes(k).lower(), _bytes(v)) for k, v in request.headers.items())],
        }  # fmt: skip
        waiting = [{"type": "http.request", "body": content, "more_body": False}]
        leave = asyncio.Event()
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            # A stream goes on for as long as somebody listens; the first part is enough.
            if is_whole or (parts.path == LIVE_PATH and message.get("body")):
                leave.set()

        await self._application(scope, receive, send)
        start = next(message for message in sent if message["type"] == "http.response.start")
        headers = HTTPHeaderDict([(k.decode("latin-1"), v.decode("latin-1")) for k, v in start["headers"]])
        answer = b"".join(message.get("body", b"") for message in sent)
        raw = HTTPResponse(BytesIO(answer), headers=headers, status=start["status"], preload_content=False)
        return HTTPAdapter().build_response(request, raw)


def _bytes(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


async def _finish() -> None:
    """End what still runs, as a server does before its loop is closed."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


@contextmanager
def bridged(settings: Settings) -> Iterator[requests.Session]:
    """Run the application in a thread; yield a session whose requests it answers."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="application", daemon=True)
    thread.start()
    context = running(settings)
    try:
        application = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(_SECONDS)
        session = requests.Session()
        session.trust_env = False
        session.mount(ORIGIN, Adapter(application, loop))
        try:
            yield session
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(_SECONDS)
    finally:
        asyncio.run_coroutine_threadsafe(_finish(), loop).result(_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_SECONDS)
        loop.close()
