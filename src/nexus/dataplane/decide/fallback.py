"""Decides without Redis, by each limit's failure policy, and keeps account of what Redis will have to be told.

*closed* refuses. *open* admits and records. *local* admits within this process's share, so that all processes together stay
within the limit: of a bucket its share of the rate, from nothing; of a window its share of what that had left when it was last
looked at, a second ago or so; of calls in flight what Redis counts for it (see `slots`). A limit too small to be divided, a
window nobody has looked at, and any limit of a process that Redis never gave a share, give nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from uuid import UUID

import structlog
from prometheus_client import Counter

from nexus.contracts.limits import Dimension, Limit, Rate
from nexus.dataplane.decide.model import SPREAD_US, Bucket, Cell
from nexus.dataplane.decide.slots import Slots
from nexus.dataplane.decide.types import Decision, LimitStanding
from nexus.dataplane.decide.windows import window

Asked = Sequence[tuple[Limit, str, int]]
_AGAIN_US = 1_000_000
_MOST_WINDOWS = 10_000
_MOST_OWED = 100_000
_CALLS = Counter("nexus_admission_degraded_calls", "Calls decided without Redis, by outcome.", ("outcome",))
log = structlog.get_logger("nexus.admission")


@dataclass(frozen=True, slots=True)
class Owed:
    """Units of a bucket that were admitted, and that Redis does not know of."""

    organization_id: UUID
    bucket: str
    limit: Limit
    units: int
    until_us: int = 0
    """Of a window: when it ends. What it owed then is nobody's: the next begins clean."""


@dataclass(frozen=True, slots=True)
class _Held:
    organization_id: UUID
    asked: Asked
    until_us: int


class Fallback:
    """The failure policies of one process."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.share: Fraction | None = None
        """This process's part of each limit, of 1; None: it was never known. See `nodes`."""
        self._since: int | None = None
        self._cells: dict[UUID, Cell] = {}
        self._left: dict[tuple[UUID, str], tuple[int, int]] = {}
        self._holds: dict[str, _Held] = {}
        self._owed: dict[tuple[UUID, str], Owed] = {}

    @property
    def has_news(self) -> bool:
        """Whether calls were decided here that Redis was not told of."""
        return self._since is not None or bool(self._owed)

    def saw(self, organization_id: UUID, bucket: str, left: int, until_us: int) -> None:
        """Remember what a window had left, and when it ends."""
        key = (organization_id, bucket)
        if len(self._left) >= _MOST_WINDOWS and key not in self._left:
            return
        self._left[key] = (left, until_us)

    def windows(self, now: int) -> Mapping[UUID, Sequence[str]]:
        """Return the windows that run and were asked for here, by organization: what they have left is to be kept current."""
        self._left = {key: seen for key, seen in self._left.items() if seen[1] > now}
        found: dict[UUID, list[str]] = {}
        for organization_id, bucket in self._left:
            found.setdefault(organization_id, []).append(bucket)
        return found

    def decide(
        self, organization_id: UUID, asked: Asked, now: int, *, hold_id: str, life_us: int, is_privileged: bool
    ) -> Decision:
        """Decide one call; all limits or none, as ever."""
        standings = [LimitStanding(limit, bucket, units, None, 0) for limit, bucket, units in asked]
        if self._since is None:
            self._since = now
        for limit, _, _ in asked:
            is_closed = limit.failure == "closed" or (limit.failure == "local" and self.share is None)
            if is_closed and not limit.is_shadow:
                _CALLS.labels("refused").inc()
                return Decision("unavailable", standings, retry_us=_AGAIN_US, refused_by=limit, decided_by="fallback")
        shares: list[tuple[Limit, str, int]] = []
        for limit, bucket, units in asked:
            if limit.failure == "local" and limit.method == "concurrency":
                assert self.share is not None
                if not limit.is_shadow and not self._slots.has_room(organization_id, limit, bucket, self.share):
                    return self._refused(standings, limit, _AGAIN_US)
            elif limit.failure == "local":
                share = self._share(organization_id, limit, bucket, now)
                if share is not None:
                    shares.append((share, bucket, units))
                elif not limit.is_shadow:
                    return self._refused(standings, limit, _AGAIN_US)
        if shares:
            cell = self._cells.setdefault(organization_id, Cell())
            verdict = cell.decide(shares, now, hold=hold_id, life_us=life_us, is_privileged=is_privileged)
            if verdict.outcome != "admitted":
                # What is larger than a share may well fit when Redis is back.
                return self._refused(standings, shares[verdict.limit - 1][0], verdict.retry_us or _AGAIN_US)
        self._owe(organization_id, asked, now)
        if hold_id and life_us:
            self._holds[hold_id] = _Held(organization_id, asked, now + life_us)
            for limit, bucket, _ in asked:
                if limit.method == "concurrency" and not limit.is_shadow:
                    self._slots.occupy(organization_id, limit, bucket)
        _CALLS.labels("admitted").inc()
        return Decision("admitted", standings, hold_id=hold_id, decided_by="fallback")

    def finish(self, hold_id: str, kind: str, actual: Mapping[Dimension, int], now: int) -> bool:
        """End a hold that was made here; False for any other."""
        held = self._holds.pop(hold_id, None)
        if held is None:
            return False
        cell = self._cells.get(held.organization_id)
        if cell is not None:
            cell.finish(hold_id, kind, actual, now)
            cell.holds.pop(hold_id, None)
        for limit, bucket, charged in held.asked:
            if limit.method == "concurrency" and not limit.is_shadow:
                self._slots.vacate(held.organization_id, limit, bucket)
            taken = 0 if kind == "release" else charged
            if kind != "release" and limit.dimension in actual:
                taken = limit.charge(actual[limit.dimension])
            self._owe(held.organization_id, [(limit, bucket, taken - charged)], now)
        return True

    def forget_expired(self, now: int) -> None:
        """End holds that nobody settled in their time: they stay charged as estimated."""
        for hold_id in [hold_id for hold_id, held in self._holds.items() if held.until_us <= now]:
            self.finish(hold_id, "reap", {}, now)

    def take_owed(self, now: int) -> list[Owed]:
        """Return, and forget, what was admitted and Redis does not know of: Redis decides again. Calls in flight it is told of
        as the process's own (see `leases`)."""
        owed = [item for item in self._owed.values() if item.units and not 0 < item.until_us <= now]
        self._owed.clear()
        self._since = None
        self._cells.clear()
        return owed

    def owe_again(self, owed: Owed) -> None:
        """Keep account of what could not be told to Redis."""
        key = (owed.organization_id, owed.bucket)
        before = self._owed.get(key)
        if before is not None and before.until_us == owed.until_us:
            owed = replace(owed, units=owed.units + before.units)
        elif before is None and len(self._owed) >= _MOST_OWED:
            log.warning("more buckets were charged without Redis than can be told to it", limit=owed.limit.name)
            return
        self._owed[key] = owed

    def _refused(self, standings: Sequence[LimitStanding], limit: Limit, retry_us: int) -> Decision:
        _CALLS.labels("refused").inc()
        return Decision("refused", standings, retry_us=retry_us, refused_by=limit, decided_by="fallback")

    def _owe(self, organization_id: UUID, asked: Asked, now: int) -> None:
        for limit, bucket, units in asked:
            if limit.method != "concurrency" and units:
                until = window(now, limit.period, limit.zone, limit.begins_on)[1] if limit.period is not None else 0
                self.owe_again(Owed(organization_id, bucket, limit, units, until))

    def _share(self, organization_id: UUID, limit: Limit, bucket: str, now: int) -> Limit | None:
        """Return this process's part of a limit, its bucket being there; None where that is nothing."""
        assert self.share is not None
        cell = self._cells.setdefault(organization_id, Cell())
        known = cell.buckets.get(bucket)
        if limit.period is not None:
            return self._share_of_window(cell, organization_id, limit, bucket, now)
        assert limit.rate is not None
        capacity = int(limit.capacity * self.share)
        if not capacity:
            return None
        rate = Rate(limit.rate.numerator * self.share.numerator, limit.rate.denominator * self.share.denominator)
        share = replace(limit, capacity=capacity, reserve=0, rate=rate)
        if known is None:
            # Leases may have been granted what the bucket gains in the first moments: it is not given twice.
            cell.buckets[bucket] = Bucket(share, Fraction(0), now + SPREAD_US)
        return share

    def _share_of_window(self, cell: Cell, organization_id: UUID, limit: Limit, bucket: str, now: int) -> Limit | None:
        assert limit.period is not None
        assert self.share is not None
        assert self._since is not None
        known = cell.buckets.get(bucket)
        if known is not None and now < known.ends:
            return known.limit
        begins, ends = window(now, limit.period, limit.zone, limit.begins_on)
        left, until = self._left.get((organization_id, bucket), (0, 0))
        if begins >= self._since:
            # It began without Redis, so nobody had any of it.
            left = limit.capacity
        elif until != ends:
            left = 0
        capacity = int(left * self.share)
        if capacity <= 0:
            return None
        share = replace(limit, capacity=capacity, reserve=0)
        cell.buckets[bucket] = Bucket(share, Fraction(0), begins, ends)
        return share
