"""The pages of errors over HTTP, with a million errors of many causes in one organization.

Errors are made by the server and stored as the writer stores them, folded as the worker folds them; the questions are the
pages' own.
"""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp

from bench.node import KEY, Node
from nexus.issues import jobs
from nexus.platform.db import Database

CHUNK = 50_000
HOURS = 24 * 14
_FILL = """
INSERT INTO pg_temp.staged_errors
    (ordinal, organization_id, id, key_at, is_opaque, occurred_at, received_at, fingerprint, rule, normalised, culprit,
     level, error_type, error_code, message, category, severity, impact_level, service, environment, service_version,
     application, user_ref, stack_trace)
SELECT n, $1, gen_random_uuid(), at, false, at, at, md5('cause ' || c)::uuid, 'stack', 'message: cause ' || c,
       'run (file' || c % 97 || '.py)',
       CASE WHEN c % 9 = 0 THEN 'fatal' WHEN c % 7 = 0 THEN 'warn' ELSE 'error' END, 'Error' || c % 211, '',
       'cause ' || c || ' broke the ' || (ARRAY['cart', 'search', 'invoice', 'session', 'import'])[1 + c % 5]
       || ' of order ' || n,
       (ARRAY['database', 'validation', 'external_api', ''])[1 + c % 4], 3, 'medium', 'service-' || c % 40,
       CASE WHEN random() < 0.1 THEN 'staging' ELSE 'production' END, '1.' || (random() * 20)::int, '',
       'user-' || (random() * 5000)::int, repeat('  File "/app/file.py", line 10, in run' || chr(10), 20)
FROM (
    SELECT n, $2::timestamptz - random() * $4::interval AS at,
           -- A few causes make most of the errors.
           floor($5 * random() ^ 3)::int AS c
    FROM generate_series(1, $3) AS n
) AS made
"""


async def measure(node: Node, *, errors: int, causes: int, repeats: int) -> str:
    """Fill, ask, and return the section of the report."""
    admin = await node.admin()
    organization_id: UUID = await admin.fetchval("SELECT id FROM identity.organizations WHERE slug = 'default'")
    database = await node.database()
    began = time.perf_counter()
    await _fill(database, organization_id, errors, causes)
    stored_seconds = time.perf_counter() - began
    while await admin.fetchval("SELECT EXISTS (SELECT FROM issues.journal)"):
        await jobs.fold(database)
    folded_seconds = time.perf_counter() - began
    await admin.execute("VACUUM (ANALYZE)")
    await admin.execute("CHECKPOINT")
    counts = await admin.fetchrow(
        "SELECT (SELECT count(*) FROM issues.occurrences) AS errors, (SELECT count(*) FROM issues.issues) AS issues,"
        " (SELECT count(*) FROM issues.samples) AS samples, (SELECT sum(occurrences) FROM issues.issues)::bigint AS counted"
    )
    assert counts is not None
    if counts["counted"] != counts["errors"]:
        raise RuntimeError(f"{counts['errors']} errors were counted as {counts['counted']}")
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as client:
        table = await table_of(client, f"{node.url}/api/errors", await _questions(client, node.url), repeats)
    await database.close()
    await admin.close()
    text = (
        f"## Errors\n\n{counts['errors']:,} errors of {counts['issues']:,} causes over {HOURS // 24} days,"
        f" {counts['samples']:,} samples kept; stored in {stored_seconds:.0f} s and folded"
        f" {folded_seconds - stored_seconds:.0f} s later, while the node's own worker folds too."
        f" Over HTTP on one connection, each asked {repeats} times after 5 to warm up."
    )
    return text + "\n\n" + table


async def table_of(
    client: aiohttp.ClientSession, root: str, questions: dict[str, tuple[str, dict[str, str]]], repeats: int
) -> str:
    """Ask each question, a path below `root` with its parameters, and write down how long the answers took."""
    lines = ["| question | p50 | p95 |", "|---|---|---|"]
    for name, (path, parameters) in questions.items():
        times = await _ask(client, root + path, parameters, repeats)
        lines.append(f"| {name} | {statistics.median(times):.1f} ms | {statistics.quantiles(times, n=20)[-1]:.1f} ms |")
    return "\n".join(lines)


async def _questions(client: aiohttp.ClientSession, url: str) -> dict[str, tuple[str, dict[str, str]]]:
    async with client.get(f"{url}/api/errors", params={"sort": "-occurrences", "limit": "1"}) as answer:
        largest = (await answer.json())["items"][0]["id"]
    fortnight = {"from": (datetime.now(UTC) - timedelta(hours=HOURS)).isoformat()}
    return {
        "inbox": ("", {"status": "unresolved"}),
        "inbox, most errors first": ("", {"status": "unresolved", "sort": "-occurrences"}),
        "inbox of one environment": ("", {"status": "unresolved", "environment": "staging"}),
        "inbox of one service, fatal": ("", {"service": "service-7", "level": "fatal"}),
        "search, a rare word": ("", {"q": "4711"}),
        "search, a word of every fifth": ("", {"q": "invoice"}),
        "search, a word of all": ("", {"q": "broke"}),
        "filters": ("/values", {}),
        "errors by level and hour": ("/series", {"group_by": "level", **fortnight}),
        "errors by category and day": ("/series", {"group_by": "category", "interval": "1d", **fortnight}),
        "the largest issue": (f"/{largest}", {}),
        "its trend": (f"/{largest}/series", fortnight),
        "its samples": (f"/{largest}/samples", {"limit": "20"}),
    }


async def _fill(database: Database, organization_id: UUID, errors: int, causes: int) -> None:
    now = datetime.now(UTC)
    for first in range(0, errors, CHUNK):
        async with database.as_writer([organization_id]) as connection:
            await connection.execute("SELECT issues.stage_errors_v1()")
            count = min(CHUNK, errors - first)
            await connection.execute(_FILL, organization_id, now, count, timedelta(hours=HOURS), causes, timeout=600)
            await connection.fetchval("SELECT issues.store_errors_v1()", timeout=600)


async def _ask(client: aiohttp.ClientSession, url: str, parameters: dict[str, str], repeats: int) -> list[float]:
    times: list[float] = []
    for number in range(repeats + 5):
        began = time.perf_counter()
        async with client.get(url, params=parameters) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{url}: {answer.status} {body[:300].decode()}")
        if number >= 5:
            times.append((time.perf_counter() - began) * 1000)
    return times
