"""The gateway's calls are told to an OpenTelemetry collector: every one, in the conventions' words, and nothing else."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from nexus.contracts.calls import ApiCall, Tokens
from nexus.kit.ids import uuid7
from nexus.metering.export_jobs import CallExporter, CollectorAwayError
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.dataplane.gateway.conftest import served
from tests.dataplane.ingest.test_postgres import NOW, Node, make

__all__ = ["make"]
TRACE, PARENT = "ab" * 16, "cd" * 8


class Collector:
    """An OTLP receiver that keeps what it was told, or turns it away."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.spans: list[Any] = []
        self.metrics: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if self.status == 200:
            content = gzip.decompress(body)
            if scope["path"] == "/v1/traces":
                told = ExportTraceServiceRequest.FromString(content)
                self.spans += [span for item in told.resource_spans for part in item.scope_spans for span in part.spans]
            else:
                totals = ExportMetricsServiceRequest.FromString(content)
                self.metrics += [
                    metric for item in totals.resource_metrics for part in item.scope_metrics for metric in part.metrics
                ]
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    app = Collector()
    async with served(app) as url:
        yield app, url


def call(**fields: Any) -> ApiCall:
    given: dict[str, Any] = {
        "id": str(uuid7(NOW)), "provider": "mistral", "status_code": 200, "timestamp": NOW, "method": "POST",
        "endpoint": "/v1/chat/completions", "model": "large-2", "response_time_ms": 320.0, "cost": Decimal("0.004"),
        "tokens": Tokens(input=100, output=20, cached_input=40), "trace_id": TRACE,
        "metadata": {"gateway": {"attempt": 1, "parent_span_id": PARENT, "response_id": "r" * 24}},
    }  # fmt: skip
    return ApiCall(**given | fields)


def said(span: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


async def test_calls_of_the_gateway_are_told_once_the_collector_takes_them_and_no_others(
    make: Callable[..., Node], database: Database, organization: TestOrganization, collector: tuple[Collector, str]
) -> None:
    app, url = collector
    export = CallExporter(url + "/", "authorization=Bearer%20secret,x-team=a")
    assert await export(database) == 0
    chat, failed, other = (
        call(),
        call(status_code=429, error_type="rate_limited", tokens=None),
        call(endpoint="/v1/files", model=None, tokens=None, trace_id=None, metadata={"gateway": {"attempt": 1}}),
    )
    refused = call(status_code=429, error_type="quota-exceeded", tokens=None, cost=None, refused_by="plan")
    await make().send(organization.id, [chat, failed, other, refused, call(metadata=None)])

    app.status = 503
    with pytest.raises(CollectorAwayError):
        await export(database)
    app.status = 200
    assert await export(database) == 4
    assert await export(database) == 0

    assert app.headers["authorization"] == "Bearer secret" and app.headers["x-team"] == "a"
    by_id = {said(span)["nexus.call.id"]: span for span in app.spans}
    assert set(by_id) == {chat.id, failed.id, other.id, refused.id} and len(app.spans) == 4
    span = by_id[chat.id]
    assert (span.name, span.kind, span.trace_id.hex(), span.parent_span_id.hex()) == ("chat large-2", 3, TRACE, PARENT)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 320_000_000
    assert said(span) == said(span) | {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "mistral_ai", "gen_ai.request.model": "large-2",
        "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20, "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.response.id": "r" * 24, "http.response.status_code": 200, "nexus.cost.amount": "0.0040000000",
    }  # fmt: skip
    assert "error.type" not in said(span)
    assert (said(by_id[failed.id])["error.type"], by_id[failed.id].status.code) == ("rate_limited", 2)
    assert said(by_id[refused.id])["nexus.refused_by"] == "plan" and "nexus.refused_by" not in said(by_id[failed.id])
    plain = by_id[other.id]
    assert (plain.name, len(plain.trace_id), plain.parent_span_id) == ("POST /v1/files", 16, b"")

    duration, tokens = sorted(app.metrics, key=lambda metric: metric.name)
    assert (duration.name, duration.unit) == ("gen_ai.client.operation.duration", "s")
    assert sum(point.count for point in duration.histogram.data_points) == 2
    assert {said(point)["gen_ai.token.type"]: point.sum for point in tokens.histogram.data_points} == {
        "input": 100, "output": 20,
    }  # fmt: skip
    (point,) = (point for point in duration.histogram.data_points if "error.type" not in said(point))
    # 0.32 s lies at the upper bound of its bucket.
    assert point.explicit_bounds[list(point.bucket_counts).index(1)] == 0.32


async def test_nothing_is_noted_or_sent_without_a_collector(
    make: Callable[..., Node], database: Database, organization: TestOrganization, collector: tuple[Collector, str]
) -> None:
    app, url = collector
    await CallExporter(url)(database)
    node = make()
    await node.send(organization.id, [call()])
    assert await CallExporter(None)(database) == 0
    await node.send(organization.id, [call()])
    async with database.as_system() as connection:
        assert await connection.fetchval("SELECT count(*) FROM metering.calls_to_export") == 0
    assert not app.spans


async def test_what_a_collector_refuses_holds_up_nothing(
    make: Callable[..., Node], database: Database, organization: TestOrganization, collector: tuple[Collector, str]
) -> None:
    app, url = collector
    export = CallExporter(url)
    await export(database)
    await make().send(organization.id, [call(), call()])
    app.status = 400
    assert await export(database) == 2
    app.status = 200
    assert await export(database) == 0
