"""How grants of one capacity change from one turn to the next: pure, so that every interleaving can be tried.

```
            +--plan: less------> shrinking --confirm: nobody can spend more--> granted
granted ----+                        |
            +--plan: more----> granted (only from what nobody holds)
```
What a shrinking grant had counts as held until it is confirmed, and nothing grows meanwhile. So the sum of what is held, which is
at least what can be spent, is at most the capacity after each step, whichever steps are never made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from nexus.admission.capacity.fair import Member, fair_shares, step_of, wanted
from nexus.contracts.shares import burst_of

_WORTH = 20
"""A difference of less than one part in so many of a share is not worth a move."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What there is: units an hour, and units at once."""

    rate: int
    burst: int
    ceiling_rate: int
    """What all that is held may come to: more than there is only until it has been given back."""
    ceiling_burst: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What one cell may spend."""

    organization_id: UUID
    number: int
    rate: int
    burst: int
    held_rate: int
    held_burst: int
    state: Literal["granted", "shrinking"] = "granted"

    def confirmed(self) -> Grant:
        """Return it when nobody can spend more than it says."""
        return replace(self, held_rate=self.rate, held_burst=self.burst, state="granted")

    def after(self, number: int) -> Grant:
        """Return it under a number above one that Redis has and the ledger does not know of: what that said is unknown."""
        return replace(self, number=number + 1, state="shrinking")

    def to(self, rate: int, burst: int) -> Grant:
        """Return it changed, as the next number."""
        if rate == self.rate and burst == self.burst:
            return self
        held_rate, held_burst = max(rate, self.held_rate), max(burst, self.held_burst)
        is_less = held_rate > rate or held_burst > burst
        return Grant(
            self.organization_id, self.number + 1, rate, burst, held_rate, held_burst, "shrinking" if is_less else "granted"
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Aim:
    """Where a member is to come."""

    member: Member
    share: int
    """A fair one."""
    wants: int

    def lacks(self, rate: int, step: int) -> bool:
        """Whether somebody has to give for it."""
        if rate < self.member.guaranteed:
            return True
        return min(self.share, self.wants) - rate > max(step, self.share // _WORTH)


def settled_ceiling(capacity: Capacity, grants: Sequence[Grant]) -> Capacity:
    """Return a capacity whose ceiling is what there is, once no more than that is held."""
    rate = capacity.rate if sum(grant.held_rate for grant in grants) <= capacity.rate else capacity.ceiling_rate
    burst = capacity.burst if sum(grant.held_burst for grant in grants) <= capacity.burst else capacity.ceiling_burst
    return replace(capacity, ceiling_rate=rate, ceiling_burst=burst)


def plan(
    capacity: Capacity, members: Sequence[Member], grants: Sequence[Grant], asked: Mapping[UUID, int]
) -> list[Grant]:
    """Return the grants that change, and those that begin. `asked`: units an hour of late; who is not in it is as it was."""
    if any(grant.state == "shrinking" for grant in grants):
        return []
    held = {grant.organization_id: grant for grant in grants}
    # Of an organization of which nobody knows what it asks for the share is left as it is.
    asks = [
        asked.get(member.organization_id, grant.rate * 4 // 5 if (grant := held.get(member.organization_id)) else 0)
        for member in members
    ]
    shares = fair_shares(capacity.rate, members, asks)
    aims = [
        _Aim(member, share, wanted(member, asks_for))
        for member, share, asks_for in zip(members, shares, asks, strict=True)
    ]
    count = len({*held, *(member.organization_id for member in members)})
    changed = _grown(capacity, aims, held, count)
    now = {**held, **changed}
    changed.update(_shrunk(capacity, aims, now, count))
    return [grant for grant in changed.values() if grant != held.get(grant.organization_id)]


def _grown(capacity: Capacity, aims: Sequence[_Aim], held: Mapping[UUID, Grant], count: int) -> dict[UUID, Grant]:
    """Give what nobody holds: guarantees first, then all that is worth a move."""
    free = capacity.rate - sum(grant.held_rate for grant in held.values())
    free_burst = capacity.burst - sum(grant.held_burst for grant in held.values())
    step = step_of(capacity.rate)
    rates = {aim.member.organization_id: _rate_of(held, aim) for aim in aims}
    for is_guarantee in (True, False):
        lacking = {}
        for aim in aims:
            name, upto = aim.member.organization_id, aim.member.guaranteed if is_guarantee else aim.share
            lack = upto - rates[name]
            if lack > (0 if is_guarantee else max(step, aim.share // _WORTH)):
                lacking[name] = lack
        whole = sum(lacking.values())
        for name, lack in lacking.items():
            # Rounded down but for guarantees, which are round numbers themselves.
            given = lack if whole <= free else max(0, free) * lack // whole // step * step
            rates[name] += given
        free = capacity.rate - sum(grant.held_rate for grant in held.values()) - sum(
            rates[aim.member.organization_id] - _rate_of(held, aim) for aim in aims
        )  # fmt: skip
    changed: dict[UUID, Grant] = {}
    for aim in aims:
        name = aim.member.organization_id
        grant = held.get(name, Grant(name, 0, 0, 0, 0, 0))
        burst = min(burst_of(rates[name], capacity.rate, capacity.burst, count), grant.burst + max(0, free_burst))
        burst = max(burst, grant.burst)
        free_burst -= burst - grant.burst
        if rates[name] and burst:
            changed[name] = grant.to(rates[name], burst)
    return changed


def _rate_of(held: Mapping[UUID, Grant], aim: _Aim) -> int:
    grant = held.get(aim.member.organization_id)
    return grant.rate if grant is not None else 0


def _shrunk(capacity: Capacity, aims: Sequence[_Aim], now: Mapping[UUID, Grant], count: int) -> dict[UUID, Grant]:
    """Take from those that have more than their share, where somebody lacks it; and from all that have more than they may."""
    step = step_of(capacity.rate)
    known = {aim.member.organization_id: aim for aim in aims}
    is_over = sum(grant.rate for grant in now.values()) > capacity.rate
    is_over = is_over or sum(grant.burst for grant in now.values()) > capacity.burst
    is_lacking = is_over or any(aim.lacks(_rate_of(now, aim), step) for aim in aims)
    changed: dict[UUID, Grant] = {}
    for name, grant in now.items():
        aim = known.get(name)
        if aim is None:
            changed[name] = grant.to(0, 0)
            continue
        most = aim.member.most
        rate = grant.rate
        if rate > aim.share and (is_lacking or (most is not None and rate > most)):
            rate = aim.share
        burst = min(grant.burst, burst_of(rate, capacity.rate, capacity.burst, count))
        if rate < grant.rate or burst < grant.burst:
            changed[name] = grant.to(rate, burst)
    return changed
