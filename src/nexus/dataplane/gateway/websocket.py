"""WebSocket sessions through the gateway, as of realtime APIs: messages pass both ways, one record tells of the session.

client connects -> key, provider, credential, limits -> upstream connects -> client is accepted (else told as HTTP why not)
  -> messages pass until a side closes, the key is revoked or the process ends -> the record: the usage of all answers
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import aiohttp
import msgspec

from nexus.dataplane.gateway.errors import NoBaseUrl, UpstreamError, UpstreamLimited
from nexus.dataplane.gateway.exchange import Caller, Exchange, Inquiry, Target
from nexus.dataplane.gateway.request import target_url, upstream_headers
from nexus.dataplane.gateway.service import Gateway, full_path
from nexus.dataplane.gateway.upstream import UPSTREAM_TROUBLE, failure
from nexus.dataplane.gateway.usage import Usage, UsageFinder
from nexus.dataplane.http import Receive, Send
from nexus.kit.errors import NexusError

MAX_MESSAGE_BYTES = 32 * 2**20
_NOT_SENT = ("sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol")
_CLOSE_SECONDS = 5.0
_CHECK_SECONDS = 0.5
_HEARTBEAT_SECONDS = 30.0
_GOING_AWAY, _POLICY, _BROKEN = 1001, 1008, 1011
_SENDABLE = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013})


class WebSocketSession:
    """One session: what passed, and what it used."""

    def __init__(
        self,
        gateway: Gateway,
        caller: Caller,
        target: Target,
        scope: MutableMapping[str, Any],
        *,
        model: str,
        is_allowed: Callable[[], bool],
    ) -> None:
        self._gateway = gateway
        self._target = target
        self._scope = scope
        self._is_allowed = is_allowed
        self._exchange = Exchange(caller, target, "GET", full_path(target), Inquiry(model=model, is_streaming=True))
        self._rules = gateway.wire.rules(target.facts, target.path)
        self._counts: dict[str, int] = {}

    async def run(self, receive: Receive, send: Send) -> None:
        """Connect upstream, accept the client and pass messages until one side closes; records the session.

        Raises what the client is told when it could not be accepted.
        """
        gateway, exchange = self._gateway, self._exchange
        await gateway.admit(exchange)
        gateway.begin(exchange)
        try:
            async with await self._connect() as upstream:
                exchange.status_code = 101
                exchange.first_byte_seconds = time.perf_counter() - exchange.began
                await send({"type": "websocket.accept", "subprotocol": upstream.protocol})
                await self._pass(upstream, receive, send)
        except NexusError as error:
            exchange.error_type, exchange.error_message = error.code, error.detail
            raise
        finally:
            gateway.end(exchange)

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        gateway, target, exchange = self._gateway, self._target, self._exchange
        # A browser's client sends its key as a subprotocol; the credential takes its place.
        protocols = tuple(name for name in self._scope.get("subprotocols") or () if "nx_" not in name)
        headers = upstream_headers(self._scope["headers"], target, Inquiry())
        for name in (*_NOT_SENT, "accept-encoding"):
            headers.popall(name, None)
        try:
            url = target_url(target)
            gateway.upstream.check(url, target.provider.slug)
        except ValueError as error:
            raise NoBaseUrl(f"the base URL of {target.provider.slug} cannot be read") from error
        try:
            async with asyncio.timeout(target.facts.connect_seconds + target.facts.first_byte_seconds):
                return await gateway.upstream.session.ws_connect(
                    url.with_scheme("wss" if url.scheme == "https" else "ws"),
                    headers=headers,
                    protocols=protocols,
                    max_msg_size=MAX_MESSAGE_BYTES,
                    heartbeat=_HEARTBEAT_SECONDS,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                )
        except aiohttp.WSServerHandshakeError as error:
            exchange.status_code = error.status
            kind = UpstreamLimited if error.status == 429 else UpstreamError
            raise kind(f"{target.provider.slug} refused the WebSocket with {error.status}") from error
        except UPSTREAM_TROUBLE as error:
            raise failure(error, target.provider.slug) from error

    async def _pass(self, upstream: aiohttp.ClientWebSocketResponse, receive: Receive, send: Send) -> None:
        """Pass messages both ways until one side is done, then close both."""
        sides = [
            asyncio.ensure_future(side)
            for side in (self._up(upstream, receive), self._down(upstream, send), self._watch())
        ]
        code: int | None = _BROKEN
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
                code = done.pop().result()
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
        await upstream.close(code=_GOING_AWAY if code is None else code)
        if code is not None:
            with contextlib.suppress(OSError, RuntimeError):
                await send({"type": "websocket.close", "code": code})

    async def _up(self, upstream: aiohttp.ClientWebSocketResponse, receive: Receive) -> None:
        """Pass what the client sends; returns when it left."""
        while True:
            message = await receive()
            text, content = message.get("text"), message.get("bytes")
            if message["type"] != "websocket.receive":
                await upstream.close(code=_sendable(message.get("code")))
                return
            if text is not None:
                self._exchange.request_bytes += len(text.encode())
                await upstream.send_str(text)
            elif content is not None:
                self._exchange.request_bytes += len(content)
                await upstream.send_bytes(content)

    async def _down(self, upstream: aiohttp.ClientWebSocketResponse, send: Send) -> int:
        """Pass what the provider sends; returns the code it closed with."""
        async for message in upstream:
            if message.type is aiohttp.WSMsgType.TEXT:
                self._exchange.response_bytes += len(message.data.encode())
                self._look_at(message.data)
                await send({"type": "websocket.send", "text": message.data})
            elif message.type is aiohttp.WSMsgType.BINARY:
                self._exchange.response_bytes += len(message.data)
                self._look_at(message.data)
                await send({"type": "websocket.send", "bytes": message.data})
        if upstream.close_code is None or upstream.close_code == 1006:
            self._exchange.error_type = "upstream_broke"
            self._exchange.error_message = "the provider broke the connection"
            return _BROKEN
        return _sendable(upstream.close_code)

    async def _watch(self) -> int:
        """Wait until the session may go on no longer; returns the code to close it with."""
        ends = self._exchange.began + self._target.facts.total_seconds
        while self._is_allowed():
            if self._gateway.leaving.is_set() or time.perf_counter() > ends:
                return _GOING_AWAY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._gateway.leaving.wait()
        self._exchange.error_type = "access_key_refused"
        self._exchange.error_message = "the access key was revoked during the session"
        return _POLICY

    def _look_at(self, message: str | bytes) -> None:
        """Add up the usage of each answer in the session."""
        if isinstance(message, str):
            if '"usage' not in message and '"session' not in message:
                return
        elif b'"usage' not in message:
            return
        try:
            part = msgspec.json.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        exchange = self._exchange
        if isinstance(part, dict) and not exchange.model:
            place = part.get("session") or part.get("response")
            if isinstance(place, dict) and isinstance(place.get("model"), str):
                exchange.model = place["model"][:200]
        finder = UsageFinder(self._rules)
        if finder.look_at(part):
            for name, count in (finder.counts or {}).items():
                self._counts[name] = self._counts.get(name, 0) + count
            # Told as it grows: who ends the session in the middle records what was used until then.
            exchange.usage = Usage(self._counts)


def _sendable(code: int | None) -> int:
    """Return a close code that may be sent: some are for telling only that there was none."""
    return code if code is not None and (code in _SENDABLE or 3000 <= code < 5000) else 1000
