"""Background work of costs: events of budgets, and counters brought back to the ledger. Safe on several nodes.

An event's key decides which node was first. A counter is corrected only if it is still as it was when it was looked at, so of two
nodes that see the same drift one corrects it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, cast
from uuid import UUID

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis

from nexus.contracts.budgets import bucket_name, ledger_units
from nexus.contracts.limits import Limit
from nexus.costs import store
from nexus.costs.counters import limit_of, list_buckets, read_states
from nexus.costs.errors import CountersUnavailable
from nexus.costs.periods import period_of, step_of
from nexus.costs.standings import Spend, crossed, sum_spend
from nexus.costs.types import Budget
from nexus.dataplane.decide.scripts import BucketState, Scripts, keys_of
from nexus.dataplane.decide.windows import from_us, to_us
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.kit.ids import uuid7
from nexus.platform.db import Database

SETTLED_SECONDS = 60.0
"""A counter above the ledger is brought down when neither has moved for so long: until then records may be on their way."""
_NANO = Decimal(1).scaleb(-9)
_EVENTS = Counter("nexus_costs_budget_events", "Events of budgets.", ("kind",))
_CORRECTED = Counter(
    "nexus_costs_corrected_counters", "Counters of budgets brought back to the ledger.", ("direction",)
)

log = structlog.get_logger("nexus.costs")
Owned = tuple[UUID, Budget]


def _by_owner(budgets: Sequence[Owned]) -> Iterator[tuple[UUID, list[Budget]]]:
    for owner, group in groupby(budgets, key=lambda item: item[0]):
        yield owner, [budget for _, budget in group]


async def _spend(database: Database, now: datetime) -> tuple[list[Owned], Mapping[UUID, Mapping[str, Spend]]]:
    """Return the active budgets of all organizations and what each has spent in the period that runs."""
    async with database.as_system(readonly=True) as connection:
        budgets = await store.all_budgets(connection)
        asked = [(owner, budget, *period_of(budget, now), step_of(budget)) for owner, budget in budgets]
        rows = await store.spend(connection, asked) if asked else []
    return budgets, sum_spend(rows, [budget for _, budget in budgets])


def _event(
    owner: UUID, budget: Budget, subject: str, kind: str, threshold: Decimal, spent: int, now: datetime, at: datetime
) -> tuple[Any, ...]:
    starts, ends = period_of(budget, at)
    return (
        owner, uuid7(), budget.id, subject, starts, ends, kind, threshold, spent * _NANO, Decimal(budget.amount),
        budget.currency, now,
    )  # fmt: skip


async def note_events(database: Database, redis: Redis, now: datetime | None = None) -> int:
    """Record thresholds that were crossed and budgets that refuse calls, each once; returns how many are new."""
    now = now or SYSTEM_CLOCK.now()
    budgets, spent = await _spend(database, now)
    events = [
        _event(owner, budget, subject, "threshold", Decimal(str(share)), spend.spent, now, now)
        for owner, budget in budgets
        for subject, spend in spent[budget.id].items()
        for share in crossed(budget, spend.spent)
    ]
    done: list[tuple[str, list[str]]] = []
    for owner, own in _by_owner(budgets):
        told = await _pauses(redis, owner)
        found = [_pause(owner, own, field_, value, spent, now) for field_, value in told.items()]
        events += [event for event in found if event is not None]
        if told:
            done.append((keys_of(owner).pauses, list(told)))
    new: list[store.Row] = []
    if events:
        async with database.as_system() as connection:
            new = await store.rows(connection, "insert_events", *[list(column) for column in zip(*events, strict=True)])
    # Committed: now, and not before, they may go.
    for key, fields in done:
        await redis.hdel(key, *fields)
    for row in new:
        _EVENTS.labels(row["kind"]).inc()
        log.info("a budget's event", budget=str(row["budget_id"]), kind=row["kind"], threshold=str(row["threshold"]))
    return len(new)


async def _pauses(redis: Redis, owner: UUID) -> dict[str, str]:
    told = await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(keys_of(owner).pauses))
    return {name.decode(): value.decode() for name, value in told.items()}


def _pause(
    owner: UUID,
    budgets: Sequence[Budget],
    told: str,
    value: str,
    spent: Mapping[UUID, Mapping[str, Spend]],
    now: datetime,
) -> tuple[Any, ...] | None:
    """Make the event of a refusal that a process noted; None for one of a budget that is another by now."""
    bucket, _, version = told.partition("\n")
    name, _, subject = bucket.partition(":")
    budget = next((item for item in budgets if item.pauses and limit_of(owner, item).id.hex == name), None)
    if budget is None or str(budget.version) != version:
        return None
    starts_us, at_us = map(int, value.split())
    if to_us(period_of(budget, now)[0]) != starts_us:
        return None
    known = spent[budget.id].get(subject)
    return _event(owner, budget, subject, "paused", Decimal(0), known.spent if known else 0, from_us(at_us), now)


@dataclass(frozen=True, slots=True)
class _Look:
    """How a counter and the ledger stood when they were looked at."""

    state: BucketState
    ledger: int
    since: float

    @property
    def drift(self) -> int:
        """What the counter has that the ledger lacks, calls in flight and leases left out; negative the other way round."""
        return self.state.level - self.state.held - self.state.leased - self.ledger


@dataclass
class Reconciler:
    """Compares counters of pausing budgets with the ledger, and brings them back to it.

    A counter below the ledger lacks calls that came by other ways than admission, or whose hold was lost: it is raised when
    two looks agree that it does. One above holds what nobody recorded, as of processes that died: it is lowered when nothing
    has moved for `settled_seconds`.
    """

    redis: Redis
    settled_seconds: float = SETTLED_SECONDS
    monotonic: Callable[[], float] = time.monotonic
    _seen: dict[tuple[UUID, str], _Look] = field(default_factory=dict)

    async def __call__(self, database: Database, now: datetime | None = None) -> int:
        """Look once at every counter; returns how many were corrected."""
        now = now or SYSTEM_CLOCK.now()
        # The ledger first: what is settled between the two looks makes the counter larger, and is never taken for a lack.
        budgets, spent = await _spend(database, now)
        scripts = Scripts(self.redis)
        corrected = 0
        looks: dict[tuple[UUID, str], _Look] = {}
        for owner, own in _by_owner([item for item in budgets if item[1].pauses]):
            limits = {limit_of(owner, budget).id.hex: budget for budget in own}
            try:
                states = await read_states(self.redis, owner, await list_buckets(self.redis, owner, limits))
            except CountersUnavailable:
                continue
            for name, state in states.items():
                budget = limits[name.partition(":")[0]]
                if state.at != to_us(period_of(budget, now)[0]):
                    continue
                limit, subject = limit_of(owner, budget), name.partition(":")[2]
                known = spent[budget.id].get(subject)
                look = _Look(state, ledger_units(known.spent if known else 0, limit), self.monotonic())
                units = self._correction(owner, name, look, looks)
                if units and await self._correct(scripts, limit, bucket_name(limit, subject), units, state, now):
                    corrected += 1
        self._seen = looks
        return corrected

    def _correction(self, owner: UUID, name: str, look: _Look, looks: dict[tuple[UUID, str], _Look]) -> int:
        """Return by how many units a counter is to be changed; keeps what was seen for the next time."""
        before = self._seen.get((owner, name))
        is_still = before is not None and (before.state, before.ledger) == (look.state, look.ledger)
        looks[owner, name] = before if before is not None and is_still else look
        if before is None:
            return 0
        if look.drift < 0 and before.drift < 0:
            return min(-look.drift, -before.drift)
        if look.drift > 0 and is_still and look.since - before.since >= self.settled_seconds:
            return -look.drift
        return 0

    async def _correct(
        self, scripts: Scripts, limit: Limit, bucket: str, units: int, seen: BucketState, now: datetime
    ) -> bool:
        keys = keys_of(limit.organization_id)
        status, _ = await scripts.adjust(keys, limit, bucket, units, to_us(now), f"reconcile-{uuid7().hex}", seen=seen)
        if status != 1:
            return False
        _CORRECTED.labels("up" if units > 0 else "down").inc()
        log.info("a budget's counter was brought back to the ledger", budget=limit.name, bucket=bucket, units=units)
        return True


def periodic(redis: Redis) -> list[tuple[str, float, Callable[[Database], Awaitable[object]]]]:
    """Return costs' background work."""

    async def events(database: Database) -> int:
        return await note_events(database, redis)

    return [("costs.note_events", 2.0, events), ("costs.reconcile", 5.0, Reconciler(redis))]
