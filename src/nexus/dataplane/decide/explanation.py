"""What was decided of one call, as its record keeps it: which limits were asked, what each charged, had left, and got back.

{"limits": [[bucket, limit, scope, …], …], "limits_decided_by": "lease"}                 of a call that was made
{"limits": […], "limits_decided_by": "redis", "refusal": {"outcome": "refused", …}}      of one that was refused
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nexus.contracts.limits import Dimension, Limit
from nexus.dataplane.decide.headers import per_unit
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
    marks: list[list[Any]] = []
    for item in decision.standings:
        limit, settled = item.limit, item.charged
        if actual is None:
            settled = 0
        elif settled and limit.dimension in actual:
            settled = limit.charge(actual[limit.dimension])
        elif limit.dimension == "concurrency":
            settled = 0
        marks.append(_mark(item, item.charged, settled))
    return {"limits": marks, "limits_decided_by": decision.decided_by}


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
