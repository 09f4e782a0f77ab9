"""Requests as exporters make them, in both forms, from one description."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

START = 1_773_576_000_000_000_000
"""2026-03-15T12:00Z."""
TRACE = "5b8efff798038103d269b633813fc60c"
_REQUESTS = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}


def value_of(value: Any) -> dict[str, Any]:
    """An attribute's value in OTLP's JSON."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [value_of(item) for item in value]}}
    return {"stringValue": value}


def attributes(said: dict[str, Any]) -> list[dict[str, Any]]:
    """Attributes in OTLP's JSON."""
    return [{"key": name, "value": value_of(value)} for name, value in said.items()]


def span(number: int, said: dict[str, Any], *, parent: int = 0, kind: int = 3, **more: Any) -> dict[str, Any]:
    """One span in OTLP's JSON, half a second long."""
    told: dict[str, Any] = {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "name": "chat gpt-4o",
        "kind": kind,
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + 500_000_000),
        "attributes": attributes(said),
    }
    if parent:
        told["parentSpanId"] = f"{parent:016x}"
    return told | more


def request(*spans: dict[str, Any], resource: dict[str, Any] | None = None, scope: str = "test") -> dict[str, Any]:
    """A request for traces in OTLP's JSON."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes(resource or {"service.name": "shop"})},
                "scopeSpans": [{"scope": {"name": scope}, "spans": list(spans)}],
            }
        ]
    }


def as_json(document: dict[str, Any]) -> bytes:
    """The body of a request in JSON."""
    return msgspec.json.encode(document)


def as_protobuf(document: dict[str, Any], signal: str = "traces") -> bytes:
    """The same request in protobuf, by protobuf's own library: its mapping to JSON has ids in base64."""
    return ParseDict(_with_base64_ids(document), _REQUESTS[signal]()).SerializeToString()


def _with_base64_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode()
            if key in {"traceId", "spanId", "parentSpanId"}
            else _with_base64_ids(item)
            for key, item in value.items()
        }
    return [_with_base64_ids(item) for item in value] if isinstance(value, list) else value
