"""kill -9 of the web process while a tool is at work: the call is recorded once, as interrupted, and the next ones are served."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.dataplane.gateway.conftest import served
from tests.races.callers import ENVIRONMENT, post
from tests.races.node import Node, until


class SlowServer:
    """An MCP server whose tool takes until it is told, and tells of its progress first."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked = json.loads(body)
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
        await send(start)
        news = b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}\n\n'
        await send({"type": "http.response.body", "body": news, "more_body": True})
        if asked["method"] == "tools/call":
            self.asked.set()
            await self.go_on.wait()
        answer = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": [], "tools": []}}).encode()
        await send({"type": "http.response.body", "body": b"event: message\ndata: " + answer + b"\n\n"})


@pytest.fixture
async def node(tmp_path: Path, prepared: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path / "node", environment=ENVIRONMENT | {"NEXUS_WORKERS": "1"}, prepared=prepared)
    node.start()
    await node.wait_ready()
    yield node
    node.sweep()


async def ask(node: Node, method: str) -> bytes:
    """Send a request and read its answer to the end."""
    headers = {
        "authorization": f"Bearer {node.first_start()['access_key']}", "mcp-protocol-version": "2025-11-25",
        "accept": "application/json, text/event-stream",
    }  # fmt: skip
    params = {"name": "wait", "arguments": {"for": "ever"}} if method == "tools/call" else {}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with aiohttp.ClientSession() as http, http.post(f"{node.url}/mcp/slow", json=body, headers=headers) as answer:
        return await answer.read() if answer.status == 200 else b""


async def test_a_tool_call_whose_process_is_killed_is_recorded_once_as_interrupted(node: Node) -> None:
    server = SlowServer()
    async with served(server) as url:
        await post(node, "/api/mcp/gateway-servers", {"name": "slow", "url": f"{url}/mcp"})
        await until(lambda: ask(node, "tools/list"), "the gateway knows the server")
        call = asyncio.ensure_future(ask(node, "tools/call"))
        await server.asked.wait()
        (pid,) = node.pids("web")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(aiohttp.ClientError):
            await call
        await until(lambda: node.pids("web") not in ([], [pid]), "another web process runs")
        await node.wait_ready()
        server.go_on.set()
        await until(lambda: ask(node, "tools/list"), "the gateway knows the server again")
        assert b'"result"' in await ask(node, "tools/call")

        async def figures() -> dict[str, Any]:
            found: dict[str, Any] = (await node.ask("/api/mcp/tools"))["total"]
            return found

        async def both_are_there() -> bool:
            return bool((await figures())["calls"] >= 2)

        await until(both_are_there, "both calls are recorded")
        total = await figures()
        assert (total["calls"], total["ok"], total["protocol_errors"]) == (2, 1, 1)
        calls = (await node.ask("/api/mcp/tool-calls", failed="true"))["items"]
        assert [(row["tool"], row["error_type"], row["duration_ms"]) for row in calls] == [
            ("wait", "interrupted", None)
        ]
        (whole,) = [await node.ask(f"/api/mcp/tool-calls/{row['id']}") for row in calls]
        assert whole["parameters"] == {"for": "ever"}
        requests = (await node.ask("/api/mcp/requests/log", method="tools/call"))["items"]
        assert sorted(row["error_type"] or "" for row in requests) == ["", "interrupted"]
