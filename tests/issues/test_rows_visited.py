"""Pages of errors visit about as many rows with four times the errors and causes: what they show is summed up and in order."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from nexus.issues import store
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.issues.conftest import NOW, api_of, fold
from tests.plans import note_visits

# One cause has every tenth error, the others five each.
_FILL = """
INSERT INTO pg_temp.staged_errors
    (ordinal, organization_id, id, key_at, is_opaque, occurred_at, received_at, fingerprint, rule, normalised, culprit,
     level, error_type, error_code, message, category, severity, impact_level, service, environment, service_version,
     application, user_ref)
SELECT n, $1, gen_random_uuid(), at, false, at, at, md5('cause ' || c)::uuid, 'stack', 'message: cause ' || c, 'run',
       'error', 'Error', '', 'cause ' || c || ' broke the ' || (ARRAY['cart', 'search'])[1 + c % 2], 'database', 3, 'medium',
       'service-' || c % 4, 'production', '1.0', '', 'user-' || n % 3
FROM (SELECT n, CASE WHEN n % 10 = 0 THEN 0 ELSE n % $4::integer END AS c,
             $2::timestamptz - (n % 23) * interval '1 hour' AS at
      FROM generate_series(1, $3::integer) AS n) AS made
"""
FORTNIGHT = {"from_": (NOW - timedelta(days=14)).isoformat()}
QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "inbox": ("", {"status": "unresolved"}),
    "most errors first": ("", {"sort": "-occurrences"}),
    "newest cause first": ("", {"sort": "-first_seen"}),
    "of a service": ("", {"service": "service-1"}),
    "of a version that all have": ("", {"service_version": "1.0"}),
    "a rare word": ("", {"q": "77"}),
    "a word of half": ("", {"q": "search"}),
    "a word of all in a service": ("", {"q": "broke", "service": "service-2"}),
    "words of none": ("", {"q": "cart search"}),
    "seen in a fortnight": ("", FORTNIGHT),
    "filters": ("values", {}),
    "trend of all": ("series", {"group_by": "level", **FORTNIGHT}),
    "an issue": ("{issue}", {}),
    "its trend": ("{issue}/series", FORTNIGHT),
    "its samples": ("{issue}/samples", {"limit": 20}),
}


async def test_pages_visit_about_as_many_rows_with_four_times_the_errors_and_causes(
    database: Database,
    organization: TestOrganization,
    http: httpx.AsyncClient,
    admin_connection: asyncpg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "MOST_LISTED", 80)
    api = await api_of(database, organization.id, http, "error:read")

    async def visited(causes: int) -> dict[str, Counter[str]]:
        async with database.as_writer([organization.id]) as connection:
            await connection.execute("SELECT platform.ensure_partition_v1('issues.occurrences', $1)", NOW)
            await connection.execute("SELECT issues.stage_errors_v1()")
            await connection.execute(_FILL, organization.id, NOW - timedelta(minutes=5), causes * 5, causes)
            await connection.fetchval("SELECT issues.store_errors_v1()")
        await fold(database)
        await admin_connection.execute(
            "ANALYZE issues.issues, issues.causes, issues.facets, issues.hours, issues.samples"
        )
        issue = (await api.issues(sort="-occurrences", limit=1))[0]["id"]
        found: dict[str, Counter[str]] = {}
        with monkeypatch.context() as patched:
            visits = note_visits(database, patched)
            for name, (path, parameters) in QUESTIONS.items():
                await api("GET", path.format(issue=issue), **parameters)
                found[name], scanned = visits.take()
                assert not scanned & {"occurrences", "samples", "facets", "hours", "causes", "issues"}, name
        return found

    few = await visited(400)
    many = await visited(1_600)

    for name, rows in many.items():
        assert rows["occurrences"] == 0, name
        assert rows.total() < 2 * few[name].total() + 60, (name, few[name], rows)
    assert all(rows.total() for name, rows in few.items() if name != "words of none")
