"""Organizations that share a capacity, in simulated time: the real scripts, ledger, leases and workers, and what was admitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any
from uuid import UUID

import redis.asyncio

from nexus.admission.capacity import service
from nexus.admission.capacity.jobs import Rebalancer
from nexus.admission.capacity.planning import Grant
from nexus.admission.capacity.types import CapacityNew, MemberNew
from nexus.contracts.limits import Limit
from nexus.contracts.shares import ShareDocument, share_limit
from nexus.dataplane.decide.leases import HORIZON_US, LIFE_US, Leases
from nexus.dataplane.decide.purses import Plan
from nexus.dataplane.decide.scripts import keys_of
from nexus.dataplane.decide.shares import Shares
from nexus.dataplane.decide.tables import LimitTable
from nexus.platform.db import Database
from tests.dataplane.decide.cases import PRELUDE, SECOND, ClockedRedis

NOT_COUNTED = ("nx:shares",)


class Killed(Exception):
    """A worker that ends here."""


class Worker(Rebalancer):
    """A worker that may be killed between any two orders to Redis, and whose orders may come late."""

    lives = 10**9
    """So many orders more."""
    late: list[tuple[UUID, Grant, int]]

    async def _grant(self, capacity_id: UUID, grant: Grant, deadline_us: int) -> Any:
        self.lives -= 1
        if self.lives < 0:
            self.late.append((capacity_id, grant, deadline_us))
            raise Killed
        return await super()._grant(capacity_id, grant, deadline_us)


@dataclass
class Process:
    """One that decides for an organization, with leases as the product has them."""

    organization_id: UUID
    limit: Limit
    leases: Leases
    shares: Shares
    plan: Plan


@dataclass
class World:
    """A capacity, its members' processes, and its workers."""

    database: Database
    clocked: ClockedRedis
    rate: int
    """Units a second."""
    burst: int
    capacity_id: UUID = field(init=False)
    processes: list[Process] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    level: Fraction = field(init=False)
    """Of one bucket of this rate and burst that all that was admitted is taken from: it is never below zero."""
    at: int = field(init=False)
    admitted: list[tuple[int, UUID, int]] = field(default_factory=list)
    late: list[tuple[UUID, Grant, int]] = field(default_factory=list)
    stepped: int = 0
    """By so much Redis's clock is ahead of all others."""

    def __post_init__(self) -> None:
        self.level, self.at = Fraction(self.burst), self.clocked.now

    async def begin(self, name: str, guarantees: Mapping[UUID, int], processes: int) -> None:
        """Make the capacity, and so many processes of each member."""
        members = [MemberNew(guaranteed=str(units), organization=str(who)) for who, units in guarantees.items()]
        async with self.database.as_system() as connection:
            made = await service.create(
                connection,
                CapacityNew(name, "requests", "organization", str(self.rate), str(self.burst), members=members),
                datetime.now(UTC),
            )
        self.capacity_id = made.id
        for who, units in guarantees.items():
            document = ShareDocument(
                who, made.id, name, "requests", "organization", None, "closed", self.rate * 3600, self.burst, units * 3600,
                None, len(guarantees),
            )  # fmt: skip
            for _ in range(processes):
                limit, leases = share_limit(document), Leases()
                plan = Plan(LimitTable(), keys_of(who).cell, [(limit, limit.id.hex)])
                shares = Shares(self.clocked.client, leases, lambda: self.clocked.now)
                self.processes.append(Process(who, limit, leases, shares, plan))
            await self.clocked.scripts.open_cell(keys_of(who), has_lost=False)
        self.workers = [self.worker() for _ in range(2)]

    def worker(self) -> Worker:
        """Start a worker, which knows nothing yet."""
        made = Worker(self.clocked.client, clock=lambda: (self.clocked.now - self.stepped) / 1e6, prelude=PRELUDE)
        made.late = self.late
        return made

    async def turn(self, number: int = 0) -> None:
        """Let a worker look at all capacities."""
        await self.workers[number].turn_of(self.database, self.capacity_id)

    async def killed_turn(self, number: int, orders: int) -> None:
        """Let a worker die after so many orders; another takes its place."""
        self.workers[number].lives = orders
        try:
            await self.turn(number)
        except Killed:
            self.workers[number] = self.worker()
        else:
            self.workers[number].lives = 10**9

    async def come_late(self) -> None:
        """Let an order of a dead worker reach Redis after all."""
        capacity_id, grant, deadline_us = self.late.pop()
        await Rebalancer._grant(self.workers[0], capacity_id, grant, deadline_us)

    async def empty(self) -> None:
        """Let Redis lose everything; cells are opened again by whoever decides first."""
        now = self.clocked.now
        await self.clocked.client.flushall()
        await self.clocked.set(now)

    async def tell(self) -> None:
        """Let each process tell what it was asked for, as it does once a second."""
        for process in self.processes:
            await process.shares.tell()

    async def call(self, number: int, units: int = 1, answered: bool = True) -> bool | None:
        """Ask a process for units; returns whether they were admitted, None where there is no grant, or no answer came."""
        process, now = self.processes[number], self.clocked.now
        asked = process.plan.asked([units])
        process.shares.met(process.plan, [units], is_counted=True)
        keys, leases = keys_of(process.organization_id), process.leases
        if not leases.note(keys.cell, asked, now):
            answer = await self.clocked.scripts.decide(keys, asked, now)
            if answer[0] == -3:
                await self.clocked.scripts.open_cell(keys, has_lost=True)
                answer = await self.clocked.scripts.decide(keys, asked, now)
            is_admitted = answer[0] == 1
            if answer[0] == -4:
                return None
        elif (local := leases.decide(keys.cell, asked, now)) is not None:
            is_admitted = local.is_admitted
        else:
            sequence = leases.next_sequence()
            wishes = leases.wishes(keys.cell, asked, now)
            answer = await self.clocked.scripts.lease(
                keys, leases.process, sequence, wishes, now, life_us=LIFE_US, horizon_us=HORIZON_US
            )
            if answer[0] == -3:
                await self.clocked.scripts.open_cell(keys, has_lost=True)
            if answer[0] not in {0, 1} or not answered:
                return None
            leases.granted(keys.cell, sequence, asked, answer, now, now)
            is_admitted = answer[0] == 1
        if is_admitted:
            self.note(process.organization_id, units)
        return is_admitted

    def note(self, organization_id: UUID, units: int) -> None:
        """Take what was admitted from the one bucket: below zero it would be more than burst and rate x time allow."""
        now = self.clocked.now
        gained = Fraction((now - self.at) * self.rate, SECOND)
        self.level, self.at = min(self.level + gained, Fraction(self.burst)) - units, now
        self.admitted.append((now, organization_id, units))
        assert self.level >= 0, f"{-self.level} more were admitted than the capacity is"

    def admitted_in(self, begins: int, ends: int, who: Sequence[UUID] | None = None) -> int:
        """Return what was admitted in a span of time."""
        return sum(units for at, owner, units in self.admitted if begins <= at < ends and (who is None or owner in who))


async def clocked_redis(url: str) -> ClockedRedis:
    """An empty Redis whose clock the test sets."""
    made = ClockedRedis(redis.asyncio.Redis.from_url(url))
    await made.client.flushall()
    await made.set(made.now)
    return made
