"""What was decided of one call, as its record keeps it: which limits were asked, what each charged, had left, and got back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nexus.contracts.limits import Dimension
from nexus.dataplane.decide.headers import per_unit
from nexus.dataplane.decide.types import Decision

FIELDS = ("bucket", "limit", "scope", "dimension", "unit", "charged", "settled", "left", "would_refuse")
"""Of one limit, in this order: written as a list, so that a record with a dozen limits stays small.

`unit` is how many of the amounts make one of what people count in (operations and money are kept in fractions); `charged` was
reserved before the call, `settled` is what it came to; `left` is what the limit had left then, null where nobody could be asked.
"""


def explain(decision: Decision, actual: Mapping[Dimension, int] | None) -> list[list[Any]]:
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
        marks.append(
            [
                item.bucket, limit.name, limit.scope, limit.dimension, per_unit(limit), item.charged, settled, item.left,
                item.would_refuse,
            ]
        )  # fmt: skip
    return marks
