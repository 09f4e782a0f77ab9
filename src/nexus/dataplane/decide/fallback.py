"""Decides without Redis, by each limit's failure policy, and keeps account of what Redis will have to be told.

*closed* refuses. *open* admits and records. *local* admits within this process's share: the rate divided by the nodes last
known, from an empty bucket, so that all nodes together admit no more than the rate; of a window what was left when last seen,
divided alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from uuid import UUID

from prometheus_client import Counter

from nexus.contracts.limits import Dimension, Limit, Rate
from nexus.dataplane.decide.model import Bucket, Cell
from nexus.dataplane.decide.types import Decision, LimitStanding
from nexus.dataplane.decide.windows import window

Asked = Sequence[tuple[Limit, str, int]]
_AGAIN_US = 1_000_000
_CALLS = Counter("nexus_admission_degraded_calls", "Calls decided without Redis, by outcome.", ("outcome",))


class Fallback:
    """The failure policies of one process."""

    def __init__(self) -> None:
        self.nodes = 1
        self._cells: dict[UUID, Cell] = {}
        self._left: dict[tuple[UUID, str], tuple[int, int]] = {}
        self._holds: dict[str, tuple[UUID, Asked]] = {}
        self._owed: dict[tuple[UUID, str], tuple[Limit, int]] = {}

    def saw(self, organization_id: UUID, bucket: str, left: int, until_us: int) -> None:
        """Remember what a window had left, and until when that is of use."""
        if len(self._left) > 100_000:
            self._left.clear()
        self._left[organization_id, bucket] = (left, until_us)

    def decide(
        self, organization_id: UUID, asked: Asked, now: int, *, hold_id: str, life_us: int, is_privileged: bool
    ) -> Decision:
        """Decide one call; all limits or none, as ever."""
        standings = [LimitStanding(limit, bucket, units, None, 0) for limit, bucket, units in asked]
        for limit, _, _ in asked:
            if limit.failure == "closed" and not limit.is_shadow:
                _CALLS.labels("refused").inc()
                return Decision("unavailable", standings, retry_us=_AGAIN_US, refused_by=limit, is_degraded=True)
        shares = [
            (self._share(organization_id, limit, bucket, now), bucket, units)
            for limit, bucket, units in asked
            if limit.failure == "local"
        ]
        refused = next((limit for limit, _, _ in shares if limit.capacity <= 0), None)
        cell = self._cells.setdefault(organization_id, Cell())
        if refused is None and shares:
            verdict = cell.decide(shares, now, hold=hold_id, life_us=life_us, is_privileged=is_privileged)
            if verdict.outcome != "admitted":
                _CALLS.labels("refused").inc()
                limit = shares[verdict.limit - 1][0]
                # What is larger than a share may well fit when Redis is back.
                return Decision(
                    "refused", standings, retry_us=verdict.retry_us or _AGAIN_US, refused_by=limit, is_degraded=True
                )
        if refused is not None:
            _CALLS.labels("refused").inc()
            return Decision("refused", standings, retry_us=_AGAIN_US, refused_by=refused, is_degraded=True)
        self._owe(organization_id, asked)
        if hold_id and life_us:
            self._holds[hold_id] = (organization_id, asked)
        _CALLS.labels("admitted").inc()
        return Decision("admitted", standings, hold_id=hold_id, is_degraded=True)

    def finish(self, hold_id: str, kind: str, actual: Mapping[Dimension, int], now: int) -> bool:
        """End a hold that was made here; False for any other."""
        known = self._holds.pop(hold_id, None)
        if known is None:
            return False
        organization_id, asked = known
        self._cells[organization_id].finish(hold_id, kind, actual, now)
        for limit, bucket, charged in asked:
            if limit.method != "concurrency":
                taken = 0 if kind == "release" else charged
                if kind != "release" and limit.dimension in actual:
                    taken = limit.charge(actual[limit.dimension])
                self._owe(organization_id, [(limit, bucket, taken - charged)])
        return True

    def take_owed(self) -> list[tuple[UUID, str, Limit, int]]:
        """Return, and forget, what was admitted and Redis does not know of."""
        owed = [
            (organization_id, bucket, limit, units) for (organization_id, bucket), (limit, units) in self._owed.items()
        ]
        self._owed.clear()
        self._cells.clear()
        return owed

    def owe_again(self, organization_id: UUID, bucket: str, limit: Limit, units: int) -> None:
        """Keep account of what could not be told to Redis."""
        self._owe(organization_id, [(limit, bucket, units)])

    def _owe(self, organization_id: UUID, asked: Asked) -> None:
        for limit, bucket, units in asked:
            if limit.method != "concurrency":
                before = self._owed.get((organization_id, bucket), (limit, 0))[1]
                self._owed[organization_id, bucket] = (limit, before + units)

    def _share(self, organization_id: UUID, limit: Limit, bucket: str, now: int) -> Limit:
        cell = self._cells.setdefault(organization_id, Cell())
        known = cell.buckets.get(bucket)
        if limit.rate is not None:
            share = replace(
                limit, capacity=max(1, limit.capacity // self.nodes), reserve=0,
                rate=Rate(limit.rate.numerator, limit.rate.denominator * self.nodes),
            )  # fmt: skip
            if known is None:
                cell.buckets[bucket] = Bucket(share, Fraction(0), now)
            return share
        if known is not None and (limit.period is None or now < known.ends):
            return known.limit
        if limit.period is None:
            return replace(limit, capacity=max(1, limit.capacity // self.nodes), reserve=0)
        left, until = self._left.get((organization_id, bucket), (0, 0))
        if now >= until or known is not None:
            # Another window than the one last seen: nobody has spent of it, as far as anybody knows.
            left = limit.capacity
        share = replace(limit, capacity=max(1, left // self.nodes), reserve=0)
        begins, ends = window(now, limit.period, limit.zone)
        used = Fraction(0) if left >= self.nodes else Fraction(share.capacity)
        cell.buckets[bucket] = Bucket(share, used, begins, ends)
        return share
