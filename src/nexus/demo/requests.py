"""A call of the demo as the request that a program would send through the gateway, and how the sandbox is to answer it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

from nexus.demo.setting_up import SANDBOXED
from nexus.demo.traffic import Call
from nexus.demo.world import Application

_LIMITS = {"openai": 500, "anthropic": 300, "google": 360, "mistral": 120}
"""Requests a minute, as the sandbox tells them in its answers."""
_GIVES_UP_SECONDS = 8.0
_NEVER_MS = 60_000
_LONGEST_CHUNKS = 60
_CHAT = "/v1/chat/completions"
HANG_UPS = 0.02
"""How many streams a customer leaves before their end, as a fraction."""
FALLBACKS = 0.2
"""How many calls of an alias find its first provider busy, as a fraction."""
COURSES = ("whole", "streamed", "left", "fallback", "refused", "failed")
"""What a call can come to, as `request_of` may be asked for."""


@dataclass(frozen=True)
class Request:
    """One HTTP request, as POST."""

    path: str
    """Below Nexus's address."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    leaves_after_bytes: int | None = None
    """The client hangs up when so much of the answer has come."""
    gives_up_after_seconds: float | None = None
    """The client hangs up when nothing has come by then."""


def can_be_sent(call: Call) -> bool:
    """Tell whether a call goes through the gateway: the sandbox knows its provider."""
    return call.record.get("provider") in SANDBOXED


def is_of(application: Application, call: Call, kind: str) -> bool:
    """Tell whether a call that went well can take a course."""
    record = call.record
    if record["status_code"] != 200:
        return False
    streams = not record["endpoint"].endswith("embeddings") and (
        record["provider"] != "google" or ":stream" in record["endpoint"]
    )
    if kind in {"streamed", "left"}:
        return streams
    if kind == "fallback":
        return _is_routed(application, call)
    return kind != "whole" or ":stream" not in record["endpoint"]


def _is_routed(application: Application, call: Call) -> bool:
    record = call.record
    return application.alias is not None and record["provider"] == "openai" and record["endpoint"] == _CHAT


def request_of(application: Application, call: Call, *, kind: str = "") -> Request:
    """Make the request of a call that `can_be_sent`. It follows from the call's id.

    `kind` asks for one of the `COURSES`: `left` is a customer who leaves a stream, `fallback` a first provider that is busy.
    """
    record = call.record
    chance = random.Random(record["id"])  # noqa: S311 - a story, no secret
    provider, model, endpoint, status = record["provider"], record["model"], record["endpoint"], record["status_code"]
    is_gemini = provider == "google"
    can_stream = not endpoint.endswith("embeddings") and (not is_gemini or ":stream" in endpoint)
    status = {"refused": 429, "failed": 500}.get(kind, status)
    is_streamed = (
        can_stream and kind != "whole" and (is_gemini or kind in {"streamed", "left"} or chance.random() < 0.6)
    )
    leaves = is_streamed and status == 200 and (kind == "left" or chance.random() < HANG_UPS)
    is_routed = _is_routed(application, call) and kind in {"", "fallback"}
    headers = {
        "content-type": "application/json",
        "x-nexus-tags": ", ".join(f"{name}={value}" for name, value in record.get("tags", {}).items()),
        "x-sandbox-rate-limit": str(_LIMITS[provider]),
        **_answer(record, is_streamed=is_streamed),
    }
    if "session_id" in record:
        headers["x-nexus-session-id"] = record["session_id"]
    if is_routed and (kind == "fallback" or chance.random() < FALLBACKS):
        # The first provider is busy; of those after it the sandbox's answer is a good one.
        headers["x-sandbox-status-of"] = f"{model}={chance.choice((429, 503))}"
        headers.pop("x-sandbox-status", None)
    elif status >= 400:
        headers["x-sandbox-status"] = str(status)
    body = _body(record, is_streamed=is_streamed)
    path = f"/gw/{provider}{endpoint.replace('{model}', model)}"
    if is_routed:
        body["model"] = application.alias
        path = "/gw/v1/chat/completions"
    elif is_gemini and is_streamed:
        path += "?alt=sse"
    if provider == "mistral":
        headers["x-sandbox-usage-rides"] = "1"
    return Request(
        path,
        headers,
        json.dumps(body).encode(),
        leaves_after_bytes=chance.randrange(400, 3_000) if leaves else None,
        gives_up_after_seconds=_GIVES_UP_SECONDS if status == 0 else None,
    )


def _answer(record: dict[str, Any], *, is_streamed: bool) -> dict[str, str]:
    """How the sandbox is to answer: how fast, in how many chunks, with which usage."""
    tokens = record.get("tokens", {})
    elapsed_ms = _NEVER_MS if record["status_code"] == 0 else record["response_time_ms"]
    chunks = min(_LONGEST_CHUNKS, max(4, tokens.get("output", 0) // 12))
    headers = {
        "x-sandbox-latency-ms": f"{elapsed_ms:.0f}",
        "x-sandbox-chunks": str(chunks),
        "x-sandbox-usage": ",".join(f"{name}={count}" for name, count in tokens.items()),
    }
    if is_streamed and record["status_code"] == 200:
        first_ms = record["time_to_first_byte_ms"]
        headers["x-sandbox-latency-ms"] = f"{first_ms:.0f}"
        headers["x-sandbox-chunk-ms"] = f"{max(0.0, elapsed_ms - first_ms) / chunks:.1f}"
    return headers


def _body(record: dict[str, Any], *, is_streamed: bool) -> dict[str, Any]:
    feature = record.get("tags", {}).get("feature", "answer")
    end_user, endpoint, text = record.get("end_user"), record["endpoint"], f"Please {feature} this."
    if record["provider"] == "google":
        return {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    body: dict[str, Any] = {"model": record["model"]}
    if endpoint.endswith("embeddings"):
        return {**body, "input": [text]}
    if endpoint.endswith("responses"):
        body["input"] = text
    else:
        body["messages"] = [{"role": "user", "content": text}]
    if record["provider"] == "anthropic":
        body["max_tokens"] = 4_096
        if end_user:
            body["metadata"] = {"user_id": end_user}
    elif end_user:
        body["user"] = end_user
    if is_streamed:
        body["stream"] = True
    return body
