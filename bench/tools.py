"""The pages about MCP servers over HTTP, with ten thousand tools in one organization.

Calls are made by the server and stored as the writer stores them, folded as the worker folds them; the questions are the
pages' own.
"""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp

from bench.asking import Questions, ask, ensure_partitions, since, table_of
from bench.node import KEY, Node
from nexus.mcp import jobs
from nexus.platform.db import Database

CHUNK = 50_000
DAYS = 30
SERVERS = 100
LISTS = 5_000
"""Requests for lists of tools: each names a server's tools and a few that nobody calls."""
_CALLS = """
INSERT INTO pg_temp.staged_tool_calls
    (ordinal, organization_id, id, key_at, is_opaque, occurred_at, received_at, server, tool, outcome, principal, client_name,
     client_version, application, user_ref, duration_us, response_bytes, parameters)
SELECT n, $1, gen_random_uuid(), at, false, at, at, 'server-' || t % $6, 'tool-' || t,
       CASE WHEN random() < 0.03 THEN 'tool_error' WHEN random() < 0.01 THEN 'protocol_error' ELSE 'ok' END,
       'user-' || (t * 7 + floor(random() * 20)::int) % 500, 'client-' || t % 7, '1.' || t % 3, '', '',
       (exp(random() * 9) * 1000)::bigint, 2000,
       jsonb_build_object('path', '/etc/' || n % 1000, 'mode', 'fast')
FROM (
    SELECT n, $2::timestamptz - random() * $4::interval AS at,
           -- Each tool is called, a few of them much, each by twenty people.
           CASE WHEN n <= $5 THEN n - 1 ELSE floor($5 * random() ^ 3)::int END AS t
    FROM generate_series(1, $3) AS n
) AS made
"""
_LISTS = """
INSERT INTO pg_temp.staged_requests
    (ordinal, organization_id, id, key_at, is_opaque, occurred_at, received_at, server, method, target, outcome, status_code,
     principal, client_name, client_version, application, user_ref, duration_us, request_bytes, response_bytes, response_body)
SELECT n, $1, gen_random_uuid(), at, false, at, at, 'server-' || s, 'tools/list', '', 'ok', 200,
       'user-' || n % 500, 'client-' || n % 7, '1.' || n % 3, '', '', 12000, 100, 9000,
       (SELECT jsonb_build_object('tools', jsonb_agg(jsonb_build_object('name', t.name) ORDER BY t.name))
        FROM (SELECT 'tool-' || number AS name FROM generate_series(s, $5 - 1, $6) AS number
              UNION ALL SELECT 'never-' || number FROM generate_series(1, 5) AS number) AS t)
FROM (SELECT n, n % $6 AS s, $2::timestamptz - random() * $4::interval AS at FROM generate_series(1, $3) AS n) AS made
"""


async def measure(node: Node, *, calls: int, tools: int, repeats: int) -> str:
    """Fill, ask, and return the section of the report."""
    told = await fill(node, calls, tools)
    table = table_of(await ask(node, await questions(node), repeats))
    return f"## Tools of MCP servers\n\n{told} Over HTTP on one connection, each asked {repeats} times.\n\n{table}"


async def fill(node: Node, calls: int, tools: int) -> str:
    """Store and fold calls and lists of tools; returns what is there now."""
    admin = await node.admin()
    organization_id: UUID = await admin.fetchval("SELECT id FROM identity.organizations WHERE slug = 'default'")
    database = await node.database()
    began = time.perf_counter()
    await _store(database, organization_id, calls, tools)
    while await admin.fetchval("SELECT EXISTS (SELECT FROM mcp.rollup_journal)"):
        # What takes too long is tried again in a smaller portion.
        with contextlib.suppress(TimeoutError):
            await jobs.fold(database)
    seconds = time.perf_counter() - began
    await admin.execute("VACUUM (ANALYZE)")
    await admin.execute("CHECKPOINT")
    counted = await admin.fetchval("SELECT count(DISTINCT tool) FROM mcp.tool_calls")
    await database.close()
    await admin.close()
    return (
        f"{calls:,} calls of {counted:,} tools of {SERVERS} servers and {LISTS:,} lists of tools over {DAYS} days, stored and"
        f" folded in {seconds:.0f} s."
    )


async def questions(node: Node) -> Questions:
    """Return what the overview, a tool's page and a call's page ask for."""
    root, page = "/api/mcp", {"limit": "100"}
    # The tool with most calls of all.
    tool = {"server": "server-0", "tool": "tool-0"}
    newest = tool | {"limit": "1"} | since(DAYS)
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as client,
        client.get(f"{node.url}{root}/tool-calls", params=newest) as answer,
    ):
        call = (await answer.json())["items"][0]
    asked = {"a call": (f"{root}/tool-calls/{call['id']}", {"at": call["timestamp"]})}
    for name, days in (("24 h", 1), ("7 d", 7), ("30 d", 30)):
        span = since(days)
        every = {"24 h": "15m", "7 d": "1h", "30 d": "1d"}[name]
        asked |= {
            f"tools by calls, {name}": (f"{root}/tools", page | span),
            f"tools by failures, {name}": (f"{root}/tools", page | {"sort": "failures"} | span),
            f"tools by failure rate, {name}": (f"{root}/tools", page | {"sort": "failure_rate"} | span),
            f"tools by p95, {name}": (f"{root}/tools", page | {"sort": "duration_p95_ms"} | span),
            f"tools of one server, {name}": (f"{root}/tools", page | {"server": "server-7"} | span),
            f"tools by response size, {name}": (f"{root}/tools", page | {"sort": "response_bytes"} | span),
            f"servers, {name}": (f"{root}/servers", {"limit": "50"} | span),
            f"clients, {name}": (f"{root}/clients", {"limit": "50"} | span),
            f"clients of one server, {name}": (f"{root}/clients", {"limit": "50", "server": "server-7"} | span),
            f"principals, {name}": (f"{root}/principals", {"limit": "50"} | span),
            f"requests, {name}": (f"{root}/requests", {"limit": "50"} | span),
            f"advertised and never called, {name}": (f"{root}/tools/uncalled", span),
            f"the same of one server, {name}": (f"{root}/tools/uncalled", {"server": "server-7"} | span),
            f"one tool, {name}": (f"{root}/tools", tool | span),
            f"its trend, {name}": (f"{root}/tools/series", tool | {"interval": every} | span),
            f"trend of all tools, {name}": (f"{root}/tools/series", {"interval": every} | span),
            f"its slowest calls, {name}": (f"{root}/tool-calls", tool | {"sort": "-duration_ms", "limit": "10"} | span),
            f"its failed calls, {name}": (f"{root}/tool-calls", tool | {"failed": "true", "limit": "200"} | span),
            f"its calls by a rare parameter, {name}": (
                f"{root}/tool-calls", tool | {"parameters": '{"path": "/etc/77"}', "limit": "50"} | span,
            ),
            f"its calls by a parameter of all, {name}": (
                f"{root}/tool-calls", tool | {"parameters": '{"mode": "fast"}', "limit": "50"} | span,
            ),
            f"calls of a rarely called tool by a parameter of all, {name}": (
                f"{root}/tool-calls", {"tool": "tool-9999", "parameters": '{"mode": "fast"}', "limit": "50"} | span,
            ),
        }  # fmt: skip
    return asked


async def _store(database: Database, organization_id: UUID, calls: int, tools: int) -> None:
    now, span = datetime.now(UTC), timedelta(days=DAYS)
    for table in ("mcp.tool_calls", "mcp.requests"):
        await ensure_partitions(database, table, now - span, now)
    for first in range(0, calls, CHUNK):
        async with database.as_writer([organization_id]) as connection:
            await connection.execute("SELECT mcp.stage_tool_calls_v1()")
            count = min(CHUNK, calls - first)
            await connection.execute(_CALLS, organization_id, now, count, span, tools, SERVERS, timeout=600)
            await connection.fetchval("SELECT mcp.store_tool_calls_v1()", timeout=600)
    async with database.as_writer([organization_id]) as connection:
        await connection.execute("SELECT mcp.stage_requests_v1()")
        await connection.execute(_LISTS, organization_id, now, LISTS, span, tools, SERVERS, timeout=600)
        await connection.fetchval("SELECT mcp.store_requests_v1()", timeout=600)
