"""OTLP as JSON: ids in hexadecimal, enums as numbers, 64-bit integers as texts, names in lowerCamelCase.

It is not protobuf's own mapping to JSON (there ids are base64), so it is read by types of its own. Unknown fields are
passed over, as the specification asks, and `null` is the same as nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from nexus.dataplane.ingest.otlp.model import Event, LogRecord, Span, SpanKind
from nexus.kit.errors import MalformedRequest

MEDIA_TYPE = "application/json"
_MAX_INT_DIGITS = 20
_LARGEST = 2**64
T = TypeVar("T")


class _Form(msgspec.Struct, rename="camel", gc=False):
    """What all share: names in lowerCamelCase."""


class AnyValue(_Form):
    """A value of an attribute."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    bytes_value: str | None = None
    array_value: ArrayValue | None = None
    kvlist_value: KeyValueList | None = None


class ArrayValue(_Form):
    """A list of values."""

    values: list[AnyValue] | None = None


class KeyValue(_Form):
    """An attribute."""

    key: str = ""
    value: AnyValue | None = None


class KeyValueList(_Form):
    """A mapping."""

    values: list[KeyValue] | None = None


class Resource(_Form):
    """What the telemetry is about."""

    attributes: list[KeyValue] | None = None


class Scope(_Form):
    """The instrumentation."""

    name: str | None = None
    version: str | None = None


class SpanStatus(_Form):
    """How a span ended."""

    code: int | str | None = None
    message: str | None = None


class SpanEvent(_Form):
    """Something that happened within a span."""

    time_unix_nano: int | str | None = None
    name: str | None = None
    attributes: list[KeyValue] | None = None


class JsonSpan(_Form):
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


class ScopeSpans(_Form):
    """Spans of one instrumentation."""

    scope: Scope | None = None
    spans: list[JsonSpan] | None = None


class ResourceSpans(_Form):
    """Spans of one resource."""

    resource: Resource | None = None
    scope_spans: list[ScopeSpans] | None = None


class TraceRequest(_Form):
    """A request for traces."""

    resource_spans: list[ResourceSpans] | None = None


class JsonLog(_Form):
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


class ScopeLogs(_Form):
    """Log records of one instrumentation."""

    scope: Scope | None = None
    log_records: list[JsonLog] | None = None


class ResourceLogs(_Form):
    """Log records of one resource."""

    resource: Resource | None = None
    scope_logs: list[ScopeLogs] | None = None


class LogsRequest(_Form):
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
                    kind=_enum(span.kind, "SPAN_KIND_", SpanKind),
                    start_ns=integer(span.start_time_unix_nano),
                    end_ns=integer(span.end_time_unix_nano),
                    attributes=attributes(span.attributes),
                    status=_enum(status.code, "STATUS_CODE_", {"UNSET": 0, "OK": 1, "ERROR": 2}),
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
                    severity=_enum(log.severity_number, "SEVERITY_NUMBER_", _SEVERITIES),
                    severity_text=log.severity_text or "",
                    body=_value(log.body),
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


def partial_answer(name: str, rejected: int, message: str) -> bytes:
    """Write an answer: empty when all was taken. 64-bit integers are texts."""
    if not rejected and not message:
        return b"{}"
    return msgspec.json.encode({"partialSuccess": {name: str(rejected), "errorMessage": message}})


def status_answer(code: int, message: str) -> bytes:
    """Write a `google.rpc.Status`."""
    return msgspec.json.encode({"code": code, "message": message})


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body; `MalformedRequest` says what is wrong with it, and where."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MalformedRequest(f"the body is no OTLP in JSON: {error}") from error


def integer(value: int | str | None) -> int:
    """Read an unsigned 64-bit integer, which JSON holds as a text; `MalformedRequest` for what is none."""
    if isinstance(value, str):
        if not value.isascii() or not value.isdecimal() or len(value) > _MAX_INT_DIGITS:
            raise MalformedRequest("an integer of 64 bits is written as its decimal digits")
        value = int(value)
    if value is None:
        return 0
    if not 0 <= value < _LARGEST:
        raise MalformedRequest("an integer is outside of 64 bits")
    return value


def _enum(value: int | str | None, prefix: str, names: Any) -> int:
    # Numbers are the rule; some exporters write the names that protobuf's own mapping would.
    if isinstance(value, str):
        name = value.removeprefix(prefix)
        try:
            return int(names[name])
        except KeyError:
            raise MalformedRequest(f"{value[:80]!r} is no value of an enum: send its number") from None
    return value or 0


def attributes(items: list[KeyValue] | None) -> dict[str, Any]:
    """Read attributes into plain values."""
    return {item.key: _value(item.value) for item in items or ()}


def _value(value: AnyValue | None) -> Any:
    if value is None:
        return None
    for plain in (value.string_value, value.bool_value):
        if plain is not None:
            return plain
    if value.int_value is not None:
        return _signed(value.int_value)
    if value.double_value is not None:
        return number(value.double_value)
    if value.bytes_value is not None:
        try:
            return base64.b64decode(value.bytes_value)
        except (binascii.Error, ValueError):
            return None
    if value.array_value is not None:
        return [_value(item) for item in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return attributes(value.kvlist_value.values)
    return None


def _signed(value: int | str) -> int:
    if isinstance(value, str) and value.startswith("-"):
        return -integer(value[1:])
    return integer(value) if isinstance(value, str) else value


def number(value: float | str) -> float:
    """Read a double, which JSON holds as a text where it is not finite; `MalformedRequest` for what is none."""
    try:
        return float(value)
    except ValueError:
        raise MalformedRequest(f"{str(value)[:80]!r} is no number") from None
