"""Programs instrumented with OpenTelemetry: stock exporters and instrumentations, a real PostgreSQL, the sandbox provider."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from openai._resource import AsyncAPIResource, SyncAPIResource

from nexus.dataplane.gateway.asgi import GatewayApp
from nexus.dataplane.ingest.otlp.asgi import OtlpApp, OtlpMetrics
from nexus.identity import access_keys
from nexus.kit.clock import SYSTEM_CLOCK
from tests.dataplane.gateway.conftest import Node, served

_ABSENT = "not installed: pip install -r tests/clients.lock (`make test` does)"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
USAGE = {"x-sandbox-usage": "input=1000,output=300,cached_input=400"}

NAMED = USAGE | {"x-sandbox-id": "0123456789abcdefghijklmn"}
"""An answer's id as long as providers' are."""

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason=_ABSENT)
export = pytest.importorskip("opentelemetry.sdk.trace.export", reason=_ABSENT)


@dataclass
class Instrumented:
    """A node that takes telemetry, and what its test needs to report to it."""

    node: Node
    url: str
    key: str
    metrics: OtlpMetrics

    def fate(self, name: str) -> int:
        return int(self.metrics.spans.labels(name)._value.get())

    async def gateways_calls(self, count: int) -> list[dict[str, Any]]:
        """Wait until the gateway's own records of so many calls are all there is; returns them."""
        rows: list[Any] = []
        for _ in range(500):
            async with self.node.database.as_system() as connection:
                rows = await connection.fetch("SELECT * FROM metering.calls ORDER BY id")
            if len(rows) == count and all("gateway" in row["metadata"] for row in rows):
                break
            await asyncio.sleep(0.02)
        assert [sorted(row["metadata"]) for row in rows] == [["gateway"]] * count
        return [dict(row) for row in rows]

    def exporter(self, form: str = "protobuf", compression: str = "") -> Any:
        """A stock exporter, told what the environment would tell it."""
        kinds = {
            "protobuf": "opentelemetry.exporter.otlp.proto.http",
            "json": "opentelemetry.exporter.otlp.json.http",
        }
        pytest.importorskip(kinds[form], reason=_ABSENT)
        module = importlib.import_module(f"{kinds[form]}.trace_exporter")
        chosen = getattr(module, "Compression", None)
        options = (
            {"compression": next(item for item in chosen if item.name.lower() == compression)} if compression else {}
        )
        return module.OTLPSpanExporter(
            endpoint=f"{self.url}/otlp/v1/traces", headers={"authorization": f"Bearer {self.key}"}, **options
        )

    @contextmanager
    def tracing(self, *instrumentors: Any, exporter: Any = None) -> Iterator[Any]:
        """Instrument for a while; what was seen is delivered before this ends."""
        provider = sdk.TracerProvider()
        provider.add_span_processor(export.BatchSpanProcessor(exporter or self.exporter()))
        for instrumentor in instrumentors:
            instrumentor.instrument(tracer_provider=provider)
        try:
            yield provider
        finally:
            for instrumentor in instrumentors:
                instrumentor.uninstrument()
            provider.shutdown()


@pytest.fixture
async def instrumented(node: Node) -> AsyncIterator[Instrumented]:
    async with node.database.as_system() as connection:
        made = await access_keys.create(
            connection, node.organization_id, name="telemetry", scopes=["events:write"], at=SYSTEM_CLOCK.now()
        )
    await node.snapshots.refresh()
    from prometheus_client import CollectorRegistry

    metrics = OtlpMetrics(CollectorRegistry())
    telemetry = OtlpApp(node.ingest, own_urls=(), metrics=metrics)
    gateway = GatewayApp(node.gateway)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (telemetry if scope["path"].startswith("/otlp/") else gateway)(scope, receive, send)

    async with served(app) as url:
        yield Instrumented(node, url, made.key, metrics)


def _openai_v2() -> Any:
    return pytest.importorskip("opentelemetry.instrumentation.openai_v2", reason=_ABSENT).OpenAIInstrumentor()


def _openinference() -> Any:
    return pytest.importorskip("openinference.instrumentation.openai", reason=_ABSENT).OpenAIInstrumentor()


class _Openllmetry:
    """Taken off by hand too: it leaves wrappers behind, whose spans nobody exports but other spans have for parents."""

    def __init__(self) -> None:
        self._own = pytest.importorskip("opentelemetry.instrumentation.openai", reason=_ABSENT).OpenAIInstrumentor()

    def instrument(self, tracer_provider: Any) -> None:
        resources = [*SyncAPIResource.__subclasses__(), *AsyncAPIResource.__subclasses__()]
        self._before = [
            (kind, name, value) for kind in resources for name, value in vars(kind).items() if callable(value)
        ]
        self._own.instrument(tracer_provider=tracer_provider)

    def uninstrument(self) -> None:
        self._own.uninstrument()
        for kind, name, value in self._before:
            if vars(kind).get(name) is not value:
                setattr(kind, name, value)


class _Logfire:
    """Logfire has a way of its own to be switched on."""

    def __init__(self) -> None:
        self._logfire = pytest.importorskip("logfire", reason=_ABSENT)

    def instrument(self, tracer_provider: Any) -> None:
        processors = [tracer_provider._active_span_processor]
        self._local = self._logfire.configure(
            local=True, send_to_logfire=False, console=False, additional_span_processors=processors, metrics=False
        )
        self._context = self._local.instrument_openai(suppress_other_instrumentation=False)
        self._context.__enter__()

    def uninstrument(self) -> None:
        self._context.__exit__(None, None, None)
        self._local.force_flush()


INSTRUMENTATIONS: dict[str, Callable[[], Any]] = {
    "openai-v2": _openai_v2, "openinference": _openinference, "openllmetry": _Openllmetry, "logfire": _Logfire,
}  # fmt: skip


def ask(base_url: str, key: str = "sk-sandbox", headers: dict[str, str] = USAGE) -> int:
    """Chat whole and streamed, and embed; returns how many calls that were."""
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, default_headers=headers) as client:
        client.chat.completions.create(model="sandbox-1", messages=HELLO)
        stream = client.chat.completions.create(
            model="sandbox-1", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        for _ in stream:
            pass
        client.embeddings.create(model="sandbox-1", input="hello")
    return 3


@pytest.mark.parametrize("name", INSTRUMENTATIONS)
async def test_spans_of_every_instrumentation_equal_calls_one_to_one(instrumented: Instrumented, name: str) -> None:
    def work() -> int:
        with instrumented.tracing(INSTRUMENTATIONS[name]()):
            return ask(f"{instrumented.node.sandbox_url}/v1")

    count = await asyncio.to_thread(work)

    rows = await instrumented.node.calls(count)
    assert len(instrumented.node.sandbox.seen) == count
    chats = [row for row in rows if row["endpoint"] == "/v1/chat/completions"]
    assert len(chats) == 2 and {row["endpoint"] for row in rows} == {"/v1/chat/completions", "/v1/embeddings"}
    assert {(row["provider"], row["model"], row["status_code"]) for row in rows} == {("openai", "sandbox-1", 200)}
    assert all((row["input_tokens"], row["output_tokens"]) == (1000, 300) and row["cost"] for row in chats)


@pytest.mark.parametrize(("form", "compression"), [("protobuf", "gzip"), ("json", ""), ("json", "gzip")])
async def test_stock_exporters_deliver(instrumented: Instrumented, form: str, compression: str) -> None:
    exporter = instrumented.exporter(form, compression)

    def work() -> None:
        with instrumented.tracing(_openai_v2(), exporter=exporter):
            ask(f"{instrumented.node.sandbox_url}/v1")

    await asyncio.to_thread(work)
    await instrumented.node.calls(3)


def _httpx() -> Any:
    return pytest.importorskip("opentelemetry.instrumentation.httpx", reason=_ABSENT).HTTPX2ClientInstrumentor()


def through(node: Node) -> int:
    """The same calls through the gateway; returns how many."""
    return ask(f"{node.url}/gw/openai/v1", node.key, NAMED)


# Logfire tells of a stream in a trace of its own, and names neither the answer nor the request: nothing ties it to the call.
@pytest.mark.parametrize("name", [name for name in INSTRUMENTATIONS if name != "logfire"])
async def test_call_through_the_gateway_that_the_client_reports_too_is_one_call(
    instrumented: Instrumented, name: str
) -> None:
    # The telemetry goes to another address than the calls, so that nothing but the trace tells that they are the same.
    def work() -> int:
        with instrumented.tracing(_httpx(), INSTRUMENTATIONS[name]()):
            return through(instrumented.node)

    count = await asyncio.to_thread(work)

    rows = await instrumented.gateways_calls(count)
    assert all(row["trace_id"] and row["cost"] is not None for row in rows)
    # The provider is asked in the client's trace, too.
    passed_on = {seen[2]["traceparent"].split("-")[1] for seen in instrumented.node.sandbox.seen}
    assert passed_on == {row["trace_id"] for row in rows}
    assert instrumented.fate("kept") + instrumented.fate("told_elsewhere") >= count


async def test_call_that_the_client_reports_before_the_gateway_has_recorded_it_is_one_call(
    instrumented: Instrumented, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = instrumented.node
    collector, gate = node.gateway.recorder._collector, asyncio.Event()
    store = collector._store

    async def later(*given: Any) -> bool:
        await gate.wait()
        return await store(*given)

    monkeypatch.setattr(collector, "_store", later)

    def work() -> int:
        with instrumented.tracing(_httpx(), _Openllmetry()):
            return through(node)

    try:
        count = await asyncio.to_thread(work)
        told = await node.calls(count)
    finally:
        gate.set()
    assert all("otel" in row["metadata"] for row in told)
    await instrumented.gateways_calls(count)


async def test_answer_tells_that_a_call_is_the_same_where_no_trace_does(instrumented: Instrumented) -> None:
    node = instrumented.node

    def work() -> None:
        with (
            instrumented.tracing(_openai_v2()),
            openai.OpenAI(base_url=f"{node.url}/gw/openai/v1", api_key=node.key, default_headers=NAMED) as client,
        ):
            client.chat.completions.create(model="sandbox-1", messages=HELLO)

    await asyncio.to_thread(work)
    (row,) = await instrumented.gateways_calls(1)
    assert row["metadata"]["gateway"]["response_id"] == "chatcmpl-0123456789abcdefghijklmn"
