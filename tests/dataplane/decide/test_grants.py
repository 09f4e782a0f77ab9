"""Shares of capacity in one cell: only a grant changes what is in force, the newest holds, and none of them makes units."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexus.contracts.limits import Limit, Rate, Share
from nexus.dataplane.decide.scripts import POSTING, Granted, TrailEntry
from tests.dataplane.decide.cases import SECOND, ClockedRedis, limit

BUCKET = "b"
SHARE = replace(limit(capacity=10, units=10, version=0), share=Share(10, Rate.of(10, per_us=SECOND), 100))


async def grant(clocked: ClockedRedis, number: int, capacity: int, a_second: int, *, late_by: int = 0) -> Granted:
    rate = Rate.of(a_second, per_us=SECOND) if a_second else None
    return await clocked.scripts.grant(
        clocked.keys, BUCKET, number=number, capacity=capacity, rate=rate, deadline_us=clocked.now - late_by
    )


async def left(clocked: ClockedRedis, units: int = 0, asked: Limit = SHARE) -> int:
    """Ask for units, and return what is left then; -4 where nothing is granted."""
    answer = await clocked.decide([(asked, BUCKET, units)])
    return answer[4] if answer[0] >= 0 else answer[0]


async def test_a_decision_opens_no_share_and_a_grant_opens_it_empty_a_second_later(clocked: ClockedRedis) -> None:
    assert await left(clocked) == -4
    assert (await grant(clocked, 1, 100, 100)).status == 3
    assert await left(clocked) == 0
    await clocked.set(clocked.now + SECOND)
    assert await left(clocked) == 0, "leases of before a loss may be spent until now"
    await clocked.set(clocked.now + SECOND // 2)
    assert await left(clocked) == 50


async def test_more_is_had_by_refilling_alone_and_less_at_once(clocked: ClockedRedis) -> None:
    await grant(clocked, 1, 100, 100)
    await clocked.set(clocked.now + 9 * SECOND)
    assert await left(clocked, 40) == 60

    assert (await grant(clocked, 2, 400, 200)).status == 1
    assert await left(clocked) == 60, "the fill fraction is not kept: units would be made"
    await clocked.set(clocked.now + SECOND)
    assert await left(clocked) == 260
    await grant(clocked, 3, 50, 10)
    assert await left(clocked) == 50
    await grant(clocked, 4, 400, 200)
    assert await left(clocked) == 50


async def test_what_is_owed_stays_owed(clocked: ClockedRedis) -> None:
    await grant(clocked, 1, 100, 100)
    await clocked.set(clocked.now + 9 * SECOND)
    await clocked.scripts.adjust(clocked.keys, SHARE, BUCKET, 130, clocked.now, "debt")

    await grant(clocked, 2, 50, 10)

    state = await clocked.state(BUCKET)
    assert state is not None
    assert state.level == -30


@pytest.mark.parametrize(("number", "status"), [(1, -1), (2, 2)])
async def test_an_older_order_and_the_same_again_change_nothing(
    clocked: ClockedRedis, number: int, status: int
) -> None:
    await grant(clocked, 2, 50, 10)
    before = await clocked.everything()

    answer = await grant(clocked, number, 400, 400)

    assert (answer.status, answer.number) == (status, 2)
    assert await clocked.everything() == before


async def test_an_order_whose_deadline_has_gone_by_opens_nothing(clocked: ClockedRedis) -> None:
    assert (await grant(clocked, 1, 400, 400, late_by=1)).status == 0
    assert await left(clocked) == -4
    assert (await grant(clocked, 1, 400, 400)).status == 3


async def test_no_process_changes_what_is_granted_and_time_forgets_it_never(clocked: ClockedRedis) -> None:
    await grant(clocked, 7, 100, 100)
    await clocked.set(clocked.now + 3600 * SECOND)
    await clocked.scripts.reap(clocked.keys)

    await left(clocked, 1, replace(SHARE, capacity=500, rate=Rate.of(500, per_us=SECOND)))

    state = await clocked.state(BUCKET)
    assert state is not None
    assert (state.version, state.capacity, state.level) == (7, 100, 99)


async def test_what_is_taken_away_is_no_bucket_and_the_trail_gives_the_state_again(clocked: ClockedRedis) -> None:
    await grant(clocked, 1, 100, 100)
    await clocked.set(clocked.now + 9 * SECOND)
    await left(clocked, 40)
    await grant(clocked, 2, 20, 10)
    state, level = await clocked.state(BUCKET), 0
    for _, fields in await clocked.client.xrange(clocked.keys.trail):
        for _, data in TrailEntry.read(fields).postings:
            opened, refilled, adjusted, changed, after, *_ = map(int, POSTING.unpack(data))
            level = (0 if opened else level) + refilled + adjusted + changed
            assert level == after

    assert state is not None
    assert level == state.level == 20
    assert (await grant(clocked, 3, 0, 0)).status == 1
    assert (await grant(clocked, 3, 0, 0)).status == 2
    assert await clocked.state(BUCKET) is None
    assert await clocked.client.zscore(clocked.keys.bucket_list, BUCKET) is None
