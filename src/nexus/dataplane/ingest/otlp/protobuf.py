"""OTLP in its binary form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from nexus.dataplane.ingest.otlp.model import Event, Span
from nexus.kit.errors import MalformedRequest

MEDIA_TYPE = "application/x-protobuf"
_MAX_DEPTH = 16


def read_spans(body: bytes) -> Iterator[Span]:
    """Read a request for traces; `MalformedRequest` for bytes that are none."""
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise MalformedRequest(f"the body is no ExportTraceServiceRequest in protobuf ({error})") from error
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope.name
            for span in scope_spans.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    kind=span.kind,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=_attributes(span.attributes),
                    status=span.status.code,
                    status_message=span.status.message,
                    events=tuple(
                        Event(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events
                    ),
                    resource=resource,
                    scope=scope,
                )


def spans_answer(rejected: int, message: str) -> bytes:
    """Write the answer to a request for traces."""
    if not rejected and not message:
        return ExportTraceServiceResponse().SerializeToString()
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return ExportTraceServiceResponse(partial_success=partial).SerializeToString()


def status_answer(code: int, message: str) -> bytes:
    """Write a `google.rpc.Status`."""
    written: bytes = Status(code=code, message=message).SerializeToString()
    return written


def _attributes(items: Iterable[KeyValue]) -> dict[str, Any]:
    return {item.key: _value(item.value) for item in items}


def _value(value: AnyValue, depth: int = 0) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or depth > _MAX_DEPTH:
        return None
    if kind == "array_value":
        return [_value(item, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: _value(item.value, depth + 1) for item in value.kvlist_value.values}
    return getattr(value, kind)
