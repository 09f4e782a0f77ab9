"""The engine: decides calls by all limits they meet, settles what was held, and keeps on when Redis is away.

```python
decision = await admission.decide(Call(organization_id=…, key_id=…, provider="openai", tokens=900), hold_seconds=600)
if decision.is_admitted:
    …
    await admission.settle(organization_id, decision.hold_id, {"tokens": 712})
```
Every held call is settled or released, whatever happens to it; what is not, because the process died, is reaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import structlog
from msgspec import structs
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.contracts.limits import Call, Dimension, Limit, LimitTable
from nexus.dataplane.decide.breaker import Breaker, LimiterAway
from nexus.dataplane.decide.cells import CELLS, Restore, open_cell
from nexus.dataplane.decide.fallback import Fallback, Owed
from nexus.dataplane.decide.leases import LIFE_US, Correction
from nexus.dataplane.decide.lessee import Lessee, monotonic_us
from nexus.dataplane.decide.nodes import Nodes
from nexus.dataplane.decide.openings import OPEN_SECONDS, REPORT_SECONDS, Flights, Openings, Spent
from nexus.dataplane.decide.purses import Charges, Finished, Plan, Plans
from nexus.dataplane.decide.refusals import RefusalBook
from nexus.dataplane.decide.scripts import SCARCE, BucketState, Keys, Scripts, keys_of
from nexus.dataplane.decide.shares import Shares
from nexus.dataplane.decide.slots import Slots
from nexus.dataplane.decide.types import Decision, EndKind, LimitStanding, Outcome, Settlement, WindowAccount
from nexus.dataplane.decide.windows import window
from nexus.kit.ids import uuid7

TIMEOUT_SECONDS = 0.005
DEFAULT_HOLD_SECONDS = 600.0
"""How long a call may last whose hold says nothing else."""
_TICK_SECONDS = 1.0
_REAP_AGAIN_SECONDS = 0.25
_FAREWELL_SECONDS = 1.0
_MOST_DOUBTFUL = 10_000
_REPORTED_SECONDS = 120
_SECOND = 1_000_000
_SCARCE_SECONDS = 0.02
_SCARCE_TURNS = 60
"""Together a little longer than a lease lives."""
_DECISIONS = Counter("nexus_admission_decisions", "Calls decided, by outcome.", ("outcome",))
_ADMITTED = _DECISIONS.labels("admitted")
_SHADOW = Counter("nexus_admission_shadow_refusals", "Calls that a limit in shadow mode would have refused.")
_AWAY = (RedisError, OSError, TimeoutError, LimiterAway)
log = structlog.get_logger("nexus.admission")

Asked = Sequence[tuple[Limit, str, int]]


class Admission:
    """Decides for one process.

    `table` gives the limits in force; `restore` what is known of cells that Redis lost; `spent` what the ledger says was spent of
    a budget, without which none can be opened.
    """

    def __init__(
        self,
        redis: Redis,
        table: Callable[[], LimitTable],
        *,
        restore: Restore | None = None,
        spent: Spent | None = None,
        report_seconds: float = REPORT_SECONDS,
        refusals: RefusalBook | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        prelude: str | None = None,
        nodes_file: Path | None = None,
    ) -> None:
        self._redis = redis
        self._table = table
        self._restore = restore
        self._refusals = refusals or RefusalBook()
        self._scripts = Scripts(redis, prelude=prelude)
        self._breaker = Breaker(self._ping, timeout_seconds=timeout_seconds, on_recovery=self._recovered)
        # A lease is counted by this process's clock, which has to run as Redis's does.
        self._has_leases = prelude is None
        self._lessee = Lessee(self._scripts, self._breaker, self._now_us, self._correct, _ADMITTED.inc)
        self._plans = Plans()
        self._slots = Slots(self._lessee.leases, monotonic_us, lambda: self._breaker.open_us)
        self._fallback = Fallback(self._slots)
        self._shares = Shares(redis, self._lessee.leases)
        self._nodes = Nodes(redis, self._scripts, self._breaker, file=nodes_file)
        # Who gives Redis more time than that gives it to PostgreSQL too.
        self._opening_seconds = max(OPEN_SECONDS, timeout_seconds)
        self._openings = Openings(
            self._scripts, self._breaker, spent=spent, open_cell=self.open_cell, now_us=self._now_us,
            report_seconds=report_seconds, wait_seconds=self._opening_seconds,
        )  # fmt: skip
        self._flights = Flights()
        self._paused: dict[tuple[UUID, str], int] = {}
        self._skew_us = 0
        self._cells: set[UUID] = set()
        self._reaped_at: dict[UUID, float] = {}
        self._doubtful: deque[tuple[UUID, str]] = deque(maxlen=_MOST_DOUBTFUL)
        self._unsettled: deque[tuple[UUID, str, EndKind, dict[Dimension, int]]] = deque(maxlen=_MOST_DOUBTFUL)
        self._telling = asyncio.Lock()
        self._opening: dict[UUID, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._is_stopping = False

    @property
    def is_degraded(self) -> bool:
        """Whether decisions are made without Redis now."""
        return self._breaker.is_open

    @property
    def table(self) -> LimitTable:
        """The limits in force."""
        return self._table()

    async def start(self) -> None:
        """Begin to reap, and to count the processes that decide."""
        await self._nodes.recall()
        self._fallback.share = self._nodes.share
        self._ticking = asyncio.create_task(self._tick_for_ever(), name="admission")

    async def stop(self) -> None:
        """Stop. Holds that are open stay so; another process reaps them."""
        self._is_stopping = True
        if self._tasks and not self._breaker.is_open:
            # What was to be told beside a call is short, and nobody else may know of it.
            await asyncio.wait(list(self._tasks), timeout=_FAREWELL_SECONDS)
        tasks: list[asyncio.Task[Any]] = [*self._tasks, *self._opening.values()]
        if self._ticking is not None:
            tasks.append(self._ticking)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, *_AWAY):
                await task
        await self._openings.stop()
        await self._lessee.stop()
        await self._breaker.stop()
        await self._nodes.leave()

    async def decide(
        self,
        call: Call,
        *,
        hold_id: str = "",
        hold_seconds: float = 0.0,
        is_settled_here: bool = False,
        limits: Sequence[tuple[Limit, str]] | None = None,
    ) -> Decision:
        """Decide one call. With `hold_seconds` it is held, to be settled within that time; calls in flight always are.

        The same `hold_id` again is the same call again: it is answered, not charged; once it has ended, or for a call that asks
        for something else, it is *spent*. `is_settled_here` promises that this process settles it: then leases may cover a hold
        too, and when the process dies it stays charged as estimated. `limits`, each with its bucket, are asked instead of those
        of the table. Never raises because of Redis.
        """
        table = self._table()
        plan = (
            self._plans.of(table, call) if limits is None else Plan(table, keys_of(call.organization_id).cell, limits)
        )
        if not plan.limits:
            _DECISIONS.labels("unlimited").inc()
            return Decision("admitted")
        charges = plan.charges_of(call)
        if not (hold_id or hold_seconds > 0 or plan.is_timed or call.is_privileged):
            decision = self._lessee.decide_now(plan, charges)
            if decision is not None:
                return structs.replace(decision, has_older_headers=True) if table.has_older_headers else decision
        if hold_seconds <= 0 and (hold_id or plan.is_timed):
            hold_seconds = DEFAULT_HOLD_SECONDS
        if hold_seconds > 0 and not hold_id:
            hold_id = uuid7().hex
        life_us = int(hold_seconds * _SECOND)
        if not life_us:
            hold_id = ""
        was_open = self._breaker.is_open
        is_leased = self._has_leases and not plan.has_budgets and not call.is_privileged
        is_leased = is_leased and (not life_us or is_settled_here)
        if plan.has_shares:
            self._shares.met(plan, charges, is_counted=is_leased)
        try:
            decision = None
            if plan.is_timed:
                self._slots.asked(plan.limits)
                if self._slots.is_settling:
                    was_open = True
                    raise LimiterAway
            if plan.has_budgets:
                await self._openings.ensure(plan.limits)
            elif is_leased:
                decision = await self._lessee.decide(plan, charges, hold_id=hold_id, life_us=life_us)
            if decision is None:
                asked = plan.asked(charges)
                answer = await self._decide_in_redis(call, asked, hold_id, life_us)
                decision = self._read(call, asked, answer, hold_id)
                if plan.is_timed and decision.outcome == "admitted" and not decision.is_replay:
                    self._slots.began(call.organization_id, hold_id, life_us, asked)
        except LimiterAway:
            if hold_id and not was_open:
                # Redis may have charged it all the same.
                self._doubtful.append((call.organization_id, hold_id))
            decision = self._fallback.decide(
                call.organization_id, plan.asked(charges), self._now_us(), hold_id=hold_id, life_us=life_us,
                is_privileged=call.is_privileged,
            )  # fmt: skip
        if decision.outcome != "admitted":
            _DECISIONS.labels(decision.outcome).inc()
        elif decision.decided_by != "lease":
            # Those are counted by who has the leases.
            _ADMITTED.inc()
        if decision.outcome == "admitted" and not decision.is_replay and plan.has_budgets:
            self._flights.began(call.organization_id, decision.hold_id, hold_seconds, plan.asked(charges))
        elif decision.outcome == "refused" and decision.refused_by is not None and decision.refused_by.is_budget:
            self._note_pause(decision)
        if not decision.is_admitted:
            self._refusals.note(call, decision)
        return structs.replace(decision, has_older_headers=True) if table.has_older_headers else decision

    def plan(self, call: Call) -> Plan:
        """Return the limits that calls like this one meet, found once for each table."""
        return self._plans.of(self._table(), call)

    def decide_now(self, plan: Plan, charges: Charges, *, hold_seconds: float) -> Decision | None:
        """Decide a call that this process settles, if what is set aside for its kind is enough; None: ask by `decide`."""
        if plan.table is not self._table():
            return None
        return self._lessee.decide_now(plan, charges, self._lessee.next_hold(), int(hold_seconds * _SECOND))

    def settle_now(self, hold_id: str, actual: Mapping[Dimension, int]) -> Finished | None:
        """Settle a hold that this process has; None for any other: settle it by `settle`."""
        return self._lessee.finish(hold_id, "settle", actual)

    async def settle(self, organization_id: UUID, hold_id: str, actual: Mapping[Dimension, int]) -> Settlement:
        """Settle a hold to what the call really took, once; a dimension that is not given stays as charged."""
        return await self._finish(organization_id, hold_id, "settle", actual)

    async def release(self, organization_id: UUID, hold_id: str) -> Settlement:
        """Give everything back: the call was never made."""
        return await self._finish(organization_id, hold_id, "release", {})

    async def reap(self, organization_id: UUID) -> int:
        """End the expired holds of an organization; returns how many. Not under the decision's limit of time."""
        return int((await self._scripts.reap(keys_of(organization_id)))[1])

    async def adjust(self, limit: Limit, bucket: str, units: int, *, name: str, window: int = 0) -> int:
        """Take units from a bucket by hand, or give them; returns what it has left. `LimiterAway` when Redis is.

        With `window`, where one begins (microseconds), only in that one: what comes after its end changes no later one.
        """
        for _ in range(3):
            status, left = await self._breaker.run(
                self._scripts.adjust(
                    keys_of(limit.organization_id), limit, bucket, units, self._now_us(), name, window=window
                )
            )
            if status > 0:
                return int(left)
            await self.open_cell(limit.organization_id)
        raise LimiterAway

    async def account(self, limit: Limit, bucket: str) -> WindowAccount | None:
        """Return how a window stands, to be reconciled with a ledger; None where it was never charged. `LimiterAway` …"""
        keys = keys_of(limit.organization_id)
        data = await self._breaker.run(self._read_bucket(keys.buckets + bucket))
        if data is None or limit.period is None:
            return None
        state = BucketState.unpack(data)
        known = state.level - state.held - state.leased - state.fraction
        return WindowAccount(state.at, state.ends, state.level, state.fraction, known)

    async def reconcile(self, limit: Limit, bucket: str, account: WindowAccount, used: int) -> int:
        """Give back what processes that died had of a window and did not spend; returns how many units. `LimiterAway` …

        `account` is how the bucket stood, `used` what a ledger says was spent in that window, in the limit's units. The ledger
        has to be read after the account, and to have each call in it that ended before: calls of processes that died too.
        Nothing is given back that may have been spent, so where calls go on some of it comes back only the next time.
        """
        if account.lost <= 0:
            return 0
        for _ in range(3):
            status, back = await self._breaker.run(
                self._scripts.reconcile(
                    keys_of(limit.organization_id), limit, bucket, self._now_us(), f"reconcile-{uuid7().hex}",
                    window=account.begins_us, lost=account.lost, known=account.known, used=used,
                )
            )  # fmt: skip
            if status > 0:
                return int(back)
            await self.open_cell(limit.organization_id)
        raise LimiterAway

    async def _read_bucket(self, key: str) -> bytes | None:
        found: Any = await self._redis.get(key)
        return bytes(found) if found is not None else None

    async def _decide_in_redis(self, call: Call, asked: Asked, hold_id: str, life_us: int) -> list[int]:
        keys = keys_of(call.organization_id)
        answer: list[int] = []
        now_us = self._now_us()
        turns = scarce = spared = 0
        while turns < 4:
            turns += 1
            answer = await self._breaker.run(
                self._scripts.decide(
                    keys, asked, now_us, hold=hold_id, life_us=life_us, is_privileged=call.is_privileged
                )
            )
            status = answer[0]
            if status == -3:
                await self.open_cell(call.organization_id)
            elif status == -4 and asked[answer[2] - 1][0].share is not None:
                # Nobody may open it but who keeps the ledger of grants.
                raise LimiterAway
            elif status == -4:
                # Redis lost it after this process had opened it.
                self._openings.forget(call.organization_id)
                await self._openings.ensure((limit, bucket) for limit, bucket, _ in asked)
            elif status == -2:
                # This process's clock is off: windows are offered by Redis's from now on.
                now_us = answer[1]
                self._skew_us = now_us - time.time_ns() // 1000
            elif status in {0, SCARCE} and spared < len(asked) and await self._lessee.spare(keys.cell, asked, answer):
                turns, spared = turns - 1, spared + 1
            elif status == 0 and await self._reaped(call.organization_id, keys):
                continue
            elif status == SCARCE and scarce < _SCARCE_TURNS:
                # What processes have of a window comes back within the life of a lease, and the call would be admitted then.
                turns, scarce = turns - 1, scarce + 1
                await self._reaped(call.organization_id, keys)
                await asyncio.sleep(_SCARCE_SECONDS)
            else:
                if status == SCARCE:
                    answer[0], answer[3] = 0, LIFE_US
                if call.organization_id not in self._cells:
                    self._cells.add(call.organization_id)
                    self._later(self._remember_cell(keys))
                return answer
        if answer and answer[0] == 0:
            return answer
        raise LimiterAway

    async def _reaped(self, organization_id: UUID, keys: Keys) -> bool:
        """Before a refusal is final, holds that have expired are ended; and leases; tells whether there were any."""
        now = time.monotonic()
        if now - self._reaped_at.get(organization_id, 0.0) < _REAP_AGAIN_SECONDS:
            return False
        self._reaped_at[organization_id] = now
        _, ended, _, _, freed = await self._breaker.run(self._scripts.reap(keys))
        return bool(ended or freed)

    def _read(self, call: Call, asked: Asked, answer: list[int], hold_id: str) -> Decision:
        status, now, which, wait = answer[:4]
        if status in {2, 3}:
            return Decision("admitted" if status == 2 else "spent", hold_id=hold_id, is_replay=True)
        standings: list[LimitStanding] = []
        for (limit, bucket, units), left, reset, shadow in zip(
            asked, answer[4::3], answer[5::3], answer[6::3], strict=True
        ):
            standings.append(
                LimitStanding(limit, bucket, units if status == 1 and not shadow else 0, left, reset, bool(shadow))
            )
            if shadow:
                _SHADOW.inc()
                self._refusals.note_shadow(call, limit, bucket)
            if limit.failure == "local" and limit.period is not None:
                self._fallback.saw(call.organization_id, bucket, left, now + reset)
        if status == 1:
            return Decision("admitted", standings, hold_id=hold_id, wait_us=wait)
        refused_by, _, units = asked[which - 1]
        if status == -1 and refused_by.share is not None and units <= refused_by.share.most:
            # Larger than its share is now, and not than it may come to be.
            status, wait = 0, _SECOND
        outcome: Outcome = "refused" if status == 0 else "impossible"
        return Decision(outcome, standings, retry_us=wait, refused_by=refused_by)

    async def _finish(
        self, organization_id: UUID, hold_id: str, kind: EndKind, actual: Mapping[Dimension, int]
    ) -> Settlement:
        self._flights.ended(hold_id, actual, is_release=kind == "release")
        self._slots.ended(hold_id)
        if self._fallback.finish(hold_id, kind, actual, self._now_us()):
            return Settlement("ended")
        here = self._lessee.finish(hold_id, kind, actual)
        if here is not None:
            return Settlement("ended", here.legs())
        try:
            answer = await self._breaker.run(self._scripts.finish(keys_of(organization_id), hold_id, kind, actual))
        except LimiterAway:
            self._unsettled.append((organization_id, hold_id, kind, dict(actual)))
            return Settlement("unavailable")
        return Settlement.read(answer)

    async def _correct(self, item: Correction) -> None:
        """Charge, or give back, in Redis what a settlement could not in a lease."""
        try:
            await self.adjust(item.limit, item.bucket, item.units, name=f"settle-{uuid7().hex}", window=item.window)
        except LimiterAway:
            # What comes back to a window would come back to a later one by then: it stays charged as estimated.
            if item.units > 0 or not item.window:
                self._fallback.owe_again(Owed(item.limit.organization_id, item.bucket, item.limit, item.units))

    async def open_cell(self, organization_id: UUID) -> None:
        """Make a cell known that Redis does not know: one task for all who wait for it. `LimiterAway` when it cannot be."""
        task = self._opening.get(organization_id)
        if task is None:
            task = asyncio.create_task(self._open_once(organization_id), name="open-cell")
            self._opening[organization_id] = task
            task.add_done_callback(lambda done: self._opened(organization_id, done))
        done, _ = await asyncio.wait({task}, timeout=self._opening_seconds)
        if not done or task.cancelled() or task.exception() is not None:
            raise LimiterAway

    def _opened(self, organization_id: UUID, task: asyncio.Task[None]) -> None:
        self._opening.pop(organization_id, None)
        if not task.cancelled() and task.exception() is not None:
            log.warning(
                "what Redis lost cannot be rebuilt yet: limits' failure policies decide",
                organization_id=str(organization_id), error=repr(task.exception()),
            )  # fmt: skip

    async def _open_once(self, organization_id: UUID) -> None:
        # What this process has decided need not have come to PostgreSQL yet.
        has_decided = organization_id in self._cells
        await open_cell(self._scripts, self._restore, organization_id, has_decided=has_decided)
        self._cells.discard(organization_id)
        self._openings.forget(organization_id)
        await self._tell_calls(organization_id)

    async def _tell_calls(self, organization_id: UUID) -> None:
        """Tell a Redis that lost its memory which calls are in flight here."""
        if self._slots.lost(organization_id):
            await self._lessee.tell_calls()

    async def _remember_cell(self, keys: Keys) -> None:
        await self._redis.sadd(CELLS, keys.cell)

    def _note_pause(self, decision: Decision) -> None:
        """Note, once a window, that a budget refuses calls: background work makes an event of it."""
        for item in decision.standings:
            if item.limit is not decision.refused_by:
                continue
            limit, now_us = item.limit, self._now_us()
            key = (limit.organization_id, item.bucket)
            if self._paused.get(key, 0) > now_us or limit.period is None:
                return
            starts, ends = window(now_us, limit.period, limit.zone, limit.begins_on)
            self._paused[key] = ends
            self._later(self._remember_pause(limit, item.bucket, f"{starts} {now_us}"))
            return

    async def _remember_pause(self, limit: Limit, bucket: str, since: str) -> None:
        await self._redis.hset(keys_of(limit.organization_id).pauses, f"{bucket}\n{limit.version}", since)

    async def _report_flights(self) -> None:
        """Tell, after a cell lost its state, what this process's calls may have spent that the ledger lacks."""
        for organization_id in self._flights.organizations() | self._slots.organizations():
            keys = keys_of(organization_id)
            epoch: Any = await self._redis.get(keys.epoch)
            if not self._flights.is_new_epoch(organization_id, epoch):
                continue
            await self._tell_calls(organization_id)
            told: dict[Any, Any] = {
                f"{self._flights.process} {bucket}": units
                for bucket, units in self._flights.report(organization_id).items()
            }
            if told:
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.hset(keys.reports, mapping=told)
                    pipe.expire(keys.reports, _REPORTED_SECONDS)
                    await pipe.execute()

    def _later(self, work: Coroutine[Any, Any, object]) -> None:
        """Tell Redis something beside the call."""
        # The coroutine is the task itself: one that is cancelled before its first step is closed, and not forgotten.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, _AWAY):
            log.error("Redis could not be told", error=repr(error), exc_info=error)

    def _now_us(self) -> int:
        return time.time_ns() // 1000 + self._skew_us

    async def _ping(self) -> object:
        return await self._redis.ping()

    def _recovered(self, away_us: int) -> None:
        self._slots.is_back(away_us)
        self._later(self._tell_what_happened())

    async def _tell_what_happened(self) -> None:
        """Tell Redis what was admitted, settled and given up while it was away; one at a time, as each takes what it tells."""
        async with self._telling:
            await self._tell_in_turn()

    async def _tell_in_turn(self) -> None:
        # Calls under way before those that have ended: in their place they began.
        await self._lessee.tell_calls()
        owed = self._fallback.take_owed(self._now_us())
        for number, item in enumerate(owed):
            try:
                await self.adjust(item.limit, item.bucket, item.units, name=f"outage-{uuid7().hex}")
            except LimiterAway:
                for untold in owed[number:]:
                    self._fallback.owe_again(untold)
                return
        for _ in range(len(self._doubtful)):
            # In Redis only: here the same call may be under way.
            organization_id, hold_id = doubtful = self._doubtful.popleft()
            try:
                await self._breaker.run(self._scripts.finish(keys_of(organization_id), hold_id, "release", {}))
            except LimiterAway:
                self._doubtful.append(doubtful)
                return
        for _ in range(len(self._unsettled)):
            organization_id, hold_id, kind, actual = self._unsettled.popleft()
            await self._finish(organization_id, hold_id, kind, actual)

    async def _tick_for_ever(self) -> None:
        while not self._is_stopping:
            try:
                await self._tick()
            except _AWAY as error:
                log.debug("admission's housekeeping failed", error=repr(error))
            except Exception:
                # The edge of a task that must outlive whatever it meets: without it no hold is reaped any more.
                log.exception("admission's housekeeping failed")
            await asyncio.sleep(_TICK_SECONDS)

    async def _tick(self) -> None:
        self._lessee.forget_expired()
        self._fallback.forget_expired(self._now_us())
        self._slots.forget_expired()
        if self._breaker.is_open:
            return
        # By the breaker, so that it opens, and says so, when nobody calls.
        await self._nodes.beat()
        self._fallback.share = self._nodes.share
        await self._look_at_limits()
        await self._shares.tell()
        await self._report_flights()
        if self._cells:
            # Again: the first time it may not have been heard.
            await self._redis.sadd(CELLS, *(organization_id.hex for organization_id in self._cells))
        for organization_id in list(self._cells):
            await self.reap(organization_id)
        if self._doubtful or self._unsettled or self._fallback.has_news:
            await self._tell_what_happened()

    async def _look_at_limits(self) -> None:
        """Keep current what windows have left, and how many calls are in flight, for when Redis is away."""
        for organization_id, names in self._fallback.windows(self._now_us()).items():
            for bucket, state in zip(names, await self._read_buckets(organization_id, names), strict=True):
                if state is not None:
                    self._fallback.saw(organization_id, bucket, state.capacity - state.level, state.ends)
        for organization_id, names in self._slots.looked_at().items():
            for bucket, state in zip(names, await self._read_buckets(organization_id, names), strict=True):
                self._slots.saw(organization_id, bucket, state.level if state is not None else 0)

    async def _read_buckets(self, organization_id: UUID, names: Sequence[str]) -> list[BucketState | None]:
        prefix = keys_of(organization_id).buckets
        kept = cast("list[bytes | None]", await self._redis.mget([prefix + name for name in names]))
        return [BucketState.unpack(data) if data is not None else None for data in kept]
