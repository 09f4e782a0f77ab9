"""Distributions add up in any order, and percentiles of sums lie in the buckets of the single values' percentiles."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nexus.kit.histograms import (
    MAX_BUCKETS,
    Bins,
    Bucket,
    Explicit,
    Exponential,
    add,
    add_all,
    buckets_of,
    decode,
    downscaled,
    encode,
    holds,
    index_of,
    layout_of,
    limited,
    of_samples,
    percentiles,
    subtract,
    upper_bound,
)

FRACTIONS = [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0]
BOUNDS = [-5.0, 0.0, 0.1, 1.0, 30.0]
values = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: value if abs(value) > 1e-9 else 0.0)
samples = st.lists(values, min_size=1, max_size=20)
scales = st.integers(-4, 12)
sides = st.dictionaries(st.integers(-400, 400), st.integers(1, 50), max_size=4)
exponentials = st.builds(Exponential, scales, st.integers(0, 9), st.just(0.0), sides, sides).map(limited)


def explicit(found: list[float]) -> Explicit:
    edges = [-math.inf, *BOUNDS, math.inf]
    return Explicit(tuple(sum(low < value <= high for value in found) for low, high in pairwise(edges)))


def element(found: list[float], q: float) -> float:
    """The element that percentile_disc picks."""
    return sorted(found)[max(1, math.ceil(q * len(found) - 1e-9)) - 1]


@given(exponentials, exponentials, exponentials)
def test_adding_exponential_distributions_is_associative_and_commutative(
    one: Exponential, two: Exponential, three: Exponential
) -> None:
    whole = add(add(one, two), three)

    assert whole == add(one, add(two, three)) == add(add(three, two), one) == add_all([two, one, three])
    assert isinstance(whole, Exponential)
    assert whole.zero_count + sum(whole.positive.values()) + sum(whole.negative.values()) == sum(
        each.zero_count + sum(each.positive.values()) + sum(each.negative.values()) for each in (one, two, three)
    )
    for side in (whole.positive, whole.negative):
        assert not side or max(side) - min(side) < MAX_BUCKETS


@given(samples, samples, scales, scales)
def test_the_sum_of_samples_is_what_the_samples_together_are(
    one: list[float], two: list[float], scale: int, other_scale: int
) -> None:
    whole = add(of_samples(one, scale), of_samples(two, other_scale))

    assert isinstance(whole, Exponential)
    assert whole == of_samples(one + two, whole.scale)


@given(exponentials, exponentials)
def test_subtracting_undoes_adding(one: Exponential, two: Exponential) -> None:
    whole = add(one, two)
    assert isinstance(whole, Exponential)

    assert subtract(whole, two) == downscaled(one, whole.scale)
    assert holds(whole, one) and holds(whole, two)
    assert not holds(one, add(one, Exponential(0, 1)))


@given(st.lists(samples, min_size=1, max_size=3), scales)
def test_percentiles_lie_in_the_bucket_of_the_samples_own(parts: list[list[float]], scale: int) -> None:
    together = [value for part in parts for value in part]
    sketch: Bins = of_samples(parts[0], scale)
    counts: Bins = explicit(parts[0])
    for part in parts[1:]:
        sketch, counts = add(sketch, of_samples(part, scale + 1)), add(counts, explicit(part))
    least, most = min(together), max(together)
    forms = [
        buckets_of(sketch),
        buckets_of(sketch, least=least, most=most),
        buckets_of(counts, BOUNDS),
        buckets_of(counts, BOUNDS, least=least, most=most),
        # Both of everything: each value is there twice, which changes no percentile.
        buckets_of(sketch) + buckets_of(counts, BOUNDS, least=least, most=most),
    ]
    for form in forms:
        told = percentiles(form, FRACTIONS)
        assert told is not None
        for fraction, estimate in zip(FRACTIONS, told, strict=True):
            wanted = element(together, fraction)
            assert estimate.low <= wanted <= estimate.high or math.isclose(estimate.low, wanted, rel_tol=1e-12)
            assert estimate.low <= estimate.value <= estimate.high or math.isinf(estimate.low - estimate.high)


@given(st.floats(1e-300, 1e300), st.integers(-10, 20))
def test_a_value_is_in_its_bucket(value: float, scale: int) -> None:
    index = index_of(value, scale)

    assert upper_bound(index - 1, scale) < value <= upper_bound(index, scale)


@given(exponentials, st.lists(st.integers(0, 9), max_size=9))
def test_what_is_written_is_read_back(bins: Exponential, counts: list[int]) -> None:
    assert decode(encode(bins)) == bins
    assert decode(encode(Explicit(tuple(counts)))) == Explicit(tuple(counts))


@given(exponentials, st.floats(0, 8), st.floats(0, 8))
def test_the_larger_zero_threshold_holds_and_nothing_is_lost(
    bins: Exponential, threshold: float, other_threshold: float
) -> None:
    assume(bins.scale <= 4)
    one = Exponential(0, 5, threshold)
    whole = add(add(bins, one), Exponential(1, 1, other_threshold))

    assert isinstance(whole, Exponential)
    assert whole.zero_threshold >= max(threshold, other_threshold)
    assert sum(bucket.count for bucket in buckets_of(whole)) == sum(b.count for b in buckets_of(bins)) + 6
    assert all(bucket.low >= whole.zero_threshold for bucket in buckets_of(whole) if bucket.low > 0)


def test_open_buckets_are_answered_with_their_only_end() -> None:
    (low, high) = percentiles(buckets_of(Explicit((1, 0, 9)), [1.0, 2.0]), [0.1, 0.9]) or []

    assert (low.low, low.high, low.value) == (-math.inf, 1.0, 1.0)
    assert (high.low, high.high, high.value) == (2.0, math.inf, 2.0)
    assert percentiles([], [0.5]) is None
    assert percentiles([Bucket(3, 3, 2)], [0.5]) is not None


def test_distributions_of_different_forms_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="different forms"):
        add(Explicit((1,)), Exponential(0))
    assert add_all([Explicit((1, 2)), Explicit((3, 4))]) == Explicit((4, 6))
    with pytest.raises(ValueError, match="different forms"):
        add_all([Explicit((1,)), Explicit((1, 2))])
    assert layout_of([1.0, 2.0]) == layout_of([1, 2]) != layout_of([1.0])
