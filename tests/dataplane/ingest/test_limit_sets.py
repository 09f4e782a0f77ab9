"""Sets of limits that calls name: durable before the calls, each once for a month, whatever becomes of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from nexus.contracts.calls import ApiCall
from nexus.contracts.limit_sets import DescribedLimit, LimitSet
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.commit import DatabaseTroubleError
from nexus.dataplane.ingest.limit_sets import LIMIT_SET
from nexus.dataplane.ingest.record_type import Caller, Prepared
from nexus.dataplane.ingest.service import Receipt
from nexus.metering import service as metering
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.dataplane.ingest.test_postgres import NOW, Node, call, make

__all__ = ["make"]


def set_of(organization_id: UUID, name: str = "plan") -> LimitSet:
    """One limit, of one column."""
    return LimitSet.of(organization_id, [DescribedLimit("o:", name, "organization", "requests", 1, 0)])


def naming(limit_set: LimitSet, at: datetime = NOW, left: int = 9) -> ApiCall:
    """A call that was charged one by a set of one limit."""
    told = {"id": limit_set.id, "charged": [1], "settled": [1], "left": [left]}
    return call(at, metadata={"gateway": {"attempt": 1, "limit_set": told}})


async def send(node: Node, limit_set: LimitSet, *calls: ApiCall) -> Receipt:
    return await node.ingest.submit(Caller(limit_set.organization_id, "USD"), calls, limit_sets=[limit_set])


async def kept(admin: asyncpg.Connection) -> list[tuple[str, datetime]]:
    """All sets that are stored, with their months."""
    return [
        (str(row["id"]), row["month"]) for row in await admin.fetch("SELECT * FROM metering.limit_sets ORDER BY 2, 3")
    ]


async def limits_shown(database: Database, organization_id: UUID, sent: ApiCall) -> Any:
    async with database.tenant(organization_id, readonly=True) as connection:
        found = await metering.call(connection, organization_id, UUID(sent.id))
    return found["metadata"]["gateway"].get("limits")


async def test_a_set_is_stored_once_for_each_month_of_the_calls_that_name_it_and_sent_once(
    make: Callable[..., Node], organization: TestOrganization, database: Database, admin_connection: asyncpg.Connection
) -> None:
    node, plan = make(), set_of(organization.id)
    before = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
    old, young, last = naming(plan, before, 3), naming(plan), naming(plan, NOW + timedelta(seconds=1))

    await send(node, plan, old, young)
    commits = node.registry.get_sample_value("nexus_ingest_commits_total", {"outcome": "committed"})
    again = await send(node, plan, young, last)

    assert node.registry.get_sample_value("nexus_ingest_commits_total", {"outcome": "committed"}) == (commits or 0) + 1
    assert (again.stored, again.duplicates) == (1, 1)
    assert node.registry.get_sample_value("nexus_ingest_records_stored_total") == 3, "a set is no record"
    months = [datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3)]
    assert await kept(admin_connection) == [(plan.id, month) for month in months]
    # Another process knows nothing of what this one sent.
    await send(make(), plan, naming(plan))
    assert len(await kept(admin_connection)) == 2
    shown = await limits_shown(database, organization.id, old)
    assert shown == [["o:", "plan", "organization", "requests", 1, 1, 1, 3, False]]


async def test_a_call_that_postgresql_refuses_takes_no_set_with_it_that_others_name(
    make: Callable[..., Node], organization: TestOrganization, database: Database
) -> None:
    node, plan = make(), set_of(organization.id)
    encoder = node.ingest._encoders["api_call"]

    class Spoiler:
        def prepare(self, *given: Any, **named: Any) -> Prepared:
            prepared = encoder.prepare(*given, **named)
            # A currency that is no UTF-8 passes no check of ours, so it is put there by hand.
            prepared.rows[0] = prepared.rows[0].replace(rows.text("USD"), b"\x00\x00\x00\x03\xff\xff\xff")
            return prepared

    node.ingest._encoders = {**node.ingest._encoders, "api_call": Spoiler()}
    calls = [naming(plan) for _ in range(3)]

    receipt = await send(node, plan, *calls)

    assert ([item.index for item in receipt.refused], receipt.stored) == ([0], 2)
    for stored in calls[1:]:
        assert await limits_shown(database, organization.id, stored)


async def test_while_postgresql_is_away_sets_wait_in_the_spool_as_calls_do(
    make: Callable[..., Node],
    organization: TestOrganization,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node, plan = make(), set_of(organization.id)
    commit, away = node.ingest._store.commit, [True]

    async def commit_if_there(*given: Any) -> list[int]:
        if away[0]:
            raise DatabaseTroubleError("away")
        return await commit(*given)

    monkeypatch.setattr(node.ingest._store, "commit", commit_if_there)
    sent = naming(plan)

    receipt = await send(node, plan, sent)
    away[0] = False
    await node.ingest.drain.run_once()

    assert receipt.durability == "spooled" and node.ingest.spool.is_empty()
    assert await limits_shown(database, organization.id, sent)


async def test_a_set_of_which_postgresql_cannot_be_told_now_leaves_its_calls_to_be_sent_again(
    make: Callable[..., Node],
    organization: TestOrganization,
    database: Database,
    admin_connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node, plan = make(), set_of(organization.id)
    submit, broken = node.ingest.writer.submit, [True]

    async def submit_calls_only(record_type: Any, organization_id: UUID, given: Sequence[bytes], days: set[int]) -> Any:
        if record_type is LIMIT_SET and broken[0]:
            raise OSError("the process is going down")
        return await submit(record_type, organization_id, given, days)

    monkeypatch.setattr(node.ingest.writer, "submit", submit_calls_only)
    sent = naming(plan)

    try:
        await send(node, plan, sent)
    except OSError:
        broken[0] = False
    assert await admin_connection.fetchval("SELECT count(*) FROM metering.calls") == 0

    await send(node, plan, sent)

    assert await limits_shown(database, organization.id, sent)
