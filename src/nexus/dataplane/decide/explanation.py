"""What was decided of one call, as its record keeps it: which limits were asked, what each charged, had left, and got back.

{"limits": [[bucket, limit, scope, …], …], "limits_decided_by": "lease"}                 of a call that was made
{"limits": […], "limits_decided_by": "redis", "refusal": {"outcome": "refused", …}}      of one that was refused
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import sub
from typing import Any

from nexus.contracts.limits import Dimension, Limit
from nexus.dataplane.decide.headers import per_unit
from nexus.dataplane.decide.purses import Standings
from nexus.dataplane.decide.types import Decision, LimitStanding

FIELDS = ("bucket", "limit", "scope", "dimension", "unit", "charged", "settled", "left", "would_refuse")
"""Of one limit, in this order: written as a list, so that a record with a dozen limits stays small.

`unit` is how many of the amounts make one of what people count in (operations and money are kept in fractions); `charged` was
reserved before the call, `settled` is what it came to; `left` is what the limit had left then, null where nobody could be asked.
"""
REFUSED_FIELDS = (*FIELDS, "asked")
"""Of a call that was refused, and so charged nothing: `asked` is what it would have been charged."""


def explain(decision: Decision, actual: Mapping[Dimension, int] | None) -> dict[str, Any]:
    """Write down a decision. `actual` is what the call took, by dimension; None: it was never made, all is given back."""
    standings = decision.standings
    if isinstance(standings, Standings):
        marks = _marks_of_purse(standings, actual)
    else:
        marks = [_mark(item, item.charged, _settled(item.limit, item.charged, actual)) for item in standings]
    return {"limits": marks, "limits_decided_by": decision.decided_by}


def _settled(limit: Limit, charged: int, actual: Mapping[Dimension, int] | None) -> int:
    """Return what a charge came to."""
    if actual is None or limit.dimension == "concurrency":
        return 0
    return limit.charge(actual[limit.dimension]) if charged and limit.dimension in actual else charged


def _marks_of_purse(standings: Standings, actual: Mapping[Dimension, int] | None) -> list[list[Any]]:
    """Write down what a purse paid for: what is the same for all its calls is known, and the rest is one sum by column."""
    page, charges, left = standings.page, standings.charges, standings.left
    plan = page.plan
    if plan.described is None:
        plan.described = [
            [bucket, limit.name, limit.scope, limit.dimension, per_unit(limit)] for limit, bucket in plan.limits
        ]
    settled = [_settled(limit, charge, actual) for limit, charge in zip(plan.columns, charges, strict=True)]
    moved = list(map(sub, left, page.taken))
    return [
        [*known, charges[place], settled[place], max(0, had + moved[place]), False]
        for known, place, had in zip(plan.described, plan.units_of, page.lefts, strict=True)
    ]


def explain_refusal(decision: Decision, asked: Sequence[tuple[Limit, str, int]]) -> dict[str, Any]:
    """Write down why a call was refused; `asked` is what each of its limits would have been charged."""
    charges = {bucket: units for _, bucket, units in asked}
    refused = next((item.bucket for item in decision.standings if item.limit is decision.refused_by), None)
    is_final = decision.outcome == "impossible"
    return {
        "limits": [[*_mark(item, 0, 0), charges.get(item.bucket, 0)] for item in decision.standings],
        "limits_decided_by": decision.decided_by,
        "refusal": {
            "outcome": decision.outcome,
            "bucket": refused,
            "retry_after_ms": None if is_final else -(-decision.retry_us // 1000),
        },
    }


def _mark(item: LimitStanding, charged: int, settled: int) -> list[Any]:
    limit = item.limit
    return [
        item.bucket, limit.name, limit.scope, limit.dimension, per_unit(limit), charged, settled, item.left,
        item.would_refuse,
    ]  # fmt: skip
