"""`/gw/{provider}/{path}` as a bare ASGI application: authenticates, finds the provider, forwards, tells errors.

Requests and WebSockets take the same way until something is sent.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import structlog

from nexus.contracts.keys import KeyEntry
from nexus.dataplane.gateway.callers import caller_of
from nexus.dataplane.gateway.client_key import admitted, find_key, key_in_protocols
from nexus.dataplane.gateway.drain import ClientGoneError
from nexus.dataplane.gateway.errors import (
    BadPath,
    BodyTooLarge,
    RecordsWait,
    error_body,
    error_headers,
)
from nexus.dataplane.gateway.exchange import Caller, Inquiry, Target
from nexus.dataplane.gateway.request import (
    MAX_INSPECTED_BYTES,
    check_path,
    inspect,
    is_json,
    model_in_path,
    model_in_query,
    read_body,
    rest_of_body,
    upstream_headers,
)
from nexus.dataplane.gateway.routing import NAME as ROUTED
from nexus.dataplane.gateway.service import BrokenAnswerError, Gateway
from nexus.dataplane.gateway.websocket import WebSocketSession
from nexus.dataplane.http import (
    Answer,
    HungUpError,
    OnUse,
    Receive,
    Scope,
    Send,
    encode_json,
    ignore_use,
    read_headers,
    send_answer,
)
from nexus.kit.errors import NexusError
from nexus.kit.ids import uuid7_text
from nexus.platform.web.problems import InternalError

PREFIX = "/gw/"
_NO_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_SAFE = "/:@!$&'()*+,;=-._~%"

log = structlog.get_logger(__name__)


class GatewayApp:
    """The ASGI application. Give it the requests whose path begins with `PREFIX`."""

    def __init__(self, gateway: Gateway, *, on_use: OnUse = ignore_use) -> None:
        self._gateway = gateway
        self._on_use = on_use

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = _Asked(scope, read_headers(scope), scope.get("query_string") or b"", uuid7_text())
        started = False

        def respond(message: MutableMapping[str, Any]) -> Awaitable[None]:
            nonlocal started
            started = True
            return send(message)

        try:
            asked.name, asked.path = split_path(scope)
            asked.dialect = self._gateway.wire.shipped(asked.name).error
            serve = self._serve_websocket if scope["type"] == "websocket" else self._serve
            await serve(asked, receive, respond)
        except (HungUpError, ClientGoneError):
            return
        except BrokenAnswerError:
            # Not finishing the answer is how the client learns that it is not whole.
            raise
        except NexusError as error:
            self._gateway.metrics.refused_calls.labels(error.code).inc()
            if not started:
                await self._refuse(error, asked, send)
        except Exception:
            # The process's edge: a fault of ours is told as one, never as the caller's.
            log.exception("gateway failed", request_id=asked.request_id)
            if started:
                raise
            await self._refuse(InternalError(), asked, send)

    async def _serve(self, asked: _Asked, receive: Receive, send: Send) -> None:
        gateway, headers, path = self._gateway, asked.headers, asked.path
        key = self._admit_key(asked)
        if asked.name == ROUTED:
            asked.dialect = "openai"
            await self._serve_routed(asked, key, receive, send)
            return
        target = self._target(asked, key)
        method: str = asked.scope["method"]
        caller = asked.caller(key)
        inquiry = Inquiry(model=model_in_path(path))
        body: Any = None
        size = 0
        if method not in _NO_BODY or b"content-length" in headers or b"transfer-encoding" in headers:
            if is_json(headers):
                body, is_whole = await read_body(receive, MAX_INSPECTED_BYTES)
                size = len(body)
                if is_whole:
                    asks = gateway.wire.asks_usage(target.facts, path)
                    is_limited = gateway.reach(key) is not None
                    inquiry, body = inspect(body, path, asks_usage=asks, is_limited=is_limited)
            else:
                body, is_whole = b"", False
        else:
            is_whole = True
        gateway.check_reach(key, target, inquiry, is_post=method not in _NO_BODY)
        sent = upstream_headers(asked.scope["headers"], target, inquiry)
        counted: _Counter | None = None
        if not is_whole:
            counted = _Counter(size)
            length = headers.get(b"content-length")
            if length is not None and length.isdigit():
                sent["content-length"] = length.decode()
                counted.total = int(length)
            body = rest_of_body(body, receive, counted.add if length is None else counted.ignore)
            size = counted.total
        exchange, answer = await gateway.forward(
            caller, target, method=method, inquiry=inquiry, headers=sent, body=body, request_bytes=size
        )
        if counted is not None:
            exchange.request_bytes = counted.total
        await gateway.relay(exchange, answer, receive, send)

    async def _serve_routed(self, asked: _Asked, key: KeyEntry, receive: Receive, send: Send) -> None:
        """Serve `/gw/v1`: the request names a model or an alias, and we choose where it goes."""
        gateway, scope, path = self._gateway, asked.scope, asked.path
        if scope["method"] in {"GET", "HEAD"} and path == "/models":
            models = [{"id": alias, "object": "model", "owned_by": "nexus"} for alias in gateway.router.models(key)]
            content = encode_json({"object": "list", "data": models})
            known = Answer(200, content, headers=[(b"x-nexus-request-id", asked.request_id.encode())])
            await send_answer(scope, send, known)
            return
        if scope["method"] != "POST" or not is_json(asked.headers):
            raise BadPath("send JSON with a `model`, as POST; other requests go to /gw/{provider}")
        body, is_whole = await read_body(receive, MAX_INSPECTED_BYTES)
        if not is_whole:
            raise BodyTooLarge(f"send at most {MAX_INSPECTED_BYTES} bytes, or call /gw/{{provider}}")
        inquiry, _ = inspect(body, path, asks_usage=False)
        if not inquiry.model:
            raise BadPath("`model` is missing: name an alias, or `provider/model`")
        candidates = gateway.router.candidates(key, inquiry.model, path, asked.query, gateway.clock.now())
        candidates = gateway.within_reach(key, candidates)
        exchange, answer = await gateway.forward_routed(
            asked.caller(key), candidates, method="POST", inquiry=inquiry,
            headers=scope["headers"], body=body,
        )  # fmt: skip
        await gateway.relay(exchange, answer, receive, send)

    async def _serve_websocket(self, asked: _Asked, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        key = self._admit_key(asked)
        if asked.name == ROUTED:
            raise BadPath("a WebSocket goes to its provider: /gw/{provider}/{path}")
        target = self._target(asked, key)
        inquiry = Inquiry(model=model_in_path(asked.path) or model_in_query(asked.query))
        self._gateway.check_reach(key, target, inquiry, is_post=True)

        def is_allowed() -> bool:
            try:
                return self._authenticate(asked).id == key.id
            except NexusError:
                return False

        session = WebSocketSession(
            self._gateway,
            asked.caller(key),
            target,
            asked.scope,
            model=inquiry.model,
            is_allowed=is_allowed,
        )
        await session.run(receive, send)

    def _admit_key(self, asked: _Asked) -> KeyEntry:
        """Return the key of a call that may begin; `RecordsWait` while what is finished cannot be stored."""
        key = self._authenticate(asked)
        if self._gateway.recorder.is_full:
            raise RecordsWait(retry_after_seconds=2)
        return key

    def _target(self, asked: _Asked, key: KeyEntry) -> Target:
        target = self._gateway.target(key, asked.name, asked.path, asked.query)
        asked.dialect = target.facts.error
        return target

    def _authenticate(self, asked: _Asked) -> KeyEntry:
        text = find_key(asked.headers, asked.query) or key_in_protocols(asked.scope.get("subprotocols") or ())
        key = admitted(text, self._gateway.snapshots, self._gateway.clock.now())
        self._on_use(key)
        return key

    async def _refuse(self, error: NexusError, asked: _Asked, send: Send) -> None:
        scope = asked.scope
        media_type, content = error_body(error, asked.dialect, path=scope["path"], request_id=asked.request_id)
        headers = error_headers(error, request_id=asked.request_id)
        if scope["type"] != "websocket":
            await send_answer(scope, send, Answer(error.status, content, media_type, headers))
        elif "websocket.http.response" in (scope.get("extensions") or ()):
            # Who is not accepted is told why as if it had asked for a page.
            headers.append((b"content-type", media_type))
            await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": content})
        else:
            await send({"type": "websocket.close", "code": 1008})


@dataclass(slots=True)
class _Asked:
    """One request, or the beginning of one WebSocket session."""

    scope: Scope
    headers: dict[bytes, bytes]
    query: bytes
    request_id: str
    name: str = ""
    """Of the provider."""
    path: str = ""
    """Below the provider's name."""
    dialect: str = "problem"
    """In whose words an error is told, as far as the provider is known by then."""
    came: float = field(default_factory=time.perf_counter)

    def caller(self, key: KeyEntry) -> Caller:
        """Return who makes the call."""
        return caller_of(key, self.scope, self.headers, self.request_id, came=self.came)


class _Counter:
    """Bytes of a body of unknown length."""

    def __init__(self, total: int) -> None:
        self.total = total

    def add(self, count: int) -> None:
        """Count bytes as they pass."""
        self.total += count

    def ignore(self, count: int) -> None:
        """Count nothing: the length was announced."""


def split_path(scope: Scope) -> tuple[str, str]:
    """Return the provider's name and the path below it, percent-encoded as the client sent it."""
    raw = scope.get("raw_path")
    full = raw.decode("latin-1").partition("?")[0] if raw else quote(scope["path"], safe=_SAFE)
    name, slash, path = full[len(PREFIX) :].partition("/")
    if not name:
        raise BadPath("name a provider: /gw/{provider}/{path}")
    check_path(path)
    return name.lower(), slash + path
