"""The sketch keeps its bound, and merges as promised."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from nexus.kit import latency

_durations = st.integers(min_value=0, max_value=latency.MAX_US)


@given(_durations)
def test_representative_is_within_the_stated_bound(us: int) -> None:
    middle = latency.representative_us(latency.bin_of(us))

    assert abs(middle - us) <= us * latency.RELATIVE_ERROR * (1 + 1e-9)


@given(st.lists(_durations, min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_quantile_is_within_the_bound_of_the_exact_one(durations: list[int], q: float) -> None:
    bins = latency.merge([{latency.bin_of(us): 1} for us in durations])

    answer = latency.quantile(bins, q)

    exact = sorted(durations)[max(1, math.ceil(q * len(durations) - 1e-9)) - 1]
    assert answer is not None
    assert abs(answer - exact) <= exact * latency.RELATIVE_ERROR * (1 + 1e-9)


@given(st.lists(_durations, max_size=100), st.lists(_durations, max_size=100))
def test_concatenated_encodings_decode_to_the_sum(first: list[int], second: list[int]) -> None:
    one = latency.merge([{latency.bin_of(us): 1} for us in first])
    two = latency.merge([{latency.bin_of(us): 1} for us in second])

    assert latency.decode(latency.encode(one) + latency.encode(two)) == latency.merge([one, two])


def test_no_durations_have_no_quantile() -> None:
    assert latency.quantile({}, 0.5) is None
