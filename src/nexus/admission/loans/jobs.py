"""Background work of loans: each second borrowers pay what is due, and what became of loans is recorded; old ones are deleted.

Safe on several nodes: what a loan has paid follows from the time alone, and each movement happens in one step in Redis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

import msgspec
from prometheus_client import Counter
from redis.asyncio import Redis

from nexus.admission import store
from nexus.admission.loans import service
from nexus.dataplane.decide.breaker import LimiterAway
from nexus.dataplane.decide.cells import CELLS
from nexus.dataplane.decide.lending import Lending, LoanRecord
from nexus.dataplane.decide.scripts import Scripts, keys_of
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import Database
from nexus.platform.db.configuration import get_configuration

RECOVERED = "recovered from the limiter"
"""Who asked for a loan that was granted, and whose record was lost."""
_ENDED = Counter("nexus_admission_loans", "Loans whose state changed, by the new one.", ("state",))


async def _not_here(_: UUID) -> None:
    # Whoever decides its calls makes an organization known; the worker has nothing to do for one that is not.
    raise LimiterAway


async def serve_cell(database: Database, redis: Redis, organization_id: UUID, recorded: set[UUID]) -> int:
    """Bring the loans of an organization to now and record them; `recorded` are those that are open in the table.

    Returns how many have changed their state.
    """
    keys = keys_of(organization_id)
    lending = Lending(Scripts(redis), _not_here)
    found: list[tuple[str, LoanRecord]] = []
    for name in sorted(map(bytes.decode, cast("set[bytes]", await redis.smembers(keys.borrowers)))):
        answer = await lending.bring_to_now(organization_id, name)
        found += [(name, loan) for loan in answer.loans]
    if await redis.exists(keys.accounts):
        await lending.pay_out(organization_id)
    seen = {UUID(hex=loan.id) for _, loan in found}
    closed: list[LoanRecord] = []
    for loan_id in recorded - seen:
        # It ended, and whoever ended it did not come to record that.
        data = cast("bytes | None", await redis.get(keys.closed_loans + loan_id.hex))
        if data is not None:
            closed.append(msgspec.msgpack.decode(data, type=LoanRecord))
    if not found and not closed:
        return 0
    async with database.as_system(organization_id=organization_id) as connection:
        if not await store.value(connection, "known_organization", organization_id):
            return 0
        for name, loan in found:
            if UUID(hex=loan.id) not in recorded:
                await service.insert(
                    connection, organization_id, name, loan, rule_id=None, reason="", requested_by=RECOVERED
                )
        records = [loan for _, loan in found] + closed
        changed = await service.tell(connection, organization_id, records, SYSTEM_CLOCK.now())
    for row in changed:
        _ENDED.labels(row["state"]).inc()
    return len(changed)


def serve(redis: Redis) -> Callable[[Database], Awaitable[object]]:
    """Make the job that brings all loans to now."""

    async def job(database: Database) -> int:
        async with database.as_system(readonly=True) as connection:
            rows = await store.rows(connection, "open_loans_of_all")
        recorded: Mapping[UUID, set[UUID]] = defaultdict(set)
        for row in rows:
            recorded[row["organization_id"]].add(row["id"])
        cells = {UUID(hex=cast("bytes", name).decode()) for name in await redis.smembers(CELLS)}
        return sum([await serve_cell(database, redis, cell, recorded[cell]) for cell in sorted(cells | set(recorded))])

    return job


async def delete_old(database: Database, now: datetime | None = None) -> int:
    """Delete loans that ended longer ago than they are kept; returns how many."""
    async with database.as_system() as connection:
        days = (await get_configuration(connection)).integer("retention.loans_days")
        before = (now or SYSTEM_CLOCK.now()) - timedelta(days=days)
        return await store.run(connection, "delete_old_loans", before)
