"""Calls in the words of OpenTelemetry: spans and histograms of the GenAI conventions (1.41), or of HTTP's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from nexus.metering.otlp_messages import (
    CALL_ID,
    Groups,
    add_value,
    attributes,
    histogram,
    id_bytes,
    metrics_request,
    nanoseconds,
    traces_request,
)

DURATION_BOUNDS = tuple(0.01 * 2**step for step in range(14))
"""Seconds."""
TOKEN_BOUNDS = tuple(4**step for step in range(14))
_OPERATIONS = (
    ("/chat/completions", "chat"), ("/messages", "chat"), ("/responses", "chat"), ("/converse", "chat"),
    ("/converse-stream", "chat"), ("/v2/chat", "chat"), ("/completions", "text_completion"),
    (":generateContent", "generate_content"), (":streamGenerateContent", "generate_content"),
    ("/embeddings", "embeddings"), (":embedContent", "embeddings"), ("/v2/embed", "embeddings"),
)  # fmt: skip
_PROVIDERS = {
    "aws": "aws.bedrock", "azure": "azure.ai.openai", "google": "gcp.gemini", "mistral": "mistral_ai", "x-ai": "x_ai",
}  # fmt: skip
_USAGE = {
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cached_input_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
}

Call = Mapping[str, Any]


def spans_of(calls: Iterable[Call]) -> bytes:
    """Write a request for traces that tells of calls."""
    return traces_request(_span(call) for call in calls)


def metrics_of(calls: Sequence[Call], at: datetime) -> bytes:
    """Write a request for metrics that adds calls up: what came since the request before, so that collectors may add."""
    durations: Groups = {}
    tokens: Groups = {}
    for call in calls:
        operation = operation_of(call)
        # Not every call that a limit refused has a record, so they are told as spans and not counted.
        if operation is None or call["refused_by"]:
            continue
        labels = {**_identity(call, operation), **_failure(call)}
        if call["response_time_us"] is not None:
            add_value(durations, labels, call["response_time_us"] / 1_000_000)
        for kind in ("input", "output"):
            if call[f"{kind}_tokens"]:
                of_kind = {**_identity(call, operation), "gen_ai.token.type": kind}
                add_value(tokens, of_kind, call[f"{kind}_tokens"])
    began = min((call["occurred_at"] for call in calls), default=at)
    return metrics_request(
        [
            histogram("gen_ai.client.operation.duration", "s", DURATION_BOUNDS, durations, began, at),
            histogram("gen_ai.client.token.usage", "{token}", TOKEN_BOUNDS, tokens, began, at),
        ]
    )


def operation_of(call: Call) -> str | None:
    """Return the GenAI operation that a call's endpoint stands for; None where no model was called."""
    endpoint: str = call["endpoint"]
    if not call["model"]:
        return None
    return next((operation for end, operation in _OPERATIONS if endpoint.endswith(end)), None)


def _span(call: Call) -> Span:
    gateway: Mapping[str, Any] = (call["metadata"] or {}).get("gateway") or {}
    operation = operation_of(call)
    start = nanoseconds(call["occurred_at"])
    said: dict[str, Any] = {
        CALL_ID: str(call["call_id"]),
        "nexus.organization.id": str(call["organization_id"]),
        "nexus.application": call["application"] or None,
        "http.request.method": call["method"] or None,
        "http.response.status_code": call["status_code"] or None,
        "url.template": call["endpoint"] or None,
        "nexus.refused_by": call["refused_by"],
        **_failure(call),
    }
    if call["cost"] is not None:
        said |= {"nexus.cost.amount": format(call["cost"], "f"), "nexus.cost.currency": call["currency"]}
    if operation is not None:
        said |= _identity(call, operation) | {name: call[column] or None for name, column in _USAGE.items()}
        said |= {
            "gen_ai.response.id": gateway.get("response_id"),
            "gen_ai.conversation.id": call["session_id"],
            "gen_ai.request.stream": True if gateway.get("streamed") else None,
        }
        if gateway.get("streamed") and call["ttfb_us"] is not None:
            said["gen_ai.response.time_to_first_chunk"] = call["ttfb_us"] / 1_000_000
    trace_id, parent = id_bytes(call["trace_id"], 16), id_bytes(gateway.get("parent_span_id"), 8)
    return Span(
        trace_id=trace_id or call["call_id"].bytes,
        span_id=call["call_id"].bytes[8:],
        parent_span_id=parent if trace_id else b"",
        name=f"{operation} {said['gen_ai.request.model']}"
        if operation
        else f"{call['method']} {call['endpoint']}".strip(),
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=start,
        end_time_unix_nano=start + (call["response_time_us"] or 0) * 1000,
        attributes=attributes(said),
        status=Status(code=Status.STATUS_CODE_ERROR if _failure(call) else Status.STATUS_CODE_UNSET),
    )


def _identity(call: Call, operation: str) -> dict[str, Any]:
    gateway: Mapping[str, Any] = (call["metadata"] or {}).get("gateway") or {}
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDERS.get(call["provider"], call["provider"]),
        "gen_ai.request.model": str(gateway.get("requested_model") or call["model"]),
        "gen_ai.response.model": call["model"],
    }


def _failure(call: Call) -> dict[str, Any]:
    status: int = call["status_code"]
    if 0 < status < 400 and not call["error_type"]:
        return {}
    return {"error.type": call["error_type"] or str(status or "_OTHER")}
