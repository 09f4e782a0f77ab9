"""OTLP as JSON: ids in hexadecimal, enums as numbers, 64-bit integers as texts, names in lowerCamelCase.

It is not protobuf's own mapping to JSON (there ids are base64), so it is read by types of its own. Unknown fields are
passed over, as the specification asks, and `null` is the same as nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from nexus.dataplane.ingest.otlp.json_metrics import read_points
from nexus.dataplane.ingest.otlp.json_values import (
    AnyValue,
    Form,
    KeyValue,
    Resource,
    Scope,
    attributes,
    decode,
    enum,
    integer,
    value_of,
)
from nexus.dataplane.ingest.otlp.model import Event, LogRecord, Span, SpanKind

__all__ = [
    "MEDIA_TYPE", "logs_answer", "points_answer", "read_logs", "read_points", "read_spans", "spans_answer", "status_answer",
]  # fmt: skip
MEDIA_TYPE = "application/json"


class SpanStatus(Form):
    """How a span ended."""

    code: int | str | None = None
    message: str | None = None


class SpanEvent(Form):
    """Something that happened within a span."""

    time_unix_nano: int | str | None = None
    name: str | None = None
    attributes: list[KeyValue] | None = None


class JsonSpan(Form):
    """A span."""

    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    kind: int | str | None = None
    start_time_unix_nano: int | str | None = None
    end_time_unix_nano: int | str | None = None
    attributes: list[KeyValue] | None = None
    events: list[SpanEvent] | None = None
    status: SpanStatus | None = None


class ScopeSpans(Form):
    """Spans of one instrumentation."""

    scope: Scope | None = None
    spans: list[JsonSpan] | None = None


class ResourceSpans(Form):
    """Spans of one resource."""

    resource: Resource | None = None
    scope_spans: list[ScopeSpans] | None = None


class TraceRequest(Form):
    """A request for traces."""

    resource_spans: list[ResourceSpans] | None = None


class JsonLog(Form):
    """A log record."""

    time_unix_nano: int | str | None = None
    observed_time_unix_nano: int | str | None = None
    severity_number: int | str | None = None
    severity_text: str | None = None
    body: AnyValue | None = None
    attributes: list[KeyValue] | None = None
    trace_id: str | None = None
    span_id: str | None = None
    event_name: str | None = None


class ScopeLogs(Form):
    """Log records of one instrumentation."""

    scope: Scope | None = None
    log_records: list[JsonLog] | None = None


class ResourceLogs(Form):
    """Log records of one resource."""

    resource: Resource | None = None
    scope_logs: list[ScopeLogs] | None = None


class LogsRequest(Form):
    """A request for logs."""

    resource_logs: list[ResourceLogs] | None = None


_TRACES = msgspec.json.Decoder(TraceRequest)
_LOGS = msgspec.json.Decoder(LogsRequest)
_SEVERITIES = {
    "UNSPECIFIED": 0,
    **{
        f"{name}{place or ''}".replace("1", ""): first + max(0, place - 1)
        for first, name in ((1, "TRACE"), (5, "DEBUG"), (9, "INFO"), (13, "WARN"), (17, "ERROR"), (21, "FATAL"))
        for place in (1, 2, 3, 4)
    },
}


def read_spans(body: bytes) -> Iterator[Span]:
    """Read a request for traces; `MalformedRequest` for what is none."""
    for resource_spans in decode(_TRACES, body).resource_spans or ():
        resource = attributes(resource_spans.resource.attributes if resource_spans.resource else None)
        for scope_spans in resource_spans.scope_spans or ():
            scope = (scope_spans.scope.name if scope_spans.scope else None) or ""
            for span in scope_spans.spans or ():
                status = span.status or SpanStatus()
                yield Span(
                    trace_id=(span.trace_id or "").lower(),
                    span_id=(span.span_id or "").lower(),
                    parent_id=(span.parent_span_id or "").lower(),
                    name=span.name or "",
                    kind=enum(span.kind, "SPAN_KIND_", SpanKind),
                    start_ns=integer(span.start_time_unix_nano),
                    end_ns=integer(span.end_time_unix_nano),
                    attributes=attributes(span.attributes),
                    status=enum(status.code, "STATUS_CODE_", {"UNSET": 0, "OK": 1, "ERROR": 2}),
                    status_message=status.message or "",
                    events=tuple(
                        Event(event.name or "", integer(event.time_unix_nano), attributes(event.attributes))
                        for event in span.events or ()
                    ),
                    resource=resource,
                    scope=scope,
                )


def read_logs(body: bytes) -> Iterator[LogRecord]:
    """Read a request for logs; `MalformedRequest` for what is none."""
    for resource_logs in decode(_LOGS, body).resource_logs or ():
        resource = attributes(resource_logs.resource.attributes if resource_logs.resource else None)
        for scope_logs in resource_logs.scope_logs or ():
            scope = (scope_logs.scope.name if scope_logs.scope else None) or ""
            for log in scope_logs.log_records or ():
                yield LogRecord(
                    time_ns=integer(log.time_unix_nano),
                    observed_ns=integer(log.observed_time_unix_nano),
                    severity=enum(log.severity_number, "SEVERITY_NUMBER_", _SEVERITIES),
                    severity_text=log.severity_text or "",
                    body=value_of(log.body),
                    attributes=attributes(log.attributes),
                    trace_id=(log.trace_id or "").lower(),
                    span_id=(log.span_id or "").lower(),
                    event_name=log.event_name or "",
                    resource=resource,
                    scope=scope,
                )


def spans_answer(rejected: int, message: str) -> bytes:
    """Write the answer to a request for traces."""
    return partial_answer("rejectedSpans", rejected, message)


def logs_answer(rejected: int, message: str) -> bytes:
    """Write the answer to a request for logs."""
    return partial_answer("rejectedLogRecords", rejected, message)


def points_answer(rejected: int, message: str) -> bytes:
    """Write the answer to a request for metrics."""
    return partial_answer("rejectedDataPoints", rejected, message)


def partial_answer(name: str, rejected: int, message: str) -> bytes:
    """Write an answer: empty when all was taken. 64-bit integers are texts."""
    if not rejected and not message:
        return b"{}"
    return msgspec.json.encode({"partialSuccess": {name: str(rejected), "errorMessage": message}})


def status_answer(code: int, message: str) -> bytes:
    """Write a `google.rpc.Status`."""
    return msgspec.json.encode({"code": code, "message": message})
