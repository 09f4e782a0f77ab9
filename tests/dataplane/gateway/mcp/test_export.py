"""Requests through the MCP gateway are told to an OpenTelemetry collector: each is one span in its client's trace."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

from nexus.mcp.request_telemetry import REQUESTS
from nexus.metering.export_jobs import CallExporter, CollectorAwayError
from nexus.metering.export_sources import CALLS
from tests.dataplane.gateway.mcp.conftest import Mcp
from tests.dataplane.gateway.mcp.test_rules import META, Upstream, message, post, upstream
from tests.metering.test_call_export import Collector, collector, said

__all__ = ["collector", "upstream"]
TRACE, PARENT = "ab" * 16, "cd" * 8
STATE = "vendor=t61rcWkgMzE"
OLD = {"mcp_protocol_version": "2025-11-25", "mcp_method": "", "mcp_name": ""}


def call(**meta: Any) -> dict[str, Any]:
    return message("tools/call", name="read", arguments={"path": "/a"}, _meta=meta)


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
@pytest.mark.parametrize("told_in", ["headers", "message", "both"])
@pytest.mark.parametrize("path", ["/mcp/files", "/mcp"])
async def test_the_trace_goes_on_under_the_gateways_own_span(
    mcp: Mcp, upstream: Upstream, revision: str, told_in: str, path: str
) -> None:
    context = {"traceparent": f"00-{TRACE}-{PARENT}-00", "tracestate": STATE}
    other = {"traceparent": f"00-{'12' * 16}-{'34' * 8}-01", "tracestate": "other=1"}
    is_old = revision == "2025-11-25"
    asked = call(**({} if is_old else META), **({} if told_in == "headers" else context))
    asked["params"]["name"] = "read" if path == "/mcp/files" else "files__read"
    headers = {"headers": context, "message": {}, "both": other}[told_in]
    status, body, _ = await post(mcp, asked, path, **(OLD if is_old else {}), **headers)

    assert (status, body["result"]["isError"]) == (200, False)
    _, sent, got = next(seen for seen in upstream.seen if (seen[2] or {}).get("method") == "tools/call")
    (record,) = await mcp.stored("request", 1, method="tools/call")
    continued = f"00-{TRACE}-{record['span_id']}-00"
    assert record["trace_id"] == TRACE and record["metadata"]["gateway"]["parent_span_id"] == PARENT
    assert (sent["traceparent"], sent["tracestate"]) == (continued, STATE)
    meta = got["params"]["_meta"]
    assert (meta["traceparent"], meta["tracestate"]) == (continued, STATE)


async def test_a_request_is_one_span_and_one_value_of_the_histogram_once_the_collector_takes_it(
    mcp: Mcp, upstream: Upstream, collector: tuple[Collector, str]
) -> None:
    app, url = collector
    export = CallExporter(url, sources=[CALLS, REQUESTS])
    assert await export(mcp.node.database) == 0
    await mcp.add("priced", url=upstream.url, price="0.25")
    trace = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    await post(mcp, call(**META, **trace))
    await post(mcp, call(**META), "/mcp/priced")
    await post(mcp, message("resources/read", uri="file:///a?token=1"), mcp_name="file:///a?token=1")
    upstream.error = {"code": -32602, "message": "no such tool"}
    await post(mcp, call(**META))
    upstream.error, upstream.fails = None, True
    await post(mcp, call(**META))
    upstream.fails, upstream.status = False, 401
    await post(mcp, call(**META))
    rows = {row["id"]: row for row in await mcp.stored("request", 6)}
    await mcp.stored("tool_call", 5)
    await mcp.stored("api_call", 1)

    app.status = 503
    with pytest.raises(CollectorAwayError):
        await export(mcp.node.database)
    app.status = 200
    assert (await export(mcp.node.database), await export(mcp.node.database)) == (6, 0)

    spans = {said(span)["nexus.call.id"]: span for span in app.spans}
    assert set(spans) == {str(row_id) for row_id in rows} and len(app.spans) == 6
    told = [(spans[str(row_id)], row) for row_id, row in sorted(rows.items(), key=lambda item: item[1]["occurred_at"])]
    first, row = told[0]
    assert (first.name, first.kind, first.trace_id.hex()) == ("tools/call read", 3, TRACE)
    assert (first.parent_span_id.hex(), first.span_id.hex()) == (PARENT, row["span_id"])
    assert first.end_time_unix_nano - first.start_time_unix_nano == row["duration_us"] * 1000
    (tool,) = [one for one in await mcp.stored("tool_call", 5) if one["span_id"] == row["span_id"]]
    assert said(first) == said(first) | {
        "mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "read",
        "mcp.protocol.version": "2026-07-28", "network.transport": "tcp", "jsonrpc.request.id": "7",
        "nexus.mcp.server.name": "files", "nexus.tool_call.id": str(tool["id"]), "http.response.status_code": 200,
    }  # fmt: skip
    assert "error.type" not in said(first) and "/a" not in str(first)
    assert said(told[1][0])["nexus.cost.amount"] == "0.25"
    read, _ = told[2]
    assert (read.name, said(read)["mcp.resource.uri"]) == ("resources/read", "file:///a") and "token" not in str(read)
    failed = [said(span) | {"status": span.status.code} for span, _ in told[3:]]
    assert [one["error.type"] for one in failed] == ["-32602", "tool_error", "upstream_unreachable"]
    assert failed[0]["rpc.response.status_code"] == "-32602" and {one["status"] for one in failed} == {2}

    (duration,) = app.metrics
    assert (duration.name, duration.unit) == ("mcp.client.operation.duration", "s")
    points = duration.histogram.data_points
    outcomes = Counter((said(point).get("gen_ai.tool.name"), said(point).get("error.type")) for point in points)
    assert outcomes == {
        ("read", None): 2, ("read", "-32602"): 1, ("read", "tool_error"): 1, ("read", "upstream_unreachable"): 1,
        (None, None): 1,
    }  # fmt: skip
    assert [point.count for point in points] == [1] * 6
    assert {tuple(point.explicit_bounds)[-1] for point in points} == {300.0}
    assert not any("mcp.resource.uri" in said(point) for point in points)


async def test_what_comes_back_by_way_of_a_collector_counts_no_second_time(
    mcp: Mcp, upstream: Upstream, collector: tuple[Collector, str]
) -> None:
    app, url = collector
    export = CallExporter(url, sources=[REQUESTS])
    await export(mcp.node.database)
    await post(mcp, call(**META))
    await mcp.stored("request", 1)
    assert await export(mcp.node.database) == 1
    from nexus.contracts.prices import PriceBook
    from nexus.dataplane.ingest.otlp.protobuf import read_spans
    from nexus.dataplane.ingest.otlp.spans import Reporter, read_calls

    back = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=app.spans)])])
    reporter = Reporter(mcp.node.organization_id, "", PriceBook.from_documents([]), lambda host: None, lambda at: False)
    read = read_calls(read_spans(back.SerializeToString()), reporter)
    assert (read.records, read.errors, read.told_elsewhere) == ([], [], 1)
