"""What points come to: sums that can be added to each other in any order, and what each point adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from nexus.contracts.metric_records import Kind
from nexus.kit import histograms
from nexus.kit.histograms import Bins, Quantiles


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What some points of one layout come to."""

    points: int
    sum: float | None
    """None where a point did not tell its sum."""
    count: int
    """How many values: one for each point of a gauge, none of a counter."""
    min: float | None
    """None where it is not known of all the values."""
    max: float | None
    last: float | None
    """A gauge's newest value."""
    last_at: datetime
    bins: Bins | None


def add(one: Aggregate, other: Aggregate) -> Aggregate:
    """Add two up. Associative and commutative, but for the rounding of sums of numbers that are not whole."""
    newer = other if (other.last_at, _or_least(other.last)) > (one.last_at, _or_least(one.last)) else one
    bins = one.bins if other.bins is None else other.bins
    if one.bins is not None and other.bins is not None:
        is_told = isinstance(one.bins, Quantiles)
        bins = newer.bins if is_told else histograms.add(one.bins, other.bins)
    return Aggregate(
        one.points + other.points,
        None if one.sum is None or other.sum is None else one.sum + other.sum,
        one.count + other.count,
        _known(min, one, one.min, other, other.min),
        _known(max, one, one.max, other, other.max),
        newer.last,
        newer.last_at,
        bins,
    )


def add_all(parts: Sequence[Aggregate]) -> Aggregate:
    """Add one or many up, as `add` would one after the other, in a fraction of its time."""
    newest = max(parts, key=lambda part: (part.last_at, _or_least(part.last)))
    sums = [part.sum for part in parts if part.sum is not None]
    valued = [part for part in parts if part.count]
    lows = [part.min for part in valued if part.min is not None]
    highs = [part.max for part in valued if part.max is not None]
    bins = [part.bins for part in parts if part.bins is not None]
    whole: Bins | None = None
    if bins:
        whole = newest.bins if isinstance(bins[0], Quantiles) else histograms.add_all(bins)
    return Aggregate(
        sum(part.points for part in parts),
        sum(sums) if len(sums) == len(parts) else None,
        sum(part.count for part in parts),
        min(lows) if lows and len(lows) == len(valued) else None,
        max(highs) if highs and len(highs) == len(valued) else None,
        newest.last,
        newest.last_at,
        whole,
    )


def _or_least(value: float | None) -> float:
    return float("-inf") if value is None else value


def _known(
    choose: Callable[[float, float], float],
    one: Aggregate,
    value: float | None,
    other: Aggregate,
    other_value: float | None,
) -> float | None:
    # Where there are values of which the smallest is not known, it is not known of the whole.
    if not one.count:
        return other_value
    if not other.count:
        return value
    return None if value is None or other_value is None else choose(value, other_value)


@dataclass(frozen=True, slots=True)
class Point:
    """A stored point."""

    at: datetime
    is_new: bool
    """Whether it is not counted yet."""
    is_cumulative: bool
    start_at: datetime | None
    layout: UUID
    value: float | None
    count: int
    min: float | None
    max: float | None
    bins: Bins | None


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be added to the sums of the periods that an instant is in."""

    at: datetime
    layout: UUID
    added: Aggregate


def changes(kind: Kind, points: Sequence[Point]) -> Iterator[Change]:
    """Tell what the new points of one series change.

    `points` are the new ones, and of each new cumulative one the cumulative points before and after it that are counted
    already. A cumulative point adds its difference to the one before; where a new one comes between two, the later of
    them adds less than it did. So the sums are the same in whatever order points come in.
    """
    before: Point | None = None
    counted_before: Point | None = None
    for point in sorted(points, key=lambda one: one.at):
        if not point.is_cumulative:
            if point.is_new:
                yield Change(point.at, point.layout, _whole(kind, point))
            continue
        if point.is_new:
            yield Change(point.at, point.layout, _increase(kind, before, point))
        elif before is not None and before.is_new:
            now, once = _increase(kind, before, point), _increase(kind, counted_before, point)
            yield Change(point.at, point.layout, _difference(now, once))
        before = point
        if not point.is_new:
            counted_before = point


def _whole(kind: Kind, point: Point) -> Aggregate:
    if kind == "gauge":
        return Aggregate(1, point.value, 1, point.value, point.value, point.value, point.at, None)
    return Aggregate(1, point.value, point.count, point.min, point.max, None, point.at, point.bins)


def _increase(kind: Kind, before: Point | None, point: Point) -> Aggregate:
    """Return what a cumulative point adds to the one before it."""
    whole = replace(_whole(kind, point), min=None, max=None)
    if before is None:
        if point.start_at is not None:
            return whole
        before = point
    elif _began_anew(kind, before, point):
        return whole
    total = None if point.value is None or before.value is None else point.value - before.value
    bins = point.bins
    if point.bins is not None and before.bins is not None and not isinstance(point.bins, Quantiles):
        bins = histograms.subtract(point.bins, before.bins)
    return replace(whole, sum=total, count=point.count - before.count, bins=bins)


def _began_anew(kind: Kind, before: Point, point: Point) -> bool:
    """Tell whether a program counted from zero again: it says so, or a count became smaller, or its buckets are others."""
    if point.start_at is not None and point.start_at != before.start_at and point.start_at >= before.at:
        return True
    if kind == "counter":
        return (point.value or 0.0) < (before.value or 0.0)
    if point.layout != before.layout or point.count < before.count:
        return True
    return point.bins is not None and before.bins is not None and not histograms.holds(point.bins, before.bins)


def _difference(now: Aggregate, once: Aggregate) -> Aggregate:
    bins = now.bins
    if now.bins is not None and once.bins is not None and not isinstance(now.bins, Quantiles):
        bins = histograms.subtract(now.bins, once.bins)
    total = None if now.sum is None or once.sum is None else now.sum - once.sum
    return replace(now, points=0, sum=total, count=now.count - once.count, bins=bins)
