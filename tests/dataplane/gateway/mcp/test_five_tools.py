"""Servers of both packages behind the gateway, driven by the real client: every call is one record, as the driver saw it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip(
    "mcp.server.mcpserver", reason="not installed: pip install -r tests/clients.lock (`make test` does)"
)

from tests.dataplane.gateway.mcp.conftest import Mcp, client, five_over_http, stdio
from tests.dataplane.gateway.mcp.five import SLOW_SECONDS

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("add", {"a": 1, "b": 2}), ("echo", {"text": "x"}), ("fail", {"why": "it is told to"}), ("slow", {}), ("secret", {}),
    ("add", {"a": 3, "b": 4}), ("fail", {"why": "again"}),
]  # fmt: skip


class Seen(NamedTuple):
    """What the client saw of one call: its tool, whether it failed, and when it began (``time.perf_counter``)."""

    name: str
    failed: bool
    began: float


async def drive(found: Any, prefix: str = "") -> list[Seen]:
    """Call the tools one after another, and tell what the client saw."""
    log = []
    names = [tool.name for tool in (await found.list_tools()).tools]
    assert sorted(names) == sorted(f"{prefix}{name}" for name in ("add", "echo", "fail", "slow", "secret"))
    for name, arguments in CALLS:
        began = time.perf_counter()
        result = await found.call_tool(f"{prefix}{name}", arguments)
        log.append(Seen(name, bool(result.is_error), began))
    return log


async def check(mcp: Mcp, log: list[Seen], *, server: str, transport: str) -> None:
    """The records are what the driver saw."""
    calls = await mcp.stored("tool_call", len(CALLS), server)
    assert [(call["tool"], call["outcome"]) for call in calls] == [
        (name, "tool_error" if bad else "ok") for name, bad, _ in log
    ]
    for call, (tool, _, _) in zip(calls, log, strict=True):
        # The last byte may be read before the gateway has looked at its clock again: only the whole bounds a call.
        assert 0 < call["duration_us"] / 1e6 <= time.perf_counter() - log[0].began
        assert call["duration_us"] >= SLOW_SECONDS * 1e6 or tool != "slow"
        assert call["server"] == server and call["transport"] == transport
        assert call["principal"] == f"key:{mcp.node.key_id}" and call["client_name"] == "driver"
        assert call["outcome"] == "ok" or call["error_message"]
    requests = await mcp.stored("request", len(CALLS), server, method="tools/call")
    assert sum(row["outcome"] == "tool_error" for row in requests) == 2


async def requests_of(mcp: Mcp) -> list[dict[str, Any]]:
    async with mcp.node.database.as_system() as connection:
        return [dict(row) for row in await connection.fetch("SELECT * FROM mcp.requests ORDER BY occurred_at, id")]


@pytest.mark.parametrize("package", ["mcp", "fastmcp"])
async def test_over_http_in_both_revisions(mcp: Mcp, package: str) -> None:
    pytest.importorskip(package)
    with five_over_http(package) as url:
        for mode in ("auto", "legacy"):
            await mcp.add(mode, url=url, secret="sk-of-the-server", auth_form="bearer")
            async with client(mcp, f"/mcp/{mode}", mode=mode) as found:
                log = await drive(found)
            await check(mcp, log, server=mode, transport="streamable_http")
            revisions = {row["protocol_version"] for row in await requests_of(mcp) if row["server"] == mode}
            assert revisions == ({"2026-07-28"} if mode == "auto" else {"2025-11-25"})


@pytest.mark.parametrize("package", ["mcp", "fastmcp"])
async def test_a_program_and_all_servers_together(mcp: Mcp, package: str) -> None:
    pytest.importorskip(package)
    await mcp.add("five", transport="stdio", command=stdio(package), environment={"FIVE_SECRET": "hunter2-of-five"})
    async with client(mcp, "/mcp/five") as found:
        log = await drive(found)
        await check(mcp, log, server="five", transport="stdio")
        told = await found.call_tool("secret", {})
    assert told.content[0].text == "hunter2-of-five"
    async with client(mcp, "/mcp", mode="legacy") as found:
        log = await drive(found, prefix="five__")
    calls = await mcp.stored("tool_call", 2 * len(CALLS) + 1)
    assert [(call["server"], call["tool"]) for call in calls[len(CALLS) + 1 :]] == [
        ("five", name) for name, _, _ in log
    ]


@pytest.mark.parametrize("server_first", [True, False], ids=["the server tells first", "the gateway does"])
async def test_what_server_and_gateway_both_tell_counts_once_and_as_the_gateway_tells_it(
    mcp: Mcp, tmp_path: Path, server_first: bool
) -> None:
    spool = tmp_path / "spool"
    collector = mcp.node.gateway.recorder
    caller = mcp.node.ingest.caller_of(next(iter(mcp.node.snapshots.keys.keys.values())))

    async def told_by_server() -> None:
        lines = [line for path in sorted(spool.rglob("*.ndjson")) for line in path.read_bytes().splitlines()]
        kinds = [json.loads(line)["type"] for line in lines]
        assert kinds.count("tool_call") == len(CALLS)
        await mcp.node.ingest.take(caller, b"\n".join(lines), is_lines=True)

    if server_first:
        # Nobody takes the gateway's records while its journal is held.
        await collector.stop()
    with five_over_http("mcp", str(spool)) as url:
        await mcp.add("five", url=url)
        async with client(mcp, "/mcp/five") as found:
            log = await drive(found)
    if server_first:
        await told_by_server()
        collector.start()
        await check(mcp, log, server="five", transport="streamable_http")
    else:
        await check(mcp, log, server="five", transport="streamable_http")
        await told_by_server()
    for kind, more in (("tool_call", {}), ("request", {"method": "tools/call"})):
        for _ in range(500):
            rows = await mcp.stored(kind, len(CALLS), **more)
            if all("gateway" in (row["metadata"] or {}) for row in rows):
                break
            await asyncio.sleep(0.02)
        assert all("gateway" in (row["metadata"] or {}) for row in rows), kind
    calls = await mcp.stored("tool_call", len(CALLS))
    async with mcp.node.database.as_system() as connection:
        journal = await connection.fetchrow(
            "SELECT sum(calls) AS calls, sum(duration_sum_us) AS us FROM mcp.rollup_journal WHERE subject = 'tool'"
        )
    assert (journal["calls"], journal["us"]) == (len(CALLS), sum(call["duration_us"] for call in calls))
