"""The engine: limits of a call from a table, holds, and the failure policies while Redis is dead, frozen or empty."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nexus.contracts.limits import Call, Limit, LimitTable
from nexus.dataplane.decide.cells import CELLS, CellHistory
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.scripts import BucketState, keys_of
from tests.dataplane.conftest import OwnRedis
from tests.dataplane.decide.cases import ORGANIZATION, SECOND, limit

DAY = 86_400 * SECOND


def table(*known: Limit) -> LimitTable:
    return LimitTable(1, MappingProxyType({ORGANIZATION: known}))


def call(**more: Any) -> Call:
    return Call(organization_id=ORGANIZATION, **more)


class Node:
    """An engine on a Redis, with limits the test changes."""

    def __init__(self, url: str, *known: Limit, **more: Any) -> None:
        self.table = table(*known)
        more.setdefault("timeout_seconds", 2.0)
        # A frozen server never answers: the client gives up by itself, as the product's does.
        patience = more.pop("socket_seconds", 1.0)
        self.client = redis.asyncio.Redis.from_url(
            url, socket_timeout=patience, socket_connect_timeout=patience, retry=Retry(NoBackoff(), 0)
        )
        self.engine = Admission(self.client, lambda: self.table, **more)

    async def close(self) -> None:
        await self.engine.stop()
        await self.client.aclose()


async def test_a_call_meets_the_limits_of_its_scopes_and_no_others(redis_url: str, nodes: list[Node]) -> None:
    mine, other = UUID(int=1), UUID(int=2)
    node = Node(
        redis_url,
        limit(1, capacity=5, per_us=DAY),
        limit(2, capacity=3, per_us=DAY, scope="key", subject=None),
        limit(3, capacity=1, per_us=DAY, scope="key", subject=str(other)),
        limit(4, capacity=1, per_us=DAY, scope="provider", subject="openai"),
    )
    nodes.append(node)

    first = [(await node.engine.decide(call(key_id=mine))).outcome for _ in range(4)]
    second = await node.engine.decide(call(key_id=other))
    third = await node.engine.decide(call(key_id=other))
    provider = await node.engine.decide(call(provider="openai"))

    assert first == ["admitted"] * 3 + ["refused"]
    assert second.is_admitted and [item.limit.name for item in second.standings] == ["limit-1", "limit-2", "limit-3"]
    assert third.refused_by is not None and third.refused_by.name == "limit-3" and third.retry_us > 0
    assert provider.is_admitted, "the refused calls charged nothing to the organization"


async def test_calls_in_flight_are_counted_until_they_are_settled_released_or_expired(
    redis_url: str, nodes: list[Node]
) -> None:
    node = Node(redis_url, limit(1, capacity=2, method="concurrency"))
    nodes.append(node)
    first, second = await node.engine.decide(call()), await node.engine.decide(call(), hold_seconds=0.05)
    full = await node.engine.decide(call())

    await node.engine.settle(ORGANIZATION, first.hold_id, {})
    again = await node.engine.decide(call())
    await asyncio.sleep(0.3)
    after_expiry = await node.engine.decide(call())

    assert first.is_admitted and second.is_admitted and full.outcome == "refused"
    assert again.is_admitted
    assert after_expiry.is_admitted, "an expired hold is reaped before a refusal is final"


async def test_the_same_hold_is_the_same_call_and_is_settled_once(redis_url: str, nodes: list[Node]) -> None:
    node = Node(redis_url, limit(1, capacity=100, per_us=DAY, dimension="tokens"))
    nodes.append(node)

    first = await node.engine.decide(call(tokens=60), hold_id="one", hold_seconds=60)
    replay = await node.engine.decide(call(tokens=60), hold_id="one", hold_seconds=60)
    other = await node.engine.decide(call(tokens=70), hold_id="one", hold_seconds=60)
    settled = await node.engine.settle(ORGANIZATION, "one", {"tokens": 10})
    again = await node.engine.settle(ORGANIZATION, "one", {"tokens": 90})
    unknown = await node.engine.settle(ORGANIZATION, "none", {"tokens": 90})
    spent = await node.engine.decide(call(tokens=60), hold_id="one")

    assert first.is_admitted and replay.is_admitted and replay.is_replay
    assert (other.outcome, spent.outcome) == ("spent", "spent"), "a hold's name is no ticket for another call"
    assert (settled.status, again.status, unknown.status) == ("ended", "ended_before", "unknown")
    assert again.legs == settled.legs and settled.legs[0].actual == 10
    assert (await node.engine.decide(call(tokens=90))).is_admitted


async def test_a_redis_that_came_back_empty_begins_with_empty_buckets(own_redis: OwnRedis, nodes: list[Node]) -> None:
    node = Node(own_redis.url, limit(1, capacity=3, per_us=DAY))
    nodes.append(node)
    assert [(await node.engine.decide(call())).outcome for _ in range(4)] == ["admitted"] * 3 + ["refused"]

    async def restore(_: UUID) -> CellHistory:
        return CellHistory(True, {})

    successor = Node(own_redis.url, limit(1, capacity=3, per_us=DAY), restore=restore)
    nodes.append(successor)
    await node.client.flushall()

    assert (await successor.engine.decide(call())).outcome == "refused"


async def test_what_cannot_be_rebuilt_is_left_to_the_failure_policy(redis_url: str, nodes: list[Node]) -> None:
    async def restore(_: UUID) -> CellHistory:
        raise OSError("PostgreSQL is away")

    node = Node(redis_url, limit(1, capacity=3, per_us=DAY), restore=restore)
    nodes.append(node)

    decision = await node.engine.decide(call())

    assert decision.outcome == "unavailable" and decision.is_degraded


async def test_a_version_published_under_load_keeps_fill_and_fails_no_decision(
    redis_url: str, nodes: list[Node]
) -> None:
    made = [Node(redis_url, limit(1, capacity=1000, per_us=DAY)) for _ in range(3)]
    nodes += made
    outcomes: list[str] = []

    async def load(node: Node) -> None:
        outcomes.extend([(await node.engine.decide(call())).outcome for _ in range(100)])

    running = [asyncio.create_task(load(node)) for node in made]
    await asyncio.sleep(0.01)
    for node in made:
        node.table = table(limit(1, capacity=2000, per_us=DAY, version=2))
    await asyncio.gather(*running)

    assert outcomes == ["admitted"] * 300
    for node in made:
        await node.engine.stop()
    data = await made[0].client.get(keys_of(ORGANIZATION).buckets + f"{1:032x}")
    assert data is not None
    state = BucketState.unpack(data)
    # So many as were charged under the first version count twice as much under the second.
    assert 1400 <= state.level <= 1700


ROOT = Path(__file__).parents[3]


async def test_a_cell_whose_first_call_is_refused_is_known_to_those_who_drain_and_reap(
    redis_url: str, nodes: list[Node]
) -> None:
    async def restore(_: UUID) -> CellHistory:
        return CellHistory(True, {})

    node = Node(redis_url, limit(1, capacity=5, units=5), restore=restore)
    nodes.append(node)

    assert (await node.engine.decide(call(requests=5))).outcome == "refused"
    async with asyncio.timeout(20):
        while not (await node.engine.decide(call())).is_admitted:
            await asyncio.sleep(0.05)
        while not await node.client.sismember(CELLS, ORGANIZATION.hex):
            await asyncio.sleep(0.01)
