"""Forecasts: a line at the mean of the last whole days, or a reason why there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from nexus.costs.forecast import forecast
from nexus.costs.types import Forecast
from nexus.kit.money import NANOS

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def of(costs: list[int], now: datetime, *, amount: int = 1000, days: int = 30) -> Forecast:
    points = [(START + DAY * index, START + DAY * (index + 1), cost * NANOS) for index, cost in enumerate(costs)]
    return forecast(
        step="day", points=points, spent=sum(costs) * NANOS, amount=amount * NANOS, ends_at=START + DAY * days, now=now
    )


def test_the_rate_is_the_mean_of_the_last_seven_whole_days_and_today_is_none() -> None:
    found = of([100, 1, 2, 3, 4, 5, 6, 7, 50], START + DAY * 8.5)

    # 178 spent, 4 a day for 21.5 days
    assert (found.rate, found.steps, found.period_end) == ("4", 7, "264")
    assert found.method == "mean_of_last_whole_days" and found.reason is None


def test_it_abstains_while_the_period_is_young() -> None:
    found = of([10, 5], START + DAY * 1.9)

    assert (found.period_end, found.rate, found.steps) == (None, None, 1)
    assert found.reason == "fewer than 2 whole days of this period have passed"


def test_it_says_when_the_amount_is_reached_if_that_is_before_the_end() -> None:
    assert of([10, 10, 0], START + DAY * 2, amount=50).reaches_amount_at == START + DAY * 5
    assert of([10, 10, 0], START + DAY * 2, amount=500).reaches_amount_at is None
    assert of([60, 0, 0], START + DAY * 2, amount=50).reaches_amount_at is None, "it is reached already"
    assert of([0, 0, 0], START + DAY * 2).period_end == "0"


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=29))
def test_days_that_are_alike_go_on_alike(costs: list[int]) -> None:
    cost = costs[0]

    found = of([cost] * len(costs), START + DAY * len(costs))

    assert found.period_end == str(cost * 30)
