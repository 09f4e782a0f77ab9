"""What a period will come to: what was spent, and the mean of its last whole days for the time that is left. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Literal

from nexus.costs.types import Forecast
from nexus.kit.money import format_nanos

LAST_STEPS = 7
"""Whole days, or hours, that the rate is taken from, at most."""
FEWEST: dict[str, int] = {"day": 2, "hour": 3}
"""Below so many whole ones of the period there is too little to go by."""


def forecast(
    *,
    step: Literal["day", "hour"],
    points: Sequence[tuple[datetime, datetime, int]],
    spent: int,
    amount: int,
    ends_at: datetime,
    now: datetime,
) -> Forecast:
    """Extend a line from now to the period's end at the mean of the last whole steps.

    `points` are all steps of the period up to now: where each begins and ends, and what it cost in nanos; those that cost nothing
    too. It tells of habits that go on, not of what is planned: no season, no trend is read into a few days.
    """
    whole = [nanos for _, ends, nanos in points if ends <= now][-LAST_STEPS:]
    method: Literal["mean_of_last_whole_days", "mean_of_last_whole_hours"] = (
        "mean_of_last_whole_days" if step == "day" else "mean_of_last_whole_hours"
    )
    if len(whole) < FEWEST[step]:
        reason = f"fewer than {FEWEST[step]} whole {step}s of this period have passed"
        return Forecast(method=method, period_end=None, rate=None, steps=len(whole), reason=reason)
    rate = Fraction(sum(whole), len(whole))
    length = timedelta(days=1) if step == "day" else timedelta(hours=1)
    left = Fraction((ends_at - now) // timedelta(microseconds=1), length // timedelta(microseconds=1))
    reaches = None
    if spent < amount and rate > 0:
        steps = (amount - spent) / rate
        if steps <= left:
            reaches = now + float(steps) * length
    return Forecast(
        method=method, period_end=format_nanos(spent + round(rate * left)), rate=format_nanos(round(rate)),
        steps=len(whole), reaches_amount_at=reaches,
    )  # fmt: skip
