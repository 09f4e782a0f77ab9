"""What was decided of one call, as its record keeps it: which limits were asked, what each charged, had left, and got back.

{"limit_set": {"id": "0f…", "charged": […], …}, "limits_decided_by": "lease"}            of a call that was made
{"limits": [[bucket, limit, scope, …], …], "limits_decided_by": "redis"}                 of one of which a set cannot tell
{"limits": […], "limits_decided_by": "redis", "refusal": {"outcome": "refused", …}}      of one that was refused
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from nexus.contracts.limit_sets import FIELDS, DescribedLimit, LimitSet
from nexus.contracts.limits import Dimension, Limit
from nexus.dataplane.decide.headers import per_unit
from nexus.dataplane.decide.purses import Charges, Finished, Plan, Standings
from nexus.dataplane.decide.types import Decision, LimitStanding

REFUSED_FIELDS = (*FIELDS, "asked")
"""Of a call that was refused, and so charged nothing: `asked` is what it would have been charged."""


def explain(
    organization_id: UUID, decision: Decision, finished: Finished, actual: Mapping[Dimension, int] | None
) -> tuple[dict[str, Any], LimitSet | None]:
    """Write down a decision, with the set of limits that it names where it names one.

    `finished` is what the call was charged and what it took; `actual` says the latter by dimension, None where it was never made.
    """
    standings, plan = decision.standings, finished.plan
    left: Sequence[int | None] | None
    if isinstance(standings, Standings) and standings.page.plan is plan:
        left = standings.lefts()
    else:
        left = _left_of(standings, plan, finished.charges)
    if left is None:
        marks = [_mark(item, item.charged, _settled(item.limit, item.charged, actual)) for item in standings]
        return {"limits": marks, "limits_decided_by": decision.decided_by}, None
    known = plan.described
    if known is None:
        known = plan.described = _described(organization_id, plan)
    told = {"id": known.id, "charged": finished.charges, "settled": finished.taken, "left": left}
    return {"limit_set": told, "limits_decided_by": decision.decided_by}, known


def _described(organization_id: UUID, plan: Plan) -> LimitSet:
    limits = [
        DescribedLimit(bucket, limit.name, limit.scope, limit.dimension, per_unit(limit), place)
        for (limit, bucket), place in zip(plan.limits, plan.units_of, strict=True)
    ]
    return LimitSet.of(organization_id, limits)


def _left_of(standings: Sequence[LimitStanding], plan: Plan, charges: Charges) -> Sequence[int | None] | None:
    """Return what limits had left, in the plan's order; None where each has more to say than that, as one that only watches."""
    if len(standings) != len(plan.limits):
        return None
    left: list[int | None] = []
    for item, (limit, bucket), place in zip(standings, plan.limits, plan.units_of, strict=True):
        if item.limit is not limit or item.bucket != bucket or item.charged != charges[place] or item.would_refuse:
            return None
        left.append(item.left)
    return left


def _settled(limit: Limit, charged: int, actual: Mapping[Dimension, int] | None) -> int:
    """Return what a charge came to."""
    if actual is None or limit.dimension == "concurrency":
        return 0
    return limit.charge(actual[limit.dimension]) if charged and limit.dimension in actual else charged


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
