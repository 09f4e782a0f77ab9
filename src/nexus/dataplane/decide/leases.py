"""Leases of one process: units of hot limits that are prepaid to it, so that it decides by itself.

What is decided here was debited in Redis before, so a process that dies loses units and makes none. What its calls under way
hold of windows, and the calls in flight themselves, it tells with each lease, so that Redis knows them from what is spent.
Pure: what it needs of Redis it says, and time is given, in microseconds of a clock that never steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nexus.contracts.limits import Limit
from nexus.dataplane.decide.model import SLOT_LIVES, Wish
from nexus.kit.ids import uuid7

LIFE_US = 1_000_000
"""How long a lease may be spent, from the instant it was asked for."""
HORIZON_US = 400_000
"""For so long a lease is to last, at the pace of late."""
SLOT_LIFE_US = SLOT_LIVES * LIFE_US
"""How long slots of calls in flight are leased, and what calls hold of windows."""
_RENEW_HELD_US = SLOT_LIFE_US // 2
_FEWEST_SLOTS = 8
_SCARCE_US = 1_000_000
_EARLY_US = 5_000
"""A lease is not spent in its last moments: another clock's second is another second."""
_RENEW_US = 150_000
"""So long before its end it goes back: what has ended is lost."""
_TOO_MUCH = 3
"""A lease of more than so many times what will be wanted goes back: calls have gone elsewhere."""
_SWIFTLY_US, _RARELY_US = 50_000, 300_000
"""Between these two lies how long a lease may be unused."""
_WORTH = 16
"""While a lease accrues Redis is asked again only if more than one part in so many of it was had at once."""
_DENIAL_US, _SPENT_DENIAL_US = 50_000, 200_000
"""For how long a refusal holds for calls that ask for as much: of a bucket, that refills, and of a window that is used up."""
_BIN_US, _SHORTEST_BIN_US = 100_000, 20_000
_HOT_CALLS = 10
"""Calls a second from which a process asks for leases on a limit."""
_STALE_US = 5_000_000
_MOST_DEMANDS = 50_000

LEASED = frozenset({"token_bucket", "fixed_window", "concurrency"})
"""Methods of limits that are leased: how long to wait for a leaky bucket is known in one place."""

Asked = Sequence[tuple[Limit, str, int]]
BucketKey = tuple[str, str]


@dataclass(slots=True)
class Demand:
    """How fast a bucket is asked for, of late."""

    since_us: int
    calls: int = 0
    units: int = 0
    calls_a_second: float = 0.0
    units_a_us: float = 0.0
    before: int = 0
    """Units asked for in earlier bins, all of them."""

    def note(self, units: int, now_us: int, calls: int = 1) -> None:
        """Count calls, admitted or not, and what they asked for together."""
        passed = now_us - self.since_us
        if passed >= _BIN_US:
            # Half of what was, for each bin that has passed: a burst is seen at once, a quiet one is soon forgotten.
            kept = 0.5 ** min(60, passed // _BIN_US)
            self.calls_a_second = kept * self.calls_a_second + (1 - kept) * self.calls * 1e6 / passed
            self.units_a_us = kept * self.units_a_us + (1 - kept) * self.units / passed
            self.before += self.units
            self.since_us, self.calls, self.units = now_us, 0, 0
        self.calls += calls
        self.units += units

    @property
    def is_hot(self) -> bool:
        """Whether a lease is worth it."""
        return self.calls_a_second >= _HOT_CALLS

    def units_in(self, horizon_us: int, now_us: int) -> int:
        """Return how many units will be asked for, if the pace stays: of late, or of right now where that is faster."""
        right_now = self.units / max(_SHORTEST_BIN_US, now_us - self.since_us)
        return int(max(self.units_a_us, right_now) * horizon_us) + 1

    @property
    def idle_us(self) -> int:
        """Return for how long no call is a sign that none will come: the time of four."""
        return int(min(_RARELY_US, max(_SWIFTLY_US, 4e6 / max(self.calls_a_second, 1e-3))))


class Aside(Protocol):
    """Units of leases that are set aside for calls of one kind: see `purses.py`."""

    @property
    def keys(self) -> Sequence[BucketKey]:
        """The buckets it has something of."""

    def has(self, key: BucketKey) -> int:
        """Return what it has left of a bucket."""

    def kept(self, key: BucketKey) -> int:
        """Return what its calls hold of a bucket."""

    def close(self) -> None:
        """Put back what was not spent."""


@dataclass(slots=True)
class HeldLease:
    """Units this process may spend."""

    limit: Limit
    sequence: int
    at_once: int
    accruing: int
    duration_us: int
    since_us: int
    """When the answer came: accrual here lags Redis's, never leads."""
    until_us: int
    left: int
    """What the bucket itself had left."""
    used_at_us: int
    idle_us: int
    wanted: int
    window: int = 0
    """Where the window begins that it is of; 0 for no window."""
    spent: int = 0
    is_for_calls: bool = False
    """It lives on while calls hold something of it."""
    purses: list[Aside] = field(default_factory=list)
    """What has units of it set aside."""
    promised: int = 0
    """Of what is spent: so much may come back from purses, what is set aside in them included."""

    def accrued(self, now_us: int) -> int:
        """Return how many of the accruing units may be spent now."""
        passed = now_us - self.since_us
        if passed >= self.duration_us:
            return self.accruing
        return self.accruing * max(0, passed) // max(1, self.duration_us)

    def spendable(self, now_us: int) -> int:
        """Return how many units may be spent now; negative after a settlement that took more than was estimated."""
        return self.at_once + self.accrued(now_us) - self.spent

    @property
    def rest(self) -> int:
        """What is unspent, accrued or not."""
        return self.at_once + self.accruing - self.spent

    @property
    def last_us(self) -> int:
        """When it is not spent any more, so that it is renewed while it may be."""
        return self.until_us - _RENEW_US // 2

    def is_worth_asking(self, units: int) -> bool:
        """Whether the bucket had more than what it gains: a part of the lease at once, or all of a call that is larger."""
        amount = self.at_once + self.accruing
        return _WORTH * self.at_once > amount or amount < units <= self.left - self.limit.reserve

    def is_accruing(self, now_us: int) -> bool:
        """Whether more is coming by itself; Redis had no more to give at once when it was made."""
        return self.accruing > 0 and now_us - self.since_us < self.duration_us


@dataclass(frozen=True, slots=True)
class Local:
    """What was decided here."""

    is_admitted: bool
    limit: int = 0
    """Which limit refused, counted from 1."""
    retry_us: int = 0


@dataclass(frozen=True, slots=True)
class Correction:
    """What settlements took, or gave back when negative, and no lease could be charged with yet."""

    limit: Limit
    bucket: str
    units: int
    window: int
    """Where the window begins that it belongs to; 0 for no window."""


@dataclass(frozen=True, slots=True)
class Denial:
    """A refusal by Redis, which holds for a moment for calls that ask for as much."""

    version: int
    units: int
    until_us: int
    refused_until_us: int


class Leases:
    """The leases of one process."""

    def __init__(self) -> None:
        self.process = uuid7().hex
        self._sequence = 0
        self._held: dict[BucketKey, HeldLease] = {}
        self._demands: dict[BucketKey, Demand] = {}
        self._denials: dict[BucketKey, Denial] = {}
        self._kept: dict[BucketKey, int] = {}
        self._purses: dict[BucketKey, list[Aside]] = {}
        self._owed: dict[tuple[BucketKey, int], Correction] = {}
        self._windows: dict[BucketKey, int] = {}
        self._scarce: dict[BucketKey, int] = {}
        """Limits on calls in flight that are near, and until when that is remembered: slots that get free are for whoever
        comes."""
        self._holding: dict[BucketKey, Limit] = {}
        """Windows and calls in flight of which Redis may have something out to this process."""

    def __len__(self) -> int:
        return len(self._held) + len(self._holding) + len(self._owed)

    def next_sequence(self) -> int:
        """Return the number of the next call of the script: each has a greater one."""
        self._sequence += 1
        return self._sequence

    def held(self, cell: str, bucket: str) -> HeldLease | None:
        """Return the lease on a bucket."""
        return self._held.get((cell, bucket))

    def note(self, cell: str, asked: Asked, now_us: int) -> bool:
        """Count a call; tells whether leases are for it: all its limits are hot buckets of tokens that could ever admit it."""
        is_hot = True
        for limit, bucket, units in asked:
            demand = self._demand((cell, bucket), now_us)
            demand.note(units, now_us)
            is_hot = is_hot and demand.is_hot and limit.method in LEASED and not limit.is_shadow
            is_hot = is_hot and units <= limit.capacity - limit.reserve
            if limit.method == "concurrency" and is_hot and self._scarce.get((cell, bucket), 0) > now_us:
                is_hot = False
        return is_hot

    def decide(self, cell: str, asked: Asked, now_us: int) -> Local | None:
        """Decide a call by the leases held, all limits or none; None: ask by `wishes`."""
        leases: list[tuple[HeldLease, int]] = []
        is_short = False
        for number, (limit, bucket, units) in enumerate(asked, 1):
            key = (cell, bucket)
            denial = self._denials.get(key)
            if denial is not None:
                if denial.until_us <= now_us or denial.version != limit.version:
                    del self._denials[key]
                elif units >= denial.units:
                    return Local(False, number, max(1, denial.refused_until_us - now_us))
            lease = self._held.get(key)
            if lease is None or lease.limit.version != limit.version or lease.last_us <= now_us:
                is_short = True
                continue
            if lease.spendable(now_us) < units:
                has_grown = self._demand(key, now_us).units_in(HORIZON_US, now_us) > 2 * lease.wanted
                if lease.is_accruing(now_us) and not has_grown and not lease.is_worth_asking(units):
                    return Local(False, number, self._until(lease, units, now_us))
                is_short = True
                continue
            leases.append((lease, units))
        if is_short:
            return None
        for lease, units in leases:
            lease.spent += units
            lease.used_at_us = now_us
        return Local(True)

    def wishes(self, cell: str, asked: Asked, now_us: int) -> list[Wish]:
        """Return what to ask of the script for a call. The leases it names are over from here on."""
        made: list[Wish] = []
        for limit, bucket, units in asked:
            key = (cell, bucket)
            lease = self._end(key)
            if limit.method == "token_bucket" and (owed := self._owed.pop((key, 0), None)) is not None:
                units += owed.units
            made.append(
                _wish(limit, bucket, units, self._wanted(key, limit, lease, now_us), lease, now_us, self.kept(key))
            )
            if limit.method != "token_bucket":
                self._holding[key] = limit
        return made

    def _wanted(self, key: BucketKey, limit: Limit, lease: HeldLease | None, now_us: int) -> int:
        paced = self._demand(key, now_us).units_in(HORIZON_US, now_us)
        if limit.method != "concurrency":
            return paced
        # Slots are used again and again: as many free ones as are in use, twice as many where there were too few.
        left = lease.rest if lease is not None else 0
        return min(paced, max(_FEWEST_SLOTS, self.kept(key) if left > 0 else 2 * self.kept(key)))

    def _end(self, key: BucketKey) -> HeldLease | None:
        """Forget a lease, with what of it is set aside put back."""
        lease = self._held.pop(key, None)
        if lease is not None:
            for purse in list(lease.purses):
                purse.close()
        return lease

    def kept(self, key: BucketKey) -> int:
        """Return what calls hold of a bucket that are under way here."""
        return self._kept.get(key, 0) + sum(purse.kept(key) for purse in self._purses.get(key, ()))

    def keep(self, key: BucketKey, units: int) -> None:
        """Count what a call holds; negative when it has ended."""
        kept = self._kept.get(key, 0) + units
        if kept:
            self._kept[key] = kept
        else:
            self._kept.pop(key, None)

    def free_slots(self, key: BucketKey, now_us: int) -> int:
        """Return how many slots of calls in flight are on lease, and taken by none."""
        lease = self._held.get(key)
        if lease is None or not lease.is_for_calls or lease.limit.method != "concurrency" or lease.last_us <= now_us:
            return 0
        return max(0, lease.rest)

    def occupy(self, key: BucketKey, limit: Limit, now_us: int) -> None:
        """Count a call in flight that was decided without Redis, by a slot on lease where there is one; Redis is told of it."""
        if self.free_slots(key, now_us):
            self._held[key].spent += 1
        else:
            # Redis is told of it with the next sweep, and not when this lease is renewed.
            self._end(key)
        self.keep(key, 1)
        self._holding[key] = limit

    def vacate(self, key: BucketKey, limit: Limit) -> None:
        """End such a call."""
        self.keep(key, -1)
        self.correct(key, limit, -1, 0)

    def window(self, key: BucketKey) -> int:
        """Return in which window a bucket's last lease was made; 0 for none."""
        return self._windows.get(key, 0)

    def register(self, purse: Aside) -> None:
        """Count what calls hold that are decided by a purse."""
        for key in purse.keys:
            self._purses.setdefault(key, []).append(purse)

    def dismiss(self, purse: Aside) -> None:
        """Count what its calls hold here from now on."""
        for key in purse.keys:
            self.keep(key, purse.kept(key))
            mine = self._purses[key]
            mine.remove(purse)
            if not mine:
                del self._purses[key]

    def note_many(self, key: BucketKey, calls: int, units: int, now_us: int) -> None:
        """Count calls that a purse decided."""
        self._demand(key, now_us).note(units, now_us, calls)
        lease = self._held.get(key)
        if lease is not None:
            lease.used_at_us = now_us

    def asked_for(self, key: BucketKey, now_us: int) -> int:
        """Return how many units of a bucket were asked for here, admitted or not, since that is counted."""
        demand = self._demand(key, now_us)
        return demand.before + demand.units

    def granted(self, cell: str, sequence: int, asked: Asked, answer: Sequence[int], sent_us: int, now_us: int) -> None:
        """Take over what the script granted; `sent_us` is when it was asked."""
        status, _, which, retry = answer[:4]
        for number, (limit, bucket, units) in enumerate(asked, 1):
            left, at_once, accruing, duration, window = answer[5 * number - 1 : 5 * number + 4]
            key = (cell, bucket)
            if status == 0 and number == which and limit.method != "concurrency":
                lasts_us = min(retry, _SPENT_DENIAL_US if window else _DENIAL_US)
                self._denials[key] = Denial(limit.version, units, now_us + lasts_us, now_us + retry)
            if limit.method == "concurrency" and not at_once:
                self._scarce[key] = now_us + _SCARCE_US
            if at_once or accruing or limit.method != "token_bucket":
                life = SLOT_LIFE_US if limit.method == "concurrency" else LIFE_US
                demand = self._demand(key, now_us)
                self._held[key] = HeldLease(
                    limit=limit, sequence=sequence, at_once=at_once, accruing=accruing, duration_us=duration,
                    since_us=now_us, until_us=sent_us + (min(life, duration) if window else life) - _EARLY_US, left=left,
                    used_at_us=now_us, idle_us=demand.idle_us, wanted=demand.units_in(HORIZON_US, sent_us), window=window,
                    is_for_calls=limit.method == "concurrency",
                )  # fmt: skip
            if window:
                self._windows[key] = window

    def spare(self, key: BucketKey, units: int, now_us: int) -> bool:
        """Let a lease go back with the next that do, where it has so many units to spend; tells whether it has."""
        lease = self._held.get(key)
        if lease is None or lease.limit.method == "concurrency" or lease.last_us <= now_us:
            return False
        # What is set aside is spent from the lease, and comes back with it.
        if lease.spendable(now_us) + sum(purse.has(key) for purse in lease.purses) < units:
            return False
        lease.used_at_us = now_us - lease.idle_us
        return True

    def idle(self, now_us: int) -> set[str]:
        """Return cells with leases that are to go back: unused for a while, far too large by now, or near their end."""
        self._denials = {key: denial for key, denial in self._denials.items() if denial.until_us > now_us}
        self._scarce = {key: until_us for key, until_us in self._scarce.items() if until_us > now_us}
        if len(self._windows) > _MOST_DEMANDS:
            # What is settled of their calls stays charged as estimated.
            self._windows = {}
        found = {key[0] for key in self._held if self._is_idle(key, now_us)}
        return found | {key[0] for key in self._holding if key not in self._held}

    def cells(self) -> set[str]:
        """Return cells with leases."""
        return {key[0] for key in (*self._held, *self._holding)}

    def give_back(self, cell: str, now_us: int, *, only_idle: bool = True) -> list[Wish]:
        """Return what to give back of a cell's leases. They are over from here on, but for what calls hold."""
        made: list[Wish] = []
        for key, lease in list(self._held.items()):
            if key[0] == cell and (not only_idle or self._is_idle(key, now_us)):
                self._end(key)
                kept = self.kept(key) if only_idle else 0
                if now_us < lease.until_us or kept:
                    made.append(_wish(lease.limit, key[1], 0, 0, lease, now_us, kept))
                if not kept:
                    self._holding.pop(key, None)
        told = {wish.bucket for wish in made}
        for key, limit in list(self._holding.items()):
            if key[0] == cell and key not in self._held and key[1] not in told:
                kept = self.kept(key) if only_idle else 0
                made.append(Wish(limit, key[1], 0, 0, kept=kept))
                if not kept:
                    del self._holding[key]
        return made

    def returned(self, cell: str, sequence: int, wishes: Sequence[Wish], sent_us: int, now_us: int) -> None:
        """Go on with what calls hold, when Redis was told of it: what they free is for others here."""
        for wish in wishes:
            key = (cell, wish.bucket)
            if wish.kept and wish.limit.method != "token_bucket" and key not in self._held:
                self._held[key] = HeldLease(
                    limit=wish.limit, sequence=sequence, at_once=0, accruing=0, duration_us=0, since_us=now_us,
                    until_us=sent_us + SLOT_LIFE_US - _EARLY_US, left=0, used_at_us=now_us, idle_us=_RARELY_US, wanted=0,
                    window=self.window(key), is_for_calls=True,
                )  # fmt: skip

    def correct(self, key: BucketKey, limit: Limit, units: int, window: int) -> None:
        """Debit units of a settlement from a lease, or credit them when negative; where that cannot be they are owed to Redis."""
        if units < 0:
            self._denials.pop(key, None)
        if self._correct(key, units, window):
            return
        # Which calls are in flight Redis is told with the next lease; a window that nobody knows goes on as it is.
        if limit.method == "concurrency" or (limit.method == "fixed_window" and not window):
            return
        known = self._owed.get((key, window))
        self._owed[key, window] = Correction(limit, key[1], units + (known.units if known is not None else 0), window)

    def take_owed(self) -> list[Correction]:
        """Return, and forget, what no lease can be charged with."""
        owed, self._owed = self._owed, {}
        return [
            item for (key, window), item in owed.items() if item.units and not self._correct(key, item.units, window)
        ]

    def _correct(self, key: BucketKey, units: int, window: int) -> bool:
        lease = self._held.get(key)
        if lease is None:
            return False
        if lease.limit.method == "token_bucket":
            # What was charged before this lease was made comes back to the bucket, which is never lifted above its capacity.
            if lease.spent + units < lease.promised:
                return False
        elif lease.window != window:
            return False
        lease.spent += units
        return True

    def _demand(self, key: BucketKey, now_us: int) -> Demand:
        demand = self._demands.get(key)
        if demand is None:
            if len(self._demands) >= _MOST_DEMANDS:
                recent = {name: item for name, item in self._demands.items() if item.since_us + _STALE_US > now_us}
                # So many at once are not hot.
                self._demands = recent if len(recent) < _MOST_DEMANDS // 2 else {}
            demand = self._demands[key] = Demand(now_us)
        return demand

    def _is_idle(self, key: BucketKey, now_us: int) -> bool:
        lease = self._held[key]
        if lease.is_for_calls:
            # What calls have is told of in time; the rest comes back like anything that is not used.
            if lease.until_us - _RENEW_HELD_US <= now_us or (lease.rest <= 0 and self.kept(key) <= 0):
                return True
            if lease.rest <= 0:
                return False
            if key in self._scarce:
                return True
        if lease.used_at_us + lease.idle_us <= now_us or lease.until_us - _RENEW_US <= now_us:
            return True
        # Others may want what was asked for at another pace.
        return lease.rest > _TOO_MUCH * self._demand(key, now_us).units_in(HORIZON_US, now_us)

    def _until(self, lease: HeldLease, units: int, now_us: int) -> int:
        """Microseconds until a lease can give so much, or until Redis is asked again."""
        renewed = lease.since_us + lease.duration_us - now_us
        lacking = units - lease.at_once + lease.spent
        if lacking > lease.accruing:
            return max(1, renewed)
        return max(1, -(-lacking * lease.duration_us // lease.accruing) - (now_us - lease.since_us))


def _wish(limit: Limit, bucket: str, units: int, wanted: int, lease: HeldLease | None, now_us: int, kept: int) -> Wish:
    if limit.method == "token_bucket":
        kept = 0
    if lease is None or now_us >= lease.until_us:
        return Wish(limit, bucket, units, wanted, kept=kept)
    return Wish(limit, bucket, units, wanted, lease.sequence, lease.rest, kept)
