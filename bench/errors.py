"""The pages of errors over HTTP, with a million errors of many causes in one organization.

Errors are made by the server and stored as the writer stores them, folded as the worker folds them; the questions are the
pages' own.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp

from bench.asking import Questions, ask, ensure_partitions, since, table_of
from bench.node import KEY, Node
from nexus.issues import jobs
from nexus.platform.db import Database

CHUNK = 50_000
DAYS = 30
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
    told = await fill(node, errors, causes)
    table = table_of(await ask(node, await questions(node), repeats))
    return f"## Errors\n\n{told} Over HTTP on one connection, each asked {repeats} times.\n\n{table}"


async def fill(node: Node, errors: int, causes: int) -> str:
    """Store and fold errors; returns what is there now."""
    admin = await node.admin()
    organization_id: UUID = await admin.fetchval("SELECT id FROM identity.organizations WHERE slug = 'default'")
    database = await node.database()
    began = time.perf_counter()
    await _store(database, organization_id, errors, causes)
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
    await database.close()
    await admin.close()
    assert counts is not None
    if counts["counted"] != counts["errors"]:
        raise RuntimeError(f"{counts['errors']} errors were counted as {counts['counted']}")
    return (
        f"{counts['errors']:,} errors of {counts['issues']:,} causes over {DAYS} days, {counts['samples']:,} samples kept;"
        f" stored in {stored_seconds:.0f} s and folded {folded_seconds - stored_seconds:.0f} s later, while the node's own"
        " worker folds too."
    )


async def questions(node: Node) -> Questions:
    """Return what the inbox and the page of an issue ask for."""
    inbox, unresolved = "/api/errors", {"status": "unresolved", "limit": "50"}
    most_first = {"sort": "-occurrences", "limit": "50"}
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as client,
        client.get(node.url + inbox, params=most_first) as answer,
    ):
        first = await answer.json()
    largest, ordinary = f"{inbox}/{first['items'][0]['id']}", f"{inbox}/{first['items'][-1]['id']}"
    second = most_first | {"cursor": first["next_cursor"]}
    asked = {
        "inbox": (inbox, unresolved),
        "inbox, most errors first": (inbox, unresolved | {"sort": "-occurrences"}),
        "its second page": (inbox, second),
        "inbox, newest cause first": (inbox, unresolved | {"sort": "-first_seen"}),
        "inbox, resolved ones, of which there are none": (inbox, {"status": "resolved"}),
        "inbox of one environment": (inbox, unresolved | {"environment": "staging"}),
        "inbox of one service": (inbox, unresolved | {"service": "service-7"}),
        "inbox of one service, fatal": (inbox, unresolved | {"service": "service-7", "level": "fatal"}),
        "inbox of one version": (inbox, unresolved | {"service_version": "1.7"}),
        "inbox of one category": (inbox, unresolved | {"category": "validation"}),
        "inbox of nobody's, severity 5, of which there are none": (
            inbox, unresolved | {"assignee": "none", "severity": "5"},
        ),
        "search, a rare word": (inbox, unresolved | {"q": "4711"}),
        "search, a word of every fifth": (inbox, unresolved | {"q": "invoice"}),
        "search, a word of all": (inbox, unresolved | {"q": "broke"}),
        "search, two words that are never together": (inbox, unresolved | {"q": "invoice cart"}),
        "search, a word of all in one service, most errors first": (
            inbox, unresolved | {"q": "broke", "service": "service-7", "sort": "-occurrences"},
        ),
        "search, a word of every fifth in a service that never has it": (
            inbox, unresolved | {"q": "invoice", "service": "service-0"},
        ),
        "search, not a word": (inbox, unresolved | {"q": "broke -cart -search -session -import"}),
        "filters": (f"{inbox}/values", {}),
        "the largest issue": (largest, {}),
        "its samples": (f"{largest}/samples", {"limit": "20"}),
        "the 50th issue": (ordinary, {}),
    }  # fmt: skip
    for name, days in (("24 h", 1), ("7 d", 7), ("30 d", 30)):
        asked |= {
            f"inbox, seen in {name}": (inbox, unresolved | since(days)),
            f"errors by level and hour, {name}": (f"{inbox}/series", {"group_by": "level"} | since(days)),
            f"errors by category and day, {name}": (
                f"{inbox}/series", {"group_by": "category", "interval": "1d"} | since(days),
            ),
            f"trend of the largest issue by hour, {name}": (f"{largest}/series", {"interval": "1h"} | since(days)),
        }  # fmt: skip
    return asked


async def _store(database: Database, organization_id: UUID, errors: int, causes: int) -> None:
    now = datetime.now(UTC)
    await ensure_partitions(database, "issues.occurrences", now - timedelta(days=DAYS), now)
    for first in range(0, errors, CHUNK):
        async with database.as_writer([organization_id]) as connection:
            await connection.execute("SELECT issues.stage_errors_v1()")
            count = min(CHUNK, errors - first)
            await connection.execute(_FILL, organization_id, now, count, timedelta(days=DAYS), causes, timeout=600)
            await connection.fetchval("SELECT issues.store_errors_v1()", timeout=600)
