"""Decides hot calls by leases, and keeps them: asks for more, and gives back what is not used."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from prometheus_client import Counter

from nexus.contracts.limits import Dimension, Limit
from nexus.dataplane.decide.breaker import Breaker, LimiterAway
from nexus.dataplane.decide.leases import HORIZON_US, LIFE_US, Asked, Leases, Local
from nexus.dataplane.decide.model import Wish
from nexus.dataplane.decide.scripts import Keys, Scripts
from nexus.dataplane.decide.types import Decision, EndKind, LimitStanding, SettledLeg
from nexus.platform.tasks import end_tasks

_SWEEP_SECONDS = 0.05
_LOCAL = Counter("nexus_admission_local_decisions", "Calls decided by leases, without asking Redis.")
_LEASES = Counter("nexus_admission_leases", "Round trips to Redis for leases, by what for.", ("kind",))


def monotonic_us() -> int:
    """Return this machine's clock that never steps."""
    return time.monotonic_ns() // 1000


@dataclass(frozen=True, slots=True)
class _Held:
    """A call that was charged to leases and is settled later."""

    cell: str
    asked: Asked
    until_us: int


@dataclass(frozen=True, slots=True)
class Finished:
    """How a hold ended here."""

    legs: Sequence[SettledLeg]
    corrections: Sequence[tuple[Limit, str, int]]
    """What there was no lease to charge to, or to give back to: for Redis."""


class Lessee:
    """The leases of one process and their round trips: one at a time for an organization, so that none overtakes another."""

    def __init__(self, scripts: Scripts, breaker: Breaker, now_us: Callable[[], int]) -> None:
        self._scripts = scripts
        self._breaker = breaker
        self._now_us = now_us
        self._locks: dict[str, asyncio.Lock] = {}
        self._holds: dict[str, _Held] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self.leases = Leases()

    async def decide(self, cell: str, asked: Asked, *, hold_id: str = "", life_us: int = 0) -> Decision | None:
        """Decide a call; None where leases are not for it. `LimiterAway` when Redis is, and no lease covers it.

        With `life_us` it is held here, to be settled here; what is not stays charged.
        """
        if hold_id in self._holds:
            # The same call again may ask for something else: Redis would know.
            return Decision("spent", hold_id=hold_id, is_replay=True)
        decision = await self._decide(cell, asked)
        if decision is not None and decision.is_admitted and life_us:
            self._holds[hold_id] = _Held(cell, asked, monotonic_us() + life_us)
            return replace(decision, hold_id=hold_id)
        return decision

    async def _decide(self, cell: str, asked: Asked) -> Decision | None:
        if not self.leases.note(cell, asked, monotonic_us()):
            return None
        local = self.leases.decide(cell, asked, monotonic_us())
        if local is None:
            async with self._locks.setdefault(cell, asyncio.Lock()):
                # Another call may have asked for more while this one waited.
                local = self.leases.decide(cell, asked, monotonic_us())
                if local is None:
                    return await self._ask(cell, asked)
        _LOCAL.inc()
        return self._told(cell, asked, local)

    def finish(self, hold_id: str, kind: EndKind, actual: Mapping[Dimension, int]) -> Finished | None:
        """End a hold that is held here; None for any other."""
        held = self._holds.pop(hold_id, None)
        if held is None:
            return None
        legs: list[SettledLeg] = []
        corrections: list[tuple[Limit, str, int]] = []
        for limit, bucket, charged in held.asked:
            taken = charged
            if kind == "release":
                taken = 0
            elif limit.dimension in actual:
                taken = limit.charge(actual[limit.dimension])
            legs.append(SettledLeg(limit.dimension, charged, taken))
            if taken != charged and not self.leases.correct(held.cell, bucket, taken - charged):
                corrections.append((limit, bucket, taken - charged))
        return Finished(legs, corrections)

    def forget_expired(self) -> None:
        """Forget holds that nobody settled in their time: they stay charged as estimated."""
        now_us = monotonic_us()
        for hold_id in [hold_id for hold_id, held in self._holds.items() if held.until_us <= now_us]:
            del self._holds[hold_id]

    async def stop(self) -> None:
        """Give everything back."""
        await end_tasks(self._sweeping)
        self._sweeping = None
        for cell in self.leases.cells():
            await self._give_back(cell, only_idle=False)

    async def _ask(self, cell: str, asked: Asked) -> Decision | None:
        sent_us = monotonic_us()
        wishes = self.leases.wishes(cell, asked, sent_us)
        sequence = self.leases.next_sequence()
        answer = await self._run(cell, sequence, wishes, "ask")
        status, _, which, retry = answer[:4]
        if status not in {0, 1}:
            return None
        self.leases.granted(cell, sequence, asked, answer, sent_us, monotonic_us())
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep(), name="lease-sweep")
        standings = [
            _standing(
                limit, bucket, units if status else 0, answer[4 * number] + sum(answer[4 * number + 1 : 4 * number + 3])
            )
            for number, (limit, bucket, units) in enumerate(asked, 1)
        ]
        if status == 1:
            return Decision("admitted", standings)
        return Decision("refused", standings, retry_us=retry, refused_by=asked[which - 1][0])

    def _told(self, cell: str, asked: Asked, local: Local) -> Decision:
        now_us = monotonic_us()
        standings = []
        for limit, bucket, units in asked:
            lease = self.leases.held(cell, bucket)
            left = 0 if lease is None else max(0, lease.left) + max(0, lease.spendable(now_us))
            standings.append(_standing(limit, bucket, units if local.is_admitted else 0, left))
        if local.is_admitted:
            return Decision("admitted", standings)
        return Decision("refused", standings, retry_us=local.retry_us, refused_by=asked[local.limit - 1][0])

    async def _sweep(self) -> None:
        while len(self.leases):
            await asyncio.sleep(_SWEEP_SECONDS)
            for cell in self.leases.idle(monotonic_us()):
                await self._give_back(cell, only_idle=True)

    async def _give_back(self, cell: str, *, only_idle: bool) -> None:
        async with self._locks.setdefault(cell, asyncio.Lock()):
            wishes = self.leases.give_back(cell, monotonic_us(), only_idle=only_idle)
            if wishes:
                with contextlib.suppress(LimiterAway):
                    await self._run(cell, self.leases.next_sequence(), wishes, "return")

    async def _run(self, cell: str, sequence: int, wishes: list[Wish], kind: str) -> list[int]:
        _LEASES.labels(kind).inc()
        return await self._breaker.run(
            self._scripts.lease(
                Keys(cell), self.leases.process, sequence, wishes, self._now_us(),
                life_us=LIFE_US, horizon_us=HORIZON_US,
            )
        )  # fmt: skip


def _standing(limit: Limit, bucket: str, charged: int, left: int) -> LimitStanding:
    assert limit.rate is not None
    missing = max(0, limit.capacity - left)
    return LimitStanding(limit, bucket, charged, left, -(-missing * limit.rate.denominator // limit.rate.numerator))
