"""Views of what limits there are and what was taken of them, from the trail; each question reads along an index."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from nexus.admission import jobs
from nexus.admission.store import QUERIES
from nexus.contracts.limits import Call
from nexus.dataplane.decide.engine import Admission
from nexus.platform.db import Database
from tests.admission.conftest import Api, make_key
from tests.conftest import TestOrganization

LIMITS = [
    {"name": "tokens", "dimension": "tokens", "rate": "1000", "per": "day"},
    {"name": "daily", "dimension": "tokens", "method": "fixed_window", "amount": "5000", "period": "year"},
    {"name": "size", "dimension": "bytes", "rate": "100000", "per": "day"},
]


async def test_what_is_in_force_and_what_was_taken_of_it_is_shown_from_the_trail(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    made = await api.post("quotas", {"name": "apps", "scope": "application", "reason": "try", "limits": LIMITS})
    assert made.status_code == 201, made.text
    await make_key(database, organization.id, "calls:admit", rate_limit_per_minute=30)
    await api.limits.refresh()
    engine = Admission(api.redis, lambda: api.limits.table, timeout_seconds=5)
    shop = Call(organization_id=organization.id, application="shop", tokens=100, bytes=400)
    held = await engine.decide(shop, hold_seconds=60)
    await engine.settle(organization.id, held.hold_id, {"tokens": 30})
    await engine.decide(shop)
    await engine.decide(Call(organization_id=organization.id, application="blog", tokens=7, bytes=1))
    await asyncio.sleep(0.05)
    await jobs.drain_cell(database, api.redis, organization.id)
    await engine.stop()
    api.clock.advance(datetime.now(UTC) + timedelta(seconds=2) - api.clock.now())

    active = (await api.get("active-limits")).json()
    by_day = (await api.get("token-usage")).json()
    by_hour = (await api.get("token-usage", period="hour", bucket=by_day[0]["bucket"])).json()
    summaries = {item["application"]: item for item in (await api.get("application-summaries")).json()}
    too_long = await api.get("token-usage", period="hour", **{"from": "2020-01-01T00:00:00Z"})
    turned = await api.get("token-usage", **{"from": "2020-01-02T00:00:00Z", "to": "2020-01-01T00:00:00Z"})

    assert [(item["name"], item["scope"], item["capacity"]) for item in active] == [
        ("daily", "application", 5000), ("key-requests", "key", 30), ("size", "application", 100_000),
        ("tokens", "application", 1000),
    ]  # fmt: skip
    taken = {
        (item["subject"], item["limit"]): (item["consumed"], item["refunded"], item["transactions"]) for item in by_day
    }
    # A window's level rises as a bucket's falls: both say what was taken.
    assert taken == {
        ("shop", "tokens"): (130, 70, 3), ("shop", "daily"): (130, 70, 3), ("shop", "size"): (800, 0, 3),
        ("blog", "tokens"): (7, 0, 1), ("blog", "daily"): (7, 0, 1), ("blog", "size"): (1, 0, 1),
    }  # fmt: skip
    assert {item["bucket"] for item in by_hour} == {by_day[0]["bucket"]}
    assert summaries["shop"]["consumed"] == {"bytes": 800, "tokens": 130}, "one call met two limits on tokens, once"
    assert summaries["shop"]["refunded"]["tokens"] == 70 and summaries["blog"]["consumed"]["bytes"] == 1
    assert too_long.status_code == turned.status_code == 422
    assert too_long.json()["errors"][0]["field"] == turned.json()["errors"][0]["field"] == "from"


async def test_a_question_reads_its_own_span_of_the_trail_and_no_more(
    database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    await admin_connection.execute(
        "SELECT platform.ensure_partition_v1('admission.token_transactions', date_trunc('month', now()))"
    )
    await admin_connection.execute(
        """
        INSERT INTO admission.token_transactions
        SELECT $1, date_trunc('month', now()) + i * interval '2 minutes', i, 0, 'charge', '', 'b' || i % 20,
               now(), false, 0, 0, -1, 100, 0, 0, 0, 0
        FROM generate_series(1, 15000) AS i
        """,
        organization.id,
    )
    await admin_connection.execute("ANALYZE admission.token_transactions")
    begins = datetime.now(UTC).replace(day=2, hour=0, minute=0, second=0, microsecond=0)
    statement = str(QUERIES["token_usage"])
    async with database.tenant(organization.id, readonly=True) as connection:
        plan = await connection.fetch(
            f"EXPLAIN {statement}", organization.id, begins, begins + timedelta(hours=3), "day", None, 100
        )
        rows = await connection.fetch(statement, organization.id, begins, begins + timedelta(hours=3), "day", None, 100)

    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "Index" in text and "Seq Scan on token_transactions" not in text, text
    assert sum(row["transactions"] for row in rows) == 90
