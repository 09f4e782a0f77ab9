"""Leases: what processes may spend by themselves was prepaid, once, whoever dies, comes late or comes again."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import Any, TypeVar

import pytest
import redis.asyncio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from nexus.contracts.limits import Limit
from nexus.dataplane.decide.leases import HORIZON_US, LIFE_US, Leases
from nexus.dataplane.decide.model import Bucket as BucketModel
from nexus.dataplane.decide.model import Cell, Lease, Wish
from nexus.dataplane.decide.scripts import unpack_lease
from tests.dataplane.decide.cases import SECOND, START, ClockedRedis, limit
from tests.dataplane.decide.simulation import Pace, arrivals, ideal, simulate
from tests.dataplane.decide.test_scripts import STATUS, rebuilt

T = TypeVar("T")
EXAMPLES = int(os.environ.get("NEXUS_DECIDE_EXAMPLES", settings.default.max_examples))
PROCESSES = ("p0", "p1", "p2", "p3")
BUCKETS = st.lists(st.integers(0, 1), min_size=1, max_size=2, unique=True)


@st.composite
def leased_limits(draw: st.DrawFn, number: int) -> Limit:
    """Token buckets that fill in a few milliseconds to minutes, windows of a minute, calls in flight."""
    method = draw(st.sampled_from(["token_bucket", "token_bucket", "fixed_window", "concurrency"]))
    if method != "token_bucket":
        capacity = draw(st.one_of(st.integers(2, 100), st.integers(100, 10**5)))
        return limit(number, capacity=capacity, method=method, reserve=draw(st.integers(0, min(3, capacity - 1))))
    units, per_us = draw(st.sampled_from([(1000, SECOND), (100, SECOND), (7, 1000), (3, 7), (10**6, 1), (1, SECOND)]))
    capacity = max(1, draw(st.integers(1, 5 * SECOND)) * units // per_us)
    return limit(
        number, capacity=capacity, units=units, per_us=per_us, reserve=draw(st.integers(0, min(3, capacity - 1)))
    )


@dataclass
class Asked:
    """A call of the script, to be replayed."""

    process: str
    sequence: int
    wishes: list[Wish]


class Leasing(RuleBasedStateMachine):
    """Any sequence of asks, returns, direct calls, deaths, answers that are lost, replays, clock steps and publications."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.client = redis.asyncio.Redis.from_url(self.url)
        self.redis = ClockedRedis(self.client)
        self.model = Cell()
        self.known: list[Limit] = []
        self.sequence = 0
        # What each process knows of its lease: (number, units it has not spent, its window). A process that never got its answer
        # knows none.
        self.held: dict[tuple[str, str], tuple[int, int, int]] = {}
        # What was really spent of each window, whoever knows of it, and by how much settlements took more than was estimated.
        self.spent: dict[tuple[str, int], int] = {}
        self.overspent = 0
        self.largest: dict[str, int] = {}
        # Calls that processes have under way: of each no more than it had slots for.
        self.flying: dict[tuple[str, str], int] = {}
        self.calls: list[Asked] = []

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.wait(self.client.aclose())
        self.loop.close()

    @initialize(first=leased_limits(1), second=leased_limits(2))
    def begin(self, first: Limit, second: Limit) -> None:
        self.wait(self.client.flushall())
        self.wait(self.redis.open())
        self.known = [first, second]

    @rule(by=st.one_of(
        st.integers(0, 50_000), st.integers(0, 3 * SECOND), st.integers(0, 70 * SECOND), st.integers(-SECOND // 2, -1)
    ))  # fmt: skip
    def pass_time(self, by: int) -> None:
        self.wait(self.redis.set(max(START, self.redis.now + by)))

    def note(self, name: str, window: int, units: int) -> None:
        self.spent[name, window] = self.spent.get((name, window), 0) + units

    def run(self, asked: Asked) -> list[int]:
        return self.wait(
            self.redis.scripts.lease(
                self.redis.keys, asked.process, asked.sequence, asked.wishes, self.redis.now,
                life_us=LIFE_US, horizon_us=HORIZON_US,
            )
        )  # fmt: skip

    def wish(self, process: str, numbers: list[int], charge: int, wanted: int, spent: int) -> Asked:
        self.sequence += 1
        wishes = []
        for number in numbers:
            named, rest, window = self.held.pop((process, f"b{number}"), (0, 0, 0))
            # One in five was overspent by settlements to more than was estimated.
            taken = spent if named and self.sequence % 5 == 0 else min(spent, rest)
            self.note(f"b{number}", window, taken)
            self.overspent += max(0, taken - rest)
            kept = taken // 2
            if self.known[number].method == "concurrency":
                kept = self.flying[process, f"b{number}"] = min(
                    spent, self.flying.get((process, f"b{number}"), 0) + rest
                )
            wishes.append(Wish(self.known[number], f"b{number}", charge, wanted, named, rest - taken, kept))
        made = Asked(process, self.sequence, wishes)
        self.calls.append(made)
        return made

    @rule(
        process=st.sampled_from(PROCESSES), numbers=BUCKETS, charge=st.integers(0, 5), wanted=st.integers(1, 5000),
        spent=st.integers(0, 3000), answered=st.booleans(),
    )  # fmt: skip
    def ask(self, process: str, numbers: list[int], charge: int, wanted: int, spent: int, answered: bool) -> None:
        asked = self.wish(process, numbers, charge, wanted, spent)

        answer = self.run(asked)
        verdict = self.model.lease(
            process, asked.sequence, asked.wishes, self.redis.now, life_us=LIFE_US, horizon_us=HORIZON_US
        )

        assert verdict is not None
        assert answer[0] == STATUS[verdict.outcome], (answer, verdict)
        if verdict.outcome == "impossible":
            return
        if verdict.outcome == "refused":
            assert verdict.retry_us <= answer[3] <= verdict.retry_us + 2 + verdict.retry_us // 10**9
        for place, wish in enumerate(asked.wishes):
            left, at_once, accruing, _, window = answer[4 + 5 * place : 9 + 5 * place]
            bucket = self.model.buckets[wish.bucket]
            lease = bucket.leases[process]
            assert left == floor(bucket.available()) + bucket.ahead(self.redis.now)
            assert window == (bucket.at if bucket.limit.method == "fixed_window" else 0)
            granted = at_once + accruing
            if answer[0] == 1:
                self.note(wish.bucket, window, wish.charge)
            if bucket.limit.method == "token_bucket":
                assert (granted, accruing) == (lease.amount, lease.accruing)
            elif bucket.limit.method == "concurrency":
                assert lease.amount == granted + wish.kept + (wish.charge if answer[0] == 1 else 0)
                if answered and answer[0] == 1:
                    self.flying[process, wish.bucket] += wish.charge
            if answered and lease.amount:
                self.held[process, wish.bucket] = (asked.sequence, granted, window)

    @rule(process=st.sampled_from(PROCESSES), numbers=BUCKETS, spent=st.integers(0, 3000))
    def give_back(self, process: str, numbers: list[int], spent: int) -> None:
        asked = self.wish(process, numbers, 0, 0, spent)

        answer = self.run(asked)

        assert answer[0] == 1
        assert all(answer[5 + 5 * place] == 0 for place in range(len(numbers)))
        self.model.lease(process, asked.sequence, asked.wishes, self.redis.now, life_us=LIFE_US, horizon_us=HORIZON_US)

    @rule(number=st.integers(0, 60))
    def come_late(self, number: int) -> None:
        """A call that was run before, or that a later one of its process overtook."""
        if self.calls:
            asked = self.calls[number % len(self.calls)]
            fences = [
                bucket.leases[asked.process].sequence
                for wish in asked.wishes
                if (bucket := self.model.buckets.get(wish.bucket)) and asked.process in bucket.leases
            ]
            if any(fence >= asked.sequence for fence in fences):
                before = self.wait(self.redis.everything())
                assert self.run(asked)[0] == 3
                assert self.wait(self.redis.everything()) == before, "a call that came late wrote"

    @rule(numbers=BUCKETS, units=st.integers(0, 50), holds=st.booleans())
    def decide(self, numbers: list[int], units: int, holds: bool) -> None:
        asked = [(self.known[number], f"b{number}", units) for number in numbers]
        self.sequence += 1
        holds = holds or any(known.method == "concurrency" for known, _, _ in asked)
        more = {"hold": f"h{self.sequence}", "life_us": SECOND} if holds else {}

        answer = self.wait(self.redis.decide(asked, **more))

        assert answer[0] == STATUS[self.model.decide(asked, self.redis.now, **more).outcome]
        if answer[0] == 1 and not holds:
            for _, name, charge in asked:
                self.note(name, self.window(name), charge)

    def window(self, name: str) -> int:
        bucket = self.model.buckets[name]
        return bucket.at if bucket.limit.method == "fixed_window" else 0

    @rule(number=st.integers(0, 1), seen=st.booleans())
    def reconcile(self, number: int, seen: bool) -> None:
        """A ledger that has what was spent in the window, read after the bucket was looked at, calls in between or not."""
        name = f"b{number}"
        bucket = self.model.buckets.get(name)
        if bucket is None or bucket.limit.method != "fixed_window":
            return
        window, lost = bucket.at, bucket.lost
        known = floor(bucket.level) - bucket.held - bucket.leased - lost
        if seen:
            self.decide([number], 3, False)
        used = self.spent.get((name, window), 0)
        now = self.redis.now

        status, back = self.wait(
            self.redis.scripts.reconcile(
                self.redis.keys, self.known[number], name, now, "r", window=window, lost=lost, known=known, used=used
            )
        )

        assert status == (1 if self.window(name) == window else 2)
        assert back == self.model.reconcile(name, self.known[number], window, lost, known, used, now)

    @rule(number=st.integers(0, 1))
    def drain(self, number: int) -> None:
        """Take all there is, so that the next leases have to accrue."""
        bucket = self.model.buckets.get(f"b{number}")
        if bucket is None or self.known[number].method == "concurrency":
            return
        if (left := floor(bucket.available()) - self.known[number].reserve) > 0:
            asked = [(self.known[number], f"b{number}", left)]
            answer = self.wait(self.redis.decide(asked))
            assert answer[0] == STATUS[self.model.decide(asked, self.redis.now).outcome]
            if answer[0] == 1:
                self.note(f"b{number}", self.window(f"b{number}"), left)

    @rule(actual=st.integers(0, 60))
    def settle_everything(self, actual: int) -> None:
        for name in [name for name, hold in self.model.holds.items() if not hold.ended]:
            self.wait(self.redis.scripts.finish(self.redis.keys, name, "settle", {"requests": actual}))
            self.model.finish(name, "settle", {"requests": actual}, self.redis.now)

    @rule(process=st.sampled_from(PROCESSES))
    def die(self, process: str) -> None:
        """It knows nothing any more, and another takes its place."""
        self.held = {key: value for key, value in self.held.items() if key[0] != process}
        self.flying = {key: value for key, value in self.flying.items() if key[0] != process}

    @rule()
    def reap(self) -> None:
        self.wait(self.redis.scripts.reap(self.redis.keys))
        self.model.reap(self.redis.now)
        self.model.end_leases(self.redis.now)
        for name in list(self.model.buckets):
            if self.wait(self.redis.state(name)) is None:
                bucket = self.model.buckets.pop(name)
                assert not bucket.leases and bucket.held == 0

    @rule(number=st.integers(0, 1), factor=st.sampled_from([Fraction(1, 3), Fraction(2), Fraction(9, 10)]))
    def publish(self, number: int, factor: Fraction) -> None:
        old = self.known[number]
        capacity = max(4, int(old.capacity * factor))
        self.known[number] = replace(old, capacity=capacity, version=old.version + 1)

    @invariant()
    def states_are_equal(self) -> None:
        for name, bucket in self.model.buckets.items():
            state = self.wait(self.redis.state(name))
            assert state is not None
            fraction = Fraction(state.fraction, state.denominator) if bucket.is_bucket else 0
            assert state.level + fraction == bucket.level
            assert bucket.is_bucket or state.fraction == bucket.lost
            assert (state.held, state.at) == (bucket.held, bucket.at)
            assert state.leased == bucket.leased
            assert self.wait(leases_of(self.redis, name)) == bucket.leases

    @invariant()
    def no_more_is_out_than_was_prepaid(self) -> None:
        for name, bucket in self.model.buckets.items():
            if not bucket.is_bucket:
                self.what_is_used_is_charged(name, bucket)
                continue
            assert bucket.level + bucket.ahead(self.redis.now) <= bucket.limit.capacity
            shares = sum(
                Fraction(lease.accruing, lease.duration)
                for lease in bucket.leases.values()
                if lease.accruing and lease.at <= self.redis.now < lease.at + lease.duration
            )
            assert shares <= bucket.rate
        for (process, name), (sequence, rest, _) in self.held.items():
            lease = self.model.buckets[name].leases.get(process) if name in self.model.buckets else None
            assert lease is None or lease.sequence != sequence or rest <= lease.amount

    def what_is_used_is_charged(self, name: str, bucket: BucketModel) -> None:
        """Whatever processes spent, and whatever they may spend yet, the bucket has it on its account."""
        self.largest[name] = max(self.largest.get(name, 0), bucket.limit.capacity)
        mine = [
            (process, rest)
            for (process, other), (sequence, rest, window) in self.held.items()
            if other == name and window == self.window(name) and (lease := bucket.leases.get(process)) is not None
            and lease.sequence == sequence and lease.ends >= self.redis.now
        ]  # fmt: skip
        out = sum(rest for _, rest in mine)
        if bucket.limit.method == "concurrency":
            assert bucket.level >= out + sum(self.flying.get((process, name), 0) for process, _ in mine)
            return
        spent = self.spent.get((name, bucket.at), 0)
        assert bucket.level - bucket.held >= spent + out
        assert spent <= self.largest[name] + self.overspent

    @invariant()
    def the_trail_rebuilds_them(self) -> None:
        found = self.wait(rebuilt(self.redis))
        assert all(found[name] == self.wait(self.redis.state(name)) for name in self.model.buckets)


async def leases_of(clocked: ClockedRedis, bucket: str) -> dict[str, Lease]:
    """Return the leases of a bucket, by process."""
    found = await clocked.client.hgetall(clocked.keys.leases + bucket)
    return {process.decode(): unpack_lease(data) for process, data in found.items()}


@pytest.mark.hypothesis
def test_any_sequence_of_leases_equals_the_model(redis_url: str) -> None:
    Leasing.url = redis_url
    run_state_machine_as_test(
        Leasing,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


async def test_a_call_without_a_lease_has_what_is_left_beside_shares_that_accrue(clocked: ClockedRedis) -> None:
    known = limit(1, capacity=1000, units=1000)
    assert (await clocked.decide([(known, "b", 1000)]))[0] == 1
    wish = Wish(known, "b", 0, 400)
    granted = await clocked.scripts.lease(
        clocked.keys, "p", 1, [wish], clocked.now, life_us=LIFE_US, horizon_us=HORIZON_US
    )
    # 15/16 of what is gained in 0.2 s.
    assert granted[4:] == [0, 0, 187, 200_000, 0]

    await clocked.set(clocked.now + SECOND // 10)
    answers = [(await clocked.decide([(known, "b", units)]))[0] for units in (7, 6, 1)]

    assert answers == [0, 1, 0], "100 were gained, of which 94 are another's"


class Bucket:
    """One bucket of a thousand a second, with leases that live for so long as a test needs."""

    def __init__(self, clocked: ClockedRedis, **more: Any) -> None:
        more.setdefault("capacity", 1000)
        self.clocked, self.known, self.sequence = clocked, limit(1, units=1000, **more), 0

    async def lease(
        self, process: str, wanted: int, *, named: int = 0, rest: int = 0, life_us: int = 100 * SECOND
    ) -> int:
        """Ask, or give back where nothing is wanted; returns how much was granted."""
        self.sequence += 1
        wish = Wish(self.known, "b", 0, wanted, named, rest)
        answer = await self.clocked.scripts.lease(
            self.clocked.keys, process, self.sequence, [wish], self.clocked.now, life_us=life_us, horizon_us=HORIZON_US
        )
        assert answer[0] in {0, 1}
        return answer[5] + answer[6]

    async def take(self, units: int) -> int:
        """Decide a plain call; returns its status."""
        return (await self.clocked.decide([(self.known, "b", units)]))[0]

    async def level(self) -> int:
        """Return what is left."""
        state = await self.clocked.state("b")
        assert state is not None
        return state.level

    async def wait(self, microseconds: int) -> None:
        """Let time pass."""
        await self.clocked.set(self.clocked.now + microseconds)


@pytest.mark.parametrize("hold", ["", "h"])
async def test_a_bucket_refills_to_what_is_not_out_on_lease(clocked: ClockedRedis, hold: str) -> None:
    bucket = Bucket(clocked)
    granted = await bucket.lease("p", 400)

    await bucket.wait(10 * SECOND)
    answer = await clocked.decide([(bucket.known, "b", 0)], hold=hold, life_us=SECOND if hold else 0)

    assert granted == 400 and answer[4] == 600


async def test_what_is_left_comes_back_once_to_the_lease_it_is_of_and_is_no_more_than_that(
    clocked: ClockedRedis,
) -> None:
    bucket = Bucket(clocked, per_us=86_400 * SECOND)
    assert await bucket.lease("p", 300) == 300

    await bucket.lease("p", 0, named=7, rest=300)
    lost = await bucket.level()
    assert await bucket.lease("p", 100) == 100
    await bucket.lease("p", 0, named=bucket.sequence, rest=10_000)

    assert lost == 700, "it named another lease"
    assert await bucket.level() == 700


async def test_a_lease_that_has_ended_gives_nothing_back_but_its_room(clocked: ClockedRedis) -> None:
    bucket = Bucket(clocked)
    assert await bucket.lease("dead", 400, life_us=SECOND) == 400
    assert await bucket.take(600) == 1

    await bucket.wait(SECOND // 2)
    assert await bucket.take(501) == 0
    await bucket.wait(SECOND // 2 + 1)
    await bucket.lease("other", 1)
    ended = await bucket.level()
    await bucket.wait(SECOND)
    assert await bucket.take(0) == 1

    assert 599 <= ended <= 600, "refilled to what was not out, and what the dead one had is lost"
    assert await bucket.level() == 999


async def test_all_that_is_out_is_at_most_the_capacity(clocked: ClockedRedis) -> None:
    bucket = Bucket(clocked, capacity=100)
    granted = [await bucket.lease(f"p{number}", 4000) for number in range(3)]
    # All has accrued, so that shares could be had again.
    await bucket.wait(60_000)
    await bucket.take(max(0, await bucket.level()))

    granted += [await bucket.lease(f"q{number}", 4000) for number in range(3)]

    assert granted[0] >= 50 and sum(granted) <= 100


async def test_more_than_an_even_share_is_had_only_of_what_others_leave(clocked: ClockedRedis) -> None:
    bucket = Bucket(clocked)
    await bucket.take(1000)

    alone = await bucket.lease("first", 400)
    nothing = await bucket.lease("second", 400)
    renewed = await bucket.lease("first", 400, named=1, rest=alone)
    even = await bucket.lease("second", 400, named=2, rest=nothing)

    assert (alone, nothing, renewed, even) == (187, 0, 94, 93)


RATE = 1000


def evenly(times: float) -> Pace:
    return lambda _, __: RATE * times / 8


def moving(_: float) -> Pace:
    """One process has nine tenths of the calls, for 0.7 s, then another."""
    return lambda process, at: RATE * 2 * (0.9 if at // 700_000 % 8 == process else 0.1 / 7)


def idle_then_burst(times: float) -> Pace:
    return lambda _, at: RATE * times / 8 if at // 1_500_000 % 2 else 0


@pytest.mark.parametrize(
    ("pace", "capacity", "least"),
    [
        (evenly(0.8), RATE, 0.99),
        (evenly(2), RATE, 0.97),
        (evenly(5), RATE, 0.97),
        (evenly(2), RATE // 10, 0.97),
        (evenly(5), RATE // 10, 0.97),
        (moving(2), RATE, 0.97),
        (idle_then_burst(5), RATE, 0.97),
        (idle_then_burst(5), RATE // 10, 0.97),
    ],
)
def test_eight_processes_with_leases_never_overshoot_and_admit_nearly_what_one_bucket_would(
    pace: Pace, capacity: int, least: float
) -> None:
    chance = random.Random(7)
    known = limit(1, capacity=capacity, units=RATE)
    calls = list(arrivals(8, pace, 6, chance))

    outcome = simulate(known, calls, 8, chance=chance)

    assert outcome.overshoot(known) <= 0
    assert outcome.units >= least * ideal(known, calls, 1)
    assert outcome.round_trips <= 0.2 * outcome.asked


@pytest.mark.parametrize("units", [1, 7])
@pytest.mark.parametrize("seed", range(4))
def test_processes_that_die_with_their_leases_lose_units_and_make_none(seed: int, units: int) -> None:
    chance = random.Random(seed)
    known = limit(1, capacity=200, units=RATE)
    deaths = {number: chance.randrange(4 * SECOND) for number in range(0, 8, 2)}
    calls = list(arrivals(8, evenly(3), 6, chance))

    outcome = simulate(
        known, calls, 8, units=units, chance=chance, dies=lambda number, at: at >= deaths.get(number, 10**9)
    )

    assert outcome.overshoot(known) <= 0
    last = sum(amount for at, amount in outcome.admitted if at >= 5 * SECOND)
    assert last >= 0.9 * RATE, "what the dead had out came back when its time was over"


def test_a_process_that_gets_no_answer_spends_nothing_of_what_it_gave_back_to_ask() -> None:
    chance = random.Random(3)
    known = limit(1, capacity=RATE, units=RATE)
    calls = list(arrivals(8, evenly(3), 6, chance))

    outcome = simulate(known, calls, 8, chance=chance, answers_lost=0.3)

    assert outcome.overshoot(known) <= 0
    assert outcome.units >= RATE


def test_a_lease_that_was_named_to_redis_is_spent_no_more_whether_or_not_an_answer_comes() -> None:
    leases, known = Leases(), limit(1, capacity=RATE, units=RATE)
    asked = [(known, "b", 1)]
    for number in range(40):
        leases.note("cell", asked, number * 10_000)
    leases.wishes("cell", asked, 400_000)
    leases.granted("cell", 1, asked, [1, START, 0, 0, 900, 5, 20, 100_000, 0], 400_000, 400_500)
    before = leases.decide("cell", asked, 401_000)

    (wish,) = leases.wishes("cell", asked, 402_000)

    assert before is not None and before.is_admitted
    assert (wish.named, wish.rest) == (1, 24)
    assert leases.decide("cell", asked, 403_000) is None and leases.held("cell", "b") is None
