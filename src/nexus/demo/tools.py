"""Which tools of MCP servers an application's agents called in an hour: the same whenever it is asked."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nexus.demo.traffic import HOUR, Call, expected_calls, id_at
from nexus.demo.world import Application, Company


@dataclass(frozen=True)
class Tool:
    """A tool of a server."""

    server: str
    name: str
    weight: float
    typical_ms: float
    parameters: tuple[dict[str, Any], ...]
    """One of them is given with a call."""
    error: str = ""
    """What it says when it fails."""
    failing: float = 0.01
    """Share of its calls that fail."""


_ISSUES = tuple({"repo": f"acme/{name}", "state": "open"} for name in ("planner", "firmware", "site"))
TOOLS = {
    "code-review": (
        Tool("github", "search_code", 6, 420, ({"query": "retry backoff"}, {"query": "deadline"}, {"query": "rate limiter"})),
        Tool("github", "get_file_contents", 9, 180, ({"path": "src/main.c"}, {"path": "README.md"}), "no such file", 0.03),
        Tool("github", "list_issues", 3, 260, _ISSUES),
        Tool("tests", "run", 2, 9_500, ({"suite": "unit"}, {"suite": "hardware"}), "exit status 1: 3 of 214 failed", 0.18),
        Tool("tests", "coverage", 1, 2_100, ({"suite": "unit"},)),
    ),
    "support-assistant": (
        Tool("orders", "find_order", 7, 45, ({"number": "A-1001"}, {"number": "A-1002"}), "no order has this number", 0.07),
        Tool("orders", "refund", 1, 650, ({"number": "A-1002", "amount": "19.90"},), "the order is older than 30 days", 0.2),
        Tool("handbook", "search", 5, 120, ({"text": "return policy"}, {"text": "warranty"})),
    ),
}  # fmt: skip
"""By application."""
UNUSED = {"github": ("delete_repository", "fork_repository"), "orders": ("export_orders",)}
"""Tools that a server lists and nobody calls."""
_PER_CALL = 0.35
"""Tool calls for each API call."""
_CLIENTS = {"code-review": ("acme-agent", "2.4.1"), "support-assistant": ("support-bot", "1.9.0")}


def tool_calls(
    company: Company, application: Application, hour: datetime, began_on: datetime, *, volume: float = 1.0
) -> list[Call]:
    """Return the tool calls of an hour, and its lists of tools, in the order in which they ended."""
    tools = TOOLS.get(application.name)
    if tools is None:
        return []
    chance = random.Random(f"tools/{company.slug}/{application.name}/{hour.isoformat()}/{began_on.date()}")  # noqa: S311 - a story, no secret
    mean = expected_calls(company, application, hour, began_on) * volume * _PER_CALL
    client, version = _CLIENTS[application.name]
    common = {"client_name": client, "client_version": version, "protocol_version": "2026-07-28",
              "transport": "streamable_http", "tags": {"team": application.team}}  # fmt: skip
    found = (
        [_listed(chance, server, hour, common) for server in sorted({tool.server for tool in tools})] if mean else []
    )
    for _ in range(round(mean * chance.lognormvariate(0, 0.15))):
        tool = chance.choices(tools, [one.weight for one in tools])[0]
        at = hour + HOUR * chance.random()
        found.append(_called(chance, tool, at, common))
    found.sort(key=lambda call: call.ended_at)
    return found


def _called(chance: random.Random, tool: Tool, at: datetime, common: dict[str, Any]) -> Call:
    elapsed_ms = tool.typical_ms * chance.lognormvariate(0, 0.4)
    record: dict[str, Any] = {
        **common, "type": "tool_call", "id": id_at(chance, at), "server": tool.server, "tool": tool.name, "outcome": "ok",
        "parameters": chance.choice(tool.parameters), "trace_id": f"{chance.getrandbits(128):032x}",
        "response_size_bytes": chance.randrange(80, 9_000),
    }  # fmt: skip
    dice = chance.random()
    if dice < 0.004:
        elapsed_ms = 30_000.0
        record |= {"outcome": "protocol_error", "error_type": "timeout", "error_message": "no answer within 30 s"}
    elif dice < 0.004 + tool.failing and tool.error:
        record |= {"outcome": "tool_error", "error_type": "ToolError", "error_message": tool.error}
    record["duration_ms"] = round(elapsed_ms, 1)
    return Call(at, at + timedelta(milliseconds=elapsed_ms), record)


def _listed(chance: random.Random, server: str, hour: datetime, common: dict[str, Any]) -> Call:
    """Return the list of a server's tools, which a client asks for now and then."""
    at = hour + HOUR * chance.random()
    names = [tool.name for tools in TOOLS.values() for tool in tools if tool.server == server]
    elapsed_ms = 6 * chance.lognormvariate(0, 0.3)
    record: dict[str, Any] = {
        **common, "type": "mcp_request", "id": id_at(chance, at), "server": server, "method": "tools/list",
        "outcome": "ok", "status_code": 200, "duration_ms": round(elapsed_ms, 1),
        "response_body": {"tools": [{"name": name} for name in (*names, *UNUSED.get(server, ()))]},
    }  # fmt: skip
    return Call(at, at + timedelta(milliseconds=elapsed_ms), record)
