"""Decides hot calls by leases, and keeps them: asks for more, and gives back what is not used."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from prometheus_client import Counter

from nexus.contracts.limits import Dimension, Limit
from nexus.dataplane.decide.breaker import Breaker, LimiterAway
from nexus.dataplane.decide.leases import HORIZON_US, LIFE_US, Asked, Correction, Leases, Local
from nexus.dataplane.decide.model import Wish
from nexus.dataplane.decide.purses import Charges, Finished, Plan, Purse, Standings
from nexus.dataplane.decide.scripts import SCARCE, Keys, Scripts
from nexus.dataplane.decide.types import Decision, EndKind, LimitStanding
from nexus.platform.tasks import end_tasks

_SWEEP_SECONDS = 0.05
_CALLS_TO_OPEN = 4
_AWAY_SECONDS = 0.01
_LONGEST_WAIT_US = LIFE_US + 200_000
"""A little longer than whatever is out of a window may be out."""
_LOCAL = Counter("nexus_admission_local_decisions", "Calls decided by leases, without asking Redis.")
_LEASES = Counter("nexus_admission_leases", "Round trips to Redis for leases, by what for.", ("kind",))


def monotonic_us() -> int:
    """Return this machine's clock that never steps."""
    return time.monotonic_ns() // 1000


class _Held(msgspec.Struct, frozen=True):
    """A call that was charged to leases and is settled later."""

    purse: Purse
    epoch: int
    """The purse's when it paid; -1 where each lease did."""
    charges: Charges
    windows: Sequence[int]
    until_us: int


class Lessee:
    """The leases of one process and their round trips: one at a time for an organization, so that none overtakes another."""

    def __init__(
        self,
        scripts: Scripts,
        breaker: Breaker,
        now_us: Callable[[], int],
        correct: Callable[[Correction], Awaitable[None]],
        count: Callable[[int], None],
    ) -> None:
        """Make it; `correct` tells Redis what settlements took that no lease was charged with, `count` counts calls admitted."""
        self._scripts = scripts
        self._breaker = breaker
        self._now_us = now_us
        self._tell_redis = correct
        self._count_admitted = count
        self._locks: dict[str, asyncio.Lock] = {}
        self._asking: dict[str, asyncio.Event] = {}
        """Cells of which more is being asked for; set when there is an answer."""
        self._holds: dict[str, _Held] = {}
        self._last_hold = 0
        self._purses: set[Purse] = set()
        self._admitted = self._denied = 0
        """Calls that leases decided, and nobody has counted yet."""
        self._sweeping: asyncio.Task[None] | None = None
        self.leases = Leases()

    def next_hold(self) -> str:
        """Return the name of a hold that no process had before."""
        self._last_hold += 1
        return f"{self.leases.process}-{self._last_hold}"

    def decide_now(self, plan: Plan, charges: Charges, hold_id: str = "", life_us: int = 0) -> Decision | None:
        """Decide a call by what is set aside for its kind; None where that is not enough. With `life_us` it is held.

        The shortest way there is: what can be done later, such as counting, is the sweep's.
        """
        purse, now_us = plan.purse, monotonic_us()
        if now_us >= purse.until_us or (left := purse.take(charges)) is None:
            return None
        assert purse.page is not None
        if life_us:
            assert purse.windows is not None
            purse.hold(charges)
            self._holds[hold_id] = _Held(purse, purse.epoch, charges, purse.windows, now_us + life_us)
        self._admitted += 1
        return Decision("admitted", Standings(purse.page, charges, left), hold_id, decided_by="lease")

    async def decide(self, plan: Plan, charges: Charges, *, hold_id: str = "", life_us: int = 0) -> Decision | None:
        """Decide a call; None where leases are not for it. `LimiterAway` when Redis is, and no lease covers it.

        With `life_us` it is held here, to be settled here; what is not stays charged.
        """
        if hold_id in self._holds:
            # The same call again may ask for something else: Redis would know.
            return Decision("spent", hold_id=hold_id, is_replay=True)
        decision = self._by_purse(plan, charges, hold_id, life_us)
        if decision is None and plan.purse.windows is not None and (asking := self._asking.get(plan.cell)) is not None:
            # The leases of all limits end together: to look at each only to find that out is dear for all who come meanwhile.
            await asking.wait()
            decision = self._by_purse(plan, charges, hold_id, life_us)
        if decision is not None:
            return decision
        asked = plan.asked(charges)
        if not self.leases.note(plan.cell, asked, monotonic_us()):
            return None
        began_us = monotonic_us()
        while True:
            now_us = monotonic_us()
            local = self.leases.decide(plan.cell, asked, now_us)
            if local is None:
                async with self._locks.setdefault(plan.cell, asyncio.Lock()):
                    # Another call may have asked for more while this one waited.
                    decision = self._by_purse(plan, charges, hold_id, life_us)
                    if decision is not None:
                        return decision
                    local = self.leases.decide(plan.cell, asked, monotonic_us())
                    if local is None:
                        is_hot = plan.purse.windows is not None
                        decision = await self._ask(plan.cell, asked)
                        if decision is None:
                            return None
                        if decision.outcome != "scarce":
                            decision = self._held(decision, plan, charges, hold_id, life_us)
                            if is_hot and decision.is_admitted:
                                # It was closed with the leases it was paid from; calls that it holds are charged to it again.
                                self._fill_purse(plan, charges, monotonic_us())
                            return decision
                        if now_us - began_us > _LONGEST_WAIT_US:
                            return Decision(
                                "refused", decision.standings, retry_us=LIFE_US, refused_by=decision.refused_by
                            )
            if local is not None:
                self._admitted += local.is_admitted
                self._denied += not local.is_admitted
                decision = self._held(self._tell(plan.cell, asked, local), plan, charges, hold_id, life_us)
                if local.is_admitted:
                    self._open_purse(plan, charges, now_us)
                return decision
            # What others have of a window comes back within the life of a lease, and this call would be admitted then.
            await asyncio.sleep(_AWAY_SECONDS)

    def _by_purse(self, plan: Plan, charges: Charges, hold_id: str, life_us: int) -> Decision | None:
        decision = self.decide_now(plan, charges, hold_id, life_us)
        if decision is None and plan.purse.refill(self.leases, charges, monotonic_us()):
            decision = self.decide_now(plan, charges, hold_id, life_us)
        return decision

    def _held(self, decision: Decision, plan: Plan, charges: Charges, hold_id: str, life_us: int) -> Decision:
        """Return a decision that leases made, with its hold."""
        if not (decision.is_admitted and life_us):
            return decision
        self._hold(plan, charges, hold_id, life_us)
        return Decision("admitted", decision.standings, hold_id, decided_by=decision.decided_by)

    def _open_purse(self, plan: Plan, charges: Charges, now_us: int) -> None:
        """Set units aside for calls that are like one that was just decided by leases, where there are many of them."""
        plan.asked_of_late += 1
        if plan.asked_of_late >= _CALLS_TO_OPEN and now_us >= plan.purse.until_us:
            self._fill_purse(plan, charges, now_us)

    def _fill_purse(self, plan: Plan, charges: Charges, now_us: int) -> None:
        if plan.purse.open(self.leases, charges, now_us):
            self._purses.add(plan.purse)
        else:
            # Not with the next ones either.
            plan.asked_of_late = -_CALLS_TO_OPEN

    def _hold(self, plan: Plan, charges: Charges, hold_id: str, life_us: int) -> None:
        windows = [self.leases.window(key) for key in plan.keys]
        for (limit, _), key, place in zip(plan.limits, plan.keys, plan.units_of, strict=True):
            if limit.method != "token_bucket":
                self.leases.keep(key, charges[place])
        self._holds[hold_id] = _Held(plan.purse, -1, charges, windows, monotonic_us() + life_us)

    def finish(self, hold_id: str, kind: EndKind, actual: Mapping[Dimension, int]) -> Finished | None:
        """End a hold that is held here; None for any other."""
        held = self._holds.pop(hold_id, None)
        if held is None:
            return None
        purse, charges = held.purse, held.charges
        plan = purse.plan
        taken = [0] * len(charges) if kind == "release" else plan.taken(charges, actual)
        more: Charges | None
        if purse.epoch == held.epoch:
            more = purse.settle(charges, taken)
            if more is None:
                return Finished(plan, charges, taken)
        else:
            more = [took - charged for took, charged in zip(taken, charges, strict=True)]
            for (limit, _), key, place in zip(plan.limits, plan.keys, plan.units_of, strict=True):
                if limit.method != "token_bucket" or held.epoch >= 0:
                    self.leases.keep(key, -charges[place])
        for (limit, _), key, place, window in zip(plan.limits, plan.keys, plan.units_of, held.windows, strict=True):
            if more[place]:
                self.leases.correct(key, limit, more[place], window)
        self._keep_sweeping()
        return Finished(plan, charges, taken)

    def forget_expired(self) -> None:
        """Forget holds that nobody settled in their time: they stay charged as estimated."""
        now_us = monotonic_us()
        for hold_id in [hold_id for hold_id, held in self._holds.items() if held.until_us <= now_us]:
            self.finish(hold_id, "settle", {})

    async def stop(self) -> None:
        """Give everything back."""
        await end_tasks(self._sweeping)
        self._sweeping = None
        for purse in self._purses:
            purse.close()
        await self._pay()
        for cell in self.leases.cells():
            await self._give_back(cell, only_idle=False)
        self._count()

    async def _ask(self, cell: str, asked: Asked) -> Decision | None:
        sent_us = monotonic_us()
        wishes = self.leases.wishes(cell, asked, sent_us)
        sequence = self.leases.next_sequence()
        asking = self._asking[cell] = asyncio.Event()
        try:
            answer = await self._run(cell, sequence, wishes, "ask")
        finally:
            del self._asking[cell]
            asking.set()
        status, _, which, retry = answer[:4]
        self._keep_sweeping()
        if status not in {0, 1, SCARCE}:
            return None
        self.leases.granted(cell, sequence, asked, answer, sent_us, monotonic_us())
        standings = []
        for number, (limit, bucket, units) in enumerate(asked, 1):
            left, at_once, accruing, duration, window = answer[5 * number - 1 : 5 * number + 4]
            charged = units if status == 1 else 0
            standings.append(_standing(limit, bucket, charged, left + at_once + accruing, duration if window else 0))
        if status == 1:
            return Decision("admitted", standings)
        refused_by = asked[which - 1][0]
        return Decision("refused" if status == 0 else "scarce", standings, retry_us=retry, refused_by=refused_by)

    def _tell(self, cell: str, asked: Asked, local: Local) -> Decision:
        now_us = monotonic_us()
        standings = []
        for limit, bucket, units in asked:
            lease = self.leases.held(cell, bucket)
            left = reset = 0
            if lease is not None:
                left = max(0, lease.left) + max(0, lease.spendable(now_us))
                reset = max(0, lease.since_us + lease.duration_us - now_us) if lease.window else 0
            standings.append(_standing(limit, bucket, units if local.is_admitted else 0, left, reset))
        if local.is_admitted:
            return Decision("admitted", standings, decided_by="lease")
        refused_by = asked[local.limit - 1][0]
        return Decision("refused", standings, retry_us=local.retry_us, refused_by=refused_by, decided_by="lease")

    def _keep_sweeping(self) -> None:
        if (self._sweeping is None or self._sweeping.done()) and (len(self.leases) or self._purses):
            self._sweeping = asyncio.create_task(self._sweep(), name="lease-sweep")

    async def _pay(self) -> None:
        for item in self.leases.take_owed():
            await self._tell_redis(item)

    async def _sweep(self) -> None:
        while len(self.leases) or self._purses:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self.sweep()

    async def tell_calls(self) -> None:
        """Tell Redis of calls in flight that were decided without it."""
        self._keep_sweeping()
        await self.sweep()

    async def sweep(self) -> None:
        """Tell Redis what is owed, and give back what is not used."""
        await self._pay()
        now_us = monotonic_us()
        self._count()
        for purse in list(self._purses):
            purse.plan.asked_of_late = 0
            if not purse.tell(self.leases, now_us):
                # Nobody came by: what is set aside is for others, and goes back with the lease.
                purse.close()
                purse.retire(self.leases)
                self._purses.discard(purse)
        for cell in self.leases.idle(now_us):
            await self._give_back(cell, only_idle=True)

    def _count(self) -> None:
        """Count decisions for the metrics: a counter that is shared costs more than the decision."""
        _LOCAL.inc(self._admitted + self._denied)
        self._count_admitted(self._admitted)
        self._admitted = self._denied = 0

    async def spare(self, cell: str, asked: Asked, answer: Sequence[int]) -> bool:
        """Give back what a call lacks that Redis decided, where this process has it on lease; tells whether it had enough."""
        which = answer[2] - 1
        _, bucket, units = asked[which]
        if not self.leases.spare((cell, bucket), units - answer[4 + 3 * which], monotonic_us()):
            return False
        await self._give_back(cell, only_idle=True)
        return True

    async def _give_back(self, cell: str, *, only_idle: bool) -> None:
        async with self._locks.setdefault(cell, asyncio.Lock()):
            sent_us = monotonic_us()
            wishes = self.leases.give_back(cell, sent_us, only_idle=only_idle)
            if wishes:
                sequence = self.leases.next_sequence()
                with contextlib.suppress(LimiterAway):
                    answer = await self._run(cell, sequence, wishes, "return")
                    if answer[0] == 1 and only_idle:
                        self.leases.returned(cell, sequence, wishes, sent_us, monotonic_us())

    async def _run(self, cell: str, sequence: int, wishes: list[Wish], kind: str) -> list[int]:
        _LEASES.labels(kind).inc()
        return await self._breaker.run(
            self._scripts.lease(
                Keys(cell), self.leases.process, sequence, wishes, self._now_us(),
                life_us=LIFE_US, horizon_us=HORIZON_US,
            )
        )  # fmt: skip


def _standing(limit: Limit, bucket: str, charged: int, left: int, reset_us: int) -> LimitStanding:
    if limit.rate is not None:
        reset_us = limit.until_full_us(left)
    return LimitStanding(limit, bucket, charged, left, reset_us)
