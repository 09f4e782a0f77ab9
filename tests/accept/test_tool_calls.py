"""Recorded calls of MCP tools sent into a running node: the figures are those of the file, in either revision of the protocol.

Looks below `mcp` of the folder that NEXUS_ACCEPT_DATA names for files of one JSON object a line that tell server, tool,
arguments and whether the tool failed; what a file is, its content tells. What is expected is computed here, from the file.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.races.node import Node

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FOLDER = os.environ.get("NEXUS_ACCEPT_DATA", "")
KNOWN = {"livemcpbench_tool_calls": 507}
"""Calls in files that the issue of this house names."""
COLUMNS = {"server", "tool", "arguments", "is_error", "result_chars"}
REVISIONS = ("2025-11-25", "2026-07-28")
NOBODY = "a call that names no server"

pytestmark = pytest.mark.skipif(not FOLDER, reason="NEXUS_ACCEPT_DATA names no folder of data: make accept DATA=folder")


def recorded(path: Path) -> list[dict[str, Any]]:
    """The calls in a file; none where it holds something else."""
    with path.open("rb") as file:
        is_packed = file.read(4) == b"\x28\xb5\x2f\xfd"
    opened = zstd.open(path, "rt", encoding="utf-8") if is_packed else path.open(encoding="utf-8")
    rows: list[dict[str, Any]] = []
    with opened as lines:
        try:
            for line in lines:
                row = json.loads(line)
                if not isinstance(row, dict) or not set(row) >= COLUMNS:
                    return []
                rows.append(row)
        except ValueError:
            return []
    return rows


FILES = sorted(path for path in (Path(FOLDER) / "mcp").glob("*.jsonl*") if recorded(path)) if FOLDER else []


def named(row: dict[str, Any]) -> tuple[str, str]:
    """Server and tool; a call without a tool is one of the agent's own, known by what it is called."""
    return row["server"] or NOBODY, row["tool"] or row.get("call") or "unknown"


def records(path: Path, rows: list[dict[str, Any]], revision: str, now: datetime) -> list[dict[str, Any]]:
    made = []
    for number, row in enumerate(rows):
        server, tool = named(row)
        session = {"session_id": str(row.get("task_id"))} if revision == REVISIONS[0] else {}
        made.append(
            {
                "type": "tool_call",
                "id": f"{path.name}-{revision}-{number}",
                # The recording tells no times.
                "timestamp": (now - timedelta(seconds=len(rows) - number)).isoformat(),
                "server": f"{revision}/{server}",
                "tool": tool,
                "outcome": "tool_error" if row["is_error"] else "ok",
                "parameters": row["arguments"],
                "response_size_bytes": row["result_chars"],
                "protocol_version": revision,
                "trace_id": str(row.get("task_id")),
                **session,
            }
        )
    return made


def test_some_recordings_are_there() -> None:
    assert FILES
    for path in FILES:
        for name, count in KNOWN.items():
            assert name not in path.name or len(recorded(path)) == count


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_figures_of_recorded_tool_calls_are_those_of_the_file(node: Node, path: Path) -> None:
    rows, now = recorded(path), datetime.now(UTC)
    headers = {"authorization": f"Bearer {node.first_start()['access_key']}"}
    figures = []
    for revision in REVISIONS:
        sent = records(path, rows, revision, now)
        for is_again in (False, True):
            async with (
                aiohttp.ClientSession() as client,
                client.post(f"{node.url}/v1/events", json=sent, headers=headers) as answer,
            ):
                receipt = await answer.json()
                assert (receipt["stored"], receipt["refused"]) == (0 if is_again else len(rows), []), receipt
        span = {"from": (now - timedelta(days=1)).isoformat(), "to": (now + timedelta(minutes=1)).isoformat()}
        body = await node.ask("/api/mcp/tools", **span, limit="500")
        mine = [item for item in body["items"] if str(item["server"]).startswith(revision)]
        figures.append({(item["server"].partition("/")[2], item["tool"]): item | {"server": None} for item in mine})

    assert figures[0] == figures[1]
    calls = Counter(map(named, rows))
    failed = Counter(named(row) for row in rows if row["is_error"])
    assert {name: item["calls"] for name, item in figures[0].items()} == calls
    assert {name: item["tool_errors"] for name, item in figures[0].items() if item["tool_errors"]} == failed
    assert sum(item["response_bytes"] for item in figures[0].values()) == sum(row["result_chars"] for row in rows)
    assert sum(item["protocol_errors"] for item in figures[0].values()) == 0
