"""How many series an organization may have: exact, whoever writes at once; what is refused says which metric and what to do."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from prometheus_client import CollectorRegistry

from nexus.contracts.keys import KeyEntry, KeyTable, OrganizationEntry, key_hash
from nexus.dataplane.ingest.otlp.asgi import OtlpApp, OtlpMetrics
from nexus.dataplane.ingest.service import Receipt
from nexus.metrics import jobs
from nexus.platform.db import Database
from nexus.platform.db.configuration import set_configuration
from tests.conftest import TestOrganization, make_organization
from tests.dataplane.ingest.otlp.conftest import deliver
from tests.dataplane.ingest.otlp.payloads import as_json, as_protobuf, attributes
from tests.dataplane.ingest.otlp.test_metrics import METRICS, metric, metrics_of
from tests.dataplane.ingest.otlp.test_receiver import FORMS, TYPES
from tests.issues.conftest import Taker, make_ingest
from tests.metrics.conftest import NOW, Api, fold, point
from tests.postgres import POOLED, TestServer

MOST = 5
KEY = "nx_exporter" + "0" * 40
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%claim_series_v1%'
"""


@pytest.fixture
async def limit(database: Database) -> None:
    async with database.as_system() as connection:
        await set_configuration(connection, "limits.metric_series", MOST)


def depth(queue: str, minute: int = 0, name: str = "queue.depth") -> dict[str, Any]:
    return point(name, "gauge", NOW - timedelta(hours=1) + timedelta(minutes=minute), value=1, labels={"queue": queue})


async def active_of(admin: asyncpg.Connection[Any], organization_id: UUID) -> tuple[int, int]:
    """What is counted, and what there is."""
    row = await admin.fetchrow(
        "SELECT (SELECT active FROM metrics.series_usage WHERE organization_id = $1) AS counted,"
        " (SELECT count(*) FROM metrics.series WHERE organization_id = $1 AND is_active) AS found",
        organization_id,
    )
    assert row is not None
    return row["counted"], row["found"]


def refused(receipt: Receipt) -> list[int]:
    return [one.index for one in receipt.refused]


async def test_a_series_too_many_is_refused_by_name_and_the_others_go_on(
    take: Taker, api: Api, limit: None, database: Database
) -> None:
    first = await take(*(depth(f"q{number}") for number in range(4)))
    receipt = await take(depth("q0", 1), depth("q4"), depth("q5"), depth("q5", 1), depth("q4", 1), depth("q6"))
    later = await take(depth("q4", 2), depth("q6", name="queue.age"))
    await fold(database)

    assert (first.accepted, refused(first)) == (4, [])
    assert (receipt.accepted, refused(receipt)) == (3, [2, 3, 5])
    (fault,) = receipt.refused[0].errors
    assert fault.field == "labels"
    assert (
        "'queue.depth'" in fault.message and "5 are active" in fault.message and "limits.metric_series" in fault.message
    )
    assert (later.accepted, refused(later)) == (1, [1])
    usage = await api("usage")
    assert usage == {
        "active": 5, "limit": 5, "refused_points": 4, "last_refused_at": "2026-04-03T12:00:00Z",
        "last_refused_metric": "queue.age",
    }  # fmt: skip
    groups = await api.groups("queue.depth", "1h", NOW - timedelta(hours=1), NOW, group_by="label.queue")
    assert {one["labels"]["label.queue"]: one["series"] for one in groups} == {f"q{n}": 1 for n in range(5)}
    # A point that was refused was not stored: once there is room it is taken.
    async with database.as_system() as connection:
        await set_configuration(connection, "limits.metric_series", MOST + 1)
    again = await take(depth("q5"), depth("q5", 1))
    assert (again.stored, again.duplicates) == (2, 0)
    exposed = (await api.send("prometheus", within_seconds=86_400)).text
    assert exposed.count("queue_depth{") == 6


async def test_the_limit_is_exact_when_several_nodes_write_at_once(
    postgres: TestServer,
    database: Database,
    organization: TestOrganization,
    limit: None,
    tmp_path: Path,
    admin_connection: asyncpg.Connection[Any],
) -> None:
    other = await make_organization(database, "globex")
    nodes = [make_ingest(database, tmp_path / str(number)) for number in range(4)]
    for node in nodes:
        node.writer.start()
    try:
        for owner in (organization.id, other.id):
            await Taker(nodes[0], owner)(depth("q0"))
        # Each series is told of by all, and in another order by each; all have begun before the first may end.
        async with admin_connection.transaction():
            await admin_connection.execute("LOCK TABLE metrics.series IN EXCLUSIVE MODE")
            takings = [
                asyncio.create_task(
                    Taker(node, owner)(*(depth(f"q{place * step % 7}", 1 + number) for place in range(1, 8)))
                )
                for number, (node, step) in enumerate(zip(nodes, (1, 6, 3, 5), strict=True))
                for owner in (organization.id, other.id)
            ]
            at_once = len(nodes) if postgres.pooler is None else POOLED
            while await admin_connection.fetchval(WAITING) < at_once:
                await admin_connection.execute("SELECT pg_stat_clear_snapshot()")
        receipts = await asyncio.gather(*takings)
    finally:
        for node in nodes:
            await node.stop()

    assert sum(len(refused(receipt)) for receipt in receipts) == 2 * 4 * 2
    for owner in (organization.id, other.id):
        assert await active_of(admin_connection, owner) == (MOST, MOST)


async def test_what_is_idle_makes_room_and_counts_again_when_it_is_back(
    take: Taker,
    database: Database,
    limit: None,
    organization: TestOrganization,
    admin_connection: asyncpg.Connection[Any],
) -> None:
    await take(*(depth(f"q{number}") for number in range(5)))
    await fold(database)
    tomorrow = NOW + timedelta(hours=23, minutes=30)
    waits = await take(point("queue.depth", "gauge", tomorrow - timedelta(hours=1), value=1, labels={"queue": "q0"}))

    assert await jobs.retire_series(database, tomorrow) == 4
    assert waits.accepted == 1
    assert await active_of(admin_connection, organization.id) == (1, 1)
    back = await take(depth("q1", 5), *(depth(f"new{number}") for number in range(4)))
    assert refused(back) == [4]
    assert await active_of(admin_connection, organization.id) == (MOST, MOST)


async def test_without_a_limit_nothing_is_refused(take: Taker, database: Database, limit: None) -> None:
    async with database.as_system() as connection:
        await set_configuration(connection, "limits.metric_series", 0)

    assert (await take(*(depth(f"q{number}") for number in range(20)))).accepted == 20


@FORMS
async def test_an_exporter_that_would_begin_too_many_is_told_exactly_how_many_points_were_rejected(
    take: Taker, api: Api, limit: None, form: str
) -> None:
    organization = OrganizationEntry(take.organization_id, "acme", "USD", "", "UTC")
    entry = KeyEntry(uuid4(), organization.id, frozenset({"events:write"}))
    take.ingest.snapshots.keys = KeyTable(1, {key_hash(KEY): entry}, {organization.id: organization}, {})
    telemetry = OtlpApp(take.ingest, own_urls=(), metrics=OtlpMetrics(CollectorRegistry()))

    def gauge(queues: range, minute: int = 0) -> dict[str, Any]:
        at = {"timeUnixNano": str(int((NOW - timedelta(hours=1) + timedelta(minutes=minute)).timestamp()) * 10**9)}
        return metrics_of(
            metric("depth", "gauge", *({"asInt": "1", "attributes": attributes({"q": n})} | at for n in queues))
        )

    async def send(document: dict[str, Any]) -> tuple[int, int, str]:
        body = as_json(document) if form == "json" else as_protobuf(document, "metrics")
        answer = await deliver(telemetry, body, TYPES[form], path=METRICS, key=KEY)
        if form == "json":
            partial = json.loads(answer.body).get("partialSuccess", {})
            return answer.status, int(partial.get("rejectedDataPoints", 0)), partial.get("errorMessage", "")
        found = ExportMetricsServiceResponse.FromString(answer.body).partial_success
        return answer.status, found.rejected_data_points, found.error_message

    first = await send(gauge(range(3)))
    status, rejected, why = await send(gauge(range(9), minute=1))
    later = await send(gauge(range(5), minute=2))

    assert (first, later) == ((200, 0, ""), (200, 0, ""))
    assert (status, rejected) == (200, 4)
    assert "'depth' would begin one more series, and 5 are active" in why and "limits.metric_series" in why
    usage = await api("usage")
    assert (usage["active"], usage["refused_points"], usage["last_refused_metric"]) == (5, 4, "depth")


async def test_points_from_the_spool_that_are_too_many_are_kept_in_quarantine_and_taken_once_there_is_room(
    take: Taker,
    database: Database,
    limit: None,
    organization: TestOrganization,
    admin_connection: asyncpg.Connection[Any],
) -> None:
    ingest = take.ingest
    await take(depth("q0"))
    ingest.writer.set_away(is_away=True)
    spooled = await take(*(depth(f"q{number}", 1) for number in range(7)))
    while not await ingest.drain.run_once():
        await asyncio.sleep(0)

    assert (spooled.durability, refused(spooled)) == ("spooled", [])
    assert await admin_connection.fetchval("SELECT count(*) FROM metrics.points") == 1 + MOST
    assert await active_of(admin_connection, organization.id) == (MOST, MOST)
    assert ingest.spool.is_empty()
    (kept,) = (ingest.spool.folder / "quarantine").iterdir()
    # What is kept is a segment: moved back it is tried again.
    async with database.as_system() as connection:
        await set_configuration(connection, "limits.metric_series", 0)
    kept.rename(ingest.spool.folder / kept.name)
    await ingest.drain.run_once()
    assert await admin_connection.fetchval("SELECT count(*) FROM metrics.points") == 1 + 7
    assert await active_of(admin_connection, organization.id) == (7, 7)
    assert not list((ingest.spool.folder / "quarantine").iterdir())
