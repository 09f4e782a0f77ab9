"""The 24-hour overview of one organization over HTTP, with more and more raw rows within these 24 hours.

Rows are made by the server and stored as the writer stores them, rollups and all; the questions are the page's own.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp

from bench.node import KEY, Node
from nexus.platform.db import Database

CHUNK = 100_000
QUESTIONS = {
    "summary, total": ("metering/summary", {}),
    "summary by provider": ("metering/summary", {"group_by": "provider"}),
    "summary by provider and model": ("metering/summary", {"group_by": "provider,model"}),
    "series by hour": ("metering/series", {"interval": "1h", "tz": "Europe/Berlin"}),
    "series by 15 minutes and provider, all metrics": (
        "metering/series",
        {"interval": "15m", "tz": "UTC", "group_by": "provider"},
    ),
    "newest 50 calls": ("metering/calls", {"limit": "50"}),
    # What the panels of Overview ask, past the cache: no range is asked for twice.
    "panel: figures": ("dashboards/summary", {}),
    "panel: lines": (
        "dashboards/series",
        {"interval": "15m", "tz": "Europe/Berlin", "metrics": "requests,error_rate,latency_p95_ms"},
    ),
    "panel: split by provider": (
        "dashboards/series",
        {"interval": "15m", "tz": "Europe/Berlin", "group_by": "provider", "metrics": "requests,cost"},
    ),
    **{
        f"panel: table by {dimension}": ("dashboards/summary", {"group_by": dimension})
        for dimension in ("provider", "model", "endpoint", "key", "user", "tag:team")
    },
}
_FILL = """
INSERT INTO pg_temp.staged_calls
    (ordinal, organization_id, id, key_at, is_opaque, occurred_at, received_at, provider, endpoint, method, status_code,
     response_time_us, ttfb_us, request_bytes, response_bytes, model, region, application, user_ref, input_tokens,
     output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens,
     image_input_tokens, image_output_tokens, cost_nanos, currency, price_source, tags, user_agent)
SELECT n, $1, gen_random_uuid(), at, false, at, at, 'provider-' || p, '/v1/endpoint-' || (m % 2), 'POST',
       CASE WHEN random() < 0.03 THEN 500 ELSE 200 END, (exp(11 + 2 * random()) * 10)::int8, 90000, 900, 2300,
       'model-' || p || '-' || m, '', '', 'user-' || u, (random() * 5000)::int, (random() * 900)::int,
       0, 0, 0, 0, 0, 0, 0, (random() * 1e7)::int, 'USD', 'book', '{"team": "a"}'::jsonb, 'python-httpx/0.28'
FROM (
    SELECT n, $2::timestamptz + random() * $4::interval AS at, (random() * 4.99)::int AS p,
           (random() * 2.99)::int AS m, (random() * 49)::int AS u
    FROM generate_series(1, $3) AS n
) AS made
"""


async def measure(node: Node, *, sizes: list[int], repeats: int) -> str:
    """Fill to each size in turn, ask, and return the section of the report."""
    admin = await node.admin()
    organization_id: UUID = await admin.fetchval("SELECT id FROM identity.organizations WHERE slug = 'default'")
    database = await node.database()
    end = datetime.now(UTC)
    start = end - timedelta(hours=24)
    found: dict[str, list[tuple[float, float]]] = {}
    stored = 0
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as client:
        for size in sorted(sizes):
            await _fill(database, organization_id, start, size - stored)
            stored = size
            while await admin.fetchval("SELECT EXISTS (SELECT FROM metering.rollup_journal)"):
                await asyncio.sleep(0.5)
            await admin.execute("VACUUM (ANALYZE)")
            await admin.execute("CHECKPOINT")
            for name, (question, parameters) in QUESTIONS.items():
                # Other ranges at each size, by less than anybody would see.
                shift = timedelta(microseconds=stored // 1000)
                url = f"{node.url}/api/{question}"
                times = await _ask(client, url, parameters, start + shift, end + shift, repeats)
                found.setdefault(name, []).append((statistics.median(times), statistics.quantiles(times, n=20)[-1]))
    await database.close()
    await admin.close()
    sizes = sorted(sizes)
    heads = "".join(f" p50 at {size:,} | p95 at {size:,} |" for size in sizes)
    lines = [f"| question |{heads} p50 ratio |", "|---|" + "---|" * (2 * len(sizes) + 1)]
    for name, figures in found.items():
        cells = "".join(f" {p50:.1f} ms | {p95:.1f} ms |" for p50, p95 in figures)
        lines.append(f"| {name} |{cells} {figures[-1][0] / figures[0][0]:.2f} |")
    text = (
        "## Queries\n\nOne organization, all rows within the 24 hours asked for (which begin and end between minutes); "
        f"over HTTP on one connection, each asked {repeats} times after 5 to warm up. No two ranges are equal, so no answer "
        "comes from a cache."
    )
    return text + "\n\n" + "\n".join(lines)


async def _fill(database: Database, organization_id: UUID, start: datetime, rows: int) -> None:
    """Store so many rows, chunk after chunk in the order of their times, as traffic comes."""
    for first in range(0, rows, CHUNK):
        count = min(CHUNK, rows - first)
        at, lasts = start + timedelta(hours=24) * (first / rows), timedelta(hours=24) * (count / rows)
        async with database.as_writer([organization_id]) as connection:
            await connection.execute("SELECT metering.stage_calls_v1()")
            await connection.execute(_FILL, organization_id, at, count, lasts, timeout=600)
            await connection.fetchval("SELECT metering.store_calls_v1()", timeout=600)


async def _ask(
    client: aiohttp.ClientSession,
    url: str,
    parameters: dict[str, str],
    start: datetime,
    end: datetime,
    repeats: int,
) -> list[float]:
    """Ask again and again, each time for a range a moment later; returns milliseconds."""
    times: list[float] = []
    for number in range(repeats + 5):
        moved = timedelta(milliseconds=317 * number)
        query = parameters | {"from": (start + moved).isoformat(), "to": (end + moved).isoformat()}
        began = time.perf_counter()
        async with client.get(url, params=query) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{url}: {answer.status} {body[:300].decode()}")
            if answer.headers.get("x-cache") == "hit":
                raise RuntimeError(f"{url}: {query} was asked before")
        if number >= 5:
            times.append((time.perf_counter() - began) * 1000)
    return times
