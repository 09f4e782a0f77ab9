"""Redis stopped, frozen, failed over empty, restarted without its file: what each policy promises meanwhile, and after."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import pytest
import redis as redis_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from nexus.contracts.limits import FailurePolicy, Limit
from nexus.dataplane.decide import engine
from nexus.dataplane.decide.cells import CellHistory
from nexus.dataplane.decide.fallback import Fallback
from nexus.dataplane.decide.leases import Leases
from nexus.dataplane.decide.model import SPREAD_US
from nexus.dataplane.decide.scripts import BucketState, keys_of
from nexus.dataplane.decide.slots import Slots
from nexus.dataplane.decide.types import Decision
from tests.dataplane.conftest import OwnRedis
from tests.dataplane.decide.cases import ORGANIZATION, SECOND, START, limit
from tests.dataplane.decide.conftest import until
from tests.dataplane.decide.test_engine import Node, call

RATE, BURST, YEARLY = 40, 20, 60
BEFORE = 5
HALF = Fraction(1, 2)


def bucket_and_window(failure: FailurePolicy) -> tuple[Limit, Limit]:
    return (
        limit(1, capacity=BURST, units=RATE, failure=failure),
        limit(2, capacity=YEARLY, method="fixed_window", period="year", failure=failure),
    )


class Site:
    """Two processes on a Redis of their own, and what is on record elsewhere of the cell."""

    def __init__(self, server: OwnRedis, failure: FailurePolicy) -> None:
        self.server = server
        self.record: dict[str, bytes] = {}
        self.limits = bucket_and_window(failure)
        self.pair = [
            Node(server.url, *self.limits, timeout_seconds=0.1, socket_seconds=0.5, restore=self.restore)
            for _ in range(2)
        ]
        self.admitted = 0

    async def restore(self, _: UUID) -> CellHistory:
        return CellHistory(bool(self.record), self.record)

    async def settle_in(self) -> None:
        """Both are counted, and both know what the window has left."""
        for node in self.pair:
            await node.engine.start()
        await until(lambda: all(node.engine._fallback.share == HALF for node in self.pair))
        for node in self.pair:
            for _ in range(BEFORE):
                assert (await self.ask(node)).is_admitted
        name = keys_of(ORGANIZATION).buckets + self.limits[1].id.hex
        kept = await self.pair[0].client.get(name)
        assert kept is not None
        self.record = {self.limits[1].id.hex: kept}
        left = YEARLY - 2 * BEFORE
        if self.limits[0].failure != "local":
            return
        await until(lambda: all({seen for seen, _ in n.engine._fallback._left.values()} == {left} for n in self.pair))

    async def ask(self, node: Node) -> Decision:
        decision = await node.engine.decide(call())
        self.admitted += decision.is_admitted
        return decision

    async def ask_until(self, is_over: object) -> list[Decision]:
        found: list[Decision] = []
        async with asyncio.timeout(30):
            while not is_over():  # type: ignore[operator]
                found += [await self.ask(node) for node in self.pair]
                await asyncio.sleep(0.002)
        return found

    async def spend_the_window(self) -> None:
        """Ask until the window has nothing left, and a little longer."""
        async with asyncio.timeout(30):
            for node in self.pair:
                while (await self.ask(node)).refused_by is not self.limits[1]:
                    await asyncio.sleep(0.002)

    def on_lease(self) -> int:
        """Return what processes had of the window when all began: what of it they did not spend may be lost."""
        return BucketState.unpack(self.record[self.limits[1].id.hex]).leased

    def degraded(self) -> list[bool]:
        return [node.engine.is_degraded for node in self.pair]


@pytest.fixture(autouse=True)
def quick_housekeeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_TICK_SECONDS", 0.05)


@pytest.fixture
def site(own_redis: OwnRedis, nodes: list[Node], request: pytest.FixtureRequest) -> Site:
    made = Site(own_redis, request.param)
    nodes += made.pair
    return made


def gauge() -> float | None:
    return REGISTRY.get_sample_value("nexus_admission_degraded")


@pytest.mark.parametrize("way", ["stopped", "frozen"])
@pytest.mark.parametrize("site", ["closed", "open", "local"], indirect=True)
async def test_while_redis_is_away_each_policy_holds_its_bound_and_redis_is_told_afterwards(
    site: Site, way: str
) -> None:
    await site.settle_in()
    failure = site.limits[0].failure

    site.server.freeze() if way == "frozen" else site.server.kill()
    began = time.monotonic()
    turning = await site.ask_until(lambda: all(site.degraded()))
    is_said = gauge()
    so_far = site.admitted
    ended = time.monotonic() + 0.8
    answers = await site.ask_until(lambda: time.monotonic() > ended)
    passed = time.monotonic() - began
    meanwhile = site.admitted - so_far

    assert is_said == 1
    assert all(item.is_degraded for item in answers)
    outcomes = {item.outcome for item in answers}
    if failure == "closed":
        assert outcomes == {"unavailable"} and {item.outcome for item in turning} <= {"unavailable", "admitted"}
    elif failure == "open":
        assert outcomes == {"admitted"} and meanwhile == len(answers)
    else:
        assert outcomes == {"admitted", "refused"}
        # Together no faster than the rate, from nothing, and not before what leases may have promised has passed.
        assert 0 < meanwhile <= RATE * (passed - SPREAD_US / SECOND) + 2

    site.server.thaw() if way == "frozen" else site.server.start()
    await until(lambda: not any(site.degraded()))
    assert gauge() == 0
    await until(lambda: not any(node.engine._fallback.has_news for node in site.pair))
    if failure == "open":
        # The window is known to be spent, by far.
        assert (await site.ask(site.pair[0])).outcome == "refused"
        return
    await site.spend_the_window()
    # What Redis charged after its caller had given up, a call or so for each failure, is lost; nothing is made.
    assert YEARLY - len(turning) - site.on_lease() <= site.admitted <= YEARLY


@pytest.mark.parametrize("way", ["failed over empty", "restarted without its file"])
@pytest.mark.parametrize("site", ["closed", "open", "local"], indirect=True)
async def test_a_redis_that_lost_its_memory_is_told_what_is_on_record_before_it_decides(site: Site, way: str) -> None:
    await site.settle_in()

    if way == "failed over empty":
        other = redis_client.Redis(unix_socket_path=str(site.server.path))
        other.flushall()
        other.client_kill_filter(_type="normal", skipme=True)
        other.close()
    else:
        site.server.kill()
        site.server.start()
    began = time.monotonic()
    ended = began + 0.6
    first = await site.ask_until(lambda: time.monotonic() > ended and not any(site.degraded()))
    # What is on lease was paid for before, and is on record.
    by_redis = [item for item in first if not item.is_degraded and item.decided_by != "lease"]
    await until(lambda: not any(node.engine._fallback.has_news for node in site.pair))

    # A lease of a second may still be out, so nothing is given before it is over.
    passed = time.monotonic() - began
    assert sum(item.is_admitted for item in by_redis) <= RATE * max(0.0, passed - 1.0)
    assert any(item.outcome == "refused" for item in by_redis)
    if site.limits[0].failure == "open":
        return
    await site.spend_the_window()
    assert YEARLY - site.on_lease() <= site.admitted <= YEARLY


async def test_without_calls_too_a_redis_that_is_away_is_noticed(own_redis: OwnRedis, nodes: list[Node]) -> None:
    node = Node(own_redis.url)
    nodes.append(node)
    await node.engine.start()
    await until(lambda: node.engine._fallback.share == 1)

    own_redis.kill()

    await until(lambda: node.engine.is_degraded)
    assert gauge() == 1


async def test_two_that_tell_redis_at_once_tell_it_each_thing_once(own_redis: OwnRedis, nodes: list[Node]) -> None:
    """As when Redis answers again in the middle of the housekeeping."""
    node = Node(own_redis.url, limit(1, capacity=9, method="concurrency"))
    nodes.append(node)
    holds = [await node.engine.decide(call(), hold_seconds=60, hold_id=f"{number:032x}") for number in range(6)]
    assert all(decision.is_admitted for decision in holds)
    node.engine._unsettled.extend((ORGANIZATION, decision.hold_id, "release", {}) for decision in holds[:3])
    node.engine._doubtful.extend((ORGANIZATION, decision.hold_id) for decision in holds[3:])

    await asyncio.gather(*(node.engine._tell_what_happened() for _ in range(3)))

    assert not node.engine._unsettled and not node.engine._doubtful
    (left,) = (await node.engine.decide(call())).standings
    assert left.left == 8, "all six were given back"


async def test_housekeeping_outlives_what_it_cannot_do(
    own_redis: OwnRedis, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(own_redis.url, limit(1))
    nodes.append(node)
    failures = 0

    async def fail() -> None:
        nonlocal failures
        failures += 1
        raise IndexError

    monkeypatch.setattr(node.engine, "_look_at_limits", fail)
    await node.engine.start()
    await until(lambda: failures > 2)


async def test_a_process_that_starts_without_redis_shares_with_those_it_knew_of(
    own_redis: OwnRedis, nodes: list[Node], tmp_path: Path
) -> None:
    kept = tmp_path / "nodes"
    before = [Node(own_redis.url, nodes_file=kept), Node(own_redis.url, nodes_file=kept)]
    for node in before:
        await node.engine.start()
    # One that has counted two has written what it counted before.
    await until(lambda: {node.engine._nodes.count for node in before} == {2})
    assert kept.read_text() == "2"
    for node in before:
        node.engine._nodes._name = "gone"
        await node.close()
    own_redis.kill()
    local = limit(1, capacity=10, per_us=10_000, failure="local")

    heir, stranger = Node(own_redis.url, local, nodes_file=kept), Node(own_redis.url, local)
    nodes += [heir, stranger]
    for node in (heir, stranger):
        await node.engine.start()

    assert heir.engine._fallback.share == HALF
    assert (await stranger.engine.decide(call())).outcome == "unavailable", "whoever knows of no share has none"
    async with asyncio.timeout(20):
        while not (await heir.engine.decide(call())).is_admitted:
            await asyncio.sleep(0.01)


def fallback() -> Fallback:
    return Fallback(Slots(Leases(), lambda: START, lambda: 0))


def decide_at(node: Fallback, now: int, *known: Limit, hold: str = "", units: int = 1) -> str:
    asked = [(item, item.id.hex, units) for item in known]
    return node.decide(
        ORGANIZATION, asked, now, hold_id=hold, life_us=SECOND if hold else 0, is_privileged=False
    ).outcome  # fmt: skip


@given(
    capacity=st.integers(1, 60),
    rate=st.integers(1, 200),
    count=st.integers(1, 9),
    steps=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 400_000), st.integers(1, 5)), max_size=60),
)
def test_all_local_shares_together_are_at_most_the_limit(
    capacity: int, rate: int, count: int, steps: list[tuple[int, int, int]]
) -> None:
    bucket = limit(1, capacity=capacity, units=rate, failure="local")
    window = limit(2, capacity=capacity, method="fixed_window", period="year", failure="local")
    made = [fallback() for _ in range(count)]
    for node in made:
        node.share = Fraction(1, count)
        node.saw(ORGANIZATION, window.id.hex, capacity - 1, 2**53)
        (seen,) = node.windows(START)[ORGANIZATION]
        assert seen == window.id.hex
    now, of_bucket, of_window = START, 0, 0
    for which, wait, units in steps:
        now += wait
        node = made[which % count]
        of_bucket += units * (decide_at(node, now, bucket, units=units) == "admitted")
        of_window += units * (decide_at(node, now, window, units=units) == "admitted")
        assert of_bucket <= min(capacity, rate * (now - START) // SECOND) + rate * (now - START) // SECOND
        assert of_bucket * SECOND <= rate * (now - START)
    assert of_window == 0, "a window of which nobody knows when it ends is not given"


def test_a_window_is_shared_as_it_was_last_seen_and_one_that_begins_meanwhile_whole() -> None:
    daily = limit(1, capacity=100, method="fixed_window", period="day", failure="local")
    day = 86_400 * SECOND
    begins = START // day * day
    node = fallback()
    node.share = HALF
    node.saw(ORGANIZATION, daily.id.hex, 10, begins + day)

    today = [decide_at(node, START + number, daily) for number in range(8)]
    tomorrow = [decide_at(node, begins + day + number, daily) for number in range(60)]
    owed = node.take_owed(begins + day + 100)

    assert today.count("admitted") == 5
    assert tomorrow.count("admitted") == 50
    assert [item.units for item in owed] == [50], "what a window owed that is over is nobody's"
    stranger = fallback()
    stranger.share = HALF
    assert decide_at(stranger, START, daily) == "refused", "others may have spent what one has never looked at"


def test_a_call_that_is_held_without_redis_is_settled_there_too_and_redis_is_told_what_it_took() -> None:
    tokens = limit(2, capacity=100, units=100, dimension="tokens", failure="open")
    node = fallback()
    node.share = HALF
    outcomes = [decide_at(node, START, tokens, hold=f"call {number}") for number in range(2)]

    first = node.take_owed(START)
    ended = node.finish("call 0", "settle", {"tokens": 5}, START)
    node.forget_expired(START + 2 * SECOND)

    assert outcomes == ["admitted", "admitted"]
    assert [item.units for item in first] == [2]
    assert ended
    assert [item.units for item in node.take_owed(START + 3 * SECOND)] == [4]
    assert not node.finish("call 1", "settle", {}, START), "what nobody ended in its time stays as charged"
