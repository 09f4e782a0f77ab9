"""Processes that decide and settle by leases and purses: the real code on the real scripts, in time that the test sets.

Whatever dies, whichever answers are lost and whenever calls end: of no window is more spent than it has, no more calls are in
flight than may be, and when all is over every counter is what the calls took, but for what the dead had; a ledger gives that
back.
"""

from __future__ import annotations

import os
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID

import pytest
from msgspec import structs

from nexus.contracts.limits import Call, Dimension, Limit, LimitTable
from nexus.dataplane.decide import lessee as module
from nexus.dataplane.decide.breaker import Breaker, LimiterAway
from nexus.dataplane.decide.explanation import explain
from nexus.dataplane.decide.leases import Correction
from nexus.dataplane.decide.lessee import Lessee
from nexus.dataplane.decide.model import Wish
from nexus.dataplane.decide.purses import Finished, Plan, Plans
from tests.dataplane.decide.cases import ORGANIZATION, SECOND, ClockedRedis, limit

T = TypeVar("T")
STEPS = int(os.environ.get("NEXUS_DECIDE_STEPS", "1200"))
_FEWEST_BY_LEASES = 60
"""Calls of a life that leases decide; fewer would prove little of them."""
KEYS = [UUID(int=number) for number in (1, 2)]
LIFE_US = 100 * SECOND
WINDOW, SLOTS, BUCKET = 60_000, 300, 400
LIMITS = [
    limit(1, capacity=BUCKET, units=1000),
    limit(2, capacity=WINDOW, method="fixed_window", dimension="money", currency="USD"),
    limit(3, capacity=SLOTS, method="concurrency"),
    limit(4, capacity=WINDOW // 2, method="fixed_window", dimension="money", currency="USD", scope="key"),
    limit(5, capacity=10**6, units=10**6, dimension="tokens", scope="key"),
]
TABLE = LimitTable(1, MappingProxyType({ORGANIZATION: LIMITS}))


class LossyBreaker(Breaker):
    """Loses some answers, after Redis has done what was asked."""

    def __init__(self, redis: ClockedRedis, chance: random.Random) -> None:
        super().__init__(redis.client.ping, timeout_seconds=60, on_recovery=lambda away_us: None)
        self.chance, self.lost = chance, 0.0

    async def run(self, work: Coroutine[Any, Any, T], *, silence_seconds: float | None = None) -> T:
        answer = await work
        if self.chance.random() < self.lost:
            raise LimiterAway
        return answer


@dataclass
class OpenCall:
    """A call that was admitted and has not ended."""

    process: Process
    plan: Plan
    money: int
    window: int
    is_in_redis: bool


@dataclass
class Process:
    """One process."""

    lessee: Lessee
    offset: int
    plans: Plans = field(default_factory=Plans)
    counted: list[int] = field(default_factory=list)
    """How many calls it said leases admitted, each time it said so."""
    by_leases: int = 0
    """How many they did."""
    is_dead: bool = False


@dataclass
class World:
    """Everything there is, and what really happened."""

    redis: ClockedRedis
    chance: random.Random
    breaker: LossyBreaker
    processes: list[Process] = field(default_factory=list)
    calls: dict[str, OpenCall] = field(default_factory=dict)
    spent: dict[tuple[str, int], int] = field(default_factory=dict)
    admitted: list[int] = field(default_factory=list)
    """When, for the bucket of requests."""
    overrun: int = 0
    local: int = 0
    number: int = 0

    def start(self) -> None:
        counted: list[int] = []
        made = Lessee(self.redis.scripts, self.breaker, lambda: self.redis.now, self.correct, counted.append)
        made._keep_sweeping = lambda: None  # type: ignore[method-assign]
        self.processes.append(Process(made, self.chance.randrange(10**9), counted=counted))

    async def correct(self, item: Correction) -> None:
        await self.redis.scripts.adjust(
            self.redis.keys, item.limit, item.bucket, item.units, self.redis.now, "c", window=item.window
        )

    @property
    def window(self) -> int:
        return self.redis.now // (60 * SECOND) * 60 * SECOND

    def note(self, plan: Plan, window: int, money: int) -> None:
        for known, bucket in plan.limits:
            if known.dimension == "money":
                self.spent[bucket, window] = self.spent.get((bucket, window), 0) + money

    async def ask(self, process: Process) -> None:
        self.number += 1
        name, money = f"h{self.number}", self.chance.randrange(1, 20)
        key = self.chance.choice(KEYS)
        call = Call(organization_id=ORGANIZATION, key_id=key, tokens=30, money=money, currency="USD")
        plan = process.plans.of(TABLE, call)
        charges = plan.charges_of(call)
        module.monotonic_us = lambda: self.redis.now + process.offset
        is_in_redis = False
        try:
            decision = await process.lessee.decide(plan, charges, hold_id=name, life_us=LIFE_US)
        except LimiterAway:
            return
        if decision is None:
            is_in_redis = True
            answer = await self.redis.decide(plan.asked(charges), hold=name, life_us=LIFE_US)
            is_admitted = answer[0] == 1
        else:
            is_admitted = decision.is_admitted
            self.local += 1
            process.by_leases += decision.is_admitted and decision.decided_by == "lease"
            # Written down from the purse's columns, it is what each limit's standing says.
            plain = structs.replace(decision, standings=list(decision.standings))
            actual: dict[Dimension, int] = {"money": money // 2, "tokens": 11}
            finished = Finished(plan, charges, plan.taken(charges, actual))
            assert explain(ORGANIZATION, decision, finished, actual) == explain(ORGANIZATION, plain, finished, actual)
        if is_admitted:
            self.calls[name] = OpenCall(process, plan, money, self.window, is_in_redis)
            self.admitted.append(self.redis.now)
            self.note(plan, self.window, money)

    async def end(self, name: str) -> None:
        call = self.calls.pop(name)
        module.monotonic_us = lambda: self.redis.now + call.process.offset
        kind = self.chance.choice(["settle", "settle", "settle", "release"])
        actual = 0 if kind == "release" else self.chance.choice([0, call.money // 2, call.money, call.money + 3])
        if call.is_in_redis:
            taken = {"money": actual, "tokens": 11}
            await self.redis.scripts.finish(self.redis.keys, name, kind, taken)  # type: ignore[arg-type]
        else:
            finished = call.process.lessee.finish(name, kind, {"money": actual, "tokens": 11})  # type: ignore[arg-type]
            assert finished is not None
        # What is settled when its window is over changes no later one, and the overrun is only shown.
        if call.window == self.window:
            self.note(call.plan, call.window, actual - call.money)
            self.overrun += max(0, actual - call.money)

    async def sweep(self) -> None:
        for process in self.processes:
            if not process.is_dead:
                module.monotonic_us = lambda: self.redis.now + process.offset  # noqa: B023
                await process.lessee.sweep()
        await self.redis.scripts.reap(self.redis.keys)

    def kill(self, process: Process) -> None:
        process.is_dead = True
        self.calls = {
            name: call for name, call in self.calls.items() if call.process is not process or call.is_in_redis
        }

    def check(self) -> None:
        assert len(self.calls) <= SLOTS, "more calls are in flight than may be"
        for (bucket, _), spent in self.spent.items():
            most = WINDOW if bucket == LIMITS[1].id.hex else WINDOW // 2
            assert spent <= most + self.overrun, "more was spent of a window than it has"


def overshoot(admitted: list[int], known: Limit) -> float:
    """By how many calls the worst interval had more than burst and refill."""
    assert known.rate is not None
    rate = known.rate.numerator / known.rate.denominator
    worst, lowest = float("-inf"), float("inf")
    for count, at in enumerate(admitted):
        lowest = min(lowest, count - rate * (at - admitted[0]))
        worst = max(worst, count + 1 - rate * (at - admitted[0]) - lowest - known.capacity)
    return worst


@pytest.fixture
async def world(clocked: ClockedRedis, monkeypatch: pytest.MonkeyPatch, request: Any) -> World:
    monkeypatch.setattr(module, "monotonic_us", module.monotonic_us)
    # A wait for what others have of a window is a wait in the test's time: others go on meanwhile, which here they cannot.
    monkeypatch.setattr(module, "_LONGEST_WAIT_US", -1)
    chance = random.Random(request.param)
    made = World(clocked, chance, LossyBreaker(clocked, chance))
    for _ in range(3):
        made.start()
    return made


async def live(world: World, steps: int, *, kills: bool) -> None:
    chance = world.chance
    for step in range(steps):
        alive = [process for process in world.processes if not process.is_dead]
        what = chance.random()
        if what < 0.52:
            # One process is the hot one, for a while.
            await world.ask(alive[step // 200 % len(alive)] if chance.random() < 0.8 else chance.choice(alive))
        elif what < 0.97:
            mine = [name for name, call in world.calls.items() if not call.process.is_dead or call.is_in_redis]
            if mine:
                await world.end(chance.choice(mine))
        elif kills and what < 0.9725:
            world.kill(chance.choice(alive))
            world.start()
        pause = chance.choice([0, 100, 500, 1000, 2000])
        if chance.random() < 0.003:
            pause = chance.choice([SECOND // 3, SECOND // 3, 2 * SECOND, 6 * SECOND])
        # Processes look after their leases twenty times a second.
        while pause > SECOND // 20:
            await world.redis.set(world.redis.now + SECOND // 20)
            pause -= SECOND // 20
            await world.sweep()
        await world.redis.set(world.redis.now + pause)
        if step % 30 == 0:
            await world.sweep()
        world.check()
    assert overshoot(world.admitted, LIMITS[0]) <= 0
    # However long a life is: the nearer a window is to full, the less of it is leased.
    assert world.local > _FEWEST_BY_LEASES, "hardly any call was decided by leases"


async def finish(world: World) -> None:
    for name, call in list(world.calls.items()):
        if not call.process.is_dead or call.is_in_redis:
            await world.end(name)
    for process in world.processes:
        if not process.is_dead:
            module.monotonic_us = lambda: world.redis.now + process.offset  # noqa: B023
            await process.lessee.stop()
            assert sum(process.counted) == process.by_leases, "a call is counted twice, or not at all"


@pytest.mark.parametrize("world", range(3), indirect=True)
async def test_when_all_calls_have_ended_counters_are_what_they_took(world: World) -> None:
    await live(world, STEPS, kills=False)
    await finish(world)

    flight = await world.redis.state(LIMITS[2].id.hex)
    assert flight is not None and (flight.level, flight.leased) == (0, 0)
    for (bucket, window), spent in world.spent.items():
        state = await world.redis.state(bucket)
        if state is not None and state.at == window:
            assert (state.level, state.held, state.leased, state.fraction) == (spent, 0, 0, 0)


@pytest.mark.parametrize("world", range(3, 6), indirect=True)
async def test_what_dead_processes_had_is_charged_until_a_ledger_gives_it_back(world: World) -> None:
    world.breaker.lost = 0.02
    await live(world, STEPS, kills=True)
    world.breaker.lost = 0.0
    await finish(world)
    # Leases of the dead end, slots of calls in flight last.
    await world.redis.set(min(world.redis.now + 11 * SECOND, world.window + 60 * SECOND - 1))
    await world.redis.scripts.reap(world.redis.keys)

    for known in (LIMITS[1], LIMITS[3]):
        for (bucket, window), spent in world.spent.items():
            state = await world.redis.state(bucket)
            if not bucket.startswith(known.id.hex) or state is None or state.at != window or state.leased:
                continue
            assert state.level >= spent
            lost, ours = state.fraction, state.level - state.held - state.leased - state.fraction
            await world.redis.scripts.reconcile(
                world.redis.keys, known, bucket, world.redis.now, "r", window=window, lost=lost, known=ours, used=spent
            )
            after = await world.redis.state(bucket)
            assert after is not None and spent <= after.level
            assert after.level - spent <= max(0, state.level - spent - lost)


async def test_a_wait_for_what_others_have_of_a_window_ends_with_it(clocked: ClockedRedis) -> None:
    """A call that would be refused, were nothing on lease, is refused at once; one that leases are in the way of is not."""
    window = limit(1, capacity=100, method="fixed_window")
    granted = await clocked.scripts.lease(
        clocked.keys, "p", 1, [Wish(window, "b", 0, 20)], clocked.now, life_us=SECOND, horizon_us=SECOND
    )
    assert granted[5] == 20

    answers = [(await clocked.decide([(window, "b", units)]))[0] for units in (70, 20, 31)]
    await clocked.set(clocked.now + SECOND + 1)
    await clocked.scripts.reap(clocked.keys)
    lost = await clocked.decide([(window, "b", 20)])

    assert answers == [1, 5, 0]
    assert lost[0] == 0, "nobody knows whether a dead process spent what it had"


async def test_what_is_left_of_a_lease_comes_back_only_in_its_window(clocked: ClockedRedis) -> None:
    window = limit(1, capacity=100, method="fixed_window")

    async def lease(sequence: int, *, wanted: int = 0, named: int = 0, rest: int = 0, kept: int = 0) -> list[int]:
        wish = Wish(window, "b", 0, wanted, named, rest, kept)
        return await clocked.scripts.lease(
            clocked.keys, "p", sequence, [wish], clocked.now, life_us=100 * SECOND, horizon_us=SECOND
        )

    await lease(1, wanted=20)
    await lease(2, named=1, rest=15, kept=2)
    state = await clocked.state("b")
    assert state is not None and (state.level, state.leased) == (5, 2), "two of the five are held by calls"
    await lease(3, wanted=20)
    await clocked.set(clocked.now + 61 * SECOND)
    assert (await clocked.decide([(window, "b", 30)]))[0] == 1

    await lease(4, named=3, rest=20)

    state = await clocked.state("b")
    assert state is not None and (state.level, state.leased, state.fraction) == (30, 0, 0)
