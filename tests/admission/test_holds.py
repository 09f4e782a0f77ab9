"""What became of a held call, told from the trail: by its id, with what each limit had, was charged and got back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from nexus.admission import jobs
from nexus.admission.store import QUERIES
from nexus.contracts.limits import Call
from nexus.dataplane.decide.engine import Admission
from nexus.platform.db import Database
from tests.admission.conftest import Api, make_key
from tests.conftest import TestOrganization

LIMITS = [
    {"name": "tokens", "dimension": "tokens", "rate": "1000", "per": "day"},
    {"name": "yearly", "dimension": "tokens", "method": "fixed_window", "amount": "5000", "period": "year"},
    {"name": "in-flight", "dimension": "concurrency", "method": "concurrency", "amount": "9"},
]


@pytest.fixture
async def engine(api: Api) -> AsyncIterator[Admission]:
    made = await api.post("quotas", {"name": "all", "scope": "organization", "reason": "try", "limits": LIMITS})
    assert made.status_code == 201, made.text
    await api.limits.refresh()
    found = Admission(api.redis, lambda: api.limits.table, timeout_seconds=5)
    yield found
    await found.stop()


async def test_a_hold_tells_what_each_limit_had_was_charged_and_got_back(
    api: Api, engine: Admission, database: Database, organization: TestOrganization
) -> None:
    def call(tokens: int) -> Call:
        return Call(organization_id=organization.id, tokens=tokens)

    await engine.decide(call(100), hold_id="first", hold_seconds=60)
    await engine.decide(call(200), hold_id="second", hold_seconds=60)
    await engine.decide(call(9), hold_id="third", hold_seconds=60)
    await engine.decide(call(5), hold_id="late", hold_seconds=0.001)
    await engine.settle(organization.id, "second", {"tokens": 150})
    await engine.settle(organization.id, "second", {"tokens": 1})
    await engine.release(organization.id, "third")
    await asyncio.sleep(0.01)
    await engine.reap(organization.id)
    await jobs.drain_cell(database, api.redis, organization.id)

    found = {name: (await api.get(f"holds/{name}")).json() for name in ("first", "second", "third", "late")}

    def told(name: str, limit: str) -> tuple[int | None, ...]:
        (item,) = [item for item in found[name]["limits"] if item["limit"] == limit]
        return item["had"], item["charged"], item["left"], item["settled"], item["came_back"]

    assert [item["state"] for item in found.values()] == ["open", "settled", "released", "expired"]
    assert told("first", "tokens") == (1000, 100, 900, None, None)
    assert told("second", "tokens") == (900, 200, 700, 150, 50)
    assert told("second", "yearly") == (4900, 200, 4700, 150, 50)
    assert told("second", "in-flight") == (8, 1, 7, 0, 1)
    assert told("third", "tokens")[1:] == (9, 691, 0, 9)
    assert told("late", "tokens")[1] == 5 == told("late", "tokens")[3], "what nobody settles stays as estimated"
    began, expires = (datetime.fromisoformat(found["first"][name]) for name in ("began_at", "expires_at"))
    assert 59 < (expires - began).total_seconds() <= 60 and found["second"]["expires_at"] is None
    assert found["first"]["ended_at"] is None and found["second"]["ended_at"] is not None


async def test_a_hold_is_found_by_nobody_else_and_what_was_refused_holds_nothing(
    api: Api, engine: Admission, database: Database, organization: TestOrganization
) -> None:
    await engine.decide(Call(organization_id=organization.id, tokens=1), hold_id="mine", hold_seconds=60)
    refused = await engine.decide(Call(organization_id=organization.id, tokens=2000), hold_id="large", hold_seconds=60)
    await jobs.drain_cell(database, api.redis, organization.id)
    unseen = [await api.get(f"holds/{name}") for name in ("large", "mine2")]
    async with database.as_system() as connection:
        other = uuid4()
        await connection.execute(
            "INSERT INTO identity.organizations (id, name, slug) VALUES ($1, 'other', $2)", other, f"o-{other}"
        )
    mine, api.key = api.key, await make_key(database, other, "*")
    strange = await api.get("holds/mine")
    api.key = mine

    assert refused.outcome == "impossible"
    assert [answer.status_code for answer in (*unseen, strange)] == [404] * 3
    assert unseen[0].json()["type"].endswith("unknown_hold") and (await api.get("holds/mine")).status_code == 200
    bad = await api.get("holds/a%20b")
    assert bad.status_code == 404 and "letters, digits" in bad.json()["detail"]


async def test_a_hold_is_found_by_its_index(
    database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    await admin_connection.execute(
        "SELECT platform.ensure_partition_v1('admission.token_transactions', date_trunc('month', now()))"
    )
    await admin_connection.execute(
        """
        INSERT INTO admission.token_transactions
        SELECT $1, $2::timestamptz, i, 0, CASE WHEN i % 50 = 0 THEN 'charge' ELSE 'lease' END, 'h' || i, 'b', now(), false,
               0, 0, -1, 100, 0, 0, 0, 0
        FROM generate_series(1, 10000) AS i
        """,
        organization.id, datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0),
    )  # fmt: skip
    await admin_connection.execute("ANALYZE admission.token_transactions")
    async with database.tenant(organization.id, readonly=True) as connection:
        plan = await connection.fetch(f"EXPLAIN {QUERIES['transactions_of_hold']}", organization.id, "h500")

    text = "\n".join(row[0] for row in plan)
    assert "reference" in text and "Seq Scan on token_transactions_2" not in text, text
