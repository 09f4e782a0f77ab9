"""Calls in flight as Redis counts them for one process: what that process may go on with while Redis is away.

Redis counts each call under way, and each slot on lease, for the process that has it, and all of them together are at most the
limit. So each process stays within the limit with all others by having no more under way than it was counted for: a call that
ends makes room for one that begins. Later on, what nobody had is shared out, as it was when it was last looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from uuid import UUID

from nexus.contracts.limits import Limit
from nexus.dataplane.decide.leases import SLOT_LIFE_US, BucketKey, Leases
from nexus.dataplane.decide.scripts import keys_of

FIRST_US = SLOT_LIFE_US
"""For so long each process has what it had: so long Redis keeps the slots of one that is cut off from it, and tells nobody
else to have them."""
SETTLING_US = 2_000_000
"""So long after Redis is back all processes have told it of their calls: each looks for it four times a second."""
_MOST_SEEN = 10_000
_LOOKED_AT_US = 60_000_000
"""How long after its last call a limit is looked at."""


class Slots:
    """The calls in flight of one process, by limit."""

    def __init__(self, leases: Leases, clock: Callable[[], int], away_us: Callable[[], int | None]) -> None:
        """Make them; `away_us` says for how long Redis has not been asked, None while it is."""
        self._leases = leases
        self._clock = clock
        self._away_us = away_us
        self._held: dict[str, tuple[int, list[tuple[BucketKey, Limit]]]] = {}
        """Calls under way that Redis holds by their names, and until when it does."""
        self._told: dict[str, list[tuple[BucketKey, Limit]]] = {}
        """Those that Redis has lost: it is told of them as of this process's own."""
        self._counts: dict[BucketKey, int] = {}
        self._asked_at: dict[BucketKey, int] = {}
        self._seen: dict[BucketKey, tuple[int, int]] = {}
        """How many Redis counted when it was last looked at, and how many of them were this process's."""
        self._own: dict[BucketKey, int] = {}
        """While Redis is away: for how many it counts this process."""
        self._settling_until_us = 0

    def began(self, organization_id: UUID, hold_id: str, life_us: int, legs: Iterable[tuple[Limit, str, int]]) -> None:
        """Note a call that Redis admitted and holds."""
        cell = keys_of(organization_id).cell
        kept = [
            ((cell, bucket), limit)
            for limit, bucket, _ in legs
            if limit.method == "concurrency" and not limit.is_shadow
        ]
        if not kept or hold_id in self._held:
            return
        self._held[hold_id] = (self._clock() + life_us, kept)
        for key, _ in kept:
            self._counts[key] = self._counts.get(key, 0) + 1

    def ended(self, hold_id: str) -> None:
        """Note that it has ended, whether Redis has heard of it or not."""
        for key, _ in self._drop(hold_id):
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
        for key, limit in self._told.pop(hold_id, ()):
            self._leases.vacate(key, limit)

    def _drop(self, hold_id: str) -> list[tuple[BucketKey, Limit]]:
        return self._held.pop(hold_id, (0, []))[1]

    def organizations(self) -> set[UUID]:
        """Return whose calls Redis holds for this process."""
        return {UUID(hex=key[0]) for key in self._counts}

    def lost(self, organization_id: UUID) -> bool:
        """Redis has lost what it held: tell it of the calls that are under way. Tells whether there are any."""
        cell = keys_of(organization_id).cell
        found = [name for name, (_, kept) in self._held.items() if kept[0][0][0] == cell]
        for hold_id in found:
            kept = self._held[hold_id][1]
            self.ended(hold_id)
            self._told[hold_id] = kept
            for key, limit in kept:
                self._leases.occupy(key, limit, self._clock())
        return bool(found)

    def forget_expired(self) -> None:
        """Forget calls that nobody ended in their time: Redis ends them, and their slots are nobody's."""
        now_us = self._clock()
        for hold_id, (until_us, kept) in list(self._held.items()):
            if until_us <= now_us:
                self.ended(hold_id)
                for key, _ in kept:
                    if key in self._own:
                        self._own[key] -= 1

    def has(self, key: BucketKey) -> int:
        """Return how many this process has: calls under way, and slots on lease."""
        return self._counts.get(key, 0) + self._leases.kept(key) + self._leases.free_slots(key, self._clock())

    def asked(self, met: Iterable[tuple[Limit, str]]) -> None:
        """Note limits that are asked for here: they are looked at from now on."""
        for limit, bucket in met:
            if limit.method == "concurrency" and limit.failure == "local":
                key = (keys_of(limit.organization_id).cell, bucket)
                if key in self._asked_at or len(self._asked_at) < _MOST_SEEN:
                    self._asked_at[key] = self._clock()

    def looked_at(self) -> dict[UUID, list[str]]:
        """Return the limits that were asked for of late, by organization."""
        since_us = self._clock() - _LOOKED_AT_US
        self._asked_at = {key: at_us for key, at_us in self._asked_at.items() if at_us > since_us}
        self._seen = {key: seen for key, seen in self._seen.items() if key in self._asked_at}
        found: dict[UUID, list[str]] = {}
        for cell, bucket in self._asked_at:
            found.setdefault(UUID(hex=cell), []).append(bucket)
        return found

    def saw(self, organization_id: UUID, bucket: str, count: int) -> None:
        """Remember how many Redis counts."""
        key = (keys_of(organization_id).cell, bucket)
        self._seen[key] = (count, self.has(key))

    def has_room(self, organization_id: UUID, limit: Limit, bucket: str, share: Fraction) -> bool:
        """Tell whether a call may begin without Redis."""
        key = (keys_of(organization_id).cell, bucket)
        if self._leases.free_slots(key, self._clock()):
            return True
        has, away_us = self.has(key), self._away_us()
        if away_us is None:
            # Redis hears of calls that end, and gives their slots to others.
            return False
        # What ended before Redis fell silent it may have heard of; what ends from now on it does not.
        most = self._own.setdefault(key, has)
        if away_us >= FIRST_US and key in self._seen:
            count, own = self._seen[key]
            most = max(most, own + int(share * max(0, limit.capacity - count)))
        return has < most

    def occupy(self, organization_id: UUID, limit: Limit, bucket: str) -> None:
        """Begin a call of which Redis is told when it is back."""
        self._leases.occupy((keys_of(organization_id).cell, bucket), limit, self._clock())

    def vacate(self, organization_id: UUID, limit: Limit, bucket: str) -> None:
        """End such a call."""
        self._leases.vacate((keys_of(organization_id).cell, bucket), limit)

    def is_back(self, away_us: int) -> None:
        """Redis is back after so long: it decides again."""
        self._own.clear()
        if away_us >= FIRST_US:
            self._settling_until_us = self._clock() + SETTLING_US

    @property
    def is_settling(self) -> bool:
        """Whether others may still have calls under way that Redis does not know of: until they have told it none begins."""
        return self._clock() < self._settling_until_us
