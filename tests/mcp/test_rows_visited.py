"""Pages about MCP servers visit about as many rows with four times the calls: they are answered from sums."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from nexus.mcp import service, store
from nexus.mcp.types import RANKED, TOOLS
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.mcp.conftest import NOW, Api, fold
from tests.plans import note_visits

_FILL = """
INSERT INTO pg_temp.staged_tool_calls
    (ordinal, organization_id, id, key_at, is_opaque, occurred_at, received_at, server, tool, outcome, principal, client_name,
     client_version, application, user_ref, duration_us, response_bytes, parameters)
SELECT n, $1, gen_random_uuid(), at, false, at, at, 'server-' || t % 3, 'tool-' || t,
       CASE WHEN n % 7 = 0 THEN 'tool_error' ELSE 'ok' END, 'user-' || t % 5, 'client', '1.0', '', '', 5000, 100,
       jsonb_build_object('path', '/etc/' || n, 'mode', 'fast')
FROM (SELECT n, n % 20 AS t, $2::timestamptz - interval '1 second' * (n % 3600) AS at
      FROM generate_series(1, $3::integer) AS n) AS made
"""
DAY = {"from_": (NOW - timedelta(days=1)).isoformat(), "to": NOW.isoformat()}
TOOL = {"server": "server-1", "tool": "tool-1"}
QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "tools": ("tools", {"limit": 100}),
    "tools by p95": ("tools", {"limit": 100, "sort": "duration_p95_ms"}),
    "servers": ("servers", {}),
    "clients": ("clients", {}),
    "principals": ("principals", {}),
    "one tool": ("tools", TOOL),
    "its trend": ("tools/series", {"interval": "1h", **TOOL}),
    "its failed calls": ("tool-calls", {"failed": "true", "limit": 5, **TOOL}),
    "newest calls": ("tool-calls", {"limit": 10}),
    "a call": ("tool-calls/{call}", {}),
}


async def test_pages_visit_about_as_many_rows_with_four_times_the_calls(
    database: Database,
    organization: TestOrganization,
    api: Api,
    admin_connection: asyncpg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "MOST_BESIDE", 50)

    async def visited(calls: int) -> dict[str, Counter[str]]:
        async with database.as_writer([organization.id]) as connection:
            await connection.execute("SELECT platform.ensure_partition_v1('mcp.tool_calls', $1)", NOW)
            await connection.execute("SELECT mcp.stage_tool_calls_v1()")
            await connection.execute(_FILL, organization.id, NOW - timedelta(hours=1), calls)
            await connection.fetchval("SELECT mcp.store_tool_calls_v1()")
        await fold(database)
        await admin_connection.execute(
            "ANALYZE mcp.tool_calls, mcp.rollups_minute, mcp.rollups_quarter_hour, mcp.rollups_hour"
        )
        call = (await api.get("tool-calls", limit=1, **DAY)).json()["items"][0]
        found: dict[str, Counter[str]] = {}
        with monkeypatch.context() as patched:
            visits = note_visits(database, patched)
            for name, (path, parameters) in QUESTIONS.items():
                asked = {"at": call["timestamp"]} if name == "a call" else {**DAY, **parameters}
                answer = await api.get(path.format(call=call["id"]), **asked)
                assert answer.is_success, answer.text
                found[name], scanned = visits.take()
                assert not scanned & {"tool_calls", "rollups_minute", "rollups_quarter_hour", "rollups_hour"}, name
        return found

    few = await visited(2_000)
    many = await visited(8_000)

    for name, rows in many.items():
        assert rows.total() < 2 * few[name].total() + 60, (name, few[name], rows)
    assert all(rows.total() for rows in few.values())


async def test_rankings_over_days_find_all_they_read_in_an_index(admin_connection: asyncpg.Connection[Any]) -> None:
    found = await admin_connection.fetch(
        "SELECT c.relname AS name, array_agg(a.attname::text) AS columns FROM pg_index AS i"
        " JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_attribute AS a ON a.attrelid = i.indexrelid"
        " WHERE i.indrelid = 'mcp.rollups_day'::regclass GROUP BY 1"
    )
    columns = {row["name"]: set(row["columns"]) for row in found}
    chosen_by = {"organization_id", "bucket", "subject", "calls"}

    for value in (*RANKED.values(), service._SLOWEST_BIN):
        measures = {name for name in TOOLS.measures if name in value}
        wanted = chosen_by | measures | {"dimension_set", "server", "name", "principal", "outcome"}
        assert wanted <= columns["rollups_day_rank_idx"], value
    for caller in ({"principal"}, {"client_name", "client_version", "principal"}):
        assert any(chosen_by | caller <= one for one in columns.values()), caller
