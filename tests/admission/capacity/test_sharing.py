"""Organizations share a capacity: all together never have more than there is, and soon what is asked for, whatever dies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from nexus.platform.db import Database
from nexus.platform.db.pool import DatabaseUrls
from tests.admission.capacity.world import World, clocked_redis
from tests.conftest import TestOrganization, make_organization
from tests.dataplane.decide.cases import SECOND
from tests.postgres import TestServer

T = TypeVar("T")
EXAMPLES = max(4, settings.default.max_examples // 4)
RATE, BURST, GUARANTEED = 60, 24, 3
ASKED = 100
"""Calls a second of the organization that asks for more than there is."""


@pytest.fixture
async def world(
    database: Database, redis_url: str, two_organizations: tuple[TestOrganization, TestOrganization]
) -> AsyncIterator[World]:
    clocked = await clocked_redis(redis_url)
    made = World(database, clocked, RATE, BURST)
    await made.begin("store", {item.id: GUARANTEED for item in two_organizations}, 2)
    yield made
    await clocked.client.aclose()


async def run(world: World, hot: UUID, seconds: int) -> None:
    """Let one organization ask for more than there is, and the other for its guarantee; workers take turns each second."""
    step = SECOND // ASKED
    begins = world.clocked.now
    hot_ones = [number for number, item in enumerate(world.processes) if item.organization_id == hot]
    calm = [number for number in range(len(world.processes)) if number not in hot_ones]
    for turn in range(seconds * ASKED):
        await world.clocked.set(begins + turn * step)
        await world.call(hot_ones[turn % len(hot_ones)])
        if turn % (ASKED // GUARANTEED) == 0:
            await world.call(calm[turn % len(calm)])
        if turn % ASKED == 0:
            await world.tell()
            await world.turn((turn // ASKED) % 2)
    await world.clocked.set(begins + seconds * SECOND)


async def test_a_hot_organization_that_moves_is_followed_and_all_together_have_what_there_is(
    world: World, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    first, second = two_organizations

    await run(world, first.id, 7)
    middle = world.clocked.now
    await run(world, second.id, 13)

    # Each unit was taken from one bucket of the whole as it was admitted: see World.note.
    ends = world.clocked.now
    assert world.admitted_in(middle - 3 * SECOND, middle) >= 0.9 * RATE * 3
    assert world.admitted_in(middle - 3 * SECOND, middle, [first.id]) >= 0.8 * RATE * 3
    assert world.admitted_in(ends - 4 * SECOND, ends) >= 0.9 * RATE * 4
    assert world.admitted_in(ends - 4 * SECOND, ends, [second.id]) >= 0.8 * RATE * 4


async def test_a_share_that_redis_lost_gives_nothing_until_it_is_granted_again(world: World) -> None:
    await world.turn()
    await world.clocked.set(world.clocked.now + 3 * SECOND)
    assert await world.call(0) is True

    await world.empty()

    assert await world.call(0) is None
    await world.clocked.set(world.clocked.now + 60 * SECOND)
    assert await world.call(0) is None, "time alone brings nothing back"
    await world.turn()
    assert await world.call(0) is False, "it begins empty: leases of before may be spent yet"
    await world.clocked.set(world.clocked.now + 2 * SECOND)
    assert await world.call(0) is True


async def test_what_is_taken_back_is_not_confirmed_by_a_clock_that_steps(
    world: World, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    async def states() -> list[str]:
        async with world.database.as_system() as connection:
            rows = await connection.fetch("SELECT state FROM admission.capacity_grants ORDER BY state")
        return [row["state"] for row in rows]

    await run(world, two_organizations[0].id, 3)
    assert await states() == ["granted", "shrinking"]

    world.stepped = 3600 * SECOND
    await world.clocked.set(world.clocked.now + world.stepped)
    await world.turn(0)
    await world.turn(1)
    assert await states() == ["granted", "shrinking"], "for processes no time has passed"
    await world.clocked.set(world.clocked.now + 2 * SECOND)
    await world.turn(0)
    assert await states() == ["granted", "granted"]


async def test_a_worker_killed_between_taking_and_giving_leaves_what_the_next_completes(
    world: World, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    first, second = two_organizations
    await run(world, first.id, 3)
    for orders in range(6):
        # Each turn of each worker dies after so many orders, until that many are enough.
        await world.killed_turn(orders % 2, orders)
        world.clocked.now += SECOND
        await world.clocked.set(world.clocked.now)
    await run(world, second.id, 9)

    ends = world.clocked.now
    assert world.admitted_in(ends - 3 * SECOND, ends, [second.id]) >= 0.8 * RATE * 3


async def test_the_database_itself_refuses_to_grant_or_to_guarantee_more_than_there_is(world: World) -> None:
    await world.turn()
    for statement in (
        "UPDATE admission.capacity_grants SET held_rate = held_rate * 2, state = 'shrinking'",
        "UPDATE admission.capacity_grants SET held_burst = held_burst * 3, state = 'shrinking'",
        "UPDATE admission.capacity_members SET guaranteed = guaranteed * 20",
        "UPDATE admission.shared_capacities SET ceiling_rate = 1, rate = 1",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            async with world.database.as_system() as connection:
                await connection.execute(statement)


class Sharing(RuleBasedStateMachine):
    """Any sequence of calls, turns, workers killed between two orders, late orders, lost answers, and a Redis that is emptied."""

    urls: DatabaseUrls
    redis_url = ""
    made = 0

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.wait(self._begin())

    async def _begin(self) -> None:
        type(self).made += 1
        database = await Database.connect(self.urls, application_name="nexus-test", max_size=2)
        who = [
            await make_organization(database, f"one-{self.made}"),
            await make_organization(database, f"two-{self.made}"),
        ]
        self.world = World(database, await clocked_redis(self.redis_url), RATE, BURST)
        await self.world.begin(f"store-{self.made}", {item.id: GUARANTEED for item in who}, 2)
        await self.world.turn()

    def teardown(self) -> None:
        self.wait(self.world.clocked.client.aclose())
        self.wait(self.world.database.close())
        self.loop.close()

    async def pass_time(self, by: int) -> None:
        await self.world.clocked.set(self.world.clocked.now + by)

    @rule(
        number=st.integers(0, 3),
        calls=st.integers(5, 60),
        pause=st.sampled_from([0, 2_000, 10_000]),
        lost=st.booleans(),
    )
    def ask(self, number: int, calls: int, pause: int, lost: bool) -> None:
        async def work() -> None:
            for turn in range(calls):
                await self.pass_time(pause)
                await self.world.call(number, answered=not (lost and turn == calls // 2))

        self.wait(work())

    @rule(number=st.integers(0, 1), seconds=st.integers(1, 3))
    def take_turns(self, number: int, seconds: int) -> None:
        async def work() -> None:
            for _ in range(seconds):
                await self.world.tell()
                await self.world.turn(number)
                await self.pass_time(SECOND)

        self.wait(work())

    @rule(number=st.integers(0, 1), orders=st.integers(0, 5))
    def die(self, number: int, orders: int) -> None:
        self.wait(self.world.killed_turn(number, orders))

    @precondition(lambda self: self.world.late)
    @rule()
    def come_late(self) -> None:
        self.wait(self.world.come_late())

    @rule()
    def empty(self) -> None:
        self.wait(self.world.empty())


def test_whatever_dies_or_comes_late_all_together_have_at_most_what_there_is(
    postgres: TestServer, database_name: str, redis_url: str
) -> None:
    Sharing.urls, Sharing.redis_url = postgres.urls(database_name), redis_url
    run_state_machine_as_test(
        Sharing,
        settings=settings(max_examples=int(os.environ.get("NEXUS_DECIDE_EXAMPLES", EXAMPLES)), stateful_step_count=25,
                          suppress_health_check=list(HealthCheck)),
    )  # fmt: skip
