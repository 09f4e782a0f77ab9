"""Plans: the limits that calls of one kind meet, found once for each table. Purses: what of their leases is set aside for them.

A call that meets twelve limits is decided, and settled, by as many subtractions as there are dimensions: of each lease so much
was taken that every limit of a dimension has as much of it in the purse. What is in a purse is spent from the leases already;
it is put back before any of them is told of to Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import add, attrgetter, gt, sub
from typing import overload

import msgspec

from nexus.contracts.limit_sets import LimitSet
from nexus.contracts.limits import DIMENSIONS, MAX_UNITS, Call, Dimension, Limit, LimitTable
from nexus.dataplane.decide.leases import BucketKey, HeldLease, Leases
from nexus.dataplane.decide.scripts import keys_of
from nexus.dataplane.decide.types import LimitStanding, SettledLeg

Charges = list[int]
"""What a call is charged, a number for each of its plan's columns."""
_FEWEST_CALLS = 8
"""A purse that pays for fewer calls is not worth opening."""
_MOST_PURSES = 16
"""Of one bucket: each has a part of its lease set aside, and has to put it back when the lease is renewed."""
_MOST_PLANS = 20_000


def _kind_getter(key: str, user: str) -> attrgetter[tuple[object, ...]]:
    return attrgetter(
        "organization_id.int", key, user, "application", "cluster", "provider", "model", "endpoint", "currency"
    )


# By the numbers of its ids: an id is hashed and compared in Python, a number is not.
_KINDS = (
    _kind_getter("key_id", "user_id"),
    _kind_getter("key_id.int", "user_id"),
    _kind_getter("key_id", "user_id.int"),
    _kind_getter("key_id.int", "user_id.int"),
)
"""What calls of one kind have in common but for their tags: with neither key nor user, with a key, with a user, with both."""


class Plan:
    """The limits that calls of one kind meet: of one key, to one model of one provider, and so on."""

    __slots__ = (
        "_amounts",
        "_places",
        "asked_of_late",
        "cell",
        "charged",
        "columns",
        "described",
        "dimensions",
        "has_budgets",
        "has_scales",
        "has_shares",
        "is_timed",
        "keys",
        "limits",
        "purse",
        "table",
        "units_of",
    )

    def __init__(self, table: LimitTable, cell: str, met: Sequence[tuple[Limit, str]]) -> None:
        self.table = table
        self.cell = cell
        self.limits = met
        self.keys: tuple[BucketKey, ...] = tuple((cell, bucket) for _, bucket in met)
        # Money may be kept in larger units, or in another currency: what is rounded up for each call has a column of its own.
        kinds = [(limit.dimension, limit.scale, limit.exchange) for limit, _ in met]
        columns = {kind: limit for kind, (limit, _) in zip(kinds, met, strict=True)}
        self.columns: list[Limit] = list(columns.values())
        """A limit for each column: it says what an amount is charged there."""
        places = {kind: place for place, kind in enumerate(columns)}
        self.units_of = tuple(places[kind] for kind in kinds)
        self.charged = dict(zip(self.keys, self.units_of, strict=True))
        self.dimensions = frozenset(limit.dimension for limit in self.columns)
        self.is_timed = any(limit.method == "concurrency" for limit, _ in met)
        """Whether each call is held: calls in flight are counted until they end."""
        self.has_budgets = any(limit.is_budget for limit, _ in met)
        """Whether a bucket has to be opened from the ledger, which knows nothing of leases: each call is asked of Redis then."""
        self.has_shares = any(limit.share is not None for limit, _ in met)
        """Whether some of it is capacity shared with other organizations."""
        counted = [limit.dimension for limit in self.columns if limit.dimension != "concurrency"]
        # The getter gives no tuple of a single attribute.
        self._amounts = attrgetter(*counted) if len(counted) == len(self.columns) > 1 else None
        self._places = tuple(DIMENSIONS.index(limit.dimension) for limit in self.columns)
        self.has_scales = any(limit.scale != 1 or limit.exchange != 1 for limit in self.columns)
        self.asked_of_late = 0
        self.described: LimitSet | None = None
        """What a record says of each limit whatever it was charged, once one has been written."""
        self.purse = Purse(self)

    def charges_for(self, amounts: Sequence[int]) -> Charges:
        """Return what a call of so much is charged; `amounts` by dimension, in the order of `DIMENSIONS`."""
        return self.charges([amounts[place] for place in self._places])

    def charges(self, amounts: Sequence[int]) -> Charges:
        """Return what a call of so much is charged; `amounts` by column, in the dimension's unit."""
        if not self.has_scales:
            return list(amounts)
        return [limit.charge(amount) for limit, amount in zip(self.columns, amounts, strict=True)]

    def charges_of(self, call: Call) -> Charges:
        """Return what a call is charged."""
        if self._amounts is None:
            return self.charges([call.amount(limit.dimension) for limit in self.columns])
        return self.charges(self._amounts(call)) if self.has_scales else list(self._amounts(call))

    def taken(self, charges: Charges, actual: Mapping[Dimension, int]) -> Charges:
        """Return what a call took that was charged so much; what of `actual` is not known stays as charged."""
        return [
            0 if limit.dimension == "concurrency"
            else charged if (amount := actual.get(limit.dimension)) is None
            else limit.charge(amount) if self.has_scales else amount
            for limit, charged in zip(self.columns, charges, strict=True)
        ]  # fmt: skip

    def asked(self, charges: Charges) -> list[tuple[Limit, str, int]]:
        """Return the limits with the charge of each."""
        return [
            (limit, bucket, charges[place]) for (limit, bucket), place in zip(self.limits, self.units_of, strict=True)
        ]


class Finished(msgspec.Struct, frozen=True):
    """What a call was charged, and what it took, by its plan's columns."""

    plan: Plan
    charges: Charges
    taken: Charges

    def legs(self) -> list[SettledLeg]:
        """Return what it did to each limit."""
        places = zip(self.plan.limits, self.plan.units_of, strict=True)
        return [SettledLeg(limit.dimension, self.charges[place], self.taken[place]) for (limit, _), place in places]


class Plans:
    """Plans by what calls have in common; those of another table are forgotten."""

    def __init__(self) -> None:
        self._table = LimitTable()
        self._known: dict[tuple[object, ...], Plan] = {}

    def of(self, table: LimitTable, call: Call) -> Plan:
        """Return the plan of a call."""
        if table is not self._table:
            self._table, self._known = table, {}
        key = _KINDS[(call.key_id is not None) + 2 * (call.user_id is not None)](call)
        if call.tags:
            key += tuple(sorted(call.tags.items()))
        plan = self._known.get(key)
        if plan is None:
            if len(self._known) >= _MOST_PLANS:
                self._known.clear()
            plan = self._known[key] = Plan(table, keys_of(call.organization_id).cell, table.of(call))
        return plan


class Page:
    """How limits stood when a purse was opened: decisions until it is closed are told from it."""

    __slots__ = ("headers", "lefts", "plan", "resets", "taken")

    def __init__(self, plan: Plan, taken: Charges, lefts: list[int], resets: list[int]) -> None:
        self.plan = plan
        self.taken = taken
        self.lefts = lefts
        self.resets = resets
        self.headers: list[tuple[bytes, bytes]] | None = None
        """What callers are told of it, once somebody asks."""

    def with_taken(self, taken: Charges) -> Page:
        """Return the page as it is when more is set aside."""
        return Page(self.plan, taken, self.lefts, self.resets)

    def lefts_at(self, left: Charges) -> list[int]:
        """Return what each limit has while so much is left of what was set aside."""
        moved = list(map(sub, left, self.taken))
        rows = zip(self.lefts, self.plan.units_of, strict=True)
        # A condition, as `max` takes three times as long, and there is one for each limit of each call.
        return [has if (has := had + moved[place]) > 0 else 0 for had, place in rows]

    def standings(self, charges: Charges | None, left: Charges) -> list[LimitStanding]:
        """Return how each limit stands while so much is left of what was set aside."""
        made: list[LimitStanding] = []
        rows = zip(self.plan.limits, self.plan.units_of, self.lefts_at(left), self.resets, strict=True)
        for (limit, bucket), place, has, reset in rows:
            if limit.rate is not None:
                reset = limit.until_full_us(has)
            made.append(LimitStanding(limit, bucket, charges[place] if charges else 0, has, reset))
        return made


class Purse:
    """Units of all limits of one plan. Closed until `until_us` lies ahead."""

    __slots__ = (
        "before", "calls", "epoch", "leases", "left", "most", "page", "plan", "since", "taken", "under_way", "until_us",
        "windows",
    )  # fmt: skip

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        nothing = [0] * len(plan.columns)
        self.left: Charges = nothing
        self.taken: Charges = nothing
        self.most: Charges = nothing
        """What may be in it: more than that its leases did not pay for."""
        self.since: Charges = nothing
        """What was in it when leases were last told of calls, with all that came in since: it is `left`, and what calls took."""
        self.before: Charges = nothing
        """What calls took that leases were not told of when it was last closed."""
        self.under_way: Charges = nothing
        """What calls hold that are not settled."""
        self.calls = 0
        self.until_us = 0
        self.epoch = 0
        """Counted up when calls that are under way are not this purse's any more."""
        self.leases: list[HeldLease] = []
        self.windows: tuple[int, ...] | None = None
        """Which windows its calls are charged to; None while it is not registered."""
        self.page: Page | None = None

    @property
    def keys(self) -> Sequence[BucketKey]:
        """The buckets it has something of."""
        return self.plan.keys

    def has(self, key: BucketKey) -> int:
        """Return what it has left of a bucket."""
        return self.left[self.plan.charged[key]]

    def kept(self, key: BucketKey) -> int:
        """Return what its calls hold of a bucket."""
        return self.under_way[self.plan.charged[key]]

    def take(self, charges: Charges) -> Charges | None:
        """Charge a call; returns what is left then, None where it is not enough. Only while it is open."""
        left = list(map(sub, self.left, charges))
        if min(left) < 0:
            return None
        self.left = left
        self.calls += 1
        return left

    def hold(self, charges: Charges) -> None:
        """Count a call that is under way."""
        self.under_way = list(map(add, self.under_way, charges))

    def settle(self, charges: Charges, taken: Charges) -> Charges | None:
        """End a call that is under way, and charge it what it took; returns what is left of that for each lease to do."""
        self.under_way = list(map(sub, self.under_way, charges))
        more = list(map(sub, taken, charges))
        if not self.until_us:
            return more
        if min(more) < 0:
            # What comes back was asked for all the same: calls are leased for by their estimates.
            self.since = [had - min(0, extra) for had, extra in zip(self.since, more, strict=True)]
        left = list(map(sub, self.left, more))
        if not any(map(gt, left, self.most)):
            self.left = left
            return None
        self.left = list(map(min, left, self.most))
        beyond = list(map(sub, self.left, left))
        self.since = list(map(add, self.since, beyond))
        return beyond

    def open(self, leases: Leases, charges: Charges, now_us: int) -> bool:
        """Set units aside, a half of what each lease has; False where that is too little to be worth it."""
        plan = self.plan
        self.close()
        found: list[HeldLease] = []
        shares = [-1] * len(plan.columns)
        rooms = [MAX_UNITS] * len(plan.columns)
        until_us = now_us + 10**9
        for (limit, bucket), place in zip(plan.limits, plan.units_of, strict=True):
            lease = leases.held(plan.cell, bucket)
            if lease is None or lease.limit.version != limit.version or lease.last_us <= now_us:
                return False
            if len(lease.purses) >= _MOST_PURSES:
                return False
            has = lease.spendable(now_us)
            share = has // 2 if lease.purses else has - has // 4
            # Slots come back to it, and more are added when they are too few.
            fewest = 1 if limit.method == "concurrency" else _FEWEST_CALLS
            if share < fewest * charges[place]:
                return False
            shares[place] = share if shares[place] < 0 else min(shares[place], share)
            if limit.method == "token_bucket":
                rooms[place] = min(rooms[place], max(0, lease.spent - lease.promised) // 2)
            until_us = min(until_us, lease.last_us)
            found.append(lease)
        windows = tuple(lease.window for lease in found)
        if windows != self.windows:
            self._register(leases, windows)
        lefts = [max(0, lease.left) + max(0, lease.spendable(now_us)) for lease in found]
        resets = [max(0, lease.since_us + lease.duration_us - now_us) if lease.window else 0 for lease in found]
        self.page = Page(plan, shares, lefts, resets)
        for lease, place in zip(found, plan.units_of, strict=True):
            lease.spent += shares[place]
            lease.promised += shares[place] + rooms[place]
            lease.purses.append(self)
        self.left = self.taken = self.since = shares
        self.most = list(map(add, shares, rooms))
        self.leases, self.until_us = found, until_us
        return True

    def refill(self, leases: Leases, charges: Charges, now_us: int) -> bool:
        """Set more aside of what it has too little of for one call; False where leases have too little as well.

        Most of all it is slots: a purse pays for as many calls at a time as it has of them, and all others come back.
        """
        if now_us >= self.until_us:
            return False
        lacking = [place for place, charge in enumerate(charges) if self.left[place] < charge]
        shares = dict.fromkeys(lacking, MAX_UNITS)
        for lease, place in zip(self.leases, self.plan.units_of, strict=True):
            if place in shares:
                has = lease.spendable(now_us)
                shares[place] = min(shares[place], has // 2 if len(lease.purses) > 1 else has - has // 4)
        if any(self.left[place] + share < charges[place] for place, share in shares.items()):
            return False
        more = [shares.get(place, 0) for place in range(len(charges))]
        for lease, place in zip(self.leases, self.plan.units_of, strict=True):
            lease.spent += more[place]
            lease.promised += more[place]
        self.left, self.taken, self.since, self.most = (
            list(map(add, had, more)) for had in (self.left, self.taken, self.since, self.most)
        )
        if self.page is not None:
            self.page = self.page.with_taken(self.taken)
        return True

    def _register(self, leases: Leases, windows: tuple[int, ...]) -> None:
        self.retire(leases)
        leases.register(self)
        self.windows = windows

    def retire(self, leases: Leases) -> None:
        """Leave it to the leases to know what its calls hold. It has to be closed."""
        if self.windows is not None:
            leases.dismiss(self)
            self.under_way = [0] * len(self.under_way)
            self.epoch += 1
            self.windows = None

    def close(self) -> None:
        """Put back what was not spent."""
        if not self.until_us:
            return
        self.until_us = 0
        for lease, place in zip(self.leases, self.plan.units_of, strict=True):
            lease.spent -= self.left[place]
            lease.promised -= self.most[place]
            lease.purses.remove(self)
        self.before = self._gross()
        self.left = self.taken = self.since = [0] * len(self.left)
        self.leases = []

    def _gross(self) -> Charges:
        """Return what calls were charged since leases were last told of it."""
        return [had + then - left for had, then, left in zip(self.since, self.before, self.left, strict=True)]

    def tell(self, leases: Leases, now_us: int) -> bool:
        """Let leases know how fast they are asked for; tells whether there was any call."""
        calls, gross = self.calls, self._gross()
        if not calls:
            return False
        self.calls, self.since, self.before = 0, self.left, [0] * len(gross)
        for key, place in zip(self.plan.keys, self.plan.units_of, strict=True):
            leases.note_many(key, calls, gross[place], now_us)
        return True


class Standings(Sequence[LimitStanding]):
    """How limits stand after a call that a purse paid for, worked out when somebody wants to know."""

    __slots__ = ("_made", "charges", "left", "page")

    def __init__(self, page: Page, charges: Charges, left: Charges) -> None:
        self.page = page
        self.charges = charges
        self.left = left
        self._made: list[LimitStanding] | None = None

    def lefts(self) -> list[int]:
        """Return what each limit has left."""
        return self.page.lefts_at(self.left)

    def _all(self) -> list[LimitStanding]:
        if self._made is None:
            self._made = self.page.standings(self.charges, self.left)
        return self._made

    def __len__(self) -> int:
        return len(self.page.plan.limits)

    @overload
    def __getitem__(self, place: int) -> LimitStanding: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[LimitStanding]: ...
    def __getitem__(self, place: int | slice) -> LimitStanding | Sequence[LimitStanding]:
        return self._all()[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all() == list(other)

    __hash__ = None  # type: ignore[assignment]
