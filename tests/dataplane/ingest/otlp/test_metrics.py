"""`/otlp/v1/metrics`: points of all kinds are kept once, in both forms; what is faulty is refused by itself."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from typing import Any

import backports.zstd as zstd
import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter

from nexus.dataplane.ingest.otlp.asgi import MAX_BODY_BYTES
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.kit.histograms import Explicit, Exponential, Quantiles, buckets_of, decode
from tests.dataplane.ingest.otlp.conftest import Receiver
from tests.dataplane.ingest.otlp.payloads import START, as_json, as_protobuf, attributes
from tests.dataplane.ingest.otlp.test_logs import counted
from tests.dataplane.ingest.otlp.test_receiver import FORMS, TYPES, status_of

METRICS = "/otlp/v1/metrics"
RESOURCE = {"service.name": "shop", "service.instance.id": "shop-1", "deployment.environment.name": "staging"}
DELTA, CUMULATIVE = 1, 2


def metric(name: str, kind: str, *points: dict[str, Any], unit: str = "1", **data: Any) -> dict[str, Any]:
    """A metric in OTLP's JSON; its points are of one time unless they say another."""
    common = {"timeUnixNano": str(START), "startTimeUnixNano": str(START - 60 * 10**9)}
    return {"name": name, "unit": unit, kind: {"dataPoints": [common | one for one in points]} | data}


def metrics_of(*metrics: dict[str, Any], scope: str = "test") -> dict[str, Any]:
    """A request for metrics in OTLP's JSON."""
    scoped = {"scope": {"name": scope}, "metrics": list(metrics)}
    return {"resourceMetrics": [{"resource": {"attributes": attributes(RESOURCE)}, "scopeMetrics": [scoped]}]}


ALL_KINDS = metrics_of(
    metric("jobs", "sum", {"asInt": "7", "attributes": attributes({"queue": "mail", "n": 3, "is_late": True})},
           aggregationTemporality=DELTA, isMonotonic=True),
    metric("bytes", "sum", {"asDouble": 2.5}, aggregationTemporality=CUMULATIVE, isMonotonic=True, unit="By"),
    metric("depth", "sum", {"asInt": "-4"}, aggregationTemporality=CUMULATIVE, isMonotonic=False),
    metric("heat", "gauge", {"asDouble": 21.5}, unit="Cel"),
    metric("wait", "histogram",
           {"count": "3", "sum": 2.5, "min": 0.1, "max": 2.0, "explicitBounds": [1.0], "bucketCounts": ["2", "1"]},
           aggregationTemporality=DELTA, unit="s"),
    metric("size", "exponentialHistogram",
           {"count": "4", "sum": 9.0, "scale": 1, "zeroCount": "1", "positive": {"offset": -1, "bucketCounts": ["1", "0", "2"]}},
           aggregationTemporality=CUMULATIVE),
    metric("bare", "histogram", {"count": "5", "sum": 9.0}, aggregationTemporality=CUMULATIVE),
    metric("rpc", "summary", {"count": "9", "sum": 3.0, "quantileValues": [{"quantile": 0.5, "value": 0.25}]}),
)  # fmt: skip


async def send(receiver: Receiver, document: dict[str, Any], form: str, **headers: str) -> Any:
    """Send metrics in one of the forms."""
    body = as_json(document) if form == "json" else as_protobuf(document, "metrics")
    return await receiver.post(body, TYPES[form], path=METRICS, **headers)


def points(receiver: Receiver) -> dict[str, dict[str, Any]]:
    """The points that were stored, by their metric's name."""
    return {row["name"]: row for row in receiver.decoded("metric")}


@FORMS
async def test_points_of_all_kinds_are_kept_once_and_mean_the_same_in_both_forms(receiver: Receiver, form: str) -> None:
    answer = await send(receiver, ALL_KINDS, form)
    again = await send(receiver, ALL_KINDS, "protobuf" if form == "json" else "json")

    assert (answer.status, again.status) == (200, 200)
    assert (answer.headers["content-type"], answer.body) == (TYPES[form], b"{}" if form == "json" else b"")
    rows = points(receiver)
    assert len(receiver.decoded("metric")) == len(rows) == 8
    assert {name: row["kind"] for name, row in rows.items()} == {
        "jobs": "counter", "bytes": "counter", "depth": "gauge", "heat": "gauge", "wait": "histogram",
        "size": "histogram", "bare": "histogram", "rpc": "summary",
    }  # fmt: skip
    assert {name for name, row in rows.items() if row["is_cumulative"]} == {"bytes", "size", "bare", "rpc"}
    assert {(row["service"], row["instance"], row["environment"]) for row in rows.values()} == {
        ("shop", "shop-1", "staging")
    }
    assert (rows["jobs"]["labels"], rows["heat"]["labels"]) == (
        {"queue": "mail", "n": "3", "is_late": "true", "otel.scope.name": "test"},
        {"otel.scope.name": "test"},
    )
    assert [rows[name]["value"] for name in ("jobs", "bytes", "depth", "heat", "wait")] == [7, 2.5, -4, 21.5, 2.5]
    assert (rows["wait"]["count"], rows["wait"]["min"], rows["wait"]["max"]) == (3, 0.1, 2.0)
    assert decode(rows["wait"]["bins"]) == Explicit((2, 1))
    assert decode(rows["bare"]["bins"]) == Explicit((5,))
    assert decode(rows["size"]["bins"]) == Exponential(1, 1, 0.0, {-1: 1, 1: 2})
    assert decode(rows["rpc"]["bins"]) == Quantiles(((0.5, 0.25),))
    assert counted(receiver, "data_points")["kept"] == 16


@FORMS
async def test_a_faulty_point_is_refused_by_itself_and_one_without_a_value_is_passed_over(
    receiver: Receiver, form: str
) -> None:
    answer = await send(
        receiver,
        metrics_of(
            metric("good", "gauge", {"asInt": "1"}, {"flags": 1, "timeUnixNano": str(START + 10**9)}),
            metric("difference", "sum", {"asInt": "1"}, aggregationTemporality=DELTA, isMonotonic=False),
            metric("unknown", "sum", {"asInt": "1"}, isMonotonic=True),
            metric("timeless", "gauge", {"asInt": "1", "timeUnixNano": "0"}),
            metric("nothing", "gauge", {}),
            metric("", "gauge", {"asInt": "1"}),
            metric("long", "gauge", {"asInt": "1", "attributes": attributes({"query": "x" * 2_000})}),
            metric("wrong", "histogram", {"count": "9", "explicitBounds": [1.0], "bucketCounts": ["1", "1"]},
                   aggregationTemporality=DELTA),
            metric("shrunk", "sum", {"asInt": "-1"}, aggregationTemporality=CUMULATIVE, isMonotonic=True),
        ),
        form,
    )  # fmt: skip

    assert answer.status == 200
    if form == "json":
        told = json.loads(answer.body)["partialSuccess"]
        rejected, why = int(told["rejectedDataPoints"]), told["errorMessage"]
    else:
        partial = ExportMetricsServiceResponse.FromString(answer.body).partial_success
        rejected, why = partial.rejected_data_points, partial.error_message
    assert rejected == 8
    assert "cumulative temporality" in why and "temporality is not told" in why
    assert set(points(receiver)) == {"good"}
    assert counted(receiver, "data_points") == {"kept": 1, "not_kept": 1, "rejected": 8}


async def test_what_is_not_finite_is_refused_by_name(receiver: Receiver) -> None:
    answer = await send(
        receiver,
        metrics_of(metric("nan", "gauge", {"asDouble": "NaN"}), metric("ok", "gauge", {"asDouble": 1.0})),
        "json",
    )

    assert (answer.status, set(points(receiver))) == (200, {"ok"})
    assert "nan: value is no finite number" in json.loads(answer.body)["partialSuccess"]["errorMessage"]


async def test_broken_large_and_unauthorised_requests_are_refused_as_for_spans(receiver: Receiver) -> None:
    body = as_protobuf(ALL_KINDS, "metrics")
    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1))
    cases = [
        (body[:-3], {}, 400),
        (b"{", {"kind": "application/json"}, 400),
        (b'{"resourceMetrics": 7}', {"kind": "application/json"}, 400),
        (bomb, {"content_encoding": "gzip"}, 413),
        (body, {"key": "nx_unknown"}, 401),
        (body, {"kind": "text/plain"}, 415),
        (body, {"method": "GET"}, 405),
    ]
    for content, options, status in cases:
        answer = await receiver.post(content, path=METRICS, **options)  # type: ignore[arg-type]
        assert answer.status == status
        assert status_of(answer, "json" if options.get("kind") else "protobuf")[1]
    for encoding, packed in (("gzip", gzip.compress(body)), ("zstd", zstd.compress(body))):
        assert (await receiver.post(packed, path=METRICS, content_encoding=encoding)).status == 200
    assert len(points(receiver)) == 8


async def test_the_specification_s_own_example_is_taken(receiver: Receiver) -> None:
    # The same values as in opentelemetry-proto's examples/metrics.json.
    then = {"timeUnixNano": "1544712660300000000", "startTimeUnixNano": "1544712660300000000"}
    document = metrics_of(
        metric("my.counter", "sum", then | {"asDouble": 5}, aggregationTemporality=1, isMonotonic=True),
        metric("my.gauge", "gauge", then | {"asDouble": 10}),
        metric("my.histogram", "histogram",
               then | {"count": "2", "sum": 2, "bucketCounts": ["1", "1"], "explicitBounds": [1], "min": 0, "max": 2},
               aggregationTemporality=1),
        metric("my.exponential.histogram", "exponentialHistogram",
               then | {"count": "3", "sum": 10, "scale": 0, "zeroCount": "1", "min": 0, "max": 5, "zeroThreshold": 0,
                       "positive": {"offset": 1, "bucketCounts": ["0", "2"]}},
               aggregationTemporality=1),
        scope="my.library",
    )  # fmt: skip

    answer = await send(receiver, document, "json")

    assert (answer.status, answer.body) == (200, b"{}")
    row = points(receiver)["my.exponential.histogram"]
    assert [(one.low, one.high, one.count) for one in buckets_of(decode(row["bins"]))] == [(0, 0, 1), (4, 8, 2)]


class _Recorded(BaseAdapter):
    """Keeps what an exporter sends, and answers that it was taken."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[PreparedRequest] = []

    def send(self, request: PreparedRequest, **_: Any) -> Response:  # type: ignore[override]
        self.requests.append(request)
        answer = Response()
        answer.status_code = 200
        answer._content = b""
        return answer

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(params=["cumulative", "delta"])
def sent(request: pytest.FixtureRequest) -> Iterator[list[PreparedRequest]]:
    """What OpenTelemetry's own SDK and exporter send of two collections of a counter and two histograms."""
    recorded, session = _Recorded(), Session()
    session.mount("http://", recorded)
    temporality = AggregationTemporality.DELTA if request.param == "delta" else AggregationTemporality.CUMULATIVE
    exporter = OTLPMetricExporter(
        "http://nexus.test/otlp/v1/metrics",
        session=session,
        compression=Compression.Gzip,
        preferred_temporality={Counter: temporality, Histogram: temporality},
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
    view = View(instrument_name="spread", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], resource=Resource(RESOURCE), views=[view])
    meter = provider.get_meter("stock")
    counter, gauge = meter.create_counter("done", unit="{job}"), meter.create_gauge("level")
    histograms = [meter.create_histogram(name, unit="ms") for name in ("fixed", "spread")]
    for value in (3, 40):
        counter.add(value, {"queue": "mail"})
        gauge.set(value)
        for histogram in histograms:
            histogram.record(value)
        provider.force_flush()
    yield recorded.requests
    provider.shutdown()


async def test_the_stock_exporter_delivers(receiver: Receiver, sent: list[PreparedRequest]) -> None:
    receiver.ingest.clock = SYSTEM_CLOCK
    for one in sent[:2]:
        assert isinstance(one.body, bytes)
        kind, encoding = one.headers["content-type"], one.headers["content-encoding"]
        answer = await receiver.post(one.body, kind, path=METRICS, content_encoding=encoding)
        assert (answer.status, answer.body) == (200, b"")

    rows = receiver.decoded("metric")
    of = {name: [row for row in rows if row["name"] == name] for name in ("done", "level", "fixed", "spread")}
    assert {name: len(found) for name, found in of.items()} == {"done": 2, "level": 2, "fixed": 2, "spread": 2}
    is_cumulative = of["done"][0]["is_cumulative"]
    assert sorted(row["value"] for row in of["done"]) == ([3, 43] if is_cumulative else [3, 40])
    assert sorted(row["count"] for row in of["spread"]) == ([1, 2] if is_cumulative else [1, 1])
    assert len({row["series_id"] for row in rows}) == 4
    assert of["done"][0]["labels"] == {"queue": "mail", "otel.scope.name": "stock"}
