"""Events of budgets, recorded once by however many nodes; counters that are brought back to the ledger."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from nexus.costs.jobs import Reconciler, note_events
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.scripts import Scripts, keys_of
from nexus.kit.money import NANOS
from tests.costs.conftest import HOLD, Api, admitted, call_of


async def events(api: Api, budget: dict[str, object]) -> list[tuple[str, float | None, str]]:
    found = (await api.get(f"budgets/{budget['id']}/events")).json()["items"]
    return [(item["kind"], item["threshold"], item["spent"]) for item in reversed(found)]


async def test_a_threshold_is_an_event_once_a_period_however_many_nodes_look(api: Api) -> None:
    budget = await api.make(amount="10")
    await api.spend(5 * NANOS)

    new = await asyncio.gather(*(note_events(api.database, api.redis, api.clock.now()) for _ in range(4)))
    await api.spend(4 * NANOS + NANOS // 2)
    more = await note_events(api.database, api.redis, api.clock.now())
    again = await note_events(api.database, api.redis, api.clock.now())
    api.clock.advance(timedelta(days=30))
    await api.spend(5 * NANOS)
    await note_events(api.database, api.redis, api.clock.now())

    assert (sum(new), more, again) == (1, 2, 0)
    assert await events(api, budget) == [
        ("threshold", 0.5, "5"), ("threshold", 0.75, "9.5"), ("threshold", 0.9, "9.5"), ("threshold", 0.5, "5"),
    ]  # fmt: skip


async def test_the_first_refusal_of_a_period_is_an_event_and_the_budget_is_shown_as_paused(
    api: Api,
    engines: list[Admission],
) -> None:
    budget = await api.make(amount="2.5", pauses=True)
    await api.limits.refresh()
    for engine in engines:
        await admitted(engine, call_of(api))
    before = (await api.detail(budget))["standing"]
    await asyncio.gather(*(task for engine in engines for task in engine._tasks))

    assert await note_events(api.database, api.redis) == 1
    assert await note_events(api.database, api.redis) == 0
    after = (await api.detail(budget))["standing"]
    await api.patch(f"budgets/{budget['id']}", {"amount": "5", "reason": "more"})

    assert (before["state"], after["state"]) == ("within", "paused") and after["paused_since"]
    assert await events(api, budget) == [("paused", None, "0")]
    assert (await api.detail(budget))["standing"]["state"] == "within", "with another amount it goes on"


async def left_of(api: Api, engine: Admission) -> int:
    return await admitted(engine, call_of(api), most=30)


async def test_what_came_by_other_ways_is_counted_too_once(api: Api, engines: list[Admission]) -> None:
    await api.make(amount="10", pauses=True)
    await api.limits.refresh()
    await engines[0].decide(call_of(api), hold_seconds=HOLD)
    await api.spend(6 * NANOS)

    nodes = [Reconciler(api.redis) for _ in range(2)]
    first = [await node(api.database) for node in nodes]
    then = await asyncio.gather(*(node(api.database) for node in nodes))
    after = [await node(api.database) for node in (*nodes, *nodes)]

    assert (first, sum(then), sum(after)) == ([0, 0], 1, 0)
    # 10 - 1 held - 6 recorded
    assert await left_of(api, engines[1]) == 3


async def test_what_nobody_recorded_is_given_back_when_nothing_moves_any_more_and_not_before(
    api: Api,
    engines: list[Admission],
) -> None:
    await api.make(amount="10", pauses=True)
    await api.limits.refresh()
    # A process that died: its hold is reaped and stays charged as estimated; what it did cost is recorded later.
    await engines[0].decide(call_of(api, 8 * NANOS), hold_seconds=0.001)
    await asyncio.sleep(0.01)
    await Scripts(api.redis).reap(keys_of(api.organization_id))
    await api.spend(3 * NANOS)
    now = [0.0]
    node = Reconciler(api.redis, settled_seconds=60, monotonic=lambda: now[0])

    corrected = []
    for seconds in (0.0, 59.0, 60.0, 200.0):
        now[0] = seconds
        corrected.append(await node(api.database))

    assert corrected == [0, 0, 1, 0]
    assert await left_of(api, engines[1]) == 7


async def test_a_counter_that_moves_is_left_alone(api: Api, engines: list[Admission]) -> None:
    await api.make(amount="10", pauses=True)
    await api.limits.refresh()
    now = [0.0]
    node = Reconciler(api.redis, settled_seconds=60, monotonic=lambda: now[0])

    for _ in range(4):
        held = await engines[0].decide(call_of(api), hold_seconds=HOLD)
        await engines[0].settle(api.organization_id, held.hold_id, {"money": NANOS})
        now[0] += 50
        assert await node(api.database) == 0

    assert await left_of(api, engines[1]) == 6
