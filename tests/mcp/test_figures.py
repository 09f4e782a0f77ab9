"""Figures of tools and requests equal a recomputation over what was sent, in any order, folded or not."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from nexus.kit.ids import uuid7
from nexus.kit.latency import RELATIVE_ERROR
from nexus.mcp import jobs
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.mcp.conftest import NOW, Api, Taker, fold

START = NOW - timedelta(days=3, hours=5, minutes=7, seconds=11)
OUTCOMES = ("ok", "ok", "ok", "tool_error", "protocol_error")


def made(seed: int, count: int, start: datetime = START, end: datetime = NOW) -> list[dict[str, Any]]:
    """Records of all kinds, at times that fall anywhere."""
    pick = random.Random(seed)
    records = []
    for _ in range(count):
        at = start + (end - start) * pick.random()
        common = {
            "id": str(uuid7(at)) if pick.random() < 0.7 else f"r-{pick.getrandbits(60)}",
            "timestamp": at.isoformat(),
            "outcome": pick.choice(OUTCOMES),
            "server": pick.choice(["files", "web", "@scope/mail"]),
            "user": pick.choice(["ann", "bob", "cid"]),
            "client_name": pick.choice(["desk", "cli"]),
            "client_version": pick.choice(["1", "2"]),
            "response_size_bytes": pick.randrange(5_000),
        }
        if pick.random() < 0.9:
            common["duration_ms"] = round(pick.lognormvariate(3, 1.5), 3)
        if pick.random() < 0.75:
            records.append(common | {"type": "tool_call", "tool": pick.choice(["read", "write", "find"])})
        else:
            method = pick.choice(["tools/call", "resources/read"])
            status = {} if pick.random() < 0.3 else {"status_code": pick.choice([200, 400])}
            records.append(common | {"type": "mcp_request", "method": method} | status)
    return records


def expected(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What the figures of some records must be, but for the percentiles."""
    rows = list(records)
    durations = [round(row["duration_ms"] * 1000) for row in rows if "duration_ms" in row]
    return {
        "calls": len(rows),
        "ok": sum(row["outcome"] == "ok" for row in rows),
        "tool_errors": sum(row["outcome"] == "tool_error" for row in rows),
        "protocol_errors": sum(row["outcome"] == "protocol_error" for row in rows),
        "duration_avg_ms": round(sum(durations) / len(durations) / 1000, 3) if durations else None,
        "duration_min_ms": min(durations) / 1000 if durations else None,
        "duration_max_ms": max(durations) / 1000 if durations else None,
        "response_bytes": sum(row["response_size_bytes"] for row in rows),
    }


def assert_figures(found: dict[str, Any], records: Iterable[dict[str, Any]]) -> None:
    rows = list(records)
    wanted = expected(rows)
    assert {name: found[name] for name in wanted} == wanted
    durations = sorted(row["duration_ms"] for row in rows if "duration_ms" in row)
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        if durations:
            exact = durations[max(1, -int(-(q * len(durations) - 1e-9) // 1)) - 1]
            assert found[f"duration_{name}_ms"] == pytest.approx(exact, rel=RELATIVE_ERROR + 1e-6, abs=0.002)


def within(records: Iterable[dict[str, Any]], kind: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
    return [row for row in records if row["type"] == kind and start <= datetime.fromisoformat(row["timestamp"]) < end]


RANGES = [
    (START, NOW),
    (START + timedelta(hours=7, microseconds=1), NOW - timedelta(hours=3, seconds=7)),
    (NOW - timedelta(days=2), NOW - timedelta(days=1)),
    (NOW - timedelta(minutes=31), NOW),
]


@pytest.mark.parametrize("is_folded", ["not", "half", "all"])
async def test_figures_are_those_of_the_records(
    take: Taker, api: Api, database: Database, organization: TestOrganization, is_folded: str
) -> None:
    records = made(7, 900)
    for first in range(0, len(records), 150):
        await take(organization.id, records[first : first + 150])
        if is_folded == "half" and first == 450:
            assert await fold(database) > 0
    # Sent again, with another time: nothing changes.
    await take(organization.id, [row | {"timestamp": NOW.isoformat()} for row in records[100:200]])
    if is_folded == "all":
        await fold(database)

    for start, end in RANGES:
        asked = {"from_": start.isoformat(), "to": end.isoformat(), "limit": 500}
        calls = within(records, "tool_call", start, end)
        body = (await api.get("tools", **asked)).json()
        assert_figures(body["total"], calls)
        keys = {(item["server"], item["tool"]) for item in body["items"]}
        assert keys == {(row["server"], row["tool"]) for row in calls}
        for item in body["items"]:
            mine = [row for row in calls if (row["server"], row["tool"]) == (item["server"], item["tool"])]
            assert_figures(item, mine)
            assert item["distinct_principals"] == len({row["user"] for row in mine})
            assert item["distinct_clients"] == len({(row["client_name"], row["client_version"]) for row in mine})
        assert [item["calls"] for item in body["items"]] == sorted((i["calls"] for i in body["items"]), reverse=True)
        for path, names in (
            ("servers", {"server": "server"}),
            ("clients", {"client": "client_name", "client_version": "client_version"}),
            ("principals", {"principal": "user"}),
        ):
            answer = (await api.get(path, **asked)).json()
            for item in answer["items"]:
                mine = [row for row in calls if all(row[field] == item[name] for name, field in names.items())]
                assert_figures(item, mine)
        requests = within(records, "mcp_request", start, end)
        answer = (await api.get("requests", **asked)).json()
        assert_figures(answer["total"], requests)
        for item in answer["items"]:
            mine = [
                row
                for row in requests
                if (row["method"], row.get("status_code")) == (item["method"], item["status_code"])
            ]
            assert_figures(item, mine)


@pytest.mark.parametrize(("interval", "tz"), [("1h", "UTC"), ("1d", "Asia/Kolkata"), ("1d", "UTC"), ("15m", "UTC")])
async def test_points_of_a_series_add_up_to_the_range(
    take: Taker, api: Api, database: Database, organization: TestOrganization, interval: str, tz: str
) -> None:
    start = NOW - timedelta(hours=12) if interval == "15m" else START
    records = made(11, 400, start)
    await take(organization.id, records)
    await fold(database)

    body = (
        await api.get(
            "tools/series", from_=start.isoformat(), to=NOW.isoformat(), interval=interval, tz=tz, tool="read"
        )
    ).json()

    calls = [row for row in within(records, "tool_call", start, NOW) if row["tool"] == "read"]
    assert_figures(body["total"], calls)
    starts = [datetime.fromisoformat(point["at"]) for point in body["points"]]
    ends = [*starts[1:], NOW]
    for point, low, high in zip(body["points"], starts, ends, strict=True):
        assert_figures(point, within(calls, "tool_call", low, high))
    assert sum(item["calls"] for item in body["histogram"]) == sum("duration_ms" in row for row in calls)


async def test_folding_by_two_nodes_at_once_counts_once(
    take: Taker, api: Api, database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    records = made(3, 200)
    await take(organization.id, records)
    # The other node is at it: this one leaves the journal alone.
    async with admin_connection.transaction():
        await admin_connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('nexus.mcp.rollup_journal', 0))")
        assert await fold(database) == 0
    await fold(database)
    left = await admin_connection.fetchval("SELECT count(*) FROM mcp.rollup_journal")
    days = await admin_connection.fetchval("SELECT sum(calls) FROM mcp.rollups_day WHERE dimension_set = 0")

    assert left == 0 and days == 200
    body = (await api.get("tools", from_=START.isoformat(), to=NOW.isoformat())).json()
    assert_figures(body["total"], within(records, "tool_call", START, NOW))


async def test_same_traffic_in_two_revisions_gives_the_same_figures(
    take: Taker, api: Api, database: Database, organization: TestOrganization
) -> None:
    """2025-11-25 has sessions and an `initialize`; 2026-07-28 has neither, and asks `server/discover`."""
    answers = []
    for revision, server in (("2025-11-25", "old"), ("2026-07-28", "new")):
        records: list[dict[str, Any]] = []
        for number, row in enumerate(within(made(5, 200), "tool_call", START, NOW)):
            session = {"session_id": f"s{number % 4}"} if revision == "2025-11-25" else {}
            records.append(
                row | {"id": f"{revision}-{number}", "server": server, "protocol_version": revision} | session
            )
        hello = "initialize" if session else "server/discover"
        await take(
            organization.id,
            [*records, {"type": "mcp_request", "id": revision, "method": hello, "outcome": "ok", "server": server}],
        )
        parts = [
            (await api.get(path, from_=START.isoformat(), to=NOW.isoformat(), server=server)).json()
            for path in ("tools", "clients", "principals")
        ]
        answers.append([(part["total"], [item | {"server": None} for item in part["items"]]) for part in parts])

    assert answers[0] == answers[1]
    assert answers[0][0][0]["calls"] > 100


async def test_old_months_go_and_questions_learn_of_it(
    take: Taker, api: Api, database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    old = NOW - timedelta(days=200)
    records = made(9, 60, old, old + timedelta(hours=3))
    await take(organization.id, records)
    await take(organization.id, made(10, 20))
    await fold(database)

    assert await jobs.drop_old_months(database, NOW) >= 3
    assert await jobs.drop_old_months(database, NOW) == 0

    left = await admin_connection.fetchval("SELECT count(*) FROM mcp.tool_calls WHERE occurred_at < $1", START)
    assert left == 0
    # Hours and days are kept longer; what only raw calls could tell is refused, never answered short.
    first, last = (old - timedelta(days=1)).replace(hour=0), NOW.replace(hour=0)
    body = (await api.get("tools", from_=first.isoformat(), to=last.isoformat())).json()
    assert_figures(body["total"], within([*records, *made(10, 20)], "tool_call", first, last))
    edge = await api.get("tools", from_=(old + timedelta(minutes=7, seconds=3)).isoformat(), to=NOW.isoformat())
    assert edge.status_code == 422 and "from" in [fault["field"] for fault in edge.json()["errors"]]
