"""A mergeable sketch of durations: counts in bins that grow by a tenth, so that percentiles have a proven bound.

Bin `b` holds the whole microseconds `BOUNDS[b] <= us < BOUNDS[b + 1]`. Up to where growth by a tenth exceeds one
microsecond the bins hold exactly one value each; above, a bin's ends differ by at most a factor 1.1. A percentile
is answered with the point of its bin that is off by at most 1/21 (4.77 %) from every value the bin can hold.
Merging adds counts, so a sketch over a day equals the sum of its hours.
(Masson, Rim, Lee: DDSketch, VLDB 2019, with integer bounds so that SQL and Python agree to the bit.)
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Mapping

GROWTH = 1.1
RELATIVE_ERROR = 1 / 21
MAX_US = 10**13
"""Durations above this (116 days) are counted in the last bin."""


def _bounds() -> tuple[int, ...]:
    # Integers only: the next bound is the largest that keeps a bin's last value within 1.1 of its first.
    bounds = [0, 1]
    while bounds[-1] <= MAX_US:
        bounds.append(bounds[-1] * 11 // 10 + 1)
    return tuple(bounds)


BOUNDS = _bounds()
_ENTRY = struct.Struct(">hq")


def bin_of(us: int) -> int:
    """Return the number of the bin that holds a duration in microseconds; negative ones count as zero."""
    return bisect_right(BOUNDS, max(0, us)) - 1


def representative_us(number: int) -> float:
    """Return the duration that stands for a bin, within `RELATIVE_ERROR` of each value in it."""
    if number + 1 >= len(BOUNDS):
        return float(BOUNDS[-1])
    first, last = BOUNDS[number], BOUNDS[number + 1] - 1
    return 2.0 * first * last / (first + last) if first else 0.0


def encode(bins: Mapping[int, int]) -> bytes:
    """Write bins as entries of a 2-byte bin and an 8-byte count, big-endian, in the order of the bins."""
    return b"".join(_ENTRY.pack(number, bins[number]) for number in sorted(bins))


def decode(data: bytes) -> dict[int, int]:
    """Read entries back; a bin that occurs several times (sketches joined by concatenation) is summed."""
    bins: dict[int, int] = {}
    for number, count in _ENTRY.iter_unpack(data):
        bins[number] = bins.get(number, 0) + count
    return bins


def merge(sketches: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Add sketches up."""
    total: dict[int, int] = {}
    for bins in sketches:
        for number, count in bins.items():
            total[number] = total.get(number, 0) + count
    return total


def quantile(bins: Mapping[int, int], q: float) -> float | None:
    """Return the duration in microseconds below which the fraction `q` of all lies; None when there is none.

    It stands for the element of rank ceil(q * n), as percentile_disc picks it.
    """
    total = sum(bins.values())
    if total <= 0:
        return None
    # A tiny slack keeps 0.95 * 20 from becoming the 20th element by a float's last bit.
    rank = max(1, -int(-(q * total - 1e-9) // 1))
    seen = 0
    for number in sorted(bins):
        seen += bins[number]
        if seen >= rank:
            return representative_us(number)
    return representative_us(max(bins))
