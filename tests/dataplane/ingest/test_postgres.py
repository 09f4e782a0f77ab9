"""Ingest against PostgreSQL: what is acknowledged is stored exactly once, through every kind of trouble."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from nexus.contracts.calls import ApiCall, Tokens
from nexus.contracts.prices import PriceBook
from nexus.dataplane.endpoints import EndpointTable
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.record_type import Caller
from nexus.dataplane.ingest.record_types import API_CALL
from nexus.dataplane.ingest.service import Ingest, Receipt
from nexus.dataplane.snapshots import PriceTable, Snapshots
from nexus.dataplane.store import EndpointEntry
from nexus.kit.clock import FixedClock
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from tests.conftest import TestOrganization
from tests.dataplane.ingest.proxies import Fate, PostgresProxy
from tests.postgres import TestServer

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


def loaded(database: Database) -> Snapshots:
    """Snapshots with no keys and no prices, as if read."""
    snapshots = Snapshots(database)
    snapshots.prices = PriceTable(1, PriceBook.from_documents([]))
    snapshots.is_loaded = True
    return snapshots


def call(at: datetime = NOW, **fields: Any) -> ApiCall:
    return ApiCall(**{"id": str(uuid7(at)), "provider": "openai", "status_code": 200, "timestamp": at} | fields)


class Node:
    """One process's ingest."""

    def __init__(self, ingest: Ingest, registry: CollectorRegistry) -> None:
        self.ingest = ingest
        self.registry = registry

    async def send(self, organization_id: UUID, calls: list[ApiCall], key: str | None = None) -> Receipt:
        return await self.ingest.submit(Caller(organization_id, "USD"), calls, idempotency_key=key)


@pytest.fixture
async def make(tmp_path: Path, database: Database) -> AsyncIterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def build(handle: Database | None = None, **options: Any) -> Node:
        registry = CollectorRegistry()
        settings = Settings(data_dir=tmp_path, **options)
        ingest = Ingest(
            database=handle or database,
            settings=settings,
            snapshots=loaded(database),
            clock=FixedClock(NOW),
            metrics=IngestMetrics(registry),
        )
        ingest.writer.start()
        nodes.append(Node(ingest, registry))
        return nodes[-1]

    yield build
    for node in nodes:
        await node.ingest.stop()


@pytest.fixture
async def proxy(
    postgres: TestServer, database_name: str, tmp_path: Path
) -> AsyncIterator[tuple[PostgresProxy, Database]]:
    urls = postgres.urls(database_name)
    forward = PostgresProxy(postgres.embedded.url("nexus_writer", database_name), tmp_path)
    await forward.open()
    handle = await Database.connect(
        dataclasses.replace(urls, writer=forward.url), application_name="nexus-test", max_size=4
    )
    yield forward, handle
    await forward.close()
    await handle.close()


async def stored(admin: asyncpg.Connection) -> dict[UUID, int]:
    """How often each id is stored, by organization."""
    found = await admin.fetch("SELECT organization_id, id, count(*) FROM metering.calls GROUP BY 1, 2")
    assert all(record["count"] == 1 for record in found)
    counts: dict[UUID, int] = {}
    for record in found:
        counts[record["organization_id"]] = counts.get(record["organization_id"], 0) + 1
    return counts


async def test_every_field_arrives_as_it_was_sent(
    make: Callable[..., Node], organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    key, trace = uuid7(), "0af7651916cd43dd8448eb211c80319c"
    sent = call(
        endpoint="/v1/chat/completions?secret=1",
        method="post",
        status_code=429,
        response_time_ms=12.3456,
        time_to_first_byte_ms=0,
        request_size_bytes=2**40,
        response_size_bytes=7,
        model="gpt-4o",
        tokens=Tokens(input=10, output=9, cached_input=4, reasoning=3, audio_input=2, image_output=1),
        cost=Decimal("0.0000000015"),
        currency="EUR",
        key=str(key),
        application="web",
        user="Zoë",
        end_user="customer-1",
        region="eu",
        session_id="s",
        request_id="r",
        trace_id=trace,
        tags={"team": "ü"},
        metadata={"a": [1, None, {"b": "c"}]},
        service_variant={"service_tier": "flex"},
        error_type="rate_limit",
        error_message="key sk-abcdefghijklmnopqrstuvwx was refused",
        user_agent="curl/8",
        ip_address="2001:db8::1",
        request_headers={"Authorization": "Bearer nx_x", "Content-Type": "application/json", "X-Secret": "1"},
        response_headers={"Retry-After": "3"},
    )

    receipt = await make().send(organization.id, [sent])
    row = dict(await admin_connection.fetchrow("SELECT * FROM metering.calls") or {})

    assert receipt == Receipt(1, 1, 1, 0, [], "committed")
    assert (
        row
        | {
            "organization_id": organization.id,
            "occurred_at": NOW,
            "received_at": NOW,
            "provider": "openai",
            "endpoint": "/v1/chat/completions",
            "method": "POST",
            "status_code": 429,
            "response_time_us": 12_346,
            "ttfb_us": 0,
            "request_bytes": 2**40,
            "response_bytes": 7,
            "model": "gpt-4o",
            "region": "eu",
            "key_id": key,
            "application": "web",
            "user_ref": "Zoë",
            "end_user": "customer-1",
            "session_id": "s",
            "request_id": "r",
            "trace_id": trace,
            "input_tokens": 10,
            "output_tokens": 9,
            "cached_input_tokens": 4,
            "cache_write_tokens": 0,
            "reasoning_tokens": 3,
            "audio_input_tokens": 2,
            "audio_output_tokens": 0,
            "image_input_tokens": 0,
            "image_output_tokens": 1,
            "units": None,
            "currency": "EUR",
            "price_source": "given",
            "price_id": None,
            "unpriced_reason": None,
            "error_type": "rate_limit",
            "error_message": "key [redacted] was refused",
            "user_agent": "curl/8",
        }
        == row
    )
    # Rounded once, half to even, to 1e-9.
    assert format(row["cost"], "f").rstrip("0") == "0.000000002"
    assert str(row["ip_address"]).startswith("2001:db8::1")
    assert msgspec.json.decode(row["tags"]) == {"team": "ü"}
    assert msgspec.json.decode(row["metadata"]) == {"a": [1, None, {"b": "c"}]}
    assert msgspec.json.decode(row["service_variant"]) == {"service_tier": "flex"}
    assert msgspec.json.decode(row["request_headers"]) == {"content-type": "application/json"}
    assert msgspec.json.decode(row["response_headers"]) == {"retry-after": "3"}


async def test_call_without_price_has_no_cost_rather_than_none(
    make: Callable[..., Node], organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    await make().send(organization.id, [call(model="unheard-of", tokens=Tokens(input=1))])

    row = await admin_connection.fetchrow("SELECT cost, price_source, unpriced_reason FROM metering.calls")
    assert row is not None
    assert row["cost"] is None
    assert row["price_source"] == "none"
    assert row["unpriced_reason"]


async def test_cost_is_computed_from_the_price_in_force_at_the_calls_time(
    make: Callable[..., Node], organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    before, after = str(uuid7()), str(uuid7())
    price = {"kind": "price", "provider": "openai", "model": "m"}
    change = "2026-03-15T00:00:00Z"
    documents = [
        {"kind": "provider", "provider": "openai"},
        {"kind": "model", "provider": "openai", "model": "m", "match": {"equals": "m"}},
        price
        | {"id": before, "valid_to": change, "components": [{"unit": "input", "amount": "0.00000000025", "per": 1}]},
        price
        | {
            "id": after,
            "valid_from": change,
            "components": [
                {"unit": "input", "amount": "2.5", "per": 1_000_000},
                {"unit": "cached_input", "amount": "1.25", "per": 1_000_000},
            ],
        },
    ]
    node = make()
    node.ingest.snapshots.prices = PriceTable(
        2,
        PriceBook.from_documents(documents),
        EndpointTable([EndpointEntry("openai", "POST", "/v1/threads/{thread}/runs")]),
    )
    node.ingest._forget()
    tokens = Tokens(input=10, cached_input=4)

    await node.send(
        organization.id,
        [
            call(NOW, model="m", tokens=tokens, path="/v1/threads/x/runs?a=1", method="POST"),
            call(NOW - timedelta(days=1), model="m", tokens=Tokens(input=10)),
            call(NOW, model="m", tokens=tokens, cost=Decimal(7), price_source="book"),
        ],
    )
    found = await admin_connection.fetch(
        "SELECT cost, currency, price_source, price_id, endpoint FROM metering.calls ORDER BY occurred_at, endpoint"
    )

    assert [(record["cost"], str(record["price_id"])) for record in found] == [
        (Decimal("0.000000002"), before),
        (Decimal("0.00002"), after),
        (Decimal("0.00002"), after),
    ]
    assert {(record["currency"], record["price_source"]) for record in found} == {("USD", "book")}
    assert found[2]["endpoint"] == "/v1/threads/{thread}/runs"


async def test_batch_sent_five_times_counts_once(
    make: Callable[..., Node], organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    one, two = make(), make()
    sent = [call() for _ in range(20)] + [call(id=f"order-{n}") for n in range(20)]

    receipts = [await one.send(organization.id, sent)]
    for shift, node in (
        (timedelta(0), one),
        (timedelta(days=-40), two),
        (timedelta(hours=-13), two),
        (timedelta(days=-1), one),
    ):
        again = [msgspec.structs.replace(item, timestamp=NOW + shift) for item in sent]
        receipts.append(await node.send(organization.id, again))

    assert [receipt.stored for receipt in receipts] == [40, 0, 0, 0, 0]
    assert [receipt.duplicates for receipt in receipts] == [0, 40, 40, 40, 40]
    assert await stored(admin_connection) == {organization.id: 40}


async def test_idempotency_key_makes_ids_of_positions(
    make: Callable[..., Node], organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    node = make()
    sent = [call(id=None) for _ in range(3)]

    receipts = [await node.send(organization.id, sent, key) for key in ("a", "a", "b")]

    assert [receipt.stored for receipt in receipts] == [3, 0, 3]
    assert await stored(admin_connection) == {organization.id: 6}


async def test_same_id_twice_in_a_batch_counts_once(make: Callable[..., Node], organization: TestOrganization) -> None:
    twice = call()

    receipt = await make().send(organization.id, [twice, call(), twice, call(id="x"), call(id="x")])

    assert (receipt.stored, receipt.duplicates) == (3, 2)


async def test_two_organizations_share_ids_and_a_commit_but_nothing_else(
    make: Callable[..., Node],
    two_organizations: tuple[TestOrganization, TestOrganization],
    admin_connection: asyncpg.Connection,
) -> None:
    node = make(ingest_batch_delay_ms=50)
    sent = [call() for _ in range(10)]

    receipts = await asyncio.gather(*(node.send(who.id, sent) for who in two_organizations))

    assert [(receipt.stored, receipt.duplicates) for receipt in receipts] == [(10, 0), (10, 0)]
    assert node.registry.get_sample_value("nexus_ingest_commits_total", {"outcome": "committed"}) == 1
    assert await stored(admin_connection) == {who.id: 10 for who in two_organizations}


async def test_four_writers_with_overlapping_batches_store_each_once(
    make: Callable[..., Node], organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    nodes = [make() for _ in range(4)]
    sent = [call(NOW - timedelta(days=n % 70)) for n in range(150)] + [call(id=f"id-{n}") for n in range(150)]

    async def run(node: Node, offset: int) -> int:
        total = 0
        for start in range(0, 300, 20):
            first = (start + offset) % 300
            part = (sent + sent)[first : first + 60]
            receipt = await node.send(organization.id, part[::-1] if offset % 2 else part)
            assert receipt.durability == "committed"
            assert receipt.stored is not None
            total += receipt.stored
        return total

    totals = await asyncio.gather(*(run(node, 35 * number) for number, node in enumerate(nodes)))

    assert sum(totals) == 300
    assert await stored(admin_connection) == {organization.id: 300}


async def test_record_of_a_month_without_partition_makes_it(
    make: Callable[..., Node], organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    node = make()
    await node.send(organization.id, [call(datetime(1995, 5, 5, tzinfo=UTC), id="old")])

    receipt = await node.send(organization.id, [call(datetime(2019, 5, 5, tzinfo=UTC)), call()])

    assert receipt.stored == 2
    assert await stored(admin_connection) == {organization.id: 3}


async def test_partition_dropped_behind_the_writer_is_made_again(
    make: Callable[..., Node], organization: TestOrganization, owner_connection: asyncpg.Connection
) -> None:
    node = make()
    await node.send(organization.id, [call(datetime(2019, 5, 5, tzinfo=UTC))])
    await owner_connection.execute("DROP TABLE metering.calls_201905")

    receipt = await node.send(organization.id, [call(datetime(2019, 5, 6, tzinfo=UTC))])

    assert (receipt.stored, receipt.durability) == (1, "committed")


async def test_row_that_postgresql_refuses_is_refused_alone(
    make: Callable[..., Node], organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    node = make()
    prepared = node.ingest._encoders["api_call"].prepare(
        Caller(organization.id, "USD"), [call() for _ in range(9)], received_at=NOW, positions=range(9)
    )
    # A currency that is no UTF-8 passes no check of ours, so it is put there by hand.
    prepared.rows[4] = prepared.rows[4].replace(rows.text("USD"), b"\x00\x00\x00\x03\xff\xff\xff")

    outcome = await node.ingest.writer.submit(API_CALL, organization.id, prepared.rows, prepared.days)

    assert list(outcome.poisoned) == [4]
    assert await stored(admin_connection) == {organization.id: 8}


def _at_commit(fate: Fate) -> Callable[[bytes], Fate]:
    return lambda piece: fate if b"COMMIT;" in piece else "forward"


@pytest.mark.parametrize("fate", ["cut_before", "cut_after"])
async def test_connection_lost_at_commit_stores_exactly_once(
    make: Callable[..., Node],
    organization: TestOrganization,
    admin_connection: asyncpg.Connection,
    proxy: tuple[PostgresProxy, Database],
    fate: Fate,
) -> None:
    forward, handle = proxy
    node = make(handle)
    await node.send(organization.id, [call()])
    sent = [call() for _ in range(50)] + [call(id=f"x{n}") for n in range(50)]
    forward.fate_of = _at_commit(fate)
    receipt = await node.send(organization.id, sent)
    forward.fate_of = lambda piece: "forward"

    assert forward.cuts == 1
    assert receipt == Receipt(100, 100, None, None, [], "spooled")
    assert await stored(admin_connection) == {organization.id: 101 if fate == "cut_after" else 1}
    assert await node.ingest.drain.run_once()
    assert await stored(admin_connection) == {organization.id: 101}
    assert node.ingest.spool.is_empty()
    again = await node.send(organization.id, sent)
    assert (again.stored, again.duplicates) == (0, 100)


async def test_connection_cut_anywhere_stores_exactly_once(
    make: Callable[..., Node],
    organization: TestOrganization,
    admin_connection: asyncpg.Connection,
    proxy: tuple[PostgresProxy, Database],
) -> None:
    forward, handle = proxy
    node = make(handle)
    total = 0
    for place in range(1, 14):
        pieces = 0

        def fate(piece: bytes, place: int = place) -> Fate:
            nonlocal pieces
            pieces += 1
            return "forward" if pieces != place else ("cut_after" if place % 2 else "cut_before")

        forward.fate_of = fate
        receipt = await node.send(organization.id, [call() for _ in range(10)] + [call(id=f"p{place}")])
        forward.fate_of = lambda piece: "forward"
        total += 11
        assert receipt.accepted == 11
        assert await node.ingest.drain.run_once()

    assert forward.cuts >= 6
    assert await stored(admin_connection) == {organization.id: total}
    assert node.ingest.spool.is_empty()


async def test_postgresql_stopped_in_the_middle_of_four_senders_loses_nothing(
    make: Callable[..., Node],
    organization: TestOrganization,
    admin_connection: asyncpg.Connection,
    proxy: tuple[PostgresProxy, Database],
) -> None:
    forward, handle = proxy
    node = make(handle)
    durabilities: set[str] = set()
    sent = 0

    async def sender() -> None:
        nonlocal sent
        for _ in range(15):
            receipt = await node.send(organization.id, [call() for _ in range(7)])
            assert receipt.accepted == 7
            durabilities.add(receipt.durability)
            sent += 7

    senders = [asyncio.create_task(sender()) for _ in range(4)]
    while sent < 60:
        await asyncio.sleep(0)
    await forward.close()
    await asyncio.gather(*senders)
    assert not await node.ingest.drain.run_once()
    await forward.open()
    while not await node.ingest.drain.run_once():
        await asyncio.sleep(0)

    assert durabilities == {"committed", "spooled"}
    assert await stored(admin_connection) == {organization.id: sent}
    assert (await node.send(organization.id, [call()])).durability == "committed"


async def test_silent_postgresql_means_the_spool_once_the_time_is_up(
    make: Callable[..., Node],
    organization: TestOrganization,
    admin_connection: asyncpg.Connection,
    proxy: tuple[PostgresProxy, Database],
) -> None:
    forward, handle = proxy
    node = make(handle, ingest_commit_timeout_ms=200)
    forward.fate_of = lambda piece: "swallow"
    receipts = [await node.send(organization.id, [call()]) for _ in range(3)]
    assert not await node.ingest.drain.run_once()
    forward.fate_of = lambda piece: "forward"
    forward.cut()
    while not await node.ingest.drain.run_once():
        await asyncio.sleep(0)

    assert {receipt.durability for receipt in receipts} == {"spooled"}
    assert await stored(admin_connection) == {organization.id: 3}


async def test_another_process_drains_what_a_dead_one_left(
    make: Callable[..., Node],
    organization: TestOrganization,
    admin_connection: asyncpg.Connection,
    proxy: tuple[PostgresProxy, Database],
) -> None:
    forward, handle = proxy
    dying, living = make(handle), make()
    await forward.close()
    await dying.send(organization.id, [call() for _ in range(5)])
    assert await living.ingest.drain.run_once()
    assert await stored(admin_connection) == {}

    # What the kernel does with the lock when the process dies.
    dying.ingest.spool.seal()
    assert await living.ingest.drain.run_once()

    assert await stored(admin_connection) == {organization.id: 5}
