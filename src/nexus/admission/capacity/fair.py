"""Weighted max-min fair shares of a capacity, with guarantees as floors: pure arithmetic, rates in whole units an hour.

Everybody gets what they ask for where that is possible. Where it is not, a level is sought (Bertsekas and Gallager, *Data
Networks*, 6.5.2): each member has the level times its weight, but no less than its guarantee and no more than it asks for, and
the sum is the capacity.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from uuid import UUID

HEADROOM = Fraction(5, 4)
"""A share is so many times what is asked for, where there is enough: more may be asked for before it is looked at again."""
_STEPS = 10_000
"""A capacity is divided into so many parts at least: parts of a round rate are round rates, and quicker to reckon with."""


@dataclass(frozen=True, slots=True)
class Member:
    """An organization that shares a capacity."""

    organization_id: UUID
    guaranteed: int
    most: int | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class _Band:
    weight: int
    least: int
    most: int

    def at(self, level: Fraction) -> Fraction:
        return min(Fraction(self.most), max(Fraction(self.least), level * self.weight))


def step_of(rate: int) -> int:
    """Return the step in which shares of a rate are given: a power of ten an hour, or a second where there is enough."""
    step = 1
    for unit in (1, 3600):
        while rate >= _STEPS * unit:
            step, unit = unit, unit * 10
    return step


def wanted(member: Member, asked: int) -> int:
    """Return how much a member that is asked for so much could do with."""
    return max(member.guaranteed, _capped(member, -int(-asked * HEADROOM // 1)))


def _capped(member: Member, rate: int) -> int:
    return rate if member.most is None else min(rate, member.most)


def fair_shares(rate: int, members: Sequence[Member], asked: Sequence[int]) -> list[int]:
    """Return each member's share of a rate, in the order of the members. Their guarantees are together at most the rate."""
    wants = [
        _Band(member.weight, member.guaranteed, wanted(member, units))
        for member, units in zip(members, asked, strict=True)
    ]
    shares = _filled(rate, wants)
    if sum(shares) < rate:
        # What nobody asks for is given too, so that who begins to ask has something to begin with.
        rests = [
            _Band(member.weight, band.most, max(band.most, _capped(member, rate)))
            for member, band in zip(members, wants, strict=True)
        ]
        shares = _filled(rate, rests)
    step = step_of(rate)
    return [max(member.guaranteed, int(share // step) * step) for member, share in zip(members, shares, strict=True)]


def _sum_at(bands: Sequence[_Band], level: Fraction) -> Fraction:
    return sum((band.at(level) for band in bands), Fraction(0))


def _filled(rate: int, bands: Sequence[_Band]) -> list[Fraction]:
    """Return where each band stands at the level at which all together are the rate; at their most where that is less."""
    if sum(band.most for band in bands) <= rate:
        return [Fraction(band.most) for band in bands]
    edges = sorted({Fraction(edge, band.weight) for band in bands for edge in (band.least, band.most)})
    place = bisect_left(edges, Fraction(rate), key=lambda level: _sum_at(bands, level))
    level = edges[place]
    if place > 0:
        # Between two edges the sum rises by the weights of those that are between their own.
        below = edges[place - 1]
        rising = sum(
            band.weight for band in bands if band.least <= below * band.weight and band.most >= level * band.weight
        )
        level = below + (rate - _sum_at(bands, below)) / rising if rising else below
    return [band.at(level) for band in bands]
