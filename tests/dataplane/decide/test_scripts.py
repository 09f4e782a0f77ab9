"""The scripts on a real Redis do, step by step, what the model in rational numbers does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeVar

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from nexus.contracts.limits import MAX_UNITS, MICRO, Limit, Rate
from nexus.dataplane.decide.model import Bucket, Cell, Wish
from nexus.dataplane.decide.scripts import POSTING, BucketState, TrailEntry
from tests.dataplane.decide.cases import (
    SECOND,
    START,
    ClockedRedis,
    known_dimensions,
    limit,
    limits,
    rates,
)

T = TypeVar("T")
EXAMPLES = int(os.environ.get("NEXUS_DECIDE_EXAMPLES", settings.default.max_examples))
STATUS = {"admitted": 1, "refused": 0, "impossible": -1, "scarce": 5}
NUMBERS = st.integers(0, 2)
MINUTE = 60 * SECOND


def is_the_wait(told: int, exact: int) -> bool:
    """A wait of very many units is computed in doubles: it is a little longer than need be, or one of centuries by a trillionth
    shorter."""
    return -(exact // 10**12) <= told - exact <= 2 + exact // 10**9


class Redis(RuleBasedStateMachine):
    """Any sequence of decisions, settlements, replays, crashes (holds that expire), clock steps and publications."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.client = redis.asyncio.Redis.from_url(self.url)
        self.redis = ClockedRedis(self.client)
        self.model = Cell()
        self.known: list[Limit] = []
        self.holds: list[str] = []

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.wait(self.client.aclose())
        self.loop.close()

    @initialize(first=limits(1), second=limits(2), third=limits(3))
    def begin(self, first: Limit, second: Limit, third: Limit) -> None:
        self.wait(self.client.flushall())
        self.wait(self.redis.open())
        self.known = [first, second, third]

    @rule(by=st.one_of(st.integers(0, 3 * SECOND), st.integers(0, 10**14), st.integers(-SECOND, -1)))
    def pass_time(self, by: int) -> None:
        self.wait(self.redis.set(max(START, self.redis.now + by)))

    @rule(
        asked=st.lists(st.tuples(NUMBERS, st.one_of(st.integers(0, 12), st.integers(0, 6 * 10**13))), min_size=1, max_size=3,
                       unique_by=lambda item: item[0]),
        holds=st.booleans(), privileged=st.booleans(), life=st.integers(1, 10 * SECOND),
    )  # fmt: skip
    def decide(self, asked: list[tuple[int, int]], holds: bool, privileged: bool, life: int) -> None:
        wanted = [(self.known[number], f"b{number}", units) for number, units in asked]
        holds = holds or any(known.method == "concurrency" for known, _, _ in wanted)
        name = f"h{len(self.holds)}" if holds else ""
        before = self.wait(self.redis.everything())

        answer = self.wait(self.redis.decide(wanted, hold=name, life_us=life if holds else 0, is_privileged=privileged))
        verdict = self.model.decide(
            wanted, self.redis.now, hold=name, life_us=life if holds else 0, is_privileged=privileged
        )

        assert answer[0] == STATUS[verdict.outcome], (answer, verdict)
        if verdict.outcome == "admitted":
            assert is_the_wait(answer[3], verdict.wait_us)
            if holds:
                self.holds.append(name)
        else:
            assert answer[2] == verdict.limit
            assert self.wait(self.redis.everything()) == before, "a refusal wrote"
        if verdict.outcome == "refused":
            assert is_the_wait(answer[3], verdict.retry_us)

    @rule(
        number=st.integers(0, 30),
        kind=st.sampled_from(["settle", "settle", "release"]),
        amounts=st.dictionaries(
            st.sampled_from(known_dimensions()), st.one_of(st.integers(0, 20), st.integers(0, 10**13))
        ),
    )
    def finish(self, number: int, kind: str, amounts: dict[Any, int]) -> None:
        if self.holds:
            # Old holds too: those are replays, which change nothing.
            name = self.holds[number % len(self.holds)]
            before = self.wait(self.redis.everything())
            answer = self.wait(self.redis.scripts.finish(self.redis.keys, name, kind, amounts))
            changed = self.model.finish(name, kind, amounts, self.redis.now)
            assert (answer[0] == 1) == changed
            if not changed:
                assert self.wait(self.redis.everything()) == before, "a replay wrote"

    @rule(number=st.integers(0, 30), more=st.integers(0, 1))
    def replay_decision(self, number: int, more: int) -> None:
        if self.holds:
            name = self.holds[number % len(self.holds)]
            hold = self.model.holds[name]
            asked = [(leg.limit, leg.bucket, leg.charged + more) for leg in hold.legs]
            before = self.wait(self.redis.everything())
            answer = self.wait(self.redis.decide(asked, hold=name, life_us=5))
            assert answer[0] == (3 if hold.ended or (more and asked) else 2)
            assert self.wait(self.redis.everything()) == before

    @rule()
    def reap(self) -> None:
        answer = self.wait(self.redis.scripts.reap(self.redis.keys))

        assert answer[1] == self.model.reap(self.redis.now)
        for name, bucket in list(self.model.buckets.items()):
            if self.wait(self.redis.state(name)) is None:
                assert is_as_new(bucket, self.redis.now), "a bucket was forgotten that is not as new"
                del self.model.buckets[name]

    @rule(number=NUMBERS, capacity=st.one_of(st.integers(6, 300), st.integers(6, 6 * 10**13)), rate=rates())
    def publish(self, number: int, capacity: int, rate: tuple[int, int]) -> None:
        old = self.known[number]
        is_bucket = old.rate is not None
        self.known[number] = replace(
            old,
            capacity=capacity,
            version=old.version + 1,
            rate=Rate.of(rate[0], per_us=rate[1]) if is_bucket else None,
        )

    @invariant()
    def states_are_equal(self) -> None:
        for name, bucket in self.model.buckets.items():
            state = self.wait(self.redis.state(name))
            assert state is not None
            assert state.level + Fraction(state.fraction, state.denominator) == bucket.level
            assert (state.at, state.held, state.shadowed, state.version) == (
                bucket.at, bucket.held, bucket.shadowed, bucket.limit.version,
            )  # fmt: skip
            assert all(abs(value) < 2**53 for value in vars_of(state))

    @invariant()
    def the_trail_rebuilds_them(self) -> None:
        assert (
            self.wait(rebuilt(self.redis))
            == {name: last for name in self.model.buckets if (last := self.wait(self.redis.state(name)))}
            or not self.model.buckets
        )


def is_as_new(bucket: Bucket, now: int) -> bool:
    """Whether a bucket that nobody remembers begins as it stands, and has done so for a minute."""
    if bucket.limit.method == "fixed_window":
        return bucket.ends <= now - MINUTE
    if bucket.limit.method == "concurrency":
        return bucket.level == 0
    grown = bucket.level + (now - MINUTE - bucket.at) * bucket.rate
    return bucket.held == 0 and grown >= bucket.limit.capacity


def vars_of(state: BucketState) -> tuple[int, ...]:
    return tuple(getattr(state, name) for name in BucketState.__slots__)


async def rebuilt(clocked: ClockedRedis) -> dict[str, BucketState]:
    """Replay the trail; each bucket's state as the sums of its postings say, its configuration as Redis has it."""
    balance: dict[str, tuple[int, int, int, int, int]] = {}
    for _, entry in await clocked.client.xrange(clocked.keys.trail):
        for name, data in TrailEntry.read(entry).postings:
            opened, refilled, adjusted, changed, level, fraction, at, held, leased = map(int, POSTING.unpack(data))
            total = (0 if opened else balance[name][0]) + refilled + adjusted + changed
            assert total == level, (name, opened, refilled, adjusted, changed, level)
            balance[name] = (level, fraction, at, held, leased)
    found: dict[str, BucketState] = {}
    for name, (level, fraction, at, held, leased) in balance.items():
        state = await clocked.state(name)
        if state is not None:
            found[name] = replace(state, level=level, fraction=fraction, at=at, held=held, leased=leased)
    return found


@pytest.mark.hypothesis
def test_any_sequence_equals_the_model(redis_url: str) -> None:
    Redis.url = redis_url
    run_state_machine_as_test(
        Redis,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@settings(suppress_health_check=list(HealthCheck))
@given(
    rate=rates(),
    seconds=st.integers(1, 120),
    pauses=st.lists(
        st.one_of(st.integers(0, 50), st.integers(0, 10**6), st.integers(0, 10**9)), min_size=1, max_size=200
    ),
    share=st.integers(1, 1000),
)
async def test_any_rate_and_burst_is_exact_over_many_calls(
    clocked: ClockedRedis, rate: tuple[int, int], seconds: int, pauses: list[int], share: int
) -> None:
    units, per_us = rate
    capacity = max(1, min(units * seconds * SECOND // per_us, MAX_UNITS))
    known = limit(1, capacity=capacity, units=units, per_us=per_us)
    await clocked.client.flushall()
    await clocked.open()
    model = Cell()
    wanted = max(1, capacity * share // 1000)

    for pause in pauses:
        await clocked.set(clocked.now + pause)
        answer = await clocked.decide([(known, "b", wanted)], has_trail=False)
        assert answer[0] == STATUS[model.decide([(known, "b", wanted)], clocked.now).outcome]
        state = await clocked.state("b")
        assert state is not None
        assert state.level + Fraction(state.fraction, state.denominator) == model.buckets["b"].level


async def test_a_client_with_a_wrong_clock_is_given_other_windows_and_changes_nothing(clocked: ClockedRedis) -> None:
    known = limit(1, capacity=3, method="fixed_window", period="minute")
    await clocked.decide([(known, "b", 3)])

    wrong = await clocked.scripts.decide(clocked.keys, [(known, "b", 1)], clocked.now - 3600 * SECOND)
    slightly_off = await clocked.scripts.decide(clocked.keys, [(known, "b", 1)], clocked.now - 20 * SECOND)

    assert wrong[:3] == [-2, clocked.now, 1]
    assert slightly_off[0] == 0
    state = await clocked.state("b")
    assert state is not None and state.level == 3


async def test_a_window_ends_by_redis_s_clock_and_the_next_begins_clean(clocked: ClockedRedis) -> None:
    known = limit(1, capacity=3, method="fixed_window", period="minute", dimension="tokens")
    await clocked.decide([(known, "b", 3)], hold="late", life_us=10**9)
    refused = await clocked.decide([(known, "b", 1)])

    await clocked.set(clocked.now + refused[3])
    admitted = await clocked.decide([(known, "b", 2)])
    await clocked.scripts.finish(clocked.keys, "late", "settle", {"tokens": 0})

    assert refused[0] == 0 and admitted[0] == 1
    state = await clocked.state("b")
    assert state is not None and state.level == 2, "a credit for an earlier window reached a later one"


async def test_state_is_kept_until_it_would_be_full_and_as_long_as_something_is_out(clocked: ClockedRedis) -> None:
    async def kept(after: int) -> list[str]:
        await clocked.set(began + after)
        await clocked.scripts.reap(clocked.keys)
        return [name for name in ("fast", "slow", "debt", "held", "leased") if await clocked.state(name) is not None]

    began = clocked.now
    fast, slow = limit(1, capacity=10, units=10**6), limit(2, capacity=10, units=1, per_us=100 * SECOND)
    await clocked.decide([(fast, "fast", 1), (slow, "slow", 10)])
    await clocked.decide([(fast, "held", 1)], hold="h", life_us=10**15)
    await clocked.decide([(slow, "debt", 10)], hold="d", life_us=10**15)
    wish = Wish(fast, "leased", 1, 1)
    await clocked.scripts.lease(clocked.keys, "p", 1, [wish], began, life_us=10**15, horizon_us=SECOND)
    await clocked.scripts.finish(clocked.keys, "d", "settle", {"requests": 30})

    assert await kept(59 * SECOND) == ["fast", "slow", "debt", "held", "leased"]
    assert await kept(61 * SECOND) == ["slow", "debt", "held", "leased"]
    assert await kept(1_059 * SECOND) == ["slow", "debt", "held", "leased"]
    assert await kept(1_061 * SECOND) == ["debt", "held", "leased"]
    # 30 units at one in 100 s, and a minute: seen when it is looked at again.
    assert await kept(3_055 * SECOND) == ["debt", "held", "leased"]
    assert await kept(3_200 * SECOND) == ["held", "leased"]


async def test_a_hold_ends_with_the_microsecond_it_lives_to(clocked: ClockedRedis) -> None:
    began = clocked.now
    await clocked.decide([(limit(1, capacity=3, method="concurrency"), "b", 3)], hold="h", life_us=SECOND)

    await clocked.set(began + SECOND - 1)
    early = await clocked.scripts.reap(clocked.keys)
    await clocked.set(began + SECOND)
    due = await clocked.scripts.reap(clocked.keys)

    assert (early[1], early[2]) == (0, 1) and (due[1], due[2]) == (1, 0), "ended, and still open"


async def test_a_call_that_is_settled_after_its_hold_ended_frees_no_slot_of_another(clocked: ClockedRedis) -> None:
    known = limit(1, capacity=1, method="concurrency")
    await clocked.decide([(known, "b", 1)], hold="late", life_us=SECOND)
    await clocked.set(clocked.now + SECOND)
    await clocked.scripts.reap(clocked.keys)

    other = await clocked.decide([(known, "b", 1)], hold="other", life_us=10**9)
    await clocked.scripts.finish(clocked.keys, "late", "settle", {"requests": 1})
    third = await clocked.decide([(known, "b", 1)])

    assert (other[0], third[0]) == (1, 0), "the slot was freed once, and another call has it"


@pytest.mark.parametrize(("actual", "units"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (3000, 3)])
async def test_what_a_call_really_took_is_rounded_up_to_the_units_of_its_limit(
    clocked: ClockedRedis, actual: int, units: int
) -> None:
    thousands = limit(1, capacity=10, method="fixed_window", dimension="tokens", scale=1000)
    await clocked.decide([(thousands, "b", 2)], hold="h", life_us=10**9)

    await clocked.scripts.finish(clocked.keys, "h", "settle", {"tokens": actual})

    state = await clocked.state("b")
    assert state is not None and state.level == units


async def test_a_cell_that_nobody_opened_decides_nothing(clocked: ClockedRedis) -> None:
    await clocked.client.delete(clocked.keys.epoch)

    answer = await clocked.decide([(limit(), "b", 1)])

    assert answer[0] == -3 and await clocked.state("b") is None


async def test_a_cell_that_lost_its_state_begins_with_empty_buckets_and_the_windows_it_is_told(
    clocked: ClockedRedis,
) -> None:
    bucket, budget = (
        limit(1, capacity=10),
        limit(2, capacity=10, method="fixed_window", dimension="money", period="day"),
    )
    await clocked.decide([(budget, "w", 7)])
    kept = await clocked.client.get(clocked.keys.buckets + "w")
    await clocked.client.flushall()
    await clocked.set(clocked.now)

    assert await clocked.scripts.open_cell(clocked.keys, has_lost=True, states={"w": kept})
    assert not await clocked.scripts.open_cell(clocked.keys, has_lost=False)

    assert (await clocked.decide([(bucket, "b", 1)]))[0] == 0
    assert (await clocked.decide([(budget, "w", 4)]))[0] == 0
    assert (await clocked.decide([(budget, "w", 3)]))[0] == 1
    # What was granted before the loss may be spent for a second, so for so long nothing refills.
    await clocked.set(clocked.now + SECOND)
    assert (await clocked.decide([(bucket, "b", 1)]))[0] == 0
    await clocked.set(clocked.now + 2 * SECOND)
    assert [(await clocked.decide([(bucket, "b", 1)]))[0] for _ in range(3)] == [1, 1, 0]


async def test_a_process_with_an_older_configuration_decides_by_the_newer(clocked: ClockedRedis) -> None:
    old, new = limit(1, capacity=100), limit(1, capacity=10, version=2)
    await clocked.decide([(old, "b", 1)])
    await clocked.decide([(new, "b", 1)])

    answer = await clocked.decide([(old, "b", 50)])

    assert answer[0] == -1
    state = await clocked.state("b")
    assert state is not None and (state.capacity, state.level) == (10, 8)


async def test_micro_operations_at_a_million_a_second_do_not_overflow(clocked: ClockedRedis) -> None:
    known = limit(1, capacity=4_000 * MICRO * MICRO, units=MICRO * MICRO, dimension="operations")
    model = Cell()
    for pause in (0, 9 * SECOND, 59 * SECOND, 3_600 * SECOND, 10**13):
        await clocked.set(clocked.now + pause)
        answer = await clocked.decide([(known, "b", 3_999 * MICRO * MICRO)])
        verdict = model.decide([(known, "b", 3_999 * MICRO * MICRO)], clocked.now)
        assert answer[0] == STATUS[verdict.outcome]
        state = await clocked.state("b")
        assert state is not None and state.level == model.buckets["b"].level


@pytest.mark.parametrize("units", [0, 1, 4, 5, 10**12])
async def test_fifty_calls_whose_tokens_are_known_afterwards_end_within_one_estimate(
    clocked: ClockedRedis, units: int
) -> None:
    known = limit(1, capacity=100, units=1, per_us=86_400 * SECOND, dimension="tokens")
    estimate, real = 5, min(units, 12)
    admitted = [
        name
        for name in map(str, range(50))
        if (await clocked.decide([(known, "b", estimate)], hold=name, life_us=10**9))[0] == 1
    ]

    for name in admitted:
        await clocked.scripts.finish(clocked.keys, name, "settle", {"tokens": real})

    state = await clocked.state("b")
    assert len(admitted) == 20
    assert state is not None and state.level == 100 - 20 * real and state.held == 0


@pytest.mark.parametrize("hold", ["", "h"])
@pytest.mark.parametrize("pause", range(1, 12))
async def test_a_bucket_is_never_more_than_full_however_little_later_it_is_asked(
    clocked: ClockedRedis, pause: int, hold: str
) -> None:
    known = limit(1, capacity=5, units=1, per_us=1)
    await clocked.decide([(known, "b", 5)])

    await clocked.set(clocked.now + pause)
    # With a hold another script decides than without.
    answer = await clocked.decide([(known, "b", 0)], hold=hold, life_us=SECOND if hold else 0)

    assert answer[4] == min(pause, 5)


async def test_a_clock_that_steps_back_over_a_window_s_beginning_gives_nothing_back(clocked: ClockedRedis) -> None:
    known = limit(1, capacity=3, method="fixed_window", period="minute")
    begins = (START // (60 * SECOND) + 1) * 60 * SECOND
    await clocked.set(begins + SECOND)
    assert (await clocked.decide([(known, "b", 3)]))[0] == 1

    await clocked.set(begins - SECOND)
    stepped_back = await clocked.decide([(known, "b", 1)])
    await clocked.set(begins + 2 * SECOND)
    again = await clocked.decide([(known, "b", 1)])

    assert (stepped_back[0], again[0]) == (0, 0)


async def test_buckets_are_listed_from_their_first_call_until_they_are_gone(clocked: ClockedRedis) -> None:
    async def listed() -> list[bytes]:
        names: list[bytes] = await clocked.client.zrange(clocked.keys.bucket_list, 0, -1)
        return sorted(names)

    gone, debt = limit(1, capacity=10, units=10**6), limit(2, capacity=10)
    await clocked.decide([(limit(3, capacity=1), "refused", 2)])
    assert await listed() == []
    await clocked.decide([(gone, "gone", 1), (debt, "debt", 1)], hold="h", life_us=10**9)
    await clocked.scripts.finish(clocked.keys, "h", "settle", {"requests": 50})
    await clocked.scripts.adjust(clocked.keys, limit(4, capacity=10), "adjusted", 10, clocked.now, "by hand")
    assert await listed() == [b"adjusted", b"debt", b"gone"]

    await clocked.scripts.reap(clocked.keys)
    assert await listed() == [b"adjusted", b"debt", b"gone"], "nobody looks before it may be gone"
    await clocked.set(clocked.now + 69 * SECOND)
    await clocked.scripts.reap(clocked.keys)

    assert await listed() == [b"adjusted", b"debt"]
    scores = dict(await clocked.client.zrange(clocked.keys.bucket_list, 0, -1, withscores=True))
    assert min(scores.values()) > clocked.now, "what is still there is looked at again later, not at once"


async def test_what_is_put_back_after_a_loss_is_listed(clocked: ClockedRedis) -> None:
    budget = limit(2, capacity=10, method="fixed_window", dimension="money", period="day")
    await clocked.decide([(budget, "w", 7)])
    kept = await clocked.client.get(clocked.keys.buckets + "w")
    await clocked.client.flushall()
    await clocked.set(clocked.now)

    await clocked.scripts.open_cell(clocked.keys, has_lost=True, states={"w": kept})

    assert await clocked.client.zrange(clocked.keys.bucket_list, 0, -1) == [b"w"]


@pytest.mark.parametrize("hold", ["", "h"])
async def test_a_refill_whose_product_no_double_holds_is_exact(clocked: ClockedRedis, hold: str) -> None:
    known = limit(1, capacity=10**12, units=999_999_937, per_us=3600 * SECOND)
    model = Cell()
    for pause in (1, 99_999_999, 77_777_777_777):
        await clocked.set(clocked.now + pause)
        more = {"hold": f"{hold}{pause}", "life_us": SECOND} if hold else {}
        asked = [(known, "b", 10**11)]
        assert (await clocked.decide(asked, **more))[0] == STATUS[model.decide(asked, clocked.now, **more).outcome]

        state = await clocked.state("b")
        assert state is not None
        assert state.level + Fraction(state.fraction, state.denominator) == model.buckets["b"].level


@pytest.mark.parametrize("is_privileged", [False, True])
async def test_what_is_reserved_is_left_alone_by_each_plain_call(clocked: ClockedRedis, is_privileged: bool) -> None:
    known = limit(1, capacity=10, per_us=86_400 * SECOND, reserve=4)

    admitted = [(await clocked.decide([(known, "b", 1)], is_privileged=is_privileged))[0] for _ in range(11)]

    assert admitted.count(1) == (10 if is_privileged else 6)


@pytest.mark.parametrize("hold", ["", "h"])
async def test_calls_are_admitted_to_the_last_unit_and_a_refusal_names_the_limit_that_takes_longest(
    clocked: ClockedRedis, hold: str
) -> None:
    quick, slow = limit(1, capacity=2), limit(2, capacity=2, per_us=MINUTE)

    answers = [
        await clocked.decide([(quick, "q", 1), (slow, "s", 1)], hold=hold and f"{hold}{number}", life_us=MINUTE)
        for number in range(3)
    ]

    assert [answer[0] for answer in answers] == [1, 1, 0]
    assert answers[2][2:4] == [2, MINUTE]


async def test_what_is_given_back_lifts_no_bucket_above_its_capacity_and_no_window_above_its_amount(
    clocked: ClockedRedis,
) -> None:
    bucket, window = limit(1, capacity=10), limit(2, capacity=10, method="fixed_window", period="year")
    await clocked.decide([(bucket, "b", 4), (window, "w", 4)])

    given = [
        await clocked.scripts.adjust(clocked.keys, known, name, -7, clocked.now, "given")
        for known, name in ((bucket, "b"), (window, "w"))
    ]

    assert given == [(1, 10), (1, 10)]


async def test_a_version_keeps_debt_as_it_is_and_leaves_room_for_what_is_out_on_lease(clocked: ClockedRedis) -> None:
    known, smaller = limit(1, capacity=10, per_us=MINUTE), limit(1, capacity=6, per_us=MINUTE, version=2)
    await clocked.scripts.adjust(clocked.keys, known, "debt", 15, clocked.now, "taken")
    await clocked.scripts.lease(
        clocked.keys, "process", 1, [Wish(known, "out", 0, 5)], clocked.now, life_us=SECOND, horizon_us=SECOND
    )

    for name in ("debt", "out"):
        await clocked.scripts.adjust(clocked.keys, smaller, name, 0, clocked.now, "version")
    debt, out = await clocked.state("debt"), await clocked.state("out")

    assert debt is not None and out is not None
    assert (debt.level, debt.capacity) == (-5, 6)
    assert (out.level, out.leased) == (1, 5)
