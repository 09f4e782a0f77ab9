"""A stream that breaks before its answer is resumed through the gateway with `Last-Event-ID` (revision 2025-11-25)."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from tests.dataplane.gateway.conftest import served
from tests.dataplane.gateway.mcp.conftest import Mcp

EVENTS = [
    b'id: stream-1/1\nevent: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}\n\n',
    b"id: stream-1/2\nretry: 10\ndata: \n\n",
]
ANSWER = b'id: stream-1/3\nevent: message\ndata: {"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}\n\n'
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "long", "arguments": {}}}


class Resumable:
    """A server that ends its stream early and tells the rest to whoever comes back."""

    def __init__(self) -> None:
        self.resumed: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        parts = EVENTS
        if scope["method"] == "GET":
            self.resumed.append({name.decode(): value.decode() for name, value in scope["headers"]})
            parts = [ANSWER]
        headers = [(b"content-type", b"text/event-stream"), (b"mcp-session-id", b"session-1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def test_what_a_client_missed_is_told_by_the_server_through_the_gateway(mcp: Mcp) -> None:
    server = Resumable()
    headers = {
        "authorization": f"Bearer {mcp.node.key}", "mcp-protocol-version": "2025-11-25", "mcp-session-id": "session-1",
        "accept": "application/json, text/event-stream",
    }  # fmt: skip
    async with served(server) as url, aiohttp.ClientSession(headers=headers) as http:
        await mcp.add("long", url=f"{url}/mcp")
        async with http.post(f"{mcp.url}/mcp/long", data=json.dumps(CALL)) as answer:
            assert await answer.read() == b"".join(EVENTS)
        (record,) = await mcp.stored("tool_call", 1)
        async with http.get(f"{mcp.url}/mcp/long", headers={"last-event-id": "stream-1/2"}) as answer:
            assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
            assert await answer.read() == ANSWER

    (asked,) = server.resumed
    assert (asked["last-event-id"], asked["mcp-session-id"]) == ("stream-1/2", "session-1")
    assert mcp.node.key not in str(asked)
    # What is resumed is no request of its own: the call keeps the one record it has.
    assert (record["outcome"], record["error_type"]) == ("protocol_error", "no_answer")
    assert [row["id"] for row in await mcp.stored("tool_call", 1)] == [record["id"]]
    await mcp.stored("request", 1)
