"""Points of metrics, as records.

A monotonic sum is a counter; one that also goes down is a gauge when it is cumulative, and is refused when it is not, since
what it is at a time is then told by no point. What names a series: name, kind, unit, attributes, the instrumentation
(`otel.scope.name`, as two of them may measure under one name at one time), and of the resource service, instance and
environment. Exemplars are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nexus.contracts.calls import MAX_ID_CHARS, MAX_NAME_CHARS
from nexus.contracts.metric_records import (
    MAX_DESCRIPTION_CHARS,
    MAX_UNIT_CHARS,
    Buckets,
    ExponentialBuckets,
    ExponentialSide,
    MetricRecord,
    QuantileValue,
)
from nexus.dataplane.ingest.otlp.genai import clip
from nexus.dataplane.ingest.otlp.model import (
    NO_RECORDED_VALUE,
    Attributes,
    DataPoint,
    ExponentialValue,
    HistogramValue,
    NumberValue,
    Stream,
    SummaryValue,
    text_in,
)
from nexus.dataplane.ingest.otlp.times import instant
from nexus.kit.histograms import MAX_SCALE, MIN_SCALE

_DELTA, _CUMULATIVE = 1, 2
SCOPE_LABEL = "otel.scope.name"


@dataclass(slots=True)
class ReadMetrics:
    """What the points of one request came to. Each is in exactly one of the three accounts."""

    records: list[MetricRecord] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Of each point that is refused, why."""
    not_kept: int = 0
    """Points that say there is no value."""


def read_metrics(points: Iterable[DataPoint]) -> ReadMetrics:
    """Make records of points. A faulty one is refused by itself; the others are taken all the same."""
    read = ReadMetrics()
    for point in points:
        if point.flags & NO_RECORDED_VALUE:
            read.not_kept += 1
            continue
        try:
            # What is out of its limits is refused here, by the point, and by the same rules as at /v1/events.
            read.records.append(msgspec.convert(msgspec.to_builtins(_record(point)), MetricRecord))
        except (ValueError, OverflowError) as error:
            read.faults.append(f"{point.stream.name[:80]!r}: {error}")
    return read


def _record(point: DataPoint) -> MetricRecord:
    stream = point.stream
    if not stream.name:
        raise ValueError("the metric has no name")
    record = MetricRecord(
        name=stream.name,
        kind="gauge",
        timestamp=instant(point.time_ns),
        # Names the point where it is refused later on.
        id=stream.name[:MAX_ID_CHARS],
        unit=stream.unit[:MAX_UNIT_CHARS] or None,
        description=clip(stream.description, MAX_DESCRIPTION_CHARS) or None,
        labels=_labels(point.attributes, stream.scope),
        service=clip(text_in(stream.resource, "service.name"), MAX_NAME_CHARS) or None,
        instance=clip(text_in(stream.resource, "service.instance.id"), MAX_NAME_CHARS) or None,
        environment=clip(text_in(stream.resource, "deployment.environment.name", "deployment.environment")) or None,
    )
    value = point.value
    if isinstance(value, NumberValue):
        if value.value is None:
            raise ValueError("the point has no value")
        record.value = value.value
        if stream.kind == "gauge":
            return record
        _set_temporality(record, stream, point)
        if stream.is_monotonic:
            record.kind = "counter"
        elif stream.temporality == _DELTA:
            raise ValueError(
                "a sum that also goes down cannot be kept as differences: export it with cumulative temporality"
            )
        else:
            record.temporality = record.start_timestamp = None
        return record
    if isinstance(value, SummaryValue):
        record.kind, record.count, record.sum = "summary", value.count, value.sum
        # Summaries have no temporality: by the specification they are cumulative.
        record.temporality = "cumulative"
        record.start_timestamp = instant(point.start_ns) if point.start_ns else None
        record.quantiles = [QuantileValue(fraction, quantile) for fraction, quantile in value.quantiles]
        return record
    record.kind = "histogram"
    _set_temporality(record, stream, point)
    record.sum = value.sum
    if stream.temporality == _DELTA and value.count:
        record.min, record.max = value.min, value.max
    if isinstance(value, HistogramValue):
        record.buckets = Buckets(list(value.bounds), list(value.counts) or [value.count])
        record.count = value.count
    else:
        record.exponential = _exponential(value)
        record.count = value.count
    return record


def _exponential(value: ExponentialValue) -> ExponentialBuckets:
    if not MIN_SCALE <= value.scale <= MAX_SCALE:
        raise ValueError(f"the scale is {value.scale}: it can be {MIN_SCALE} to {MAX_SCALE}")
    return ExponentialBuckets(
        value.scale,
        value.zero_count,
        value.zero_threshold,
        ExponentialSide(value.positive[0], list(value.positive[1])),
        ExponentialSide(value.negative[0], list(value.negative[1])),
    )


def _set_temporality(record: MetricRecord, stream: Stream, point: DataPoint) -> None:
    if stream.temporality not in {_DELTA, _CUMULATIVE}:
        raise ValueError("the aggregation temporality is not told")
    record.temporality = "cumulative" if stream.temporality == _CUMULATIVE else "delta"
    record.start_timestamp = instant(point.start_ns) if point.start_ns else None


def _labels(said: Attributes, scope: str) -> dict[str, str] | None:
    labels = {name: _text(value) for name, value in said.items() if name and value is not None}
    if scope:
        labels.setdefault(SCOPE_LABEL, scope)
    return labels or None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    try:
        return msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("an attribute cannot be read") from error
