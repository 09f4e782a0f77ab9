"""Requests the gateway sent to MCP servers in the words of OpenTelemetry: spans and a histogram of the MCP conventions (1.41).

A call of a tool is one span, that of its request; the tool's own record is found by `nexus.tool_call.id`. The gateway is the
server's client, and its span is the parent of the server's. Arguments and results are never told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from nexus.mcp import store
from nexus.metering.export_sources import Source
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

DURATION_BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds."""
_TARGETS = {"tools/call": "gen_ai.tool.name", "prompts/get": "gen_ai.prompt.name", "resources/read": "mcp.resource.uri"}
"""What the target of a request is called, by method."""
_TRANSPORTS = {"stdio": "pipe"}
_TCP = "tcp"
_ANSWERED_WITH_AN_ERROR = "json_rpc_error"

Request = Mapping[str, Any]


def spans_of(requests: Iterable[Request]) -> bytes:
    """Write a request for traces that tells of requests to MCP servers."""
    return traces_request(_span(request) for request in requests)


def metrics_of(requests: Sequence[Request], at: datetime) -> bytes:
    """Write a request for metrics that adds requests up, as `call_telemetry.metrics_of` does."""
    durations: Groups = {}
    for request in requests:
        if request["duration_us"] is None:
            continue
        said = _identity(request) | _failure(request)
        # An address may be another with each request: too many for a metric's labels.
        said.pop("mcp.resource.uri", None)
        labels = {name: value for name, value in said.items() if value is not None}
        add_value(durations, labels, request["duration_us"] / 1_000_000)
    began = min((request["occurred_at"] for request in requests), default=at)
    return metrics_request([histogram("mcp.client.operation.duration", "s", DURATION_BOUNDS, durations, began, at)])


def _span(request: Request) -> Span:
    gateway: Mapping[str, Any] = (request["metadata"] or {}).get("gateway") or {}
    said = {
        CALL_ID: str(request["call_id"]),
        "nexus.tool_call.id": gateway.get("tool_call"),
        "nexus.organization.id": str(request["organization_id"]),
        "nexus.application": request["application"] or None,
        "nexus.mcp.client.name": request["client_name"] or None,
        "nexus.mcp.client.version": request["client_version"] or None,
        "nexus.cost.amount": gateway.get("cost"),
        **_identity(request),
        **_failure(request),
        "mcp.session.id": request["session_id"],
        "jsonrpc.request.id": request["request_id"],
        "http.response.status_code": request["status_code"] or None if _is_http(request) else None,
    }
    start = nanoseconds(request["occurred_at"])
    trace_id, parent = id_bytes(request["trace_id"], 16), id_bytes(gateway.get("parent_span_id"), 8)
    # An address is not part of the name: names are few.
    target = request["target"] if request["method"] in {"tools/call", "prompts/get"} else ""
    return Span(
        trace_id=trace_id or request["call_id"].bytes,
        span_id=id_bytes(request["span_id"], 8) or request["call_id"].bytes[8:],
        parent_span_id=parent if trace_id else b"",
        name=f"{request['method']} {target}".rstrip(),
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=start,
        end_time_unix_nano=start + (request["duration_us"] or 0) * 1000,
        attributes=attributes(said),
        status=Status(code=Status.STATUS_CODE_ERROR if _failure(request) else Status.STATUS_CODE_UNSET),
    )


def _is_http(request: Request) -> bool:
    return request["transport"] not in _TRANSPORTS


def _identity(request: Request) -> dict[str, Any]:
    method: str = request["method"]
    said = {
        "mcp.method.name": method,
        "mcp.protocol.version": request["protocol_version"],
        "network.transport": _TRANSPORTS.get(request["transport"], _TCP),
        "nexus.mcp.server.name": request["server"] or None,
    }
    if method == "tools/call":
        said["gen_ai.operation.name"] = "execute_tool"
    if method in _TARGETS:
        said[_TARGETS[method]] = request["target"] or None
    return said


def _failure(request: Request) -> dict[str, Any]:
    """A tool that failed is `tool_error`, an error of the protocol its JSON-RPC code, no answer what kept it away."""
    if request["outcome"] == "ok":
        return {}
    if request["error_type"] == _ANSWERED_WITH_AN_ERROR and request["error_code"]:
        return {"error.type": request["error_code"], "rpc.response.status_code": request["error_code"]}
    return {"error.type": request["error_type"] or "_OTHER"}


REQUESTS = Source("mcp_request", store.requests_to_export, spans_of, metrics_of)
