"""MCP servers of both packages, driven by the real client: every call is one record, and the figures are the driver's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp.server.mcpserver", reason="not installed: pip install 'mcp>=2'")

from mcp import StdioServerParameters
from mcp.client import Client
from mcp_server import SLOW_SECONDS

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("add", {"a": 1, "b": 2}), ("echo", {"text": "x"}), ("fail", {"why": "it is told to"}), ("slow", {}),
    ("upper", {"text": "y"}), ("add", {"a": 3, "b": 4}), ("fail", {"why": "again"}),
]  # fmt: skip
PACKAGES = ["mcp", "fastmcp"]


def recorded(folder: Path) -> list[dict[str, Any]]:
    lines = [line for path in sorted(folder.rglob("*.ndjson")) for line in path.read_bytes().splitlines()]
    return [json.loads(line) for line in lines]


@contextlib.contextmanager
def over_http(package: str, spool: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = [sys.executable, str(Path(__file__).with_name("mcp_server.py")), package, "http", str(port), str(spool)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment()) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
        yield f"http://127.0.0.1:{port}/mcp"
        process.terminate()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


async def drive(server: Any) -> list[tuple[str, bool, float]]:
    """Call the tools; returns what the client saw: name, whether it failed, ms."""
    log = []
    async with Client(server) as client:
        await client.list_tools()
        for name, arguments in CALLS:
            began = time.perf_counter()
            result = await client.call_tool(name, arguments)
            log.append((name, bool(result.is_error), (time.perf_counter() - began) * 1e3))
    return log


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_every_call_is_one_record_and_equals_the_driver_s_log(package: str, transport: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    if transport == "stdio":
        program = [str(Path(__file__).with_name("mcp_server.py")), package, "stdio", "0", str(tmp_path)]
        log = asyncio.run(drive(StdioServerParameters(command=sys.executable, args=program, env=_environment())))
    else:
        with over_http(package, tmp_path) as url:
            log = asyncio.run(drive(url))
    records = recorded(tmp_path)

    calls = [record for record in records if record["type"] == "tool_call"]
    assert [(call["tool"], call["outcome"] == "tool_error") for call in calls] == [(name, bad) for name, bad, _ in log]
    for call, (_, _, seen_ms), (_, arguments) in zip(calls, log, CALLS):
        assert call["parameters"] == arguments
        assert 0 < call["duration_ms"] <= seen_ms
        assert call["server"] == "five" and call["client_name"] and call["protocol_version"]
        assert call["transport"] == {"stdio": "stdio", "http": "streamable_http"}[transport]
        assert call["response_size_bytes"] > 0 or call["outcome"] != "ok"
    assert [call["duration_ms"] >= SLOW_SECONDS * 1e3 for call in calls if call["tool"] == "slow"] == [True]
    assert all(call["error_message"] for call in calls if call["outcome"] == "tool_error")
    asked = [record["method"] for record in records if record["type"] == "mcp_request"]
    assert asked.count("tools/call") == len(CALLS)
    listed = [record["response_body"] for record in records if record.get("method") == "tools/list"]
    assert all(
        body == {"tools": [{"name": name} for name in ("add", "echo", "fail", "slow", "upper")]} for body in listed
    )
    assert listed
    assert len({record["id"] for record in records}) == len(records)
