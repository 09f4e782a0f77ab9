"""Records of metrics: what makes a point one of a series, and the forms its values come in."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec

from nexus.contracts.error_records import DEFAULT_ENVIRONMENT
from nexus.contracts.metric_records import (
    METRIC_COLUMN_TYPES,
    METRIC_NOT_NULL,
    ExponentialSide,
    MetricRecord,
)
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.identity import EARLIEST_US, LATEST_AHEAD_US, microseconds
from nexus.dataplane.ingest.plain import Masker, PlainEncoder
from nexus.dataplane.ingest.record_type import Caller, RecordType, Tables
from nexus.dataplane.ingest.sense import shared_faults
from nexus.dataplane.store import Row, claim_series
from nexus.kit.errors import FieldFault
from nexus.kit.histograms import (
    NO_LAYOUT,
    Bins,
    Explicit,
    Exponential,
    Quantiles,
    encode,
    layout_of,
    limited,
    of_samples,
)
from nexus.kit.ids import hashed_uuid
from nexus.platform.db import Connection
from nexus.platform.db.configuration import CONFIGURATION_KEYS

MOST_SERIES = "limits.metric_series"
"""Where the system configuration says how many series of an organization may be active."""
_FORM = 1
"""Goes into the id of a series: another number would make every series another one."""
_KEPT_SERIES = 20_000
"""Series whose columns are kept between batches."""
_OF_KIND = {
    "counter": {"value"},
    "gauge": {"value"},
    "histogram": {"values", "buckets", "exponential", "count", "sum", "min", "max"},
    "summary": {"quantiles", "count", "sum"},
}
_VALUE_FIELDS = sorted(set().union(*_OF_KIND.values()))
_FORMS = ("values", "buckets", "exponential")
_pack_point = struct.Struct(">16sq").pack
_pack_at = struct.Struct(">iq").pack


def faults_of_metric(record: MetricRecord, *, received_at: datetime, has_idempotency_key: bool) -> list[FieldFault]:
    """Return every fault of a point whose fields are well-formed. A point needs no id: series and time are what it is."""
    faults = shared_faults(record, received_at=received_at, has_idempotency_key=True)
    return faults + list(_faults_of_values(record))


def _faults_of_values(record: MetricRecord) -> Iterator[FieldFault]:
    kind = record.kind
    for name in _VALUE_FIELDS:
        if getattr(record, name) is not None and name not in _OF_KIND[kind]:
            yield FieldFault(name, f"is no field of a {kind}: {_form_of(kind)}")
    for name in ("value", "sum", "min", "max"):
        number = getattr(record, name)
        if number is not None and not math.isfinite(number):
            yield FieldFault(name, "is no finite number: leave the point out where there is no value")
    if kind in {"counter", "gauge"} and record.value is None:
        yield FieldFault("value", f"is required of a {kind}")
    if kind == "counter" and record.value is not None and record.value < 0:
        yield FieldFault("value", "is below zero: what goes down as well is a `gauge`")
    if kind == "gauge" and record.temporality is not None:
        yield FieldFault("temporality", "is no field of a gauge: its value is what it is at the time")
    if record.start_timestamp is not None and record.start_timestamp > record.timestamp:
        yield FieldFault("start_timestamp", "is after `timestamp`")
    if record.min is not None and record.max is not None and record.min > record.max:
        yield FieldFault("min", "is larger than `max`")
    if kind == "histogram":
        yield from _faults_of_histogram(record)
    if kind == "summary":
        if record.count is None:
            yield FieldFault("count", "is required of a summary")
        for one in record.quantiles or ():
            if not math.isfinite(one.value):
                yield FieldFault("quantiles", "hold what is no finite number: leave such a quantile out")
                break


def _form_of(kind: str) -> str:
    return {
        "counter": "it has a `value`",
        "gauge": "it has a `value`",
        "histogram": "it has one of `values`, `buckets` and `exponential`",
        "summary": "it has `count`, `sum` and `quantiles`",
    }[kind]


def _faults_of_histogram(record: MetricRecord) -> Iterator[FieldFault]:
    given = [name for name in _FORMS if getattr(record, name) is not None]
    if len(given) != 1:
        yield FieldFault(
            given[1] if given else "buckets", "send one of `values`, `buckets` and `exponential`, and only one"
        )
        return
    if record.temporality == "cumulative" and record.values is not None:
        yield FieldFault("temporality", "single values are no totals: send them as `delta`")
    if record.temporality == "cumulative" and (record.min is not None or record.max is not None):
        yield FieldFault("min", "smallest and largest of all times say nothing of this time: leave `min` and `max` out")
    counted = 0
    if record.values is not None:
        if not all(map(math.isfinite, record.values)):
            yield FieldFault("values", "hold what is no finite number")
        counted = len(record.values)
        for name in ("count", "sum", "min", "max"):
            if getattr(record, name) is not None:
                yield FieldFault(name, "is known of single values: leave it out")
        return
    if record.buckets is not None:
        bounds, counts = record.buckets.bounds, record.buckets.counts
        if not all(map(math.isfinite, bounds)) or any(one >= other for one, other in pairwise(bounds)):
            yield FieldFault("buckets.bounds", "are to be finite and each larger than the one before")
        if len(counts) != len(bounds) + 1:
            yield FieldFault(
                "buckets.counts", f"has {len(counts)} counts for {len(bounds)} bounds: send one more than bounds"
            )
        counted = sum(counts)
    elif record.exponential is not None:
        if not math.isfinite(record.exponential.zero_threshold):
            yield FieldFault("exponential.zero_threshold", "is no finite number")
        counted = record.exponential.zero_count + sum(
            sum(side.counts) for side in (record.exponential.positive, record.exponential.negative) if side
        )
    if record.count is not None and record.count != counted:
        yield FieldFault("count", f"is {record.count}, but the buckets hold {counted}")


def _side(side: ExponentialSide | None) -> dict[int, int]:
    if side is None:
        return {}
    return {side.offset + place: count for place, count in enumerate(side.counts) if count}


class _Series:
    """Makes ids and columns of series, and keeps those that were met."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._known: dict[tuple[Any, ...], tuple[bytes, bytes]] = {}

    def of(self, record: MetricRecord, caller: Caller) -> tuple[bytes, bytes]:
        """Return the 16 bytes of a series' id, and its columns."""
        application = caller.application if record.application is None else record.application
        said = (
            record.name, record.kind, record.unit, application, record.service, record.environment, record.instance,
            tuple(sorted(record.labels.items())) if record.labels else (), record.description,
        )  # fmt: skip
        known = self._known.get(said)
        if known is None:
            if len(self._known) >= _KEPT_SERIES:
                self._known.clear()
            known = self._known[said] = self._made(record, application)
        return known

    def _made(self, record: MetricRecord, application: str) -> tuple[bytes, bytes]:
        def name(value: str | None) -> str:
            return self._masker.name(value) if value else ""

        # Labels without a value say nothing, as in Prometheus.
        labels = {name(key): name(value) for key, value in sorted((record.labels or {}).items()) if value}
        texts = (
            name(record.name),
            record.kind,
            name(record.unit),
            name(application),
            name(record.service),
            name(record.environment) or DEFAULT_ENVIRONMENT,
            name(record.instance),
        )
        series_id = hashed_uuid(msgspec.msgpack.encode([_FORM, *texts, sorted(labels.items())]))
        columns = (*map(rows.text, texts), rows.json(labels), rows.text(name(record.description)))
        return series_id.bytes, b"".join(columns)


class _Encoder:
    """Encodes points against one set of snapshots."""

    def __init__(self, tables: Tables) -> None:
        self._series = _Series(Masker(tables))

    def identify(
        self, record: MetricRecord, caller: Caller, *, received_us: int, idempotency_key: str | None, position: int
    ) -> tuple[bytes, int]:
        """Return the columns every row begins with: the id is made of series and time, the time is the key's too."""
        at_us = microseconds(record.timestamp)
        if not EARLIEST_US <= at_us <= received_us + LATEST_AHEAD_US:
            raise ValueError("out of time")
        series_id, _ = self._series.of(record, caller)
        point_id = hashed_uuid(_pack_point(series_id, at_us)).bytes
        packed = rows.pack_identity(
            16, caller.organization_id.bytes, 16, point_id, 8, at_us, 1, False, 8, at_us, 8, received_us
        )
        return packed, at_us

    def fields(self, record: MetricRecord, caller: Caller) -> bytes:
        """Encode a point's own columns."""
        if any(True for _ in _faults_of_values(record)):
            raise ValueError("the values make no point")
        series_id, columns = self._series.of(record, caller)
        layout = NO_LAYOUT
        bounds: list[float] | None = None
        bins: Bins | None = None
        value, count, low, high = record.value, record.count or 0, record.min, record.max
        if record.values is not None:
            bins = of_samples(record.values)
            value, count = math.fsum(record.values), len(record.values)
            low, high = min(record.values), max(record.values)
        elif record.buckets is not None:
            bounds = record.buckets.bounds
            layout, bins = layout_of(bounds), Explicit(tuple(record.buckets.counts))
            value, count = record.sum, sum(record.buckets.counts)
        elif record.exponential is not None:
            said = record.exponential
            bins = limited(
                Exponential(
                    said.scale, said.zero_count, said.zero_threshold, _side(said.positive), _side(said.negative)
                )
            )
            value = record.sum
            count = said.zero_count + sum(bins.positive.values()) + sum(bins.negative.values())
        elif record.kind == "summary":
            value = record.sum
            bins = Quantiles(tuple(sorted((one.quantile, one.value) for one in record.quantiles or ())))
        start = record.start_timestamp
        return b"".join(
            (
                rows.uuid_bytes(series_id),
                columns,
                rows.boolean(record.temporality == "cumulative"),
                rows.NULL if start is None else _pack_at(8, max(EARLIEST_US, microseconds(start))),
                rows.uuid_bytes(layout.bytes),
                rows.NULL if bounds is None else rows.json(bounds),
                rows.float8(value),
                rows.int8(count),
                rows.float8(low),
                rows.float8(high),
                rows.bytea(None if bins is None else encode(bins)),
            )
        )


def _encoder(tables: Tables) -> PlainEncoder:
    encoder = _Encoder(tables)
    return PlainEncoder(encoder.fields, faults_of_metric, identify_by=encoder.identify)


async def _refuse_new_series(connection: Connection) -> dict[int, FieldFault]:
    """Make the series of staged points; those beyond the organization's limit are refused, with the metric's name."""
    at_most = CONFIGURATION_KEYS[MOST_SERIES].default
    assert isinstance(at_most, int)
    return {row["refused_ordinal"]: _one_too_many(row) for row in await claim_series(connection, at_most=at_most)}


def _one_too_many(row: Row) -> FieldFault:
    message = (
        f"metric {row['refused_metric'][:80]!r} would begin one more series, and {row['active_series']:,} are active, as many"
        " as an organization may have: leave out labels whose values are always new, or have an administrator raise"
        f" {MOST_SERIES}"
    )
    return FieldFault("labels", message)


METRIC = RecordType(
    struct=MetricRecord,
    least={"name": "x", "kind": "gauge", "timestamp": "2000-01-01T00:00:00Z"},
    table="metrics.points",
    staging="staged_points",
    stage="stage_points",
    store="store_points",
    column_types=METRIC_COLUMN_TYPES,
    not_null=METRIC_NOT_NULL,
    faults_of=faults_of_metric,
    encoder=_encoder,
    refuse=_refuse_new_series,
)
