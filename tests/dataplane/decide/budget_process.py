"""One of the processes of `budget_race`, which starts many: it imports no more than it needs."""

from __future__ import annotations

import asyncio
import sys
from types import MappingProxyType
from uuid import UUID

import redis.asyncio

from nexus.contracts.limits import Call, Limit, LimitTable
from nexus.dataplane.decide.engine import Admission

ORGANIZATION = UUID(int=0xACE)
CALLS, PAID_FOR = 84, 100
PRICE, ACTUAL = 9, 7
BUDGET = Limit(
    id=UUID(int=1), name="budget", organization_id=ORGANIZATION, scope="organization", subject=None, dimension="money",
    method="fixed_window", capacity=PAID_FOR * PRICE, period="year", currency="USD",
)  # fmt: skip
THE_CALL = Call(organization_id=ORGANIZATION, money=PRICE, currency="USD")
HOLD_SECONDS = 3.0
PATIENCE_SECONDS = 120


def engine_on(client: redis.asyncio.Redis) -> Admission:
    """Make an engine that knows the budget, and waits."""
    table = LimitTable(1, MappingProxyType({ORGANIZATION: [BUDGET]}))
    return Admission(client, lambda: table, timeout_seconds=PATIENCE_SECONDS)


async def take_part(url: str) -> None:
    """Ask when told to, settle what was admitted when told to."""
    client = redis.asyncio.Redis.from_url(url, socket_timeout=PATIENCE_SECONDS)
    engine = engine_on(client)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    decisions = []
    for _ in range(CALLS // 12):
        decisions += await asyncio.gather(*[engine.decide(THE_CALL, hold_seconds=HOLD_SECONDS) for _ in range(12)])
    print(sum(decision.is_admitted for decision in decisions), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for decision in decisions:
        if decision.is_admitted:
            await engine.settle(ORGANIZATION, decision.hold_id, {"money": ACTUAL})
    await engine.stop()
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(take_part(sys.argv[1]))
