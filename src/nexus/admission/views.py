"""Admission's views: limits in force, what was taken of them, and what holds while Redis is away."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from nexus.admission import store
from nexus.admission.view_types import ActiveLimit, AdmissionStanding, ApplicationSummary, TokenUsage
from nexus.contracts.limits import Limit, Rate
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.platform.db import Connection

Period = Literal["hour", "day"]
LONGEST: Mapping[str, timedelta] = {"hour": timedelta(days=7), "day": timedelta(days=31)}
"""A question reads every transaction of its span, so the span is bounded."""
_DAY = timedelta(days=1)
MOST_ROWS = 10_000


def standing(limits: Sequence[Limit], *, is_degraded: bool) -> AdmissionStanding:
    """Count the limits in force by what holds while Redis is away."""
    count = Counter(limit.failure for limit in limits if not limit.is_shadow)
    return AdmissionStanding(is_degraded, count["closed"], count["open"], count["local"])


def per_second(rate: Rate | None) -> float | None:
    """Return a rate as units a second; None for none."""
    return None if rate is None else rate.numerator * 1e6 / rate.denominator


def active(limits: Sequence[Limit]) -> list[ActiveLimit]:
    """Say which limits are in force."""
    return [
        ActiveLimit(
            limit.id, limit.name, limit.scope, limit.subject or "", limit.dimension, limit.method, limit.present_capacity,
            limit.scale, per_second(limit.present_rate), limit.period, limit.zone, limit.reserve, limit.is_shadow,
            limit.failure, limit.version, limit.currency, per_second(limit.rate) if limit.share is not None else None,
        )
        for limit in limits
    ]  # fmt: skip


async def usage(
    connection: Connection,
    organization_id: UUID,
    limits: Sequence[Limit],
    *,
    begins: datetime,
    ends: datetime,
    period: Period,
    bucket: str | None = None,
    most: int = MOST_ROWS,
) -> list[TokenUsage]:
    """Sum the trail by period and bucket, newest first."""
    if begins >= ends:
        raise InvalidRequest("from: it comes before to", faults=[FieldFault("from", "give an earlier instant")])
    if ends - begins > LONGEST[period]:
        message = f"by {period} at most {LONGEST[period].days} days can be asked for"
        raise InvalidRequest(f"from: {message}", faults=[FieldFault("from", message)])
    known = {limit.id.hex: limit for limit in limits}
    rows = await store.rows(connection, "token_usage", organization_id, begins, ends, period, bucket, most)
    return [_usage(row, known) for row in rows]


def _usage(row: Any, known: Mapping[str, Limit]) -> TokenUsage:
    limit_id, _, subject = row["bucket"].partition(":")
    limit = known.get(limit_id)
    # A bucket's level falls by a charge, a window's use rises: what a charge does says which it is.
    sign = -1 if row["charged"] < 0 else 1
    charged, settled = sign * row["charged"], sign * row["settled"]
    return TokenUsage(
        row["begins"], row["bucket"], limit.name if limit else "", limit.scope if limit else "",
        subject or (limit.subject or "" if limit else ""), limit.dimension if limit else "", row["transactions"],
        charged + settled, -settled, row["adjusted"], row["refilled"], row["lowest"],
    )  # fmt: skip


async def day_of_applications(
    connection: Connection, organization_id: UUID, limits: Sequence[Limit], now: datetime
) -> list[ApplicationSummary]:
    """Summarise what each application took of its own limits in the last 24 hours; each dimension is summed before they meet."""
    found = await usage(connection, organization_id, limits, begins=now - _DAY, ends=now, period="day")
    # Of several limits on one dimension each was charged the same call: the busiest says how much it was.
    most: dict[tuple[str, str], dict[str, tuple[int, int, int]]] = defaultdict(dict)
    for item in found:
        if item.scope == "application":
            of_limit = most[item.subject, item.dimension]
            before = of_limit.get(item.limit, (0, 0, 0))
            of_limit[item.limit] = (
                before[0] + item.consumed,
                before[1] + item.refunded,
                before[2] + item.transactions,
            )
    made: dict[str, ApplicationSummary] = {}
    for (application, dimension), of_limit in sorted(most.items()):
        consumed, refunded, transactions = max(of_limit.values())
        known = made.get(application) or ApplicationSummary(application, 0, {}, {}, {})
        made[application] = ApplicationSummary(
            application, max(known.transactions, transactions), {**known.consumed, dimension: consumed},
            {**known.refunded, dimension: refunded},
            {**known.per_second, dimension: round(consumed / _DAY.total_seconds(), 6)},
        )  # fmt: skip
    return list(made.values())
