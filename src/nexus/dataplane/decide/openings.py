"""Opens the buckets of budgets from the ledger of calls, and keeps account of what the ledger may lack when Redis loses them.

A budget's bucket begins a window with what was spent in it already: when the budget is new, when nobody has called for
long, and when Redis has lost its state. The scripts decide nothing by one that was not opened. What a process has in flight,
or has settled a moment ago, no ledger holds yet: after a loss each process reports it, and nothing is opened before all had
the time to.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from uuid import UUID

from nexus.contracts.limits import Dimension, Limit
from nexus.dataplane.decide.breaker import Breaker, LimiterAway
from nexus.dataplane.decide.scripts import Scripts, keys_of
from nexus.dataplane.decide.windows import window
from nexus.kit.ids import uuid7

Asked = Sequence[tuple[Limit, str, int]]
Spent = Callable[[Limit, str], Awaitable[int]]
"""Units of a limit that the ledger says were spent in the window that runs, by bucket."""
REPORT_SECONDS = 2.0
"""How long processes report after a loss, beside the second in which leases from before it end. Each looks once a second."""
RECENT_SECONDS = 30.0
"""How long after it was settled a call may be missing from the ledger."""
OPEN_SECONDS = 2.0
_MOST_KNOWN = 200_000
_OPENED, _ASK_LEDGER, _OTHER_WINDOW, _UNKNOWN_CELL = 1, 2, -2, -3


class Openings:
    """Which buckets of budgets are open, as far as one process knows."""

    def __init__(
        self,
        scripts: Scripts,
        breaker: Breaker,
        *,
        spent: Spent | None,
        open_cell: Callable[[UUID], Awaitable[None]],
        now_us: Callable[[], int],
        report_seconds: float = REPORT_SECONDS,
        wait_seconds: float = OPEN_SECONDS,
    ) -> None:
        """Make it; a call waits `wait_seconds` at most for a bucket that is being opened."""
        self._wait_seconds = wait_seconds
        self._scripts = scripts
        self._breaker = breaker
        self._spent = spent
        self._open_cell = open_cell
        self._now_us = now_us
        self._patience_us = int(report_seconds * 1_000_000)
        self._until: dict[tuple[UUID, str], int] = {}
        self._tasks: dict[tuple[UUID, str], asyncio.Task[None]] = {}

    async def ensure(self, met: Iterable[tuple[Limit, str]]) -> None:
        """Open the buckets of budgets among these; `LimiterAway` while one of them cannot be."""
        for limit, bucket in met:
            if limit.is_budget and self._until.get((limit.organization_id, bucket), 0) <= self._now_us():
                await self._ensure(limit, bucket)

    def forget(self, organization_id: UUID) -> None:
        """Look again at every bucket of an organization: Redis may have lost them."""
        for key in [key for key in self._until if key[0] == organization_id]:
            del self._until[key]

    async def stop(self) -> None:
        """Stop what is under way."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _ensure(self, limit: Limit, bucket: str) -> None:
        key = (limit.organization_id, bucket)
        task = self._tasks.get(key)
        if task is None:
            # One task for all calls that wait for it; what fails is told to each of them.
            task = self._tasks[key] = asyncio.create_task(self._open(limit, bucket), name="open-budget")
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        done, _ = await asyncio.wait({task}, timeout=self._wait_seconds)
        if not done or task.cancelled() or task.exception() is not None:
            raise LimiterAway

    async def _open(self, limit: Limit, bucket: str) -> None:
        keys = keys_of(limit.organization_id)
        spent: int | None = None
        for _ in range(4):
            now_us = self._now_us()
            status, at_us, _ = await self._breaker.run(
                self._scripts.seed(keys, limit, bucket, now_us, spent=spent, patience_us=self._patience_us)
            )
            if status == _OPENED:
                assert limit.period is not None
                if len(self._until) > _MOST_KNOWN:
                    self._until.clear()
                self._until[limit.organization_id, bucket] = window(at_us, limit.period, limit.zone, limit.begins_on)[1]
                return
            if status == _ASK_LEDGER:
                if self._spent is None:
                    raise LimiterAway
                spent = await self._spent(limit, bucket)
            elif status == _UNKNOWN_CELL:
                await self._open_cell(limit.organization_id)
            else:
                # Processes still report, or the clock is off: the failure policy decides meanwhile.
                raise LimiterAway
        raise LimiterAway


class Flights:
    """What one process has admitted against budgets and the ledger may not have yet."""

    def __init__(self, *, recent_seconds: float = RECENT_SECONDS) -> None:
        self.process = uuid7().hex
        self._recent_seconds = recent_seconds
        self._open: dict[str, tuple[float, UUID, list[tuple[Limit, str, int]]]] = {}
        self._recent: deque[tuple[float, UUID, str, int]] = deque()
        self._epochs: dict[UUID, bytes | None] = {}

    def began(self, organization_id: UUID, hold_id: str, life_seconds: float, asked: Asked) -> None:
        """Note a call that was admitted; without a hold it is settled as charged."""
        legs = [(limit, bucket, units) for limit, bucket, units in asked if limit.is_budget and units]
        if not legs:
            return
        if hold_id:
            self._open[hold_id] = (time.monotonic() + life_seconds, organization_id, legs)
        else:
            self._settled(organization_id, [(bucket, units) for _, bucket, units in legs])

    def ended(self, hold_id: str, actual: Mapping[Dimension, int], *, is_release: bool) -> None:
        """Note that a call has ended."""
        known = self._open.pop(hold_id, None)
        if known is None or is_release:
            return
        money = actual.get("money")
        legs = [(bucket, units if money is None else limit.charge(money)) for limit, bucket, units in known[2]]
        self._settled(known[1], legs)

    def organizations(self) -> set[UUID]:
        """Return whose budgets the ledger may lack something of; forgets what is over."""
        now = time.monotonic()
        while self._recent and self._recent[0][0] < now - self._recent_seconds:
            self._recent.popleft()
        for hold_id in [name for name, (until, _, _) in self._open.items() if until < now]:
            self.ended(hold_id, {}, is_release=False)
        return {item[1] for item in self._open.values()} | {item[1] for item in self._recent}

    def is_new_epoch(self, organization_id: UUID, epoch: bytes | None) -> bool:
        """Tell whether a cell's epoch is another than the one seen last: it was lost meanwhile."""
        before = self._epochs.get(organization_id, epoch)
        self._epochs[organization_id] = epoch
        return before != epoch

    def report(self, organization_id: UUID) -> dict[str, int]:
        """Return by bucket what an organization's calls may have spent that the ledger lacks, in the limits' units."""
        found: dict[str, int] = {}
        for _, owner, legs in self._open.values():
            for _, bucket, units in legs if owner == organization_id else ():
                found[bucket] = found.get(bucket, 0) + units
        for _, owner, bucket, units in self._recent:
            if owner == organization_id:
                found[bucket] = found.get(bucket, 0) + units
        return found

    def _settled(self, organization_id: UUID, legs: Iterable[tuple[str, int]]) -> None:
        now = time.monotonic()
        self._recent.extend((now, organization_id, bucket, units) for bucket, units in legs)
