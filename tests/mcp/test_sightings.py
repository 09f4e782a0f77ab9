"""A tool call that several tell of is one call: gateway, middleware of the server, spans of client and server, in any order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.mcp.conftest import NOW, Taker, fold, take

__all__ = ["take"]
C, G, S, R = "cc" * 8, "aa" * 8, "ee" * 8, "7"
"""Spans of the client, the gateway and the server, and the JSON-RPC id."""
Record = dict[str, Any]


def told(who: str, trace: str, span: str, metadata: dict[str, Any] | None = None, request: str | None = R) -> Record:
    record_id = f"{who}:{trace}:{span}:{request}" if metadata and "otel" in metadata else str(uuid7(NOW))
    return {
        "type": "tool_call", "id": record_id, "timestamp": NOW.isoformat(), "tool": "read", "outcome": "ok", "server": who,
        "duration_ms": 10, "trace_id": trace, "span_id": span, "request_id": request, "metadata": metadata or {"note": who},
    }  # fmt: skip


def gateway(trace: str, span: str = G, parent: str | None = C) -> Record:
    return told("gateway", trace, span, {"gateway": {"request": "r"} | ({"parent_span_id": parent} if parent else {})})


def middleware(trace: str, span: str = G, request: str = R) -> Record:
    return told("middleware", trace, span, request=request)


def client(trace: str, span: str = C) -> Record:
    return told("client", trace, span, {"otel": {"span_id": span, "side": "client"}})


def server(trace: str, span: str = S, parent: str = G, request: str = R) -> Record:
    return told("server", trace, span, {"otel": {"span_id": span, "parent_span_id": parent, "side": "server"}}, request)


SCENES: dict[str, tuple[list[Callable[[str], Record]], list[str]]] = {
    "all four": ([gateway, middleware, client, server], ["gateway"]),
    "gateway and the server's span": ([lambda t: gateway(t, parent=None), server], ["gateway"]),
    "gateway and the client's span": ([gateway, client], ["gateway"]),
    "no gateway: middleware, client and server": (
        [lambda t: middleware(t, C), client, lambda t: server(t, parent=C)], ["middleware"],
    ),
    "one span of an agent around two calls, of which one goes through the gateway": (
        [gateway, lambda t: middleware(t, C, "8")], ["gateway", "middleware"],
    ),
    "one span of an agent around two calls that middleware and server tell of": (
        [lambda t: middleware(t, C, "1"), lambda t: middleware(t, C, "2"),
         lambda t: server(t, "e1" * 8, C, "1"), lambda t: server(t, "e2" * 8, C, "2")], ["middleware", "middleware"],
    ),
    "a server that calls another through the gateway while it serves": (
        [lambda t: gateway(t, parent=S), lambda t: server(t, S, C, "1")], ["gateway", "server"],
    ),
    "two attempts of the gateway": ([gateway, lambda t: gateway(t, "ab" * 8)], ["gateway", "gateway"]),
}  # fmt: skip


async def check(database: Database, organization: TestOrganization, expected: list[str]) -> None:
    """What is stored, and what sums say of it before and after folding."""
    async with database.as_system() as connection:
        rows = await connection.fetch("SELECT server FROM mcp.tool_calls WHERE organization_id = $1", organization.id)
    assert sorted(row["server"] for row in rows) == sorted(expected)
    for _ in range(2):
        async with database.as_system() as connection:
            sums = await connection.fetch(
                "SELECT server, sum(calls)::int AS n, sum(duration_sum_us)::int AS us FROM ("
                " SELECT server, calls, duration_sum_us FROM mcp.rollup_journal WHERE organization_id = $1 AND subject = 'tool'"
                " UNION ALL SELECT server, calls, duration_sum_us FROM mcp.rollups_minute"
                "  WHERE organization_id = $1 AND subject = 'tool' AND dimension_set = 1"
                ") AS piece GROUP BY server HAVING sum(calls) <> 0",
                organization.id,
            )
        found = {row["server"]: (row["n"], row["us"]) for row in sums}
        assert found == {who: (n, 10_000 * n) for who in expected if (n := expected.count(who))}
        await fold(database)


@pytest.mark.parametrize("scene", SCENES)
async def test_one_call_counts_once_in_every_order(
    take: Taker, database: Database, organization: TestOrganization, scene: str
) -> None:
    makers, expected = SCENES[scene]
    orders = list(itertools.permutations(range(len(makers))))
    for number, order in enumerate(orders):
        trace = f"{number + 1:032x}"
        made = [maker(trace) for maker in makers]
        for index in order:
            assert (await take(organization.id, [made[index]])).accepted == 1
    # All at once, and everything sent again.
    made = [maker("f" * 32) for maker in makers]
    await take(organization.id, made)
    again = await take(organization.id, made)
    assert (again.stored, again.duplicates) == (0, len(made))
    await check(database, organization, expected * (len(orders) + 1))


async def test_one_call_counts_once_when_all_tell_at_the_same_time(
    take: Taker, database: Database, organization: TestOrganization
) -> None:
    makers, expected = SCENES["all four"]
    traces = [f"{number + 1:032x}" for number in range(30)]
    await asyncio.gather(*(take(organization.id, [maker(trace)]) for trace in traces for maker in makers))
    await check(database, organization, expected * len(traces))
