"""What the MCP gateway lets through: keys, servers and tools, headers that say what the body says, limits, prices, addresses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from nexus.kit.money import NANOS
from tests.dataplane.decide.cases import limit
from tests.dataplane.gateway.conftest import served
from tests.dataplane.gateway.limited import DAY, Limited
from tests.dataplane.gateway.mcp.conftest import Mcp

MODERN = {"mcp-protocol-version": "2026-07-28"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "hand", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
SECRET = "sk-of-the-server-0123456789"


@dataclass
class Upstream:
    """A server that answers as it is told, and remembers what it was asked."""

    seen: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    status: int = 200
    as_stream: bool = False
    fails: bool = False
    error: dict[str, Any] | None = None
    url: str = ""
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = json.loads(body) if body else None
        self.seen.append((scope["method"], headers, asked))
        kind = b"text/event-stream" if self.as_stream else b"application/json"
        extra = [(b"mcp-session-id", b"session-1")] if asked and asked.get("method") == "initialize" else []
        await send({"type": "http.response.start", "status": self.status, "headers": [(b"content-type", kind), *extra]})
        if asked is None or "id" not in asked:
            await send({"type": "http.response.body", "body": b""})
            return
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("read", "write", "shred")]
        result: Any = {"tools": tools} if asked["method"] == "tools/list" else {"content": [], "isError": self.fails}
        told = {"result": result} if self.error is None else {"error": self.error}
        answer = json.dumps({"jsonrpc": "2.0", "id": asked["id"], **told}).encode()
        if self.as_stream:
            news = b'event: message\r\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}\r\n\r\n'
            await send({"type": "http.response.body", "body": news, "more_body": True})
            await self.hold.wait()
            answer = b"event: message\r\ndata: " + answer + b"\r\n\r\n"
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture
async def upstream(mcp: Mcp) -> AsyncIterator[Upstream]:
    app = Upstream()
    app.hold.set()
    async with served(app) as url:
        app.url = f"{url}/mcp"
        await mcp.add("files", url=app.url, secret=SECRET, auth_form="bearer")
        yield app


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {"_meta": META, **params}}


async def post(mcp: Mcp, body: Any, path: str = "/mcp/files", **headers: str) -> tuple[int, Any, dict[str, str]]:
    sent = {"authorization": f"Bearer {mcp.node.key}", "accept": "application/json, text/event-stream"}
    if isinstance(body, dict) and "method" in body:
        sent |= MODERN | {"mcp-method": body["method"]}
        if "name" in body.get("params", {}):
            sent["mcp-name"] = body["params"]["name"]
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {name: value for name, value in sent.items() if value}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with aiohttp.ClientSession() as http, http.post(mcp.url + path, data=content, headers=sent) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith(("{", "[")) else text, dict(answer.headers)


CALL = message("tools/call", name="read", arguments={"path": "/a"})


async def test_what_headers_and_body_say_differently_is_refused_and_goes_nowhere(mcp: Mcp, upstream: Upstream) -> None:
    for headers in (
        {"mcp_name": "shred"}, {"mcp_method": "tools/list"}, {"mcp_name": ""}, {"mcp_method": ""},
        {"mcp_protocol_version": "2025-11-25"}, {"mcp_name": "=?base64?cmVhZB=?="},
    ):  # fmt: skip
        status, body, _ = await post(mcp, CALL, **headers)
        assert (status, body["error"]["code"], body["id"]) == (400, -32020, 7), headers
    unknown = await post(mcp, CALL, mcp_protocol_version="2031-01-01")
    assert (unknown[0], unknown[1]["error"]["code"]) == (400, -32022)
    assert "2025-11-25" in unknown[1]["error"]["data"]["supported"]
    bad: list[tuple[Any, int]] = [
        (b"{", -32700), ([CALL], -32600), ({**CALL, "jsonrpc": "1.0"}, -32600), (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"shred"}}', -32600), (b"\xff", -32700),
        ({**CALL, "params": []}, -32600), ({**CALL, "id": {}}, -32600), ({**CALL, "id": None}, -32600),
    ]  # fmt: skip
    for content, code in bad:
        status, body, _ = await post(mcp, content)
        assert (status, body["error"]["code"]) == (400, code), content
    assert upstream.seen == []

    twice = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"shred","name":"read","arguments":{}}}'
    status, _, _ = await post(mcp, twice, mcp_protocol_version="2025-11-25")
    assert status == 200 and upstream.seen[0][2]["params"]["name"] == "read"
    status, body, _ = await post(mcp, CALL, mcp_name="=?base64?cmVhZA==?=")
    assert status == 200 and body["id"] == 7


async def test_secrets_stay_on_their_side_and_the_trace_goes_on(mcp: Mcp, upstream: Upstream) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = message("tools/call", name="read", arguments={"n": 1.10, "big": 12345678901234567890123})
    traced["params"]["_meta"] = META | {"traceparent": trace}
    status, body, headers = await post(mcp, traced, cookie="a=b", origin="http://nexus.example")

    assert status == 200 and SECRET not in json.dumps([body, headers])
    _, sent, asked = upstream.seen[0]
    assert sent["authorization"] == f"Bearer {SECRET}" and "cookie" not in sent and "origin" not in sent
    assert mcp.node.key not in json.dumps([sent, asked])
    continued = asked["params"]["_meta"]["traceparent"].split("-")
    assert continued[1] == trace.split("-")[1] and continued[2] != trace.split("-")[2]
    assert asked["params"]["arguments"] == traced["params"]["arguments"]
    call = (await mcp.stored("tool_call", 1))[0]
    assert (call["trace_id"], call["span_id"]) == (continued[1], continued[2])
    assert call["parameters"] is None and call["metadata"]["parameters_left_out"] is True
    assert call["client_name"] == "hand" and call["protocol_version"] == "2026-07-28"
    for origin in ("http://evil.example", "null"):
        assert (await post(mcp, CALL, origin=origin))[0] == 403
    upstream.status = 401
    status, body, headers = await post(mcp, CALL)
    assert status == 502 and "WWW-Authenticate" not in headers and SECRET not in json.dumps(body)


async def test_a_key_sees_and_calls_what_it_may(mcp: Mcp, upstream: Upstream) -> None:
    assert (await post(mcp, CALL, authorization="Bearer nx_wrong"))[0] == 401
    assert (await post(mcp, CALL, "/mcp/other"))[0] == 404
    assert (await post(mcp, CALL, f"/mcp/files?key={mcp.node.key}", authorization=""))[0] == 401
    await mcp.allow(mcp_tools=["files/read", "*/wr*"])
    for as_stream in (False, True):
        upstream.as_stream = as_stream
        _, body, _ = await post(mcp, message("tools/list"))
        if as_stream:
            body = json.loads(str(body).rsplit("data: ", 1)[1])
        assert [tool["name"] for tool in body["result"]["tools"]] == ["read", "write"]
    upstream.as_stream = False
    assert (await post(mcp, CALL))[0] == 200
    count = len(upstream.seen)
    shred = message("tools/call", name="shred", arguments={})
    status, body, _ = await post(mcp, shred)
    assert (status, body["error"]["code"]) == (400, -32602)
    old = await post(mcp, shred, mcp_protocol_version="2025-11-25")
    assert old[0] == 400  # its _meta is of the newer revision
    del shred["params"]["_meta"]
    old = await post(mcp, shred, mcp_protocol_version="2025-11-25")
    assert (old[0], old[1]["error"]["code"]) == (200, -32602)
    _, body, _ = await post(mcp, message("tools/list"), "/mcp")
    assert [tool["name"] for tool in body["result"]["tools"]] == ["files__read", "files__write"]
    refused = await post(mcp, message("tools/call", name="files__shred", arguments={}), "/mcp")
    assert refused[1]["error"]["code"] == -32602
    await mcp.allow(mcp_servers=["other"])
    assert (await post(mcp, CALL))[0] == 404
    _, body, _ = await post(mcp, message("tools/list"), "/mcp")
    assert body["result"]["tools"] == []
    assert not any(asked and asked.get("params", {}).get("name") == "shred" for _, _, asked in upstream.seen[count:])
    listed = [row for row in await mcp.stored("request", 4) if row["method"] == "tools/list"]
    assert all("shred" in json.dumps(row["response_body"]) for row in listed)


async def test_sessions_streams_and_what_is_no_request_go_both_ways(mcp: Mcp, upstream: Upstream) -> None:
    info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "old", "version": "2"}}
    first = {"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": info}
    _, _, headers = await post(mcp, first, mcp_protocol_version="", mcp_method="")
    session = headers["mcp-session-id"]
    old = {"mcp_protocol_version": "2025-11-25", "mcp_session_id": session, "mcp_method": ""}
    status, _, _ = await post(mcp, {"jsonrpc": "2.0", "method": "notifications/initialized"}, **old)
    assert status == 200
    upstream.as_stream = True
    call = {"jsonrpc": "2.0", "id": "b", "method": "tools/call", "params": {"name": "read", "arguments": {}}}
    _, text, _ = await post(mcp, call, **old, mcp_name="")
    assert str(text).count("event: message") == 2
    async with aiohttp.ClientSession() as http:
        headers = {"authorization": f"Bearer {mcp.node.key}", "mcp-session-id": session}
        async with http.get(mcp.url + "/mcp/files", headers=headers) as answer:
            assert answer.status == 200
        async with http.delete(mcp.url + "/mcp/files", headers=headers) as answer:
            assert answer.status == 200

    assert [method for method, _, _ in upstream.seen] == ["POST", "POST", "POST", "GET", "DELETE"]
    assert {sent["mcp-session-id"] for _, sent, _ in upstream.seen[1:]} == {"session-1"}
    record = (await mcp.stored("tool_call", 1))[0]
    assert (record["session_id"], record["client_name"], record["client_version"]) == ("session-1", "old", "2")
    assert [row["method"] for row in await mcp.stored("request", 2)] == ["initialize", "tools/call"]


async def test_a_client_that_leaves_ends_the_call_at_the_server_and_is_recorded(mcp: Mcp, upstream: Upstream) -> None:
    upstream.as_stream = True
    upstream.hold.clear()
    sent = {"authorization": f"Bearer {mcp.node.key}", **MODERN, "mcp-method": "tools/call", "mcp-name": "read"}
    async with aiohttp.ClientSession() as http:
        answer = await http.post(mcp.url + "/mcp/files", data=json.dumps(CALL).encode(), headers=sent)
        assert b"progress" in await answer.content.readany()
        answer.close()
    record = (await mcp.stored("tool_call", 1))[0]

    assert (record["outcome"], record["error_type"]) == ("protocol_error", "client_left")
    upstream.hold.set()


async def test_a_limit_refuses_with_429_before_anything_is_sent(mcp: Mcp, upstream: Upstream, limited: Limited) -> None:
    limited.have(limit(1, capacity=2, per_us=DAY))
    for _ in range(2):
        assert (await post(mcp, CALL))[0] == 200
    status, body, headers = await post(mcp, CALL)

    assert (status, body["error"]["code"], body["id"]) == (429, -32029, 7)
    assert body["error"]["data"]["type"].endswith("quota-exceeded") and "Retry-After" in headers
    assert len(upstream.seen) == 2
    assert (await post(mcp, message("tools/list")))[0] == 200
    assert len(await mcp.stored("tool_call", 2)) == 2


async def test_a_price_is_charged_for_what_was_answered(mcp: Mcp, upstream: Upstream, limited: Limited) -> None:
    await mcp.add("priced", url="http://127.0.0.1:1/mcp", price="0.5")
    limited.have(limit(1, capacity=5 * NANOS, per_us=DAY, dimension="money", currency="USD"))
    server = next(entry for (_, name), entry in mcp.node.snapshots.gateway.mcp_servers.items() if name == "priced")
    assert server.price_of("any") == 500_000_000
    status, body, _ = await post(mcp, CALL, "/mcp/priced")
    assert status == 502 and body["error"]["code"] == -32603
    assert await limited.settled() == 0
    async with mcp.node.database.tenant(mcp.node.organization_id) as connection:
        await connection.execute(
            "UPDATE mcp.servers SET tool_prices = $1, price = 0.25 WHERE name = 'files'", {"read": "0.002"}
        )
    await mcp.node.snapshots.refresh()
    await post(mcp, CALL)
    await post(mcp, message("tools/call", name="write", arguments={}))

    assert await limited.settled() == 252_000_000
    calls = await mcp.stored("api_call", 2)
    assert [(row["provider"], row["endpoint"], str(row["cost"])) for row in calls] == [
        ("files", "read", "0.0020000000"), ("files", "write", "0.2500000000"),
    ]  # fmt: skip
    costs = [row["metadata"]["gateway"].get("cost") for row in await mcp.stored("tool_call", 3)]
    assert costs == ["0", "0.002", "0.25"]


async def test_private_addresses_are_not_reached_unless_allowed(mcp: Mcp) -> None:
    for number, url in enumerate(("http://10.0.0.1/mcp", "http://169.254.169.254/mcp", "http://2130706433:1/mcp")):
        await mcp.add(f"inner-{number}", url=url)
        status, body, _ = await post(mcp, CALL, f"/mcp/inner-{number}")
        assert status == 403 and body["error"]["data"]["type"].endswith("address_refused")
