"""The pure model keeps the rules by itself, on any sequence of calls."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus.contracts.limits import Limit, OperationCost
from nexus.dataplane.decide.model import Cell
from nexus.dataplane.decide.windows import boundaries, to_us, window
from tests.dataplane.decide.cases import SECOND, START, limit, limits

# A busy machine is slow, not wrong.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
STEPS = st.lists(st.tuples(st.integers(0, 5 * SECOND), st.integers(0, 12)), min_size=1, max_size=60)


@calm
@given(st.sampled_from(["token_bucket", "leaky_bucket"]), st.integers(1, 20), st.integers(1, 30), STEPS)
def test_on_every_interval_no_more_is_admitted_than_burst_and_refill(
    method: str, capacity: int, rate: int, steps: list[tuple[int, int]]
) -> None:
    cell, now, known = Cell(), START, limit(capacity=capacity, units=rate, method=method)
    admitted: list[tuple[int, int]] = []

    for pause, units in steps:
        now += pause
        if cell.decide([(known, "b", units)], now).outcome == "admitted":
            admitted.append((now, units))

    for first in range(len(admitted)):
        total = 0
        for at, units in admitted[first:]:
            total += units
            assert total <= capacity + Fraction(rate, SECOND) * (at - admitted[first][0])


@calm
@given(limits(1), limits(2), STEPS)
def test_a_refusal_changes_no_bucket(first: Limit, second: Limit, steps: list[tuple[int, int]]) -> None:
    cell, now = Cell(), START

    for pause, units in steps:
        now += pause
        before = {name: repr(bucket) for name, bucket in cell.buckets.items()}
        verdict = cell.decide([(first, "a", units), (second, "b", 1)], now, hold=str(now), life_us=SECOND)
        if verdict.outcome != "admitted":
            assert {name: repr(bucket) for name, bucket in cell.buckets.items()} == before


@calm
@given(limits(1), STEPS)
def test_when_to_retry_is_when_it_is_admitted_and_not_a_microsecond_earlier(
    known: Limit, steps: list[tuple[int, int]]
) -> None:
    cell, now = Cell(), START

    for pause, units in steps:
        now += pause
        verdict = cell.decide([(known, "b", units)], now)
        if verdict.outcome == "refused" and known.method != "concurrency":
            assert cell.decide([(known, "b", units)], now + verdict.retry_us - 1).outcome == "refused"
            now += verdict.retry_us
            assert cell.decide([(known, "b", units)], now).outcome == "admitted"


def test_what_is_larger_than_the_limit_is_impossible_and_what_is_reserved_is_for_the_privileged() -> None:
    cell, known = Cell(), limit(capacity=10, reserve=4)

    assert cell.decide([(known, "b", 11)], START, is_privileged=True).outcome == "impossible"
    assert cell.decide([(known, "b", 7)], START).outcome == "impossible"
    assert cell.decide([(known, "b", 6)], START).outcome == "admitted"
    assert cell.decide([(known, "b", 1)], START).outcome == "refused"
    assert cell.decide([(known, "b", 4)], START, is_privileged=True).outcome == "admitted"


def test_a_leaky_bucket_says_how_long_to_wait_for_what_lies_before() -> None:
    cell, known = Cell(), limit(capacity=5, units=2, method="leaky_bucket")

    waits = [cell.decide([(known, "b", 1)], START).wait_us for _ in range(5)]

    assert waits == [0, SECOND // 2, SECOND, 3 * SECOND // 2, 2 * SECOND]
    assert cell.decide([(known, "b", 1)], START).outcome == "refused"


def test_a_shadow_limit_counts_and_refuses_nothing() -> None:
    cell, known = Cell(), limit(capacity=2, is_shadow=True)

    outcomes = [cell.decide([(known, "b", 1)], START).outcome for _ in range(5)]

    assert outcomes == ["admitted"] * 5
    assert cell.buckets["b"].shadowed == 3 and cell.buckets["b"].level == 0


@calm
@given(
    st.integers(0, 2 * 10**15),
    st.sampled_from(["minute", "hour", "day", "week", "month", "quarter", "year"]),
    st.sampled_from(
        [
            "UTC",
            "Europe/Zurich",
            "America/Sao_Paulo",
            "America/Havana",
            "Australia/Lord_Howe",
            "Asia/Kolkata",
            "Pacific/Apia",
        ]
    ),
)
def test_windows_are_a_partition_of_time(at: int, period: str, zone: str) -> None:
    start, end, after = boundaries(at, period, zone)  # type: ignore[arg-type]

    assert start <= at < end < after
    for inside in (start, (start + end) // 2, end - 1):
        assert window(inside, period, zone) == (start, end)  # type: ignore[arg-type]
    assert window(end, period, zone) == (end, after)  # type: ignore[arg-type]


def test_days_follow_the_wall_clock_of_their_zone() -> None:
    noon = to_us(datetime(2026, 3, 29, 12, tzinfo=UTC))

    lengths = [
        (end - start) // (3600 * SECOND)
        for start, end in [window(noon, "day", "Europe/Zurich"), window(noon, "day", "UTC")]
    ]

    assert lengths == [23, 24]
    assert window(noon, "month", "Europe/Zurich")[0] == to_us(datetime(2026, 2, 28, 23, tzinfo=UTC))


@calm
@given(st.integers(0, 10**12), st.booleans())
def test_an_operation_is_charged_in_rationals_and_rounded_up_once(size: int, whole: bool) -> None:
    cost = OperationCost("read_small", Fraction(1), 4096, Fraction("0.0001"), whole)

    quanta = Fraction(size, 4096)
    exact = (1 + (quanta if not whole else Fraction(-(-size // 4096))) * Fraction("0.0001")) * 10**6
    assert 0 <= cost.micro(size) - exact < 1


def test_versions_keep_the_fill_fraction_debt_and_what_is_used() -> None:
    cell = Cell()
    bucket, window_ = (
        limit(1, capacity=100, units=1, per_us=3600 * SECOND),
        limit(2, capacity=50, method="fixed_window"),
    )
    cell.decide([(bucket, "b", 60), (window_, "w", 30)], START)

    cell.decide([(limit(1, capacity=1000, version=2), "b", 0)], START)
    cell.decide([(limit(2, capacity=80, method="fixed_window", version=2), "w", 0)], START)

    assert cell.buckets["b"].level == 400 and cell.buckets["w"].level == 30


def test_time_that_runs_backwards_mints_nothing() -> None:
    cell, known = Cell(), limit(capacity=1)

    outcomes = [cell.decide([(known, "b", 1)], START + step).outcome for step in (0, -SECOND, 0, SECOND // 2, SECOND)]

    assert outcomes == ["admitted", "refused", "refused", "refused", "admitted"]
    assert all(first <= second for first, second in pairwise([START, cell.buckets["b"].at]))
