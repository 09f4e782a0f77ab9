"""Questions about MCP servers over HTTP: lists, pages, search by parameters, one call, refusals that name the field."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from nexus.kit.ids import uuid7
from nexus.mcp import service
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.mcp.conftest import NOW, Api, Taker

CALLS = [
    {
        "type": "tool_call",
        "id": str(uuid7(NOW - timedelta(minutes=number))),
        "timestamp": (NOW - timedelta(minutes=number)).isoformat(),
        "server": "files" if number % 2 else "web",
        "tool": f"tool-{number % 3}",
        "outcome": ["ok", "tool_error", "protocol_error"][number % 3],
        "duration_ms": 10.0 * number,
        "parameters": {"path": f"/{number % 4}", "deep": {"a": [1, number % 2]}, "password": "hunter2"},
        "response": {"text": "fine"},
        "error_message": "no such file" if number % 3 else None,
        "user": "ann",
        "client_name": "desk",
        "trace_id": f"trace-{number // 5}",
    }
    for number in range(1, 21)
]


@pytest.fixture
async def calls(take: Taker, organization: TestOrganization) -> list[dict[str, Any]]:
    receipt = await take(organization.id, CALLS)
    assert receipt.stored == 20
    return CALLS


async def test_calls_come_newest_first_page_by_page(api: Api, calls: list[dict[str, Any]]) -> None:
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        body = (await api.get("tool-calls", limit=7, **cursor)).json()
        seen += [item["id"] for item in body["items"]]
        if body["next_cursor"] is None:
            break
        cursor = {"cursor": body["next_cursor"]}

    assert seen == [row["id"] for row in calls]
    assert "parameters" not in body["items"][0]


async def test_filters_and_slowest(api: Api, calls: list[dict[str, Any]]) -> None:
    failed = (await api.get("tool-calls", failed="true", server="web", tool=["tool-1", "tool-2"])).json()["items"]
    slowest = (await api.get("tool-calls", sort="-duration_ms", limit=3)).json()
    trace = (await api.get("tool-calls", trace_id="trace-2")).json()["items"]

    wanted = [row for row in calls if row["outcome"] != "ok" and row["server"] == "web"]
    assert [item["id"] for item in failed] == [row["id"] for row in wanted]
    assert [item["duration_ms"] for item in slowest["items"]] == [200, 190, 180] and slowest["next_cursor"] is None
    assert len(trace) == 5


@pytest.mark.parametrize(
    "wanted", [{"path": "/1"}, {"deep": {"a": [0]}}, {"path": "/3", "deep": {"a": [1]}}, {"path": "/9"}, {"nothing": 1}]
)
async def test_calls_are_found_by_what_their_parameters_hold(
    api: Api, calls: list[dict[str, Any]], wanted: dict[str, Any]
) -> None:
    def holds(value: Any, part: Any) -> bool:
        if isinstance(part, dict):
            return isinstance(value, dict) and all(key in value and holds(value[key], part[key]) for key in part)
        if isinstance(part, list):
            return isinstance(value, list) and all(item in value for item in part)
        return bool(value == part)

    body = (await api.get("tool-calls", parameters=json.dumps(wanted), limit=3)).json()
    found = [item["id"] for item in body["items"]]
    while body["next_cursor"]:
        body = (await api.get("tool-calls", parameters=json.dumps(wanted), limit=3, cursor=body["next_cursor"])).json()
        found += [item["id"] for item in body["items"]]
    narrowed = (await api.get("tool-calls", parameters=json.dumps(wanted), failed="true", tool="tool-1")).json()

    matching = [row for row in calls if holds(row["parameters"], wanted)]
    assert found == [row["id"] for row in matching]
    assert [item["id"] for item in narrowed["items"]] == [
        row["id"] for row in matching if row["tool"] == "tool-1" and row["outcome"] != "ok"
    ]


async def test_search_by_parameters_uses_its_index(
    database: Database, organization: TestOrganization, calls: list[dict[str, Any]]
) -> None:
    async with database.as_system(organization_id=organization.id) as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        await connection.execute("SET LOCAL enable_indexscan = off")
        plan = await connection.fetch(
            'EXPLAIN SELECT id FROM mcp.tool_calls WHERE parameters @> \'{"path": "/1"}\' AND parameters IS NOT NULL'
        )

    # As the role that owns the search. Under the service's policy PostgreSQL leaves this index alone.
    assert "parameters_idx" in "\n".join(row[0] for row in plan)


async def test_nobody_finds_another_organization_s_calls(
    database: Database, organization: TestOrganization, calls: list[dict[str, Any]]
) -> None:
    query = (
        "SELECT count(*) FROM mcp.find_tool_calls_v2('{}', NULL, NULL, NULL, '-infinity', 'infinity', NULL, NULL, 100)"
    )
    async with database.tenant(organization.id, readonly=True) as connection:
        assert await connection.fetchval(query) == 20
    async with database.tenant(uuid7(), readonly=True) as connection:
        assert await connection.fetchval(query) == 0


async def test_one_call_has_its_masked_parameters_its_trace_and_its_session(
    api: Api, take: Taker, organization: TestOrganization, calls: list[dict[str, Any]]
) -> None:
    body = (await api.get(f"tool-calls/{calls[7]['id']}")).json()
    # An hour before the others: another window of activity.
    early = NOW - timedelta(minutes=80)
    lone = calls[7] | {"id": "opaque", "timestamp": early.isoformat(), "trace_id": None}
    with_session = calls[7] | {"id": str(uuid7(NOW)), "session_id": "s-1"}
    await take(organization.id, [lone, with_session])
    listed = (await api.get("tool-calls", limit=100)).json()["items"]
    other = (await api.get(f"tool-calls/{listed[-1]['id']}", at=listed[-1]["timestamp"])).json()

    assert body["parameters"] == {"path": "/0", "deep": {"a": [1, 0]}, "password": "[secret]"}
    assert body["response"] == {"text": "fine"} and len(body["parameters_hash"]) == 64
    assert [item["id"] for item in body["trace"]] == [row["id"] for row in reversed(calls[4:9])]
    assert body["session"] == {
        "source": "derived",
        "began_at": "2026-04-03T11:40:00Z",
        "ended_at": "2026-04-03T11:59:00Z",
        "calls": 20,
        "has_more": False,
    }
    assert other["session"]["calls"] == 1 and other["trace"] == []
    found = (await api.get(f"tool-calls/{with_session['id']}")).json()
    assert found["session"] == {"source": "protocol", "id": "s-1"}


async def test_a_call_that_is_not_there_is_not_found(api: Api) -> None:
    answer = await api.get(f"tool-calls/{uuid7(NOW)}")

    assert answer.status_code == 404 and answer.json()["type"].endswith("tool_call_not_found")


@pytest.mark.parametrize("path", ["tools", "servers", "clients", "principals", "requests"])
async def test_rankings_are_paged_in_every_order(api: Api, calls: list[dict[str, Any]], path: str) -> None:
    for sort in ("calls", "failures", "failure_rate", "duration_p95_ms", "duration_avg_ms", "response_bytes", "name"):
        whole = (await api.get(path, sort=sort)).json()
        first = (await api.get(path, sort=sort, limit=1)).json()

        assert whole["groups"] == len(whole["items"]) and whole["next_cursor"] is None
        assert first["items"] == whole["items"][:1]
        if whole["groups"] > 1:
            second = (await api.get(path, sort=sort, limit=1, cursor=first["next_cursor"])).json()
            assert second["items"] == whole["items"][1:2]


@pytest.mark.parametrize("step", [1, 2, 500])
async def test_tools_by_p95_are_in_order_however_many_sketches_are_read_at_a_time(
    api: Api, take: Taker, organization: TestOrganization, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(service, "_SLOWEST_STEP", step)
    # Most of `often` and `rarely` are quick, and each was slow once: by their slowest calls they would come first. So would
    # `zest`, which is as slow as two others and comes behind them by its name.
    durations: dict[str, list[float | None]] = {
        "often": [1.0] * 30 + [9_000], "rarely": [2.0] * 25 + [8_000], "slow": [700, 600, 650], "same": [700], "untimed": [None],
        "steady": [500] * 5, "zest": [700] * 30 + [7_500],
    }  # fmt: skip
    records = [
        {
            "type": "tool_call", "id": str(uuid7(NOW - timedelta(seconds=number))), "server": "web", "tool": tool,
            "timestamp": (NOW - timedelta(seconds=number)).isoformat(), "outcome": "ok", "duration_ms": duration,
        }
        for number, (tool, duration) in enumerate((tool, one) for tool, some in durations.items() for one in some)
    ]  # fmt: skip
    await take(organization.id, records)

    whole = (await api.get("tools", sort="duration_p95_ms")).json()
    pages, cursor = [], {}
    for _ in durations:
        body = (await api.get("tools", sort="duration_p95_ms", limit=1, **cursor)).json()
        pages += body["items"]
        cursor = {"cursor": body["next_cursor"]}

    assert [item["tool"] for item in whole["items"]] == ["same", "slow", "zest", "steady", "rarely", "often", "untimed"]
    assert pages == whole["items"] and body["next_cursor"] is None


@pytest.mark.parametrize(
    ("path", "parameters", "field"),
    [
        ("tools", {"from_": "yesterday"}, "from"),
        ("tools", {"sort": "size"}, "sort"),
        ("tools", {"limit": "0"}, "limit"),
        ("tools", {"outcome": "error"}, "outcome"),
        ("tools", {"method": "x"}, "method"),
        ("tools", {"cursor": "x"}, "cursor"),
        ("tools/series", {}, "interval"),
        ("tools/series", {"interval": "1m", "from_": "2026-01-01T00:00:00Z"}, "interval"),
        ("tools/series", {"interval": "1h", "tz": "Mars"}, "tz"),
        ("tool-calls", {"parameters": "[1]"}, "parameters"),
        ("tool-calls", {"parameters": "{"}, "parameters"),
        ("tool-calls", {"parameters": "{}"}, "parameters"),
        ("tool-calls", {"parameters": '{"a": 1}', "principal": "ann"}, "principal"),
        ("tool-calls", {"parameters": '{"a": "\\u0000"}'}, "parameters"),
        ("requests", {"status_code": "many"}, "status_code"),
        ("requests/log", {"parameters": '{"a": 1}'}, "parameters"),
    ],
)
async def test_bad_parameters_are_named(api: Api, path: str, parameters: dict[str, str], field: str) -> None:
    answer = await api.get(path, **parameters)

    assert answer.status_code in {400, 422}, answer.text
    assert field in [fault["field"] for fault in answer.json()["errors"]]


async def test_tools_that_are_listed_and_never_called_are_named(
    api: Api, take: Taker, organization: TestOrganization, calls: list[dict[str, Any]]
) -> None:
    def listed(minutes: int, server: str, names: list[Any]) -> dict[str, Any]:
        at = NOW - timedelta(minutes=minutes)
        body = {"tools": [{"name": name} for name in names]}
        return {
            "type": "mcp_request", "id": str(uuid7(at)), "timestamp": at.isoformat(), "server": server,
            "method": "tools/list", "outcome": "ok", "response_body": body,
        }  # fmt: skip

    strange = listed(3, "odd", []) | {"response_body": {"tools": "none"}}
    await take(
        organization.id,
        [listed(5, "files", ["tool-1", "shred", 7]), listed(4, "web", ["tool-1", "shred"]), strange],
    )
    everywhere = (await api.get("tools/uncalled")).json()["items"]
    of_one = (await api.get("tools/uncalled", server="web")).json()["items"]
    before = (await api.get("tools/uncalled", to=(NOW - timedelta(hours=1)).isoformat())).json()["items"]

    assert [(item["server"], item["tool"]) for item in everywhere] == [("files", "shred"), ("web", "shred")]
    assert [item["server"] for item in of_one] == ["web"]
    assert before == []
