"""The counters of pausing budgets as Redis has them, read without changing anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.contracts.budgets import BudgetDocument, budget_limit
from nexus.contracts.limits import Limit
from nexus.costs.errors import CountersUnavailable
from nexus.costs.periods import period_of
from nexus.costs.types import Budget
from nexus.dataplane.decide.scripts import BucketState, keys_of
from nexus.dataplane.decide.windows import to_us


def limit_of(organization_id: UUID, budget: Budget) -> Limit:
    """Return the limit a budget is when it pauses; `UnrepresentableLimit` for an amount that cannot be counted."""
    fields = {name: getattr(budget, name) for name in BudgetDocument.__struct_fields__ if hasattr(budget, name)}
    return budget_limit(BudgetDocument(organization_id=organization_id, budget_id=budget.id, **fields))


async def read_states(redis: Redis, organization_id: UUID, buckets: Iterable[str]) -> dict[str, BucketState]:
    """Return the buckets that there are; `CountersUnavailable` when Redis does not answer."""
    names = list(dict.fromkeys(buckets))
    if not names:
        return {}
    prefix = keys_of(organization_id).buckets
    try:
        values = cast("list[bytes | None]", await redis.mget([prefix + name for name in names]))
    except (RedisError, OSError, TimeoutError) as error:
        raise CountersUnavailable(retry_after_seconds=1) from error
    return {name: BucketState.unpack(data) for name, data in zip(names, values, strict=True) if data is not None}


async def read_held(
    redis: Redis | None, organization_id: UUID, budgets: Sequence[Budget], at: datetime
) -> dict[UUID, dict[str, int]]:
    """Return what calls in flight hold of pausing budgets, in nanos, by budget and subject.

    Budgets that do not pause hold nothing and are missing, as are all while Redis does not answer: that is shown as not known.
    """
    limits = {
        limit.id.hex: (budget, limit)
        for budget in budgets
        if budget.pauses
        for limit in (limit_of(organization_id, budget),)
    }
    if redis is None or not limits:
        return {}
    try:
        states = await read_states(redis, organization_id, await list_buckets(redis, organization_id, limits))
    except CountersUnavailable:
        return {}
    held: dict[UUID, dict[str, int]] = {budget.id: {} for budget, _ in limits.values()}
    for name, state in states.items():
        own, _, subject = name.partition(":")
        budget, limit = limits[own]
        if state.at == to_us(period_of(budget, at)[0]):
            held[budget.id][subject] = state.held * limit.scale
    return held


async def list_buckets(redis: Redis, organization_id: UUID, limits: Mapping[str, object]) -> list[str]:
    """Return the names of the buckets of some limits, of all their subjects."""
    try:
        listed = cast("list[bytes]", await redis.zrange(keys_of(organization_id).bucket_list, 0, -1))
    except (RedisError, OSError, TimeoutError) as error:
        raise CountersUnavailable(retry_after_seconds=1) from error
    return [name for name in map(bytes.decode, listed) if name.partition(":")[0] in limits]
