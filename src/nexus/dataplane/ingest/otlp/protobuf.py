"""OTLP in its binary form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

from nexus.dataplane.ingest.otlp.model import (
    DataPoint,
    Event,
    ExponentialValue,
    HistogramValue,
    LogRecord,
    NumberValue,
    Span,
    Stream,
    SummaryValue,
)
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


def read_logs(body: bytes) -> Iterator[LogRecord]:
    """Read a request for logs; `MalformedRequest` for bytes that are none."""
    request = ExportLogsServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise MalformedRequest(f"the body is no ExportLogsServiceRequest in protobuf ({error})") from error
    for resource_logs in request.resource_logs:
        resource = _attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            for log in scope_logs.log_records:
                yield LogRecord(
                    time_ns=log.time_unix_nano,
                    observed_ns=log.observed_time_unix_nano,
                    severity=log.severity_number,
                    severity_text=log.severity_text,
                    body=_value(log.body),
                    attributes=_attributes(log.attributes),
                    trace_id=log.trace_id.hex(),
                    span_id=log.span_id.hex(),
                    event_name=log.event_name,
                    resource=resource,
                    scope=scope_logs.scope.name,
                )


def read_points(body: bytes) -> Iterator[DataPoint]:
    """Read a request for metrics; `MalformedRequest` for bytes that are none."""
    request = ExportMetricsServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise MalformedRequest(f"the body is no ExportMetricsServiceRequest in protobuf ({error})") from error
    for resource_metrics in request.resource_metrics:
        resource = _attributes(resource_metrics.resource.attributes)
        for scope_metrics in resource_metrics.scope_metrics:
            scope = scope_metrics.scope.name
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                if kind is None:
                    continue
                data = getattr(metric, kind)
                stream = Stream(
                    metric.name,
                    metric.unit,
                    metric.description,
                    kind,
                    getattr(data, "aggregation_temporality", 0),
                    getattr(data, "is_monotonic", False),
                    scope,
                    resource,
                )
                for point in data.data_points:
                    yield DataPoint(
                        stream,
                        point.time_unix_nano,
                        point.start_time_unix_nano,
                        _attributes(point.attributes),
                        point.flags,
                        _point_value(kind, point),
                    )


def _point_value(kind: str, point: Any) -> NumberValue | HistogramValue | ExponentialValue | SummaryValue:
    if kind in {"gauge", "sum"}:
        field = point.WhichOneof("value")
        return NumberValue(None if field is None else float(getattr(point, field)))
    if kind == "summary":
        quantiles = tuple((one.quantile, one.value) for one in point.quantile_values)
        return SummaryValue(point.count, point.sum, quantiles)
    total, low, high = (getattr(point, name) if point.HasField(name) else None for name in ("sum", "min", "max"))
    if kind == "histogram":
        return HistogramValue(point.count, total, low, high, tuple(point.explicit_bounds), tuple(point.bucket_counts))
    return ExponentialValue(
        point.count,
        total,
        low,
        high,
        point.scale,
        point.zero_count,
        point.zero_threshold,
        _side(point.positive),
        _side(point.negative),
    )


def _side(buckets: ExponentialHistogramDataPoint.Buckets) -> tuple[int, tuple[int, ...]]:
    return buckets.offset, tuple(buckets.bucket_counts)


def spans_answer(rejected: int, message: str) -> bytes:
    """Write the answer to a request for traces."""
    if not rejected and not message:
        return ExportTraceServiceResponse().SerializeToString()
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return ExportTraceServiceResponse(partial_success=partial).SerializeToString()


def logs_answer(rejected: int, message: str) -> bytes:
    """Write the answer to a request for logs."""
    if not rejected and not message:
        return ExportLogsServiceResponse().SerializeToString()
    partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    return ExportLogsServiceResponse(partial_success=partial).SerializeToString()


def points_answer(rejected: int, message: str) -> bytes:
    """Write the answer to a request for metrics."""
    if not rejected and not message:
        return ExportMetricsServiceResponse().SerializeToString()
    partial = ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=message)
    return ExportMetricsServiceResponse(partial_success=partial).SerializeToString()


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
