"""The rules of admission as a pure model in rational numbers: what the scripts must do, without Redis and without rounding.

Tests hold the scripts against it step by step; a process that is cut off from Redis decides by it. Time is given with each
call, in microseconds; a bucket's level is a `Fraction`, so a refill at any rate is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Literal

from nexus.contracts.limits import Dimension, Limit, Method
from nexus.dataplane.decide.windows import window

Outcome = Literal["admitted", "refused", "impossible", "scarce"]
"""*scarce*: a window has not enough left, and would if all leases came back: ask again in a moment."""
ASK_AGAIN_US = 1_000_000
"""Nobody knows when a call in flight ends."""
_BUCKETS = frozenset({"token_bucket", "leaky_bucket"})


@dataclass(frozen=True, slots=True)
class Lease:
    """Units of one bucket that are prepaid to one process."""

    sequence: int
    amount: int
    """Units out."""
    accruing: int
    """How many of them may be spent only as time passes, evenly over `duration`."""
    wanted: int
    at: int
    """The instant it was made; of windows, where the window begins."""
    duration: int
    ends: int
    method: Method = "token_bucket"

    def ahead(self, now: int) -> int:
        """Return how many units have not accrued yet."""
        rest = min(self.duration, self.at + self.duration - now)
        return self.accruing * rest // self.duration if self.accruing and rest > 0 else 0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a process asks of one bucket: a charge, a lease, and what it gives back of the one it has."""

    limit: Limit
    bucket: str
    charge: int
    wanted: int
    """0: no lease."""
    named: int = 0
    """Number of the lease it has; 0 for none."""
    rest: int = 0
    kept: int = 0
    """What calls hold that it has under way: of windows and of calls in flight."""


@dataclass(slots=True)
class Bucket:
    """One limit's state for one subject."""

    limit: Limit
    level: Fraction
    """Buckets: units left. Windows: used. Concurrency: in flight."""
    at: int
    """Buckets: the instant of `level`. Windows: where the window begins."""
    ends: int = 0
    """Windows: where it ends."""
    held: int = 0
    shadowed: int = 0
    leases: dict[str, Lease] = field(default_factory=dict)
    """By process."""
    leases_until: int = 0
    """When the last of them ends."""
    lost: int = 0
    """Windows: what leases had whose processes told nothing of them any more; used, as far as anybody knows."""

    @property
    def leased(self) -> int:
        """Units out on lease."""
        return sum(lease.amount for lease in self.leases.values() if self.owns(lease))

    @property
    def room(self) -> int:
        """The most it may refill to: what is out on lease may be spent yet."""
        return self.limit.capacity - self.leased

    def owns(self, lease: Lease) -> bool:
        """Whether a lease was made of what the bucket is now: of the same kind, and of this window."""
        return lease.method == self.limit.method and (lease.method != "fixed_window" or lease.at == self.at)

    def lose(self, lease: Lease) -> None:
        """Take for lost what a lease has that was removed: a window keeps account of it, calls in flight have ended."""
        if self.owns(lease):
            if lease.method == "fixed_window":
                self.lost += lease.amount
            elif lease.method == "concurrency":
                self.charge(-lease.amount)

    def take_back(self, lease: Lease, wish: Wish) -> int:
        """End a lease, already removed, as its process says; returns what its calls under way keep out."""
        is_meant = lease.sequence == wish.named
        if lease.method == "concurrency" or not is_meant:
            self.lose(lease)
        elif self.owns(lease):
            rest = min(wish.rest, lease.amount)
            self.charge(-rest)
            return min(wish.kept, lease.amount - rest) if lease.method == "fixed_window" else 0
        return 0

    @property
    def rate(self) -> Fraction:
        """Units a microsecond."""
        rate = self.limit.rate
        return Fraction(rate.numerator, rate.denominator) if rate is not None else Fraction(0)

    @property
    def is_bucket(self) -> bool:
        """Whether it refills by time."""
        return self.limit.method in _BUCKETS

    def ahead(self, now: int) -> int:
        """Return what processes hold and may not spend yet: what it has to give is its level and this."""
        return sum(lease.ahead(now) for lease in self.leases.values())

    def available(self) -> Fraction:
        """Return what it can give."""
        return self.level if self.is_bucket else self.limit.capacity - self.level

    def could_have(self, units: int, keep: int) -> bool:
        """Whether a window would have enough if all leases came back."""
        is_window = self.limit.method == "fixed_window"
        return is_window and units + keep <= self.limit.capacity and units + keep <= self.available() + self.leased

    def advance(self, limit: Limit, now: int) -> None:
        """Bring it to an instant, under a configuration that may be newer than its own."""
        if self.is_bucket and now > self.at:
            self.level = max(self.level, min(Fraction(self.room), self.level + (now - self.at) * self.rate))
            self.at = now
        is_changed = limit.version > self.limit.version
        if is_changed:
            old, self.limit = self.limit, limit
            if self.is_bucket and old.method in _BUCKETS:
                # Whole units: a fraction of one does not survive a change.
                kept = floor(self.level)
                grown = min(kept, old.capacity) * limit.capacity // old.capacity
                above = max(0, kept - old.capacity)
                self.level = Fraction(max(0, min(grown, self.room)) + above if kept > 0 else kept)
            elif old.method != limit.method:
                self.level, self.held, self.lost = Fraction(limit.capacity if self.is_bucket else 0), 0, 0
                self.at = now if limit.method != "fixed_window" else 0
        if self.limit.method == "fixed_window":
            assert self.limit.period is not None
            begins, ends = window(now, self.limit.period, self.limit.zone, self.limit.begins_on)
            if is_changed and begins < self.at:
                # Leases are of the window that they were made in: these come back no more.
                self.lost += self.leased
                self.at, self.ends = begins, ends
            if begins > self.at:
                self.level, self.held, self.at, self.ends, self.lost = Fraction(0), 0, begins, ends, 0

    def end_leases(self, now: int) -> None:
        """End the leases whose time is over."""
        for process, lease in list(self.leases.items()):
            if lease.ends < now:
                del self.leases[process]
                self.lose(lease)

    def charge(self, units: int) -> None:
        """Take units; negative ones are given back, never above the capacity nor below an empty window."""
        if self.is_bucket:
            self.level = min(self.level - units, max(self.level, Fraction(self.room)))
        else:
            self.level = max(self.level + units, Fraction(0))


@dataclass(frozen=True, slots=True)
class Leg:
    """What a hold charged one bucket."""

    bucket: str
    limit: Limit
    charged: int
    at: int


@dataclass(slots=True)
class Hold:
    """A charge that is settled later."""

    legs: Sequence[Leg]
    expires: int
    ended: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the model says of one call."""

    outcome: Outcome
    limit: int = 0
    """Which limit refused, counted from 1."""
    retry_us: int = 0
    """When it could be admitted if nothing else happens; for calls in flight, when to ask again."""
    wait_us: int = 0


@dataclass(slots=True)
class Cell:
    """All state of one organization."""

    buckets: dict[str, Bucket] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    last: int = 0
    """The latest instant seen: time never runs backwards."""

    def _open(self, limit: Limit, now: int) -> Bucket:
        if limit.method in _BUCKETS:
            return Bucket(limit, Fraction(limit.capacity), now)
        if limit.method == "fixed_window":
            assert limit.period is not None
            begins, ends = window(now, limit.period, limit.zone, limit.begins_on)
            return Bucket(limit, Fraction(0), begins, ends)
        return Bucket(limit, Fraction(0), now)

    def decide(
        self,
        asked: Sequence[tuple[Limit, str, int]],
        now: int,
        *,
        hold: str = "",
        life_us: int = 0,
        is_privileged: bool = False,
    ) -> Verdict:
        """Decide a call by all of its limits: (limit, bucket, charge) each."""
        met: list[Bucket] = []
        refusals: list[tuple[bool, int, int]] = []
        scarce = 0
        shadowed: set[int] = set()
        wait = 0
        for number, (limit, name, units) in enumerate(asked, 1):
            known = self.buckets.get(name)
            bucket = _copy(known) if known is not None else self._open(limit, now)
            bucket.advance(limit, now)
            met.append(bucket)
            keep = 0 if is_privileged else bucket.limit.reserve
            if bucket.available() + bucket.ahead(now) - keep < units:
                if limit.is_shadow:
                    shadowed.add(number)
                elif bucket.could_have(units, keep):
                    scarce = number
                else:
                    is_impossible = units > bucket.limit.capacity - keep
                    refusals.append((is_impossible, number, self._retry(bucket, units + keep, now)))
            elif bucket.limit.method == "leaky_bucket":
                wait = max(wait, _time_to(bucket, Fraction(bucket.limit.capacity)))
        if refusals:
            impossible = next((item for item in refusals if item[0]), None)
            if impossible is not None:
                return Verdict("impossible", impossible[1])
            _, number, retry = max(refusals, key=lambda item: (item[2], -item[1]))
            return Verdict("refused", number, retry)
        if scarce:
            return Verdict("scarce", scarce)
        legs: list[Leg] = []
        for number, ((limit, name, units), bucket) in enumerate(zip(asked, met, strict=True), 1):
            if number in shadowed:
                bucket.shadowed += 1
            else:
                bucket.charge(units)
                if life_us:
                    bucket.held += units if bucket.limit.method != "concurrency" else 0
                    legs.append(Leg(name, limit, units, bucket.at))
            self.buckets[name] = bucket
        if life_us:
            self.holds[hold] = Hold(legs, now + life_us)
        return Verdict("admitted", wait_us=wait)

    def _retry(self, bucket: Bucket, wanted: int, now: int) -> int:
        if bucket.is_bucket:
            return _time_to(bucket, Fraction(max(wanted, floor(bucket.level) + 1)))
        return max(0, bucket.ends - now) if bucket.limit.method == "fixed_window" else ASK_AGAIN_US

    def finish(self, hold: str, kind: str, actual: Mapping[Dimension, int], now: int) -> bool:
        """Settle, release or reap a hold; tells whether that changed anything."""
        known = self.holds.get(hold)
        is_late = known is not None and known.ended == "reap" and kind == "settle"
        if known is None or (known.ended and not is_late):
            return False
        known.ended = "settle" if is_late else kind
        for leg in known.legs:
            method = leg.limit.method
            taken = leg.charged
            if kind == "release" or method == "concurrency":
                taken = 0
            elif leg.limit.dimension in actual:
                taken = leg.limit.charge(actual[leg.limit.dimension])
            bucket = self.buckets.get(leg.bucket)
            if bucket is None or bucket.limit.method != method or (method == "fixed_window" and bucket.at != leg.at):
                continue
            if bucket.is_bucket:
                bucket.advance(bucket.limit, now)
            if method != "concurrency" and not is_late:
                bucket.held = max(0, bucket.held - leg.charged)
            if method != "concurrency" or not is_late:
                bucket.charge(taken - leg.charged)
        return True

    def lease(
        self, process: str, sequence: int, wishes: Sequence[Wish], now: int, *, life_us: int, horizon_us: int
    ) -> Verdict | None:
        """Decide a call and grant leases, or end leases where nothing is wanted; None for a call that comes late."""
        met: list[Bucket] = []
        for wish in wishes:
            known = self.buckets.get(wish.bucket)
            bucket = _copy(known) if known is not None else self._open(wish.limit, now)
            own = bucket.leases.get(process)
            if own is not None and own.sequence >= sequence:
                return None
            bucket.advance(wish.limit, now)
            met.append(bucket)
        for number, (wish, bucket) in enumerate(zip(wishes, met, strict=True), 1):
            if wish.charge > bucket.limit.capacity - bucket.limit.reserve:
                return Verdict("impossible", number)
        refusals: list[tuple[int, int]] = []
        scarce = 0
        kepts: list[int] = []
        for number, (wish, bucket) in enumerate(zip(wishes, met, strict=True), 1):
            bucket.end_leases(now)
            own = bucket.leases.pop(process, None)
            kept = bucket.take_back(own, wish) if own is not None else 0
            if bucket.limit.method == "concurrency":
                kept = wish.kept
                bucket.charge(kept)
            kepts.append(kept)
            need = wish.charge + bucket.limit.reserve
            if wish.wanted and floor(bucket.available()) + bucket.ahead(now) < need:
                if bucket.could_have(wish.charge, bucket.limit.reserve):
                    scarce = number
                else:
                    refusals.append((number, self._retry(bucket, need - bucket.ahead(now), now)))
        verdict = Verdict("admitted")
        if refusals:
            number, retry = max(refusals, key=lambda item: (item[1], -item[0]))
            verdict = Verdict("refused", number, retry)
        elif scarce:
            verdict = Verdict("scarce", scarce)
        for wish, bucket, kept in zip(wishes, met, kepts, strict=True):
            if verdict.outcome == "admitted":
                bucket.charge(wish.charge)
                if not bucket.is_bucket:
                    kept += wish.charge
            made = _lease(bucket, wish, sequence, kept, now, life_us, horizon_us)
            bucket.leases[process] = made
            bucket.leases_until = max(bucket.leases_until, made.ends)
            self.buckets[wish.bucket] = bucket
        return verdict

    def end_leases(self, now: int) -> None:
        """End the leases of processes that are gone, of buckets whose last lease has ended."""
        for bucket in self.buckets.values():
            if bucket.leases and bucket.leases_until < now:
                if bucket.is_bucket and any(lease.amount for lease in bucket.leases.values()):
                    bucket.advance(bucket.limit, now)
                bucket.end_leases(now)
                bucket.leases, bucket.leases_until = {}, 0

    def reconcile(self, name: str, limit: Limit, window: int, lost: int, known: int, used: int, now: int) -> int:
        """Give back what lost leases of a window had beyond what a ledger says was spent; see `lua/reconcile.lua`."""
        bucket = self.buckets[name]
        bucket.advance(limit, now)
        if bucket.limit.method != "fixed_window" or bucket.at != window:
            return 0
        back = max(0, min(bucket.lost, lost - max(0, used - known)))
        bucket.charge(-back)
        bucket.lost -= back
        return back

    def reap(self, now: int) -> int:
        """End the holds that have expired; returns how many."""
        expired = [name for name, hold in self.holds.items() if not hold.ended and hold.expires <= now]
        for name in expired:
            self.finish(name, "reap", {}, now)
        return len(expired)


def _copy(bucket: Bucket) -> Bucket:
    return Bucket(
        bucket.limit,
        bucket.level,
        bucket.at,
        bucket.ends,
        bucket.held,
        bucket.shadowed,
        dict(bucket.leases),
        bucket.leases_until,
        bucket.lost,
    )


def _time_to(bucket: Bucket, level: Fraction) -> int:
    return max(0, ceil((level - bucket.level) / bucket.rate))


SPREAD_US = 200_000
"""How long what a bucket will gain is promised ahead at most."""
SLOT_LIVES = 10
"""So many times as long as other leases do those live that only say what calls hold."""
FAR = 4
"""Calls in flight are leased while there is left so many times what all processes want."""
FEWEST = 4
"""Windows are leased while that pays for so many calls more."""


def spread(limit: Limit) -> int:
    """Return how long what a bucket gains is promised ahead; 0 where that would be too short."""
    assert limit.rate is not None
    duration = min(SPREAD_US, limit.capacity * limit.rate.denominator // (2 * limit.rate.numerator))
    duration -= duration % 16
    return duration if duration >= 10_000 else 0


def _lease(bucket: Bucket, wish: Wish, sequence: int, kept: int, now: int, life_us: int, horizon_us: int) -> Lease:
    """Grant what is wanted beside what calls keep."""
    method = bucket.limit.method
    if bucket.is_bucket:
        at_once, accruing, duration = _grant(bucket, wish.wanted, now, horizon_us) if wish.wanted else (0, 0, 0)
        bucket.level -= at_once + accruing
        return Lease(sequence, at_once + accruing, accruing, wish.wanted, now, duration, now + life_us, method)
    wishes = wish.wanted + sum(lease.wanted for lease in bucket.leases.values())
    left = floor(bucket.available()) - bucket.limit.reserve
    is_window = method == "fixed_window"
    if not wish.wanted:
        at_once = 0
    elif is_window:
        share = _share(left, wishes, wish.wanted)
        at_once = share if share >= FEWEST * wish.charge else 0
    else:
        at_once = wish.wanted if left >= FAR * wishes else 0
    bucket.charge(at_once)
    at, duration = (bucket.at, max(0, bucket.ends - now)) if is_window else (now, 0)
    ends = now + (life_us if is_window and wish.wanted else SLOT_LIVES * life_us)
    return Lease(sequence, kept + at_once, 0, wish.wanted, at, duration, ends, method)


def _share(left: int, wishes: int, wanted: int) -> int:
    return min(wanted, max(0, left) // 2 * wanted // wishes)


def _grant(bucket: Bucket, wanted: int, now: int, horizon: int) -> tuple[int, int, int]:
    """Return how much of a wish is granted at once, how much accrues, and in how long. See `lua/leases.lua`."""
    limit, duration = bucket.limit, spread(bucket.limit)
    others = [lease for lease in bucket.leases.values() if lease.wanted > 0]
    left = floor(bucket.level) + bucket.ahead(now) - limit.reserve
    free = max(0, bucket.room)
    wishes = wanted + sum(lease.wanted for lease in others)
    at_once = min(_share(left, wishes, wanted), free)
    if at_once >= wanted or duration == 0 or left < 0:
        return at_once, 0, 0
    everything = floor(duration // 16 * 15 * bucket.rate)
    shares = sum(
        lease.accruing * (1 if lease.duration == duration else -(-duration // lease.duration))
        for lease in others
        if lease.accruing and lease.at + lease.duration > now
    )
    fair = everything // (len(others) + 1)
    due = sum(
        max(
            0,
            min(fair, duration * lease.wanted // horizon - (lease.amount - lease.accruing))
            - (lease.accruing if lease.at + lease.duration > now else 0),
        )
        for lease in others
    )
    accruing = min(
        duration * wanted // horizon - at_once,
        everything - shares,
        max(fair, everything - shares - due),
        free - at_once,
    )
    return (at_once, accruing, duration) if accruing >= 1 else (at_once, 0, 0)
