"""Errors that a program tells of: exceptions with class and stack, and plain messages."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nexus_client import Client, attributed
from nexus_client.mcp import record

NOBODY = "http://127.0.0.1:9"


class CardError(Exception):
    """Something of the program's own."""


def recorded(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in folder.rglob("*.ndjson") for line in path.read_bytes().splitlines()]


def raised(message: str) -> Exception:
    try:
        raise CardError(message)
    except CardError as error:
        return error


def test_error_is_recorded_with_class_stack_and_who_was_met(tmp_path: Path) -> None:
    client = Client(NOBODY, "nx_test", spool_dir=tmp_path, application="shop", linger_seconds=0.001)
    with attributed(end_user="ann", tags={"team": "pay"}, model="gpt-4o"):
        first = client.record_error(raised("card was declined"), service="shop", tags={"feature": "cart"})
    client.record_error("the cache is slow", level="warn")
    client.record_error(ValueError())
    client.record_error(raised("x" * 100_000))
    assert client.persist(10)
    client.close(0)

    told, slow, wordless, long = recorded(tmp_path)
    assert told["id"] == first
    expected = {
        "type": "error", "message": "card was declined", "error_type": f"{__name__}.CardError", "service": "shop",
        "application": "shop", "end_user": "ann", "tags": {"team": "pay", "feature": "cart"},
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    assert "in raised" in told["stack_trace"] and told["stack_trace"].endswith("CardError: card was declined\n")
    assert "model" not in told
    assert (slow["message"], slow["level"]) == ("the cache is slow", "warn")
    assert (wordless["message"], wordless["error_type"]) == ("ValueError", "ValueError")
    assert len(long["message"]) <= 8_192 and len(long["stack_trace"]) <= 32_768


@pytest.mark.parametrize("tells", [True, False])
def test_what_a_tool_raised_is_an_error_beside_its_call(tmp_path: Path, tells: bool) -> None:
    client = Client(NOBODY, "nx_test", spool_dir=tmp_path, linger_seconds=0.001)
    told = {"name": "pay", "arguments": {"order": 17}}
    message = SimpleNamespace(method="tools/call", params=told, request_id=7, meta={}, session=None, request=None)

    async def fail(_: Any) -> None:
        raise RuntimeError("the tool failed") from raised("card was declined")

    with pytest.raises(RuntimeError):
        asyncio.run(record(client, server="shop", errors=tells)(message, fail))
    assert client.persist(10)
    client.close(0)

    records = {item["type"]: item for item in recorded(tmp_path)}
    assert set(records) == {"mcp_request", "tool_call"} | ({"error"} if tells else set())
    assert records["tool_call"]["outcome"] == "protocol_error"
    if tells:
        error = records["error"]
        expected = {
            "message": "card was declined", "error_type": f"{__name__}.CardError", "category": "mcp", "service": "shop",
            "tool_context": {"method": "tools/call", "target": "pay"}, "execution_id": records["tool_call"]["id"],
            "request_id": "7",
        }  # fmt: skip
        assert {name: error[name] for name in expected} == expected
