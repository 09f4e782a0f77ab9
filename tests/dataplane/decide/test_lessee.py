"""Leases in an engine on a real Redis: hot calls ask it rarely, and each is charged once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import redis.asyncio
from prometheus_client import REGISTRY

from nexus.dataplane.decide.scripts import BucketState, TrailEntry, keys_of
from nexus.dataplane.decide.types import Decision
from tests.dataplane.decide.cases import ORGANIZATION, limit
from tests.dataplane.decide.test_engine import DAY, ROOT, Node, call, table

PATIENCE_SECONDS = 60


async def hot(node: Node, **more: Any) -> list[Decision]:
    """Ask until most calls are decided in the process; returns all decisions."""
    found: list[Decision] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            before = await scripts_run(node.client)
            for _ in range(100):
                found.append(await node.engine.decide(call(**more)))
                await asyncio.sleep(0.0005)
            if await scripts_run(node.client) - before <= 20:
                return found


async def scripts_run(client: redis.asyncio.Redis) -> int:
    stats: Any = await client.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


def counted() -> tuple[float, ...]:
    """Calls that were admitted, and refused, and decided by leases, as the metrics tell."""
    decisions = "nexus_admission_decisions_total"
    samples = [(decisions, {"outcome": "admitted"}), (decisions, {"outcome": "refused"})]
    samples.append(("nexus_admission_local_decisions_total", {}))
    return tuple(REGISTRY.get_sample_value(name, labels) or 0.0 for name, labels in samples)


async def state_of(client: redis.asyncio.Redis, bucket: str = f"{1:032x}") -> BucketState:
    data = await client.get(keys_of(ORGANIZATION).buckets + bucket)
    assert data is not None
    return BucketState.unpack(data)


async def test_hot_calls_are_decided_in_the_process_and_each_is_charged(redis_url: str, nodes: list[Node]) -> None:
    known = limit(1, capacity=10**6, per_us=DAY), limit(2, capacity=10**6, per_us=DAY, scope="key", subject=None)
    made = [Node(redis_url, *known) for _ in range(2)]
    nodes += made

    first = await hot(made[0], key_id=ORGANIZATION)
    second = await hot(made[1], key_id=ORGANIZATION)
    for node in made:
        await node.engine.stop()

    assert all(item.is_admitted for item in first + second)
    assert [item.limit.name for item in first[-1].standings] == ["limit-1", "limit-2"]
    for bucket in (f"{1:032x}", f"{2:032x}:{ORGANIZATION}"):
        state = await state_of(made[0].client, bucket)
        # A process that stood still for a second would have lost units; none is ever made.
        assert 10**6 - state.level >= len(first + second)


async def test_calls_are_counted_once_whoever_decides_them(redis_url: str, nodes: list[Node]) -> None:
    node = Node(redis_url, limit(1, capacity=100, units=200))
    nodes.append(node)
    before = counted()
    found: list[Decision] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not {("redis", "admitted"), ("lease", "admitted"), ("lease", "refused")} <= {
            (item.decided_by, item.outcome) for item in found
        }:
            found.append(await node.engine.decide(call()))
            await asyncio.sleep(0.0005)
    await node.engine.stop()

    admitted, refused, local = (after - then for after, then in zip(counted(), before, strict=True))
    assert admitted == sum(item.is_admitted for item in found)
    assert refused == sum(not item.is_admitted for item in found)
    assert local == sum(item.decided_by == "lease" for item in found)


async def test_a_hold_of_a_hot_call_is_settled_in_the_process_and_counts_once(
    redis_url: str, nodes: list[Node]
) -> None:
    node = Node(redis_url, limit(1, capacity=10**9, per_us=DAY, dimension="tokens"))
    nodes.append(node)
    hot_calls = await hot(node, tokens=10)

    held = [await node.engine.decide(call(tokens=100), hold_seconds=60, is_settled_here=True) for _ in range(20)]
    settled = [await node.engine.settle(ORGANIZATION, item.hold_id, {"tokens": 130}) for item in held[:10]]
    released = [await node.engine.release(ORGANIZATION, item.hold_id) for item in held[10:19]]
    again = await node.engine.settle(ORGANIZATION, held[0].hold_id, {"tokens": 1})
    await node.engine.stop()

    assert all(item.is_admitted and item.hold_id for item in held)
    assert {item.status for item in settled + released} == {"ended"}
    assert again.status in {"unknown", "ended_before"}
    assert [(leg.charged, leg.actual) for leg in settled[0].legs] == [(100, 130)]
    # Ten settled to more, nine never made, and one that nobody ended stays as estimated.
    used = 10**9 - (await state_of(node.client)).level
    assert used >= 10 * len(hot_calls) + 10 * 130 + 100


async def test_what_a_settlement_finds_no_lease_for_is_told_to_redis(redis_url: str, nodes: list[Node]) -> None:
    node = Node(redis_url, limit(1, capacity=10**9, per_us=DAY, dimension="tokens"))
    nodes.append(node)
    await hot(node, tokens=10)
    held = await node.engine.decide(call(tokens=100), hold_seconds=60, is_settled_here=True)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (before := await state_of(node.client)).leased:
            await node.engine.reap(ORGANIZATION)
            await asyncio.sleep(0.02)

    await node.engine.settle(ORGANIZATION, held.hold_id, {"tokens": 30})

    async with asyncio.timeout(PATIENCE_SECONDS):
        while (after := await state_of(node.client)).level == before.level:
            await asyncio.sleep(0.01)
    assert after.level - before.level == 70


async def test_leases_are_given_back_when_calls_stop(redis_url: str, nodes: list[Node]) -> None:
    node = Node(redis_url, limit(1, capacity=10**6, per_us=DAY))
    nodes.append(node)
    found = await hot(node)

    async with asyncio.timeout(PATIENCE_SECONDS):
        while (state := await state_of(node.client)).leased:
            await asyncio.sleep(0.02)

    # Whatever was late to come back was lost with its lease, never counted twice.
    assert 10**6 - state.level >= len(found)


async def test_a_call_that_redis_decides_is_not_refused_what_its_own_process_has_on_lease(
    redis_url: str, nodes: list[Node]
) -> None:
    node = Node(
        redis_url,
        limit(1, capacity=1000, per_us=DAY, dimension="tokens"),
        limit(2, capacity=1000, method="fixed_window", period="year", dimension="tokens"),
    )
    nodes.append(node)
    used = len(await hot(node, tokens=1))

    # One that another process may settle is decided by Redis.
    decision = await node.engine.decide(call(tokens=1000 - used), hold_seconds=60)

    assert (decision.outcome, decision.decided_by) == ("admitted", "redis")


async def test_a_new_version_ends_the_lease_of_the_old_one(redis_url: str, nodes: list[Node]) -> None:
    node = Node(redis_url, limit(1, capacity=10**6, per_us=DAY))
    nodes.append(node)
    first = await hot(node)

    node.table = table(limit(1, capacity=10, per_us=DAY, version=2))
    later = [await node.engine.decide(call()) for _ in range(50)]

    assert all(item.is_admitted for item in first)
    # The fill fraction is kept, and of ten some units at most.
    assert sum(item.is_admitted for item in later) <= 10
    assert later[-1].outcome == "refused" and later[-1].retry_us > 0


LEASING_PROGRAM = """
import asyncio, sys
from tests.dataplane.decide.test_engine import Node, call, limit
async def main(url):
    node = Node(url, limit(1, capacity=100_000, per_us=86_400 * 10**6), timeout_seconds=100, socket_seconds=100)
    while True:
        for _ in range(20):
            decision = await node.engine.decide(call())
            if decision.is_admitted:
                print("x", flush=True)
        await asyncio.sleep(0.005)
asyncio.run(main(sys.argv[1]))
"""


async def test_the_lease_of_a_killed_process_loses_units_once_and_its_room_comes_back(
    redis_url: str, nodes: list[Node]
) -> None:
    keys, bucket = keys_of(ORGANIZATION), f"{1:032x}"
    process = subprocess.Popen([sys.executable, "-c", LEASING_PROGRAM, redis_url], stdout=subprocess.PIPE, cwd=ROOT)
    client = redis.asyncio.Redis.from_url(redis_url)

    async def state() -> BucketState | None:
        data = await client.get(keys.buckets + bucket)
        return BucketState.unpack(data) if data is not None else None

    async with asyncio.timeout(60):
        while (held := await state()) is None or not held.leased:
            await asyncio.sleep(0.005)
    process.kill()
    told = process.communicate()[0].count(b"x")
    dead = await state()
    assert dead is not None and dead.leased > 0

    node = Node(redis_url, limit(1, capacity=100_000, per_us=DAY))
    nodes.append(node)
    async with asyncio.timeout(60):
        while (after := await state()) is None or after.leased:
            await node.engine.reap(ORGANIZATION)
            await asyncio.sleep(0.02)
    await node.engine.reap(ORGANIZATION)

    assert after.level == dead.level, "what it had is not given back: it may have been spent"
    assert told <= 100_000 - after.level
    fields: list[dict[bytes, bytes]] = [entry for _, entry in await client.xrange(keys.trail)]
    reaped = [entry for entry in map(TrailEntry.read, fields) if entry.kind == "reap"]
    assert len(reaped) == 1
    await client.aclose()
