"""Twelve processes at one pausing budget that pays for exactly a hundred of their thousand calls, half of them killed midway."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from nexus.costs.jobs import Reconciler
from nexus.dataplane.decide.scripts import POSTING, BucketState, Scripts, TrailEntry, keys_of
from nexus.kit.clock import FixedClock
from nexus.platform.db import Database
from nexus.platform.db.pool import DatabaseUrls
from tests.admission.deciders import PATIENCE_SECONDS, deciders, outcomes_of
from tests.conftest import TestOrganization
from tests.costs.conftest import Api, opened

PROCESSES, CALLS, AT_ONCE = 12, 84, 12
PAID_FOR = 100
PRICE, ACTUAL = 90_000_000, 70_000_000
"""Nanos: what a call is held at, and what it takes."""
AMOUNT = "9"
HOLD_SECONDS = 3.0
CALL = {"money": PRICE, "currency": "USD"}


@dataclass(frozen=True)
class Trail:
    """What the trail says of the budget."""

    charged: int
    """Calls that were admitted."""
    settled: int
    reaped: int
    level: int
    """Sum of all postings."""


async def read_trail(api: Api) -> Trail:
    """Read it as it stands in Redis; nothing drains it meanwhile."""
    kinds: dict[str, str] = {}
    level = 0
    for _, fields in await api.redis.xrange(keys_of(api.organization_id).trail):
        entry = TrailEntry.read(fields)
        if entry.kind != "adjust":
            kinds[entry.reference] = entry.kind
        ((_, data),) = entry.postings
        opened_with, refilled, adjusted, changed, *_ = map(int, POSTING.unpack(data))
        level = (0 if opened_with else level) + refilled + adjusted + changed
    counted = Counter(kinds.values())
    return Trail(len(kinds), counted["settle"], counted["reap"], level)


async def race(
    database: Database, organization: TestOrganization, urls: DatabaseUrls, redis_url: str, *, kills: bool
) -> None:
    """Run it once and assert everything that has to hold."""
    async with opened(database, organization, redis_url, FixedClock(datetime.now(UTC))) as api:
        await api.make(amount=AMOUNT, pauses=True, period="year")
        await api.limits.refresh()
        (budget,) = api.limits.table.limits[organization.id]
        keys, scripts = keys_of(organization.id), Scripts(api.redis)

        async with deciders(PROCESSES, redis_url, urls, organization.id) as processes:
            rush = {"calls": CALLS, "at_once": AT_ONCE, "call": CALL, "hold": HOLD_SECONDS}
            for process in processes:
                process.say("rush", **rush)
            dead = processes[::2] if kills else []
            if kills:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while await api.redis.xlen(keys.trail) < PAID_FOR // 3:
                        await asyncio.sleep(0.001)
                for process in dead:
                    process.kill()
            alive = [process for process in processes if process not in dead]
            told = [await process.answer() for process in alive]

            admitted = (await read_trail(api)).charged
            assert admitted == PAID_FOR, "the others asked for more than was left"
            assert set(outcomes_of(told)) <= {"admitted", "refused"}, "nobody was refused for lack of an answer"
            holds = [item["holds"] for item in told]
            assert kills or sum(map(len, holds)) == PAID_FOR
            for process, own in zip(alive, holds, strict=True):
                process.say("settle", holds=own, actual={"money": ACTUAL})
            settled = [await process.answer() for process in alive]
            assert sum(item["statuses"].get("ended", 0) for item in settled) == sum(map(len, holds))

            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await scripts.reap(keys))[2]:
                    await asyncio.sleep(0.05)
            trail = await read_trail(api)
            state = await read_bucket(api, budget.id.hex)
            counted = trail.settled * ACTUAL + trail.reaped * PRICE
            assert trail.settled == sum(map(len, holds)) and trail.settled + trail.reaped == PAID_FOR
            assert (state.level, state.held) == (counted, 0) and trail.level == counted
            assert counted <= budget.capacity

            # What was made is on record; what died before it was, is not, and comes back.
            await api.spend(*[ACTUAL] * trail.settled)
            await reconcile(api)
            spent = trail.settled * ACTUAL
            state = await read_bucket(api, budget.id.hex)
            assert (state.level, state.held) == (spent, 0), "the counter equals the ledger"

            rest = await alive[0].tell("rush", calls=PAID_FOR, at_once=1, call=CALL, hold=HOLD_SECONDS)
            assert len(rest["holds"]) == (budget.capacity - spent) // PRICE, (
                "nobody is refused below the cap, nor admitted above"
            )
            assert set(rest["outcomes"]) <= {"admitted", "refused"}


async def read_bucket(api: Api, bucket: str) -> BucketState:
    """Return the budget's bucket as Redis has it."""
    data = await api.redis.get(keys_of(api.organization_id).buckets + bucket)
    assert isinstance(data, bytes)
    return BucketState.unpack(data)


async def reconcile(api: Api) -> None:
    """Compare the counters with the ledger, twice, so long apart that nothing is on its way."""
    now = [0.0]
    node = Reconciler(api.redis, settled_seconds=60, monotonic=lambda: now[0])
    for seconds in (0.0, 61.0):
        now[0] = seconds
        await node(api.database)
