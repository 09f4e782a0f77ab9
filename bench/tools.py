"""The pages about MCP servers over HTTP, with ten thousand tools in one organization.

Calls are made by the server and stored as the writer stores them, folded as the worker folds them; the questions are the
pages' own.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp

from bench.errors import table_of
from bench.node import KEY, Node
from nexus.mcp import jobs
from nexus.platform.db import Database

CHUNK = 50_000
DAYS = 7
_FILL = """
INSERT INTO pg_temp.staged_tool_calls
    (ordinal, organization_id, id, key_at, is_opaque, occurred_at, received_at, server, tool, outcome, principal, client_name,
     client_version, application, user_ref, duration_us, response_bytes, parameters)
SELECT n, $1, gen_random_uuid(), at, false, at, at, 'server-' || t % 100, 'tool-' || t,
       CASE WHEN random() < 0.03 THEN 'tool_error' WHEN random() < 0.01 THEN 'protocol_error' ELSE 'ok' END,
       'user-' || (random() * 500)::int, 'client-' || t % 7, '1.' || t % 3, '', '', (exp(random() * 9) * 1000)::bigint, 2000,
       jsonb_build_object('path', '/etc/' || n % 1000)
FROM (
    SELECT n, $2::timestamptz - random() * $4::interval AS at,
           -- Each tool is called, a few of them much.
           CASE WHEN n <= $5 THEN n - 1 ELSE floor($5 * random() ^ 3)::int END AS t
    FROM generate_series(1, $3) AS n
) AS made
"""


async def measure(node: Node, *, calls: int, tools: int, repeats: int) -> str:
    """Fill, ask, and return the section of the report."""
    admin = await node.admin()
    organization_id: UUID = await admin.fetchval("SELECT id FROM identity.organizations WHERE slug = 'default'")
    database = await node.database()
    began = time.perf_counter()
    await _fill(database, organization_id, calls, tools)
    while await admin.fetchval("SELECT EXISTS (SELECT FROM mcp.rollup_journal)"):
        await jobs.fold(database)
    seconds = time.perf_counter() - began
    await admin.execute("VACUUM (ANALYZE)")
    await admin.execute("CHECKPOINT")
    counted = await admin.fetchval("SELECT count(DISTINCT tool) FROM mcp.tool_calls")
    week = {"from": (datetime.now(UTC) - timedelta(days=DAYS)).isoformat()}
    tool = {"server": "server-7", "tool": "tool-7"}
    questions: dict[str, tuple[str, dict[str, str]]] = {
        "tools by calls, a day": ("/tools", {"limit": "100"}),
        "tools by calls, the week": ("/tools", {"limit": "100", **week}),
        "tools by p95, the week": ("/tools", {"limit": "100", "sort": "duration_p95_ms", **week}),
        "servers, the week": ("/servers", week),
        "clients, the week": ("/clients", week),
        "one tool, the week": ("/tools", tool | week),
        "its trend by hour": ("/tools/series", {"interval": "1h", **tool, **week}),
        "its slowest calls": ("/tool-calls", {"sort": "-duration_ms", "limit": "10", **tool, **week}),
        "its failed calls": ("/tool-calls", {"failed": "true", "limit": "200", **tool, **week}),
        "calls by a parameter": ("/tool-calls", {"parameters": '{"path": "/etc/77"}', **week}),
    }
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as client:
        table = await table_of(client, f"{node.url}/api/mcp", questions, repeats)
    await database.close()
    await admin.close()
    return (
        f"## Tools of MCP servers\n\n{calls:,} calls of {counted:,} tools over {DAYS} days, stored and folded in {seconds:.0f} s."
        f" Over HTTP on one connection, each asked {repeats} times after 5 to warm up.\n\n{table}"
    )


async def _fill(database: Database, organization_id: UUID, calls: int, tools: int) -> None:
    now = datetime.now(UTC)
    for first in range(0, calls, CHUNK):
        async with database.as_writer([organization_id]) as connection:
            await connection.execute("SELECT mcp.stage_tool_calls_v1()")
            count = min(CHUNK, calls - first)
            await connection.execute(_FILL, organization_id, now, count, timedelta(days=DAYS), tools, timeout=600)
            await connection.fetchval("SELECT mcp.store_tool_calls_v1()", timeout=600)
