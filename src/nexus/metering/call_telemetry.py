"""Calls in the words of OpenTelemetry: spans and histograms of the GenAI conventions (1.41), or of HTTP's."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_DELTA,
    Histogram,
    HistogramDataPoint,
    Metric,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

import nexus

SCOPE = "nexus"
CALL_ID = "nexus.call.id"
DURATION_BOUNDS = tuple(0.01 * 2**step for step in range(14))
"""Seconds."""
TOKEN_BOUNDS = tuple(4**step for step in range(14))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
    spans = ScopeSpans(scope=_scope(), spans=[_span(call) for call in calls])
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=_resource(), scope_spans=[spans])]
    ).SerializeToString()


def metrics_of(calls: Sequence[Call], at: datetime) -> bytes:
    """Write a request for metrics that adds calls up: what came since the request before, so that collectors may add."""
    durations: dict[tuple[tuple[str, Any], ...], list[float]] = {}
    tokens: dict[tuple[tuple[str, Any], ...], list[float]] = {}
    for call in calls:
        operation = operation_of(call)
        # Not every call that a limit refused has a record, so they are told as spans and not counted.
        if operation is None or call["refused_by"]:
            continue
        labels = {**_identity(call, operation), **_failure(call)}
        if call["response_time_us"] is not None:
            durations.setdefault(tuple(sorted(labels.items())), []).append(call["response_time_us"] / 1_000_000)
        for kind in ("input", "output"):
            if call[f"{kind}_tokens"]:
                key = tuple(sorted({**_identity(call, operation), "gen_ai.token.type": kind}.items()))
                tokens.setdefault(key, []).append(call[f"{kind}_tokens"])
    began = min((call["occurred_at"] for call in calls), default=at)
    metrics = [
        _histogram("gen_ai.client.operation.duration", "s", DURATION_BOUNDS, durations, began, at),
        _histogram("gen_ai.client.token.usage", "{token}", TOKEN_BOUNDS, tokens, began, at),
    ]
    scoped = ScopeMetrics(scope=_scope(), metrics=[metric for metric in metrics if metric.histogram.data_points])
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=_resource(), scope_metrics=[scoped])]
    ).SerializeToString()


def operation_of(call: Call) -> str | None:
    """Return the GenAI operation that a call's endpoint stands for; None where no model was called."""
    endpoint: str = call["endpoint"]
    if not call["model"]:
        return None
    return next((operation for end, operation in _OPERATIONS if endpoint.endswith(end)), None)


def _span(call: Call) -> Span:
    gateway: Mapping[str, Any] = (call["metadata"] or {}).get("gateway") or {}
    operation = operation_of(call)
    start = _nanoseconds(call["occurred_at"])
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
    trace_id, parent = _id(call["trace_id"], 16), _id(gateway.get("parent_span_id"), 8)
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
        attributes=_attributes(said),
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


def _histogram(
    name: str,
    unit: str,
    bounds: Sequence[float],
    groups: Mapping[tuple[tuple[str, Any], ...], Sequence[float]],
    began: datetime,
    at: datetime,
) -> Metric:
    points = []
    for labels, values in groups.items():
        counts = [0] * (len(bounds) + 1)
        for value in values:
            # A value at a bound belongs to the bucket below it.
            counts[bisect_left(bounds, value)] += 1
        points.append(
            HistogramDataPoint(
                attributes=_attributes(dict(labels)),
                start_time_unix_nano=_nanoseconds(began),
                time_unix_nano=_nanoseconds(at),
                count=len(values),
                sum=sum(values),
                min=min(values),
                max=max(values),
                bucket_counts=counts,
                explicit_bounds=bounds,
            )
        )
    histogram = Histogram(data_points=points, aggregation_temporality=AGGREGATION_TEMPORALITY_DELTA)
    return Metric(name=name, unit=unit, histogram=histogram)


def _attributes(said: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in said.items() if value is not None]


def _value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
    return AnyValue(string_value=str(value))


def _id(text: Any, size: int) -> bytes:
    """Read an id of so many bytes; empty where it is none."""
    try:
        found = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return b""
    return found if len(found) == size and any(found) else b""


def _nanoseconds(at: datetime) -> int:
    span = at - _EPOCH
    return ((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds) * 1000


def _resource() -> Resource:
    return Resource(attributes=_attributes({"service.name": "nexus", "service.version": nexus.__version__}))


def _scope() -> InstrumentationScope:
    return InstrumentationScope(name=SCOPE, version=nexus.__version__)
