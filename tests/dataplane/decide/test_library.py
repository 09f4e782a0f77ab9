"""The engine as a library: programs of threads and of coroutines share limits through Redis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from nexus.contracts.limit_specs import LimitSpec
from nexus.contracts.limits import Call
from nexus.dataplane.decide.library import BlockingAdmission, connected, limits_of

SHOP = UUID(int=7)
LIMITS = limits_of(
    SHOP,
    [
        LimitSpec("requests", "requests", rate="40", per="day"),
        LimitSpec("tokens", "tokens", rate="1000", per="day", capacity="1000"),
        LimitSpec("flight", "concurrency", method="concurrency", amount="10"),
    ],
)


def test_threads_share_limits_and_settle_what_they_hold(redis_url: str) -> None:
    with (
        BlockingAdmission(redis_url, LIMITS, timeout_seconds=60) as first,
        BlockingAdmission(redis_url, LIMITS, timeout_seconds=60) as second,
    ):

        def work(number: int) -> bool:
            admission = (first, second)[number % 2]
            decision = admission.decide(Call(organization_id=SHOP, tokens=20), hold_seconds=60)
            if decision.is_admitted:
                assert admission.settle(SHOP, decision.hold_id, {"tokens": 10}).status == "ended"
            return decision.is_admitted

        with ThreadPoolExecutor(5) as threads:
            admitted = sum(threads.map(work, range(60)))
    # What either had on lease is back.
    with BlockingAdmission(redis_url, LIMITS, timeout_seconds=60) as third:
        while (decision := third.decide(Call(organization_id=SHOP))).is_admitted:
            third.settle(SHOP, decision.hold_id, {})
            admitted += 1

    assert admitted == 40, "five threads are never ten calls in flight: only the requests run out"
    assert decision.refused_by is not None
    assert decision.refused_by.name == "requests"


async def test_an_asynchronous_program_meets_what_another_used(redis_url: str) -> None:
    async with connected(redis_url, LIMITS, timeout_seconds=60) as admission:
        held = await admission.decide(Call(organization_id=SHOP, tokens=990), hold_seconds=60, is_settled_here=True)
        await admission.release(SHOP, held.hold_id)
        decision = await admission.decide(Call(organization_id=SHOP, tokens=600))
        async with connected(redis_url, LIMITS, timeout_seconds=60) as other:
            refused = await other.decide(Call(organization_id=SHOP, tokens=600))

    assert held.is_admitted and decision.is_admitted
    assert refused.refused_by is not None and refused.refused_by.name == "tokens"
