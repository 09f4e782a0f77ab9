"""A call that several tell of is one call, whoever tells first, whoever tells at the same time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from nexus.contracts.calls import ApiCall, Tokens
from nexus.kit.ids import uuid7
from nexus.metering import store
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.dataplane.ingest.test_postgres import NOW, Node, make

__all__ = ["make"]
RESPONSE = "chatcmpl-0123456789abcdefghij"


def gateway(trace: str, span: str | None = "aa", **more: Any) -> ApiCall:
    told = {"attempt": 1} | ({"parent_span_id": span * 8} if span else {}) | more
    return _call("gateway", trace, {"gateway": told}, str(uuid7(NOW)))


def inference(trace: str, span: str, parent: str = "", **more: Any) -> ApiCall:
    told = {"span_id": span * 8, "operation": "chat"} | ({"parent_span_id": parent * 8} if parent else {}) | more
    return _call("inference", trace, {"otel": told}, f"otel:{trace}:{span}")


def http(trace: str, span: str, parent: str = "") -> ApiCall:
    told = {"span_id": span * 8} | ({"parent_span_id": parent * 8} if parent else {})
    return _call("http", trace, {"otel": told}, f"otel:{trace}:{span}")


def _call(who: str, trace: str, metadata: dict[str, Any], record_id: str) -> ApiCall:
    return ApiCall(
        provider="openai", status_code=200, id=record_id, timestamp=NOW, endpoint=f"/{who}", model="gpt-4o", user=who,
        response_time_ms=12, tokens=Tokens(input=10, output=2), trace_id=trace, metadata=metadata, tags={"who": who},
    )  # fmt: skip


SCENES: dict[str, tuple[list[Callable[[str], ApiCall]], list[str]]] = {
    "gateway and the span of the request": ([gateway, lambda t: http(t, "aa")], ["gateway"]),
    "gateway, request, inference": (
        [gateway, lambda t: http(t, "aa", "bb"), lambda t: inference(t, "bb")], ["gateway"],
    ),
    "gateway, request, inference, framework": (
        [gateway, lambda t: http(t, "aa", "bb"), lambda t: inference(t, "bb", "cc"), lambda t: inference(t, "cc")],
        ["gateway"],
    ),
    "inference with its request told in one batch, and the gateway": (
        [gateway, lambda t: inference(t, "bb", request_spans=["aa" * 8])], ["gateway"],
    ),
    "request and inference without a gateway": ([lambda t: http(t, "aa", "bb"), lambda t: inference(t, "bb")], ["inference"]),
    "two inferences within a framework's": (
        [lambda t: inference(t, "cc"), lambda t: inference(t, "aa", "cc"), lambda t: inference(t, "bb", "cc")],
        ["inference", "inference"],
    ),
    "two attempts of the gateway within one inference": (
        [gateway, gateway, lambda t: inference(t, "aa")], ["gateway", "gateway"],
    ),
    "no trace reaches the gateway, but both know the answer": (
        [lambda t: gateway(t, None, response_id=RESPONSE + t), lambda t: inference(t, "aa", response_id=RESPONSE + t)],
        ["gateway"],
    ),
    "requests of one server's span, one of them through the gateway": (
        [gateway, lambda t: http(t, "aa", "ff"), lambda t: http(t, "bb", "ff")], ["gateway", "http"],
    ),
    "the same short id of answers again and again": (
        [lambda t: gateway(t, None, response_id="answer-1"), lambda t: inference(t, "aa", response_id="answer-1")],
        ["gateway", "inference"],
    ),
}  # fmt: skip


async def check(database: Database, organization_id: UUID, expected: list[str]) -> None:
    """What is stored, and what sums say of it before and after folding."""
    async with database.as_system() as connection:
        rows = await connection.fetch("SELECT user_ref FROM metering.calls WHERE organization_id = $1", organization_id)
        assert sorted(row["user_ref"] for row in rows) == sorted(expected)
        for _ in range(2):
            sums = await connection.fetch(
                "SELECT user_ref, sum(requests)::int AS n, sum(input_tokens)::int AS tokens, sum(latency_sum_us)::int AS us"
                " FROM (SELECT user_ref, requests, input_tokens, latency_sum_us FROM metering.rollup_journal"
                "  WHERE organization_id = $1 UNION ALL SELECT user_ref, requests, input_tokens, latency_sum_us"
                "  FROM metering.rollups_minute WHERE organization_id = $1 AND dimension_set = 6) AS piece"
                " GROUP BY user_ref HAVING sum(requests) <> 0",
                organization_id,
            )
            counted = {row["user_ref"]: (row["n"], row["tokens"], row["us"]) for row in sums}
            assert counted == {who: (n, 10 * n, 12_000 * n) for who in expected if (n := expected.count(who))}
            await store.fold(connection, 100_000)


@pytest.mark.parametrize("scene", SCENES)
async def test_one_call_counts_once_in_every_order(
    make: Callable[..., Node], database: Database, organization: TestOrganization, scene: str
) -> None:
    records, expected = SCENES[scene]
    node = make()
    orders = list(itertools.permutations(range(len(records))))[:24]
    for number, order in enumerate(orders):
        trace = f"{number + 1:032x}"
        made = [record(trace) for record in records]
        for index in order:
            assert (await node.send(organization.id, [made[index]])).accepted == 1
    # All at once, and everything sent again.
    trace = "f" * 32
    made = [record(trace) for record in records]
    await node.send(organization.id, made)
    again = await node.send(organization.id, made)
    assert again.stored == 0 and again.duplicates == len(made)
    await check(database, organization.id, expected * (len(orders) + 1))


async def test_one_call_counts_once_when_all_tell_at_the_same_time_through_two_nodes(
    make: Callable[..., Node], database: Database, organization: TestOrganization
) -> None:
    nodes = [make(ingest_batch_delay_ms=1), make(ingest_batch_delay_ms=1)]
    records, expected = SCENES["gateway, request, inference, framework"]
    traces = [f"{number + 1:032x}" for number in range(40)]
    sends = [
        nodes[(place + number) % 2].send(organization.id, [record(trace)])
        for number, trace in enumerate(traces)
        for place, record in enumerate(records)
    ]
    await asyncio.gather(*sends)
    await check(database, organization.id, expected * len(traces))


async def test_another_organizations_spans_change_nothing(
    make: Callable[..., Node], database: Database, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    node = make()
    organization, other_organization = two_organizations
    trace = "1" * 32
    await node.send(organization.id, [http(trace, "aa", "bb")])
    await node.send(other_organization.id, [gateway(trace), inference(trace, "bb")])
    await check(database, organization.id, ["http"])


async def test_nobody_retracts_calls_of_an_organization_it_does_not_store_for(
    make: Callable[..., Node], database: Database, organization: TestOrganization
) -> None:
    import asyncpg

    await make().send(organization.id, [http("1" * 32, "aa")])
    async with database.as_system() as connection:
        row = await connection.fetchrow("SELECT id, key_at FROM metering.calls")
    assert row is not None
    for others in ([], [uuid4()]):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.as_writer(others) as connection:
                await connection.execute(
                    "SELECT metering.retract_calls_v1($1, $2, $3, '{}')",
                    [organization.id],
                    [row["key_at"]],
                    [row["id"]],
                )
    await check(database, organization.id, ["http"])


async def test_who_saw_what_is_forgotten_with_the_ids(
    make: Callable[..., Node], database: Database, organization: TestOrganization
) -> None:
    await make().send(organization.id, [http("1" * 32, "aa")])
    async with database.as_system() as connection:
        assert await store.delete_old_sightings(connection, datetime(2026, 3, 15, tzinfo=UTC), 10) == 0
        assert await store.delete_old_sightings(connection, NOW + timedelta(seconds=1), 10) == 1
