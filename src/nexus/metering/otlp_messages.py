"""OTLP's messages and what they are made of, for whoever tells a collector of what Nexus stored."""

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
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

import nexus

CALL_ID = "nexus.call.id"
"""In every span that Nexus exports: by it the receiver knows its own."""
Groups = dict[tuple[tuple[str, Any], ...], list[float]]
"""Values by their labels."""
_SCOPE = "nexus"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def traces_request(spans: Iterable[Span]) -> bytes:
    """Write a request for traces."""
    scoped = ScopeSpans(scope=_scope(), spans=spans)
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=_resource(), scope_spans=[scoped])]
    ).SerializeToString()


def metrics_request(metrics: Iterable[Metric]) -> bytes:
    """Write a request for metrics; those without a point are left out."""
    scoped = ScopeMetrics(scope=_scope(), metrics=[metric for metric in metrics if metric.histogram.data_points])
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=_resource(), scope_metrics=[scoped])]
    ).SerializeToString()


def add_value(groups: Groups, labels: Mapping[str, Any], value: float) -> None:
    """Add a value to those with the same labels."""
    groups.setdefault(tuple(sorted(labels.items())), []).append(value)


def histogram(
    name: str,
    unit: str,
    bounds: Sequence[float],
    groups: Mapping[tuple[tuple[str, Any], ...], Sequence[float]],
    began: datetime,
    at: datetime,
) -> Metric:
    """Make a histogram of the values of each group of labels, as sums since the request before."""
    points = []
    for labels, values in groups.items():
        counts = [0] * (len(bounds) + 1)
        for value in values:
            # A value at a bound belongs to the bucket below it.
            counts[bisect_left(bounds, value)] += 1
        points.append(
            HistogramDataPoint(
                attributes=attributes(dict(labels)),
                start_time_unix_nano=nanoseconds(began),
                time_unix_nano=nanoseconds(at),
                count=len(values),
                sum=sum(values),
                min=min(values),
                max=max(values),
                bucket_counts=counts,
                explicit_bounds=bounds,
            )
        )
    made = Histogram(data_points=points, aggregation_temporality=AGGREGATION_TEMPORALITY_DELTA)
    return Metric(name=name, unit=unit, histogram=made)


def attributes(said: Mapping[str, Any]) -> list[KeyValue]:
    """Write attributes; those without a value are left out."""
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


def id_bytes(text: Any, size: int) -> bytes:
    """Read an id of so many bytes; empty where it is none."""
    try:
        found = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return b""
    return found if len(found) == size and any(found) else b""


def nanoseconds(at: datetime) -> int:
    """Return nanoseconds since 1970."""
    span = at - _EPOCH
    return ((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds) * 1000


def _resource() -> Resource:
    return Resource(attributes=attributes({"service.name": "nexus", "service.version": nexus.__version__}))


def _scope() -> InstrumentationScope:
    return InstrumentationScope(name=_SCOPE, version=nexus.__version__)
