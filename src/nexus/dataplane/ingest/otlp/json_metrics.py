"""OTLP metrics as JSON, by the rules of `json_form`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from nexus.dataplane.ingest.otlp.json_values import (
    Form,
    KeyValue,
    Resource,
    Scope,
    attributes,
    decode,
    enum,
    integer,
    number,
    signed,
)
from nexus.dataplane.ingest.otlp.model import (
    DataPoint,
    ExponentialValue,
    HistogramValue,
    NumberValue,
    Stream,
    SummaryValue,
)

_TEMPORALITIES = {"UNSPECIFIED": 0, "DELTA": 1, "CUMULATIVE": 2}


class QuantileValue(Form):
    """One quantile of a summary."""

    quantile: float | str | None = None
    value: float | str | None = None


class Buckets(Form):
    """Exponential buckets of one sign."""

    offset: int | str | None = None
    bucket_counts: list[int | str] | None = None


class JsonPoint(Form):
    """A point, with the fields of all kinds."""

    attributes: list[KeyValue] | None = None
    start_time_unix_nano: int | str | None = None
    time_unix_nano: int | str | None = None
    flags: int | None = None
    as_double: float | str | None = None
    as_int: int | str | None = None
    count: int | str | None = None
    sum: float | str | None = None
    min: float | str | None = None
    max: float | str | None = None
    bucket_counts: list[int | str] | None = None
    explicit_bounds: list[float | str] | None = None
    scale: int | None = None
    zero_count: int | str | None = None
    zero_threshold: float | str | None = None
    positive: Buckets | None = None
    negative: Buckets | None = None
    quantile_values: list[QuantileValue] | None = None


class Data(Form):
    """Points of one kind."""

    data_points: list[JsonPoint] | None = None
    aggregation_temporality: int | str | None = None
    is_monotonic: bool | None = None


class JsonMetric(Form):
    """A metric."""

    name: str | None = None
    unit: str | None = None
    description: str | None = None
    gauge: Data | None = None
    sum: Data | None = None
    histogram: Data | None = None
    exponential_histogram: Data | None = None
    summary: Data | None = None


class ScopeMetrics(Form):
    """Metrics of one instrumentation."""

    scope: Scope | None = None
    metrics: list[JsonMetric] | None = None


class ResourceMetrics(Form):
    """Metrics of one resource."""

    resource: Resource | None = None
    scope_metrics: list[ScopeMetrics] | None = None


class MetricsRequest(Form):
    """A request for metrics."""

    resource_metrics: list[ResourceMetrics] | None = None


_METRICS = msgspec.json.Decoder(MetricsRequest)


def read_points(body: bytes) -> Iterator[DataPoint]:
    """Read a request for metrics; `MalformedRequest` for what is none."""
    for resource_metrics in decode(_METRICS, body).resource_metrics or ():
        resource = attributes(resource_metrics.resource.attributes if resource_metrics.resource else None)
        for scope_metrics in resource_metrics.scope_metrics or ():
            scope = (scope_metrics.scope.name if scope_metrics.scope else None) or ""
            for metric in scope_metrics.metrics or ():
                for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
                    data: Data | None = getattr(metric, kind)
                    if data is None:
                        continue
                    stream = Stream(
                        metric.name or "",
                        metric.unit or "",
                        metric.description or "",
                        kind,
                        enum(data.aggregation_temporality, "AGGREGATION_TEMPORALITY_", _TEMPORALITIES),
                        bool(data.is_monotonic),
                        scope,
                        resource,
                    )
                    for point in data.data_points or ():
                        yield DataPoint(
                            stream,
                            integer(point.time_unix_nano),
                            integer(point.start_time_unix_nano),
                            attributes(point.attributes),
                            point.flags or 0,
                            _value(kind, point),
                        )


def _value(kind: str, point: JsonPoint) -> NumberValue | HistogramValue | ExponentialValue | SummaryValue:
    if kind in {"gauge", "sum"}:
        if point.as_int is not None:
            return NumberValue(float(signed(point.as_int)))
        return NumberValue(_optional(point.as_double))
    total, count = _optional(point.sum), integer(point.count)
    if kind == "summary":
        quantiles = tuple((number(one.quantile or 0), number(one.value or 0)) for one in point.quantile_values or ())
        return SummaryValue(count, total or 0.0, quantiles)
    low, high = _optional(point.min), _optional(point.max)
    if kind == "histogram":
        bounds = tuple(map(number, point.explicit_bounds or ()))
        return HistogramValue(count, total, low, high, bounds, tuple(map(integer, point.bucket_counts or ())))
    return ExponentialValue(
        count,
        total,
        low,
        high,
        point.scale or 0,
        integer(point.zero_count),
        number(point.zero_threshold or 0),
        _side(point.positive),
        _side(point.negative),
    )


def _optional(value: float | str | None) -> float | None:
    return None if value is None else number(value)


def _side(buckets: Buckets | None) -> tuple[int, tuple[int, ...]]:
    if buckets is None:
        return 0, ()
    return signed(buckets.offset or 0), tuple(map(integer, buckets.bucket_counts or ()))
