"""Versions published and rolled back while several processes decide: each has them by itself, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from nexus.contracts.limits import Call
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.scripts import BucketState, keys_of
from nexus.dataplane.decide.tables import LimitSnapshots
from nexus.platform.db import Database
from tests.admission.conftest import Api
from tests.conftest import TestOrganization

FIRST = {"name": "tokens", "dimension": "tokens", "rate": "1", "per": "day", "capacity": "100000"}
PROCESSES = 4


class Process:
    """What decides in one process: tables of its own, kept current by polling, and an engine with leases of its own."""

    def __init__(self, database: Database, redis_url: str) -> None:
        self.client = redis.asyncio.Redis.from_url(redis_url)
        self.limits = LimitSnapshots(database)
        self.engine = Admission(self.client, lambda: self.limits.table, timeout_seconds=10)
        self.admitted: Counter[int] = Counter()
        self.others: list[str] = []

    async def load(self, call: Call, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            decision = await self.engine.decide(call)
            if decision.is_admitted and not decision.is_degraded:
                self.admitted[decision.standings[0].limit.version] += 1
            else:
                self.others.append(decision.outcome)
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        await self.engine.stop()
        await self.limits.stop()
        await self.client.aclose()


@pytest.fixture
async def processes(api: Api, database: Database, redis_url: str) -> AsyncIterator[list[Process]]:
    made = [Process(database, redis_url) for _ in range(PROCESSES)]
    yield made
    for process in made:
        await process.stop()


async def test_each_process_has_a_version_by_itself_and_no_decision_fails_while_it_comes(
    api: Api, processes: list[Process], organization: TestOrganization
) -> None:
    quota = await api.post("quotas", {"name": "all", "scope": "organization", "limits": [FIRST], "reason": "first"})
    path = f"quotas/{quota.json()['id']}"
    for process in processes:
        await process.limits.start()
        await process.engine.start()
    call = Call(organization_id=organization.id, tokens=1)
    held = await processes[0].engine.decide(Call(organization_id=organization.id, tokens=500), hold_seconds=60)
    over = asyncio.Event()
    running = [asyncio.create_task(process.load(call, over)) for process in processes]

    async def everywhere(version: int) -> None:
        # The promise is a second; here only that it comes without being asked for, however busy the machine is.
        async with asyncio.timeout(60):
            while not all(process.admitted[version] > 20 for process in processes):
                await asyncio.sleep(0.02)

    await everywhere(1)
    doubled = {"limits": [{**FIRST, "capacity": "200000"}], "reason": "more"}
    assert (await api.post(f"{path}/versions", doubled)).status_code == 201
    await everywhere(2)
    assert (await api.post(f"{path}/roll-back", {"version": 1, "reason": "less"})).status_code == 201
    await everywhere(3)
    over.set()
    await asyncio.gather(*running)
    settled = await processes[-1].engine.settle(organization.id, held.hold_id, {"tokens": 100})
    for process in processes:
        await process.engine.stop()

    assert [process.others for process in processes] == [[]] * PROCESSES
    assert settled.status == "ended" and settled.legs[0].actual == 100
    (limit,) = processes[0].limits.table.limits[organization.id]
    data = await api.redis.get(keys_of(organization.id).buckets + limit.id.hex)
    assert isinstance(data, bytes)
    state = BucketState.unpack(data)
    by_version = sum((process.admitted for process in processes), Counter[int]())
    # Each charge in units of the first version; one made under the doubled capacity is half as much of the fill.
    spent = 100 + by_version[1] + by_version[3]
    assert (state.version, state.leased, state.held) == (3, 0, 0)
    assert 100_000 - spent - by_version[2] <= state.level <= 100_000 - spent - by_version[2] // 2 + 400
