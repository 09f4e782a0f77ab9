"""Distributions of values that can be added up: explicit buckets, exponential buckets, and percentiles of both.

Explicit buckets are counts between fixed bounds: bucket `i` holds `bounds[i - 1] < value <= bounds[i]`, the first and the
last are open. Exponential ones follow OpenTelemetry's data model (metrics/data-model, "ExponentialHistogram"): at scale `s`
bucket `i` holds `base**i < value <= base**(i + 1)` with `base = 2**(2**-s)`; one scale down joins two neighbours, so any
two can be brought to a common scale and added without error. Values within `zero_threshold` of zero have a count of their own.

Adding is associative and commutative, subtracting undoes it: what a counter that only grows has counted between two points
is the one less the other. A percentile is off by no more than the bucket it falls into.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from uuid import UUID

import msgspec

from nexus.kit.ids import hashed_uuid

MAX_BUCKETS = 320
"""Exponential buckets of one sign that are kept; beyond them the scale goes down. Twice OpenTelemetry's default."""
MIN_SCALE, MAX_SCALE = -10, 20
SAMPLE_SCALE = 5
"""Scale of the buckets that single values are put into: each is 2.2 % wide, wider where values are far apart."""
NO_LAYOUT = UUID(int=0)
"""Stands for the layout of what has no bounds: everything but explicit buckets."""


class Explicit(msgspec.Struct, array_like=True, tag=0, frozen=True, gc=False):
    """Counts of explicit buckets; the bounds are told by their layout."""

    counts: tuple[int, ...]


class Exponential(msgspec.Struct, array_like=True, tag=1, frozen=True, gc=False):
    """Counts of exponential buckets, the empty ones left out."""

    scale: int
    zero_count: int = 0
    zero_threshold: float = 0.0
    positive: dict[int, int] = {}
    negative: dict[int, int] = {}


class Quantiles(msgspec.Struct, array_like=True, tag=2, frozen=True, gc=False):
    """Quantiles that somebody else worked out: they cannot be added up, the newest stand."""

    values: tuple[tuple[float, float], ...]
    """Fraction and value."""


Bins = Explicit | Exponential | Quantiles
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Bins)


def encode(bins: Bins) -> bytes:
    """Write a distribution for the database."""
    return _encoder.encode(bins)


def decode(data: bytes) -> Bins:
    """Read back what `encode` wrote."""
    found: Bins = _decoder.decode(data)
    return found


def layout_of(bounds: Sequence[float]) -> UUID:
    """Return the id of explicit bounds: the same bounds always have the same."""
    return hashed_uuid(struct.pack(f">{len(bounds)}d", *bounds))


def add(one: Bins, other: Bins) -> Bins:
    """Add two distributions of one layout; `ValueError` for two that are not. Of quantiles the second stand."""
    return _combine(one, other, 1)


def add_all(parts: Sequence[Bins]) -> Bins:
    """Add one or many distributions of one layout, as `add` would one after the other, in a fraction of its time."""
    first = parts[0]
    if isinstance(first, Explicit):
        rows = [part.counts for part in parts if isinstance(part, Explicit) and len(part.counts) == len(first.counts)]
        if len(rows) == len(parts):
            return Explicit(tuple(map(sum, zip(*rows, strict=True))))
    exponential = [part for part in parts if isinstance(part, Exponential)]
    if len(exponential) == len(parts) and len({part.zero_threshold for part in exponential}) == 1:
        scale = min(part.scale for part in exponential)
        sides: list[dict[int, int]] = []
        for name in ("positive", "negative"):
            total: dict[int, int] = {}
            for part in exponential:
                steps = part.scale - scale
                for index, count in getattr(part, name).items():
                    index >>= steps
                    total[index] = total.get(index, 0) + count
            sides.append({index: count for index, count in total.items() if count})
        zeros = sum(part.zero_count for part in exponential)
        return limited(Exponential(scale, zeros, exponential[0].zero_threshold, *sides))
    return reduce(add, parts)


def subtract(one: Bins, other: Bins) -> Bins:
    """Take a distribution out of another of its layout; counts may become negative, as parts of a larger sum."""
    return _combine(one, other, -1)


def _combine(one: Bins, other: Bins, sign: int) -> Bins:
    if isinstance(one, Explicit) and isinstance(other, Explicit) and len(one.counts) == len(other.counts):
        return Explicit(tuple(a + sign * b for a, b in zip(one.counts, other.counts, strict=True)))
    if isinstance(one, Exponential) and isinstance(other, Exponential):
        one, other = to_common(one, other)
        return limited(
            Exponential(
                one.scale,
                one.zero_count + sign * other.zero_count,
                one.zero_threshold,
                _summed(one.positive, other.positive, sign),
                _summed(one.negative, other.negative, sign),
            )
        )
    if isinstance(one, Quantiles) and isinstance(other, Quantiles):
        return other if sign > 0 else one
    raise ValueError("two distributions of different forms cannot be added up")


def _summed(one: Mapping[int, int], other: Mapping[int, int], sign: int) -> dict[int, int]:
    total = dict(one)
    for index, count in other.items():
        total[index] = total.get(index, 0) + sign * count
    return {index: count for index, count in total.items() if count}


def holds(later: Bins, earlier: Bins) -> bool:
    """Tell whether a cumulative distribution can have grown out of another: no count of it is smaller."""
    try:
        grown = subtract(later, earlier)
    except ValueError:
        return False
    if isinstance(grown, Explicit):
        return all(count >= 0 for count in grown.counts)
    if isinstance(grown, Exponential):
        counts = (grown.zero_count, *grown.positive.values(), *grown.negative.values())
        return all(count >= 0 for count in counts)
    return True


def to_common(one: Exponential, other: Exponential) -> tuple[Exponential, Exponential]:
    """Bring two exponential distributions to the scale and zero threshold that both can have."""
    scale = min(one.scale, other.scale)
    one, other = downscaled(one, scale), downscaled(other, scale)
    threshold = max(one.zero_threshold, other.zero_threshold)
    while True:
        # A bucket is within the threshold or outside of it, never half: then the threshold grows to its end.
        reached = max(_reached(one, threshold), _reached(other, threshold))
        if reached == threshold:
            return _with_threshold(one, threshold), _with_threshold(other, threshold)
        threshold = reached


def _reached(bins: Exponential, threshold: float) -> float:
    if threshold == bins.zero_threshold:
        return threshold
    ends = [
        upper_bound(index, bins.scale)
        for index in (*bins.positive, *bins.negative)
        if upper_bound(index - 1, bins.scale) < threshold
    ]
    return max((threshold, *ends))


def _with_threshold(bins: Exponential, threshold: float) -> Exponential:
    if threshold == bins.zero_threshold:
        return bins
    zero = bins.zero_count
    kept: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for place, side in enumerate((bins.positive, bins.negative)):
        for index, count in side.items():
            if upper_bound(index, bins.scale) <= threshold:
                zero += count
            else:
                kept[place][index] = count
    return Exponential(bins.scale, zero, threshold, *kept)


def downscaled(bins: Exponential, scale: int) -> Exponential:
    """Return a distribution at a lower scale: each step joins two neighbouring buckets."""
    steps = bins.scale - scale
    if steps <= 0:
        return bins
    sides: list[dict[int, int]] = []
    for side in (bins.positive, bins.negative):
        joined: dict[int, int] = {}
        for index, count in side.items():
            joined[index >> steps] = joined.get(index >> steps, 0) + count
        sides.append({index: count for index, count in joined.items() if count})
    return Exponential(scale, bins.zero_count, bins.zero_threshold, *sides)


def limited(bins: Exponential, most: int = MAX_BUCKETS) -> Exponential:
    """Return a distribution whose buckets of each sign span no more than `most`, at the highest scale that allows it.

    The scale depends on the outermost buckets alone, so it is the same in whatever order distributions are added.
    """
    scale = bins.scale
    for side in (bins.positive, bins.negative):
        if side:
            low, high = min(side), max(side)
            while (high >> (bins.scale - scale)) - (low >> (bins.scale - scale)) >= most:
                scale -= 1
    return downscaled(bins, scale)


def upper_bound(index: int, scale: int) -> float:
    """Return the largest value of an exponential bucket; the largest number there is where it lies beyond."""
    exponent = math.ldexp(index + 1, -scale)
    return 2.0**exponent if exponent < 1024 else math.inf


def index_of(value: float, scale: int) -> int:
    """Return the exponential bucket of a value greater than zero."""
    index = math.ceil(math.ldexp(math.log2(value), scale)) - 1
    # The logarithm is rounded, so the neighbours are looked at.
    while upper_bound(index, scale) < value:
        index += 1
    while index > -(2**40) and upper_bound(index - 1, scale) >= value:
        index -= 1
    return index


def of_samples(values: Iterable[float], scale: int = SAMPLE_SCALE) -> Exponential:
    """Put single values into exponential buckets."""
    zero = 0
    positive: dict[int, int] = {}
    negative: dict[int, int] = {}
    for value in values:
        if value == 0:
            zero += 1
            continue
        side = positive if value > 0 else negative
        index = index_of(abs(value), scale)
        side[index] = side.get(index, 0) + 1
    return limited(Exponential(scale, zero, 0.0, positive, negative))


@dataclass(frozen=True, slots=True)
class Bucket:
    """So many values that lie between two others, both included."""

    low: float
    high: float
    count: int


def buckets_of(
    bins: Bins, bounds: Sequence[float] = (), *, least: float | None = None, most: float | None = None
) -> list[Bucket]:
    """Return the buckets that hold something, in the order of their values; quantiles have none.

    `least` and `most` are the smallest and the largest of all values, where they are known: no bucket reaches beyond.
    """
    found: list[Bucket] = []
    if isinstance(bins, Explicit):
        edges = [-math.inf, *bounds, math.inf]
        found = [Bucket(low, high, n) for (low, high), n in zip(pairwise(edges), bins.counts, strict=True) if n > 0]
    elif isinstance(bins, Exponential):
        found += [
            Bucket(-upper_bound(index, bins.scale), -upper_bound(index - 1, bins.scale), count)
            for index, count in sorted(bins.negative.items(), reverse=True)
            if count > 0
        ]
        if bins.zero_count > 0:
            found.append(Bucket(-bins.zero_threshold, bins.zero_threshold, bins.zero_count))
        found += [
            Bucket(upper_bound(index - 1, bins.scale), upper_bound(index, bins.scale), count)
            for index, count in sorted(bins.positive.items())
            if count > 0
        ]
    if least is None and most is None:
        return found
    low_end = -math.inf if least is None else least
    high_end = math.inf if most is None else most
    return [
        Bucket(min(max(one.low, low_end), high_end), max(min(one.high, high_end), low_end), one.count) for one in found
    ]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A percentile: what stands for it, and between what the percentile of the single values certainly lies."""

    value: float
    low: float
    """Minus infinity where the lowest bucket is open."""
    high: float
    """Infinity where the highest bucket is open."""


def percentiles(buckets: Sequence[Bucket], fractions: Sequence[float]) -> list[Estimate] | None:
    """Estimate percentiles of all values in some buckets, which may overlap; None where there is no value.

    The element of rank ceil(q * n) is meant, as percentile_disc picks it. It lies between the percentile of the buckets'
    lower ends and that of their upper ends; within, values are thought of as spread evenly.
    """
    total = sum(bucket.count for bucket in buckets)
    if total <= 0:
        return None
    lows = sorted((bucket.low, bucket.count) for bucket in buckets)
    highs = sorted((bucket.high, bucket.count) for bucket in buckets)
    return [_estimate(buckets, lows, highs, fraction, total) for fraction in fractions]


def _estimate(
    buckets: Sequence[Bucket],
    lows: Sequence[tuple[float, int]],
    highs: Sequence[tuple[float, int]],
    fraction: float,
    total: int,
) -> Estimate:
    # A tiny slack keeps 0.95 * 20 from becoming the 20th element by a float's last bit.
    rank = max(1, math.ceil(fraction * total - 1e-9))
    low, high = _element(lows, rank), _element(highs, rank)
    if math.isinf(low) and math.isinf(high):
        return Estimate(0.0, low, high)
    # An open bucket is answered with its only end, as Prometheus does; a lowest one of positive values begins at zero.
    start = low if not math.isinf(low) else min(0.0, high)
    end = high if not math.isinf(high) else low
    wanted = min(max(fraction * total, rank - 1), rank)
    if start < end:
        below = sum(bucket.count for bucket in buckets if bucket.high <= start)
        across = [bucket for bucket in buckets if bucket.high > start and bucket.low < end]
        if len(across) == 1:
            value = start + (end - start) * (wanted - below) / across[0].count
        else:
            value = _bisected(across, start, end, wanted - below)
        return Estimate(min(max(value, start), end), low, high)
    return Estimate(start, low, high)


def _element(ends: Sequence[tuple[float, int]], rank: int) -> float:
    seen = 0
    for end, count in ends:
        seen += count
        if seen >= rank:
            return end
    return ends[-1][0]


def _bisected(across: Sequence[Bucket], start: float, end: float, wanted: float) -> float:
    for _ in range(48):
        middle = start + (end - start) / 2
        seen = 0.0
        for bucket in across:
            low, high = max(bucket.low, -1e308), min(bucket.high, 1e308)
            part = 1.0 if middle >= high else 0.0 if middle <= low else (middle - low) / (high - low)
            seen += bucket.count * part
        if seen < wanted:
            start = middle
        else:
            end = middle
    return end
