"""Calls in flight while Redis is away, cut off from some or back again: all processes together never have more than the limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus.contracts.limits import Limit
from nexus.dataplane.decide.fallback import Fallback
from nexus.dataplane.decide.leases import Leases
from nexus.dataplane.decide.scripts import WHOLE, keys_of
from nexus.dataplane.decide.slots import FIRST_US, Slots
from tests.dataplane.decide.cases import ORGANIZATION, SECOND, START, ClockedRedis, limit

CELL, BUCKET = keys_of(ORGANIZATION).cell, "b"
KEY = (CELL, BUCKET)
LONG_US = 3600 * SECOND


@dataclass
class Centre:
    """What Redis counts."""

    most: int
    named: set[str] = field(default_factory=set)
    leased: dict[int, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.named) + sum(self.leased.values())


class Process:
    """What one process has under way: by Redis, by a lease of its own, and by itself while Redis is away."""

    def __init__(self, number: int, world: World) -> None:
        self.number, self.world = number, world
        self.leases = Leases()
        self.slots = Slots(self.leases, lambda: world.now, self.away_us)
        self.fallback = Fallback(self.slots)
        self.fallback.share = Fraction(1, world.processes)
        self.under_way: list[tuple[str, str]] = []
        self.unheard: set[str] = set()
        self.away_since: int | None = None
        self.slots.asked([(world.limit, BUCKET)])

    @property
    def is_away(self) -> bool:
        return self.away_since is not None

    def away_us(self) -> int | None:
        return None if self.away_since is None else self.world.now - self.away_since

    def cut_off(self) -> None:
        if not self.is_away:
            self.away_since = self.world.now

    def begin(self, name: str) -> None:
        world, centre = self.world, self.world.centre
        if self.leases.free_slots(KEY, world.now):
            assert self.leases.decide(CELL, [(world.limit, BUCKET, 1)], world.now)
            self.leases.keep(KEY, 1)
            self.under_way.append((name, "lease"))
        elif self.is_away or self.slots.is_settling:
            decision = self.fallback.decide(
                ORGANIZATION, [(world.limit, BUCKET, 1)], world.now, hold_id=name, life_us=LONG_US, is_privileged=False
            )
            if decision.is_admitted:
                self.under_way.append((name, "itself"))
        elif centre.count < centre.most:
            centre.named.add(name)
            self.slots.began(ORGANIZATION, name, LONG_US, [(world.limit, BUCKET, 1)])
            self.under_way.append((name, "Redis"))

    def end(self, which: int) -> None:
        if not self.under_way:
            return
        name, how = self.under_way.pop(which % len(self.under_way))
        if how == "lease":
            self.leases.keep(KEY, -1)
            self.leases.correct(KEY, self.world.limit, -1, 0)
        elif how == "itself":
            assert self.fallback.finish(name, "settle", {}, self.world.now)
        else:
            self.slots.ended(name)
            self.unheard.add(name)
        if not self.is_away:
            self.tell()

    def lease(self, wanted: int) -> None:
        """Ask for slots; what it has comes back first."""
        centre = self.world.centre
        if self.is_away:
            return
        self.tell()
        self.leases._end(KEY)
        kept = self.leases.kept(KEY)
        centre.leased[self.number] = kept
        given = wanted if centre.most - centre.count >= wanted else 0
        centre.leased[self.number] += given
        answer = [1, self.world.now, 0, 0, 0, given, 0, 0, 0]
        self.leases.granted(CELL, 1, [(self.world.limit, BUCKET, 0)], answer, self.world.now, self.world.now)

    def tell(self) -> None:
        """As a sweep does: calls under way, then those that have ended."""
        self.world.centre.leased[self.number] = self.leases.kept(KEY) + self.leases.free_slots(KEY, self.world.now)
        self.world.centre.named -= self.unheard
        self.unheard.clear()

    def look(self) -> None:
        if not self.is_away:
            self.slots.saw(ORGANIZATION, BUCKET, self.world.centre.count)

    def come_back(self) -> None:
        away_us, self.away_since = self.away_us(), None
        if away_us is not None:
            self.slots.is_back(away_us)
            self.tell()
            self.fallback.take_owed(self.world.now)


class World:
    """Processes at one limit."""

    def __init__(self, most: int, processes: int) -> None:
        self.limit: Limit = limit(1, capacity=most, method="concurrency", failure="local")
        self.centre = Centre(most)
        self.now, self.processes = START, processes
        self.all = [Process(number, self) for number in range(processes)]

    @property
    def in_flight(self) -> int:
        return sum(len(process.under_way) for process in self.all)


WHICH = st.integers(0, 2)
STEPS = st.lists(
    st.tuples(st.sampled_from(["begin"] * 4 + ["end"] * 2 + ["lease", "look"]), WHICH, st.integers(0, 5)), max_size=30
)
FILLED = st.lists(st.integers(0, 8), min_size=3, max_size=3)
"""How many calls each process begins with."""


def play(world: World, steps: list[tuple[str, int, int]], name: str) -> None:
    for number, (step, which, value) in enumerate(steps):
        process = world.all[which]
        if step == "begin":
            process.begin(f"{name} {number}")
        elif step == "end":
            process.end(value)
        elif step == "lease":
            process.lease(value)
        elif step == "look":
            process.look()
        assert world.in_flight <= world.centre.most


def fill(world: World, filled: list[int]) -> None:
    for process, count in zip(world.all, filled, strict=True):
        for number in range(count):
            process.begin(f"{process.number} {number}")
    for process in world.all:
        process.look()


@given(
    most=st.integers(1, 12), filled=FILLED,
    parts=st.lists(st.tuples(st.sampled_from(["away", "back", "pass time"]), WHICH, STEPS), max_size=6),
)  # fmt: skip
def test_a_process_that_is_cut_off_goes_on_with_what_it_had_and_all_stay_within_the_limit(
    most: int, filled: list[int], parts: list[tuple[str, int, list[tuple[str, int, int]]]]
) -> None:
    world = World(most, 3)
    fill(world, filled)
    for number, (step, which, steps) in enumerate(parts):
        if step == "away":
            world.all[which].cut_off()
        elif step == "back":
            world.all[which].come_back()
        elif world.now < START + FIRST_US - 2 * SECOND:
            world.now += SECOND
        play(world, steps, f"part {number}")


@given(most=st.integers(1, 24), filled=FILLED, parts=st.lists(STEPS, min_size=7, max_size=7))
def test_in_a_long_outage_what_nobody_had_is_shared_out_and_redis_decides_when_all_have_told_it(
    most: int, filled: list[int], parts: list[list[tuple[str, int, int]]]
) -> None:
    world = World(most, 3)
    fill(world, filled)
    for process in world.all:
        process.cut_off()
    play(world, parts[0], "first")
    # Each is asked, so that each knows what it had.
    for process in world.all:
        process.begin(f"last {process.number}")
    world.now += FIRST_US
    play(world, parts[1], "later")
    for process in world.all:
        play(world, parts[2 + process.number], f"before {process.number} is back")
        process.come_back()
    play(world, parts[5], "settling")
    world.now += FIRST_US
    play(world, parts[6], "after")


def test_what_was_free_is_shared_out_after_ten_seconds() -> None:
    world = World(12, 3)
    fill(world, [0, 0, 0])
    for process in world.all:
        process.cut_off()
        process.begin("at once")
    assert world.in_flight == 0, "nobody was counted for any"

    world.now += FIRST_US
    for process in world.all:
        for number in range(9):
            process.begin(f"{process.number} {number}")

    assert [len(process.under_way) for process in world.all] == [4, 4, 4]


@settings(suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 4), st.sampled_from(["beat", "beat", "beat", "answer lost", "leave"]), st.integers(0, 3)
        ),
        max_size=60,
    )
)
async def test_all_shares_together_are_never_more_than_the_whole(
    clocked: ClockedRedis, steps: list[tuple[int, str, int]]
) -> None:
    await clocked.client.flushall()
    await clocked.set(START)
    held: dict[int, int] = {}
    for process, step, seconds in steps:
        await clocked.set(clocked.now + seconds * SECOND // 4)
        if step == "leave":
            held.pop(process, None)
            await clocked.client.hdel("shares", str(process))
            continue
        _, share = await clocked.scripts.beat("shares", str(process), LONG_US, held.get(process, 0))
        if step == "beat":
            held[process] = share
        assert sum(held.values()) <= WHOLE


async def test_shares_become_even_and_a_silent_process_keeps_its_own_for_a_while(clocked: ClockedRedis) -> None:
    held = {"a": 0, "b": 0, "c": 0}
    for _ in range(3):
        for name, share in held.items():
            _, held[name] = await clocked.scripts.beat("shares", name, 10 * SECOND, share)
    even = set(held.values())

    for _ in range(4):
        await clocked.set(clocked.now + 4 * SECOND)
        for name in ("a", "b"):
            _, held[name] = await clocked.scripts.beat("shares", name, 10 * SECOND, held[name])
        if clocked.now == START + 8 * SECOND:
            assert set(held.values()) == even

    assert even == {WHOLE // 3} and held["a"] == held["b"] == WHOLE // 2
