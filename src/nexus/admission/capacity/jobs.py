"""Background work of shared capacities: the ledger of grants is put in force in the cells, and shares follow what is asked for.

Several workers are safe, and one that is killed anywhere leaves nothing that the next does not finish: a change is written in the
ledger first, under the capacity's lock, and whatever the ledger says is put in force again at each turn. What is late finds a
greater number, or its deadline gone by.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.admission import store
from nexus.admission.capacity.fair import Member
from nexus.admission.capacity.planning import Capacity, Grant, plan, settled_ceiling
from nexus.contracts.limits import Rate
from nexus.contracts.shares import HOUR_US, limit_id
from nexus.dataplane.decide.cells import CELLS
from nexus.dataplane.decide.leases import LIFE_US
from nexus.dataplane.decide.scripts import Granted, Scripts, keys_of
from nexus.platform.db import Connection, Database

SETTLED_SECONDS = 1.0 + LIFE_US / 1e6
"""How long after a smaller grant is in force it is confirmed: no lease from before is spent then, and a Redis that writes its
file each second has it on disk."""
DEADLINE_US = 5_000_000
"""What was ordered longer ago than that comes too late: a worker that stood still may not know what the others did since."""
_TOO_LATE, _NEWER, _NOW, _OPENED = 0, -1, 1, 3
_TURNS, _OF_LATE = 4, 2
"""Over so many turns it is measured what is asked for, and what of late. Processes tell that once a second and this looks once a
second: of one turn it may see nothing, or twice as much."""
_SHORTEST_SECONDS = 0.5
_NEWS = 0.05
_MOVES = Counter("nexus_admission_share_moves", "Grants of shared capacities that were changed, by how.", ("kind",))
log = structlog.get_logger("nexus.admission")

Key = tuple[UUID, UUID]
"""A capacity, and an organization that has a grant of it."""


class _Demand:
    """What is asked of one share, as this worker sees it."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=_TURNS + 1)

    def see(self, counted: int, at: float) -> None:
        """Take over a count of units, at an instant in seconds. Where it is less than before Redis has lost it."""
        if self._seen and counted < self._seen[-1][1]:
            self._seen.clear()
        if not self._seen or at - self._seen[-1][0] >= _SHORTEST_SECONDS:
            self._seen.append((at, counted))

    @property
    def an_hour(self) -> int | None:
        """Return units an hour; None while nobody can tell."""
        if len(self._seen) < 2:
            return None
        of_late = self._pace(max(0, len(self._seen) - 1 - _OF_LATE))
        # What changes by more than looking at another instant explains is believed at once.
        return int(min(max(self._pace(0), of_late * 2 / 3), of_late * 3 / 2))

    def _pace(self, since: int) -> float:
        (began, first), (ended, last) = self._seen[since], self._seen[-1]
        return (last - first) * 3600 / (ended - began)


@dataclass(slots=True)
class Rebalancer:
    """Keeps shares of capacities as they should be; one turn after another."""

    redis: Redis
    clock: Callable[[], float] = time.monotonic
    """Seconds, by a clock that never steps: neither Redis's clock nor the database's has a say in what is confirmed."""
    prelude: str | None = None
    _scripts: Scripts = field(init=False)
    _in_force: dict[Key, tuple[int, float]] = field(default_factory=dict)
    """By grant: the number that was seen in force last, and since when this worker has seen it."""
    _demands: dict[Key, _Demand] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._scripts = Scripts(self.redis, prelude=self.prelude)

    async def turn(self, database: Database) -> int:
        """Look at all capacities once; returns how many grants were changed."""
        async with database.as_system(readonly=True) as connection:
            known = [row["id"] for row in await store.rows(connection, "known_capacities")]
        changed = 0
        for capacity_id in known:
            try:
                changed += await self.turn_of(database, capacity_id)
            except (RedisError, OSError, TimeoutError) as error:
                # What is in force goes on, and the next turn comes within a second: Redis may be back with nothing.
                log.warning("shares of a capacity cannot be looked at", capacity=str(capacity_id), error=repr(error))
        return changed

    async def turn_of(self, database: Database, capacity_id: UUID) -> int:
        """Put in force what the ledger says of a capacity; confirm, and move shares; returns how many grants were changed."""
        deadline_us = await self._scripts.now_us() + DEADLINE_US
        async with database.as_system(readonly=True) as connection:
            rows = await store.rows(connection, "grants_of_capacity", capacity_id)
        newer = await self._put_in_force(capacity_id, [_grant(row) for row in rows], deadline_us)
        changed = await self._decide(database, capacity_id, newer)
        await self._put_in_force(capacity_id, changed, deadline_us)
        return len(changed)

    async def _put_in_force(self, capacity_id: UUID, grants: Sequence[Grant], deadline_us: int) -> dict[UUID, int]:
        """Put grants in force; returns the greater numbers that Redis has where the ledger does not know them."""
        newer: dict[UUID, int] = {}
        for grant in grants:
            key = (capacity_id, grant.organization_id)
            answer = await self._grant(capacity_id, grant, deadline_us)
            if answer.status == _NEWER:
                newer[grant.organization_id] = answer.number
                self._in_force.pop(key, None)
            elif answer.status == _TOO_LATE:
                continue
            elif answer.status in {_NOW, _OPENED} or self._in_force.get(key, (0, 0.0))[0] != grant.number:
                self._in_force[key] = (grant.number, self.clock())
            if answer.status == _OPENED:
                # Its trail is drained, and its holds are reaped, like any other's.
                await self.redis.sadd(CELLS, keys_of(grant.organization_id).cell)
            self._demands.setdefault(key, _Demand()).see(answer.asked, self.clock())
        return newer

    async def _grant(self, capacity_id: UUID, grant: Grant, deadline_us: int) -> Granted:
        rate = Rate.of(grant.rate, per_us=HOUR_US) if grant.rate else None
        return await self._scripts.grant(
            keys_of(grant.organization_id), limit_id(capacity_id, grant.organization_id).hex,
            number=grant.number, capacity=grant.burst, rate=rate, deadline_us=deadline_us,
        )  # fmt: skip

    async def _decide(self, database: Database, capacity_id: UUID, newer: dict[UUID, int]) -> list[Grant]:
        """Confirm what is settled and plan what is next, in the ledger; returns what is to be put in force."""
        async with database.as_system() as connection:
            found = await store.rows(connection, "lock_capacity", capacity_id)
            if not found:
                return []
            row = found[0]
            capacity = Capacity(row["rate"], row["burst"], row["ceiling_rate"], row["ceiling_burst"])
            members = [
                Member(**dict(item)) for item in await store.rows(connection, "members_of_capacity", capacity_id)
            ]
            rows = await store.rows(connection, "grants_of_capacity", capacity_id)
            before = [_grant(item) for item in rows]
            grants = [self._settled(capacity_id, grant, newer) for grant in before]
            settled = settled_ceiling(capacity, grants)
            asked = {
                name: pace
                for (of, name), demand in self._demands.items()
                if of == capacity_id and (pace := demand.an_hour) is not None
            }
            planned = {grant.organization_id: grant for grant in plan(settled, members, grants, asked)}
            await self._write(connection, capacity_id, before, [planned.get(g.organization_id, g) for g in grants])
            begun = [grant for name, grant in planned.items() if all(g.organization_id != name for g in grants)]
            await self._write(connection, capacity_id, [], begun)
            if settled != capacity:
                await store.run(connection, "lower_ceiling", capacity_id, settled.ceiling_rate, settled.ceiling_burst)
            await self._note_demands(connection, capacity_id, rows, asked)
            await self._forget(connection, capacity_id, grants, {member.organization_id for member in members})
            if row["removed_at"] is not None:
                await store.run(connection, "delete_capacity", capacity_id)
        for grant in planned.values():
            _MOVES.labels(grant.state).inc()
        return list(planned.values()) + [
            g for g in grants if g.organization_id in newer and g.organization_id not in planned
        ]

    def _settled(self, capacity_id: UUID, grant: Grant, newer: dict[UUID, int]) -> Grant:
        """Return a grant as it is by what this worker saw."""
        if newer.get(grant.organization_id, 0) > grant.number:
            log.warning("Redis has a grant that the ledger does not know", organization_id=str(grant.organization_id))
            return grant.after(newer[grant.organization_id])
        number, since = self._in_force.get((capacity_id, grant.organization_id), (0, 0.0))
        if grant.state == "shrinking" and number == grant.number and self.clock() - since >= SETTLED_SECONDS:
            return grant.confirmed()
        return grant

    async def _write(
        self, connection: Connection, capacity_id: UUID, before: Sequence[Grant], after: Sequence[Grant]
    ) -> None:
        # What is given back first: the database adds up after each.
        known = {grant.organization_id: grant for grant in before}
        rows = [grant for grant in after if grant != known.get(grant.organization_id)]
        for grant in sorted(
            rows, key=lambda item: item.held_rate - known[item.organization_id].held_rate if known else 0
        ):
            await store.run(
                connection, "write_grant", grant.organization_id, capacity_id, grant.number, grant.rate, grant.burst,
                grant.held_rate, grant.held_burst, grant.state,
            )  # fmt: skip

    async def _note_demands(
        self, connection: Connection, capacity_id: UUID, rows: Sequence[Any], asked: dict[UUID, int]
    ) -> None:
        """Note what is asked for, for people; small differences are none."""
        for row in rows:
            news, known = asked.get(row["organization_id"]), row["demand"]
            if news is not None and (known is None or abs(news - known) > _NEWS * max(news, known)):
                await store.run(connection, "write_demand", row["organization_id"], capacity_id, news)

    async def _forget(
        self, connection: Connection, capacity_id: UUID, grants: Sequence[Grant], members: set[UUID]
    ) -> None:
        """Forget the grants of those that are no members, once nothing of them is held."""
        for grant in grants:
            if grant.organization_id not in members and grant.rate == 0 and grant.state == "granted":
                await store.run(connection, "delete_grant", grant.organization_id, capacity_id)
                self._in_force.pop((capacity_id, grant.organization_id), None)
                self._demands.pop((capacity_id, grant.organization_id), None)


def _grant(row: Any) -> Grant:
    return Grant(
        row["organization_id"], row["number"], row["rate"], row["burst"], row["held_rate"], row["held_burst"], row["state"]
    )  # fmt: skip


def rebalance(redis: Redis) -> Callable[[Database], Awaitable[object]]:
    """Make the job that keeps shares of all capacities as they should be."""
    return Rebalancer(redis).turn
