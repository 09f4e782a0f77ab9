"""The sandbox as an ASGI application, and how it is served."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import msgspec

from nexus.platform.web.server import HttpServer
from nexus.sandbox import answers, other_answers
from nexus.sandbox.answers import Plan

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_ERRORS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error",
           500: "api_error", 529: "overloaded_error"}  # fmt: skip


class BrokenOffError(Exception):
    """The connection is to break here."""


class Sandbox:
    """The ASGI application. `seen` keeps the last requests for tests to look at."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[int, int]] = {}
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.keeps = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body = await _body(receive)
        path: str = scope["path"]
        if self.keeps:
            self.seen.append((scope["method"], path, headers, body))
        is_anthropic = path.endswith("/messages")
        latency_ms = float(headers.get("x-sandbox-latency-ms", 0))
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)
        extra, status = self._limits(headers, is_anthropic=is_anthropic)
        status = int(headers.get("x-sandbox-status", status))
        try:
            asked = _decode(body) if body else {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            asked = None
        kind, model = _kind(path)
        named = model or (asked.get("model") if isinstance(asked, dict) else None)
        for part in headers.get("x-sandbox-status-of", "").split(","):
            if part.strip().rpartition("=")[0] == named and named:
                status = int(part.rpartition("=")[2])
        if float(headers.get("x-sandbox-error-rate", 0)) > random.random():  # noqa: S311
            status = 500
        if status >= 400:
            await _error(send, status, f"the sandbox was asked for {status}", extra, is_anthropic=is_anthropic)
            return
        if path.endswith("/models"):
            models = {"object": "list", "data": [{"id": "sandbox-1", "object": "model", "owned_by": "sandbox"}]}
            await _whole(send, models, extra)
            return
        if not isinstance(asked, dict) or kind not in _KINDS:
            missing = 400 if kind in _KINDS else 404
            await _error(send, missing, "send a JSON object to a path I know", extra, is_anthropic=is_anthropic)
            return
        whole, events = _KINDS[kind]
        plan = _plan(asked if not model else {**asked, "model": model}, headers, body)
        if events is not None and (asked.get("stream") is True or kind == "streamGenerateContent"):
            await self._stream(send, events(plan), headers, extra)
        else:
            await _whole(send, whole(plan), extra)

    def _limits(self, headers: dict[str, str], *, is_anthropic: bool) -> tuple[list[tuple[bytes, bytes]], int]:
        """Count against the request's own rate limit; returns headers that tell it, and the status."""
        limit = int(headers.get("x-sandbox-rate-limit", 0))
        extra = [(b"x-request-id", b"req_sandbox")] if not is_anthropic else [(b"request-id", b"req_sandbox")]
        if not limit:
            return extra, 200
        minute = int(time.time() // 60)
        who = headers.get("authorization") or headers.get("x-api-key") or ""
        window, count = self._windows.get(who, (minute, 0))
        count = count + 1 if window == minute else 1
        self._windows[who] = (minute, count)
        prefix = b"anthropic-ratelimit-requests-" if is_anthropic else b"x-ratelimit-"
        names = (b"limit", b"remaining") if is_anthropic else (b"limit-requests", b"remaining-requests")
        extra += [(prefix + names[0], str(limit).encode()), (prefix + names[1], str(max(0, limit - count)).encode())]
        if count > limit:
            return [*extra, (b"retry-after", str(60 - int(time.time() % 60)).encode())], 429
        return extra, 200

    async def _stream(
        self, send: Send, events: Iterator[bytes], headers: dict[str, str], extra: list[tuple[bytes, bytes]]
    ) -> None:
        pause = float(headers.get("x-sandbox-chunk-ms", 0)) / 1000
        left = int(headers.get("x-sandbox-break-after", -1))
        start = [(b"content-type", b"text/event-stream; charset=utf-8"), *extra]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        for event in events:
            if left == 0:
                raise BrokenOffError
            left -= 1
            await send({"type": "http.response.body", "body": event, "more_body": True})
            if pause:
                await asyncio.sleep(pause)
        await send({"type": "http.response.body", "body": b""})


_KINDS: dict[str, tuple[Callable[[Plan], Any], Callable[[Plan], Iterator[bytes]] | None]] = {
    "chat/completions": (answers.chat, answers.chat_events),
    "completions": (answers.completion, answers.completion_events),
    "responses": (answers.response, answers.response_events),
    "embeddings": (answers.embeddings, None),
    "messages": (answers.message, answers.message_events),
    "generateContent": (other_answers.gemini, None),
    "streamGenerateContent": (other_answers.gemini, other_answers.gemini_events),
    "v2/chat": (other_answers.cohere, other_answers.cohere_events),
}


def _kind(path: str) -> tuple[str, str]:
    """Return which form of answer a path asks for, and the model where the path names it."""
    if path.endswith("/v2/chat"):
        return "v2/chat", ""
    last = path.rpartition("/")[2]
    if "Content" in last and ":" in last:
        model, _, kind = last.partition(":")
        return kind, model
    return path.rsplit("/v1/", 1)[-1], ""


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _plan(asked: dict[str, Any], headers: dict[str, str], body: bytes) -> Plan:
    chunks = int(headers.get("x-sandbox-chunks", 12))
    usage = {"input": max(1, len(body) // 4), "output": chunks}
    for part in headers.get("x-sandbox-usage", "").split(","):
        name, equals, value = part.strip().partition("=")
        if equals and value.isdecimal():
            usage[name] = int(value)
    options = asked.get("stream_options")
    given = asked.get("input")
    return Plan(
        model=str(asked.get("model", "sandbox-1")),
        chunks=chunks,
        usage=usage,
        tells_usage="x-sandbox-no-usage" not in headers,
        usage_rides="x-sandbox-usage-rides" in headers,
        asks_usage=isinstance(options, dict) and options.get("include_usage") is True,
        count=len(given) if isinstance(given, list) else 1,
        id=headers.get("x-sandbox-id", "sandbox"),
    )


async def _whole(send: Send, answer: Any, extra: list[tuple[bytes, bytes]], status: int = 200) -> None:
    content = _encode(answer)
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": content})


async def _error(send: Send, status: int, text: str, extra: list[tuple[bytes, bytes]], *, is_anthropic: bool) -> None:
    kind = _ERRORS.get(status, "api_error")
    body: dict[str, Any] = {"error": {"message": text, "type": kind, "param": None, "code": None}}
    if is_anthropic:
        body = {"type": "error", "error": {"type": kind, "message": text}}
    await _whole(send, body, extra, status)


async def serve(host: str, port: int) -> None:
    """Serve until told to stop."""
    server = HttpServer(Sandbox(), host=host, port=port)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stopping.set)
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    server.stop()
    waiting.cancel()
    await serving
